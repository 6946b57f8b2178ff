"""Indexes built, and a collection deleted with what only it needs."""

from __future__ import annotations

import time

from embplug.collection.info import existing_steps
from embplug.collection.manifest import MANIFEST_KEY, read_manifest
from embplug.collection.state import forget
from embplug.engines import AnyEngine, traits_of
from embplug.engines.aliases import collection_behind_steps
from embplug.engines.calls import Call, Steps
from embplug.errors import EngineError

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
    name = yield from collection_behind_steps(name)
    manifest = read_manifest(name, (yield from existing_steps(name)))
    yield Call.of("delete_collection", collection_name=name)
    reference = manifest.state
    if reference is None or traits_of(engine).keeps_state_in_files:
        return
    others = yield Call.of("get_collections")
    for other in others.collections:
        info = yield Call.of("get_collection", collection_name=other.name)
        stored = (info.config.metadata or {}).get(MANIFEST_KEY)
        if stored and (stored.get("state") or {}).get("sha256") == reference["sha256"]:
            return
    yield from forget(engine, reference)
