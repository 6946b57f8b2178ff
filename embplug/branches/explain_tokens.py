"""Explanations of the scores of tokens, from what is stored of documents and what their texts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.base import vector_of
from embplug.branches.images import checked_encoded, text_encoder
from embplug.branches.pipeline import Pipeline
from embplug.branches.queries import CheckedQuery
from embplug.branches.tokens import CODES_STAGE, MAXSIM_STAGE, TokensBranch
from embplug.common.ids import CODE_FIELDS, CODES, GRID, split_payload
from embplug.encoders import Encoded
from embplug.engines.answers import PointId
from embplug.errors import EmbplugError, InvalidArgumentError
from embplug.methods.numeric.arrays import Float32
from embplug.methods.reductions.reduced import DROPPED, Reduced
from embplug.methods.token_batch import TokenBatch
from embplug.search.explain import Explanation, TokenOrigins
from embplug.search.payload_rerank import payload_codes
from embplug.search.stages import Stage
from embplug.search.types import SearchOptions

BY_PLACE = ("grid", "first")
"""Kinds of reductions that look at the places of tokens alone."""


def explained_field(pipeline: Pipeline, *, exact: bool) -> str:
    """Payload field or vector of the tokens by which hits are ranked last.

    Raises
    ------
    InvalidArgumentError
        Nothing is stored by which the tokens of a document are told apart.
    """
    branch = pipeline.tokens_branch
    if branch is None:
        raise InvalidArgumentError("recipe.tokens", "tokens, to explain hits by", None)
    return branch.explained_by(exact=exact)


def maxsim_stages(pipeline: Pipeline, queries: Sequence[CheckedQuery]) -> list[Stage]:
    """The stage of each query by which the engine computes MaxSim."""
    branch = pipeline.tokens_branch
    assert branch is not None
    rankers = [branch.ranker(branch.prepare(query), SearchOptions(exact=True)) for query in queries]
    return [ranker.in_engine for ranker in rankers if ranker is not None and ranker.in_engine is not None]


def explanations(
    pipeline: Pipeline,
    queries: Sequence[CheckedQuery],
    points: Sequence[Sequence[PointId]],
    records: Mapping[PointId, models.Record],
    field: str,
    scores: Sequence[Mapping[PointId, Float32]] | None,
) -> list[list[Explanation | None]]:
    """Explain the scores of documents.

    Parameters
    ----------
    pipeline : Pipeline
        Recipe with its branches and its encoder.
    queries : sequence of CheckedQuery
        Queries with tokens.
    points : sequence of sequence of int or str
        Points to explain for each query.
    records : mapping
        The points with ``field`` and their texts.
    field : str
        Result of :func:`explained_field`.
    scores : sequence of mapping, or None
        Where the engine computes MaxSim: the parts of the score of each point for each query.

    Returns
    -------
    list of list of Explanation or None
        Explanation of each point; None if nothing is stored of its tokens.
    """
    branch = pipeline.tokens_branch
    assert branch is not None
    known: dict[PointId, TokenOrigins] = {}
    explained = []
    for i, (query, own) in enumerate(zip(queries, points, strict=True)):
        parts = None if scores is None else scores[i]
        stored = [records[point] for point in own if point in records and _has(records[point], field)]
        stored = [record for record in stored if parts is None or record.id in parts]
        rows: dict[PointId, Explanation] = {}
        places: list[Any] = [record.id for record in stored]
        if stored:
            tokens = StoredTokens(branch, field, stored)
            lacking = [row for row, point in enumerate(places) if point not in known]
            origins = _origins(pipeline, tokens, [stored[row] for row in lacking], lacking)
            known |= {places[row]: found for row, found in zip(lacking, origins, strict=True)}
            ids = [split_payload(record.id, record.payload)[0] for record in stored]
            of_documents = [known[point] for point in places]
            of_engine = None if parts is None else np.stack([parts[point] for point in places], axis=1)
            prepared = tokens.explain(branch.prepare(query), ids, of_documents, of_engine)
            rows = dict(zip(places, prepared, strict=True))
        explained.append([rows.get(point) for point in own])
    return explained


def _has(record: models.Record, field: str) -> bool:
    if field in CODE_FIELDS:
        return bool((record.payload or {}).get(field))
    return bool(vector_of(record, field))


def _origins(
    pipeline: Pipeline, tokens: StoredTokens, records: Sequence[models.Record], rows: Sequence[int]
) -> list[TokenOrigins]:
    """What the tokens of documents stand for; ``rows`` are the places of the records in ``tokens``."""
    known = {
        row: tokens.patch_origins(row, grid)
        for row, record in zip(rows, records, strict=True)
        if (grid := (record.payload or {}).get(GRID)) is not None
    }
    texts = {
        row: text
        for row, record in zip(rows, records, strict=True)
        if row not in known
        and isinstance(text := (record.payload or {}).get(pipeline.recipe.text_key), str)
        and text.strip()
    }
    reason = "no text is stored" if pipeline.models.has_encoder else "no encoder is known"
    if texts and pipeline.models.has_encoder:
        try:
            encoder = text_encoder(pipeline.models.encoder)
            encoded = checked_encoded(encoder.encode_documents([*texts.values()]), encoder.spec)
            known |= dict(zip(texts, tokens.origins(texts, encoded, encoder.spec), strict=True))
        except EmbplugError as error:
            # An explanation without texts is better than none.
            known |= dict.fromkeys(texts, TokenOrigins(reason=str(error)))
    return [known.get(row, TokenOrigins(reason=reason)) for row in rows]


class StoredTokens:
    """What is stored of the tokens of n documents: codes in their payloads, or multivectors.

    Parameters
    ----------
    branch : TokensBranch
        Branch of the tokens, fitted.
    field : str
        Where they are stored; see :meth:`TokensBranch.explained_by`.
    records : sequence of models.Record
        The documents, with this field or vector.
    """

    def __init__(self, branch: TokensBranch, field: str, records: Sequence[models.Record]) -> None:
        self._branch = branch
        self._coder = branch.coder if field == CODES else None
        self._strings: Sequence[bytes] = ()
        if self._coder is None:
            matrices = [vector_of(record, field) for record in records]
            self.tokens = TokenBatch.from_list(matrices, branch.recipe.dim).to_float32()
        else:
            self._strings = payload_codes(records, field)
            self.tokens = self._coder.decode(self._strings)

    def explain(
        self,
        query: CheckedQuery,
        ids: Sequence[int | str],
        origins: Sequence[TokenOrigins],
        scores: Float32 | None,
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
        scores : ndarray of shape (t, n), float32, or None
            The engine's parts of the scores, where it computes MaxSim.
        """
        reduced = self._branch.reduced_query(query)
        tokens = reduced.tokens.values.astype(np.float32, copy=False)
        if scores is None:
            assert self._coder is not None
            stage = CODES_STAGE
            scores, products = self._coder.token_scores(tokens, self._strings)
        else:
            stage = MAXSIM_STAGE
            products = TokenBatch(self.tokens.values @ tokens.T, self.tokens.offsets)
        of_query = TokenOrigins(reduced.owner, query.text, query.spans)
        return [
            Explanation(
                user_id, stage, scores[:, i], products[i].argmax(axis=0), products[i].T, of_query, origins[i]
            )
            for i, user_id in enumerate(ids)
        ]

    def origins(self, texts: Mapping[int, str], encoded: Encoded, spec: str) -> list[TokenOrigins]:
        """Find out which parts of texts the tokens of documents stand for.

        Parameters
        ----------
        texts : mapping of int to str
            Texts by the position of their document.
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
        for i, (row, text) in enumerate(texts.items()):
            before = slice(*encoded.tokens.offsets[i : i + 2].tolist())
            if _resemble(self.tokens[row], self._as_stored(reduced.tokens[i : i + 1])):
                owner = reduced.owner[before]
                owner = np.where(owner == DROPPED, DROPPED, owner - reduced.tokens.offsets[i])
                known.append(TokenOrigins(owner, text, encoded.spans[before]))
            else:
                reason = f"the stored tokens are not those that encoder {spec!r} makes of the text"
                known.append(TokenOrigins(reason=reason))
        return known

    def patch_origins(self, row: int, grid: Any) -> TokenOrigins:
        """Find out which patches of an image the tokens of a document stand for.

        Parameters
        ----------
        row : int
            Position of the document.
        grid : sequence of int
            Rows and columns of its patches, and the number of tokens before the first one.
        """
        try:
            rows, columns, first = (int(number) for number in grid)
        except (TypeError, ValueError):
            return TokenOrigins(reason="the grid of patches cannot be read")
        stored, reductions = len(self.tokens[row]), self._branch.recipe.reductions
        owner = np.arange(stored)
        if reductions:
            if not all(reduction.kind in BY_PLACE for reduction in reductions):
                return TokenOrigins(reason="patches are merged by what they show, and not by their places")
            before = first + rows * columns
            # What stands behind the patches is not merged.
            behind = stored - len(self._placed(before, grid).tokens.values)
            reduced = self._placed(before + max(behind, 0), grid)
            owner = reduced.owner
            if len(reduced.tokens.values) != stored:
                return TokenOrigins(reason="there are not as many tokens as the grid of patches leaves")
        if owner.size < first + rows * columns:
            return TokenOrigins(reason="there are fewer tokens than the grid has patches")
        return TokenOrigins(owner, grid=(rows, columns), first_patch=first)

    def _placed(self, count: int, grid: Any) -> Reduced:
        """Reduce tokens of which only the places matter."""
        tokens = TokenBatch(np.ones((count, self.tokens.dim), np.float32), np.array([0, count]))
        return self._branch.reduced_tokens(tokens, None, np.array([grid], dtype=np.int64))

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
