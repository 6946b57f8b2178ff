"""A new embedding model for a collection, without embedding all of it anew today."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.dense import adapter_key, dense_key
from embplug.branches.documents import CheckedSample, check_dense
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import PreviousModel, VectorVersion, vector_name_of
from embplug.collection.collection import Collection
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.info import existing_steps
from embplug.collection.named import opened
from embplug.common.checks import checked_integer
from embplug.common.ids import MODEL
from embplug.common.telemetry import span
from embplug.encoders import Encoder, load_encoder
from embplug.encoders.revisions import revision_of
from embplug.engines import AnyEngine, EngineTarget
from embplug.engines.calls import Call, Steps, run
from embplug.engines.capabilities import capabilities_steps
from embplug.errors import InvalidArgumentError, LengthMismatchError, MissingExtraError, UpgradeError
from embplug.lifecycle.adapter_trial import HELD_OUT, AdapterRecall, AdapterTrial
from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import registered
from embplug.recipe import Dense, Recipe

logger = logging.getLogger(__name__)

LEAST_PAIRS = 50
TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class UpgradeReport:
    """What was measured before an upgrade, and whether the upgrade was begun.

    Attributes
    ----------
    collection : str
        Name of the collection.
    vector : str
        Name of the vector in the recipe.
    adapters : list of AdapterRecall
        Every adapter that was measured, best first, and after them ``none`` for comparison.
    chosen : str
        Kind of the adapter that maps queries.
    recall : float
        Recall of the chosen adapter.
    k : int
        Number of best documents whose recall is measured.
    pairs : int
        Number of documents on which the measured adapters were fitted.
    held_out : int
        Number of other documents, among which was searched. The adapter that is installed is fitted on
        both, so that it is somewhat better.
    queries : int
        Number of searches, with the queries that were passed or with held out documents in their place.
    model : int
        Version of the new model in the collection.
    installed : bool
        Whether the collection is searched with the new model now.
    skipped : dict of str to str
        With ``adapter="best"``, adapters that the dimensions or the installed extras do not allow, and why.
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
        """Return the fields as JSON types."""
        return asdict(self)


def upgrade(
    collection: Collection | str,
    encoder: Encoder | str,
    *,
    engine: EngineTarget | None = None,
    adapter: str = "procrustes",
    pairs: int = 2000,
    queries: Sequence[str] | None = None,
    k: int = 10,
    min_recall: float = 0.9,
    dry_run: bool = False,
    seed: int = 0,
    progress: bool | None = None,
) -> UpgradeReport:
    """Begin to search a collection with a new embedding model, if its measured recall is high enough.

    Call it first when the embedding model changes, and then :func:`reembed`. For a collection of binary codes
    that two models can share, call :func:`recode` in place of both. To change the recipe and keep the
    vectors of the model, call :func:`migrate`.

    A sample of documents is embedded by the new model. An adapter is fitted on these texts, to map queries
    of the new model to where the old model would have put them. The recall of the new model's own search
    is measured on documents on which the adapter was not fitted. Only if it is high enough, recipe and
    state of the collection are replaced, in one write: queries and new documents are of the new model from
    then on, and :func:`reembed` embeds the rest.

    An open collection that is passed is searched with the new model at once. Collections that are open
    elsewhere take it over with their next search; :meth:`embplug.Collection.reload` gives them the new model
    where its name is not in the recipe. From asyncio, run the call in a thread:
    ``await asyncio.to_thread(upgrade, "docs", "minilm", engine=url)``.

    Parameters
    ----------
    collection : Collection or str
        The collection, open or by name. Its documents must have their texts in the payload.
    encoder : Encoder or str
        The new model, or its name as in a recipe.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.
    adapter : str, default="procrustes"
        Kind of a registered adapter; or ``"best"``, which measures all that the dimensions and the installed
        extras allow, and takes the best.
    pairs : int, default=2000
        Number of documents to fit and to measure on.
    queries : sequence of str, default=None
        Real queries to measure with. By default documents that are held out stand for queries.
    k : int, default=10
        Number of best documents whose recall is measured; at most half of the documents that are held out.
    min_recall : float, default=0.9
        Lowest recall of the adapter with which the upgrade begins: the share of the ``k`` best documents of
        the new model's own search that the search through the adapter returns. Below it nothing changes.
    dry_run : bool, default=False
        Whether to measure only.
    seed : int, default=0
        Seed of the split into documents to fit and to measure on.
    progress : bool, default=None
        Whether to show a progress bar. By default on a terminal.

    Returns
    -------
    UpgradeReport
        The recall of each adapter, and whether the upgrade was begun.

    Raises
    ------
    UpgradeError
        An upgrade is under way already; the collection has the vectors of this model already; another
        process has changed the collection since the call began; or the recall is below ``min_recall``, and
        ``error.report`` is the report.
    InvalidArgumentError
        An argument is wrong, and the error names it; or the collection has no texts, or not enough of
        them; or its recipe cannot be upgraded in place.
    CapabilityError
        The engine cannot store vectors of the new model's dimension beside the old ones.
    """
    with opened(collection, engine) as own, span("upgrade", own.name, logger):
        steps = _upgrade_steps(
            own,
            encoder,
            adapter=adapter,
            pairs=pairs,
            queries=queries,
            k=k,
            min_recall=min_recall,
            dry_run=dry_run,
            seed=seed,
            progress=progress,
        )
        return run(own.engine, steps)


