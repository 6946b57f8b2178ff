"""Answers of an engine to search requests, as columns: no Python object for each point until it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from qdrant_client import grpc
from qdrant_client.conversions.conversion import grpc_to_payload, value_to_json
from qdrant_client.http.models import QueryResponse

from embplug.common.byte_strings import ByteStrings
from embplug.engines.edge.convert_ids import from_edge_id
from embplug.errors import EngineAnswerError
from embplug.methods.kernels import Kernel, messages

PointId: TypeAlias = int | str

# Columns of points without a step of the interpreter for each.
_ID, _SCORE, _VERSION = map(attrgetter, ("id", "score", "version"))


class Answer(ABC):
    """The points that one request finds, best first.

    Attributes
    ----------
    ids : list of int or str
        Ids of the points.
    scores : list of float
        Their scores. What they are, and whether there are any, is open where points were read by their ids.
    source : object
        What versions of points belong to: another object once the collection was created anew. None where
        versions tell nothing, because replicas count them alone.
    """

    ids: list[PointId]
    scores: list[float]
    source: object = None

    @property
    def versions(self) -> list[int]:
        """Version of each point, which every change of the point raises, where there is a ``source``."""
        return []

    @abstractmethod
    def payload(self, row: int) -> dict[str, Any] | None:
        """Payload of one point, as far as it was requested."""

    @abstractmethod
    def field(self, name: str) -> list[Any]:
        """One field of the payload of every point; None where a point lacks it."""

    def texts(self, name: str) -> Sequence[Any]:
        """As :meth:`field`, or the same texts as UTF-8 in ``ByteStrings`` where every point has one."""
        return self.field(name)

    @cached_property
    def rows(self) -> Mapping[PointId, int]:
        """Row of each point, by its id."""
        return {point_id: row for row, point_id in enumerate(self.ids)}


class ModelsAnswer(Answer):
    """An answer in qdrant-client's models, as REST and the simulation give it."""

    def __init__(self, response: QueryResponse) -> None:
        self._points = response.points
        self.ids = [_id_of(point) for point in self._points]
        self.scores = [point.score for point in self._points]

    def payload(self, row: int) -> dict[str, Any] | None:
        """Payload of one point."""
        return self._points[row].payload

    def field(self, name: str) -> list[Any]:
        """One field of the payload of every point."""
        return [(point.payload or {}).get(name) for point in self._points]


class MessagesAnswer(Answer):
    """An answer over gRPC, whose payloads are read from the message."""

    def __init__(self, points: Sequence[Any]) -> None:
        self._points = [*points]
        ids = [point.id for point in self._points]
        # A number leaves the text empty.
        self.ids = [point_id.uuid or point_id.num for point_id in ids]
        self.scores = [point.score for point in self._points]

    def payload(self, row: int) -> dict[str, Any] | None:
        """Payload of one point."""
        return grpc_to_payload(self._points[row].payload)

    def field(self, name: str) -> list[Any]:
        """One field of the payload of every point."""
        values = [point.payload.get(name) for point in self._points]
        return [None if value is None else value.string_value or value_to_json(value) for value in values]


class BytesAnswer(Answer):
    """An answer over gRPC, of which the kernel reads what is needed, and nothing else is parsed."""

    def __init__(self, kernel: Kernel, answer: bytes, result: int, limit: int) -> None:
        self._kernel, self._answer = kernel, answer
        try:
            self._points = messages.points(kernel, answer, result, limit)
            self.ids = self._points.ids(answer)
        except ValueError as error:
            raise unreadable(error) from error
        self.scores = self._points.scores.tolist()

    def payload(self, row: int) -> dict[str, Any] | None:
        """Payload of one point."""
        return grpc_to_payload(self._message(row).payload)

    def field(self, name: str) -> list[Any]:
        """One field of the payload of every point."""
        return self._values(name, self._texts(name))

    def texts(self, name: str) -> Sequence[Any]:
        """Texts of one field of the payload of every point, without a copy where every point has one."""
        texts = self._texts(name)
        return texts if (texts.lengths >= 0).all() else self._values(name, texts)

    def _texts(self, name: str) -> ByteStrings:
        try:
            return messages.texts(self._kernel, self._answer, self._points, name)
        except ValueError as error:
            raise unreadable(error) from error

    def _values(self, name: str, texts: ByteStrings) -> list[Any]:
        """The texts of a field, and what other points have in their place."""
        values: list[Any] = [None] * len(texts)
        for row, length in enumerate(texts.lengths.tolist()):
            if length >= 0:
                try:
                    values[row] = texts[row].decode()
                except ValueError as error:
                    raise unreadable(error) from error
            elif length == messages.NO_TEXT:
                values[row] = value_to_json(self._message(row).payload[name])
        return values

    def _message(self, row: int) -> grpc.ScoredPoint:
        try:
            message: grpc.ScoredPoint = grpc.ScoredPoint.FromString(self._points.message(self._answer, row))
        except DecodeError as error:
            raise unreadable_payload(error) from error
        return message


class EdgeAnswer(Answer):
    """An answer of Qdrant Edge, which makes Python objects of a payload when it is read."""

    def __init__(self, points: Sequence[Any], source: object, *, scored: bool = True) -> None:
        self._points = points
        self.source = source
        ids = [*map(_ID, points)]
        if not {*map(type, ids)} <= {int}:
            ids = [own if isinstance(own, int) else from_edge_id(own) for own in ids]
        self.ids = ids
        self.scores = [*map(_SCORE, points)] if scored else []

    @property
    def versions(self) -> list[int]:
        """Version of each point, where points were searched."""
        return [*map(_VERSION, self._points)]

    def payload(self, row: int) -> dict[str, Any] | None:
        """Payload of one point."""
        payload: dict[str, Any] | None = self._points[row].payload
        return payload

    def field(self, name: str) -> list[Any]:
        """One field of the payload of every point."""
        return [(point.payload or {}).get(name) for point in self._points]


def unreadable(why: object) -> EngineAnswerError:
    """Build the error for an answer that cannot be read."""
    return EngineAnswerError(f"the answer of the engine cannot be read: {why}")


def unreadable_payload(why: object) -> EngineAnswerError:
    """Build the error for an answer over gRPC in which a payload may be the reason."""
    return unreadable(
        f"{why}. gRPC cannot read payloads with more than about 30 mappings and lists inside each other; a "
        "client over REST can"
    )


def _id_of(point: Any) -> PointId:
    return point.id if isinstance(point.id, int) else str(point.id)
