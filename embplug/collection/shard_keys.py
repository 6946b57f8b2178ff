"""Keys of the shards of a collection with ``sharding_method="custom"``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.payload_indexes import index_steps
from embplug.common.checks import checked_integer
from embplug.engines.calls import Call, Steps
from embplug.engines.request_options import check_shard_key
from embplug.errors import InvalidArgumentError


def create_shard_key_steps(
    name: str,
    pipeline: Pipeline,
    shard_key: models.ShardKey,
    placement: Sequence[int] | None,
    numbers: Mapping[str, int | None],
) -> Steps[None]:
    """Make the shards of a key; ``numbers`` are arguments that are positive integers."""
    arguments = _arguments(shard_key, numbers)
    if placement is not None:
        if isinstance(placement, str) or not isinstance(placement, Sequence):
            raise InvalidArgumentError("placement", "a list of ids of peers", repr(placement))
        peers = [checked_integer(peer, f"placement[{i}]") for i, peer in enumerate(placement)]
        arguments["placement"] = peers
    _check_sharding(pipeline)
    yield Call.of("create_shard_key", collection_name=name, **arguments)
    yield from index_steps(name, pipeline.recipe.payload_indexes)


def delete_shard_key_steps(
    name: str, pipeline: Pipeline, shard_key: models.ShardKey, timeout: int | None
) -> Steps[None]:
    """Delete the shards of a key with all their documents."""
    arguments = _arguments(shard_key, {"timeout": timeout})
    _check_sharding(pipeline)
    yield Call.of("delete_shard_key", collection_name=name, **arguments)


def _arguments(shard_key: Any, numbers: Mapping[str, int | None]) -> dict[str, Any]:
    check_shard_key(shard_key, "shard_key")
    checked = {key: checked_integer(value, key, 1) for key, value in numbers.items() if value is not None}
    return {"shard_key": shard_key, **checked}


def _check_sharding(pipeline: Pipeline) -> None:
    if pipeline.capabilities is not None:
        pipeline.capabilities.require("sharding", "shard_key")
