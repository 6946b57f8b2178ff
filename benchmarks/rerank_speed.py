"""MaxSim in this process on one thread: 32 query tokens against documents of 175 tokens of 384 dimensions."""

from __future__ import annotations

import numpy as np
from _harness import best_seconds, environment, parser, report
from threadpoolctl import threadpool_limits

from embplug.multivector import TokenBatch
from embplug.quantizers import BitAllocation, Centroids, Residual
from embplug.quantizers.token_coder import TokenCoder
from embplug.rerank import maxsim

QUERY_TOKENS, TOKENS, DIM = 32, 175, 384
ROUNDS = 7


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--documents", type=int, nargs="+", default=[200, 1000])
    given = arguments.parse_args()
    generator = np.random.default_rng(0)
    query = _unit(generator.normal(size=(QUERY_TOKENS, DIM)))
    sample = TokenBatch.from_list([_unit(generator.normal(size=(TOKENS, DIM))) for _ in range(60)])
    coders = {
        "centroid ids, 256": TokenCoder(Centroids(count=256), 0),
        "bits by variance, 48 B": TokenCoder(BitAllocation(size=48, levels="scalar"), 0),
        "residual 16 B, corrected": TokenCoder(Residual(size=16, levels="scalar"), 48),
        "residual 48 B, corrected": TokenCoder(Residual(size=48, levels="scalar"), 48),
        "residual 96 B, corrected": TokenCoder(Residual(size=96, levels="scalar"), 48),
    }
    for coder in coders.values():
        coder.fit(sample)
    rows = []
    result: dict[str, dict[str, float]] = {}
    with threadpool_limits(1):
        for count in given.documents:
            values = np.tile(sample.values, (-(-count // len(sample)), 1))[: count * TOKENS]
            documents = TokenBatch(values, np.arange(count + 1) * TOKENS)
            contestants = {
                "bare GEMM": lambda values=values: values @ query.T,
                "exact float32": lambda documents=documents: maxsim(query, documents),
            }
            for name, coder in coders.items():
                strings = (coder.encode(sample) * (-(-count // len(sample))))[:count]
                contestants[name] = lambda coder=coder, strings=strings: coder.score(query, strings)
            seconds = best_seconds(contestants, ROUNDS)
            result[str(count)] = {name: 1e3 * best for name, best in seconds.items()}
            rows += [
                {
                    "documents": count,
                    "method": name,
                    "ms": 1e3 * best,
                    "times exact": best / seconds["exact float32"],
                }
                for name, best in seconds.items()
            ]
    report({"milliseconds": result, "environment": environment(rounds=ROUNDS, dim=DIM)}, rows, given.json)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
