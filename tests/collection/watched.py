"""Steps whose calls a test sees before they are made, and may answer with an error or a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embplug.engines.calls import Call, Steps


class Killed(BaseException):
    """Ends the process, as far as the steps can tell: nothing after it is done."""


def watched(steps: Steps[Any], before: Callable[[Call], None]) -> Steps[Any]:
    """Run ``steps``; what ``before`` raises for a call takes the place of its answer.

    After :class:`Killed` the steps go no further, and the result is None.
    """
    error: Exception | None = None
    result: Any = None
    while True:
        try:
            call = steps.send(result) if error is None else steps.throw(error)
        except StopIteration as stop:
            return stop.value
        error = result = None
        try:
            before(call)
            result = yield call
        except Killed:
            steps.close()
            return None
        except Exception as raised:
            error = raised
