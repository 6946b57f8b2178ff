"""LlamaIndex's ingestion pipeline, which also stores nodes that no transformation has embedded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import BaseNode


class EmbplugIngestionPipeline(IngestionPipeline):
    """An ``IngestionPipeline`` that never leaves nodes out of its vector store.

    LlamaIndex's own passes the nodes with embeddings to the store and drops all others without a word, so
    that a store whose encoder makes the vectors stays empty. This one passes on all nodes. A store that needs
    embeddings then says which node lacks one.

    Examples
    --------
    >>> pipeline = EmbplugIngestionPipeline(transformations=[splitter], vector_store=store)  # doctest: +SKIP
    >>> pipeline.run(documents=documents)  # doctest: +SKIP
    """

    def run(self, *args: Any, **kwargs: Any) -> Sequence[BaseNode]:
        """Run the transformations and store all nodes; see LlamaIndex's ``IngestionPipeline.run``."""
        nodes = super().run(*args, **kwargs)
        if self.vector_store is not None and (bare := _without_embedding(nodes)):
            self.vector_store.add(bare)
        return nodes

    async def arun(self, *args: Any, **kwargs: Any) -> Sequence[BaseNode]:
        """Run the transformations and store all nodes; see :meth:`run`."""
        nodes = await super().arun(*args, **kwargs)
        if self.vector_store is not None and (bare := _without_embedding(nodes)):
            await self.vector_store.async_add(bare)
        return nodes


def _without_embedding(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    return [node for node in nodes if node.embedding is None]
