"""Heat of best hits as an evaluation keeps it: parts of texts with their shares of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embplug.search.explain import Explanation, heated_parts

SHOWN_CHARACTERS = 900
"""Characters that are kept of a document, around the part that brings most of its score."""

LEAD = 80
"""Characters that are kept before that part."""


@dataclass(frozen=True)
class ExplainedHit:
    """Why the best hit of a query is one.

    Attributes
    ----------
    query : int
        Position of the query.
    document : str
        Id of the hit.
    stage : {"codes", "maxsim"}
        Stage of the search whose score is explained.
    score : float
        Score of this stage.
    query_parts, document_parts : list of (str, float or None)
        The texts in parts, each with the share of the score that it brings; None for tokens that were pruned.
        A long document is cut to what surrounds its best part. Empty if it is not known which parts the
        tokens stand for.
    reason : str, default=None
        Why the parts of the document are not known.
    """

    query: int
    document: str
    stage: str
    score: float
    query_parts: list[tuple[str, float | None]]
    document_parts: list[tuple[str, float | None]]
    reason: str | None = None


def explained_hit(query: int, document: str, explanation: Explanation) -> ExplainedHit:
    """Keep the heat of an explanation, without its matrices."""
    own, origins = explanation.query, explanation.document
    asks = [] if own.text is None else heated_parts(own.text, own, explanation.shares.tolist())
    parts = [] if origins.text is None else heated_parts(origins.text, origins, explanation.heat.tolist())
    return ExplainedHit(
        query,
        document,
        explanation.stage,
        explanation.score,
        asks if own.spans is not None else [],
        hottest_parts(parts, SHOWN_CHARACTERS),
        origins.reason,
    )


def hottest_parts(
    parts: Sequence[tuple[str, float | None]], characters: int
) -> list[tuple[str, float | None]]:
    """Cut a heated text to the stretch of a number of characters that brings most of the score."""
    lengths = np.array([len(text) for text, _ in parts], dtype=np.int64)
    total = int(lengths.sum())
    if total <= characters:
        return [*parts]
    starts = np.cumsum(lengths) - lengths
    heat = np.concatenate([[0.0], np.cumsum([value or 0.0 for _, value in parts])])
    ends = np.searchsorted(starts + lengths, starts + characters - LEAD, side="right")
    best = int(np.argmax(heat[np.maximum(ends, np.arange(len(parts)))] - heat[:-1]))
    first = int(np.clip(starts[best] - LEAD, 0, total - characters))
    last = first + characters
    # Words are not cut, unless they are as long as what is shown.
    whole = "".join(text for text, _ in parts)
    first = whole.find(" ", first, first + LEAD) + 1 or first if first else 0
    last = last if last >= total else max(whole.rfind(" ", last - LEAD, last), last - LEAD)
    kept: list[tuple[str, float | None]] = [("… ", 0.0)] if first else []
    for (text, value), start in zip(parts, starts.tolist(), strict=True):
        if inside := text[max(first - start, 0) : max(last - start, 0)]:
            kept.append((inside, value))
    return [*kept, (" …", 0.0)] if last < total else kept
