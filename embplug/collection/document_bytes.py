"""Bytes that a document of a collection takes, with its share of what was learned."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qdrant_client import models

from embplug.branches.base import vector_of
from embplug.branches.sizing import BASE85, Part, disk_bytes, expected_parts, memory_bytes
from embplug.common.ids import CODES
from embplug.engines.calls import Call, Steps
from embplug.recipe import Recipe, Tokens
from embplug.recipe.names import TOKENS_VECTOR

SAMPLED = 200
"""Number of documents that are read, where their sizes differ."""

FIRST_SAMPLED = 16
SAMPLED_NUMBERS = 1 << 21
"""Numbers of multivectors that are read: of pages with a thousand tokens each, few are enough."""

PAYLOAD_BLOCK = 128
PAYLOAD_OVERHEAD = 16


@dataclass(frozen=True)
class DocumentBytes:
    """Mean bytes of a document of a collection.

    Attributes
    ----------
    memory : float
        Bytes in memory: vectors, quantized vectors, graphs and ids, by the formulas of
        :mod:`embplug.branches.sizing`, and ``learned``.
    disk : float
        Bytes on disk, and ``learned``. They are measured on Qdrant Edge. Elsewhere they follow from the
        formulas and from the payloads of 200 documents, before Qdrant compresses these.
    learned : float
        Bytes of the fitted state, divided by the number of documents. It shrinks as the collection grows.
    float32 : float
        Bytes of the vectors that the user or the encoder passes, as float32, to compare with.
    """

    memory: float
    disk: float
    learned: float
    float32: float


def document_bytes_steps(
    name: str, recipe: Recipe, points: int, state_bytes: int, measured: int | None
) -> Steps[DocumentBytes | None]:
    """Compute the bytes of a document from a sample; None for an empty collection.

    Parameters
    ----------
    name : str
        Name of the collection.
    recipe : Recipe
        Recipe of the collection.
    points : int
        Number of its documents.
    state_bytes : int
        Bytes of its fitted state.
    measured : int or None
        Bytes of its segments on disk, where the engine tells.
    """
    if not points:
        return None
    tokens = recipe.tokens
    records, _ = yield Call.of(
        "scroll", collection_name=name, limit=SAMPLED, with_payload=True, with_vectors=False
    )
    rows = 0.0
    if tokens is not None and tokens.multivector is not None:
        rows = _mean((yield from _rows_steps(name, tokens.dim)))
    elif tokens is not None and tokens.codes is not None:
        rows = _tokens_of(tokens, records)
    parts = expected_parts(recipe, points, tokens_per_document=rows)
    learned = state_bytes / points
    disk = _with_payloads(parts, records) if measured is None else measured / points
    plain = sum(4.0 * dense.dim for dense in recipe.dense.values())
    if tokens is not None:
        plain += 4.0 * tokens.dim * rows
    return DocumentBytes(memory_bytes(parts) + learned, disk + learned, learned, plain)


def _rows_steps(name: str, dim: int) -> Steps[list[int]]:
    """Number of rows of the multivectors of some documents."""
    rows: list[int] = []
    offset, limit = None, FIRST_SAMPLED
    while limit > 0:
        records, offset = yield Call.of(
            "scroll",
            collection_name=name,
            limit=limit,
            offset=offset,
            with_payload=False,
            with_vectors=[TOKENS_VECTOR],
        )
        rows += [len(vector_of(record, TOKENS_VECTOR) or ()) for record in records]
        if offset is None:
            break
        affordable = int(SAMPLED_NUMBERS / max(dim * _mean(rows), 1))
        limit = min(SAMPLED, affordable) - len(rows)
    return rows


def _tokens_of(tokens: Tokens, records: Sequence[models.Record]) -> float:
    """Mean number of tokens of documents, by the length of their codes."""
    assert tokens.codes is not None
    # Documents that are stored without tokens have no codes.
    codes = [(record.payload or {}).get(CODES) for record in records]
    sizes = [len(text) for text in codes if text]
    own = max(_mean(sizes) / BASE85 - tokens.document_bytes, 0.0)
    return own / tokens.codes.bytes_per_vector(tokens.dim) * len(sizes) / max(len(records), 1)


def _with_payloads(parts: list[Part], records: Sequence[models.Record]) -> float:
    """Bytes of parts on disk, with the payloads of a sample in whole blocks."""
    sizes = [len(json.dumps(record.payload or {}, ensure_ascii=False).encode()) for record in records]
    blocks = [PAYLOAD_OVERHEAD + math.ceil(size / PAYLOAD_BLOCK) * PAYLOAD_BLOCK for size in sizes]
    return disk_bytes([part for part in parts if part.kind != "payload"]) + _mean(blocks)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
