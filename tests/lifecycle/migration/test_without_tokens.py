"""Points that lack tokens, in a collection that ranks by their codes: other branches find them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Fusion, Recipe, Rerank, TokenBatch, Tokens, migrate
from embplug.common.ids import CODES, SHORTLIST
from embplug.engines import Engine
from embplug.errors import StateError
from embplug.methods import FDE, PredictiveQuantizer
from embplug.methods.token_codes import token_coder
from embplug.search.code_cache import VARIABLE

DIM, COUNT = 16, 80


@pytest.mark.parametrize("megabytes", ["0", "64"])
@pytest.mark.parametrize("shortlist", [12, None])
def test_points_without_tokens_take_part_in_searches(
    engine: Engine, shortlist: int | None, megabytes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_coder, "SHORTLIST_TOKENS", 0)
    monkeypatch.setenv(VARIABLE, megabytes)
    generator = np.random.default_rng(0)
    tokens = TokenBatch.from_list([generator.normal(size=(4, DIM)) for _ in range(COUNT)])
    dense = generator.normal(size=(COUNT, 4))
    many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    engine.create_collection(
        "source",
        vectors_config={
            "dense": models.VectorParams(size=4, distance=models.Distance.COSINE),
            "tokens": models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=many),
        },
    )
    points = []
    for i in range(COUNT):
        vector: dict[str, Any] = {"dense": dense[i].tolist(), "tokens": tokens[i].tolist()}
        if i % 10 == 0:
            del vector["tokens"]
        points.append(models.PointStruct(id=i, vector=vector))
    engine.upsert("source", points, wait=True)
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=FDE(repetitions=2, simhash_bits=1, projection_dim=8),
            multivector=None,
            codes=PredictiveQuantizer(size=14, centroids=32),
            document_bytes=8,
            shortlist_bytes=8,
        ),
        dense=Dense(dim=4),
        rerank=Rerank(candidates=60, shortlist=shortlist),
    )
    migrate("source", "target", recipe, engine=engine, progress=False)
    collection = Collection.open("target", engine)
    for _ in range(2):
        by_tokens = collection.search(tokens=tokens[3], dense=dense[10], limit=3)
        assert by_tokens[0].id == 3 and 10 not in {hit.id for hit in by_tokens}
        fusion = Fusion(after_rerank=True, weights={"dense": 50.0})
        both = collection.search(tokens=tokens[3], dense=dense[10], limit=3, fusion=fusion, with_stages=True)
        assert both[0].id == 10 and "codes" not in (both[0].stages or {})
    # One that has lost its codes is no such point.
    engine.delete_payload("target", keys=[CODES, SHORTLIST], points=[3], wait=True)
    with pytest.raises(StateError, match="point 3 has lost the codes of its tokens"):
        collection.search(tokens=tokens[3], dense=dense[10], limit=3)
