"""A fitted recipe: documents to vectors, a query to one plan of requests and the way to read its answer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug import base85
from embplug.dense import DenseVector
from embplug.documents import CheckedDocuments, CheckedSample, check_dense, check_tokens, named_dense
from embplug.encoders import Encoded, Encoder, load_encoder
from embplug.engines.capabilities import Capabilities
from embplug.errors import InvalidArgumentError, NotFittedError, StateError
from embplug.filters import check_filter
from embplug.ids import CODES, ORIGINAL_ID, point_id, split_payload
from embplug.multivector.token_batch import TokenBatch
from embplug.points import Vectors
from embplug.quantizers.token_coder import TokenCoder
from embplug.recipe import FDE_VECTOR, TOKENS_VECTOR, Recipe, Storage
from embplug.rerank.diversity import dense_similarities, token_similarities
from embplug.state import State

MAXSIM_STAGE = "maxsim"
CODES_STAGE = "codes"

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
    skipped
        Stages that failed and were passed over, with the reason.
    """

    id: int | str
    score: float
    payload: dict[str, Any] | None = None
    stages: dict[str, float] | None = None
    skipped: dict[str, str] | None = None


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
    search_params: models.SearchParams | None = None


@dataclass(frozen=True)
class Recheck:
    """Hits scored anew, as data.

    Attributes
    ----------
    request
        From the hits to what asks for their scores.
    read
        From the hits and its answer to the hits in their new order.
    """

    request: Callable[[list[Hit]], models.QueryRequest]
    read: Callable[[list[Hit], QueryResponse], list[Hit]]


@dataclass(frozen=True)
class SearchPlan:
    """One search as data.

    Attributes
    ----------
    requests
        Sent together, in one batch. The first finds the hits; the others ask for a stage's scores.
    read
        From their answers to the hits.
    recheck
        What is asked then, where hits are scored anew.
    """

    requests: list[models.QueryRequest]
    read: Callable[[Sequence[QueryResponse]], list[Hit]]
    recheck: Recheck | None = None