def _upgrade_steps(
    collection: Collection,
    encoder: Encoder | str,
    *,
    adapter: str,
    pairs: int,
    queries: Sequence[str] | None,
    k: int,
    min_recall: float,
    dry_run: bool,
    seed: int,
    progress: bool | None,
) -> Steps[UpgradeReport]:
    adapters = registered("adapter")
    if adapter != "best" and adapter not in adapters:
        raise InvalidArgumentError("adapter", f"one of {['best', *adapters]}", repr(adapter))
    if not 0 <= min_recall <= 1:
        raise InvalidArgumentError("min_recall", "between 0 and 1", min_recall)
    pairs = checked_integer(pairs, "pairs", LEAST_PAIRS)
    k = checked_integer(k, "k", 1)
    texts = None if queries is None else _checked_queries(queries)
    yield from collection._handle.follow_steps()
    recipe = collection.recipe
    name = _vector_name(recipe)
    dense = recipe.dense[name]
    version = collection._pipeline.dense(name).version
    if version.previous is not None:
        raise UpgradeError(f"{collection.name!r} is being upgraded already: reembed it to the end first")
    model: Encoder = (
        (yield Call.compute(partial(load_encoder, encoder))) if isinstance(encoder, str) else encoder
    )
    if encoder == recipe.encoder and not _differs(collection._pipeline.models.revisions.get(""), model):
        raise UpgradeError(f"{collection.name!r} has the vectors of {encoder!r} already")
    disable = None if progress is None else not progress
    documents, old = yield from _sample(collection, name, pairs)
    most = int(len(old) * HELD_OUT) // 2
    if k > most:
        raise InvalidArgumentError("k", f"at most {most}, half of the documents that are held out", k)
    with tqdm(desc=f"embedding a sample of {collection.name}", unit=" texts", disable=disable) as bar:
        new = yield from _embedded(model, documents, dense, bar, as_queries=False)
        query_vectors = None
        if texts is not None:
            query_vectors = yield from _embedded(model, texts, dense, bar, as_queries=True)
    trial: AdapterTrial = yield Call.compute(partial(AdapterTrial, new, old, query_vectors, k, seed))
    kinds = [*adapters] if adapter == "best" else [adapter]
    fitted, skipped = yield Call.compute(partial(_fitted, kinds, *trial.pairs))
    rows = yield Call.compute(
        lambda: [*sorted(map(trial.measured, fitted), key=lambda row: -row.recall), *trial.without_adapter()]
    )
    best: AdapterRecall = rows[0]
    chosen = next(method for method in fitted if method.kind == best.adapter)
    report = UpgradeReport(
        collection=collection.name,
        vector=name,
        adapters=rows,
        chosen=chosen.kind,
        recall=best.recall,
        k=k,
        pairs=len(trial.pairs[0]),
        held_out=len(trial.old),
        queries=len(trial.queries),
        model=version.model + 1,
        installed=False,
        skipped=skipped,
    )
    for row in rows:
        logger.info("collection %r: recall@%d with %s is %.3f", collection.name, k, row.adapter, row.recall)
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
    logger.info("collection %r is searched with version %d of its model", collection.name, report.model)
    return replace(report, installed=True)


