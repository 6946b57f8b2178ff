"""An encoder of embplug as LlamaIndex's embedding model, and what stands in where there is no model."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core import Settings
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer
from llama_index.core.embeddings.utils import resolve_embed_model

from embplug import Encoder
from embplug.errors import InvalidArgumentError
from embplug.frameworks.embeddings import DenseEncoder


class EmbplugEmbedding(BaseEmbedding):
    """The dense vectors of an encoder, for whatever in LlamaIndex takes an embedding model.

    A store of embplug takes the encoder itself, and then also its tokens.

    Parameters
    ----------
    encoder : Encoder or str
        An encoder that makes dense vectors, or its name, such as ``"minilm"``.
    **fields
        Fields of ``BaseEmbedding``, such as ``embed_batch_size``.

    Raises
    ------
    InvalidArgumentError
        ``encoder`` is something else, or it makes no dense vectors. It is a ``ValueError``.

    Examples
    --------
    >>> Settings.embed_model = EmbplugEmbedding("minilm")  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    encoder: Any = Field(description="An embplug encoder, or its name.")

    _dense: DenseEncoder = PrivateAttr()

    def __init__(self, encoder: Encoder | str, **fields: Any) -> None:
        dense = DenseEncoder(encoder)
        super().__init__(**{"model_name": dense.encoder.spec, **fields, "encoder": encoder})
        self._dense = dense

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex knows the class in serialised data."""
        return "EmbplugEmbedding"

    @field_serializer("encoder")
    def _named(self, encoder: Any) -> str:
        return encoder if isinstance(encoder, str) else str(encoder.spec)

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._dense.query(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._dense.query, query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._dense.documents([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._dense.documents(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._dense.documents, texts)


class DefaultEmbedding(BaseEmbedding):
    """LlamaIndex's default model, which is loaded when something is embedded and not before.

    LlamaIndex loads its default, a model of OpenAI, for each index without a model, also for an index on a
    store of tokens, which embeds no query.
    """

    _model: BaseEmbedding | None = PrivateAttr(default=None)

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex knows the class in serialised data."""
        return "DefaultEmbedding"

    @property
    def loaded(self) -> BaseEmbedding:
        """The default model.

        Raises
        ------
        InvalidArgumentError
            It cannot be loaded. Its own error is the cause.
        """
        if self._model is None:
            try:
                self._model = resolve_embed_model("default")
            except (ImportError, ValueError) as error:
                expected = (
                    "a model, because an index embeds its nodes; for a store of tokens, which leaves "
                    "embeddings aside, MockEmbedding(embed_dim=1)"
                )
                raise InvalidArgumentError("embed_model", expected, None) from error
        return self._model

    def _get_query_embedding(self, query: str) -> Embedding:
        return self.loaded.get_query_embedding(query)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await self.loaded.aget_query_embedding(query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return self.loaded.get_text_embedding(text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self.loaded.get_text_embedding_batch(texts)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await self.loaded.aget_text_embedding_batch(texts)


def defer_default_model() -> None:
    """Let LlamaIndex load its default model only when something is embedded, if the user has set no model."""
    if Settings._embed_model is None:
        Settings.embed_model = DefaultEmbedding()
