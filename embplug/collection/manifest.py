"""What stands in the metadata of a collection: its recipe, and where what it has learned is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from qdrant_client import models

from embplug.branches.vector_version import VectorVersion
from embplug.errors import EmbplugError, NotAnEmbplugCollectionError, StateError
from embplug.methods.token_diagnosis import TokenDiagnosis
from embplug.recipe import Recipe
from embplug.recipe.recipe import digest

MANIFEST_KEY = "embplug"
"""Key of the metadata of a collection under which its manifest stands."""


@dataclass(frozen=True)
class Manifest:
    """What a collection is, as its metadata keep it.

    Attributes
    ----------
    recipe : Recipe
        What the collection stores, with the model that is in use today.
    state : dict or None
        Reference by which the learned arrays are found; ``None`` where nothing is learned.
    versions : dict of str to VectorVersion
        Models and names in Qdrant of dense vectors that an upgrade has changed.
    created_from : Recipe or None
        Recipe with which the collection was created, where an upgrade has changed it since.
    created_with : str
        Version of embplug that wrote the manifest.
    revision : str or None
        Identifier of this manifest among all that a collection ever has; None in collections of before.
    encoders : dict of str to str
        Revision of each encoder that has made vectors, by its name in the recipe; that of texts has an empty
        name.
    diagnosis : TokenDiagnosis or None
        How the tokens lie from which the collection has learned.
    """

    recipe: Recipe
    state: dict[str, Any] | None = None
    versions: dict[str, VectorVersion] = field(default_factory=dict)
    created_from: Recipe | None = None
    created_with: str = field(default_factory=lambda: version("embplug"))
    revision: str | None = field(default=None, compare=False)
    encoders: dict[str, str] = field(default_factory=dict)
    diagnosis: TokenDiagnosis | None = None

    @property
    def identity(self) -> str:
        """The revision, or the sha256 of a manifest without one."""
        return self.revision or str(self.to_dict()["sha256"])

    def differences(self, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
        """Fields in which a recipe differs from the collection's, by their dotted names.

        The recipe before an upgrade does not differ: whoever creates the collection with it again
        gets the upgraded collection. The payload indexes may be those of today or those of the creation,
        in either recipe.
        """
        versions = [own for own in (self.created_from, self.recipe) if own is not None]
        for own in versions:
            whole = recipe.decided_like(own).unfitted()
            differences = own.differences(whole)
            if not differences:
                return {}
            if any(whole.payload_indexes == other.payload_indexes for other in versions):
                indexed_alike = own.model_copy(update={"payload_indexes": whole.payload_indexes})
                if not indexed_alike.differences(whole):
                    return {}
        return differences

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, with the sha256 by which an altered manifest is recognised."""
        contents: dict[str, Any] = {
            "embplug": self.created_with,
            "recipe": self.recipe.to_dict(),
            "state": self.state,
        }
        if self.versions:
            contents["versions"] = {
                name: own.model_dump(mode="json") for name, own in sorted(self.versions.items())
            }
        if self.created_from is not None:
            contents["created_from"] = self.created_from.to_dict()
        if self.encoders:
            contents["encoders"] = dict(sorted(self.encoders.items()))
        if self.revision is not None:
            contents["revision"] = self.revision
        if self.diagnosis is not None:
            contents["diagnosis"] = self.diagnosis.to_dict()
        contents = _rounded(contents)
        return {**contents, "sha256": digest(contents)}

    @classmethod
    def from_dict(cls, name: str, manifest: Mapping[str, Any]) -> Manifest:
        """Read the manifest of the collection ``name``, also one with the names of version 1.

        Raises
        ------
        RecipeVersionError
            A newer embplug wrote it.
        StateError, RecipeError
            It was altered, or holds values of other types.
        """
        if not isinstance(manifest, dict):
            raise _unreadable(name, f"it is no object, but {type(manifest).__name__}")
        recipe = manifest.get("recipe")
        recipe_version = recipe.get("version") if isinstance(recipe, dict) else None
        if isinstance(recipe_version, int):
            Recipe.check_version(recipe_version)
        contents = {key: value for key, value in manifest.items() if key != "sha256"}
        known = {
            "embplug",
            "recipe",
            "state",
            "versions",
            "created_from",
            "encoders",
            "revision",
            "diagnosis",
        }
        complete = {"embplug", "recipe", "state"} <= contents.keys() <= known
        try:
            if not complete or manifest.get("sha256") not in (digest(contents), digest(_rounded(contents))):
                raise StateError(
                    f"the recipe of collection {name!r} was altered: its sha256 does not match. "
                    "Restore the metadata from a backup or snapshot, or create the collection anew"
                )
            return cls._from_contents(_from_version_1(contents) if recipe_version == 1 else contents)
        except EmbplugError:
            raise
        # Whoever writes the collection can write any JSON with the right sha256.
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise _unreadable(name, str(error)) from None

    @classmethod
    def _from_contents(cls, contents: dict[str, Any]) -> Manifest:
        before, state = contents.get("created_from"), contents["state"]
        revision, diagnosis = contents.get("revision"), contents.get("diagnosis")
        if not isinstance(contents["embplug"], str) or not isinstance(revision, str | None):
            raise TypeError("'embplug' and 'revision' have to be texts")
        if not isinstance(state, dict | None):
            raise TypeError("'state' has to be an object or null")
        encoders = contents.get("encoders", {})
        if not isinstance(encoders, dict) or not all(isinstance(own, str) for own in encoders.values()):
            raise TypeError("'encoders' has to be an object of texts")
        return cls(
            Recipe.from_dict(contents["recipe"]),
            state,
            {key: VectorVersion(**fields) for key, fields in contents.get("versions", {}).items()},
            None if before is None else Recipe.from_dict(before),
            contents["embplug"],
            revision,
            encoders,
            None if diagnosis is None else TokenDiagnosis.from_dict(diagnosis),
        )


