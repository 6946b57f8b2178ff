"""Pages by a part of them: bytes of a page against how often a crop finds its page, for codes and reductions.

Codes learn from half of the pages, and only pages of the other half are searched for, among all pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _harness import environment, parser, report
from _multivectors import EngineCodes, engine_codes, engine_ranking
from _pages import PageData, load_pages
from numpy.typing import NDArray
from qdrant_client import models

from embplug.evaluation.exact import maxsim_scores
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    GridPooling,
    HierarchicalPooling,
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


def reductions() -> dict[str, tuple[Reduction, ...]]:
    """What is left of the patches of a page, by name."""
    return {
        "all patches": (),
        "rows": (GridPooling(),),
        "columns": (GridPooling(tile_rows=None, tile_columns=1),),
        "tiles 2 x 2": (GridPooling(tile_rows=2, tile_columns=2),),
        "hierarchical, 1/2": (HierarchicalPooling(factor=2),),
        "hierarchical, 1/4": (HierarchicalPooling(factor=4),),
        "saliency, 60 %": (SaliencyPruning(keep=0.6),),
        "random, 60 %": (RandomPruning(keep=0.6),),
        "saliency, 60 %, hierarchical, 1/2": (SaliencyPruning(keep=0.6), HierarchicalPooling(factor=2)),
    }


def codes(dim: int) -> dict[str, tuple[Quantizer | TokenCodes, int]]:
    """Codes of patches, and the bytes that correct those of a page, by name."""
    return {
        **{f"preset {preset}": (token_codes(preset, dim), 48) for preset in ("small", "balanced")},
        "residual, 16 bytes": (ResidualQuantizer(size=16), 48),
        "bits by variance, 8 bytes": (BitAllocationQuantizer(size=8), 48),
        "bits by variance, 16 bytes": (BitAllocationQuantizer(size=16), 48),
        "binary": (BinaryQuantizer(), 0),
        "k-means 256": (CentroidQuantizer(count=256), 0),
        "HPC-ColPali 256, Hamming": (CentroidQuantizer(count=256, compare="hamming"), 0),
        "HPC-ColPali 512, Hamming": (CentroidQuantizer(count=512, compare="hamming"), 0),
    }


def engines() -> Iterator[tuple[str, EngineCodes]]:
    """Codes of Qdrant, by name."""
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    yield "Qdrant binary", EngineCodes(quantization=binary)
    for name, own in engine_codes():
        yield f"Qdrant {name}", own


def main() -> None:
    arguments = parser((__doc__ or "").splitlines()[0])
    arguments.add_argument("--pdf", type=Path, help="folder of PDFs; by default of Debian packages")
    arguments.add_argument("--pages", type=int, default=300, help="pages of PDFs")
    arguments.add_argument("--drawn", type=int, default=30, help="plots, and tables, that are drawn")
    arguments.add_argument("--queries", type=int, default=160, help="crops of pages")
    arguments.add_argument("--patches", type=int, default=504, help="patches of a page")
    arguments.add_argument(
        "--codes", nargs="+", metavar="NAME", help="only codes whose name has one of these"
    )
    arguments.add_argument("--reductions", nargs="+", metavar="NAME", help="only reductions, likewise")
    arguments.add_argument("--no-edge", action="store_true", help="leave out the codes of Qdrant")
    options = arguments.parse_args()
    data = load_pages(options.pdf, options.pages, options.drawn, options.queries, options.patches)
    rows: list[dict[str, Any]] = []
    for row in measured(data, options):
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    assert data.pages.tokens is not None
    sizes = {
        "pages": len(data.names),
        "patches": len(data.pages.tokens.values),
        "dim": data.pages.tokens.dim,
        "queries": int(searched(data).sum()),
    }
    report({"rows": rows, "environment": environment(**sizes)}, rows, options.json)


def searched(data: PageData) -> NDArray[np.bool_]:
    """Which queries are counted: those of pages that no code has learned from."""
    return data.targets % 2 == 1


def measured(data: PageData, options: Any) -> Iterator[dict[str, Any]]:
    """One row for each reduction with each code."""
    own = searched(data)
    assert data.queries.tokens is not None
    queries, targets = data.queries.tokens.take(np.flatnonzero(own)), data.targets[own]
    for name, reduction in _named(reductions(), options.reductions).items():
        pages = reduced(data, reduction)
        count = len(pages.values) / len(pages)

        def row(
            code: str, size: float, ranking: NDArray[np.int64], name: str = name, count: float = count
        ) -> dict[str, Any]:
            found = {f"recall_at_{k}": _recall(ranking, targets, k) for k in BEST}
            return {"codes": code, "reduction": name, "patches": count, "bytes_per_page": size, **found}

        if _is_named("float16", options.codes):
            size = FLOAT16_BYTES * pages.dim * count
            yield row("float16", size, _best(maxsim_scores(queries, pages)))
        for code, (quantizer, document_bytes) in _named(codes(pages.dim), options.codes).items():
            coder = TokenCoder(quantizer, document_bytes).fit(pages[::2])
            strings = coder.encode(pages)
            scores = np.stack([coder.score(query, strings) for query in queries])
            yield row(code, sum(map(len, strings)) / len(pages), _best(scores))
        for code, engine in {} if options.no_edge else _named(dict(engines()), options.codes).items():
            ranking, code_bytes = engine_ranking(engine, pages, queries, max(BEST))
            yield row(code, code_bytes * count, ranking)


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


def _recall(ranking: NDArray[np.int64], targets: NDArray[np.int64], k: int) -> float:
    return float((ranking[:, :k] == targets[:, None]).any(axis=1).mean())


def _is_named(name: str, parts: list[str] | None) -> bool:
    return parts is None or any(part in name for part in parts)


def _named(choices: Mapping[str, Any], parts: list[str] | None) -> dict[str, Any]:
    return {name: choice for name, choice in choices.items() if _is_named(name, parts)}


if __name__ == "__main__":
    main()
