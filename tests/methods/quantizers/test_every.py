"""What holds for every quantizer and transform: against slow references, on disk, on odd samples."""

from __future__ import annotations

import copy
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug import methods
from embplug.collection.state import pack, unpack
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    OptimizedProductQuantizer,
    PowerQuantizer,
    ProductQuantizer,
    PyramidQuantizer,
    RecurrentBinaryQuantizer,
    ResidualQuantizer,
)
from embplug.methods.token_codes.token_coder import TokenCoder
from tests.methods.quantizers.checks import sample_of
from tests.reference import scores as reference

SMALL: dict[str, Any] = {"hidden": 4, "batch": 16}
DIM = 11
QUANTIZERS: dict[str, tuple[Any, reference.Score]] = {
    "centroids": (CentroidQuantizer(count=16), reference.centroids),
    "centroids-two-bytes": (CentroidQuantizer(count=300), reference.centroids),
    "centroids-hamming": (CentroidQuantizer(count=16, compare="hamming"), reference.centroids_by_hamming),
    "bit-allocation": (BitAllocationQuantizer(size=4), reference.bit_allocation),
    "bit-allocation-scalar": (BitAllocationQuantizer(size=4, levels="scalar"), reference.bit_allocation),
    "bit-allocation-own": (BitAllocationQuantizer(size=4, length="own"), reference.bit_allocation),
    "bit-allocation-decoded": (BitAllocationQuantizer(size=4, length="decoded"), reference.bit_allocation),
    "residual": (ResidualQuantizer(size=5, centroids=8), reference.residual),
    "residual-scalar": (ResidualQuantizer(size=5, centroids=9, levels="scalar"), reference.residual),
    "residual-bits": (ResidualQuantizer(bits=2, centroids=8), reference.residual),
    "binary": (BinaryQuantizer(), reference.binary),
    "binary-uncentred": (BinaryQuantizer(center=False), reference.binary),
    "product": (ProductQuantizer(3, bits=4, iterations=3), reference.product_codes),
    "product-unscaled": (ProductQuantizer(2, iterations=3, rescale=False), reference.product_codes),
    "optimized-product": (
        OptimizedProductQuantizer(3, bits=3, iterations=3, rotation_iterations=2),
        reference.product_codes,
    ),
    "power": (PowerQuantizer(bits=3, rotate=False), reference.levels),
    "pyramid": (PyramidQuantizer(bits=4, rotate=False), reference.levels),
    "recurrent": (RecurrentBinaryQuantizer(levels=1, **SMALL), reference.recurrent),
    "recurrent-codes": (
        RecurrentBinaryQuantizer(levels=2, queries="codes", steps=3, **SMALL),
        reference.recurrent,
    ),
    "recurrent-wide": (RecurrentBinaryQuantizer(levels=0, dim_out=13, **SMALL), reference.recurrent),
}
ALIKE = 2e-3
"""The nearest of two levels is known up to the rounding of a squared distance, here over three parts of at
most eight terms: (3 * 8 * 2**-23) ** 0.5 = 1.7e-3."""
every = pytest.mark.parametrize("name", QUANTIZERS)

TRANSFORMS: dict[str, Any] = {
    "pca": methods.PCA(5),
    "pca-randomized": methods.PCA(4, solver="randomized", whiten="documents"),
    "itq": methods.ITQRotation(3),
    "opq": methods.OPQRotation(2, bits=3, iterations=2),
    "learned-truncation": methods.LearnedTruncation(5, steps=2, batch=8),
    "truncation": methods.Truncation(5),
    "rotation": methods.Rotation(),
    "random-projection": methods.SparseRandomProjection(5),
}
ADAPTERS: dict[str, Any] = {
    "procrustes": methods.Procrustes(),
    "affine": methods.LowRankAffine(rank=4),
    "dimension-scale": methods.DimensionScale(),
    "relative": methods.RelativeAnchors(20),
    "ranked": methods.RankedAffine(steps=2),
    "mlp": methods.ResidualMLP(hidden=4, steps=2),
}


def fresh(name: str) -> Any:
    return copy.deepcopy(QUANTIZERS[name][0])


def sample(count: int = 80, seed: int = 0) -> NDArray[np.float32]:
    return sample_of(count, DIM, seed, unit=True)


@every
def test_scores_are_those_of_plain_loops_over_state_and_bits(name: str) -> None:
    quantizer = fresh(name).fit(sample())
    queries, codes = sample(3, seed=1), quantizer.encode(sample()[:12])
    made = quantizer.score(quantizer.encode_query(queries), codes)
    slow, state = QUANTIZERS[name][1], quantizer.get_state()
    expected = [[slow(quantizer, state, q.tolist(), code.tolist()) for q in queries] for code in codes]
    np.testing.assert_allclose(made, expected, atol=2e-5)
    assert np.ptp(made) > 0.01


def test_whole_numbers_in_queries_score_as_their_plain_products() -> None:
    quantizer = BinaryQuantizer(queries="int8").fit(sample())
    queries, codes = sample(3, seed=1), quantizer.encode(sample()[:12])
    made, state = quantizer.score(quantizer.encode_query(queries), codes), quantizer.get_state()
    for j, query in enumerate(queries):
        parts = [float(x) * float(d) for x, d in zip(query, state["deviations"], strict=True)]
        step = max(map(abs, parts)) / 127
        whole = [round(part / step) for part in parts]
        step = reference.product(parts, whole) / reference.product(whole, whole)
        for i, code in enumerate(codes):
            signs = [1 if bit == "1" else -1 for bit in reference.bits_of(code.tolist())][:DIM]
            vector = [
                float(m) + float(d) * s
                for m, d, s in zip(state["mean"], state["deviations"], signs, strict=True)
            ]
            summed = step * reference.product(whole, signs) + reference.product(query, state["mean"])
            assert made[i, j] == pytest.approx(summed / math.hypot(*vector), abs=2e-3)


