"""Sparse vectors that a model of a framework makes, as an encoder of embplug returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embplug.branches.sparse_vectors import LARGEST_INDEX, check_sparse
from embplug.encoders import Encoded


def encoded_weights(vectors: Sequence[Any], count: int, argument: str) -> Encoded:
    """Check sparse vectors and put them into a matrix.

    Parameters
    ----------
    vectors : sequence of SparseVector or the like
        Vectors with ``indices`` and ``values``.
    count : int
        Number of texts.
    argument : str
        Name of the user's argument, for the errors.

    Returns
    -------
    Encoded
        ``sparse`` alone.

    Raises
    ------
    InvalidArgumentError
        There are not as many vectors as texts, or one of them is wrong.
    """
    from scipy.sparse import csr_array

    batch = check_sparse(vectors, count, argument)
    shape = (count, LARGEST_INDEX + 1)
    return Encoded(
        sparse=csr_array((batch.values, batch.indices.astype(np.int64), batch.offsets), shape=shape)
    )
