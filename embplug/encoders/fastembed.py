"""fastembed's late interaction models (ONNX, no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embplug.encoders.base import Encoded, token_batch
from embplug.errors import MissingExtraError


class FastEmbedEncoder:
    """Token vectors of a ``fastembed.LateInteractionTextEmbedding`` model.

    Parameters
    ----------
    model : str or LateInteractionTextEmbedding
        A name such as ``"colbert-ir/colbertv2.0"``, downloaded when it is first used, or a loaded model.

    Raises
    ------
    MissingExtraError
        fastembed is not installed.
    """

    def __init__(self, model: Any) -> None:
        if isinstance(model, str):
            try:
                from fastembed import LateInteractionTextEmbedding
            except ImportError as error:
                raise MissingExtraError("the fastembed encoder", "fastembed") from error
            model = LateInteractionTextEmbedding(model)
        self._model = model
        self.spec = f"fastembed:{model.model_name}"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents: ``tokens``."""
        return Encoded(token_batch(list(self._model.embed(list(texts)))))

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries: ``tokens``, with the model's query marker and expansion."""
        return Encoded(token_batch(list(self._model.query_embed(list(texts)))))
