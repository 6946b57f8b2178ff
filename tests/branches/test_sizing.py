"""Bytes by formula, beside what Edge has on its disk."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embplug import Dense, Multivector, Recipe, Tokens
from embplug.branches.sizing import (
    CHUNK_BYTES,
    Part,
    cost,
    disk_bytes,
    expected_parts,
    link_bits,
    memory_bytes,
)
from embplug.encoders import Encoded
from embplug.evaluation.advisor import learned_state, try_indexed
from embplug.evaluation.trial import TrialData
from embplug.methods import PowerQuantizer
from embplug.methods.token_batch import TokenBatch

DIM = 128
SCALES = (400, 1200)


def quantized(**quantization):
    return Dense(dim=DIM, on_disk=True, quantization=quantization)


RECIPES = {
    "float32": Dense(dim=DIM),
    "float16": Dense(dim=DIM, datatype="float16", hnsw={"m": 8}),
    "int8": quantized(scalar={"type": "int8", "always_ram": True}),
    "binary 2": quantized(binary={"always_ram": True, "encoding": "two_bits"}),
    "product": quantized(product={"compression": "x32", "always_ram": True}),
    "turbo": quantized(turbo={"bits": "bits4", "always_ram": True}),
    "PCA, original": Dense(dim=DIM, transforms=[{"kind": "truncation", "dim": 32}], keep_original="disk"),
    "PCA, codes": Dense(dim=DIM, transforms=[{"kind": "pca", "dim": 64}], codes=PowerQuantizer(bits=8)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_formulas_and_extrapolation_hold_at_two_scales(name):
    recipe = Recipe(dense=RECIPES[name])
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((SCALES[-1], DIM), dtype=np.float32)
    measured = []
    for count in SCALES:
        material = TrialData(Encoded(dense=vectors[:count]), Encoded(dense=vectors[:1]))
        parts = try_indexed(recipe, learned_state(recipe, material.documents), material)[1]
        expected = expected_parts(recipe, count)
        for total in (memory_bytes, disk_bytes):
            assert total(expected) == pytest.approx(total(parts), rel=0.15), (count, parts)
        assert {(part.kind, part.vector, part.in_memory) for part in expected} == {
            (part.kind, part.vector, part.in_memory) for part in parts
        }
        measured.append(parts)
    grown = [part.at(SCALES[-1]) for part in measured[0]]
    for total in (memory_bytes, disk_bytes):
        assert total(grown) == pytest.approx(total(measured[1]), rel=0.1)


def test_matrices_count_their_tokens():
    rng = np.random.default_rng(0)
    documents = TokenBatch.from_list([rng.standard_normal((n, 32)) for n in rng.integers(4, 20, size=1000)])
    recipe = Recipe(tokens=Tokens(dim=32, encoding=None, multivector=Multivector(), codes=None))
    material = TrialData(Encoded(tokens=documents), Encoded(tokens=documents[:1]))
    parts = try_indexed(recipe, {}, material)[1]
    expected = expected_parts(recipe, 1000, tokens_per_document=float(documents.lengths.mean()))
    assert disk_bytes(expected) == pytest.approx(disk_bytes(parts), rel=0.15)
    assert memory_bytes(expected) == pytest.approx(memory_bytes(parts), rel=0.15)


def test_nodes_shards_and_replicas():
    parts = [Part("vectors", "v", 100.0, True, 1000), Part("payload", "", 300.0, False, 1000)]
    small = cost(parts, 1000, state_bytes=500)
    empty = 5_000_000
    assert (small.memory, small.disk) == (32 * 2**20 + empty + 500, 400_500)
    assert (small.nodes, small.shards) == (1, 1)
    many = cost(parts, 1_000_000_000, node_memory=16e9)
    assert (many.nodes, many.shards, many.memory_per_node) == (
        7,
        7,
        math.ceil(100e9 / 7 / CHUNK_BYTES) * CHUNK_BYTES + empty,
    )
    twice = cost(parts, 1_000_000_000, node_memory=16e9, replicas=2)
    assert (twice.nodes, twice.disk) == (13, 800e9)
    assert twice.memory == pytest.approx(200e9, rel=0.01) and twice.memory > 200e9
    fixed = cost(parts, 1_000_000, shards=6, replicas=2, nodes=5)
    assert fixed.memory_per_node == 3 * (CHUNK_BYTES + empty)


def test_codes_are_not_laid_out_in_chunks():
    codes = [Part("codes", "v", 100.0, True, 1000), Part("vectors", "v", 400.0, False, 1000)]
    assert cost(codes, 1000).memory == 100_000 + 5_000_000


def test_links_grow_with_the_logarithm():
    assert [link_bits(n) for n in (1, 2, 1024, 1025, 10**6)] == [1, 1, 10, 11, 20]
    graph = Part("graph", "v", 50.0, True, 1024)
    assert graph.at(2**20).bytes == 100
