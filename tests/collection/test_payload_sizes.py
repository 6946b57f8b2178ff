"""Payloads that no request over REST can carry are refused before anything is encoded."""

from __future__ import annotations

import json

import pytest

from embplug.branches.points import WirePayload, text_entry
from embplug.collection import payload_sizes as module
from embplug.collection.payload_sizes import check_payload_sizes, check_sizes, payload_sizes
from embplug.engines import PointForm
from embplug.errors import PointTooLargeError
from tests.branches.parts import documents

PAYLOADS = [{}, {"text": "ü" * 10}, {"text": "x" * 90}]
SIZES = [len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()) for payload in PAYLOADS]


def test_sizes_are_those_of_the_json() -> None:
    assert payload_sizes(documents(3, payloads=PAYLOADS)).tolist() == SIZES


def test_a_payload_in_the_form_of_a_message_counts_its_bytes() -> None:
    entry = text_entry("text", "x" * 50)
    assert payload_sizes(documents(1, payloads=[WirePayload(entry)])).tolist() == [len(entry)]


def test_only_rest_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    source = documents(3, payloads=PAYLOADS)
    monkeypatch.setattr(module, "MAX_REST_BYTES", SIZES[2])
    check_payload_sizes(source, PointForm.LISTS)
    monkeypatch.setattr(module, "MAX_REST_BYTES", SIZES[2] - 1)
    with pytest.raises(PointTooLargeError, match=r"^document 2: .*gRPC") as raised:
        check_payload_sizes(source, PointForm.LISTS)
    assert raised.value.got == SIZES[2]
    for form in (PointForm.MESSAGES, PointForm.ARRAYS):
        check_payload_sizes(source, form)


def test_the_first_document_that_is_too_large_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source = documents(3, payloads=PAYLOADS)
    monkeypatch.setattr(module, "MAX_REST_BYTES", 20)
    with pytest.raises(PointTooLargeError, match=r"^document 1: "):
        check_sizes(source, payload_sizes(source))
