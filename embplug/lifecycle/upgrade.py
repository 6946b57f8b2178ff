"""A new embedding model for a collection, without embedding all of it anew today."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.dense import adapter_key, dense_key, model_condition
from embplug.branches.documents import CheckedSample, check_dense
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.collection.async_collection import AsyncCollection
from embplug.collection.collection import Collection
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.info import existing_steps
from embplug.common.checks import checked_integer
from embplug.common.ids import MODEL, ORIGINAL_ID
from embplug.encoders import Encoder, load_encoder
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps, run, run_async
from embplug.engines.capabilities import capabilities_steps
from embplug.errors import InvalidArgumentError, LengthMismatchError, MissingExtraError, UpgradeError
from embplug.evaluation.exact import overlap
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import registered
from embplug.recipe import Dense, Recipe

Float32 = NDArray[np.float32]
AnyCollection: TypeAlias = Collection | AsyncCollection

HELD_OUT = 0.5
"""Share of the pairs that are searched to measure adapters, which learn from the others."""
MOST_QUERIES = 300
LEAST_PAIRS = 50
TEXTS_AT_ONCE = 64
CALIBRATED = 50
"""Best documents of each query on whose scores the two spaces are brought to one scale."""


@dataclass(frozen=True)
class AdapterRecall:
    """What an adapter keeps of the search that the new model would give.

    Attributes
    ----------
    adapter
        Its kind; ``none`` asks old vectors with queries of the new model as they are.
    recall
        Of the k best by the new model's vectors, the share that is found among the old ones.
    mixed
        The same where half of the documents are embedded anew, and scores are on one scale.
    """

    adapter: str
    recall: float
    mixed: float | None = None


@dataclass(frozen=True)
class UpgradeReport:
    """What was measured before an upgrade, and whether it was begun.

    Attributes
    ----------
    adapters
        Each that was measured, best first, and after them ``none``, to compare with.
    chosen
        Kind of the one that maps queries.
    k
        Of the recall.
    pairs, held_out
        Documents from which the adapters that were measured learned, and others that were searched for
        it. The one that is installed learns from both, so that it is somewhat better.
    queries
        How many searches were made: given queries, or held out documents that stand for them.
    model
        Version of the new model in the collection.
    installed
        Whether the collection is searched with the new model now.
    skipped
        With ``best``: adapters that the dimensions or the installed extras do not allow, and why.
    """

    collection: str
    vector: str
    adapters: list[AdapterRecall]
    chosen: str
    recall: float
    k: int
    pairs: int
    held_out: int
    queries: int
    model: int
    installed: bool
    skipped: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class ReembedReport:
    """How far a collection is with its new model.

    Attributes
    ----------
    embedded
        Documents that this call embedded anew.
    left
        Documents that still have a vector of the old model.
    finished
        Whether none is left, and what belonged to the old model is removed.
    """

    collection: str
    vector: str
    embedded: int
    left: int
    finished: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def upgrade(
    collection: Collection,
    encoder: Encoder | str,
    *,
    adapter: str = "procrustes",
    pairs: int = 2000,
    queries: Sequence[str] | None = None,
    k: int = 10,
    min_recall: float = 0.9,
    dry_run: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> UpgradeReport:
    """Measure whether a collection can be searched with a new model today, and begin to.

    A sample of documents is embedded by the new model, and an adapter learns from these texts how to
    map its queries to where the old model would have put them. What that keeps of the new model's own
    search is measured on documents from which it did not learn. Only where that is enough, recipe and
    state of the collection are replaced, in one write: queries and new documents are of the new model
    from then on, and :func:`reembed` embeds the rest. The given collection is searched with the new
    model at once; other processes have to open theirs anew.

    Parameters
    ----------
    collection
        Opened; its documents have to have their texts in the payload.
    encoder
        The new model, or its name as in a recipe.
    adapter
        A registered kind of adapter, or ``best``: all that the dimensions and the installed extras allow are
        measured, and the best is taken.
    pairs
        Documents to learn and measure from.
    queries
        Real queries to measure with. Default: documents that are held out stand for queries.
    k
        Of the recall; at most half of the documents that are held out, among which more are found anyhow.
    min_recall
        Do not begin below it.
    dry_run
        Measure only.
    seed
        Of the split.
    progress
        Show a progress bar. Default: on a terminal.

    Raises
    ------
    UpgradeError
        One is under way already, or the recall is below ``min_recall``; ``error.report`` is the report.
    InvalidArgumentError
        Naming the argument; or the collection has no texts, or not enough of them; or its recipe is one
        that cannot be upgraded in place.
    CapabilityError
        The engine cannot store vectors of the new model's dimension beside the old ones.
    """
    return run(
        collection.engine,
        upgrade_steps(collection, encoder, adapter, pairs, queries, k, min_recall, dry_run, seed, progress),
    )


async def upgrade_async(
    collection: AsyncCollection,
    encoder: Encoder | str,
    *,
    adapter: str = "procrustes",
    pairs: int = 2000,
    queries: Sequence[str] | None = None,
    k: int = 10,
    min_recall: float = 0.9,
    dry_run: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> UpgradeReport:
    """As :func:`upgrade`, awaited: embedding and learning run in a thread."""
    return await run_async(
        collection.engine,
        upgrade_steps(collection, encoder, adapter, pairs, queries, k, min_recall, dry_run, seed, progress),
    )


def reembed(
    collection: Collection,
    *,
    rate: float | None = None,
    batch: int = 64,
    limit: int | None = None,
    progress: bool | None = None,
) -> ReembedReport:
    """Embed with the new model what still has a vector of the old one, until nothing is left.

    Can be broken off at any moment and called again. Searches see every document all the while; one
    that is replaced while its batch is embedded may keep the vector of its earlier text, so replace
    documents when no batch is under way, or add them once more.

    Parameters
    ----------
    collection
        One for which :func:`upgrade` was begun.
    rate
        At most so many documents a second.
    batch
        Documents in one call of the encoder; with a ``rate``, no more than those of a second.
    limit
        At most so many documents in this call.
    progress
        Show a progress bar. Default: on a terminal.

    Raises
    ------
    UpgradeError
        No upgrade is under way; or a document has no text.
    """
    return run(collection.engine, reembed_steps(collection, rate, batch, limit, progress))


async def reembed_async(
    collection: AsyncCollection,
    *,
    rate: float | None = None,
    batch: int = 64,
    limit: int | None = None,
    progress: bool | None = None,
) -> ReembedReport:
    """As :func:`reembed`, awaited: embedding runs in a thread. Cancelling is breaking off."""
    return await run_async(collection.engine, reembed_steps(collection, rate, batch, limit, progress))


def upgrade_steps(
    collection: AnyCollection,
    encoder: Encoder | str,
    adapter: str,
    pairs: int,
    queries: Sequence[str] | None,
    k: int,
    min_recall: float,
    dry_run: bool,
    seed: int,
    progress: bool | None,
) -> Steps[UpgradeReport]:
    """What :func:`upgrade` asks of the engine and computes."""
    adapters = registered("adapter")
    if adapter != "best" and adapter not in adapters:
        raise InvalidArgumentError("adapter", f"one of {['best', *adapters]}", repr(adapter))
    if not 0 <= min_recall <= 1:
        raise InvalidArgumentError("min_recall", "between 0 and 1", min_recall)
    pairs = checked_integer(pairs, "pairs", LEAST_PAIRS)
    k = checked_integer(k, "k", 1)
    texts = None if queries is None else _checked_queries(queries)
    recipe = collection.recipe
    name = _vector_name(recipe)
    dense = recipe.dense[name]
    version = collection._pipeline.dense(name).version
    if version.previous is not None:
        raise UpgradeError(f"{collection.name!r} is being upgraded already: reembed it to the end first")
    model: Encoder = (
        (yield Call.compute(partial(load_encoder, encoder))) if isinstance(encoder, str) else encoder
    )
    disable = None if progress is None else not progress
    documents, old = yield from _sample(collection, name, pairs)
    most = int(len(old) * HELD_OUT) // 2
    if k > most:
        raise InvalidArgumentError("k", f"at most {most}, half of the documents that are held out", k)
    with tqdm(desc=f"embedding a sample of {collection.name}", unit=" texts", disable=disable) as bar:
        new = yield from _embedded(model, documents, dense, bar, as_queries=False)
        asked = None
        if texts is not None:
            asked = yield from _embedded(model, texts, dense, bar, as_queries=True)
    trial: Trial = yield Call.compute(partial(Trial, new, old, asked, k, seed))
    kinds = [*adapters] if adapter == "best" else [adapter]
    fitted, skipped = yield Call.compute(partial(_fitted, kinds, *trial.pairs))
    rows = yield Call.compute(
        lambda: [*sorted(map(trial.measured, fitted), key=lambda one: -one.recall), *trial.without_adapter()]
    )
    best: AdapterRecall = rows[0]
    chosen = next(one for one in fitted if one.kind == best.adapter)
    report = UpgradeReport(
        collection.name,
        name,
        rows,
        chosen.kind,
        best.recall,
        k,
        len(trial.pairs[0]),
        len(trial.old),
        len(trial.queries),
        version.model + 1,
        installed=False,
        skipped=skipped,
    )
    if dry_run:
        return report
    if best.recall < min_recall:
        raise UpgradeError(
            f"recall@{k} with {chosen.kind} is {best.recall:.3f} of the new model's, below "
            f"{min_recall:g}: nothing was changed. Try adapter='best', more pairs, a lower min_recall, or "
            "migrate with new vectors",
            report,
        )
    scale = yield Call.compute(partial(trial.calibration, chosen))
    yield Call.compute(partial(chosen.fit, new, old))
    spec = encoder if isinstance(encoder, str) else None
    yield from _install(collection, name, model, spec, chosen, scale, new)
    return replace(report, installed=True)


def reembed_steps(
    collection: AnyCollection, rate: float | None, batch: int, limit: int | None, progress: bool | None
) -> Steps[ReembedReport]:
    """What :func:`reembed` asks of the engine and computes."""
    batch = checked_integer(batch, "batch", 1)
    limit = None if limit is None else checked_integer(limit, "limit", 1)
    if rate is not None:
        if not rate > 0:
            raise InvalidArgumentError("rate", "more than 0", rate)
        batch = max(1, int(min(batch, rate)))
    versions = collection._pipeline.versions
    name = next((name for name, version in versions.items() if version.previous), None)
    if name is None:
        raise UpgradeError(f"no upgrade of {collection.name!r} is under way")
    done, started = 0, time.monotonic()
    old = models.Filter(must_not=[model_condition(versions[name].model)])
    left = yield from _count(collection.name, old)
    with tqdm(
        total=left,
        desc=f"embedding {collection.name}",
        unit=" documents",
        disable=None if progress is None else not progress,
    ) as bar:
        while limit is None or done < limit:
            size = batch if limit is None else min(batch, limit - done)
            embedded = yield from _reembed_batch(collection, name, old, size)
            if not embedded:
                break
            done += embedded
            bar.update(embedded)
            if rate is not None:
                yield Call.pause(max(0.0, started + done / rate - time.monotonic()))
    left = yield from _count(collection.name, old)
    if left == 0:
        yield from _finish(collection, name)
    return ReembedReport(collection.name, name, done, left, left == 0)


class Trial:
    """Adapters learned from some pairs, and measured by searches among the others.

    Documents that an adapter knows would be found better than those of the whole collection.
    """

    def __init__(self, new: Float32, old: Float32, queries: Float32 | None, k: int, seed: int = 0) -> None:
        order = np.random.default_rng(seed).permutation(len(new))
        held = order[: int(len(order) * HELD_OUT)]
        rest = order[len(held) :]
        self.pairs, self.k = (new[rest], old[rest]), k
        self.old = old[held]
        # A document that stands for a query does not find itself.
        self.by_documents = queries is None
        self.queries = new[held[:MOST_QUERIES]] if queries is None else queries
        self.exact = self._hidden(self.queries @ new[held].T)
        self.wanted = _top(self.exact, k)

    def measured(self, adapter: Any) -> AdapterRecall:
        """What an adapter keeps, alone and with half of the documents embedded anew."""
        scores = self._scores(adapter)
        factor, offset = self.calibration(adapter)
        mixed = factor * scores + offset
        half = np.arange(scores.shape[1]) % 2 == 0
        mixed[:, half] = self.exact[:, half]
        return AdapterRecall(adapter.kind, self._recall(scores), self._recall(mixed))

    def without_adapter(self) -> list[AdapterRecall]:
        """What is found when nothing is done, where the dimensions allow it."""
        if self.queries.shape[1] != self.old.shape[1]:
            return []
        return [AdapterRecall("none", self._recall(self._hidden(self.queries @ self.old.T)))]

    def calibration(self, adapter: Any) -> tuple[float, float]:
        """Factor and offset that bring old scores closest to the new ones, among the best documents."""
        scores = self._scores(adapter)
        best = _top(scores, min(CALIBRATED, scores.shape[1] - 1))
        x = np.take_along_axis(scores, best, axis=1).reshape(-1).astype(np.float64)
        y = np.take_along_axis(self.exact, best, axis=1).reshape(-1).astype(np.float64)
        spread = np.square(x - x.mean()).sum()
        factor = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread else 1.0
        # One that would turn the ranking of old documents round says that nothing was learned.
        factor = max(factor, 1e-3)
        return factor, float(y.mean() - factor * x.mean())

    def _scores(self, adapter: Any) -> Float32:
        scores = adapter.transform(self.queries) @ self.old.T + adapter.missing(self.queries)[:, None]
        return self._hidden(scores)

    def _hidden(self, scores: Float32) -> Float32:
        if self.by_documents:
            np.fill_diagonal(scores, -np.inf)
        return scores

    def _recall(self, scores: Float32) -> float:
        return float(overlap(_top(scores, self.k), self.wanted).mean())


def _top(scores: Float32, count: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _checked_queries(given: Any) -> list[str]:
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise InvalidArgumentError("queries", "a sequence of texts", type(given).__name__)
    if not given:
        raise InvalidArgumentError("queries", "at least one", "none")
    for i, text in enumerate(given):
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(f"queries[{i}]", "a text that is not empty", repr(text))
    return list(given)


def _fitted(kinds: list[str], new: Float32, old: Float32) -> tuple[list[Any], dict[str, str]]:
    """Fitted adapters, and why the others could not be fitted; raises the first reason where none could."""
    fitted: list[Any] = []
    reasons: dict[str, Exception] = {}
    for kind in kinds:
        try:
            fitted.append(registered("adapter")[kind]().fit(new, old))
        except (LengthMismatchError, MissingExtraError) as error:
            reasons[kind] = error
    if not fitted:
        raise next(iter(reasons.values()))
    return fitted, {kind: str(error) for kind, error in reasons.items()}


def _vector_name(recipe: Recipe) -> str:
    """The vector to upgrade, where its recipe allows that."""
    if recipe.tokens is not None:
        expected = "none, because the encoder makes them too; migrate to a new collection instead"
        raise InvalidArgumentError("recipe.tokens", expected, "tokens")
    if not recipe.dense:
        raise InvalidArgumentError("recipe.dense", "one vector", "none")
    if len(recipe.dense) > 1:
        expected = "one vector, because the encoder makes the others too; migrate to a new collection instead"
        raise InvalidArgumentError("recipe.dense", expected, [*recipe.dense])
    (name,) = recipe.dense
    dense = recipe.dense[name]
    part = next((part for part in ("funnel", "keep_original", "codes") if getattr(dense, part)), None)
    if part is not None:
        raise InvalidArgumentError(
            f"recipe.dense.{name}.{part}", "none, for an upgrade in place; migrate instead", "it"
        )
    if dense.datatype == models.Datatype.UINT8:
        expected = "one of floats, to which adapters map queries; migrate instead"
        raise InvalidArgumentError(f"recipe.dense.{name}.datatype", expected, "uint8")
    if dense.distance not in (models.Distance.COSINE, models.Distance.DOT):
        raise InvalidArgumentError(f"recipe.dense.{name}.distance", "Cosine or Dot", dense.distance.value)
    return name


def _sample(collection: AnyCollection, name: str, count: int) -> Steps[tuple[list[str], Float32]]:
    """Texts of documents at random, and their vectors as the collection stores them."""
    dense, key = collection.recipe.dense[name], collection.recipe.text_key
    stored = collection._pipeline.dense(name).stored_as
    answer = yield Call.of(
        "query_points",
        collection_name=collection.name,
        query=models.SampleQuery(sample=models.Sample.RANDOM),
        limit=count,
        with_payload=[key],
        with_vectors=[stored],
    )
    found = [
        (str(point.payload[key]), point.vector[stored])
        for point in answer.points
        if isinstance((point.payload or {}).get(key), str)
        and point.payload[key].strip()
        and isinstance(point.vector, dict)
        and stored in point.vector
    ]
    if len(found) < LEAST_PAIRS:
        expected = f"at least {LEAST_PAIRS} documents with a text in their payload"
        raise InvalidArgumentError(f"payload[{key!r}]", expected, len(found))
    texts = [text for text, _ in found]
    old = np.asarray([vector for _, vector in found], dtype=np.float32)
    if dense.stored_distance == models.Distance.COSINE:
        old = unit_rows(old)
    return texts, old


def _embedded(
    encoder: Encoder, texts: Sequence[str], dense: Dense, bar: Any, *, as_queries: bool
) -> Steps[Float32]:
    """Texts as the new model sees them; of unit length where cosines are compared."""
    parts = []
    bar.reset(len(texts))
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = list(texts[start : start + TEXTS_AT_ONCE])
        encode = encoder.encode_queries if as_queries else encoder.encode_documents
        made = (yield Call.compute(partial(encode, some))).dense
        if made is None:
            raise InvalidArgumentError("encoder", "one that makes dense vectors", encoder.spec)
        dim = np.shape(made)[1]
        parts.append(check_dense(made, dim, len(some), f"dense of encoder {encoder.spec!r}"))
        bar.update(len(some))
    vectors = np.concatenate(parts)
    return unit_rows(vectors) if dense.distance == models.Distance.COSINE else vectors


def _install(
    collection: AnyCollection,
    name: str,
    encoder: Encoder,
    spec: str | None,
    adapter: Any,
    scale: tuple[float, float],
    sample: Float32,
) -> Steps[None]:
    """Let the collection be searched with the new model: everything it needs, then one write."""
    recipe, before = collection.recipe, collection._pipeline
    branch = before.dense(name)
    dense = branch.recipe
    new = dense.model_copy(update={"dim": sample.shape[1]})
    model, stored_as = branch.version.model + 1, branch.version.stored_as
    if new.stored_dim != dense.stored_dim:
        if dense.quantization or dense.hnsw or dense.on_disk is not None:
            expected = f"{dense.stored_dim}, because a vector beside it cannot have its storage; migrate"
            raise InvalidArgumentError("dimension of the new model", expected, new.stored_dim)
        stored_as = f"{name}_v{model}"
    previous = PreviousModel(
        dim=dense.stored_dim,
        stored_as=branch.stored_as,
        adapter=adapter.unfitted(),
        factor=scale[0],
        offset=scale[1],
    )
    version = VectorVersion(model=model, stored_as=stored_as, previous=previous)
    pipeline = before.changed(
        recipe.model_copy(update={"dense": {**recipe.dense, name: new}, "encoder": spec}),
        {**before.versions, name: version},
        encoder,
    )
    # What the vector has learned of the previous model is learned again.
    own = f"{dense_key(name)}."
    state = {key: array for key, array in before.get_state().items() if not key.startswith(own)}
    state |= {f"{adapter_key(name)}.{key}": array for key, array in adapter.get_state().items()}
    pipeline.set_state(state)
    if not pipeline.fitted:
        yield Call.compute(partial(pipeline.fit, CheckedSample(None, {name: sample})))
    yield from _install_steps(collection.engine, collection.name, name, pipeline)
    collection._pipeline = pipeline


def _install_steps(engine: AnyEngine, collection: str, name: str, pipeline: Pipeline) -> Steps[None]:
    pipeline.capabilities = yield from capabilities_steps(engine)
    info = yield from existing_steps(collection)
    for vector, params in pipeline.vectors_config().items():
        if vector not in (info.config.params.vectors or {}):
            pipeline.capabilities.require("add_vectors", f"dense.{name}.dim")
            config = models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(
                    size=params.size, distance=params.distance, datatype=params.datatype
                )
            )
            yield Call.of(
                "create_vector_name",
                collection_name=collection,
                vector_name=vector,
                vector_name_config=config,
            )
    yield Call.of(
        "create_payload_index",
        collection_name=collection,
        field_name=MODEL,
        field_schema=models.PayloadSchemaType.INTEGER,
        wait=True,
    )
    yield from save_manifest_steps(engine, collection, pipeline)


def _reembed_batch(collection: AnyCollection, name: str, old: models.Filter, size: int) -> Steps[int]:
    """Embed some documents anew: first the vector, then the mark that says so, so that a kill loses none."""
    recipe, pipeline = collection.recipe, collection._pipeline
    branch = pipeline.dense(name)
    previous = branch.version.previous
    assert previous is not None
    records, _ = yield Call.of(
        "scroll",
        collection_name=collection.name,
        scroll_filter=old,
        limit=size,
        with_payload=[recipe.text_key, ORIGINAL_ID],
    )
    if not records:
        return 0
    texts = []
    for record in records:
        text = (record.payload or {}).get(recipe.text_key)
        if not isinstance(text, str) or not text.strip():
            given = (record.payload or {}).get(ORIGINAL_ID, record.id)
            raise UpgradeError(
                f"document {given!r} of {collection.name!r} has no text in {recipe.text_key!r}: add it again "
                "with its text or vector, or delete it, then go on"
            )
        texts.append(text)
    vectors: Any = yield Call.compute(lambda: pipeline.encode_dense(name, texts))
    ids = [record.id for record in records]
    points = [
        models.PointVectors(id=one, vector={stored: column[i].tolist() for stored, column in vectors.items()})
        for i, one in enumerate(ids)
    ]
    yield Call.of("update_vectors", collection_name=collection.name, points=points, wait=True)
    mark = {MODEL: branch.version.model}
    yield Call.of("set_payload", collection_name=collection.name, payload=mark, points=ids, wait=True)
    if previous.stored_as != branch.stored_as:
        yield Call.of(
            "delete_vectors",
            collection_name=collection.name,
            vectors=[previous.stored_as],
            points=ids,
            wait=True,
        )
    return len(ids)


def _finish(collection: AnyCollection, name: str) -> Steps[None]:
    """Forget the old model: its adapter, and its vector where it has one of its own."""
    engine, before = collection.engine, collection._pipeline
    branch = before.dense(name)
    previous = branch.version.previous
    assert previous is not None
    version = branch.version.model_copy(update={"previous": None})
    pipeline = before.changed(collection.recipe, {**before.versions, name: version})
    pipeline.set_state(before.get_state())
    yield from save_manifest_steps(engine, collection.name, pipeline)
    collection._pipeline = pipeline
    if previous.stored_as != branch.stored_as:
        yield Call.of("delete_vector_name", collection_name=collection.name, vector_name=previous.stored_as)
    yield Call.of("delete_payload_index", collection_name=collection.name, field_name=MODEL)


def _count(name: str, given: models.Filter) -> Steps[int]:
    result = yield Call.of("count", collection_name=name, count_filter=given, exact=True)
    return int(result.count)
