"""What a collection offers to a recipe: some of its vectors, payload indexes, points as documents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.datatypes import check_datatype, datatype_of_user
from embplug.branches.documents import CheckedDocuments, CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import has_own_fields, with_fields
from embplug.branches.sparse_vectors import SparseBatch, check_sparse
from embplug.common.ids import GRID, MIGRATED, ORIGINAL_ID, split_payload
from embplug.common.json_types import check_depth
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration.reader import Point
from embplug.methods.numeric.arrays import first_out_of_range, out_of_range
from embplug.methods.reductions.cells import checked_grids
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Recipe
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_VECTOR

INHERITED = ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")


def stored_vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    """Dense and multivectors of a collection by name; ``""`` has none."""
    configured = info.config.params.vectors or {}
    return dict(configured) if isinstance(configured, dict) else {"": configured}


def choose_vectors(
    name: str, info: models.CollectionInfo, recipe: Recipe, names: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Name in the recipe -> name in the source, for each vector that the recipe stores.

    Raises
    ------
    InvalidArgumentError
        ``vector``: none fits or several do, and they are named.
    """
    stored: dict[str, Any] = {**stored_vectors(info), **stored_sparse(info)}
    own_vectors: dict[str, str] = dict.fromkeys(recipe.dense, "dense vectors")
    if recipe.tokens is not None:
        own_vectors[TOKENS_VECTOR] = "multivectors"
    if copies_sparse(recipe):
        own_vectors[SPARSE_VECTOR] = "sparse vectors"
    if isinstance(names, str):
        if len(own_vectors) > 1:
            raise InvalidArgumentError("vector", f"a name for each of {[*own_vectors]}", repr(names))
        names = {next(iter(own_vectors)): names}
    unknown = next((own for own in names or {} if own not in own_vectors), None)
    if unknown is not None:
        raise InvalidArgumentError("vector", f"names of the recipe's vectors {[*own_vectors]}", repr(unknown))
    chosen = {}
    for own, kind in own_vectors.items():
        there = {key: it for key, it in stored.items() if _kind(it) == kind}
        source = (names or {}).get(own)
        if source is None:
            source = next(iter(there)) if len(there) == 1 else own
        if source not in there and own not in (names or {}):
            expected = f"the name of one of the {kind} {sorted(there)} of {name!r}, which has several"
            if not there:
                expected = f"a collection with {kind}, which {name!r} lacks"
            raise InvalidArgumentError("vector", expected, None)
        if source not in there:
            raise InvalidArgumentError(
                "vector", f"one of the {kind} {sorted(there)} of {name!r}", repr(source)
            )
        if own != SPARSE_VECTOR:
            _check_fits(name, source, there[source], recipe, own)
        chosen[own] = source
    return chosen


def stored_sparse(info: models.CollectionInfo) -> dict[str, models.SparseVectorParams]:
    """Sparse vectors of a collection by name."""
    return dict(info.config.params.sparse_vectors or {})


def copies_sparse(recipe: Recipe) -> bool:
    """Whether a recipe takes the weights of sparse vectors as they are."""
    return recipe.sparse is not None and recipe.sparse.is_learned


def _kind(params: models.VectorParams | models.SparseVectorParams) -> str:
    if isinstance(params, models.SparseVectorParams):
        return "sparse vectors"
    return "dense vectors" if params.multivector_config is None else "multivectors"


def _check_fits(name: str, source: str, stored: models.VectorParams, recipe: Recipe, own: str) -> None:
    dense = recipe.dense.get(own)
    dim = dense.dim if dense is not None else recipe.tokens.dim if recipe.tokens is not None else 0
    field = own if dense is None else f"dense.{own}"
    if stored.size != dim:
        where = f"vector {source!r} of {name!r}" if source else f"the vector of {name!r}"
        raise InvalidArgumentError(f"{field}.dim", f"{stored.size}, as in {where}", dim)
    # What Qdrant keeps for the cosine has unit length, so that dot products are cosines.
    same = {models.Distance.DOT} if dense is None else {dense.distance}
    same |= {models.Distance.COSINE} if models.Distance.DOT in same else set()
    if stored.distance not in same:
        expected = f"{stored.distance.value}, by which {name!r} compares"
        raise InvalidArgumentError(f"{field}.distance", expected, (dense.distance if dense else "Dot"))


