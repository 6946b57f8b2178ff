"""What only a transform makes too large for float16 is found before the first document is written."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from pydantic.dataclasses import dataclass
from qdrant_client import models

from embplug import Collection, Dense, Recipe
from embplug.collection import chunks
from embplug.errors import InvalidArgumentError
from embplug.methods import Transform, register, registry


@pytest.fixture
def stretching() -> Any:
    """A transform that multiplies by a million."""

    @register("stretching", roles=("transform",))
    @dataclass
    class Stretching(Transform):
        kind: Literal["stretching"] = "stretching"

        def output_dim(self, dim: int) -> int:
            return dim

        def _transform(self, vectors: Any) -> Any:
            return vectors * np.float32(1e6)

    yield Stretching()
    del registry._registered["transform"]["stretching"]


def test_nothing_of_a_batch_is_written_that_float16_cannot_hold(
    memory_client: Any, stretching: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 2)
    dense = Dense(
        dim=2, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16, transforms=[stretching]
    )
    docs = Collection.create("docs", Recipe(dense=dense), memory_client)
    vectors = np.full((10, 2), 0.01)
    assert docs.add(range(10), dense=vectors).added == 10
    vectors[7] = 0.1
    with pytest.raises(InvalidArgumentError, match=r"^document 27: .*float16"):
        docs.add(range(20, 30), dense=vectors)
    assert docs.count() == 10
