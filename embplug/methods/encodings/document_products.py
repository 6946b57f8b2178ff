"""The highest products of documents with landmarks: what MaxSim would be with a query of one token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.common.threads import in_threads, single_blas_thread
from embplug.common.torch_device import torch_on
from embplug.methods.encodings.scaled_rows import LIMIT, ScaledRows
from embplug.methods.kernels import load
from embplug.methods.kernels.bases import GROUP, MIDDLE
from embplug.methods.kernels.highest import distances_in_steps, distinct_rows, highest_sums, offsets_of
from embplug.methods.numeric.partition import Float32
from embplug.methods.token_batch import TokenBatch, document_blocks

LANDMARK_BLOCK = 1024
"""Landmarks compared at a time: the products of a document with them stay in the cache."""

TOKEN_BLOCK = 1024
"""Tokens of short documents that are compared in one product."""

ALIKE_BLOCK = 128
"""Tokens that are compared at a time with the earlier ones of their document."""

TINY = float(np.finfo(np.float32).tiny)

DEVICE_TOKENS = 4096
"""Tokens that are compared with landmarks in one product on a torch device."""


def highest_products(
    documents: TokenBatch,
    landmarks: ScaledRows,
    workers: int,
    device: str | None,
    components: Float32 | None = None,
    distance: float = 0.0,
) -> Float32:
    """Compare documents with landmarks.

    Where landmarks are bytes, the tokens of a document are rounded to bytes too, by one scale for each
    document. Their sums of products are whole numbers, so that a kernel, BLAS and a device compute the same.

    Parameters
    ----------
    documents : TokenBatch
        Tokens of ``dim`` dimensions.
    landmarks : ScaledRows (landmarks, dim), or (landmarks, projected)
    workers
        Number of threads.
    device
        A torch device; None computes in this process.
    components : (dim, projected)
        What tokens are multiplied by before they are compared. None compares them as they are.
    distance
        Squared distance up to which a token of a document is left out that is like an earlier one, where
        landmarks are bytes. 0 compares all.

    Returns
    -------
    float32 (n, landmarks)
        The highest product of a document's tokens with each landmark; zero without tokens.
    """
    if device is not None:
        return _on_device(device, documents, landmarks, components, distance)
    highest = np.zeros((len(documents), len(landmarks.codes)), dtype=np.float32)
    compare = _comparison(landmarks, distance)

    def fill(some: slice) -> None:
        batch = documents[some]
        if components is not None:
            batch = TokenBatch(batch.values.astype(np.float32, copy=False) @ components, batch.offsets)
        compare(batch, highest[some])

    with single_blas_thread():
        in_threads(fill, list(document_blocks(documents.offsets, TOKEN_BLOCK)), workers)
    highest *= landmarks.scales
    return highest


Comparison: TypeAlias = Callable[[TokenBatch, Float32], None]
"""Writes the highest products (n, landmarks) of documents."""


def _comparison(landmarks: ScaledRows, distance: float) -> Comparison:
    """What compares documents with the codes of landmarks: the kernel, or BLAS where that is not faster."""
    kernel = load()
    if kernel is not None and landmarks.is_rounded and kernel.eight_bits:
        panels = landmarks.panels

        def by_kernel(documents: TokenBatch, out: Float32) -> None:
            sums, steps = highest_sums(kernel, documents.values, documents.offsets, panels, distance)
            np.multiply(sums, steps[:, None], out=out, casting="same_kind", dtype=np.float32)

        return by_kernel
    columns = list(_landmark_blocks(landmarks.codes))

    def by_blas(documents: TokenBatch, out: Float32) -> None:
        tokens, offsets = documents.values.astype(np.float32, copy=False), documents.offsets
        steps = np.ones(len(documents), dtype=np.float32)
        if landmarks.is_rounded:
            tokens, steps = _rounded(tokens, documents)
            if distance:
                kept = _distinct(tokens, offsets, distances_in_steps(distance, steps))
                tokens, offsets = tokens[kept], offsets_of(kept, offsets)
        inhabited = np.flatnonzero(documents.lengths).tolist()
        for part, block in columns:
            products = tokens @ block
            for i in inhabited:
                np.max(products[offsets[i] : offsets[i + 1]], axis=0, out=out[i, part])
        out *= steps[:, None]

    return by_blas


def _rounded(tokens: Float32, batch: TokenBatch) -> tuple[Float32, Float32]:
    """Tokens as whole numbers of -127 to 127, and what one stands for in each document (n,)."""
    steps = np.ones(len(batch), dtype=np.float32)
    inhabited = batch.lengths > 0
    if inhabited.any():
        largest = np.maximum(tokens.max(axis=1), -tokens.min(axis=1))
        largest = np.maximum.reduceat(largest, batch.offsets[:-1][inhabited])
        steps[inhabited] = np.where(largest > 0, largest / np.float32(LIMIT), 1)
    steps = np.maximum(steps, np.float32(TINY), dtype=np.float32)
    factors: Float32 = np.repeat(np.float32(1) / steps, batch.lengths)
    rounded: Float32 = tokens * factors[:, None]
    np.rint(rounded, out=rounded)
    return rounded, steps


def _distinct(tokens: Float32, offsets: NDArray[np.int64], limits: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which tokens, of whole numbers, are no closer to an earlier one; see :func:`distinct_rows`."""
    kernel = load()
    if kernel is not None and kernel.eight_bits:
        padded = np.full((len(tokens), -(-tokens.shape[1] // GROUP) * GROUP), MIDDLE, dtype=np.uint8)
        padded[:, : tokens.shape[1]] = tokens + MIDDLE
        return distinct_rows(kernel, padded, offsets, limits)
    kept = np.ones(len(tokens), dtype=bool)
    # Sums of float32 are whole up to here.
    exact = tokens if tokens.shape[1] * LIMIT**2 < 1 << 24 else tokens.astype(np.float64)
    for start, stop, limit in zip(offsets[:-1].tolist(), offsets[1:].tolist(), limits.tolist(), strict=True):
        _drop_alike(exact[start:stop], kept[start:stop], limit)
    return kept


def _drop_alike(tokens: NDArray[Any], kept: NDArray[np.bool_], limit: int) -> None:
    """Write which tokens of one document are kept; all are before."""
    squares = np.square(tokens).sum(axis=1, dtype=np.float64)
    for first in range(0, len(tokens), ALIKE_BLOCK):
        rows = np.arange(first, min(first + ALIKE_BLOCK, len(tokens)))
        columns = np.flatnonzero(kept[: rows[-1] + 1])
        products = (tokens[rows] @ tokens[columns].T).astype(np.float64)
        alike = squares[rows, None] + squares[columns] - 2 * products <= limit
        alike &= columns < rows[:, None]
        for row in np.flatnonzero(alike.any(axis=1)).tolist():
            kept[rows[row]] = not (alike[row] & kept[columns]).any()


def principal_components(tokens: Float32, count: int) -> Float32:
    """Directions (dim, count) that keep most of the products of tokens (n, dim) with each other."""
    _, directions = np.linalg.eigh(tokens.T @ tokens)
    return np.ascontiguousarray(directions[:, ::-1][:, :count])


def _landmark_blocks(codes: NDArray[Any]) -> Iterator[tuple[slice, Float32]]:
    for start in range(0, len(codes), LANDMARK_BLOCK):
        columns = slice(start, start + LANDMARK_BLOCK)
        yield columns, np.ascontiguousarray(codes[columns].T, dtype=np.float32)


def _on_device(
    device: str,
    documents: TokenBatch,
    landmarks: ScaledRows,
    components: Float32 | None,
    distance: float,
) -> Float32:
    """Compute :func:`highest_products` with torch on a device, many documents in one product."""
    torch, where = torch_on(device, f"encoding on device {device!r}")
    highest = np.zeros((len(documents), len(landmarks.codes)), dtype=np.float32)

    def moved(array: Any) -> Any:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(where)

    with torch.inference_mode():
        columns = moved(landmarks.codes.T)
        projection = None if components is None else moved(components)
        for block in document_blocks(documents.offsets, DEVICE_TOKENS):
            part = documents[block]
            rows = np.flatnonzero(part.lengths)
            if rows.size:
                tokens = moved(part.values)
                tokens = tokens if projection is None else tokens @ projection
                lengths = torch.from_numpy(part.lengths[rows]).to(where)
                steps = torch.ones(len(rows), device=where)
                if landmarks.is_rounded:
                    largest = torch.segment_reduce(tokens.abs().amax(dim=1), "max", lengths=lengths)
                    steps = torch.where(largest > 0, largest / LIMIT, 1.0).clamp(min=TINY)
                    tokens = torch.round(tokens * (1 / torch.repeat_interleave(steps, lengths))[:, None])
                    if distance:
                        offsets = np.append(0, np.cumsum(part.lengths[rows]))
                        limits = distances_in_steps(distance, steps.cpu().numpy())
                        kept = _distinct(tokens.cpu().numpy(), offsets, limits)
                        tokens = tokens[torch.from_numpy(kept).to(where)]
                        lengths = torch.from_numpy(np.diff(offsets_of(kept, offsets))).to(where)
                maxima = torch.segment_reduce(tokens @ columns, "max", lengths=lengths)
                highest[block.start + rows] = (maxima * steps[:, None]).cpu().numpy()
    highest *= landmarks.scales
    return highest
