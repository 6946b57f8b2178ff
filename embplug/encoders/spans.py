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

    The texts are tokenized once more. Tokens after the first one that differs, such as those of a query
    expansion, stand for no characters.

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
    read = tokenizer(
        [prompt + text for text in texts],
        return_offsets_mapping=True,
        truncation=False,
        padding=False,
        verbose=False,
    )
    return [
        _aligned(row, np.asarray(ids), np.asarray(offsets).reshape(-1, 2), len(prompt))
        for row, ids, offsets in zip(rows, read["input_ids"], read["offset_mapping"], strict=True)
    ]


def _aligned(
    row: NDArray[np.int64], ids: NDArray[Any], offsets: NDArray[Any], shift: int
) -> NDArray[np.int32]:
    shared = min(len(row), len(ids))
    differs = np.flatnonzero(row[:shared] != ids[:shared])
    count = int(differs[0]) if differs.size else shared
    spans = np.zeros((len(row), 2), dtype=np.int32)
    spans[:count] = np.maximum(offsets[:count] - shift, 0)
    return spans
