"""Plots of an evaluation as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from embplug.evaluation.report.labels import point_labels, shortened, spread
from embplug.evaluation.report.numbers import bytes_text, decimal_text, interval_text, plain_text
from embplug.evaluation.report.svg import (
    COLOURS,
    WIDTH,
    Axis,
    card,
    from_zero_axis,
    grid,
    horizontal_grid,
    interval_line,
    linear_axis,
    logarithmic_axis,
    mark,
    svg,
    vertical_grid,
)

ROW = 19
HEAD = 22
NAMES = 122
"""Room for the names of recipes at the left of a plot."""

LONGEST_NAME = 16


def size_plots(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Draw bytes against overlap with exact search, and bytes against nDCG@10."""
    weighed = [(i, recipe) for i, recipe in enumerate(recipes) if recipe["bytes_per_document"]]
    if not weighed:
        return []
    sizes = [recipe["bytes_per_document"] for _, recipe in weighed]
    titles = {"overlap@10": "Bytes against overlap with exact search", "nDCG@10": "Bytes against nDCG@10"}
    plots = []
    for measure, title in titles.items():
        figures = [recipe["figures"][measure] for _, recipe in weighed]
        x = logarithmic_axis(sizes, 44, WIDTH - 12)
        y = linear_axis([f[end] for f in figures for end in ("low", "high")], 250, 14)
        places = [(x(size), y(f["mean"])) for size, f in zip(sizes, figures, strict=True)]
        names = point_labels(places, [recipe["name"] for _, recipe in weighed], (44, 4, WIDTH, 250))
        marks = [
            interval_line(x(size), y(f["low"]), y(f["high"]), i)
            + mark(i, x(size), y(f["mean"]), f"{recipe['name']}: {size:,.0f} bytes, {f['mean']:.3f}")
            for (i, recipe), size, f in zip(weighed, sizes, figures, strict=True)
        ]
        axes = grid(x, y, 250, bytes_text, decimal_text, "bytes a document, logarithmic")
        plots.append(card(title, svg(298, axes + "".join(marks) + names)))
    return plots


def latency_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """Draw a line from the median to the 99th percentile for each recipe."""
    values = [ms for recipe in recipes for ms in recipe["latency_ms"].values()]
    bottom = 8 + ROW * len(recipes)
    x = from_zero_axis(values, NAMES, WIDTH - 12)
    drawn = vertical_grid(x, 8, bottom, plain_text, "ms a search: median, 95 %, 99 %")
    for i, recipe in enumerate(recipes):
        middle = 8 + ROW * (i + 0.5)
        p50, p95, p99 = (recipe["latency_ms"][name] for name in ("p50", "p95", "p99"))
        tooltip = f"{recipe['name']}: median {p50:.2f} ms, 95 % {p95:.2f} ms, 99 % {p99:.2f} ms"
        drawn += (
            row_name(recipe["name"], middle) + f'<g stroke="var(--c{i % COLOURS})" stroke-width="2">'
            f'<line x1="{x(p50):.1f}" x2="{x(p99):.1f}" y1="{middle}" y2="{middle}"/>'
            + "".join(
                f'<line x1="{x(p):.1f}" x2="{x(p):.1f}" y1="{middle - 5}" y2="{middle + 5}"/>'
                for p in (p95, p99)
            )
            + "</g>"
            + mark(i, x(p50), middle, tooltip)
        )
    return card("Latency", svg(bottom + 48, drawn))


def quality_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """Draw the interval of each measure, with the recipes below one another."""
    measures = [*recipes[0]["figures"]]
    block = HEAD + ROW * len(recipes)
    bottom = block * len(measures) + 4
    ends = [f[end] for recipe in recipes for f in recipe["figures"].values() for end in ("low", "high")]
    x = linear_axis(ends, NAMES, WIDTH - 12)
    drawn = vertical_grid(x, 8, bottom, decimal_text, "mean and 95 % interval")
    for place, measure in enumerate(measures):
        top = block * place + HEAD
        drawn += f'<text class="head" x="0" y="{top - 4}">{escape(measure)}</text>'
        for i, recipe in enumerate(recipes):
            f, middle = recipe["figures"][measure], top + ROW * (i + 0.5)
            drawn += (
                row_name(recipe["name"], middle)
                + f'<line x1="{x(f["low"]):.1f}" x2="{x(f["high"]):.1f}" y1="{middle}" y2="{middle}" '
                f'stroke="var(--c{i % COLOURS})" stroke-width="2"/>'
                + mark(i, x(f["mean"]), middle, f"{recipe['name']}: {measure} {interval_text(f)}")
            )
    return card("Quality", svg(bottom + 48, drawn))


