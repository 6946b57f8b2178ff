"""Payloads and texts with the limits of Qdrant."""

from __future__ import annotations

from collections import ChainMap, UserDict
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from embplug.common.json_types import MAX_DEPTH, jsonable_payload, parse_json
from embplug.common.unicode_text import check_text
from embplug.errors import InvalidArgumentError


def nested(depth: int, kind: type = dict) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize("kind", [dict, list])
def test_payloads_are_nested_as_deep_as_every_engine_takes(kind: type) -> None:
    deepest = {"p": nested(MAX_DEPTH - 1, kind)}
    assert jsonable_payload(deepest, "payload") == deepest
    for depth in (MAX_DEPTH, 123, 300, 5000):
        with pytest.raises(InvalidArgumentError, match=rf"^payload: expected at most {MAX_DEPTH} mappings"):
            jsonable_payload({"p": nested(depth, kind)}, "payload")


def test_a_payload_that_holds_itself_is_refused() -> None:
    payload: dict[str, Any] = {}
    payload["self"] = [payload, payload]
    with pytest.raises(InvalidArgumentError, match=r"^payload: expected at most"):
        jsonable_payload(payload, "payload")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"a": 1, "b": [0, {"c": float("nan")}]}, r"finite numbers, got nan under \['b'\]\[1\]\['c'\]$"),
        ({"a": -float("inf")}, r"finite numbers, got -inf under \['a'\]$"),
        ({"a": 2**64}, r"64 bits, got .* under \['a'\]$"),
        ({"a": 10**4000}, r"64 bits, got .* under \['a'\]$"),
        ({"a": ["x", "\ud800"]}, r"UTF-8 can encode, got '\\ud800' under \['a'\]\[1\]$"),
        ({"\ud800": 1}, "JSON can hold"),
    ],
)
def test_what_qdrant_cannot_keep_is_named_with_its_place(payload: Any, said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said) as raised:
        jsonable_payload(payload, "payloads[3]")
    assert raised.value.argument == "payloads[3]"


def test_numpy_numbers_are_converted() -> None:
    converted = jsonable_payload({"n": np.int64(3), "x": np.float32(0.5), "l": np.arange(2)}, "payload")
    assert converted == {"n": 3, "x": 0.5, "l": [0, 1]}


def test_half_a_surrogate_is_named_with_its_place() -> None:
    check_text("ü😀", "text")
    with pytest.raises(InvalidArgumentError, match=r"^texts\[2\]: .*'\\ud800', as character 1$"):
        check_text("ü\ud800", "texts[2]")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "9" * 5000])
def test_json_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^docs\.jsonl, line 7: "):
        parse_json(text, "docs.jsonl, line 7")
    assert parse_json("[1]", "place") == [1]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_times_of_numpy_are_texts_in_every_unit(unit: str) -> None:
    moment = np.datetime64("2024-01-02T03:04:05").astype(f"M8[{unit}]")
    payload = {"at": moment, "all": np.array([moment, "NaT"], moment.dtype), "took": np.timedelta64(7, "s")}
    payload["took"] = payload["took"].astype(f"m8[{unit}]")
    text = "2024-01-02T03:04:05"
    assert jsonable_payload(payload, "payload") == {"at": text, "all": [text, None], "took": "PT7S"}


def test_every_mapping_is_a_payload() -> None:
    payload = MappingProxyType({"a": ChainMap({"b": 1}, {"c": UserDict(d=2)})})
    assert jsonable_payload(payload, "payload") == {"a": {"b": 1, "c": {"d": 2}}}
