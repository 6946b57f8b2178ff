"""Tables of an evaluation as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from embplug.evaluation.report.numbers import p_text
from embplug.evaluation.report.svg import inline_mark


def figures_table(recipes: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]] = ()) -> str:
    """Make a table with a row for each recipe, and its change against the first; the best values are bold."""
    baseline = recipes[0]
    measures = [*baseline["figures"]]
    sized = [recipe["bytes_per_document"] for recipe in recipes if recipe["bytes_per_document"]]
    pairs = {
        (pair["measure"], pair["second"]): pair for pair in comparisons if pair["first"] == baseline["name"]
    }
    head = [*measures, "bytes a document", "p50 ms", "p95 ms", "p99 ms", "state bytes", "filled in"]
    rows = []
    for i, recipe in enumerate(recipes):
        cells = [f'<th scope="row">{inline_mark(i)} {escape(recipe["name"])}</th>']
        for measure in measures:
            f = recipe["figures"][measure]
            best = f["mean"] == max(other["figures"][measure]["mean"] for other in recipes)
            interval = f'<span class="soft">{f["low"]:.3f} to {f["high"]:.3f}</span>'
            change = _change(pairs.get((measure, recipe["name"])))
            cells.append(_cell(f"{f['mean']:.3f}{interval}{change}", best))
        size, before = recipe["bytes_per_document"], baseline["bytes_per_document"]
        ratio = _ratio(size, before) if size and before and i else ""
        cells.append(
            _cell(f"{size:,.0f}{ratio}" if size else "not reported", bool(size) and size == min(sized))
        )
        for name, ms in recipe["latency_ms"].items():
            ratio = _ratio(ms, baseline["latency_ms"][name]) if i else ""
            best = ms == min(other["latency_ms"][name] for other in recipes)
            cells.append(_cell(f"{ms:.2f}{ratio}", best))
        cells += [_cell(f"{recipe['state_bytes']:,}"), _cell(f"{recipe['fill_s']:.1f} s")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table(["recipe", *head], rows, "Figures of each recipe")


def _change(pair: dict[str, Any] | None) -> str:
    """Write a change against the baseline, in colour where it is beyond chance."""
    if pair is None:
        return ""
    mean = pair["difference"]["mean"]
    return f'<span class="change {_kind(pair)}">{mean:+.3f}</span>'


def _kind(pair: dict[str, Any]) -> str:
    """Name the colour of a difference; there is none where it may be chance."""
    return "" if pair["p_holm"] >= 0.05 else "win" if pair["difference"]["mean"] > 0 else "loss"


def _ratio(value: float, before: float) -> str:
    return f'<span class="change">× {value / before:.2g}</span>' if before else ""


def pairs_section(result: dict[str, Any]) -> list[str]:
    """Make the section that compares each pair of recipes."""
    if not result["comparisons"]:
        return []
    rows = []
    for pair in result["comparisons"]:
        f = pair["difference"]
        rows.append(
            f"<tr><td>{escape(pair['measure'])}</td><td>{escape(pair['first'])}</td><td>{escape(pair['second'])}</td>"
            f'<td class="{_kind(pair)}">{f["mean"]:+.3f}</td><td>{f["low"]:+.3f} to {f["high"]:+.3f}</td>'
            f"<td>{p_text(pair['p'])}</td><td>{p_text(pair['p_holm'])}</td></tr>"
        )
    head = ["measure", "from", "to", "difference", "95 % interval", "p", "p, Holm"]
    return [
        "<h2>Pairs of recipes</h2>",
        '<p class="soft">Pairs are compared on the same queries, with a bootstrap of the differences and a '
        "permutation test. p is corrected for the number of pairs by Holm's method. Differences with a "
        "corrected p below .05 are coloured.</p>",
        f"<details><summary>All {len(rows)} comparisons</summary>",
        f"{_table(head, rows, 'Pairs of recipes')}</details>",
    ]


def _table(head: Sequence[str], rows: Sequence[str], name: str) -> str:
    """Make a table that scrolls by itself where it is wider than the page, also by the keyboard."""
    titles = "".join(f'<th scope="col">{escape(recipe)}</th>' for recipe in head)
    body = "".join(rows)
    return (
        f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(text: str, best: bool = False) -> str:
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"
