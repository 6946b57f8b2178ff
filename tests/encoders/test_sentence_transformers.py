"""Checkpoints of each class of sentence-transformers, built from configurations and loaded from folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", minversion="6.0")

from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.encoders.checkpoints import model_class
from embplug.encoders.sentence_transformers import SentenceTransformersEncoder
from embplug.methods.maxsim import maxsim
from tests.encoders import checkpoints
from tests.encoders.checkpoints import HIDDEN, TEXTS, VOCABULARY

LATE = {
    "own": checkpoints.late_interaction_model,
    "pylate": checkpoints.pylate_model,
    "stanford": checkpoints.stanford_model,
    "pooled": lambda folder: checkpoints.late_interaction_model(folder, pool=2),
}


@pytest.fixture(scope="module", params=LATE)
def late(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return LATE[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> str:
    return checkpoints.late_interaction_model(tmp_path_factory.mktemp("own"))


def library(name: str, folder: str) -> Any:
    import sentence_transformers

    return getattr(sentence_transformers, name)(folder, device="cpu")


def loaded(folder: str) -> SentenceTransformersEncoder:
    encoder = load_encoder(f"sentence-transformers:{folder}")
    assert isinstance(encoder, SentenceTransformersEncoder) and isinstance(encoder, Encoder)
    assert encoder.spec == f"sentence-transformers:{folder}"
    return encoder


@pytest.mark.parametrize("task", ["query", "document"])
def test_late_interaction_gives_the_vectors_of_the_library(late: str, task: str) -> None:
    encoder, model = loaded(late), library("MultiVectorEncoder", late)
    encoded = encoder.encode_queries(TEXTS) if task == "query" else encoder.encode_documents(TEXTS)
    encode = model.encode_query if task == "query" else model.encode_document
    expected = encode(TEXTS, convert_to_numpy=True)
    assert encoded.tokens is not None and encoded.dense is None and encoded.sparse is None
    assert encoded.tokens.lengths.tolist() == [len(matrix) for matrix in expected]
    np.testing.assert_allclose(encoded.tokens.values, np.concatenate(expected), atol=1e-5)


def test_our_maxsim_is_that_of_the_library(late: str) -> None:
    encoder, model = loaded(late), library("MultiVectorEncoder", late)
    documents = encoder.encode_documents(TEXTS).tokens
    queries = encoder.encode_queries(TEXTS).tokens
    assert documents is not None and queries is not None
    expected = model.similarity(model.encode_query(TEXTS), model.encode_document(TEXTS)).numpy()
    scores = np.stack([maxsim(query, documents) for query in queries])
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_projection_expansion_prefix_and_skip_list_of_the_checkpoint_hold(own: str) -> None:
    encoder = loaded(own)
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    assert documents.tokens is not None and queries.tokens is not None
    assert documents.tokens.dim == queries.tokens.dim == 8 < HIDDEN
    assert queries.tokens.lengths.tolist() == [12] * len(TEXTS)
    ids = documents.token_ids_of(0)
    assert ids is not None and documents.tokens.lengths[0] == len(ids)
    words = [VOCABULARY[i] for i in ids]
    assert words == ["[CLS]", "document", "the", "cat", "sat", "on", "a", "mat", "[SEP]"]
    assert encoder.encode_documents(["cat " * 50]).tokens.lengths.tolist() == [20]  # type: ignore[union-attr]


def test_spans_are_the_characters_of_the_text_without_the_prompt(own: str) -> None:
    encoder = loaded(own)
    documents, queries = encoder.encode_documents(TEXTS), encoder.encode_queries(TEXTS)
    assert characters(documents, 2) == ["", "", "cat", "dog", "moon", "Z", "e", "b", "r", "a", ""]
    assert characters(queries, 3) == ["", "", "rivers", *[""] * 9]
    cut = encoder.encode_documents(["cat " * 50])
    assert [text for text in characters(cut, 0, "cat " * 50) if text] == ["cat"] * 17


def characters(encoded: Encoded, row: int, text: str | None = None) -> list[str]:
    spans = encoded.spans_of(row)
    assert spans is not None and spans.dtype == np.int32
    return [(text or TEXTS[row])[start:stop] for start, stop in spans]


def test_pooled_tokens_have_no_ids(tmp_path: Path) -> None:
    encoder = loaded(checkpoints.late_interaction_model(tmp_path, pool=2))
    documents = encoder.encode_documents(["the cat sat on a mat"])
    assert documents.token_ids is documents.spans is None
    assert documents.tokens is not None and documents.tokens.lengths[0] < 9


@pytest.mark.parametrize("prompts", [None, {"query": "query ", "document": "document "}])
def test_a_sentence_model_gives_sentence_and_token_vectors(
    tmp_path: Path, prompts: dict[str, str] | None
) -> None:
    folder = checkpoints.sentence_model(tmp_path, prompts=prompts)
    encoder, model = loaded(folder), library("SentenceTransformer", folder)
    for encoded, encode, prompt in (
        (encoder.encode_queries(TEXTS), model.encode_query, (prompts or {}).get("query", "")),
        (encoder.encode_documents(TEXTS), model.encode_document, (prompts or {}).get("document", "")),
    ):
        np.testing.assert_allclose(encoded.dense, encode(TEXTS), atol=1e-5)
        assert encoded.tokens is not None and encoded.token_ids is not None
        rows = encode(TEXTS, output_value="token_embeddings")
        expected = np.concatenate([np.asarray(row)[1:-1] for row in rows])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(encoded.tokens.values, expected, atol=1e-5)
        assert characters(encoded, 3) == ["", "rivers"] if prompt else ["rivers"]
        assert VOCABULARY[encoded.token_ids[-1]] == "rivers"


def test_a_sparse_model_gives_weights_of_the_vocabulary(tmp_path: Path) -> None:
    folder = checkpoints.sparse_model(tmp_path)
    encoder, model = loaded(folder), library("SparseEncoder", folder)
    for encoded, encode in (
        (encoder.encode_queries(TEXTS), model.encode_query),
        (encoder.encode_documents(TEXTS), model.encode_document),
    ):
        assert encoded.sparse is not None and encoded.tokens is encoded.dense is None
        assert encoded.sparse.shape == (len(TEXTS), len(VOCABULARY)) and encoded.sparse.dtype == np.float32
        np.testing.assert_allclose(encoded.sparse.toarray(), encode(TEXTS).to_dense().numpy(), atol=1e-5)
    assert encoder.info.outputs == ("sparse",)


def test_half_precision_of_the_model_is_kept(tmp_path: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    folder = checkpoints.late_interaction_model(tmp_path)
    single = SentenceTransformersEncoder(MultiVectorEncoder(folder, device="cpu"))
    half = SentenceTransformersEncoder(MultiVectorEncoder(folder, device="cpu").half())
    tokens, expected = half.encode_documents(TEXTS).tokens, single.encode_documents(TEXTS).tokens
    assert tokens is not None and expected is not None
    assert tokens.values.dtype == np.float16 and expected.values.dtype == np.float32
    np.testing.assert_allclose(tokens.values, expected.values, atol=0.02)
    assert half.info.revision == single.info.revision


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (checkpoints.late_interaction_model, (("tokens",), 8, None, 20)),
        (checkpoints.sentence_model, (("tokens", "dense"), HIDDEN, HIDDEN, 64)),
        (checkpoints.sparse_model, (("sparse",), None, None, 64)),
    ],
)
def test_the_encoder_tells_what_it_makes(tmp_path: Path, make: Callable[[Path], str], expected: Any) -> None:
    info = loaded(make(tmp_path)).info
    assert (info.outputs, info.token_dim, info.dense_dim, info.max_tokens) == expected
    assert info.revision is not None and info.revision.startswith("weights-") and not info.reads_images


def test_the_revision_tells_weights_and_prompts_apart(tmp_path: Path) -> None:
    def revision(name: str, **options: Any) -> str | None:
        return loaded(checkpoints.sentence_model(tmp_path / name, **options)).info.revision

    first = revision("a")
    assert first == revision("b") is not None
    assert first != revision("c", seed=1) and first != revision("d", prompts={"query": "query "})


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_two_trainings_of_one_model_of_a_hub_are_two_revisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    folder = checkpoints.sentence_model(tmp_path)

    def of_hub(step: float = 0.0) -> Any:
        """The model as a hub has it, or after a step of training of one layer."""
        model = SentenceTransformer(folder, device="cpu")
        model[0].auto_model.config._commit_hash = COMMIT
        with torch.no_grad():
            model[0].auto_model.encoder.layer[0].output.dense.weight += step
        return model

    first, same, other = (SentenceTransformersEncoder(of_hub(step)).revision for step in (1e-3, 1e-3, -1e-3))
    assert first == same != other and COMMIT not in (first, other)
    # What is loaded by the name of a hub has the commit, and adapters on top of it do not.
    loaded_models = [of_hub(), of_hub()]
    loaded_models[1][0].auto_model.peft_config = {}
    module = "embplug.encoders.sentence_transformers"
    monkeypatch.setattr(f"{module}.load_checkpoint", lambda name: loaded_models.pop(0))
    assert SentenceTransformersEncoder("owner/model").revision == COMMIT
    assert (
        SentenceTransformersEncoder("owner/adapted").revision
        == SentenceTransformersEncoder(of_hub()).revision
    )


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (checkpoints.late_interaction_model, "MultiVectorEncoder"),
        (checkpoints.pylate_model, "MultiVectorEncoder"),
        (checkpoints.stanford_model, "MultiVectorEncoder"),
        (checkpoints.sentence_model, "SentenceTransformer"),
        (checkpoints.sparse_model, "SparseEncoder"),
        (checkpoints.bert, "SentenceTransformer"),
    ],
)
def test_the_class_is_told_by_the_checkpoint(
    tmp_path: Path, make: Callable[[Path], str], expected: str
) -> None:
    assert model_class(make(tmp_path)) == expected


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = Path(checkpoints.sentence_model(tmp_path))
    modules = (folder / "modules.json").read_text(encoding="utf-8")
    (folder / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Pooling: pass", encoding="utf-8"
    )
    changed = modules.replace(
        "sentence_transformers.sentence_transformer.modules.pooling.Pooling", "own.Pooling"
    )
    assert changed != modules
    (folder / "modules.json").write_text(changed, encoding="utf-8")
    with pytest.raises(ValueError, match="trust_remote_code"):
        loaded(str(folder))
    assert not (tmp_path / "ran").exists()
