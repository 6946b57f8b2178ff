from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from embplug.encoders import Encoded, Encoder, load_encoder, register_encoder, registry
from embplug.errors import InvalidArgumentError


class Constant:
    """An encoder of one's own."""

    def __init__(self, model: str = "none") -> None:
        self.spec = f"constant:{model}"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return Encoded(dense=np.ones((len(texts), 2), np.float32))

    encode_queries = encode_documents


@pytest.fixture(autouse=True)
def _forgetting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_registered", {})
    yield


def test_a_registered_encoder_is_made_with_or_without_a_model():
    register_encoder("constant", Constant)
    assert load_encoder("constant").spec == "constant:none"
    assert load_encoder("constant:a/b:c").spec == "constant:a/b:c"
    assert isinstance(load_encoder("constant"), Encoder)


def test_registering_again_replaces():
    register_encoder("constant", Constant)
    register_encoder("constant", lambda: Constant("second"))
    assert load_encoder("constant").spec == "constant:second"


@pytest.mark.parametrize("kind", ["", "a:b", "minilm", "fastembed", None, 7])
def test_an_impossible_kind_is_refused(kind: Any):
    with pytest.raises(InvalidArgumentError, match=r"^kind: expected a name without a colon"):
        register_encoder(kind, Constant)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("nonsense", "one of"),
        ("nonsense:model", "one of"),
        ("", "one of"),
        (":model", "one of"),
        (None, "one of"),
        (7, "one of"),
        (["minilm"], "one of"),
        ("fastembed", "'fastembed:' and a model"),
        ("sentence-transformers", "'sentence-transformers:' and a model"),
        ("pylate:", "a model after 'pylate:'"),
        ("minilm:", "a model after 'minilm:'"),
        ("minilm:other", "'minilm' alone"),
    ],
)
def test_what_names_no_encoder_is_refused(spec: Any, expected: str):
    with pytest.raises(InvalidArgumentError, match=r"^encoder: expected ") as raised:
        load_encoder(spec)
    assert expected in str(raised.value)


def test_the_known_encoders_are_listed():
    register_encoder("constant", Constant)
    with pytest.raises(InvalidArgumentError, match=r"'minilm', 'minilm-int8', .*'pylate'.*, 'constant'"):
        load_encoder("nonsense")


def test_an_error_of_the_encoder_itself_is_not_swallowed():
    def broken() -> Any:
        raise TypeError("no such thing")

    register_encoder("broken", broken)
    with pytest.raises(TypeError, match="no such thing"):
        load_encoder("broken")
