"""The collection that keeps what other collections have learned, on as many nodes as any of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from embplug.engines import AnyEngine, traits_of
from embplug.engines.calls import Call, Steps, retried
from embplug.errors import EmbplugError

STATE_COLLECTION = "embplug_state"

POLLS = 120
POLL_S = 0.25
"""What a collection has learned is small, so that a transfer that takes half a minute does not get on."""


@dataclass(frozen=True)
class _Shard:
    """Nodes with replicas of a shard: with all of it, that are to get it, and that are away."""

    whole: list[int]
    coming: list[int]
    away: list[int]


def state_collection_steps(engine: AnyEngine, replication_factor: int | None) -> Steps[None]:
    """Create ``embplug_state`` if it is missing, and give it as many replicas as are needed.

    Parameters
    ----------
    engine : client
        An open client.
    replication_factor : int or None
        Replicas of the collection whose state is kept; None if the engine decides.
    """
    is_remote = traits_of(engine).is_remote
    exists = Call.of("collection_exists", collection_name=STATE_COLLECTION)
    if not (yield from retried(exists)):
        try:
            yield Call.of(
                "create_collection",
                collection_name=STATE_COLLECTION,
                vectors_config={},
                shard_number=1 if is_remote else None,
                replication_factor=replication_factor,
            )
            return
        except (EmbplugError, ValueError):
            # Another process may have been faster.
            if not (yield from retried(exists)):
                raise
    if is_remote and replication_factor is not None and replication_factor > 1:
        try:
            whole = yield from _widen_steps(replication_factor)
        except EmbplugError as error:
            whole, reason = False, str(error)
        else:
            reason = "a node is away, or a transfer takes long"
        if not whole:
            warnings.warn(
                f"collection {STATE_COLLECTION!r} has fewer than {replication_factor} replicas ({reason}): "
                "what collections have learned is less safe than their documents until it has them",
                UserWarning,
                stacklevel=2,
            )


def _widen_steps(replicas: int) -> Steps[bool]:
    """Replicate the shards of ``embplug_state`` until each has so many replicas, or is on all nodes."""
    info = yield from retried(Call.of("get_collection", collection_name=STATE_COLLECTION))
    if (info.config.params.replication_factor or 1) < replicas:
        change = models.CollectionParamsDiff(replication_factor=replicas)
        update = Call.of("update_collection", collection_name=STATE_COLLECTION, collection_params=change)
        yield from retried(update)
    for _ in range(POLLS):
        status = yield from retried(Call.of("cluster_status"))
        peers = sorted(int(peer) for peer in getattr(status, "peers", None) or ())
        cluster = yield from retried(Call.of("collection_cluster_info", collection_name=STATE_COLLECTION))
        lacking = False
        for number, shard in _shards(cluster).items():
            if len(shard.whole) >= min(replicas, len(peers)):
                continue
            lacking = True
            free = [peer for peer in peers if peer not in (*shard.whole, *shard.coming, *shard.away)]
            if shard.coming:
                continue
            if not (shard.whole and free):
                return False
            yield from _replicate_steps(number, shard.whole[0], free[0])
        if not lacking:
            return True
        yield Call.pause(POLL_S)
    return False


def _shards(cluster: models.CollectionClusterInfo) -> Mapping[int, _Shard]:
    shards: dict[int, _Shard] = {}
    replicas: list[tuple[Any, int]] = [(shard, cluster.peer_id) for shard in cluster.local_shards]
    replicas += [(shard, shard.peer_id) for shard in cluster.remote_shards]
    for replica, peer in replicas:
        shard = shards.setdefault(replica.shard_id, _Shard([], [], []))
        nodes = {models.ReplicaState.ACTIVE: shard.whole, models.ReplicaState.DEAD: shard.away}
        nodes.get(replica.state, shard.coming).append(peer)
    return shards


def _replicate_steps(shard: int, source: int, target: int) -> Steps[None]:
    move = models.ReplicateShard(shard_id=shard, from_peer_id=source, to_peer_id=target)
    operation = models.ReplicateShardOperation(replicate_shard=move)
    try:
        yield Call.of(
            "cluster_collection_update", collection_name=STATE_COLLECTION, cluster_operation=operation
        )
    except EmbplugError:
        # Another process may have begun the same transfer; what is there is read again.
        return
