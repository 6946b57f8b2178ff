"""Models that a stored recipe may load without being passed by the reader of the collection."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from fnmatch import fnmatchcase

from embplug.encoders.registry import is_served
from embplug.errors import UntrustedModelError

ENVIRONMENT = "EMBPLUG_TRUSTED_MODELS"
"""Names of models that stored recipes may load, separated by commas; ``*`` stands for any characters."""


def check_trusted(name: str, argument: str, allowed: Collection[str]) -> None:
    """Refuse the model of a stored recipe that the reader did not allow.

    A pattern of the environment allows an encoder behind an endpoint only if it spells out the address:
    ``*`` and ``openai:*`` would let a stored recipe choose to whom texts are sent.

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
    if is_served(name) and name not in patterns:
        patterns = [pattern for pattern in patterns if _spells_out_address(pattern)]
    if name not in (*allowed, *patterns) and not any(fnmatchcase(name, pattern) for pattern in patterns):
        raise UntrustedModelError(name, argument, ENVIRONMENT)


def _spells_out_address(pattern: str) -> bool:
    """Whether the scheme and the host of a pattern stand before its first wildcard, and end there."""
    return re.match(r"\w+:https?://[^*?\[/#]+([/#]|$)", pattern) is not None
