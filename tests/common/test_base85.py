from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.common.base85 import decode, encode


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_text_is_that_of_the_standard_library(strings: list[bytes]) -> None:
    texts = encode(strings)
    assert texts == [base64.b85encode(string).decode() for string in strings]
    assert decode(texts) == strings


@pytest.mark.parametrize("text", ["~~~~~", 'ab"cd', "abcdé", "0", "00000~"])
def test_what_is_not_base85_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"base85|ascii"):
        decode(["00000", text])
