"""An encoder of words without a model, and a collection in BEIR format, small enough for tests."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embplug.encoders import Encoded
from embplug.methods.token_batch import TokenBatch

DIM = 32


class Words:
    """Each word a random unit vector of its own, a text the mean of its words."""

    spec = "words"

    def __init__(self) -> None:
        self.encoded = 0

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        self.encoded += len(texts)
        tokens = TokenBatch.from_list([[_vector(word) for word in text.split()] for text in texts], DIM)
        means = [matrix.mean(axis=0) if len(matrix) else np.ones(DIM) for matrix in tokens]
        return Encoded(tokens.to_float32(), np.asarray(means, np.float32))

    encode_queries = encode_documents


def _vector(word: str) -> list[float]:
    vector = np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).tolist()


def write_beir(folder: Path, documents: int = 60, queries: int = 12) -> Path:
    """Document ``d<i>`` has three words of its own and some that all share; query ``q<i>`` asks for two."""
    rng = np.random.default_rng(0)
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {
            "_id": f"d{i}",
            "title": f"w{i}a",
            "text": f"w{i}b w{i}c " + " ".join(f"c{j}" for j in rng.integers(20, size=6)),
        }
        for i in range(documents)
    ]
    corpus.append({"_id": "empty", "title": "", "text": ""})
    entries = [{"_id": f"q{i}", "text": f"w{i}a w{i}b c{i}"} for i in range(queries)]
    entries.append({"_id": "unjudged", "text": "nobody knows"})
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(queries))]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    return folder
