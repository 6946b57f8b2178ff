"""The arguments of the methods that search are the fields of queries and options."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from embplug import AsyncCollection, Collection
from embplug.engines.request_options import ReadOptions
from embplug.search.types import Query, SearchOptions, options_of, query_of

INTERNAL = {"batch", "cross_encode", "reading"}
OPTIONS = {own.name for own in (*fields(SearchOptions), *fields(ReadOptions))} - INTERNAL
QUERY = {own.name for own in fields(Query)}
OF_METHOD = {
    "search": OPTIONS | QUERY,
    "batch_search": OPTIONS | {"queries"},
    "search_groups": (OPTIONS - {"mmr"}) | QUERY | {"group_by", "group_size", "with_lookup"},
}


@pytest.mark.parametrize("kind", [Collection, AsyncCollection])
@pytest.mark.parametrize("method", OF_METHOD)
def test_each_option_is_a_parameter_and_each_parameter_is_used(kind: type, method: str) -> None:
    parameters = inspect.signature(getattr(kind, method)).parameters
    assert {*parameters} - {"self"} == OF_METHOD[method]
    defaults = {name: own.default for name, own in parameters.items() if name in OPTIONS}
    assert options_of(defaults) == SearchOptions()


def test_arguments_become_the_fields_of_their_names() -> None:
    values = {name: object() for name in sorted(OPTIONS | QUERY)}
    options, query = options_of(values), query_of({**values, "self": None})
    taken = {**vars(options), **vars(options.reading), **vars(query)}
    assert {name: taken[name] for name in values} == values
