"""What ``Collection`` and ``AsyncCollection`` share."""

from __future__ import annotations

import inspect
import pydoc
import typing
from typing import Any

import pytest

from embplug import AsyncCollection, Collection, Dense, Documents, Recipe
from embplug.collection.base import CollectionBase
from embplug.collection.operation import operation
from embplug.errors import InvalidArgumentError
from embplug.search.types import SearchOptions

ONLY_SYNCHRONOUS = {"to_async"}


def public(cls: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(cls, inspect.isroutine) if not name.startswith("_")}


def parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


def test_both_have_the_same_methods() -> None:
    assert public(Collection) - public(AsyncCollection) == ONLY_SYNCHRONOUS
    assert public(AsyncCollection) <= public(Collection)


@pytest.mark.parametrize("name", sorted(public(Collection) - ONLY_SYNCHRONOUS))
def test_both_have_the_same_docstrings_and_signatures(name: str) -> None:
    waiting, awaiting = getattr(Collection, name), getattr(AsyncCollection, name)
    assert waiting.__doc__ and waiting.__doc__ == awaiting.__doc__
    assert parameters(waiting) == parameters(awaiting)
    assert inspect.iscoroutinefunction(awaiting) and not inspect.iscoroutinefunction(waiting)


@pytest.mark.parametrize("name", sorted(public(Collection)))
def test_docstrings_name_every_parameter_and_what_is_returned(name: str) -> None:
    method = getattr(Collection, name)
    signature = inspect.signature(method)
    for parameter in signature.parameters:
        assert parameter == "self" or parameter in method.__doc__
    assert ("Returns\n" in method.__doc__) == (signature.return_annotation != "None")


def test_operations_are_plain_functions_that_help_and_type_hints_can_read() -> None:
    operations = [name for name, value in vars(CollectionBase).items() if isinstance(value, operation)]
    assert {"search", "batch_search", "reload", "drop"} <= {*operations}
    for cls in (Collection, AsyncCollection):
        for name in operations:
            method = vars(cls)[name]
            assert inspect.isfunction(method)
            assert method.__qualname__ == f"{cls.__name__}.{name}" and method.__module__ == cls.__module__
            assert inspect.signature(method).return_annotation == method.__annotations__["return"]
            assert "Steps" not in method.__annotations__["return"]
        page = pydoc.plain(pydoc.render_doc(cls.search))
        assert "score_threshold" in page and "Lowest score of a hit" in page
    assert typing.get_type_hints(Collection.count)["return"] is int


def test_options_of_a_search_have_names() -> None:
    with pytest.raises(TypeError):
        SearchOptions(10)  # type: ignore[misc]


@pytest.mark.parametrize("cls", [Collection, AsyncCollection])
def test_a_collection_is_made_by_create_or_open(cls: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"use Collection\.create or Collection\.open, got str$"):
        cls("docs", Recipe(dense=Dense(dim=3)), "url")


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), "600", True])
def test_a_timeout_that_is_not_above_zero_is_named(memory_client: Any, timeout: Any) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=3)), memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^timeout: expected a number of seconds above 0, got "):
        collection.optimize(timeout=timeout)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limit": 0}, "limit: expected an integer of at least 1, got 0"),
        ({"offset": object()}, "offset: expected None, or what the previous call returned, got object"),
    ],
)
def test_a_page_that_cannot_be_read_is_named(memory_client: Any, options: Any, told: str) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=3)), memory_client)
    with pytest.raises(InvalidArgumentError) as raised:
        collection.scroll(**options)
    assert str(raised.value) == told


def test_documents_in_place_of_batches_are_named(memory_client: Any) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=3)), memory_client)
    told = r"^batches: expected an iterable of Documents, got Documents; pass \[documents\]$"
    with pytest.raises(InvalidArgumentError, match=told):
        collection.add_batches(Documents([1], dense=[[1, 2, 3]]))  # type: ignore[arg-type]


def test_several_vectors_in_one_search_are_named(memory_client: Any) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=3)), memory_client)
    with pytest.raises(
        InvalidArgumentError, match=r"^dense: expected one vector of shape \(3,\), got shape \(2, 3\)$"
    ):
        collection.search(dense=[[1, 2, 3], [1, 2, 3]])
