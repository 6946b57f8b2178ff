"""Every way in checks vectors the same, on each engine: tokens, learned sparse vectors, weights and names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    Collection,
    Documents,
    Query,
    Recipe,
    Sparse,
    Tokens,
    advise,
    connect,
    migrate,
    recode,
    reembed,
    upgrade,
)
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration import rollback
from embplug.methods import AdaptiveQuantizer, SaliencyPruning

RECIPE = Recipe(
    tokens=Tokens(
        dim=4,
        codes=AdaptiveQuantizer(size=4),
        reduction=SaliencyPruning(),
        query_reduction=SaliencyPruning(),
    ),
    sparse=Sparse(kind="learned"),
)
TOKENS = np.eye(4, dtype=np.float32)[:3]
SALIENCY = [1.0, 2.0, 3.0]
WEIGHTS = {1: 0.5}


@pytest.fixture
def docs(engine: Any) -> Collection:
    """Documents with tokens and learned sparse vectors, on each engine."""
    collection = Collection.create("docs", RECIPE, engine)
    collection.add([1, "b"], tokens=[TOKENS, TOKENS[::-1]], saliency=[SALIENCY] * 2, sparse=[WEIGHTS] * 2)
    return collection


def add(docs: Collection, **wrong: Any) -> Any:
    return docs.add([3], **{"tokens": [TOKENS], "saliency": [SALIENCY], "sparse": [WEIGHTS], **wrong})


def search(docs: Collection, **wrong: Any) -> Any:
    return docs.search(**{"tokens": TOKENS, "saliency": SALIENCY, "sparse": WEIGHTS, **wrong})


def groups(docs: Collection, **wrong: Any) -> Any:
    return docs.search_groups("n", **{"tokens": TOKENS, "saliency": SALIENCY, "sparse": WEIGHTS, **wrong})


def explain(docs: Collection, **wrong: Any) -> Any:
    return docs.explain(**{"id": 1, "tokens": TOKENS, "saliency": SALIENCY, **wrong})


def drift(docs: Collection, **wrong: Any) -> Any:
    return docs.drift(**{"tokens": [TOKENS, TOKENS[::-1]], "saliency": [SALIENCY] * 2, **wrong})


WAYS_IN: dict[str, dict[str, Any]] = {
    "tokens": {
        "add": lambda docs, wrong: add(docs, tokens=[wrong]),
        "search": lambda docs, wrong: search(docs, tokens=wrong),
        "search_groups": lambda docs, wrong: groups(docs, tokens=wrong),
        "explain": lambda docs, wrong: explain(docs, tokens=wrong),
        "drift": lambda docs, wrong: drift(docs, tokens=[wrong]),
    },
    "sparse": {
        "add": lambda docs, wrong: add(docs, sparse=[wrong]),
        "search": lambda docs, wrong: search(docs, sparse=wrong),
        "search_groups": lambda docs, wrong: groups(docs, sparse=wrong),
    },
    "saliency": {
        "add": lambda docs, wrong: add(docs, saliency=[wrong]),
        "search": lambda docs, wrong: search(docs, saliency=wrong),
        "search_groups": lambda docs, wrong: groups(docs, saliency=wrong),
        "explain": lambda docs, wrong: explain(docs, saliency=wrong),
        "drift": lambda docs, wrong: drift(docs, saliency=[wrong]),
    },
    "token_weights": {
        "search": lambda docs, wrong: search(docs, token_weights=wrong),
        "search_groups": lambda docs, wrong: groups(docs, token_weights=wrong),
        "explain": lambda docs, wrong: explain(docs, token_weights=wrong),
    },
    "id": {"explain": lambda docs, wrong: explain(docs, id=wrong)},
}
"""Methods of a collection by what they take. ``add_batches`` is what ``add`` calls."""

WRONG: dict[str, list[Any]] = {
    "tokens": [TOKENS[:, :3], TOKENS[0], [[float("nan")] * 4], [[np.inf] * 4], np.zeros((0, 4)), "ab", 7],
    "sparse": [
        {-1: 1.0},
        {2**32: 1.0},
        {1.5: 1.0},
        {"a": 1.0},
        {1: float("nan")},
        {1: "a"},
        models.SparseVector(indices=[1, 1], values=[1.0, 2.0]),
        models.SparseVector(indices=[1], values=[1.0, 2.0]),
        [1.0],
        "a",
    ],
    "saliency": [[1.0], [1.0, 2.0, float("nan")], ["a", "b", "c"], 1.0, "abc"],
    "token_weights": [[1.0], [1.0, -1.0, 1.0], [1.0, 1.0, float("inf")], "abc"],
    "id": ["", -1, 2**64, 1.5, True, None, "\ud800", "absent"],
}


@pytest.mark.parametrize("kind", WAYS_IN)
def test_every_method_that_takes_it_is_listed(kind: str) -> None:
    taking = {
        name
        for name, method in inspect.getmembers(Collection, inspect.isfunction)
        if not name.startswith("_") and kind in inspect.signature(method).parameters
    }
    assert taking == {*WAYS_IN[kind]}


@pytest.mark.parametrize("kind", WAYS_IN)
def test_what_is_wrong_is_refused_by_every_method(docs: Collection, kind: str) -> None:
    before = docs.scroll()[0]
    for name, call in WAYS_IN[kind].items():
        for wrong in WRONG[kind]:
            with pytest.raises(InvalidArgumentError, match=f"^{kind}"):
                call(docs, wrong)
                pytest.fail(f"{name} took {wrong!r}")
    assert docs.scroll()[0] == before
    for call in (add, search, groups, explain, drift):
        call(docs)


@pytest.mark.parametrize("kind", ["tokens", "sparse", "saliency"])
def test_queries_of_a_batch_and_documents_of_batches_are_checked_too(docs: Collection, kind: str) -> None:
    right = {"tokens": TOKENS, "saliency": SALIENCY, "sparse": WEIGHTS}
    for wrong in WRONG[kind]:
        with pytest.raises(InvalidArgumentError, match=rf"^queries\[1\]\.{kind}"):
            docs.batch_search([Query(**right), Query(**{**right, kind: wrong})])
        document = {**{name: [value] for name, value in right.items()}, kind: [wrong]}
        with pytest.raises(InvalidArgumentError, match=f"^(batches.*)?{kind}"):
            docs.add_batches([Documents([3], **document)])
    assert docs.count() == 2


PLAIN = Recipe(sparse=Sparse(kind="learned"))
NAMES: dict[str, Any] = {
    "create": lambda engine, name: Collection.create(name, PLAIN, engine),
    "open": lambda engine, name: Collection.open(name, engine),
    "open_plain": lambda engine, name: Collection.open_plain(name, engine),
    "source": lambda engine, name: migrate(name, "target", PLAIN, engine=engine),
    "target": lambda engine, name: migrate("docs", name, PLAIN, engine=engine),
    "alias": lambda engine, name: migrate("docs", "target", PLAIN, engine=engine, alias=name),
    "rollback": lambda engine, name: rollback("docs", name, "alias", engine=engine),
    "advise": lambda engine, name: advise(name, engine=engine, recall=0.9),
    "reembed": lambda engine, name: reembed(name, engine=engine),
    "upgrade": lambda engine, name: upgrade(name, "minilm", engine=engine),
    "recode": lambda engine, name: recode(name, new=[[1.0]], old=[[1.0]], engine=engine),
}


@pytest.mark.parametrize("way", NAMES)
def test_names_of_collections_are_checked_by_every_way_in(tmp_path: Path, way: str) -> None:
    engine = connect(tmp_path / "data")
    Collection.create("docs", PLAIN, engine)
    for wrong in ("", " ", "a/b", "a\0b", "\ud800", 7, "x" * 300):
        with pytest.raises(InvalidArgumentError, match=r"^(name|source|target|alias|collection): "):
            NAMES[way](engine, wrong)
    engine.close()
