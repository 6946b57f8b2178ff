"""An encoding that is learned where there is enough to learn from, and pools tokens where there is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import StateError
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import HNSW_EF, LearnedEncoding
from embplug.methods.numeric.arrays import State, state_part
from embplug.methods.numeric.balanced import BalancedBytes
from embplug.methods.registry import register
from embplug.methods.roles import Encoding
from embplug.methods.stored import StoredArray, checked_state
from embplug.methods.token_batch import TokenBatch, check_token_batch

LANDMARKS = (4096, 2048)
"""Numbers of landmarks, the most first. With fewer, candidates are no better than those of pooled tokens."""

CHOSEN = "chosen."
"""Prefix of the arrays of the chosen encoding in the state."""


@register("adaptive", roles=("encoding",))
@dataclass(config=ConfigDict(extra="forbid"))
class AdaptiveEncoding(Encoding):
    """Encoding of a fixed size that needs no knowledge of how many documents there will be.

    If the sample is large enough, it is a :class:`LearnedEncoding`. If the sample is smaller, the tokens of a
    document are pooled: their mean is stored, or their means in a few cells (an :class:`FDE` of one
    repetition). Pooling learns one number. It finds worse candidates, but among a few hundred documents all
    are candidates.

    Parameters
    ----------
    stored_dim : int, default=512
        Dimension of the stored vectors, which is also the bytes of a document.
    state_share : float, default=0.01
        Largest size of what is learned, as a share of the sample's tokens in float32. Tokens are pooled where
        landmarks would take more.
    dtype : {"uint8", "float16", "float32"}, default="uint8"
        Type of the encodings and of the vectors in Qdrant.
    seed : int, default=0
        Seed of all random choices. See :class:`LearnedEncoding`.
    kind : str, default="adaptive"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    dim_ : int
        Dimension of the tokens.
    chosen_ : LearnedEncoding or FDE
        Encoding that was chosen and fitted. None before :meth:`fit`.
    """

    stored_dim: int = Field(default=512, ge=16, le=65536)
    state_share: float = Field(default=0.01, gt=0, le=1)
    dtype: Literal["float32", "float16", "uint8"] = "uint8"
    seed: int = Field(default=0, ge=0)
    kind: Literal["adaptive"] = "adaptive"

    drifts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.dim_: int | None = None
        self.chosen_: LearnedEncoding | FDE | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return self.dim_

    @property
    @override
    def hnsw_ef(self) -> int:
        return HNSW_EF

    @override
    def least_sample(self, dim: int) -> int:
        return 0

    @override
    def output_dim(self, dim: int) -> int:
        return self.stored_dim

    def fit(
        self, tokens: TokenBatch, queries: TokenBatch | None = None, *, device: str | None = None
    ) -> Self:
        """Choose an encoding by the size of the sample, and fit it.

        Parameters
        ----------
        tokens : TokenBatch
            Documents, or a random sample of them.
        queries : TokenBatch, default=None
            Queries similar to those to come. See :meth:`LearnedEncoding.fit`.
        device : str, default=None
            Torch device. See :meth:`LearnedEncoding.fit`.

        Returns
        -------
        self

        Raises
        ------
        EmptyTokensError
            There is no token.
        """
        check_token_batch(tokens)
        landmarks = self._landmarks_for(tokens)
        self.chosen_ = self._of(landmarks, tokens.dim).fit(tokens, queries, device=device)
        self.dim_ = tokens.dim
        return self

    def encode_documents(
        self, tokens: TokenBatch, *, n_jobs: int = 1, device: str | None = None
    ) -> NDArray[Any]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        n_jobs : int, default=1
            Number of threads. -1 uses all cores.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy.

        Returns
        -------
        ndarray of shape (n, stored_dim), of the type ``dtype``
            The encoding of a document without tokens is zero.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        """
        check_token_batch(tokens)
        return self._padded(self._fitted(tokens).encode_documents(tokens, n_jobs=n_jobs, device=device))

    def encode_queries(self, tokens: TokenBatch, token_weights: ArrayLike | None = None) -> NDArray[Any]:
        """Encode queries.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        token_weights : array-like of shape (sum_tokens,), default=None
            Weight of each token in its query. None weighs all alike.

        Returns
        -------
        ndarray of shape (n, stored_dim), of the type ``dtype``
            The encoding of a query without tokens is zero.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        LengthMismatchError
            There are not as many weights as tokens.
        InvalidArgumentError
            A weight is not a finite number.
        """
        check_token_batch(tokens)
        return self._padded(self._fitted(tokens).encode_queries(tokens, token_weights))

    def drift(self, tokens: TokenBatch, *, device: str | None = None) -> float:
        """Measure how much worse the learned encoding is on new documents; see :meth:`LearnedEncoding.drift`.

        Parameters
        ----------
        tokens : TokenBatch
            New documents.
        device : str, default=None
            Torch device. None computes with numpy.

        Returns
        -------
        float
            About 1 if the new documents resemble those learned from, and 1 if tokens are pooled.

        Raises
        ------
        InvalidArgumentError
            Fewer than two documents have tokens.
        """
        check_token_batch(tokens)
        chosen = self._fitted(tokens)
        return chosen.drift(tokens, device=device) if chosen.drifts else 1.0

    def _landmarks_for(self, tokens: TokenBatch) -> int:
        """The most landmarks whose learned arrays the sample can pay for; 0 where it is too small."""
        room = self.state_share * tokens.values.size * np.dtype(np.float32).itemsize
        for landmarks in LANDMARKS:
            needed = _learned_bytes(landmarks, tokens.dim, self.stored_dim)
            if (
                needed <= room
                and landmarks <= len(tokens.values)
                and self._learned(landmarks).can_learn(tokens)
            ):
                return landmarks
        return 0

    def _learned(self, landmarks: int) -> LearnedEncoding:
        return LearnedEncoding(
            stored_dim=self.stored_dim,
            features=landmarks // 2,
            landmarks=landmarks,
            compared=landmarks,
            steps=0,
            dtype=self.dtype,
            seed=self.seed,
        )

    def _pooled(self, dim: int) -> FDE:
        """The means of tokens in as many cells as there is room for, or a projection of one mean."""
        room = self.stored_dim - BalancedBytes.balancing_dims(self.stored_dim)
        bits = 0
        while (2 << bits) * dim <= room:
            bits += 1
        return FDE(
            repetitions=1,
            simhash_bits=bits,
            projection_dim=None,
            final_dim=None if dim <= room else room,
            dtype=self.dtype,
            seed=self.seed,
        )

    def _of(self, landmarks: int, dim: int) -> LearnedEncoding | FDE:
        return self._learned(landmarks) if landmarks else self._pooled(dim)

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        own = {"dim": StoredArray(np.int64), "landmarks": StoredArray(np.int64)}
        checked = checked_state(
            type(self).__name__, {name: state[name] for name in own if name in state}, own
        )
        landmarks, dim = int(checked["landmarks"]), int(checked["dim"])
        if landmarks not in (0, *LANDMARKS) or dim < 1:
            expected = f"a dimension and one of {(0, *LANDMARKS)} landmarks"
            raise StateError(
                f"state of {type(self).__name__}: expected {expected}, got {dim} and {landmarks}"
            )
        chosen = self._of(landmarks, dim)
        inner = chosen._arrays(state_part({**state}, CHOSEN))
        return {**own, **{f"{CHOSEN}{name}": array for name, array in inner.items()}}

    def _to_arrays(self) -> State:
        chosen = self.chosen_
        assert chosen is not None
        landmarks = chosen.landmarks if isinstance(chosen, LearnedEncoding) else 0
        own = {"dim": np.array(self.dim_), "landmarks": np.array(landmarks)}
        return {**own, **{f"{CHOSEN}{name}": array for name, array in chosen.get_state().items()}}

    def _from_arrays(self, arrays: State) -> None:
        dim = int(arrays["dim"])
        chosen = self._of(int(arrays["landmarks"]), dim)
        chosen.set_state(state_part(arrays, CHOSEN))
        if chosen.fitted_dim not in (None, dim):
            expected = f"{chosen.fitted_dim}, as of the encoding"
            raise StateError(f"state 'dim' of {type(self).__name__}: expected {expected}, got {dim}")
        self.dim_, self.chosen_ = dim, chosen

    def _fit_cost(self) -> str:
        return f"that of a learned encoding of at most {LANDMARKS[0]:,} landmarks, or one pass"

    def _notes(self) -> list[str]:
        chosen = self.chosen_
        if isinstance(chosen, LearnedEncoding):
            return [f"learned from {chosen.landmarks:,} landmarks"]
        return ["tokens are pooled: there were too few to learn from"]

    def _fitted(self, tokens: TokenBatch) -> LearnedEncoding | FDE:
        self._check_tokens(tokens)
        assert self.chosen_ is not None
        return self.chosen_

    def _padded(self, encodings: NDArray[Any]) -> NDArray[Any]:
        count, dim = encodings.shape
        if dim == self.stored_dim:
            return encodings
        padded = np.zeros((count, self.stored_dim), dtype=encodings.dtype)
        padded[:, :dim] = encodings
        return padded


def _learned_bytes(landmarks: int, dim: int, stored_dim: int) -> int:
    """Bytes of directions, landmarks, and the maps of queries and documents."""
    features = landmarks // 2
    rank = min(stored_dim, features + dim)
    return (features + landmarks) * dim + (features + dim) * rank + landmarks * rank
