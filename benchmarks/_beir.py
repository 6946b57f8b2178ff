"""Real collections in BEIR format, and their token matrices, encoded once and kept under ``.cache/``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from embplug.multivector import TokenBatch

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "encoded"
STEP = 64


@dataclass(frozen=True, eq=False)
class Beir:
    """A collection: texts (title and text joined), and judgements by query id."""

    name: str
    document_ids: list[str]
    documents: list[str]
    query_ids: list[str]
    queries: list[str]
    qrels: dict[str, dict[str, int]]


@dataclass(frozen=True, eq=False)
class EncodedBeir:
    """Its vectors by the offline MiniLM encoder: unit tokens (float16), unit sentence vectors, saliency.

    A text without a single token has an empty matrix.
    """

    beir: Beir
    documents: TokenBatch
    queries: TokenBatch
    document_sentences: NDArray[np.float32]
    query_sentences: NDArray[np.float32]
    document_saliency: NDArray[np.float32]
    query_saliency: NDArray[np.float32]


def read_beir(folder: str | Path) -> Beir:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``; only judged queries are kept."""
    folder = Path(folder)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        qrels.setdefault(query, {})[document] = int(score)
    judged = [q for q in queries if q["_id"] in qrels]
    return Beir(
        folder.name,
        [d["_id"] for d in corpus],
        [f"{d.get('title', '')} {d['text']}".strip() for d in corpus],
        [q["_id"] for q in judged],
        [q["text"] for q in judged],
        qrels,
    )


def load(folder: str | Path) -> EncodedBeir:
    """A collection with its vectors; encoded on the first call, read from the cache afterwards."""
    beir = read_beir(folder)
    documents = _encoded(f"{beir.name}-documents", beir.documents)
    queries = _encoded(f"{beir.name}-queries", beir.queries)
    return EncodedBeir(
        beir,
        TokenBatch(documents["tokens"], documents["offsets"]),
        TokenBatch(queries["tokens"], queries["offsets"]),
        documents["dense"],
        queries["dense"],
        documents["saliency"],
        queries["saliency"],
    )


def encoded_texts(name: str, texts: list[str]) -> TokenBatch:
    """Token matrices of any texts, by the same encoder, kept in the same cache."""
    encoded = _encoded(name, texts)
    return TokenBatch(encoded["tokens"], encoded["offsets"])


def _encoded(name: str, texts: list[str]) -> dict[str, NDArray[Any]]:
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = CACHE / f"{name}-minilm-{digest}.npz"
    if not file.exists():
        from embplug.encoders.minilm import MiniLMEncoder

        encoder = MiniLMEncoder(with_saliency=True)
        order = np.argsort([len(text) for text in texts], kind="stable")
        parts: dict[int, tuple[Any, Any, Any]] = {}
        for start in tqdm(range(0, len(texts), STEP), desc=f"encoding {name}", disable=None):
            rows = order[start : start + STEP]
            made = encoder.encode_documents([texts[i] for i in rows])
            assert made.tokens is not None and made.dense is not None and made.saliency is not None
            bounds = made.tokens.offsets
            for row, i in enumerate(rows.tolist()):
                saliency = made.saliency[bounds[row] : bounds[row + 1]]
                parts[i] = (made.tokens[row].astype(np.float16), made.dense[row], saliency)
        tokens = TokenBatch.from_list([parts[i][0] for i in range(len(texts))])
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".tmp.npz")
        np.savez(
            unfinished,
            tokens=tokens.values,
            offsets=tokens.offsets,
            dense=np.stack([parts[i][1] for i in range(len(texts))]),
            saliency=np.concatenate([parts[i][2] for i in range(len(texts))]),
        )
        unfinished.replace(file)
    with np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}
