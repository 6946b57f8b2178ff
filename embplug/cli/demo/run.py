"""The same documents stored with and without embplug, and the cost of the same searches in both."""

from __future__ import annotations

import json
import math
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from tqdm import tqdm

from embplug.branches.documents import Documents
from embplug.cli.demo.corpus import Docstring, stdlib_docstrings
from embplug.collection.collection import Collection
from embplug.common.files import replacing
from embplug.common.threads import single_blas_thread
from embplug.encoders import Encoder, load_encoder
from embplug.engines import EdgeClient
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Multivector, Recipe, Tokens
from embplug.recipe.presets import Preset
from embplug.recipe.recipe import digest
from embplug.search.types import Hit

T = TypeVar("T")

DIM = 384
ENCODER = "minilm-int8"
PLAIN = Recipe(
    tokens=Tokens(dim=DIM, encoding=None, multivector=Multivector(datatype="float32", on_disk=None)),
    encoder=ENCODER,
)
"""Token matrices as Qdrant keeps them by default: float32, in memory.

A search compares the query with all of them, because a graph over these matrices takes many minutes to build.
"""

PRESETS: tuple[Preset, ...] = ("balanced", "small")
"""Presets beside the plain collection."""

QUERIES = 200
BATCH = 128
TURNS = 2
"""Times that a query is searched, of which the fastest counts: the first one reads what stays in memory."""
K = 10


@dataclass(frozen=True)
class MethodFigures:
    """Figures of one way to store and search.

    Attributes
    ----------
    method : str
        Name of the method.
    bytes_per_document : float
        Bytes on disk for each document: vectors, indexes, payload, and its share of what was learned.
    recall_at_10 : float
        Share of the ten best documents of exact MaxSim that a search returns, 0 to 1.
    mrr_at_10 : float
        Mean reciprocal rank of the document whose first sentence is the query.
    p50_ms, p95_ms : float
        Median and 95th percentile of the latency of one search, in milliseconds, where each query is searched
        twice and the faster search counts.
    """

    method: str
    bytes_per_document: float
    recall_at_10: float
    mrr_at_10: float
    p50_ms: float
    p95_ms: float


def conclusion(plain: MethodFigures, ours: MethodFigures) -> str:
    """Say in one sentence what the figures mean.

    Parameters
    ----------
    plain : MethodFigures
        Token matrices as Qdrant keeps them by default.
    ours : MethodFigures
        The same documents as embplug stores them.

    Returns
    -------
    str
    """
    size, own_size = plain.bytes_per_document, ours.bytes_per_document
    return (
        f"With embplug a document takes {own_size:,.0f} bytes instead of {size:,.0f}, "
        f"{size / own_size:.0f} times fewer, a search takes {ours.p50_ms:.1f} ms instead of "
        f"{plain.p50_ms:.1f}, {plain.p50_ms / ours.p50_ms:.0f} times faster, and "
        f"{10 * ours.recall_at_10:.1f} of its ten hits are those of a search that compares all tokens of all "
        "documents."
    )


