"""A pipeline restored from what a collection remembers, and read again when that has changed."""

from __future__ import annotations

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.revision import Revision, alias_of, current_revision_steps
from embplug.collection.state import load
from embplug.encoders import Encoder
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps, retried
from embplug.engines.capabilities import Capabilities, capabilities_steps
from embplug.errors import StateError
from embplug.search.cross_encoder import Scorer


def restored_steps(
    engine: AnyEngine,
    name: str,
    *,
    encoder: Encoder | str | None = None,
    cross_encoder: Scorer | str | None = None,
    device: str | None = None,
    capabilities: Capabilities | None = None,
) -> Steps[Pipeline]:
    """Read recipe and state, and check that both belong to the collection as it is."""
    revision = yield from current_revision_steps(name)
    if capabilities is None:
        capabilities = yield from capabilities_steps(engine)
    while True:
        manifest = revision.manifest
        pipeline = Pipeline(
            manifest.recipe,
            encoder,
            versions=manifest.versions,
            cross_encoder=cross_encoder,
            device=device,
        )
        pipeline.capabilities = capabilities
        pipeline.models.check_dimensions()
        pipeline.models.set_recorded(manifest.encoders)
        pipeline.diagnosis = manifest.diagnosis
        set_revision(pipeline, name, revision)
        try:
            yield from _restore_steps(engine, name, pipeline, revision)
        except StateError:
            # What belongs to a revision goes with it, perhaps between two of these requests.
            revision = yield from current_revision_steps(name)
            if revision.manifest.identity == manifest.identity:
                raise
        else:
            return pipeline


def set_revision(pipeline: Pipeline, name: str, revision: Revision) -> None:
    """Note down of which revision a pipeline is, and the alias that the revision has.

    Who opens a collection by an alias of their own does not get the alias of the revision, because it would
    not follow when theirs is switched to another collection.
    """
    pipeline.revision = revision.manifest.identity
    fenced = revision.fenced and revision.collection == name
    pipeline.alias = alias_of(pipeline.revision) if fenced else None


def _restore_steps(engine: AnyEngine, name: str, pipeline: Pipeline, revision: Revision) -> Steps[None]:
    """Give a pipeline the collection's state, and check that both belong to the collection as it is."""
    info, state = revision.info, revision.manifest.state
    _check_vectors(name, info, pipeline)
    if state is not None:
        pipeline.set_state((yield from load(engine, revision.collection, state)))
    if not pipeline.fitted and info.points_count and (yield from _has_vectors_steps(name, pipeline)):
        raise StateError(
            f"collection {name!r} has {info.points_count} points, but no fitted state to search them with: "
            "restore its metadata from a backup or snapshot, or create it anew"
        )


def _has_vectors_steps(name: str, pipeline: Pipeline) -> Steps[bool]:
    """Whether a point has a vector, which documents without text that are stored do not have."""
    names = [*pipeline.vectors_config(), *(pipeline.sparse_vectors_config() or {})]
    condition = models.Filter(should=[models.HasVectorCondition(has_vector=vector) for vector in names])
    records, _ = yield from retried(
        Call.of("scroll", collection_name=name, scroll_filter=condition, limit=1, with_payload=False)
    )
    return bool(records)


def reload_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, encoder: Encoder | str | None
) -> Steps[Pipeline]:
    """Read recipe and state again; what the caller of ``open`` passed stays where it still fits."""
    current = yield from restored_steps(
        engine,
        name,
        encoder=encoder,
        cross_encoder=pipeline.models.passed_scorer,
        device=pipeline.device,
        capabilities=pipeline.capabilities,
    )
    current.models.allow_as(pipeline.models)
    if encoder is None and _models(current) == _models(pipeline):
        current.models.adopt_encoder(pipeline.models)
    return current


def _models(pipeline: Pipeline) -> tuple[str | None, dict[str, int]]:
    """Which models make the vectors: the encoder's name, and the version of each vector's model."""
    return pipeline.recipe.encoder, {name: version.model for name, version in pipeline.versions.items()}


def _check_vectors(name: str, info: models.CollectionInfo, pipeline: Pipeline) -> None:
    stored = info.config.params.vectors
    for vector, parameters in pipeline.vectors_config().items():
        actual = stored.get(vector) if isinstance(stored, dict) else None
        if actual is None or (actual.size, actual.distance) != (parameters.size, parameters.distance):
            got = "missing" if actual is None else f"{actual.size}-dimensional with {actual.distance.value}"
            raise StateError(
                f"vector {vector!r} of collection {name!r} is {got}, but its recipe says "
                f"{parameters.size}-dimensional with {parameters.distance.value}"
            )
    for vector, expected in (pipeline.sparse_vectors_config() or {}).items():
        sparse = (info.config.params.sparse_vectors or {}).get(vector)
        if sparse is None or sparse.modifier != expected.modifier:
            got = "missing" if sparse is None else _modified(sparse)
            raise StateError(
                f"sparse vector {vector!r} of collection {name!r} is {got}, as its recipe wants it"
            )


def _modified(sparse: models.SparseVectorParams) -> str:
    return "without IDF" if sparse.modifier != models.Modifier.IDF else "with IDF"
