"""The client of Qdrant Edge, which has the methods of QdrantClient."""

from __future__ import annotations

import importlib.metadata
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import qdrant_edge as edge
from qdrant_client import QdrantClient, models

# `models.QueryResponse` is shadowed by an unrelated class of fastembed.
from qdrant_client.http.models import QueryResponse

from embplug.common.checks import checked_integer
from embplug.common.json_types import jsonable_payload
from embplug.engines.edge.aliases import alias_response, change_alias
from embplug.engines.edge.convert import (
    check_vectors,
    from_edge_record,
    iterate_points,
    jsonable_metadata,
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
)
from embplug.engines.edge.convert_filter import to_edge_filter
from embplug.engines.edge.convert_ids import from_edge_id, to_edge_id, to_edge_ids
from embplug.engines.edge.convert_query import (
    DEFAULT_LIMIT,
    to_edge_order_by,
)
from embplug.engines.edge.query_request import query_request, query_response
from embplug.engines.edge.refusals import refuse, refused_method
from embplug.engines.edge.store import EdgeCollection, EdgeStore, bytes_on_disk, translating
from embplug.engines.edge.updates import (
    check_names,
    check_points_exist,
    create_vector,
    update,
    update_selected,
)
from embplug.engines.search_request import SearchRequest
from embplug.errors import CapabilityError, EngineError, InvalidArgumentError