@dataclass(frozen=True)
class _Stage:
    """One way to find candidates."""

    vector: str
    query: Any
    storage: Storage
    coarser: _Stage | None = None
    """Finds the candidates that this one ranks; ``None`` searches all."""

    def chain(self) -> list[_Stage]:
        """This stage and those that find its candidates, first the one that searches all."""
        return [*(self.coarser.chain() if self.coarser else []), self]


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

    Attributes
    ----------
    capabilities
        Of the engine on which the recipe is used, once it was asked.
    """

    def __init__(
        self, recipe: Recipe, encoder: Encoder | None = None, stored_as: Mapping[str, str] | None = None
    ) -> None:
        if recipe.tokens is not None:
            recipe = recipe.with_encoding(recipe.tokens.encoding)
        self.recipe = recipe
        self.own_encoder = encoder
        self.capabilities: Capabilities | None = None
        self._fde = copy.deepcopy(recipe.tokens.encoding) if recipe.tokens else None
        self._codes: TokenCoder | None = None
        if recipe.tokens is not None and recipe.tokens.codes is not None:
            self._codes = TokenCoder(copy.deepcopy(recipe.tokens.codes), recipe.tokens.document_bytes)
        named = stored_as or {}
        self._dense = {
            name: DenseVector(named.get(name, name), dense) for name, dense in recipe.dense.items()
        }
        learns = self._codes is not None or (self._fde is not None and self._fde.requires_fit)
        self.needs_fit = learns or any(vector.needs_fit for vector in self._dense.values())

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
        if self._codes is not None:
            if sample.tokens is None:
                raise InvalidArgumentError("sample.tokens", "token matrices to learn the codes from", None)
            self._codes.fit(sample.tokens, sample.queries)
        for name, vector in self._dense.items():
            if any(transform.requires_fit for transform in vector.transforms):
                if name not in sample.dense:
                    raise InvalidArgumentError(
                        f"sample.dense[{name!r}]", "vectors to learn transforms from", None
                    )
                vector.fit(sample.dense[name])
        self.needs_fit = False

    def get_state(self) -> State:
        """Return what was learned, by method; empty when all is in the recipe."""
        return {
            f"{prefix}.{name}": array
            for prefix, method in self._methods().items()
            for name, array in method.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        for prefix, method in self._methods().items():
            own = f"{prefix}."
            method.set_state(
                {name.removeprefix(own): array for name, array in state.items() if name.startswith(own)}
            )
        self.needs_fit = False

    def _methods(self) -> dict[str, Any]:
        """What has state, by the name under which it is kept."""
        dense = {f"dense[{name!r}]": vector for name, vector in self._dense.items()}
        methods = {FDE_VECTOR: self._fde, CODES_STAGE: self._codes, **dense}
        return {name: method for name, method in methods.items() if method is not None}

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of each named vector."""
        config: dict[str, models.VectorParams] = {}
        for vector in self._dense.values():
            config |= vector.vectors_config()
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
            len(documents), sum(vector.stored_floats for vector in self._dense.values()), dtype=np.int64
        )
        tokens = self.recipe.tokens
        if tokens is not None and documents.tokens is not None:
            floats += self._fde.output_dim(tokens.dim) if self._fde is not None else 0
            floats += documents.tokens.lengths * (tokens.dim if tokens.matrix is not None else 0)
            if self._codes is not None:
                # As text of five characters for four bytes, and counted as numbers of four bytes.
                floats += 1 + self._codes.sizes(documents.tokens) * 5 // 16
        return floats

    def encode(self, documents: CheckedDocuments) -> tuple[Vectors, list[dict[str, Any]]]:
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
                vectors[FDE_VECTOR] = self._fde.encode_documents(documents.tokens)
            if self.recipe.tokens.matrix is not None:
                vectors[TOKENS_VECTOR] = documents.tokens
        payloads = documents.payloads
        if self._codes is not None and documents.tokens is not None:
            strings = base85.encode(self._codes.encode(documents.tokens))
            payloads = [{**payload, CODES: string} for payload, string in zip(payloads, strings, strict=True)]
        return vectors, payloads

    def check_filter(self, given: models.Filter | None) -> None:
        """Refuse a filter that the engine would not apply as it says."""
        if given is not None:
            check_filter(given, self.recipe.payload_indexes, capabilities=self.capabilities)

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
        self.check_filter(options.filter)
        return [self._plan(*vectors, options) for vectors in self._query_vectors(queries)]

    def with_query_vectors(self, query: Query) -> Query:
        """Let the encoder make of a query's text what is not given."""
        tokens, dense = self._query_vectors([query])[0]
        vectors = {name: vector[0] for name, vector in dense.items()}
        return Query(None if tokens is None else tokens.values, vectors or None)

    def compared(self, query: Query) -> str:
        """Name of what is stored of documents that can be compared with each other as with the query.

        Raises
        ------
        InvalidArgumentError
            Only bytes are stored that stand for no vector.
        """
        tokens = self.recipe.tokens
        if query.tokens is None or tokens is None:
            return self._dense[_first_name(query.dense)].stored[-1]
        if tokens.codes is not None:
            return CODES
        if tokens.matrix is not None:
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
            return token_similarities(_given(query.tokens), self._codes.decode(_codes_of(records)))
        stored: list[Any] = [_stored(record, field) for record in records]
        if field == TOKENS_VECTOR:
            return token_similarities(_given(query.tokens), TokenBatch.from_list(stored).to_float32())
        if field == FDE_VECTOR and self._fde is not None:
            asked = self._fde.encode_queries(TokenBatch.from_list([_given(query.tokens)]))[0]
            return dense_similarities(asked, stored, models.Distance.COSINE)
        name = _first_name(query.dense)
        asked = self._dense[name].encode_query(_given(query.dense, name)[None])[field][0]
        return dense_similarities(asked, stored, self.recipe.dense[name].stored_distance)

    def _plan(self, tokens: TokenBatch | None, dense: DenseVectors, options: SearchOptions) -> SearchPlan:
        stages = [] if options.exact and self._reranks(tokens) else self._stages(tokens, dense, options.exact)
        if self._codes is not None and tokens is not None and stages:
            return self._plan_by_codes(self._codes, tokens, stages, options)
        main = self._main_request(tokens, stages, options)
        finders = [one for stage in stages for one in stage.chain() if one.vector != main.using]
        requests = [main]
        reranked = bool(main.prefetch)
        if options.with_stages and reranked:
            requests += [
                _request(stage, self._candidate_count(options), options, self.recipe) for stage in finders
            ]
        names = [stage.vector for stage in finders] if reranked else []
        last = MAXSIM_STAGE if main.using == TOKENS_VECTOR else str(main.using)
        return SearchPlan(requests, lambda answers: _read(answers, names, last, options.with_stages))

    def _plan_by_codes(
        self, coder: TokenCoder, tokens: TokenBatch, stages: list[_Stage], options: SearchOptions
    ) -> SearchPlan:
        """Every stage finds candidates with their codes; the codes of all of them rank."""
        count = self._candidate_count(options)
        selector = _payload_selector(options.with_payload, with_codes=True)
        requests = [
            _request(stage, count, options, self.recipe).model_copy(update={"with_payload": selector})
            for stage in stages
        ]
        names = [stage.vector for stage in stages]
        exact = self.recipe.rerank.exact
        if exact is None:
            return SearchPlan(requests, lambda answers: _read_codes(answers, names, coder, tokens, options))
        kept = replace(options, limit=max(exact, options.limit), score_threshold=None)
        return SearchPlan(
            requests,
            lambda answers: _read_codes(answers, names, coder, tokens, kept),
            Recheck(
                lambda hits: _matrix_request(hits, tokens, self.recipe),
                lambda hits, answer: _read_recheck(hits, answer, options),
            ),
        )

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

    def _stages(self, tokens: TokenBatch | None, dense: DenseVectors, exact: bool) -> list[_Stage]:
        stages = []
        if self.needs_fit:
            raise NotFittedError(
                "there is nothing to search yet: the recipe learns from the first documents added"
            )
        if tokens is not None and self._fde is not None and self.recipe.tokens is not None:
            query = self._fde.encode_queries(tokens)[0].tolist()
            stages.append(_Stage(FDE_VECTOR, query, self.recipe.tokens.fde_storage))
        return stages + [self._dense_stage(name, vector, exact) for name, vector in dense.items()]

    def _dense_stage(self, name: str, given: NDArray[np.float32], exact: bool) -> _Stage:
        """The finest of what is stored for a vector, behind the coarser ones that find its candidates."""
        stage = None
        made = self._dense[name].encode_query(given)
        for place, (stored, vector) in enumerate(made.items()):
            storage = self.recipe.dense[name] if place == 0 else Storage()
            # An exact search compares the finest of all documents.
            stage = _Stage(stored, vector[0].tolist(), storage, None if exact else stage)
        assert stage is not None
        return stage

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
        if not stages:
            raise InvalidArgumentError("dense", "a vector, because the recipe finds nothing by tokens", None)
        if len(stages) != 1:
            names = [stage.vector for stage in stages]
            raise InvalidArgumentError("dense", "one vector, because no tokens rerank the candidates", names)
        return _final_request(stages[0], self._candidate_count(options), options, self.recipe)

    def _candidate_count(self, options: SearchOptions) -> int:
        return max(options.candidates or self.recipe.rerank.candidates, options.limit)


