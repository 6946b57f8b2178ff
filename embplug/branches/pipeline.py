"""A fitted recipe: documents to vectors, a query to the form in which it is compared, and to its plan."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.dense import DenseVector, dense_code_bytes
from embplug.branches.documents import (
    CheckedDocuments,
    CheckedSample,
    TokensGiven,
    check_dense,
    check_tokens,
    named_dense,
)
from embplug.branches.points import Vectors, with_fields
from embplug.branches.sparse import CHARACTERS_PER_NUMBER, SparseEncoder
from embplug.common import base85
from embplug.common.checks import checked_integer
from embplug.common.ids import CODES, DENSE_CODES, MODEL
from embplug.common.torch_device import torch_on
from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.engines.capabilities import Capabilities
from embplug.engines.check_filter import check_filter
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.methods.numeric.arrays import State, state_part
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.reductions.reduced import DROPPED
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import checked_weights
from embplug.methods.token_codes.token_coder import TokenCoder
from embplug.recipe import Recipe, Storage
from embplug.recipe.names import FDE_VECTOR, SPARSE_VECTOR, TOKENS_BRANCH, TOKENS_VECTOR
from embplug.search.cross_encoder import CrossEncoder, Scorer, load_cross_encoder
from embplug.search.diversity import dense_similarities, token_similarities
from embplug.search.plan import (
    CODES_STAGE,
    Asked,
    Beside,
    Coded,
    Plan,
    Stage,
    codes_of,
    dense_codes_of,
    search_plan,
)
from embplug.search.types import Query, SearchOptions

DenseVectors: TypeAlias = dict[str, NDArray[np.float32]]
"""Name of the vector -> ``(n, dim)``."""

SCAN_KB = 98_304
"""Of encodings in a segment: one by one they take no longer than a graph needs for the same recall."""

WEIGHTS_KEY = "query_weights"
"""Under which the state of the recipe's query weights is kept."""


@dataclass(frozen=True, eq=False)
class _QueryVectors:
    """What a query is compared by."""

    tokens: TokenBatch | None = None
    dense: DenseVectors = field(default_factory=dict)
    words: str | None = None
    """The text, where the sparse branch looks for it."""
    token_weights: NDArray[np.float32] | None = None
    saliency: NDArray[np.float32] | None = None


