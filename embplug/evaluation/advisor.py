"""Which recipe a collection should have: all sensible ones tried on a sample of it, at equal bytes."""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.collection import Collection
from embplug.common.checks import checked_integer
from embplug.common.ids import OWN_FIELDS
from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.engines import EdgeClient, Engine, connect, traits_of
from embplug.engines.calls import Call, Steps, run
from embplug.engines.capabilities import Capabilities, capabilities_steps
from embplug.errors import CollectionNotFoundError, InvalidArgumentError
from embplug.evaluation.evaluate import Figure, bootstrap, percentiles_ms
from embplug.evaluation.exact import Ranking, overlap
from embplug.evaluation.recipes import dense_candidates, token_candidates
from embplug.evaluation.sizing import (
    Cost,
    Part,
    cost,
    disk_bytes,
    expected_parts,
    measured_parts,
    memory_bytes,
    vector_bytes,
)
from embplug.evaluation.trial import Material, Search, exact_rankings, fill, search_all
from embplug.methods.encodings.fde import FDE
from embplug.methods.numeric.arrays import State
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Dense, Recipe, Tokens
from embplug.recipe.names import DENSE
from embplug.recipe.recipe import digest

TRIAL = "trial"
QUERIES = 200
MATRIX_QUERIES = 100
FIT_DOCUMENTS = 2000
DOCUMENTS = 10_000
MATRICES = 2000
FEWEST = 300
PAGE = 10_000
FLOATS_AT_ONCE = 1 << 20
LIKELY_TOKENS = 256
TIE = 0.002
FIT_ROOM = 1.02
"""Recipes of at most this many times the bytes are compared as equals."""


@dataclass(frozen=True, eq=False)
class Source:
    """A sample of a collection, and what of the rest matters.

    Attributes
    ----------
    name, vector
        Of the collection and of the vector in it.
    points
        In the whole collection.
    documents
        Sampled vectors, in random order.
    payloads
        Of the same documents.
    distance
        Of dense vectors.
    payload_indexes, shards, replicas
        As the collection has them.
    capabilities
        Of its engine.
    """

    name: str
    vector: str
    points: int
    documents: Encoded
    payloads: list[dict[str, Any]]
    distance: models.Distance
    payload_indexes: dict[str, Any]
    shards: int
    replicas: int
    capabilities: Capabilities


@dataclass(frozen=True)
class Candidate:
    """One recipe as it did on the sample, and what that says of the whole collection.

    Attributes
    ----------
    name, recipe
        What it is.
    documents
        In the largest sample on which it was tried: those that were hopeless on small ones go no further.
    expected_recall
        Share of the best k of exact search that it will find in the whole collection.
    recall
        The measurement on the sample that comes closest to it: of fewer than k, because among fewer
        documents. See :func:`expected_recall`.
    latency_ms
        ``p50``, ``p95`` and ``p99`` of one search on the sample.
    bytes
        Of a document, by which recipes are compared: in memory for dense vectors; on disk for token
        matrices, whose matrices and codes lie there. In the whole collection.
    memory_bytes, disk_bytes, vector_bytes
        Of a document in the whole collection: in memory, on disk, and of its vectors and codes in memory.
    state_bytes
        Of what was learned, once a collection.
    front
        Whether no other recipe that was tried to the end is better in bytes, recall and latency at once.
    """

    name: str
    recipe: Recipe
    documents: int
    expected_recall: float
    recall: Figure
    latency_ms: dict[str, float]
    bytes: float
    memory_bytes: float
    disk_bytes: float
    vector_bytes: float
    state_bytes: int
    front: bool = False
    parts: list[Part] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Advice:
    """Result of :func:`advise`.

    Attributes
    ----------
    collection, vector, points
        What was sampled.
    sampled, queries
        Documents in the largest sample, and queries.
    held_out
        Whether the queries are documents that were left out, because no queries were given.
    k
        Recall is that of the best k.
    target
        What was asked for, in words.
    candidates
        Tried to the end, smallest first.
    dropped
        Tried on small samples only.
    recommended
        Name of the best that meets the target, or else of the one that comes closest.
    met
        Whether it meets it.
    costs
        Of the recommended recipe today, at ten and at a hundred times as many documents.
    """

    collection: str
    vector: str
    points: int
    sampled: int
    queries: int
    held_out: bool
    k: int
    target: str
    candidates: list[Candidate]
    dropped: list[Candidate]
    recommended: str
    met: bool
    costs: list[Cost]

    @property
    def best(self) -> Candidate:
        """The recommended candidate."""
        return next(one for one in self.candidates if one.name == self.recommended)

    @property
    def recipe(self) -> Recipe:
        """The recommended recipe."""
        return self.best.recipe

    def to_yaml(self) -> str:
        """The recommended recipe, without what is default."""
        short = yaml.safe_dump(self.recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False)
        return short if Recipe.from_yaml(short) == self.recipe else self.recipe.to_yaml()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        contents = asdict(replace(self, candidates=[], dropped=[]))
        shown = {"candidates": self.candidates, "dropped": self.dropped}
        contents |= {
            key: [{**asdict(replace(one, parts=[])), "recipe": one.recipe.to_dict()} for one in listed]
            for key, listed in shown.items()
        }
        for listed in shown:
            for one in contents[listed]:
                del one["parts"]
        return {**contents, "recipe": self.recipe.to_dict()}


