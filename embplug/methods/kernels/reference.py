"""The functions of the kernel in plain numpy: slow, and what the kernel is tested against."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.lookups import TokenTerms
from embplug.methods.kernels.tables import ENTRIES, Table, wide_parts
from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.packing import unpack

LARGEST_BYTE, LARGEST_SUM = 255, 65_535
LONGER_STEP = 2
HEADER = (12, 8, 4, 3, 5)


def products(entries: Float32, widths: NDArray[np.int64], turned: Float32) -> Float32:
    """Products (bytes, 256, t) of the entries (256, active) of each byte with query tokens (t, active)."""
    sums = np.zeros((len(widths), ENTRIES, len(turned)), dtype=np.float32)
    for byte, stop in enumerate(np.cumsum(widths)):
        columns = slice(stop - widths[byte], stop)
        sums[byte] = entries[:, columns] @ turned[:, columns].T
    return sums


def ranges_of(
    entries: Float32, widths: NDArray[np.int64], turned: Float32
) -> tuple[Float32, NDArray[np.float64]]:
    """What lies below all products of each byte (bytes, t), and how far from there they reach at most.

    The entries of a byte lie in a box and in a ball around its middle.
    """
    lows, ranges = np.zeros((2, len(widths), len(turned)))
    for byte, stop in enumerate(np.cumsum(widths)):
        columns = slice(stop - widths[byte], stop)
        own, query = entries[:, columns].astype(np.float64), turned[:, columns].astype(np.float64)
        middle, reach = (own.max(axis=0) + own.min(axis=0)) / 2, (own.max(axis=0) - own.min(axis=0)) / 2
        radius = np.linalg.norm(own - middle, axis=1).max()
        reaches = np.minimum(np.abs(query) @ reach, radius * np.linalg.norm(query, axis=1))
        reaches += (
            np.abs(query) @ (reach + np.abs(middle)) * (widths[byte] + 4) * np.finfo(np.float32).eps / 2
        )
        lows[byte], ranges[byte] = query @ middle - reaches, 2 * reaches
    return lows.astype(np.float32), ranges


def rounded_table(products: Float32, low: Float32, ranges: NDArray[np.float64]) -> Table:
    """Round the products of each byte above what :func:`ranges_of` says, so that no sum leaves 16 bits.

    One step is as small as lets all bytes but the wide ones, whose ranges are largest, fit into 8 bits, and
    all ranges together, with what rounding adds, into 16. The first bytes are the wide ones where that makes
    no step more than twice as long.
    """
    count, wide = len(products), wide_parts(len(products))
    order = np.argsort(-ranges.sum(axis=1), kind="stable")
    own, largest = (ranges[some].max(axis=0, initial=0) for some in (slice(wide, None), order[wide:]))
    if (own <= LONGER_STEP * largest).all():
        order = np.arange(count)
    order = np.concatenate([np.sort(order[:wide]), np.sort(order[wide:])])
    steps = np.maximum(ranges.sum(axis=0) / np.float32(LARGEST_SUM - count), np.float32(1e-30))
    steps = np.maximum(steps, ranges[order[wide:]].max(axis=0, initial=0) / np.float32(LARGEST_BYTE))
    whole = np.floor((products - low[:, None]) / steps + np.float32(0.5)).astype(np.int64)[order]
    parts = whole[:wide].astype("<u2"), whole[wide:].astype(np.uint8)
    entries = np.concatenate([part.view(np.uint8).reshape(-1) for part in parts])
    return Table(entries, order, steps.astype(np.float32), low.sum(axis=0).astype(np.float32))


def entries_of(table: Table) -> NDArray[np.float64]:
    """What the entries (bytes, 256, tile) of a table stand for, without its shifts."""
    if table.entries.dtype == np.float32:
        return table.entries.astype(np.float64)
    order, tile = table.order, table.tile
    wide = wide_parts(len(order))
    split = wide * ENTRIES * tile * 2
    entries = np.empty((len(order), ENTRIES, tile))
    entries[order[:wide]] = table.entries[:split].view("<u2").reshape(-1, ENTRIES, tile)
    entries[order[wide:]] = table.entries[split:].reshape(-1, ENTRIES, tile)
    return entries * table.steps


def maxsim(table: Table, bases: Float32, terms: TokenTerms, lanes: int | None = None) -> Float32:
    """See :func:`embplug.methods.kernels.lookups.maxsim`."""
    width, (codes, starts, offsets) = len(table.order), terms.documents
    entries = entries_of(table)
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for document, start in enumerate(starts):
        tokens = np.arange(offsets[document], offsets[document + 1])
        if len(tokens):
            places = start + terms.stride * np.arange(len(tokens))[:, None]
            rows = codes[places + terms.first + np.arange(width)]
            headers = np.zeros(len(tokens), dtype=np.int64)
            for byte in range(terms.id_bytes):
                headers = headers << 8 | codes[places[:, 0] + byte]
            sums = _looked_up(entries, rows) + table.shifts + bases[headers >> terms.factor_bits]
            if terms.factors is not None:
                sums *= terms.factors[headers & ((1 << terms.factor_bits) - 1), None]
            if terms.scales is not None:
                sums *= terms.scales[tokens, None]
            scores[document] = sums.max(axis=0)[:lanes].sum()
    return scores


def predictive_maxsim(
    tables: Sequence[Table],
    bases: Float32,
    gains: Float32,
    factors: Float32,
    documents: CodedDocuments,
    lanes: int | None = None,
) -> Float32:
    """See :func:`embplug.methods.kernels.lookups.predictive_maxsim`; takes the table of each class."""
    codes, starts, offsets = documents
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    for document, start in enumerate(starts):
        count = int(offsets[document + 1] - offsets[document])
        headers = codes[start : start + 4 * count].reshape(count, 4)
        at = start + 4 * count
        own, classes = np.zeros((count, bases.shape[1])), unpack(headers, HEADER)[:, 3]
        for k, table in enumerate(tables):
            width = len(table.order)
            members = np.flatnonzero(classes == k)
            rest = codes[at : at + width * len(members)].reshape(len(members), width)
            at += width * len(members)
            own[members] = _looked_up(entries_of(table), rest) + table.shifts
        ids, back, gain, _, factor = unpack(headers, HEADER).astype(np.int64).T
        for token in range(count):
            scale = factors[factor[token]]
            own[token] = own[token] * scale + bases[ids[token]] * (scale - 1)
            if back[token]:
                own[token] += scale * gains[gain[token]] * own[token - back[token]]
        if count:
            scores[document] = (own + bases[ids]).max(axis=0)[:lanes].sum()
    return scores


def maxsim_of_bits(vectors: Float32, shifts: Float32, documents: CodedDocuments) -> NDArray[np.float64]:
    """See :func:`embplug.methods.kernels.bits.maxsim_of_bits`, with exact products."""
    signs = 2.0 * np.unpackbits(documents.rows(vectors.shape[1] // 8), axis=1) - 1
    sums = signs @ vectors.T.astype(np.float64) + shifts
    products = sums[:, :-1] / np.sqrt(sums[:, -1:])
    parts = [products[start:stop] for start, stop in itertools.pairwise(documents.offsets)]
    return np.array([part.max(axis=0).sum() if len(part) else -np.inf for part in parts])


def _looked_up(entries: NDArray[Any], codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    sums = np.zeros((len(codes), entries.shape[2]))
    for byte, rows in enumerate(entries):
        sums += rows[codes[:, byte]]
    return sums
