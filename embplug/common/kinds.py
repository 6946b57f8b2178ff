"""The ``kind`` of a method, by which unions in recipes tell methods apart."""

from __future__ import annotations

from typing import Any, TypeVar

_Method = TypeVar("_Method")


def kind_tag(method: Any, default: str | None = None) -> str:
    """Return the tag of a method in a union of pydantic.

    Parameters
    ----------
    method : object or dict
        A method, or the mapping from which it is built.
    default : str or None, default=None
        Kind of a mapping that does not name its kind.

    Returns
    -------
    str
        The kind in brackets, which keep the tag out of the dotted names of fields in errors.
    """
    kind = method.get("kind", default) if isinstance(method, dict) else getattr(method, "kind", None)
    return f"[{kind}]"


def unfitted(method: _Method) -> _Method:
    """Return a method with the same parameters and without fitted state."""
    fields: Any = method
    return type(method)(**{name: getattr(method, name) for name in fields.__dataclass_fields__})
