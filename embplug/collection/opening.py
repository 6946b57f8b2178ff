"""From a name to a pipeline: collections are created, opened, and read again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from embplug.branches.complete import reduce_tokens
from embplug.branches.documents import CheckedSample, check_sample
from embplug.branches.loaded_models import LoadedModels
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import fit, learn_steps, measure, save_manifest_steps, take_over_steps
from embplug.collection.info import existing_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.payload_indexes import index_steps
from embplug.collection.restore import restored_steps, set_revision
from embplug.collection.revision import (
    ATTEMPTS,
    PAUSE_S,
    current_revision_steps,
    new_id,
    read_revision_steps,
)
from embplug.collection.state import forget, save
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.common.names import check_collection_name
from embplug.common.telemetry import observed
from embplug.common.validation import short_repr
from embplug.encoders import Encoder
from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps, is_transient, retried
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    EmbplugError,
    EngineError,
    InvalidArgumentError,
    RecipeMismatchError,
)
from embplug.recipe import Dense, Recipe, Sparse
from embplug.recipe.names import DENSE, SPARSE_VECTOR
from embplug.search.cross_encoder import Scorer

logger = logging.getLogger(__name__)


def check_create(
    recipe: Any,
    engine: Any,
    *,
    sample: Any = None,
    encoder: Encoder | str | None = None,
    cross_encoder: Scorer | str | None = None,
) -> CheckedSample | None:
    """Check what ``create`` takes, before the engine is asked; return the checked sample."""
    if isinstance(engine, Recipe):
        expected = "a client, or what embplug.connect takes, after the recipe"
        raise InvalidArgumentError("engine", expected, "a Recipe")
    if not isinstance(recipe, Recipe):
        hint = "; use Recipe.from_dict" if isinstance(recipe, Mapping) else ""
        raise InvalidArgumentError("recipe", "a Recipe", type(recipe).__name__ + hint)
    LoadedModels(recipe, encoder, cross_encoder).check_names()
    return None if sample is None else check_sample(sample, recipe.decided())


def _named(engine: AnyEngine, name: str, *_: Any, **__: Any) -> dict[str, Any]:
    return {"collection": name}


@observed("create", _named, logger)
def create_steps(
    engine: AnyEngine,
    name: str,
    recipe: Recipe,
    *,
    sample: CheckedSample | None = None,
    encoder: Encoder | str | None = None,
    cross_encoder: Scorer | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    device: str | None = None,
    must_be_new: bool = False,
) -> Steps[Pipeline]:
    """Make the collection, or return the pipeline of an existing one with the same recipe.

    A new one gets ``metadata`` beside the recipe, in the same call. With ``must_be_new``, one that another
    process has made is a CollectionExistsError.
    """
    _check_name(name)
    capabilities = yield from capabilities_steps(engine)
    pipeline = Pipeline(recipe.decided(capabilities), encoder, cross_encoder=cross_encoder, device=device)
    pipeline.capabilities = capabilities
    pipeline.models.allow(recipe)
    pipeline.models.check_dimensions()
    for _ in range(ATTEMPTS):
        try:
            if not (yield from retried(Call.of("collection_exists", collection_name=name))):
                yield from _create_new_steps(engine, name, pipeline, sample, metadata)
                return pipeline
            if must_be_new:
                raise CollectionExistsError(f"collection {name!r} was created by another process just now")
            return (yield from _open_existing_steps(engine, name, pipeline, recipe, sample))
        except (CollectionNotFoundError, _CreatedElsewhere):
            # Another process has created or deleted it between two of these requests.
            yield Call.pause(PAUSE_S)
    raise EngineError(f"collection {name!r} is created and deleted by other processes all the time")


class _CreatedElsewhere(Exception):
    """Another process has created the collection first."""


def _create_new_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    sample: CheckedSample | None,
    metadata: Mapping[str, Any] | None,
) -> Steps[None]:
    """Create a collection, which exactly one of several processes does; then give it what it needs.

    A process that is killed on the way leaves a collection that the next call of ``create`` completes.
    """
    assert pipeline.capabilities is not None
    recipe = pipeline.recipe
    check_recipe(recipe, pipeline.capabilities)
    if sample is not None:
        look = measure if pipeline.fitted else fit
        yield Call.compute(lambda: look(name, pipeline, reduce_tokens(sample, pipeline)))
    state, fresh, reference = pipeline.get_state(), new_id(), None
    in_files = traits_of(engine).keeps_state_in_files
    if state and not in_files:
        # The collection refers to it from its first moment, so that no other process learns something else.
        reference = yield from save(engine, name, state, recipe.replication_factor, owner=fresh)
        if not pipeline.fitted:
            reference["partial"] = True
    manifest = Manifest(
        recipe,
        reference,
        encoders=pipeline.models.revisions,
        revision=fresh,
        diagnosis=pipeline.diagnosis,
    )
    try:
        yield from retried(
            Call.of(
                "create_collection",
                collection_name=name,
                vectors_config=pipeline.vectors_config(),
                sparse_vectors_config=pipeline.sparse_vectors_config(),
                shard_number=recipe.shard_number,
                # The default has no name on engines that are one shard.
                sharding_method=None if recipe.sharding_method == "auto" else recipe.sharding_method,
                replication_factor=recipe.replication_factor,
                write_consistency_factor=recipe.write_consistency_factor,
                on_disk_payload=recipe.on_disk_payload,
                metadata={**(metadata or {}), MANIFEST_KEY: manifest.to_dict()},
            )
        )
    except (EmbplugError, ValueError) as error:
        if is_transient(error):
            raise
        if not (yield from retried(Call.of("collection_exists", collection_name=name))):
            if reference is not None:
                yield from forget(engine, reference)
            raise
        info = yield from retried(Call.of("get_collection", collection_name=name))
        stored = read_manifest(name, info)
        # The answer to a first attempt may have been lost.
        if stored.revision != fresh:
            if reference is not None:
                yield from forget(engine, reference)
            raise _CreatedElsewhere from None
    try:
        yield from index_steps(name, recipe.payload_indexes)
    except EmbplugError as error:
        if not is_transient(error) and not isinstance(error, CollectionNotFoundError):
            # The engine refuses the recipe, which no later call can change.
            yield Call.of("delete_collection", collection_name=name)
            if reference is not None:
                yield from forget(engine, reference)
        raise
    revision = yield from current_revision_steps(name, own=fresh)
    if revision.manifest.identity != fresh:
        raise _CreatedElsewhere
    set_revision(pipeline, name, revision)
    logger.info("created collection %r", name)
    if state and in_files and not (yield from save_manifest_steps(engine, name, pipeline)):
        raise _CreatedElsewhere


def _open_existing_steps(
    engine: AnyEngine, name: str, passed: Pipeline, recipe: Recipe, sample: CheckedSample | None
) -> Steps[Pipeline]:
    """Open a collection that exists with the same recipe, and complete what it lacks."""
    manifest = (yield from read_revision_steps(name)).manifest
    differences = manifest.differences(recipe)
    if differences:
        raise RecipeMismatchError(name, differences)
    existing = yield from restored_steps(
        engine,
        name,
        encoder=passed.models.passed_encoder,
        cross_encoder=passed.models.passed_scorer,
        device=passed.device,
        capabilities=passed.capabilities,
    )
    existing.models.allow_as(passed.models)
    yield from index_steps(name, existing.recipe.payload_indexes)
    if not existing.fitted:
        existing = yield from take_over_steps(engine, name, existing, recipe)
    if not existing.fitted and sample is not None:
        existing = yield from learn_steps(engine, name, existing, reduce_tokens(sample, existing))
    return existing


@observed("open", _named, logger)
def open_steps(
    engine: AnyEngine,
    name: str,
    *,
    encoder: Encoder | str | None = None,
    cross_encoder: Scorer | str | None = None,
    device: str | None = None,
) -> Steps[Pipeline]:
    """Read recipe and state of a collection that exists."""
    _check_name(name)
    return (
        yield from restored_steps(engine, name, encoder=encoder, cross_encoder=cross_encoder, device=device)
    )


def open_plain_steps(
    engine: AnyEngine,
    name: str,
    *,
    vector: str | None,
    encoder: Encoder | str | None,
    text_key: str,
    sparse_vector: str | None = None,
    sparse_encoder: Encoder | str | None = None,
) -> Steps[Pipeline]:
    """Read from the configuration what a recipe would say of a collection that embplug did not make."""
    _check_name(name)
    info = yield from existing_steps(name)
    configured = info.config.params.vectors or {}
    stored = configured if isinstance(configured, dict) else {"": configured}
    dense = {key: params for key, params in stored.items() if params.multivector_config is None}
    chosen = next(iter(dense)) if vector is None and len(dense) == 1 else vector
    if not isinstance(chosen, str) or chosen not in dense:
        expected = f"one of the dense vectors {[*dense]} of {name!r}"
        raise InvalidArgumentError("vector", expected, short_repr(vector))
    params = dense[chosen]
    versions = {DENSE: VectorVersion(stored_as=chosen)}
    weights, sparse = info.config.params.sparse_vectors or {}, None
    if sparse_vector is not None or sparse_encoder is not None:
        own = next(iter(weights)) if sparse_vector is None and len(weights) == 1 else sparse_vector
        if not isinstance(own, str) or own not in weights:
            expected = f"one of the sparse vectors {[*weights]} of {name!r}"
            raise InvalidArgumentError("sparse_vector", expected, short_repr(sparse_vector))
        spec = getattr(sparse_encoder, "spec", sparse_encoder)
        sparse = Sparse(kind="learned", encoder=spec, modifier=weights[own].modifier)
        versions[SPARSE_VECTOR] = VectorVersion(stored_as=own)
    recipe = Recipe(
        dense=Dense(dim=params.size, distance=params.distance, datatype=params.datatype),
        sparse=sparse,
        text_key=text_key,
    )
    pipeline = Pipeline(recipe, encoder, versions=versions)
    pipeline.models.allow(recipe)
    if sparse_encoder is not None and not isinstance(sparse_encoder, str):
        pipeline.models.pass_named(sparse_encoder)
    pipeline.models.check_names()
    pipeline.models.check_dimensions()
    kept = {version.stored_as for version in versions.values()}
    pipeline.unfilled = tuple(other for other in (*stored, *weights) if other not in kept)
    pipeline.capabilities = yield from capabilities_steps(engine)
    return pipeline


def _check_name(name: Any) -> None:
    check_collection_name(name, "name")
    if name == STATE_COLLECTION:
        raise InvalidArgumentError(
            "name", f"another name than {STATE_COLLECTION!r}, which is embplug's", name
        )
