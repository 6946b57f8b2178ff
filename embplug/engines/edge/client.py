"""Qdrant Edge, the engine in this process, behind the method names of QdrantClient."""

from __future__ import annotations

import importlib.metadata
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import qdrant_edge as edge
from pydantic_core import to_jsonable_python
from qdrant_client import QdrantClient, models

# `models.QueryResponse` is shadowed by an unrelated class of fastembed.
from qdrant_client.http.models import QueryResponse

from embplug.common.checks import checked_integer
from embplug.engines.edge.convert import (
    check_vectors,
    from_edge_record,
    from_edge_scored_point,
    iterate_points,
    to_edge_payload_selector,
    to_edge_point,
    to_edge_vector_selector,
)
from embplug.engines.edge.convert_config import (
    from_edge_config,
    from_edge_index,
    to_edge_config,
    to_edge_enum,
    to_edge_index,
    to_edge_modifier,
    to_edge_multivector,
)
from embplug.engines.edge.convert_filter import to_edge_filter
from embplug.engines.edge.convert_ids import from_edge_id, to_edge_id, to_edge_ids
from embplug.engines.edge.convert_query import (
    DEFAULT_LIMIT,
    Id,
    QueryConverter,
    excluding,
    to_edge_order_by,
    to_edge_search_params,
)
from embplug.engines.edge.store import EdgeCollection, EdgeStore, bytes_on_disk, translating
from embplug.engines.json_types import jsonable_payload
from embplug.errors import CapabilityError, EngineError, InvalidArgumentError

_DONE = models.UpdateStatus.COMPLETED

_NO_EFFECT = {
    "consistency": "there is one copy of the data",
    "ordering": "every write is applied in full before its call returns",
    "shard_key_selector": "a collection is one shard",
    "shard_key": "a collection is one shard",
    "sharding_method": "a collection is one shard",
    "lookup_from": "a query reads one collection",
    "timeout": "a call runs in this process and cannot be cut short",
    "wal_config": "the write-ahead log has fixed sizes",
    "strict_mode_config": "there is no strict mode",
    "optimizers_config": "parameters are fixed when the collection is created",
    "collection_params": "parameters are fixed when the collection is created",
    "vectors_config": "parameters are fixed when the collection is created",
    "hnsw_config": "parameters are fixed when the collection is created",
    "quantization_config": "parameters are fixed when the collection is created",
    "sparse_vectors_config": "parameters are fixed when the collection is created",
}


