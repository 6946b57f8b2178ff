"""Adding through a connection that breaks, in bounded memory, within the limits of requests."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from urllib.parse import urlsplit

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Documents, Multivector, Recipe, Tokens
from embplug.branches.pipeline import Pipeline
from embplug.collection import chunks, writing
from embplug.errors import DimensionError, IngestError, InvalidArgumentError, PointTooLargeError
from embplug.methods import FDE, PCA, LearnedEncoding
from embplug.methods.encodings import learned
from tests.collection.test_collection import DIM, RECIPE, matrices
from tests.proxy import proxy


def client(url: str, prefer_grpc: bool, port: int) -> QdrantClient:
    if prefer_grpc:
        return QdrantClient(url, grpc_port=port, prefer_grpc=True, check_compatibility=False, timeout=5)
    return QdrantClient(f"http://127.0.0.1:{port}", check_compatibility=False, timeout=5)


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
def test_nothing_is_lost_or_doubled_when_the_connection_breaks(
    prefer_grpc, server_client, qdrant_address, monkeypatch
):
    url, grpc_port = qdrant_address
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 10)
    documents = matrices(200)
    Collection.create("docs", RECIPE, server_client)
    with proxy(grpc_port if prefer_grpc else urlsplit(url).port) as line:
        shaky = client(url, prefer_grpc, line.port)
        collection = Collection.open("docs", shaky)

        def batches():
            for start in range(0, 200, 20):
                if start in (60, 120):
                    line.cut()
                    threading.Timer(0.4, line.mend).start()
                yield Documents(
                    range(start, start + 20),
                    tokens=documents[start : start + 20],
                    payloads=[{"n": start + i} for i in range(20)],
                )

        report = collection.add_batches(batches())
        shaky.close()
    assert (report.added, report.failed) == (200, [])
    assert report.retries > 0
    records, _ = Collection.open("docs", server_client).scroll(limit=1000)
    assert [(record.id, record.payload) for record in records] == [(i, {"n": i}) for i in range(200)]


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
def test_the_first_documents_of_a_recipe_that_learns_wait_for_the_server(
    prefer_grpc, server_client, qdrant_address
):
    url, grpc_port = qdrant_address
    recipe = Recipe(dense=Dense(dim=8, transforms=[PCA(4)]))
    Collection.create("docs", recipe, server_client)
    with proxy(grpc_port if prefer_grpc else urlsplit(url).port) as line:
        shaky = client(url, prefer_grpc, line.port)
        collection = Collection.open("docs", shaky)
        line.cut()
        threading.Timer(0.4, line.mend).start()
        assert collection.add(range(20), dense=np.random.default_rng(0).normal(size=(20, 8))).added == 20
        shaky.close()
    assert len(Collection.open("docs", server_client).search(dense=np.ones(8), limit=5)) == 5


def test_what_could_not_be_written_is_reported(server_client, qdrant_address, monkeypatch):
    url, grpc_port = qdrant_address
    monkeypatch.setattr(writing, "RETRIES", 1)
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 10)
    Collection.create("docs", RECIPE, server_client)
    documents = matrices(100)
    with proxy(grpc_port) as line:
        shaky = client(url, True, line.port)
        collection = Collection.open("docs", shaky)

        def batches():
            for start in range(0, 100, 10):
                if start == 50:
                    line.cut()
                yield Documents(range(start, start + 10), tokens=documents[start : start + 10])

        def with_an_empty_one():
            yield Documents([1000], tokens=[np.zeros((0, DIM))])
            yield from batches()

        with pytest.raises(IngestError, match="Adding them again is safe") as caught:
            collection.add_batches(with_an_empty_one(), on_empty="skip")
        shaky.close()
    report = caught.value.report
    assert report.skipped == [1000]
    failed = [i for failure in report.failed for i in failure.ids]
    stored = {record.id for record in Collection.open("docs", server_client).scroll(limit=1000)[0]}
    # What was written and not acknowledged counts as failed: adding it again is safe.
    assert failed and report.added == len(stored.difference(failed))


def test_a_bad_batch_ends_the_call_and_leaves_whole_batches(engine):
    collection = Collection.create("docs", RECIPE, engine)

    def batches():
        yield Documents([1, 2], tokens=matrices(2))
        yield Documents([3, 4], tokens=[np.ones((1, DIM)), np.ones((1, DIM + 1))])
        pytest.fail("read on after an error")

    with pytest.raises(DimensionError, match=r"^tokens\[1\]"):
        collection.add_batches(batches())
    assert collection.count() == 2
    with pytest.raises(InvalidArgumentError, match=r"^batches"):
        collection.add_batches([{"ids": [1]}])


def test_memory_is_bounded_whatever_comes(edge_client):
    recipe = Recipe(
        tokens=Tokens(
            dim=64,
            encoding=FDE(repetitions=2, simhash_bits=3, projection_dim=8),
            multivector=None,
            codes=None,
        )
    )
    collection = Collection.create("docs", recipe, edge_client)
    rng = np.random.default_rng(0)
    batch_bytes = 50 * 200 * 64 * 4

    def batches(count: int):
        for start in range(0, count * 50, 50):
            yield Documents(range(start, start + 50), tokens=list(rng.standard_normal((50, 200, 64))))

    collection.add_batches(batches(2))
    tracemalloc.start()
    collection.add_batches(batches(30))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A batch is kept in the user's float64 until it is written, because it may have to be encoded anew.
    assert peak < 20 * batch_bytes


@pytest.mark.parametrize("prefer_grpc", [True, False], ids=["grpc", "rest"])
def test_large_batches_are_split_into_requests_that_the_server_takes(
    prefer_grpc, server_client, qdrant_address
):
    url, grpc_port = qdrant_address
    recipe = Recipe(
        tokens=Tokens(
            dim=128,
            encoding=FDE(repetitions=2, simhash_bits=2, projection_dim=8),
            multivector=Multivector(),
            codes=None,
        )
    )
    line = client(url, prefer_grpc, grpc_port if prefer_grpc else urlsplit(url).port)
    collection = Collection.create("docs", recipe, line)
    tokens = np.random.default_rng(0).standard_normal((6, 4000, 128)).astype(np.float32)
    assert collection.add(ids=range(6), tokens=list(tokens)).added == 6
    assert collection.count() == 6
    if not prefer_grpc:
        with pytest.raises(PointTooLargeError, match=r"^document 9: "):
            collection.add(ids=[8, 9], tokens=list(tokens[:2, :2]), payloads=[{}, {"text": "x" * (33 << 20)}])
        assert collection.count() == 6
    collection.drop()
    line.close()


def test_vectors_arrive_as_they_were_sent(engine):
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=FDE(repetitions=2, simhash_bits=2, projection_dim=8),
            multivector=Multivector(),
            codes=None,
        )
    )
    documents = matrices(5)
    collection = Collection.create("docs", recipe, engine)
    collection.add(ids=range(5), tokens=documents, payloads=[{"a": [1, {"b": None}], "c": "ü"}] * 5)
    for record in engine.retrieve("docs", range(5), with_vectors=True):
        np.testing.assert_allclose(record.vector["tokens"], documents[record.id], atol=1e-3)
        assert record.payload == {"a": [1, {"b": None}], "c": "ü"}
    assert recipe.tokens.multivector.datatype == models.Datatype.FLOAT16


@pytest.mark.parametrize(("encoding", "documents", "sampled"), [("learned", 60, 41), ("fde", 120, 41)])
def test_it_learns_from_no_more_tokens_than_memory_is_meant_for(
    edge_client, monkeypatch, encoding, documents, sampled
):
    """Where tokens teach nothing, they do not lessen what dense vectors teach."""
    monkeypatch.setattr(learned, "SAMPLE_TOKENS", 410)
    fde = LearnedEncoding(stored_dim=64, features=16, landmarks=256, compared=64)
    tokens = Tokens(
        dim=8, encoding=fde if encoding == "learned" else FDE(repetitions=2), multivector=None, codes=None
    )
    recipe = Recipe(tokens=tokens, dense=Dense(dim=8, transforms=[PCA(4)]))
    samples = []
    whole = Pipeline.fit
    monkeypatch.setattr(
        Pipeline, "fit", lambda self, sample: (samples.append(sample), whole(self, sample))[1]
    )
    rng = np.random.default_rng(0)
    collection = Collection.create("learning", recipe, edge_client)
    batches = [
        Documents(
            range(start, start + 20),
            tokens=list(rng.standard_normal((20, 10, 8))),
            dense=rng.standard_normal((20, 8)),
        )
        for start in range(0, 120, 20)
    ]
    assert collection.add_batches(batches).added == 120
    (sample,) = samples
    assert len(sample.dense["dense"]) == documents
    assert len(sample.tokens) == sampled


def test_whoever_asks_is_told_how_many_batches_are_stored(edge_client, capsys):
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2)), edge_client)
    told = []

    def stored(count):
        # Everything before is in the collection by now.
        told.append(count)
        assert collection.count() >= 5 * count

    batches = [Documents(range(5 * i, 5 * i + 5), dense=[[1.0, i]] * 5) for i in range(12)]
    collection.add_batches(batches, on_stored=stored, total=60, progress=True)
    assert told == sorted(told) and told[0] == 0 and told[-1] == 11
    shown = capsys.readouterr().err
    assert "/60" in shown and "encoded" in shown

    def broken():
        yield Documents(range(100, 105), dense=[[1.0, 0.0]] * 5)
        yield Documents(range(105, 110), dense=[[1.0, 0.0]] * 5)
        raise KeyboardInterrupt

    told.clear()
    with pytest.raises(KeyboardInterrupt):
        collection.add_batches(broken(), on_stored=told.append)
    assert told[-1] == 1 and collection.count() == 70


def test_a_call_that_fails_tells_how_many_documents_it_has_stored(memory_client, caplog):
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2)), memory_client)

    def broken():
        yield Documents(range(5), dense=[[1.0, 0.0]] * 5)
        raise KeyboardInterrupt

    with caplog.at_level(logging.DEBUG, "embplug.collection.ingest"), pytest.raises(KeyboardInterrupt):
        collection.add_batches(broken())
    (line,) = [record.message for record in caplog.records if record.message.startswith("add of 'docs'")]
    assert ", documents 5," in line


@pytest.mark.parametrize("options", [{"total": "many"}, {"total": -1}, {"on_stored": 3}])
def test_nothing_is_written_if_an_option_is_wrong(memory_client, options):
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2)), memory_client)
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))}: "):
        collection.add_batches([Documents([1], dense=[[1.0, 0.0]])], **options)
    assert collection.count() == 0
