"""Token codes that are predictive where there is enough to learn from, and else learn little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import EmptyTokensError, StateError
from embplug.methods.numeric.arrays import Float32, State, state_part
from embplug.methods.quantizers.bit_allocation import BitAllocationQuantizer
from embplug.methods.quantizers.byte_tables import ENTRIES
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.stored import StoredArray, checked_state
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_codes.predictive import PredictiveQuantizer
from embplug.methods.token_codes.predictive_strings import CLASSES, HEADER_BYTES

CENTROIDS = (4096, 1024)
"""Numbers of centroids, the most first. What is learned and the time of a fit grow with them."""

LEAST_PREDICTIVE = 10 * HEADER_BYTES
"""Bytes of a predictive code from which its header is a small part of it."""

SCALE_BYTES = 4

CHOSEN = "chosen."
"""Prefix of the arrays of the chosen codes in the state."""


@register("adaptive_codes", roles=("token_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class AdaptiveQuantizer(TokenCodes):
    """Token codes that need no knowledge of how many documents there will be.

    If the sample is large enough, they are those of a :class:`PredictiveQuantizer`, which rank better in as
    many bytes. If the sample is smaller, the codes are short, or the tokens are very long, they are those of
    a :class:`BitAllocationQuantizer`, which learns little.

    Parameters
    ----------
    size : int, default=96
        Largest mean bytes of a token.
    state_share : float, default=0.01
        Largest size of what predictive codes learn, as a share of the sample's tokens in float32. It is
        estimated before the fit. Codes that lose little keep their entries in float16, which takes up to
        twice as much.
    emphasis : float, default=1.5
        See :class:`BitAllocationQuantizer`.
    prior : int, default=0
        See :class:`BitAllocationQuantizer`.
    seed : int, default=0
        Seed of all random choices.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="adaptive_codes"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    chosen_ : PredictiveQuantizer or BitAllocationQuantizer
        Codes that were chosen and fitted. None before :meth:`fit`.
    """

    size: int = Field(default=96, ge=4)
    state_share: float = Field(default=0.01, gt=0, le=1)
    emphasis: float = Field(default=1.5, ge=1, le=2)
    prior: int = Field(default=0, ge=0, le=1 << 20)
    seed: int = Field(default=0, ge=0)
    kind: Literal["adaptive_codes"] = "adaptive_codes"

    def __post_init__(self) -> None:
        self.chosen_: PredictiveQuantizer | BitAllocationQuantizer | None = None
        self._codes: TokenCodes | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.chosen_ is None else self.chosen_.fitted_dim

    @override
    def least_sample(self, dim: int) -> int:
        return self._chosen(0).least_sample(dim)

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Mean bytes of a token: ``size`` before ``fit``, and that of the chosen codes after it."""
        return self.size if self.chosen_ is None else self.chosen_.bytes_per_vector(dim)

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> Self:
        """Choose codes by the size of the sample, and fit them.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents, or of a random sample of them.
        queries : TokenBatch, default=None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        InvalidArgumentError
            ``tokens`` is not a TokenBatch.
        EmptyTokensError
            There is no token.
        NonFiniteError
            A token holds NaN or infinity. The error names the first one.
        """
        check_token_batch(tokens)
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        chosen = self._chosen(self._centroids_for(tokens))
        chosen.token_codes().fit(tokens, queries)
        self._keep(chosen)
        return self

    @override
    def encode(self, tokens: TokenBatch) -> list[bytes]:
        return self._fitted().encode(tokens)

    @override
    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        return self._fitted().decode(strings)

    @override
    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        return self._fitted().sizes(tokens)

    @override
    def maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        return self._fitted().maxsim(query, strings)

    @override
    def centroid_maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        return self._fitted().centroid_maxsim(query, strings)

    @override
    def products(self, query: ArrayLike, strings: Sequence[bytes]) -> TokenBatch:
        return self._fitted().products(query, strings)

    @property
    @override
    def centroid_bytes(self) -> int:
        if self._codes is not None:
            return self._codes.centroid_bytes
        return 2 if self.size >= LEAST_PREDICTIVE else 0

    @property
    @override
    def centroids_rank(self) -> bool:
        return self._codes is not None and self._codes.centroids_rank

    @override
    def centroid_codes(self) -> Quantizer | None:
        return self._fitted().centroid_codes()

    def _centroids_for(self, tokens: TokenBatch) -> int:
        """The most centroids that the sample can pay for; 0 where it is too small for predictive codes."""
        # Entries are kept in float16, into which numbers of longer tokens do not fit.
        largest = max(float(tokens.values.max()), -float(tokens.values.min()))
        if self.size < LEAST_PREDICTIVE or largest > float(np.finfo(np.float16).max):
            return 0
        room = self.state_share * tokens.values.size * np.dtype(np.float32).itemsize
        for centroids in CENTROIDS:
            if self._learned_bytes(centroids, tokens.dim) <= room and centroids <= len(tokens.values):
                return centroids
        return 0

    def _learned_bytes(self, centroids: int, dim: int) -> float:
        """Bytes of centroids, directions, and the entries of all classes at most."""
        # Entries of short codes are far enough apart to be rounded to a byte a number.
        number = 1 if 2 * self.size <= dim else 2
        return centroids * (dim / 2 + SCALE_BYTES) + number * CLASSES * ENTRIES * dim + dim * dim

    def _chosen(self, centroids: int) -> PredictiveQuantizer | BitAllocationQuantizer:
        if centroids:
            return PredictiveQuantizer(
                size=self.size, centroids=centroids, emphasis=self.emphasis, seed=self.seed
            )
        return BitAllocationQuantizer(
            size=self.size,
            levels="auto",
            # Tokens need not have length 1: one byte of a code keeps it.
            length="own",
            emphasis=self.emphasis,
            prior=self.prior,
            seed=self.seed,
        )

    def _keep(self, chosen: PredictiveQuantizer | BitAllocationQuantizer) -> None:
        self.chosen_, self._codes = chosen, chosen.token_codes()

    def _fitted(self) -> TokenCodes:
        self._check_fitted()
        assert self._codes is not None
        return self._codes

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        own = {"centroids": StoredArray(np.int64)}
        name = type(self).__name__
        kept = checked_state(name, {key: state[key] for key in own if key in state}, own)
        centroids = int(kept["centroids"])
        if centroids not in (0, *CENTROIDS) or (centroids and self.size < LEAST_PREDICTIVE):
            raise StateError(
                f"state 'centroids' of {name}: expected one of {(0, *CENTROIDS)}, got {centroids}"
            )
        inner = self._chosen(centroids)._arrays(state_part({**state}, CHOSEN))
        return {**own, **{f"{CHOSEN}{key}": array for key, array in inner.items()}}

    def _to_arrays(self) -> State:
        chosen = self.chosen_
        assert chosen is not None
        centroids = chosen.centroids if isinstance(chosen, PredictiveQuantizer) else 0
        arrays = {f"{CHOSEN}{key}": array for key, array in chosen.get_state().items()}
        return {"centroids": np.array(centroids), **arrays}

    def _from_arrays(self, arrays: State) -> None:
        chosen = self._chosen(int(arrays["centroids"]))
        chosen.set_state(state_part(arrays, CHOSEN))
        self._keep(chosen)

    def _fit_cost(self) -> str:
        return f"that of predictive codes of at most {CENTROIDS[0]:,} centroids, or of bit allocation"

    def _scored_by(self) -> str | None:
        return None if self.chosen_ is None else self.chosen_._scored_by()

    def _notes(self) -> list[str]:
        assert self.chosen_ is not None
        return [f"chosen: {self.chosen_.kind}", *self.chosen_._notes()]
