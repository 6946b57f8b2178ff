"""Inputs of many kinds give a typed error or a result, soon, and leave no half-written batch.

``pytest tests/fuzz --fuzz 2000`` tries as many inputs of each kind; the suite tries a few.
"""

from __future__ import annotations

import inspect
import json
import random
import reprlib
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index.core.schema import TextNode
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore
from qdrant_client import QdrantClient
from typer.testing import CliRunner

from embplug import Collection, Dense, Query, Recipe, Sparse, Tokens, connect
from embplug.cli import app
from embplug.collection.manifest import MANIFEST_KEY
from embplug.encoders import registry
from embplug.engines import EdgeClient
from embplug.errors import EmbplugError, IngestError, InvalidArgumentError
from embplug.evaluation.beir import read_beir
from embplug.files.choose import open_source
from embplug.files.documents import FileDocuments
from embplug.methods import PCA, ResidualQuantizer
from embplug.recipe.recipe import digest
from tests.branches.parts import DIM, RecordingEncoder
from tests.fuzz.memory import peak_begins, peak_bytes
from tests.fuzz.values import damaged, value

LONGEST_S = 5.0
MOST_BYTES = 1 << 30
"""Of memory that one input may take beside what the process has already."""

RECIPE = Recipe(tokens=Tokens(dim=3), dense=Dense(dim=2), payload_indexes={"n": "integer"})
DENSE = np.array([[1.0, 0.0], [0.0, 1.0]])
TOKENS = [np.eye(3)[:2], np.eye(3)]

CALLS: dict[str, dict[str, Any]] = {
    "add": {
        "ids": [7, "x"],
        "tokens": TOKENS,
        "dense": DENSE,
        "texts": ["a", "b"],
        "payloads": [{"n": 1}, None],
        "on_empty": "store",
    },
    "retrieve": {"ids": [1, "b"]},
    "delete": {"ids": ["none"]},
    "set_payload": {"payload": {"n": 2}, "ids": [1]},
    "overwrite_payload": {"payload": {"n": 1}, "ids": [1]},
    "delete_payload": {"keys": ["q"], "ids": [1]},
    "scroll": {"filter": None, "limit": 2, "offset": None},
    "count": {"filter": None},
    "search": {
        "tokens": np.eye(3),
        "dense": DENSE[0],
        "limit": 2,
        "filter": None,
        "candidates": 5,
        "with_payload": True,
        "with_stages": True,
        "score_threshold": None,
        "search_params": None,
        "branches": None,
        "fusion": None,
        "mmr": None,
        "token_weights": None,
        "exact": False,
    },
    "batch_search": {"queries": [Query(dense=DENSE[0], tokens=np.eye(3))], "limit": 2},
    "create_payload_index": {"field_name": "m", "field_schema": "keyword"},
}


@pytest.fixture
def rounds(pytestconfig: pytest.Config) -> int:
    """How many inputs of each kind are tried."""
    return int(pytestconfig.getoption("--fuzz"))


def tried(call: Callable[[], Any], what: Any) -> BaseException | None:
    """The typed error of a call, or None; anything else fails the test with the input."""
    began, before = time.monotonic(), peak_begins()
    error: BaseException | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except EmbplugError as raised:
        error = raised
        assert str(raised).strip(), what
    except Exception as raised:
        pytest.fail(f"{type(raised).__name__}: {str(raised)[:500]}\nfor {reprlib.repr(what)}")
    assert time.monotonic() - began < LONGEST_S, what
    assert peak_bytes() - before < MOST_BYTES, what
    return error


def test_methods_of_a_collection(engine: Any, rounds: int) -> None:
    try_methods(engine, rounds)


def test_methods_of_a_collection_over_rest(qdrant_address: tuple[str, int], rounds: int) -> None:
    with closing(QdrantClient(url=qdrant_address[0], check_compatibility=False)) as client:
        client.delete_collection("docs")
        try:
            try_methods(client, rounds)
        finally:
            client.delete_collection("docs")


