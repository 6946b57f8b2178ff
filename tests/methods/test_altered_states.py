"""A learned state is input: what a method never learns is refused, and the rest gives finite results."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug.errors import DimensionError, StateError
from embplug.methods.roles import Reduction
from tests.methods.table import CASES
from tests.methods.test_contract import fitted, fresh, results

LEARNING = [name for name, case in CASES.items() if not isinstance(case.method, Reduction)]


def altered(array: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """An array with other values, shapes and types."""
    yield "another type", array.astype(np.float32 if array.dtype != np.float32 else np.float64)
    yield "an object", np.array([None], dtype=object)
    yield "one more axis", array[None]
    if array.dtype.kind == "f":
        values: list[Any] = [np.nan, np.inf, -np.inf, 0, -1]
    else:
        range_ = np.iinfo(array.dtype)
        values = [
            value for value in (0, -1, 1, 2**31, 2**62, range_.min) if range_.min <= value <= range_.max
        ]
    for value in values:
        changed = np.array(array)
        changed[...] = value
        yield f"all {value}", changed
        if array.size and array.ndim:
            changed = np.array(array)
            changed.flat[changed.size // 2] = value
            yield f"one {value}", changed
    if array.dtype.kind == "f":
        yield "large", np.full_like(array, np.finfo(array.dtype).max)
        yield "times 100", array * np.asarray(100, array.dtype)
        yield "negated", -array
    if not array.ndim:
        return
    yield "reversed", array[::-1].copy()
    yield "rolled", np.roll(array, 1)
    for axis in range(array.ndim):
        yield f"a shorter axis {axis}", np.take(array, range(array.shape[axis] - 1), axis=axis)
        yield f"an empty axis {axis}", np.take(array, range(0), axis=axis)
        first = np.take(array, range(min(1, array.shape[axis])), axis=axis)
        yield f"a longer axis {axis}", np.concatenate([array, first], axis=axis)


@pytest.mark.parametrize("name", LEARNING)
def test_an_altered_state_is_refused_or_gives_finite_results(name: str) -> None:
    state = fitted(name).get_state()
    for key, array in state.items():
        for how, changed in altered(np.asarray(array)):
            method = fresh(name)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                try:
                    method.set_state({**state, key: changed})
                    outputs = results(method)
                except StateError as error:
                    assert "state" in str(error), (key, how)
                    assert not method.fitted, (key, how)
                    continue
                except DimensionError:
                    # A state of another dimension, which a collection compares with its recipe.
                    assert method.fitted_dim != fitted(name).fitted_dim, (key, how)
                    continue
            assert outputs, (key, how)
            assert "nan" not in how and "inf" not in how, (key, how)


@pytest.mark.parametrize(
    ("name", "key", "how"),
    [
        ("residual", "widths", "one 0"),
        ("residual", "rotation", "all 1"),
        ("residual", "factors", "reversed"),
        ("predictive", "borders", "reversed"),
        ("predictive", "3.kept", "all 1"),
        ("predictive", "directions", "all 0"),
        ("pca", "components", "times 100"),
        ("itq", "rotation", "all 0"),
        ("power", "levels", "reversed"),
        ("pyramid", "pulses", f"all {2**31}"),
        ("binary", "deviations", "negated"),
        ("bit-allocation-own", "lengths", "reversed"),
        ("idf", "idf", "negated"),
        ("learned", "length", "negated"),
        ("fde-learned", "dim", f"all {2**62}"),
    ],
)
def test_values_that_a_method_never_learns_are_refused(name: str, key: str, how: str) -> None:
    state = fitted(name).get_state()
    changed = dict(altered(np.asarray(state[key])))[how]
    if np.array_equal(changed, state[key]):
        pytest.skip("the alteration changes nothing")
    with pytest.raises(StateError, match=key):
        fresh(name).set_state({**state, key: changed})
