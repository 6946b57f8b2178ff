"""Names beside points: none covers another one, and none leaves the plot."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from embplug.evaluation.report.labels import CHARACTER, HEIGHT, point_labels, shortened, spread

AREA = (40.0, 0.0, 360.0, 250.0)


def boxes(drawn: str) -> list[tuple[str, float, float, float, float]]:
    pattern = r'text-anchor="(\w+)" x="([\d.]+)" y="([\d.]+)">([^<]*)<'
    found = []
    for anchor, x, y, text in re.findall(pattern, drawn):
        width = CHARACTER * len(text)
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        found.append((text, left, float(y) - HEIGHT + 3, left + width, float(y) + 3))
    return found


def test_a_name_stands_at_the_right_where_there_is_room():
    ((text, left, *_),) = boxes(point_labels([(100, 100)], ["small"], AREA))
    assert (text, left) == ("small", 110)


def test_at_the_right_edge_it_stands_at_the_left():
    ((_, _, _, right, _),) = boxes(point_labels([(350, 100)], ["balanced"], AREA))
    assert right == pytest.approx(340)


def test_names_do_not_cover_each_other_or_points():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(float(x), float(y)) for x, y in rng.uniform((50, 10), (350, 240), (12, 2))]
        drawn = boxes(point_labels(points, [f"recipe {i}" for i in range(12)], AREA))
        assert len(drawn) >= 6
        for i, (_, left, top, right, bottom) in enumerate(drawn):
            assert AREA[0] <= left and right <= AREA[2] and AREA[1] <= top and bottom <= AREA[3]
            assert not any(left <= x <= right and top <= y <= bottom for x, y in points)
            for _, left2, top2, right2, bottom2 in drawn[i + 1 :]:
                assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top


def test_a_long_name_is_shortened_and_escaped():
    ((text, *_),) = boxes(point_labels([(60, 60)], ["a very long name of a recipe"], AREA))
    assert text == "a very long name…" and shortened("short") == "short"
    assert "a&lt;b" in point_labels([(60, 60)], ["a<b"], AREA)


def test_labels_of_lines_are_moved_apart():
    heights = spread([100, 101, 240, 239, 20], 13, 14, 250)
    assert heights[4] == 20
    ordered = sorted(heights)
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(ordered))
    assert heights[0] < heights[1] and heights[3] < heights[2] <= 250
