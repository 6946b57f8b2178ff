"""Methods told apart by their ``kind``, as objects and as the mappings that stand for them."""

from __future__ import annotations

from typing import Any


def kind_tag(method: Any, default: str | None = None) -> str:
    """Tag of a method in a union; a mapping that does not name its kind is of the ``default``.

    The brackets keep the tags out of the dotted names of fields in errors.
    """
    kind = method.get("kind", default) if isinstance(method, dict) else getattr(method, "kind", None)
    return f"[{kind}]"
