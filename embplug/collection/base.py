"""What ``Collection`` and ``AsyncCollection`` share: everything that does not wait."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Generic, TypeVar
from uuid import UUID

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.branches.documents import GridsLike, TokensLike
from embplug.branches.pipeline import Pipeline
from embplug.branches.sparse_vectors import SparseVectorLike
from embplug.collection.explaining import explain_steps
from embplug.collection.grouping import (
    HitGroup,
    checked_lookup_steps,
    search_groups_steps,
    with_lookup_steps,
)
from embplug.collection.handle import Handle
from embplug.collection.info import CollectionInfo, info_steps
from embplug.collection.maintenance import drop_steps, optimize_steps
from embplug.collection.operation import operation
from embplug.collection.payload_indexes import create_payload_index_steps, delete_payload_index_steps
from embplug.collection.payload_updates import (
    delete_payload_steps,
    overwrite_payload_steps,
    set_payload_steps,
)
from embplug.collection.records import (
    Record,
    count_steps,
    delete_steps,
    retrieve_steps,
    scroll_steps,
)
from embplug.collection.searching import search_steps
from embplug.collection.shard_keys import create_shard_key_steps, delete_shard_key_steps
from embplug.common.checks import checked_integer, checked_positive
from embplug.common.ids import Id
from embplug.common.telemetry import DRIFT, record
from embplug.encoders import Encoder
from embplug.engines import AnyEngine
from embplug.engines.calls import Steps, computed
from embplug.engines.request_options import ReadOptions, WriteOptions
from embplug.errors import InvalidArgumentError
from embplug.pages import ImageLike
from embplug.recipe import Fusion, Recipe
from embplug.search.explain import Explanation
from embplug.search.option_checks import check_queries
from embplug.search.types import Hit, Query, options_of, query_of

logger = logging.getLogger(__name__)

EngineT = TypeVar("EngineT", bound=AnyEngine)


class CollectionBase(Generic[EngineT]):
    """Methods of a collection, written once as steps that a subclass runs.

    Parameters
    ----------
    name : str
        Name of the Qdrant collection.
    engine : client
        Client that speaks to the engine; the caller closes it.
    pipeline : Pipeline
        The collection's recipe with what was fitted for it.
    """

    def __init__(self, name: str, engine: EngineT, pipeline: Pipeline) -> None:
        if not isinstance(pipeline, Pipeline):
            expected = "the pipeline of a collection: use Collection.create or Collection.open"
            raise InvalidArgumentError("pipeline", expected, type(pipeline).__name__)
        self.name = name
        self.engine = engine
        self._handle = Handle(engine, name, pipeline)

    @property
    def _pipeline(self) -> Pipeline:
        """The recipe and its fitted state at the moment, for this package alone."""
        return self._handle.pipeline

    def __init_subclass__(cls, run_by: Callable[[Any], Any] | None = None, **kwargs: Any) -> None:
        """Give a subclass each operation as a plain method that waits, or is awaited."""
        super().__init_subclass__(**kwargs)
        if run_by is None:
            return
        for name, attribute in vars(CollectionBase).items():
            if isinstance(attribute, operation):
                method = run_by(attribute.steps)
                method.__qualname__, method.__module__ = f"{cls.__qualname__}.{name}", cls.__module__
                setattr(cls, name, method)

    @property
    def recipe(self) -> Recipe:
        """Recipe of the collection: what it stores, and how it is searched."""
        return self._pipeline.recipe

    @property
    def encoder(self) -> Encoder:
        """Encoder of texts, loaded on first use; InvalidArgumentError without one."""
        return self._pipeline.models.encoder

    @property
    def has_encoder(self) -> bool:
        """Whether texts can be passed in place of vectors."""
        return self._pipeline.models.has_encoder

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, engine={type(self.engine).__name__})"

    @operation
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
        mmr: models.Mmr | None = None,
        formula: models.FormulaQuery | None = None,
        token_weights: ArrayLike | None = None,
        saliency: ArrayLike | None = None,
        image: ImageLike | None = None,
        sparse: SparseVectorLike | None = None,
        with_vectors: bool | Sequence[str] = False,
        explain: bool = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[list[Hit]]:
        """Find the best documents: candidates, then reranking, in one request if the engine can.

        Pass at least one of ``tokens``, ``dense``, ``sparse``, ``text`` and ``image``.

        Parameters
        ----------
        tokens : array-like of shape (t, dim), default=None
            Token vectors of the query.
        dense : array-like of shape (dim,) or mapping of str to array-like, default=None
            Dense vector of the query. A recipe with several dense vectors takes a mapping by their names.
        text : str, default=None
            Text of the query. The sparse branch and the cross-encoder read it, and the encoder makes from
            it the vectors that are not passed.
        limit : int, default=10
            Number of hits.
        filter : models.Filter, default=None
            Condition on the payload. It is applied while candidates are searched for, so that it costs
            no recall. A condition that a field has a value is not met by documents without the field: on a
            field that no document has, it matches nothing and is no error.
        candidates : int, default=None
            Number of candidates that are reranked. By default the recipe decides.
        exact : bool, default=False
            Compare with every document, without index, quantization and candidates.
        with_payload : bool or sequence of str, default=True
            Whether hits carry their payload, or the names of the fields that they carry.
        with_stages : bool, default=False
            Whether hits carry their score at every stage.
        score_threshold : float, default=None
            Lowest score of a hit at the last stage.
        search_params : models.SearchParams, default=None
            Qdrant's parameters of the search for candidates; they override those of the recipe.
        branches : sequence of str, default=None
            Branches to search in: ``"tokens"``, ``"sparse"``, or dense vectors by name. Other branches
            are left out, also if a vector for them is passed. By default all branches are searched for
            which there is a vector, a text or an encoder.
        fusion : Fusion, default=None
            How the rankings of the branches become one. By default the recipe decides.
        mmr : models.Mmr, default=None
            Choose hits that are relevant and differ from one another, by maximal marginal relevance
            among the ``candidates_limit`` best documents. Documents are compared with each other as with
            the query: by MaxSim of their tokens, or by dense vectors. The hits come in the order in which
            they were chosen, and the cross-encoder is left out.
        formula : models.FormulaQuery, default=None
            Formula by which the best ``candidates`` documents are ranked last. ``"$score"`` is their score so
            far, also of a fusion, of codes or of the cross-encoder; other names are payload fields. It is
            evaluated in this process, on each engine.
        token_weights : array-like of shape (t,), default=None
            Weight of each of ``tokens`` for candidates and for MaxSim, at least 0; such as those of
            :class:`~embplug.methods.encodings.token_idf.TokenIDF`. By default all weigh the same.
        saliency : array-like of shape (t,), default=None
            How much each of ``tokens`` matters, for a recipe whose ``query_reduction`` prunes tokens by
            saliency. If the encoder computes the tokens, it computes the saliency too.
        image : PIL.Image.Image, path, bytes, PdfPage or PageImage, default=None
            Image of the query. The encoder makes from it the vectors that are not passed; ``text`` is then
            read by the sparse branch and the cross-encoder alone.
        sparse : mapping of int to float or models.SparseVector, default=None
            Weights of terms by index, for a recipe with ``Sparse(kind="learned")``. By default the encoder
            makes them from ``text``.
        with_vectors : bool or sequence of str, default=False
            Whether hits carry their vectors as Qdrant stores them, or the names of those that they carry.
            They are read in one request more.
        explain : bool, default=False
            Whether hits tell which token of the query met which of their tokens, and with what share of the
            score; see :meth:`explain`. What is stored of their tokens is read in one request more.
        consistency : models.ReadConsistency, default=None
            Number of replicas on a cluster that are asked, or ``"majority"``, ``"quorum"`` or ``"all"``. By
            default one.
        shard_key_selector : models.ShardKeySelector, default=None
            Shard keys that are searched. By default all shards are.
        timeout : int, default=None
            Seconds for each request. By default Qdrant's timeout.

        Returns
        -------
        list of Hit
            At most ``limit`` hits, best first.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong, and the error names it; or ``mmr`` is passed and the recipe stores
            nothing by which documents can be compared.
        NotFittedError
            No document was added yet, and a method of the recipe learns from the first documents. Without
            such a method the result is an empty list.
        RerankError
            The cross-encoder failed, and the recipe says to raise.
        FilterError
            A condition can never be met, given the type of its field's index.
        CapabilityError
            The engine cannot honour ``consistency``, ``shard_key_selector`` or ``timeout``.
        """
        query, options = query_of(locals()), options_of(locals())
        search = partial(search_steps, self.engine, self.name, queries=[query], options=options)
        hits = yield from self._handle.run_steps(search)
        return hits[0]

    @operation
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
        mmr: models.Mmr | None = None,
        formula: models.FormulaQuery | None = None,
        with_vectors: bool | Sequence[str] = False,
        explain: bool = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[list[list[Hit]]]:
        """Run :meth:`search` for several queries in one request.

        Parameters
        ----------
        queries : sequence of Query
            What to search for.
        limit, filter, candidates, exact, with_payload, with_stages, score_threshold, search_params, \
