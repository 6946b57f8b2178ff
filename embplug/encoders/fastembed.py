"""Adapter for fastembed, whose models run on ONNX without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from embplug.encoders.base import Encoded, csr_rows, token_batch
from embplug.encoders.images import EncodedImages
from embplug.encoders.info import EncoderInfo, Output
from embplug.encoders.revisions import file_revision
from embplug.encoders.texts import Task, TextEncoder
from embplug.errors import InvalidArgumentError, MissingExtraError

CLASSES: dict[str, Output] = {
    "LateInteractionTextEmbedding": "tokens",
    "LateInteractionMultimodalEmbedding": "tokens",
    "SparseTextEmbedding": "sparse",
    "TextEmbedding": "dense",
}
"""Classes of fastembed, and what they make of texts. The first one that knows a model loads it."""


class FastEmbedEncoder(TextEncoder):
    """Encoder with a text model of fastembed: token vectors, dense vectors or sparse weights.

    Parameters
    ----------
    model : str or a text model of fastembed
        Name such as ``"colbert-ir/colbertv2.0"``, which is downloaded on first use; or a loaded
        ``LateInteractionTextEmbedding``, ``LateInteractionMultimodalEmbedding``, ``SparseTextEmbedding`` or
        ``TextEmbedding``.

    Raises
    ------
    InvalidArgumentError
        fastembed has no such model.
    MissingExtraError
        fastembed is not installed.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, str):
            model = _load(model)
        self._model = model
        self._output: Output = next(
            (output for name, output in CLASSES.items() if type(model).__name__ == name), "tokens"
        )
        self.spec = f"fastembed:{model.model_name}"
        if hasattr(model, "embed_image"):
            # Only where the model reads images: this attribute makes an encoder of images.
            self.encode_images = self._encode_images

    @cached_property
    def info(self) -> EncoderInfo:
        """What the model makes, its dimension, its longest text and the revision of its file."""
        size = None if self._output == "sparse" else int(self._model.embedding_size)
        tokenizer = getattr(getattr(self._model, "model", None), "tokenizer", None)
        truncation = getattr(tokenizer, "truncation", None) or {}
        return EncoderInfo(
            (self._output,),
            size if self._output == "tokens" else None,
            size if self._output == "dense" else None,
            truncation.get("max_length"),
            self.revision,
            reads_images=hasattr(self._model, "embed_image"),
        )

    def _encode_images(self, images: Sequence[Any]) -> EncodedImages:
        """Encode images as token vectors; see :class:`~embplug.encoders.images.ImageEncoder`."""
        tokens = token_batch(list(self._model.embed_image(list(images))))
        # ColPali's patches come first, in the place of as many equal ids; other models lie on no grid.
        ids = np.asarray(getattr(self._model.model, "EMPTY_TEXT_PLACEHOLDER", []))
        side = int(np.sqrt((ids == ids[0]).sum())) if ids.size else 0
        on_grid = side > 1 and (ids[: side * side] == ids[0]).all() and (tokens.lengths >= side * side).all()
        grids = np.tile([side, side, 0], (len(tokens), 1)) if on_grid else None
        return EncodedImages(tokens, grids=grids)

    def _method(self, task: Task) -> Callable[[list[str]], Any]:
        method = getattr(self._model, "query_embed" if task == "query" else "passage_embed", None)
        # Models of texts and images have one function for all texts. ColPali returns the rows of padding too,
        # so that texts of different lengths are not encoded together.
        return method or partial(self._model.embed_text, batch_size=1)

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        rows = list(self._method(task)(list(texts)))
        if self._output == "dense":
            return Encoded(dense=np.stack(rows).astype(np.float32))
        if self._output == "sparse":
            return Encoded(sparse=csr_rows([row.indices for row in rows], [row.values for row in rows]))
        return Encoded(token_batch(rows))

    @cached_property
    def revision(self) -> str | None:
        """Digest of the files of the model; None where they are not known."""
        model = getattr(self._model, "model", None)
        folder, description = getattr(model, "_model_dir", None), getattr(model, "model_description", None)
        if folder is None or description is None:
            return None
        # A large model keeps its weights in another file, beside its graph.
        names = (description.model_file or "", *(description.additional_files or ()))
        files = [file for file in (Path(folder) / name for name in names) if file.is_file()]
        return file_revision(*files) if files else None


def _load(name: str) -> Any:
    try:
        import fastembed
    except ImportError as error:
        raise MissingExtraError("the fastembed encoder", "fastembed") from error
    for class_name in CLASSES:
        loader = getattr(fastembed, class_name)
        if any(name.lower() == known["model"].lower() for known in loader.list_supported_models()):
            return loader(name)
    raise InvalidArgumentError("encoder", "a text model of fastembed after 'fastembed:'", repr(name))
