"""The base of all parts of a recipe: checked fields, with errors that name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from qdrant_client import models

from embplug.common.validation import explained, first_complaint, shown
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

        def __init__(self, *args: Any, **data: Any) -> None:
            if args:
                name = type(self).__name__
                fields = type(self).model_fields
                needed = [own for own, field in fields.items() if field.is_required()] or [*fields]
                expected = f"keyword arguments only, such as {name}({needed[0]}=...)"
                raise RecipeError(name, expected, ", ".join(shown(value) for value in args))
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _recipe_error(type(self), error, data) from None

        def __setattr__(self, name: str, value: Any) -> None:
            if name in type(self).model_fields:
                expected = "no assignment, because a recipe is frozen: build another, as with Recipe.replaced"
                raise RecipeError(name, expected, shown(value))
            super().__setattr__(name, value)


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
    .. [1] Qdrant documentation, "Quantization", https://qdrant.tech/documentation/manage-data/quantization/
    """

    quantization: models.QuantizationConfig | None = None
    on_disk: bool | None = None
    hnsw: models.HnswConfigDiff | None = None


def _recipe_error(part: type[Part], error: ValidationError, data: Any) -> RecipeError:
    """Turn pydantic's first complaint into an error that names the field by its dotted path."""
    first = first_complaint(error)
    field = ".".join(_names_of(first["loc"], data))
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RecipeError):
        inner = cause.argument if cause.argument != "recipe" else ""
        return RecipeError(".".join(filter(None, [field, inner])) or "recipe", cause.expected, cause.got)
    if isinstance(cause, ValueError):
        return RecipeError(field or "recipe", "fields that agree", str(cause))
    expected, got = explained(first, _field_names(part, first["loc"]))
    return RecipeError(field or "recipe", expected, got)


def _field_names(part: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the fields that can stand at the end of a location; none inside methods."""
    classes = [part]
    for step in location[:-1]:
        holders = [cls for cls in classes if step in cls.model_fields]
        if holders:
            classes = [own for cls in holders for own in _models_of(cls.model_fields[str(step)].annotation)]
        else:
            classes = [cls for cls in classes if cls.__name__ == step] or classes
    return [name for cls in classes for name in cls.model_fields]


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in an annotation, such as the members of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for own in get_args(annotation) for model in _models_of(own)]


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
