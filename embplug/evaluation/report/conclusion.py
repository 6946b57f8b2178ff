"""What an evaluation says, as one sentence."""

from __future__ import annotations

from html import escape
from typing import Any

MEASURE = "nDCG@10"


def conclusion(result: dict[str, Any]) -> str:
    """Write the sentence that follows from the figures, as HTML.

    The first recipe is the baseline. Of the recipes whose nDCG@10 is not measurably lower, the sentence names
    the one with the fewest bytes, or with the highest nDCG@10 where the engine reports no bytes.

    Parameters
    ----------
    result : dict
        The evaluation as JSON types.

    Returns
    -------
    str
        The sentence.
    """
    baseline, *others = result["recipes"]
    name = _name(baseline)
    if not others:
        return f"{name} has {MEASURE} {_mean(baseline):.3f}{_costs(baseline)}."
    pairs = {
        pair["second"]: pair
        for pair in result["comparisons"]
        if pair["measure"] == MEASURE and pair["first"] == baseline["name"]
    }
    kept = [other for other in others if not _is_lower(pairs[other["name"]])]
    if not kept:
        closest = max(others, key=_mean)
        return (
            f"Every other recipe has a lower {MEASURE} than {name}, beyond chance. The closest is "
            f"{_name(closest)}: {_change(pairs[closest['name']])}{_costs(closest, baseline)}."
        )
    weighed = [other for other in kept if other["bytes_per_document"]]
    if weighed and baseline["bytes_per_document"]:
        best = min(weighed, key=lambda other: float(other["bytes_per_document"]))
        if best["bytes_per_document"] >= baseline["bytes_per_document"]:
            return (
                f"No recipe with an {MEASURE} like that of {name} takes fewer bytes. The next is "
                f"{_name(best)}: {_change(pairs[best['name']])}{_costs(best, baseline)}."
            )
    else:
        best = max(kept, key=_mean)
    pair = pairs[best["name"]]
    verdict = (
        f"has a higher {MEASURE} than {name}, beyond chance"
        if pair["p_holm"] < 0.05
        else f"cannot be told from {name} by {MEASURE} on {result['queries']:,} queries"
    )
    return f"{_name(best)} {verdict}: {_change(pair)}{_costs(best, baseline)}."


def _is_lower(pair: dict[str, Any]) -> bool:
    return bool(pair["p_holm"] < 0.05 and pair["difference"]["mean"] < 0)


def _change(pair: dict[str, Any]) -> str:
    f = pair["difference"]
    return f"the difference is {f['mean']:+.3f} (95 % interval {f['low']:+.3f} to {f['high']:+.3f})"


def _costs(recipe: dict[str, Any], baseline: dict[str, Any] | None = None) -> str:
    """Write bytes and median latency, compared with the baseline where there is one."""
    size = recipe["bytes_per_document"]
    median = f"{recipe['latency_ms']['p50']:.1f} ms a search"
    if not size:
        return f", at {median}"
    before = baseline and baseline["bytes_per_document"]
    ratio = ""
    if before:
        less, factor = size < before, max(before / size, size / before)
        ratio = f", {factor:.1f} times {'less' if less else 'more'}" if factor >= 1.05 else ", as much"
    return f", at {size:,.0f} bytes a document{ratio}, and {median}"


def _name(recipe: dict[str, Any]) -> str:
    return f"<b>{escape(recipe['name'])}</b>"


def _mean(recipe: dict[str, Any]) -> float:
    return float(recipe["figures"][MEASURE]["mean"])
