"""Adapter for PyLate: ColBERT models on sentence-transformers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from embplug.encoders.base import Encoded, token_batch
from embplug.encoders.info import EncoderInfo
from embplug.encoders.revisions import is_on_hub, weights_revision
from embplug.encoders.texts import Task, TextEncoder
from embplug.errors import MissingExtraError

# PyLate changes its tokenizer between queries and documents, so that one thread at a time may encode.
_lock = threading.Lock()


class PyLateEncoder(TextEncoder):
    """Encoder with a ``pylate.models.ColBERT`` model, which makes token vectors.

    Queries have the marker and the expansion of the model.

    Parameters
    ----------
    model : str or pylate.models.ColBERT
        Name or folder of a model, or a loaded model.

    Raises
    ------
    MissingExtraError
        PyLate is not installed.
    """

    def __init__(self, model: Any) -> None:
        self._from_hub = isinstance(model, str) and is_on_hub(model)
        if isinstance(model, str):
            try:
                from pylate import models
            except ImportError as error:
                raise MissingExtraError("the PyLate encoder", "pylate") from error
            self.spec = f"pylate:{model}"
            model = models.ColBERT(model_name_or_path=model, trust_remote_code=False)
        else:
            self.spec = "pylate:given"
        self._model = model

    @cached_property
    def info(self) -> EncoderInfo:
        """What the model makes, its dimension, its longest document and the revision of its weights."""
        return EncoderInfo(
            ("tokens",),
            int(self._model.get_sentence_embedding_dimension()),
            max_tokens=self._model.document_length,
            revision=self.revision,
        )

    @cached_property
    def revision(self) -> str | None:
        """Commit of the model hub, or digest of the weights and prefixes; None of an unknown model."""
        if not hasattr(self._model, "state_dict"):
            return None
        prefixes = str(self._model.query_prefix), str(self._model.document_prefix)
        return weights_revision(self._model, *prefixes, from_hub=self._from_hub)

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        with _lock:
            matrices = self._model.encode(list(texts), is_query=task == "query", show_progress_bar=False)
        return Encoded(token_batch(matrices))
