from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import DimensionError, LengthMismatchError
from embplug.methods import CentroidQuantizer
from embplug.methods.maxsim import maxsim, maxsim_codes
from embplug.methods.token_batch import TokenBatch


def batch(lengths: list[int], dim: int, seed: int) -> TokenBatch:
    generator = np.random.default_rng(seed)
    return TokenBatch.from_list(
        [generator.normal(size=(n, dim)).astype(np.float32) for n in lengths], dim=dim
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 5), st.integers(0, 99), st.integers(1, 12))
def test_each_document_has_the_sum_of_its_highest_products(
    lengths: list[int], query_length: int, seed: int, block: int
) -> None:
    documents = batch(lengths, 4, seed)
    query = np.random.default_rng(seed + 1).normal(size=(query_length, 4)).astype(np.float32)
    expected = [
        float((query @ document.T).max(axis=1).sum()) if len(document) else -np.inf for document in documents
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("embplug.methods.maxsim"), "BLOCK_TOKENS", block)
        np.testing.assert_allclose(maxsim(query, documents), np.array(expected).reshape(-1), atol=1e-5)


@pytest.mark.usefixtures("exact_tables")
def test_codes_rank_as_the_vectors_that_they_stand_for() -> None:
    documents = batch([3, 0, 7, 1], 6, 0)
    quantizer = CentroidQuantizer(count=4).fit(documents.values)
    codes = quantizer.encode(documents.values)
    query = batch([5], 6, 1)[0]
    decoded = TokenBatch(quantizer.decode(codes), documents.offsets)
    np.testing.assert_allclose(
        maxsim_codes(quantizer, query, codes, documents.offsets), maxsim(query, decoded), atol=1e-5
    )
    with pytest.raises(LengthMismatchError):
        maxsim_codes(quantizer, query, codes[1:], documents.offsets)


def test_float16_documents_and_wrong_queries() -> None:
    documents = TokenBatch.from_list([np.ones((2, 3), np.float16)])
    assert maxsim(np.ones((2, 3)), documents).tolist() == [6.0]
    with pytest.raises(DimensionError):
        maxsim(np.ones((2, 4)), documents)
