"""What an encoder is, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embplug.methods.token_batch import TokenBatch


@dataclass(frozen=True, eq=False)
class Encoded:
    """Vectors of n texts.

    Attributes
    ----------
    tokens
        One token matrix per text; ``None`` when the encoder makes none.
    dense : float32 (n, dim)
        One vector per text; ``None`` when the encoder makes none.
    saliency : float32 (sum_tokens,)
        How much attention each token of ``tokens`` receives, for pruning; ``None`` when the encoder
        does not tell.
    """

    tokens: TokenBatch | None = None
    dense: NDArray[np.float32] | None = None
    saliency: NDArray[np.float32] | None = None

    def saliency_of(self, row: int) -> NDArray[np.float32] | None:
        """That of the tokens of one text; ``None`` when the encoder does not tell."""
        if self.tokens is None or self.saliency is None:
            return None
        return self.saliency[slice(*self.tokens.offsets[row : row + 2])]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into vectors. Any object with these three names is one.

    Attributes
    ----------
    spec
        By which :func:`~embplug.encoders.load_encoder` finds it again; a recipe keeps it.
    """

    spec: str

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode texts that are searched; at least one."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode texts that are looked for; at least one."""
        ...


def marks(tokenizer: Any) -> list[int]:
    """Ids of a transformers tokenizer that stand for no text: beginning, end, padding, mask.

    The unknown token stands for text: without it a text of nothing but emoji would have no tokens.
    """
    return [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]


def token_batch(matrices: Sequence[Any]) -> TokenBatch:
    """Float32 batch of what a model returned: arrays or tensors ``(t_i, dim)``."""
    return TokenBatch.from_list(matrices).to_float32()
