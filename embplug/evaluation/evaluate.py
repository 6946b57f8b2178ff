"""What recipes are worth on a collection with judgements: quality, latency, bytes, and how sure that is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.engines import Engine, connect
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.errors import InvalidArgumentError, MissingExtraError
from embplug.evaluation.beir import Beir, encode_texts, read_beir
from embplug.evaluation.exact import Ranking, overlap
from embplug.evaluation.trial import Material, Search, Trial, exact_rankings, matching, try_recipe
from embplug.recipe import Recipe

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
CUT = 10
RESAMPLES = 2000
PERMUTATIONS = 9999
CONFIDENCE = 0.95
SHOWN_HITS = 3
SHOWN_CHARACTERS = 320

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A mean over the queries, and the 95 % confidence interval of a bootstrap over them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class FilteredFigures:
    """Searches under a filter that matches a share of the documents, drawn at random.

    Attributes
    ----------
    share, documents
        That match.
    overlap
        Share of the best ten of exact filtered search that are found.
    latency_ms
        ``p50``, ``p95`` and ``p99`` of one search.
    """

    share: float
    documents: int
    overlap: Figure
    latency_ms: dict[str, float]


@dataclass(frozen=True)
class RecipeFigures:
    """What was measured of one recipe.

    Attributes
    ----------
    figures
        By measure: ``nDCG@10``, ``R@10``, ``RR@10`` against the judgements, ``overlap@10`` with exact
        search on uncompressed vectors; ``R@k`` where more hits were asked for.
    per_query
        The same measures, one value for each query.
    latency_ms
        ``p50``, ``p95`` and ``p99`` of one search, from the query's vectors to the hits.
    bytes_per_document
        Of the collection's segments on disk, texts left out; ``None`` on servers, which do not tell.
    state_bytes
        Of what was learned, stored once.
    fill_s
        Seconds of learning, encoding to what is stored, writing and indexing.
    filtered
        The same under filters.
    hits
        Ids of each query's first ten documents.
    """

    name: str
    recipe: dict[str, Any]
    figures: dict[str, Figure]
    per_query: dict[str, list[float]]
    latency_ms: dict[str, float]
    bytes_per_document: float | None
    state_bytes: int
    fill_s: float
    filtered: list[FilteredFigures]
    hits: list[list[str]]


@dataclass(frozen=True)
class Comparison:
    """Two recipes on the same queries.

    Attributes
    ----------
    difference
        Of the second to the first, with the confidence interval of a paired bootstrap.
    p
        Of a paired permutation test that both are alike, two-sided.
    p_holm
        The same, corrected (Holm) for the number of pairs that were compared.
    """

    measure: str
    first: str
    second: str
    difference: Figure
    p: float
    p_holm: float


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`evaluate`; :meth:`to_dict` is what ``embplug report`` reads.

    Attributes
    ----------
    data
        Name of the collection.
    documents, queries
        How many were stored and asked.
    skipped
        Documents and queries without a word, which cannot be encoded.
    engine
        What stored and searched.
    recipes
        What was measured of each.
    comparisons
        Of each pair of recipes, by each measure.
    texts
        Text of each query, and the beginnings of documents that were found or judged relevant.
    """

    data: str
    documents: int
    queries: int
    skipped: dict[str, int]
    engine: str
    recipes: list[RecipeFigures]
    comparisons: list[Comparison]
    query_ids: list[str]
    relevant: list[list[str]]
    texts: dict[str, dict[str, str]] = field(repr=False)
    embplug: str = version("embplug")

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {"kind": "embplug-evaluation", **asdict(self)}