class Demo:
    """The demonstration in a folder, which is used again by the next call.

    Parameters
    ----------
    folder : str or path
        Folder of the collections and of their figures.
    documents : sequence of Docstring, default=None
        Documents to store. Default: :func:`~embplug.cli.demo.corpus.stdlib_docstrings`.
    progress : bool, default=None
        Whether to report progress: bars on a terminal, else a line at each tenth. ``None`` reports it.
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
        self._progress = progress is not False
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
        return load_encoder(ENCODER)

    @cached_property
    def collections(self) -> dict[str, Collection]:
        """The plain collection and one for each preset, by the name of the preset, with all documents."""
        recipes: dict[str, Recipe] = {"plain": PLAIN}
        for preset in PRESETS:
            recipes[preset] = Recipe(tokens=Tokens(dim=DIM, preset=preset), encoder=ENCODER)
        collections = {
            name: Collection.create(name, recipe, self._client, encoder=self._encoder)
            for name, recipe in recipes.items()
        }
        incomplete = {name: own for name, own in collections.items() if not self._is_whole(own)}
        if incomplete:
            self._fill(incomplete)
        return collections

    def figures(self) -> list[MethodFigures]:
        """Return the figures of all methods, which are measured once and then read from a file."""
        stored = self._stored()
        if stored is not None:
            return [MethodFigures(**row) for row in stored["figures"]]
        figures = self._measure(self.collections)
        contents = {
            "measured_on": self._measured_on,
            "documents": len(self.documents),
            "figures": [asdict(row) for row in figures],
        }
        with replacing(self._file) as beside:
            beside.write_text(json.dumps(contents), encoding="utf-8")
        return figures

    @property
    def count(self) -> int:
        """Number of documents, which after the first call is known without them."""
        stored = self._stored()
        return len(self.documents) if stored is None else int(stored["documents"])

    def search(self, text: str, limit: int = 5) -> list[Hit]:
        """Search the collection of the first preset; one that is whole is opened as it is."""
        if "collections" not in vars(self) and self._stored() is not None:
            collection = Collection.open(PRESETS[0], self._client, encoder=self._encoder)
            if collection.count() == self.count:
                return collection.search(text=text, limit=limit)
        return self.collections[PRESETS[0]].search(text=text, limit=limit)

    @property
    def _file(self) -> Path:
        return self.folder / "figures.json"

    def _stored(self) -> dict[str, Any] | None:
        """Figures of the same documents and recipes, if the collections are still there."""
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        whole = isinstance(stored, dict) and stored.get("measured_on") == self._measured_on
        return stored if whole and self._client.collection_exists(PRESETS[0]) else None

    @cached_property
    def _measured_on(self) -> str:
        """Digest of what the figures depend on; the standard library is known by its version."""
        corpus = [sys.version, str(sysconfig.get_path("stdlib"))]
        if self._corpus is not None:
            corpus = [document.text for document in self._corpus]
        presets = [Tokens(dim=DIM, preset=name).decided() for name in PRESETS]
        recipes = [PLAIN, *(Recipe(tokens=tokens) for tokens in presets)]
        return digest([*(recipe.to_dict() for recipe in recipes), corpus])

    def _is_whole(self, collection: Collection) -> bool:
        return collection.count() == len(self.documents) and collection.info().status == "green"

    def _fill(self, collections: Mapping[str, Collection]) -> None:
        ids = list(range(len(self.documents)))
        tokens = self._encoded("encoding documents", [d.text for d in self.documents])
        for name, collection in collections.items():
            collection.add_batches(
                (
                    Documents(
                        ids[i : i + BATCH],
                        tokens=tokens[i : i + BATCH],
                        payloads=[{"name": d.name, "text": d.text} for d in self.documents[i : i + BATCH]],
                    )
                    for i in self._reported(range(0, len(ids), BATCH), f"storing {name}")
                ),
                progress=False,
            )
            collection.optimize()

    def _encoded(self, title: str, texts: Sequence[str]) -> TokenBatch:
        parts = []
        for start in self._reported(range(0, len(texts), BATCH), title):
            tokens = self._encoder.encode_documents(texts[start : start + BATCH]).tokens
            assert tokens is not None
            parts.append(tokens)
        return TokenBatch.concat(parts)

    def _measure(self, collections: dict[str, Collection]) -> list[MethodFigures]:
        count = len(self.documents)
        chosen = np.random.default_rng(0).choice(count, min(QUERIES, count), replace=False).tolist()
        queries = self._encoded("encoding queries", [self.documents[i].query for i in chosen])
        plain = collections["plain"]
        exact, _ = self._timed(
            "exact MaxSim", queries, lambda q: plain.search(tokens=q, limit=K, exact=True), turns=1
        )
        methods: dict[str, tuple[Collection, Callable[[Any], list[Hit]]]] = {
            "plain multivector": (plain, self._plain_search)
        }
        for preset in PRESETS:
            methods[f"embplug, {preset}"] = collections[preset], partial(_search, collections[preset])
        figures = []
        for name, (collection, search) in methods.items():
            rankings, seconds = self._timed(name, queries, search)
            ranks = [ids.index(i) + 1 if i in ids else 0 for i, ids in zip(chosen, rankings, strict=True)]
            size = collection.info().document_bytes
            assert size is not None
            figures.append(
                MethodFigures(
                    name,
                    size.disk,
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
        self, title: str, queries: TokenBatch, search: Callable[[Any], list[Hit]], turns: int = TURNS
    ) -> tuple[list[list[Any]], list[float]]:
        rankings: dict[int, list[Any]] = {}
        seconds = [math.inf] * len(queries)
        with single_blas_thread():
            for i in self._reported([*range(len(queries))] * turns, title):
                start = time.perf_counter()
                hits = search(queries[i])
                seconds[i] = min(seconds[i], time.perf_counter() - start)
                rankings[i] = [hit.id for hit in hits]
        return [*rankings.values()], seconds

    def _reported(self, items: Sequence[T], title: str) -> Iterable[T]:
        """The items, with a bar on a terminal, else with a line on standard error at each tenth."""
        if not self._progress:
            return items
        if sys.stderr.isatty():
            return tqdm(items, desc=title)
        return _with_lines(items, title)


def _with_lines(items: Sequence[T], title: str) -> Iterator[T]:
    tenth = max(len(items) // 10, 1)
    for done, item in enumerate(items):
        yield item
        if (done + 1) % tenth == 0 or done + 1 == len(items):
            sys.stderr.write(f"{title}: {100 * (done + 1) // len(items)} %\n")


def _search(collection: Collection, query: Any) -> list[Hit]:
    return collection.search(tokens=query, limit=K)