def row_name(name: str, middle: float) -> str:
    """Write the name of a recipe at the left of its row."""
    text = escape(shortened(name, LONGEST_NAME))
    return f'<text class="soft" x="{NAMES - 8}" y="{middle + 4}" text-anchor="end">{text}</text>'


def filtered_plots(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Draw overlap and latency over the share of documents that a filter lets through."""
    if not recipes[0]["filtered"]:
        return []
    shares = [recipe["share"] for recipe in recipes[0]["filtered"]]
    labels = ["all", *(f"{100 * share:g} %" for share in shares)]
    places = Axis(0, len(shares), 50, WIDTH - 100)

    def lines(title: str, values: Callable[[Any], list[float]], y: Axis, tick: Callable[[float], str]) -> str:
        drawn = horizontal_grid(y, 44, WIDTH - 94, tick)
        for i, label in enumerate(labels):
            drawn += f'<text class="soft" text-anchor="middle" x="{places(i):.1f}" y="270">{label}</text>'
        middle = (WIDTH - 50) / 2
        drawn += f'<text class="soft" text-anchor="middle" x="{middle}" y="292">documents that match</text>'
        for i, recipe in enumerate(recipes):
            points = [(places(at), y(value)) for at, value in enumerate(values(recipe))]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            drawn += (
                f'<polyline points="{path}" fill="none" stroke="var(--c{i % COLOURS})" stroke-width="1.6"/>'
            )
            for (px, py), value in zip(points, values(recipe), strict=True):
                drawn += mark(i, px, py, f"{recipe['name']}: {value:.3f}")
        heights = spread([y(values(recipe)[-1]) for recipe in recipes], 13, 14, 250)
        for recipe, height in zip(recipes, heights, strict=True):
            text = escape(shortened(recipe["name"], 13))
            drawn += f'<text class="label" x="{WIDTH - 90}" y="{height + 4:.1f}">{text}</text>'
        return card(title, svg(300, drawn))

    def overlaps(recipe: Any) -> list[float]:
        return [recipe["figures"]["overlap@10"]["mean"], *(f["overlap"]["mean"] for f in recipe["filtered"])]

    def medians(recipe: Any) -> list[float]:
        return [recipe["latency_ms"]["p50"], *(f["latency_ms"]["p50"] for f in recipe["filtered"])]

    overlap_axis = linear_axis([value for recipe in recipes for value in overlaps(recipe)], 250, 14)
    median_axis = from_zero_axis([value for recipe in recipes for value in medians(recipe)], 250, 14)
    return [
        "<h2>Under filters</h2>",
        '<p class="soft">A random filter lets a share of the documents through. Overlap is with exact '
        "search among the documents that match.</p>",
        '<div class="cards">',
        lines("Overlap with exact filtered search", overlaps, overlap_axis, decimal_text),
        lines("Median milliseconds", medians, median_axis, plain_text),
        "</div>",
    ]


def difference_bars(changes: Sequence[float]) -> str:
    """Draw one bar for each query that differs, from the greatest loss to the greatest win.

    The bars are stretched to the width of the page; the labels beside them keep their size.
    """
    differing = [change for change in changes if change]
    if not differing:
        return ""
    width, height = 1000, 120
    y = Axis(-1.0, 1.0, height, 0)
    step = min(width / len(differing), 24)
    drawn = "".join(
        f'<line x1="0" x2="{width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="var(--line)"/>'
        for value in (-1, 0, 1)
    )
    for place, change in enumerate(differing):
        top = min(y(change), y(0))
        drawn += (
            f'<rect x="{place * step:.2f}" y="{top:.1f}" width="{max(step * 0.8, 0.6):.2f}" '
            f'height="{abs(y(change) - y(0)):.1f}" fill="var(--{"win" if change > 0 else "loss"})">'
            f"<title>{change:+.3f}</title></rect>"
        )
    return (
        '<div class="bars"><div class="scale soft"><span>+1</span><span>0</span><span>−1</span></div>'
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img">{drawn}</svg></div>'
    )
