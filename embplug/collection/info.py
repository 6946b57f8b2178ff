"""What a collection is and holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.document_bytes import DocumentBytes, document_bytes_steps
from embplug.collection.revision import read_revision_steps
from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps
from embplug.errors import CollectionNotFoundError
from embplug.methods.kernels import in_use
from embplug.methods.token_diagnosis import TokenDiagnosis
from embplug.recipe import Recipe


@dataclass(frozen=True)
class CollectionInfo:
    """Size, recipe and status of a collection.

    Attributes
    ----------
    name : str
        Name of the Qdrant collection.
    points : int
        Number of documents.
    indexed_vectors : int
        Number of indexed vectors as Qdrant counts them; a token matrix counts one for each token.
    status : str
        Qdrant's status: green, yellow (optimizing), grey (waiting to be optimized) or red.
    vectors : dict of str to dict
        Parameters of each named vector, as JSON types.
    recipe : Recipe
        What the collection stores and how it is searched.
    fitted : bool
        Whether everything that learns from data has learned.
    state_bytes : int
        Bytes of the fitted state.
    disk_bytes : int or None
        Measured bytes on disk; None on servers, which do not tell.
    document_bytes : DocumentBytes or None
        Bytes of a document in memory and on disk, with its share of the fitted state; None without documents.
    created_with : str
        Version of embplug that wrote the manifest.
    codes_scored_by : str
        What scores codes in this process: the instruction set of the compiled kernel, or ``"numpy"``.
    versions : dict of str to VectorVersion
        By dense vector: which model makes it, and its name in Qdrant, where an upgrade has changed them.
    diagnosis : TokenDiagnosis or None
        How the tokens lie from which the collection has learned; its ``sentence`` says which encoding suits
        them. None if that was not measured.
    """

    name: str
    points: int
    indexed_vectors: int
    status: str
    vectors: dict[str, dict[str, Any]]
    recipe: Recipe
    fitted: bool
    state_bytes: int
    disk_bytes: int | None
    document_bytes: DocumentBytes | None
    created_with: str
    codes_scored_by: str
    versions: dict[str, VectorVersion]
    diagnosis: TokenDiagnosis | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        versions = {name: version.model_dump(mode="json") for name, version in self.versions.items()}
        document = None if self.document_bytes is None else asdict(self.document_bytes)
        return {
            **vars(self),
            "recipe": self.recipe.to_dict(),
            "document_bytes": document,
            "versions": versions,
            "diagnosis": None if self.diagnosis is None else self.diagnosis.to_dict(),
        }


def existing_steps(name: str) -> Steps[models.CollectionInfo]:
    """Read the configuration of a collection that has to exist."""
    if not (yield Call.of("collection_exists", collection_name=name)):
        raise CollectionNotFoundError(f"no collection {name!r} on this engine")
    info: models.CollectionInfo = yield Call.of("get_collection", collection_name=name)
    return info


def info_steps(engine: AnyEngine, name: str) -> Steps[CollectionInfo]:
    """Describe the collection."""
    revision = yield from read_revision_steps(name)
    info, manifest = revision.info, revision.manifest
    disk_bytes = None
    if traits_of(engine).tells_disk_bytes:
        disk_bytes = yield Call.of("disk_bytes", collection_name=name)
    stored = info.config.params.vectors or {}
    assert isinstance(stored, dict)  # what has a recipe has named vectors
    state_bytes = manifest.state["bytes"] if manifest.state else 0
    document_bytes = yield from document_bytes_steps(
        name, manifest.recipe, info.points_count or 0, state_bytes, disk_bytes
    )
    named: dict[str, Any] = {**stored, **(info.config.params.sparse_vectors or {})}
    return CollectionInfo(
        name=name,
        points=info.points_count or 0,
        indexed_vectors=info.indexed_vectors_count or 0,
        status=info.status.value,
        vectors={
            vector: parameters.model_dump(mode="json", exclude_none=True)
            for vector, parameters in named.items()
        },
        recipe=manifest.recipe,
        fitted=not manifest.state.get("partial") if manifest.state else Pipeline(manifest.recipe).fitted,
        state_bytes=state_bytes,
        disk_bytes=disk_bytes,
        document_bytes=document_bytes,
        created_with=manifest.created_with,
        codes_scored_by=in_use(),
        versions=manifest.versions,
        diagnosis=manifest.diagnosis,
    )