def try_methods(engine: Any, rounds: int) -> None:
    """Call methods of a collection with arguments of which some are anything."""
    docs = Collection.create("docs", RECIPE, engine)
    docs.add([1, "b"], tokens=TOKENS, dense=DENSE, texts=["one", "two"], payloads=[{"n": 1}, {"n": 2}])
    rng = random.Random(0)
    for number in range(rounds):
        name = rng.choice([*CALLS])
        count = min(len(CALLS[name]), rng.choice([1, 1, 1, 2]))
        wrong = {argument: value(rng) for argument in rng.sample([*CALLS[name]], count)}
        method = getattr(docs, name)
        before = docs.count()
        error = tried(lambda: method(**{**CALLS[name], **wrong}), (number, name, wrong))  # noqa: B023
        if isinstance(error, InvalidArgumentError):
            known = (*inspect.signature(method).parameters, "text", "document")
            assert error.argument.startswith(known), (number, name, wrong, error)
        assert not isinstance(error, IngestError), (number, name, wrong, error)
        if error is not None:
            assert docs.count() == before, (number, name, wrong, error)
        if docs.count() > 20:
            docs.delete([record.id for record in docs.scroll(limit=100)[0] if record.id not in (1, "b")])
    assert docs.search(tokens=np.eye(3), dense=DENSE[0])


@pytest.mark.parametrize("which", ["langchain", "llama_index"])
def test_stores(memory_client: QdrantClient, rounds: int, which: str) -> None:
    recipe, rng = Recipe(dense=Dense(dim=DIM)), random.Random(1)
    if which == "langchain":
        store: Any = LangChainStore(memory_client, "docs", RecordingEncoder(), recipe=recipe)
        store.add_texts(["a 1", "a 2"], [{"n": 1}, {"n": 2}], ids=["1", "2"])
        calls: list[Callable[[Any], Any]] = [
            lambda wrong: store.add_texts(["a 3"], [{"a": wrong}]),
            lambda wrong: store.add_texts(["a 3"], [wrong]),
            lambda wrong: store.add_texts(["a 3"], ids=[wrong]),
            lambda wrong: store.delete([wrong]),
            lambda wrong: store.get_by_ids([wrong]),
            lambda wrong: store.similarity_search("a 1", filter={"n": wrong}),
            lambda wrong: store.similarity_search("a 1", filter=wrong),
            lambda wrong: store.similarity_search("a 1", k=wrong),
            lambda wrong: store.similarity_search_by_vector(wrong),
        ]
    else:
        store = LlamaIndexStore("docs", memory_client, recipe=recipe, encoder=RecordingEncoder())
        store.add([TextNode(id_="1", text="a 1")])
        calls = [
            lambda wrong: store.add([TextNode(id_="2", text="a 2", metadata={"a": wrong})]),
            lambda wrong: store.add([TextNode(id_="2", text="a 2")], token_embeddings=wrong),
            lambda wrong: store.delete_nodes([wrong]),
            lambda wrong: store.get_nodes([wrong]),
            lambda wrong: store.delete(wrong),
        ]
    for number in range(rounds):
        wrong = value(rng)
        call = rng.choice(calls)
        tried(lambda: call(wrong), (number, inspect.getsource(call), wrong))  # noqa: B023


RECIPES = [
    RECIPE.to_yaml(),
    json.dumps(RECIPE.to_dict()),
    Recipe(dense=Dense(dim=8, transforms=[PCA(4)], funnel=[2])).to_yaml(),
    Recipe(tokens=Tokens(dim=8, codes=ResidualQuantizer(size=4, centroids=8))).to_yaml(),
]


def test_recipes_as_text_and_as_data(rounds: int) -> None:
    rng = random.Random(2)
    for number in range(rounds):
        text = damaged(rng, rng.choice(RECIPES)).decode(errors="surrogateescape")
        tried(lambda: Recipe.from_yaml(text), (number, text[:300]))  # noqa: B023
        data = Recipe.from_yaml(rng.choice(RECIPES)).to_dict()
        part = data
        while rng.random() < 0.7 and (inner := [v for v in part.values() if isinstance(v, dict) and v]):
            part = rng.choice(inner)
        part[rng.choice([*part, "new"])] = value(rng)
        tried(lambda: Recipe.from_dict(data), (number, data))  # noqa: B023


