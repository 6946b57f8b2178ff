"""Token matrices for benchmarks that need many: real ones, and more made from them where they are too few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from _beir import encoded_texts, load
from _metrics import top
from numpy.typing import NDArray

from embplug.cli.demo.corpus import stdlib_docstrings
from embplug.evaluation.exact import maxsim_scores
from embplug.methods.token_batch import TokenBatch

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


def corpus(data: Sequence[str], documents: int, tokens: int | None) -> Corpus:
    """Collections at ``data`` together, or the standard library's docstrings; more are made where those end.

    Documents without tokens are left out.

    With ``tokens``, documents are cut into passages of that many tokens, as long as they yield enough.
    Beyond that, a resampled document is two runs of tokens of two real documents with a little noise,
    ``tokens`` (default: the mean of the real ones) in all, so that no two are alike.
    """
    if data:
        read = [load(folder) for folder in data]
        name = " and ".join(collection.beir.name for collection in read)
        real = TokenBatch.concat([collection.documents for collection in read])
        queries = TokenBatch.concat([collection.queries for collection in read])
    else:
        texts = stdlib_docstrings()
        name = "docstrings of the standard library"
        real = encoded_texts("docstrings", [text.text for text in texts])
        queries = encoded_texts("docstring-queries", [text.query for text in texts[::5]])
    read_documents = len(real)
    real = real.take(np.flatnonzero(real.lengths))
    queries = queries.take(np.flatnonzero(queries.lengths)).to_float32()
    if tokens is None and read_documents >= documents:
        # Documents without text are no reason to make others.
        some = real[:documents].to_float32()
        return Corpus(f"{len(some)} of {name}", some, queries)
    passage_tokens = tokens or int(real.lengths.mean())
    if int((real.lengths // passage_tokens).sum()) >= documents:
        origin = (
            f"{documents} passages of {passage_tokens} tokens, cut from the {len(real)} documents of {name}"
        )
        return Corpus(origin, passages(real, documents, passage_tokens), queries)
    origin = (
        f"{documents} made of {len(real)} {name}: runs of two each, {passage_tokens} tokens, noise {NOISE}"
    )
    return Corpus(origin, resampled(real, documents, passage_tokens), queries)


def queries_with_best(data: Corpus, count: int, k: int) -> tuple[TokenBatch, NDArray[np.int64]]:
    """At most ``count`` queries, evenly spread, and the best ``k`` documents of each by exact MaxSim."""
    rows = np.linspace(0, len(data.queries) - 1, min(count, len(data.queries))).astype(np.int64)
    queries = data.queries.take(rows)
    return queries, top(maxsim_scores(queries, data.documents), k)


def passages(real: TokenBatch, count: int, tokens: int) -> TokenBatch:
    """``count`` matrices of ``tokens`` consecutive rows of real ones, none twice, in random order."""
    starts = np.concatenate(
        [
            first + tokens * np.arange(length // tokens)
            for first, length in zip(real.offsets[:-1].tolist(), real.lengths.tolist(), strict=True)
        ]
    )
    chosen = np.random.default_rng(0).permutation(starts)[:count]
    values = real.values[(chosen[:, None] + np.arange(tokens)).ravel()].astype(np.float32)
    return TokenBatch(values, np.arange(count + 1) * tokens)


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
