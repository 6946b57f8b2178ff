"""FDE of a batch on one thread, beside fastembed's Muvera and beside the bare matrix product; one query.

The bound is one product of all tokens with the hyperplanes and a dense inner projection together, in
the chunk size that suits it best. An encoding with a sparse inner projection (count sketch) may go
beyond it, because it need not multiply by zeros. Last, the same batch on several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
from _harness import best_seconds, environment, parser, report
from fastembed.postprocess.muvera import Muvera

from embplug.common.threads import single_blas_thread, worker_count
from embplug.methods.encodings.fde import FDE
from embplug.methods.token_batch import TokenBatch

REPETITIONS, BITS, WIDTH = 20, 5, 16
DIM = 128
TOKENS = 129
QUERY_TOKENS = 32
GEMM_CHUNKS = (512, 2048, 8192)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--documents", type=int, default=2000)
    arguments.add_argument(
        "--peer-documents", type=int, default=60, help="of them given to fastembed a round"
    )
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--dim", type=int, default=DIM, help="of the tokens")
    arguments.add_argument("--threads", type=int, default=-1, help="of the last row; default: all cores")
    options = arguments.parse_args()

    rng = np.random.default_rng(0)
    lengths = rng.integers(TOKENS - 29, TOKENS + 30, options.documents)
    tokens = _unit_tokens(rng, lengths, options.dim)
    query = _unit_tokens(rng, np.array([QUERY_TOKENS]), options.dim)
    parameters = {"repetitions": REPETITIONS, "simhash_bits": BITS, "projection_dim": WIDTH, "fill": True}
    encodings = {
        "count_sketch": FDE(**parameters),
        "dense": FDE(**parameters, projection="dense"),
    }
    model = SimpleNamespace(embedding_size=options.dim)  # all that fastembed reads of a model
    peer = Muvera.from_multivector_model(model, k_sim=BITS, dim_proj=WIDTH, r_reps=REPETITIONS)
    peer_sample = tokens[: options.peer_documents].to_list()
    matrix = rng.standard_normal((options.dim, REPETITIONS * (BITS + WIDTH))).astype(np.float32)

    threads = worker_count(options.threads)
    contestants = {name: _encoder(fde, tokens, 1) for name, fde in encodings.items()}
    several = f"count_sketch, {threads} threads"
    contestants[several] = _encoder(encodings["count_sketch"], tokens, threads)
    contestants |= {f"gemm {chunk}": _gemm(tokens.values, matrix, chunk) for chunk in GEMM_CHUNKS}
    contestants["fastembed"] = lambda: [peer.process_document(document) for document in peer_sample]
    with single_blas_thread():
        seconds = best_seconds(contestants, options.rounds)
    rates = {name: options.documents / best for name, best in seconds.items()}
    rates["fastembed"] = len(peer_sample) / seconds["fastembed"]
    bound = max(rates[f"gemm {chunk}"] for chunk in GEMM_CHUNKS)
    query_ms = {
        name: _median_ms(lambda fde=fde: fde.encode_queries(query)) for name, fde in encodings.items()
    }
    with single_blas_thread():
        query_ms["bare GEMM"] = _median_ms(lambda: query.values @ matrix)

    rows = [
        {
            "encoding": name,
            "docs_per_s": rates[name],
            "times_fastembed": rates[name] / rates["fastembed"],
            "fraction_of_bound": rates[name] / bound,
            "query_ms": query_ms.get(name),
        }
        for name in [*encodings, several, "fastembed"]
    ]
    gemm_query = query_ms["bare GEMM"]
    rows.append(
        {"encoding": "bare GEMM", "docs_per_s": bound, "fraction_of_bound": 1.0, "query_ms": gemm_query}
    )
    result = {
        "ours_docs_per_s": rates["count_sketch"],
        "fastembed_docs_per_s": rates["fastembed"],
        "ratio": rates["count_sketch"] / rates["fastembed"],
        "gemm_bound_docs_per_s": bound,
        "fraction_of_bound": rates["count_sketch"] / bound,
        "query_ms": query_ms["count_sketch"],
        "gemm_query_ms": gemm_query,
        "threads": threads,
        "threads_docs_per_s": rates[several],
        "threads_speedup": rates[several] / rates["count_sketch"],
        "dense_docs_per_s": rates["dense"],
        "dense_ratio": rates["dense"] / rates["fastembed"],
        "dense_fraction_of_bound": rates["dense"] / bound,
        "dense_query_ms": query_ms["dense"],
        "environment": environment(
            documents=options.documents,
            tokens=len(tokens.values),
            dim=options.dim,
            query_tokens=QUERY_TOKENS,
            **parameters,
        ),
    }
    report(result, rows, options.json)


def _unit_tokens(rng: np.random.Generator, lengths: np.ndarray, dim: int) -> TokenBatch:
    values = rng.standard_normal((lengths.sum(), dim), dtype=np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenBatch(values, np.concatenate([[0], np.cumsum(lengths)]))


def _encoder(fde: FDE, tokens: TokenBatch, threads: int):
    return lambda: fde.encode_documents(tokens, n_jobs=threads)


def _gemm(values: np.ndarray, matrix: np.ndarray, chunk: int):
    return lambda: [values[start : start + chunk] @ matrix for start in range(0, len(values), chunk)]


def _median_ms(run: Callable[[], object], rounds: int = 2000) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


if __name__ == "__main__":
    main()
