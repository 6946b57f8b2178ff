"""Optional libraries, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from embplug.errors import MissingExtraError


def import_extra(module: str, feature: str) -> Any:
    """Import a module that the extra of the same name installs.

    Parameters
    ----------
    module : str
        Name of the module and of the extra.
    feature : str
        What needs the module, for the error.

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
        raise MissingExtraError(feature, module) from error
