"""Reads points of any collection in the order of their ids, in pages of bounded size, as numpy arrays."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.engines import Engine, traits_of
from embplug.engines.calls import Call, retried, run
from embplug.lifecycle.migration.wire import read_points, terms

T = TypeVar("T")
PointId: TypeAlias = "int | str"

PAGE_POINTS = 1000
PAGE_BYTES = 4 << 20
PAGES_AHEAD = 2
"""Read while those before are encoded and written."""


@dataclass(eq=False, slots=True)
class Point:
    """A stored point.

    Attributes
    ----------
    payload
        Over gRPC it is only read when a field of it is looked at.
    vectors
        float32 ``(dim,)`` or ``(tokens, dim)`` by name, of those that were asked for and that it has. A
        sparse vector is an array of ``TERMS``.
    wire
        The bytes of its message, where it came over gRPC.
    """

    id: PointId
    payload: Mapping[str, Any]
    vectors: dict[str, NDArray[Any]]
    wire: bytes | None = None

    @property
    def nbytes(self) -> int:
        """Of its vectors."""
        return sum(vector.nbytes for vector in self.vectors.values())

    def digest(self) -> str:
        """64 bits that tell whether vectors or payload changed, read over the same protocol."""
        if self.wire is not None:
            return sha256(self.wire).hexdigest()[:16]
        hashed = sha256()
        for name in sorted(self.vectors):
            hashed.update(name.encode())
            hashed.update(np.ascontiguousarray(self.vectors[name]).view(np.uint8).data)
        hashed.update(json.dumps(self.payload, sort_keys=True, separators=(",", ":")).encode())
        return hashed.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Page:
    """Consecutive points and the id at which they begin; ``None`` is the very beginning."""

    start: PointId | None
    points: list[Point]


class Reader:
    """Reads one collection.

    Parameters
    ----------
    vectors
        Names of the vectors to read.
    payload
        All of it, or these fields.
    """

    def __init__(
        self, engine: Engine, name: str, vectors: Sequence[str] = (), payload: bool | list[str] = True
    ) -> None:
        self.engine = engine
        self.name = name
        self.vectors = list(vectors)
        self.payload = payload
        self._traits = traits_of(engine)

    def pages(
        self, start: PointId | None = None, where: models.Filter | None = None, size: int | None = None
    ) -> Generator[Page, None, None]:
        """All points from ``start`` on, read ahead in a thread of its own."""
        return _ahead(self._pages(start, where, size or PAGE_POINTS), PAGES_AHEAD)

    def _pages(self, start: PointId | None, where: models.Filter | None, size: int) -> Iterator[Page]:
        # The first page is small, because nothing is known of the points yet.
        limit = min(size, 16) if self.vectors else size
        while True:
            points, following = self._scroll(limit, start, where)
            yield Page(start, points)
            if following is None:
                return
            start = following
            mean = sum(point.nbytes for point in points) / max(1, len(points))
            limit = int(min(size, max(1, PAGE_BYTES / mean))) if mean else size

    def retrieve(self, ids: Sequence[PointId], *, surely: bool = False) -> list[Point]:
        """Points by id; those that are not there are left out.

        With ``surely`` a server asks a majority of the replicas.
        """
        consistency = models.ReadConsistencyType.MAJORITY if surely and self._traits.is_remote else None
        if not self._traits.uses_grpc:
            arguments = {"consistency": consistency} if consistency else {}
            call = Call.of(
                "retrieve", collection_name=self.name, ids=list(ids), **self._selectors(), **arguments
            )
            return [self._from_record(record) for record in run(self.engine, retried(call))]
        request = grpc.GetPoints(
            collection_name=self.name,
            ids=[RestToGrpc.convert_extended_point_id(point_id) for point_id in ids],
            read_consistency=RestToGrpc.convert_read_consistency(consistency) if consistency else None,
            **self._grpc_selectors(),
        )
        return list(map(Point, *read_points(self._ask("Get", request), self.vectors)))

    def sample(self, count: int, most_bytes: int) -> list[Point]:
        """Random points that have all the vectors, fewer where they would be more than ``most_bytes``."""
        answer = run(
            self.engine,
            retried(
                Call.of(
                    "query_points",
                    collection_name=self.name,
                    query=models.SampleQuery(sample=models.Sample.RANDOM),
                    query_filter=_having(self.vectors),
                    limit=count,
                    with_payload=False,
                )
            ),
        )
        ids = [point.id for point in answer.points]
        points: list[Point] = []
        done, size = 0, 16
        while done < len(ids) and (read := sum(point.nbytes for point in points)) < most_bytes:
            batch = self.retrieve(ids[done : done + size])
            points += (point for point in batch if len(point.vectors) == len(self.vectors))
            done += size
            mean = max(1.0, (read + sum(p.nbytes for p in batch)) / max(1, len(points)))
            size = int(min(PAGE_POINTS, max(1, PAGE_BYTES / mean)))
        return points

    def count(self) -> int:
        """Exact number of points."""
        return int(run(self.engine, retried(Call.of("count", collection_name=self.name, exact=True))).count)

    def _scroll(
        self, limit: int, start: PointId | None, where: models.Filter | None
    ) -> tuple[list[Point], PointId | None]:
        if not self._traits.uses_grpc:
            call = Call.of(
                "scroll",
                collection_name=self.name,
                limit=limit,
                offset=start,
                scroll_filter=where,
                **self._selectors(),
            )
            records, following = run(self.engine, retried(call))
            return [self._from_record(record) for record in records], following
        request = grpc.ScrollPoints(
            collection_name=self.name,
            limit=limit,
            offset=None if start is None else RestToGrpc.convert_extended_point_id(start),
            filter=None if where is None else RestToGrpc.convert_filter(where),
            **self._grpc_selectors(),
        )
        answer = self._ask("Scroll", request)
        following = answer.next_page_offset if answer.HasField("next_page_offset") else None
        points = list(map(Point, *read_points(answer, self.vectors)))
        return points, following and _id(following)

    def _ask(self, method: str, request: Any) -> Any:
        call = Call.of(f"grpc_points.{method}", request=request, timeout=self._traits.timeout)
        return run(self.engine, retried(call))

    def _selectors(self) -> dict[str, Any]:
        # What has no name cannot be asked for by it.
        vectors: bool | list[str] = True if "" in self.vectors else self.vectors or False
        return {"with_vectors": vectors, "with_payload": self.payload}

    def _grpc_selectors(self) -> dict[str, Any]:
        selectors = self._selectors()
        return {
            "with_vectors": RestToGrpc.convert_with_vectors(selectors["with_vectors"]),
            "with_payload": RestToGrpc.convert_with_payload_interface(selectors["with_payload"]),
        }

    def _from_record(self, record: models.Record) -> Point:
        stored = record.vector if isinstance(record.vector, dict) else {"": record.vector}
        named = {name: stored.get(name) for name in self.vectors}
        vectors = {name: _array(vector) for name, vector in named.items() if vector is not None}
        return Point(
            record.id if isinstance(record.id, int) else str(record.id), record.payload or {}, vectors
        )


def _array(vector: Any) -> NDArray[Any]:
    if isinstance(vector, models.SparseVector):
        return terms(vector.indices, vector.values)
    return np.asarray(vector, dtype=np.float32)


def order(point_id: PointId) -> tuple[bool, Any]:
    """The order in which Qdrant gives points: integers, then UUIDs."""
    return isinstance(point_id, str), point_id


def _having(vectors: Sequence[str]) -> models.Filter | None:
    conditions = [models.HasVectorCondition(has_vector=name) for name in vectors]
    return models.Filter(must=conditions) if conditions else None


def _id(message: Any) -> PointId:
    return str(message.uuid) if message.WhichOneof("point_id_options") == "uuid" else int(message.num)


_END: Any = object()


def _ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    with ThreadPoolExecutor(1, thread_name_prefix="embplug-read") as pool:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
