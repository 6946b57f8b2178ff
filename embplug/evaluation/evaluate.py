"""Evaluate recipes on a judged collection: quality, latency and bytes, with confidence intervals."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.encoders import Encoder, load_encoder
from embplug.engines import Engine, EngineTarget, connect
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.errors import InvalidArgumentError, MissingExtraError
from embplug.evaluation.beir import Beir, encode_texts, read_beir
from embplug.evaluation.exact import Ranking, overlap
from embplug.evaluation.explained import explained_hit
from embplug.evaluation.results import Evaluation, FilteredFigures, RecipeFigures
from embplug.evaluation.statistics import bootstrap, compare, percentiles_ms
from embplug.evaluation.trial import SearchRun, Trial, TrialData, exact_rankings, matching, try_recipe
from embplug.recipe import Recipe

SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
CUT = 10
SHOWN_HITS = 3
EXPLAINED_QUERIES = 3
SHOWN_CHARACTERS = 320


def evaluate(
    data: str | os.PathLike[str] | Beir,
    recipes: Mapping[str, Recipe],
    *,
    engine: EngineTarget | None = None,
    encoder: Encoder | str | None = None,
    cache: str | os.PathLike[str] | None = None,
    limit: int = CUT,
    selectivities: Sequence[float] = (),
    queries: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Evaluation:
    """Evaluate recipes on a judged collection.

    The first argument is judged data and not a collection, unlike in :func:`embplug.advise`. Each recipe
    gets a collection of its own, which is deleted at the end. The vectors of all documents are held in
    memory. From asyncio, run the call in a thread with ``asyncio.to_thread``.

    Parameters
    ----------
    data : str, path or Beir
        Folder in BEIR format, or what :func:`embplug.evaluation.beir.read_beir` returns for it.
    recipes : mapping of str to Recipe
        Recipes by the names under which they are reported. The report compares the others with the
        first one.
    engine : str, path or client, default=None
        Engine on which the collections are created: a client, or what :func:`embplug.connect` takes. None
        is Edge in a temporary directory.
    encoder : Encoder or str, default=None
        Encoder for recipes that do not name one.
    cache : str or path, default=None
        Folder in which encoded texts are kept from one call to the next.
    limit : int, default=10
        Number of hits of a search, at least 10.
    selectivities : sequence of float, default=()
        Shares of the documents, 0 to 1. Searches are repeated under filters that match these shares.
    queries : int, default=None
        Number of queries, spread evenly over all. Default: all queries.
    seed : int, default=0
        Seed of the filters and of the resampling.
    progress : bool, default=None
        Whether to show progress bars. ``None`` shows them on a terminal only.

    Returns
    -------
    Evaluation
        Figures of each recipe and comparisons of each pair.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong; the error names it.
    MissingExtraError
        The library that computes the measures is not installed.

    References
    ----------
    .. [1] Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval
           Models", 2021, arXiv:2104.08663.
    .. [2] ir-measures, https://ir-measur.es, which computes nDCG, recall and reciprocal rank.
    """
    if not isinstance(recipes, Mapping):
        expected = "a mapping of names to recipes, such as {'small': recipe}"
        raise InvalidArgumentError("recipes", expected, type(recipes).__name__)
    for name, recipe in recipes.items():
        if not isinstance(recipe, Recipe):
            raise InvalidArgumentError(f"recipes[{name!r}]", "a Recipe", type(recipe).__name__)
    if not isinstance(data, (str, os.PathLike, Beir)):
        expected = "a folder in BEIR format, or what read_beir returns for it"
        raise InvalidArgumentError("data", expected, type(data).__name__)
    measures = _measures(limit)
    if not recipes:
        raise InvalidArgumentError("recipes", "at least one", "none")
    for i, share in enumerate(selectivities):
        if not 0 < share <= 1:
            raise InvalidArgumentError(f"selectivities[{i}]", "a share above 0 and up to 1", share)
    beir = data if isinstance(data, Beir) else _read(data)
    judged, skipped = _with_texts(beir, queries)
    encoders = _encoders(recipes, encoder)
    weight_encoders = _weight_encoders(recipes, encoders)
    with ExitStack() as stack:
        client = stack.enter_context(_opened(engine))
        encoded: dict[tuple[str, str | None], TrialData] = {}
        exact: dict[tuple[Any, ...], list[Ranking]] = {}
        figures: list[RecipeFigures] = []
        for name, recipe in recipes.items():
            used, of_weights = encoders[name], weight_encoders.get(name)
            key = (used.spec, None if of_weights is None else of_weights.spec)
            if key not in encoded:
                encoded[key] = _trial_data(judged, used, of_weights, cache, progress)
            trial_data, kept = _stored(encoded[key], recipe)
            reference = (used.spec, recipe.tokens is None, *map(_distance, recipe.dense.values()))
            if reference not in exact:
                exact[reference] = exact_rankings(recipe, trial_data, CUT, selectivities, seed, progress)
            trial = try_recipe(
                client,
                recipe,
                trial_data,
                limit=limit,
                shares=selectivities,
                encoder=used,
                seed=seed,
                progress=progress,
                explained=_spread(len(judged.queries), EXPLAINED_QUERIES),
            )
            ids = [judged.document_ids[i] for i in kept]
            figures.append(_figures(name, recipe, trial, exact[reference], judged, ids, measures, seed))
        engine_name = str(run(client, capabilities_steps(client)))
    return Evaluation(
        data=beir.name,
        documents=len(judged.documents),
        queries=len(judged.queries),
        skipped=skipped,
        engine=engine_name,
        recipes=figures,
        comparisons=compare({recipe.name: recipe.per_query for recipe in figures}, seed),
        query_ids=judged.query_ids,
        relevant=[_relevant(judged, query) for query in judged.query_ids],
        texts=_texts(judged, figures),
    )


def _read(folder: str | os.PathLike[str]) -> Beir:
    """Read judged data, and name the argument of :func:`evaluate` where that fails."""
    try:
        return read_beir(folder)
    except InvalidArgumentError as error:
        argument = "data" if error.argument == "path" else error.argument
        raise InvalidArgumentError(argument, error.expected, error.got) from None


def _figures(
    name: str,
    recipe: Recipe,
    trial: Trial,
    exact: Sequence[Ranking],
    judged: Beir,
    ids: Sequence[str],
    measures: Mapping[str, Any],
    seed: int,
) -> RecipeFigures:
    plain = trial.searches[0]
    hits = [[ids[row] for row in rows] for rows in plain.rankings]
    per_query = _measured(judged, hits, measures)
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
        hits=[ranking[:CUT] for ranking in hits],
        explained=[
            explained_hit(row, ids[int(explanation.id)], explanation)
            for row, explanation in trial.explained.items()
        ],
    )


def _overlap(search: SearchRun, exact: Sequence[Ranking]) -> list[float]:
    """Compute the overlap of each query; it is 1 without exact rankings, because BM25 search is exact."""
    if not exact:
        return [1.0] * len(search.rankings)
    values: list[float] = overlap([rows[:CUT] for rows in search.rankings], exact[0]).tolist()
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


def measure_names(limit: int) -> list[str]:
    """Return the names of the measures of :func:`evaluate` with this ``limit``."""
    return [*_measures(limit), f"overlap@{CUT}"]


def _measured(
    judged: Beir, hits: Sequence[Sequence[str]], measures: Mapping[str, Any]
) -> dict[str, list[float]]:
    import ir_measures

    # Ranks are passed as scores, because equal scores would be put into another order.
    ranked = {
        query: {document: float(-rank) for rank, document in enumerate(ranking)}
        for query, ranking in zip(judged.query_ids, hits, strict=True)
    }
    qrels = {query: judged.qrels[query] for query in judged.query_ids}
    rows = {query: i for i, query in enumerate(judged.query_ids)}
    values = {name: [0.0] * len(rows) for name in measures}
    for result in ir_measures.iter_calc(list(measures.values()), qrels, ranked):
        values[str(result.measure)][rows[result.query_id]] = float(result.value)
    return values


def _with_texts(beir: Beir, count: int | None) -> tuple[Beir, dict[str, int]]:
    """Leave out texts without a word, and keep ``count`` queries."""
    documents = [i for i, text in enumerate(beir.documents) if text.strip()]
    queries = [i for i, text in enumerate(beir.queries) if text.strip()]
    skipped = {"documents": len(beir.documents) - len(documents), "queries": len(beir.queries) - len(queries)}
    if count is not None:
        if not isinstance(count, int) or count < 1:
            raise InvalidArgumentError("queries", "an integer of at least 1", repr(count))
        queries = [queries[i] for i in _spread(len(queries), count)]
    if not documents or not queries:
        raise InvalidArgumentError("data", "documents and judged queries with texts", f"none in {beir.name}")
    kept = Beir(
        beir.name,
        [beir.document_ids[i] for i in documents],
        [beir.documents[i] for i in documents],
        [beir.query_ids[i] for i in queries],
        [beir.queries[i] for i in queries],
        beir.qrels,
    )
    return kept, skipped


def _spread(total: int, count: int) -> list[int]:
    """Return ``count`` positions that are spread evenly over ``total``."""
    positions: list[int] = np.linspace(0, total - 1, min(count, total)).astype(int).tolist()
    return positions


def _encoders(recipes: Mapping[str, Recipe], fallback: Encoder | str | None) -> dict[str, Encoder]:
    """Load the encoder of each recipe; ``fallback`` serves the recipes that do not name one."""
    pruned = {r.encoder for r in recipes.values() if r.tokens is not None and r.tokens.reads_saliency}
    default = (
        load_encoder(fallback, with_saliency=bool(pruned & {None, fallback}))
        if isinstance(fallback, str)
        else fallback
    )
    loaded: dict[str, Encoder] = {} if default is None else {default.spec: default}
    encoders = {}
    for name, recipe in recipes.items():
        if len(recipe.dense) > 1:
            raise InvalidArgumentError(
                f"recipes[{name!r}].dense", "one vector, because an encoder makes one", [*recipe.dense]
            )
        spec = recipe.encoder
        if spec is None and recipe.sparse is not None and not recipe.dense and recipe.tokens is None:
            spec = recipe.sparse.encoder
        if spec is None and default is None:
            raise InvalidArgumentError(
                f"recipes[{name!r}].encoder", "an encoder, or the argument encoder", None
            )
        if spec is not None and spec not in loaded:
            loaded[spec] = load_encoder(spec, with_saliency=spec in pruned)
        encoders[name] = default if spec is None and default is not None else loaded[str(spec)]
    return encoders


def _weight_encoders(recipes: Mapping[str, Recipe], encoders: Mapping[str, Encoder]) -> dict[str, Encoder]:
    """Load the encoders of learned weights that are others than those of the recipes."""
    specs = {name: recipe.sparse.encoder for name, recipe in recipes.items() if recipe.sparse is not None}
    own = {name: spec for name, spec in specs.items() if spec is not None and spec != encoders[name].spec}
    loaded = {spec: load_encoder(spec) for spec in {*own.values()}}
    return {name: loaded[spec] for name, spec in own.items()}


def _trial_data(
    judged: Beir, encoder: Encoder, of_weights: Encoder | None, cache: Any, progress: bool | None
) -> TrialData:
    options: dict[str, Any] = {"name": judged.name, "cache": cache, "progress": progress}
    documents = encode_texts(encoder, "documents", judged.documents, **options)
    queries = encode_texts(encoder, "queries", judged.queries, **options)
    if of_weights is not None:
        weights = encode_texts(of_weights, "documents", judged.documents, **options)
        of_queries = encode_texts(of_weights, "queries", judged.queries, **options)
        documents = replace(documents, sparse=weights.sparse)
        queries = replace(queries, sparse=of_queries.sparse)
    return TrialData(documents, queries, judged.documents, judged.queries)


def _stored(data: TrialData, recipe: Recipe) -> tuple[TrialData, NDArray[np.int64]]:
    """Leave out documents without tokens if the recipe stores tokens, and return the rows that remain."""
    documents = data.documents
    if recipe.tokens is None or documents.tokens is None or documents.tokens.lengths.all():
        return data, np.arange(data.document_count)
    kept = np.flatnonzero(documents.tokens.lengths)
    texts = None if data.document_texts is None else [data.document_texts[i] for i in kept.tolist()]
    return replace(data, documents=documents.take(kept), document_texts=texts), kept


def _distance(dense: Any) -> str:
    return str(dense.distance.value)


def _relevant(judged: Beir, query: str) -> list[str]:
    return [document for document, score in judged.qrels[query].items() if score > 0]


def _texts(judged: Beir, figures: Sequence[RecipeFigures]) -> dict[str, dict[str, str]]:
    texts = dict(zip(judged.document_ids, judged.documents, strict=True))
    shown = {hit for recipe in figures for hits in recipe.hits for hit in hits[:SHOWN_HITS]}
    shown |= {relevant for query in judged.query_ids for relevant in _relevant(judged, query)[:SHOWN_HITS]}
    return {
        "queries": dict(zip(judged.query_ids, judged.queries, strict=True)),
        "documents": {
            document: _beginning(texts[document]) for document in sorted(shown) if document in texts
        },
    }


def _beginning(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_CHARACTERS else f"{flat[:SHOWN_CHARACTERS].rsplit(' ', 1)[0]} …"


@contextmanager
def _opened(engine: EngineTarget | None) -> Iterator[Engine]:
    """Yield a client as it is, or open an engine and close it at the end."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="embplug-"))
        client: Engine = connect(folder if engine is None else engine)
        if client is not engine:
            stack.callback(client.close)
        yield client
