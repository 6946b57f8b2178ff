"""What a collection learns from data: kept beside it, and taken over from other processes."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import replace
from functools import partial

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.manifest import Manifest
from embplug.collection.restore import reload_steps, set_revision
from embplug.collection.revision import current_revision_steps, new_id, read_revision_steps, revise_steps
from embplug.collection.state import forget, save
from embplug.common.telemetry import span
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps
from embplug.methods.base import Method
from embplug.methods.token_diagnosis import diagnose
from embplug.recipe import Recipe

logger = logging.getLogger(__name__)


def save_manifest_steps(engine: AnyEngine, name: str, pipeline: Pipeline) -> Steps[bool]:
    """Replace recipe and fitted state of the collection by those of a pipeline, in one step.

    Parameters
    ----------
    engine : client
        An open client.
    name : str
        Name of the collection.
    pipeline : Pipeline
        What the collection is to be. It is of the revision that it replaces, or of none if it replaces
        whatever is there.

    Returns
    -------
    bool
        Whether the collection was changed. It was not if another process has changed it since it was read.
    """
    before = yield from current_revision_steps(name)
    if pipeline.revision not in (None, before.manifest.identity):
        return False
    state, fresh, kept = pipeline.get_state(), new_id(), before.manifest.state
    reference = None
    if state:
        replicas = before.info.config.params.replication_factor
        reference = yield from save(engine, before.collection, state, replicas, owner=fresh)
        if not pipeline.fitted:
            reference["partial"] = True
    created_from = before.manifest.created_from
    if created_from is None and before.manifest.recipe != pipeline.recipe:
        created_from = before.manifest.recipe
    encoders = {**pipeline.models.revisions}
    manifest = Manifest(
        pipeline.recipe,
        reference,
        pipeline.versions,
        created_from,
        revision=fresh,
        encoders=encoders,
        diagnosis=pipeline.diagnosis,
    )
    if (yield from revise_steps(before, manifest)):
        pipeline.models.set_recorded(encoders)
        set_revision(pipeline, name, replace(before, manifest=manifest))
        logger.info("collection %r has the new revision %s", name, fresh)
        if kept is not None and kept.get("owner"):
            yield from forget(engine, kept)
        return True
    if reference is not None:
        now = (yield from read_revision_steps(name)).manifest.state or {}
        # This process may have won, and another one may have gone on from there.
        if now.get("owner") != fresh:
            yield from forget(engine, reference)
    return False


def fit(name: str, pipeline: Pipeline, sample: CheckedSample) -> None:
    """Fit the methods that are not fitted, warn of those with a small sample, and measure the tokens."""
    learning = [
        (branch, place, method)
        for branch in pipeline.branches.values()
        for place, method in branch.places().items()
        if isinstance(method, Method) and not method.fitted
    ]
    methods = [f"{place} ({type(method).__name__})" for _, place, method in learning]
    # Learning takes most of the time of a first call, and shows no progress of its own.
    what = ", ".join(methods) or "corrections of codes"
    logger.info("collection %r learns from %d documents: %s", name, len(sample), what)
    started = time.monotonic()
    with span("fit", name, methods=[type(method).__name__ for _, _, method in learning]):
        pipeline.fit(sample)
    for branch, place, method in learning:
        kind, count = type(method).__name__, branch.count_sample(sample)
        logger.info("collection %r: %s (%s) has learned from %d %s", name, place, kind, count, branch.unit)
    logger.info("collection %r has learned in %.1f s", name, time.monotonic() - started)
    measure(name, pipeline, sample)
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


def measure(name: str, pipeline: Pipeline, sample: CheckedSample) -> None:
    """Measure how the tokens of a sample lie, and say which encoding suits them."""
    if sample.tokens is not None and len(sample.tokens.values):
        pipeline.diagnosis = diagnose(sample.tokens)
        logger.info("collection %r: %s", name, pipeline.diagnosis.sentence)


def learn_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, sample: CheckedSample | None
) -> Steps[Pipeline]:
    """Learn from ``sample``, unless another process has made the collection learn.

    Parameters
    ----------
    engine : client
        An open client.
    name : str
        Name of the collection.
    pipeline : Pipeline
        The collection as this process knows it. It is not changed, because searches may use it.
    sample : CheckedSample or None
        What to learn from, checked for the recipe of ``pipeline``. None only takes over what was learned.

    Returns
    -------
    Pipeline
        The collection as it is now. It is fitted, unless there is nothing to learn from, or it has another
        recipe by now.
    """
    recipe = pipeline.recipe
    while not pipeline.fitted:
        pipeline = yield from reload_steps(engine, name, pipeline, None)
        if pipeline.fitted or sample is None or pipeline.recipe != recipe:
            break
        learned = pipeline.changed(pipeline.recipe, pipeline.versions)
        learned.set_state(pipeline.get_state())
        yield Call.compute(partial(fit, name, learned, sample))
        if (yield from save_manifest_steps(engine, name, learned)):
            return learned
    return pipeline


def record_encoders_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, used: Pipeline
) -> Steps[Pipeline]:
    """Let the collection remember the revisions of the encoders that made its first vectors.

    Parameters
    ----------
    engine : client
        An open client.
    name : str
        Name of the collection.
    pipeline : Pipeline
        The collection as this process knows it.
    used : Pipeline
        The pipeline whose encoders have made vectors.

    Returns
    -------
    Pipeline
        The collection as it is now.

    Raises
    ------
    EncoderMismatchError
        Another process has made vectors with another revision first.
    """
    while True:
        pipeline.models.take_revisions(used.models)
        if pipeline.revision is None or not pipeline.models.unrecorded:
            return pipeline
        whole = pipeline.changed(pipeline.recipe, pipeline.versions)
        whole.set_state(pipeline.get_state())
        if (yield from save_manifest_steps(engine, name, whole)):
            return whole
        pipeline = yield from reload_steps(engine, name, pipeline, None)


def take_over_steps(engine: AnyEngine, name: str, existing: Pipeline, recipe: Recipe) -> Steps[Pipeline]:
    """Give a collection that has not learned everything what the methods of ``recipe`` have learned."""
    state = Pipeline(recipe).get_state()
    while not existing.fitted and not state.keys() <= (learned := existing.get_state()).keys():
        whole = existing.changed(existing.recipe, existing.versions)
        whole.set_state({**state, **learned})
        if (yield from save_manifest_steps(engine, name, whole)):
            return whole
        existing = yield from reload_steps(engine, name, existing, None)
    return existing