def _given(vectors: Any, name: str | None = None) -> NDArray[Any]:
    return np.asarray(vectors if name is None else vectors[name])


def _first_name(dense: Any) -> str:
    return str(next(iter(dense)))


def _stored(record: models.Record, name: str) -> Any:
    """Vector of a record, also of one that has no name."""
    return record.vector.get(name) if isinstance(record.vector, dict) else record.vector


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
    made = models.SearchParams(
        hnsw_ef=recipe.rerank.hnsw_ef, exact=options.exact or None, quantization=quantization
    )
    given = options.search_params
    return made if given is None else made.model_copy(update=dict(_set_fields(given)))


def _set_fields(given: models.SearchParams) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in given if value is not None)


def _asked(
    stage: _Stage, coarser: int, options: SearchOptions, recipe: Recipe, final: bool = False
) -> dict[str, Any]:
    """Ask a stage for its best among all, or among ``coarser`` that the stage before it finds."""
    return {
        "query": models.NearestQuery(nearest=stage.query),
        "using": stage.vector,
        "prefetch": _prefetch(stage.coarser, coarser, options, recipe) if stage.coarser else None,
        "filter": None if stage.coarser else options.filter,
        "params": _search_params(stage, options, recipe, final),
    }


def _prefetch(stage: _Stage, count: int, options: SearchOptions, recipe: Recipe) -> models.Prefetch:
    # A coarser stage leaves twice as many, of which this one keeps the better half.
    return models.Prefetch(**_asked(stage, 2 * count, options, recipe), limit=count)


