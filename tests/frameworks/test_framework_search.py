"""A search as a framework asks for it."""

from __future__ import annotations

import inspect

import pytest
from qdrant_client import models

from embplug import Collection
from embplug.errors import InvalidArgumentError
from embplug.frameworks.search import MMR_CANDIDATES, SearchRequest, mmr_by_relevance


@pytest.mark.parametrize("mmr", [None, models.Mmr(diversity=0.5, candidates_limit=9)])
def test_a_request_has_arguments_that_the_collection_takes(mmr):
    arguments = SearchRequest(text="bees", limit=3, mmr=mmr).arguments
    inspect.signature(Collection.search).bind(None, **arguments)
    assert arguments.get("mmr") == mmr


def test_hits_that_are_left_out_are_asked_for_too():
    assert SearchRequest(text="bees", limit=3, offset=2).arguments["limit"] == 5


@pytest.mark.parametrize(
    ("search_params", "exact"),
    [(None, False), (models.SearchParams(hnsw_ef=9), False), (models.SearchParams(exact=True), True)],
)
def test_an_exact_search_is_exact_in_every_stage(search_params, exact):
    arguments = SearchRequest(text="bees", limit=3, search_params=search_params).arguments
    assert arguments["exact"] is exact and arguments["search_params"] is search_params


def test_diversity_is_what_relevance_leaves():
    assert mmr_by_relevance(0.75, 20) == models.Mmr(diversity=0.25, candidates_limit=20)
    assert mmr_by_relevance(1).candidates_limit == MMR_CANDIDATES
    with pytest.raises(InvalidArgumentError) as raised:
        mmr_by_relevance(2, argument="mmr_threshold")
    assert raised.value.argument == "mmr_threshold"
