"""The HTML page of an evaluation: plots, tables and texts, without script or network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import yaml

from embplug.errors import EmbplugError, InvalidArgumentError
from embplug.evaluation.report.conclusion import conclusion
from embplug.evaluation.report.explained import explained_section
from embplug.evaluation.report.heat import TEXT_STYLE
from embplug.evaluation.report.plots import (
    difference_bars,
    filtered_plots,
    latency_plot,
    quality_plot,
    size_plots,
)
from embplug.evaluation.report.style import STYLE
from embplug.evaluation.report.svg import inline_mark
from embplug.evaluation.report.tables import figures_table, pairs_section
from embplug.recipe import Recipe

EXAMPLES = 6


def report_html(result: Any) -> str:
    """Make a page of an evaluation.

    Parameters
    ----------
    result : dict
        What :meth:`~embplug.evaluation.results.Evaluation.to_dict` returns, as JSON types.

    Returns
    -------
    str
        One HTML document that loads nothing else.

    Raises
    ------
    InvalidArgumentError
        The argument is not an evaluation.
    """
    if not isinstance(result, dict) or result.get("kind") != "embplug-evaluation":
        raise InvalidArgumentError("path", "a result of embplug evaluate", "something else")
    recipes = result["recipes"]
    title = f"{result['data']}: {_count(recipes, 'recipe')}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="conclusion">{conclusion(result)}</p>',
        f'<p class="soft">{_circumstances(result)}</p>',
        _legend(recipes),
        '<div class="cards">',
        *size_plots(recipes),
        latency_plot(recipes),
        quality_plot(recipes),
        "</div>",
        *filtered_plots(recipes),
        "<h2>Figures</h2>",
        '<p class="soft">Each figure is a mean over the queries, with its 95 % bootstrap interval below. '
        f"The best value of each column is bold.{_baseline_note(recipes)} Overlap is with exact search on "
        "uncompressed vectors.</p>",
        figures_table(recipes, result["comparisons"]),
        "<h2>Recipes</h2>",
        *(_recipe_text(i, recipe) for i, recipe in enumerate(recipes)),
        *explained_section(result),
        *_examples(result),
        *pairs_section(result),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{TEXT_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


def _examples(result: dict[str, Any]) -> list[str]:
    """Compare each recipe with the first: all differences as bars, then the queries that differ most."""
    recipes, measure = result["recipes"], "nDCG@10"
    parts = []
    for i, recipe in enumerate(recipes[1:], start=1):
        changes = [
            b - a for a, b in zip(recipes[0]["per_query"][measure], recipe["per_query"][measure], strict=True)
        ]
        order = sorted(range(len(changes)), key=lambda q: changes[q])
        losses = [q for q in order if changes[q] < 0][:EXAMPLES]
        wins = [q for q in reversed(order) if changes[q] > 0][:EXAMPLES]
        won, lost = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        equal = len(changes) - won - lost
        summary = f"{won} of {len(changes)} queries are better, {lost} worse, {equal} equal"
        parts.append(
            f'<div class="card"><h3>{inline_mark(i)} {escape(recipe["name"])} against {inline_mark(0)} '
            f"{escape(recipes[0]['name'])}: {summary}</h3>"
            + difference_bars([changes[q] for q in order])
            + "".join(_example(result, i, q, changes[q]) for q in [*wins, *losses])
            + "</div>"
        )
    if not parts:
        return []
    return [
        "<h2>Query by query</h2>",
        f'<p class="soft">These are differences of {measure}. Open a query to read its hits. '
        "Relevant documents are marked.</p>",
        '<div class="cards" style="grid-template-columns: minmax(0, 1fr)">',
        *parts,
        "</div>",
    ]


def _example(result: dict[str, Any], i: int, query: int, change: float) -> str:
    texts, query_id = result["texts"], result["query_ids"][query]
    relevant = set(result["relevant"][query])
    columns = []
    for place in (i, 0):
        recipe = result["recipes"][place]
        items = "".join(
            f'<li class="right">{_document(texts, hit)} <span class="tag">relevant</span></li>'
            if hit in relevant
            else f"<li>{_document(texts, hit)}</li>"
            for hit in recipe["hits"][query][:3]
        )
        columns.append(f"<section>{inline_mark(place)} {escape(recipe['name'])}<ol>{items}</ol></section>")
    relevant_items = "".join(f"<li>{_document(texts, hit)}</li>" for hit in result["relevant"][query][:3])
    columns.append(f"<section>Judged relevant<ol>{relevant_items}</ol></section>")
    kind = "win" if change > 0 else "loss"
    return (
        f'<details><summary><b class="{kind}">{change:+.3f}</b> {escape(texts["queries"][query_id])}'
        f'</summary><div class="hits">{"".join(columns)}</div></details>'
    )


def _document(texts: dict[str, Any], hit: str) -> str:
    return escape(texts["documents"].get(hit, hit))


def _circumstances(result: dict[str, Any]) -> str:
    """Write on what was measured, where and when."""
    skipped = result["skipped"]
    parts = [f"{result['documents']:,} documents"]
    if skipped["documents"]:
        parts.append(f"{skipped['documents']} documents without a word left out")
    parts += [f"{result['queries']:,} queries", f"on {result['engine']}", f"embplug {result['embplug']}"]
    machine = result.get("machine")
    if machine:
        parts.append(
            f"{machine['processor']}, {_plural(machine['cores'], 'core')}, {machine['system']}, "
            f"Python {machine['python']}"
        )
    if result.get("date"):
        parts.append(str(result["date"]))
    return f"{escape('; '.join(parts))}."


def _baseline_note(recipes: Sequence[dict[str, Any]]) -> str:
    if len(recipes) == 1:
        return ""
    return (
        f" Changes are against {inline_mark(0)} {escape(recipes[0]['name'])}, in colour where they are "
        "beyond chance."
    )


def _recipe_text(i: int, recipe: dict[str, Any]) -> str:
    """Show a recipe as YAML, as ``embplug evaluate --recipe`` reads it."""
    try:
        text = Recipe.from_dict(recipe["recipe"]).to_short_yaml()
    except EmbplugError:
        # A result of another version, whose recipe this one cannot read.
        text = yaml.safe_dump(recipe["recipe"], sort_keys=False)
    return (
        f"<details><summary>{inline_mark(i)} {escape(recipe['name'])}</summary>"
        f'<pre tabindex="0">{escape(text)}</pre></details>'
    )


def _legend(recipes: Sequence[dict[str, Any]]) -> str:
    items = "".join(f"<li>{inline_mark(i)} {escape(recipe['name'])}</li>" for i, recipe in enumerate(recipes))
    return f'<ul class="legend">{items}</ul>'


def _count(things: Sequence[Any], name: str) -> str:
    return _plural(len(things), name)


def _plural(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