def _rounded(data: Any) -> Any:
    """Round floats to digits that every engine returns: a server that restarts may lose the last bit."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return float(f"{data:.12g}") if isinstance(data, float) else data


def read_manifest(name: str, info: models.CollectionInfo) -> Manifest:
    """The manifest of a collection, checked.

    Raises
    ------
    NotAnEmbplugCollectionError
        The collection has none.
    RecipeVersionError, StateError
        See :meth:`Manifest.from_dict`.
    """
    manifest = (info.config.metadata or {}).get(MANIFEST_KEY)
    if manifest is None:
        raise NotAnEmbplugCollectionError(
            f"collection {name!r} has no recipe: embplug did not make it; Collection.open_plain opens it"
        )
    return Manifest.from_dict(name, manifest)


def _unreadable(name: str, reason: str) -> StateError:
    return StateError(
        f"the manifest of collection {name!r} cannot be read: {reason[:300]}. "
        "Restore the metadata from a backup or snapshot, or create the collection anew"
    )


_VERSION_FIELDS = ("model", "stored_as", "previous")
"""Fields of a dense vector that the recipes of version 1 kept for an upgrade."""


def _from_version_1(contents: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the names and the parts of version 2."""
    recipe = contents["recipe"]
    tokens, dense, versions = recipe.get("tokens"), {}, {}
    if isinstance(tokens, dict):
        names = {"fde": "encoding", "fde_storage": "encoding_storage", "matrix": "multivector"}
        tokens = {names.get(name, name): value for name, value in tokens.items()}
        encoding = tokens.get("encoding")
        if isinstance(encoding, dict) and encoding.get("kind") == "learned":
            # All tokens of documents were compared with landmarks, in all dimensions.
            tokens["encoding"] = {"compared_dim": None, "duplicates": 0.0, **encoding}
    for name, fields in (recipe.get("dense") or {}).items():
        dense[name] = {key: value for key, value in fields.items() if key not in _VERSION_FIELDS}
        version = {key: fields[key] for key in _VERSION_FIELDS if key in fields}
        if version and version != {"model": 1, "stored_as": None, "previous": None}:
            versions[name] = version
    return {
        **contents,
        "recipe": {**recipe, "version": 2, "tokens": tokens, "dense": dense},
        "versions": versions,
    }
