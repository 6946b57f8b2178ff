"""The collection: what users create, open, fill and search."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.branches.documents import DenseLike, Documents, Sample, TokensLike, check_sample
from embplug.branches.pipeline import Pipeline
from embplug.collection import operations
from embplug.collection.async_collection import AsyncCollection
from embplug.collection.ingest import IN_FLIGHT, AddReport, ingest
from embplug.collection.operations import CollectionInfo, Record
from embplug.common.ids import Id
from embplug.encoders import Encoder
from embplug.engines import Engine, connect, to_async
from embplug.engines.calls import Steps, T, run
from embplug.recipe import Fusion, Recipe
from embplug.search.cross_encoder import Scorer
from embplug.search.types import Hit, Query, SearchOptions


class Collection:
    """Documents on a Qdrant engine, stored and searched as a recipe says.

    Made by :meth:`create` or :meth:`open`. Safe to use from many threads.

    Attributes
    ----------
    name
        Of the Qdrant collection.
    engine
        The client that speaks to the engine; the caller closes it.
    """

    def __init__(self, name: str, engine: Engine, pipeline: Pipeline) -> None:
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
        return f"Collection({self.name!r}, engine={type(self.engine).__name__})"

    @classmethod
    def create(
        cls,
        name: str,
        recipe: Recipe,
        engine: Engine | str | os.PathLike[str],
        *,
        sample: Sample | None = None,
        encoder: Encoder | None = None,
        cross_encoder: Scorer | None = None,
        device: str | None = None,
    ) -> Collection:
        """Make a collection; one that is there with the same recipe is opened.

        Parameters
        ----------
        name
            Of the Qdrant collection.
        recipe
            What it stores and how it is searched.
        engine
            A client, or what :func:`embplug.connect` takes.
        sample
            Data from which the recipe's methods learn. Default: they learn from the first
            ``recipe.fit_sample`` documents added. With a sample of tokens the default encoding is
            :class:`LearnedEncoding`: better candidates from fewer bytes than the :class:`FDE` without.
        encoder
            Turns texts into vectors, in place of the one that the recipe names.
        cross_encoder
            Takes a query and texts, returns a score for each: the model of the recipe's cross-encoder
            stage, in place of the one that it names.
        device
            A torch device, such as ``"cuda"``, on which documents get their encoding and a
            :class:`LearnedEncoding` is learned; default: numpy on the processor.

        Raises
        ------
        RecipeMismatchError
            It exists with another recipe; the error lists the fields that differ.
        NotAnEmbplugCollectionError
            A collection of that name exists, and embplug did not make it.
        CapabilityError
            The engine cannot do what the recipe says.
        InvalidArgumentError
            Naming the argument.
        """
        client = connect(engine)
        learned_from = None if sample is None else check_sample(sample, recipe)
        made = run(
            client,
            operations.create_steps(
                client, name, recipe, learned_from, encoder, cross_encoder, device=device
            ),
        )
        return cls(name, client, made)

    @classmethod
    def open(
        cls,
        name: str,
        engine: Engine | str | os.PathLike[str],
        *,
        encoder: Encoder | None = None,
        cross_encoder: Scorer | None = None,
        device: str | None = None,
    ) -> Collection:
        """Open a collection by name alone: recipe and fitted state come from the engine.

        Raises
        ------
        CollectionNotFoundError
            There is none.
        NotAnEmbplugCollectionError
            There is one, and embplug did not make it.
        StateError
            Its recipe or fitted state is missing, truncated or altered.
        RecipeVersionError
            A newer embplug made it.
        """
        client = connect(engine)
        return cls(
            name, client, run(client, operations.open_steps(client, name, encoder, cross_encoder, device))
        )

    @classmethod
    def open_plain(
        cls,
        name: str,
        engine: Engine | str | os.PathLike[str],
        *,
        vector: str | None = None,
        encoder: Encoder | None = None,
        text_key: str = "text",
    ) -> Collection:
        """Open a collection that embplug did not make, to add and search as it is, uncompressed.

        Parameters
        ----------
        name, engine, encoder
            As in :meth:`open`.
        vector
            Name of the dense vector; ``""`` for one without a name. Default: the only one.
        text_key
            Payload field with the text.

        Raises
        ------
        CollectionNotFoundError
            There is none.
        InvalidArgumentError
            It has no such vector.
        """
        client = connect(engine)
        steps = operations.open_plain_steps(client, name, vector, encoder, text_key)
        return cls(name, client, run(client, steps))

    def to_async(self) -> AsyncCollection:
        """Open this collection for asyncio, on the same engine.

        A server gets a client of its own, which belongs to the event loop that first uses it: make one
        per loop. Edge and the simulation are shared.
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
    ) -> AddReport:
        """Insert documents, or replace those whose ids are there.

        All of them are checked before the first is written.

        Parameters
        ----------
        ids
            Unsigned integers, UUIDs or any strings, one per document.
        tokens
            One array ``(t_i, dim)`` of float32 or float16 per document, or a :class:`TokenBatch`.
        dense
            float32 ``(n, dim)``; a mapping of such by name where the recipe has several.
        texts
            For the encoder to make what of ``tokens`` and ``dense`` is not given, and for the sparse
            branch; kept in the payload.
        payloads
            One JSON mapping (or ``None``) per document.
        saliency
            How much each of the given tokens matters, one array ``(t_i,)`` per document, where the recipe
            prunes by it.

        Raises
        ------
        InvalidArgumentError
            One of its subclasses, naming the argument and the first document that is wrong; nothing
            was written.
        IngestError
            The engine did not take some of them after all retries; ``error.report`` lists them.
        """
        return self.add_batches([Documents(ids, tokens, dense, texts, payloads, saliency)], progress=False)

    def add_batches(
        self, batches: Iterable[Documents], *, workers: int = IN_FLIGHT, progress: bool | None = None
    ) -> AddReport:
        """Insert documents from a generator, in bounded memory.

        Encoding and sending overlap; the generator is read no faster than the engine takes documents.
        A batch is checked whole before anything of it is written. What was acknowledged when an error
        ends the call stays; adding it again is safe. An id that comes twice within ``workers`` requests
        keeps either version.

        Parameters
        ----------
        batches
            Any iterable of :class:`Documents`.
        workers
            Requests under way at a time.
        progress
            Show a progress bar. Default: on a terminal.

        Raises
        ------
        InvalidArgumentError, IngestError
            As :meth:`add`.
        """
        with ThreadPoolExecutor(workers, thread_name_prefix="embplug-add") as pool:

            def submit(steps: Steps[T]) -> Future[T]:
                return pool.submit(run, self.engine, steps)

            return ingest(
                self.engine, self.name, self._pipeline, batches, submit, in_flight=workers, progress=progress
            )

    def search(
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
        """Find the best documents: candidates, then reranking, in one request where the engine can.

        Parameters
        ----------
        tokens
            ``(t, dim)``.
        dense
            ``(dim,)``; a mapping of such by name where the recipe has several.
        text
            For the sparse branch, the cross-encoder, and the encoder to make what is not given.
        limit
            Number of hits.
        filter
            Applied while candidates are searched for, so that it costs no recall.
        candidates
            Number of candidates that are reranked. Default: the recipe's.
        exact
            Compare with every document, without index, quantization and candidates.
        with_payload
            All of it, none, or these fields.
        with_stages
            Let each hit tell its score at every stage.
        score_threshold
            Leave out hits below it; of the last stage's scores.
        search_params
            Qdrant's, for how candidates are found; what it sets goes before the recipe.
        branches
            Search in these alone: ``tokens``, ``sparse``, or dense vectors by name; the others are
            left out, also where a vector for them is given. Default: all for which there is a
            vector, a text or an encoder.
        fusion
            How the branches' rankings become one, in place of the recipe's.
        token_weights
            ``(t,)``, how much each of ``tokens`` counts for candidates and for MaxSim, at least 0; such
            as those of :class:`~embplug.methods.encodings.token_idf.TokenIDF`. Default: all alike.
        saliency
            ``(t,)``, how much each of ``tokens`` matters, for a recipe whose ``query_reduction`` prunes
            by it. Default: as the encoder says.

        Raises
        ------
        InvalidArgumentError
            Naming the argument.
        RerankError
            The cross-encoder failed, and the recipe says to raise.
        FilterError
            A condition that the type of its field's index can never meet.
        """
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
        return self._search([Query(tokens, dense, text, token_weights, saliency)], options)[0]

    def batch_search(
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
        """Run :meth:`search` for several queries in one request; one list of hits per query."""
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
        return self._search(queries, options)

    def search_mmr(
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
        """Find documents that are relevant and differ from one another: maximal marginal relevance.

        Documents are compared with each other as they are with the query: by the cosine of dense
        vectors, or by MaxSim of their tokens.

        Parameters
        ----------
        tokens, dense, text, filter, with_payload, score_threshold, search_params, token_weights, saliency
            As in :meth:`search`.
        limit
            Number of hits, in the order in which they were chosen.
        diversity
            0 ranks by relevance alone, 1 by difference alone.
        candidates_limit
            Number of best documents to choose from.

        Raises
        ------
        InvalidArgumentError
            Naming the argument; or the recipe stores nothing by which documents can be compared.
        """
        options = SearchOptions(
            limit,
            filter,
            with_payload=with_payload,
            score_threshold=score_threshold,
            search_params=search_params,
        )
        query = Query(tokens, dense, text, token_weights, saliency)
        return self._run(
            operations.search_mmr_steps(
                self.engine, self.name, self._pipeline, query, options, diversity, candidates_limit
            )
        )

    def _search(self, queries: Sequence[Query], options: SearchOptions) -> list[list[Hit]]:
        return self._run(operations.search_steps(self.engine, self.name, self._pipeline, queries, options))

    def retrieve(self, ids: Sequence[Id]) -> list[Record]:
        """Documents by id; those that are not there are left out."""
        return self._run(operations.retrieve_steps(self.name, ids))

    def scroll(
        self, *, filter: models.Filter | None = None, limit: int = 100, offset: Any = None
    ) -> tuple[list[Record], Any]:
        """One page of documents and where the next begins; ``None`` after the last."""
        return self._run(operations.scroll_steps(self.name, self._pipeline, filter, limit, offset))

    def count(self, filter: models.Filter | None = None) -> int:
        """Exact number of documents, or of those under a filter."""
        return self._run(operations.count_steps(self.name, self._pipeline, filter))

    def delete(self, ids: Sequence[Id] | None = None, *, filter: models.Filter | None = None) -> None:
        """Delete documents by id or by filter; ids that are not there are no error."""
        self._run(operations.delete_steps(self.name, self._pipeline, ids, filter))

    def set_payload(self, payload: Mapping[str, Any], ids: Sequence[Id]) -> None:
        """Set fields of the payload of documents; other fields stay."""
        self._run(operations.set_payload_steps(self.name, payload, ids))

    def describe(self) -> dict[str, dict[str, Any]]:
        """What the recipe's transforms and codes cost and keep, by their place in the recipe.

        Raises
        ------
        NotFittedError
            Nothing was added yet from which they learn.
        """
        pipeline = self._pipeline
        return self._run(operations.fitted_steps(self.engine, self.name, pipeline, pipeline.describe))

    def drift(self, tokens: TokensLike) -> float:
        """How much worse the learned encoding predicts MaxSim between new documents than in its sample.

        A little above 1 where they are alike; above 2 it pays to :func:`~embplug.migrate` to a collection
        that learns anew. See :meth:`embplug.LearnedEncoding.drift`.

        Parameters
        ----------
        tokens
            One matrix (tokens, dim) for each of some new documents, a few hundred.

        Raises
        ------
        InvalidArgumentError
            Naming the argument; or the recipe's encoding is not learned.
        NotFittedError
            Nothing was added yet.
        """
        pipeline = self._pipeline
        return self._run(
            operations.fitted_steps(self.engine, self.name, pipeline, lambda: pipeline.drift(tokens))
        )

    def info(self) -> CollectionInfo:
        """What the collection is and holds."""
        return self._run(operations.info_steps(self.engine, self.name))

    def optimize(self, *, timeout: float = 600.0) -> bool:
        """Build indexes now on Edge; wait until a server has built them.

        Returns
        -------
        bool
            Whether anything was to do.

        Raises
        ------
        EngineError
            A server has not finished after ``timeout`` seconds.
        """
        return self._run(operations.optimize_steps(self.engine, self.name, timeout))

    def drop(self) -> None:
        """Delete the collection with all its documents, and the fitted state that no other refers to."""
        self._run(operations.drop_steps(self.engine, self.name))

    def _run(self, steps: Steps[T]) -> T:
        return run(self.engine, steps)