def _request(stage: _Stage, count: int, options: SearchOptions, recipe: Recipe) -> models.QueryRequest:
    """Ask for the scores of a stage among the candidates it was given."""
    asked = _asked(stage, 2 * count, options, recipe)
    return models.QueryRequest(**asked, limit=count, with_payload=_payload_selector(False))


def _final_request(
    stage: _Stage, candidates: int, options: SearchOptions, recipe: Recipe
) -> models.QueryRequest:
    """Find the hits by one dense vector, behind the coarser ones that are stored for it."""
    return models.QueryRequest(
        **_asked(stage, candidates, options, recipe, final=True),
        limit=options.limit,
        with_payload=_payload_selector(options.with_payload),
        score_threshold=options.score_threshold,
    )


def _payload_selector(wanted: bool | Sequence[str], with_codes: bool = False) -> Any:
    """Always ask for the original id, which is how a hit gets its id back; for codes where they rank."""
    if wanted is True:
        return True if with_codes else models.PayloadSelectorExclude(exclude=[CODES])
    return [ORIGINAL_ID, *([CODES] if with_codes else []), *([] if wanted is False else wanted)]


def _matrix_request(hits: list[Hit], tokens: TokenBatch, recipe: Recipe) -> models.QueryRequest:
    ignore = models.QuantizationSearchParams(ignore=not recipe.rerank.quantized_tokens)
    return models.QueryRequest(
        query=models.NearestQuery(nearest=tokens.values.tolist()),
        using=TOKENS_VECTOR,
        filter=models.Filter(must=[models.HasIdCondition(has_id=[point_id(hit.id, "id") for hit in hits])]),
        params=models.SearchParams(exact=True, quantization=ignore),
        limit=len(hits),
        with_payload=False,
    )


def _read_recheck(hits: list[Hit], answer: QueryResponse, options: SearchOptions) -> list[Hit]:
    """Order hits by their new scores; one that was deleted meanwhile is left out."""
    by_id: dict[Any, Hit] = {point_id(hit.id, "id"): hit for hit in hits}
    checked = []
    for point in answer.points:
        hit = by_id[point.id]
        stages = None if hit.stages is None else {**hit.stages, MAXSIM_STAGE: point.score}
        checked.append(replace(hit, score=point.score, stages=stages))
    return _best(checked, options)


def _read_codes(
    answers: Sequence[QueryResponse],
    stages: list[str],
    coder: TokenCoder,
    tokens: TokenBatch,
    options: SearchOptions,
) -> list[Hit]:
    found: dict[Any, Any] = {}
    by_stage: dict[Any, dict[str, float]] = {}
    for stage, answer in zip(stages, answers, strict=True):
        for point in answer.points:
            found.setdefault(point.id, point)
            by_stage.setdefault(point.id, {})[stage] = point.score
    scores = coder.score(tokens.values, _codes_of(list(found.values()))).tolist()
    hits = []
    for point, score in zip(found.values(), scores, strict=True):
        given_id, payload = split_payload(point.id, point.payload)
        told = {**by_stage[point.id], CODES_STAGE: score} if options.with_stages else None
        hits.append(Hit(given_id, score, payload or None, told))
    return _best(hits, options)


def _best(hits: list[Hit], options: SearchOptions) -> list[Hit]:
    ordered = sorted(hits, key=lambda hit: -hit.score)[: options.limit]
    threshold = options.score_threshold
    return ordered if threshold is None else [hit for hit in ordered if hit.score >= threshold]


def _codes_of(points: Sequence[Any]) -> list[bytes]:
    texts: list[Any] = [(point.payload or {}).get(CODES) for point in points]
    try:
        return base85.decode(texts)
    except (AttributeError, ValueError):
        broken = next((point.id for point, text in zip(points, texts, strict=True) if not _reads(text)), None)
    raise StateError(
        f"point {broken!r} has lost the codes of its tokens (payload field {CODES!r}): add it again"
    )


def _reads(text: Any) -> bool:
    try:
        base85.decode([text])
    except (AttributeError, ValueError):
        return False
    return True


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
