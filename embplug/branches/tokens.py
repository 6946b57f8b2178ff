"""The tokens branch: one vector that finds a document, and its tokens or their codes that rank it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.base import Branch, EncodedDocuments, Item, search_params, vector_of
from embplug.branches.datatypes import check_stored
from embplug.branches.documents import (
    CheckedDocuments,
    CheckedSample,
    check_document_tokens,
    check_query_tokens,
)
from embplug.branches.points import Vectors
from embplug.branches.queries import CheckedQuery
from embplug.common.ids import CODES, SHORTLIST, Id
from embplug.encoders import Encoded, EncodedImages
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.methods.base import Method
from embplug.methods.numeric.arrays import Float32
from embplug.methods.reductions.cells import checked_grids, patch_cells
from embplug.methods.reductions.reduced import DROPPED, Reduced, followed, unchanged
from embplug.methods.roles import Encoding
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Rerank, Storage, Tokens
from embplug.recipe.names import ENCODING_VECTOR, TOKENS_BRANCH, TOKENS_VECTOR
from embplug.search.diversity import dense_similarities, token_similarities
from embplug.search.payload_rerank import PayloadRerank, payload_codes
from embplug.search.stages import Ranker, Stage, nearest
from embplug.search.types import SearchOptions

if TYPE_CHECKING:
    from embplug.methods.token_codes.token_coder import TokenCoder

MAXSIM_STAGE = "maxsim"
CODES_STAGE = "codes"
SHORTLIST_STAGE = "shortlist"

WEIGHTS_KEY = "query_weights"
"""Key under which the state of the query weights is kept."""

SCAN_KB = 98_304
"""Up to this size of a segment's encodings a full scan is as fast as a graph of the same recall."""


