"""Trials of recipes on samples of growing size, on Edge in this process."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.pipeline import Pipeline
from embplug.branches.sizing import (
    Part,
    disk_bytes,
    expected_parts,
    measured_parts,
    memory_bytes,
    vector_bytes,
)
from embplug.collection.collection import Collection
from embplug.encoders import Encoded
from embplug.engines import EdgeClient
from embplug.errors import InvalidArgumentError, MissingExtraError
from embplug.evaluation.advisor.advice import AS_IT_IS, PRICE_OF_DISK, TriedRecipe
from embplug.evaluation.advisor.confidence import RecallBounds
from embplug.evaluation.advisor.fitting import learned_state
from embplug.evaluation.advisor.prediction import expected_recall, ranks_to_measure
from embplug.evaluation.advisor.sample import (
    DOCUMENTS,
    FIT_DOCUMENTS,
    MATRICES,
    MATRIX_QUERIES,
    QUERIES,
    CollectionSample,
)
from embplug.evaluation.advisor.selection import Hopeless, better_third
from embplug.evaluation.exact import Ranking, overlap
from embplug.evaluation.recipes import dense_recipes, token_recipes
from embplug.evaluation.statistics import bootstrap, percentiles_ms
from embplug.evaluation.trial import SearchRun, TrialData, exact_rankings, fill, search_all
from embplug.methods.numeric.arrays import State
from embplug.methods.roles import TokenCodes
from embplug.methods.token_codes.token_coder import SHORTLIST_TOKENS
from embplug.recipe import Recipe

FEWEST = 300
"""Number of documents in the smallest sample on which recipes are tried."""

COSTLY = {"OPQ ": "", "ITQ ": "rotation "}
"""Beginnings of names: recipes that take long to learn, and their counterparts that take no time."""

_TRIAL = "trial"


class Trials:
    """Trials of recipes on samples of growing size, all under the same conditions.

    Methods are fitted once. Each sample holds the same share of the documents to which methods are fitted
    as the whole collection will, because codes approximate these documents better than the others.

    Parameters
    ----------
    source : CollectionSample
        Sample of the collection.
    queries : Encoded or None
        Vectors of queries. ``None`` holds documents out of the sample and uses them as queries.
    k : int
        Number of best documents to which the recall refers.
    sample : int or None
        Number of documents in the largest sample. ``None`` stands for the default.
    progress : bool or None
        Whether to show progress bars. ``None`` shows them on a terminal only.

    Attributes
    ----------
    sizes : list of int
        Numbers of documents of the samples.
    untried : dict of str to str
        Recipes that need a package that is not installed, with what to install.

    Raises
    ------
    InvalidArgumentError
        The collection has too few points to sample.
    """

    def __init__(
        self,
        source: CollectionSample,
        queries: Encoded | None,
        k: int,
        sample: int | None,
        progress: bool | None,
    ) -> None:
        self._source, self._k, self._progress = source, k, progress
        documents = source.documents
        self._tokens = documents.tokens is not None
        count = len(source.payloads)
        held = 0 if queries is not None else min(MATRIX_QUERIES if self._tokens else QUERIES, count // 4)
        self._queries = documents.take(range(held)) if queries is None else queries
        pool = np.arange(held, count)
        size = min(sample or (MATRICES if self._tokens else DOCUMENTS), len(pool))
        if size < FEWEST // 2:
            raise InvalidArgumentError("collection", f"at least {FEWEST} points to sample", count)
        trained = min(FIT_DOCUMENTS, len(pool))
        training, rest = pool[:trained], pool[trained:]
        share = min(1.0, trained / max(source.points - held, 1))
        self.sizes = _sample_sizes(size)
        self._rows = []
        for documents_tried in self.sizes:
            learned = max(round(documents_tried * share), documents_tried - len(rest))
            self._rows.append(np.concatenate([training[:learned], rest[: documents_tried - learned]]))
        self._training = documents.take(training)
        self._states: dict[str, State] = {}
        self.untried: dict[str, str] = {}

    @property
    def query_count(self) -> int:
        """Number of queries."""
        return TrialData(self._queries, self._queries).query_count

    def recipes(self) -> dict[str, Recipe]:
        """Return all recipes that the engine of the collection can serve, by name."""
        source = self._source
        if source.documents.tokens is not None:
            return token_recipes(source.documents.tokens.dim, source.capabilities)
        assert source.documents.dense is not None
        recipes = dense_recipes(source.documents.dense.shape[1], source.distance, source.capabilities)
        if source.today is None:
            return recipes
        others = {name: recipe for name, recipe in recipes.items() if not _stores_alike(recipe, source.today)}
        return {AS_IT_IS: source.today, **others}

    def expected(self, recipe: Recipe) -> list[Part]:
        """Compute the parts of the whole collection by formula, before anything is tried.

        Parameters
        ----------
        recipe : Recipe
            Recipe of the collection.

        Returns
        -------
        list of Part
            Bytes of one document, part by part.
        """
        tokens = self._source.documents.tokens
        codes = None if recipe.tokens is None else recipe.tokens.decided().codes
        reductions = () if recipe.tokens is None else recipe.tokens.reductions
        pooled = math.prod(getattr(reduction, "factor", 1.0) for reduction in reductions)
        mean = 0.0 if tokens is None else float(np.ceil(tokens.lengths / pooled).mean())
        size = 0.0
        if recipe.tokens is not None and codes is not None:
            size = recipe.tokens.document_bytes + mean * codes.bytes_per_vector(recipe.tokens.dim)
            each = codes.centroid_bytes if isinstance(codes, TokenCodes) else 0
            if each and recipe.tokens.shortlist_bytes and mean >= SHORTLIST_TOKENS:
                size += recipe.tokens.shortlist_bytes + mean * each
        return expected_parts(recipe, self._source.points, tokens_per_document=mean, code_bytes=size)

    def _expected_cost(self, recipe: Recipe) -> float:
        parts = self.expected(recipe)
        return memory_bytes(parts) + PRICE_OF_DISK * disk_bytes(parts)

    def run(
        self, recipes: Mapping[str, Recipe], recall: float | None = None
    ) -> tuple[list[TriedRecipe], list[TriedRecipe], RecallBounds]:
        """Try recipes on samples of growing size; the better third goes on to the next size.

        Of recipes that differ in their size alone, the larger ones are tried first, and smaller ones only
        while there is hope.

        Parameters
        ----------
        recipes : mapping of str to Recipe
            Recipes to try, by name.
        recall : float, default=None
            Recall to reach. None is that of the best recipe.

        Returns
        -------
        tried : list of TriedRecipe
            Recipes that were tried on the largest sample.
        dropped : list of TriedRecipe
            Recipes that were tried on smaller samples only.
        bounds : RecallBounds
            Bounds of the recall of the recipes that were tried on the largest sample, in the same order.
        """
        latest: dict[str, TriedRecipe] = {}
        remaining = {
            name: recipe for name, recipe in recipes.items() if len(self._rows) == 1 or not _is_costly(name)
        }
        trials: list[TriedRecipe] = []
        shares: list[dict[int, NDArray[np.float64]]] = []
        disabled = None if self._progress is None else not self._progress
        for place, rows in enumerate(self._rows):
            data = self._data(rows)
            exact = exact_rankings(next(iter(remaining.values())), data, self._k)[0]
            trials, shares = [], []
            hopeless = Hopeless(recall)
            ordered = sorted(remaining, key=lambda name: -self._expected_cost(remaining[name]))
            for name in tqdm(ordered, desc=f"{len(rows)} documents", disable=disabled):
                if hopeless.includes(name):
                    continue
                try:
                    trial, returned = self._try(name, remaining[name], data, exact)
                except MissingExtraError as error:
                    self.untried[name] = str(error)
                    continue
                hopeless.see(trial)
                trials.append(trial)
                shares.append(returned)
                latest[name] = trial
            if place + 1 < len(self._rows):
                kept = better_third(trials) | {AS_IT_IS}
                tried = {trial.name for trial in trials}
                remaining = {name: recipe for name, recipe in remaining.items() if name in kept & tried}
                if place + 2 == len(self._rows):
                    remaining |= _costly_to_learn(recipes, kept)
        last = {trial.name for trial in trials}
        dropped = [trial for name, trial in latest.items() if name not in last]
        return trials, dropped, RecallBounds.of(shares, self._k, self.sizes[-1], self._source.points)

    def _try(
        self, name: str, recipe: Recipe, data: TrialData, exact: Ranking
    ) -> tuple[TriedRecipe, dict[int, NDArray[np.float64]]]:
        source, count = self._source, data.document_count
        update: dict[str, Any] = {}
        if source.payload_indexes:
            update["payload_indexes"] = source.payload_indexes
        if source.text_key not in (None, recipe.text_key):
            update["text_key"] = source.text_key
        if update:
            recipe = recipe.model_copy(update=update)
        state = learned_state(recipe, self._training, self._states)
        ranks = ranks_to_measure(self._k, count, source.points)
        searches, measured = try_indexed(recipe, state, data, self._k, ranks)
        shares = {rank: overlap(searches[rank].rankings, exact[:, :rank]) for rank in ranks}
        recalls = {rank: float(share.mean()) for rank, share in shares.items()}
        parts = [part.at(source.points) for part in measured]
        memory, disk = memory_bytes(parts), disk_bytes(parts)
        trial = TriedRecipe(
            name=name,
            recipe=recipe,
            documents=count,
            expected_recall=expected_recall(recalls, self._k, count, source.points),
            recall=bootstrap([shares[ranks[0]].tolist()])[0],
            latency_ms=percentiles_ms(searches[self._k].seconds),
            bytes=memory + PRICE_OF_DISK * disk,
            memory_bytes=memory,
            disk_bytes=disk,
            vector_bytes=vector_bytes(parts),
            state_bytes=sum(array.nbytes for array in state.values()),
            parts=parts,
        )
        return trial, shares

    def _data(self, rows: NDArray[np.int64]) -> TrialData:
        return TrialData(
            self._source.documents.take(rows),
            self._queries,
            payloads=[self._source.payloads[i] for i in rows.tolist()],
        )


def try_indexed(
    recipe: Recipe, state: State, data: TrialData, k: int = 10, ranks: Sequence[int] = ()
) -> tuple[dict[int, SearchRun], list[Part]]:
    """Store and search documents on Edge, with graphs and codes however few the documents are.

    Parameters
    ----------
    recipe : Recipe
        Recipe to try.
    state : State
        Fitted state of the methods of the recipe, as :func:`learned_state` returns it.
    data : TrialData
        Documents and queries.
    k : int, default=10
        Number of hits of a search.
    ranks : sequence of int, default=()
        Further numbers of hits of a search. A search for fewer than ``k`` hits reranks
        proportionally fewer candidates.

    Returns
    -------
    searches : dict of int to SearchRun
        The searches by their number of hits.
    parts : list of Part
        Measured bytes of one document, part by part.
    """
    pipeline = Pipeline(_with_graph(recipe))
    if not pipeline.fitted:
        pipeline.set_state(state)
    with tempfile.TemporaryDirectory(prefix="embplug-") as folder, EdgeClient(folder) as engine:
        engine.create_collection(
            _TRIAL,
            vectors_config=pipeline.vectors_config(),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
        )
        for key, schema in recipe.payload_indexes.items():
            engine.create_payload_index(_TRIAL, field_name=key, field_schema=schema)
        collection = Collection(_TRIAL, engine, pipeline)
        fill(collection, data)
        searches = {
            rank: search_all(
                collection,
                data,
                rank,
                candidates=None if rank == k else math.ceil(recipe.rerank.candidates * rank / k),
            )
            for rank in {k, *ranks}
        }
        return searches, measured_parts(engine, _TRIAL, recipe, data.document_count)


def _sample_sizes(largest: int) -> list[int]:
    """Choose the sizes of up to three samples, each about three times as large as the one before."""
    sizes = [largest]
    while len(sizes) < 3 and sizes[0] // 3 >= FEWEST:
        sizes.insert(0, sizes[0] // 3)
    return sizes


def _stores_alike(recipe: Recipe, today: Recipe) -> bool:
    """Whether a recipe stores and searches as the collection does today."""
    return not recipe.unfitted().differences(today.unfitted())


def _is_costly(name: str) -> bool:
    """Whether a recipe takes as long to learn as many others together."""
    return name.startswith((*COSTLY,))


def _costly_to_learn(recipes: Mapping[str, Recipe], kept: set[str]) -> dict[str, Recipe]:
    """Recipes that take long to learn, whose counterpart that takes no time has been kept."""
    counterparts = {
        name: beginning + name.removeprefix(costly)
        for costly, beginning in COSTLY.items()
        for name in recipes
        if name.startswith(costly)
    }
    return {name: recipes[name] for name, counterpart in counterparts.items() if counterpart in kept}


def _with_graph(recipe: Recipe) -> Recipe:
    """Have searches use the graph however small the sample is, if the recipe has a graph."""
    update: dict[str, Any] = {}
    if recipe.dense:
        update["dense"] = {
            name: dense.model_copy(update={"hnsw": _always_used(dense.hnsw)})
            for name, dense in recipe.dense.items()
        }
    if recipe.tokens is not None:
        storage = recipe.tokens.encoding_storage
        kept = storage.model_copy(update={"hnsw": _always_used(storage.hnsw)})
        update["tokens"] = recipe.tokens.model_copy(update={"encoding_storage": kept})
    return recipe.model_copy(update=update)


def _always_used(hnsw: models.HnswConfigDiff | None) -> models.HnswConfigDiff:
    return (hnsw or models.HnswConfigDiff()).model_copy(update={"full_scan_threshold": 10})
