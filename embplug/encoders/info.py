"""What an encoder tells of itself: what it makes, how large, of how long texts, by which weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Output: TypeAlias = Literal["tokens", "dense", "sparse"]
"""What an encoder makes of texts: token vectors, a dense vector, or sparse weights."""


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder makes, and by which model.

    Attributes
    ----------
    outputs : tuple of {"tokens", "dense", "sparse"}
        What the encoder makes of a text.
    token_dim : int, default=None
        Dimension of token vectors.
    dense_dim : int, default=None
        Dimension of dense vectors.
    max_tokens : int, default=None
        Number of tokens after which the text of a document is cut. ``None`` if the encoder does not know it.
    revision : str, default=None
        Identifies the weights: the commit of a model hub, or a digest. ``None`` if the encoder does not know
        it.
    reads_images : bool, default=False
        Whether the encoder makes token vectors of images too.
    """

    outputs: tuple[Output, ...]
    token_dim: int | None = None
    dense_dim: int | None = None
    max_tokens: int | None = None
    revision: str | None = None
    reads_images: bool = False
