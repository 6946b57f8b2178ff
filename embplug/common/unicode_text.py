"""Text that UTF-8 can encode."""

from __future__ import annotations

from embplug.errors import InvalidArgumentError


def check_text(text: str, argument: str) -> None:
    """Refuse text that no encoding can write, because it holds half of a surrogate pair.

    Raises
    ------
    InvalidArgumentError
        Naming the argument and the character.
    """
    if not is_unicode(text):
        at = next(i for i, letter in enumerate(text) if "\ud800" <= letter <= "\udfff")
        got = f"half of a surrogate pair, {text[at]!a}, as character {at}"
        raise InvalidArgumentError(argument, "text that UTF-8 can encode", got)


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded; a lone half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
