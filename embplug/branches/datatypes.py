"""Numbers that a datatype of Qdrant holds: others are refused, because engines store another number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.common.ids import Id
from embplug.errors import InvalidArgumentError
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Dense, Tokens

BYTE_MAX = 255
FLOAT16_MAX = 65504.0
"""Largest number of float16; larger ones are stored as infinity."""

_FLOAT16 = f"numbers from -{FLOAT16_MAX:g} to {FLOAT16_MAX:g}, which is all that datatype float16 holds"


def datatype_of_user(recipe: Dense) -> models.Datatype | None:
    """Return the datatype in which Qdrant stores the vectors as the user passes them.

    Parameters
    ----------
    recipe : Dense
        Part of the recipe that says how they are stored.

    Returns
    -------
    models.Datatype or None
        None if any finite number can be passed: with float32, or where float16 stores what a transform or
        the cosine makes of the vectors.
    """
    if recipe.datatype != models.Datatype.FLOAT16:
        return recipe.datatype
    changed = recipe.transforms or recipe.signs or recipe.distance == models.Distance.COSINE
    return None if changed else recipe.datatype


def check_datatype(vectors: NDArray[np.float32], datatype: models.Datatype | None, argument: str) -> None:
    """Check that a datatype can hold vectors.

    Parameters
    ----------
    vectors : ndarray of shape (n, dim), float32
        Vectors to store.
    datatype : models.Datatype or None
        Datatype in which Qdrant stores them. None is float32. ``uint8`` only holds whole numbers from 0 to
        255, and ``float16`` numbers up to 65,504.
    argument : str
        Name of the argument, for the error.

    Raises
    ------
    InvalidArgumentError
        If the datatype cannot hold a vector; the error names the first such vector.
    """
    if datatype == models.Datatype.FLOAT16:
        place = _beyond_float16(vectors)
        if place is not None:
            row, component = place
            raise _not_float16(f"{argument}[{row}]", f"{vectors[place]:g} in component {component}")
    if datatype != models.Datatype.UINT8:
        return
    wrong = (vectors != np.rint(vectors)) | (vectors < 0) | (vectors > BYTE_MAX)
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size:
        expected = (
            "whole numbers from 0 to 255, which is all that datatype uint8 keeps; for other vectors use "
            "quantization=models.ScalarQuantization(...), which also takes one byte for each dimension, or "
            "datatype float16"
        )
        number = vectors[rows[0]][wrong[rows[0]]][0]
        raise InvalidArgumentError(f"{argument}[{rows[0]}]", expected, number)


def check_float16_tokens(tokens: TokenBatch, recipe: Tokens, argument: str) -> None:
    """Check that the multivector of a recipe can hold token matrices.

    Parameters
    ----------
    tokens : TokenBatch
        Tokens to store.
    recipe : Tokens
        Part of the recipe that says how they are stored.
    argument : str
        Name of the argument, for the error.

    Raises
    ------
    InvalidArgumentError
        If it stores float16 and a token has a larger number; the error names document, token and component.
    """
    if recipe.multivector is None or recipe.multivector.datatype != models.Datatype.FLOAT16:
        return
    place = _beyond_float16(tokens.values)
    if place is not None:
        document, token = tokens.place(place[0])
        got = f"{tokens.values[place]:g} in component {place[1]} of token {token}"
        raise _not_float16(f"{argument}[{document}]", got)


def check_stored(
    vectors: NDArray[Any] | TokenBatch, datatype: models.Datatype | None, user_ids: Sequence[Id], name: str
) -> None:
    """Check vectors as they are about to be stored, after methods have changed them.

    Parameters
    ----------
    vectors : ndarray of shape (n, dim), or TokenBatch of n documents
        Vectors to store.
    datatype : models.Datatype or None
        Datatype in which Qdrant stores them.
    user_ids : sequence of int, str or UUID
        Id of each document, for the error.
    name : str
        Name of the vector in Qdrant, for the error.

    Raises
    ------
    InvalidArgumentError
        If the datatype is float16 and a vector has a larger number; the error names document and component.
    """
    if datatype != models.Datatype.FLOAT16:
        return
    values = vectors.values if isinstance(vectors, TokenBatch) else vectors
    place = _beyond_float16(values)
    if place is not None:
        row, where = place[0], f"component {place[1]}"
        if isinstance(vectors, TokenBatch):
            row, token = vectors.place(row)
            where += f" of token {token}"
        got = f"{values[place]:g} in {where} of the vector {name!r}"
        raise _not_float16(f"document {user_ids[row]!r}", got)


def _beyond_float16(values: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first number that float16 does not hold."""
    # Two passes without a copy; NaN compares false, and infinity is what a cast has made of such a number.
    if not values.size or (values.max() <= FLOAT16_MAX and values.min() >= -FLOAT16_MAX):
        return None
    row, column = np.argwhere(~(np.abs(values) <= FLOAT16_MAX))[0]
    return int(row), int(column)


def _not_float16(argument: str, got: str) -> InvalidArgumentError:
    return InvalidArgumentError(argument, f"{_FLOAT16}; scale the vectors, or store float32", got)
