"""A fitted recipe: documents to vectors, a query to one plan of requests and the way to read its answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.documents import CheckedDocuments, CheckedSample, check_dense, check_tokens, named_dense
from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.filters import check_filter
from embplug.ids import ORIGINAL_ID, split_payload
from embplug.multivector.token_batch import TokenBatch
from embplug.points import Vectors
from embplug.recipe import FDE_VECTOR, TOKENS_VECTOR, Recipe, Storage
from embplug.state import State

MAXSIM_STAGE = "maxsim"

DenseVectors: TypeAlias = dict[str, NDArray[np.float32]]
"""Name of the vector -> ``(n, dim)``."""


@dataclass(frozen=True)
class Hit:
    """One document found.

    Attributes
    ----------
    id
        As it was given to ``add``; UUIDs as strings.
    score
        Of the last stage: MaxSim (a sum over query tokens) where tokens are reranked.
    payload
        ``None`` when it was not asked for.
    stages
        On request, the score of each stage by its name: ``{"fde": …, "maxsim": …}``. A stage in
        which the document was not found is absent.
    """

    id: int | str
    score: float
    payload: dict[str, Any] | None = None
    stages: dict[str, float] | None = None


@dataclass(frozen=True)
class Query:
    """What is looked for: any of a token matrix, dense vectors and a text.

    Attributes
    ----------
    tokens
        ``(t, dim)``.
    dense
        ``(dim,)``, or one such vector per name.
    text
        For the recipe's encoder to make from it what is not given.
    """

    tokens: ArrayLike | None = None
    dense: ArrayLike | Mapping[str, ArrayLike] | None = None
    text: str | None = None


@dataclass(frozen=True)
class SearchOptions:
    """How a search is run; see ``Collection.search``."""

    limit: int = 10
    filter: models.Filter | None = None
    candidates: int | None = None
    exact: bool = False
    with_payload: bool | Sequence[str] = True
    with_stages: bool = False
    score_threshold: float | None = None


@dataclass(frozen=True)
class SearchPlan:
    """One search as data.

    Attributes
    ----------
    requests
        Sent together, in one batch. The first finds the hits; the others ask for a stage's scores.
    read
        From their answers to the hits.
    """

    requests: list[models.QueryRequest]
    read: Callable[[Sequence[QueryResponse]], list[Hit]]


@dataclass(frozen=True)
class _Stage:
    """One way to find candidates."""

    vector: str
    query: Any
    storage: Storage


class Pipeline:
    """A recipe with what was fitted for it. Only :meth:`fit` and :meth:`set_state` change it.

    Parameters
    ----------
    recipe
        What is stored and how it is searched.
    encoder
        Turns texts into vectors; default: the one that the recipe names, loaded when first needed.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder | None = None) -> None:
        self.recipe = recipe
        self.own_encoder = encoder
        self._fde = copy.deepcopy(recipe.tokens.fde) if recipe.tokens else None
        self.needs_fit = self._fde is not None and self._fde.requires_fit

    def fit(self, sample: CheckedSample) -> None:
        """Learn what the recipe's methods learn from data.

        Raises
        ------
        InvalidArgumentError
            The sample lacks what a method learns from.
        """
        if self._fde is not None and self._fde.requires_fit:
            if sample.tokens is None:
                raise InvalidArgumentError("sample.tokens", "token matrices to learn the encoding from", None)
            self._fde.fit(sample.tokens, sample.queries)
        self.needs_fit = False

    def get_state(self) -> State:
        """Return what was learned, by method; empty when all is in the recipe."""
        if self._fde is None:
            return {}
        return {f"{FDE_VECTOR}.{name}": array for name, array in self._fde.get_state().items()}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        if self._fde is not None:
            prefix = f"{FDE_VECTOR}."
            self._fde.set_state({name.removeprefix(prefix): array for name, array in state.items()})
        self.needs_fit = False

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of each named vector."""
        config = {
            name: _vector_params(dense.dim, dense.distance, dense, dense.datatype)
            for name, dense in self.recipe.dense.items()
        }
        tokens = self.recipe.tokens
        if tokens is not None and self._fde is not None:
            config[FDE_VECTOR] = _vector_params(
                self._fde.output_dim(tokens.dim), models.Distance.DOT, tokens.fde_storage, self._fde.datatype
            )
        if tokens is not None and tokens.matrix is not None:
            config[TOKENS_VECTOR] = _vector_params(
                tokens.dim, models.Distance.DOT, tokens.matrix, tokens.matrix.datatype
            ).model_copy(
                update={
                    "multivector_config": models.MultiVectorConfig(
                        comparator=models.MultiVectorComparator.MAX_SIM
                    )
                }
            )
        return config

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
                raise InvalidArgumentError("encoder", "one for texts, in the recipe or given to open", None)
            self.own_encoder = load_encoder(self.recipe.encoder)
        return self.own_encoder

    def with_vectors(self, documents: CheckedDocuments) -> CheckedDocuments:
        """Let the encoder make the vectors that were not given."""
        if documents.texts is None:
            return documents
        encoded = self.encoder.encode_documents(documents.texts)
        tokens, dense = self._from_encoder(encoded, documents.tokens, documents.dense, len(documents))
        return replace(documents, tokens=tokens, dense=dense, texts=None)

    def stored_floats(self, documents: CheckedDocuments) -> NDArray[np.int64]:
        """Count the numbers that :meth:`encode` makes of each document."""
        floats = np.full(
            len(documents), sum(dense.dim for dense in self.recipe.dense.values()), dtype=np.int64
        )
        tokens = self.recipe.tokens
        if tokens is not None and documents.tokens is not None:
            floats += self._fde.output_dim(tokens.dim) if self._fde is not None else 0
            floats += documents.tokens.lengths * (tokens.dim if tokens.matrix is not None else 0)
        return floats

    def encode(self, documents: CheckedDocuments) -> Vectors:
        """Vectors of documents as the collection stores them.

        Raises
        ------
        NotFittedError
            A method learns from data, and did not yet.
        """
        if self.needs_fit:
            raise NotFittedError("the recipe has methods that learn from data, and none was given yet")
        vectors: Vectors = dict(documents.dense)
        if self.recipe.tokens is not None and documents.tokens is not None:
            if self._fde is not None:
                vectors[FDE_VECTOR] = self._fde.encode_documents(documents.tokens)
            if self.recipe.tokens.matrix is not None:
                vectors[TOKENS_VECTOR] = documents.tokens
        return vectors

    def plan(self, queries: Sequence[Query], options: SearchOptions) -> list[SearchPlan]:
        """Make the requests of searches with the same options.

        Raises
        ------
        InvalidArgumentError
            Naming the argument that is wrong.
        NotFittedError
            A method learns from data, and no document was added yet.
        """
        _check_options(options)
        if options.filter is not None:
            check_filter(options.filter, self.recipe.payload_indexes)
        return [self._plan(*vectors, options) for vectors in self._query_vectors(queries)]

    def _plan(self, tokens: TokenBatch | None, dense: DenseVectors, options: SearchOptions) -> SearchPlan:
        stages = [] if options.exact and self._reranks(tokens) else self._stages(tokens, dense)
        main = self._main_request(tokens, stages, options)
        requests = [main]
        reranked = bool(main.prefetch)
        if options.with_stages and reranked:
            requests += [
                _request(stage, self._candidate_count(options), options, self.recipe) for stage in stages
            ]
        names = [stage.vector for stage in stages] if reranked else []
        last = MAXSIM_STAGE if main.using == TOKENS_VECTOR else str(main.using)
        return SearchPlan(requests, lambda answers: _read(answers, names, last, options.with_stages))

    def _query_vectors(self, queries: Sequence[Query]) -> list[tuple[TokenBatch | None, DenseVectors]]:
        """Vectors of each query: as given, and what is missing from its text, all texts in one batch."""
        given = [self._given_vectors(query) for query in queries]
        unread = [
            i
            for i, (tokens, dense) in enumerate(given)
            if queries[i].text is not None and not self._suffices(tokens, dense)
        ]
        if unread:
            encoded = self.encoder.encode_queries([str(queries[i].text) for i in unread])
            for row, i in enumerate(unread):
                one = Encoded(
                    None if encoded.tokens is None else encoded.tokens[row : row + 1],
                    None if encoded.dense is None else encoded.dense[row : row + 1],
                )
                given[i] = self._from_encoder(one, *given[i], 1)
        for tokens, dense in given:
            if tokens is None and not dense:
                raise InvalidArgumentError("tokens", "tokens, dense or text", "none of them")
        return given

    def _given_vectors(self, query: Query) -> tuple[TokenBatch | None, DenseVectors]:
        if query.text is not None and not (isinstance(query.text, str) and query.text.strip()):
            raise InvalidArgumentError("text", "a text that is not empty", repr(query.text))
        tokens = None
        if query.tokens is not None:
            if self.recipe.tokens is None:
                raise InvalidArgumentError("tokens", "none, because the recipe has no tokens", "a matrix")
            tokens = _query_tokens(query.tokens, self.recipe.tokens.dim)
        dense = {}
        for name, argument, vector in named_dense(query.dense, self.recipe):
            row = np.asarray(vector)[None] if np.ndim(vector) == 1 else vector
            dense[name] = check_dense(row, self.recipe.dense[name].dim, 1, argument)
        return tokens, dense

    def _suffices(self, tokens: TokenBatch | None, dense: DenseVectors) -> bool:
        """Whether a search needs no more vectors: tokens find and rank by themselves."""
        return tokens is not None or (self.recipe.tokens is None and len(dense) == len(self.recipe.dense))

    def _from_encoder(
        self,
        encoded: Encoded,
        tokens: TokenBatch | None,
        dense: DenseVectors,
        count: int,
    ) -> tuple[TokenBatch | None, DenseVectors]:
        """Complete what was given by what the encoder made."""
        spec = self.encoder.spec
        if self.recipe.tokens is not None and tokens is None:
            if encoded.tokens is None:
                raise InvalidArgumentError("encoder", "one that makes token vectors", spec)
            tokens = check_tokens(
                encoded.tokens, self.recipe.tokens.dim, count, f"tokens of encoder {spec!r}"
            )
        missing = [name for name in self.recipe.dense if name not in dense]
        if missing:
            if encoded.dense is None or len(missing) > 1:
                raise InvalidArgumentError(
                    f"dense[{missing[0]!r}]", "a vector", f"none from encoder {spec!r}"
                )
            argument = f"dense of encoder {spec!r}"
            made = check_dense(encoded.dense, self.recipe.dense[missing[0]].dim, count, argument)
            dense = {**dense, missing[0]: made}
        return tokens, dense

    def _reranks(self, tokens: TokenBatch | None) -> bool:
        return tokens is not None and self.recipe.tokens is not None and self.recipe.tokens.matrix is not None

    def _stages(self, tokens: TokenBatch | None, dense: DenseVectors) -> list[_Stage]:
        stages = []
        if tokens is not None and self._fde is not None and self.recipe.tokens is not None:
            if self.needs_fit:
                raise NotFittedError(
                    "there is nothing to search yet: the recipe learns from the first documents added"
                )
            query = self._fde.encode_queries(tokens)[0].tolist()
            stages.append(_Stage(FDE_VECTOR, query, self.recipe.tokens.fde_storage))
        stages += [
            _Stage(name, vector[0].tolist(), self.recipe.dense[name]) for name, vector in dense.items()
        ]
        return stages

    def _main_request(
        self, tokens: TokenBatch | None, stages: list[_Stage], options: SearchOptions
    ) -> models.QueryRequest:
        if self._reranks(tokens) and tokens is not None:
            ignore = models.QuantizationSearchParams(ignore=not self.recipe.rerank.quantized_tokens)
            count = self._candidate_count(options)
            return models.QueryRequest(
                query=models.NearestQuery(nearest=tokens.values.tolist()),
                using=TOKENS_VECTOR,
                prefetch=[_prefetch(stage, count, options, self.recipe) for stage in stages] or None,
                filter=None if stages else options.filter,
                params=models.SearchParams(exact=not stages, quantization=ignore),
                limit=options.limit,
                with_payload=_payload_selector(options.with_payload),
                score_threshold=options.score_threshold,
            )
        if len(stages) != 1:
            names = [stage.vector for stage in stages]
            raise InvalidArgumentError("dense", "one vector, because no tokens rerank the candidates", names)
        return _request(stages[0], options.limit, options, self.recipe, final=True)

    def _candidate_count(self, options: SearchOptions) -> int:
        return max(options.candidates or self.recipe.rerank.candidates, options.limit)


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
        if name == "candidates" and value is None:
            continue
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise InvalidArgumentError(name, "an integer of at least 1", repr(value))


def _search_params(stage: _Stage, options: SearchOptions, recipe: Recipe, final: bool) -> models.SearchParams:
    oversampling = recipe.rerank.oversampling
    quantization = None
    if stage.storage.quantization is not None and not (final and oversampling is None):
        # Rescoring as many as are wanted changes their order alone, which reranking does anyway.
        quantization = models.QuantizationSearchParams(
            rescore=oversampling is not None, oversampling=oversampling
        )
    return models.SearchParams(
        hnsw_ef=recipe.rerank.hnsw_ef, exact=options.exact or None, quantization=quantization
    )


def _prefetch(stage: _Stage, count: int, options: SearchOptions, recipe: Recipe) -> models.Prefetch:
    return models.Prefetch(
        query=models.NearestQuery(nearest=stage.query),
        using=stage.vector,
        filter=options.filter,
        params=_search_params(stage, options, recipe, final=False),
        limit=count,
    )


def _request(
    stage: _Stage, count: int, options: SearchOptions, recipe: Recipe, final: bool = False
) -> models.QueryRequest:
    return models.QueryRequest(
        query=models.NearestQuery(nearest=stage.query),
        using=stage.vector,
        filter=options.filter,
        params=_search_params(stage, options, recipe, final),
        limit=count,
        with_payload=_payload_selector(options.with_payload if final else False),
        score_threshold=options.score_threshold if final else None,
    )


def _payload_selector(wanted: bool | Sequence[str]) -> Any:
    """Always ask for the original id, which is how a hit gets its id back."""
    if wanted is True:
        return True
    return [ORIGINAL_ID, *([] if wanted is False else wanted)]


def _read(answers: Sequence[QueryResponse], stages: list[str], last: str, with_stages: bool) -> list[Hit]:
    scores = [{point.id: point.score for point in answer.points} for answer in answers[1:]]
    hits = []
    for point in answers[0].points:
        given_id, payload = split_payload(point.id, point.payload)
        by_stage = None
        if with_stages:
            by_stage = {
                name: found[point.id] for name, found in zip(stages, scores, strict=True) if point.id in found
            }
            by_stage[last] = point.score
        hits.append(Hit(given_id, point.score, payload or None, by_stage))
    return hits
