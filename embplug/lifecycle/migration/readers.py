"""What a migration means for programs that search the source with Qdrant's own client."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.searching import search_steps
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration.reader import Reader
from embplug.methods.transforms.truncation import Truncation
from embplug.recipe import Dense, Recipe
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_VECTOR
from embplug.search.types import Query, SearchOptions

TIMED = 50
"""Number of searches whose time is measured on either side."""

TIMED_BYTES = 16 << 20


def keeping_names(recipe: Recipe, vectors: Mapping[str, str]) -> Recipe:
    """Name the vectors of a recipe as the source does, so that its readers go on working.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the target, whose vectors Qdrant compares as they are.
    vectors : dict of str to str
        Name of each vector in the recipe, and its name in the source.

    Returns
    -------
    Recipe
        The same recipe with the names of the source.

    Raises
    ------
    InvalidArgumentError
        The recipe changes what readers search with, the vector of the source has no name, or its sparse
        vector has another one than that of every recipe.
    """
    reason = why_readers_change(recipe)
    if reason is not None:
        raise InvalidArgumentError("keep_names", "a recipe that changes nothing for readers", reason)
    unnamed = next((own for own in recipe.dense if not vectors[own]), None)
    if unnamed is not None:
        expected = "a source whose vectors have names, because those of a recipe have"
        raise InvalidArgumentError("keep_names", expected, "a vector without a name")
    if not _keeps_sparse(vectors):
        expected = f"a source whose sparse vector is named {SPARSE_VECTOR!r}, as that of a recipe is"
        raise InvalidArgumentError("keep_names", expected, repr(vectors[SPARSE_VECTOR]))
    return recipe.replaced(dense={vectors[own]: dense for own, dense in recipe.dense.items()})


def _keeps_sparse(vectors: Mapping[str, str]) -> bool:
    """Whether the sparse vector that is copied, if any, keeps its name."""
    return vectors.get(SPARSE_VECTOR, SPARSE_VECTOR) == SPARSE_VECTOR


def why_readers_change(recipe: Recipe) -> str | None:
    """Say why programs without embplug cannot search what a recipe stores; None if they can.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the target.

    Returns
    -------
    str or None
        The first reason. Readers can search quantized vectors, other datatypes, and first dimensions, if they
        shorten their own vectors in the same way.
    """
    if recipe.tokens is not None:
        return "it encodes tokens"
    for name, dense in recipe.dense.items():
        if dense.codes is not None or dense.signs:
            return f"codes rank the hits of {name!r}"
        for transform in dense.transforms:
            if not isinstance(transform, Truncation):
                return f"it transforms the vectors of {name!r} by {transform.kind}"
    return "it has no dense vector" if not recipe.dense else None


def shorter(recipe: Recipe) -> dict[str, int]:
    """Return the dimension of each vector of which a recipe keeps the first dimensions alone."""
    return {name: dense.stored_dim for name, dense in recipe.dense.items() if _is_shorter(dense)}


def _is_shorter(dense: Dense) -> bool:
    return dense.stored_dim < dense.dim


def reader_notes(
    recipe: Recipe, vectors: Mapping[str, str], aliases: Sequence[str], alias: str | None
) -> list[str]:
    """Describe what readers of the source have to change, and when.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the target.
    vectors : dict of str to str
        Name of each vector in the recipe, and its name in the source.
    aliases : sequence of str
        Aliases of the source.
    alias : str or None
        Alias that is switched.

    Returns
    -------
    list of str
        Plain sentences.
    """
    notes = []
    whose = f"Readers of the alias {alias!r}" if alias is not None else "Readers of the target"
    reason = why_readers_change(recipe)
    named = all(own == source for own, source in vectors.items())
    if reason is not None:
        notes.append(f"{whose} need embplug from the switch on, because {reason}.")
    elif named:
        notes.append(f"{whose} go on working with Qdrant's own client: the vectors keep their names.")
    else:
        changed = ", ".join(f"{source!r} becomes {own!r}" for own, source in vectors.items() if own != source)
        can_keep = all(vectors.values()) and _keeps_sparse(vectors)
        offer = " keep_names (--keep-names) keeps the names." if can_keep else ""
        notes.append(f"{whose} need embplug, or the new names of vectors: {changed}.{offer}")
    if reason is None:
        notes += [
            f"They shorten their vectors for {name!r} to the first {dim} dimensions."
            for name, dim in shorter(recipe).items()
        ]
    if aliases:
        others = [name for name in aliases if name != alias]
        listed = ", ".join(map(repr, aliases))
        stay = f" {', '.join(map(repr, others))} stays at the source." if others and alias is not None else ""
        notes.append(f"The source is read by its own name, and by {listed}.{stay}")
    return notes


def search_times(
    reading: Engine,
    source: str,
    vectors: Mapping[str, str],
    target: str,
    engine: Engine,
    pipeline: Pipeline,
) -> dict[str, float]:
    """Measure the median milliseconds of a search of the source and of the target, one at a time.

    Parameters
    ----------
    reading, engine : Engine
        Clients for the source and for the target.
    source, target : str
        Names of the collections.
    vectors : dict of str to str
        Name of each vector in the recipe, and its name in the source.
    pipeline : Pipeline
        Pipeline of the target.

    Returns
    -------
    dict of str to float
        Times of ``source`` and ``target`` by the first dense vector; none if there is none.
    """
    own = next((name for name in vectors if name not in (TOKENS_VECTOR, SPARSE_VECTOR)), None)
    if own is None:
        return {}
    stored = vectors[own]
    points = Reader(reading, source, [stored], payload=False).sample(TIMED, TIMED_BYTES)
    rows = [point.vectors[stored] for point in points if stored in point.vectors]
    if not rows:
        return {}
    options = SearchOptions(limit=10, with_payload=False, cross_encode=False)

    def ask_source(vector: Any) -> None:
        request = models.QueryRequest(
            query=models.NearestQuery(nearest=vector.tolist()), using=stored or None, limit=10
        )
        run(engine, retried(Call.of("query_batch_points", collection_name=source, requests=[request])))

    def ask_target(vector: Any) -> None:
        run(engine, search_steps(engine, target, pipeline, [Query(dense={own: vector})], options))

    times = {}
    for side, ask in (("source", ask_source), ("target", ask_target)):
        ask(rows[0])
        taken = []
        for row in rows:
            started = time.perf_counter()
            ask(row)
            taken.append(time.perf_counter() - started)
        times[side] = 1000 * statistics.median(taken)
    return times
