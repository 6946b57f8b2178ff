"""What a collection stores and how it is searched, as data: the same in Python, YAML and the collection."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import (
    Field,
    field_validator,
    model_validator,
)
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import RecipeError, RecipeVersionError
from embplug.methods.roles import Encoding
from embplug.recipe.dense import Dense
from embplug.recipe.names import DENSE, ENCODING_VECTOR, SPARSE_VECTOR, TOKENS_BRANCH, TOKENS_VECTOR
from embplug.recipe.part import Part
from embplug.recipe.search import Fusion, Rerank
from embplug.recipe.sparse import Sparse
from embplug.recipe.tokens import Tokens

RECIPE_VERSION = 2


class Recipe(Part):
    """What a collection stores and how it is searched.

    Attributes
    ----------
    tokens
        Token matrices, their encoding and storage.
    dense
        One :class:`Dense`, then named ``"dense"``, or several by name.
    sparse
        Texts found by their words.
    fusion
        How the rankings of tokens, dense vectors and sparse become one.
    rerank
        How candidates are found and reranked.
    payload_indexes
        Payload field -> Qdrant's schema: ``{"year": "integer"}``.
    shard_number, replication_factor, write_consistency_factor, on_disk_payload
        As in Qdrant; ``None`` is Qdrant's default.
    encoder
        Names the model that turns texts into vectors: see :func:`embplug.encoders.load_encoder`.
    text_key
        Payload field that keeps the text of a document that was given as text.
    fit_sample
        Number of documents from which data-dependent methods learn, when no sample was given; fewer
        where they have more than 650,000 tokens.
    version
        Of the format.

    Raises
    ------
    RecipeError
        Naming the first field that is unknown, wrong, or contradicts another.
    """

    tokens: Tokens | None = None
    dense: dict[Annotated[str, Field(min_length=1)], Dense] = Field(default_factory=dict)
    sparse: Sparse | None = None
    fusion: Fusion = Fusion()
    rerank: Rerank = Rerank()
    payload_indexes: dict[str, models.PayloadSchemaType | models.PayloadSchemaParams] = Field(
        default_factory=dict
    )
    shard_number: int | None = Field(None, ge=1)
    replication_factor: int | None = Field(None, ge=1)
    write_consistency_factor: int | None = Field(None, ge=1)
    on_disk_payload: bool | None = None
    encoder: str | None = None
    text_key: str = Field("text", min_length=1)
    fit_sample: int = Field(8000, ge=1)
    version: int = Field(RECIPE_VERSION, ge=1)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            tokens: Tokens | None = None,
            dense: Dense | dict[str, Dense] | None = None,
            sparse: Sparse | None = None,
            fusion: Fusion = ...,
            rerank: Rerank = ...,
            payload_indexes: dict[str, Any] = ...,
            shard_number: int | None = None,
            replication_factor: int | None = None,
            write_consistency_factor: int | None = None,
            on_disk_payload: bool | None = None,
            encoder: str | None = None,
            text_key: str = "text",
            fit_sample: int = 8000,
            version: int = RECIPE_VERSION,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _is_readable(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("version"), int):
            cls.check_version(data["version"])
        return data

    @field_validator("dense", mode="before")
    @classmethod
    def _named(cls, dense: Any) -> Any:
        if dense is None:
            return {}
        if isinstance(dense, Dense) or (isinstance(dense, dict) and isinstance(dense.get("dim"), int)):
            return {DENSE: dense}
        return dense

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.tokens is None and not self.dense and self.sparse is None:
            raise RecipeError("tokens", "tokens, dense or sparse to be given", "none of them")
        finders = self.dense or self.sparse
        if self.tokens is not None and not (self.tokens.encoding or self.tokens.multivector or finders):
            raise RecipeError(
                "tokens.encoding", "an encoding, a matrix, dense or sparse, to find what the codes rank", None
            )
        if self.rerank.exact is not None and not (
            self.tokens and self.tokens.codes and self.tokens.multivector
        ):
            raise RecipeError(
                "rerank.exact", "none, because tokens do not have codes and a matrix", "a number"
            )
        for branch in self.fusion.weights:
            if branch not in self.branches:
                raise RecipeError(f"fusion.weights.{branch}", f"one of {self.branches}", "another name")
        for name in (ENCODING_VECTOR, TOKENS_VECTOR, SPARSE_VECTOR):
            if name in self.dense:
                raise RecipeError("dense", f"other names than {name!r}, which is embplug's own", repr(name))
        stored = [one for name, dense in self.dense.items() for one in dense.stored_names(name)]
        twice = next((one for one in stored if stored.count(one) > 1), None)
        if twice is not None:
            raise RecipeError("dense", "names that differ from those of prefixes and originals", repr(twice))
        if self.text_key in self.payload_indexes and not _indexes_text(self.payload_indexes[self.text_key]):
            got = self.payload_indexes[self.text_key]
            raise RecipeError(
                f"payload_indexes.{self.text_key}", "text or keyword, because it is text_key", got
            )
        return self

    def with_encoding(self, encoding: Encoding | None) -> Self:
        """This recipe, with ``encoding`` where tokens say ``auto``."""
        if self.tokens is None or self.tokens.encoding != "auto":
            return self
        return self.model_copy(update={"tokens": self.tokens.model_copy(update={"encoding": encoding})})

    def unfitted(self) -> Self:
        """This recipe without what its methods have learned."""
        dense = {name: part.unfitted() for name, part in self.dense.items()}
        tokens = None if self.tokens is None else self.tokens.unfitted()
        return self.model_copy(update={"dense": dense, "tokens": tokens})

    @property
    def branches(self) -> list[str]:
        """Names of the ways to find documents."""
        tokens = [] if self.tokens is None else [TOKENS_BRANCH]
        return [*tokens, *self.dense, *([] if self.sparse is None else [SPARSE_VECTOR])]

    @staticmethod
    def check_version(version: int) -> None:
        """Refuse a recipe that is newer than this library, with :class:`RecipeVersionError`."""
        if version > RECIPE_VERSION:
            raise RecipeVersionError(
                f"the recipe has version {version}, this embplug reads up to {RECIPE_VERSION}; upgrade it"
            )

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        RecipeError
            Naming the first field that is unknown or wrong.
        RecipeVersionError
            The recipe is newer than this library.
        """
        if not isinstance(data, dict):
            raise RecipeError("recipe", "a mapping of fields", type(data).__name__)
        for field in data:
            if not isinstance(field, str):
                raise RecipeError(str(field), "the name of a field", repr(field))
        return cls(**data)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read YAML or JSON text; see :meth:`from_dict` for the errors."""
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError("recipe", "YAML or JSON", f"text that cannot be read: {error}") from None
        return cls.from_dict(data)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a YAML or JSON file; see :meth:`from_dict` for the errors."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("path", "a readable recipe file", error) from None
        return cls.from_yaml(text)

    def to_dict(self) -> dict[str, Any]:
        """All fields, defaults included, as JSON types; reading them gives an equal recipe."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """As YAML; reading it gives an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def replaced(self, fields: Mapping[str, Any]) -> Self:
        """The recipe with other values in some fields, checked anew."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **fields})

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Dotted field -> (this value, the other's) where the two differ."""
        mine, others = _flat(self.to_dict()), _flat(other.to_dict())
        fields = [field for field in {**mine, **others} if mine.get(field) != others.get(field)]
        return {field: (mine.get(field), others.get(field)) for field in fields}


def digest(data: Any) -> str:
    """Sha256 of JSON data, whatever the order of its keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _indexes_text(schema: Any) -> bool:
    return (schema if isinstance(schema, str) else schema.type) in ("text", "keyword")


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix: data}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
