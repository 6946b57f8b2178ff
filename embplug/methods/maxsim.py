"""MaxSim of one query with many documents: over token matrices, or over the codes of their tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.common.threads import single_blas_thread
from embplug.errors import LengthMismatchError
from embplug.methods.kernels import load
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.numeric.arrays import Codes, Float32, as_vectors, check_codes
from embplug.methods.token_batch import TokenBatch, document_blocks, token_rows

if TYPE_CHECKING:
    from embplug.methods.roles import Quantizer

BLOCK_TOKENS = 4096
"""Largest number of tokens whose scores are in memory at once, unless one document has more."""


def maxsim(query: ArrayLike, documents: TokenBatch) -> Float32:
    """Compute MaxSim: the sum over query tokens of the highest dot product with a token of the document.

    Parameters
    ----------
    query : array-like of shape (t, dim)
        Token vectors of the query.
    documents : TokenBatch
        Token vectors of n documents.

    Returns
    -------
    ndarray of shape (n,), float32
        Score of each document. It is -inf for a document without tokens.

    Raises
    ------
    DimensionError, NonFiniteError
        The query is not a finite matrix of the documents' dimension.
    """
    query_tokens = as_vectors(query, documents.dim, "query")
    turned = np.ascontiguousarray(query_tokens.T)

    def products(rows: slice, _: slice) -> Float32:
        scores: Float32 = np.asarray(documents.values[rows], dtype=np.float32) @ turned
        return scores

    return sum_of_maxima(products, documents.offsets, len(query_tokens))


def maxsim_codes(quantizer: Quantizer, query: ArrayLike, codes: Codes, offsets: NDArray[np.int64]) -> Float32:
    """Compute MaxSim of one query with the codes of the tokens of documents.

    Parameters
    ----------
    quantizer : Quantizer
        Quantizer of the codes.
    query : array-like of shape (t, dim)
        Token vectors of the query.
    codes : ndarray of shape (sum_tokens, code_bytes), uint8
        Codes of the tokens of all documents.
    offsets : ndarray of shape (n + 1,), int64
        Document ``i`` has the codes ``offsets[i]:offsets[i + 1]``.
    """
    if len(codes) != offsets[-1]:
        raise LengthMismatchError("codes", f"{offsets[-1]} codes, as offsets say", len(codes))
    query_tokens = as_vectors(query, quantizer.dim, "query")
    codes = check_codes(codes, quantizer.code_bytes)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    strings = ByteStrings.of_rows(codes, offsets)
    return maxsim_documents(quantizer, query_tokens, CodedDocuments.of(strings, offsets))


def maxsim_documents(quantizer: Quantizer, query: Float32, documents: CodedDocuments) -> Float32:
    """As :func:`maxsim_codes`, for a query that is checked and codes as long as they have to be."""
    kernel = load()
    bytewise = None if kernel is None else quantizer._bytewise()
    if kernel is not None and bytewise is not None:
        return bytewise.maxsim(kernel, query, documents)
    with single_blas_thread():
        scores = None if kernel is None else quantizer._maxsim(kernel, query, documents)
        if scores is not None:
            return scores
        prepared, codes = quantizer.encode_query(query), documents.rows(quantizer.code_bytes)
        return sum_of_maxima(
            lambda rows, _: quantizer.score(prepared, codes[rows]), documents.offsets, len(query)
        )


def sum_of_maxima(
    products: Callable[[slice, slice], Float32],
    offsets: NDArray[np.int64],
    query_tokens: int,
    block_tokens: int = BLOCK_TOKENS,
) -> Float32:
    """Compute MaxSim (n,) from products (tokens, query tokens), block by block.

    ``products`` is called with the rows of tokens of a block, and with their documents.
    """
    scores = np.full(len(offsets) - 1, -np.inf, dtype=np.float32)
    with single_blas_thread():
        for documents in document_blocks(offsets, block_tokens):
            starts = offsets[documents] - offsets[documents.start]
            inhabited = np.flatnonzero(np.diff(offsets[documents.start : documents.stop + 1]))
            if inhabited.size:
                rows = token_rows(offsets, documents)
                highest = np.maximum.reduceat(products(rows, documents), starts[inhabited], axis=0)
                scores[documents.start + inhabited] = highest.sum(axis=1)
    if query_tokens == 0:
        scores[np.diff(offsets) > 0] = 0
    return scores
