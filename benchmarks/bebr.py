"""Recurrent binarization (BEBR) at 1, 2 and 3 bits a dimension, beside sign bits and ITQ at equal bits.

More bits than dimensions are, for signs, those of random projections, and, for ITQ, those of several
rotations learned from different beginnings. ``exact`` compares the query as it is with the codes, ``codes``
compares it coded as they are.

The cross-version case: an older model's vectors (means of tokens by saliency, turned at random, so that the
spaces have no axis in common) were coded first; a newer model's queries search those codes.

    python benchmarks/bebr.py --data path/to/scifact [--steps 200] [--json]
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top
from numpy.typing import NDArray

from embplug.methods import ITQRotation
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer


def signs(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(vectors > 0, np.float32(1), np.float32(-1))


def projections(bits: int, dim: int) -> NDArray[np.float32]:
    """The identity, and below it random rotations, as many as bits a dimension."""
    generator = np.random.default_rng(0)
    more = [np.linalg.qr(generator.standard_normal((dim, dim)))[0] for _ in range(bits - 1)]
    return np.concatenate([np.eye(dim), *more]).astype(np.float32)


def older_model(data: EncodedBeir) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Another embedding of documents and queries."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((data.documents.dim,) * 2))[0]
    turned = []
    for tokens, saliency in (
        (data.documents, data.document_saliency),
        (data.queries, data.query_saliency),
    ):
        means = np.zeros((len(tokens), tokens.dim), dtype=np.float32)
        for i, matrix in enumerate(tokens):
            weights = saliency[tokens.offsets[i] : tokens.offsets[i + 1]]
            means[i] = weights @ matrix.astype(np.float32)
        turned.append(unit_rows((means @ turn).astype(np.float32)))
    return turned[0], turned[1]


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument("--steps", type=int, default=200, help="training steps")
    options = arguments.parse_args()
    data = load(options.data)
    documents, queries = data.document_sentences, data.query_sentences
    dim = documents.shape[1]
    exact = top(queries @ documents.T, 10)
    rows: list[dict[str, Any]] = []

    def add(bits: int, method: str, query: str, scores: NDArray[np.float32], fit_s: float | None) -> None:
        ranking = top(scores, 10)
        quality = ndcg(ranking, data.beir.query_ids, data.beir.document_ids, data.beir.qrels)
        rows.append(
            {
                "bits": bits,
                "method": method,
                "query": query,
                "bytes": bits * dim // 8,
                "recall_at_10": overlap(ranking, exact),
                "ndcg_at_10": quality,
                "fit_s": fit_s,
            }
        )

    for bits in (1, 2, 3):
        matrix = projections(bits, dim)
        coded = signs(documents @ matrix.T)
        add(bits, "sign bits", "codes", signs(queries @ matrix.T) @ coded.T, None)
        add(bits, "sign bits", "exact", (queries @ matrix.T) @ coded.T, None)
        start = time.perf_counter()
        learned = [ITQRotation(seed=seed).fit(documents).rotation_ for seed in range(bits)]
        itq_s = time.perf_counter() - start
        matrix = np.concatenate([rotation for rotation in learned if rotation is not None])
        coded = signs(documents @ matrix.T)
        add(bits, "ITQ", "codes", signs(queries @ matrix.T) @ coded.T, itq_s)
        add(bits, "ITQ", "exact", (queries @ matrix.T) @ coded.T, itq_s)
        for name, steps in (("BEBR, trained", options.steps), ("BEBR, not trained", 0)):
            for how in ("codes", "exact"):
                start = time.perf_counter()
                binarizer = RecurrentBinaryQuantizer(levels=bits - 1, steps=steps, queries=how).fit(documents)
                fit_s = time.perf_counter() - start
                kept = "" if binarizer.steps_ == steps else ", which was no better"
                scores = binarizer.score(binarizer.encode_query(queries), binarizer.encode(documents)).T
                add(bits, f"{name}{kept}", how, scores, fit_s)

    older_documents, older_queries = older_model(data)
    settings: dict[str, Any] = {"levels": 1, "queries": "codes", "steps": options.steps}
    older = RecurrentBinaryQuantizer(**settings).fit(older_documents)
    alone = RecurrentBinaryQuantizer(**settings).fit(documents)
    compatible = RecurrentBinaryQuantizer(**settings).fit(documents, older=older, older_X=older_documents)
    older_codes, newer_codes = older.encode(older_documents), compatible.encode(documents)
    mixed = older_codes.copy()
    mixed[::2] = newer_codes[::2]
    cases = (
        ("older query, older codes", older, older_queries, older_codes),
        ("newer query, newer codes, trained alone", alone, queries, alone.encode(documents)),
        ("newer query, newer codes, compatible", compatible, queries, newer_codes),
        ("newer query, older codes, trained alone", alone, queries, older_codes),
        ("newer query, older codes, compatible", compatible, queries, older_codes),
        ("newer query, half of each, compatible", compatible, queries, mixed),
    )
    for name, binarizer, queried, codes in cases:
        add(2, name, "codes", binarizer.score(binarizer.encode_query(queried), codes).T, None)
    ranking = top(older_queries @ older_documents.T, 10)
    reference = {
        "exact_ndcg_at_10": ndcg(exact, data.beir.query_ids, data.beir.document_ids, data.beir.qrels),
        "older_model_recall_at_10": overlap(ranking, exact),
        "older_model_ndcg_at_10": ndcg(ranking, data.beir.query_ids, data.beir.document_ids, data.beir.qrels),
    }
    result = {
        "collection": data.beir.name,
        "reference": reference,
        "rows": rows,
        "environment": environment(documents=len(documents), queries=len(queries), dim=dim),
    }
    if not options.json:
        print("  ".join(f"{name}={value:.4f}" for name, value in reference.items()) + "\n")
    report(result, rows, options.json)


if __name__ == "__main__":
    main()
