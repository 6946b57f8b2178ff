"""Token codes with a correction for each document: one string of bytes for each document."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.errors import EmptyTokensError, InvalidArgumentError
from embplug.methods.maxsim import BLOCK_TOKENS
from embplug.methods.numeric.arrays import Float32, State, as_vectors, state_part
from embplug.methods.quantizers.bit_allocation import BitAllocationQuantizer
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.token_batch import TokenBatch, check_token_batch, document_blocks
from embplug.methods.token_checks import check_finite

SHORTLIST = "shortlist."
"""Prefix of the arrays of short codes in the state."""

SHORTLIST_TOKENS = 100
"""Mean number of tokens of a document from which short codes spare more time than their bytes are worth."""

ENCODE_TOKENS = 1 << 14
FIT_DOCUMENTS = 1000
"""Largest number of documents from which the correction is learned."""


class TokenCoder:
    """Codes of all tokens of a document, behind a correction for the document as a whole.

    The errors of the codes of a document have a mean, which changes all its scores by the same amount. It
    changes the ranking more than the rest of the error, and is kept in a few bytes for all tokens together.

    Parameters
    ----------
    quantizer : Quantizer or TokenCodes
        Codes of single tokens, or of the tokens of a document together.
    document_bytes : int, default=48
        Bytes for the mean error of a document. 0 keeps none.
    shortlist_bytes : int, default=0
        Bytes for the mean error of the short codes of a document. 0 makes no short codes.

    Attributes
    ----------
    shortlist : TokenCoder or None
        Short codes: the centroids of tokens alone. None before :meth:`fit`, where the codes have no
        centroids, and where the documents of the sample have less than 100 tokens on average.
    """

    def __init__(
        self, quantizer: Quantizer | TokenCodes, document_bytes: int = 48, shortlist_bytes: int = 0
    ) -> None:
        self.quantizer = quantizer
        self.shortlist_bytes = shortlist_bytes
        self.shortlist: TokenCoder | None = None
        self.document_bytes = document_bytes
        self._tokens = quantizer.token_codes()
        self._correction = None
        if document_bytes:
            self._correction = BitAllocationQuantizer(size=document_bytes, levels="scalar", length="decoded")

    @property
    def fitted(self) -> bool:
        """Whether the codes of tokens and the correction have learned."""
        return self._tokens.fitted and (self._correction is None or self._correction.fitted)

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> TokenCoder:
        """Learn from documents, or a random sample of them.

        A quantizer that has learned already is taken as it is.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        queries : TokenBatch, default=None
            Tokens of queries, for the methods that use them.

        Returns
        -------
        self

        Raises
        ------
        EmptyTokensError
            There is no token.
        """
        check_token_batch(tokens)
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        if not self._tokens.fitted:
            self._tokens.fit(tokens, queries)
        if self._correction is not None:
            some = tokens[:: -(-len(tokens) // FIT_DOCUMENTS)]
            blocks = [some[documents] for documents in document_blocks(some.offsets, BLOCK_TOKENS)]
            lost = [self._lost(block, self._tokens.encode(block)) for block in blocks]
            self._correction.fit(np.concatenate(lost))
        self.shortlist = self._short_codes() if tokens.lengths.mean() >= SHORTLIST_TOKENS else None
        if self.shortlist is not None:
            self.shortlist.fit(tokens)
        return self

    def encode(self, tokens: TokenBatch) -> list[bytes]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        list of bytes
            One string for each document: the correction, then the codes of its tokens.

        Raises
        ------
        NonFiniteError, InvalidArgumentError
            A token is not finite, or has a number that is too large. The error names the first one.
        """
        check_token_batch(tokens)
        # In blocks, errors would count tokens anew.
        check_finite(tokens.values, "tokens")
        strings: list[bytes] = []
        for documents in document_blocks(tokens.offsets, ENCODE_TOKENS):
            block = tokens[documents]
            codes = self._tokens.encode(block)
            if self._correction is not None:
                heads = self._correction.encode(self._lost(block, codes))
                codes = [head.tobytes() + string for head, string in zip(heads, codes, strict=True)]
            strings += codes
        return strings

    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        """Compute how many bytes the string of each document has at most.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        ndarray of shape (n,), int64
        """
        check_token_batch(tokens)
        return self._tokens.sizes(tokens) + self.document_bytes

    def score(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        """Score documents by MaxSim.

        Parameters
        ----------
        query : array-like of shape (t, dim)
            Tokens of one query.
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        ndarray of shape (n,), float32
            The score of a document without tokens is -inf.

        Raises
        ------
        InvalidArgumentError
            A string is not one of these codes. The error names the first one.
        """
        joined = self._joined(strings)
        # This also checks the query.
        scores = self._tokens.maxsim(query, joined.without_heads(self.document_bytes))
        if self._correction is not None and len(strings):
            tokens = np.asarray(query, dtype=np.float32)
            scores += self._correction.score_places(tokens, joined.data, joined.starts)
        return scores

    @property
    def centroids_rank(self) -> bool:
        """Whether :meth:`centroid_score` tells which documents may be among the best."""
        return self._tokens.centroids_rank

    def centroid_score(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        """Score documents by MaxSim with the centroids alone of their tokens.

        The arguments and the errors are those of :meth:`score`, which it approximates in a fraction of the
        time.
        """
        return self._tokens.centroid_maxsim(query, self._joined(strings).without_heads(self.document_bytes))

    def token_scores(self, query: ArrayLike, strings: Sequence[bytes]) -> tuple[Float32, TokenBatch]:
        """Compute what each query token adds to the score of each document, and by which tokens.

        Parameters
        ----------
        query : array-like of shape (t, dim)
            Tokens of one query.
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        scores : ndarray of shape (t, n), float32
            Parts of the results of :meth:`score`, which are their sums.
        products : TokenBatch
            For each document a matrix of shape (tokens, t): what a query token would add if that token of
            the document were its best.

        Raises
        ------
        InvalidArgumentError
            A string is not one of these codes. The error names the first one.
        """
        query_tokens = as_vectors(query, self._tokens.dim, "query")
        # Each token alone is scored in the way that ranks, so that the parts have its rounding.
        scores = np.array([self.score(query_tokens[t : t + 1], strings) for t in range(len(query_tokens))])
        joined = self._joined(strings)
        products = self._tokens.products(query_tokens, joined.without_heads(self.document_bytes))
        if self._correction is not None and len(strings):
            heads = joined.heads(self.document_bytes)
            whole = self._correction.score(self._correction.encode_query(query_tokens), heads)
            values = products.values + np.repeat(whole, products.lengths, axis=0)
            products = TokenBatch(values, products.offsets)
        return scores.reshape(len(query_tokens), len(strings)), products

    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        """Compute the token matrices that strings stand for, including the corrections.

        Parameters
        ----------
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        TokenBatch

        Raises
        ------
        InvalidArgumentError
            A string is not one of these codes. The error names the first one.
        """
        joined = self._joined(strings)
        tokens = self._tokens.decode(joined.without_heads(self.document_bytes))
        if self._correction is None:
            return tokens
        heads = joined.heads(self.document_bytes)
        corrections = np.repeat(self._correction.decode(heads), tokens.lengths, axis=0)
        return TokenBatch(tokens.values + corrections, tokens.offsets)

    def get_state(self) -> State:
        """Return the learned arrays, by name. Empty before :meth:`fit`."""
        state = {f"tokens.{name}": array for name, array in self.quantizer.get_state().items()}
        if self._correction is not None:
            state |= {f"documents.{name}": array for name, array in self._correction.get_state().items()}
        if self.shortlist is not None:
            # Their centroids are those of the codes.
            own = state_part(self.shortlist.get_state(), "documents.")
            state |= {f"{SHORTLIST}{name}": array for name, array in own.items()}
        return state

    def set_state(self, state: State) -> None:
        """Restore the learned arrays that :meth:`get_state` returned."""
        self.quantizer.set_state(state_part(state, "tokens."))
        if self._correction is not None:
            self._correction.set_state(state_part(state, "documents."))
        # Collections of before have none.
        own = state_part(state, SHORTLIST)
        self.shortlist = self._short_codes() if own else None
        if self.shortlist is not None and self.shortlist._correction is not None:
            self.shortlist._correction.set_state(own)

    def _short_codes(self) -> TokenCoder | None:
        centroids = self._tokens.centroid_codes() if self.shortlist_bytes else None
        return None if centroids is None else TokenCoder(centroids, self.shortlist_bytes)

    def _joined(self, strings: Sequence[bytes]) -> ByteStrings:
        """The strings, all of which are long enough for a correction."""
        head, joined = self.document_bytes, ByteStrings.of(strings)
        short = joined.lengths < head
        if short.any():
            i = int(short.argmax())
            raise InvalidArgumentError(f"codes[{i}]", f"at least {head} bytes", f"{joined.lengths[i]} bytes")
        return joined

    def _lost(self, tokens: TokenBatch, strings: Sequence[bytes]) -> Float32:
        """Mean error (n, dim) of the codes of each document. It is zero without tokens."""
        lost = np.zeros((len(tokens), tokens.dim), dtype=np.float32)
        inhabited = np.flatnonzero(tokens.lengths)
        if inhabited.size:
            differences = tokens.values - self._tokens.decode(strings).values
            sums = np.add.reduceat(differences, tokens.offsets[inhabited], axis=0)
            lost[inhabited] = sums / tokens.lengths[inhabited, None]
        return lost
