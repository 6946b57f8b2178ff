"""The sparse functions of LlamaIndex's own store as an encoder of embplug."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from embplug import Encoded, Encoder, load_encoder
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.files.weights import Weights
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.sparse_texts import encoded_weights

SparseFunction: TypeAlias = Callable[[list[str]], tuple[Sequence[Sequence[int]], Sequence[Sequence[float]]]]
"""Function of texts that returns the indices of each text, and the weights of each."""


class SparseModel(NamedTuple):
    """What the user passes for sparse vectors: functions, or the name of a model."""

    doc_fn: SparseFunction | None = None
    query_fn: SparseFunction | None = None
    fastembed_model: str | None = None

    def encoder(self) -> Encoder | None:
        """Return the encoder of sparse vectors; None if the user passes none.

        Raises
        ------
        InvalidArgumentError
            The functions cannot be called, lack the one for documents, or stand beside a model; or the
            model is not known.
        """
        if self.fastembed_model is not None:
            if self.doc_fn is not None or self.query_fn is not None:
                expected = "nothing beside sparse_doc_fn and sparse_query_fn"
                raise InvalidArgumentError("fastembed_sparse_model", expected, self.fastembed_model)
            try:
                return load_encoder(f"fastembed:{self.fastembed_model}")
            except InvalidArgumentError as error:
                expected = "the name of a sparse model of fastembed"
                raise InvalidArgumentError(
                    "fastembed_sparse_model", expected, short_repr(self.fastembed_model)
                ) from error
        for name, function in (("sparse_doc_fn", self.doc_fn), ("sparse_query_fn", self.query_fn)):
            if function is not None and not callable(function):
                raise InvalidArgumentError(name, "a function of texts", short_repr(function))
        if self.doc_fn is None:
            if self.query_fn is not None:
                raise InvalidArgumentError("sparse_doc_fn", "a function beside sparse_query_fn", None)
            return None
        return SparseFunctions(self.doc_fn, self.query_fn or self.doc_fn)


class SparseFunctions:
    """Encoder of sparse vectors alone.

    Parameters
    ----------
    doc_fn, query_fn : callable
        Functions of a list of texts that return the indices and the weights of each, as
        ``QdrantVectorStore`` of LlamaIndex takes them.
    """

    spec = "llama-index-sparse"

    def __init__(self, doc_fn: SparseFunction, query_fn: SparseFunction) -> None:
        self.doc_fn = doc_fn
        self.query_fn = query_fn

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents; see :class:`embplug.Encoder`."""
        return _encoded(self.doc_fn([*texts]), len(texts), "sparse_doc_fn")

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries; see :class:`embplug.Encoder`."""
        return _encoded(self.query_fn([*texts]), len(texts), "sparse_query_fn")


def lacks_sparse_model(shared: FrameworkCollection) -> bool:
    """Return whether nothing makes the sparse vector of a collection that LlamaIndex or the user filled."""
    sparse = shared.collection.recipe.sparse
    if sparse is None:
        return shared.is_plain
    return sparse.is_learned and sparse.encoder is None and not shared.collection.has_encoder


def _encoded(returned: Any, count: int, argument: str) -> Encoded:
    try:
        indices, weights = returned
        vectors = [Weights(*pair) for pair in zip(indices, weights, strict=True)]
    except (TypeError, ValueError):
        expected = "the indices of each text, and the weights of each"
        raise InvalidArgumentError(argument, expected, short_repr(returned)) from None
    return encoded_weights(vectors, count, argument)
