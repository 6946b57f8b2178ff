"""The options of a search, checked once before it is planned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from embplug.common.checks import checked_integer, is_number
from embplug.common.payload_paths import check_readable_path
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.recipe import Fusion
from embplug.search.types import Query, SearchOptions

_MODELS: dict[str, tuple[type[Any], str]] = {
    "search_params": (models.SearchParams, "a qdrant_client.models.SearchParams"),
    "fusion": (Fusion, "an embplug.Fusion, such as Fusion(method='rrf')"),
    "mmr": (models.Mmr, "a qdrant_client.models.Mmr"),
    "formula": (models.FormulaQuery, "a qdrant_client.models.FormulaQuery"),
}


def check_options(options: SearchOptions) -> None:
    """Check the types and ranges of options that do not depend on the recipe.

    Raises
    ------
    InvalidArgumentError
        An option is wrong; the error names it.
    """
    checked_integer(options.limit, "limit", 1)
    if options.candidates is not None:
        checked_integer(options.candidates, "candidates", 1)
    for name in ("exact", "with_stages", "explain"):
        if not isinstance(getattr(options, name), (bool, np.bool_)):
            raise InvalidArgumentError(name, "True or False", short_repr(getattr(options, name)))
    for name, (cls, expected) in _MODELS.items():
        value = getattr(options, name)
        if value is not None and not isinstance(value, cls):
            raise InvalidArgumentError(name, expected, _shown(value))
    least = options.score_threshold
    if least is not None and not (is_number(least) and _fits_float(least)):
        raise InvalidArgumentError("score_threshold", "a number", short_repr(options.score_threshold))
    if options.formula is not None and options.mmr is not None:
        raise InvalidArgumentError("formula", "no formula with mmr, which has an order of its own", "both")
    _check_with_payload(options.with_payload)


def _fits_float(number: Any) -> bool:
    """Whether a number is none that a float cannot hold, and not NaN."""
    try:
        return not math.isnan(float(number))
    except OverflowError:
        return False


def check_queries(queries: Any) -> None:
    """Check that queries come as a sequence of ``Query``.

    Raises
    ------
    InvalidArgumentError
        They do not; the error names the first that is wrong.
    """
    if isinstance(queries, Query):
        expected = "a sequence of embplug.Query"
        raise InvalidArgumentError("queries", expected, "Query; pass [query]")
    if isinstance(queries, str) or not isinstance(queries, Sequence):
        raise InvalidArgumentError("queries", "a sequence of embplug.Query", type(queries).__name__)
    for i, query in enumerate(queries):
        if not isinstance(query, Query):
            raise InvalidArgumentError(f"queries[{i}]", "an embplug.Query", type(query).__name__)


def _check_with_payload(value: Any) -> None:
    if isinstance(value, bool):
        return
    expected = "a bool or a sequence of field names"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidArgumentError("with_payload", expected, short_repr(value))
    for i, field in enumerate(value):
        if not isinstance(field, str):
            raise InvalidArgumentError(f"with_payload[{i}]", "the name of a field", short_repr(field))
        check_readable_path(field, f"with_payload[{i}]")


def _shown(value: Any) -> str:
    return short_repr(value) if isinstance(value, str) else type(value).__name__
