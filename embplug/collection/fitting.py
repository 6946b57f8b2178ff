"""What a collection learns from data: kept beside it, and taken over from other processes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.state import load, save
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps, T
from embplug.recipe import Recipe


def save_fit_steps(engine: AnyEngine, name: str, pipeline: Pipeline) -> Steps[None]:
    """Keep what the pipeline has learned, then refer to it from the collection."""
    if pipeline.get_state():
        yield from save_manifest_steps(engine, name, pipeline)


def save_manifest_steps(engine: AnyEngine, name: str, pipeline: Pipeline) -> Steps[None]:
    """Replace recipe and fitted state of the collection by those of a pipeline, in one write."""
    state = pipeline.get_state()
    reference = None
    if state:
        reference = yield from save(engine, name, state, pipeline.recipe.replication_factor)
        if not pipeline.fitted:
            reference["partial"] = True
    before = read_manifest(name, (yield Call.of("get_collection", collection_name=name)))
    created_from = before.created_from
    if created_from is None and before.recipe != pipeline.recipe:
        created_from = before.recipe
    manifest = Manifest(pipeline.recipe, reference, pipeline.versions, created_from)
    yield Call.of("update_collection", collection_name=name, metadata={MANIFEST_KEY: manifest.to_dict()})


def learn_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, sample: CheckedSample | None
) -> Steps[None]:
    """Take over what another process made the collection learn, else learn from ``sample``."""
    manifest = read_manifest(name, (yield Call.of("get_collection", collection_name=name)))
    if manifest.state is not None:
        pipeline.set_state((yield from load(engine, name, manifest.state)))
    if not pipeline.fitted and sample is not None:
        yield Call.compute(partial(pipeline.fit, sample))
        yield from save_fit_steps(engine, name, pipeline)


def take_over_steps(engine: AnyEngine, name: str, existing: Pipeline, recipe: Recipe) -> Steps[None]:
    """Give a collection that has not learned everything what the methods of ``recipe`` have learned."""
    learned, state = existing.get_state(), Pipeline(recipe).get_state()
    if not state.keys() <= learned.keys():
        existing.set_state({**state, **learned})
        yield from save_fit_steps(engine, name, existing)


def fitted_steps(engine: AnyEngine, name: str, pipeline: Pipeline, work: Callable[[], T]) -> Steps[T]:
    """Compute ``work`` with what the collection has learned, maybe in another process."""
    if not pipeline.fitted:
        yield from learn_steps(engine, name, pipeline, None)
    result: T = yield Call.compute(work)
    return result
