"""Libraries that are not needed by all, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from embplug.errors import MissingExtraError


def import_extra(module: str, feature: str) -> Any:
    """A module that the extra of the same name installs.

    Raises
    ------
    MissingExtraError
        It is not installed; names the feature that needs it, and the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, module) from error