@dataclass(frozen=True)
class Target:
    """What is asked for: at most so many bytes, or at least such a recall.

    Attributes
    ----------
    budget
        Bytes of the whole collection and all its replicas, in memory for dense vectors, on disk for
        token matrices.
    bytes_per_vector
        Of one document's vectors and codes, in the same place.
    recall
        Of the whole collection.
    """

    budget: float | None = None
    bytes_per_vector: float | None = None
    recall: float | None = None

    def __str__(self) -> str:
        if self.budget is not None:
            return f"at most {self.budget:,.0f} bytes in all"
        if self.bytes_per_vector is not None:
            return f"at most {self.bytes_per_vector:,.0f} bytes a vector"
        return f"recall of at least {self.recall:g}"

    def room(self, by_disk: bool, parts: list[Part], whole: Cost) -> float:
        """How many bytes a recipe stays below the limit; negative beyond it."""
        if self.budget is not None:
            return self.budget - (whole.disk if by_disk else whole.memory)
        if self.bytes_per_vector is not None:
            taken = [p for p in parts if p.kind in ("vectors", "codes", "payload")]
            return self.bytes_per_vector - (disk_bytes(taken) if by_disk else vector_bytes(parts))
        return math.inf


def advise(
    collection: str,
    engine: Engine | str,
    *,
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
    """Try every sensible recipe on a sample of a collection, and recommend one.

    The sample is read from the engine; the trials run on Edge in this process, with graphs and codes
    built whatever the size of the sample. All recipes are tried on a small sample, the better third at
    each size goes on to a larger one.

    Parameters
    ----------
    collection
        Any collection of Qdrant, made by embplug or not.
    engine
        A client, or what :func:`embplug.connect` takes.
    budget, bytes_per_vector, recall
        One of them: bytes of the whole collection with all its replicas, bytes of one vector, or the
        recall that is wanted at the fewest bytes. See :class:`Target`. Default: a recall of 0.95.
    vector
        Name of the vector, dense or multi-vector; needed where there are several.
    queries
        Vectors ``(n, dim)``, token matrices, or texts for the ``encoder``. Default: documents that are
        left out of the sample stand for queries; real ones predict better.
    encoder
        Of texts that are given as queries.
    k
        Recall is that of the best k.
    sample
        Documents of the largest sample. Default: 10,000 dense vectors, or 2,000 token matrices.
    stratify
        Payload field whose values the sample has in the same proportions as the collection.
    shards, replicas, nodes, node_memory
        For the costs; see :func:`~embplug.evaluation.sizing.cost`. Default: replicas as the collection has
        them.
    seed
        Of the sample.
    progress
        Show a progress bar. Default: on a terminal.

    Raises
    ------
    CollectionNotFoundError
        There is none.
    InvalidArgumentError
        Naming the argument.
    """
    target = _target(budget, bytes_per_vector, recall)
    k = checked_integer(k, "k", 1)
    given = {"shards": shards, "replicas": replicas, "nodes": nodes}
    for name, number in given.items():
        if number is not None:
            checked_integer(number, name, 1)
    if not node_memory > 0:
        raise InvalidArgumentError("node_memory", "more than 0 bytes", node_memory)
    sample = None if sample is None else checked_integer(sample, "sample", FEWEST)
    client = connect(engine)
    try:
        source = run(client, source_steps(client, collection, vector, sample, stratify, seed, progress))
    finally:
        if client is not engine:
            client.close()
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
    source: Source,
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
    """As :func:`advise`, on a sample that was read already."""
    trials = _Trials(source, queries, k, sample, progress)
    by_disk = source.documents.tokens is not None
    priced = partial(
        cost,
        shards=shards,
        replicas=source.replicas if replicas is None else replicas,
        nodes=nodes,
        node_memory=node_memory,
    )

    def fits(parts: list[Part], state_bytes: int = 0) -> bool:
        return target.room(by_disk, parts, priced(parts, source.points, state_bytes=state_bytes)) >= 0

    recipes = {name: recipe for name, recipe in trials.recipes().items() if fits(trials.expected(recipe))}
    if not recipes:
        raise InvalidArgumentError("budget", "room for the smallest recipe", str(target))
    finished, dropped = trials.run(recipes)
    finished = _with_front(finished)
    fitting = [one for one in finished if fits(one.parts, one.state_bytes)]
    if target.recall is not None:
        good = [one for one in fitting if one.expected_recall >= target.recall]
        # Of recipes of like bytes the better one, and of those that are as good the faster one.
        smallest = min((one.bytes for one in good), default=0.0)
        near = [one for one in good if one.bytes <= FIT_ROOM * smallest]
    else:
        good = near = fitting
    chosen = _best(near or finished)
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
        candidates=sorted(finished, key=lambda one: one.bytes),
        dropped=dropped,
        recommended=chosen.name,
        met=bool(good),
        costs=costs,
    )