class TokensBranch(Branch):
    """Token matrices of documents, with the methods that encode, weigh, reduce and code them.

    Parameters
    ----------
    recipe : Tokens
        What is stored.
    rerank : Rerank
        How candidates are found and ranked.
    device : str, default=None
        Torch device on which documents are encoded and an encoding is fitted; numpy by default.
    """

    name = TOKENS_BRANCH
    encoder_output = "tokens"
    suffices = True
    unit = "tokens"

    def __init__(self, recipe: Tokens, rerank: Rerank, device: str | None = None) -> None:
        self.recipe = recipe = recipe.decided()
        self.rerank = rerank
        self.device = device
        self.encoding = copy.deepcopy(recipe.encoding)
        self.query_weights = copy.deepcopy(recipe.query_weights)
        self.coder: TokenCoder | None = None
        if recipe.codes is not None:
            from embplug.methods.token_codes.token_coder import TokenCoder

            codes = copy.deepcopy(recipe.codes)
            self.coder = TokenCoder(codes, recipe.document_bytes, recipe.shortlist_bytes)
            self.codes_fields = (CODES, SHORTLIST)

    def methods(self) -> dict[str, Any]:
        """The encoding, the query weights and the codes, by the key of their state."""
        methods = {
            ENCODING_VECTOR: self.encoding,
            WEIGHTS_KEY: self.query_weights,
            CODES_STAGE: self.coder,
        }
        return {key: method for key, method in methods.items() if method is not None}

    def places(self) -> dict[str, Any]:
        """All methods, by their place in the recipe."""
        places: dict[str, Any] = {
            "encoding": self.encoding,
            "query_weights": self.query_weights,
            "codes": None if self.coder is None else self.coder.quantizer,
            "query_reduction": self.recipe.query_reduction,
        }
        reductions = self.recipe.reductions
        alone = not isinstance(self.recipe.reduction, tuple)
        for i, reduction in enumerate(reductions):
            places["reduction" if alone else f"reduction.{i}"] = reduction
        return {f"tokens.{place}": method for place, method in places.items() if method is not None}

    def fitted_methods(self) -> Iterator[tuple[str, Method, int]]:
        """All methods that learn; each reads the tokens themselves."""
        for place, method in self.places().items():
            if isinstance(method, Method):
                yield place, method, self.recipe.dim

    @property
    def learns_from_tokens(self) -> bool:
        """Whether a method still has to learn from token matrices."""
        return not self.fitted

    def fit(self, sample: CheckedSample) -> None:
        """Fit encoding, query weights and codes on the sample's tokens."""
        tokens, queries = sample.tokens, sample.token_queries
        if tokens is None:
            expected = "token matrices to learn encoding, codes or weights from"
            raise InvalidArgumentError("sample.tokens", expected, None)
        if self.encoding is not None and not self.encoding.fitted:
            self.encoding.fit(tokens, queries, device=self.device)
        if self.query_weights is not None and not self.query_weights.fitted:
            self.query_weights.fit(tokens)
        if self.coder is not None and not self.coder.fitted:
            self.coder.fit(tokens, queries)

    def count_sample(self, sample: CheckedSample) -> int:
        """Number of tokens in a sample."""
        return 0 if sample.tokens is None else len(sample.tokens.values)

    def check_drifts(self) -> None:
        """Refuse a recipe whose encoding does not drift.

        Raises
        ------
        InvalidArgumentError
            The encoding does not learn, and so does not drift.
        NotFittedError
            The encoding is not fitted.
        """
        if self.encoding is None or not self.encoding.drifts:
            expected = "a learned encoding: others do not drift"
            raise InvalidArgumentError("recipe.tokens.encoding", expected, self.encoding)
        if not self.fitted:
            raise NotFittedError("the encoding has learned nothing yet: add documents first")

    def drift(
        self, tokens: TokenBatch, saliency: NDArray[np.float32] | None, grids: NDArray[np.int64] | None
    ) -> float:
        """How much worse the encoding predicts MaxSim between new documents than in its sample."""
        assert self.encoding is not None
        return self.encoding.drift(self.reduced_tokens(tokens, saliency, grids).tokens)

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of the encoding and of the multivector."""
        recipe, config = self.recipe, {}
        if self.encoding is not None:
            dim = self.encoding.output_dim(recipe.dim)
            storage = _with_full_scan(recipe.encoding_storage)
            config[ENCODING_VECTOR] = _vector_params(dim, storage, self.encoding.datatype)
        if recipe.multivector is not None:
            params = _vector_params(recipe.dim, recipe.multivector, recipe.multivector.datatype)
            comparator = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
            config[TOKENS_VECTOR] = params.model_copy(update={"multivector_config": comparator})
        return config

    @property
    def _vector_names(self) -> tuple[str, ...]:
        """Names of the vectors that documents have in Qdrant."""
        stored = {ENCODING_VECTOR: self.encoding, TOKENS_VECTOR: self.recipe.multivector}
        return tuple(name for name, what in stored.items() if what is not None)

    def has_query(self, query: CheckedQuery) -> bool:
        """Whether the query has tokens."""
        return query.tokens is not None

    def lacks_query(self) -> InvalidArgumentError:
        """The error for a query without tokens."""
        return InvalidArgumentError("tokens", "a token matrix, or a text or an image to make it from", None)

    def has_documents(self, documents: CheckedDocuments) -> bool:
        """Whether the documents have tokens."""
        return documents.tokens is not None

    def take_documents(self, documents: CheckedDocuments, encoded: Encoded, spec: str) -> CheckedDocuments:
        """Documents with the encoder's tokens, their saliency and their places on images."""
        argument = f"tokens of encoder {spec!r}"
        tokens = check_document_tokens(_tokens_of(encoded, spec), self.recipe, len(documents), argument)
        if self.recipe.prunes and encoded.saliency is None:
            raise _no_saliency(spec)
        grids = encoded.grids if isinstance(encoded, EncodedImages) else None
        if grids is not None:
            grids = checked_grids(grids, tokens, f"grids of encoder {spec!r}")
        elif self.recipe.needs_grids:
            expected = "one that tells the grids of patches of images, by which the recipe pools"
            raise InvalidArgumentError("encoder", expected, spec)
        return replace(documents, tokens=tokens, saliency=encoded.saliency, grids=grids)

    def take_query(self, query: CheckedQuery, encoded: Encoded, row: int, spec: str) -> CheckedQuery:
        """A query with the encoder's tokens, and their saliency where the recipe prunes queries."""
        tokens = None if encoded.tokens is None else encoded.tokens[row : row + 1]
        argument = f"tokens of encoder {spec!r}"
        checked = check_query_tokens(_tokens_of(Encoded(tokens), spec), self.recipe, 1, argument)
        saliency = encoded.saliency_of(row) if self.recipe.prunes_queries else None
        if self.recipe.prunes_queries and saliency is None:
            raise _no_saliency(spec)
        return replace(query, tokens=checked, saliency=saliency, spans=encoded.spans_of(row))

    def reduce(self, item: Item) -> Item:
        """Documents or a sample with tokens pooled and pruned as the recipe says."""
        if item.tokens is None:
            return item
        tokens = self.reduced_tokens(item.tokens, item.saliency, item.grids).tokens
        return replace(item, tokens=tokens, saliency=None, grids=None)

    def count_numbers(self, documents: CheckedDocuments) -> NDArray[np.int64] | int:
        """Numbers of the encoding, of the multivector and of the codes of each document."""
        if documents.tokens is None:
            return 0
        recipe, lengths = self.recipe, documents.tokens.lengths
        numbers = lengths * (recipe.dim if recipe.multivector is not None else 0)
        if self.encoding is not None:
            numbers = numbers + self.encoding.output_dim(recipe.dim)
        if self.coder is not None:
            # Codes are text of five characters for four bytes, and four bytes count as one number.
            numbers = numbers + 1 + self.coder.sizes(documents.tokens) * 5 // 16
            if self.coder.shortlist is not None:
                numbers = numbers + 1 + self.coder.shortlist.sizes(documents.tokens) * 5 // 16
        return np.asarray(numbers, dtype=np.int64)

    def encode(self, documents: CheckedDocuments) -> EncodedDocuments:
        """Encoding, multivector and codes of documents."""
        tokens = documents.tokens
        if tokens is None:
            # A point that is copied may lack tokens, and other branches find it.
            fields = () if documents.without_vectors else self._stored_codes()
            return EncodedDocuments(codes=dict.fromkeys(fields, [self.absent_codes] * len(documents)))
        vectors: Vectors = {}
        if self.encoding is not None:
            vectors[ENCODING_VECTOR] = self._encodings(self.encoding, tokens, documents.user_ids)
        if self.recipe.multivector is not None:
            check_stored(tokens, self.recipe.multivector.datatype, documents.user_ids, TOKENS_VECTOR)
            vectors[TOKENS_VECTOR] = tokens
        codes = {field: coder.encode(tokens) for field, coder in self._stored_codes().items()}
        return EncodedDocuments(vectors, codes)

    def _stored_codes(self) -> dict[str, TokenCoder]:
        """What codes tokens for each payload field that is stored."""
        coders = {CODES: self.coder, SHORTLIST: self.coder and self.coder.shortlist}
        return {field: coder for field, coder in coders.items() if coder is not None}

    def prepare(self, query: CheckedQuery) -> CheckedQuery:
        """A query with the recipe's token weights times the user's."""
        if query.tokens is None or self.query_weights is None:
            return query
        weights = self.query_weights.weights(query.tokens)
        if query.token_weights is not None:
            weights = weights * query.token_weights
        return replace(query, token_weights=weights)

    def find(self, query: CheckedQuery, options: SearchOptions, *, final: bool) -> Stage | None:
        """The stage that finds documents by their encoding."""
        if query.tokens is None or self.encoding is None:
            return None
        vector = self.encoding.encode_queries(query.tokens, query.token_weights)[0]
        params = search_params(
            self.rerank,
            self.recipe.encoding_storage,
            options,
            final=final,
            hnsw_ef=self.encoding.hnsw_ef,
        )
        return Stage(ENCODING_VECTOR, ENCODING_VECTOR, nearest(vector), params)

    def ranker(self, query: CheckedQuery, options: SearchOptions) -> Ranker | None:
        """MaxSim over codes in this process, or over the multivector in the engine.

        An exact search uses the multivector, where there is one.
        """
        has_multivector = self.recipe.multivector is not None
        if query.tokens is None or not (has_multivector or self.coder):
            return None
        tokens = self.ranking_tokens(query).values
        coder = None if options.exact and has_multivector else self.coder
        by_codes = shortlist = None
        if coder is not None:
            stored = self._vector_names
            by_codes = PayloadRerank(CODES_STAGE, CODES, partial(coder.score, tokens), vectors=stored)
            if coder.shortlist is not None:
                scores = partial(coder.shortlist.score, tokens)
                shortlist = PayloadRerank(SHORTLIST_STAGE, SHORTLIST, scores, vectors=stored)
            elif coder.centroids_rank:
                scores = partial(coder.centroid_score, tokens)
                shortlist = PayloadRerank(SHORTLIST_STAGE, CODES, scores, vectors=stored)
        in_engine = None
        if has_multivector:
            ignore = models.QuantizationSearchParams(ignore=not self.rerank.quantized_tokens)
            in_engine = Stage(
                MAXSIM_STAGE,
                TOKENS_VECTOR,
                nearest(tokens),
                models.SearchParams(quantization=ignore),
            )
        return Ranker(self.name, in_engine, by_codes, self.rerank.exact, shortlist, self.rerank.shortlist)

    def compared(self) -> str:
        """Codes, else the multivector, else an encoding of floats."""
        if self.coder is not None:
            return CODES
        if self.recipe.multivector is not None:
            return TOKENS_VECTOR
        if self.encoding is not None and self.encoding.datatype != models.Datatype.UINT8:
            return ENCODING_VECTOR
        raise InvalidArgumentError(
            "recipe.tokens",
            "a multivector, codes or an encoding of floats, to compare documents",
            "an encoding of bytes alone",
        )

    def similarities(self, query: CheckedQuery, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Relevance and similarity by MaxSim, or by the encoding where nothing else is stored."""
        assert query.tokens is not None
        tokens, query = query.tokens, self.prepare(query)
        field = self.compared()
        if field == ENCODING_VECTOR and self.encoding is not None:
            vector = self.encoding.encode_queries(tokens, query.token_weights)[0]
            stored = np.asarray([vector_of(record, field) for record in records])
            return dense_similarities(
                self.encoding.comparable(vector), self.encoding.comparable(stored), models.Distance.COSINE
            )
        if field == CODES and self.coder is not None:
            documents = self.coder.decode(payload_codes(records, CODES))
        else:
            documents = TokenBatch.from_list([vector_of(record, field) for record in records]).to_float32()
        return token_similarities(self.ranking_tokens(query).values, documents, tokens)

    def explained_by(self, *, exact: bool) -> str:
        """Payload field or vector by which hits are ranked last: codes, or the multivector.

        Raises
        ------
        InvalidArgumentError
            Neither is stored.
        """
        has_multivector = self.recipe.multivector is not None
        if has_multivector and (self.coder is None or exact or self.rerank.exact is not None):
            return TOKENS_VECTOR
        if self.coder is None:
            expected = "codes or a multivector, by which tokens of a document are told apart"
            raise InvalidArgumentError("recipe.tokens", expected, "an encoding alone")
        return CODES

    def _encodings(self, encoding: Encoding, tokens: TokenBatch, user_ids: Sequence[Id]) -> NDArray[Any]:
        """Encodings of documents; an error names the document by its id."""
        try:
            encoded = encoding.encode_documents(tokens, n_jobs=-1, device=self.device)
        except InvalidArgumentError as error:
            if len(tokens) == 1:
                raise type(error)(f"document {user_ids[0]!r}", error.expected, error.got) from error
            for i in range(len(tokens)):
                self._encodings(encoding, tokens[i : i + 1], user_ids[i : i + 1])
            raise
        check_stored(encoded, encoding.datatype, user_ids, ENCODING_VECTOR)
        return encoded

    def reduced_tokens(
        self,
        tokens: TokenBatch,
        saliency: NDArray[np.float32] | None = None,
        grids: NDArray[np.int64] | None = None,
    ) -> Reduced:
        """The tokens that the reductions of the recipe leave, and where every token went."""
        whole = unchanged(tokens)
        cells = None if grids is None or not self.recipe.reductions else patch_cells(tokens, grids)
        for reduction in self.recipe.reductions:
            if reduction.needs_saliency and saliency is None:
                raise InvalidArgumentError(
                    "saliency", "the saliency of tokens, by which the recipe prunes", None
                )
            if reduction.needs_cells and cells is None:
                expected = "the grids of patches, by which the recipe pools"
                raise InvalidArgumentError("grids", expected, None)
            reduced = reduction.reduce(whole.tokens, saliency if reduction.needs_saliency else None, cells)
            whole = followed(whole, reduced)
            # Pooled tokens have neither saliency nor place, and nothing that follows reads them.
            kept = reduced.owner != DROPPED
            saliency = None if saliency is None or reduction.pools else saliency[kept]
            cells = None if cells is None or reduction.pools else cells[kept]
        return whole

    def ranking_tokens(self, query: CheckedQuery) -> TokenBatch:
        """Tokens of a prepared query as MaxSim ranks by them: weighted, then reduced."""
        reduces = self.recipe.query_reduction is not None
        return self.reduced_query(query).tokens if reduces else _weighted(query)

    def reduced_query(self, query: CheckedQuery) -> Reduced:
        """As :meth:`ranking_tokens`, with where every token of the query went."""
        tokens, reduction = _weighted(query), self.recipe.query_reduction
        if reduction is None:
            return unchanged(tokens)
        if reduction.needs_saliency and query.saliency is None:
            expected = "how much each token of the query matters, by which the recipe prunes it"
            raise InvalidArgumentError("saliency", expected, None)
        return reduction.reduce(tokens, query.saliency if reduction.needs_saliency else None)


def _weighted(query: CheckedQuery) -> TokenBatch:
    """Tokens of a query times their weights, which are factors of all their dot products."""
    tokens, weights = query.tokens, query.token_weights
    assert tokens is not None
    return tokens if weights is None else TokenBatch(tokens.values * weights[:, None], tokens.offsets)


def _tokens_of(encoded: Encoded, spec: str) -> TokenBatch:
    if encoded.tokens is None:
        raise InvalidArgumentError("encoder", "one that makes token vectors", spec)
    return encoded.tokens


def _no_saliency(spec: str) -> InvalidArgumentError:
    expected = "one that tells the saliency of tokens, by which the recipe prunes"
    return InvalidArgumentError("encoder", expected, spec)


def _with_full_scan(storage: Storage) -> Storage:
    """Storage whose segments are scanned up to a larger size than Qdrant's, unless the recipe sets one."""
    hnsw = storage.hnsw or models.HnswConfigDiff()
    if hnsw.full_scan_threshold is not None:
        return storage
    return storage.model_copy(update={"hnsw": hnsw.model_copy(update={"full_scan_threshold": SCAN_KB})})


def _vector_params(dim: int, storage: Storage, datatype: models.Datatype | None) -> models.VectorParams:
    return models.VectorParams(
        size=dim,
        distance=models.Distance.DOT,
        datatype=datatype,
        on_disk=storage.on_disk,
        hnsw_config=storage.hnsw,
        quantization_config=storage.quantization,
    )
