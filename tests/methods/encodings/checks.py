"""What learned encodings of the same tokens have in common when their sums are rounded differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.methods import LearnedEncoding
from embplug.methods.numeric.balanced import OFFSET


def signed_steps(encoding: LearnedEncoding, codes: NDArray[Any]) -> NDArray[np.int64]:
    """The signed steps of the coded dimensions, without those that balance the sums."""
    return codes[:, : encoding._coded_dim].astype(np.int64) - OFFSET


def assert_same_bytes_but_for_rounding(
    encoding: LearnedEncoding, actual: NDArray[Any], desired: NDArray[Any]
) -> None:
    """Check that two uint8 encodings differ only where a value lies between two steps.

    A sum in float32 is off by a small share of a step, whatever the order of its terms. A value that lies
    halfway between two steps may then go to either. The balancing dimensions follow: they count nothing
    in a query, and only bring the sum of a row to the same number, which is exact.
    """
    off = np.abs(signed_steps(encoding, actual) - signed_steps(encoding, desired))
    assert off.max(initial=0) <= 1
    # Errors of 1% of a step round 2% of the values to the other side.
    assert np.count_nonzero(off) <= max(1, 0.02 * off.size)
    sums = [np.asarray(codes, dtype=np.int64).sum(axis=1) for codes in (actual, desired)]
    np.testing.assert_array_equal(*sums)
