"""Heat maps as an HTML page: texts, pages and what cannot be told."""

from __future__ import annotations

import re

import numpy as np

from embplug.evaluation.report.heat import STRONGEST, heat_html
from embplug.search.explain import Explanation, TokenOrigins

PNG = b"\x89PNG\r\n\x1a\nimage"


def explanation(document: TokenOrigins, matched: list[int], scores: list[float], count: int) -> Explanation:
    query = TokenOrigins(np.arange(2), "red <fox>", np.array([[0, 3], [4, 9]]))
    similarities = np.zeros((2, count), np.float32)
    return Explanation(
        "doc & 1", "codes", np.float32(scores), np.array(matched), similarities, query, document
    )


def test_the_hottest_words_are_the_strongest_and_pruned_ones_are_crossed_out() -> None:
    spans = np.array([[0, 1], [2, 5], [6, 9], [10, 13]])
    origins = TokenOrigins(np.array([0, 1, 2, -1]), "a fox & hen", spans[:, :])
    page = heat_html("red <fox>", [explanation(origins, [1, 2], [3.0, 1.0], 3)])
    assert "<h1>red &lt;fox&gt;</h1>" in page and "doc &amp; 1" in page and "codes 4" in page
    marks = dict(re.findall(r'([\d.]+)\)" title="[\d.]+%">([^<]*)</mark>', page))
    assert marks[f"{STRONGEST:.3f}"] == "fox"
    assert f'{STRONGEST / 3:.3f})" title="25.0%">&amp; h</mark>' in page
    assert '<s title="pruned">n</s>' in page
    assert "<td>&lt;fox&gt;</td><td>&amp; h</td><td>1.000</td><td>25.0%</td>" in page
    assert "src=" not in page and "<script" not in page


def test_a_page_lies_below_its_patches() -> None:
    origins = TokenOrigins(np.arange(7), grid=(2, 3), first_patch=1)
    own = explanation(origins, [1, 6], [1.0, 1.0], 7)
    page = heat_html("red", [own], {"doc & 1": PNG})
    assert 'src="data:image/png;base64,' in page and "repeat(2, 1fr) / repeat(3, 1fr)" in page
    cells = re.findall(r'<div style="background:([^"]*)" title="([^"]*)"></div>', page)
    assert [share for _, share in cells] == ["50.0%", "0.0%", "0.0%", "0.0%", "0.0%", "50.0%"]
    assert "patch 0/0" in page and "patch 1/2" in page
    assert "data:image/jpeg" in heat_html("red", [own], {"doc & 1": b"\xff\xd8"})
    assert 'class="blank"' in heat_html("red", [own])


def test_without_texts_the_reason_stands_there() -> None:
    page = heat_html("red", [explanation(TokenOrigins(reason="no <text>"), [0, 1], [1.0, 1.0], 2)])
    assert "no &lt;text&gt;" in page and "token 1" in page
    assert "No hit." in heat_html("red", [])
