"""Token matrices as strings of bytes, one a document, that ride in the payload and are scored as they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.errors import EmptyTokensError, InvalidArgumentError
from embplug.multivector.token_batch import TokenBatch, document_blocks
from embplug.quantizers.base import Codes, Float32, Quantizer, State, as_vectors, state_part
from embplug.quantizers.bit_allocation import BitAllocation
from embplug.rerank.maxsim import BLOCK_TOKENS, maxsim_codes

FIT_TOKENS = 1 << 18
FIT_DOCUMENTS = 1000
"""From so many documents the correction is learned."""
FIT_SEED = 0


class TokenCoder:
    """Codes of all tokens of a document, behind a correction for the document as a whole.

    What the codes lose of a document's tokens has a mean, and that mean falls on every score of the
    document alike. It is the part of the error that changes the ranking most and the cheapest to
    keep: a few bytes for all tokens together.

    Parameters
    ----------
    quantizer
        Codes of single tokens.
    document_bytes
        Bytes of a document for the mean of what its codes lose; 0 keeps nothing.
    """

    def __init__(self, quantizer: Quantizer, document_bytes: int = 48) -> None:
        self.quantizer = quantizer
        self.document_bytes = document_bytes
        self._correction = None
        if document_bytes:
            self._correction = BitAllocation(size=document_bytes, levels="scalar", length="decoded")

    @property
    def is_fitted(self) -> bool:
        """Whether all that it needs is learned."""
        corrects = self._correction is None or bool(self._correction.get_state())
        return corrects and bool(self.quantizer.get_state())

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> TokenCoder:
        """Learn from documents, or a sample of them, and where the quantizer can from queries.

        A quantizer that has learned already is taken as it is.
        """
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        if not self.quantizer.get_state():
            sample = tokens.values
            if len(sample) > FIT_TOKENS:
                chosen = np.random.default_rng(FIT_SEED).choice(len(sample), FIT_TOKENS, replace=False)
                sample = sample[np.sort(chosen)]
            self.quantizer.fit(sample, None if queries is None else queries.values)
        if self._correction is not None:
            some = tokens[:: -(-len(tokens) // FIT_DOCUMENTS)]
            blocks = [some[documents] for documents in document_blocks(some.offsets, BLOCK_TOKENS)]
            lost = [self._lost(block, self.quantizer.encode(block.values)) for block in blocks]
            self._correction.fit(np.concatenate(lost))
        return self

    def encode(self, tokens: TokenBatch) -> list[bytes]:
        """One string a document: the correction, then the code of each token."""
        strings: list[bytes] = []
        for documents in document_blocks(tokens.offsets, BLOCK_TOKENS):
            block = tokens[documents]
            codes = self.quantizer.encode(block.values)
            heads = [b""] * len(block)
            if self._correction is not None:
                heads = [one.tobytes() for one in self._correction.encode(self._lost(block, codes))]
            spans = itertools.pairwise(block.offsets.tolist())
            strings += [
                head + codes[start:stop].tobytes() for head, (start, stop) in zip(heads, spans, strict=True)
            ]
        return strings

    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        """Bytes (n,) of the string of each document."""
        return np.asarray(tokens.lengths * self.quantizer.code_bytes + self.document_bytes)

    def score(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        """MaxSim (n,) of one query (t, dim) with coded documents; -inf for one without tokens.

        Raises
        ------
        InvalidArgumentError
            Naming the first string that these codes did not make.
        """
        asked = as_vectors(query, self.quantizer.dim, "query")
        width, head = self.quantizer.code_bytes, self.document_bytes
        counts = np.array([len(string) - head for string in strings], dtype=np.int64)
        wrong = np.flatnonzero((counts < 0) | (counts % width != 0))
        if wrong.size:
            raise InvalidArgumentError(
                f"codes[{wrong[0]}]", f"{head} bytes and {width} a token", f"{counts[wrong[0]] + head} bytes"
            )
        offsets = np.concatenate([[0], np.cumsum(counts // width)])
        codes = np.frombuffer(b"".join(string[head:] for string in strings), dtype=np.uint8)
        scores = maxsim_codes(self.quantizer, asked, codes.reshape(-1, width), offsets)
        if self._correction is not None and len(strings):
            joined = np.frombuffer(b"".join(string[:head] for string in strings), dtype=np.uint8)
            whole = self._correction.encode_query(asked.sum(axis=0))
            scores += self._correction.score(whole, joined.reshape(-1, head))
        return scores

    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        """Token matrices that the strings stand for, the corrections included."""
        width, head = self.quantizer.code_bytes, self.document_bytes
        lengths = [(len(string) - head) // width for string in strings]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        codes = np.frombuffer(b"".join(string[head:] for string in strings), dtype=np.uint8)
        values = self.quantizer.decode(codes.reshape(-1, width))
        if self._correction is not None:
            joined = np.frombuffer(b"".join(string[:head] for string in strings), dtype=np.uint8)
            values = values + np.repeat(self._correction.decode(joined.reshape(-1, head)), lengths, axis=0)
        return TokenBatch(values, offsets)

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        state = {f"tokens.{name}": array for name, array in self.quantizer.get_state().items()}
        if self._correction is not None:
            state |= {f"documents.{name}": array for name, array in self._correction.get_state().items()}
        return state

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        self.quantizer.set_state(state_part(state, "tokens."))
        if self._correction is not None:
            self._correction.set_state(state_part(state, "documents."))

    def _lost(self, tokens: TokenBatch, codes: Codes) -> Float32:
        """Mean (n, dim) over each document of what its codes lose; zero without tokens."""
        lost = np.zeros((len(tokens), tokens.dim), dtype=np.float32)
        inhabited = np.flatnonzero(tokens.lengths)
        if inhabited.size:
            differences = tokens.values - self.quantizer.decode(codes)
            sums = np.add.reduceat(differences, tokens.offsets[inhabited], axis=0)
            lost[inhabited] = sums / tokens.lengths[inhabited, None]
        return lost
