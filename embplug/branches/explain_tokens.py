"""Explanations of the scores of tokens, from what is stored of documents and what their texts say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.branches.queries import CheckedQuery
from embplug.branches.tokens import CODES_STAGE, MAXSIM_STAGE, TokensBranch
from embplug.common.ids import CODES, Id
from embplug.encoders import Encoded
from embplug.methods.reductions.reduced import DROPPED
from embplug.methods.token_batch import TokenBatch
from embplug.search.explain import Explanation, TokenOrigins


class StoredTokens:
    """What is stored of the tokens of n documents: codes in their payloads, or multivectors.

    Parameters
    ----------
    branch : TokensBranch
        Branch of the tokens, fitted.
    field : str
        Where they are stored; see :meth:`TokensBranch.explained_by`.
    documents : sequence
        Codes of each document as bytes, or its token matrix.
    """

    def __init__(self, branch: TokensBranch, field: str, documents: Sequence[Any]) -> None:
        self._branch = branch
        self._coder = branch.coder if field == CODES else None
        self._strings: Sequence[bytes] = documents
        if self._coder is None:
            self.tokens = TokenBatch.from_list(documents, branch.recipe.dim).to_float32()
        else:
            self.tokens = self._coder.decode(documents)

    def explain(
        self, query: CheckedQuery, ids: Sequence[Id], origins: Sequence[TokenOrigins]
    ) -> list[Explanation]:
        """Explain the scores of the documents.

        Parameters
        ----------
        query : CheckedQuery
            Result of :meth:`TokensBranch.prepare`.
        ids : sequence of int or str
            The users' ids of the documents.
        origins : sequence of TokenOrigins
            What the tokens of each document stand for.
        """
        reduced = self._branch.ranking_tokens(query)
        tokens = reduced.tokens.values.astype(np.float32, copy=False)
        if self._coder is not None:
            stage = CODES_STAGE
            scores, products = self._coder.token_scores(tokens, self._strings)
        else:
            stage = MAXSIM_STAGE
            products = TokenBatch(self.tokens.values @ tokens.T, self.tokens.offsets)
            scores = np.maximum.reduceat(products.values, products.offsets[:-1], axis=0).T
        of_query = TokenOrigins(reduced.owner, query.text, query.spans)
        return [
            Explanation(
                user_id, stage, scores[:, i], products[i].argmax(axis=0), products[i].T, of_query, origins[i]
            )
            for i, user_id in enumerate(ids)
        ]

    def origins(self, texts: Sequence[str], encoded: Encoded, spec: str) -> list[TokenOrigins]:
        """Find out which parts of their texts the tokens of the documents stand for.

        Parameters
        ----------
        texts : sequence of str
            Text of each document.
        encoded : Encoded
            What the encoder makes of them.
        spec : str
            Name of the encoder.
        """
        if encoded.spans is None or encoded.tokens is None:
            reason = f"encoder {spec!r} does not tell which characters a token stands for"
            return [TokenOrigins(reason=reason)] * len(texts)
        reduced = self._branch.reduced_tokens(encoded.tokens.to_float32(), encoded.saliency)
        known = []
        for i, text in enumerate(texts):
            rows = slice(*encoded.tokens.offsets[i : i + 2].tolist())
            if _resemble(self.tokens[i], self._as_stored(reduced.tokens[i : i + 1])):
                owner = reduced.owner[rows]
                owner = np.where(owner == DROPPED, DROPPED, owner - reduced.tokens.offsets[i])
                known.append(TokenOrigins(owner, text, encoded.spans[rows]))
            else:
                reason = f"the stored tokens are not those that encoder {spec!r} makes of the text"
                known.append(TokenOrigins(reason=reason))
        return known

    def _as_stored(self, tokens: TokenBatch) -> NDArray[Any]:
        """The tokens of one document with the error of the codes, where they have codes."""
        return tokens[0] if self._coder is None else self._coder.decode(self._coder.encode(tokens))[0]


def _resemble(stored: NDArray[Any], encoded: NDArray[Any]) -> bool:
    """Whether tokens are those that are stored, up to the differences between processors.

    Half the variance of the stored tokens is far more than such differences make, and far less than the
    tokens of another text leave.
    """
    if stored.shape != encoded.shape:
        return False
    spread = stored - stored.mean(axis=0) if len(stored) > 1 else stored
    return bool(np.square(stored - encoded).sum() <= np.square(spread).sum() / 2)
