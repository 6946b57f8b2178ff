"""Optional libraries, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from embplug.errors import MissingExtraError


def import_extra(module: str, feature: str, extra: str | None = None) -> Any:
    """Import a module that an extra installs.

    Parameters
    ----------
    module : str
        Name of the module.
    feature : str
        What needs the module, for the error.
    extra : str, default=None
        Name of the extra. By default that of the module.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingExtraError
        The module is not installed; the error names the feature and the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(feature, extra or module) from error
