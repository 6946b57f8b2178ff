"""The same documents stored with and without embplug, and the cost of the same searches in both."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from tqdm import tqdm

from embplug.branches.documents import Documents
from embplug.cli.demo.corpus import Docstring, stdlib_docstrings
from embplug.collection.collection import Collection
from embplug.common.threads import single_blas_thread
from embplug.encoders import Encoder, load_encoder
from embplug.engines import EdgeClient
from embplug.methods import BitAllocationQuantizer
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Multivector, Recipe, Rerank, Tokens
from embplug.recipe.recipe import digest
from embplug.search.types import Hit

DIM = 384
PLAIN = Recipe(
    tokens=Tokens(dim=DIM, encoding=None, multivector=Multivector(datatype="float32", on_disk=None)),
    encoder="minilm",
)
"""Token matrices as Qdrant keeps them by default: float32, in memory.

A search compares the query with all of them, because a graph over these matrices takes many minutes to build.
"""

COMPRESSED = Recipe(
    tokens=Tokens(
        dim=DIM,
        encoding=LearnedEncoding(stored_dim=512, features=512, landmarks=1024, compared=1024, sample=1000),
        codes=BitAllocationQuantizer(size=48, levels="scalar"),
        multivector=None,
    ),
    rerank=Rerank(candidates=200),
    encoder="minilm",
)
"""512 bytes of a document find candidates, and 48 bytes of a token rank them.

The methods are small enough to be fitted in seconds.
"""

QUERIES = 200
BATCH = 128
K = 10


@dataclass(frozen=True)
class MethodFigures:
    """Figures of one way to store and search.

    Attributes
    ----------
    method : str
        Name of the method.
    bytes_per_document : float
        Bytes of the collection's segments on disk for each document: vectors, indexes and payload.
    recall_at_10 : float
        Share of the ten best documents of exact MaxSim that a search returns, 0 to 1.
    mrr_at_10 : float
        Mean reciprocal rank of the document whose first sentence is the query.
    p50_ms, p95_ms : float
        Median and 95th percentile of the latency of one search, in milliseconds.
    """

    method: str
    bytes_per_document: float
    recall_at_10: float
    mrr_at_10: float
    p50_ms: float
    p95_ms: float


class Demo:
    """The demonstration in a folder, which is used again by the next call.

    Parameters
    ----------
    folder : str or path
        Folder of the two collections and of their figures.
    documents : sequence of Docstring, default=None
        Documents to store. Default: :func:`~embplug.cli.demo.corpus.stdlib_docstrings`.
    progress : bool, default=None
        Whether to show progress bars. ``None`` shows them on a terminal only.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        documents: Sequence[Docstring] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._corpus = documents
        self._progress = progress
        self._client = EdgeClient(self.folder)

    def close(self) -> None:
        """Release the folder."""
        self._client.close()

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @cached_property
    def documents(self) -> Sequence[Docstring]:
        """The documents, each with its query."""
        return stdlib_docstrings() if self._corpus is None else self._corpus

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder("minilm")

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """Both collections, with all documents."""
        collections = {
            "plain": Collection.create("plain", PLAIN, self._client, encoder=self._encoder),
            "embplug": Collection.create("embplug", COMPRESSED, self._client, encoder=self._encoder),
        }
        incomplete = [
            collection
            for collection in collections.values()
            if collection.count() != len(self.documents) or collection.info().status != "green"
        ]
        if incomplete:
            self._fill(incomplete)
        return collections

    def figures(self) -> list[MethodFigures]:
        """Return the figures of both methods, which are measured once and then read from a file."""
        file = self.folder / "figures.json"
        measured_on = digest([PLAIN.to_dict(), COMPRESSED.to_dict(), [d.text for d in self.documents]])
        if file.exists():
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["measured_on"] == measured_on:
                return [MethodFigures(**row) for row in stored["figures"]]
        figures = self._measure(self.collections)
        contents = {"measured_on": measured_on, "figures": [asdict(row) for row in figures]}
        file.write_text(json.dumps(contents), encoding="utf-8")
        return figures

    def search(self, text: str, limit: int = 5) -> list[Hit]:
        """Search the compressed collection."""
        return self.collections["embplug"].search(text=text, limit=limit)

    def _fill(self, collections: Sequence[Collection]) -> None:
        ids = list(range(len(self.documents)))
        tokens = self._encoded("encoding documents", [d.text for d in self.documents])
        for collection in collections:
            collection.add_batches(
                (
                    Documents(
                        ids[i : i + BATCH],
                        tokens=tokens[i : i + BATCH],
                        payloads=[{"name": d.name, "text": d.text} for d in self.documents[i : i + BATCH]],
                    )
                    for i in range(0, len(ids), BATCH)
                ),
                progress=self._progress,
            )
            collection.optimize()

    def _encoded(self, title: str, texts: Sequence[str]) -> TokenBatch:
        parts = []
        with tqdm(total=len(texts), desc=title, disable=self._disabled) as bar:
            for start in range(0, len(texts), BATCH):
                tokens = self._encoder.encode_documents(texts[start : start + BATCH]).tokens
                assert tokens is not None
                parts.append(tokens)
                bar.update(len(tokens))
        return TokenBatch.concat(parts)

    def _measure(self, collections: dict[str, Collection]) -> list[MethodFigures]:
        count = len(self.documents)
        chosen = np.random.default_rng(0).choice(count, min(QUERIES, count), replace=False).tolist()
        queries = self._encoded("encoding queries", [self.documents[i].query for i in chosen])
        plain, ours = collections["plain"], collections["embplug"]
        exact, _ = self._timed("exact MaxSim", queries, lambda q: plain.search(tokens=q, limit=K, exact=True))
        methods: dict[str, tuple[Collection, Callable[[Any], list[Hit]]]] = {
            "plain multivector": (plain, self._plain_search),
            "embplug": (ours, lambda q: ours.search(tokens=q, limit=K)),
        }
        figures = []
        for name, (collection, search) in methods.items():
            rankings, seconds = self._timed(name, queries, search)
            ranks = [ids.index(i) + 1 if i in ids else 0 for i, ids in zip(chosen, rankings, strict=True)]
            figures.append(
                MethodFigures(
                    name,
                    (collection.info().disk_bytes or 0) / count,
                    float(np.mean([len({*r} & {*e}) / len(e) for r, e in zip(rankings, exact, strict=True)])),
                    float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
                    float(np.percentile(seconds, 50) * 1e3),
                    float(np.percentile(seconds, 95) * 1e3),
                )
            )
        return figures

    def _plain_search(self, query: Any) -> list[Hit]:
        response = self._client.query_points("plain", query=query, using="tokens", limit=K)
        return [
            Hit(str(point.id) if isinstance(point.id, UUID) else point.id, point.score)
            for point in response.points
        ]

    def _timed(
        self, title: str, queries: TokenBatch, search: Callable[[Any], list[Hit]]
    ) -> tuple[list[list[Any]], list[float]]:
        rankings, seconds = [], []
        with single_blas_thread():
            search(queries[0])
            for query in tqdm(queries, desc=title, disable=self._disabled):
                start = time.perf_counter()
                hits = search(query)
                seconds.append(time.perf_counter() - start)
                rankings.append([hit.id for hit in hits])
        return rankings, seconds

    @property
    def _disabled(self) -> bool | None:
        return None if self._progress is None else not self._progress
