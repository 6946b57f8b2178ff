"""Opening a collection of somebody else loads no model that its reader has not allowed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from embplug import Collection, CrossEncoderStage, Dense, Recipe, Rerank, Tokens
from embplug.encoders import registry
from embplug.errors import UntrustedModelError
from embplug.frameworks.opening import open_or_create
from tests.branches.parts import DIM, RecordingEncoder

MODEL = "sentence-transformers:somebody/model"
RERANK = Rerank(cross_encoder=CrossEncoderStage(name=MODEL))
RECIPE = Recipe(dense=Dense(dim=DIM), encoder=MODEL, rerank=RERANK)


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modules of encoders that were imported; each of them only records."""
    names: list[str] = []

    def record(name: str) -> Any:
        names.append(name)
        return type("module", (), {"SentenceTransformersEncoder": lambda model: RecordingEncoder()})

    monkeypatch.setattr(registry, "importlib", type("", (), {"import_module": record}))
    assert importlib is not registry.importlib
    return names


def test_a_reader_of_a_foreign_collection_loads_nothing(memory_client: Any, imports: list[str]) -> None:
    writer = Collection.create("docs", RECIPE, memory_client)
    writer.add([1, 2], dense=np.eye(2, DIM), texts=["a", "b"])
    assert writer.encoder is not None and len(imports) == 1  # the recipe is the caller's own
    del imports[:]
    reader = Collection.open("docs", memory_client)
    assert reader.count() == 2 and reader.info().points == 2
    for refused in (
        lambda: reader.search(text="a"),
        lambda: reader.add([3], texts=["c"]),
        lambda: reader.search(text="a", dense=np.ones(DIM)),  # by the cross-encoder
        lambda: reader.encoder,
        lambda: (reader.reload(), reader.search(text="a")),
    ):
        with pytest.raises(UntrustedModelError, match=MODEL):
            refused()
    assert imports == [] and reader.count() == 2
    own = Collection.open("docs", memory_client, cross_encoder=lambda query, texts: [1.0] * len(texts))
    assert len(own.search(text="a", dense=np.ones(DIM))) == 2 and imports == []


def test_whoever_creates_with_the_recipe_allows_its_models(memory_client: Any, imports: list[str]) -> None:
    Collection.create("docs", RECIPE, memory_client)
    again = Collection.create("docs", RECIPE, memory_client)
    again.reload()
    assert isinstance(again.encoder, RecordingEncoder) and len(imports) == 1


def test_stores_allow_the_models_of_the_users_own_recipe(memory_client: Any, imports: list[str]) -> None:
    tokens = Recipe(tokens=Tokens(dim=DIM), encoder=MODEL)
    Collection.create("docs", tokens, memory_client)

    def opened(recipe: Recipe | None) -> Collection:
        return open_or_create(
            "docs",
            memory_client,
            None,
            recipe=recipe,
            adapt=lambda recipe: recipe,
            default=None,
            vector_name="",
            text_key="text",
            how_to_compress="",
        )[0]

    with pytest.raises(UntrustedModelError):
        _ = opened(None).encoder
    assert isinstance(opened(tokens).encoder, RecordingEncoder)
