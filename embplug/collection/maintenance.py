"""Indexes built, and a collection deleted with what only it needs."""

from __future__ import annotations

import time
from typing import Any

from embplug.collection.manifest import MANIFEST_KEY
from embplug.collection.revision import read_revision_steps
from embplug.collection.state import forget
from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps
from embplug.errors import CollectionNotFoundError, EngineError

STABLE_POLLS = 4
POLL_S = 0.5


def optimize_steps(engine: AnyEngine, name: str, timeout_s: float) -> Steps[bool]:
    """Build indexes now, or wait until a server has built them and stays so."""
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
            raise EngineError(
                f"collection {name!r}: indexing has not finished after {timeout_s:g} s "
                f"(status: {info.status.value})"
            )
        yield Call.pause(POLL_S)


def drop_steps(engine: AnyEngine, name: str) -> Steps[None]:
    """Delete the collection, also behind an alias, then the state that no other collection refers to."""
    revision = yield from read_revision_steps(name)
    yield Call.of("delete_collection", collection_name=revision.collection)
    reference = revision.manifest.state
    if reference is None or traits_of(engine).keeps_state_in_files:
        return
    if not reference.get("owner") and (yield from _is_shared_steps(reference)):
        return
    yield from forget(engine, reference)


def _is_shared_steps(reference: dict[str, Any]) -> Steps[bool]:
    """Return whether a collection refers to a state that an earlier version of embplug kept for several."""
    others = yield Call.of("get_collections")
    for other in others.collections:
        try:
            info = yield Call.of("get_collection", collection_name=other.name)
        except CollectionNotFoundError:
            continue
        stored = ((info.config.metadata or {}).get(MANIFEST_KEY) or {}).get("state") or {}
        if stored.get("sha256") == reference["sha256"] and not stored.get("owner"):
            return True
    return False
