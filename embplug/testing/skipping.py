"""What a test does where the machine lacks what it needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import pytest

from embplug.errors import MissingExtraError
from embplug.testing.containers import ContainerError

T = TypeVar("T")


def start_or_skip(
    stack: ExitStack,
    start: Callable[[], AbstractContextManager[T]],
    refusals: tuple[type[Exception], ...] = (ContainerError, MissingExtraError),
) -> T:
    """Enter a context; skip the test where it cannot be entered, or fail it if ``CI`` is set.

    Parameters
    ----------
    stack : ExitStack
        Leaves the context when it is closed.
    start : callable
        Makes the context.
    refusals : tuple of type
        Errors for which the test is skipped.

    Returns
    -------
    object
        What the context yields.
    """
    try:
        return stack.enter_context(start())
    except refusals as reason:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