class Pipeline:
    """A recipe with what was fitted for it. Only :meth:`fit` and :meth:`set_state` change it.

    Parameters
    ----------
    recipe
        What is stored and how it is searched.
    encoder
        Turns texts into vectors; default: the one that the recipe names, loaded when first needed.
    stored_as
        Names in Qdrant of dense vectors that are not called as in the recipe.
    cross_encoder
        Scores of texts for a query; default: the model that the recipe names, loaded when first needed.
    device
        A torch device on which documents are encoded and the encoding is learned; default: numpy.

    Attributes
    ----------
    capabilities
        Of the engine on which the recipe is used, once it was asked.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder | None = None,
        stored_as: Mapping[str, str] | None = None,
        cross_encoder: Scorer | None = None,
        device: str | None = None,
    ) -> None:
        if device is not None:
            torch_on(device, f"encoding on device {device!r}")
        if recipe.tokens is not None:
            recipe = recipe.with_encoding(recipe.tokens.encoding_or_default)
        # The recipe names the methods; what they have learned is the pipeline's.
        unfitted = {name: dense.unfitted() for name, dense in recipe.dense.items()}
        tokens = None if recipe.tokens is None else recipe.tokens.unfitted()
        self.recipe = recipe.model_copy(update={"dense": unfitted, "tokens": tokens})
        self.own_encoder = encoder
        self.own_cross_encoder = cross_encoder
        self.device = device
        self.capabilities: Capabilities | None = None
        self._fde = copy.deepcopy(recipe.tokens.encoding_or_default) if recipe.tokens else None
        self._codes: TokenCoder | None = None
        if recipe.tokens is not None and recipe.tokens.codes is not None:
            self._codes = TokenCoder(copy.deepcopy(recipe.tokens.codes), recipe.tokens.document_bytes)
        self._query_weights = copy.deepcopy(recipe.tokens.query_weights) if recipe.tokens else None
        named = stored_as or {}
        self._dense = {
            name: DenseVector(named.get(name, name), dense) for name, dense in recipe.dense.items()
        }
        self._adapters = {
            name: copy.deepcopy(dense.previous.adapter)
            for name, dense in recipe.dense.items()
            if dense.previous is not None
        }
        self._sparse = SparseEncoder(recipe.sparse) if recipe.sparse else None
        self.needs_fit = self._has_to_learn()

    def _has_to_learn(self) -> bool:
        sparse = self._sparse is not None and self._sparse.needs_fit
        return self.learns_from_tokens or sparse or any(vector.needs_fit for vector in self._dense.values())

    @property
    def learns_from_tokens(self) -> bool:
        """Whether a method of the recipe has yet to learn from token matrices."""
        return (
            self._encoding_learns
            or self._weights_learn
            or (self._codes is not None and not self._codes.fitted)
        )

    @property
    def _weights_learn(self) -> bool:
        return self._query_weights is not None and not self._query_weights.fitted

    @property
    def _encoding_learns(self) -> bool:
        return self._fde is not None and not self._fde.fitted

    def fit(self, sample: CheckedSample) -> None:
        """Learn what the recipe's methods learn from data.

        Raises
        ------
        InvalidArgumentError
            The sample lacks what a method learns from.
        """
        if self.learns_from_tokens:
            self._fit_on_tokens(sample.tokens, sample.queries)
        for name, vector in self._dense.items():
            if vector.needs_fit:
                if name not in sample.dense:
                    raise InvalidArgumentError(
                        f"sample.dense[{name!r}]", "vectors to learn transforms or codes from", None
                    )
                vector.fit(sample.dense[name], sample.dense_queries.get(name))
        if self._sparse is not None and self._sparse.needs_fit:
            if sample.texts is None:
                raise InvalidArgumentError("sample.texts", "texts to learn their average length from", None)
            self._sparse.fit(sample.texts)
        self.needs_fit = False

    def _fit_on_tokens(self, tokens: TokenBatch | None, queries: TokenBatch | None) -> None:
        if tokens is None:
            expected = "token matrices to learn encoding, codes or weights from"
            raise InvalidArgumentError("sample.tokens", expected, None)
        if self._fde is not None and self._encoding_learns:
            self._fde.fit(tokens, queries, device=self.device)
        if self._query_weights is not None and self._weights_learn:
            self._query_weights.fit(tokens)
        if self._codes is not None and not self._codes.fitted:
            self._codes.fit(tokens, queries)

    def drift(self, given: TokensGiven) -> float:
        """How much worse the encoding predicts MaxSim between new documents than in its sample.

        Raises
        ------
        InvalidArgumentError
            The recipe's encoding is not learned.
        NotFittedError
            It has learned nothing yet.
        """
        recipe = self.recipe.tokens
        if recipe is None or self._fde is None or not self._fde.drifts:
            raise InvalidArgumentError(
                "recipe.tokens.encoding", "a learned encoding: others do not drift", self._fde
            )
        if self.needs_fit:
            raise NotFittedError("the encoding has learned nothing yet: add documents first")
        return self._fde.drift(self._reduced(check_tokens(given, recipe.dim, len(given)), None))

    def describe(self) -> dict[str, dict[str, Any]]:
        """What each method of the recipe says of itself, by its place in the recipe."""
        if self.needs_fit:
            raise NotFittedError("the recipe has methods that learn from data, and none was given yet")
        described: dict[str, Any] = {} if self._codes is None else {"tokens.codes": self._codes.quantizer}
        for name, vector in self._dense.items():
            described |= {f"dense.{name}.transforms.{i}": one for i, one in enumerate(vector.transforms)}
            if vector.codes is not None:
                described[f"dense.{name}.codes"] = vector.codes
        return {place: method.describe().to_dict() for place, method in described.items()}

    def get_state(self) -> State:
        """Return what was learned, by method; empty when all is in the recipe."""
        return {
            f"{prefix}.{name}": array
            for prefix, method in self._methods().items()
            for name, array in method.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; methods that it does not know stay as they are."""
        for prefix, method in self._methods().items():
            if part := state_part(state, f"{prefix}."):
                method.set_state(part)
        self.needs_fit = self._has_to_learn()

    def _methods(self) -> dict[str, Any]:
        """What has state, by the name under which it is kept."""
        dense = {dense_key(name): vector for name, vector in self._dense.items()}
        adapters = {adapter_key(name): adapter for name, adapter in self._adapters.items()}
        learned = {
            FDE_VECTOR: self._fde,
            WEIGHTS_KEY: self._query_weights,
            CODES_STAGE: self._codes,
            SPARSE_VECTOR: self._sparse,
        }
        methods = {**learned, **dense, **adapters}
        return {name: method for name, method in methods.items() if method is not None}

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of each named vector."""
        config: dict[str, models.VectorParams] = {}
        for vector in self._dense.values():
            config |= vector.vectors_config()
        tokens = self.recipe.tokens
        if tokens is not None and self._fde is not None:
            dim, datatype = self._fde.output_dim(tokens.dim), self._fde.datatype
            config[FDE_VECTOR] = _vector_params(
                dim, models.Distance.DOT, _scanned(tokens.encoding_storage), datatype
            )
        if tokens is not None and tokens.multivector is not None:
            config[TOKENS_VECTOR] = _vector_params(
                tokens.dim, models.Distance.DOT, tokens.multivector, tokens.multivector.datatype
            ).model_copy(
                update={
                    "multivector_config": models.MultiVectorConfig(
                        comparator=models.MultiVectorComparator.MAX_SIM
                    )
                }
            )
        return config

    def sparse_vectors_config(self) -> dict[str, models.SparseVectorParams] | None:
        """Qdrant's parameters of the sparse vector, where there is one."""
        return None if self._sparse is None else {SPARSE_VECTOR: self._sparse.vector_params()}

    @property
    def has_encoder(self) -> bool:
        """Whether texts can stand for vectors."""
        return self.own_encoder is not None or self.recipe.encoder is not None

    @property
    def encoder(self) -> Encoder:
        """The encoder of texts.

        Raises
        ------
        InvalidArgumentError
            There is none.
        """
        if self.own_encoder is None:
            if self.recipe.encoder is None:
                expected = "one for texts, in the recipe or given to open"
                if self._sparse is not None:
                    expected += f", or a search in branches=[{SPARSE_VECTOR!r}] alone"
                raise InvalidArgumentError("encoder", expected, None)
            tokens = self.recipe.tokens
            with_saliency = tokens is not None and tokens.reads_saliency
            self.own_encoder = load_encoder(self.recipe.encoder, with_saliency=with_saliency)
        return self.own_encoder

    def cross_encoder(self) -> CrossEncoder | None:
        """The last stage of the recipe, with its model.

        Raises
        ------
        InvalidArgumentError
            The recipe names no model, and none was given.
        """
        stage = self.recipe.rerank.cross_encoder
        if stage is None:
            return None
        if self.own_cross_encoder is None:
            if stage.name is None:
                expected = "a function of query and texts, given to open, or a name in the recipe"
                raise InvalidArgumentError("cross_encoder", expected, None)
            self.own_cross_encoder = load_cross_encoder(stage.name)
        return CrossEncoder(
            self.own_cross_encoder, self.recipe.text_key, stage.batch_size, stage.timeout, stage.on_failure
        )

    def encode_dense(self, name: str, texts: Sequence[str]) -> DenseVectors:
        """Let the encoder make one dense vector of documents, as it is stored."""
        encoded = self.encoder.encode_documents(list(texts))
        missing = {other for other in self.recipe.dense if other != name}
        given = {other: np.empty((0, 0), np.float32) for other in missing}
        _, dense = self._from_encoder(encoded, None, given, len(texts), [name])
        return self._dense[name].encode(dense[name])

    def with_vectors(self, documents: CheckedDocuments) -> CheckedDocuments:
        """Let the encoder make the vectors that were not given, then reduce the tokens as the recipe says."""
        if documents.texts is not None and not documents.has_vectors(self.recipe):
            encoded = self.encoder.encode_documents(documents.texts)
            saliency = encoded.saliency if documents.tokens is None else documents.saliency
            tokens, dense = self._from_encoder(
                encoded, documents.tokens, documents.dense, len(documents), self.recipe.branches
            )
            documents = replace(documents, tokens=tokens, dense=dense, saliency=saliency)
        return self.with_reduced_tokens(documents)

    def with_reduced_tokens(self, documents: CheckedDocuments) -> CheckedDocuments:
        """Pool or prune the tokens as the recipe says."""
        if documents.tokens is None:
            return documents
        return replace(documents, tokens=self._reduced(documents.tokens, documents.saliency), saliency=None)

    def reduced_sample(self, sample: CheckedSample) -> CheckedSample:
        """A sample whose tokens are pooled and pruned as those of documents."""
        if sample.tokens is None:
            return sample
        return replace(sample, tokens=self._reduced(sample.tokens, sample.saliency), saliency=None)

    def stored_floats(self, documents: CheckedDocuments) -> NDArray[np.int64]:
        """Count the numbers that :meth:`encode` makes of each document."""
        floats = np.full(
            len(documents), sum(vector.stored_floats for vector in self._dense.values()), dtype=np.int64
        )
        # Codes are text of five characters for four bytes, and counted as numbers of four bytes.
        dense_codes = sum(dense_code_bytes(dense) for dense in self.recipe.dense.values())
        floats += math.ceil(dense_codes * 5 / 16)
        tokens = self.recipe.tokens
        if tokens is not None and documents.tokens is not None:
            floats += self._fde.output_dim(tokens.dim) if self._fde is not None else 0
            floats += documents.tokens.lengths * (tokens.dim if tokens.multivector is not None else 0)
            if self._codes is not None:
                floats += 1 + self._codes.sizes(documents.tokens) * 5 // 16
        if self._sparse is not None and documents.texts is not None:
            lengths = np.array([len(text) for text in documents.texts], dtype=np.int64)
            floats += lengths // CHARACTERS_PER_NUMBER
        return floats

    def encode(self, documents: CheckedDocuments) -> tuple[Vectors, Sequence[Mapping[str, Any]]]:
        """Vectors and payloads of documents as the collection stores them.

        Raises
        ------
        NotFittedError
            A method learns from data, and did not yet.
        """
        if self.needs_fit:
            raise NotFittedError("the recipe has methods that learn from data, and none was given yet")
        vectors: Vectors = {}
        for name, given in documents.dense.items():
            vectors |= self._dense[name].encode(given)
        if self.recipe.tokens is not None and documents.tokens is not None:
            if self._fde is not None:
                vectors[FDE_VECTOR] = self._fde.encode_documents(
                    documents.tokens, n_jobs=-1, device=self.device
                )
            if self.recipe.tokens.multivector is not None:
                vectors[TOKENS_VECTOR] = documents.tokens
        if self._sparse is not None and documents.texts is not None:
            vectors[SPARSE_VECTOR] = self._sparse.encode(documents.texts)
        payloads = documents.payloads
        for name in self._adapters:
            payloads = [with_fields(payload, {MODEL: self.recipe.dense[name].model}) for payload in payloads]
        if self._codes is not None and documents.tokens is not None:
            payloads = _with_codes(payloads, CODES, self._codes.encode(documents.tokens))
        parts = self._code_parts()
        if not parts.keys().isdisjoint(documents.dense):
            # A point that is copied may lack a vector, and is not found by it.
            codes = np.zeros((len(documents), _stop(parts)), dtype=np.uint8)
            for name in parts.keys() & documents.dense.keys():
                codes[:, parts[name]] = self._dense[name].encode_codes(documents.dense[name])
            payloads = _with_codes(payloads, DENSE_CODES, [row.tobytes() for row in codes])
        return vectors, payloads

    def _code_parts(self) -> dict[str, slice]:
        """Which of the bytes of a document's codes are those of each dense vector."""
        parts, stop = {}, 0
        for name, vector in self._dense.items():
            if vector.codes is not None:
                parts[name] = slice(stop, stop + vector.codes.code_bytes)
                stop = parts[name].stop
        return parts

    def check_filter(self, given: models.Filter | None) -> None:
        """Refuse a filter that the engine would not apply as it says."""
        if given is not None:
            check_filter(given, self.recipe.payload_indexes, capabilities=self.capabilities)

    def plan(self, queries: Sequence[Query], options: SearchOptions) -> list[Plan]:
        """Plan searches with the same options.

        Raises
        ------
        InvalidArgumentError
            Naming the argument that is wrong.
        NotFittedError
            A method learns from data, and no document was added yet.
        """
        _check_options(options)
        for branch in {} if options.fusion is None else options.fusion.weights:
            if branch not in self.recipe.branches:
                raise InvalidArgumentError("fusion.weights", f"some of {self.recipe.branches}", repr(branch))
        self.check_filter(options.filter)
        asked = self._query_vectors(queries, self._branches(options.branches))
        cross_encoder = self.cross_encoder() if options.cross_encode else None
        if cross_encoder is not None and any(query.text is None for query in queries):
            raise InvalidArgumentError("text", "the query's text, which the cross-encoder reads", None)
        return [
            search_plan(self._asked(vectors, query.text, cross_encoder, options), options)
            for query, vectors in zip(queries, asked, strict=True)
        ]

    def with_query_vectors(self, query: Query) -> Query:
        """Let the encoder make of a query's text what is not given."""
        vectors = self._query_vectors([query], None)[0]
        dense = {name: vector[0] for name, vector in vectors.dense.items()}
        tokens = None if vectors.tokens is None else vectors.tokens.values
        return Query(tokens, dense or None, vectors.words, vectors.token_weights, vectors.saliency)

    def compared(self, query: Query) -> str:
        """Name of what is stored of documents that can be compared with each other as with the query.

        Raises
        ------
        InvalidArgumentError
            Only bytes are stored that stand for no vector.
        """
        tokens = self.recipe.tokens
        if query.tokens is None or tokens is None:
            if query.dense is None:
                expected = "tokens or a dense vector, by which documents are compared"
                raise InvalidArgumentError("text", expected, "words alone")
            name = _first_name(query.dense)
            if name in self._adapters:
                expected = "one model: finish the upgrade, then documents can be compared"
                raise InvalidArgumentError(f"recipe.dense[{name!r}].previous", expected, "two")
            return DENSE_CODES if self._dense[name].ranks_by_codes else self._dense[name].stored[-1]
        if tokens.codes is not None:
            return CODES
        if tokens.multivector is not None:
            return TOKENS_VECTOR
        if self._fde is not None and self._fde.datatype != models.Datatype.UINT8:
            return FDE_VECTOR
        raise InvalidArgumentError(
            "recipe.tokens", "a matrix, codes or an encoding of floats, to compare documents", "bytes alone"
        )

    def similarities(self, query: Query, records: Sequence[models.Record]) -> tuple[Any, Any]:
        """Relevance (n,) and similarity (n, n) of documents that were read with :meth:`compared`."""
        field = self.compared(query)
        if field == CODES and self._codes is not None:
            return self._token_similarities(query, self._codes.decode(codes_of(records)))
        if field == DENSE_CODES:
            name = _first_name(query.dense)
            vector = self._dense[name]
            assert vector.codes is not None
            parts = self._code_parts()
            codes = dense_codes_of(records, _stop(parts))
            decoded = vector.codes.decode(codes[:, parts[name]])
            asked = vector.coded(_given(query.dense, name)[None])[0]
            return dense_similarities(asked, decoded, vector.recipe.distance)
        stored: list[Any] = [_stored(record, field) for record in records]
        if field == TOKENS_VECTOR:
            return self._token_similarities(query, TokenBatch.from_list(stored).to_float32())
        if field == FDE_VECTOR and self._fde is not None:
            asked = self._fde.encode_queries(*self._weighed_tokens(query))[0]
            asked, documents = self._fde.comparable(asked), self._fde.comparable(np.asarray(stored))
            return dense_similarities(asked, documents, models.Distance.COSINE)
        name = _first_name(query.dense)
        asked = self._dense[name].encode_query(_given(query.dense, name)[None])[field][0]
        return dense_similarities(asked, stored, self.recipe.dense[name].stored_distance)

    def _branches(self, given: Sequence[str] | None) -> list[str] | None:
        """The branches that are asked for, ``None`` for those of which the query has something."""
        if given is None:
            return None
        known = self.recipe.branches
        if isinstance(given, str) or not given:
            raise InvalidArgumentError("branches", f"some of {known}", repr(given))
        for i, name in enumerate(given):
            if name not in known:
                raise InvalidArgumentError(f"branches[{i}]", f"one of {known}", repr(name))
        return [*given]

    def _reduced(self, tokens: TokenBatch, saliency: NDArray[np.float32] | None) -> TokenBatch:
        for reduction in () if self.recipe.tokens is None else self.recipe.tokens.reductions:
            if reduction.needs_saliency and saliency is None:
                raise self._no_saliency()
            reduced = reduction.reduce(tokens, saliency)
            tokens = reduced.tokens
            if saliency is not None:
                # Once tokens are pooled, nothing is left that reads it.
                saliency = saliency[reduced.owner != DROPPED]
        return tokens

    def _saliency_of_query(self, encoded: Encoded, row: int) -> NDArray[np.float32] | None:
        """What the encoder says of the tokens of one query, where the recipe prunes by it."""
        if self.recipe.tokens is None or not self.recipe.tokens.prunes_queries:
            return None
        saliency = encoded.saliency_of(row)
        if saliency is None:
            raise self._no_saliency()
        return saliency

    def _no_saliency(self) -> InvalidArgumentError:
        expected = "one that tells the saliency of tokens, by which the recipe prunes"
        return InvalidArgumentError("encoder", expected, self.encoder.spec)

    def _query_vectors(self, queries: Sequence[Query], branches: list[str] | None) -> list[_QueryVectors]:
        """What each query is compared by: as given, the rest from its text, all texts in one batch."""
        given = [self._given_vectors(query, branches) for query in queries]
        unread = [
            i
            for i, one in enumerate(given)
            if queries[i].text is not None and not self._suffices(one, branches)
        ]
        if unread:
            encoded = self.encoder.encode_queries([str(queries[i].text) for i in unread])
            wanted = self.recipe.branches if branches is None else branches
            for row, i in enumerate(unread):
                own = Encoded(
                    None if encoded.tokens is None else encoded.tokens[row : row + 1],
                    None if encoded.dense is None else encoded.dense[row : row + 1],
                )
                tokens, dense = self._from_encoder(own, given[i].tokens, given[i].dense, 1, wanted)
                saliency = given[i].saliency
                if given[i].tokens is None and own.tokens is not None:
                    saliency = self._saliency_of_query(encoded, row)
                given[i] = replace(given[i], tokens=tokens, dense=dense, saliency=saliency)
        for one in given:
            _check_branches(one, branches)
        return given

    def _given_vectors(self, query: Query, branches: list[str] | None) -> _QueryVectors:
        if query.text is not None and not (isinstance(query.text, str) and query.text.strip()):
            raise InvalidArgumentError("text", "a text that is not empty", repr(query.text))
        tokens = None
        if query.tokens is not None:
            if self.recipe.tokens is None:
                raise InvalidArgumentError("tokens", "none, because the recipe has no tokens", "a matrix")
            tokens = _query_tokens(query.tokens, self.recipe.tokens.dim)
        weights = _token_weights(query.token_weights, tokens)
        saliency = None
        if query.saliency is not None:
            if tokens is None or self.recipe.tokens is None or not self.recipe.tokens.prunes_queries:
                got = "no tokens" if tokens is None else "a recipe that does not"
                raise InvalidArgumentError("saliency", "tokens, and a recipe that prunes queries by it", got)
            saliency = checked_weights(query.saliency, len(tokens.values), "saliency")
        dense = {}
        for name, argument, vector in named_dense(query.dense, self.recipe):
            row = np.asarray(vector)[None] if np.ndim(vector) == 1 else vector
            wanted = self.recipe.dense[name]
            dense[name] = check_dense(row, wanted.dim, 1, argument, wanted.datatype)
        words = query.text if self._sparse is not None else None
        if branches is None:
            return _QueryVectors(tokens, dense, words, weights, saliency)
        return _QueryVectors(
            tokens if TOKENS_BRANCH in branches else None,
            {name: vector for name, vector in dense.items() if name in branches},
            words if SPARSE_VECTOR in branches else None,
            weights,
            saliency,
        )

    def _suffices(self, given: _QueryVectors, branches: list[str] | None) -> bool:
        """Whether a search needs no more vectors: tokens find and rank by themselves."""
        if branches is None and given.tokens is not None:
            return True
        wanted = self.recipe.branches if branches is None else branches
        present = {*given.dense, SPARSE_VECTOR, *([] if given.tokens is None else [TOKENS_BRANCH])}
        return present.issuperset(wanted)

    def _from_encoder(
        self,
        encoded: Encoded,
        tokens: TokenBatch | None,
        dense: DenseVectors,
        count: int,
        wanted: Sequence[str],
    ) -> tuple[TokenBatch | None, DenseVectors]:
        """Complete what was given of the branches that are wanted by what the encoder made."""
        spec = self.encoder.spec
        if self.recipe.tokens is not None and tokens is None and TOKENS_BRANCH in wanted:
            if encoded.tokens is None:
                raise InvalidArgumentError("encoder", "one that makes token vectors", spec)
            tokens = check_tokens(
                encoded.tokens, self.recipe.tokens.dim, count, f"tokens of encoder {spec!r}"
            )
        missing = [name for name in self.recipe.dense if name not in dense and name in wanted]
        if missing:
            if encoded.dense is None or len(missing) > 1:
                raise InvalidArgumentError(
                    f"dense[{missing[0]!r}]", "a vector", f"none from encoder {spec!r}"
                )
            argument = f"dense of encoder {spec!r}"
            recipe = self.recipe.dense[missing[0]]
            made = check_dense(encoded.dense, recipe.dim, count, argument, recipe.datatype)
            dense = {**dense, missing[0]: made}
        return tokens, dense

    def _asked(
        self,
        vectors: _QueryVectors,
        text: str | None,
        cross_encoder: CrossEncoder | None,
        options: SearchOptions,
    ) -> Asked:
        if self.needs_fit:
            raise NotFittedError(
                "there is nothing to search yet: the recipe learns from the first documents added"
            )
        tokens, coder, recipe = vectors.tokens, self._codes, self.recipe.tokens
        has_matrix = recipe is not None and recipe.multivector is not None
        ranks = tokens is not None and (has_matrix or coder is not None)
        if options.exact and has_matrix:
            coder = None
        found = len(vectors.dense) + (vectors.words is not None)
        found += tokens is not None and self._fde is not None
        if found == 0 and not (ranks and coder is None):
            expected = "a vector, because the recipe finds nothing by tokens"
            raise InvalidArgumentError("dense", expected, None)
        weights = None if tokens is None else self._weights(tokens, vectors.token_weights)
        finders: dict[str, Stage] = {}
        # Where nothing ranks them anew, the order of the hits is that of the branches.
        final = not ranks
        if tokens is not None and self._fde is not None and recipe is not None:
            query = self._fde.encode_queries(tokens, weights)[0].tolist()
            params = self._search_params(recipe.encoding_storage, options, final, self._fde.hnsw_ef)
            nearest = models.NearestQuery(nearest=query)
            finders[TOKENS_BRANCH] = Stage(FDE_VECTOR, FDE_VECTOR, nearest, params)
        for name, vector in vectors.dense.items():
            finders[name] = self._dense_stage(name, vector, options, final)
        if ranks and tokens is not None:
            tokens = self._ranking_tokens(tokens, weights, vectors.saliency)
        if vectors.words is not None and self._sparse is not None:
            nearest = models.NearestQuery(nearest=self._sparse.encode_query(vectors.words))
            params = models.SearchParams(exact=options.exact or None)
            finders[SPARSE_VECTOR] = Stage(SPARSE_VECTOR, SPARSE_VECTOR, nearest, params)
        searched = self.recipe
        if options.fusion is not None:
            searched = searched.model_copy(update={"fusion": options.fusion})
        return Asked(
            searched, text, finders, tokens if ranks else None, coder if ranks else None, cross_encoder
        )

    def _token_similarities(self, query: Query, documents: TokenBatch) -> tuple[Any, Any]:
        """Relevance and similarity by the tokens of a query (:meth:`with_query_vectors`) that rank."""
        saliency = None if query.saliency is None else np.asarray(query.saliency, dtype=np.float32)
        given, weights = self._weighed_tokens(query)
        ranking = self._ranking_tokens(given, weights, saliency)
        return token_similarities(ranking.values, documents, given)

    def _weighed_tokens(self, query: Query) -> tuple[TokenBatch, NDArray[np.float32] | None]:
        """Tokens of a query that :meth:`with_query_vectors` made, and their weights."""
        tokens = TokenBatch.from_list([_given(query.tokens)])
        own = None if query.token_weights is None else np.asarray(query.token_weights, dtype=np.float32)
        return tokens, self._weights(tokens, own)

    def _weights(self, tokens: TokenBatch, given: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """Weights (t,) of the tokens of a query: those of the recipe times those that were given."""
        if self._query_weights is None:
            return given
        own = self._query_weights.weights(tokens)
        return own if given is None else own * given

    def _ranking_tokens(
        self, tokens: TokenBatch, weights: NDArray[np.float32] | None, saliency: NDArray[np.float32] | None
    ) -> TokenBatch:
        """Tokens of a query as MaxSim ranks by them: weighed, then reduced as the recipe says."""
        if weights is not None:
            # The weight of a token is a factor of its products, and so of its highest one.
            tokens = TokenBatch(tokens.values * weights[:, None], tokens.offsets)
        reduction = None if self.recipe.tokens is None else self.recipe.tokens.query_reduction
        if reduction is None:
            return tokens
        if reduction.needs_saliency and saliency is None:
            expected = "how much each token of the query matters, by which the recipe prunes it"
            raise InvalidArgumentError("saliency", expected, None)
        return reduction.reduce(tokens, saliency).tokens

    def _dense_stage(
        self, name: str, given: NDArray[np.float32], options: SearchOptions, final: bool
    ) -> Stage:
        """The finest of what is stored for a vector, behind the coarser ones that find its candidates."""
        stage: Stage | None = None
        ranked = self._dense[name]
        made = ranked.encode_query(given)
        # An exact search compares the vectors as given, where they are stored.
        by_codes = ranked.ranks_by_codes if options.exact else ranked.codes is not None
        final = final and not by_codes
        for place, (stored, vector) in enumerate(made.items()):
            storage = self.recipe.dense[name] if place == 0 else Storage()
            stage = Stage(
                stored,
                stored,
                models.NearestQuery(nearest=vector[0].tolist()),
                self._search_params(storage, options, final and place == len(made) - 1),
                # An exact search compares the finest of all documents.
                among=() if stage is None or options.exact else (stage,),
                # A coarser one finds twice as many, of which this one keeps the better half.
                widening=2,
            )
        assert stage is not None
        if by_codes and ranked.codes is not None:
            parts = self._code_parts()
            coded = Coded(f"{name}_codes", ranked.codes, ranked.coded(given)[0], parts[name], _stop(parts))
            return replace(stage, coded=coded)
        return self._beside(stage, name, given, options) if name in self._adapters else stage

    def _beside(self, stage: Stage, name: str, given: NDArray[np.float32], options: SearchOptions) -> Stage:
        """Search what the new model embedded, and beside it, by way of the adapter, what it did not yet."""
        dense = self.recipe.dense[name]
        previous = dense.previous
        assert previous is not None
        asked = unit_rows(given) if dense.distance == models.Distance.COSINE else given
        adapter = self._adapters[name]
        adapted = adapter.transform(asked)
        # A cosine does not tell how long the query is.
        length = np.linalg.norm(adapted) if dense.stored_distance == models.Distance.COSINE else 1.0
        since = new_model_filter(dense.model)
        old = Stage(
            f"{name}_v{dense.model - 1}",
            previous.stored_as,
            models.NearestQuery(nearest=adapted[0].tolist()),
            self._search_params(dense, options, final=True),
            filter=models.Filter(must_not=[since]),
        )
        return replace(
            stage,
            name=name,
            filter=models.Filter(must=[since]),
            beside=Beside(
                old,
                previous.factor * float(length),
                previous.offset + previous.factor * float(adapter.missing(asked)[0]),
            ),
        )

    def _search_params(
        self, storage: Storage, options: SearchOptions, final: bool, hnsw_ef: int | None = None
    ) -> models.SearchParams:
        oversampling = self.recipe.rerank.oversampling
        quantization = None
        if storage.quantization is not None and not (final and oversampling is None):
            # Rescoring as many as are wanted changes their order alone, which reranking does anyway.
            quantization = models.QuantizationSearchParams(
                rescore=oversampling is not None, oversampling=oversampling
            )
        made = models.SearchParams(
            hnsw_ef=self.recipe.rerank.hnsw_ef or hnsw_ef,
            exact=options.exact or None,
            quantization=quantization,
        )
        given = options.search_params
        if given is None:
            return made
        return made.model_copy(update={name: value for name, value in given if value is not None})


def dense_key(name: str) -> str:
    """Under which the state of a dense vector is kept."""
    return f"dense[{name!r}]"


def adapter_key(name: str) -> str:
    """Under which the state of its adapter is kept."""
    return f"adapter[{name!r}]"


def new_model_filter(version: int) -> models.FieldCondition:
    """What the model of that version embedded."""
    return models.FieldCondition(key=MODEL, range=models.Range(gte=version))


def _check_branches(vectors: _QueryVectors, branches: list[str] | None) -> None:
    """Refuse a query that has nothing to be compared by, or not what a branch needs."""
    if branches is None:
        if vectors.tokens is None and not vectors.dense and vectors.words is None:
            raise InvalidArgumentError("tokens", "tokens, dense or text", "none of them")
        return
    for name in branches:
        if name == SPARSE_VECTOR and vectors.words is None:
            raise InvalidArgumentError("text", f"a text, in which branch {name!r} finds words", None)
        if name == TOKENS_BRANCH and vectors.tokens is None:
            raise InvalidArgumentError("tokens", "a matrix, or a text to make it from", None)
        if name not in (SPARSE_VECTOR, TOKENS_BRANCH) and name not in vectors.dense:
            raise InvalidArgumentError(f"dense[{name!r}]", "a vector, or a text to make it from", None)


def _with_codes(
    payloads: Sequence[Mapping[str, Any]], field: str, codes: Sequence[bytes]
) -> list[Mapping[str, Any]]:
    return [
        with_fields(payload, {field: text})
        for payload, text in zip(payloads, base85.encode(codes), strict=True)
    ]


def _stop(parts: Mapping[str, slice]) -> int:
    """Bytes of all parts together."""
    return max(int(part.stop) for part in parts.values())


def _given(vectors: Any, name: str | None = None) -> NDArray[Any]:
    return np.asarray(vectors if name is None else vectors[name])


def _first_name(dense: Any) -> str:
    return str(next(iter(dense)))


def _stored(record: models.Record, name: str) -> Any:
    """Vector of a record, also of one that has no name."""
    return record.vector.get(name) if isinstance(record.vector, dict) else record.vector


def _scanned(storage: Storage) -> Storage:
    """Compare encodings one by one for longer than Qdrant would, unless the recipe says."""
    hnsw = storage.hnsw or models.HnswConfigDiff()
    if hnsw.full_scan_threshold is not None:
        return storage
    hnsw = hnsw.model_copy(update={"full_scan_threshold": SCAN_KB})
    return storage.model_copy(update={"hnsw": hnsw})


def _vector_params(
    dim: int, distance: models.Distance, storage: Storage, datatype: models.Datatype | None
) -> models.VectorParams:
    return models.VectorParams(
        size=dim,
        distance=distance,
        datatype=datatype,
        on_disk=storage.on_disk,
        hnsw_config=storage.hnsw,
        quantization_config=storage.quantization,
    )


def _token_weights(given: Any, tokens: TokenBatch | None) -> NDArray[np.float32] | None:
    if given is None:
        return None
    if tokens is None:
        raise InvalidArgumentError("token_weights", "none, because no tokens are given", "weights")
    weights = checked_weights(given, len(tokens.values))
    negative = np.flatnonzero(weights < 0)
    if negative.size:
        raise InvalidArgumentError(f"token_weights[{negative[0]}]", "at least 0", weights[negative[0]])
    return weights


def _query_tokens(given: Any, dim: int) -> TokenBatch:
    if isinstance(given, TokenBatch):
        return check_tokens(given, dim, 1)
    try:
        return check_tokens([given], dim, 1)
    except InvalidArgumentError as error:
        argument = error.argument.replace("tokens[0]", "tokens")
        raise type(error)(argument, error.expected, error.got) from None


def _check_options(options: SearchOptions) -> None:
    for name in ("limit", "candidates"):
        value = getattr(options, name)
        if not (name == "candidates" and value is None):
            checked_integer(value, name, 1)
