"""Encoders behind endpoints, against a real server in this process."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import pytest

from embplug import Collection, Dense, Recipe
from embplug.encoders import Encoder, load_encoder
from embplug.encoders.endpoint import LONGEST_WAIT, retry_after
from embplug.encoders.served import OpenAIEncoder, TEIEncoder, VLLMEncoder
from embplug.errors import EncoderError, InvalidArgumentError, UntrustedModelError
from tests.encoders.model_server import DIM, REVISION, ModelServer, running, token_vectors

TEXTS = ["a cat sat", "parse a date", "moon"]
KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBPLUG_ENCODER_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running() as server:
        yield server


def openai(server: ModelServer, **options: Any) -> OpenAIEncoder:
    return OpenAIEncoder(f"{server.url}/v1#tiny", **options)


def test_an_openai_endpoint_gives_dense_vectors_in_the_order_of_the_texts(server: ModelServer) -> None:
    encoder = load_encoder(f"openai:{server.url}/v1#tiny")
    assert isinstance(encoder, Encoder) and encoder.spec == f"openai:{server.url}/v1#tiny"
    expected = np.stack([token_vectors(text).mean(axis=0) for text in TEXTS])
    for encoded in (encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)):
        assert encoded.tokens is encoded.sparse is None
        np.testing.assert_allclose(encoded.dense, expected, atol=1e-6)
    body = {"model": "tiny", "input": TEXTS, "encoding_format": "float"}
    assert server.requests[0] == ("/v1/embeddings", body, None)


@pytest.mark.parametrize("spec", ["vllm:{url}#tiny", "tei:{url}#tokens"])
def test_token_vectors_have_unit_length(server: ModelServer, spec: str) -> None:
    encoded = load_encoder(spec.format(url=server.url)).encode_documents(TEXTS)
    assert encoded.tokens is not None and encoded.dense is encoded.sparse is None
    assert encoded.tokens.lengths.tolist() == [3, 3, 1]
    expected = np.concatenate([token_vectors(text) / 2 for text in TEXTS])
    np.testing.assert_allclose(encoded.tokens.values, expected, atol=1e-6)


def test_tei_gives_dense_and_sparse_vectors(server: ModelServer) -> None:
    dense = load_encoder(f"tei:{server.url}").encode_queries(TEXTS).dense
    np.testing.assert_allclose(dense, [token_vectors(text).mean(axis=0) for text in TEXTS], atol=1e-6)
    sparse = load_encoder(f"tei:{server.url}#sparse").encode_queries(TEXTS).sparse
    assert sparse is not None and sparse.shape[0] == 3 and np.diff(sparse.indptr).tolist() == [3, 3, 1]
    assert set(sparse.data) == {1.5} and all(np.all(np.diff(sparse[[i]].indices) > 0) for i in range(3))
    assert server.requests[-1][1] == {"inputs": TEXTS, "truncate": True}


def test_a_stored_recipe_does_not_choose_where_texts_are_sent(
    server: ModelServer, memory_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(dense=Dense(dim=DIM), encoder=f"openai:{server.url}/v1#tiny")
    Collection.create("docs", recipe, memory_client).add([1, 2], texts=["cat", "dog"])
    del server.requests[:]
    monkeypatch.setenv("EMBPLUG_TRUSTED_MODELS", "*,openai:*")
    with pytest.raises(UntrustedModelError, match=server.url):
        Collection.open("docs", memory_client).search(text="cat")
    assert server.requests == []
    monkeypatch.setenv("EMBPLUG_TRUSTED_MODELS", f"openai:{server.url}/*")
    assert Collection.open("docs", memory_client).search(text="cat")[0].id == 1


def test_texts_are_sent_in_batches_and_prompts_stand_before_them(server: ModelServer) -> None:
    texts = [f"word{i} more" for i in range(23)]
    encoder = openai(server, batch_size=5, concurrency=3, query_prompt="query ", document_prompt="passage ")
    dense = encoder.encode_documents(texts).dense
    assert sorted(len(body["input"]) for _, body, _ in server.requests) == [3, 5, 5, 5, 5]
    expected = np.stack([token_vectors(f"passage {text}").mean(axis=0) for text in texts])
    np.testing.assert_allclose(dense, expected, atol=1e-6)
    encoder.encode_queries(["cat"])
    assert server.requests[-1][1]["input"] == ["query cat"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (openai, (("dense",), None, DIM, None, "name-tiny")),
        (lambda server: VLLMEncoder(f"{server.url}#tiny"), (("tokens",), DIM, None, 99, "name-tiny")),
        (lambda server: TEIEncoder(server.url), (("dense",), None, DIM, 77, REVISION)),
        (lambda server: TEIEncoder(f"{server.url}#sparse"), (("sparse",), None, None, 77, REVISION)),
    ],
)
def test_the_encoder_tells_what_the_endpoint_makes(server: ModelServer, make: Any, expected: Any) -> None:
    encoder = make(server)
    known = encoder.info
    assert known.outputs == expected[0] and known.dense_dim is known.token_dim is None
    assert server.requests == []
    encoder.encode_queries(["cat"])
    assert (encoder.max_tokens, encoder.revision) == expected[3:]
    info = encoder.info
    assert (info.outputs, info.token_dim, info.dense_dim, info.max_tokens, info.revision) == expected


def test_errors_that_may_pass_are_tried_again(server: ModelServer) -> None:
    server.failures = [(503, {"Retry-After": "0"}, "busy"), (429, {"Retry-After": "0"}, "slower")]
    dense = openai(server, retries=2).encode_queries(["cat"]).dense
    assert dense is not None and dense.shape == (1, DIM) and len(server.requests) == 3


def test_the_time_of_retry_after_is_waited(server: ModelServer) -> None:
    server.failures = [(429, {"Retry-After": "0.3"}, "slower")]
    before = time.monotonic()
    openai(server, retries=1).encode_queries(["cat"])
    assert time.monotonic() - before >= 0.3


@pytest.mark.parametrize(("status", "requests"), [(503, 2), (400, 1), (401, 1), (302, 1)])
def test_what_fails_in_the_end_is_named(server: ModelServer, status: int, requests: int) -> None:
    server.failures = [(status, {"Retry-After": "0", "Location": "http://127.0.0.1:9/"}, f"no {KEY}")] * 2
    with pytest.raises(EncoderError) as raised:
        openai(server, retries=1, api_key=KEY).encode_queries(["cat"])
    assert raised.value.url == f"{server.url}/v1/embeddings"
    assert str(status) in str(raised.value) and KEY not in str(raised.value)
    assert len(server.requests) == requests


def test_an_endpoint_that_cannot_be_reached_is_named() -> None:
    with running() as server:
        encoder = openai(server, retries=0)
    with pytest.raises(EncoderError, match="cannot be reached"):
        encoder.encode_queries(["cat"])


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"data": []},
        {"data": [{"index": 0, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0, "x"]}]},
        {"data": [{"index": 0, "embedding": [1.0, None]}]},
        {"data": [{"index": 0, "embedding": [1e300, 1.0]}]},
        {"data": [{"index": 0, "embedding": [[1.0]]}]},
        {"data": [{"index": i, "embedding": [1.0]} for i in range(3)]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
    ],
)
def test_answers_without_right_vectors_are_refused(server: ModelServer, answer: Any) -> None:
    server.answers["/v1/embeddings"] = answer
    with pytest.raises(EncoderError, match=r"/v1/embeddings: (its answer holds no|expected) vectors"):
        openai(server).encode_queries(["cat", "dog"])


def test_an_answer_that_is_no_json_is_refused(server: ModelServer) -> None:
    server.failures = [(200, {}, "<html>")]
    with pytest.raises(EncoderError, match="expected JSON, got '<html>'"):
        openai(server).encode_queries(["cat"])


def test_the_key_comes_from_the_argument_or_the_environment(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai(server, api_key=KEY).encode_queries(["cat"])
    monkeypatch.setenv("EMBPLUG_ENCODER_API_KEY", "other")
    openai(server).encode_queries(["cat"])
    assert [key for _, _, key in server.requests] == [f"Bearer {KEY}", "Bearer other"]


def test_a_pickle_holds_no_key(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = openai(server, api_key=KEY, batch_size=2)
    encoder.encode_queries(["cat"])
    pickled = pickle.dumps(encoder)
    assert KEY.encode() not in pickled and KEY not in repr(encoder) and KEY not in encoder.spec
    monkeypatch.setenv("EMBPLUG_ENCODER_API_KEY", "other")
    read = pickle.loads(pickled)
    np.testing.assert_array_equal(read.encode_queries(TEXTS).dense, encoder.encode_queries(TEXTS).dense)
    keys = [key for _, _, key in server.requests]
    assert keys == [f"Bearer {KEY}", "Bearer other", "Bearer other", f"Bearer {KEY}", f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("spec", "argument"),
    [
        ("openai:localhost:8000#m", "encoder"),
        ("openai:ftp://localhost#m", "encoder"),
        ("openai:http://user:secret@localhost/v1#m", "encoder"),
        ("openai:http://localhost/v1?api_key=secret#m", "encoder"),
        ("openai:http://localhost/v1", "encoder"),
        ("openai:http://localhost:port/v1#m", "encoder"),
        ("openai:http://[::1/v1#m", "encoder"),
        ("vllm:http://localhost#", "encoder"),
        ("tei:http://localhost#colbert", "encoder"),
        ("tei", "encoder"),
    ],
)
def test_addresses_that_are_not_valid_are_refused(spec: str, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        load_encoder(spec)
    assert raised.value.argument == argument and "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("retries", -1),
        ("batch_size", 0),
        ("concurrency", 1.5),
        ("api_key", ""),
        ("api_key", f"{KEY}\n"),
        ("api_key", f"{KEY}é"),
        ("query_prompt", 3),
        ("document_prompt", None),
    ],
)
def test_options_that_are_not_valid_are_named(option: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        OpenAIEncoder("http://localhost#m", **{option: value})
    assert raised.value.argument == option and KEY not in str(raised.value)


def test_the_key_of_the_environment_may_end_with_a_new_line_and_is_in_no_error(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBPLUG_ENCODER_API_KEY", f"{KEY}\n")
    openai(server).encode_queries(["cat"])
    assert server.requests[0][2] == f"Bearer {KEY}"
    monkeypatch.setenv("EMBPLUG_ENCODER_API_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(InvalidArgumentError, match=r"^EMBPLUG_ENCODER_API_KEY: ") as raised:
        openai(server, retries=0).encode_queries(["cat"])
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(("url", "text"), [("http://.", "cat"), (None, "half \ud800")])
def test_a_request_that_cannot_be_written_is_named(server: ModelServer, url: Any, text: str) -> None:
    with pytest.raises(EncoderError, match="the request cannot be written"):
        OpenAIEncoder(f"{url or server.url}#tiny").encode_queries([text])
    assert not server.requests


def test_an_answer_that_cannot_be_decompressed_is_named(server: ModelServer) -> None:
    server.failures = [(200, {"Content-Encoding": "gzip"}, "words")]
    with pytest.raises(EncoderError, match="cannot be decompressed"):
        openai(server).encode_queries(["cat"])


def test_retry_after_is_seconds_or_a_date_and_bounded() -> None:
    soon = datetime.now(timezone.utc) + timedelta(seconds=20)
    assert retry_after("7", 1.0) == 7.0 and retry_after(None, 1.0) == retry_after("soon", 1.0) == 1.0
    assert 15 < retry_after(format_datetime(soon, usegmt=True), 1.0) <= 20
    assert retry_after("1e9", 1.0) == LONGEST_WAIT and retry_after("-5", 1.0) == 0.0
    assert retry_after("nan", 1.0) == 1.0


def test_threads_that_begin_at_once_share_a_client(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients: list[httpx.Client] = []
    both = threading.Barrier(2)

    class Slow(httpx.Client):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            clients.append(self)
            both.wait(10)

    monkeypatch.setattr(httpx, "Client", Slow)
    encoder = openai(server, batch_size=1, concurrency=2)
    for _ in range(2):
        encoder.encode_documents(TEXTS[:2])
    assert [client.is_closed for client in clients].count(False) == 1 and len(clients) == 2
