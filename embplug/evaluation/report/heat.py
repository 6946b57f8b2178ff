"""Heat maps of explained hits as an HTML page: over texts, and over images of pages."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from embplug.evaluation.report.style import STYLE
from embplug.search.explain import Explanation, heated_parts, patch_heat

TEXT_STYLE = """
.heat { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9; margin: 8px 0 12px;
  max-width: 90ch; }
.heat mark { color: inherit; border-radius: 3px; padding: 1px 0; }
.heat s { color: var(--soft); text-decoration: line-through; opacity: .6; }
"""
"""Style of heat maps over texts."""

PAGE_STYLE = """
.page { position: relative; display: inline-block; max-width: 100%; border: 1px solid var(--line); }
.page img { display: block; max-width: 100%; height: auto; }
.patches { position: absolute; inset: 0; display: grid; }
.card + .card { margin-top: 16px; }
.blank { width: 420px; aspect-ratio: 3 / 4; background: var(--card); }
"""
STRONGEST = 0.62
"""Opacity of the hottest part."""


def heat_html(
    query: str, explanations: Sequence[Explanation], images: Mapping[Any, bytes] | None = None
) -> str:
    """Make a page of explained hits.

    Parameters
    ----------
    query : str
        Text of the query, or what stands for it.
    explanations : sequence of Explanation
        The hits, best first.
    images : mapping of id to bytes, default=None
        PNG or JPEG images of documents that are pages. A page without an image shows its patches alone.

    Returns
    -------
    str
        One HTML document that loads nothing else.
    """
    parts = [f"<h1>{escape(query)}</h1>", _query(explanations[0])] if explanations else []
    for explanation in explanations:
        parts += [
            '<div class="card">',
            f"<h3>{escape(str(explanation.id))} &middot; {explanation.stage} {explanation.score:.4g}</h3>",
            *_document(explanation, (images or {}).get(explanation.id)),
            _matches(explanation),
            "</div>",
        ]
    body = "\n".join(parts) or "<p>No hit.</p>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(query)}</title><style>{STYLE}{TEXT_STYLE}{PAGE_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _query(explanation: Explanation) -> str:
    origins, text = explanation.query, explanation.query.text
    if text is None or origins.spans is None:
        return ""
    head = '<p class="soft">What each token of the query adds to the best hit:</p>'
    return head + _text(text, origins, explanation.shares)


def _document(explanation: Explanation, image: bytes | None) -> list[str]:
    origins, grid = explanation.document, patch_heat(explanation)
    if grid is not None:
        return [_page(grid, image)]
    if origins.text is not None:
        return [_text(origins.text, origins, explanation.heat)]
    return [f'<p class="soft">{escape(str(origins.reason))}</p>']


def _text(text: str, origins: Any, heat: Any) -> str:
    return heated_html(heated_parts(text, origins, heat.tolist()))


def heated_html(parts: Sequence[tuple[str, float | None]]) -> str:
    """Make a text of parts, which have the stronger a background the more they bring."""
    most = max((value or 0.0 for _, value in parts), default=0.0)
    marked = []
    for part, value in parts:
        if value is None:
            marked.append(f'<s title="pruned">{escape(part)}</s>')
        elif value > 0 and most > 0:
            colour = _colour(value / most)
            marked.append(f'<mark style="background:{colour}" title="{value:.1%}">{escape(part)}</mark>')
        else:
            marked.append(escape(part))
    return f'<div class="heat">{"".join(marked)}</div>'


def _page(grid: Any, image: bytes | None) -> str:
    most = float(grid.max())
    cells = "".join(
        f'<div style="background:{_colour(value / most) if value > 0 and most > 0 else "transparent"}" '
        f'title="{value:.1%}"></div>'
        for value in grid.ravel().tolist()
    )
    rows, columns = grid.shape
    shape = f"grid-template: repeat({rows}, 1fr) / repeat({columns}, 1fr)"
    below = '<div class="blank"></div>'
    if image is not None:
        kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
        below = f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(image).decode()}">'
    return f'<div class="page">{below}<div class="patches" style="{shape}">{cells}</div></div>'


def _matches(explanation: Explanation) -> str:
    rows = []
    for match in sorted(explanation.matches, key=lambda match: -match.share):
        place = match.document_text or ", ".join(f"patch {row}/{column}" for row, column in match.patches)
        rows.append(
            f"<tr><td>{escape(match.query_text or f'token {match.query_token}')}</td>"
            f"<td>{escape(place or f'token {match.document_token}')}</td>"
            f"<td>{match.score:.3f}</td><td>{match.share:.1%}</td></tr>"
        )
    head = "<tr><th>query</th><th>document</th><th>score</th><th>share</th></tr>"
    summary = "<summary>Which token met which</summary>"
    return f'<details>{summary}<div class="wide"><table>{head}{"".join(rows)}</table></div></details>'


def _colour(share: float) -> str:
    """Orange, from clear to strong, which reads on light and on dark pages."""
    return f"rgba(240, 120, 20, {STRONGEST * min(max(share, 0.0), 1.0):.3f})"
