"""Fitted arrays of a collection: content-addressed, checked when read, never pickled."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from qdrant_client import models

from embplug.collection.archive import MOST_BYTES, State, pack, unpack
from embplug.collection.state_collection import STATE_COLLECTION, state_collection_steps
from embplug.common.files import replacing
from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps, retried
from embplug.engines.file_errors import file_errors
from embplug.errors import CollectionNotFoundError, StateError

CHUNK_BYTES = 1 << 20

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug/state")


def save(
    engine: AnyEngine,
    collection: str,
    state: State,
    replication_factor: int | None = None,
    *,
    owner: str | None = None,
) -> Steps[dict[str, Any]]:
    """Keep ``state`` beside ``collection``, and return the reference by which :func:`load` finds it.

    On Qdrant Edge it is a file in the collection's folder. Elsewhere it is chunks in the collection
    ``embplug_state``, which has as many replicas as the collection that has most. Writing the same state
    twice writes the same thing.

    Parameters
    ----------
    engine : client
        An open client.
    collection : str
        Name of the collection.
    state : dict of str to ndarray
        What the collection has learned.
    replication_factor : int, default=None
        Number of replicas of the collection. None is what the engine gives a new collection.
    owner : str, default=None
        Revision that alone refers to the chunks, so that they go with it whatever other collections have
        learned. None shares them with all who keep the same state.
    """
    packed = pack(state)
    sha256 = hashlib.sha256(packed).hexdigest()
    reference: dict[str, Any] = {"sha256": sha256, "bytes": len(packed)}
    if traits_of(engine).keeps_state_in_files:
        folder = yield Call.of("collection_path", collection_name=collection)
        _write(_file(folder, sha256), packed)
        return reference
    if owner is not None:
        reference["owner"] = owner
    yield from state_collection_steps(engine, replication_factor)
    ids = _chunk_ids(reference)
    for i, chunk_id in enumerate(ids):
        data = base64.b64encode(packed[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES]).decode()
        payload = {"sha256": sha256, "chunk": i, "chunks": len(ids), "collection": collection, "data": data}
        point = models.PointStruct(id=chunk_id, vector={}, payload=payload)
        yield from retried(Call.of("upsert", collection_name=STATE_COLLECTION, points=[point], wait=True))
    return reference


def load(engine: AnyEngine, collection: str, reference: dict[str, Any]) -> Steps[State]:
    """Read what :func:`save` kept.

    Raises
    ------
    StateError
        It is missing, truncated or altered; the message says where and what to do.
    """
    _check_reference(collection, reference)
    sha256, size = reference["sha256"], reference["bytes"]
    if traits_of(engine).keeps_state_in_files:
        file = _file((yield Call.of("collection_path", collection_name=collection)), sha256)
        place = str(file)
        try:
            stored = file.stat().st_size
            packed = file.read_bytes() if stored == size else b""
        except FileNotFoundError:
            raise _damaged(collection, f"{place} is missing") from None
    else:
        place = f"collection {STATE_COLLECTION!r}, sha256 {sha256}"
        if not (yield from retried(Call.of("collection_exists", collection_name=STATE_COLLECTION))):
            raise _damaged(collection, f"collection {STATE_COLLECTION!r} is missing")
        parts = []
        for i, chunk_id in enumerate(_chunk_ids(reference)):
            records = yield from retried(
                Call.of("retrieve", collection_name=STATE_COLLECTION, ids=[chunk_id], with_payload=True)
            )
            if not records:
                raise _damaged(collection, f"chunk {i} is missing from {place}")
            parts.append(_decoded(collection, place, records[0].payload))
        packed = b"".join(parts)
        stored = len(packed)
    if stored != size:
        raise _damaged(collection, f"{place} has {stored} bytes instead of {size}")
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise _damaged(collection, f"{place} was altered: its sha256 does not match")
    try:
        return unpack(packed)
    except StateError as error:
        raise _damaged(collection, f"{place}: {error}") from None


def forget(engine: AnyEngine, reference: dict[str, Any]) -> Steps[None]:
    """Delete the chunks of a state that nothing refers to any more; on Edge they go with the folder."""
    if traits_of(engine).keeps_state_in_files:
        return
    if (yield from retried(Call.of("collection_exists", collection_name=STATE_COLLECTION))):
        chunks = models.PointIdsList(points=list(_chunk_ids(reference)))
        deletion = Call.of("delete", collection_name=STATE_COLLECTION, points_selector=chunks, wait=True)
        yield from retried(deletion)


def _check_reference(collection: str, reference: Any) -> None:
    """Check the reference, which names a file or says how many chunks there are."""
    fits = (
        isinstance(reference, dict)
        and isinstance(reference.get("sha256"), str)
        and re.fullmatch("[0-9a-f]{64}", reference["sha256"]) is not None
        and type(reference.get("bytes")) is int
        and 0 < reference["bytes"] <= MOST_BYTES
        and isinstance(reference.get("partial", False), bool)
        and isinstance(reference.get("owner", ""), str)
    )
    if not fits:
        raise _damaged(collection, f"its reference {str(reference)[:200]} is none")


def _chunk_ids(reference: dict[str, Any]) -> list[str]:
    count = max(1, -(-reference["bytes"] // CHUNK_BYTES))
    owned = f"/{reference['owner']}" if reference.get("owner") else ""
    return [str(uuid.uuid5(_NAMESPACE, f"{reference['sha256']}{owned}/{i}")) for i in range(count)]


def _decoded(collection: str, place: str, payload: Any) -> bytes:
    try:
        return base64.b64decode(payload["data"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise _damaged(collection, f"a chunk of {place} cannot be read") from None


def _damaged(collection: str, what: str) -> StateError:
    return StateError(
        f"the fitted state of collection {collection!r} is damaged: {what}. Its vectors cannot be searched "
        "without it: restore it from a backup or snapshot, or create the collection anew"
    )


def _file(folder: Path, sha256: str) -> Path:
    return Path(folder) / "state" / f"{sha256}.npz"


def _write(file: Path, data: bytes) -> None:
    with file_errors(file):
        try:
            # Path.mkdir(exist_ok=True) fails if the folder is deleted just after it was found.
            with suppress(FileExistsError):
                os.mkdir(file.parent)
            with replacing(file) as beside:
                beside.write_bytes(data)
        except FileNotFoundError:
            folder = file.parent.parent
            raise CollectionNotFoundError(f"the collection in {folder} was deleted meanwhile") from None
