"""What adapters keep of a new embedding model's search while documents still have the old model's vectors.

Old and new are two ways to read a vector out of one encoder: the mean of its tokens (each brought to unit
length first, without the marks at both ends) and its own sentence vector, in both directions; and an earlier
layer, then the last. Adapters learn from documents; all queries are real ones that none has seen.

    python benchmarks/upgrade.py --data path/to/scifact [...] [--layer-data path/to/cranfield] [--json]

Judged figures are shares of what the new model reaches when everything is embedded anew. ``overlap`` is the
share of the new model's ten best that is found; ``unseen`` the same among the documents that the adapter did
not learn from, ``foretold`` as ``upgrade`` would tell it from the pairs alone; ``at 25%`` and so on with that
part of the documents embedded anew, picked at random. Peers are adapters in their published form
(Drift-Adapter: from the new vector to the old, with least squared error), and their scores are mixed in as an
engine gives them. ``fit_s`` is the processor's time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _beir import EncodedBeir, earlier_layer, load, mean_pooled
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top
from numpy.typing import NDArray

from embplug.evaluation.beir import Beir
from embplug.lifecycle.adapter_trial import AdapterTrial
from embplug.methods import Procrustes
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import registered

Vectors = NDArray[np.float32]
K = 10
SHARES = (0.25, 0.5, 0.75)
SEED = 0
EPOCHS = 50


@dataclass(frozen=True, eq=False)
class Side:
    """Documents and queries as one model sees them."""

    name: str
    documents: Vectors
    queries: Vectors


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", nargs="*", default=[], help="folders of collections in BEIR format")
    arguments.add_argument("--layer-data", nargs="*", default=[], help="those to compare layers on")
    arguments.add_argument("--layers", nargs="+", type=int, default=[3, 5], help="earlier layers, of 6")
    arguments.add_argument("--pairs", nargs="+", type=int, default=[1000], help="documents learned from")
    options = arguments.parse_args()
    rows, sizes = [], {}
    for folder in dict.fromkeys([*options.data, *options.layer_data]):
        data = load(folder)
        sizes[data.beir.name] = {"documents": len(data.documents), "queries": len(data.queries)}
        last = Side("sentence vector", data.document_sentences, data.query_sentences)
        changes = []
        if folder in options.data:
            means = [unit_rows(mean_pooled(tokens)) for tokens in (data.documents, data.queries)]
            mean = Side("mean of tokens", *means)
            changes += [(mean, last), (last, mean)]
        for layer in options.layers if folder in options.layer_data else ():
            changes.append((Side(f"layer {layer}", *earlier_layer(data.beir, layer)), last))
        for old, new in changes:
            for count in options.pairs:
                rows += _rows(data, old, new, count)
    result = {
        "ours": [row for row in rows if row["side"] == "embplug"],
        "peers": [row for row in rows if row["side"] == "peer"],
        "bounds": [row for row in rows if row["side"] == "bound"],
        "environment": environment(**sizes, pairs=options.pairs, seed=SEED),
    }
    report(result, rows, options.json)


def _rows(data: EncodedBeir, old: Side, new: Side, count: int) -> Iterator[dict[str, Any]]:
    exact = new.queries @ new.documents.T
    best = top(exact, K)
    reached = _judged(data.beir, best)
    order = np.random.default_rng(SEED).permutation(len(old.documents))
    learned, others = order[:count], order[count:]
    pairs = new.documents[learned], old.documents[learned]
    wanted_of_others = top(exact[:, others], K)
    common = {"data": data.beir.name, "change": f"{old.name} -> {new.name}", "pairs": count}

    def row(side: str, adapter: str, scores: Vectors, **more: Any) -> dict[str, Any]:
        found = top(scores, K)
        recall, gain = (have / whole for have, whole in zip(_judged(data.beir, found), reached, strict=True))
        return {
            **common,
            "side": side,
            "adapter": adapter,
            "recall_at_10": recall,
            "ndcg_at_10": gain,
            "overlap": overlap(found, best),
            "unseen": overlap(top(scores[:, others], K), wanted_of_others),
            **more,
        }

    recall, gain = reached
    yield row("bound", f"all embedded anew: recall@10 {recall:.3f}, nDCG@10 {gain:.3f}", exact)
    yield row("bound", "old model, its own queries", old.queries @ old.documents.T)
    plain = new.queries @ old.documents.T
    yield row("peer", "none", plain, **_mixed(plain, exact, best))
    for name, fit in PUBLISHED.items():
        start = time.process_time()
        mapped = fit(*pairs)
        seconds = time.process_time() - start
        # As the engine compares them, by cosine.
        scores = unit_rows(mapped(new.queries)) @ old.documents.T
        yield row("peer", name, scores, **_mixed(scores, exact, best), fit_s=seconds)
    trial = AdapterTrial(*pairs, None, K, SEED)
    for name, make in OURS.items():
        start = time.process_time()
        adapter = make().fit(*pairs)
        seconds = time.process_time() - start
        scores = adapter.transform(new.queries) @ old.documents.T + adapter.missing(new.queries)[:, None]
        held = make().fit(*trial.pairs)
        factor, offset = trial.calibration(held)
        mixed = _mixed(factor * scores + offset, exact, best)
        yield row("embplug", name, scores, **mixed, fit_s=seconds, foretold=trial.measured(held).recall)


def _mixed(old: Vectors, new: Vectors, best: NDArray[np.int64]) -> dict[str, float]:
    """Overlap with some of the documents embedded anew."""
    turn = np.random.default_rng(SEED).permutation(old.shape[1])
    return {
        f"at {share:.0%}": overlap(top(np.where(turn < share * old.shape[1], new, old), K), best)
        for share in SHARES
    }


def _judged(beir: Beir, found: NDArray[np.int64]) -> tuple[float, float]:
    """Mean recall of the relevant documents, and nDCG."""
    shares = []
    for query, columns in zip(beir.query_ids, found, strict=True):
        relevant = {document for document, gain in beir.qrels[query].items() if gain > 0}
        if relevant:
            shares.append(len(relevant & {beir.document_ids[i] for i in columns}) / len(relevant))
    return float(np.mean(shares)), ndcg(found, beir.query_ids, beir.document_ids, beir.qrels)


def _least_squares(new: Vectors, old: Vectors) -> Callable[[Vectors], Vectors]:
    """The published affine map: from new to old, with least squared error."""
    middle, target = new.mean(0), old.mean(0)
    x, y = (new - middle).astype(np.float64), (old - target).astype(np.float64)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += 0.03 * np.trace(gram) / len(gram)
    matrix = np.linalg.solve(gram, x.T @ y)
    directions = np.linalg.svd(x @ matrix, full_matrices=False)[2][:256]
    matrix = (matrix @ directions.T @ directions).astype(np.float32)
    return lambda queries: (queries - middle) @ matrix + target


def _residual_mlp(new: Vectors, old: Vectors) -> Callable[[Vectors], Vectors]:
    """The published network: 256 units beside the vector itself, trained for least squared error."""
    import torch

    torch.manual_seed(SEED)
    dim, out = new.shape[1], old.shape[1]
    network = torch.nn.Sequential(torch.nn.Linear(dim, 256), torch.nn.GELU(), torch.nn.Linear(256, out))
    beside = torch.nn.Identity() if dim == out else torch.nn.Linear(dim, out)
    weights = [*network.parameters(), *beside.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.01)
    x, y = torch.from_numpy(new), torch.from_numpy(old)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(256):
            loss = (beside(x[rows]) + network(x[rows]) - y[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def mapped(queries: Vectors) -> Vectors:
        with torch.no_grad():
            inputs = torch.from_numpy(queries)
            adapted: Vectors = (beside(inputs) + network(inputs)).numpy()
        return adapted

    return mapped


PUBLISHED: dict[str, Callable[[Vectors, Vectors], Callable[[Vectors], Vectors]]] = {
    "Procrustes, not centred": lambda new, old: Procrustes(center=False).fit(new, old).transform,
    "affine, new to old": _least_squares,
    "residual MLP, new to old": _residual_mlp,
}
OURS: dict[str, Callable[[], Any]] = {
    **registered("adapter"),
    "procrustes, scale": lambda: Procrustes(scale=True),
}


if __name__ == "__main__":
    main()
