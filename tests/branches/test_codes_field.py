"""Codes of several branches in one field of the payload."""

from __future__ import annotations

import base64
from itertools import permutations

import pytest

from embplug import Dense, Rerank, Tokens
from embplug.branches.base import Branch, EncodedDocuments
from embplug.branches.codes_field import with_codes
from embplug.branches.dense import DenseBranch
from embplug.branches.points import WirePayload, text_entry
from embplug.branches.tokens import TokensBranch
from embplug.common.ids import CODES, DENSE_CODES
from embplug.methods import BinaryQuantizer, PowerQuantizer
from tests.branches.parts import DIM, SMALL_FDE, vectors

PAYLOADS = [{"n": 0}, {"n": 1}]


def branches(*names: str) -> dict[str, Branch]:
    codes = PowerQuantizer(bits=1).fit(vectors(20))
    return {name: DenseBranch(name, Dense(dim=DIM, codes=codes), Rerank()) for name in names}


@pytest.mark.parametrize("order", [*permutations("abc")], ids="".join)
def test_codes_lie_in_the_order_of_the_names_of_their_branches(order: tuple[str, ...]) -> None:
    encoded = {
        name: EncodedDocuments(codes={DENSE_CODES: [name.encode(), b"2" + name.encode()]}) for name in order
    }
    payloads = with_codes(PAYLOADS, DENSE_CODES, branches(*order), encoded)
    assert [base64.b85decode(payload[DENSE_CODES]) for payload in payloads] == [b"abc", b"2a2b2c"]
    assert [payload["n"] for payload in payloads] == [0, 1]


def test_what_a_document_lacks_is_filled_up() -> None:
    both = branches("a", "b")
    length = len(both["a"].absent_codes)
    assert length > 0
    encoded = {"a": EncodedDocuments(), "b": EncodedDocuments(codes={DENSE_CODES: [b"x", b"y"]})}
    payloads = with_codes(PAYLOADS, DENSE_CODES, both, encoded)
    assert [base64.b85decode(payload[DENSE_CODES]) for payload in payloads] == [
        bytes(length) + b"x",
        bytes(length) + b"y",
    ]


def test_payloads_without_codes_stay_as_they_are() -> None:
    both = branches("a", "b")
    nothing = {name: EncodedDocuments() for name in both}
    assert with_codes(PAYLOADS, DENSE_CODES, both, nothing) is PAYLOADS
    assert with_codes(PAYLOADS, CODES, both, nothing) is PAYLOADS


def test_each_field_gets_the_codes_of_its_own_branches() -> None:
    tokens = TokensBranch(Tokens(dim=DIM, encoding=SMALL_FDE, codes=BinaryQuantizer()), Rerank())
    both = {"tokens": tokens, **branches("a")}
    encoded = {
        "tokens": EncodedDocuments(codes={CODES: [b"t", b"tt"]}),
        "a": EncodedDocuments(codes={DENSE_CODES: [b"d", b"dd"]}),
    }
    payloads = with_codes(PAYLOADS, CODES, both, encoded)
    assert [base64.b85decode(payload[CODES]) for payload in payloads] == [b"t", b"tt"]
    assert all(DENSE_CODES not in payload for payload in payloads)


def test_the_payloads_of_the_caller_are_not_changed() -> None:
    with_codes(
        PAYLOADS, DENSE_CODES, branches("a"), {"a": EncodedDocuments(codes={DENSE_CODES: [b"x", b"y"]})}
    )
    assert PAYLOADS == [{"n": 0}, {"n": 1}]


def test_a_payload_in_the_form_of_a_message_keeps_that_form() -> None:
    message = WirePayload(text_entry("word", "ü"))
    (payload,) = with_codes(
        [message], DENSE_CODES, branches("a"), {"a": EncodedDocuments(codes={DENSE_CODES: [b"xyz"]})}
    )
    assert isinstance(payload, WirePayload)
    assert {**payload} == {"word": "ü", DENSE_CODES: base64.b85encode(b"xyz").decode()}
