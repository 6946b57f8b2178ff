"""The highest products of documents with landmarks: what MaxSim would be with a query of one token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from embplug.common.threads import single_blas_thread
from embplug.common.torch_device import torch_on
from embplug.methods.numeric.partition import Float32
from embplug.methods.token_batch import TokenBatch, document_blocks

LANDMARK_BLOCK = 1024
"""Landmarks compared at a time: the products of a document with them stay in the cache."""

TOKEN_BLOCK = 256
"""Tokens of short documents that are compared in one product."""

DEVICE_TOKENS = 4096
"""Tokens that are compared with landmarks in one product on a torch device."""


def highest_products(
    documents: TokenBatch,
    landmarks: Float32,
    workers: int,
    device: str | None,
    components: Float32 | None = None,
) -> Float32:
    """Compare documents with landmarks.

    Parameters
    ----------
    documents : TokenBatch
        Tokens of ``dim`` dimensions.
    landmarks : (landmarks, dim), or (landmarks, projected)
    workers
        Number of threads.
    device
        A torch device; None computes with numpy.
    components : (dim, projected)
        What tokens are multiplied by before they are compared. None compares them as they are.

    Returns
    -------
    float32 (n, landmarks)
        The highest product of a document's tokens with each landmark; zero without tokens.
    """
    if device is not None:
        return _on_device(device, documents, landmarks, components)
    highest = np.zeros((len(documents), len(landmarks)), dtype=np.float32)
    blocks = list(_landmark_blocks(landmarks))

    def compare(some: slice) -> None:
        batch = documents[some]
        tokens = batch.values.astype(np.float32, copy=False)
        if components is not None:
            tokens = tokens @ components
        inhabited = np.flatnonzero(batch.lengths).tolist()
        for columns, block in blocks:
            products = tokens @ block
            for i in inhabited:
                rows = slice(batch.offsets[i], batch.offsets[i + 1])
                np.max(products[rows], axis=0, out=highest[some.start + i, columns])

    with single_blas_thread():
        _for_each(compare, list(document_blocks(documents.offsets, TOKEN_BLOCK)), workers)
    return highest


def principal_components(tokens: Float32, count: int) -> Float32:
    """Directions (dim, count) that keep most of the products of tokens (n, dim) with each other."""
    _, directions = np.linalg.eigh(tokens.T @ tokens)
    return np.ascontiguousarray(directions[:, ::-1][:, :count])


def _landmark_blocks(landmarks: Float32) -> Iterator[tuple[slice, Float32]]:
    for start in range(0, len(landmarks), LANDMARK_BLOCK):
        columns = slice(start, start + LANDMARK_BLOCK)
        yield columns, np.ascontiguousarray(landmarks[columns].T)


def _for_each(work: Callable[[slice], None], items: list[slice], workers: int) -> None:
    if workers == 1:
        for item in items:
            work(item)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, items))


def _on_device(device: str, documents: TokenBatch, landmarks: Float32, components: Float32 | None) -> Float32:
    """Compute :func:`highest_products` with torch on a device, many documents in one product."""
    torch, where = torch_on(device, f"encoding on device {device!r}")
    highest = np.zeros((len(documents), len(landmarks)), dtype=np.float32)

    def moved(array: Any) -> Any:
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(where)

    with torch.inference_mode():
        columns = moved(landmarks.T)
        projection = None if components is None else moved(components)
        for block in document_blocks(documents.offsets, DEVICE_TOKENS):
            part = documents[block]
            rows = np.flatnonzero(part.lengths)
            if rows.size:
                tokens = moved(part.values)
                tokens = tokens if projection is None else tokens @ projection
                lengths = torch.from_numpy(part.lengths[rows]).to(where)
                maxima = torch.segment_reduce(tokens @ columns, "max", lengths=lengths)
                highest[block.start + rows] = maxima.cpu().numpy()
    return highest
