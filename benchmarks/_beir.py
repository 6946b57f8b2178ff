"""Real collections in BEIR format, and their token matrices, encoded once and kept under ``.cache/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embplug.encoders import Encoded, Encoder
from embplug.evaluation.beir import Beir, encode_texts, read_beir
from embplug.methods.token_batch import TokenBatch

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "encoded"


@dataclass(frozen=True, eq=False)
class EncodedBeir:
    """A collection with its vectors by the offline MiniLM encoder.

    Unit tokens, float16 of documents and float32 of queries, as an encoder gives them; unit sentence vectors,
    saliency. A text without a single token has an empty matrix.
    """

    beir: Beir
    documents: TokenBatch
    queries: TokenBatch
    document_sentences: NDArray[np.float32]
    query_sentences: NDArray[np.float32]
    document_saliency: NDArray[np.float32]
    query_saliency: NDArray[np.float32]


class MiniLM:
    """The offline encoder with saliency, loaded only where something is not yet in the cache."""

    spec = "minilm"

    @cached_property
    def _encoder(self) -> Encoder:
        from embplug.encoders.minilm import MiniLMEncoder

        return MiniLMEncoder(with_saliency=True)

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return self._encoder.encode_documents(texts)

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        return self._encoder.encode_queries(texts)


class MiniLMLayer:
    """Sentence vectors of an earlier layer of the offline encoder, its model loaded as above."""

    def __init__(self, layer: int) -> None:
        self.spec, self._layer = f"minilm-layer{layer}", layer

    @cached_property
    def _encoder(self) -> Encoder:
        from embplug.encoders.minilm import MiniLMEncoder

        return MiniLMEncoder(layer=self._layer)

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return Encoded(dense=self._encoder.encode_documents(texts).dense)

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        return Encoded(dense=self._encoder.encode_queries(texts).dense)


def load(folder: str | Path) -> EncodedBeir:
    """A collection with its vectors; encoded on the first call, read from the cache afterwards."""
    beir = read_beir(folder)
    documents = _encoded(beir.name, "documents", beir.documents)
    queries = _encoded(beir.name, "queries", beir.queries)
    assert documents.tokens is not None and queries.tokens is not None
    assert documents.dense is not None and queries.dense is not None
    assert documents.saliency is not None and queries.saliency is not None
    return EncodedBeir(
        beir,
        documents.tokens,
        queries.tokens.to_float32(),
        documents.dense,
        queries.dense,
        documents.saliency,
        queries.saliency,
    )


def encoded_texts(name: str, texts: list[str]) -> TokenBatch:
    """Token matrices of any texts, by the same encoder, kept in the same cache."""
    tokens = _encoded(name, "documents", texts).tokens
    assert tokens is not None
    return tokens


def earlier_layer(beir: Beir, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sentence vectors of documents and queries by an earlier layer, kept in the same cache."""
    encoder = MiniLMLayer(layer)
    documents = encode_texts(encoder, "documents", beir.documents, name=beir.name, cache=CACHE).dense
    queries = encode_texts(encoder, "queries", beir.queries, name=beir.name, cache=CACHE).dense
    assert documents is not None and queries is not None
    return documents, queries


def mean_pooled(batch: TokenBatch) -> NDArray[np.float32]:
    """Means (n, dim) of token matrices; of one without tokens zeros."""
    sums = np.zeros((len(batch), batch.dim), dtype=np.float32)
    inhabited = np.flatnonzero(batch.lengths)
    for i in inhabited:
        sums[i] = batch[int(i)].mean(axis=0, dtype=np.float32)
    return sums


def _encoded(name: str, kind: Literal["documents", "queries"], texts: list[str]) -> Encoded:
    return encode_texts(MiniLM(), kind, texts, name=name, cache=CACHE)
