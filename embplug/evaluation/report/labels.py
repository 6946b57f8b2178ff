"""Names beside the points of a plot, where they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

CHARACTER = 6.6
"""Estimated width of a character, as the style sheet sets the text of plots."""

HEIGHT = 13.0
LONGEST = 18
MARK = 7.0

Box = tuple[float, float, float, float]


def shortened(name: str, longest: int = LONGEST) -> str:
    """Return a name that fits, with an ellipsis where some of it is left out."""
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def point_labels(points: Sequence[tuple[float, float]], names: Sequence[str], area: Box) -> str:
    """Write names beside points; a name for which there is no room is left to the legend.

    Parameters
    ----------
    points : sequence of (float, float)
        Centres of the points in pixels.
    names : sequence of str
        Name of each point.
    area : tuple of four floats
        Left, top, right and bottom of the plot.

    Returns
    -------
    str
        Text elements.
    """
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    drawn = []
    for (x, y), name in zip(points, names, strict=True):
        text = shortened(name)
        width = CHARACTER * len(text)
        places = [
            ("start", x + MARK + 3, y + 4),
            ("end", x - MARK - 3, y + 4),
            ("middle", x, y - MARK - 4),
            ("middle", x, y + MARK + HEIGHT - 2),
            ("start", x + MARK, y - MARK),
            ("start", x + MARK, y + MARK + HEIGHT - 4),
            ("end", x - MARK, y - MARK),
            ("end", x - MARK, y + MARK + HEIGHT - 4),
        ]
        for anchor, left, base in places:
            start = left - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (start, base - HEIGHT + 3, start + width, base + 3)
            if _is_within(box, area) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                where = f'text-anchor="{anchor}" x="{left:.1f}" y="{base:.1f}"'
                drawn.append(f'<text class="label" {where}>{escape(text)}</text>')
                break
    return "".join(drawn)


def spread(values: Sequence[float], least: float, top: float, bottom: float) -> list[float]:
    """Move heights apart, so that labels at them do not cover each other.

    Parameters
    ----------
    values : sequence of float
        Heights in pixels.
    least : float
        Smallest distance between two of them.
    top, bottom : float
        Where they have to stay, as far as there is room.

    Returns
    -------
    list of float
        Heights in the order of ``values``.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = list(values)
    at = top
    for i in order:
        placed[i] = at = max(values[i], at)
        at += least
    at = bottom
    for i in reversed(order):
        placed[i] = at = min(placed[i], at)
        at -= least
    return placed


def _is_within(box: Box, area: Box) -> bool:
    return box[0] >= area[0] and box[1] >= area[1] and box[2] <= area[2] and box[3] <= area[3]


def _overlap(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
