"""Collections that encode on a torch device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug import Collection, Recipe, Sample, Tokens
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError
from embplug.methods import FDE, LearnedEncoding
from embplug.methods.encodings import fde, learned
from tests.tokens import DIM, batch

SMALL: dict[str, Any] = {"stored_dim": 48, "features": 32, "landmarks": 300, "compared": 200}


@pytest.mark.parametrize("encoding", [FDE(repetitions=2), LearnedEncoding(**SMALL)])
def test_a_device_encodes_what_the_processor_does(
    edge_client: Engine, encoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    recipe, documents, sample = Recipe(tokens=Tokens(dim=DIM, encoding=encoding)), batch(40, 1), batch(60, 2)
    stored = {}
    for device in (None, "cpu"):
        Collection.create(f"on-{device}", recipe, edge_client, sample=Sample(tokens=sample), device=device)
        collection = Collection.open(f"on-{device}", edge_client, device=device)
        if device is not None:
            # What numpy computes with is out of reach.
            monkeypatch.setattr(fde, "worker_count", None)
            monkeypatch.setattr(learned, "_for_each", None)
        collection.add(range(40), tokens=documents)
        records = edge_client.retrieve(f"on-{device}", [*range(40)], with_vectors=["fde"])
        stored[device] = np.array([record.vector["fde"] for record in records])
    tolerance = 1 if isinstance(encoding, LearnedEncoding) else 1e-4
    np.testing.assert_allclose(stored["cpu"], stored[None], atol=tolerance)


def test_a_device_that_is_not_there_is_named(edge_client: EdgeClient) -> None:
    pytest.importorskip("torch")
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=FDE(repetitions=2)))
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        Collection.create("nowhere", recipe, edge_client, device="nowhere")
    assert not edge_client.collection_exists("nowhere")
    Collection.create("nowhere", recipe, edge_client)
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        Collection.open("nowhere", edge_client, device="nowhere")