class EdgeClient:
    """Client of a directory of collections, each of which is a Qdrant Edge shard.

    The methods have the names, parameters and results of ``qdrant_client.QdrantClient``, whose documentation
    describes them. A parameter that Edge cannot honour raises :class:`~embplug.errors.CapabilityError`. Only
    ``wait`` has no effect, because every write is durable when its call returns.

    One process owns a directory at a time. All clients of a process share the directory, and they may be
    used from many threads. Indexes are built by :meth:`optimize` only.

    Parameters
    ----------
    path : str or path
        The directory, which is created if it does not exist.
    timeout : float, default=None
        Seconds to wait while another process owns the directory. ``None`` does not wait.

    Raises
    ------
    EngineLockedError
        Another process owns the directory; the error names the process.
    InvalidArgumentError
        The path cannot be such a directory.

    References
    ----------
    Qdrant Edge: https://qdrant.tech/documentation/edge/
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | None = None) -> None:
        self._store = EdgeStore.acquire(path, timeout)
        self._finalizer = weakref.finalize(self, self._store.release)

    @property
    def path(self) -> Path:
        """The directory of the collections."""
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
        """Release the directory, unless another client of this process still uses it."""
        self._finalizer()

    def _open_store(self) -> EdgeStore:
        if not self._finalizer.alive:
            raise EngineError(f"{self!r} is closed")
        return self._store

    def _collection(self, name: str) -> EdgeCollection:
        return self._open_store().collection(name)

    def info(self) -> models.VersionInfo:
        """Return the title and the version of the engine.

        Returns
        -------
        models.VersionInfo
            Title and version.
        """
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
        """Create a collection. A call that fails leaves nothing behind.

        Parameters
        ----------
        collection_name : str
            Name of the collection.
        vectors_config : models.VectorParams or mapping of str to models.VectorParams, default=None
            Parameters of the unnamed dense vector, or of dense vectors by name.
        sparse_vectors_config : mapping of str to models.SparseVectorParams, default=None
            Parameters of the sparse vectors, by name.
        shard_number, replication_factor, write_consistency_factor : 1, default=None
            Edge has one shard and one copy of it.
        on_disk_payload : bool, default=None
            Whether payloads are kept on disk.
        hnsw_config : models.HnswConfigDiff, default=None
            Parameters of the graph, for vectors that do not set their own.
        optimizers_config : models.OptimizersConfigDiff, default=None
            Parameters of :meth:`optimize`.
        quantization_config : models.QuantizationConfig, default=None
            Quantization of vectors that do not set their own.
        metadata : dict, default=None
            Metadata of the collection, as JSON types.
        payload : models.PayloadStorageParams, default=None
            Storage of the payloads.
        id_tracker : models.IdTrackerParams, default=None
            Storage of the ids.
        sharding_method, wal_config, timeout, strict_mode_config : None
            Not supported by Edge.

        Returns
        -------
        bool
            Always True.

        Raises
        ------
        InvalidArgumentError
            The name is taken or not valid, or there is no vector.
        CapabilityError
            There is more than one shard or replica, or another argument that Edge cannot honour.
        """
        refuse(
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
        self._open_store().create(collection_name, config, jsonable_metadata(metadata))
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
        """Merge ``metadata`` into the metadata of a collection.

        Only ``metadata`` can be changed. A value of ``None`` removes its key.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        metadata : dict, default=None
            Changes of the metadata. A value of ``None`` removes its key.
        all other arguments : None
            Not supported by Edge.

        Returns
        -------
        bool
            Always True.

        Raises
        ------
        CollectionNotFoundError
            There is no such collection.
        CapabilityError
            An argument other than ``metadata`` is set.
        """
        refuse(
            optimizers_config=optimizers_config,
            collection_params=collection_params,
            vectors_config=vectors_config,
            hnsw_config=hnsw_config,
            quantization_config=quantization_config,
            timeout=timeout,
            sparse_vectors_config=sparse_vectors_config,
            strict_mode_config=strict_mode_config,
        )
        changes = jsonable_metadata(metadata)
        with self._open_store().exclusively():
            # Another thread that deletes the collection comes before or after.
            collection = self._collection(collection_name)
            if changes is not None:
                merged = (collection.metadata or {}) | changes
                collection.set_metadata({key: value for key, value in merged.items() if value is not None})
        return True

    def delete_collection(self, collection_name: str, timeout: int | None = None) -> bool:
        """Delete a collection and its aliases.

        Parameters
        ----------
        collection_name : str
            Name of the collection; an alias is not accepted.
        timeout : None
            Not supported by Edge.

        Returns
        -------
        bool
            Whether the collection existed.
        """
        refuse(timeout=timeout)
        return self._open_store().delete(collection_name)

    def collection_exists(self, collection_name: str) -> bool:
        """Tell whether there is a collection or an alias of that name.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.

        Returns
        -------
        bool
            Whether it exists.
        """
        return self._open_store().exists(collection_name)

    def get_collections(self) -> models.CollectionsResponse:
        """List all collections.

        Returns
        -------
        models.CollectionsResponse
            Names of the collections.
        """
        names = self._open_store().names()
        return models.CollectionsResponse(
            collections=[models.CollectionDescription(name=name) for name in names]
        )

    def get_collection(self, collection_name: str) -> models.CollectionInfo:
        """Return the parameters, the counts and the status of a collection.

        The status is green if nothing has been written since the last :meth:`optimize`. Otherwise it is
        grey, which means in Qdrant that optimizations are possible but not running.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.

        Returns
        -------
        models.CollectionInfo
            Description of the collection.
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
        """Build the indexes that are due.

        The call blocks, and all other threads of the process wait meanwhile, because Qdrant Edge 0.9 keeps
        the interpreter's lock.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.

        Returns
        -------
        bool
            True if the collection changed.
        """
        return self._collection(collection_name).optimize()

    def disk_bytes(self, collection_name: str | None = None) -> int:
        """Measure the bytes on disk.

        Parameters
        ----------
        collection_name : str, default=None
            Collection whose segments are measured. ``None`` measures the whole directory with its logs.

        Returns
        -------
        int
            Allocated bytes.
        """
        if collection_name is None:
            return bytes_on_disk(self._open_store().root)
        collection = self._collection(collection_name)
        translating(collection.shard.flush)
        return bytes_on_disk(collection.folder / "shard" / "segments")

    def collection_path(self, collection_name: str) -> Path:
        """Return the folder of a collection, which may hold further files beside the shard.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.

        Returns
        -------
        Path
            The folder.
        """
        return self._collection(collection_name).folder

    def get_aliases(self) -> models.CollectionsAliasesResponse:
        """List all aliases.

        Returns
        -------
        models.CollectionsAliasesResponse
            Aliases and their collections.
        """
        return alias_response(self._open_store().aliases())

    def get_collection_aliases(self, collection_name: str) -> models.CollectionsAliasesResponse:
        """List the aliases of a collection.

        Parameters
        ----------
        collection_name : str
            Name of the collection.

        Returns
        -------
        models.CollectionsAliasesResponse
            Aliases and their collections.
        """
        aliases = self._open_store().aliases()
        return alias_response({alias: name for alias, name in aliases.items() if name == collection_name})

    def update_collection_aliases(
        self, change_aliases_operations: Sequence[models.AliasOperations], timeout: int | None = None
    ) -> bool:
        """Apply changes of aliases, all of them or none.

        Parameters
        ----------
        change_aliases_operations : sequence of models.AliasOperations
            Changes, which are applied in this order.
        timeout : None
            Not supported by Edge.

        Returns
        -------
        bool
            Always True.

        Raises
        ------
        InvalidArgumentError
            An operation cannot be applied; the error names the first one.
        """
        refuse(timeout=timeout)
        store = self._open_store()
        with store.exclusively():
            names, aliases = store.names(), store.aliases()
            for i, operation in enumerate(change_aliases_operations):
                change_alias(aliases, names, operation, f"change_aliases_operations[{i}]")
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

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        vector_name : str
            Name of the vector.
        vector_name_config : models.VectorNameConfig
            Parameters of the vector.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.

        Raises
        ------
        InvalidArgumentError
            The name is taken.
        """
        refuse(ordering=ordering, timeout=timeout)
        collection = self._collection(collection_name)
        if vector_name in collection.schema:
            raise InvalidArgumentError("vector_name", "a name that is not taken", repr(vector_name))
        with self._store.exclusively():
            update(collection, lambda: create_vector(vector_name, vector_name_config))
            collection.read_schema()
        return models.UpdateResult(status=models.UpdateStatus.COMPLETED)

    def delete_vector_name(
        self,
        collection_name: str,
        vector_name: str,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Remove a named vector from a collection, with all its data.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        vector_name : str
            Name of the vector.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.

        Raises
        ------
        InvalidArgumentError
            There is no such vector.
        """
        refuse(ordering=ordering, timeout=timeout)
        collection = self._collection(collection_name)
        check_names([vector_name], collection, "vector_name")
        with self._store.exclusively():
            update(collection, lambda: edge.UpdateOperation.delete_vector_name(vector_name))
            collection.read_schema()
        return models.UpdateResult(status=models.UpdateStatus.COMPLETED)

    def create_payload_index(
        self,
        collection_name: str,
        field_name: str,
        field_schema: models.PayloadFieldSchema | str,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
        timeout: int | None = None,
    ) -> models.UpdateResult:
        """Create an index of a payload field.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        field_name : str
            Path of the payload field.
        field_schema : models.PayloadFieldSchema or str
            Type of the index, or its parameters.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, timeout=timeout)
        schema = to_edge_index(field_schema)
        return update(
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
        """Delete the index of a payload field. A missing index is not an error, as on a server.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        field_name : str
            Path of the payload field.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, timeout=timeout)
        return update(
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
        """Insert or replace points. All points are checked before the first one is written.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        points : sequence of models.PointStruct, or models.Batch
            Points with vectors as lists or numpy arrays. A model that is built with ``model_construct``
            may hold arrays, so that pydantic does not validate every number.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.
        update_filter : models.Filter, default=None
            Condition under which an existing point is replaced.
        update_mode : models.UpdateMode, default=None
            Whether points are inserted, updated or both.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.

        Raises
        ------
        InvalidArgumentError
            A point is wrong; the error names the first one: ``points[3].vector['fde']``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        converted = [
            to_edge_point(point_id, vectors, payload, collection.schema, f"points[{i}]")
            for i, (point_id, vectors, payload) in enumerate(iterate_points(points))
        ]
        condition = to_edge_filter(update_filter, "update_filter")
        mode = to_edge_enum(edge.UpdateMode, update_mode, "update_mode")
        return update(collection, lambda: edge.UpdateOperation.upsert_points(converted, condition, mode))

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
        """Replace vectors of points; their other vectors and their payload are kept.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        points : sequence of models.PointVectors
            Ids of points with their new vectors. A missing id is an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        update_filter : models.Filter, default=None
            Condition under which a point is updated.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        converted = [
            edge.PointVectors(
                to_edge_id(point.id, f"points[{i}].id"),
                check_vectors(point.vector, collection.schema, f"points[{i}].vector"),
            )
            for i, point in enumerate(points)
        ]
        check_points_exist(collection, [point.id for point in converted])
        condition = to_edge_filter(update_filter, "update_filter")
        return update(collection, lambda: edge.UpdateOperation.update_vectors(converted, condition))

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
        """Remove vectors from points.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        vectors : sequence of str
            Names of the vectors to remove.
        points : list of ids, models.Filter or models.PointsSelector
            Points to change. A missing id is an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        check_names(vectors, collection, "vectors")
        return update_selected(
            collection,
            points,
            "points",
            lambda ids: edge.UpdateOperation.delete_vectors(ids, list(vectors)),
            lambda condition: edge.UpdateOperation.delete_vectors_by_filter(condition, list(vectors)),
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
        """Delete points. A missing id is not an error.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        points_selector : list of ids, models.Filter or models.PointsSelector
            Points to delete. A missing id is not an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return update_selected(
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
        """Set fields of the payload, or of the object at ``key`` in it. The other fields are kept.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        payload : dict
            Fields to set.
        points : list of ids, models.Filter or models.PointsSelector
            Points to change. A missing id is an error.
        key : str, default=None
            Path of an object in the payload whose fields are set. ``None`` sets fields of the payload
            itself.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        checked = jsonable_payload(payload, "payload")
        return update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.set_payload(ids, checked, key),
            lambda condition: edge.UpdateOperation.set_payload_by_filter(condition, checked, key),
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
        """Replace the whole payload.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        payload : dict
            The new payload.
        points : list of ids, models.Filter or models.PointsSelector
            Points to change. A missing id is an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        checked = jsonable_payload(payload, "payload")
        return update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.overwrite_payload(ids, checked),
            lambda condition: edge.UpdateOperation.overwrite_payload_by_filter(condition, checked),
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
        """Remove fields of the payload.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        keys : sequence of str
            Paths of the fields to remove.
        points : list of ids, models.Filter or models.PointsSelector
            Points to change. A missing id is an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return update_selected(
            self._collection(collection_name),
            points,
            "points",
            lambda ids: edge.UpdateOperation.delete_payload(ids, list(keys)),
            lambda condition: edge.UpdateOperation.delete_payload_by_filter(condition, list(keys)),
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
        """Remove the whole payload.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        points_selector : list of ids, models.Filter or models.PointsSelector
            Points to change. A missing id is an error.
        wait : bool, default=True
            Has no effect, because every write is durable when its call returns.
        ordering, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.UpdateResult
            Result with the status ``completed``.
        """
        refuse(ordering=ordering, shard_key_selector=shard_key_selector, timeout=timeout)
        return update_selected(
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
        """Search for points, also with nested prefetches.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        query : list, array, models.SparseVector, int, str, UUID or models.Query, default=None
            The query: a vector of shape (dim,), a token matrix of shape (n_tokens, dim), the id of a point
            or a query model. Without a query, points are returned in the order of their ids.
        using : str, default=None
            Name of the vector. ``None`` stands for the unnamed vector.
        prefetch : models.Prefetch or list of models.Prefetch, default=None
            Searches whose hits the query ranks.
        query_filter : models.Filter, default=None
            Condition that hits have to meet.
        search_params : models.SearchParams, default=None
            Parameters of the search.
        limit : int, default=10
            Number of hits.
        offset : int, default=None
            Number of best hits to leave out.
        with_payload : bool, list of str or models.PayloadSelector, default=True
            Fields of the payload to return.
        with_vectors : bool or list of str, default=False
            Vectors to return.
        score_threshold : float, default=None
            Score that hits have to reach.
        lookup_from, consistency, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.QueryResponse
            Hits, best first.

        Raises
        ------
        InvalidArgumentError, FilterError
            A part of the request is wrong; the error names it.
        CapabilityError
            The query embeds text or images, or an argument is not supported by Edge.
        """
        refuse(
            lookup_from=lookup_from,
            consistency=consistency,
            shard_key_selector=shard_key_selector,
            timeout=timeout,
        )
        collection = self._collection(collection_name)
        search = SearchRequest(
            limit=limit,
            query=query,
            using=using,
            prefetch=prefetch,  # type: ignore[arg-type]
            filter=query_filter,
            params=search_params,
            with_payload=with_payload,
            score_threshold=score_threshold,
        )
        request = query_request(collection, search, offset, with_vectors)
        return query_response(translating(lambda: collection.shard.query(request)))

    def query_batch_points(
        self,
        collection_name: str,
        requests: Sequence[models.QueryRequest],
        consistency: models.ReadConsistency | None = None,
        timeout: int | None = None,
    ) -> list[QueryResponse]:
        """Run several searches. Queries that differ in their vector only are scored together.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        requests : sequence of models.QueryRequest
            Searches to run.
        consistency, timeout : None
            Not supported by Edge.

        Returns
        -------
        list of models.QueryResponse
            Hits of each search, best first.
        """
        refuse(consistency=consistency, timeout=timeout)
        collection = self._collection(collection_name)
        converted = []
        for request in requests:
            refuse(lookup_from=request.lookup_from, shard_key=request.shard_key)
            converted.append(query_request(collection, request, request.offset, request.with_vector))
        return [query_response(points) for points in _scored(collection, converted)]

    def query_batch_scored(
        self, collection_name: str, requests: Sequence[SearchRequest]
    ) -> tuple[edge.EdgeShard, list[list[edge.ScoredPoint] | list[edge.Record]]]:
        """Run several searches, as :meth:`query_batch_points`, without a model for each point.

        Points that are read by their ids are not searched, which takes a sixth of the time.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        requests : sequence of SearchRequest
            Searches to run.

        Returns
        -------
        shard : qdrant_edge.EdgeShard
            The shard, which is another object once the collection was created anew.
        points : list of list of qdrant_edge.ScoredPoint, or of qdrant_edge.Record
            Hits of each search, best first, or the points with the ids of a request, as the binding returns
            them.
        """
        collection = self._collection(collection_name)
        searches = []
        for request in requests:
            refuse(shard_key=request.shard_key)
            if request.ids is None:
                searches.append(query_request(collection, request))
        hits = iter(_scored(collection, searches) if searches else ())
        return collection.shard, [
            next(hits) if request.ids is None else _read(collection, request.ids, request.with_payload)
            for request in requests
        ]

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
        """Return points by their ids. Missing ids are left out.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        ids : sequence of int, str or UUID
            Ids of the points.
        with_payload : bool, list of str or models.PayloadSelector, default=True
            Fields of the payload to return.
        with_vectors : bool or list of str, default=False
            Vectors to return.
        consistency, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        list of models.Record
            Points, without those that are missing.
        """
        refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        records = _read(collection, ids, with_payload, with_vectors)
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
        """Return a page of points in the order of their ids or of a payload field.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        scroll_filter : models.Filter, default=None
            Condition that points have to meet.
        limit : int, default=10
            Largest number of results.
        order_by : str or models.OrderBy, default=None
            Payload field by which points are sorted. ``None`` sorts them by id.
        offset : int, str or UUID, default=None
            Id at which the page begins.
        with_payload : bool, list of str or models.PayloadSelector, default=True
            Fields of the payload to return.
        with_vectors : bool or list of str, default=False
            Vectors to return.
        consistency, shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        records : list of models.Record
            Points of the page.
        next_page : int, str or None
            Id at which the next page begins. ``None`` if this is the last page.
        """
        refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
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
        """Count the points, or the points that match a filter.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        count_filter : models.Filter, default=None
            Condition that points have to meet.
        exact : bool, default=True
            Whether to count exactly.
        shard_key_selector, timeout : None
            Not supported by Edge.

        Returns
        -------
        models.CountResult
            Number of points.
        """
        refuse(shard_key_selector=shard_key_selector, timeout=timeout)
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
        """Return the values of an indexed payload field, each with its number of points.

        Parameters
        ----------
        collection_name : str
            Name of the collection or of an alias.
        key : str
            Path of the indexed payload field.
        facet_filter : models.Filter, default=None
            Condition that points have to meet.
        limit : int, default=10
            Largest number of results.
        exact : bool, default=False
            Whether to count exactly.
        consistency, timeout, shard_key_selector : None
            Not supported by Edge.

        Returns
        -------
        models.FacetResponse
            Values, the most frequent ones first.
        """
        refuse(consistency=consistency, shard_key_selector=shard_key_selector, timeout=timeout)
        collection = self._collection(collection_name)
        count = checked_integer(limit, "limit", at_least=1)
        condition = to_edge_filter(facet_filter, "facet_filter")
        facet = translating(lambda: collection.shard.facet(edge.FacetRequest(key, count, exact, condition)))
        hits = [models.FacetValueHit(value=hit.value, count=hit.count) for hit in facet.hits]
        return models.FacetResponse(hits=hits)


def _scored(collection: EdgeCollection, requests: list[edge.QueryRequest]) -> list[list[edge.ScoredPoint]]:
    batch = edge.QueryBatchRequest(requests)
    scored: list[list[edge.ScoredPoint]] = translating(lambda: collection.shard.query_batch(batch))
    return scored


def _read(
    collection: EdgeCollection,
    ids: Sequence[Any],
    with_payload: models.WithPayloadInterface | Sequence[str],
    with_vectors: Any = False,
) -> list[edge.Record]:
    """Points with some ids, as the binding returns them."""
    point_ids = to_edge_ids(ids, "ids")
    payload = to_edge_payload_selector(with_payload)
    vectors = to_edge_vector_selector(with_vectors, collection.schema, "with_vectors")
    records: list[edge.Record] = translating(
        lambda: collection.shard.retrieve([*point_ids], payload, vectors)
    )
    return records


for _name in dir(QdrantClient):
    if not _name.startswith("_") and not hasattr(EdgeClient, _name):
        setattr(EdgeClient, _name, refused_method(_name))
