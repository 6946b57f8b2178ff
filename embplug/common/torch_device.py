"""Devices of PyTorch."""

from __future__ import annotations

from typing import Any

from embplug.common.extras import import_extra
from embplug.errors import InvalidArgumentError


def torch_on(device: str, feature: str) -> tuple[Any, Any]:
    """Import PyTorch and check that it can use a device.

    Parameters
    ----------
    device : str
        Name of the device, such as ``"cpu"`` or ``"cuda:0"``.
    feature : str
        What needs PyTorch, for the error.

    Returns
    -------
    torch : module
        The module ``torch``.
    device : torch.device
        The device.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed; the error names the feature.
    InvalidArgumentError
        PyTorch cannot use the device.
    """
    torch = import_extra("torch", feature)
    try:
        torch_device = torch.device(device)
        torch.empty(0, device=torch_device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidArgumentError("device", "a device that torch can use", f"{device!r}: {error}") from None
    return torch, torch_device
