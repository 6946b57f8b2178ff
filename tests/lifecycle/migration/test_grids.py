"""Migrations that pool pages: by the grids that are stored, or refused before anything is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Multivector, Recipe, TokenBatch, Tokens, migrate
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration import reader
from embplug.methods import FDE, GridPooling, HierarchicalPooling

DIM, ROWS, COLUMNS, PROMPT = 16, 3, 4, 2
SMALL = FDE(repetitions=4, simhash_bits=2, projection_dim=8)


def recipe(reduction: Any = None) -> Recipe:
    tokens = Tokens(dim=DIM, encoding=SMALL, multivector=Multivector(), codes=None, reduction=reduction)
    return Recipe(tokens=tokens)


def matrices(count: int, rows: int = PROMPT + ROWS * COLUMNS) -> list[np.ndarray]:
    values = np.random.default_rng(rows).standard_normal((count, rows, DIM)).astype(np.float32)
    return list(values / np.linalg.norm(values, axis=2, keepdims=True))


def names(engine: Engine) -> list[str]:
    return [found.name for found in run(engine, retried(Call.of("get_collections"))).collections]


def migrated(engine: Engine, **options: Any) -> Collection:
    migrate("source", "target", recipe(GridPooling()), engine=engine, progress=False, **options)
    return Collection.open("target", engine)


def check_refused(engine: Engine, reason: str) -> None:
    before = names(engine)
    for options in ({}, {"dry_run": True}):
        with pytest.raises(InvalidArgumentError, match=f"^tokens.reduction: .*{reason}"):
            migrated(engine, **options)
    assert names(engine) == before


def test_stored_grids_are_pooled_by_and_texts_among_the_pages_are_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Collection.create("source", recipe(), engine)
    source.add([*range(3)], tokens=matrices(3), grids=[(ROWS, COLUMNS, PROMPT)] * 3)
    # More texts than a migration reads at a time.
    monkeypatch.setattr(reader, "PAGE_POINTS", 10)
    texts = matrices(40, 5)
    source.add([*range(3, 43)], tokens=texts, grids=[None] * 40)
    target = migrated(engine)
    assert target.count() == 43
    queries = TokenBatch.from_list([matrices(1)[0][:PROMPT], texts[30]])
    for query, id_, count in zip(queries, (0, 33), (PROMPT + ROWS, 5), strict=True):
        hit = target.search(tokens=query, limit=1, exact=True, with_vectors=True)[0]
        assert (hit.id, len(hit.vector["tokens"])) == (id_, count)  # type: ignore[index]


def test_a_source_without_grids_is_refused_before_anything_is_written(engine: Engine) -> None:
    source = Collection.create("source", recipe(), engine)
    source.add([*range(3)], tokens=matrices(3))
    check_refused(engine, "those of 'source', which lie on no grids")


def test_a_source_of_pooled_patches_is_refused(engine: Engine) -> None:
    source = Collection.create("source", recipe(HierarchicalPooling()), engine)
    source.add([*range(3)], tokens=matrices(3), grids=[(ROWS, COLUMNS, PROMPT)] * 3)
    check_refused(engine, "pooled or pruned before they were stored")


def test_an_empty_source_is_migrated(engine: Engine) -> None:
    Collection.create("source", recipe(), engine)
    assert migrated(engine).count() == 0


def test_a_collection_of_another_library_has_no_grids(engine: Engine) -> None:
    multivector = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=multivector)
    create = Call.of("create_collection", collection_name="source", vectors_config={"tokens": params})
    run(engine, retried(create))
    points = [models.PointStruct(id=1, vector={"tokens": matrices(1)[0].tolist()})]
    run(engine, retried(Call.of("upsert", collection_name="source", points=points, wait=True)))
    check_refused(engine, "those of 'source', which lie on no grids")
