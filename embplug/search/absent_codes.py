"""Points whose payload lacks codes: those that never had any, and those that have lost them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from qdrant_client import models

from embplug.common.byte_strings import ByteStrings
from embplug.engines.answers import Answer, PointId
from embplug.engines.search_request import SearchRequest


def with_absent(
    ids: Sequence[PointId], texts: Sequence[Any], vectors: Sequence[str]
) -> Generator[list[SearchRequest], Sequence[Answer], Sequence[Any]]:
    """Tell points that were stored without what codes stand for from those that have lost their codes.

    Migrations of today write empty codes for the former, and those of before wrote none. Both lack the
    vectors that are stored beside codes.

    Parameters
    ----------
    ids : sequence of int or str, of length n
        Ids of the points.
    texts : sequence, or ByteStrings, of length n
        Their codes as they stand in the payload; None where there are none.
    vectors : sequence of str
        Names of the vectors that a point with codes has. Without any, nothing is told apart.

    Returns
    -------
    Generator
        It yields one request, if a text is missing, and is sent the answer. It returns the texts, which are
        empty for points that lack all of the vectors. Those of points that have lost them stay None.
    """
    if not vectors or isinstance(texts, ByteStrings):
        return texts
    missing = [point_id for point_id, text in zip(ids, texts, strict=True) if text is None]
    if not missing:
        return texts
    coded = models.Filter(
        must=[models.HasIdCondition(has_id=[*missing])],
        should=[models.HasVectorCondition(has_vector=name) for name in vectors],
    )
    (answer,) = yield [SearchRequest(limit=len(missing), filter=coded)]
    return [
        "" if text is None and point_id not in answer.rows else text
        for point_id, text in zip(ids, texts, strict=True)
    ]
