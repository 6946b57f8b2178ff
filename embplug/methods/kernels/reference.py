"""The functions of the kernel in plain numpy: slow, and what the kernel is tested against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.methods.kernels.lookups import ENTRIES, LANES, CodedDocuments, Float32, Table
from embplug.methods.numeric.packing import unpack

LARGEST_SUM = 32_000
HEADER = (12, 8, 4, 3, 5)


def products(entries: Float32, widths: NDArray[np.int64], turned: Float32) -> Float32:
    """Products (bytes, 256, 32) of the entries of each byte with query tokens (32, active)."""
    made = np.zeros((len(widths), ENTRIES, LANES), dtype=np.float32)
    for byte, stop in enumerate(np.cumsum(widths)):
        columns = slice(stop - widths[byte], stop)
        made[byte] = entries[:, columns] @ turned[:, columns].T
    return made


def quantize(products: Float32) -> Table:
    """Round the entries of each byte, about the middle of their range, so that no sum leaves 16 bits.

    The ranges of all bytes together, each half of it, are ``32,000 - bytes / 2`` steps; rounding adds at
    most half a step a byte.
    """
    low, high = products.min(axis=1), products.max(axis=1)
    middle, half = (low + high) / 2, (high - low) / 2
    steps = np.maximum(half.sum(axis=0) / np.float32(LARGEST_SUM - len(products) / 2), np.float32(1e-30))
    rounded = np.rint((products - middle[:, None]) / steps).astype(np.int16)
    return Table(rounded, steps.astype(np.float32), middle.sum(axis=0).astype(np.float32))


def maxsim(
    table: Table,
    bases: Float32,
    documents: CodedDocuments,
    stride: int,
    ids: NDArray[np.int32] | None = None,
    scales: Float32 | None = None,
    lanes: int = LANES,
) -> Float32:
    """See :func:`embplug.methods.kernels.lookups.maxsim`."""
    width, (codes, starts, offsets) = len(table.entries), documents
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for document, start in enumerate(starts):
        tokens = np.arange(offsets[document], offsets[document + 1])
        if len(tokens):
            places = start + stride * np.arange(len(tokens))[:, None] + np.arange(width)
            products = _looked_up(table.entries, codes[places]) * table.steps + table.shifts
            products += bases[0 if ids is None else ids[tokens]]
            products *= 1 if scales is None else scales[tokens, None]
            scores[document] = products.max(axis=0)[:lanes].sum()
    return scores


def predictive_maxsim(
    tables: Table,
    widths: NDArray[np.int64],
    bases: Float32,
    gains: Float32,
    factors: Float32,
    documents: CodedDocuments,
    lanes: int = LANES,
) -> Float32:
    """See :func:`embplug.methods.kernels.lookups.predictive_maxsim`."""
    codes, starts, offsets = documents
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    first = np.cumsum(widths) - widths
    for document, start in enumerate(starts):
        count = int(offsets[document + 1] - offsets[document])
        headers = codes[start : start + 4 * count].reshape(count, 4)
        at = start + 4 * count
        own, classes = np.zeros((count, LANES)), unpack(headers, HEADER)[:, 3]
        for k, width in enumerate(widths.tolist()):
            members = np.flatnonzero(classes == k)
            rest = codes[at : at + width * len(members)].reshape(len(members), width)
            at += width * len(members)
            entries = tables.entries[first[k] : first[k] + width]
            own[members] = _looked_up(entries, rest) * tables.steps[k] + tables.shifts[k]
        ids, back, gain, _, factor = unpack(headers, HEADER).astype(np.int64).T
        for token in range(count):
            scale = factors[factor[token]]
            own[token] = own[token] * scale + bases[ids[token]] * (scale - 1)
            if back[token]:
                own[token] += scale * gains[gain[token]] * own[token - back[token]]
        if count:
            scores[document] = (own + bases[ids]).max(axis=0)[:lanes].sum()
    return scores


def _looked_up(entries: NDArray[Any], codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    made = np.zeros((len(codes), LANES))
    for byte, table in enumerate(entries):
        made += table[codes[:, byte]]
    return made
