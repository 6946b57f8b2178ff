"""The base of all branches: a branch is one way in which documents are stored and found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.documents import CheckedDocuments, CheckedSample
from embplug.branches.points import Vectors
from embplug.branches.queries import CheckedQuery
from embplug.common.ids import CODE_FIELDS
from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError, StateError
from embplug.methods.base import Method
from embplug.methods.numeric.arrays import Float32, State, state_part
from embplug.recipe import Rerank, Storage
from embplug.search.stages import Ranker, Stage
from embplug.search.types import SearchOptions

Item = TypeVar("Item", CheckedDocuments, CheckedSample)


@dataclass(frozen=True, eq=False)
class EncodedDocuments:
    """What a branch stores of a batch of documents.

    Attributes
    ----------
    vectors : dict of str to array
        By the name of the vector in Qdrant.
    codes : mapping, default={}
        By the payload field, one of ``Branch.codes_fields``: codes of each document.
    payload : dict, default={}
        Fields that the payload of every document gets.
    """

    vectors: Vectors = field(default_factory=dict)
    codes: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    payload: Mapping[str, Any] = field(default_factory=dict)


class Branch(ABC):
    """One way in which documents are stored and found: tokens, a dense vector, or a sparse vector.

    A branch is a part of a recipe together with what its methods have learned.

    Attributes
    ----------
    name : str
        Name of the branch, as in ``search(branches=…)``.
    encoder_output : {"tokens", "dense", "sparse"} or None
        Which of an encoder's vectors the branch takes, where the user passes texts.
    encoder_name : str or None
        Name of the encoder of this branch alone; None is the recipe's.
    codes_fields : tuple of str
        Payload fields in which the branch keeps codes.
    suffices : bool
        Whether a query that has something for this branch needs no other branch.
    unit : str
        Name of what the methods learn from, in the plural.
    """

    name: str
    encoder_output: Literal["tokens", "dense", "sparse"] | None = None
    encoder_name: str | None = None
    suffices: ClassVar[bool] = False
    unit: ClassVar[str] = "vectors"
    codes_fields: tuple[str, ...] = ()

    @abstractmethod
    def methods(self) -> dict[str, Any]:
        """Methods with learned state, by the key under which their state is kept."""

    @abstractmethod
    def places(self) -> dict[str, Any]:
        """All methods, by their place in the recipe."""

    @abstractmethod
    def fit(self, sample: CheckedSample) -> None:
        """Fit the methods that are not fitted.

        Raises
        ------
        InvalidArgumentError
            The sample lacks what a method learns from.
        """

    def count_sample(self, sample: CheckedSample) -> int:
        """Number of vectors or tokens in a sample from which the methods learn."""
        return 0

    @property
    def fitted(self) -> bool:
        """Whether every method is fitted, or has nothing to learn."""
        return all(method.fitted for method in self.methods().values())

    @property
    def absent_codes(self) -> bytes:
        """Codes of a document that lacks this branch, in a field that several branches share."""
        return b""

    @property
    def learns_from_tokens(self) -> bool:
        """Whether a method still has to learn from token matrices."""
        return False

    def get_state(self) -> State:
        """Learned arrays of all methods; empty where all is in the recipe."""
        return {
            f"{key}.{name}": array
            for key, method in self.methods().items()
            for name, array in method.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; a method that is not in ``state`` stays as it is.

        Raises
        ------
        StateError
            The state is not that of the methods, or was learned from vectors of another dimension.
        """
        for key, method in self.methods().items():
            if part := state_part(state, f"{key}."):
                method.set_state(part)
        for place, method, dim in self.fitted_methods():
            if method.fitted_dim not in (None, dim):
                raise StateError(
                    f"the state of {place} was learned from vectors of {method.fitted_dim} dimensions, "
                    f"and the recipe has {dim}"
                )

    def check_storable(self, documents: CheckedDocuments) -> None:
        """Check that what the methods make of documents can be stored, before the first is written.

        Raises
        ------
        InvalidArgumentError
            The datatype does not hold a number; the error names the document.
        """
        return

    def fitted_methods(self) -> Iterator[tuple[str, Method, int]]:
        """Methods that learn from vectors: place in the recipe, method, dimension of its vectors."""
        return iter(())

    def describe(self) -> dict[str, dict[str, Any]]:
        """What each method says of itself, by its place in the recipe."""
        return {place: method.describe().to_dict() for place, method in self.places().items()}

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of each named vector."""
        return {}

    def sparse_vectors_config(self) -> dict[str, models.SparseVectorParams]:
        """Qdrant's parameters of each sparse vector."""
        return {}

    @abstractmethod
    def has_query(self, query: CheckedQuery) -> bool:
        """Whether the query has something that this branch compares."""

    @abstractmethod
    def lacks_query(self) -> InvalidArgumentError:
        """The error for a query that has nothing for this branch."""

    def has_documents(self, documents: CheckedDocuments) -> bool:
        """Whether the documents have what this branch takes of an encoder."""
        return True

    def take_documents(self, documents: CheckedDocuments, encoded: Encoded, spec: str) -> CheckedDocuments:
        """Documents with what the encoder ``spec`` made of their texts for this branch."""
        return documents

    def take_query(self, query: CheckedQuery, encoded: Encoded, row: int, spec: str) -> CheckedQuery:
        """A query with what the encoder ``spec`` made of its text, in this row, for this branch."""
        return query

    def reduce(self, item: Item) -> Item:
        """Documents or a sample with fewer tokens, where the recipe pools or prunes them."""
        return item

    @abstractmethod
    def count_numbers(self, documents: CheckedDocuments) -> NDArray[Any] | int:
        """How many numbers of four bytes :meth:`encode` makes of each document, int64 ``(n,)``."""

    @abstractmethod
    def encode(self, documents: CheckedDocuments) -> EncodedDocuments:
        """What is stored of documents."""

    def prepare(self, query: CheckedQuery) -> CheckedQuery:
        """A query with what the branch computes once for :meth:`find` and :meth:`ranker`."""
        return query

    @abstractmethod
    def find(self, query: CheckedQuery, options: SearchOptions, *, final: bool) -> Stage | None:
        """The stage that finds documents; ``None`` where this branch finds none.

        ``final`` says that nothing ranks the documents again.
        """

    def ranker(self, query: CheckedQuery, options: SearchOptions) -> Ranker | None:
        """What ranks the candidates of all branches again, where this branch does."""
        return None

    @abstractmethod
    def compared(self) -> str:
        """Vector or payload field by which documents can be compared with each other.

        Raises
        ------
        InvalidArgumentError
            Nothing that is stored can be compared.
        """

    @abstractmethod
    def similarities(self, query: CheckedQuery, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Relevance ``(n,)`` and similarity ``(n, n)`` of documents that have what :meth:`compared` names."""


def search_params(
    rerank: Rerank, storage: Storage, options: SearchOptions, *, final: bool, hnsw_ef: int | None = None
) -> models.SearchParams:
    """Qdrant's search parameters: the recipe's, then the user's where they are set.

    Parameters
    ----------
    rerank : Rerank
        The recipe's search parameters.
    storage : Storage
        How the vector is stored.
    options : SearchOptions
        The user's options.
    final : bool
        Whether nothing ranks the results again.
    hnsw_ef : int, default=None
        Beam width where the recipe sets none.
    """
    oversampling = rerank.oversampling
    quantization = None
    if storage.quantization is not None and not (final and oversampling is None):
        # Rescoring as many as are returned changes their order alone, which the ranker does anyway.
        quantization = models.QuantizationSearchParams(
            rescore=oversampling is not None, oversampling=oversampling
        )
    params = models.SearchParams(
        hnsw_ef=rerank.hnsw_ef or hnsw_ef, exact=options.exact or None, quantization=quantization
    )
    if options.search_params is None:
        return params
    # What the user leaves out is None or False, and an exact search stays exact.
    own = {name: value for name, value in options.search_params if value is not None and value is not False}
    return params.model_copy(update=own)


def has_stored(record: models.Record, field: str) -> bool:
    """Whether a document has a vector, or codes in a field of its payload, even where they are lost."""
    if field in CODE_FIELDS:
        return (record.payload or {}).get(field) != ""
    return bool(vector_of(record, field))


def vector_of(record: models.Record, name: str) -> Any:
    """Vector of a record by its name, also of a record whose only vector has none."""
    return record.vector.get(name) if isinstance(record.vector, dict) else record.vector