branches, fusion, mmr, formula, with_vectors, explain, consistency, shard_key_selector, timeout
            Options of all the queries. See :meth:`search`.

        Returns
        -------
        list of list of Hit
            The hits of each query, in the order of ``queries``.

        Raises
        ------
        InvalidArgumentError, NotFittedError, RerankError, FilterError, CapabilityError
            See :meth:`search`.
        """
        options = replace(options_of(locals()), batch=True)
        check_queries(queries)
        search = partial(search_steps, self.engine, self.name, queries=queries, options=options)
        return (yield from self._handle.run_steps(search))

    @operation
    def search_groups(
        self,
        group_by: str,
        *,
        tokens: ArrayLike | None = None,
        dense: ArrayLike | Mapping[str, ArrayLike] | None = None,
        text: str | None = None,
        limit: int = 10,
        group_size: int = 3,
        with_lookup: str | models.WithLookup | None = None,
        filter: models.Filter | None = None,
        candidates: int | None = None,
        exact: bool = False,
        with_payload: bool | Sequence[str] = True,
        with_stages: bool = False,
        score_threshold: float | None = None,
        search_params: models.SearchParams | None = None,
        branches: Sequence[str] | None = None,
        fusion: Fusion | None = None,
        formula: models.FormulaQuery | None = None,
        token_weights: ArrayLike | None = None,
        saliency: ArrayLike | None = None,
        image: ImageLike | None = None,
        sparse: SparseVectorLike | None = None,
        with_vectors: bool | Sequence[str] = False,
        explain: bool = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[list[HitGroup]]:
        """Find the best groups of documents that share a value of a field, such as chunks of one text.

        Groups are ranked by their best hit, by the scores of the last stage. A group with many documents does
        not hide others: as long as groups are missing, the search goes on without those that were found.

        Parameters
        ----------
        group_by : str
            Path of the field whose values, integers or texts, make the groups. A document with a list of
            values is in several groups, and a document without a value in none. An index of the field makes
            the search faster.
        limit : int, default=10
            Number of groups.
        group_size : int, default=3
            Highest number of hits of a group.
        with_lookup : str or models.WithLookup, default=None
            Collection whose documents have the values of the groups as ids; each group gets its document.
        tokens, dense, text, filter, candidates, exact, with_payload, with_stages, score_threshold, \
