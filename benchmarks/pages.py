"""Pages by a part of them: bytes of a page against how often a crop finds its page, for codes and reductions.

Codes learn from a third of the pages. One crop of each other page is searched for, among all pages. Rows are
written as they come, so that a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from _harness import environment, parser, report
from _multivectors import EngineCodes, engine_codes, engine_ranking
from _pages import ROOT, PageData, load_pages
from numpy.typing import NDArray
from qdrant_client import models

from embplug.evaluation.exact import maxsim_scores
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    FirstTokens,
    GridPooling,
    HierarchicalPooling,
    KMeansPooling,
    OptimizedProductQuantizer,
    PredictiveQuantizer,
    ProductQuantizer,
    Reduction,
    ResidualQuantizer,
    SaliencyPruning,
    patch_cells,
)
from embplug.methods.reductions.pruning import RandomPruning
from embplug.methods.reductions.reduced import DROPPED
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder
from embplug.recipe.presets import token_codes

BEST = (1, 10)
FLOAT16_BYTES = 2
CORRECTION_BYTES = 48
"""Bytes that correct the codes of a page, as in recipes."""

Measured: TypeAlias = tuple[NDArray[np.int64], float]
"""The best pages of each query, and the bytes of a page."""


def reductions() -> dict[str, tuple[Reduction, ...]]:
    """What is left of the patches of a page, by name: each pooling, of all patches and of those pruned."""
    poolings: dict[str, tuple[Reduction, ...]] = {
        "rows": (GridPooling(),),
        "columns": (GridPooling(tile_rows=None, tile_columns=1),),
        "tiles 2 x 2": (GridPooling(tile_rows=2, tile_columns=2),),
        "hierarchical 1/2": (HierarchicalPooling(factor=2),),
        "hierarchical 1/4": (HierarchicalPooling(factor=4),),
        "k-means 1/4": (KMeansPooling(factor=4),),
    }
    pruning = SaliencyPruning(keep=0.6)
    return {
        "all patches": (),
        **poolings,
        "saliency 60 %": (pruning,),
        **{f"saliency 60 %, {name}": (pruning, *pooling) for name, pooling in poolings.items()},
        "random 60 %": (RandomPruning(keep=0.6),),
        "first 310": (FirstTokens(count=310),),
    }


def codes(dim: int) -> dict[str, tuple[Quantizer | TokenCodes, int]]:
    """Codes of patches, and the bytes that correct those of a page, by name."""
    corrected: dict[str, Quantizer | TokenCodes] = {
        **{f"preset {preset}": token_codes(preset, dim) for preset in ("small", "balanced")},
        "bits by variance 8 bytes": BitAllocationQuantizer(size=8),
        "bits by variance 16 bytes": BitAllocationQuantizer(size=16),
        "bits by variance 32 bytes": BitAllocationQuantizer(size=32),
        "residual 16 bytes": ResidualQuantizer(size=16),
        "predictive 16 bytes": PredictiveQuantizer(size=16),
        "product 14 bytes": ProductQuantizer(subspaces=14),
        "optimized product 14 bytes": OptimizedProductQuantizer(subspaces=14),
    }
    return {
        **{name: (code, CORRECTION_BYTES) for name, code in corrected.items()},
        "binary": (BinaryQuantizer(), 0),
        "binary, int8 queries": (BinaryQuantizer(queries="int8"), 0),
        "centroids 256": (CentroidQuantizer(count=256), 0),
        "HPC-ColPali 256": (CentroidQuantizer(count=256, compare="hamming"), 0),
        "HPC-ColPali 512": (CentroidQuantizer(count=512, compare="hamming"), 0),
    }


def engines() -> dict[str, EngineCodes]:
    """Codes of Qdrant, by name."""
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    return {
        "Qdrant binary, originals beside": EngineCodes(quantization=binary),
        **{f"Qdrant {name}": own for name, own in engine_codes()},
    }


def main() -> None:
    arguments = parser((__doc__ or "").splitlines()[0])
    arguments.add_argument("--pdf", type=Path, help="folder of PDFs; by default of Debian packages")
    arguments.add_argument("--pages", type=int, default=320, help="pages of PDFs")
    arguments.add_argument("--drawn", type=int, default=30, help="plots, and tables, that are drawn")
    arguments.add_argument("--patches", type=int, default=504, help="patches of a page")
    arguments.add_argument(
        "--codes", nargs="+", metavar="NAME", help="only codes whose name has one of these"
    )
    arguments.add_argument("--reductions", nargs="+", metavar="NAME", help="only reductions, likewise")
    arguments.add_argument("--no-edge", action="store_true", help="leave out the codes of Qdrant")
    arguments.add_argument("--folder", type=Path, default=ROOT / "pages", help="where rows are kept")
    options = arguments.parse_args()
    data = load_pages(options.pdf, options.pages, options.drawn, options.patches)
    assert data.pages.tokens is not None
    sizes = {
        "pages": len(data.names),
        "patches": len(data.pages.tokens.values),
        "dim": data.pages.tokens.dim,
        "queries": len(data.targets),
    }
    kept = KeptRows(options.folder / f"{data.key}.jsonl")
    rows = []
    for place, measure in contestants(data, options):
        row = kept.get(place)
        if row is None:
            row = kept.keep({**place, **measure()})
            print(json.dumps(row), file=sys.stderr, flush=True)
        rows.append(row)
    report({"rows": rows, "environment": environment(**sizes)}, rows, options.json)


class KeptRows:
    """Rows of earlier runs on the same pages, in a file; delete it after a change of the code."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        self._rows = [json.loads(line) for line in lines]

    def get(self, place: Mapping[str, str]) -> dict[str, Any] | None:
        """The row of such a reduction and code, if it was measured."""
        return next((row for row in self._rows if place.items() <= row.items()), None)

    def keep(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write a row down, and return it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        return row


def contestants(
    data: PageData, options: Any
) -> Iterator[tuple[dict[str, str], Callable[[], dict[str, float]]]]:
    """The names of each row, and what measures it."""
    assert data.queries.tokens is not None and data.pages.tokens is not None
    queries, dim = data.queries.tokens, data.pages.tokens.dim
    for reduction, methods in _named(reductions(), options.reductions).items():
        pages = cache(partial(reduced, data, methods))
        ways: dict[str, Callable[[TokenBatch], Measured]] = {
            "float16": partial(by_vectors, queries=queries),
            **{
                name: partial(by_codes, queries=queries, learned=data.learned, codes=own, correction=size)
                for name, (own, size) in codes(dim).items()
            },
        }
        if not options.no_edge:
            ways |= {name: partial(by_engine, queries=queries, codes=own) for name, own in engines().items()}
        for name, way in _named(ways, options.codes).items():
            yield {"reduction": reduction, "codes": name}, partial(measured, way, pages, data.targets)


def measured(
    way: Callable[[TokenBatch], Measured], pages: Callable[[], TokenBatch], targets: NDArray[np.int64]
) -> dict[str, float]:
    """Patches and bytes of a page, and the share of crops whose page is among the best."""
    ranking, size = way(pages())
    is_target = ranking == targets[:, None]
    recalls = {f"recall_at_{k}": float(is_target[:, :k].any(axis=1).mean()) for k in BEST}
    return {"patches": float(pages().lengths.mean()), "bytes_per_page": size, **recalls}


def by_vectors(pages: TokenBatch, *, queries: TokenBatch) -> Measured:
    size = FLOAT16_BYTES * pages.dim * float(pages.lengths.mean())
    return _best(maxsim_scores(queries, pages)), size


def by_codes(
    pages: TokenBatch,
    *,
    queries: TokenBatch,
    learned: NDArray[np.int64],
    codes: Quantizer | TokenCodes,
    correction: int,
) -> Measured:
    coder = TokenCoder(codes, correction).fit(pages.take(learned))
    strings = coder.encode(pages)
    scores = np.stack([coder.score(query, strings) for query in queries])
    return _best(scores), sum(map(len, strings)) / len(pages)


def by_engine(pages: TokenBatch, *, queries: TokenBatch, codes: EngineCodes) -> Measured:
    ranking, code_bytes = engine_ranking(codes, pages, queries, max(BEST))
    return ranking, code_bytes * float(pages.lengths.mean())


def reduced(data: PageData, reduction: tuple[Reduction, ...]) -> TokenBatch:
    """Pages with fewer patches."""
    tokens, saliency, grids = data.pages.tokens, data.pages.saliency, data.pages.grids
    assert tokens is not None and saliency is not None and grids is not None
    cells = patch_cells(tokens, grids)
    for method in reduction:
        left = method.reduce(tokens, saliency if method.needs_saliency else None, cells)
        tokens, kept = left.tokens, left.owner != DROPPED
        saliency, cells = saliency[kept], cells[kept]
    return tokens


def _best(scores: NDArray[Any]) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, : max(BEST)]


def _named(choices: Mapping[str, Any], parts: list[str] | None) -> dict[str, Any]:
    return {
        name: choice
        for name, choice in choices.items()
        if parts is None or any(part in name for part in parts)
    }


if __name__ == "__main__":
    main()
