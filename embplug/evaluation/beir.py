"""Judged collections in BEIR format, and their vectors, which can be kept in a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from embplug.common.files import read_lines, replacing
from embplug.common.json_types import parse_json
from embplug.common.unicode_text import check_text
from embplug.encoders import Encoded, Encoder
from embplug.encoders.base import PER_TOKEN
from embplug.errors import InvalidArgumentError
from embplug.methods.token_batch import TokenBatch

logger = logging.getLogger(__name__)

BATCH_TEXTS = 64

SPARSE_ARRAYS = ("data", "indices", "indptr", "shape")
"""What a sparse matrix of scipy consists of."""


@dataclass(frozen=True, eq=False)
class Beir:
    """Texts and judgements of a collection in BEIR format.

    Attributes
    ----------
    name : str
        Name of the folder.
    document_ids : list of str
        Id of each document.
    documents : list of str
        Title and text of each document, joined.
    query_ids : list of str
        Id of each query that has judgements.
    queries : list of str
        Text of each of these queries.
    qrels : dict of str to dict
        For each query id, the relevance of judged documents by their ids.
    """

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: dict[str, dict[str, int]]


def read_beir(folder: str | os.PathLike[str], split: str = "test") -> Beir:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``.

    Parameters
    ----------
    folder : str or path
        Folder in BEIR format.
    split : str, default="test"
        Name of the file of judgements.

    Returns
    -------
    Beir
        All documents, and the queries that have judgements. A warning is logged if there are judgements of
        documents or queries that are not there.

    Raises
    ------
    InvalidArgumentError
        A file cannot be read; the error names the file and the first wrong line.

    References
    ----------
    Thakur et al. (2021). "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
    Retrieval Models". https://arxiv.org/abs/2104.08663
    """
    folder = Path(folder)
    qrels = _read_qrels(folder / "qrels" / f"{split}.tsv")
    corpus = list(_read_objects(folder / "corpus.jsonl"))
    judged = [query for query in _read_objects(folder / "queries.jsonl") if str(query["_id"]) in qrels]
    if not corpus or not judged:
        raise InvalidArgumentError("path", "documents and judged queries", f"none in {folder}")
    document_ids = [str(document["_id"]) for document in corpus]
    _warn_of_missing(qrels, {*document_ids}, {str(query["_id"]) for query in judged})
    return Beir(
        folder.resolve().name,
        document_ids,
        [f"{document.get('title') or ''} {document['text']}".strip() for document in corpus],
        [str(query["_id"]) for query in judged],
        [query["text"] for query in judged],
        qrels,
    )


