"""An encoder of embplug as the embedding model of a framework."""

from __future__ import annotations

from collections.abc import Sequence

from embplug.encoders import Encoder, load_encoder
from embplug.errors import InvalidArgumentError


class DenseEncoder:
    """Makes the dense vectors of texts, as lists of floats.

    Parameters
    ----------
    encoder : Encoder or str
        An encoder that makes dense vectors, or its name.

    Raises
    ------
    InvalidArgumentError
        ``encoder`` is something else.
    """

    def __init__(self, encoder: Encoder | str) -> None:
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        if not isinstance(loaded, Encoder):
            raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(loaded).__name__)
        self.encoder = loaded

    def documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vector of each document."""
        return self._vectors(texts, queries=False)

    def query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self._vectors([text], queries=True)[0]

    def _vectors(self, texts: Sequence[str], queries: bool) -> list[list[float]]:
        if not texts:
            return []
        encode = self.encoder.encode_queries if queries else self.encoder.encode_documents
        dense = encode([*texts]).dense
        if dense is None:
            raise InvalidArgumentError("encoder", "one that makes dense vectors", self.encoder.spec)
        vectors: list[list[float]] = dense.tolist()
        return vectors
