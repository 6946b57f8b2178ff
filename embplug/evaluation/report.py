"""One self-contained HTML page of an evaluation, without script or network: plots, tables, texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from embplug.errors import InvalidArgumentError

COLOURS = 8
EXAMPLES = 6
WIDTH = 520
QUALITY_ROW = 15
QUALITY_GAP = 16

_STYLE = """
:root {
  color-scheme: light dark;
  --back: #ffffff; --card: #f6f7f9; --text: #1b1f24; --soft: #5b6470; --line: #d5dae1;
  --win: #1a7f45; --loss: #c0392b;
  --c0: #2563c9; --c1: #c2500a; --c2: #1a7f45; --c3: #a0268f; --c4: #8a6a00; --c5: #0b7f8a;
  --c6: #b3274e; --c7: #5b5fc7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171b; --card: #1d2127; --text: #e8ebef; --soft: #a3adb9; --line: #3a424d;
    --win: #5cc98b; --loss: #f08a7e;
    --c0: #7fb0ff; --c1: #ffa25e; --c2: #5cc98b; --c3: #e28bd4; --c4: #e0c04c; --c5: #5cc9d4;
    --c6: #ff8aa8; --c7: #aeb0ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 24px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 6px; }
h3 { font-size: 15px; margin: 0 0 8px; }
p { margin: 4px 0 12px; max-width: 80ch; }
.soft { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.wide { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--text); font-size: 12.5px; }
svg text.soft { fill: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 0 0 12px; padding: 0; }
.legend li { display: flex; align-items: center; gap: 7px; overflow-wrap: anywhere; }
.legend svg { width: 14px; height: 14px; flex: none; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9em;
  overflow-wrap: anywhere; }
td .soft { display: block; font-size: 12.5px; font-weight: 400; }
.best { font-weight: 700; }
.win { color: var(--win); } .loss { color: var(--loss); }
details { border-bottom: 1px solid var(--line); padding: 7px 0; }
.found { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px;
  padding: 8px 0 6px; font-size: 13.5px; overflow-wrap: anywhere; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 4.2em; font-variant-numeric: tabular-nums; }
ol { margin: 4px 0 0; padding-left: 20px; }
li.right::marker { color: var(--win); font-weight: 700; }
.tag { color: var(--win); font-weight: 600; }
"""


def report_html(result: Any) -> str:
    """Page of what ``Evaluation.to_dict`` holds.

    Raises
    ------
    InvalidArgumentError
        It is something else.
    """
    if not isinstance(result, dict) or result.get("kind") != "embplug-evaluation":
        raise InvalidArgumentError("path", "a result of embplug evaluate", "something else")
    recipes = result["recipes"]
    title = f"{_count(recipes, 'recipe')} on {result['data']}"
    skipped = result["skipped"]
    left_out = f", {skipped['documents']} documents without a word left out" if skipped["documents"] else ""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{result["documents"]:,} documents{left_out}, {result["queries"]:,} queries, '
        f"on {escape(result['engine'])}; embplug {escape(result['embplug'])}.</p>",
        _legend(recipes),
        '<div class="cards">',
        *_size_plots(recipes),
        _latency_plot(recipes),
        _quality_plot(recipes),
        "</div>",
        *_filtered(recipes),
        "<h2>Figures</h2>",
        '<p class="soft">Means over the queries, below them the 95 % interval of a bootstrap; the best of '
        "each column in bold. Overlap is with exact search on uncompressed vectors.</p>",
        _figures_table(recipes),
        *_examples(result),
        *_pairs(result),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


@dataclass(frozen=True)
class _Axis:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-12))
        return self.start + (at - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within, few enough to be read."""
        if self.log:
            for steps in ((1, 2, 5), (1, 3), (1,)):
                powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                found = [s * 10.0**p for p in powers for s in steps if self.low <= s * 10.0**p <= self.high]
                if len(found) <= 7:
                    return found
            return found[:: math.ceil(len(found) / 7)]
        raw = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(s * size for s in (1, 2, 2.5, 5, 10) if s * size >= raw)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _linear(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, 0.01)
    return _Axis(max(low - room, 0.0), high + room, start, end)


def _positive(values: Sequence[float], start: float, end: float) -> _Axis:
    """From 0 where values are of one magnitude, logarithmic where they are not."""
    if max(values) > 10 * min(values):
        return _logarithmic(values, start, end)
    return _Axis(0.0, max(values) * 1.08, start, end)


def _logarithmic(values: Sequence[float], start: float, end: float) -> _Axis:
    return _Axis(min(values) / 1.35, max(values) * 1.35, start, end, log=True)


def _size_plots(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Bytes against overlap and against nDCG."""
    weighed = [(i, one) for i, one in enumerate(recipes) if one["bytes_per_document"]]
    if not weighed:
        return []
    sizes = [one["bytes_per_document"] for _, one in weighed]
    titles = {"overlap@10": "Bytes against overlap with exact search", "nDCG@10": "Bytes against nDCG@10"}
    plots = []
    for measure, title in titles.items():
        figures = [one["figures"][measure] for _, one in weighed]
        x = _logarithmic(sizes, 56, WIDTH - 16)
        y = _linear([f[end] for f in figures for end in ("low", "high")], 250, 14)
        marks = [
            _interval(x(size), y(f["low"]), y(f["high"]), i)
            + _mark(i, x(size), y(f["mean"]), f"{one['name']}: {size:,.0f} bytes, {f['mean']:.3f}")
            for (i, one), size, f in zip(weighed, sizes, figures, strict=True)
        ]
        axes = _grid(x, y, 250, _bytes, _decimal, "bytes a document, logarithmic")
        plots.append(_card(title, _svg(300, axes + "".join(marks))))
    return plots


def _latency_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """A line from the median to the 99th percentile for each recipe."""
    values = [ms for one in recipes for ms in one["latency_ms"].values()]
    # As high as the plot beside it.
    bottom = _quality_bottom(recipes)
    row = (bottom - 8) / len(recipes)
    x = _positive(values, 38, WIDTH - 16)
    drawn = _vertical_grid(x, 8, bottom, _plain, "milliseconds a search: median, 95th and 99th percentile")
    for i, one in enumerate(recipes):
        middle = round(8 + row * i + row / 2, 1)
        p50, p95, p99 = (one["latency_ms"][name] for name in ("p50", "p95", "p99"))
        told = f"{one['name']}: median {p50:.2f} ms, 95 % {p95:.2f} ms, 99 % {p99:.2f} ms"
        drawn += (
            f'<g stroke="var(--c{i % COLOURS})" stroke-width="2">'
            f'<line x1="{x(p50):.1f}" x2="{x(p99):.1f}" y1="{middle}" y2="{middle}"/>'
            + "".join(
                f'<line x1="{x(p):.1f}" x2="{x(p):.1f}" y1="{middle - 6}" y2="{middle + 6}"/>'
                for p in (p95, p99)
            )
            + "</g>"
            + _mark(i, x(p50), middle, told)
            + _mark(i, 12, middle, one["name"])
        )
    return _card("Latency", _svg(bottom + 48, drawn))


def _quality_plot(recipes: Sequence[dict[str, Any]]) -> str:
    """Every measure with its interval, recipes below one another."""
    measures = [*recipes[0]["figures"]]
    bottom = _quality_bottom(recipes)
    block = QUALITY_ROW * len(recipes) + QUALITY_GAP
    ends = [f[end] for one in recipes for f in one["figures"].values() for end in ("low", "high")]
    x = _linear(ends, 104, WIDTH - 16)
    drawn = _vertical_grid(x, 8, bottom, _decimal, "mean and 95 % interval")
    for place, measure in enumerate(measures):
        top = 8 + block * place + QUALITY_GAP / 2
        drawn += f'<text x="0" y="{top + QUALITY_ROW * len(recipes) / 2 + 4:.1f}">{escape(measure)}</text>'
        for i, one in enumerate(recipes):
            f, middle = one["figures"][measure], top + QUALITY_ROW * (i + 0.5)
            drawn += (
                f'<line x1="{x(f["low"]):.1f}" x2="{x(f["high"]):.1f}" y1="{middle}" y2="{middle}" '
                f'stroke="var(--c{i % COLOURS})" stroke-width="2"/>'
                + _mark(i, x(f["mean"]), middle, f"{one['name']}: {measure} {_interval_text(f)}")
            )
    return _card("Quality", _svg(bottom + 48, drawn))


def _quality_bottom(recipes: Sequence[dict[str, Any]]) -> float:
    return 8 + (QUALITY_ROW * len(recipes) + QUALITY_GAP) * len(recipes[0]["figures"])


def _filtered(recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Overlap and latency over the share of documents that a filter lets through."""
    if not recipes[0]["filtered"]:
        return []
    shares = [one["share"] for one in recipes[0]["filtered"]]
    labels = ["all", *(f"{100 * share:g} %" for share in shares)]
    places = _Axis(0, len(shares), 70, WIDTH - 40)

    def lines(title: str, of: Callable[[Any], list[float]], y: _Axis, tick: Callable[[float], str]) -> str:
        drawn = _horizontal_grid(y, 56, WIDTH - 16, tick)
        for i, label in enumerate(labels):
            drawn += f'<text class="soft" text-anchor="middle" x="{places(i):.1f}" y="270">{label}</text>'
        drawn += (
            f'<text class="soft" text-anchor="middle" x="{WIDTH / 2}" y="292">documents that match</text>'
        )
        for i, one in enumerate(recipes):
            points = [(places(at), y(value)) for at, value in enumerate(of(one))]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            drawn += (
                f'<polyline points="{path}" fill="none" stroke="var(--c{i % COLOURS})" stroke-width="1.6"/>'
            )
            for (px, py), value in zip(points, of(one), strict=True):
                drawn += _mark(i, px, py, f"{one['name']}: {value:.3f}")
        return _card(title, _svg(300, drawn))

    def overlaps(one: Any) -> list[float]:
        return [one["figures"]["overlap@10"]["mean"], *(f["overlap"]["mean"] for f in one["filtered"])]

    def medians(one: Any) -> list[float]:
        return [one["latency_ms"]["p50"], *(f["latency_ms"]["p50"] for f in one["filtered"])]

    found = [value for one in recipes for value in overlaps(one)]
    slow = [value for one in recipes for value in medians(one)]
    return [
        "<h2>Under filters</h2>",
        '<p class="soft">A random attribute lets a share of the documents through; overlap is with exact '
        "search among these alone.</p>",
        '<div class="cards">',
        lines("Overlap with exact filtered search", overlaps, _linear(found, 250, 14), _decimal),
        lines("Median milliseconds", medians, _positive(slow, 250, 14), _plain),
        "</div>",
    ]


def _figures_table(recipes: Sequence[dict[str, Any]]) -> str:
    measures = [*recipes[0]["figures"]]
    sized = [one["bytes_per_document"] for one in recipes if one["bytes_per_document"]]
    head = [*measures, "bytes a document", "p50 ms", "p95 ms", "p99 ms", "bytes learned", "filled in"]
    rows = []
    for i, one in enumerate(recipes):
        cells = [f"<td>{_key(i)} {escape(one['name'])}</td>"]
        for measure in measures:
            f = one["figures"][measure]
            best = f["mean"] == max(other["figures"][measure]["mean"] for other in recipes)
            interval = f'<span class="soft">{f["low"]:.3f} to {f["high"]:.3f}</span>'
            cells.append(_cell(f"{f['mean']:.3f}{interval}", best))
        size = one["bytes_per_document"]
        cells.append(_cell(f"{size:,.0f}" if size else "not told", bool(size) and size == min(sized)))
        for name, ms in one["latency_ms"].items():
            cells.append(_cell(f"{ms:.2f}", ms == min(other["latency_ms"][name] for other in recipes)))
        cells += [_cell(f"{one['state_bytes']:,}"), _cell(f"{one['fill_s']:.1f} s")]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table(["recipe", *head], rows)


def _pairs(result: dict[str, Any]) -> list[str]:
    if not result["comparisons"]:
        return []
    rows = []
    for one in result["comparisons"]:
        f = one["difference"]
        kind = "" if one["p_holm"] >= 0.05 else "win" if f["mean"] > 0 else "loss"
        rows.append(
            f"<tr><td>{escape(one['measure'])}</td><td>{escape(one['first'])}</td><td>{escape(one['second'])}</td>"
            f'<td class="{kind}">{f["mean"]:+.3f}</td><td>{f["low"]:+.3f} to {f["high"]:+.3f}</td>'
            f"<td>{_p(one['p'])}</td><td>{_p(one['p_holm'])}</td></tr>"
        )
    head = ["measure", "from", "to", "difference", "95 % interval", "p", "p, Holm"]
    return [
        "<h2>Pairs of recipes</h2>",
        '<p class="soft">On the same queries: bootstrap of the differences and permutation test, corrected '
        "for the number of pairs. Coloured where the corrected p is below .05.</p>",
        f"<details><summary>All {len(rows)} comparisons</summary>{_table(head, rows)}</details>",
    ]


def _examples(result: dict[str, Any]) -> list[str]:
    """Each recipe against the first: all differences as bars, then the queries that differ most."""
    recipes, measure = result["recipes"], "nDCG@10"
    parts = []
    for i, one in enumerate(recipes[1:], start=1):
        changes = [
            b - a for a, b in zip(recipes[0]["per_query"][measure], one["per_query"][measure], strict=True)
        ]
        order = sorted(range(len(changes)), key=lambda q: changes[q])
        losses = [q for q in order if changes[q] < 0][:EXAMPLES]
        wins = [q for q in reversed(order) if changes[q] > 0][:EXAMPLES]
        won, lost = sum(c > 0 for c in changes), sum(c < 0 for c in changes)
        told = f"{won} of {len(changes)} queries better, {lost} worse, {len(changes) - won - lost} as before"
        parts.append(
            f'<div class="card"><h3>{_key(i)} {escape(one["name"])} against {_key(0)} '
            f"{escape(recipes[0]['name'])}: {told}</h3>"
            + _bars([changes[q] for q in order])
            + "".join(_example(result, i, q, changes[q]) for q in [*wins, *losses])
            + "</div>"
        )
    if not parts:
        return []
    return [
        "<h2>Query by query</h2>",
        f'<p class="soft">Differences of {measure}; open a query to read what was found. '
        "Relevant documents are marked.</p>",
        '<div class="cards" style="grid-template-columns: 1fr">',
        *parts,
        "</div>",
    ]


def _bars(changes: Sequence[float]) -> str:
    """One bar for each query that differs, from the greatest loss to the greatest win."""
    differing = [change for change in changes if change]
    if not differing:
        return ""
    width, height = 1080, 120
    y = _Axis(-1.0, 1.0, height - 6, 6)
    step = min((width - 50) / len(differing), 24)
    drawn = "".join(
        f'<text class="soft" x="40" y="{y(value) + 4:.1f}" text-anchor="end">{_signed(value)}</text>'
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
    return _svg(height, drawn, width)


def _example(result: dict[str, Any], i: int, query: int, change: float) -> str:
    texts, query_id = result["texts"], result["query_ids"][query]
    relevant = set(result["relevant"][query])
    columns = []
    for place in (i, 0):
        one = result["recipes"][place]
        items = "".join(
            f'<li class="right">{_document(texts, hit)} <span class="tag">relevant</span></li>'
            if hit in relevant
            else f"<li>{_document(texts, hit)}</li>"
            for hit in one["hits"][query][:3]
        )
        columns.append(f"<section>{_key(place)} {escape(one['name'])}<ol>{items}</ol></section>")
    wanted = "".join(f"<li>{_document(texts, one)}</li>" for one in result["relevant"][query][:3])
    columns.append(f"<section>Judged relevant<ol>{wanted}</ol></section>")
    kind = "win" if change > 0 else "loss"
    return (
        f'<details><summary><b class="{kind}">{change:+.3f}</b> {escape(texts["queries"][query_id])}'
        f'</summary><div class="found">{"".join(columns)}</div></details>'
    )


def _document(texts: dict[str, Any], hit: str) -> str:
    return escape(texts["documents"].get(hit, hit))


def _legend(recipes: Sequence[dict[str, Any]]) -> str:
    items = "".join(f"<li>{_key(i)} {escape(one['name'])}</li>" for i, one in enumerate(recipes))
    return f'<ul class="legend">{items}</ul>'


def _key(i: int) -> str:
    """Mark of a recipe within text."""
    return (
        '<svg viewBox="0 0 14 14" style="display:inline-block;width:13px;height:13px;vertical-align:-1px" '
        f'aria-hidden="true">{_shape(i, 7, 7)}</svg>'
    )


def _mark(i: int, x: float, y: float, told: str) -> str:
    return f"<g>{_shape(i, x, y)}<title>{escape(told)}</title></g>"


def _shape(i: int, x: float, y: float) -> str:
    """Colour and form tell recipes apart, so that either is enough."""
    style = f'fill="var(--c{i % COLOURS})" stroke="var(--card)" stroke-width="1"'
    forms: list[list[tuple[float, float]]] = [
        [(-5, -5), (5, -5), (5, 5), (-5, 5)],
        [(0, -6.5), (6, 5), (-6, 5)],
        [(0, -7), (6.5, 0), (0, 7), (-6.5, 0)],
        [(0, 6.5), (6, -5), (-6, -5)],
    ]
    kind = (i + i // COLOURS) % 5
    if kind == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {style}/>'
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in forms[kind - 1])
    return f'<polygon points="{points}" {style}/>'


def _interval(x: float, low: float, high: float, i: int) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
        f'stroke="var(--c{i % COLOURS})" stroke-width="1.5" opacity=".65"/>'
    )


def _grid(
    x: _Axis,
    y: _Axis,
    bottom: float,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    name: str,
) -> str:
    return _horizontal_grid(y, x.start, x.end, y_text) + _vertical_grid(x, y.end, bottom, x_text, name)


def _horizontal_grid(y: _Axis, left: float, right: float, text: Callable[[float], str]) -> str:
    return "".join(
        f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="var(--line)"/>'
        f'<text class="soft" text-anchor="end" x="{left - 7}" y="{y(tick) + 4:.1f}">{text(tick)}</text>'
        for tick in y.ticks()
    )


def _vertical_grid(x: _Axis, top: float, bottom: float, text: Callable[[float], str], name: str) -> str:
    lines = "".join(
        f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}" stroke="var(--line)"/>'
        f'<text class="soft" text-anchor="middle" x="{x(tick):.1f}" y="{bottom + 20}">{text(tick)}</text>'
        for tick in x.ticks()
    )
    middle = (x.start + x.end) / 2
    return (
        lines
        + f'<text class="soft" text-anchor="middle" x="{middle}" y="{bottom + 42}">{escape(name)}</text>'
    )


def _svg(height: float, drawn: str, width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height:g}" role="img">{drawn}</svg>'


def _card(title: str, body: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{body}</div>'


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    titles = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(rows)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str, best: bool = False) -> str:
    return f'<td class="best">{text}</td>' if best else f"<td>{text}</td>"


def _interval_text(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _p(value: float) -> str:
    return "&lt; .001" if value < 0.001 else f"{value:.3f}"


def _bytes(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _decimal(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _plain(value: float) -> str:
    return f"{value:g}"


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
