"""One collection stored plainly, one by embplug, the same questions to both, and what each answer costs."""

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
"""Token matrices as Qdrant keeps them by default: float32, in memory; searched by comparing with all of
them, because a graph over these matrices takes many minutes to build."""

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
"""512 bytes find the candidates, 48 bytes a token rank them; methods small enough to be fitted in seconds."""

QUERIES = 200
BATCH = 128
K = 10


@dataclass(frozen=True)
class MethodFigures:
    """What was measured of one way to store and search.

    Attributes
    ----------
    bytes_per_document
        Of the collection's segments on disk: vectors, indexes and payload.
    recall_at_10
        Share of the exact MaxSim's ten best that are found.
    mrr_at_10
        Mean reciprocal rank of the document whose first sentence was the query.
    p50_ms, p95_ms
        Latency of one search.
    """

    method: str
    bytes_per_document: float
    recall_at_10: float
    mrr_at_10: float
    p50_ms: float
    p95_ms: float


class Demo:
    """The demonstration in a folder; what is there already is used again.

    Parameters
    ----------
    folder
        Of the two collections and of what was measured.
    documents
        What is stored. Default: :func:`~embplug.cli.demo.corpus.stdlib_docstrings`.
    progress
        Show progress bars. Default: on a terminal.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        documents: Sequence[Docstring] | None = None,
        progress: bool | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._given = documents
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
        """The corpus; the query of a document is what is asked for it."""
        return stdlib_docstrings() if self._given is None else self._given

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder("minilm")

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """Both collections, filled."""
        made = {
            "plain": Collection.create("plain", PLAIN, self._client, encoder=self._encoder),
            "embplug": Collection.create("embplug", COMPRESSED, self._client, encoder=self._encoder),
        }
        missing = [c for c in made.values() if c.count() != len(self.documents) or c.info().status != "green"]
        if missing:
            self._fill(missing)
        return made

    def figures(self) -> list[MethodFigures]:
        """The table: measured once, then read."""
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
        """Hits of the compressed collection."""
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
        wanted = np.random.default_rng(0).choice(count, min(QUERIES, count), replace=False).tolist()
        queries = self._encoded("encoding queries", [self.documents[i].query for i in wanted])
        plain, ours = collections["plain"], collections["embplug"]
        exact, _ = self._timed("exact MaxSim", queries, lambda q: plain.search(tokens=q, limit=K, exact=True))
        methods: dict[str, tuple[Collection, Callable[[Any], list[Hit]]]] = {
            "plain multi-vector": (plain, self._plain_search),
            "embplug": (ours, lambda q: ours.search(tokens=q, limit=K)),
        }
        figures = []
        for name, (collection, search) in methods.items():
            found, seconds = self._timed(name, queries, search)
            ranks = [ids.index(i) + 1 if i in ids else 0 for i, ids in zip(wanted, found, strict=True)]
            figures.append(
                MethodFigures(
                    name,
                    (collection.info().disk_bytes or 0) / count,
                    float(np.mean([len({*f} & {*e}) / len(e) for f, e in zip(found, exact, strict=True)])),
                    float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
                    float(np.percentile(seconds, 50) * 1e3),
                    float(np.percentile(seconds, 95) * 1e3),
                )
            )
        return figures

    def _plain_search(self, query: Any) -> list[Hit]:
        found = self._client.query_points("plain", query=query, using="tokens", limit=K)
        return [
            Hit(str(point.id) if isinstance(point.id, UUID) else point.id, point.score)
            for point in found.points
        ]

    def _timed(
        self, title: str, queries: TokenBatch, search: Callable[[Any], list[Hit]]
    ) -> tuple[list[list[Any]], list[float]]:
        found, seconds = [], []
        with single_blas_thread():
            search(queries[0])
            for query in tqdm(queries, desc=title, disable=self._disabled):
                start = time.perf_counter()
                hits = search(query)
                seconds.append(time.perf_counter() - start)
                found.append([hit.id for hit in hits])
        return found, seconds

    @property
    def _disabled(self) -> bool | None:
        return None if self._progress is None else not self._progress
