"""Requests about points of a collection in use, of which some may be deleted at any moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from embplug.engines.calls import Call, Steps, retried
from embplug.errors import CollectionNotFoundError, EmbplugError

PointIdT = TypeVar("PointIdT")


def without_deleted_steps(
    name: str, ids: Sequence[PointIdT], request: Callable[[list[PointIdT]], Call]
) -> Steps[list[PointIdT]]:
    """Make a request about points, without those that are deleted meanwhile.

    An engine refuses the whole request, or breaks it off, where it has no point of an id.

    Parameters
    ----------
    name : str
        Name of the collection or of an alias.
    ids : sequence of int or str
        Points that were there a moment ago.
    request : callable
        Takes ids and returns the call about their points, which may be made more than once.

    Returns
    -------
    list of int or str
        Points about which the request was made.
    """
    left = list(ids)
    while left:
        try:
            yield from retried(request(left))
        except CollectionNotFoundError:
            raise
        except (EmbplugError, ValueError, LookupError):
            there = yield from _there_steps(name, left)
            if len(there) == len(left):
                raise
            left = there
        else:
            break
    return left


def _there_steps(name: str, ids: list[PointIdT]) -> Steps[list[PointIdT]]:
    """Those of some points that are there."""
    call = Call.of("retrieve", collection_name=name, ids=ids, with_payload=False, with_vectors=False)
    records: list[Any] = yield from retried(call)
    # A UUID may come as an object or as a text.
    there = {str(record.id) for record in records}
    return [point for point in ids if str(point) in there]
