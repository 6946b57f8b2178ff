"""Reranking by codes in the payloads, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embplug.common.byte_strings import ByteStrings
from embplug.common.ids import CODES
from embplug.errors import StateError
from embplug.methods.kernels import base85
from embplug.methods.numeric.arrays import Float32
from embplug.search.types import Hit, by_score


@dataclass(frozen=True, eq=False)
class PayloadRerank:
    """Reranks documents for a query by the codes of their tokens or of their dense vector.

    Attributes
    ----------
    stage : str
        Name under which hits report the score.
    field : str
        Payload field that keeps the codes.
    score : callable
        Takes the codes of n documents as byte strings and returns their scores, float32 ``(n,)``.
    code_bytes : int, default=None
        Length of the codes of each document, where all have the same.
    """

    stage: str
    field: str
    score: Callable[[Sequence[bytes]], Float32]
    code_bytes: int | None = None

    def rank(self, hits: Sequence[Hit]) -> list[Hit]:
        """Rank hits by the scores of their codes.

        Parameters
        ----------
        hits : sequence of Hit
            Hits with the payload field ``field``.

        Returns
        -------
        list of Hit
            Hits from the best to the worst, each with its score as the stage ``stage``.

        Raises
        ------
        StateError
            The payload of a hit has lost its codes; the error names the first such hit.
        """
        if not hits:
            return []
        scores = self.score(payload_codes(hits, self.field, self.code_bytes)).tolist()
        return by_score(
            Hit(hit.id, score, hit.payload, {**(hit.stages or {}), self.stage: score}, hit.skipped)
            for hit, score in zip(hits, scores, strict=True)
        )


def payload_codes(points: Sequence[Any], field: str, code_bytes: int | None = None) -> ByteStrings:
    """Read the codes of n documents from a field of their payloads.

    Parameters
    ----------
    points : sequence
        Objects with ``id`` and ``payload``, such as hits and records.
    field : str
        Payload field that keeps the codes as base85.
    code_bytes : int, default=None
        Length that the codes of each document have.

    Returns
    -------
    ByteStrings, of length n
        Codes of each document.

    Raises
    ------
    StateError
        The codes of a point are missing, cannot be read or have another length; the error names the first
        such point.
    """
    texts: list[Any] = [(point.payload or {}).get(field) for point in points]
    try:
        codes = base85.decode(texts)
    except (AttributeError, TypeError, ValueError):
        broken = next(point.id for point, text in zip(points, texts, strict=True) if not _is_readable(text))
        raise _lost(broken, field) from None
    if code_bytes is not None:
        for i in np.flatnonzero(codes.lengths != code_bytes).tolist():
            raise _lost(points[i].id, field)
    return codes


def _lost(point: Any, field: str) -> StateError:
    vectors = "tokens" if field == CODES else "dense vectors"
    return StateError(
        f"point {point!r} has lost the codes of its {vectors} (payload field {field!r}): add it again"
    )


def _is_readable(text: Any) -> bool:
    try:
        base85.decode([text])
    except (AttributeError, TypeError, ValueError):
        return False
    return True