class _Trials:
    """The recipes on samples of growing size, all under the same conditions.

    What learns from data learns once, from documents of which the samples hold the same share as the
    whole collection will: codes stand for what they were learned from better than for the rest.
    """

    def __init__(
        self, source: Source, queries: Encoded | None, k: int, sample: int | None, progress: bool | None
    ) -> None:
        self._source, self._k, self._progress = source, k, progress
        documents = source.documents
        self._tokens = documents.tokens is not None
        count = len(source.payloads)
        held = 0 if queries is not None else min(MATRIX_QUERIES if self._tokens else QUERIES, count // 4)
        self._queries = _take(documents, range(held)) if queries is None else queries
        pool = np.arange(held, count)
        size = min(sample or (MATRICES if self._tokens else DOCUMENTS), len(pool))
        if size < FEWEST // 2:
            raise InvalidArgumentError("collection", f"at least {FEWEST} points to sample", count)
        trained = min(FIT_DOCUMENTS, len(pool))
        training, rest = pool[:trained], pool[trained:]
        share = min(1.0, trained / max(source.points - held, 1))
        self.sizes = _sizes(size)
        self._rows = []
        for one in self.sizes:
            learned = max(round(one * share), one - len(rest))
            self._rows.append(np.concatenate([training[:learned], rest[: one - learned]]))
        self._training = _take(documents, training)
        self._states: dict[str, State] = {}

    @property
    def query_count(self) -> int:
        """Number of queries."""
        return Material(self._queries, self._queries).query_count

    def recipes(self) -> dict[str, Recipe]:
        """All that the collection's own engine can serve."""
        source = self._source
        if source.documents.tokens is not None:
            return token_candidates(source.documents.tokens.dim, source.capabilities)
        assert source.documents.dense is not None
        return dense_candidates(source.documents.dense.shape[1], source.distance, source.capabilities)

    def expected(self, recipe: Recipe) -> list[Part]:
        """Parts of the whole collection before anything was tried."""
        tokens = self._source.documents.tokens
        codes = None if recipe.tokens is None else recipe.tokens.codes
        reductions = () if recipe.tokens is None else recipe.tokens.reductions
        pooled = math.prod(getattr(one, "factor", 1.0) for one in reductions)
        mean = 0.0 if tokens is None else float(np.ceil(tokens.lengths / pooled).mean())
        size = 0.0
        if recipe.tokens is not None and codes is not None:
            size = recipe.tokens.document_bytes + mean * float(getattr(codes, "size", None) or 1)
        return expected_parts(recipe, self._source.points, tokens_per_document=mean, code_bytes=size)

    def run(self, recipes: Mapping[str, Recipe]) -> tuple[list[Candidate], list[Candidate]]:
        """Those that were tried to the end, and those that were dropped on the way."""
        dropped: list[Candidate] = []
        left = dict(recipes)
        made: list[Candidate] = []
        disabled = None if self._progress is None else not self._progress
        for place, rows in enumerate(self._rows):
            material = self._material(rows)
            exact = exact_rankings(next(iter(left.values())), material, self._k)[0]
            made = []
            for name, recipe in tqdm(left.items(), desc=f"{len(rows)} documents", disable=disabled):
                made.append(self._try(name, recipe, material, exact))
            if place + 1 < len(self._rows):
                kept = _better_third(made)
                dropped += [one for one in made if one.name not in kept]
                left = {name: recipe for name, recipe in left.items() if name in kept}
        return made, dropped

    def _try(self, name: str, recipe: Recipe, material: Material, exact: Ranking) -> Candidate:
        source, count = self._source, material.document_count
        if source.payload_indexes:
            recipe = recipe.model_copy(update={"payload_indexes": source.payload_indexes})
        state = learned_state(recipe, self._training, self._states)
        cuts = cuts_of(self._k, count, source.points)
        searches, measured = try_indexed(recipe, state, material, self._k, cuts)
        shares = {cut: overlap(searches[cut].found, exact[:, :cut]) for cut in cuts}
        recalls = {cut: float(one.mean()) for cut, one in shares.items()}
        parts = [part.at(source.points) for part in measured]
        memory, disk = memory_bytes(parts), disk_bytes(parts)
        return Candidate(
            name=name,
            recipe=recipe,
            documents=count,
            expected_recall=expected_recall(recalls, self._k, count, source.points),
            recall=bootstrap([shares[cuts[0]].tolist()])[0],
            latency_ms=percentiles_ms(searches[self._k].seconds),
            bytes=disk if self._tokens else memory,
            memory_bytes=memory,
            disk_bytes=disk,
            vector_bytes=vector_bytes(parts),
            state_bytes=sum(array.nbytes for array in state.values()),
            parts=parts,
        )

    def _material(self, rows: NDArray[np.int64]) -> Material:
        return Material(
            _take(self._source.documents, rows),
            self._queries,
            payloads=[self._source.payloads[i] for i in rows.tolist()],
        )


def learned_state(recipe: Recipe, documents: Encoded, known: dict[str, State] | None = None) -> State:
    """What a recipe's methods learn from the first 2,000 documents.

    Parameters
    ----------
    known
        What methods have learned from these documents already; extended.
    """
    known = {} if known is None else known
    state: State = {}
    for part in _learning_parts(recipe):
        key = digest(part.to_dict())
        if key not in known:
            pipeline = Pipeline(part)
            if pipeline.needs_fit:
                sample = _take(
                    documents, range(min(FIT_DOCUMENTS, Material(documents, documents).document_count))
                )
                dense = {} if sample.dense is None else {DENSE: sample.dense}
                tokens = None if sample.tokens is None else sample.tokens.to_float32()
                pipeline.fit(pipeline.reduced_sample(CheckedSample(tokens, dense)))
            known[key] = pipeline.get_state()
        state |= known[key]
    return state


def try_indexed(
    recipe: Recipe, state: State, material: Material, k: int = 10, cuts: Sequence[int] = ()
) -> tuple[dict[int, Search], list[Part]]:
    """Store and search documents on Edge, with graphs and codes built and used however few they are.

    Parameters
    ----------
    state
        What the recipe's methods learned; ``Pipeline.get_state``.
    k, cuts
        Numbers of hits to search for; with fewer than k, as many fewer candidates are ranked anew.

    Returns
    -------
    dict, list
        The searches by their number of hits; what was measured of each part.
    """
    pipeline = Pipeline(_with_graph(recipe))
    if pipeline.needs_fit:
        pipeline.set_state(state)
    with tempfile.TemporaryDirectory(prefix="embplug-") as folder, EdgeClient(folder) as engine:
        engine.create_collection(
            TRIAL,
            vectors_config=pipeline.vectors_config(),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
        )
        for key, schema in recipe.payload_indexes.items():
            engine.create_payload_index(TRIAL, field_name=key, field_schema=schema)
        collection = Collection(TRIAL, engine, pipeline)
        fill(collection, material)
        found = {
            cut: search_all(
                collection,
                material,
                cut,
                candidates=None if cut == k else math.ceil(recipe.rerank.candidates * cut / k),
            )
            for cut in {k, *cuts}
        }
        return found, measured_parts(engine, TRIAL, recipe, material.document_count)


def source_steps(
    engine: Engine,
    name: str,
    vector: str | None,
    sample: int | None = None,
    stratify: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Steps[Source]:
    """Read a random sample of a collection, page by page: ``sample``, and more to learn from and to ask."""
    if not (yield Call.of("collection_exists", collection_name=name)):
        raise CollectionNotFoundError(f"no collection {name!r} on this engine")
    capabilities = yield from capabilities_steps(engine)
    info = yield Call.of("get_collection", collection_name=name)
    configured = info.config.params.vectors or {}
    stored = configured if isinstance(configured, dict) else {"": configured}
    chosen = next(iter(stored)) if vector is None and len(stored) == 1 else vector
    if chosen is None or chosen not in stored:
        raise InvalidArgumentError("vector", f"one of the vectors {[*stored]} of {name!r}", repr(vector))
    multi = stored[chosen].multivector_config is not None
    count = (sample or (MATRICES if multi else DOCUMENTS)) + FIT_DOCUMENTS + QUERIES
    at_once = max(1, FLOATS_AT_ONCE // (stored[chosen].size * (LIKELY_TOKENS if multi else 1)))
    points = int((yield Call.of("count", collection_name=name, exact=True)).count)
    ids = yield from _sample_ids(engine, name, min(count, points), stratify, seed)
    vectors: list[Any] = []
    payloads: list[dict[str, Any]] = []
    disabled = None if progress is None else not progress
    for start in tqdm(range(0, len(ids), at_once), desc=f"reading a sample of {name}", disable=disabled):
        records = yield Call.of(
            "retrieve",
            collection_name=name,
            ids=ids[start : start + at_once],
            with_vectors=[chosen] if chosen else True,
            with_payload=True,
        )
        for record in records:
            found = record.vector.get(chosen) if isinstance(record.vector, dict) else record.vector
            if found is not None:
                vectors.append(np.asarray(found, dtype=np.float16 if multi else np.float32))
                payload = record.payload or {}
                payloads.append({key: payload[key] for key in payload if key not in OWN_FIELDS})
    if not vectors:
        raise InvalidArgumentError("collection", f"points with vector {chosen!r}", "none")
    params = info.config.params
    return Source(
        name=name,
        vector=chosen,
        points=points,
        documents=Encoded(tokens=TokenBatch.from_list(vectors))
        if multi
        else Encoded(dense=np.stack(vectors)),
        payloads=payloads,
        distance=stored[chosen].distance,
        payload_indexes={
            key: schema.params or schema.data_type for key, schema in (info.payload_schema or {}).items()
        },
        shards=params.shard_number or 1,
        replicas=params.replication_factor or 1,
        capabilities=capabilities,
    )


def _sample_ids(
    engine: Engine, name: str, count: int, stratify: str | None, seed: int
) -> Steps[list[int | str]]:
    """Ids in random order; every id is read once, but where a server draws the sample itself."""
    if stratify is None and traits_of(engine).draws_samples:
        drawn = yield Call.of(
            "query_points",
            collection_name=name,
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=count,
            with_payload=False,
        )
        return [point.id for point in drawn.points]
    strata: dict[str, list[int | str]] = {}
    offset, total = None, 0
    while True:
        records, offset = yield Call.of(
            "scroll",
            collection_name=name,
            limit=PAGE,
            offset=offset,
            with_payload=[stratify] if stratify else False,
        )
        for record in records:
            value = repr((record.payload or {}).get(stratify)) if stratify else ""
            strata.setdefault(value, []).append(record.id)
        total += len(records)
        if offset is None:
            break
    rng = random.Random(seed)
    chosen: list[int | str] = []
    for members in strata.values():
        share = min(len(members), max(1, round(count * len(members) / max(total, 1))))
        chosen += rng.sample(members, share)
    rng.shuffle(chosen)
    return chosen[:count]


def _target(budget: float | None, bytes_per_vector: float | None, recall: float | None) -> Target:
    given = {"budget": budget, "bytes_per_vector": bytes_per_vector, "recall": recall}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidArgumentError(named[1], f"none beside {named[0]}", given[named[1]])
    for name in named:
        value = given[name]
        highest = 1.0 if name == "recall" else math.inf
        if not isinstance(value, (int, float)) or not 0 < value <= highest:
            raise InvalidArgumentError(name, f"a number above 0 and up to {highest:g}", repr(value))
    return Target(budget, bytes_per_vector, recall if named else 0.95)


def _encoded_queries(queries: Any, encoder: Encoder | str | None, source: Source) -> Encoded | None:
    if queries is None:
        return None
    if isinstance(queries, TokenBatch):
        made = Encoded(tokens=queries)
    elif len(queries) and isinstance(queries[0], str):
        if encoder is None:
            raise InvalidArgumentError("encoder", "one for queries that are texts", None)
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        made = loaded.encode_queries(list(queries))
    elif source.documents.tokens is not None:
        made = Encoded(tokens=TokenBatch.from_list(list(queries)))
    else:
        made = Encoded(dense=np.asarray(queries, dtype=np.float32))
    tokens, dense = source.documents.tokens, source.documents.dense
    given = made.tokens if tokens is not None else made.dense
    width = tokens.dim if tokens is not None else 0 if dense is None else dense.shape[1]
    got = None if given is None else given.dim if isinstance(given, TokenBatch) else given.shape[-1]
    if got != width or given is None or not len(given):
        raise InvalidArgumentError("queries", f"vectors of dimension {width}, at least one", got)
    most = QUERIES if tokens is None else MATRIX_QUERIES
    kept = np.linspace(0, len(given) - 1, min(len(given), most)).astype(np.int64)
    only = Encoded(tokens=made.tokens) if tokens is not None else Encoded(dense=made.dense)
    return _take(only, kept)


def _sizes(largest: int) -> list[int]:
    """Of three samples, or two where there are few documents: each about three times the one before."""
    sizes = [largest]
    while len(sizes) < 3 and sizes[0] // 3 >= FEWEST:
        sizes.insert(0, sizes[0] // 3)
    return sizes


def cuts_of(k: int, count: int, points: int) -> list[int]:
    """How many of the best of a sample of ``count`` stand for the best k of the whole collection.

    Both sides of ``k * count / points``; where that is less than one, what is left to extrapolate from.
    """
    share = k * count / points
    if share >= 1:
        return sorted({min(k, math.floor(share)), min(k, math.ceil(share))})
    return sorted({1, min(k, 3), k})


def expected_recall(recalls: Mapping[int, float], k: int, count: int, points: int) -> float:
    """Recall of the best k among ``points`` documents, from that of fewer among ``count`` of them.

    A random sample thins out every ranking alike: the best 4 among 400 documents are as hard to tell
    apart as the best 10 among 1,000, and as many candidates for each are ranked anew. So recall is a
    function of documents per document wanted; beyond the sample its fall with the logarithm goes on.

    Parameters
    ----------
    recalls
        Number of best documents of the sample -> share that was found.
    """
    cuts = sorted(recalls, reverse=True)
    density = [math.log(count / cut) for cut in cuts]
    found = [recalls[cut] for cut in cuts]
    wanted = math.log(points / k)
    if wanted <= density[-1] or len(cuts) == 1:
        return float(np.interp(wanted, density, found))
    slope = min(float(np.polyfit(density, found, 1)[0]), 0.0)
    return float(np.clip(found[-1] + slope * (wanted - density[-1]), 0.0, 1.0))


def _better_third(made: Sequence[Candidate]) -> set[str]:
    """Names of those that are nearest to the best of their bytes, with original and without apart."""
    kept: set[str] = set()
    for originals in (True, False):
        group = [one for one in made if (", original" in one.name) == originals]
        gaps = {
            one.name: max(o.expected_recall for o in group if o.bytes <= FIT_ROOM * one.bytes)
            - one.expected_recall
            for one in group
        }
        order = sorted(gaps, key=lambda name: gaps[name])
        kept |= set(order[: max(4, math.ceil(len(order) / 3))])
    return kept


def _with_front(made: Sequence[Candidate]) -> list[Candidate]:
    def beats(a: Candidate, b: Candidate) -> bool:
        mine = (a.bytes, -a.expected_recall, a.latency_ms["p50"])
        others = (b.bytes, -b.expected_recall, b.latency_ms["p50"])
        return mine != others and all(x <= y for x, y in zip(mine, others, strict=True))

    return [replace(one, front=not any(beats(other, one) for other in made)) for one in made]


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest recall; among those that are as good, the fastest."""
    highest = max(one.expected_recall for one in candidates)
    alike = [one for one in candidates if one.expected_recall >= highest - TIE]
    return min(alike, key=lambda one: one.latency_ms["p50"])


def _with_graph(recipe: Recipe) -> Recipe:
    """Let searches use the graph however small the sample is, where the recipe has one."""
    update: dict[str, Any] = {}
    if recipe.dense:
        update["dense"] = {
            name: dense.model_copy(update={"hnsw": _used(dense.hnsw)}) for name, dense in recipe.dense.items()
        }
    if recipe.tokens is not None:
        storage = recipe.tokens.encoding_storage
        kept = storage.model_copy(update={"hnsw": _used(storage.hnsw)})
        update["tokens"] = recipe.tokens.model_copy(update={"encoding_storage": kept})
    return recipe.model_copy(update=update)


def _used(hnsw: models.HnswConfigDiff | None) -> models.HnswConfigDiff:
    return (hnsw or models.HnswConfigDiff()).model_copy(update={"full_scan_threshold": 10})


def _learning_parts(recipe: Recipe) -> list[Recipe]:
    """Recipes that each hold one method of this one that learns."""
    parts = [
        Recipe(
            dense={
                name: Dense(
                    dim=dense.dim,
                    distance=dense.distance,
                    transforms=dense.transforms,
                    codes=dense.codes,
                    signs=dense.signs,
                )
            }
        )
        for name, dense in recipe.dense.items()
    ]
    tokens = recipe.tokens
    if tokens is not None:
        if tokens.encoding_or_default is not None:
            parts.append(
                Recipe(
                    tokens=Tokens(
                        dim=tokens.dim,
                        encoding=tokens.encoding_or_default,
                        reduction=tokens.reduction,
                        multivector=None,
                    )
                )
            )
        if tokens.codes is not None:
            coded = Tokens(
                dim=tokens.dim,
                encoding=FDE(),
                codes=tokens.codes,
                document_bytes=tokens.document_bytes,
                reduction=tokens.reduction,
                multivector=None,
            )
            parts.append(Recipe(tokens=coded))
    return parts


def _take(encoded: Encoded, rows: Any) -> Encoded:
    chosen = np.asarray(rows, dtype=np.int64)
    return Encoded(
        None if encoded.tokens is None else encoded.tokens.take(chosen),
        None if encoded.dense is None else encoded.dense[chosen],
    )
