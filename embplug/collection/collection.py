"""The collection: what users create, open, fill and search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.branches.documents import DenseLike, Documents, GridsLike, Sample, TokensLike
from embplug.branches.empty import OnEmpty
from embplug.branches.sparse_vectors import SparseLike
from embplug.collection.async_collection import AsyncCollection
from embplug.collection.base import CollectionBase
from embplug.collection.default_recipe import chosen_recipe
from embplug.collection.ingest import check_batches, ingest
from embplug.collection.opening import check_create, create_steps, open_plain_steps, open_steps
from embplug.collection.operation import waiting
from embplug.collection.writing import IN_FLIGHT, AddReport
from embplug.common.ids import Id
from embplug.encoders import Encoder
from embplug.engines import Engine, EngineTarget, closed_on_error, to_async
from embplug.engines.calls import Steps, T, run
from embplug.engines.connect import connect_blocking, existing, pickled_options, reopened
from embplug.engines.request_options import WriteOptions
from embplug.errors import NotAnEmbplugCollectionError
from embplug.pages import ImageLike
from embplug.recipe import Recipe
from embplug.recipe.presets import Preset
from embplug.search.cross_encoder import Scorer


class Collection(CollectionBase[Engine], run_by=waiting):
    """A Qdrant collection that is stored and searched as a recipe says.

    Use :meth:`create` or :meth:`open` to get one. It is safe to use from many threads.

    Attributes
    ----------
    name : str
        Name of the Qdrant collection.
    engine : QdrantClient or EdgeClient
        Client that speaks to the engine. The caller closes it.
    recipe : Recipe
        What the collection stores and how it is searched.
    encoder : Encoder
        Encoder of texts. It is loaded when it is first needed. Without one, reading it raises an
        InvalidArgumentError.
    has_encoder : bool
        Whether texts can be passed in place of vectors.

    Examples
    --------
    >>> from embplug import Collection, Dense, Recipe
    >>> recipe = Recipe(dense=Dense(dim=4))
    >>> collection = Collection.create("docs", recipe, ":memory:")
    >>> vectors = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    >>> collection.add([1, 2], dense=vectors, payloads=[{"year": 2023}, {"year": 2024}]).added
    2
    >>> hit = collection.search(dense=[0.9, 0.1, 0.0, 0.0], limit=1)[0]
    >>> hit.id, hit.payload
    (1, {'year': 2023})
    """

    @classmethod
    def create(
        cls,
        name: str,
        recipe: Recipe | Preset | None = None,
        engine: EngineTarget | None = None,
        *,
        sample: Sample | None = None,
        encoder: Encoder | str | None = None,
        cross_encoder: Scorer | str | None = None,
        device: str | None = None,
    ) -> Collection:
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
        whole, encoder = chosen_recipe(recipe, engine, encoder)
        assert engine is not None
        checked = check_create(whole, engine, sample=sample, encoder=encoder, cross_encoder=cross_encoder)
        client = connect_blocking(engine)
        steps = create_steps(
            client,
            name,
            whole,
            sample=checked,
            encoder=encoder,
            cross_encoder=cross_encoder,
            device=device,
        )
        with closed_on_error(client, engine):
            return cls(name, client, run(client, steps))

    @classmethod
    def open(
        cls,
        name: str,
        engine: EngineTarget,
        *,
        encoder: Encoder | str | None = None,
        cross_encoder: Scorer | str | None = None,
        device: str | None = None,
    ) -> Collection:
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
        client = connect_blocking(existing(engine))
        steps = open_steps(client, name, encoder=encoder, cross_encoder=cross_encoder, device=device)
        with closed_on_error(client, engine):
            return cls(name, client, run(client, steps))

    @classmethod
    def open_plain(
        cls,
        name: str,
        engine: EngineTarget,
        *,
        vector: str | None = None,
        encoder: Encoder | str | None = None,
        text_key: str = "text",
        sparse_vector: str | None = None,
        sparse_encoder: Encoder | str | None = None,
    ) -> Collection:
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
        client = connect_blocking(existing(engine))
        steps = open_plain_steps(
            client,
            name,
            vector=vector,
            encoder=encoder,
            text_key=text_key,
            sparse_vector=sparse_vector,
            sparse_encoder=sparse_encoder,
        )
        with closed_on_error(client, engine):
            return cls(name, client, run(client, steps))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the address of the server, the name, and what was passed to :meth:`open`.

        The pickle has no API key: where it is read, the key is that of the environment variable
        ``QDRANT_API_KEY``. The collection is opened again by a client of its own.

        Raises
        ------
        CapabilityError
            The collection is on Edge or in memory, which belong to one process.
        """
        pipeline = self._pipeline
        models = (*pipeline.models.to_pass_again(), pipeline.device)
        stored_as = [pipeline.dense(name).version.stored_as for name in pipeline.recipe.dense]
        sparse_vector, sparse_encoder = pipeline.sparse_to_pass_again()
        plain = {
            "vector": stored_as[0] if len(stored_as) == 1 else None,
            "text_key": pipeline.recipe.text_key,
            "sparse_vector": sparse_vector,
            "sparse_encoder": sparse_encoder,
        }
        return _opened_again, (type(self), self.name, pickled_options(self.engine), models, plain)

    def to_async(self) -> AsyncCollection:
        """Open this collection for asyncio, on the same engine.

        Returns
        -------
        AsyncCollection
            The collection. On a server it has a client of its own, which belongs to the event loop that
            first uses it, so make one for each loop. Edge and the simulation are shared.
        """
        return AsyncCollection(self.name, to_async(self.engine), self._pipeline)

    def add(
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
        return self.add_batches(
            [documents],
            progress=False,
            wait=wait,
            ordering=ordering,
            shard_key_selector=shard_key_selector,
            timeout=timeout,
            on_empty=on_empty,
        )

    def add_batches(
        self,
        batches: Iterable[Documents],
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
        workers = check_batches(batches, workers, may_be_async=False)
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        with ThreadPoolExecutor(workers, thread_name_prefix="embplug-add") as pool:

            def submit(steps: Steps[T]) -> Future[T]:
                # Requests belong to the trace of this call.
                return pool.submit(copy_context().run, run, self.engine, steps)

            return ingest(
                self._handle,
                batches,
                submit,
                in_flight=workers,
                progress=progress,
                options=options,
                on_empty=on_empty,
                total=total,
                on_stored=on_stored,
            )


def _opened_again(
    cls: type[Collection], name: str, options: dict[str, Any], models: tuple[Any, ...], plain: dict[str, Any]
) -> Collection:
    """Open a collection that was pickled."""
    encoder, cross_encoder, device = models
    client = reopened(options)
    with closed_on_error(client, None):
        try:
            return cls.open(name, client, encoder=encoder, cross_encoder=cross_encoder, device=device)
        except NotAnEmbplugCollectionError:
            return cls.open_plain(name, client, encoder=encoder, **plain)
