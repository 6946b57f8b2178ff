"""From a name to a pipeline: collections are created, opened, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from embplug.branches.complete import reduce_tokens
from embplug.branches.documents import CheckedSample, check_sample
from embplug.branches.loaded_models import LoadedModels
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import fit, save_fit_steps, take_over_steps
from embplug.collection.info import existing_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.state import STATE_COLLECTION, load
from embplug.encoders import Encoder
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import EmbplugError, InvalidArgumentError, RecipeMismatchError, StateError
from embplug.recipe import Dense, Recipe
from embplug.recipe.names import DENSE
from embplug.search.cross_encoder import Scorer


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
) -> Steps[Pipeline]:
    """Make the collection, or return the pipeline of an existing one with the same recipe.

    A new one gets ``metadata`` beside the recipe, in the same call.
    """
    _check_name(name)
    capabilities = yield from capabilities_steps(engine)
    if (yield Call.of("collection_exists", collection_name=name)):
        info = yield Call.of("get_collection", collection_name=name)
        manifest = read_manifest(name, info)
        differences = manifest.differences(recipe)
        if differences:
            raise RecipeMismatchError(name, differences)
        existing = Pipeline(
            manifest.recipe,
            encoder,
            versions=manifest.versions,
            cross_encoder=cross_encoder,
            device=device,
        )
        existing.capabilities = capabilities
        existing.models.allow(recipe)
        yield from _restore(engine, name, existing, info, manifest)
        yield from _index_payload(name, manifest.recipe)
        if not existing.fitted:
            yield from take_over_steps(engine, name, existing, recipe)
        return existing
    pipeline = Pipeline(recipe.decided(capabilities), encoder, cross_encoder=cross_encoder, device=device)
    recipe, pipeline.capabilities = pipeline.recipe, capabilities
    pipeline.models.allow(recipe)
    check_recipe(recipe, capabilities)
    if sample is not None:
        yield Call.compute(lambda: fit(name, pipeline, reduce_tokens(sample, pipeline)))
    yield Call.of(
        "create_collection",
        collection_name=name,
        vectors_config=pipeline.vectors_config(),
        sparse_vectors_config=pipeline.sparse_vectors_config(),
        shard_number=recipe.shard_number,
        replication_factor=recipe.replication_factor,
        write_consistency_factor=recipe.write_consistency_factor,
        on_disk_payload=recipe.on_disk_payload,
        metadata={**(metadata or {}), MANIFEST_KEY: Manifest(recipe).to_dict()},
    )
    try:
        yield from _index_payload(name, recipe)
        yield from save_fit_steps(engine, name, pipeline)
    except EmbplugError:
        yield Call.of("delete_collection", collection_name=name)
        raise
    return pipeline


def open_steps(
    engine: AnyEngine,
    name: str,
    *,
    encoder: Encoder | str | None = None,
    cross_encoder: Scorer | str | None = None,
    device: str | None = None,
) -> Steps[Pipeline]:
    """Read recipe and state, and check that both belong to the collection as it is."""
    _check_name(name)
    info = yield from existing_steps(name)
    manifest = read_manifest(name, info)
    pipeline = Pipeline(
        manifest.recipe,
        encoder,
        versions=manifest.versions,
        cross_encoder=cross_encoder,
        device=device,
    )
    pipeline.capabilities = yield from capabilities_steps(engine)
    yield from _restore(engine, name, pipeline, info, manifest)
    return pipeline


def _restore(
    engine: AnyEngine, name: str, pipeline: Pipeline, info: models.CollectionInfo, manifest: Manifest
) -> Steps[None]:
    """Give a pipeline the collection's state, and check that both belong to the collection as it is."""
    _check_vectors(name, info, pipeline)
    if manifest.state is not None:
        pipeline.set_state((yield from load(engine, name, manifest.state)))
    if not pipeline.fitted and info.points_count:
        raise StateError(
            f"collection {name!r} has {info.points_count} points, but no fitted state to search them with: "
            "restore its metadata from a backup or snapshot, or create it anew"
        )


def reload_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, encoder: Encoder | str | None
) -> Steps[Pipeline]:
    """Read recipe and state again; what the caller of ``open`` passed stays where it still fits."""
    current = yield from open_steps(
        engine, name, encoder=encoder, cross_encoder=pipeline.models.passed_scorer, device=pipeline.device
    )
    current.models.allow_as(pipeline.models)
    if encoder is None and _models(current) == _models(pipeline):
        current.models.adopt_encoder(pipeline.models)
    return current


def _models(pipeline: Pipeline) -> tuple[str | None, dict[str, int]]:
    """Which models make the vectors: the encoder's name, and the version of each vector's model."""
    return pipeline.recipe.encoder, {name: version.model for name, version in pipeline.versions.items()}


def open_plain_steps(
    engine: AnyEngine, name: str, *, vector: str | None, encoder: Encoder | str | None, text_key: str
) -> Steps[Pipeline]:
    """Read from the configuration what a recipe would say of a collection that embplug did not make."""
    _check_name(name)
    info = yield from existing_steps(name)
    configured = info.config.params.vectors or {}
    stored = configured if isinstance(configured, dict) else {"": configured}
    dense = {key: params for key, params in stored.items() if params.multivector_config is None}
    chosen = next(iter(dense)) if vector is None and len(dense) == 1 else vector
    if chosen is None or chosen not in dense:
        raise InvalidArgumentError("vector", f"one of the dense vectors {[*dense]} of {name!r}", repr(vector))
    params = dense[chosen]
    recipe = Recipe(
        dense=Dense(dim=params.size, distance=params.distance, datatype=params.datatype), text_key=text_key
    )
    pipeline = Pipeline(recipe, encoder, versions={DENSE: VectorVersion(stored_as=chosen)})
    pipeline.capabilities = yield from capabilities_steps(engine)
    return pipeline


def _index_payload(name: str, recipe: Recipe) -> Steps[None]:
    for field, schema in recipe.payload_indexes.items():
        yield Call.of(
            "create_payload_index", collection_name=name, field_name=field, field_schema=schema, wait=True
        )


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
            got = "missing" if sparse is None else "without IDF"
            raise StateError(
                f"sparse vector {vector!r} of collection {name!r} is {got}, as its recipe wants it"
            )


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InvalidArgumentError("name", "the name of a collection", repr(name))
    if name == STATE_COLLECTION:
        raise InvalidArgumentError(
            "name", f"another name than {STATE_COLLECTION!r}, which is embplug's", name
        )
