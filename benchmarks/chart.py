"""Draws the chart of the README from the rows that ``defaults.py`` writes to stderr.

Each row is a point: bytes of a document on disk, with what was learned, against the share of the ten best
documents of exact search among the ten hits.
"""

from __future__ import annotations

import argparse
import html
import json
import math
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 740, 50, 300
RADIUS, LETTER, HEIGHT_OF_TEXT = 6, 7.4, 12
STYLE = (
    "text{font:14px sans-serif;fill:#263238}.own{fill:#3f51b5}.peer{fill:#b0650a}.axis{stroke:#90a4ae}"
    ".grid{stroke:#eceff1}.small{font-size:12px}.title{font-weight:bold}"
)


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("rows", type=Path, help="a file with one JSON object on each line")
    options.add_argument("output", type=Path, help="an SVG file")
    options.add_argument("--data", required=True, help="the collection that is drawn")
    arguments = options.parse_args()
    lines = arguments.rows.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    own = [row for row in rows if row["data"] == arguments.data and row["kind"] == "texts"]
    arguments.output.write_text(chart(own, arguments.data), encoding="utf-8")


def chart(rows: list[dict[str, Any]], title: str) -> str:
    """SVG of the rows, with bytes on a logarithmic axis."""
    bytes_ = [row["disk_bytes"] for row in rows]
    first, last = math.floor(math.log10(min(bytes_)) * 3) / 3, math.ceil(math.log10(max(bytes_)) * 3) / 3
    lowest = min(0.9, math.floor(min(row["recall_at_10"] for row in rows) * 20) / 20)

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - first) / (last - first) * (RIGHT - LEFT)

    def y(recall: float) -> float:
        return BOTTOM - (recall - lowest) / (1.0 - lowest) * (BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f'<style>{STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 22, f"Token vectors of {title} on Qdrant Edge", "title"),
        _text(LEFT, 40, "share of the ten best of exact search that are found"),
    ]
    for step in range(round((1.0 - lowest) / 0.02) + 1):
        recall = 1.0 - 0.02 * step
        parts.append(_line(LEFT, RIGHT, y(recall), y(recall), "grid"))
        parts.append(_text(LEFT - 8, y(recall) + 4, f"{recall:.2f}", anchor="end"))
    for value in (digit * 10**power for power in range(1, 8) for digit in (1, 2, 5)):
        if first <= math.log10(value) <= last:
            label = f"{value / 1000:g} KB" if value >= 1000 else f"{value} B"
            parts.append(_line(x(value), x(value), BOTTOM, BOTTOM + 5, "axis"))
            parts.append(_text(x(value), BOTTOM + 20, label, anchor="middle"))
    parts.append(_line(LEFT, RIGHT, BOTTOM, BOTTOM, "axis"))
    rows = sorted(rows, key=lambda row: float(row["disk_bytes"]))
    points = [(x(row["disk_bytes"]), y(row["recall_at_10"])) for row in rows]
    taken = [(px - RADIUS, py - RADIUS, px + RADIUS, py + RADIUS) for px, py in points]
    for row, (px, py) in zip(rows, points, strict=True):
        kind, owner = ("own", "embplug") if row["ours"] else ("peer", "Qdrant")
        label = f"{owner} {row['row']}: {row['p50_ms']:.0f} ms"
        left, baseline = _free_place(px, py, LETTER * len(label), taken)
        parts.append(f'<circle class="{kind}" cx="{px:.1f}" cy="{py:.1f}" r="{RADIUS}"/>')
        parts.append(_text(left, baseline, label, kind))
    legend = "bytes of a document on disk, with all that was learned; ms: median of a search"
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 12, legend, anchor="middle"))
    return "\n".join([*parts, "</svg>", ""])


def _free_place(
    x: float, y: float, width: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float]:
    """Left end and baseline of a label of a point, where it covers no other; what it covers is taken then."""
    sides = [x + 10, min(x - width / 2, WIDTH - width - 5), x - 10 - width]
    if x > (LEFT + RIGHT) / 2:
        sides.reverse()
    places = [(left, y + down) for down in (18, -10, 36, 54) for left in sides]
    inside = [place for place in places if place[0] >= LEFT and place[0] + width <= WIDTH]

    def covered(place: tuple[float, float]) -> int:
        left, bottom = place
        return sum(
            left < right and first < left + width and bottom - HEIGHT_OF_TEXT < low and high < bottom + 3
            for first, high, right, low in taken
        )

    left, bottom = min(inside or places, key=covered)
    taken.append((left, bottom - HEIGHT_OF_TEXT, left + width, bottom + 3))
    return left, bottom


def _text(x: float, y: float, text: str, kind: str = "small", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _line(x1: float, x2: float, y1: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


if __name__ == "__main__":
    main()
