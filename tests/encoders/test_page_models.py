"""Models of pages from configurations: vectors, grids and masks of images, prefixes of queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", minversion="6.0")
pytest.importorskip("PIL")

from embplug.encoders import encodes_images
from embplug.encoders.sentence_transformers import SentenceTransformersEncoder
from embplug.methods.maxsim import maxsim
from tests.encoders import checkpoints, page_checkpoints

SIZES = [(40, 30), (28, 90), (60, 60)]


@pytest.fixture(scope="module", params=["colpali", "colqwen2"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = getattr(page_checkpoints, request.param)(tmp_path_factory.mktemp(request.param))
    return request.param, SentenceTransformersEncoder(folder), folder


def test_images_and_queries_have_the_vectors_of_the_library(loaded: Any) -> None:
    from sentence_transformers import MultiVectorEncoder

    _, encoder, folder = loaded
    model, pages = MultiVectorEncoder(folder, device="cpu"), page_checkpoints.images(*SIZES)
    assert encodes_images(encoder) and encoder.info.reads_images and encoder.info.token_dim == 8
    found, queries = encoder.encode_images(pages).tokens, encoder.encode_queries(["cat dog", "moon"]).tokens
    np.testing.assert_allclose(
        found.values, np.concatenate(model.encode_document(pages, convert_to_numpy=True)), atol=1e-5
    )
    np.testing.assert_allclose(
        queries.values,
        np.concatenate(model.encode_query(["cat dog", "moon"], convert_to_numpy=True)),
        atol=1e-5,
    )
    expected = model.similarity(model.encode_query(["cat dog", "moon"]), model.encode_document(pages)).numpy()
    np.testing.assert_allclose(np.stack([maxsim(query, found) for query in queries]), expected, atol=1e-4)


def test_grids_are_those_of_the_images(loaded: Any) -> None:
    kind, encoder, _ = loaded
    pages = page_checkpoints.images(*SIZES)
    encoded = encoder.encode_images(pages)
    rows, columns, before = encoded.grids.T
    if kind == "colpali":
        assert encoded.grids.tolist() == [[4, 4, 0]] * 3
    else:
        # Patches of 14 pixels are merged two by two; sizes are rounded to 28 pixels.
        assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(1, 1), (3, 1), (2, 2)]
        assert (before > 0).all()
    assert (rows * columns + before <= encoded.tokens.lengths).all()
    alone = encoder.encode_images(pages[1:2])
    assert alone.grids.tolist() == encoded.grids[1:2].tolist()
    np.testing.assert_allclose(alone.tokens.values, encoded.tokens[1], atol=1e-4)


def test_words_of_queries_have_their_characters(loaded: Any) -> None:
    _, encoder, _ = loaded
    text = "cat dog"
    spans = encoder.encode_queries([text]).spans
    assert [text[start:stop] for start, stop in spans if start < stop] == ["cat", "dog"]


def test_a_model_of_texts_takes_no_images(tmp_path: Path) -> None:
    assert not encodes_images(SentenceTransformersEncoder(checkpoints.late_interaction_model(tmp_path)))