def _differs(known: str | None, model: Encoder) -> bool:
    """Whether a model is known to be of another revision than the vectors of the collection."""
    revision = revision_of(model)
    return None not in (known, revision) and known != revision


def _checked_queries(queries: Any) -> list[str]:
    if isinstance(queries, np.ndarray):
        queries = queries.tolist()
    if isinstance(queries, (str, bytes, Mapping)) or not isinstance(queries, Sequence):
        raise InvalidArgumentError("queries", "a sequence of texts", type(queries).__name__)
    if not queries:
        raise InvalidArgumentError("queries", "at least one", "none")
    for i, text in enumerate(queries):
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(f"queries[{i}]", "a text that is not empty", repr(text))
    return list(queries)


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


def _sample(collection: Collection, name: str, count: int) -> Steps[tuple[list[str], Float32]]:
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
    pairs = [
        (str(point.payload[key]), point.vector[stored])
        for point in answer.points
        if isinstance((point.payload or {}).get(key), str)
        and point.payload[key].strip()
        and isinstance(point.vector, dict)
        and stored in point.vector
    ]
    if len(pairs) < LEAST_PAIRS:
        expected = f"at least {LEAST_PAIRS} documents with a text in their payload"
        raise InvalidArgumentError(f"payload[{key!r}]", expected, len(pairs))
    texts = [text for text, _ in pairs]
    old = np.asarray([vector for _, vector in pairs], dtype=np.float32)
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
        dense_vectors = (yield Call.compute(partial(encode, some))).dense
        if dense_vectors is None:
            raise InvalidArgumentError("encoder", "one that makes dense vectors", encoder.spec)
        dim = np.shape(dense_vectors)[1]
        parts.append(check_dense(dense_vectors, dim, len(some), f"dense of encoder {encoder.spec!r}"))
        bar.update(len(some))
    vectors = np.concatenate(parts)
    return unit_rows(vectors) if dense.distance == models.Distance.COSINE else vectors


def _install(
    collection: Collection,
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
        stored_as = vector_name_of(name, model)
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
    collection.reload(encoder=encoder)


def _install_steps(engine: AnyEngine, collection: str, name: str, pipeline: Pipeline) -> Steps[None]:
    pipeline.capabilities = yield from capabilities_steps(engine)
    info = yield from existing_steps(collection)
    for vector, params in pipeline.vectors_config().items():
        there: Any = (info.config.params.vectors or {}).get(vector)  # type: ignore[union-attr]
        if there is not None and there.size != params.size:
            raise UpgradeError(
                f"{collection!r} has a vector {vector!r} of {there.size} dimensions, which an upgrade that "
                f"was broken off has left; the new model has {params.size}. Remove it by "
                f"client.delete_vector_name({collection!r}, {vector!r}), then upgrade again"
            )
        if there is None:
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
    if not (yield from save_manifest_steps(engine, collection, pipeline)):
        raise UpgradeError(
            f"another process has changed {collection!r} since this upgrade was begun: nothing was installed"
        )
