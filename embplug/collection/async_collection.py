"""The collection for asyncio: the methods of ``Collection``, awaited."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug.branches.documents import DenseLike, Documents, GridsLike, Sample, TokensLike
from embplug.branches.empty import OnEmpty
from embplug.branches.sparse_vectors import SparseLike
from embplug.collection.base import CollectionBase
from embplug.collection.default_recipe import chosen_recipe
from embplug.collection.ingest import check_batches, ingest
from embplug.collection.opening import check_create, create_steps, open_plain_steps, open_steps
from embplug.collection.operation import awaiting
from embplug.collection.writing import IN_FLIGHT, AddReport
from embplug.common.ids import Id
from embplug.encoders import Encoder
from embplug.engines import AsyncEdgeClient, AsyncEngine, EdgeClient, async_closed_on_error, connect_async
from embplug.engines.calls import Steps, T, run_async
from embplug.engines.connect import existing
from embplug.engines.request_options import WriteOptions
from embplug.errors import CapabilityError
from embplug.pages import ImageLike
from embplug.recipe import Recipe
from embplug.recipe.presets import Preset
from embplug.search.cross_encoder import Scorer

STOPPING_S = 0.1
"""Seconds after which a cancelled ingest stops a batch that it has begun to read meanwhile."""

AsyncTarget = str | os.PathLike[str] | EdgeClient | AsyncQdrantClient | AsyncEdgeClient


class AsyncCollection(CollectionBase[AsyncEngine | QdrantClient], run_by=awaiting):
    """A Qdrant collection that is stored and searched as a recipe says, for asyncio.

    Its methods are awaited. They have the parameters, results and errors of those of
    :class:`~embplug.Collection`. A server is reached through ``AsyncQdrantClient``. Qdrant Edge and encoders
    run in threads, so that the event loop stays free.

    Attributes
    ----------
    name : str
        Name of the Qdrant collection.
    engine : AsyncQdrantClient, AsyncEdgeClient or QdrantClient
        Client that speaks to the engine. The caller closes it. A synchronous simulation, as
        :meth:`embplug.Collection.to_async` shares it, runs in a thread.
    recipe : Recipe
        What the collection stores and how it is searched.
    encoder : Encoder
        Encoder of texts. It is loaded when it is first needed. Without one, reading it raises an
        InvalidArgumentError.
    has_encoder : bool
        Whether texts can be passed in place of vectors.

    Examples
    --------
    >>> import asyncio
    >>> from embplug import AsyncCollection, Dense, Recipe
    >>> async def main():
    ...     collection = await AsyncCollection.create("docs", Recipe(dense=Dense(dim=2)), ":memory:")
    ...     await collection.add([1, 2], dense=[[1.0, 0.0], [0.0, 1.0]])
    ...     return [hit.id for hit in await collection.search(dense=[0.9, 0.1])]
    >>> asyncio.run(main())
    [1, 2]
    """

    @classmethod
    async def create(
        cls,
        name: str,
        recipe: Recipe | Preset | None = None,
        engine: AsyncTarget | None = None,
        *,
        sample: Sample | None = None,
        encoder: Encoder | str | None = None,
        cross_encoder: Scorer | str | None = None,
        device: str | None = None,
    ) -> AsyncCollection:
        """Create a collection, or open an existing one with the same recipe.

        Parameters
        ----------
        name : str
            Name of the Qdrant collection.
        recipe : Recipe or {"small", "balanced", "exact"}, default="balanced"
            What the collection stores and how it is searched. A name is a preset of
            :class:`~embplug.Tokens` or :class:`~embplug.Dense`, for the vectors that ``encoder`` makes:
            tokens if it makes them, else one dense vector. None is ``"balanced"``.
        engine : str, path or client
            A client, or what :func:`embplug.connect` takes; :func:`embplug.connect_async` for asyncio.
        sample : Sample, default=None
            Data from which the recipe's methods learn. By default they learn from the first
            ``recipe.fit_sample`` documents that are added. A collection that exists and has learned keeps
            what it has learned, and ignores the sample. A ``UserWarning`` names the methods for which there
            are too few documents; a few thousand are enough. The methods of presets need no more than one.
        encoder : Encoder or str, default=None
            Encoder of texts, or its name, in place of the one that the recipe names. Without a recipe, the
            collection remembers the name.
        cross_encoder : callable or str, default=None
            Model of the recipe's cross-encoder stage, or its name, in place of the one that the recipe names.
            A model takes a query and texts, and returns a score for each text.
        device : str, default=None
            A torch device, such as ``"cuda"``, on which documents get their encoding and a
            :class:`~embplug.methods.LearnedEncoding` is learned. By default numpy on the processor.

        Returns
        -------
        Collection or AsyncCollection
            The collection, open.

        Raises
        ------
        RecipeMismatchError
            The collection exists with another recipe; the error lists the fields that differ.
        NotAnEmbplugCollectionError
            A collection of that name exists, and embplug did not make it.
        CapabilityError
            The engine cannot do what the recipe says.
        InvalidArgumentError
            An argument is wrong, and the error names it.
        """
        whole, encoder = await asyncio.to_thread(chosen_recipe, recipe, engine, encoder)
        assert engine is not None
        checked = check_create(whole, engine, sample=sample, encoder=encoder, cross_encoder=cross_encoder)
        client = await connect_async(engine)
        steps = create_steps(
            client,
            name,
            whole,
            sample=checked,
            encoder=encoder,
            cross_encoder=cross_encoder,
            device=device,
        )
        async with async_closed_on_error(client, engine):
            return cls(name, client, await run_async(client, steps))

    @classmethod
    async def open(
        cls,
        name: str,
        engine: AsyncTarget,
        *,
        encoder: Encoder | str | None = None,
        cross_encoder: Scorer | str | None = None,
        device: str | None = None,
    ) -> AsyncCollection:
        """Open a collection by name alone; recipe and fitted state are read from the engine.

        Parameters
        ----------
        name : str
            Name of the Qdrant collection.
        engine : str, path or client
            A client, or what :func:`embplug.connect` takes; :func:`embplug.connect_async` for asyncio.
        encoder : Encoder or str, default=None
            Encoder of texts, or its name, in place of the one that the recipe names.
        cross_encoder : callable or str, default=None
            Model of the recipe's cross-encoder stage. See :meth:`create`.
        device : str, default=None
            A torch device on which documents are encoded. See :meth:`create`.

        Returns
        -------
        Collection or AsyncCollection
            The collection, open.

        Raises
        ------
        CollectionNotFoundError
            The collection does not exist.
        NotAnEmbplugCollectionError
            The collection exists, and embplug did not make it.
        StateError
            Its recipe or fitted state is missing, truncated or altered.
        RecipeVersionError
            A newer embplug made the collection.
        """
        client = await connect_async(existing(engine))
        steps = open_steps(client, name, encoder=encoder, cross_encoder=cross_encoder, device=device)
        async with async_closed_on_error(client, engine):
            return cls(name, client, await run_async(client, steps))

    @classmethod
    async def open_plain(
        cls,
        name: str,
        engine: AsyncTarget,
        *,
        vector: str | None = None,
        encoder: Encoder | str | None = None,
        text_key: str = "text",
        sparse_vector: str | None = None,
        sparse_encoder: Encoder | str | None = None,
    ) -> AsyncCollection:
        """Open a collection that embplug did not make, to add and search as it is, uncompressed.

        Parameters
        ----------
        name : str
            Name of the Qdrant collection.
        engine : str, path or client
            A client, or what :func:`embplug.connect` takes; :func:`embplug.connect_async` for asyncio.
        vector : str, default=None
            Name of the dense vector; ``""`` for a vector without a name. By default the only one.
        encoder : Encoder or str, default=None
            Encoder of texts, or its name.
        text_key : str, default="text"
            Payload field with the text.
        sparse_vector : str, default=None
            Name of a sparse vector that documents get, too, and that is searched beside the dense one. By
            default the only one, if ``sparse_encoder`` is passed, and else none.
        sparse_encoder : Encoder or str, default=None
            Encoder of the sparse vectors, or its name. Without one, ``add`` takes them as ``sparse``.

        Returns
        -------
        Collection or AsyncCollection
            The collection, open.

        Raises
        ------
        CollectionNotFoundError
            The collection does not exist.
        InvalidArgumentError
            The collection has no such vector, or an encoder is not known.
        """
        client = await connect_async(existing(engine))
        steps = open_plain_steps(
            client,
            name,
            vector=vector,
            encoder=encoder,
            text_key=text_key,
            sparse_vector=sparse_vector,
            sparse_encoder=sparse_encoder,
        )
        async with async_closed_on_error(client, engine):
            return cls(name, client, await run_async(client, steps))

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled, because opening again has to wait."""
        raise CapabilityError(
            "an AsyncCollection cannot be pickled: pickle a Collection, and call to_async where it is read"
        )

    async def add(
        self,
        ids: Sequence[Id],
        *,
        tokens: TokensLike | None = None,
        dense: DenseLike | None = None,
        texts: Sequence[str] | None = None,
        payloads: Sequence[Mapping[str, Any] | None] | None = None,
        saliency: Sequence[ArrayLike] | None = None,
        images: Sequence[ImageLike] | None = None,
        grids: GridsLike | None = None,
        sparse: SparseLike | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
        on_empty: OnEmpty = "raise",
    ) -> AddReport:
        """Insert documents, or replace those whose ids exist.

        All documents are checked before the first one is written.

        Parameters
        ----------
        ids : sequence of int, str or UUID
            Unsigned integers, UUIDs or any strings, one for each document.
        tokens : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
            Token vectors of each document, as float32 or float16.
        dense : array-like of shape (n, dim) or mapping of str to array-like, default=None
            Dense vectors. A recipe with several dense vectors takes a mapping by their names.
        texts : sequence of str, default=None
            Texts, kept in the payload. The sparse branch reads them, and the encoder makes from them the
            vectors that are not passed, if there are no ``images``.
        payloads : sequence of mapping or None, default=None
            One JSON mapping, or None, for each document.
        saliency : sequence of array-like of shape (t_i,), default=None
            How much each token matters, for a recipe whose ``reduction`` prunes tokens by saliency.
        images : sequence of PIL.Image.Image, path, bytes, PdfPage or PageImage, default=None
            Images, of which the encoder makes the vectors that are not passed. They are not stored. An image
            of more than 50 million pixels is refused, unless a :class:`~embplug.pages.PageImage` says
            otherwise.
        grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None, default=None
            Where ``tokens`` are patches of images: rows, columns, and the number of tokens before the first
            patch, by default 0. See :class:`~embplug.Documents`.
        sparse : sequence of mapping or SparseVector, or scipy sparse matrix, default=None
            Weights of terms by index, one vector for each document, for a recipe with
            ``Sparse(kind="learned")``. By default the encoder makes them from ``texts``.
        wait, ordering, shard_key_selector, timeout
            See :meth:`set_payload`. With ``wait=False`` documents are found a little later. A collection
            with ``sharding_method="custom"`` needs ``shard_key_selector``.
        on_empty : {"raise", "skip", "store"}, default="raise"
            What happens to a document whose text or image is blank, that has no tokens, or whose dense
            vectors are None. ``"skip"`` leaves it out; a document of that id that is stored already stays.
            ``"store"`` stores it with its payload and without vectors: filters, :meth:`scroll` and
            :meth:`count` find it, and :meth:`search` does not. The report lists its id.

        Returns
        -------
        AddReport
            How many documents the engine acknowledged, and how many requests were sent again.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong. The error is of a subclass that names the argument and the first
            document that is wrong; nothing was written. Only what an encoder refuses, such as a text in which
            it finds no token, is told after earlier documents were written; adding all again is safe.
        IngestError
            The engine did not take some documents after all retries; ``error.report`` lists them.
        CapabilityError
            The engine cannot honour an option.
        """
        documents = Documents(
            ids,
            tokens=tokens,
            dense=dense,
            texts=texts,
            payloads=payloads,
            saliency=saliency,
            images=images,
            grids=grids,
            sparse=sparse,
            position=0,
        )
        return await self.add_batches(
            [documents],
            progress=False,
            wait=wait,
            ordering=ordering,
            shard_key_selector=shard_key_selector,
            timeout=timeout,
            on_empty=on_empty,
        )

    async def add_batches(
        self,
        batches: Iterable[Documents] | AsyncIterable[Documents],
        *,
        workers: int = IN_FLIGHT,
        progress: bool | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
        on_empty: OnEmpty = "raise",
        total: int | None = None,
        on_stored: Callable[[int], None] | None = None,
    ) -> AddReport:
        """Insert documents from a generator, in bounded memory.

        Encoding and sending overlap; the generator is read no faster than the engine takes documents.
        Each batch is checked as a whole before any of it is written. Documents that were acknowledged stay
        when an error ends the call; adding them again is safe. An id that comes twice is an error, in one
        batch or in two, so that the ids of the call are kept until it ends. When a task that awaits the call
        is cancelled, no more batches are read, and the requests under way are waited for.

        Parameters
        ----------
        batches : iterable of Documents
            The batches; with an ``AsyncCollection`` the iterable may be asynchronous.
        workers : int, default=4
            Number of requests under way at a time.
        progress : bool, default=None
            Whether to show a progress bar. By default on a terminal.
        wait, ordering, shard_key_selector, timeout
            See :meth:`add`.
        on_empty : {"raise", "skip", "store"}, default="raise"
            What happens to a document without text, visible image or vectors. See :meth:`add`.
        total : int, default=None
            Number of documents, for the progress bar, if it is known.
        on_stored : callable, default=None
            Is called now and then with a number n: the first n batches are stored. Whoever writes it down can
            go on there after an interruption.

        Returns
        -------
        AddReport
            How many documents the engine acknowledged, and how many requests were sent again.

        Raises
        ------
        InvalidArgumentError, IngestError, CapabilityError
            See :meth:`add`.
        """
        workers = check_batches(batches, workers, may_be_async=True)
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        loop = asyncio.get_running_loop()
        reading = _Reading(batches, loop)

        def submit(steps: Steps[T]) -> Future[T]:
            return asyncio.run_coroutine_threadsafe(run_async(self.engine, steps), loop)

        writing = asyncio.ensure_future(
            asyncio.to_thread(
                ingest,
                self._handle,
                reading,
                submit,
                in_flight=workers,
                progress=progress,
                options=options,
                on_empty=on_empty,
                total=total,
                on_stored=on_stored,
            )
        )
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            while not writing.done():
                reading.stop()
                await asyncio.wait([writing], timeout=STOPPING_S)
            raise


class _Reading:
    """Batches in turn, in a thread other than the event loop's, until the reading is stopped."""

    def __init__(
        self, batches: Iterable[Documents] | AsyncIterable[Documents], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._batches = batches
        self._loop = loop
        self._stopped = threading.Event()
        self._next: Future[list[Documents]] | None = None

    def stop(self) -> None:
        """Read no more, also if the next batch is waited for."""
        self._stopped.set()
        if self._next is not None:
            self._next.cancel()

    def __iter__(self) -> Iterator[Documents]:
        batches = self._batches
        for documents in self._awaited(batches) if isinstance(batches, AsyncIterable) else batches:
            if self._stopped.is_set():
                return
            yield documents

    def _awaited(self, batches: AsyncIterable[Documents]) -> Iterator[Documents]:
        iterator = aiter(batches)

        async def following() -> list[Documents]:
            """The next batch, in a list that is empty at the end: what is no batch is left to the checks."""
            async for documents in iterator:
                return [documents]
            return []

        while True:
            self._next = asyncio.run_coroutine_threadsafe(following(), self._loop)
            try:
                batches_left = self._next.result()
            except CancelledError:
                return
            if not batches_left:
                return
            yield from batches_left
