"""Elements of SVG plots: axes, grids, marks and cards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
WIDTH = 360
"""A card is about as wide on a telephone, so that the text of a plot has the size of the text around it."""


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-12))
        return self.start + (at - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values within the axis, few enough to be read."""
        if self.log:
            for steps in ((1, 2, 5), (1, 3), (1,)):
                powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                ticks = [s * 10.0**p for p in powers for s in steps if self.low <= s * 10.0**p <= self.high]
                if len(ticks) <= 6:
                    return ticks
            return ticks[:: math.ceil(len(ticks) / 6)]
        raw = (self.high - self.low) / 5
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(s * size for s in (1, 2, 2.5, 5, 10) if s * size >= raw)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def linear_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Make a linear axis around the values."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, 0.01)
    return Axis(max(low - room, 0.0), high + room, start, end)


def from_zero_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Make an axis from 0, or a logarithmic axis if the values differ by more than a factor of 10."""
    if max(values) > 10 * min(values):
        return logarithmic_axis(values, start, end)
    return Axis(0.0, max(values) * 1.08, start, end)


def logarithmic_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Make a logarithmic axis around the values."""
    return Axis(min(values) / 1.35, max(values) * 1.35, start, end, log=True)


def inline_mark(i: int) -> str:
    """Draw the mark of a recipe within text."""
    return (
        '<svg viewBox="0 0 14 14" style="display:inline-block;width:13px;height:13px;vertical-align:-1px" '
        f'aria-hidden="true">{_shape(i, 7, 7)}</svg>'
    )


def mark(i: int, x: float, y: float, tooltip: str) -> str:
    """Draw the mark of a recipe in a plot."""
    return f"<g>{_shape(i, x, y)}<title>{escape(tooltip)}</title></g>"


def _shape(i: int, x: float, y: float) -> str:
    """Draw the shape of a recipe; its colour and its form each tell recipes apart."""
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


def interval_line(x: float, low: float, high: float, i: int) -> str:
    """Draw a vertical line in the colour of a recipe."""
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" '
        f'stroke="var(--c{i % COLOURS})" stroke-width="1.5" opacity=".65"/>'
    )


def grid(
    x: Axis,
    y: Axis,
    bottom: float,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    name: str,
) -> str:
    """Draw the lines and labels of both axes."""
    return horizontal_grid(y, x.start, x.end, y_text) + vertical_grid(x, y.end, bottom, x_text, name)


def horizontal_grid(y: Axis, left: float, right: float, text: Callable[[float], str]) -> str:
    """Draw a horizontal line and a label for each tick."""
    return "".join(
        f'<line x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="var(--line)"/>'
        f'<text class="soft" text-anchor="end" x="{left - 7}" y="{y(tick) + 4:.1f}">{text(tick)}</text>'
        for tick in y.ticks()
    )


def vertical_grid(x: Axis, top: float, bottom: float, text: Callable[[float], str], name: str) -> str:
    """Draw a vertical line and a label for each tick, and the name of the axis."""
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


def svg(height: float, drawn: str, width: int = WIDTH) -> str:
    """Wrap elements into an SVG image."""
    return f'<svg viewBox="0 0 {width} {height:g}" role="img">{drawn}</svg>'


def card(title: str, body: str) -> str:
    """Wrap HTML into a card with a title."""
    return f'<div class="card"><h3>{escape(title)}</h3>{body}</div>'
