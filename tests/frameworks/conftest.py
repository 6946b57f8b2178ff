"""Stores on every engine, and a server over each of its protocols."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_embplug import EmbplugVectorStore
from qdrant_client import QdrantClient

from embplug import Dense, Encoded, Multivector, Recipe, TokenBatch, Tokens
from embplug.engines import EdgeClient, Engine
from embplug.methods import FDE

PATHS = ("edge", "memory", "rest", "grpc")
RECIPES = ("dense", "tokens")
DIM = 16


class HashedWords:
    """An encoder of tokens without a model: each word is the unit vector that its hash seeds."""

    spec = "hashed-words"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return Encoded(TokenBatch.from_list([self._matrix(text) for text in texts], DIM))

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        return self.encode_documents(texts)

    @staticmethod
    def _matrix(text: str) -> np.ndarray:
        words = text.lower().split()
        seeds = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") for word in words]
        rows = [np.random.default_rng(seed).standard_normal(DIM) for seed in seeds]
        matrix = np.array(rows, dtype=np.float32).reshape(-1, DIM)
        return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


EMBEDDINGS = DeterministicFakeEmbedding(size=6)
ENCODER = HashedWords()
TOKENS_RECIPE = Recipe(
    tokens=Tokens(
        dim=DIM,
        encoding=FDE(repetitions=4, simhash_bits=2, projection_dim=8),
        multivector=Multivector(),
        codes=None,
    )
)
DENSE_RECIPE = Recipe(dense=Dense(dim=6))


@pytest.fixture(scope="session", params=PATHS)
def engine_path(request: pytest.FixtureRequest) -> str:
    """Each engine's name, and each protocol of the server."""
    return str(request.param)


@pytest.fixture
def client(engine_path: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A client of each engine in turn; what the test makes is removed after it."""
    with contextlib.ExitStack() as stack:
        if engine_path == "edge":
            path = request.getfixturevalue("tmp_path")
            yield stack.enter_context(EdgeClient(path / "edge"))
            return
        if engine_path == "memory":
            yield stack.enter_context(contextlib.closing(QdrantClient(":memory:")))
            return
        url, grpc_port = request.getfixturevalue("qdrant_address")
        server = QdrantClient(
            url, grpc_port=grpc_port, prefer_grpc=engine_path == "grpc", check_compatibility=False, timeout=30
        )
        stack.enter_context(contextlib.closing(server))
        yield server
        for collection in server.get_collections().collections:
            server.delete_collection(collection.name)


@pytest.fixture(params=RECIPES)
def recipe_name(request: pytest.FixtureRequest) -> str:
    """Dense vectors by LangChain's embeddings, and tokens by an encoder."""
    return str(request.param)


@pytest.fixture
def make_store(recipe_name: str, client: Engine) -> Callable[[str], EmbplugVectorStore]:
    """Opens a store of the recipe; again by the same name: the same collection."""

    def make(name: str = "docs") -> EmbplugVectorStore:
        if recipe_name == "dense":
            return EmbplugVectorStore(client, name, EMBEDDINGS, recipe=DENSE_RECIPE)
        return EmbplugVectorStore(client, name, encoder=ENCODER, recipe=TOKENS_RECIPE)

    return make
