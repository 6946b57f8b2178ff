"""Which characters of a text a token stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def spans_of_rows(
    tokenizer: Any, texts: Sequence[str], prompt: str, rows: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int32]] | None:
    """Find the characters of texts that the tokens of a model stand for.

    The texts are tokenized once more, and both are aligned. Tokens of prompts, of a query expansion and of
    what a processor puts around a text stand for no characters.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of the model.
    texts : sequence of str
        Texts that were encoded.
    prompt : str
        Text that stood before each of them.
    rows : sequence of int64 arrays
        Token ids that the model has read, for each text, without padding on the left.

    Returns
    -------
    list of int32 arrays of shape (n_ids, 2) or None
        Start and end in the text without the prompt. ``None`` if the tokenizer does not tell positions.
    """
    if not getattr(tokenizer, "is_fast", False):
        return None
    options = {"return_offsets_mapping": True, "truncation": False, "padding": False, "verbose": False}
    read = tokenizer([prompt + text for text in texts], **options)
    spans = []
    for i, row in enumerate(rows):
        ids, offsets = np.asarray(read["input_ids"][i]), np.asarray(read["offset_mapping"][i])
        if len(ids) and ids[0] == row[0]:
            spans.append(_aligned(row, ids, offsets.reshape(-1, 2), len(prompt)))
            continue
        # The processor of the model puts something else before the text.
        alone = tokenizer(texts[i], add_special_tokens=False, **options)
        ids, offsets = np.asarray(alone["input_ids"]), np.asarray(alone["offset_mapping"])
        spans.append(_contained(row, ids, offsets.reshape(-1, 2)))
    return spans


def _aligned(
    row: NDArray[np.int64], ids: NDArray[Any], offsets: NDArray[Any], shift: int
) -> NDArray[np.int32]:
    shared = min(len(row), len(ids))
    differs = np.flatnonzero(row[:shared] != ids[:shared])
    count = int(differs[0]) if differs.size else shared
    spans = np.zeros((len(row), 2), dtype=np.int32)
    spans[:count] = np.maximum(offsets[:count] - shift, 0)
    return spans


def _contained(row: NDArray[np.int64], ids: NDArray[Any], offsets: NDArray[Any]) -> NDArray[np.int32]:
    spans = np.zeros((len(row), 2), dtype=np.int32)
    if 0 < len(ids) <= len(row):
        windows = np.lib.stride_tricks.sliding_window_view(row, len(ids))
        places = np.flatnonzero((windows == ids).all(axis=1))
        if places.size:
            spans[places[0] : places[0] + len(ids)] = offsets
    return spans
