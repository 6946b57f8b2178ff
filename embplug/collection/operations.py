"""What is asked of an engine to create, open, describe and delete a collection; run by both shells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.state import STATE_COLLECTION, forget, load, save
from embplug.common.ids import CODE_FIELDS, point_id, split_payload
from embplug.encoders import Encoder
from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps, T
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    EngineError,
    InvalidArgumentError,
    RecipeMismatchError,
    StateError,
)
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.recipe import Dense, Recipe
from embplug.recipe.names import DENSE
from embplug.search.cross_encoder import Scorer
from embplug.search.diversity import mmr
from embplug.search.plan import Plan
from embplug.search.types import Hit, Query, SearchOptions

WITHOUT_CODES = models.PayloadSelectorExclude(exclude=[*CODE_FIELDS])
STABLE_POLLS = 4
POLL_S = 0.5


@dataclass(frozen=True)
class CollectionInfo:
    """What a collection is and holds.

    Attributes
    ----------
    points
        Number of documents.
    indexed_vectors
        As Qdrant counts them; token matrices count one for each token.
    status
        Qdrant's: green, yellow (optimizing), grey (waiting to be optimized), red.
    fitted
        Whether everything that learns from data did, or nothing has to.
    state_bytes
        Size of what was learned.
    disk_bytes
        Measured size on disk; ``None`` on servers, which do not tell.
    created_with
        Version of embplug.
    versions
        By dense vector: which model makes it, where an upgrade has changed it.
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
    created_with: str
    versions: dict[str, VectorVersion]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        versions = {name: version.model_dump(mode="json") for name, version in self.versions.items()}
        return {**vars(self), "recipe": self.recipe.to_dict(), "versions": versions}


@dataclass(frozen=True)
class Record:
    """A stored document: its id as it was given, and its payload."""

    id: int | str
    payload: dict[str, Any] | None


