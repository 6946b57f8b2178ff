"""Token matrices for benchmarks that need many: real ones, and more made from them where they are too few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from _beir import encoded_texts, load

from embplug.demo.corpus import stdlib_docstrings
from embplug.multivector import TokenBatch

NOISE = 0.1


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents and queries, unit tokens.

    Attributes
    ----------
    origin
        What they are, for the output.
    """

    origin: str
    documents: TokenBatch
    queries: TokenBatch


def corpus(data: str | None, documents: int, tokens: int | None) -> Corpus:
    """Collection at ``data``, or the standard library's docstrings; resampled where it holds too few.

    A resampled document is two runs of tokens of two real documents with a little noise, ``tokens``
    (default: the mean of the real ones) in all, so that no two are alike.
    """
    if data is None:
        texts = stdlib_docstrings()
        name = "docstrings of the standard library"
        real = encoded_texts("docstrings", [text.text for text in texts])
        queries = encoded_texts("docstring-queries", [text.query for text in texts[::5]])
    else:
        read = load(data)
        name, real, queries = read.beir.name, read.documents, read.queries
    real = real.take(np.flatnonzero(real.lengths))
    queries = queries.take(np.flatnonzero(queries.lengths)).to_float32()
    if len(real) >= documents and tokens is None:
        return Corpus(f"{documents} of {name}", real[:documents].to_float32(), queries)
    wanted = tokens or int(real.lengths.mean())
    made = resampled(real, documents, wanted)
    origin = f"{documents} made of {len(real)} {name}: runs of two each, {wanted} tokens, noise {NOISE}"
    return Corpus(origin, made, queries)


def resampled(real: TokenBatch, count: int, tokens: int) -> TokenBatch:
    """``count`` matrices of ``tokens`` rows: half of the rows a run of one real matrix, half of another."""
    rng = np.random.default_rng(0)
    half = tokens // 2
    values = np.empty((count, tokens, real.dim), dtype=np.float32)
    for document in values:
        for part in (document[:half], document[half:]):
            source = real[int(rng.integers(len(real)))]
            start = int(rng.integers(len(source)))
            part[:] = source[(start + np.arange(len(part))) % len(source)]
    for document in values:
        document += rng.standard_normal(document.shape, dtype=np.float32) * (NOISE / np.sqrt(real.dim))
        document /= np.linalg.norm(document, axis=1, keepdims=True)
    return TokenBatch(values.reshape(-1, real.dim), np.arange(count + 1) * tokens)
