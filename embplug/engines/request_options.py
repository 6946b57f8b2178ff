"""What Qdrant lets a user say of a single request: consistency, ordering, shard keys, a timeout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from embplug.common.checks import checked_integer
from embplug.engines.capabilities import Capabilities
from embplug.errors import InvalidArgumentError


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Options of requests that read points.

    Attributes
    ----------
    consistency : models.ReadConsistency, default=None
        Number of replicas that are asked, or a kind of majority. None is Qdrant's default.
    shard_key_selector : models.ShardKeySelector, default=None
        Shard keys that are read. None reads all shards.
    timeout : int, default=None
        Seconds for the request. None is Qdrant's default.
    """

    consistency: models.ReadConsistency | None = None
    shard_key_selector: models.ShardKeySelector | None = None
    timeout: int | None = None

    def arguments(self, capabilities: Capabilities | None) -> dict[str, Any]:
        """Return the arguments of a client's method that are set, checked.

        Raises
        ------
        InvalidArgumentError
            An option is of a wrong type.
        CapabilityError
            The engine cannot honour an option.
        """
        options = {**vars(self), "consistency": _consistency(self.consistency)}
        return _checked(options, NEEDED_TO_READ, capabilities)


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """Options of requests that write points.

    Attributes
    ----------
    wait : bool, default=True
        Whether the request waits until the change is visible.
    ordering : models.WriteOrdering, default=None
        Guarantee of the order of writes. None is Qdrant's default.
    shard_key_selector : models.ShardKeySelector, default=None
        Shard keys that are written to, which a collection whose shards have keys needs.
    timeout : int, default=None
        Seconds for the request. None is Qdrant's default.
    """

    wait: bool = True
    ordering: models.WriteOrdering | None = None
    shard_key_selector: models.ShardKeySelector | None = None
    timeout: int | None = None

    def arguments(self, capabilities: Capabilities | None) -> dict[str, Any]:
        """Return the arguments of a client's method that are set, checked.

        Raises
        ------
        InvalidArgumentError
            An option is of a wrong type.
        CapabilityError
            The engine cannot honour an option.
        """
        if not isinstance(self.wait, bool):
            raise InvalidArgumentError("wait", "a bool", repr(self.wait))
        options = {**vars(self), "ordering": _ordering(self.ordering)}
        return _checked(options, NEEDED_TO_WRITE, capabilities)

    @property
    def reading(self) -> ReadOptions:
        """Options of the requests that read what is changed."""
        return ReadOptions(shard_key_selector=self.shard_key_selector, timeout=self.timeout)


NEEDED_TO_READ = {
    "consistency": "sharding",
    "shard_key_selector": "sharding",
    "timeout": "request_timeout",
}
NEEDED_TO_WRITE = {
    "ordering": "sharding",
    "shard_key_selector": "sharding",
    "timeout": "update_timeout",
}
"""Capability that each option needs."""


def _checked(
    options: Mapping[str, Any], needed: Mapping[str, str], capabilities: Capabilities | None
) -> dict[str, Any]:
    present = {name: value for name, value in options.items() if value is not None}
    if "timeout" in present:
        present["timeout"] = checked_integer(present["timeout"], "timeout", 1)
    if "shard_key_selector" in present:
        check_shard_keys(present["shard_key_selector"])
    for name in present:
        if capabilities is not None and name in needed:
            capabilities.require(needed[name], name)
    return present


def _consistency(consistency: Any) -> models.ReadConsistency | None:
    if consistency is None:
        return None
    kinds = [kind.value for kind in models.ReadConsistencyType]
    if consistency in kinds:
        return models.ReadConsistencyType(consistency)
    if isinstance(consistency, int) and not isinstance(consistency, bool) and consistency >= 1:
        return consistency
    raise InvalidArgumentError("consistency", f"a number of replicas, or one of {kinds}", repr(consistency))


def _ordering(ordering: Any) -> models.WriteOrdering | None:
    kinds = [kind.value for kind in models.WriteOrdering]
    if ordering is not None and ordering not in kinds:
        raise InvalidArgumentError("ordering", f"one of {kinds}", repr(ordering))
    return None if ordering is None else models.WriteOrdering(ordering)


def check_shard_keys(selector: Any, argument: str = "shard_key_selector") -> None:
    """Check a shard key, a list of them, or one with a fallback.

    Raises
    ------
    InvalidArgumentError
        The selector is something else.
    """
    keys = [*selector] if isinstance(selector, (list, tuple)) else [selector]
    if isinstance(selector, models.ShardKeyWithFallback):
        keys = [selector.target, selector.fallback]
    if not keys or not all(map(_is_shard_key, keys)):
        expected = "a shard key, which is a text or an integer, or a list of them"
        raise InvalidArgumentError(argument, expected, repr(selector))


def check_shard_key(key: Any, argument: str) -> None:
    """Check a single shard key.

    Raises
    ------
    InvalidArgumentError
        The key is neither a text nor an integer.
    """
    if not _is_shard_key(key):
        raise InvalidArgumentError(argument, "a shard key, which is a text or an integer", repr(key))


def _is_shard_key(key: Any) -> bool:
    if isinstance(key, str):
        return bool(key)
    return isinstance(key, int) and not isinstance(key, bool) and key >= 0
