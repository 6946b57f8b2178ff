"""LlamaIndex's ingestion pipeline, which also stores nodes that no transformation has embedded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import BaseNode
from llama_index_instrumentation import get_dispatcher

from llama_index_embplug.vectorstore import EmbplugVectorStore

logger = logging.getLogger(__name__)


class EmbplugIngestionPipeline(IngestionPipeline):
    """An ``IngestionPipeline`` that never leaves nodes out of its vector store.

    LlamaIndex's own passes the nodes with embeddings to the store and drops all others without a word. This
    one passes on all nodes. A store that needs embeddings then says which node lacks one.

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


class DroppedNodes(BaseSpanHandler[BaseSpan]):
    """Stores the nodes that LlamaIndex's own ``IngestionPipeline`` has dropped before the store saw them.

    LlamaIndex tells its span handlers when a pipeline ends, and ignores what they raise. So what cannot be
    stored is logged as an error.
    """

    def span_enter(self, *args: Any, **kwargs: Any) -> None:
        """Nothing happens at the beginning of a pipeline."""

    def span_drop(self, *args: Any, **kwargs: Any) -> None:
        """Nothing happens after a pipeline that failed."""

    def span_exit(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **kwargs: Any
    ) -> None:
        """Store the nodes without embeddings at the end of a pipeline."""
        if isinstance(instance, EmbplugIngestionPipeline) or not isinstance(instance, IngestionPipeline):
            return
        store = instance.vector_store
        if isinstance(store, EmbplugVectorStore) and (bare := _without_embedding(result or [])):
            try:
                store.add(bare)
            except Exception as error:
                logger.error(
                    "IngestionPipeline left %d nodes without embeddings out of %r: %s. "
                    "EmbplugIngestionPipeline raises this error",
                    len(bare),
                    store.collection_name,
                    error,
                )

    def new_span(self, *args: Any, **kwargs: Any) -> None:
        """No spans are kept."""

    def prepare_to_exit_span(self, *args: Any, **kwargs: Any) -> None:
        """No spans are kept."""

    def prepare_to_drop_span(self, *args: Any, **kwargs: Any) -> None:
        """No spans are kept."""


def _without_embedding(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    return [node for node in nodes if node.embedding is None]


get_dispatcher(IngestionPipeline.__module__).add_span_handler(DroppedNodes())
