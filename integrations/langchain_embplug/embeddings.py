"""An encoder of embplug as LangChain's embeddings."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from embplug import Encoder
from embplug.frameworks.embeddings import DenseEncoder


class EmbplugEmbeddings(Embeddings):
    """The dense vectors of an encoder, for whatever in LangChain takes embeddings.

    A store of embplug takes the encoder itself, and then also its tokens.

    Parameters
    ----------
    encoder : Encoder or str
        An encoder that makes dense vectors, or its name, such as ``"minilm"``.

    Raises
    ------
    InvalidArgumentError
        ``encoder`` is something else, or it makes no dense vectors. It is a ``ValueError``.

    Examples
    --------
    >>> EmbplugEmbeddings("minilm").embed_query("bees")  # doctest: +SKIP
    """

    def __init__(self, encoder: Encoder | str) -> None:
        self._dense = DenseEncoder(encoder)

    @property
    def encoder(self) -> Encoder:
        """Encoder that makes the vectors."""
        return self._dense.encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vector of each document."""
        return self._dense.documents(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self._dense.query(text)
