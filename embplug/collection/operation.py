"""Methods that are written once, as steps, and run by a waiting and by an awaiting collection."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from embplug.engines.calls import Steps, run, run_async

if TYPE_CHECKING:
    from embplug.collection.async_collection import AsyncCollection
    from embplug.collection.collection import Collection

P = ParamSpec("P")
T = TypeVar("T")
StepsMethod = Callable[Concatenate[Any, P], Steps[T]]


class operation(Generic[P, T]):
    """Decorator for a method of :class:`~embplug.collection.base.CollectionBase` that returns steps.

    ``Collection`` gets a method that returns the result, ``AsyncCollection`` one that is awaited, both
    with the signature and the docstring of the decorated method. Type checkers read this class; at run
    time :func:`waiting` and :func:`awaiting` put plain functions in its place.
    """

    def __init__(self, steps: StepsMethod[P, T]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__

    @overload
    def __get__(self, instance: Collection, owner: Any = None) -> Callable[P, T]: ...

    @overload
    def __get__(
        self, instance: AsyncCollection, owner: Any = None
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Callable[Concatenate[Any, P], Any]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.steps.__get__(instance, owner)


def waiting(steps: StepsMethod[P, T]) -> Callable[Concatenate[Any, P], T]:
    """Method that runs ``steps`` on the synchronous engine of its collection."""

    @functools.wraps(steps)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(self.engine, steps(self, *args, **kwargs))

    return _returning_result(method)


def awaiting(steps: StepsMethod[P, T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Method that runs ``steps`` on the asynchronous engine of its collection."""

    @functools.wraps(steps)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await run_async(self.engine, steps(self, *args, **kwargs))

    return _returning_result(method)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _returning_result(method: _Method) -> _Method:
    """Let the signature name the result itself in place of the steps that lead to it."""
    returned = method.__annotations__["return"].removeprefix("Steps[").removesuffix("]")
    method.__annotations__ = {**method.__annotations__, "return": returned}
    signature = inspect.signature(method).replace(return_annotation=returned)
    method.__signature__ = signature  # type: ignore[attr-defined]
    return method
