"""Documents become requests of bounded size, in the form that the engine reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import grpc, models

from embplug import Dense, Multivector, Recipe, Tokens
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import WirePayload, text_entry
from embplug.collection import chunks, payload_sizes
from embplug.collection.chunks import chunked, chunks_of_parts
from embplug.engines import PointForm
from embplug.errors import PointTooLargeError
from embplug.methods.token_batch import TokenBatch
from tests.branches.parts import DIM, SMALL_FDE, batch, documents, vectors

PIPELINE = Pipeline(Recipe(dense=Dense(dim=DIM)))
COUNT = 8
DOCUMENTS = documents(
    COUNT, dense={"dense": vectors(COUNT)}, payloads=[{"n": i, "word": "ü"} for i in range(COUNT)]
)


def lengths(
    form: PointForm = PointForm.ARRAYS, docs: Any = DOCUMENTS, pipeline: Pipeline = PIPELINE
) -> list[int]:
    return [len(chunk.points) for chunk in chunked(docs, pipeline, form, None)]


def test_a_chunk_has_a_bounded_number_of_points(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lengths() == [COUNT]
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 3)
    result = [*chunked(DOCUMENTS, PIPELINE, PointForm.ARRAYS, "mark")]
    assert [[*chunk.ids] for chunk in result] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [[point.id for point in chunk.points] for chunk in result] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert {chunk.mark for chunk in result} == {"mark"}


def test_a_chunk_has_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 3 * 4 * DIM)
    assert lengths() == [3, 3, 2]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    assert lengths() == [1] * COUNT


def test_payloads_count_where_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BYTES", COUNT * 4 * DIM)
    assert lengths(PointForm.ARRAYS) == [COUNT]
    assert len(lengths(PointForm.MESSAGES)) == 2
    assert len(lengths(PointForm.LISTS)) > 2


def test_long_matrices_have_chunks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(
        Recipe(tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None))
    )
    tokens = TokenBatch(batch(2, 0).values, [0, 1, 18, 19, 20])
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 4 * 2 * (16 + DIM))
    assert lengths(docs=documents(4, tokens=tokens), pipeline=pipeline) == [1, 1, 2]


@pytest.mark.parametrize("form", [*PointForm])
def test_no_documents_are_no_request(form: PointForm) -> None:
    assert lengths(form, documents(0, dense={"dense": vectors(0)})) == []


def test_each_engine_gets_points_in_its_form() -> None:
    (arrays,) = chunked(DOCUMENTS, PIPELINE, PointForm.ARRAYS, None)
    (lists,) = chunked(DOCUMENTS, PIPELINE, PointForm.LISTS, None)
    (messages,) = chunked(DOCUMENTS, PIPELINE, PointForm.MESSAGES, None)
    assert isinstance(arrays.points[3].vector["dense"], np.ndarray)
    assert isinstance(lists.points[3], models.PointStruct)
    assert lists.points[3].vector["dense"] == DOCUMENTS.dense["dense"][3].tolist()
    point = grpc.PointStruct.FromString(messages.points[3])
    assert point.id.num == 3 and point.payload["n"].integer_value == 3
    assert [*point.vectors.vectors.vectors["dense"].dense.data] == DOCUMENTS.dense["dense"][3].tolist()


def test_a_document_that_rest_cannot_carry_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_sizes, "MAX_REST_BYTES", 1000)
    payloads = [{}, {"text": "x" * 900}, {"text": "x"}]
    docs = documents(3, dense={"dense": vectors(3)}, payloads=payloads)
    # With its vector it is too large, its payload alone is not.
    with pytest.raises(PointTooLargeError, match=r"^document 1: "):
        lengths(PointForm.LISTS, docs)
    for form in (PointForm.MESSAGES, PointForm.ARRAYS):
        assert lengths(form, docs) == [3]


def test_a_payload_in_the_form_of_a_message_counts_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = WirePayload(text_entry("text", "x" * 100))
    docs = documents(2, dense={"dense": vectors(2)}, payloads=[entry, entry])
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * (4 * DIM + len(entry.entries)))
    assert lengths(PointForm.MESSAGES, docs) == [2]
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 2 * (4 * DIM + len(entry.entries)) - 1)
    assert lengths(PointForm.MESSAGES, docs) == [1, 1]


def test_a_chunk_without_points_ends_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 3)
    parts = [("a", DOCUMENTS.part(0, 4)), ("b", DOCUMENTS.part(4, 4)), ("c", DOCUMENTS.part(4, 6))]
    result = chunks_of_parts(parts, lambda: PIPELINE, PointForm.ARRAYS)
    assert [(chunk.mark, [*chunk.ids], len(chunk.points)) for chunk in result] == [
        ("a", [0, 1, 2], 3),
        ("a", [3], 1),
        ("a", [], 0),
        ("b", [], 0),
        ("c", [4, 5], 2),
        ("c", [], 0),
    ]