search_params, branches, fusion, formula, token_weights, saliency, image, sparse, with_vectors, \
explain, consistency, shard_key_selector, timeout
            See :meth:`search`.

        Returns
        -------
        list of HitGroup
            At most ``limit`` groups, best first.

        Raises
        ------
        InvalidArgumentError, NotFittedError, RerankError, FilterError, CapabilityError
            See :meth:`search`.
        CollectionNotFoundError
            There is no collection ``with_lookup``.
        """
        query, options = query_of(locals()), options_of(locals())
        lookup = yield from checked_lookup_steps(with_lookup)
        search = partial(
            search_groups_steps,
            self.engine,
            self.name,
            query=query,
            options=options,
            group_by=group_by,
            group_size=group_size,
        )
        groups: list[HitGroup] = yield from self._handle.run_steps(search)
        return groups if lookup is None else (yield from with_lookup_steps(lookup, groups))

    @operation
    def explain(
        self,
        id: Id,
        *,
        tokens: ArrayLike | None = None,
        text: str | None = None,
        token_weights: ArrayLike | None = None,
        saliency: ArrayLike | None = None,
        image: ImageLike | None = None,
        exact: bool = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[Explanation]:
        """Tell which token of a query met which token of a document, and with what share of the score.

        The score is that of MaxSim over the codes, or over the multivector where hits are ranked by it last.
        Where the encoder tells which characters a token stands for, and the stored tokens are those that it
        makes of the stored text, matches have texts. The stored document does not have to be a hit.

        Parameters
        ----------
        id : int, str or UUID
            Id of the document.
        tokens, text, token_weights, saliency, image, consistency, shard_key_selector, timeout
            See :meth:`search`.
        exact : bool, default=False
            Explain the score of an exact search, by the multivector if there is one.

        Returns
        -------
        Explanation
            Its ``matches`` have one :class:`~embplug.search.explain.TokenMatch` for each token of the query.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong, and the error names it; there is no such document, or nothing is stored of
            its tokens; or the recipe stores neither codes nor a multivector.
        NotFittedError
            No document was added yet.
        """
        query = Query(tokens=tokens, text=text, token_weights=token_weights, saliency=saliency, image=image)
        reading = ReadOptions(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        explain = partial(
            explain_steps, self.engine, self.name, query=query, id=id, exact=exact, reading=reading
        )
        return (yield from self._handle.run_steps(explain))

    @operation
    def retrieve(
        self,
        ids: Sequence[Id],
        *,
        with_vectors: bool | Sequence[str] = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[list[Record]]:
        """Read documents by id.

        Parameters
        ----------
        ids : sequence of int, str or UUID
            Ids as they were passed to :meth:`add`.
        with_vectors, consistency, shard_key_selector, timeout
            See :meth:`search`.

        Returns
        -------
        list of Record
            The documents; ids that do not exist are left out.
        """
        reading = ReadOptions(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        read = partial(retrieve_steps, self.name, ids=ids, with_vectors=with_vectors, reading=reading)
        return (yield from self._handle.checked_steps(read))

    @operation
    def scroll(
        self,
        *,
        filter: models.Filter | None = None,
        limit: int = 100,
        offset: Any = None,
        order_by: str | models.OrderBy | None = None,
        with_vectors: bool | Sequence[str] = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[tuple[list[Record], Any]]:
        """Read one page of documents.

        Parameters
        ----------
        filter : models.Filter, default=None
            Condition on the payload.
        limit : int, default=100
            Number of documents of a page.
        offset : int or str, default=None
            Where the page begins, as the previous call returned it. By default the first page is read.
        order_by : str or models.OrderBy, default=None
            Field by which documents are sorted, with direction and start. It needs an index of integers,
            floats or dates; documents without the field are left out. In place of an ``offset``, the next
            page begins at ``models.OrderBy(key=…, start_from=…)``. By default documents come by id.
        with_vectors, consistency, shard_key_selector, timeout
            See :meth:`search`.

        Returns
        -------
        records : list of Record
            The documents of the page.
        offset : int, str or None
            Where the next page begins; None after the last, and with ``order_by``.

        Raises
        ------
        InvalidArgumentError
            ``limit`` is below 1, ``offset`` is nothing that a previous call returned, or ``order_by`` is a
            field without such an index.
        """
        checked_integer(limit, "limit", 1)
        if isinstance(offset, bool) or not isinstance(offset, int | str | UUID | None):
            expected = "None, or what the previous call returned"
            raise InvalidArgumentError("offset", expected, type(offset).__name__)
        reading = ReadOptions(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        read = partial(
            scroll_steps,
            self.name,
            condition=filter,
            limit=limit,
            offset=offset,
            order_by=order_by,
            with_vectors=with_vectors,
            reading=reading,
        )
        return (yield from self._handle.checked_steps(read))

    @operation
    def count(
        self,
        *,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[int]:
        """Count documents exactly.

        Parameters
        ----------
        filter : models.Filter, default=None
            Condition on the payload.
        shard_key_selector, timeout
            See :meth:`search`.

        Returns
        -------
        int
            Number of documents that meet the condition.
        """
        reading = ReadOptions(shard_key_selector=shard_key_selector, timeout=timeout)
        count = partial(count_steps, self.name, condition=filter, reading=reading)
        return (yield from self._handle.checked_steps(count))

    @operation
    def delete(
        self,
        ids: Sequence[Id] | None = None,
        *,
        filter: models.Filter | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Delete documents by id or by filter.

        Parameters
        ----------
        ids : sequence of int, str or UUID, default=None
            Ids of the documents; ids that do not exist are no error.
        filter : models.Filter, default=None
            Condition on the payload, in place of ``ids``.
        wait, ordering, shard_key_selector, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError
            Both or neither of ``ids`` and ``filter`` are passed.
        """
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        delete = partial(delete_steps, self.name, ids=ids, condition=filter, options=options)
        yield from self._handle.checked_steps(delete)

    @operation
    def set_payload(
        self,
        payload: Mapping[str, Any],
        ids: Sequence[Id] | None = None,
        *,
        filter: models.Filter | None = None,
        key: str | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Set fields of the payload of documents, by id or by filter; other fields stay.

        Nothing is encoded again. As in Qdrant, a field that is set to None is removed.

        Parameters
        ----------
        payload : mapping of str to Any
            The fields, as JSON types; they are checked as those of :meth:`add`.
        ids : sequence of int, str or UUID, default=None
            Ids of the documents.
        filter : models.Filter, default=None
            Condition on the payload, in place of ``ids``. No document that meets it is no error.
        key : str, default=None
            Path of a mapping in the payload whose fields are set, such as ``"author.address"``. A mapping
            that a document lacks is made. By default fields of the payload itself are set.
        wait : bool, default=True
            Whether to return only when the change is visible.
        ordering : models.WriteOrdering, default=None
            Guarantee of the order of writes on a cluster. By default Qdrant's, ``"weak"``.
        shard_key_selector : models.ShardKeySelector, default=None
            Shard keys of the documents, which a collection with ``sharding_method="custom"`` needs.
        timeout : int, default=None
            Seconds for each request. By default Qdrant's timeout.

        Raises
        ------
        InvalidArgumentError
            The payload holds what Qdrant cannot keep, or a field that embplug keeps for itself; it changes a
            text of which vectors are made; or an id is that of no document. Nothing was changed.
        FilterError
            The filter is wrong.
        CapabilityError
            The engine cannot honour an option.
        """
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        change = partial(
            set_payload_steps,
            self.name,
            payload=payload,
            ids=ids,
            condition=filter,
            key=key,
            options=options,
        )
        yield from self._handle.checked_steps(change)

    @operation
    def overwrite_payload(
        self,
        payload: Mapping[str, Any],
        ids: Sequence[Id] | None = None,
        *,
        filter: models.Filter | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Replace the payload of documents, by id or by filter; fields that are not passed are removed.

        Nothing is encoded again. What the search needs stays: the fields of embplug, such as codes, and the
        text if vectors are made of it.

        Parameters
        ----------
        payload : mapping of str to Any
            The new fields. The text may be among them as it is stored.
        ids, filter, wait, ordering, shard_key_selector, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError, FilterError, CapabilityError
            See :meth:`set_payload`.
        """
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        change = partial(
            overwrite_payload_steps, self.name, payload=payload, ids=ids, condition=filter, options=options
        )
        yield from self._handle.checked_steps(change)

    @operation
    def delete_payload(
        self,
        keys: Sequence[str],
        ids: Sequence[Id] | None = None,
        *,
        filter: models.Filter | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Remove fields of the payload of documents, by id or by filter.

        Parameters
        ----------
        keys : sequence of str
            Paths of the fields, such as ``["year", "author.address"]``. A field that a document lacks is no
            error.
        ids, filter, wait, ordering, shard_key_selector, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError
            A path is wrong, or that of a field of embplug or of a text of which vectors are made; or an id is
            that of no document. Nothing was changed.
        FilterError, CapabilityError
            See :meth:`set_payload`.
        """
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        change = partial(
            delete_payload_steps, self.name, keys=keys, ids=ids, condition=filter, options=options
        )
        yield from self._handle.checked_steps(change)

    @operation
    def clear_payload(
        self,
        ids: Sequence[Id] | None = None,
        *,
        filter: models.Filter | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Remove the whole payload of documents, by id or by filter, but what the search needs.

        See :meth:`overwrite_payload` for what stays.

        Parameters
        ----------
        ids, filter, wait, ordering, shard_key_selector, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError, FilterError, CapabilityError
            See :meth:`set_payload`.
        """
        options = WriteOptions(
            wait=wait, ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout
        )
        change = partial(
            overwrite_payload_steps, self.name, payload={}, ids=ids, condition=filter, options=options
        )
        yield from self._handle.checked_steps(change)

    @operation
    def create_payload_index(
        self,
        field_name: str,
        field_schema: models.PayloadSchemaType | models.PayloadSchemaParams | str,
        *,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Index a field of the payload, so that filters on it are fast.

        The recipe of the collection has the index from then on. :meth:`create` takes the recipe with the
        index and the recipe with which the collection was created.

        Parameters
        ----------
        field_name : str
            Path of the field, such as ``"year"`` or ``"author.name"``.
        field_schema : str, models.PayloadSchemaType or models.PayloadSchemaParams
            Type of the index, such as ``"keyword"``, or its parameters, such as
            ``models.KeywordIndexParams(type="keyword", is_tenant=True)``. An index of another type is
            replaced.
        wait, ordering, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError
            ``field_name`` is no path, or ``field_schema`` no index for it.
        CapabilityError
            The engine has no such index, or cannot honour an option.
        """
        options = WriteOptions(wait=wait, ordering=ordering, timeout=timeout)
        yield from create_payload_index_steps(self.name, self._pipeline, field_name, field_schema, options)

    @operation
    def delete_payload_index(
        self,
        field_name: str,
        *,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Delete the index of a field, also from the recipe of the collection; the field itself stays.

        Parameters
        ----------
        field_name : str
            Path of the field.
        wait, ordering, timeout
            See :meth:`set_payload`.

        Raises
        ------
        InvalidArgumentError
            The field has no index.
        CapabilityError
            The engine cannot honour an option.
        """
        options = WriteOptions(wait=wait, ordering=ordering, timeout=timeout)
        yield from delete_payload_index_steps(self.name, self._pipeline, field_name, options)

    @operation
    def create_shard_key(
        self,
        shard_key: models.ShardKey,
        *,
        shards_number: int | None = None,
        replication_factor: int | None = None,
        placement: Sequence[int] | None = None,
        timeout: int | None = None,
    ) -> Steps[None]:
        """Make the shards of a key, in a collection with ``sharding_method="custom"`` on a cluster.

        Parameters
        ----------
        shard_key : str or int
            Key of the shards, such as the name of a tenant.
        shards_number : int, default=None
            Number of shards. By default ``shard_number`` of the recipe.
        replication_factor : int, default=None
            Number of replicas of each shard. By default that of the recipe.
        placement : sequence of int, default=None
            Ids of the peers that get the shards. By default Qdrant chooses them.
        timeout : int, default=None
            Seconds for the request. By default Qdrant's timeout.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong, and the error names it.
        CapabilityError
            The engine has one shard.
        EngineError
            The collection has no shard keys, or has this one already.
        """
        numbers = {
            "shards_number": shards_number,
            "replication_factor": replication_factor,
            "timeout": timeout,
        }
        yield from create_shard_key_steps(self.name, self._pipeline, shard_key, placement, numbers)

    @operation
    def delete_shard_key(self, shard_key: models.ShardKey, *, timeout: int | None = None) -> Steps[None]:
        """Delete the shards of a key, with all their documents.

        Parameters
        ----------
        shard_key : str or int
            Key of the shards.
        timeout : int, default=None
            Seconds for the request. By default Qdrant's timeout.

        Raises
        ------
        InvalidArgumentError, CapabilityError, EngineError
            See :meth:`create_shard_key`.
        """
        yield from delete_shard_key_steps(self.name, self._pipeline, shard_key, timeout)

    @operation
    def describe(self) -> Steps[dict[str, dict[str, Any]]]:
        """Describe what each method of the recipe costs and keeps, and what a document takes.

        Returns
        -------
        dict of str to dict
            The description of each method, by its place in the recipe. ``"document"`` has the fields of
            ``info().document_bytes``: bytes of a whole document, with its share of what was learned.
            It is absent while there are no documents.

        Raises
        ------
        NotFittedError
            No document was added yet from which the methods learn.
        """
        described: dict[str, dict[str, Any]] = yield from self._handle.run_steps(
            lambda pipeline: computed(pipeline.describe)
        )
        size = (yield from info_steps(self.engine, self.name)).document_bytes
        return described if size is None else {**described, "document": asdict(size)}

    @operation
    def drift(
        self,
        tokens: TokensLike,
        *,
        saliency: Sequence[ArrayLike] | None = None,
        grids: GridsLike | None = None,
    ) -> Steps[float]:
        """Measure how much worse the learned encoding predicts MaxSim of new documents than of its sample.

        See :meth:`embplug.methods.LearnedEncoding.drift`.

        Parameters
        ----------
        tokens : TokenBatch or sequence of array-like of shape (t_i, dim)
            Token vectors of a few hundred new documents, as they are passed to :meth:`Collection.add`.
        saliency : sequence of array-like of shape (t_i,), default=None
            How much each token matters, for a recipe that prunes by it.
        grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None, default=None
            Where ``tokens`` are patches of images, for a recipe that pools by their places. See
            :meth:`Collection.add`.

        Returns
        -------
        float
            Ratio of the two errors: about 1 if the new documents resemble the sample. Above 2 it pays to
            :func:`~embplug.migrate` to a collection whose encoding is fitted again.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong, and the error names it; or the recipe's encoding is not learned.
        NotFittedError
            No document was added yet.
        """
        from embplug.methods.encodings.learned import DRIFT_LIMIT

        drift: float = yield from self._handle.run_steps(
            lambda pipeline: computed(partial(pipeline.drift, tokens, saliency, grids))
        )
        record(DRIFT, drift, collection=self.name)
        if drift > DRIFT_LIMIT:
            logger.warning(
                "collection %r: the error on these documents is %.1f times that on its sample; migrate to a "
                "collection whose encoding is fitted again",
                self.name,
                drift,
            )
        return drift

    @operation
    def info(self) -> Steps[CollectionInfo]:
        """Return the size, the recipe and the status of the collection.

        Returns
        -------
        CollectionInfo
            Points, vectors, recipe, sizes and status.
        """
        return (yield from info_steps(self.engine, self.name))

    @operation
    def reload(self, *, encoder: Encoder | str | None = None) -> Steps[None]:
        """Read recipe and fitted state again, after :func:`~embplug.upgrade` and the like changed them.

        A collection that is open in another process, thread or event loop searches with the new recipe
        from then on.

        Parameters
        ----------
        encoder : Encoder or str, default=None
            Encoder of texts, or its name, in place of the one that the recipe names. By default the
            encoder that was passed to :meth:`open` stays as long as the collection has the same models;
            otherwise the recipe decides.

        Raises
        ------
        CollectionNotFoundError
            The collection does not exist any more.
        NotAnEmbplugCollectionError
            The collection was opened by :meth:`open_plain`, and has no recipe to read.
        StateError
            Its recipe or fitted state is missing, truncated or altered.
        RecipeVersionError
            A newer embplug wrote the recipe.
        """
        yield from self._handle.reload_steps(encoder)

    @operation
    def optimize(self, *, timeout: float = 600.0) -> Steps[bool]:
        """Build indexes now on Edge; wait until a server has built them.

        Parameters
        ----------
        timeout : float, default=600.0
            Seconds to wait for a server.

        Returns
        -------
        bool
            True if the collection changed.

        Raises
        ------
        InvalidArgumentError
            ``timeout`` is not above 0.
        EngineError
            A server has not finished after ``timeout`` seconds.
        """
        checked_positive(timeout, "timeout", "seconds")
        return (yield from optimize_steps(self.engine, self.name, timeout))

    @operation
    def drop(self) -> Steps[None]:
        """Delete the collection with all its documents, and the fitted state that no other refers to.

        If the collection was opened by an alias, the collection that the alias points at now is deleted,
        and all its aliases with it.

        Raises
        ------
        CollectionNotFoundError
            The collection does not exist any more.
        """
        yield from drop_steps(self.engine, self.name)
