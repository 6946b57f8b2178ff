"""What holds for every quantizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from embplug.errors import DimensionError, LengthMismatchError, NonFiniteError, StateError
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.roles import Quantizer


def sample_of(count: int, dim: int, seed: int = 0, unit: bool = False) -> np.ndarray:
    """Vectors with a common mean and correlated dimensions."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((dim, dim)) * np.geomspace(1, 0.1, dim)
    drawn = (generator.standard_normal((count, dim)) @ mixing.T + generator.standard_normal(dim)).astype(
        np.float32
    )
    return unit_rows(drawn) if unit else drawn


def check_contract(quantizer: Any, sample: np.ndarray) -> None:
    """Shapes, types, repeatability, state, scores against decoded vectors, degenerate input, errors."""
    count, dim = sample.shape
    with pytest.raises(LengthMismatchError):
        quantizer.fit(sample[:0])
    codes = quantizer.fit(sample).encode(sample)
    assert codes.shape == (count, quantizer.code_bytes)
    assert codes.dtype == np.uint8
    assert quantizer.dim == dim
    assert isinstance(quantizer, Quantizer)
    decoded = quantizer.decode(codes)
    assert decoded.shape == sample.shape
    assert decoded.dtype == np.float32
    assert quantizer.encode(sample[:0]).shape == (0, quantizer.code_bytes)
    np.testing.assert_array_equal(quantizer.fit(sample).encode(sample), codes)

    if quantizer.describe().exact_queries:
        queries = sample_of(3, dim, seed=1)
        expected = decoded @ queries.T
        tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
        many = quantizer.score(quantizer.encode_query(queries), codes)
        assert many.dtype == np.float32
        assert many.flags.c_contiguous
        np.testing.assert_allclose(many, expected, atol=tolerance)
        single = quantizer.score(quantizer.encode_query(queries[1]), codes)
        assert single.shape == (count,)
        np.testing.assert_allclose(single, expected[:, 1], atol=tolerance)

    adapter = TypeAdapter(type(quantizer))
    again = adapter.validate_json(adapter.dump_json(quantizer))
    assert again == quantizer
    again.set_state(quantizer.get_state())
    np.testing.assert_array_equal(again.encode(sample), codes)
    np.testing.assert_array_equal(again.decode(codes), decoded)
    assert again.describe() == quantizer.describe()
    assert quantizer.describe().to_dict()["code_bytes"] == quantizer.code_bytes

    for odd in (np.zeros((5, dim)), np.ones((5, dim)), np.repeat(sample[:1], 6, axis=0)):
        again.fit(odd)
        assert np.isfinite(again.decode(again.encode(odd))).all()

    with pytest.raises(DimensionError, match=r"^X"):
        quantizer.encode(np.zeros((2, dim + 1)))
    with pytest.raises(DimensionError, match=r"^codes"):
        quantizer.decode(codes[:, :0])
    with pytest.raises(DimensionError, match=r"^q"):
        quantizer.encode_query(np.zeros(dim + 1))
    with pytest.raises(NonFiniteError, match=r"^X\[1\]"):
        quantizer.encode(np.concatenate([sample[:1], np.full((1, dim), np.nan)]))
    with pytest.raises(StateError):
        again.set_state({"other": np.zeros(1)})
