"""Every kind of code scores with the kernel as without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug.common import base85 as plain_base85
from embplug.errors import InvalidArgumentError
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    OptimizedProductQuantizer,
    PowerQuantizer,
    PredictiveQuantizer,
    ProductQuantizer,
    PyramidQuantizer,
    ResidualQuantizer,
)
from embplug.methods.kernels import base85, in_use
from embplug.methods.kernels.tables import VectorTable
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder
from tests.methods.quantizers.checks import sample_of

DIM = 20
CODES: dict[str, Callable[[], Any]] = {
    "centroids": lambda: CentroidQuantizer(count=16),
    "centroids of two bytes": lambda: CentroidQuantizer(count=300),
    "centroids by hamming distance": lambda: CentroidQuantizer(count=16, compare="hamming"),
    "residual": lambda: ResidualQuantizer(size=6, centroids=16),
    "residual of one centroid": lambda: ResidualQuantizer(size=3, centroids=1, levels="scalar"),
    "residual by bits": lambda: ResidualQuantizer(bits=2, centroids=8),
    "bit allocation": lambda: BitAllocationQuantizer(size=5),
    "bit allocation, more bytes than dimensions": lambda: BitAllocationQuantizer(size=30, levels="scalar"),
    "bit allocation, own length": lambda: BitAllocationQuantizer(size=5, length="own"),
    "bit allocation, not rescaled": lambda: BitAllocationQuantizer(size=5, length="decoded"),
    "product": lambda: ProductQuantizer(subspaces=5),
    "product of four bits": lambda: ProductQuantizer(subspaces=7, bits=4),
    "product of three bits": lambda: ProductQuantizer(subspaces=7, bits=3, rescale=False),
    "optimized product": lambda: OptimizedProductQuantizer(subspaces=4, bits=5, rotation_iterations=1),
    "binary": lambda: BinaryQuantizer(),
    "binary, rotated": lambda: BinaryQuantizer(rotate=True, center=False),
    "binary, int8 queries": lambda: BinaryQuantizer(queries="int8"),
    "predictive": lambda: PredictiveQuantizer(size=8, centroids=16),
    "predictive of many bytes": lambda: PredictiveQuantizer(size=20, centroids=16, levels="scalar"),
    "power": lambda: PowerQuantizer(),
    "pyramid": lambda: PyramidQuantizer(bits=2),
    "power, which no kernel scores": lambda: PowerQuantizer(bits=3),
}


@pytest.fixture
def installed(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embplug.methods.kernels.library._path", lambda: compiled)
    monkeypatch.delenv("EMBPLUG_KERNEL", raising=False)
    monkeypatch.delenv("EMBPLUG_KERNEL_TABLES", raising=False)
    assert in_use() != "numpy"


def documents(unit: bool = False) -> TokenBatch:
    values = sample_of(400, DIM, unit=unit)
    lengths = [0, 1, 50, 0, 300, 49, 0]
    return TokenBatch(values, np.cumsum([0, *lengths]))


def coder(name: str, tokens: TokenBatch) -> TokenCoder:
    return TokenCoder(CODES[name](), 6).fit(tokens)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("name", CODES)
def test_scores_are_those_of_numpy(name: str, unit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = documents(unit)
    codes = coder(name, tokens)
    strings = codes.encode(tokens)
    queries = [sample_of(count, DIM, seed=count) if count else np.zeros((0, DIM)) for count in (0, 1, 32, 70)]
    rounded = [codes.score(query, strings) for query in queries]
    with_kernel = codes.quantizer.describe().scored_by
    monkeypatch.setenv("EMBPLUG_KERNEL_TABLES", "float32")
    scores = [codes.score(query, strings) for query in queries]
    monkeypatch.setenv("EMBPLUG_KERNEL", "0")
    assert codes.quantizer.describe().scored_by == "numpy"
    assert (with_kernel == "numpy") == name.endswith("no kernel scores")
    for query, score, close in zip(queries, scores, rounded, strict=True):
        expected = codes.score(query, strings)
        np.testing.assert_array_equal(np.isneginf(score), np.isneginf(expected))
        largest = np.abs(expected[np.isfinite(expected)]).max() + 1
        np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-5 * largest)
        # Tables are rounded finely. Few dimensions in 7 or 8 bits err by up to half a percent.
        rounds_coarsely = name.startswith(("centroids", "residual", "predictive", "binary"))
        np.testing.assert_allclose(close, expected, atol=(1e-2 if rounds_coarsely else 2e-3) * largest)
    assert codes.score(queries[1], []).shape == (0,)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("name", [name for name in CODES if not name.startswith("predictive")])
def test_scores_of_single_vectors_are_those_of_numpy(
    name: str, unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = documents(unit).values
    quantizer = CODES[name]().fit(tokens)
    codes, query = quantizer.encode(tokens), sample_of(1, DIM, seed=1)[0]
    prepared = quantizer.encode_query(query)
    scores = quantizer.score(prepared, codes)
    assert quantizer.score(prepared, codes[:0]).shape == (0,)
    monkeypatch.setenv("EMBPLUG_KERNEL", "0")
    # What is prepared with the kernel is scored with it.
    np.testing.assert_array_equal(quantizer.score(prepared, codes), scores)
    expected = quantizer.score(quantizer.encode_query(query), codes)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5 * largest)
    monkeypatch.delenv("EMBPLUG_KERNEL")
    starts = np.arange(len(codes)) * quantizer.code_bytes
    placed = quantizer.score_places(query[None].astype(np.float32), codes.reshape(-1), starts)
    np.testing.assert_allclose(placed, expected, rtol=1e-5, atol=1e-5 * largest)
    dense = name.startswith(("bit", "product", "optimized", "power", "pyramid"))
    by_kernel = isinstance(prepared.parts, VectorTable)
    assert by_kernel == (dense and not name.endswith("no kernel scores"))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["centroids of two bytes", "residual by bits", "predictive"])
def test_centroids_that_do_not_exist_are_refused(name: str) -> None:
    tokens = documents()
    codes = coder(name, tokens)
    strings = codes.encode(tokens)
    head = strings[1][: codes.document_bytes]
    # The first bits of a code are the centroid, of which there are fewer.
    broken = bytearray(strings[1][codes.document_bytes :])
    broken[4 if name == "predictive" else 0] = 255
    with pytest.raises((InvalidArgumentError, IndexError)):
        codes.score(sample_of(3, DIM), [strings[2], head + bytes(broken)])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [name for name in CODES if "power" not in name])
def test_random_bytes_are_refused_or_scored(name: str) -> None:
    """No string makes the kernel read beyond it."""
    tokens = documents()
    codes = coder(name, tokens)
    generator = np.random.default_rng(0)
    sizes = [len(string) for string in codes.encode(tokens)]
    for _ in range(20):
        strings = [generator.bytes(size + int(generator.integers(0, 2))) for size in sizes]
        try:
            assert codes.score(sample_of(3, DIM), strings).shape == (len(strings),)
        except (InvalidArgumentError, IndexError) as error:
            assert name.startswith(("predictive", "product", "optimized")) or "codes" in str(error)


@pytest.mark.usefixtures("installed")
def test_base85_is_decoded_as_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    strings = [b"", b"a", b"abcd", bytes(range(256))]
    texts = plain_base85.encode(strings)
    assert list(base85.decode(texts)) == strings
    assert list(base85.decode([])) == []
    for wrong in (["a"], ["~~~~~"], ["é0000"]):
        with pytest.raises(ValueError):
            base85.decode(wrong)
    missing: Any = [None]
    with pytest.raises(TypeError):
        base85.decode(missing)
    monkeypatch.setenv("EMBPLUG_KERNEL", "0")
    assert list(base85.decode(texts)) == strings
