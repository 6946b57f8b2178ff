"""PyLate: ColBERT models on sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embplug.encoders.base import Encoded, token_batch
from embplug.errors import MissingExtraError


class PyLateEncoder:
    """Token vectors of a ``pylate.models.ColBERT``.

    Parameters
    ----------
    model : str or pylate.models.ColBERT
        Name, folder, or a loaded model.

    Raises
    ------
    MissingExtraError
        PyLate is not installed.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, str):
            try:
                from pylate import models
            except ImportError as error:
                raise MissingExtraError("the PyLate encoder", "pylate") from error
            self.spec = f"pylate:{model}"
            model = models.ColBERT(model_name_or_path=model)
        else:
            self.spec = "pylate:given"
        self._model = model

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents: ``tokens``."""
        return self._encode(texts, is_query=False)

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries: ``tokens``, with the model's query marker and expansion."""
        return self._encode(texts, is_query=True)

    def _encode(self, texts: Sequence[str], is_query: bool) -> Encoded:
        return Encoded(
            token_batch(self._model.encode(list(texts), is_query=is_query, show_progress_bar=False))
        )
