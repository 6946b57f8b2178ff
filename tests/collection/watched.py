"""Steps whose calls a test sees before they are made, and may answer with an error or a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from embplug.collection import revision
from embplug.collection.manifest import MANIFEST_KEY
from embplug.engines.calls import Call, Steps


class Killed(BaseException):
    """Ends the process, as far as the steps can tell: nothing after it is done."""


def killed_before_last_note(monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    """Change a collection as a process that is killed between renaming the alias and its last note."""
    note = revision._note_steps

    def kill(name: str, metadata: Mapping[str, Any]) -> Steps[None]:
        if MANIFEST_KEY in metadata:
            raise Killed
        return note(name, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(revision, "_note_steps", kill)
        with pytest.raises(Killed):
            change()


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
