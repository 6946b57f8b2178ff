"""Tables of an evaluation as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from embplug.evaluation.report.numbers import p_text
from embplug.evaluation.report.svg import inline_mark


def figures_table(recipes: Sequence[dict[str, Any]]) -> str:
    """Make a table with a row for each recipe; the best value of each column is bold."""
    measures = [*recipes[0]["figures"]]
    sized = [recipe["bytes_per_document"] for recipe in recipes if recipe["bytes_per_document"]]
    head = [*measures, "bytes a document", "p50 ms", "p95 ms", "p99 ms", "state bytes", "filled in"]
    rows = []
    for i, recipe in enumerate(recipes):
        cells = [f"<td>{inline_mark(i)} {escape(recipe['name'])}</td>"]
        for measure in measures:
            f = recipe["figures"][measure]
            best = f["mean"] == max(other["figures"][measure]["mean"] for other in recipes)
            interval = f'<span class="soft">{f["low"]:.3f} to {f["high"]:.3f}</span>'
            cells.append(_cell(f"{f['mean']:.3f}{interval}", best))
        size = recipe["bytes_per_document"]
        cells.append(_cell(f"{size:,.0f}" if size else "not reported", bool(size) and size == min(sized)))
        for name, ms in recipe["latency_ms"].items():
            cells.append(_cell(f"{ms:.2f}", ms == min(other["latency_ms"][name] for other in recipes)))
        cells += [_cell(f"{recipe['state_bytes']:,}"), _cell(f"{recipe['fill_s']:.1f} s")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table(["recipe", *head], rows)


def pairs_section(result: dict[str, Any]) -> list[str]:
    """Make the section that compares each pair of recipes."""
    if not result["comparisons"]:
        return []
    rows = []
    for pair in result["comparisons"]:
        f = pair["difference"]
        kind = "" if pair["p_holm"] >= 0.05 else "win" if f["mean"] > 0 else "loss"
        rows.append(
            f"<tr><td>{escape(pair['measure'])}</td><td>{escape(pair['first'])}</td><td>{escape(pair['second'])}</td>"
            f'<td class="{kind}">{f["mean"]:+.3f}</td><td>{f["low"]:+.3f} to {f["high"]:+.3f}</td>'
            f"<td>{p_text(pair['p'])}</td><td>{p_text(pair['p_holm'])}</td></tr>"
        )
    head = ["measure", "from", "to", "difference", "95 % interval", "p", "p, Holm"]
    return [
        "<h2>Pairs of recipes</h2>",
        '<p class="soft">Pairs are compared on the same queries, with a bootstrap of the differences and a '
        "permutation test. p is corrected for the number of pairs by Holm's method. Differences with a "
        "corrected p below .05 are coloured.</p>",
        f"<details><summary>All {len(rows)} comparisons</summary>{_table(head, rows)}</details>",
    ]


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    titles = "".join(f"<th>{escape(recipe)}</th>" for recipe in head)
    body = "".join(rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str, best: bool = False) -> str:
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"