def indexes(info: models.CollectionInfo) -> dict[str, Any]:
    """Payload field -> schema, as a recipe says it."""
    return {field: index.params or index.data_type for field, index in info.payload_schema.items()}


def completed(
    recipe: Recipe, info: models.CollectionInfo, sharded: bool, vectors: Mapping[str, str] | None = None
) -> Recipe:
    """The recipe with what it leaves open taken from the source: payload indexes, shards, replicas, IDF."""
    fields = INHERITED if sharded else INHERITED[-1:]
    params = info.config.params
    inherited = {field: getattr(params, field) for field in fields if getattr(recipe, field) is None}
    source = (vectors or {}).get(SPARSE_VECTOR)
    if source is not None and recipe.sparse is not None and recipe.sparse.modifier is None:
        modifier = stored_sparse(info)[source].modifier
        inherited["sparse"] = recipe.sparse.model_copy(update={"modifier": modifier})
    return recipe.replaced(**inherited, payload_indexes={**indexes(info), **recipe.payload_indexes})


def completed_from(recipe: Recipe, stored: Recipe) -> Recipe:
    """The recipe with what it leaves open taken from that of a target, which had it from the source."""
    inherited = {field: getattr(stored, field) for field in INHERITED if getattr(recipe, field) is None}
    if copies_sparse(recipe) and stored.sparse is not None and recipe.sparse is not None:
        modifier = recipe.sparse.modifier or stored.sparse.modifier
        inherited["sparse"] = recipe.sparse.model_copy(update={"modifier": modifier})
    kept = {**stored.payload_indexes, **recipe.payload_indexes}
    return recipe.replaced(**inherited, payload_indexes=kept)


def not_kept(info: models.CollectionInfo, vectors: Mapping[str, str]) -> list[str]:
    """Describe what of the source will not be in the target."""
    left = [name for name in stored_vectors(info) if name not in vectors.values()]
    notes = [f"vectors {left} are not copied, because the recipe has none for them"] if left else []
    sparse = [name for name in stored_sparse(info) if name not in vectors.values()]
    if sparse:
        how = "Sparse(kind='learned') copies one"
        notes.append(f"sparse vectors {sparse} are not copied, because the recipe takes none: {how}")
    if info.config.params.sharding_method == models.ShardingMethod.CUSTOM:
        notes.append("shards by key become shards by id")
    return notes


def documents(
    points: Sequence[Point], vectors: Mapping[str, str], recipe: Recipe, marks: Sequence[str] | None
) -> Iterator[CheckedDocuments]:
    """Points as documents: those with all vectors and a text, and those that lack the same parts."""
    groups: dict[tuple[str, ...], list[int]] = {}
    texts = [_text(point, recipe) for point in points]
    for row, point in enumerate(points):
        has = tuple(own for own, source in vectors.items() if source in point.vectors)
        groups.setdefault(has if texts[row] is None else (*has, SPARSE_VECTOR), []).append(row)
    for has, rows in groups.items():
        checked = _documents(
            [points[row] for row in rows],
            {own: vectors[own] for own in has if own in vectors},
            None if marks is None else [marks[row] for row in rows],
            recipe,
        )
        for own, rows_of in checked.dense.items():
            check_datatype(rows_of, datatype_of_user(recipe.dense[own]), f"vector {vectors[own]!r}")
        if SPARSE_VECTOR in has and SPARSE_VECTOR not in vectors:
            checked = replace(checked, texts=[str(texts[row]) for row in rows])
        yield replace(checked, without_vectors=not has)


def _text(point: Point, recipe: Recipe) -> str | None:
    """What a sparse branch finds a point by."""
    if recipe.sparse is None or recipe.sparse.is_learned:
        return None
    text = point.payload.get(recipe.text_key)
    return text if isinstance(text, str) and text.strip() else None


def learns(recipe: Recipe) -> bool:
    """Whether a recipe is better off with a sample."""
    return not Pipeline(recipe).fitted


def payload_needed(recipe: Recipe) -> bool | list[str]:
    """Of the payload, what a recipe learns from."""
    fields = [] if recipe.sparse is None or recipe.sparse.is_learned else [recipe.text_key]
    if recipe.tokens is not None and recipe.tokens.needs_grids:
        fields.append(GRID)
    return fields or False


