"""The options of a search are checked before it is planned."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from embplug import Fusion, Query
from embplug.errors import InvalidArgumentError
from embplug.search.option_checks import check_options, check_queries
from embplug.search.types import SearchOptions


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limit": 0}, "limit: expected an integer of at least 1, got 0"),
        ({"candidates": 1.5}, "candidates: expected an integer of at least 1, got 1.5"),
        (
            {"with_payload": "text"},
            "with_payload: expected a bool or a sequence of field names, got 'text'",
        ),
        ({"with_payload": ["text", 1]}, "with_payload[1]: expected the name of a field, got 1"),
        (
            {"with_payload": ["text", "a b"]},
            "with_payload[1]: expected a path into the payload, such as a.b[].c "
            "or \"with a space\", got 'a b'",
        ),
        (
            {"fusion": "rrf"},
            "fusion: expected an embplug.Fusion, such as Fusion(method='rrf'), got 'rrf'",
        ),
        (
            {"fusion": {"method": "rrf"}},
            "fusion: expected an embplug.Fusion, such as Fusion(method='rrf'), got dict",
        ),
        (
            {"search_params": {"hnsw_ef": 10}},
            "search_params: expected a qdrant_client.models.SearchParams, got dict",
        ),
        ({"mmr": {"diversity": 0.5}}, "mmr: expected a qdrant_client.models.Mmr, got dict"),
        ({"score_threshold": "x"}, "score_threshold: expected a number, got 'x'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check_options(SearchOptions(**options))
    assert str(raised.value) == told


def test_right_options_pass() -> None:
    check_options(SearchOptions())
    check_options(
        SearchOptions(
            with_payload=("text",),
            fusion=Fusion(method="rrf"),
            search_params=models.SearchParams(hnsw_ef=10),
            score_threshold=1,
        )
    )


@pytest.mark.parametrize(
    ("queries", "told"),
    [
        ([Query(text="a"), {"text": "a"}], "queries[1]: expected an embplug.Query, got dict"),
        (["a"], "queries[0]: expected an embplug.Query, got str"),
        ("a", "queries: expected a sequence of embplug.Query, got str"),
        (Query(text="a"), "queries: expected a sequence of embplug.Query, got Query; pass [query]"),
    ],
)
def test_wrong_queries_are_named(queries: Any, told: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check_queries(queries)
    assert str(raised.value) == told
