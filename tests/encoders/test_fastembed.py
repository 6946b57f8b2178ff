"""The classes of fastembed, on a tiny ONNX file in place of the files that they download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug.encoders import Encoder, load_encoder
from embplug.encoders.fastembed import FastEmbedEncoder
from embplug.errors import InvalidArgumentError
from tests.encoders import checkpoints
from tests.encoders.checkpoints import TEXTS
from tests.encoders.onnx_file import write_embedding

fastembed = pytest.importorskip("fastembed")
pytest.importorskip("transformers")

DIM = 16
MODELS = {
    "tokens": ("LateInteractionTextEmbedding", "colbert-ir/colbertv2.0"),
    "dense": ("TextEmbedding", "sentence-transformers/all-MiniLM-L6-v2"),
    "sparse": ("SparseTextEmbedding", "prithivida/Splade_PP_en_v1"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose token vectors are rows of a random embedding."""
    model_folder = tmp_path_factory.mktemp("fastembed")
    tokenizer = checkpoints.tokenizer(model_folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(model_folder)
    (model_folder / "config.json").write_text('{"pad_token_id": 0}', encoding="utf-8")
    rows = np.random.default_rng(0).standard_normal((len(checkpoints.VOCABULARY), DIM))
    write_embedding(model_folder / "model.onnx", rows.astype(np.float32))
    return model_folder


def model_of(output: str, folder: Path) -> Any:
    class_name, name = MODELS[output]
    return getattr(fastembed, class_name)(name, specific_model_path=str(folder), threads=1)


@pytest.mark.parametrize("output", MODELS)
def test_it_gives_the_vectors_of_the_library(output: str, folder: Path) -> None:
    model = model_of(output, folder)
    encoder = FastEmbedEncoder(model)
    assert isinstance(encoder, Encoder) and encoder.spec == f"fastembed:{MODELS[output][1]}"
    for encoded, expected in (
        (encoder.encode_documents(TEXTS), list(model.passage_embed(TEXTS))),
        (encoder.encode_queries(TEXTS), list(model.query_embed(TEXTS))),
    ):
        outputs = [name for name in MODELS if getattr(encoded, name) is not None]
        assert outputs == [output] and len(encoded) == len(TEXTS)
        if encoded.tokens is not None:
            assert encoded.tokens.lengths.tolist() == [len(matrix) for matrix in expected]
            np.testing.assert_allclose(encoded.tokens.values, np.concatenate(expected), atol=1e-5)
        elif encoded.dense is not None:
            np.testing.assert_allclose(encoded.dense, np.stack(expected), atol=1e-5)
        else:
            for row, embedding in enumerate(expected):
                weights = dict(zip(embedding.indices.tolist(), embedding.values.tolist(), strict=True))
                ours = encoded.sparse[[row]].tocoo()
                assert dict(zip(ours.coords[1].tolist(), ours.data.tolist(), strict=True)) == pytest.approx(
                    weights
                )


@pytest.mark.parametrize(
    ("output", "expected"),
    [("tokens", (128, None, 63)), ("dense", (None, 384, 64)), ("sparse", (None, None, 64))],
)
def test_the_encoder_tells_what_it_makes(output: str, folder: Path, expected: Any) -> None:
    info = FastEmbedEncoder(model_of(output, folder)).info
    assert info.outputs == (output,) and not info.reads_images
    assert (info.token_dim, info.dense_dim, info.max_tokens) == expected
    assert info.revision is not None and info.revision.startswith("weights-")


def test_each_name_is_loaded_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    for class_name in ("LateInteractionMultimodalEmbedding", *(name for name, _ in MODELS.values())):
        original = getattr(fastembed, class_name)

        class StandIn:
            list_supported_models = original.list_supported_models
            name = class_name

            def __init__(self, model: str) -> None:
                loaded.append(self.name)
                self.model_name = model

        monkeypatch.setattr(fastembed, class_name, StandIn)
    names = [
        "colbert-ir/colbertv2.0",
        "Qdrant/colpali-v1.3-fp16",
        "prithivida/Splade_PP_en_v1",
        "BAAI/bge-small-en",
    ]
    for name in names:
        load_encoder(f"fastembed:{name}")
    assert loaded == [
        "LateInteractionTextEmbedding",
        "LateInteractionMultimodalEmbedding",
        "SparseTextEmbedding",
        "TextEmbedding",
    ]


def test_a_model_that_fastembed_lacks_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .*'nobody/nothing'"):
        load_encoder("fastembed:nobody/nothing")