LINES = '{"id": 1, "text": "one", "n": 1}\n{"_id": "b", "text": "two", "k": {"m": [1.5, null]}}\n'
QUERIES = '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n'
CORPUS = '{"_id": "d1", "title": "t", "text": "one"}\n{"_id": "d2", "title": "", "text": "two"}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n"


def test_files(tmp_path: Path, rounds: int) -> None:
    rng = random.Random(3)
    (tmp_path / "qrels").mkdir()
    files = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/test.tsv": QRELS}
    for number in range(rounds):
        lines = damaged(rng, LINES)
        (tmp_path / "docs.jsonl").write_bytes(lines)
        documents = FileDocuments(open_source(tmp_path / "docs.jsonl"), Recipe(sparse=Sparse()))
        tried(lambda documents=documents: [*documents.batches()], (number, lines[:300]))
        wrong = rng.choice([*files])
        for name, text in files.items():
            (tmp_path / name).write_bytes(damaged(rng, text) if name == wrong else text.encode())
        tried(lambda: read_beir(tmp_path), (number, wrong, (tmp_path / wrong).read_bytes()[:300]))


@pytest.fixture
def recording() -> Iterator[None]:
    registry.register_encoder("recording", RecordingEncoder)
    yield
    del registry._registered["recording"]


def test_stored_manifests(memory_client: QdrantClient, recording: None, rounds: int) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)]), encoder="recording")
    docs = Collection.create("docs", recipe, memory_client)
    docs.add(range(4), dense=np.eye(4, DIM))
    whole = memory_client.get_collection("docs").config.metadata[MANIFEST_KEY]
    whole = {key: field for key, field in whole.items() if key != "sha256"}
    rng = random.Random(4)
    for number in range(rounds):
        altered = json.loads(json.dumps(whole))
        part = altered
        while rng.random() < 0.7 and (inner := [v for v in part.values() if isinstance(v, dict) and v]):
            part = rng.choice(inner)
        wrong = value(rng)
        try:
            wrong = json.loads(json.dumps(wrong))
        except (TypeError, ValueError, RecursionError):
            wrong = rng.choice([None, -1, "x", [], {}, 10**15, 1.5])
        part[rng.choice([*part, "new"])] = wrong
        altered["sha256"] = digest(altered)
        memory_client.update_collection("docs", metadata={MANIFEST_KEY: altered})

        def use() -> None:
            opened = Collection.open("docs", memory_client)
            opened.search(dense=np.ones(DIM))

        tried(use, (number, altered))


OPTIONS = ["--at", "--limit", "--filter", "--branch", "--json", "--recipe", "--id-key", "--yes", "--nope"]
WORDS = ["", " ", "docs", "٣", "-1", "1e9", "{", "[]", '{"must": 1}', "\ud800", "a\0b", "http://", "./none"]


def test_the_command_line(tmp_path: Path, rounds: int) -> None:
    with connect(str(tmp_path / "data")) as client:
        assert isinstance(client, EdgeClient)
        Collection.create("docs", Recipe(dense=Dense(dim=2)), client).add([1], dense=[[1.0, 0.0]])
    recipe = tmp_path / "recipe.yaml"
    rng = random.Random(5)
    commands = ["create", "add", "search", "info", "delete", "drop", "evaluate", "migrate", "upgrade"]
    for number in range(rounds):
        recipe.write_bytes(damaged(rng, RECIPES[0]))
        arguments = [rng.choice(commands)]
        for _ in range(rng.randrange(4)):
            arguments.append(rng.choice([*OPTIONS, *WORDS, "docs", str(recipe)]))
        arguments += ["--at", str(tmp_path / "data")] if rng.random() < 0.7 else []
        began, before = time.monotonic(), peak_begins()
        result = CliRunner().invoke(app, arguments, input="n\n", env={"COLUMNS": "100"})
        shown = (number, arguments, result.output[-500:])
        assert result.exception is None or isinstance(result.exception, SystemExit), (shown, result.exception)
        assert "Traceback" not in result.output, shown
        assert peak_bytes() - before < MOST_BYTES, shown
        assert time.monotonic() - began < LONGEST_S, shown