def _documents(
    points: list[Point], vectors: Mapping[str, str], marks: list[str] | None, recipe: Recipe
) -> CheckedDocuments:
    tokens, dense = _arrays(points, vectors)
    sparse = None if SPARSE_VECTOR not in vectors else _sparse(points, vectors[SPARSE_VECTOR])
    user_ids: list[int | str] = []
    payloads = []
    for row, point in enumerate(points):
        user_id: int | str = point.id
        payload, own = point.payload, {}
        if isinstance(payload, dict):  # over gRPC, no deeper payload can be read
            check_depth(payload, f"payload of point {point.id!r}")
        if has_own_fields(payload):
            user_id, shown = split_payload(point.id, dict(payload))
            grid = {GRID: payload[GRID]} if GRID in payload else {}
            payload, own = shown or {}, {ORIGINAL_ID: user_id, **grid} if user_id != point.id else grid
        if marks is not None:
            own = {**own, MIGRATED: marks[row]}
        user_ids.append(user_id)
        payloads.append(with_fields(payload, own))
    ids = [point.id for point in points]
    grids = _grids(points, tokens, recipe)
    return CheckedDocuments(user_ids, ids, tokens, dense, None, payloads, sparse=sparse, grids=grids)


def _grids(points: Sequence[Point], tokens: TokenBatch | None, recipe: Recipe) -> NDArray[np.int64] | None:
    """Grids of the patches of points; None if tokens are not the patches, because they were reduced."""
    if tokens is None:
        return None
    is_needed = recipe.tokens is not None and recipe.tokens.needs_grids
    payloads = [point.payload for point in points]
    grids = [payload.get(GRID) if payload and has_own_fields(payload) else None for payload in payloads]
    if not any(grids):
        # Among pages there may be texts, whose tokens are not pooled.
        return np.zeros((len(tokens), 3), np.int64) if is_needed else None
    try:
        return checked_grids(grids, tokens)
    except InvalidArgumentError as error:
        if not is_needed:
            return None
        row = int(re.sub(r"\D", "", error.argument))
        raise type(error)(f"grid of point {points[row].id!r}", error.expected, error.got) from None


def _sparse(points: Sequence[Point], source: str) -> SparseBatch:
    """The weights of points, checked."""
    rows = [point.vectors[source] for point in points]
    joined = np.concatenate(rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    try:
        return check_sparse(SparseBatch(joined["index"], joined["weight"], offsets), len(points))
    except InvalidArgumentError as error:
        row = int(re.sub(r"\D", "", error.argument) or 0)
        got = f"{error.got} in vector {source!r}"
        raise type(error)(f"point {points[row].id!r}", error.expected, got) from None


def learning_sample(
    points: Sequence[Point], vectors: Mapping[str, str], recipe: Recipe
) -> CheckedSample | None:
    """Points as what methods learn from; ``None`` where there are none."""
    if not points:
        return None
    tokens, dense = _arrays(list(points), vectors)
    texts = [text for point in points if (text := _text(point, recipe)) is not None]
    return CheckedSample(tokens, dense, texts=texts or None, grids=_grids(points, tokens, recipe))


def _arrays(
    points: list[Point], vectors: Mapping[str, str]
) -> tuple[TokenBatch | None, dict[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """The vectors by the recipe's names, checked: a server keeps what it was given, NaN too."""
    tokens, dense = None, {}
    for own, source in vectors.items():
        if own == SPARSE_VECTOR:
            continue
        rows = [point.vectors[source] for point in points]
        array = TokenBatch.from_list(rows) if own == TOKENS_VECTOR else np.stack(rows)
        values = array.values if isinstance(array, TokenBatch) else array
        wrong = first_out_of_range(values)
        if wrong is not None:
            row = array.place(wrong)[0] if isinstance(array, TokenBatch) else wrong
            raise out_of_range(values[wrong], f"point {points[row].id!r}", f" in vector {source!r}")
        if isinstance(array, TokenBatch):
            padding = np.flatnonzero(~array.values.any(axis=1))
            if padding.size:
                row, token = array.place(int(padding[0]))
                expected = "tokens that are not all zeros, because padding changes encodings and MaxSim"
                argument = f"point {points[row].id!r}"
                raise InvalidArgumentError(argument, expected, f"zeros in token {token} of vector {source!r}")
            tokens = array
        else:
            dense[own] = array
    return tokens, dense
