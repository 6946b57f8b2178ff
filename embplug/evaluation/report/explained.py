"""Heat maps of a few best hits: which words of a document bring its score."""

from __future__ import annotations

from html import escape
from typing import Any

from embplug.evaluation.report.heat import heated_html
from embplug.evaluation.report.svg import inline_mark


def explained_section(result: dict[str, Any]) -> list[str]:
    """Show the best hits of some queries as heat maps, for recipes with tokens."""
    by_query: dict[int, list[str]] = {}
    for i, recipe in enumerate(result["recipes"]):
        for hit in recipe.get("explained", ()):
            by_query.setdefault(hit["query"], []).append(_hit(result, i, hit))
    if not by_query:
        return []
    texts = result["texts"]["queries"]
    cards = [
        f'<div class="card"><h3>{escape(texts[result["query_ids"][query]])}</h3>{"".join(hits)}</div>'
        for query, hits in sorted(by_query.items())
    ]
    return [
        "<h2>Why the best hits are hits</h2>",
        '<p class="soft">The best hit of a few queries. The stronger the background of a word, the more of '
        "the score its tokens bring; each word of the query has the background of what it adds.</p>",
        '<div class="cards" style="grid-template-columns: minmax(0, 1fr)">',
        *cards,
        "</div>",
    ]


def _hit(result: dict[str, Any], i: int, hit: dict[str, Any]) -> str:
    recipe = result["recipes"][i]
    is_relevant = hit["document"] in result["relevant"][hit["query"]]
    tag = ' <span class="tag">relevant</span>' if is_relevant else ""
    head = (
        f'<p class="hit">{inline_mark(i)} {escape(recipe["name"])}: {escape(hit["document"])}{tag} '
        f'<span class="soft">{escape(hit["stage"])} {hit["score"]:.4g}</span></p>'
    )
    if not hit["document_parts"]:
        reason = hit["reason"] or "it is not known which words the tokens stand for"
        return f'{head}<p class="soft">No heat map: {escape(reason)}.</p>'
    query = heated_html(hit["query_parts"]) if hit["query_parts"] else ""
    return head + query + heated_html(hit["document_parts"])
