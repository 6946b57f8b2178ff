"""A fitted recipe: an encoder, the branches, their fusion and the cross-encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models

from embplug.branches.base import Branch, has_stored
from embplug.branches.codes_field import with_codes
from embplug.branches.dense import DenseBranch, dense_branches
from embplug.branches.documents import (
    CheckedDocuments,
    CheckedSample,
    GridsLike,
    TokensLike,
    check_token_documents,
)
from embplug.branches.loaded_models import LoadedModels
from embplug.branches.points import Vectors, with_fields
from embplug.branches.prepare import Branches, checked_queries, chosen_branches, prepared_query
from embplug.branches.queries import CheckedQuery, check_query
from embplug.branches.sparse import SparseBranch
from embplug.branches.tokens import TokensBranch
from embplug.branches.vector_version import VectorVersion
from embplug.common.ids import CODE_FIELDS, Id
from embplug.common.torch_device import torch_on
from embplug.encoders import Encoder
from embplug.engines.capabilities import Capabilities
from embplug.engines.check_filter import check_filter
from embplug.engines.filter_ids import with_point_ids
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.methods.numeric.arrays import Float32, State
from embplug.methods.token_diagnosis import TokenDiagnosis
from embplug.recipe import Recipe
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_BRANCH
from embplug.search.code_cache import CodeCache, code_cache
from embplug.search.cross_encoder import Scorer
from embplug.search.formula import Formula
from embplug.search.option_checks import check_options, check_queries
from embplug.search.plan import Plan, search_plan
from embplug.search.types import Query, SearchOptions

NOTHING_ADDED = "no document was added yet, so the recipe's methods are not fitted"


class Pipeline:
    """A recipe with what was fitted for it. Only methods that begin with ``fit`` or ``set`` change it.

    Parameters
    ----------
    recipe : Recipe
        What is stored and how it is searched.
    encoder : Encoder, default=None
        Turns texts into vectors. By default the encoder that the recipe names, loaded when first needed.
    versions : mapping of str to VectorVersion, default=None
        Models and names in Qdrant of vectors, where they are others than those of the recipe.
    cross_encoder : callable, default=None
        Scores texts for a query. By default the model that the recipe names, loaded when first needed.
    device : str, default=None
        Torch device on which documents are encoded and an encoding is fitted; numpy by default.

    Attributes
    ----------
    branches : dict of str to Branch
        What documents are stored and found by.
    models : LoadedModels
        The recipe's encoder and cross-encoder.
    capabilities : Capabilities or None
        What the engine of the collection can do. None until the engine has reported it.
    diagnosis : TokenDiagnosis or None
        How the tokens lie from which the methods have learned. None if that was not measured.
    unfilled : tuple of str
        Vectors of a collection that embplug did not make, which documents that are added do not get.
    revision : str or None
        Revision of the collection that this pipeline is of. None for a collection without a manifest.
    alias : str or None
        Name that the engine gives the collection only as long as it is of this revision. None if it has no
        such name.
    """

    def __init__(
        self,
        recipe: Recipe,
        encoder: Encoder | str | None = None,
        *,
        versions: Mapping[str, VectorVersion] | None = None,
        cross_encoder: Scorer | str | None = None,
        device: str | None = None,
    ) -> None:
        if device is not None:
            torch_on(device, f"encoding on device {device!r}")
        recipe = recipe.decided()
        self.versions = {**(versions or {})}
        self.branches = {branch.name: branch for branch in _branches_of(recipe, self.versions, device)}
        # The recipe names the methods; what they have learned belongs to the branches.
        self.recipe = recipe.unfitted()
        self.models = LoadedModels(self.recipe, encoder, cross_encoder)
        self.device = device
        self.capabilities: Capabilities | None = None
        self.diagnosis: TokenDiagnosis | None = None
        self.unfilled: tuple[str, ...] = ()
        self.revision: str | None = None
        self.alias: str | None = None
        self._fitted = False
        self._codes = code_cache()

    def changed(
        self, recipe: Recipe, versions: Mapping[str, VectorVersion], encoder: Encoder | str | None = None
    ) -> Pipeline:
        """Return a pipeline of another recipe with the same models, device and engine; it is not fitted.

        Parameters
        ----------
        recipe : Recipe
            The other recipe.
        versions : mapping of str to VectorVersion
            Models and names in Qdrant of its dense vectors.
        encoder : Encoder, default=None
            Encoder of texts. None keeps the encoder of this pipeline.

        Returns
        -------
        Pipeline
            The new pipeline, of the same revision until it is saved.
        """
        pipeline = Pipeline(
            recipe,
            self.models.passed_encoder if encoder is None else encoder,
            versions=versions,
            cross_encoder=self.models.passed_scorer,
            device=self.device,
        )
        pipeline.capabilities = self.capabilities
        pipeline.models.allow_as(self.models)
        if encoder is not None and not isinstance(encoder, str):
            pipeline.models.note_revision("", encoder)
        elif encoder is None and _model_versions(versions) == _model_versions(self.versions):
            pipeline.models.take_revisions(self.models)
        pipeline.revision, pipeline.alias = self.revision, self.alias
        pipeline.diagnosis = self.diagnosis
        return pipeline

    @property
    def fitted(self) -> bool:
        """Whether every method is fitted, or has nothing to learn."""
        # Nothing unlearns, and every search asks.
        if not self._fitted:
            self._fitted = all(branch.fitted for branch in self.branches.values())
        return self._fitted

    @property
    def learns_from_tokens(self) -> bool:
        """Whether a method of the recipe still has to learn from token matrices."""
        return any(branch.learns_from_tokens for branch in self.branches.values())

    def fit(self, sample: CheckedSample) -> None:
        """Fit the methods that are not fitted.

        Raises
        ------
        InvalidArgumentError
            The sample lacks what a method learns from.
        """
        for branch in self.branches.values():
            if not branch.fitted:
                branch.fit(sample)

    def drift(
        self,
        tokens: TokensLike,
        saliency: Sequence[ArrayLike] | None = None,
        grids: GridsLike | None = None,
    ) -> float:
        """How much worse the encoding predicts MaxSim between new documents than in its sample.

        Raises
        ------
        InvalidArgumentError
            The recipe's encoding is not learned, or an argument is wrong.
        NotFittedError
            The encoding has learned nothing yet.
        """
        branch = self.tokens_branch
        if branch is None:
            raise InvalidArgumentError("recipe.tokens.encoding", "a learned encoding", None)
        branch.check_drifts()
        return branch.drift(*check_token_documents(tokens, saliency, grids, self.recipe))

    def describe(self) -> dict[str, dict[str, Any]]:
        """What each method of the recipe says of itself, by its place in the recipe."""
        self._check_fitted()
        return {place: text for branch in self.branches.values() for place, text in branch.describe().items()}

    def get_state(self) -> State:
        """Learned arrays, by method; empty where all is in the recipe."""
        return {key: array for branch in self.branches.values() for key, array in branch.get_state().items()}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; methods that are not in ``state`` stay as they are."""
        for branch in self.branches.values():
            branch.set_state(state)

    def set_payload_indexes(self, indexes: Mapping[str, Any]) -> None:
        """Take over payload indexes that the collection has got or lost; filters are checked against them."""
        self.recipe = self.recipe.model_copy(update={"payload_indexes": {**indexes}})

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of each named vector."""
        configs = [branch.vectors_config() for branch in self.branches.values()]
        return {name: params for config in configs for name, params in config.items()}

    def sparse_vectors_config(self) -> dict[str, models.SparseVectorParams] | None:
        """Qdrant's parameters of the sparse vectors; ``None`` where there are none."""
        configs = [branch.sparse_vectors_config() for branch in self.branches.values()]
        return {name: params for config in configs for name, params in config.items()} or None

    @property
    def tokens_branch(self) -> TokensBranch | None:
        """The tokens branch; None where the recipe has no tokens."""
        branch = self.branches.get(TOKENS_BRANCH)
        return branch if isinstance(branch, TokensBranch) else None

    def dense(self, name: str) -> DenseBranch:
        """The dense branch of this name."""
        branch = self.branches[name]
        assert isinstance(branch, DenseBranch)
        return branch

    def sparse_to_pass_again(self) -> tuple[str | None, Encoder | str | None]:
        """Name in Qdrant and encoder of the sparse vector of a collection that embplug did not make."""
        version = self.versions.get(SPARSE_VECTOR)
        if version is None or self.recipe.sparse is None:
            return None, None
        return version.stored_as, self.models.named_to_pass_again(self.recipe.sparse.encoder)

    def encode_dense(
        self, name: str, texts: Sequence[str], user_ids: Sequence[Id] | None = None
    ) -> dict[str, Float32]:
        """Encode texts as one dense vector, in the form in which it is stored.

        Errors name documents by ``user_ids``. If None, they name them by their positions.
        """
        branch, encoder = self.dense(name), self.models.encoder
        encoded = encoder.encode_documents(list(texts))
        vectors = branch.checked(encoded.dense, len(texts), encoder.spec)
        return branch.to_store(vectors, range(len(texts)) if user_ids is None else user_ids)

    def count_numbers(self, documents: CheckedDocuments) -> NDArray[np.int64]:
        """How many numbers of four bytes :meth:`encode` makes of each document, int64 ``(n,)``."""
        numbers = np.zeros(len(documents), dtype=np.int64)
        for branch in self.branches.values():
            numbers += branch.count_numbers(documents)
        return numbers

    def encode(self, documents: CheckedDocuments) -> tuple[Vectors, Sequence[Mapping[str, Any]]]:
        """Vectors and payloads of documents as the collection stores them.

        Raises
        ------
        NotFittedError
            A method is not fitted.
        """
        if not documents.without_vectors:
            self._check_fitted()
        vectors: Vectors = {}
        payloads: Sequence[Mapping[str, Any]] = documents.payloads
        encoded = {branch.name: branch.encode(documents) for branch in self.branches.values()}
        for own in encoded.values():
            vectors |= own.vectors
            if own.payload:
                payloads = [with_fields(payload, own.payload) for payload in payloads]
        for field in CODE_FIELDS:
            payloads = with_codes(payloads, field, self.branches, encoded)
        return vectors, payloads

    def checked_filter(self, filter: models.Filter | None) -> models.Filter | None:
        """A user's filter with ids of points in place of ids of documents.

        Raises
        ------
        FilterError, CapabilityError
            The engine would not apply the filter as it says.
        """
        if filter is None:
            return None
        check_filter(filter, self.recipe.payload_indexes, capabilities=self.capabilities)
        return with_point_ids(filter)

    def formula(self, query: models.FormulaQuery) -> Formula:
        """A user's formula, checked.

        Raises
        ------
        InvalidArgumentError, FilterError
            The formula is wrong.
        """
        return Formula(query, self.checked_filter)

    @property
    def last_candidates(self) -> int:
        """Number of documents that the last stage ranks by default."""
        last = self.recipe.rerank.cross_encoder
        return self.recipe.rerank.candidates if last is None else last.candidates

    def plan(self, queries: Sequence[Query], options: SearchOptions) -> list[Plan]:
        """Plan searches with the same options.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong. The error names it.
        NotFittedError
            A method is not fitted, because no document was added yet.
        """
        options = self._checked_options(options)
        check_queries(queries)
        chosen = chosen_branches(self.branches, options.branches)
        checked = self._checked(queries, chosen, all_needed=options.branches is not None, batch=options.batch)
        cross_encoder = self.models.cross_encoder() if options.cross_encode else None
        textless = next((i for i, query in enumerate(queries) if query.text is None), None)
        if cross_encoder is not None and textless is not None:
            argument = f"queries[{textless}].text" if options.batch else "text"
            raise InvalidArgumentError(argument, "the query's text, which the cross-encoder reads", None)
        if not self.fitted:
            raise NotFittedError(NOTHING_ADDED)
        later = self.capabilities is not None and self.capabilities.is_in_process
        prepared = [
            prepared_query(
                query, self.recipe, chosen, cross_encoder, options, payload_later=later, cache=self._cache()
            )
            for query in checked
        ]
        return [search_plan(query, options) for query in prepared]

    def encoded_queries(self, queries: Sequence[Query], batch: bool = False) -> list[CheckedQuery]:
        """Check queries; the encoder makes the vectors that they lack of their texts.

        With ``batch``, errors name a query by its place.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong. The error names it.
        """
        return self._checked(queries, self.branches, all_needed=False, batch=batch)

    def as_queries(self, encoded: Sequence[CheckedQuery], queries: Sequence[Query]) -> list[Query]:
        """Results of :meth:`encoded_queries` as queries with all vectors, and with their texts and images."""
        return [
            Query(
                None if own.tokens is None else own.tokens.values,
                {name: vector[0] for name, vector in own.dense.items()} or None,
                query.text,
                own.token_weights,
                own.saliency,
                own.image,
                sparse=None if own.sparse is None else own.sparse.vectors()[0],
            )
            for own, query in zip(encoded, queries, strict=True)
        ]

    def with_query_vectors(self, queries: Sequence[Query], batch: bool = False) -> list[Query]:
        """Queries with the vectors that the encoder makes of their texts; see :meth:`encoded_queries`."""
        return self.as_queries(self.encoded_queries(queries, batch), queries)

    def compared(self, query: Query) -> str:
        """Vector or payload field by which documents can be compared with each other and the query.

        Raises
        ------
        InvalidArgumentError
            Nothing that is stored can be compared.
        """
        return self._comparing_branch(check_query(query, self.recipe)).compared()

    def vectors_beside(self, field: str) -> list[str]:
        """Names of the vectors that documents with codes in this payload field have."""
        coding = [branch for branch in self.branches.values() if field in branch.codes_fields]
        return [name for branch in coding for name in branch.vectors_config()]

    def similarities(self, query: Query, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Relevance ``(n,)`` and similarity ``(n, n)`` of documents read with :meth:`compared`.

        Both are 0 for a document that is stored without what documents are compared by.
        """
        checked = check_query(query, self.recipe)
        branch = self._comparing_branch(checked)
        field = branch.compared()
        rows = [row for row, record in enumerate(records) if has_stored(record, field)]
        relevance = np.zeros(len(records), dtype=np.float32)
        similarity = np.zeros((len(records), len(records)), dtype=np.float32)
        if rows:
            compared = branch.similarities(checked, [records[row] for row in rows])
            relevance[rows], similarity[np.ix_(rows, rows)] = compared
        return relevance, similarity

    def _checked(
        self, queries: Sequence[Query], chosen: Branches, *, all_needed: bool, batch: bool = False
    ) -> list[CheckedQuery]:
        return checked_queries(
            queries,
            self.recipe,
            chosen,
            self.models.encoder_named,
            all_needed=all_needed,
            batch=batch,
        )

    def _comparing_branch(self, query: CheckedQuery) -> Branch:
        return next(branch for branch in self.branches.values() if branch.has_query(query))

    def _cache(self) -> CodeCache | None:
        """Codes that searches have read, where the engine tells which of them are still right."""
        tells = self.capabilities is not None and self.capabilities.tells_versions
        return self._codes if tells else None

    def _check_fitted(self) -> None:
        if not self.fitted:
            raise NotFittedError(NOTHING_ADDED)

    def _checked_options(self, options: SearchOptions) -> SearchOptions:
        check_options(options)
        for name in {} if options.fusion is None else options.fusion.weights:
            if name not in self.branches:
                raise InvalidArgumentError("fusion.weights", f"some of {[*self.branches]}", repr(name))
        if options.filter is None:
            return options
        return replace(options, filter=self.checked_filter(options.filter))


def _model_versions(versions: Mapping[str, VectorVersion]) -> dict[str, int]:
    """Version of the model of each vector that an upgrade has changed."""
    return {name: version.model for name, version in versions.items() if version.model > 1}


def _branches_of(recipe: Recipe, versions: Mapping[str, VectorVersion], device: str | None) -> list[Branch]:
    tokens = [] if recipe.tokens is None else [TokensBranch(recipe.tokens, recipe.rerank, device)]
    dense = dense_branches(recipe.dense, recipe.rerank, versions)
    version = versions.get(SPARSE_VECTOR, VectorVersion())
    stored_as = SPARSE_VECTOR if version.stored_as is None else version.stored_as
    sparse = [] if recipe.sparse is None else [SparseBranch(recipe.sparse, stored_as)]
    return [*tokens, *dense, *sparse]