def evaluate(
    data: str | os.PathLike[str] | Beir,
    recipes: Mapping[str, Recipe],
    engine: Engine | str | os.PathLike[str] | None = None,
    *,
    encoder: Encoder | str | None = None,
    cache: str | os.PathLike[str] | None = None,
    limit: int = CUT,
    selectivities: Sequence[float] = (),
    queries: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Evaluation:
    """Measure recipes on a collection with judgements.

    Each recipe gets a collection of its own, which is dropped in the end. The vectors of all
    documents are held in memory.

    Parameters
    ----------
    data
        Folder in BEIR format, or what :func:`embplug.evaluation.beir.read_beir` made of one.
    recipes
        By the names under which they are reported; the first is what the others are compared with.
    engine
        A client, or what :func:`embplug.connect` takes. Default: Edge, in a temporary directory.
    encoder
        Encodes for recipes that name none.
    cache
        Folder in which encoded texts are kept from one call to the next.
    limit
        Number of hits of a search, at least 10.
    selectivities
        Search also under filters that match these shares of the documents.
    queries
        Ask only so many, evenly spread over all.
    seed
        Of the filters and of the resampling.
    progress
        Show progress bars. Default: on a terminal.

    Raises
    ------
    InvalidArgumentError
        Naming the argument.
    MissingExtraError
        The library that computes the measures is not installed.
    """
    measures = _measures(limit)
    if not recipes:
        raise InvalidArgumentError("recipes", "at least one", "none")
    for i, share in enumerate(selectivities):
        if not 0 < share <= 1:
            raise InvalidArgumentError(f"selectivities[{i}]", "a share above 0 and up to 1", share)
    beir = data if isinstance(data, Beir) else read_beir(data)
    asked, skipped = _with_words(beir, queries)
    encoders = _encoders(recipes, encoder)
    with ExitStack() as stack:
        client = stack.enter_context(_opened(engine))
        encoded: dict[str, Material] = {}
        exact: dict[tuple[Any, ...], list[Ranking]] = {}
        made: list[RecipeFigures] = []
        for name, recipe in recipes.items():
            used = encoders[name]
            if used.spec not in encoded:
                encoded[used.spec] = _material(asked, used, cache, progress)
            material, kept = _stored(encoded[used.spec], recipe)
            reference = (used.spec, recipe.tokens is None, *map(_distance, recipe.dense.values()))
            if reference not in exact:
                exact[reference] = exact_rankings(recipe, material, CUT, selectivities, seed, progress)
            trial = try_recipe(
                client,
                recipe,
                material,
                limit=limit,
                shares=selectivities,
                encoder=used,
                seed=seed,
                progress=progress,
            )
            ids = [asked.document_ids[i] for i in kept]
            made.append(_figures(name, recipe, trial, exact[reference], asked, ids, measures, seed))
        engine_name = str(run(client, capabilities_steps(client)))
    return Evaluation(
        data=beir.name,
        documents=len(asked.documents),
        queries=len(asked.queries),
        skipped=skipped,
        engine=engine_name,
        recipes=made,
        comparisons=compare({one.name: one.per_query for one in made}, seed),
        query_ids=asked.query_ids,
        relevant=[_relevant(asked, query) for query in asked.query_ids],
        texts=_texts(asked, made),
    )


def compare(values: Mapping[str, Mapping[str, Sequence[float]]], seed: int = 0) -> list[Comparison]:
    """Compare each pair of recipes by each measure, on the same queries.

    Parameters
    ----------
    values
        Recipe -> measure -> one value for each query.
    """
    pairs = list(combinations(values, 2))
    comparisons = []
    for measure in next(iter(values.values()), {}) if pairs else ():
        changes = np.array([np.subtract(values[b][measure], values[a][measure]) for a, b in pairs])
        chances = permutation_test(changes, seed)
        tests = zip(pairs, bootstrap(changes, seed), chances, _holm(chances), strict=True)
        comparisons += [Comparison(measure, a, b, figure, p, holm) for (a, b), figure, p, holm in tests]
    return comparisons


def permutation_test(changes: Values, seed: int = 0) -> list[float]:
    """How probable a mean at least as far from 0 is, if each value might as well have the other sign.

    Parameters
    ----------
    changes : float64 (tests, queries)
    """
    rng = np.random.default_rng(seed)
    observed = np.abs(changes.sum(axis=1)) - 1e-9
    beyond = np.zeros(len(changes))
    for start in range(0, PERMUTATIONS, 1000):
        signs = rng.choice([-1.0, 1.0], size=(min(1000, PERMUTATIONS - start), changes.shape[1]))
        beyond += (np.abs(signs @ changes.T) >= observed).sum(axis=0)
    return [float(one) for one in (beyond + 1) / (PERMUTATIONS + 1)]


def bootstrap(values: Sequence[Sequence[float]] | Values, seed: int = 0) -> list[Figure]:
    """Mean of each row of values, one per query, with the percentile interval of resampled queries."""
    rows = np.asarray(values, dtype=np.float64)
    count = rows.shape[1]
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(rows @ drawn.T / count, [outside, 1 - outside], axis=1)
    return [Figure(*map(float, one)) for one in zip(rows.mean(axis=1), low, high, strict=True)]


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile in milliseconds."""
    return {f"p{p}": 1e3 * float(np.percentile(seconds, p)) for p in (50, 95, 99)}


def _figures(
    name: str,
    recipe: Recipe,
    trial: Trial,
    exact: Sequence[Ranking],
    asked: Beir,
    ids: Sequence[str],
    measures: Mapping[str, Any],
    seed: int,
) -> RecipeFigures:
    plain = trial.searches[0]
    hits = [[ids[row] for row in rows] for rows in plain.found]
    per_query = _judged(asked, hits, measures)
    per_query[f"overlap@{CUT}"] = _overlap(plain, exact[:1])
    filtered = []
    for place, search in enumerate(trial.searches[1:], start=1):
        share = search.share or 0.0
        figure = bootstrap([_overlap(search, exact[place : place + 1])], seed)[0]
        filtered.append(
            FilteredFigures(share, matching(share, len(ids)), figure, percentiles_ms(search.seconds))
        )
    return RecipeFigures(
        name=name,
        recipe=recipe.to_dict(),
        figures=dict(zip(per_query, bootstrap(list(per_query.values()), seed), strict=True)),
        per_query=per_query,
        latency_ms=percentiles_ms(plain.seconds),
        bytes_per_document=None if trial.disk_bytes is None else trial.disk_bytes / len(ids),
        state_bytes=trial.state_bytes,
        fill_s=trial.fill_s,
        filtered=filtered,
        hits=[one[:CUT] for one in hits],
    )


def _overlap(search: Search, exact: Sequence[Ranking]) -> list[float]:
    """Of each query; 1 where there is nothing exact to be held to, because words are searched exactly."""
    if not exact:
        return [1.0] * len(search.found)
    values: list[float] = overlap([rows[:CUT] for rows in search.found], exact[0]).tolist()
    return values


def _measures(limit: int) -> dict[str, Any]:
    if not isinstance(limit, int) or limit < CUT:
        raise InvalidArgumentError("limit", f"an integer of at least {CUT}", repr(limit))
    try:
        from ir_measures import RR, R, nDCG
    except ImportError as error:
        raise MissingExtraError("evaluate", "eval") from error
    measures = [nDCG @ CUT, R @ CUT, RR @ CUT, *([R @ limit] if limit > CUT else [])]
    return {str(measure): measure for measure in measures}


def _judged(
    asked: Beir, hits: Sequence[Sequence[str]], measures: Mapping[str, Any]
) -> dict[str, list[float]]:
    import ir_measures

    # By rank, because equal scores would be put into another order.
    ranked = {
        query: {document: float(-rank) for rank, document in enumerate(found)}
        for query, found in zip(asked.query_ids, hits, strict=True)
    }
    qrels = {query: asked.qrels[query] for query in asked.query_ids}
    rows = {query: i for i, query in enumerate(asked.query_ids)}
    values = {name: [0.0] * len(rows) for name in measures}
    for judged in ir_measures.iter_calc(list(measures.values()), qrels, ranked):
        values[str(judged.measure)][rows[judged.query_id]] = float(judged.value)
    return values


def _holm(p: Sequence[float]) -> list[float]:
    corrected = np.empty(len(p))
    highest = 0.0
    for place, i in enumerate(np.argsort(p)):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = highest
    return [float(one) for one in corrected]


def _with_words(beir: Beir, count: int | None) -> tuple[Beir, dict[str, int]]:
    """Leave out texts that have no word; keep ``count`` queries."""
    documents = [i for i, text in enumerate(beir.documents) if text.strip()]
    asked = [i for i, text in enumerate(beir.queries) if text.strip()]
    skipped = {"documents": len(beir.documents) - len(documents), "queries": len(beir.queries) - len(asked)}
    if count is not None:
        if not isinstance(count, int) or count < 1:
            raise InvalidArgumentError("queries", "an integer of at least 1", repr(count))
        chosen = np.linspace(0, len(asked) - 1, min(count, len(asked))).astype(int)
        asked = [asked[i] for i in chosen]
    if not documents or not asked:
        raise InvalidArgumentError("data", "documents and judged queries with words", f"none in {beir.name}")
    kept = Beir(
        beir.name,
        [beir.document_ids[i] for i in documents],
        [beir.documents[i] for i in documents],
        [beir.query_ids[i] for i in asked],
        [beir.queries[i] for i in asked],
        beir.qrels,
    )
    return kept, skipped


def _encoders(recipes: Mapping[str, Recipe], given: Encoder | str | None) -> dict[str, Encoder]:
    pruned = {one.encoder for one in recipes.values() if one.tokens is not None and one.tokens.reads_saliency}
    default = (
        load_encoder(given, with_saliency=bool(pruned & {None, given})) if isinstance(given, str) else given
    )
    loaded: dict[str, Encoder] = {} if default is None else {default.spec: default}
    encoders = {}
    for name, recipe in recipes.items():
        if len(recipe.dense) > 1:
            raise InvalidArgumentError(
                f"recipes[{name!r}].dense", "one vector, which is what encoders make", [*recipe.dense]
            )
        if recipe.encoder is None and default is None:
            raise InvalidArgumentError(f"recipes[{name!r}].encoder", "one, or encoder to be given", None)
        spec = recipe.encoder
        if spec is not None and spec not in loaded:
            loaded[spec] = load_encoder(spec, with_saliency=spec in pruned)
        encoders[name] = default if spec is None and default is not None else loaded[str(spec)]
    return encoders


def _material(asked: Beir, encoder: Encoder, cache: Any, progress: bool | None) -> Material:
    options: dict[str, Any] = {"name": asked.name, "cache": cache, "progress": progress}
    return Material(
        encode_texts(encoder, "documents", asked.documents, **options),
        encode_texts(encoder, "queries", asked.queries, **options),
        asked.documents,
        asked.queries,
    )


def _stored(material: Material, recipe: Recipe) -> tuple[Material, NDArray[np.int64]]:
    """What a recipe can store: documents that have tokens, where it stores tokens."""
    documents = material.documents
    if recipe.tokens is None or documents.tokens is None or documents.tokens.lengths.all():
        return material, np.arange(material.document_count)
    kept = np.flatnonzero(documents.tokens.lengths)
    dense = None if documents.dense is None else documents.dense[kept]
    texts = None if material.document_texts is None else [material.document_texts[i] for i in kept.tolist()]
    encoded = Encoded(documents.tokens.take(kept), dense, documents.saliency)
    return replace(material, documents=encoded, document_texts=texts), kept


def _distance(dense: Any) -> str:
    return str(dense.distance.value)


def _relevant(asked: Beir, query: str) -> list[str]:
    return [document for document, score in asked.qrels[query].items() if score > 0]


def _texts(asked: Beir, made: Sequence[RecipeFigures]) -> dict[str, dict[str, str]]:
    texts = dict(zip(asked.document_ids, asked.documents, strict=True))
    shown = {hit for one in made for hits in one.hits for hit in hits[:SHOWN_HITS]}
    shown |= {one for query in asked.query_ids for one in _relevant(asked, query)[:SHOWN_HITS]}
    return {
        "queries": dict(zip(asked.query_ids, asked.queries, strict=True)),
        "documents": {one: _beginning(texts[one]) for one in sorted(shown) if one in texts},
    }


def _beginning(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARACTERS else f"{flat[:SHOWN_CHARACTERS].rsplit(' ', 1)[0]} …"


@contextmanager
def _opened(engine: Engine | str | os.PathLike[str] | None) -> Iterator[Engine]:
    """A given client as it is; what is opened here is closed here."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="embplug-"))
        client: Engine = connect(folder if engine is None else engine)
        if client is not engine:
            stack.callback(client.close)
        yield client
