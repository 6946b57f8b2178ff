"""Collections that encode on a torch device."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug import Collection, Recipe, Sample, TokenBatch, Tokens
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError
from embplug.methods import FDE, LearnedEncoding
from embplug.methods.encodings import document_products, fde
from tests.methods.encodings.checks import assert_same_bytes_but_for_rounding, signed_steps
from tests.tokens import DIM, batch

SMALL: dict[str, Any] = {"stored_dim": 48, "features": 32, "landmarks": 300, "compared": 200}


@pytest.mark.parametrize("encoding", [FDE(repetitions=2), LearnedEncoding(**SMALL)])
def test_a_device_encodes_what_the_processor_does(
    edge_client: Engine, encoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    documents = batch(40, 1)
    if isinstance(encoding, LearnedEncoding):
        # The bases of two fits may differ by signs and rotations, so both collections take the same fit.
        encoding = copy.deepcopy(encoding).fit(batch(60, 2))
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, codes=None))
    stored = {}
    for device in (None, "cpu"):
        Collection.create(f"on-{device}", recipe, edge_client, device=device)
        collection = Collection.open(f"on-{device}", edge_client, device=device)
        if device is not None:
            _forbid_the_processor(monkeypatch)
        collection.add(range(40), tokens=documents)
        records = edge_client.retrieve(f"on-{device}", [*range(40)], with_vectors=["fde"])
        stored[device] = np.array([record.vector["fde"] for record in records])
    if isinstance(encoding, LearnedEncoding):
        assert_same_bytes_but_for_rounding(encoding, stored["cpu"], stored[None])
    else:
        # Sums of at most ten unit tokens: float32 rounds them by less than 10 * 2**-23.
        np.testing.assert_allclose(stored["cpu"], stored[None], atol=1e-5)


def test_a_fit_on_a_device_scores_as_that_of_the_processor(
    edge_client: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    sample, documents, queries = batch(60, 2), batch(40, 1), batch(8, 3)
    on_processor = LearnedEncoding(**SMALL).fit(sample)
    scores = [_scores(on_processor, queries, documents)]
    # Byte codes are off by 1/12 of a squared step in each dimension, in the query and in the document.
    codes = [on_processor.encode_queries(queries), on_processor.encode_documents(documents)]
    squares = [np.square(signed_steps(on_processor, part)).sum(axis=1).mean() for part in codes]
    rounding = sum(squares) / 12 / scores[0].var(axis=1)

    _forbid_the_processor(monkeypatch)
    on_device = LearnedEncoding(**SMALL).fit(sample, device="cpu")
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=LearnedEncoding(**SMALL), codes=None))
    collection = Collection.create(
        "on-device", recipe, edge_client, sample=Sample(tokens=sample), device="cpu"
    )
    assert collection.info().fitted
    monkeypatch.undo()
    scores.append(_scores(on_device, queries, documents))
    for query in range(len(queries)):
        # The scores of two fits are the same up to a factor and a constant of the query.
        assert np.corrcoef(scores[0][query], scores[1][query])[0, 1] > 1 - 3 * rounding[query]


def _forbid_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the numpy path computes with."""
    monkeypatch.setattr(fde, "worker_count", None)
    monkeypatch.setattr(document_products, "in_threads", None)


def _scores(encoding: LearnedEncoding, queries: TokenBatch, documents: TokenBatch) -> NDArray[np.int64]:
    """What the engine computes: dot products of bytes."""
    codes = encoding.encode_documents(documents).astype(np.int64)
    return encoding.encode_queries(queries).astype(np.int64) @ codes.T


def test_a_device_that_is_not_there_is_named(edge_client: EdgeClient) -> None:
    pytest.importorskip("torch")
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=FDE(repetitions=2), codes=None))
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        Collection.create("nowhere", recipe, edge_client, device="nowhere")
    assert not edge_client.collection_exists("nowhere")
    Collection.create("nowhere", recipe, edge_client)
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        Collection.open("nowhere", edge_client, device="nowhere")