def create_steps(
    engine: AnyEngine,
    name: str,
    recipe: Recipe,
    sample: CheckedSample | None,
    encoder: Encoder | None,
    cross_encoder: Scorer | None,
    metadata: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> Steps[Pipeline]:
    """Make the collection, or return the pipeline of the one that is there with the same recipe.

    A new one gets ``metadata`` beside the recipe, in the same call.
    """
    _check_name(name)
    capabilities = yield from capabilities_steps(engine)
    if (yield Call.of("collection_exists", collection_name=name)):
        manifest = read_manifest(name, (yield from existing_steps(name)))
        differences = manifest.differences(recipe)
        if differences:
            raise RecipeMismatchError(name, differences)
        existing: Pipeline = yield from open_steps(engine, name, encoder, cross_encoder, device)
        yield from _index_payload(name, recipe)
        if not existing.fitted:
            yield from _take_over_steps(engine, name, existing, recipe)
        return existing
    pipeline = Pipeline(
        recipe.with_encoding(encoding_for(sample)), encoder, cross_encoder=cross_encoder, device=device
    )
    recipe, pipeline.capabilities = pipeline.recipe, capabilities
    check_recipe(recipe, capabilities)
    if sample is not None:
        yield Call.compute(lambda: pipeline.fit(pipeline.reduce(sample)))
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


def _take_over_steps(engine: AnyEngine, name: str, existing: Pipeline, recipe: Recipe) -> Steps[None]:
    """Let a collection that has not learned all yet have what the recipe's methods have learned."""
    learned, given = existing.get_state(), Pipeline(recipe).get_state()
    if not given.keys() <= learned.keys():
        existing.set_state({**given, **learned})
        yield from save_fit_steps(engine, name, existing)


def encoding_for(sample: CheckedSample | None) -> FDE | LearnedEncoding:
    """The default encoding: learned where there is enough to learn from."""
    tokens = None if sample is None else sample.tokens
    return LearnedEncoding() if tokens is not None and LearnedEncoding().can_learn(tokens) else FDE()


def save_fit_steps(engine: AnyEngine, name: str, pipeline: Pipeline) -> Steps[None]:
    """Keep what the pipeline learned, then refer to it from the collection."""
    if pipeline.get_state():
        yield from save_manifest_steps(engine, name, pipeline)


def save_manifest_steps(engine: AnyEngine, name: str, pipeline: Pipeline) -> Steps[None]:
    """Put a pipeline's recipe and what it learned in place of those of the collection, at once."""
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


def fitted_steps(engine: AnyEngine, name: str, pipeline: Pipeline, work: Callable[[], T]) -> Steps[T]:
    """Do something with what the collection, maybe in another process, has learned."""
    if not pipeline.fitted:
        yield from learn_steps(engine, name, pipeline, None)
    done: T = yield Call.compute(work)
    return done


def open_steps(
    engine: AnyEngine,
    name: str,
    encoder: Encoder | None = None,
    cross_encoder: Scorer | None = None,
    device: str | None = None,
) -> Steps[Pipeline]:
    """Read recipe and state, and check that both belong to the collection as it is."""
    _check_name(name)
    info = yield from existing_steps(name)
    manifest = read_manifest(name, info)
    opened = Pipeline(
        manifest.recipe,
        encoder,
        versions=manifest.versions,
        cross_encoder=cross_encoder,
        device=device,
    )
    opened.capabilities = yield from capabilities_steps(engine)
    _check_vectors(name, info, opened)
    if manifest.state is not None:
        opened.set_state((yield from load(engine, name, manifest.state)))
    if not opened.fitted and info.points_count:
        raise StateError(
            f"collection {name!r} has {info.points_count} points, but no fitted state to search them with: "
            "restore its metadata from a backup or snapshot, or create it anew"
        )
    return opened


def open_plain_steps(
    engine: AnyEngine, name: str, vector: str | None, encoder: Encoder | None, text_key: str
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
    opened = Pipeline(recipe, encoder, versions={DENSE: VectorVersion(stored_as=chosen)})
    opened.capabilities = yield from capabilities_steps(engine)
    return opened


def info_steps(engine: AnyEngine, name: str) -> Steps[CollectionInfo]:
    """Describe the collection."""
    info = yield from existing_steps(name)
    manifest = read_manifest(name, info)
    disk_bytes = None
    if traits_of(engine).tells_disk_bytes:
        disk_bytes = yield Call.of("disk_bytes", collection_name=name)
    stored = info.config.params.vectors or {}
    assert isinstance(stored, dict)  # what has a recipe has named vectors
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
        state_bytes=manifest.state["bytes"] if manifest.state else 0,
        disk_bytes=disk_bytes,
        created_with=manifest.created_with,
        versions=manifest.versions,
    )


def drop_steps(engine: AnyEngine, name: str) -> Steps[None]:
    """Delete the collection, then the state that nothing else refers to."""
    manifest = read_manifest(name, (yield from existing_steps(name)))
    yield Call.of("delete_collection", collection_name=name)
    reference = manifest.state
    if reference is None or traits_of(engine).keeps_state_in_files:
        return
    others = yield Call.of("get_collections")
    for other in others.collections:
        info = yield Call.of("get_collection", collection_name=other.name)
        found = (info.config.metadata or {}).get(MANIFEST_KEY)
        if found and (found.get("state") or {}).get("sha256") == reference["sha256"]:
            return
    yield from forget(engine, reference)


def optimize_steps(engine: AnyEngine, name: str, timeout_s: float) -> Steps[bool]:
    """Build indexes now on Edge; wait until a server has built them, and stays so."""
    if traits_of(engine).optimizes_on_call:
        return bool((yield Call.of("optimize", collection_name=name)))
    deadline = time.monotonic() + timeout_s
    seen: list[tuple[str, int | None]] = []
    while True:
        info = yield Call.of("get_collection", collection_name=name)
        seen.append((info.status.value, info.indexed_vectors_count))
        # Green for a moment means that indexing has not begun yet.
        if len(seen) >= STABLE_POLLS and set(seen[-STABLE_POLLS:]) == {("green", seen[-1][1])}:
            return len(set(seen)) > 1
        if time.monotonic() > deadline:
            raise EngineError(f"collection {name!r} is {info.status.value} after {timeout_s:g} s of waiting")
        yield Call.pause(POLL_S)


def retrieve_steps(name: str, ids: Sequence[Any]) -> Steps[list[Record]]:
    """Read documents by id; those that are not there are left out."""
    wanted = [point_id(one, f"ids[{i}]") for i, one in enumerate(ids)]
    found = yield Call.of("retrieve", collection_name=name, ids=wanted, with_payload=WITHOUT_CODES)
    return [_record(record) for record in found]


def scroll_steps(
    name: str, pipeline: Pipeline, given: models.Filter | None, limit: int, offset: Any
) -> Steps[tuple[list[Record], Any]]:
    """Read a page of documents, and where the next begins."""
    pipeline.check_filter(given)
    records, following = yield Call.of(
        "scroll",
        collection_name=name,
        scroll_filter=given,
        limit=limit,
        offset=offset,
        with_payload=WITHOUT_CODES,
    )
    return [_record(record) for record in records], following


def delete_steps(
    name: str, pipeline: Pipeline, ids: Sequence[Any] | None, given: models.Filter | None
) -> Steps[None]:
    """Delete documents by id or by filter."""
    pipeline.check_filter(given)
    if (ids is None) == (given is None):
        raise InvalidArgumentError("ids", "either ids or filter", "both" if given is not None else "neither")
    selector: models.PointsSelector
    if ids is not None:
        selector = models.PointIdsList(points=[point_id(one, f"ids[{i}]") for i, one in enumerate(ids)])
    else:
        selector = models.FilterSelector(filter=given)
    yield Call.of("delete", collection_name=name, points_selector=selector, wait=True)


def set_payload_steps(name: str, payload: Mapping[str, Any], ids: Sequence[Any]) -> Steps[None]:
    """Merge ``payload`` into that of documents."""
    wanted = [point_id(one, f"ids[{i}]") for i, one in enumerate(ids)]
    yield Call.of("set_payload", collection_name=name, payload=dict(payload), points=wanted, wait=True)


def count_steps(name: str, pipeline: Pipeline, given: models.Filter | None) -> Steps[int]:
    """Count documents exactly."""
    pipeline.check_filter(given)
    result = yield Call.of("count", collection_name=name, count_filter=given, exact=True)
    return int(result.count)


def search_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> Steps[list[list[Hit]]]:
    """Run searches with the same options, each round of all of them in one request."""
    plans = yield from fitted_steps(engine, name, pipeline, partial(pipeline.plan, queries, options))
    hits: list[list[Hit]] = [[] for _ in plans]
    asking = dict.fromkeys(range(len(plans)))
    answers: dict[int, Sequence[QueryResponse] | None] = {**asking}
    while answers:
        requests = yield Call.compute(partial(_advance, plans, answers, hits))
        answers = {}
        if requests:
            flat = [request for own in requests.values() for request in own]
            found = iter((yield Call.of("query_batch_points", collection_name=name, requests=flat)))
            answers = {i: [next(found) for _ in own] for i, own in requests.items()}
    return hits


def _advance(
    plans: Sequence[Plan], answers: Mapping[int, Sequence[QueryResponse] | None], hits: list[list[Hit]]
) -> dict[int, list[models.QueryRequest]]:
    """Hand each plan its answers; return what it asks next, and put the hits of those that end in place."""
    requests = {}
    for i, own in answers.items():
        try:
            # A plan starts when it is sent None.
            requests[i] = plans[i].send(own)  # type: ignore[arg-type]
        except StopIteration as stop:
            hits[i] = stop.value
    return requests


def search_mmr_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    query: Query,
    options: SearchOptions,
    diversity: float,
    candidates_limit: int,
) -> Steps[list[Hit]]:
    """Search for more than are wanted, read their vectors, choose those that differ."""
    query = yield from fitted_steps(engine, name, pipeline, partial(pipeline.with_query_vectors, query))
    field = pipeline.compared(query)
    wide = replace(options, limit=max(candidates_limit, options.limit), cross_encode=False)
    hits = (yield from search_steps(engine, name, pipeline, [query], wide))[0]
    if not hits:
        return []
    records = yield Call.of(
        "retrieve",
        collection_name=name,
        ids=[point_id(hit.id, "id") for hit in hits],
        with_payload=[field] if field in CODE_FIELDS else False,
        with_vectors=False if field in CODE_FIELDS else [field] if field else True,
    )

    def choose() -> list[Hit]:
        by_id = {record.id: record for record in records}
        # One that was deleted meanwhile has no record.
        found = [(hit, by_id[given]) for hit in hits if (given := point_id(hit.id, "id")) in by_id]
        if not found:
            return []
        compared = pipeline.similarities(query, [record for _, record in found])
        return [found[row][0] for row in mmr(*compared, diversity, options.limit)]

    chosen: list[Hit] = yield Call.compute(choose)
    return chosen


def existing_steps(name: str) -> Steps[models.CollectionInfo]:
    """Read the configuration of a collection that has to be there."""
    if not (yield Call.of("collection_exists", collection_name=name)):
        raise CollectionNotFoundError(f"no collection {name!r} on this engine")
    info: models.CollectionInfo = yield Call.of("get_collection", collection_name=name)
    return info


def _record(record: models.Record) -> Record:
    return Record(*split_payload(record.id, record.payload))


def _index_payload(name: str, recipe: Recipe) -> Steps[None]:
    for field, schema in recipe.payload_indexes.items():
        yield Call.of(
            "create_payload_index", collection_name=name, field_name=field, field_schema=schema, wait=True
        )


def _check_vectors(name: str, info: models.CollectionInfo, pipeline: Pipeline) -> None:
    stored = info.config.params.vectors
    for vector, parameters in pipeline.vectors_config().items():
        found = stored.get(vector) if isinstance(stored, dict) else None
        if found is None or (found.size, found.distance) != (parameters.size, parameters.distance):
            got = "missing" if found is None else f"{found.size}-dimensional with {found.distance.value}"
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
