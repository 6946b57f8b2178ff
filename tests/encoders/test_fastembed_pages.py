"""fastembed's models of pages, its real classes on tiny ONNX files of their layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client.models import Datatype

from embplug import Collection, Multivector, Recipe, Tokens
from embplug.encoders import Encoder, encodes_images
from embplug.encoders.fastembed import FastEmbedEncoder
from embplug.encoders.revisions import comparable
from embplug.methods.maxsim import maxsim
from tests.encoders import onnx_pages
from tests.encoders.page_checkpoints import images

fastembed = pytest.importorskip("fastembed")
pytest.importorskip("transformers")
pytest.importorskip("PIL")

MODELS = {onnx_pages.COLPALI: onnx_pages.colpali, onnx_pages.COLMODERNVBERT: onnx_pages.colmodernvbert}
SIZES = [(40, 30), (28, 90), (60, 60)]
TEXTS = ["cat dog", "moon table user cat dog"]

pytestmark = pytest.mark.filterwarnings("ignore:The model .* has been updated")


def model_of(name: str, folder: Path) -> Any:
    path = MODELS[name](folder)
    return fastembed.LateInteractionMultimodalEmbedding(name, specific_model_path=path, threads=1)


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = model_of(request.param, tmp_path_factory.mktemp("pages"))
    return request.param, model, FastEmbedEncoder(model)


def test_images_and_texts_have_the_vectors_of_the_library(loaded: Any) -> None:
    name, model, encoder = loaded
    assert isinstance(encoder, Encoder) and encodes_images(encoder) and encoder.spec == f"fastembed:{name}"
    pages = images(*SIZES)
    expected = list(model.embed_image(pages))
    encoded = encoder.encode_images(pages).tokens
    assert encoded.lengths.tolist() == [len(matrix) for matrix in expected]
    np.testing.assert_allclose(encoded.values, np.concatenate(expected), atol=1e-5)
    for encode in (encoder.encode_queries, encoder.encode_documents):
        expected = [next(iter(model.embed_text([text]))) for text in TEXTS]
        encoded = encode(TEXTS).tokens
        # ColPali puts rows of zeros after the shorter texts of a batch.
        assert encoded.lengths.tolist() == [len(matrix) for matrix in expected]
        np.testing.assert_allclose(encoded.values, np.concatenate(expected), atol=1e-5)
        assert np.linalg.norm(encoded.values, axis=1).min() > 0


def test_images_differ_and_do_not_depend_on_their_neighbours(loaded: Any) -> None:
    _, _, encoder = loaded
    pages = images(*SIZES)
    together = encoder.encode_images(pages).tokens
    for page, matrix in zip(pages, together, strict=True):
        alone = encoder.encode_images([page]).tokens
        np.testing.assert_allclose(alone[0], matrix, rtol=1e-4, atol=1e-4)
    assert len(together[0]) != len(together[2]) or not np.allclose(together[0], together[2])


def test_only_the_patches_of_colpali_lie_on_a_grid(loaded: Any) -> None:
    name, _, encoder = loaded
    encoded = encoder.encode_images(images(*SIZES))
    if name == onnx_pages.COLPALI:
        assert encoded.grids.tolist() == [[32, 32, 0]] * 3
        assert encoded.tokens.lengths.tolist() == [1030] * 3
        # A white corner of a black page is the last patch.
        page = np.zeros((448, 448, 3), np.uint8)
        page[-14:, -14:] = 255
        changed = (
            encoder.encode_images([_image(page)]).tokens[0]
            - encoder.encode_images([_image(page * 0)]).tokens[0]
        )
        assert np.flatnonzero(np.abs(changed).max(axis=1) > 0.1).tolist() == [1023]
    else:
        # Tiles one after the other, and the whole page after them.
        assert encoded.grids is None
        assert len({*encoded.tokens.lengths.tolist()}) == 2


def _image(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def test_the_encoder_tells_what_it_makes(loaded: Any) -> None:
    _, _, encoder = loaded
    info = encoder.info
    assert (info.outputs, info.token_dim, info.dense_dim) == (("tokens",), onnx_pages.DIM, None)
    assert info.reads_images and info.max_tokens == 512 and info.revision.startswith(("weights-", "files-"))


def test_weights_beside_the_graph_are_part_of_the_revision(tmp_path: Path) -> None:
    revisions = []
    for weights in (b"", b"first", b"other"):
        model = model_of(onnx_pages.COLPALI, tmp_path)
        if weights:
            (tmp_path / "model.onnx_data").write_bytes(weights)
        revisions.append(FastEmbedEncoder(model).revision)
    assert len({*revisions}) == 3
    # A collection may remember the graph alone; two sets of weights are two models.
    assert not comparable(*revisions[:2]) and comparable(*revisions[1:])


def test_a_collection_of_pages_is_searched_by_text_and_by_image(loaded: Any, engine: Any) -> None:
    _, _, encoder = loaded
    pages = images(*SIZES)
    tokens = Tokens(dim=onnx_pages.DIM, multivector=Multivector(datatype=Datatype.FLOAT32), codes=None)
    collection = Collection.create("pages", Recipe(tokens=tokens), engine, encoder=encoder)
    collection.add([0, 1, 2], images=pages)
    assert collection.search(image=pages[1], limit=1)[0].id == 1
    hits = collection.search(text=TEXTS[0], limit=3)
    scores = maxsim(encoder.encode_queries(TEXTS[:1]).tokens[0], encoder.encode_images(pages).tokens)
    np.testing.assert_allclose([hit.score for hit in hits], scores[[hit.id for hit in hits]], atol=1e-4)
