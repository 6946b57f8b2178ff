"""Reranking by codes in the payloads, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embplug.common.byte_strings import ByteStrings
from embplug.common.ids import DENSE_CODES
from embplug.common.telemetry import CODE_BYTES, RERANKED, record, span
from embplug.engines.answers import PointId
from embplug.errors import StateError
from embplug.methods.kernels import base85
from embplug.methods.numeric.arrays import Float32
from embplug.search.ranking import Ranking


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
    vectors : tuple of str, default=()
        Names of the vectors that documents with these codes have, where others may lack them.
    """

    stage: str
    field: str
    score: Callable[[Sequence[bytes]], Float32]
    code_bytes: int | None = None
    vectors: tuple[str, ...] = ()

    def rank(
        self, ranking: Ranking, codes: ByteStrings | None = None, texts: Sequence[Any] | None = None
    ) -> Ranking:
        """Rank documents by the scores of their codes.

        Parameters
        ----------
        ranking : Ranking
            Documents, which were read with the payload field ``field`` unless codes are passed.
        codes : ByteStrings, default=None
            Codes of the documents. None decodes ``texts``.
        texts : sequence of str, default=None
            Codes of the documents as base85. None takes those of their payloads.

        Returns
        -------
        Ranking
            The same documents from the best to the worst, with their codes and the scores of the stage
            ``stage``. Those that are stored without what the codes stand for are left out.

        Raises
        ------
        StateError
            The payload of a document has lost its codes; the error names the first such document.
        """
        if not len(ranking):
            return ranking
        with span("rerank", stage=self.stage, candidates=len(ranking)) as observed:
            if codes is None:
                codes = self.codes(ranking.ids, ranking.texts(self.field) if texts is None else texts)
            if observed.recording:
                size = int(codes.lengths.sum())
                observed.set(code_bytes=size)
                record(RERANKED, len(ranking), stage=self.stage)
                record(CODE_BYTES, size, stage=self.stage)
            has_codes = codes.lengths > 0
            if not has_codes.all():
                rows = np.flatnonzero(has_codes)
                ranking, codes = ranking.take(rows.tolist()), codes.take(rows)
            return ranking.ranked(self.score(codes), self.stage, codes)

    def codes(self, ids: Sequence[PointId], texts: Sequence[Any]) -> ByteStrings:
        """Codes of documents in the texts of their payload field; see :func:`decoded_codes`."""
        return decoded_codes(ids, texts, self.field, self.code_bytes)


def payload_codes(points: Sequence[Any], field: str, code_bytes: int | None = None) -> ByteStrings:
    """Read the codes of n documents from a field of their payloads.

    Parameters
    ----------
    points : sequence
        Objects with ``id`` and ``payload``, such as records.
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
    texts = [(point.payload or {}).get(field) or None for point in points]
    return decoded_codes([point.id for point in points], texts, field, code_bytes)


def decoded_codes(
    ids: Sequence[PointId], texts: Sequence[Any], field: str, code_bytes: int | None = None
) -> ByteStrings:
    """Decode the codes of n documents; see :func:`payload_codes`.

    Parameters
    ----------
    ids : sequence of int or str
        Ids of the points, for the error.
    texts : sequence, or ByteStrings
        Values of the payload field, which are base85 texts if nothing is lost; or the characters of all.
    field : str
        Name of the field.
    code_bytes : int, default=None
        Length that the codes of each document have.

    Returns
    -------
    ByteStrings
        Codes of each document.
    """
    try:
        codes = base85.decode(texts)
    except (AttributeError, TypeError, ValueError):
        broken = next(i for i in range(len(texts)) if not _is_readable(texts[i : i + 1]))
        raise _lost(ids[broken], field) from None
    if code_bytes is not None:
        for i in np.flatnonzero(codes.lengths != code_bytes).tolist():
            raise _lost(ids[i], field)
    return codes


def _lost(point: Any, field: str) -> StateError:
    vectors = "dense vectors" if field == DENSE_CODES else "tokens"
    return StateError(
        f"point {point!r} has lost the codes of its {vectors} (payload field {field!r}): add it again"
    )


def _is_readable(texts: Sequence[Any]) -> bool:
    try:
        base85.decode(texts)
    except (AttributeError, TypeError, ValueError):
        return False
    return True
