"""Adapter for the late interaction models of fastembed, which run on ONNX without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embplug.encoders.base import Encoded, token_batch
from embplug.errors import MissingExtraError


class FastEmbedEncoder:
    """Encoder with a ``fastembed.LateInteractionTextEmbedding`` model, which makes token vectors.

    Parameters
    ----------
    model : str or LateInteractionTextEmbedding
        Name such as ``"colbert-ir/colbertv2.0"``, which is downloaded on first use, or a loaded model.

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
        """Encode documents as token vectors.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            ``tokens`` of the texts.
        """
        return Encoded(token_batch(list(self._model.embed(list(texts)))))

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries as token vectors, with the model's query marker and expansion.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            ``tokens`` of the texts.
        """
        return Encoded(token_batch(list(self._model.query_embed(list(texts)))))
