"""The encoder protocol, and the vectors that an encoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embplug.methods.token_batch import TokenBatch


@dataclass(frozen=True, eq=False)
class Encoded:
    """Vectors of texts.

    Attributes
    ----------
    tokens : TokenBatch, default=None
        One token matrix for each text. ``None`` if the encoder makes no token vectors.
    dense : float32 array of shape (n_texts, dim), default=None
        One vector for each text. ``None`` if the encoder makes no dense vectors.
    saliency : float32 array of shape (sum_tokens,), default=None
        How much attention each token of ``tokens`` receives, for pruning. ``None`` if the encoder does not
        compute it.
    """

    tokens: TokenBatch | None = None
    dense: NDArray[np.float32] | None = None
    saliency: NDArray[np.float32] | None = None

    def saliency_of(self, row: int) -> NDArray[np.float32] | None:
        """Return the saliency of the tokens of one text.

        Parameters
        ----------
        row : int
            Position of the text.

        Returns
        -------
        float32 array of shape (n_tokens,) or None
            Saliency of each token. ``None`` if the encoder does not compute it.
        """
        if self.tokens is None or self.saliency is None:
            return None
        return self.saliency[slice(*self.tokens.offsets[row : row + 2])]


@runtime_checkable
class Encoder(Protocol):
    """Protocol of encoders, which turn texts into vectors.

    Any object with these three attributes is an encoder.

    Attributes
    ----------
    spec : str
        Name by which :func:`~embplug.load_encoder` loads the encoder again. A recipe stores it.
    """

    spec: str

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            Vectors of the texts.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries.

        Parameters
        ----------
        texts : sequence of str
            At least one text.

        Returns
        -------
        Encoded
            Vectors of the texts.
        """
        ...


def special_token_ids(tokenizer: Any) -> list[int]:
    """Return the ids of special tokens that stand for no text: beginning, end, padding and mask.

    The unknown token stands for text. Without it, a text of emoji alone would have no tokens.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer of a transformers model.

    Returns
    -------
    list of int
        Token ids.
    """
    return [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]


def token_batch(matrices: Sequence[Any]) -> TokenBatch:
    """Make a float32 batch of the token matrices that a model returned.

    Parameters
    ----------
    matrices : sequence of arrays or tensors of shape (n_tokens, dim)
        One token matrix for each text.

    Returns
    -------
    TokenBatch
        The same matrices as float32.
    """
    return TokenBatch.from_list(matrices).to_float32()
