"""What a collection offers to a recipe: some of its vectors, payload indexes, points as documents."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from qdrant_client import models

from embplug.documents import CheckedDocuments, CheckedSample
from embplug.errors import InvalidArgumentError, NonFiniteError
from embplug.ids import MIGRATED, ORIGINAL_ID, split_payload
from embplug.migration.reader import Point
from embplug.multivector.token_batch import TokenBatch
from embplug.recipe import TOKENS_VECTOR, Dense, Recipe

INHERITED = ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")


def stored_vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    """Dense and multi-vectors of a collection by name; ``""`` has none."""
    configured = info.config.params.vectors or {}
    return dict(configured) if isinstance(configured, dict) else {"": configured}


def choose_vectors(
    name: str, info: models.CollectionInfo, recipe: Recipe, given: str | Mapping[str, str] | None
) -> dict[str, str]:
    """Name in the recipe -> name in the source, for each vector that the recipe stores.

    Raises
    ------
    InvalidArgumentError
        ``vector``: none fits or several do, and they are named.
    """
    stored = stored_vectors(info)
    wanted: dict[str, Dense | None] = dict(recipe.dense)
    if recipe.tokens is not None:
        wanted[TOKENS_VECTOR] = None
    if isinstance(given, str):
        if len(wanted) > 1:
            raise InvalidArgumentError("vector", f"a name for each of {[*wanted]}", repr(given))
        given = {next(iter(wanted)): given}
    unknown = next((own for own in given or {} if own not in wanted), None)
    if unknown is not None:
        raise InvalidArgumentError("vector", f"names of the recipe's vectors {[*wanted]}", repr(unknown))
    chosen = {}
    for own, dense in wanted.items():
        kind = "multi-vectors" if dense is None else "dense vectors"
        there = {key: it for key, it in stored.items() if (it.multivector_config is None) == bool(dense)}
        source = (given or {}).get(own)
        if source is None:
            source = next(iter(there)) if len(there) == 1 else own
        if source not in there:
            raise InvalidArgumentError("vector", f"one of the {kind} {[*there]} of {name!r}", repr(source))
        _check_fits(name, source, there[source], recipe, own)
        chosen[own] = source
    return chosen


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


def completed(recipe: Recipe, info: models.CollectionInfo, sharded: bool) -> Recipe:
    """The recipe with what it leaves open taken from the source: payload indexes, shards, replicas."""
    indexes = {field: index.params or index.data_type for field, index in info.payload_schema.items()}
    fields = INHERITED if sharded else INHERITED[-1:]
    params = info.config.params
    inherited = {field: getattr(params, field) for field in fields if getattr(recipe, field) is None}
    return updated(recipe, {**inherited, "payload_indexes": {**indexes, **recipe.payload_indexes}})


def completed_from(recipe: Recipe, stored: Recipe) -> Recipe:
    """The recipe with what it leaves open taken from that of a target, which had it from the source."""
    inherited = {field: getattr(stored, field) for field in INHERITED if getattr(recipe, field) is None}
    return updated(
        recipe, {**inherited, "payload_indexes": {**stored.payload_indexes, **recipe.payload_indexes}}
    )


def updated(recipe: Recipe, fields: Mapping[str, Any]) -> Recipe:
    """The recipe with other values in some fields, checked anew."""
    given = {field: getattr(recipe, field) for field in recipe.model_fields_set}
    return Recipe(**{**given, **fields})


def not_kept(info: models.CollectionInfo, vectors: Mapping[str, str]) -> list[str]:
    """What of the source will not be in the target, in words."""
    left = [name for name in stored_vectors(info) if name not in vectors.values()]
    left += info.config.params.sparse_vectors or {}
    notes = [f"vectors {left} are not copied, because the recipe has none for them"] if left else []
    if info.config.params.sharding_method == models.ShardingMethod.CUSTOM:
        notes.append("shards by key become shards by id")
    return notes


def digest(point: Point) -> int:
    """63 bits that tell whether a point's vectors or payload changed, whatever way they were read."""
    hashed = blake2b(digest_size=8)
    for name in sorted(point.vectors):
        hashed.update(name.encode())
        hashed.update(np.ascontiguousarray(point.vectors[name]).view(np.uint8).data)
    hashed.update(json.dumps(point.payload, sort_keys=True, separators=(",", ":")).encode())
    return int.from_bytes(hashed.digest(), "little") >> 1


def documents(
    points: Sequence[Point], vectors: Mapping[str, str], marks: Sequence[int] | None
) -> Iterator[CheckedDocuments]:
    """Points as documents: those with all vectors, and those that lack the same ones."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, point in enumerate(points):
        has = tuple(own for own, source in vectors.items() if source in point.vectors)
        groups.setdefault(has, []).append(row)
    for has, rows in groups.items():
        yield _documents([points[row] for row in rows], {own: vectors[own] for own in has}, marks, rows)


def _documents(
    points: list[Point], vectors: Mapping[str, str], marks: Sequence[int] | None, rows: list[int]
) -> CheckedDocuments:
    tokens, dense = _arrays(points, vectors)
    given_ids, payloads = [], []
    for point, row in zip(points, rows, strict=True):
        given_id, shown = split_payload(point.id, point.payload)
        payload = dict(shown or {})
        if given_id != point.id:
            payload[ORIGINAL_ID] = given_id
        if marks is not None:
            payload[MIGRATED] = marks[row]
        given_ids.append(given_id)
        payloads.append(payload)
    return CheckedDocuments(given_ids, [point.id for point in points], tokens, dense, None, payloads)


def learning_sample(points: Sequence[Point], vectors: Mapping[str, str]) -> CheckedSample:
    """Points as what methods learn from."""
    tokens, dense = _arrays(list(points), vectors)
    return CheckedSample(tokens, dense)


def _arrays(
    points: list[Point], vectors: Mapping[str, str]
) -> tuple[TokenBatch | None, dict[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """The vectors by the recipe's names, checked: a server keeps what it was given, NaN too."""
    tokens, dense = None, {}
    for own, source in vectors.items():
        rows = [point.vectors[source] for point in points]
        for point, row in zip(points, rows, strict=True):
            if not np.isfinite(row).all():
                raise NonFiniteError(
                    f"point {point.id!r}", "finite numbers", f"NaN or infinity in {source!r}"
                )
        if own == TOKENS_VECTOR:
            tokens = TokenBatch.from_list(rows)
        else:
            dense[own] = np.stack(rows)
    return tokens, dense
