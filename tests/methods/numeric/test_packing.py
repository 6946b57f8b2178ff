from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.methods.numeric.packing import pack, packed_bytes, unpack


@given(st.lists(st.integers(0, 16), max_size=30), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_unpacking_gives_back_what_was_packed(widths: list[int], rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    fields = generator.integers(0, 1 << np.array(widths, dtype=np.int64), size=(rows, len(widths)))
    packed = pack(fields, widths)
    assert packed.shape == (rows, packed_bytes(widths))
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(unpack(packed, widths), fields)


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_equal_widths_are_packed_as_their_bits_stand_in_a_row(width: int) -> None:
    fields = np.random.default_rng(width).integers(0, 1 << width, size=(7, 13))
    bits = ["".join(f"{number:0{width}b}" for number in row) for row in fields]
    padded = [row.ljust(8 * packed_bytes([width] * 13), "0") for row in bits]
    expected = [[int(row[i : i + 8], 2) for i in range(0, len(row), 8)] for row in padded]
    np.testing.assert_array_equal(pack(fields, [width] * 13), expected)
