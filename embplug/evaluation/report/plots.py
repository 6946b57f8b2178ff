"""Plots of an evaluation as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from embplug.evaluation.report.numbers import bytes_text, decimal_text, interval_text, plain_text, signed_text
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

QUALITY_ROW = 15
QUALITY_GAP = 16


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
        x = logarithmic_axis(sizes, 56, WIDTH - 16)
        y = linear_axis([f[end] for f in figures for end in ("low", "high")], 250, 14)
        marks = [
            interval_line(x(size), y(f["low"]), y(f["high"]), i)
            + mark(i, x(size), y(f["mean"]), f"{recipe['name']}: {size:,.0f} bytes, {f['mean']:.3f}")
            for (i, recipe), size, f in zip(weighed, sizes, figures, strict=True)
        ]
        axes = grid(x, y, 250, bytes_text, decimal_text, "bytes a document, logarithmic")
        plots.append(card(title, svg(300, axes + "".join(marks))))
    return plots


def latency_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """Draw a line from the median to the 99th percentile for each recipe."""
    values = [ms for recipe in recipes for ms in recipe["latency_ms"].values()]
    # The plot is as high as the quality plot beside it.
    bottom = _quality_bottom(recipes)
    row = (bottom - 8) / len(recipes)
    x = from_zero_axis(values, 38, WIDTH - 16)
    drawn = vertical_grid(x, 8, bottom, plain_text, "milliseconds a search: median, 95th and 99th percentile")
    for i, recipe in enumerate(recipes):
        middle = round(8 + row * i + row / 2, 1)
        p50, p95, p99 = (recipe["latency_ms"][name] for name in ("p50", "p95", "p99"))
        tooltip = f"{recipe['name']}: median {p50:.2f} ms, 95 % {p95:.2f} ms, 99 % {p99:.2f} ms"
        drawn += (
            f'<g stroke="var(--c{i % COLOURS})" stroke-width="2">'
            f'<line x1="{x(p50):.1f}" x2="{x(p99):.1f}" y1="{middle}" y2="{middle}"/>'
            + "".join(
                f'<line x1="{x(p):.1f}" x2="{x(p):.1f}" y1="{middle - 6}" y2="{middle + 6}"/>'
                for p in (p95, p99)
            )
            + "</g>"
            + mark(i, x(p50), middle, tooltip)
            + mark(i, 12, middle, recipe["name"])
        )
    return card("Latency", svg(bottom + 48, drawn))


def quality_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """Draw the interval of each measure, with the recipes below one another."""
    measures = [*recipes[0]["figures"]]
    bottom = _quality_bottom(recipes)
    block = QUALITY_ROW * len(recipes) + QUALITY_GAP
    ends = [f[end] for recipe in recipes for f in recipe["figures"].values() for end in ("low", "high")]
    x = linear_axis(ends, 104, WIDTH - 16)
    drawn = vertical_grid(x, 8, bottom, decimal_text, "mean and 95 % interval")
    for place, measure in enumerate(measures):
        top = 8 + block * place + QUALITY_GAP / 2
        drawn += f'<text x="0" y="{top + QUALITY_ROW * len(recipes) / 2 + 4:.1f}">{escape(measure)}</text>'
        for i, recipe in enumerate(recipes):
            f, middle = recipe["figures"][measure], top + QUALITY_ROW * (i + 0.5)
            drawn += (
                f'<line x1="{x(f["low"]):.1f}" x2="{x(f["high"]):.1f}" y1="{middle}" y2="{middle}" '
                f'stroke="var(--c{i % COLOURS})" stroke-width="2"/>'
                + mark(i, x(f["mean"]), middle, f"{recipe['name']}: {measure} {interval_text(f)}")
            )
    return card("Quality", svg(bottom + 48, drawn))


def _quality_bottom(recipes: Sequence[dict[str, Any]]) -> float:
    return 8 + (QUALITY_ROW * len(recipes) + QUALITY_GAP) * len(recipes[0]["figures"])


def filtered_plots(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Draw overlap and latency over the share of documents that a filter lets through."""
    if not recipes[0]["filtered"]:
        return []
    shares = [recipe["share"] for recipe in recipes[0]["filtered"]]
    labels = ["all", *(f"{100 * share:g} %" for share in shares)]
    places = Axis(0, len(shares), 70, WIDTH - 40)

    def lines(title: str, values: Callable[[Any], list[float]], y: Axis, tick: Callable[[float], str]) -> str:
        drawn = horizontal_grid(y, 56, WIDTH - 16, tick)
        for i, label in enumerate(labels):
            drawn += f'<text class="soft" text-anchor="middle" x="{places(i):.1f}" y="270">{label}</text>'
        drawn += (
            f'<text class="soft" text-anchor="middle" x="{WIDTH / 2}" y="292">documents that match</text>'
        )
        for i, recipe in enumerate(recipes):
            points = [(places(at), y(value)) for at, value in enumerate(values(recipe))]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            drawn += (
                f'<polyline points="{path}" fill="none" stroke="var(--c{i % COLOURS})" stroke-width="1.6"/>'
            )
            for (px, py), value in zip(points, values(recipe), strict=True):
                drawn += mark(i, px, py, f"{recipe['name']}: {value:.3f}")
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
    """Draw one bar for each query that differs, from the greatest loss to the greatest win."""
    differing = [change for change in changes if change]
    if not differing:
        return ""
    width, height = 1080, 120
    y = Axis(-1.0, 1.0, height - 6, 6)
    step = min((width - 50) / len(differing), 24)
    drawn = "".join(
        f'<text class="soft" x="40" y="{y(value) + 4:.1f}" text-anchor="end">{signed_text(value)}</text>'
        f'<line x1="46" x2="{width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="var(--line)"/>'
        for value in (-1, 0, 1)
    )
    for place, change in enumerate(differing):
        top = min(y(change), y(0))
        drawn += (
            f'<rect x="{50 + place * step:.2f}" y="{top:.1f}" width="{max(step * 0.8, 0.6):.2f}" '
            f'height="{abs(y(change) - y(0)):.1f}" fill="var(--{"win" if change > 0 else "loss"})">'
            f"<title>{change:+.3f}</title></rect>"
        )
    return svg(height, drawn, width)
