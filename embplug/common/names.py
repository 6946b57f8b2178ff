"""The check of names of collections and aliases, as Qdrant has them."""

from __future__ import annotations

from typing import Any

from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

LONGEST = 255
# The server refuses the same characters.
FORBIDDEN = set('<>:"/\\|?*\0\x1f')


def check_collection_name(name: Any, argument: str) -> None:
    """Refuse what cannot be the name of a collection or an alias.

    Parameters
    ----------
    name : object
        What the user passes as a name.
    argument : str
        Name of the argument, for the error.

    Raises
    ------
    InvalidArgumentError
        The name is no text, is blank or too long, or has a character that a server refuses.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST:
        expected = f"the name of a collection, of 1 to {LONGEST} characters"
        raise InvalidArgumentError(argument, expected, short_repr(name))
    check_text(name, argument)
    forbidden = FORBIDDEN & {*name}
    if forbidden:
        raise InvalidArgumentError(argument, f"a name without {sorted(forbidden)}", short_repr(name))
