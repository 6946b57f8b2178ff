"""PyLate itself, on a tiny checkpoint that it saves. It pins another version of sentence-transformers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pylate", reason="PyLate is not installed; it pins another sentence-transformers")

from embplug.encoders import Encoder, load_encoder
from embplug.methods.maxsim import maxsim
from tests.encoders import checkpoints
from tests.encoders.checkpoints import TEXTS

DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 8, 12, 20


def saved_model(folder: Path, *, seed: int = 0, query_prefix: str = "[Q] ") -> str:
    """A checkpoint as PyLate saves it."""
    import torch
    from pylate import models

    backbone = checkpoints.bert(folder / "bert", seed=seed)
    torch.manual_seed(seed)
    model = models.ColBERT(
        backbone,
        embedding_size=DIM,
        query_length=QUERY_LENGTH,
        document_length=DOCUMENT_LENGTH,
        query_prefix=query_prefix,
        device="cpu",
    )
    model.save(str(folder / "saved"))
    return str(folder / "saved")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Any]:
    """Our encoder, and the model as the library loads it."""
    from pylate import models

    folder = saved_model(tmp_path_factory.mktemp("pylate"))
    encoder = load_encoder(f"pylate:{folder}")
    assert isinstance(encoder, Encoder) and encoder.spec == f"pylate:{folder}"
    return encoder, models.ColBERT(folder, device="cpu")


@pytest.mark.parametrize("is_query", [True, False])
def test_the_vectors_are_those_of_the_library(loaded: Any, is_query: bool) -> None:
    encoder, model = loaded
    tokens = (encoder.encode_queries if is_query else encoder.encode_documents)(TEXTS).tokens
    expected = model.encode(TEXTS, is_query=is_query)
    assert tokens.lengths.tolist() == [len(matrix) for matrix in expected]
    np.testing.assert_allclose(tokens.values, np.concatenate(expected), atol=1e-5)


def test_prefix_expansion_length_and_skip_list_of_the_checkpoint_hold(loaded: Any) -> None:
    encoder, _ = loaded
    assert encoder.encode_queries(TEXTS).tokens.lengths.tolist() == [QUERY_LENGTH] * len(TEXTS)
    # [CLS], [D], seven word pieces without the full stop, and [SEP]; then a text that is cut.
    lengths = encoder.encode_documents(["The cat sat on a mat.", "cat " * 50]).tokens.lengths
    assert lengths.tolist() == [9, DOCUMENT_LENGTH]


def test_our_maxsim_is_that_of_the_library(loaded: Any) -> None:
    import torch
    from pylate import scores

    encoder, model = loaded
    documents, queries = encoder.encode_documents(TEXTS).tokens, encoder.encode_queries(TEXTS).tokens
    theirs = torch.tensor(np.stack(model.encode(TEXTS, is_query=True)))
    # One document at a time: PyLate pads several with zeros, which win over negative products.
    for i, matrix in enumerate(model.encode(TEXTS, is_query=False)):
        expected = scores.colbert_scores(theirs, torch.tensor(matrix)[None])[:, 0]
        found = [maxsim(query, documents)[i] for query in queries]
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_the_encoder_tells_what_it_makes(loaded: Any, tmp_path: Path) -> None:
    encoder, _ = loaded
    info = encoder.info
    assert (info.outputs, info.token_dim, info.max_tokens) == (("tokens",), DIM, DOCUMENT_LENGTH)
    assert info.revision == load_encoder(encoder.spec).info.revision  # type: ignore[attr-defined]
    other = load_encoder(f"pylate:{saved_model(tmp_path / 'other', seed=1)}")
    prefix = load_encoder(f"pylate:{saved_model(tmp_path / 'prefix', query_prefix='query ')}")
    revisions = {info.revision, other.info.revision, prefix.info.revision}  # type: ignore[attr-defined]
    assert len(revisions) == 3 and all(name.startswith("weights-") for name in revisions)


def test_queries_and_documents_are_encoded_at_the_same_time(loaded: Any) -> None:
    encoder, _ = loaded
    text = ["cat " * 50]
    with ThreadPoolExecutor(2) as threads:
        queries = threads.map(lambda _: encoder.encode_queries(text).tokens.lengths[0], range(60))
        documents = threads.map(lambda _: encoder.encode_documents(text).tokens.lengths[0], range(60))
        assert {*queries} == {QUERY_LENGTH} and {*documents} == {DOCUMENT_LENGTH}
