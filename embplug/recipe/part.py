"""What every part of a recipe is: checked fields, with errors that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from qdrant_client import models

from embplug.errors import RecipeError


class Part(BaseModel):
    """Fields that are checked when they are set, and never changed afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True
    )

    if not TYPE_CHECKING:  # type checkers see the fields, users see our error

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _recipe_error(error) from None


class Storage(Part):
    """How Qdrant keeps a vector; fields and values are Qdrant's own.

    Attributes
    ----------
    quantization
        Qdrant's quantization of the vectors in memory: scalar, product, binary or turbo.
    on_disk
        Keep the original vectors on disk; Qdrant's default is memory.
    hnsw
        Parameters of the graph. ``HnswConfigDiff(m=0)`` builds none.
    """

    quantization: models.QuantizationConfig | None = None
    on_disk: bool | None = None
    hnsw: models.HnswConfigDiff | None = None


def _recipe_error(error: ValidationError) -> RecipeError:
    """Report the first complaint, by the dotted name of its field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RecipeError):
        inner = cause.argument if cause.argument != "recipe" else ""
        return RecipeError(".".join(filter(None, [field, inner])) or "recipe", cause.expected, cause.got)
    if isinstance(cause, ValueError):
        return RecipeError(field or "recipe", "fields that agree", str(cause))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return RecipeError(field, "the name of a field", "one that does not exist")
    if first["type"] == "missing":
        return RecipeError(field, "a value", "none")
    return RecipeError(field or "recipe", first["msg"].removeprefix("Input should be "), repr(first["input"]))


def _is_type_name(part: Any) -> bool:
    """Whether pydantic put the name of a union's member, not of a field, into a location."""
    return isinstance(part, str) and ("[" in part or hasattr(models, part) or part == "Dense")
