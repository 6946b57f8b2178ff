"""YAML of recipes, bounded before it is built: a short text can stand for a very large one."""

from __future__ import annotations

from typing import Any

import yaml

from embplug.errors import RecipeError

MAX_CHARACTERS = 1 << 17
MAX_DEPTH = 32
MAX_NODES = 10_000
"""Largest number of values, where an alias counts as all that it stands for."""


def read_yaml(text: str) -> Any:
    """Read YAML or JSON text of a recipe.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    object
        Its value.

    Raises
    ------
    RecipeError
        If the text cannot be read, is nested too deep, or is too large for a recipe, also by its aliases.
    """
    if not isinstance(text, str):
        raise RecipeError("recipe", "text", type(text).__name__)
    if len(text) > MAX_CHARACTERS:
        raise RecipeError("recipe", f"a text of at most {MAX_CHARACTERS} characters", len(text))
    try:
        _check_size(text)
        return yaml.safe_load(text)
    except RecipeError:
        raise
    # Values that look like dates or numbers and are none end in errors of all kinds.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise RecipeError("recipe", "YAML or JSON", f"text that cannot be read: {error}") from None


def without_nulls(value: Any) -> Any:
    """Return a value of JSON types without the entries of mappings that are null."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _check_size(text: str) -> None:
    """Count what the text stands for, one event at a time, before anything of it is built."""
    sizes: dict[str, int] = {}
    # Of each collection that is open: its anchor, and the number of values in it so far.
    open_: list[tuple[str | None, int]] = [(None, 0)]
    # Of each collection that is open: its keys so far, None for a list; and its keys and values so far.
    fields: list[tuple[set[str] | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        size = 0
        anchor = None
        if isinstance(event, yaml.NodeEvent):
            keys, place = fields.pop()
            if keys is not None and place % 2 == 0 and isinstance(event, yaml.ScalarEvent):
                if event.value in keys:
                    raise _refused(event, "each field once", f"{event.value!r} once more")
                keys.add(event.value)
            fields.append((keys, place + 1))
        if isinstance(event, yaml.CollectionStartEvent):
            fields.append((set() if isinstance(event, yaml.MappingStartEvent) else None, 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            fields.pop()
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, 1))
            if len(open_) > MAX_DEPTH:
                raise _refused(event, f"at most {MAX_DEPTH} mappings and lists inside each other", "more")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _refused(event, "an alias of a value before it", f"*{event.anchor}")
            size = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        if anchor is not None:
            sizes[anchor] = size
        outer, count = open_[-1]
        open_[-1] = outer, count + size
        if count + size > MAX_NODES:
            raise _refused(event, f"at most {MAX_NODES} values, aliases written out", "more")


def _refused(event: yaml.Event, expected: str, got: str) -> RecipeError:
    line = 1 if event.start_mark is None else event.start_mark.line + 1
    return RecipeError("recipe", expected, f"{got} in line {line}")
