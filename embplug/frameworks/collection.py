"""A collection as the store of a framework uses it."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from qdrant_client import models

from embplug.branches.documents import Documents
from embplug.branches.empty import OnEmpty
from embplug.collection.collection import Collection
from embplug.collection.grouping import HitGroup
from embplug.collection.records import Record
from embplug.common.ids import listed_ids
from embplug.engines.calls import Call, Steps
from embplug.engines.calls import run as run_on_engine
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.frameworks.conditions import all_hold
from embplug.frameworks.event_loops import EventLoopCollections
from embplug.frameworks.ids import DocumentId, DocumentIds
from embplug.frameworks.search import SearchRequest
from embplug.frameworks.steps import run, run_async
from embplug.search.types import Hit

T = TypeVar("T")

PAGE = 256
"""Number of documents that are read with one request."""


class FrameworkCollection:
    """A collection by the ids of a framework, for waiting and for awaiting calls.

    A method whose name begins with ``a`` is the awaited form of the method without it. All methods are
    safe to call from many threads and tasks.

    Parameters
    ----------
    collection : Collection
        Collection of the store, from :func:`~embplug.frameworks.opening.open_or_create`.
    is_plain : bool
        True if embplug did not create the collection, so that it is used as it is.
    ids : DocumentIds, default=None
        Translates ids between the framework and the collection. None keeps them as they are.
    """

    def __init__(self, collection: Collection, is_plain: bool, ids: DocumentIds | None = None) -> None:
        self.collection = collection
        self.is_plain = is_plain
        self.ids = DocumentIds(is_plain) if ids is None else ids
        self.event_loops = EventLoopCollections(collection)

    def __reduce__(self) -> tuple[Any, ...]:
        # The collections of event loops belong to this process.
        return type(self), (self.collection, self.is_plain, self.ids)

    def dense_name(self, vector_name: str, required: bool) -> str | None:
        """Return the recipe's name of the dense vector that the framework's embeddings make.

        Parameters
        ----------
        vector_name : str
            Name that the user passed, or the empty string.
        required : bool
            True if there are such embeddings. Otherwise several names, or none, are no error.

        Returns
        -------
        str or None
            Name of the dense vector, or None if there is no single one.

        Raises
        ------
        InvalidArgumentError
            The recipe has no dense vector, or several of which the user named none.
        """
        names = [*self.collection.recipe.dense]
        if vector_name in names:
            return vector_name
        if len(names) == 1 and (self.is_plain or not vector_name):
            return names[0]
        if not required and not vector_name:
            return None
        if not names:
            expected = "an embplug Encoder, because the recipe has no dense vectors"
            raise InvalidArgumentError("embedding", expected, "embeddings")
        raise InvalidArgumentError("vector_name", f"one of {names}", repr(vector_name))

    def case_insensitive_fields(self) -> frozenset[str]:
        """Return the payload fields whose text the engine compares without case, by an index.

        Returns
        -------
        frozenset of str
            Paths of the fields.
        """
        return run_on_engine(self.collection.engine, _case_insensitive_fields(self.collection.name))

    def add(
        self,
        batches: Iterable[Documents],
        *,
        progress: bool | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        on_empty: OnEmpty = "raise",
    ) -> None:
        """Insert documents, or replace those whose ids exist; see ``Collection.add_batches``.

        Parameters
        ----------
        batches : iterable of Documents
            Batches with ids from ``ids.to_collection``.
        progress : bool, default=None
            Show a progress bar. None shows one on a terminal.
        wait, ordering, shard_key_selector
            Options of Qdrant's requests; see ``Collection.add``.
        on_empty : {"raise", "skip", "store"}, default="raise"
            What happens to documents without text or vectors; see ``Collection.add``.

        Raises
        ------
        InvalidArgumentError
            A batch is wrong; batches before it are written.
        IngestError
            The engine did not take some documents.
        """
        self.collection.add_batches(
            batches,
            progress=progress,
            wait=wait,
            ordering=ordering,
            shard_key_selector=shard_key_selector,
            on_empty=on_empty,
        )

    async def aadd(
        self,
        batches: Iterable[Documents] | AsyncIterable[Documents],
        *,
        progress: bool | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        on_empty: OnEmpty = "raise",
    ) -> None:
        """Insert documents from batches, which may be asynchronous too; see :meth:`add`."""
        collection = self.event_loops.current()
        await collection.add_batches(
            batches,
            progress=progress,
            wait=wait,
            ordering=ordering,
            shard_key_selector=shard_key_selector,
            on_empty=on_empty,
        )

    def run(self, steps: Steps[T]) -> T:
        """Run steps, each of which calls a method of the collection; see :mod:`embplug.frameworks.steps`.

        Parameters
        ----------
        steps : generator
            Yields each :class:`~embplug.engines.calls.Call`, and is sent its result.

        Returns
        -------
        object
            What the generator returns.
        """
        return run(self.collection, steps)

    async def arun(self, steps: Steps[T]) -> T:
        """Run steps, each of which awaits a method of the collection; see :meth:`run`."""
        return await run_async(self.event_loops.current(), steps)

    def search(self, request: SearchRequest) -> list[Hit]:
        """Return the best hits.

        Parameters
        ----------
        request : SearchRequest
            What is searched for, and how.

        Returns
        -------
        list of Hit
            At most ``request.limit`` hits, without the first ``request.offset``. None before the first
            document is added.
        """
        try:
            return self.run(_search_steps(request))
        except NotFittedError:  # the recipe learns from the first documents, and there are none
            return []

    async def asearch(self, request: SearchRequest) -> list[Hit]:
        """Return the best hits; see :meth:`search`."""
        try:
            return await self.arun(_search_steps(request))
        except NotFittedError:
            return []

    def search_groups(self, request: SearchRequest, group_by: str, group_size: int) -> list[HitGroup]:
        """Return the best groups of hits; see ``Collection.search_groups``.

        Parameters
        ----------
        request : SearchRequest
            What is searched for; ``limit`` is the number of groups.
        group_by : str
            Path of the payload field whose values make groups.
        group_size : int
            Highest number of hits of a group.

        Returns
        -------
        list of HitGroup
            The groups, best first. None before the first document is added.
        """
        try:
            return self.run(_group_steps(request, group_by, group_size))
        except NotFittedError:
            return []

    async def asearch_groups(self, request: SearchRequest, group_by: str, group_size: int) -> list[HitGroup]:
        """Return the best groups of hits; see :meth:`search_groups`."""
        try:
            return await self.arun(_group_steps(request, group_by, group_size))
        except NotFittedError:
            return []

    def records(
        self,
        ids: Sequence[DocumentId] | None = None,
        filter: models.Filter | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Return stored documents by ids, by a filter, by both, or all.

        Parameters
        ----------
        ids : sequence of str or int, default=None
            Ids in the framework. The records come in their order; ids without a document are left out.
        filter : qdrant_client.models.Filter, default=None
            Condition on the payload.
        limit : int, default=None
            Highest number of records.

        Returns
        -------
        list of Record
            Ids and payloads.
        """
        return self.run(self.record_steps(ids, filter, limit))

    async def arecords(
        self,
        ids: Sequence[DocumentId] | None = None,
        filter: models.Filter | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Return stored documents; see :meth:`records`."""
        return await self.arun(self.record_steps(ids, filter, limit))

    def pages(self, filter: models.Filter | None, page_size: int) -> Iterator[list[Record]]:
        """Read all documents, or those that a filter lets through, page by page.

        Parameters
        ----------
        filter : qdrant_client.models.Filter or None
            Condition on the payload.
        page_size : int
            Number of documents of a page.

        Yields
        ------
        page : list of Record
            The next documents; only as many pages are read as are used.
        """
        offset = None
        while True:
            page, offset = self.collection.scroll(filter=filter, limit=page_size, offset=offset)
            yield page
            if offset is None:
                return

    def delete(
        self,
        ids: Iterable[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        *,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
    ) -> None:
        """Delete documents by ids or by a filter; ids without a document are no error.

        Parameters
        ----------
        ids : iterable of str or int, default=None
            Ids in the framework.
        filter : qdrant_client.models.Filter, default=None
            Condition on the payload.
        shard_key_selector, wait, ordering
            Options of Qdrant's requests; see ``Collection.add``.

        Raises
        ------
        InvalidArgumentError
            Both arguments are passed, or none.
        """
        self.run(self._delete_steps(ids, filter, shard_key_selector, wait, ordering))

    async def adelete(
        self,
        ids: Iterable[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        *,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
    ) -> None:
        """Delete documents; see :meth:`delete`."""
        await self.arun(self._delete_steps(ids, filter, shard_key_selector, wait, ordering))

    def update(
        self,
        method: str,
        arguments: Mapping[str, Any],
        ids: Iterable[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Change payloads by a method of the collection, such as ``set_payload``.

        Parameters
        ----------
        method : str
            Name of the method.
        arguments : mapping of str to Any
            Its arguments besides ``ids`` and ``filter``.
        ids : iterable of str or int, default=None
            Ids in the framework.
        filter : qdrant_client.models.Filter, default=None
            Condition on the payload.
        shard_key_selector : models.ShardKeySelector, default=None
            Shard keys of the documents; see ``Collection.add``.

        Raises
        ------
        InvalidArgumentError
            An id is that of no document, both ``ids`` and ``filter`` are passed, or none of them is.
        """
        self.run(self._update_steps(method, arguments, ids, filter, shard_key_selector))

    async def aupdate(
        self,
        method: str,
        arguments: Mapping[str, Any],
        ids: Iterable[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Change payloads by a method of the collection; see :meth:`update`."""
        await self.arun(self._update_steps(method, arguments, ids, filter, shard_key_selector))

    def rewrite(
        self,
        changed: Callable[[Record], Mapping[str, Any]],
        ids: Sequence[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Replace the payload of each document by what ``changed`` makes of it, one document at a time.

        Parameters
        ----------
        changed : callable
            Takes a record, and returns its new payload.
        ids : sequence of str or int, default=None
            Ids in the framework.
        filter : qdrant_client.models.Filter, default=None
            Condition on the payload.
        shard_key_selector : models.ShardKeySelector, default=None
            Shard keys of the documents; see ``Collection.add``.

        Raises
        ------
        InvalidArgumentError
            An id is that of no document, or neither ``ids`` nor ``filter`` are passed.
        """
        self.run(self._rewrite_steps(changed, ids, filter, shard_key_selector))

    async def arewrite(
        self,
        changed: Callable[[Record], Mapping[str, Any]],
        ids: Sequence[DocumentId] | None = None,
        filter: models.Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Replace the payload of each document; see :meth:`rewrite`."""
        await self.arun(self._rewrite_steps(changed, ids, filter, shard_key_selector))

    async def aclose(self) -> None:
        """Close the connection to a server that awaited calls opened in the running event loop."""
        await self.event_loops.aclose()

    def record_steps(
        self,
        ids: Sequence[DocumentId] | None = None,
        filter: models.Filter | None = None,
        limit: int | None = None,
    ) -> Steps[list[Record]]:
        """Return the steps of :meth:`records`."""
        records: list[Record] = []
        candidates = None if ids is None else self.ids.candidates(ids)
        if candidates == []:
            return records
        if candidates is not None and filter is None:
            records = yield Call.of("retrieve", ids=candidates)
        else:
            condition = all_hold([None if ids is None else self.ids.condition(ids), filter])
            offset = None
            # Pages do not come in the order of the ids.
            while limit is None or ids is not None or len(records) < limit:
                page, offset = yield Call.of("scroll", filter=condition, limit=PAGE, offset=offset)
                records += page
                if offset is None:
                    break
        return (records if ids is None else self.ids.in_order(ids, records))[:limit]

    def _update_steps(
        self,
        method: str,
        arguments: Mapping[str, Any],
        ids: Iterable[DocumentId] | None,
        filter: models.Filter | None,
        shard_key_selector: models.ShardKeySelector | None,
    ) -> Steps[None]:
        points = None
        if ids is not None:
            points = [record.id for record in (yield from self._existing_steps(listed_ids(ids)))]
        yield Call.of(method, **arguments, ids=points, filter=filter, shard_key_selector=shard_key_selector)

    def _rewrite_steps(
        self,
        changed: Callable[[Record], Mapping[str, Any]],
        ids: Sequence[DocumentId] | None,
        filter: models.Filter | None,
        shard_key_selector: models.ShardKeySelector | None,
    ) -> Steps[None]:
        if ids is None and filter is None:
            raise InvalidArgumentError("ids", "ids or a filter", "neither")
        if ids is not None:
            yield from self._existing_steps(listed_ids(ids))
        for record in (yield from self.record_steps(ids, filter, None)):
            yield Call.of(
                "overwrite_payload",
                payload=changed(record),
                ids=[record.id],
                shard_key_selector=shard_key_selector,
            )

    def _existing_steps(self, ids: Sequence[DocumentId]) -> Steps[list[Record]]:
        """Read the documents of ids, all of which have to exist."""
        records = yield from self.record_steps(ids, None, None)
        existing = {record.id for record in records}
        for i, document_id in enumerate(ids):
            if existing.isdisjoint(self.ids.candidates([document_id])):
                expected = "the id of a document that exists"
                raise InvalidArgumentError(f"ids[{i}]", expected, repr(document_id))
        return records

    def _delete_steps(
        self,
        ids: Iterable[DocumentId] | None,
        filter: models.Filter | None,
        shard_key_selector: models.ShardKeySelector | None,
        wait: bool,
        ordering: models.WriteOrdering | None,
    ) -> Steps[None]:
        candidates = None if ids is None else self.ids.candidates(ids)
        if candidates != []:
            yield Call.of(
                "delete",
                ids=candidates,
                filter=filter,
                wait=wait,
                ordering=ordering,
                shard_key_selector=shard_key_selector,
            )


def _search_steps(request: SearchRequest) -> Steps[list[Hit]]:
    hits: list[Hit] = yield Call("search", request.arguments)
    return hits[request.offset :]


def _group_steps(request: SearchRequest, group_by: str, group_size: int) -> Steps[list[HitGroup]]:
    grouping = {"group_by": group_by, "group_size": group_size}
    groups: list[HitGroup] = yield Call("search_groups", request.arguments | grouping)
    return groups


def _case_insensitive_fields(name: str) -> Steps[frozenset[str]]:
    info: Any = yield Call.of("get_collection", collection_name=name)
    return frozenset(
        field
        for field, index in info.payload_schema.items()
        if index.data_type == models.PayloadSchemaType.TEXT
        and getattr(index.params, "lowercase", None) is not False
    )
