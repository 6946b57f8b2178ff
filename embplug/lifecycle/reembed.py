"""Documents embedded anew with the new model of an upgrade, until nothing of the old model is left."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from qdrant_client import models
from tqdm import tqdm

from embplug.branches.base import vector_of
from embplug.branches.dense import model_condition
from embplug.branches.empty import is_blank
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import vector_name_of
from embplug.collection.collection import Collection
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.info import existing_steps
from embplug.collection.named import opened
from embplug.common.checks import checked_integer
from embplug.common.ids import MODEL, ORIGINAL_ID
from embplug.common.telemetry import span
from embplug.engines import EngineTarget
from embplug.engines.calls import Call, Steps, run
from embplug.errors import InvalidArgumentError, UpgradeError
from embplug.lifecycle.deleted_points import without_deleted_steps
from embplug.lifecycle.migration.source import stored_vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReembedReport:
    """How far a collection is with its new model.

    Attributes
    ----------
    collection : str
        Name of the collection.
    vector : str
        Name of the vector in the recipe.
    embedded : int
        Number of documents that this call embedded anew.
    left : int
        Number of documents that still have a vector of the old model.
    finished : bool
        Whether no such document is left, and what belonged to the old model is removed.
    """

    collection: str
    vector: str
    embedded: int
    left: int
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


def reembed(
    collection: Collection | str,
    *,
    engine: EngineTarget | None = None,
    rate: float | None = None,
    batch: int = 64,
    limit: int | None = None,
    progress: bool | None = None,
) -> ReembedReport:
    """Embed documents with the new model until no vector of the old model is left.

    Call it after :func:`upgrade`, as often as is needed to finish.

    The call can be interrupted at any moment and made again. Searches see every document all the while.
    A document that is replaced while its batch is embedded may keep the vector of its earlier text, so
    replace documents when no batch is under way, or add them once more. From asyncio, run it in a thread:
    ``await asyncio.to_thread(reembed, "docs", engine=url)``. When it is finished, collections that are open
    elsewhere take over the new recipe with their next search.

    Parameters
    ----------
    collection : Collection or str
        Collection for which :func:`upgrade` was called, open or by name.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.
    rate : float, default=None
        Highest number of documents a second. By default there is no limit.
    batch : int, default=64
        Number of documents in one call of the encoder; with a ``rate``, at most those of a second.
    limit : int, default=None
        Highest number of documents in this call. By default all are embedded.
    progress : bool, default=None
        Whether to show a progress bar. By default on a terminal.

    Returns
    -------
    ReembedReport
        How many documents were embedded, and how many are left.

    Raises
    ------
    UpgradeError
        No upgrade is under way; or a document has no text.
    InvalidArgumentError
        An argument is wrong, and the error names it.
    """
    with opened(collection, engine) as own, span("reembed", own.name, logger):
        return run(own.engine, _reembed_steps(own, rate=rate, batch=batch, limit=limit, progress=progress))


def _reembed_steps(
    collection: Collection, *, rate: float | None, batch: int, limit: int | None, progress: bool | None
) -> Steps[ReembedReport]:
    batch = checked_integer(batch, "batch", 1)
    limit = None if limit is None else checked_integer(limit, "limit", 1)
    if rate is not None:
        if not rate > 0:
            raise InvalidArgumentError("rate", "more than 0", rate)
        batch = max(1, int(min(batch, rate)))
    handle = collection._handle
    yield from handle.follow_steps()
    versions = handle.pipeline.versions
    name = next((name for name, version in versions.items() if version.previous), None)
    if name is None:
        # A call that was killed after it had saved the end of the upgrade has left what it was to remove.
        for vector, version in versions.items():
            if version.model > 1 and (yield from _clean_up(collection.name, vector, handle.pipeline)):
                return ReembedReport(collection.name, vector, 0, 0, True)
        raise UpgradeError(f"no upgrade of {collection.name!r} is under way")
    done, started = 0, time.monotonic()
    old = models.Filter(must_not=[model_condition(versions[name].model)])
    left = yield from _count(collection.name, old)
    with tqdm(
        total=left,
        desc=f"embedding {collection.name}",
        unit=" documents",
        disable=None if progress is None else not progress,
    ) as bar:
        while limit is None or done < limit:
            size = batch if limit is None else min(batch, limit - done)
            embedded = yield from handle.run_steps(partial(_reembed_batch, collection.name, name, old, size))
            if embedded is None:
                break
            done += embedded
            bar.update(embedded)
            if rate is not None:
                yield Call.pause(max(0.0, started + done / rate - time.monotonic()))
    left = yield from _count(collection.name, old)
    logger.info("collection %r: %d documents were embedded anew, %d are left", collection.name, done, left)
    if left == 0:
        yield from _finish(collection, name)
    return ReembedReport(collection.name, name, done, left, left == 0)


def _reembed_batch(
    collection: str, name: str, old: models.Filter, size: int, pipeline: Pipeline
) -> Steps[int | None]:
    """Embed some documents anew: first the vector, then the mark that says so, so that a kill loses none.

    Returns how many they were without those that are deleted meanwhile; None where none is left to embed.
    """
    recipe = pipeline.recipe
    branch = pipeline.dense(name)
    previous = branch.version.previous
    if previous is None:
        # Another process has finished meanwhile.
        return None
    address = pipeline.alias or collection
    records, _ = yield Call.of(
        "scroll",
        collection_name=address,
        scroll_filter=old,
        limit=size,
        with_payload=[recipe.text_key, ORIGINAL_ID],
    )
    if not records:
        return None
    user_ids = {record.id: (record.payload or {}).get(ORIGINAL_ID, record.id) for record in records}
    texts = {record.id: (record.payload or {}).get(recipe.text_key) for record in records}
    blank = [key for key, text in texts.items() if is_blank(text) or not isinstance(text, str)]
    with_vector = yield from _with_vector_steps(address, previous.stored_as, blank)
    unknown = next((key for key in blank if key in with_vector), None)
    if unknown is not None:
        raise UpgradeError(
            f"document {user_ids[unknown]!r} of {collection!r} has no text in {recipe.text_key!r}: add it "
            "again with its text or vector, or delete it, then go on"
        )
    without_text = set(blank)
    ids = [key for key in texts if key not in without_text]
    if ids:
        encode = partial(
            pipeline.encode_dense, name, [str(texts[key]) for key in ids], [user_ids[key] for key in ids]
        )
        vectors: Any = yield Call.compute(encode)
        points = {
            key: models.PointVectors(
                id=key, vector={stored: column[i].tolist() for stored, column in vectors.items()}
            )
            for i, key in enumerate(ids)
        }

        def update(ids: list[Any]) -> Call:
            written = [points[key] for key in ids]
            return Call.of("update_vectors", collection_name=address, points=written, wait=True)

        ids = yield from without_deleted_steps(address, ids, update)

    def mark(ids: list[Any]) -> Call:
        payload = {MODEL: branch.version.model}
        return Call.of("set_payload", collection_name=address, payload=payload, points=ids, wait=True)

    def delete(ids: list[Any]) -> Call:
        vectors = [previous.stored_as]
        return Call.of("delete_vectors", collection_name=address, vectors=vectors, points=ids, wait=True)

    marked = yield from without_deleted_steps(address, [*ids, *blank], mark)
    if previous.stored_as != branch.stored_as:
        yield from without_deleted_steps(address, ids, delete)
    return len(marked)


def _with_vector_steps(address: str, vector: str, keys: list[Any]) -> Steps[set[Any]]:
    """Those of some points that have such a vector, unlike documents that are stored without vectors."""
    if not keys:
        return set()
    records = yield Call.of(
        "retrieve", collection_name=address, ids=keys, with_payload=False, with_vectors=[vector]
    )
    return {record.id for record in records if vector_of(record, vector)}


def _finish(collection: Collection, name: str) -> Steps[None]:
    """Forget the old model: its adapter, and its vector where it has one of its own."""
    while True:
        before = collection._pipeline
        branch = before.dense(name)
        previous = branch.version.previous
        if previous is None:
            # Another process was faster.
            return
        version = branch.version.model_copy(update={"previous": None})
        pipeline = before.changed(before.recipe, {**before.versions, name: version})
        pipeline.set_state(before.get_state())
        saved = yield from save_manifest_steps(collection.engine, collection.name, pipeline)
        yield from collection._handle.reload_steps()
        if saved:
            break
    yield from _clean_up(collection.name, name, pipeline)


def _clean_up(collection: str, name: str, pipeline: Pipeline) -> Steps[bool]:
    """Remove the vectors of earlier models and the index of marks; returns whether anything was left."""
    info = yield from existing_steps(collection)
    branch = pipeline.dense(name)
    earlier = {name, *(vector_name_of(name, model) for model in range(2, branch.version.model))}
    left = earlier & stored_vectors(info).keys() - pipeline.vectors_config().keys()
    for vector in sorted(left):
        yield Call.of("delete_vector_name", collection_name=collection, vector_name=vector)
    if MODEL in info.payload_schema:
        yield Call.of("delete_payload_index", collection_name=collection, field_name=MODEL)
        return True
    return bool(left)


def _count(name: str, condition: models.Filter) -> Steps[int]:
    result = yield Call.of("count", collection_name=name, count_filter=condition, exact=True)
    return int(result.count)
