"""The recipe of a collection as data: the same in Python, in YAML and in the collection's metadata."""

from __future__ import annotations

import hashlib
import json
import os
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

from embplug.common.files import read_text
from embplug.common.ids import OWN_FIELDS
from embplug.common.json_types import check_depth
from embplug.errors import InvalidArgumentError, RecipeError, RecipeVersionError
from embplug.recipe.dense import Dense
from embplug.recipe.names import DENSE, ENCODING_VECTOR, SPARSE_VECTOR, TOKENS_BRANCH, TOKENS_VECTOR
from embplug.recipe.part import Part
from embplug.recipe.presets import OVERSAMPLING, Features
from embplug.recipe.search import Fusion, Rerank
from embplug.recipe.sparse import Sparse
from embplug.recipe.tokens import Tokens
from embplug.recipe.yaml_text import read_yaml, without_nulls

RECIPE_VERSION = 2


class Recipe(Part):
    """The recipe of a collection: what it stores, and how it is searched.

    At least one of ``tokens``, ``dense`` and ``sparse`` is needed.

    Attributes
    ----------
    tokens : Tokens, default=None
        Token vectors for late interaction. None stores none.
    dense : Dense or dict of str to Dense, default={}
        Dense vectors by name. A single :class:`Dense` gets the name ``"dense"``.
    sparse : Sparse, default=None
        Sparse vector for full-text search with BM25. None stores none.
    fusion : Fusion, default=Fusion()
        How the rankings of several branches are fused.
    rerank : Rerank, default=Rerank()
        How candidates are found and reranked.
    payload_indexes : dict of str to schema, default={}
        Payload indexes: Qdrant's schema by the name of the payload field, such as ``{"year": "integer"}``.
    shard_number : int, default=None
        Number of shards, of each shard key if shards have keys. None is Qdrant's default.
    sharding_method : {"auto", "custom"}, default=None
        With ``"custom"``, shards have keys: ``Collection.create_shard_key`` makes them, and
        ``shard_key_selector`` says where documents are. None is Qdrant's default, ``"auto"``.
    replication_factor : int, default=None
        Number of replicas of each shard. None is Qdrant's default.
    write_consistency_factor : int, default=None
        Number of replicas that confirm a write. None is Qdrant's default.
    on_disk_payload : bool, default=None
        Whether Qdrant keeps payloads on disk. None is Qdrant's default.
    encoder : str, default=None
        Name of the model that encodes texts; see :func:`~embplug.load_encoder`. None needs vectors, or an
        encoder that the user passes to ``Collection.open`` or ``Collection.create``.
    text_key : str, default="text"
        Payload field in which the text of a document is stored.
    fit_sample : int, default=8000
        Number of the first documents on which methods are fitted if ``Collection.create`` gets no sample.
        It is fewer documents if these have more than 650,000 tokens. The methods learn in the first call that
        adds documents, from those of this call only, and a ``UserWarning`` says if they are too few.
    version : int, default=2
        Version of the recipe's format.

    Raises
    ------
    RecipeError
        A field is unknown, wrong, or contradicts another field; the error names the first such field.
    RecipeVersionError
        The format is newer than this version of embplug.

    Examples
    --------
    >>> from embplug import Dense, Recipe, Sparse
    >>> recipe = Recipe(dense=Dense(dim=384), sparse=Sparse(), encoder="minilm")
    >>> recipe.branches
    ['dense', 'sparse']
    >>> Recipe.from_yaml(recipe.to_yaml()) == recipe
    True
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
    sharding_method: models.ShardingMethod | None = None
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
            sharding_method: models.ShardingMethod | str | None = None,
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
            raise RecipeError("tokens", "at least one of tokens, dense and sparse", "none of them")
        finders = self.dense or self.sparse
        if self.tokens is not None and not (self.tokens.encoding or self.tokens.multivector or finders):
            expected = "an encoding, a multivector, dense or sparse, which find what the codes rank"
            raise RecipeError("tokens.encoding", expected, None)
        if self.rerank.exact is not None and not (
            self.tokens and self.tokens.codes and self.tokens.multivector
        ):
            expected = "none, because it needs both tokens.codes and tokens.multivector"
            raise RecipeError("rerank.exact", expected, self.rerank.exact)
        for branch in self.fusion.weights:
            if branch not in self.branches:
                raise RecipeError(f"fusion.weights.{branch}", f"one of {self.branches}", repr(branch))
        for name in (ENCODING_VECTOR, TOKENS_VECTOR, SPARSE_VECTOR):
            if name in self.dense:
                raise RecipeError("dense", f"a name other than {name!r}, which embplug uses", repr(name))
        stored = [vector for name, dense in self.dense.items() for vector in dense.stored_names(name)]
        twice = next((vector for vector in stored if stored.count(vector) > 1), None)
        if twice is not None:
            raise RecipeError("dense", "names that differ from those of prefixes and originals", repr(twice))
        own_field = "a field other than those of embplug itself"
        if self.text_key in OWN_FIELDS:
            raise RecipeError("text_key", own_field, repr(self.text_key))
        for field in self.payload_indexes:
            if field in OWN_FIELDS:
                raise RecipeError("payload_indexes", own_field, repr(field))
        if self.text_key in self.payload_indexes and not _indexes_text(self.payload_indexes[self.text_key]):
            got = self.payload_indexes[self.text_key]
            raise RecipeError(
                f"payload_indexes.{self.text_key}", "text or keyword, because it is text_key", got
            )
        return self

    def decided(self, features: Features | None = None) -> Self:
        """Return a recipe in which the presets of its parts have decided what is left open.

        Parameters
        ----------
        features : Features, default=None
            What the engine can do. None is an engine that can do no more than any engine.

        Returns
        -------
        Recipe
            Recipe that says all.
        """
        tokens, rerank = self.tokens, self.rerank
        if tokens is not None:
            alone = not self.dense and self.sparse is None
            tokens = tokens.decided(features, ranks_alone=alone, rescores=rerank.exact is not None)
        dense = {name: part.decided(features) for name, part in self.dense.items()}
        quantized = any(part.preset and part.quantization is not None for part in dense.values())
        if quantized and rerank.oversampling is None:
            rerank = rerank.model_copy(update={"oversampling": OVERSAMPLING})
        return self.model_copy(update={"tokens": tokens, "dense": dense, "rerank": rerank})

    def decided_like(self, stored: Recipe) -> Self:
        """Return a recipe in which what it leaves open is as in another recipe.

        That is what presets would decide, and the numbers of candidates, whose defaults may change.

        Parameters
        ----------
        stored : Recipe
            The other recipe, such as that of a collection.

        Returns
        -------
        Recipe
            A copy that says all, if both have the same vectors.
        """
        tokens, rerank = self.tokens, self.rerank
        if tokens is not None and stored.tokens is not None:
            tokens = tokens.decided_like(stored.tokens)
        dense = {
            name: part.decided_like(stored.dense[name]) if name in stored.dense else part
            for name, part in self.dense.items()
        }
        if rerank.oversampling is None and any(part.preset for part in dense.values()):
            rerank = rerank.model_copy(update={"oversampling": stored.rerank.oversampling})
        for name in ("candidates", "shortlist"):
            if name not in rerank.model_fields_set:
                rerank = rerank.model_copy(update={name: getattr(stored.rerank, name)})
        return self.model_copy(update={"tokens": tokens, "dense": dense, "rerank": rerank})

    def unfitted(self) -> Self:
        """Return a copy whose methods are not fitted."""
        dense = {name: part.unfitted() for name, part in self.dense.items()}
        tokens = None if self.tokens is None else self.tokens.unfitted()
        return self.model_copy(update={"dense": dense, "tokens": tokens})

    @property
    def branches(self) -> list[str]:
        """Names of the branches: ``"tokens"``, the names of dense vectors, ``"sparse"``."""
        tokens = [] if self.tokens is None else [TOKENS_BRANCH]
        return [*tokens, *self.dense, *([] if self.sparse is None else [SPARSE_VECTOR])]

    @staticmethod
    def check_version(version: int) -> None:
        """Check that this version of embplug can read a recipe.

        Parameters
        ----------
        version : int
            Version of the recipe's format.

        Raises
        ------
        RecipeVersionError
            The format is newer than this version of embplug.
        """
        if version > RECIPE_VERSION:
            raise RecipeVersionError(
                f"the recipe has version {version}, but this embplug reads versions up to {RECIPE_VERSION}; "
                "upgrade embplug"
            )

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Build a recipe from a dictionary, such as :meth:`to_dict` returns.

        Parameters
        ----------
        data : dict
            Fields of the recipe. Fields that are absent have their defaults.

        Returns
        -------
        Recipe
            The recipe.

        Raises
        ------
        RecipeError
            A field is unknown or wrong; the error names the first such field.
        RecipeVersionError
            The format is newer than this version of embplug.
        """
        if not isinstance(data, dict):
            raise RecipeError("recipe", "a mapping of fields", type(data).__name__)
        try:
            check_depth(data, "recipe")
        except InvalidArgumentError as error:
            raise RecipeError(error.argument, error.expected, error.got) from None
        _check_names(data, "")
        return cls(**data)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Build a recipe from YAML or JSON text.

        Parameters
        ----------
        text : str
            Text in YAML or JSON.

        Returns
        -------
        Recipe
            The recipe.

        Raises
        ------
        RecipeError
            The text cannot be read, or a field is unknown or wrong; the error names the first such field.
        RecipeVersionError
            The format is newer than this version of embplug.
        """
        return cls.from_dict(read_yaml(text))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Build a recipe from a YAML or JSON file.

        Parameters
        ----------
        path : str or path
            Path of the file.

        Returns
        -------
        Recipe
            The recipe.

        Raises
        ------
        RecipeError
            The file cannot be read, or a field is unknown or wrong; the error names the first such field.
        RecipeVersionError
            The format is newer than this version of embplug.
        """
        try:
            text = read_text(Path(path), "a readable recipe file")
        except InvalidArgumentError as error:
            raise RecipeError(error.argument, error.expected, error.got) from None
        return cls.from_yaml(text)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON types, including those that have their defaults.

        Returns
        -------
        dict
            Fields from which :meth:`from_dict` builds an equal recipe.
        """
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return all fields as YAML text.

        Returns
        -------
        str
            Text from which :meth:`from_yaml` builds an equal recipe.
        """
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def to_short_yaml(self) -> str:
        """Return YAML text for readers: without nulls, where it says the same without them.

        Returns
        -------
        str
            Text from which :meth:`from_yaml` builds an equal recipe.
        """
        short = yaml.safe_dump(without_nulls(self.to_dict()), sort_keys=False)
        return short if type(self).from_yaml(short) == self else self.to_yaml()

    def replaced(self, **fields: Any) -> Self:
        """Return a recipe with other values in some fields.

        Parameters
        ----------
        **fields
            New values, by the names of the attributes of the recipe.

        Returns
        -------
        Recipe
            The new recipe.

        Raises
        ------
        RecipeError
            A field is unknown, wrong, or contradicts another field; the error names the first such field.
        """
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **fields})

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Compare two recipes field by field.

        Parameters
        ----------
        other : Recipe
            Recipe to compare with.

        Returns
        -------
        dict of str to tuple
            Dotted name of each field that differs, with its value in this recipe and in the other.
        """
        mine, others = _flat(self.to_dict()), _flat(other.to_dict())
        fields = [field for field in {**mine, **others} if mine.get(field) != others.get(field)]
        return {field: (mine.get(field), others.get(field)) for field in fields}


def digest(data: Any) -> str:
    """Compute the sha256 of JSON data; the order of its keys does not matter.

    Parameters
    ----------
    data : object
        Data of JSON types.

    Returns
    -------
    str
        Digest in hexadecimal digits.
    """
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


def _check_names(data: dict[Any, Any], place: str) -> None:
    """Refuse names of fields that are no text, at any depth."""
    for name, value in data.items():
        if not isinstance(name, str):
            raise RecipeError(f"{place}{name!s:.80}", "the name of a field", repr(name)[:80])
        if isinstance(value, dict):
            _check_names(value, f"{place}{name}.")
