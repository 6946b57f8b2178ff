"""Calls of a collection as data: written once as a generator, run by a waiting or an awaiting shell."""

from __future__ import annotations

from typing import Any, TypeVar

from embplug.collection.async_collection import AsyncCollection
from embplug.collection.collection import Collection
from embplug.engines.calls import Steps

T = TypeVar("T")


def run(collection: Collection, steps: Steps[T]) -> T:
    """Run steps, each of which calls a method of a collection.

    Parameters
    ----------
    collection : Collection
        Collection whose methods are called.
    steps : generator
        Yields each :class:`~embplug.engines.calls.Call`, and is sent its result.

    Returns
    -------
    object
        What the generator returns.
    """
    result: Any = None
    while True:
        try:
            call = steps.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        result = getattr(collection, call.method)(**call.arguments)


async def run_async(collection: AsyncCollection, steps: Steps[T]) -> T:
    """Run steps, each of which awaits a method of an asynchronous collection.

    Parameters
    ----------
    collection : AsyncCollection
        Collection whose methods are awaited.
    steps : generator
        Yields each :class:`~embplug.engines.calls.Call`, and is sent its result.

    Returns
    -------
    object
        What the generator returns.
    """
    result: Any = None
    while True:
        try:
            call = steps.send(result)
        except StopIteration as stop:
            value: T = stop.value
            return value
        result = await getattr(collection, call.method)(**call.arguments)
