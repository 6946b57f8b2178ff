"""Recommend a recipe for a collection: read a sample, try recipes on it, choose one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embplug.branches.sizing import Part, cost
from embplug.collection.collection import Collection
from embplug.collection.named import located
from embplug.common.checks import checked_integer
from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.engines import EngineTarget
from embplug.engines.calls import run
from embplug.errors import InvalidArgumentError
from embplug.evaluation.advisor import trials as trials_module
from embplug.evaluation.advisor.advice import AS_IT_IS, Advice
from embplug.evaluation.advisor.sample import MATRIX_QUERIES, QUERIES, CollectionSample, sample_steps
from embplug.evaluation.advisor.selection import Choice, with_front
from embplug.evaluation.advisor.target import Target, checked_target
from embplug.evaluation.advisor.trials import Trials
from embplug.methods.numeric.arrays import as_vectors
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_diagnosis import diagnose


def advise(
    collection: Collection | str,
    *,
    engine: EngineTarget | None = None,
    budget: float | None = None,
    bytes_per_vector: float | None = None,
    recall: float | None = None,
    vector: str | None = None,
    queries: ArrayLike | TokenBatch | Sequence[str] | None = None,
    encoder: Encoder | str | None = None,
    k: int = 10,
    sample: int | None = None,
    stratify: str | None = None,
    shards: int | None = None,
    replicas: int | None = None,
    nodes: int | None = None,
    node_memory: float = 16e9,
    seed: int = 0,
    progress: bool | None = None,
) -> Advice:
    """Try recipes on a sample of a collection, and recommend one of them.

    The sample is read from the engine, and the collection is not changed. The trials run on Edge in this
    process, with graphs and codes whatever the size of the sample. All recipes are tried on a small sample;
    the better third at each size goes on to a larger sample. From asyncio, run the call in a thread:
    ``await asyncio.to_thread(advise, "docs", engine=url)``.

    Parameters
    ----------
    collection : Collection or str
        An open collection, or the name of any Qdrant collection, whether embplug created it or not.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.
    budget : float, default=None
        Largest number of bytes of the whole collection with all its replicas. At most one of ``budget``,
        ``bytes_per_vector`` and ``recall`` may be set; see :class:`Target`. Without any of them, the target
        is a recall of 0.95.
    bytes_per_vector : float, default=None
        Largest number of bytes of one document's vectors and codes.
    recall : float, default=None
        Lowest recall of the recommended recipe, 0 to 1: the share of the ``k`` best documents of an exact
        search that its search returns. The recipe with the fewest bytes that reaches it with a chance of at
        least 90 % is recommended, where the chance counts in that many recipes were tried.
    vector : str, default=None
        Name of the vector, dense or multivector. It is needed when the collection has several.
    queries : array-like of shape (n_queries, dim), TokenBatch, sequence of str, default=None
        Queries as vectors, as token matrices, or as texts for the ``encoder``. By default, documents that
        are held out of the sample stand for queries; real queries predict better.
    encoder : Encoder or str, default=None
        Encoder of queries that are texts.
    k : int, default=10
        Number of best documents to which the recall refers.
    sample : int, default=None
        Number of documents in the largest sample. Default: 10,000 dense vectors or 2,000 token matrices.
    stratify : str, default=None
        Payload field whose values the sample has in the same proportions as the collection.
    shards : int, default=None
        Number of shards for the costs; see :func:`~embplug.branches.sizing.cost`.
    replicas : int, default=None
        Number of replicas for the costs and the budget. Default: as in the collection.
    nodes : int, default=None
        Number of nodes for the costs.
    node_memory : float, default=16e9
        Bytes of memory of a node that data may take.
    seed : int, default=0
        Seed of the random sample. A server that draws the sample itself ignores it.
    progress : bool, default=None
        Whether to show progress bars. ``None`` shows them on a terminal only.

    Returns
    -------
    Advice
        The recommended recipe, all recipes that were tried, and the costs.

    Raises
    ------
    CollectionNotFoundError
        The engine has no such collection.
    InvalidArgumentError
        An argument is wrong; the error names it.
    """
    target = checked_target(budget, bytes_per_vector, recall)
    k = checked_integer(k, "k", 1)
    counts = {"shards": shards, "replicas": replicas, "nodes": nodes}
    for argument, number in counts.items():
        if number is not None:
            checked_integer(number, argument, 1)
    if not node_memory > 0:
        raise InvalidArgumentError("node_memory", "more than 0 bytes", node_memory)
    sample = None if sample is None else checked_integer(sample, "sample", trials_module.FEWEST)
    with located(collection, engine) as (name, client):
        source = run(client, sample_steps(client, name, vector, sample, stratify, seed, progress))
    return advise_on(
        source,
        _encoded_queries(queries, encoder, source),
        target,
        k=k,
        sample=sample,
        shards=shards,
        replicas=replicas,
        nodes=nodes,
        node_memory=node_memory,
        progress=progress,
    )


def advise_on(
    source: CollectionSample,
    queries: Encoded | None,
    target: Target,
    *,
    k: int = 10,
    sample: int | None = None,
    shards: int | None = None,
    replicas: int | None = None,
    nodes: int | None = None,
    node_memory: float = 16e9,
    progress: bool | None = None,
) -> Advice:
    """Recommend a recipe on a sample that has been read already.

    Parameters
    ----------
    source : CollectionSample
        Sample of the collection.
    queries : Encoded or None
        Vectors of queries. ``None`` holds documents out of the sample and uses them as queries.
    target : Target
        What the recipe has to reach.
    k, sample, shards, replicas, nodes, node_memory, progress
        See :func:`advise`.

    Returns
    -------
    Advice
        The recommended recipe, all recipes that were tried, and the costs.

    Raises
    ------
    InvalidArgumentError
        No recipe fits the budget, or the sample is too small.
    """
    trials = Trials(source, queries, k, sample, progress)
    tokens = source.documents.tokens
    by_disk = tokens is not None
    priced = partial(
        cost,
        shards=shards,
        replicas=source.replicas if replicas is None else replicas,
        nodes=nodes,
        node_memory=node_memory,
    )

    def fits(parts: list[Part], state_bytes: int = 0) -> bool:
        return target.headroom(by_disk, parts, priced(parts, source.points, state_bytes=state_bytes)) >= 0

    recipes = {
        name: recipe
        for name, recipe in trials.recipes().items()
        if name == AS_IT_IS or fits(trials.expected(recipe))
    }
    if not recipes.keys() - {AS_IT_IS}:
        raise InvalidArgumentError("budget", "room for the smallest recipe", str(target))
    tried, dropped, bounds = trials.run(recipes, target.recall)
    choice = Choice(
        fits=np.array([fits(trial.parts, trial.state_bytes) for trial in tried]),
        bytes=np.array([trial.bytes for trial in tried]),
        latency=np.array([trial.latency_ms["p50"] for trial in tried]),
        margin=bounds.margin,
        recall=target.recall,
    )
    index = choice.best(bounds.expected)
    luck = bounds.luck(choice.best)
    # The front compares what was measured, before the prediction of one recipe is lowered.
    tried = with_front(tried)
    chosen = tried[index] = replace(
        tried[index], expected_recall=float(np.clip(bounds.expected[index] - luck, 0.0, 1.0))
    )
    costs = [
        priced(chosen.parts, source.points * times, state_bytes=chosen.state_bytes) for times in (1, 10, 100)
    ]
    return Advice(
        collection=source.name,
        vector=source.vector,
        points=source.points,
        sampled=trials.sizes[-1],
        queries=trials.query_count,
        held_out=queries is None,
        k=k,
        target=str(target),
        tried=sorted(tried, key=lambda trial: trial.bytes),
        dropped=dropped,
        recommended=chosen.name,
        met=bool(choice.good(bounds.expected).any()),
        chance=None if target.recall is None else bounds.chance(index, target.recall, luck),
        costs=costs,
        diagnosis=None if tokens is None or not len(tokens.values) else diagnose(tokens),
        untried=trials.untried,
    )


def _encoded_queries(queries: Any, encoder: Encoder | str | None, source: CollectionSample) -> Encoded | None:
    """Convert queries of any kind to vectors of the sampled kind, and thin them out if they are many."""
    if queries is None:
        return None
    is_scalar = isinstance(queries, (str, np.ndarray, np.generic)) and np.ndim(queries) == 0
    if is_scalar or not hasattr(queries, "__len__"):
        raise InvalidArgumentError("queries", "a list of vectors or of texts", repr(queries))
    if isinstance(queries, TokenBatch):
        encoded = Encoded(tokens=queries)
    elif len(queries) and isinstance(queries[0], str):
        if encoder is None:
            raise InvalidArgumentError("encoder", "an encoder for queries that are texts", None)
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        encoded = loaded.encode_queries(list(queries))
    elif source.documents.tokens is not None:
        encoded = Encoded(tokens=TokenBatch.from_list(list(queries)))
    else:
        encoded = Encoded(dense=as_vectors(queries, argument="queries"))
    tokens, dense = source.documents.tokens, source.documents.dense
    vectors = encoded.tokens if tokens is not None else encoded.dense
    expected = tokens.dim if tokens is not None else 0 if dense is None else dense.shape[1]
    dim = None if vectors is None else vectors.dim if isinstance(vectors, TokenBatch) else vectors.shape[-1]
    if dim != expected or vectors is None or not len(vectors):
        raise InvalidArgumentError("queries", f"vectors of dimension {expected}, at least one", dim)
    most = QUERIES if tokens is None else MATRIX_QUERIES
    kept = np.linspace(0, len(vectors) - 1, min(len(vectors), most)).astype(np.int64)
    only = Encoded(tokens=encoded.tokens) if tokens is not None else Encoded(dense=encoded.dense)
    return only.take(kept)
