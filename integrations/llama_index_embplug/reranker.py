"""LlamaIndex's node postprocessor that reranks the nodes of any retriever."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from embplug import Encoder
from embplug.errors import InvalidArgumentError
from embplug.search import CrossEncoder
from embplug.search.cross_encoder import Scorer
from embplug.search.texts import TextReranker


class EmbplugReranker(BaseNodePostprocessor):
    """Reranks nodes by MaxSim of their tokens or by a cross-encoder, and keeps the best.

    Nodes are read as embedding models read them: with the metadata that is not excluded for them.

    Parameters
    ----------
    encoder : Encoder or str, default=None
        An encoder of tokens, or its name, for MaxSim.
    cross_encoder : CrossEncoder or callable, default=None
        An :class:`embplug.search.CrossEncoder`, or a function of a query and texts that returns one score
        per text. Either this or ``encoder`` is passed.
    top_n : int, default=2
        Number of nodes to keep. None keeps all.
    keep_retrieval_score : bool, default=False
        Keep the score that a node came with in its metadata, as ``retrieval_score``.

    Raises
    ------
    InvalidArgumentError
        Neither or both of ``encoder`` and ``cross_encoder`` are passed, or something else. It is a
        ``ValueError``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    encoder: Any = Field(default=None, description="An embplug encoder of tokens, or its name.")
    cross_encoder: Any = Field(default=None, exclude=True, description="Scores texts for a query.")
    top_n: int | None = Field(default=2, ge=1, description="Number of nodes to keep.")
    keep_retrieval_score: bool = Field(default=False, description="Keep the score before.")

    _reranker: TextReranker = PrivateAttr()

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        *,
        cross_encoder: CrossEncoder | Scorer | None = None,
        top_n: int | None = 2,
        keep_retrieval_score: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(
            encoder=encoder,
            cross_encoder=cross_encoder,
            top_n=top_n,
            keep_retrieval_score=keep_retrieval_score,
            **fields,
        )
        self._reranker = TextReranker(encoder, cross_encoder)

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex knows the class in serialised data."""
        return "EmbplugReranker"

    @field_serializer("encoder")
    def _named(self, encoder: Any) -> str | None:
        return encoder if encoder is None or isinstance(encoder, str) else encoder.spec

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidArgumentError("query_bundle", "a query to rank for", None)
        texts = [item.node.get_content(metadata_mode=MetadataMode.EMBED) for item in nodes]
        ranked = self._reranker.rank(query_bundle.query_str, texts, self.top_n)
        return [self._scored(nodes[place], score) for place, score in ranked]

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        # Encoders and cross-encoders keep the processor busy.
        return await asyncio.to_thread(self._postprocess_nodes, nodes, query_bundle)

    def _scored(self, item: NodeWithScore, score: float | None) -> NodeWithScore:
        if score is None:
            return item
        node = item.node
        if self.keep_retrieval_score:
            node = node.model_copy(update={"metadata": {**node.metadata, "retrieval_score": item.score}})
        return NodeWithScore(node=node, score=score)
