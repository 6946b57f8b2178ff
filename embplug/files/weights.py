"""Weights of sparse vectors as JSON, Parquet and Arrow hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from embplug.common.json_types import parse_json
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

_INDEX = re.compile(r"-?[0-9]{1,20}")
_EXPECTED = 'weights by index, such as {"12": 0.5}, or {"indices": [12], "values": [0.5]}'


class Weights(NamedTuple):
    """One sparse vector, as :func:`~embplug.branches.sparse_vectors.check_sparse` takes it.

    Attributes
    ----------
    indices : list
        Ids of the terms.
    values : list
        Weight of each term.
    """

    indices: list[Any]
    values: list[Any]


def parse_weights(value: Any, place: str) -> Weights:
    """Read the weights of one sparse vector.

    Parameters
    ----------
    value : mapping, sequence or str
        A mapping of indices, which JSON writes as texts, to weights; a mapping of ``indices`` and ``values``
        to lists; pairs of an index and a weight, as Arrow reads a map; or the JSON text of one of these. An
        index whose weight is null has no weight, because every struct of an Arrow column has all fields.
    place : str
        Where the weights stand, for the error.

    Returns
    -------
    Weights
        Integers and numbers, which may still be out of range.

    Raises
    ------
    InvalidArgumentError
        The value is something else.
    """
    if isinstance(value, str):
        value = parse_json(value, place)
    if isinstance(value, Mapping) and value.keys() == {"indices", "values"}:
        indices, weights = value["indices"], value["values"]
        if not isinstance(indices, list) or not isinstance(weights, list):
            raise InvalidArgumentError(place, "lists of indices and of values", short_repr(value))
    elif isinstance(value, Mapping):
        kept = {key: weight for key, weight in value.items() if weight is not None}
        indices, weights = [_index(key, place) for key in kept], [*kept.values()]
    elif isinstance(value, list) and all(_is_pair(pair) for pair in value):
        indices, weights = [pair[0] for pair in value], [pair[1] for pair in value]
    else:
        raise InvalidArgumentError(place, _EXPECTED, short_repr(value))
    for index in indices:
        if not isinstance(index, int) or isinstance(index, bool):
            raise InvalidArgumentError(place, "integers as indices", short_repr(index))
    for index, weight in zip(indices, weights, strict=False):
        if not isinstance(weight, int | float) or isinstance(weight, bool):
            raise InvalidArgumentError(f"{place}, index {index}", "a number", short_repr(weight))
    return Weights(indices, weights)


def _index(key: Any, place: str) -> int:
    # Qdrant's indices are integers; what a tokenizer calls a token is not looked up.
    if not isinstance(key, str) or _INDEX.fullmatch(key) is None:
        raise InvalidArgumentError(place, "integers as indices", short_repr(key))
    return int(key)


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
