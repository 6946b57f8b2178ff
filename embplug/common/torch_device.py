"""A device of torch, checked before anything is computed."""

from __future__ import annotations

from typing import Any

from embplug.common.extras import import_extra
from embplug.errors import InvalidArgumentError


def torch_on(device: str, feature: str) -> tuple[Any, Any]:
    """The module torch, and its device of that name.

    Raises
    ------
    MissingExtraError
        torch is not installed; names the feature that needs it.
    InvalidArgumentError
        torch has no such device.
    """
    torch = import_extra("torch", feature)
    try:
        made = torch.device(device)
        torch.empty(0, device=made)
    except (RuntimeError, AssertionError) as error:
        raise InvalidArgumentError("device", "a device that torch can use", f"{device!r}: {error}") from None
    return torch, made