@every
def test_a_quantizer_restored_from_its_file_is_the_same_bit_by_bit(name: str, tmp_path: Path) -> None:
    quantizer = fresh(name).fit(sample())
    restored = fresh(name)
    restored.set_state(on_disk(quantizer.get_state(), tmp_path))
    codes, query = quantizer.encode(sample()), sample(3, seed=1)
    assert restored.encode(sample()).tobytes() == codes.tobytes()
    assert restored.decode(codes).tobytes() == quantizer.decode(codes).tobytes()
    scores = [one.score(one.encode_query(query), codes).tobytes() for one in (quantizer, restored)]
    assert scores[0] == scores[1]
    assert restored.describe() == quantizer.describe()
    assert pack(restored.get_state()) == pack(quantizer.get_state())
    restored.set_state(on_disk(fresh(name).get_state(), tmp_path))
    assert restored.get_state() == {}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_restored_from_its_file_is_the_same_bit_by_bit(name: str, tmp_path: Path) -> None:
    transform, restored = (copy.deepcopy(TRANSFORMS[name]) for _ in range(2))
    restored.set_state(on_disk(transform.fit(sample()).get_state(), tmp_path))
    assert restored.transform(sample()).tobytes() == transform.transform(sample()).tobytes()
    assert restored.transform_query(sample()).tobytes() == transform.transform_query(sample()).tobytes()
    assert restored.describe() == transform.describe()
    assert pack(restored.get_state()) == pack(transform.get_state())
    restored.set_state(on_disk({}, tmp_path))
    assert restored.get_state() == {}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_restored_from_its_file_is_the_same_bit_by_bit(name: str, tmp_path: Path) -> None:
    adapter, restored = (copy.deepcopy(ADAPTERS[name]) for _ in range(2))
    restored.set_state(on_disk(adapter.fit(sample(), sample(seed=2)).get_state(), tmp_path))
    assert restored.transform(sample()).tobytes() == adapter.transform(sample()).tobytes()
    assert restored.missing(sample()).tobytes() == adapter.missing(sample()).tobytes()


def on_disk(state: Any, folder: Path) -> Any:
    """A state written to its file and read again."""
    file = folder / "state.npz"
    file.write_bytes(pack(state))
    with np.load(file, allow_pickle=False) as archive:
        assert set(archive.files) == set(state)
    return unpack(file.read_bytes())


@every
@pytest.mark.parametrize("odd", ["one", "two", "duplicates", "zeros among"])
def test_few_and_duplicate_vectors_are_coded_alike_and_finite(name: str, odd: str) -> None:
    given = {
        "one": sample(1),
        "two": sample(2),
        "duplicates": np.repeat(sample(3), 5, axis=0),
        "zeros among": np.concatenate([sample(4), np.zeros((2, DIM), np.float32)]),
    }[odd]
    quantizer = fresh(name).fit(given)
    codes = quantizer.encode(given)
    scores = quantizer.score(quantizer.encode_query(given), codes)
    assert np.isfinite(scores).all() and np.isfinite(quantizer.decode(codes)).all()
    if odd == "duplicates":
        # The same holds on a processor that rounds otherwise, as if the vectors were off by a last bit.
        off = np.random.default_rng(0).choice([-1, 0, 1], given.shape) * np.float32(2**-23)
        rounded = quantizer.encode(given * (1 + off))
        for group in (codes, rounded):
            decoded, scores = quantizer.decode(group), quantizer.score(quantizer.encode_query(given), group)
            for values in (decoded, scores):
                assert all(np.ptp(values[5 * i : 5 * i + 5], axis=0).max() < ALIKE for i in range(3))
    np.testing.assert_array_equal(fresh(name).fit(given).encode(given), codes)
    assert quantizer.describe().code_bytes == codes.shape[1]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("count", [1, 3])
def test_transforms_of_few_and_duplicate_vectors_are_finite(name: str, count: int) -> None:
    given = np.repeat(sample(count), 4, axis=0)
    transform = copy.deepcopy(TRANSFORMS[name]).fit(given)
    made = transform.transform(given)
    assert np.isfinite(made).all() and np.isfinite(transform.transform_query(sample())).all()
    assert all(np.ptp(made[4 * i : 4 * i + 4], axis=0).max() < 1e-5 for i in range(count))


@pytest.mark.parametrize(
    "quantizer",
    [
        CentroidQuantizer(count=16),
        ResidualQuantizer(size=5, centroids=8),
        BitAllocationQuantizer(size=5),
        BinaryQuantizer(queries="int8"),
        ProductQuantizer(3, bits=4, iterations=2),
        RecurrentBinaryQuantizer(**SMALL),
    ],
    ids=lambda one: one.kind,
)
def test_memory_of_maxsim_over_codes_grows_by_the_codes_alone(quantizer: Any) -> None:
    tokens, query = 100, sample(32, seed=1)
    coder = TokenCoder(quantizer, 0)
    coder.quantizer.fit(sample())
    code = coder.quantizer.encode(sample(tokens, seed=2)).tobytes()
    peaks = []
    for count in (250, 500, 1000):
        strings = [code] * count
        coder.score(query, strings)
        tracemalloc.start()
        coder.score(query, strings)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        # All products at once would be 12.8 MB for 1,000 documents, and as much again for their maxima.
        assert peaks[-1] < 3 * count * len(code) + 4e6
    assert peaks[2] - peaks[1] < 3 * (peaks[1] - peaks[0]) + 5e5
