"""What a collection learns from data: kept beside it, and taken over from other processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.state import load, save
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps, T
from embplug.methods.base import Method
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


def fit(name: str, pipeline: Pipeline, sample: CheckedSample) -> None:
    """Fit the methods that are not fitted, and warn of those for which the sample is small."""
    learning = [
        (branch, place, method)
        for branch in pipeline.branches.values()
        for place, method in branch.places().items()
        if isinstance(method, Method) and not method.fitted
    ]
    pipeline.fit(sample)
    small = []
    for branch, place, method in learning:
        count, least = branch.count_sample(sample), method.least_sample(method.fitted_dim or 0)
        if count < least:
            small.append(f"{place} ({type(method).__name__}) from {count} of at least {least} {branch.unit}")
    if small:
        warnings.warn(
            f"collection {name!r} has learned from few documents: {'; '.join(small)}. It does not learn "
            "again, and hits may be poor: create it with a larger sample=embplug.Sample(...), or add a "
            "few thousand documents in the first call",
            UserWarning,
            stacklevel=2,
        )


def learn_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, sample: CheckedSample | None
) -> Steps[None]:
    """Take over what another process made the collection learn, else learn from ``sample``."""
    manifest = read_manifest(name, (yield Call.of("get_collection", collection_name=name)))
    if manifest.state is not None:
        pipeline.set_state((yield from load(engine, name, manifest.state)))
    if not pipeline.fitted and sample is not None:
        yield Call.compute(partial(fit, name, pipeline, sample))
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