def encode_texts(
    encoder: Encoder,
    kind: Literal["documents", "queries"],
    texts: Sequence[str],
    *,
    name: str,
    cache: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Encoded:
    """Encode texts, or read their vectors from a cache.

    Parameters
    ----------
    encoder : Encoder
        Encoder of the texts.
    kind : {"documents", "queries"}
        Whether the texts are encoded as documents or as queries.
    texts : sequence of str
        Texts to encode.
    name : str
        Beginning of the name of the cache file. The name also holds the encoder's spec and a digest of the
        texts.
    cache : str or path, default=None
        Folder of cache files. ``None`` encodes on each call.
    progress : bool, default=None
        Whether to show a progress bar. ``None`` shows it on a terminal only.

    Returns
    -------
    Encoded
        All that the encoder tells of the texts; token matrices are float16.
    """
    encode = encoder.encode_documents if kind == "documents" else encoder.encode_queries
    if cache is None:
        return _encode(encode, texts, f"encoding {kind}", progress)
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = Path(cache) / f"{name}-{kind}-{re.sub(r'[^A-Za-z0-9_.]+', '_', encoder.spec)}-{digest}.npz"
    if not file.exists():
        arrays = _arrays_of(_encode(encode, texts, f"encoding {kind}", progress))
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as beside, beside.open("wb") as stream:
            np.savez(stream, **{key: array for key, array in arrays.items() if array is not None})
    with np.load(file, allow_pickle=False) as archive:
        return _encoded({key: archive[key] for key in archive.files})


def _arrays_of(encoded: Encoded) -> dict[str, Any]:
    """The arrays of a cache file, by name."""
    arrays: dict[str, Any] = {name: getattr(encoded, name) for name in ("dense", *PER_TOKEN)}
    if encoded.tokens is not None:
        arrays |= {"tokens": encoded.tokens.values, "offsets": encoded.tokens.offsets}
    if encoded.sparse is not None:
        sparse = encoded.sparse.tocsr()
        arrays |= {f"sparse_{name}": getattr(sparse, name) for name in SPARSE_ARRAYS}
    return arrays


def _encoded(arrays: Mapping[str, Any]) -> Encoded:
    """What a cache file holds."""
    tokens = TokenBatch(arrays["tokens"], arrays["offsets"]) if "tokens" in arrays else None
    sparse = None
    if "sparse_data" in arrays:
        from scipy.sparse import csr_array

        values, indices, offsets, shape = (arrays[f"sparse_{name}"] for name in SPARSE_ARRAYS)
        sparse = csr_array((values, indices, offsets), shape=tuple(shape.tolist()))
    return Encoded(tokens, sparse=sparse, **{name: arrays.get(name) for name in ("dense", *PER_TOKEN)})


def _encode(
    encode: Callable[[Sequence[str]], Encoded], texts: Sequence[str], title: str, progress: bool | None
) -> Encoded:
    """Encode in batches of texts of similar length, so that little is padded."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = []
    with tqdm(total=len(texts), desc=title, disable=None if progress is None else not progress) as bar:
        for start in range(0, len(texts), BATCH_TEXTS):
            rows = order[start : start + BATCH_TEXTS].tolist()
            encoded = encode([texts[i] for i in rows])
            if encoded.tokens is not None:
                tokens = TokenBatch(encoded.tokens.values.astype(np.float16), encoded.tokens.offsets)
                encoded = replace(encoded, tokens=tokens)
            parts.append(encoded)
            bar.update(len(rows))
    sorted_by_length = Encoded.concat(parts)
    parts.clear()  # before the copy in the order of the texts, for the sake of memory
    return sorted_by_length.take(np.argsort(order))


def _read_objects(file: Path) -> Iterator[dict[str, Any]]:
    for place, line in read_lines(file, "a folder in BEIR format"):
        read = parse_json(line, place)
        if not isinstance(read, dict) or "_id" not in read or not isinstance(read.get("text"), str):
            raise InvalidArgumentError(place, "an object with _id and text", line.strip()[:80])
        for field in ("_id", "title", "text"):
            if isinstance(read.get(field), str):
                check_text(read[field], f"{place}, {field!r}")
        yield read


def _read_qrels(file: Path) -> dict[str, dict[str, int]]:
    """Read judgements: query-id, corpus-id and score, separated by tabs, maybe below a header line."""
    qrels: dict[str, dict[str, int]] = {}
    for number, (place, line) in enumerate(read_lines(file, "a folder in BEIR format")):
        # Quotation marks are characters of an id like all others.
        row = line.split("\t")
        if number == 0 and len(row) == 3 and not _is_number(row[2]):
            continue
        try:
            query, document, score = row
            qrels.setdefault(query, {})[document] = int(score)
        except ValueError:
            expected = "query-id, corpus-id and an integer, separated by tabs"
            raise InvalidArgumentError(place, expected, [part[:80] for part in row]) from None
    return qrels


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _warn_of_missing(judged: Mapping[str, Mapping[str, int]], documents: Set[str], queries: Set[str]) -> None:
    """Say which judgements are of documents or queries that are not there: they lower every figure."""
    absent = [document for row in judged.values() for document in row if document not in documents]
    if absent:
        logger.warning(
            "%d judgements are of documents that are not in corpus.jsonl, such as %r", len(absent), absent[0]
        )
    unread = [query for query in judged if query not in queries]
    if unread:
        logger.warning(
            "%d judged queries are not in queries.jsonl and are left out, such as %r",
            len(unread),
            unread[0],
        )
