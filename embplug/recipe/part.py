"""The base of all parts of a recipe: checked fields, with errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError
from qdrant_client import models

from embplug.errors import RecipeError


class Part(BaseModel):
    """Base of all parts of a recipe: fields that are checked at construction and never change afterwards.

    Raises
    ------
    RecipeError
        A field is unknown or its value is wrong; the error names the first such field.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True
    )

    if not TYPE_CHECKING:  # Type checkers see the fields, and users see a RecipeError.

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _recipe_error(error, data) from None


class Storage(Part):
    """How Qdrant stores a vector.

    All values are models of ``qdrant_client.models``, and mean what they mean there.

    Attributes
    ----------
    quantization : models.QuantizationConfig, default=None
        Quantization of the vectors: scalar, product, binary or turbo. None stores no quantized vectors.
    on_disk : bool, default=None
        Whether the original vectors are kept on disk. None is Qdrant's default, which is memory.
    hnsw : models.HnswConfigDiff, default=None
        Parameters of the HNSW graph. ``HnswConfigDiff(m=0)`` builds no graph. None is Qdrant's default.

    References
    ----------
    .. [1] Qdrant documentation, "Quantization", https://qdrant.tech/documentation/guides/quantization/
    """

    quantization: models.QuantizationConfig | None = None
    on_disk: bool | None = None
    hnsw: models.HnswConfigDiff | None = None


def _recipe_error(error: ValidationError, data: Any) -> RecipeError:
    """Turn pydantic's first complaint into an error that names the field by its dotted path."""
    first = error.errors(include_url=False)[0]
    field = ".".join(_names_of(first["loc"], data))
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


def _names_of(location: tuple[int | str, ...], data: Any) -> list[str]:
    """Return the names of a location that the user wrote, without those of a union's members."""
    names = []
    for part in location:
        written = isinstance(data, Mapping) and part in data
        if written or not _is_type_name(part):
            names.append(str(part))
        if written or (isinstance(part, int) and isinstance(data, (list, tuple)) and part < len(data)):
            data = data[part]
    return names


def _is_type_name(part: Any) -> bool:
    """Return whether a part of a location is the name of a union's member, and not of a field."""
    return isinstance(part, str) and ("[" in part or hasattr(models, part) or part == "Dense")