class EdgeClient:
    """A directory of collections, each a Qdrant Edge shard.

    Methods have the names, arguments and results of ``qdrant_client.QdrantClient``. An argument that
    Edge cannot honour is refused with :class:`~embplug.errors.CapabilityError`; ``wait`` alone is without
    effect, because every write is durable when its call returns.

    One process owns a directory at a time. Clients of one process on one directory share it, and are
    safe to use from many threads. Indexes are built by :meth:`optimize` only.

    Parameters
    ----------
    path : str or path
        The directory, made if it is not there.
    timeout : float, optional
        Seconds to wait while another process owns it. Default: do not wait.

    Raises
    ------
    EngineLockedError
        Another process owns it; the error names it.
    InvalidArgumentError
        The path cannot be such a directory.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | None = None) -> None:
        self._store = EdgeStore.acquire(path, timeout)
        self._finalizer = weakref.finalize(self, self._store.release)

    @property
    def path(self) -> Path:
        """The directory."""
        return self._store.root

    def __repr__(self) -> str:
        return f"EdgeClient({str(self.path)!r})"

    def __enter__(self) -> EdgeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory, unless another client of this process still has it open."""
        self._finalizer()

    def _open_store(self) -> EdgeStore:
        if not self._finalizer.alive:
            raise EngineError(f"{self!r} is closed")
        return self._store

    def _collection(self, name: str) -> EdgeCollection:
        return self._open_store().collection(name)

    def info(self) -> models.VersionInfo:
        """Title and version of the engine."""
        version = importlib.metadata.version("qdrant-edge-py")
        return models.VersionInfo(title="qdrant edge", version=version)

    # Collections

    def create_collection(
        self,
        collection_name: str,
        vectors_config: models.VectorParams | Mapping[str, models.VectorParams] | None = None,
        sparse_vectors_config: Mapping[str, models.SparseVectorParams] | None = None,
        shard_number: int | None = None,
        sharding_method: models.ShardingMethod | None = None,
        replication_factor: int | None = None,
        write_consistency_factor: int | None = None,
        on_disk_payload: bool | None = None,
        hnsw_config: models.HnswConfigDiff | None = None,
        optimizers_config: models.OptimizersConfigDiff | None = None,
        wal_config: models.WalConfigDiff | None = None,
        quantization_config: models.QuantizationConfig | None = None,
        timeout: int | None = None,
        strict_mode_config: models.StrictModeConfig | None = None,
        metadata: dict[str, Any] | None = None,
        payload: models.PayloadStorageParams | None = None,
        id_tracker: models.IdTrackerParams | None = None,
    ) -> bool:
        """Create a collection, wholly or not at all.

        Raises
        ------
        InvalidArgumentError
            The name is taken or impossible, or there is no vector.
        CapabilityError
            More than one shard or replica, or another argument without a meaning here.
        """
        _refuse(
            sharding_method=sharding_method,
            wal_config=wal_config,
            strict_mode_config=strict_mode_config,
            timeout=timeout,
        )
        for name, number in (
            ("shard_number", shard_number),
            ("replication_factor", replication_factor),
            ("write_consistency_factor", write_consistency_factor),
        ):
            if number not in (None, 1):
                raise CapabilityError(f"{name}: Qdrant Edge has one shard and one copy of it, not {number}")
        config = to_edge_config(
            vectors_config,
            sparse_vectors_config,
            hnsw_config,
            quantization_config,
            optimizers_config,
            on_disk_payload,
            payload,
            id_tracker,
        )
        self._open_store().create(collection_name, config, _metadata(metadata))
        return True

    def update_collection(
        self,
        collection_name: str,
        optimizers_config: models.OptimizersConfigDiff | None = None,
        collection_params: models.CollectionParamsDiff | None = None,
        vectors_config: models.VectorsConfigDiff | None = None,
        hnsw_config: models.HnswConfigDiff | None = None,
        quantization_config: models.QuantizationConfigDiff | None = None,
        timeout: int | None = None,
        sparse_vectors_config: Mapping[str, models.SparseVectorParams] | None = None,
        strict_mode_config: models.StrictModeConfig | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> bool:
        """Merge ``metadata`` into what is stored; a value of ``None`` removes its key."""
        _refuse(
            optimizers_config=optimizers_config,
            collection_params=collection_params,
            vectors_config=vectors_config,
            hnsw_config=hnsw_config,
            quantization_config=quantization_config,
            timeout=timeout,
            sparse_vectors_config=sparse_vectors_config,
            strict_mode_config=strict_mode_config,
        )
        collection = self._collection(collection_name)
        given = _metadata(metadata)
        if given is not None:
            with self._store.exclusively():
                merged = (collection.metadata or {}) | given
                collection.set_metadata({key: value for key, value in merged.items() if value is not None})
        return True

    def delete_collection(self, collection_name: str, timeout: int | None = None) -> bool:
        """Delete a collection and its aliases; ``False`` when there was none."""
        _refuse(timeout=timeout)
        return self._open_store().delete(collection_name)

    def collection_exists(self, collection_name: str) -> bool:
        """Whether there is a collection or alias of that name."""
        return self._open_store().exists(collection_name)

    def get_collections(self) -> models.CollectionsResponse:
        """All collections."""
        names = self._open_store().names()
        return models.CollectionsResponse(
            collections=[models.CollectionDescription(name=name) for name in names]
        )

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Parameters, counts and state.

        The status is green when nothing was written since the last :meth:`optimize`, and grey when
        something was: in Qdrant's words, optimizations are pending until they are asked for.
        """
        collection = self._collection(collection_name)
        info = translating(collection.shard.info)
        optimized = collection.is_optimized
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN if optimized else models.CollectionStatus.GREY,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            indexed_vectors_count=info.indexed_vectors_count,
            points_count=info.points_count,
            segments_count=info.segments_count,
            config=from_edge_config(collection.config(), collection.metadata),
            payload_schema={field: from_edge_index(index) for field, index in info.payload_schema.items()},
        )

    def optimize(self, collection_name: str) -> bool:
        """Build the indexes that are due. Blocks; other threads may search and write meanwhile.

        Returns
        -------
        bool
            Whether anything was to do.
        """
        return self._collection(collection_name).optimize()

    def disk_bytes(self, collection_name: str | None = None) -> int:
        """Measured bytes on disk: of the segments of a collection, or of the whole directory with logs."""
        if collection_name is None:
            return bytes_on_disk(self._open_store().root)
        collection = self._collection(collection_name)
        translating(collection.shard.flush)
        return bytes_on_disk(collection.folder / "shard" / "segments")

    def collection_path(self, collection_name: str) -> Path:
        """Folder of a collection, where files that belong to it may be kept beside the shard."""
        return self._collection(collection_name).folder

    def get_aliases(self) -> models.CollectionsAliasesResponse:
        """All aliases."""
        return _alias_response(self._open_store().aliases())

    def get_collection_aliases(self, collection_name: str) -> models.CollectionsAliasesResponse:
        """Aliases of one collection."""
        aliases = self._open_store().aliases()
        return _alias_response({alias: name for alias, name in aliases.items() if name == collection_name})

    def update_collection_aliases(
        self, change_aliases_operations: Sequence[models.AliasOperations], timeout: int | None = None
    ) -> bool:
        """Apply all changes at once, or none.

        Raises
        ------
        InvalidArgumentError
            Naming the first operation that cannot be applied.
        """
        _refuse(timeout=timeout)
        store = self._open_store()
        with store.exclusively():
            names, aliases = store.names(), store.aliases()
            for i, operation in enumerate(change_aliases_operations):
                _change_alias(aliases, names, operation, f"change_aliases_operations[{i}]")
            store.set_aliases(aliases)
        return True

    def create_vector_name(
        self,
        collection_name: str,
        vector_name: str,
        vector_name_config: models.VectorNameConfig,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Add a named vector to a collection.

        Raises
        ------
        InvalidArgumentError
            The name is taken.
        """
        _refuse(ordering=ordering, timeout=timeout)
        collection = self._collection(collection_name)
        if vector_name in collection.schema:
            raise InvalidArgumentError("vector_name", "a name that is not taken", repr(vector_name))
        with self._store.exclusively():
            _update(collection, lambda: _create_vector(vector_name, vector_name_config))
            collection.read_schema()
        return models.UpdateResult(status=_DONE)

    def delete_vector_name(
        self,
        collection_name: str,
        vector_name: str,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Remove a named vector from a collection, with all its data.

        Raises
        ------
        InvalidArgumentError
            There is no such vector.
        """
        _refuse(ordering=ordering, timeout=timeout)
        collection = self._collection(collection_name)
        _check_names([vector_name], collection, "vector_name")
        with self._store.exclusively():
            _update(collection, lambda: edge.UpdateOperation.delete_vector_name(vector_name))
            collection.read_schema()
        return models.UpdateResult(status=_DONE)

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: models.PayloadFieldSchema | str,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Index a payload field."""
        _refuse(ordering=ordering, timeout=timeout)
        schema = to_edge_index(field_schema)
        return _update(
            self._collection(collection_name),
            lambda: edge.UpdateOperation.create_field_index(field_name, schema),
        )

    def delete_payload_index(
        self,
        collection_name: str,
        field_name: str,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Drop the index of a payload field; one that is not there is no error, as on the server."""
        _refuse(ordering=ordering, timeout=timeout)
        return _update(
            self._collection(collection_name), lambda: edge.UpdateOperation.delete_field_index(field_name)
        )

    # Writing points

    def upsert(
        self,
        collection_name: str,
        points: models.Batch | Sequence[models.PointStruct],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        update_filter: models.Filter | None = None,
        update_mode: models.UpdateMode | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Insert or replace points. All are checked before the first is written.

        Parameters
        ----------
        points : sequence of PointStruct, or Batch
            Vectors as lists or numpy arrays; arrays in a model that was made with ``model_construct``
            save pydantic's look at every number.

        Raises
        ------
        InvalidArgumentError
            Naming the first point that is wrong: ``points[3].vector['fde']``.
        """
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        converted = [
            to_edge_point(point_id, vectors, payload, collection.schema, f"points[{i}]")
            for i, (point_id, vectors, payload) in enumerate(iterate_points(points))
        ]
        condition = to_edge_filter(update_filter, "update_filter")
        mode = to_edge_enum(edge.UpdateMode, update_mode, "update_mode")
        return _update(collection, lambda: edge.UpdateOperation.upsert_points(converted, condition, mode))

    def update_vectors(
        self,
        collection_name: str,
        points: Sequence[models.PointVectors],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        update_filter: models.Filter | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Replace the given vectors of points, keep their other vectors and payload."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        converted = [
            edge.PointVectors(
                to_edge_id(point.id, f"points[{i}].id"),
                check_vectors(point.vector, collection.schema, f"points[{i}].vector"),
            )
            for i, point in enumerate(points)
        ]
        _check_points_exist(collection, [point.id for point in converted])
        condition = to_edge_filter(update_filter, "update_filter")
        return _update(collection, lambda: edge.UpdateOperation.update_vectors(converted, condition))

    def delete_vectors(
        self,
        collection_name: str,
        vectors: Sequence[str],
        points: models.PointsSelector | models.Filter | list[Any],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Remove vectors from points."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        _check_names(vectors, collection, "vectors")
        return _update_selected(
            collection,
            points,
            "points",
            lambda ids: edge.UpdateOperation.delete_vectors(ids, list(vectors)),
            lambda chosen: edge.UpdateOperation.delete_vectors_by_filter(chosen, list(vectors)),
        )

    def delete(
        self,
        collection_name: str,
        points_selector: models.PointsSelector | models.Filter | list[Any],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Delete points; ids that are not there are no error."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return _update_selected(
            self._collection(collection_name),
            points_selector,
            "points_selector",
            edge.UpdateOperation.delete_points,
            edge.UpdateOperation.delete_points_by_filter,
            must_exist=False,
        )

    def set_payload(
        self,
        collection_name: str,
        payload: dict[str, Any],
        points: models.PointsSelector | models.Filter | list[Any],
        key: str | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Set fields of the payload, or of the object at ``key`` in it; keep the other fields."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        checked = jsonable_payload(payload, "payload")
        return _update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.set_payload(ids, checked, key),
            lambda chosen: edge.UpdateOperation.set_payload_by_filter(chosen, checked, key),
        )

    def overwrite_payload(
        self,
        collection_name: str,
        payload: dict[str, Any],
        points: models.PointsSelector | models.Filter | list[Any],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Replace the whole payload."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        checked = jsonable_payload(payload, "payload")
        return _update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.overwrite_payload(ids, checked),
            lambda chosen: edge.UpdateOperation.overwrite_payload_by_filter(chosen, checked),
        )

    def delete_payload(
        self,
        collection_name: str,
        keys: Sequence[str],
        points: models.PointsSelector | models.Filter | list[Any],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Remove fields of the payload."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return _update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.delete_payload(ids, list(keys)),
            lambda chosen: edge.UpdateOperation.delete_payload_by_filter(chosen, list(keys)),
        )

    def clear_payload(
        self,
        collection_name: str,
        points_selector: models.PointsSelector | models.Filter | list[Any],
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Remove the whole payload."""
        _refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return _update_selected(
            self._collection(collection_name),
            points_selector,
            "points_selector",
            edge.UpdateOperation.clear_payload,
            edge.UpdateOperation.clear_payload_by_filter,
        )

    # Reading points

    def query_points(
        self,
        collection_name: str,
        query: Any = None,
        using: str | None = None,
        prefetch: models.Prefetch | list[models.Prefetch] | None = None,
        query_filter: models.Filter | None = None,
        search_params: models.SearchParams | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int | None = None,
        with_payload: models.WithPayloadInterface | Sequence[str] = True,
        with_vectors: models.WithVector = False,
        score_threshold: float | None = None,
        lookup_from: models.LookupLocation | None = None,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> QueryResponse:
        """Search, with nested prefetches, as ``QdrantClient.query_points``.

        Parameters
        ----------
        query : list, numpy array (dim,) or (tokens, dim), SparseVector, point id, or models.Query
            ``None`` returns points in the order of their ids.

        Raises
        ------
        InvalidArgumentError, FilterError
            Naming the part of the request that is wrong.
        CapabilityError
            Queries that embed text or images, and arguments without a meaning here.
        """
        _refuse(
            lookup_from=lookup_from,
            consistency=consistency,
            shard_key_selector=shard_key_selector,
            timeout=timeout,
        )
        collection = self._collection(collection_name)
        request = _query_request(
            collection,
            query,
            using=using,
            prefetch=prefetch,
            query_filter=query_filter,
            search_params=search_params,
            limit=limit,
            offset=offset,
            with_payload=with_payload,
            with_vectors=with_vectors,
            score_threshold=score_threshold,
        )
        found = translating(lambda: collection.shard.query(request))
        return _query_response(found)

    def query_batch_points(
        self,
        collection_name: str,
        requests: Sequence[models.QueryRequest],
        consistency: models.ReadConsistency | None = None,
        timeout: int | None = None,
    ) -> list[QueryResponse]:
        """Several searches as one: queries that differ in their vector only are scored together."""
        _refuse(consistency=consistency, timeout=timeout)
        collection = self._collection(collection_name)
        converted = []
        for request in requests:
            _refuse(lookup_from=request.lookup_from, shard_key=request.shard_key)
            converted.append(
                _query_request(
                    collection,
                    request.query,
                    using=request.using,
                    prefetch=request.prefetch,
                    query_filter=request.filter,
                    search_params=request.params,
                    limit=DEFAULT_LIMIT if request.limit is None else request.limit,
                    offset=request.offset,
                    with_payload=request.with_payload,
                    with_vectors=request.with_vector,
                    score_threshold=request.score_threshold,
                )
            )
        batch = edge.QueryBatchRequest(converted)
        return [_query_response(found) for found in translating(lambda: collection.shard.query_batch(batch))]

    def retrieve(
        self,
        collection_name: str,
        ids: Sequence[Any],
        with_payload: models.WithPayloadInterface | Sequence[str] = True,
        with_vectors: models.WithVector = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> list[models.Record]:
        """Points by id; ids that are not there are left out."""
        _refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        wanted = to_edge_ids(ids, "ids")
        payload = to_edge_payload_selector(with_payload)
        vectors = to_edge_vector_selector(with_vectors, collection.schema, "with_vectors")
        records = translating(lambda: collection.shard.retrieve([*wanted], payload, vectors))
        return [from_edge_record(record) for record in records]

    def scroll(
        self,
        collection_name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = DEFAULT_LIMIT,
        order_by: models.OrderByInterface | None = None,
        offset: Any = None,
        with_payload: models.WithPayloadInterface | Sequence[str] = True,
        with_vectors: models.WithVector = False,
        consistency: models.ReadConsistency | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> tuple[list[models.Record], int | str | None]:
        """One page of points in the order of their ids or of a payload field, and where the next begins."""
        _refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        arguments = {
            "offset": None if offset is None else to_edge_id(offset, "offset"),
            "limit": checked_integer(limit, "limit", at_least=1),
            "filter": to_edge_filter(scroll_filter, "scroll_filter"),
            "with_payload": to_edge_payload_selector(with_payload),
            "with_vector": to_edge_vector_selector(with_vectors, collection.schema, "with_vectors"),
            "order_by": None if order_by is None else to_edge_order_by(order_by),
        }
        records, following = translating(lambda: collection.shard.scroll(edge.ScrollRequest(**arguments)))
        next_page = None if following is None else from_edge_id(following)
        return [from_edge_record(record) for record in records], next_page

    def count(
        self,
        collection_name: str,
        count_filter: models.Filter | None = None,
        exact: bool = True,
        shard_key_selector: models.ShardKeySelector | None = None,
        timeout: int | None = None,
    ) -> models.CountResult:
        """Number of points, or of those under a filter."""
        _refuse(shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        request = edge.CountRequest(exact, to_edge_filter(count_filter, "count_filter"))
        return models.CountResult(count=translating(lambda: collection.shard.count(request)))

    def facet(
        self,
        collection_name: str,
        key: str,
        facet_filter: models.Filter | None = None,
        limit: int = DEFAULT_LIMIT,
        exact: bool = False,
        consistency: models.ReadConsistency | None = None,
        timeout: int | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> models.FacetResponse:
        """Values of an indexed payload field and how many points have each."""
        _refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        count = checked_integer(limit, "limit", at_least=1)
        chosen = to_edge_filter(facet_filter, "facet_filter")
        found = translating(lambda: collection.shard.facet(edge.FacetRequest(key, count, exact, chosen)))
        hits = [models.FacetValueHit(value=hit.value, count=hit.count) for hit in found.hits]
        return models.FacetResponse(hits=hits)


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise CapabilityError(f"{name}: Qdrant Edge cannot honour it, {_NO_EFFECT[name]}")


def _metadata(metadata: Any) -> dict[str, Any] | None:
    if metadata is None:
        return None
    try:
        return jsonable_payload(to_jsonable_python(metadata), "metadata")
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise InvalidArgumentError("metadata", "values that JSON can hold", error) from None


def _check_names(names: Sequence[str], collection: EdgeCollection, argument: str) -> None:
    for name in names:
        if name not in collection.schema:
            raise InvalidArgumentError(
                argument, f"one of the vectors {sorted(collection.schema)}", repr(name)
            )


def _check_points_exist(collection: EdgeCollection, ids: Sequence[Any]) -> None:
    # Edge stops at the first missing id, with the points before it written.
    found = translating(lambda: collection.shard.retrieve([*ids], False, False))
    known = {str(record.id) for record in found}
    for i, point_id in enumerate(ids):
        if str(point_id) not in known:
            raise InvalidArgumentError(f"points[{i}]", "the id of a point that exists", str(point_id))


def _update(collection: EdgeCollection, make: Callable[[], edge.UpdateOperation]) -> models.UpdateResult:
    with collection.writing():
        translating(lambda: collection.shard.update(make()))
    return models.UpdateResult(status=_DONE)


def _update_selected(
    collection: EdgeCollection,
    selector: Any,
    argument: str,
    by_ids: Callable[[list[Any]], edge.UpdateOperation],
    by_filter: Callable[[edge.Filter], edge.UpdateOperation],
    must_exist: bool = True,
) -> models.UpdateResult:
    if isinstance(selector, (models.PointIdsList, models.FilterSelector)):
        _refuse(shard_key=selector.shard_key)
        selector = selector.points if isinstance(selector, models.PointIdsList) else selector.filter
    if isinstance(selector, models.Filter):
        chosen = to_edge_filter(selector, argument)
        assert chosen is not None
        return _update(collection, lambda: by_filter(chosen))
    if not isinstance(selector, (list, tuple)):
        raise InvalidArgumentError(argument, "ids, a Filter or a PointsSelector", type(selector).__name__)
    ids = to_edge_ids(selector, argument)
    if must_exist:
        _check_points_exist(collection, ids)
    return _update(collection, lambda: by_ids([*ids]))


def _create_vector(name: str, config: models.VectorNameConfig) -> edge.UpdateOperation:
    if isinstance(config, models.SparseVectorNameConfig):
        sparse = config.sparse
        return edge.UpdateOperation.create_sparse_vector(
            name,
            to_edge_modifier(sparse.modifier),
            to_edge_enum(edge.VectorStorageDatatype, sparse.datatype, "vector_name_config.datatype"),
        )
    dense = config.dense
    return edge.UpdateOperation.create_dense_vector(
        name,
        dense.size,
        to_edge_enum(edge.Distance, dense.distance, "vector_name_config.distance"),
        to_edge_multivector(dense.multivector_config),
        to_edge_enum(edge.VectorStorageDatatype, dense.datatype, "vector_name_config.datatype"),
    )


def _alias_response(aliases: Mapping[str, str]) -> models.CollectionsAliasesResponse:
    described = [
        models.AliasDescription(alias_name=alias, collection_name=name) for alias, name in aliases.items()
    ]
    return models.CollectionsAliasesResponse(aliases=described)


def _change_alias(aliases: dict[str, str], names: Sequence[str], operation: Any, argument: str) -> None:
    if isinstance(operation, models.CreateAliasOperation):
        create = operation.create_alias
        if create.collection_name not in names:
            raise InvalidArgumentError(argument, "a collection that exists", repr(create.collection_name))
        _check_alias_is_free(create.alias_name, names, argument)
        aliases[create.alias_name] = create.collection_name
    elif isinstance(operation, models.DeleteAliasOperation):
        aliases.pop(operation.delete_alias.alias_name, None)
    elif isinstance(operation, models.RenameAliasOperation):
        rename = operation.rename_alias
        if rename.old_alias_name not in aliases:
            raise InvalidArgumentError(argument, "an alias that exists", repr(rename.old_alias_name))
        _check_alias_is_free(rename.new_alias_name, names, argument)
        aliases[rename.new_alias_name] = aliases.pop(rename.old_alias_name)
    else:
        raise InvalidArgumentError(argument, "an alias operation", type(operation).__name__)


def _check_alias_is_free(alias: str, names: Sequence[str], argument: str) -> None:
    if alias in names:
        raise InvalidArgumentError(argument, "an alias that is not the name of a collection", repr(alias))


def _query_request(
    collection: EdgeCollection,
    query: Any,
    *,
    using: str | None,
    prefetch: Any,
    query_filter: models.Filter | None,
    search_params: models.SearchParams | None,
    limit: int,
    offset: int | None,
    with_payload: Any,
    with_vectors: Any,
    score_threshold: float | None,
) -> edge.QueryRequest:
    converter = QueryConverter(collection.schema, lambda *asked: _stored_vector(collection, *asked))
    wanted = checked_integer(limit, "limit", at_least=1)
    scoring, used_ids = converter.query(query, using, wanted)
    if query is None and using is not None:
        raise CapabilityError("using: without a query nothing is compared, so it has no effect")
    arguments = {
        "offset": None if offset is None else checked_integer(offset, "offset"),
        "query": scoring,
        "prefetches": converter.prefetches(prefetch) or None,
        "with_vector": to_edge_vector_selector(with_vectors, collection.schema, "with_vectors"),
        "with_payload": to_edge_payload_selector(with_payload),
        "filter": excluding(to_edge_filter(query_filter, "query_filter"), used_ids),
        "score_threshold": score_threshold,
        "params": to_edge_search_params(search_params),
    }
    return translating(lambda: edge.QueryRequest(wanted, **arguments))


def _stored_vector(collection: EdgeCollection, point_id: Id, using: str, argument: str) -> Any:
    records = translating(lambda: collection.shard.retrieve([point_id], False, [using]))
    stored: Any = records[0].vector if records else None
    vector = stored.get(using) if isinstance(stored, dict) else stored
    if vector is None:
        raise InvalidArgumentError(argument, f"the id of a point with a vector {using!r}", str(point_id))
    return vector


def _query_response(found: list[edge.ScoredPoint]) -> QueryResponse:
    return QueryResponse.model_construct(points=[from_edge_scored_point(point) for point in found])


def _refused_method(name: str) -> Callable[..., Any]:
    def refused(self: EdgeClient, *args: Any, **kwargs: Any) -> Any:
        raise CapabilityError(f"{name}: not in Qdrant Edge; it needs a server (connect('http://...'))")

    refused.__name__ = name
    refused.__doc__ = "Refused: see CapabilityError."
    return refused


for _name in dir(QdrantClient):
    if not _name.startswith("_") and not hasattr(EdgeClient, _name):
        setattr(EdgeClient, _name, _refused_method(_name))
