"""A quantizer of vectors as token codes: a document is the codes of its tokens, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self, override

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.methods.base import Description
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.maxsim import maxsim_documents
from embplug.methods.numeric.arrays import Float32, State, as_vectors
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_checks import check_finite

FIT_TOKENS = 1 << 18
FIT_SEED = 0


class TokenByToken(TokenCodes):
    """Token codes that hold the code of each token by a quantizer.

    Parameters
    ----------
    quantizer : Quantizer
        It keeps what is learned.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        self.quantizer = quantizer
        self.kind = quantizer.kind

    @property
    @override
    def fitted_dim(self) -> int | None:
        return self.quantizer.fitted_dim

    @override
    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> Self:
        check_token_batch(tokens)
        check_finite(tokens.values, "tokens")
        sample = tokens.values
        if len(sample) > FIT_TOKENS:
            chosen = np.random.default_rng(FIT_SEED).choice(len(sample), FIT_TOKENS, replace=False)
            sample = sample[np.sort(chosen)]
        try:
            self.quantizer.fit(sample, None if queries is None else queries.values)
        except InvalidArgumentError as error:
            if error.argument != "X":
                raise
            raise type(error)("tokens", error.expected, error.got) from error
        return self

    @override
    def encode(self, tokens: TokenBatch) -> list[bytes]:
        check_token_batch(tokens)
        check_finite(tokens.values, "tokens")
        codes = self.quantizer.encode(tokens.values)
        spans = itertools.pairwise(tokens.offsets.tolist())
        return [codes[start:stop].tobytes() for start, stop in spans]

    @override
    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        documents = self._coded(strings)
        return TokenBatch(self.quantizer.decode(documents.rows(self.quantizer.code_bytes)), documents.offsets)

    @override
    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        check_token_batch(tokens)
        return np.asarray(tokens.lengths * self.quantizer.code_bytes)

    @override
    def maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        return maxsim_documents(self.quantizer, as_vectors(query, self.dim, "query"), self._coded(strings))

    @override
    def products(self, query: ArrayLike, strings: Sequence[bytes]) -> TokenBatch:
        # Products with decoded tokens would be others where the quantizer codes queries, too.
        documents, prepared = self._coded(strings), self.quantizer.encode_query(as_vectors(query, self.dim))
        codes = documents.rows(self.quantizer.code_bytes)
        return TokenBatch(self.quantizer.score(prepared, codes), documents.offsets)

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return self.quantizer.bytes_per_vector(dim, unit_length=unit_length)

    @override
    def get_state(self) -> State:
        return self.quantizer.get_state()

    @override
    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.quantizer.set_state(state)

    @override
    def describe(self, dim: int | None = None) -> Description:
        return self.quantizer.describe(dim)

    @override
    def unfitted(self) -> Self:
        return type(self)(self.quantizer.unfitted())

    def _coded(self, strings: Sequence[bytes]) -> CodedDocuments:
        """The codes of documents, which hold whole tokens."""
        width, joined = self.quantizer.code_bytes, ByteStrings.of(strings)
        counts, rest = np.divmod(joined.lengths, width)
        if rest.any():
            wrong = int(np.flatnonzero(rest)[0])
            got = f"{joined.lengths[wrong]} bytes of codes"
            raise InvalidArgumentError(f"codes[{wrong}]", f"{width} bytes a token", got)
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum(counts, out=offsets[1:])
        return CodedDocuments.of(joined, offsets)
