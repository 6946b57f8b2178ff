"""The collection for asyncio: the names of :class:`~embplug.collection.collection.Collection`, awaited."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug.branches.documents import DenseLike, Documents, Sample, TokensLike, check_sample
from embplug.branches.pipeline import Pipeline
from embplug.collection import operations
from embplug.collection.ingest import IN_FLIGHT, AddReport, ingest
from embplug.collection.operations import CollectionInfo, Record
from embplug.common.ids import Id
from embplug.encoders import Encoder
from embplug.engines import AsyncEdgeClient, AsyncEngine, EdgeClient, connect_async
from embplug.engines.calls import Steps, T, run_async
from embplug.recipe import Fusion, Recipe
from embplug.search.cross_encoder import Scorer
from embplug.search.types import Hit, Query, SearchOptions

AsyncTarget = str | os.PathLike[str] | EdgeClient | AsyncQdrantClient | AsyncEdgeClient


class AsyncCollection:
    """As :class:`~embplug.Collection`: methods take and raise the same, and are awaited.

    On a server it speaks through ``AsyncQdrantClient``; Qdrant Edge works in a thread. Encoding runs
    in a thread, so that the event loop stays free.

    Attributes
    ----------
    name
        Of the Qdrant collection.
    engine
        The client that speaks to the engine; the caller closes it. A synchronous simulation, as
        :meth:`embplug.Collection.to_async` shares it, works in a thread.
    """

    def __init__(self, name: str, engine: AsyncEngine | QdrantClient, pipeline: Pipeline) -> None:
        self.name = name
        self.engine = engine
        self._pipeline = pipeline

    @property
    def recipe(self) -> Recipe:
        """What the collection stores and how it is searched."""
        return self._pipeline.recipe

    @property
    def encoder(self) -> Encoder:
        """What turns texts into vectors; loaded when first needed."""
        return self._pipeline.models.encoder

    @property
    def has_encoder(self) -> bool:
        """Whether texts can stand for vectors."""
        return self._pipeline.models.has_encoder

    def __repr__(self) -> str:
        return f"AsyncCollection({self.name!r}, engine={type(self.engine).__name__})"

    @classmethod
    async def create(
        cls,
        name: str,
        recipe: Recipe,
        engine: AsyncTarget,
        *,
        sample: Sample | None = None,
        encoder: Encoder | None = None,
        cross_encoder: Scorer | None = None,
        device: str | None = None,
    ) -> AsyncCollection:
        """See :meth:`embplug.Collection.create`; ``engine`` is what :func:`embplug.connect_async` takes."""
        client = await connect_async(engine)
        learned_from = None if sample is None else check_sample(sample, recipe)
        made = await run_async(
            client,
            operations.create_steps(
                client, name, recipe, learned_from, encoder, cross_encoder, device=device
            ),
        )
        return cls(name, client, made)

    @classmethod
    async def open(
        cls,
        name: str,
        engine: AsyncTarget,
        *,
        encoder: Encoder | None = None,
        cross_encoder: Scorer | None = None,
        device: str | None = None,
    ) -> AsyncCollection:
        """See :meth:`embplug.Collection.open`; ``engine`` is what :func:`embplug.connect_async` takes."""
        client = await connect_async(engine)
        steps = operations.open_steps(client, name, encoder, cross_encoder, device)
        return cls(name, client, await run_async(client, steps))

    @classmethod
    async def open_plain(
        cls,
        name: str,
        engine: AsyncTarget,
        *,
        vector: str | None = None,
        encoder: Encoder | None = None,
        text_key: str = "text",
    ) -> AsyncCollection:
        """See :meth:`embplug.Collection.open_plain`; ``engine`` as in :meth:`open`."""
        client = await connect_async(engine)
        steps = operations.open_plain_steps(client, name, vector, encoder, text_key)
        return cls(name, client, await run_async(client, steps))

    async def add(
        self,
        ids: Sequence[Id],
        *,
        tokens: TokensLike | None = None,
        dense: DenseLike | None = None,
        texts: Sequence[str] | None = None,
        payloads: Sequence[Mapping[str, Any] | None] | None = None,
        saliency: Sequence[ArrayLike] | None = None,
    ) -> AddReport:
        """See :meth:`embplug.Collection.add`."""
        return await self.add_batches(
            [Documents(ids, tokens, dense, texts, payloads, saliency)], progress=False
        )

    async def add_batches(
        self,
        batches: Iterable[Documents] | AsyncIterable[Documents],
        *,
        workers: int = IN_FLIGHT,
        progress: bool | None = None,
    ) -> AddReport:
        """See :meth:`embplug.Collection.add_batches`; ``batches`` may be asynchronous too.

        When the awaiting task is cancelled, no more batches are read, and what is under way is waited
        for.
        """
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def submit(steps: Steps[T]) -> Future[T]:
            return asyncio.run_coroutine_threadsafe(run_async(self.engine, steps), loop)

        def until_cancelled() -> Iterator[Documents]:
            for documents in _iterate(batches, loop):
                if cancelled.is_set():
                    return
                yield documents

        writing = asyncio.ensure_future(
            asyncio.to_thread(
                ingest,
                self.engine,
                self.name,
                self._pipeline,
                until_cancelled(),
                submit,
                in_flight=workers,
                progress=progress,
            )
        )
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([writing])
            raise

    async def search(
        self,
        *,
        tokens: ArrayLike | None = None,
        dense: ArrayLike | Mapping[str, ArrayLike] | None = None,
        text: str | None = None,
        limit: int = 10,
        filter: models.Filter | None = None,
        candidates: int | None = None,
        exact: bool = False,
        with_payload: bool | Sequence[str] = True,
        with_stages: bool = False,
        score_threshold: float | None = None,
        search_params: models.SearchParams | None = None,
        branches: Sequence[str] | None = None,
        fusion: Fusion | None = None,
        token_weights: ArrayLike | None = None,
        saliency: ArrayLike | None = None,
    ) -> list[Hit]:
        """See :meth:`embplug.Collection.search`."""
        options = SearchOptions(
            limit,
            filter,
            candidates,
            exact,
            with_payload,
            with_stages,
            score_threshold,
            search_params,
            branches,
            fusion,
        )
        return (await self._search([Query(tokens, dense, text, token_weights, saliency)], options))[0]

    async def batch_search(
        self,
        queries: Sequence[Query],
        *,
        limit: int = 10,
        filter: models.Filter | None = None,
        candidates: int | None = None,
        exact: bool = False,
        with_payload: bool | Sequence[str] = True,
        with_stages: bool = False,
        score_threshold: float | None = None,
        search_params: models.SearchParams | None = None,
        branches: Sequence[str] | None = None,
        fusion: Fusion | None = None,
    ) -> list[list[Hit]]:
        """See :meth:`embplug.Collection.batch_search`."""
        options = SearchOptions(
            limit,
            filter,
            candidates,
            exact,
            with_payload,
            with_stages,
            score_threshold,
            search_params,
            branches,
            fusion,
        )
        return await self._search(queries, options)

    async def search_mmr(
        self,
        *,
        tokens: ArrayLike | None = None,
        dense: ArrayLike | Mapping[str, ArrayLike] | None = None,
        text: str | None = None,
        limit: int = 10,
        diversity: float = 0.5,
        candidates_limit: int = 100,
        filter: models.Filter | None = None,
        with_payload: bool | Sequence[str] = True,
        score_threshold: float | None = None,
        search_params: models.SearchParams | None = None,
        token_weights: ArrayLike | None = None,
        saliency: ArrayLike | None = None,
    ) -> list[Hit]:
        """See :meth:`embplug.Collection.search_mmr`."""
        options = SearchOptions(
            limit,
            filter,
            with_payload=with_payload,
            score_threshold=score_threshold,
            search_params=search_params,
        )
        query = Query(tokens, dense, text, token_weights, saliency)
        return await self._run(
            operations.search_mmr_steps(
                self.engine, self.name, self._pipeline, query, options, diversity, candidates_limit
            )
        )

    async def _search(self, queries: Sequence[Query], options: SearchOptions) -> list[list[Hit]]:
        return await self._run(
            operations.search_steps(self.engine, self.name, self._pipeline, queries, options)
        )

    async def retrieve(self, ids: Sequence[Id]) -> list[Record]:
        """See :meth:`embplug.Collection.retrieve`."""
        return await self._run(operations.retrieve_steps(self.name, ids))

    async def scroll(
        self, *, filter: models.Filter | None = None, limit: int = 100, offset: Any = None
    ) -> tuple[list[Record], Any]:
        """See :meth:`embplug.Collection.scroll`."""
        return await self._run(operations.scroll_steps(self.name, self._pipeline, filter, limit, offset))

    async def count(self, filter: models.Filter | None = None) -> int:
        """See :meth:`embplug.Collection.count`."""
        return await self._run(operations.count_steps(self.name, self._pipeline, filter))

    async def delete(self, ids: Sequence[Id] | None = None, *, filter: models.Filter | None = None) -> None:
        """See :meth:`embplug.Collection.delete`."""
        await self._run(operations.delete_steps(self.name, self._pipeline, ids, filter))

    async def set_payload(self, payload: Mapping[str, Any], ids: Sequence[Id]) -> None:
        """See :meth:`embplug.Collection.set_payload`."""
        await self._run(operations.set_payload_steps(self.name, payload, ids))

    async def describe(self) -> dict[str, dict[str, Any]]:
        """See :meth:`embplug.Collection.describe`."""
        pipeline = self._pipeline
        return await self._run(operations.fitted_steps(self.engine, self.name, pipeline, pipeline.describe))

    async def drift(self, tokens: TokensLike) -> float:
        """See :meth:`embplug.Collection.drift`."""
        pipeline = self._pipeline
        return await self._run(
            operations.fitted_steps(self.engine, self.name, pipeline, lambda: pipeline.drift(tokens))
        )

    async def info(self) -> CollectionInfo:
        """See :meth:`embplug.Collection.info`."""
        return await self._run(operations.info_steps(self.engine, self.name))

    async def optimize(self, *, timeout: float = 600.0) -> bool:
        """See :meth:`embplug.Collection.optimize`."""
        return await self._run(operations.optimize_steps(self.engine, self.name, timeout))

    async def drop(self) -> None:
        """See :meth:`embplug.Collection.drop`."""
        await self._run(operations.drop_steps(self.engine, self.name))

    async def _run(self, steps: Steps[T]) -> T:
        return await run_async(self.engine, steps)


def _iterate(
    batches: Iterable[Documents] | AsyncIterable[Documents], loop: asyncio.AbstractEventLoop
) -> Iterator[Documents]:
    """Batches one by one, in a thread other than the loop's."""
    if not isinstance(batches, AsyncIterable):
        yield from batches
        return
    iterator = aiter(batches)

    async def following() -> Documents | None:
        return await anext(iterator, None)

    while (documents := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield documents
