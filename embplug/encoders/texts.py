"""Base of the encoders of texts of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from embplug.encoders.base import Encoded

Task: TypeAlias = Literal["query", "document"]
"""What a text is encoded as."""


class TextEncoder:
    """Base of encoders that treat queries and documents by one function.

    A derived class defines ``spec`` and ``_encode``, and says in its docstring what its vectors are.
    """

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            Vectors of the texts, of the kinds that the class names.

        Raises
        ------
        EncoderError
            The model runs behind an endpoint, which fails or answers without such vectors.
        """
        return self._encode(texts, "document")

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries. See :meth:`encode_documents`."""
        return self._encode(texts, "query")

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        raise NotImplementedError
