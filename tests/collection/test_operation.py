"""A method that is written once as steps, and run by a waiting and by an awaiting collection."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from embplug.collection.operation import awaiting, operation, waiting
from embplug.engines.calls import Call, Steps
from embplug.errors import CollectionNotFoundError


class Waiting:
    def __init__(self, engine: Any) -> None:
        self.engine = engine


def names(self: Any, prefix: str, *, limit: int = 3) -> Steps[list[str]]:
    """Names of collections."""
    answer = yield Call.of("get_collections")
    existing = [collection.name for collection in answer.collections]
    return (yield Call.compute(lambda: [name for name in existing if name.startswith(prefix)][:limit]))


def failing(self: Any) -> Steps[str]:
    """Catches an error of the engine."""
    try:
        yield Call.of("get_collection", collection_name="missing")
    except CollectionNotFoundError as error:
        return type(error).__name__
    return "no error"


@pytest.fixture
def collection(memory_client: Any) -> Waiting:
    for name in ("aa", "ab", "b"):
        memory_client.create_collection(name, vectors_config={})
    return Waiting(memory_client)


def test_the_waiting_method_returns_the_result(collection: Waiting) -> None:
    assert waiting(names)(collection, "a") == ["aa", "ab"]
    assert len(waiting(names)(collection, "a", limit=1)) == 1


async def test_the_awaiting_method_is_a_coroutine(collection: Waiting) -> None:
    method = awaiting(names)
    assert inspect.iscoroutinefunction(method)
    assert await method(collection, "a") == ["aa", "ab"]


async def test_errors_of_the_engine_reach_the_steps(collection: Waiting) -> None:
    caught = waiting(failing)(collection)
    assert caught != "no error" and caught == await awaiting(failing)(collection)


@pytest.mark.parametrize("decorate", [waiting, awaiting])
def test_name_docstring_and_parameters_are_those_of_the_steps(decorate: Any) -> None:
    method = decorate(names)
    assert (method.__name__, method.__doc__) == ("names", "Names of collections.")
    signature = inspect.signature(method)
    assert [*signature.parameters] == ["self", "prefix", "limit"]
    assert signature.parameters["limit"].default == 3


@pytest.mark.parametrize("decorate", [waiting, awaiting])
def test_the_signature_names_the_result_and_not_the_steps(decorate: Any) -> None:
    method = decorate(names)
    assert inspect.signature(method).return_annotation == method.__annotations__["return"] == "list[str]"
    assert names.__annotations__["return"] == "Steps[list[str]]"


def test_on_its_own_an_operation_gives_the_steps() -> None:
    class Written:
        steps_of = operation(names)

    assert Written.__dict__["steps_of"].__doc__ == "Names of collections."
    steps = Written().steps_of("a")
    assert next(steps) == Call.of("get_collections")
