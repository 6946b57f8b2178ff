"""Models that a stored recipe may load without being passed by the reader of the collection."""

from __future__ import annotations

import os
from collections.abc import Collection
from fnmatch import fnmatchcase

from embplug.errors import UntrustedModelError

ENVIRONMENT = "EMBPLUG_TRUSTED_MODELS"
"""Names of models that stored recipes may load, separated by commas; ``*`` stands for any characters."""


def check_trusted(name: str, argument: str, allowed: Collection[str]) -> None:
    """Refuse the model of a stored recipe that the reader did not allow.

    Parameters
    ----------
    name : str
        Name of the model, as a recipe has it.
    argument : str
        Argument by which the reader passes the model.
    allowed : collection of str
        Names that the reader has passed.

    Raises
    ------
    UntrustedModelError
        Neither the reader nor the environment allows the name.
    """
    patterns = [pattern.strip() for pattern in os.environ.get(ENVIRONMENT, "").split(",")]
    if name not in allowed and not any(fnmatchcase(name, pattern) for pattern in patterns):
        raise UntrustedModelError(name, argument, ENVIRONMENT)
