"""Documents and samples as users pass them, checked once at this edge; inside, code trusts the arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models

from embplug.common.ids import ORIGINAL_ID, OWN_FIELDS, Id, original_ids, point_ids
from embplug.engines.capabilities import MAX_MULTIVECTOR_FLOATS
from embplug.engines.json_types import jsonable_payload
from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
    PointTooLargeError,
)
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import checked_weights
from embplug.recipe import Recipe

BYTE_MAX = 255

ENCODER_FOR_TEXTS = "an encoder for texts, named in the recipe or passed to open"
"""What is missing where a text cannot become a vector."""

TokensLike: TypeAlias = TokenBatch | Sequence[ArrayLike]
DenseLike: TypeAlias = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True, eq=False)
class Documents:
    """A batch of n documents, for ``Collection.add_batches``.

    Attributes
    ----------
    ids : sequence of int, str or UUID
        Id of each document: unsigned integers, UUIDs or any strings.
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of each document. None lets the recipe's encoder make them from ``texts``.
    dense : array-like of shape (n, dim) or mapping of str to array-like, default=None
        Dense vectors, or dense vectors for each name. None lets the recipe's encoder make them from
        ``texts``.
    texts : sequence of str, default=None
        Text of each document, for the encoder and the sparse vector. Texts are stored in the payload.
    payloads : sequence of mapping or None, default=None
        Payload of each document. None stores no payload but the texts.
    saliency : sequence of array-like of shape (t_i,), default=None
        How much each token matters, for a recipe whose ``reduction`` prunes by it. None takes the saliency
        that the encoder computes.
    """

    ids: Sequence[Id]
    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    texts: Sequence[str] | None = None
    payloads: Sequence[Mapping[str, Any] | None] | None = None
    saliency: Sequence[ArrayLike] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """Data on which a recipe's methods are fitted, for ``Collection.create``.

    Attributes
    ----------
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of each document.
    dense : array-like of shape (n, dim) or mapping of str to array-like, default=None
        Dense vectors of documents, or dense vectors for each name.
    queries : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of real queries, for methods that use them.
    texts : sequence of str, default=None
        Texts of documents, for the sparse vector.
    saliency : sequence of array-like of shape (t_i,), default=None
        How much each of ``tokens`` matters, for a recipe whose ``reduction`` prunes by it. Methods are then
        fitted on the tokens that remain after pruning.
    dense_queries : array-like of shape (n, dim) or mapping of str to array-like, default=None
        Dense vectors of real queries, or dense vectors for each name, for methods that use them.
    """

    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    queries: TokensLike | None = None
    texts: Sequence[str] | None = None
    saliency: Sequence[ArrayLike] | None = None
    dense_queries: DenseLike | None = None


@dataclass(frozen=True, eq=False)
class CheckedSample:
    """A sample whose arrays are checked.

    Attributes
    ----------
    tokens : TokenBatch or None
        Tokens of documents.
    dense : dict of str to ndarray of shape (n, dim), float32
        Dense vectors of documents by name.
    queries : TokenBatch, default=None
        Tokens of queries.
    texts : sequence of str, default=None
        Texts of documents.
    saliency : ndarray of shape (sum_tokens,), float32, default=None
        Saliency of all tokens of documents.
    dense_queries : dict of str to ndarray of shape (n, dim), float32, default={}
        Dense vectors of queries by name.
    """

    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    queries: TokenBatch | None = None
    texts: Sequence[str] | None = None
    saliency: NDArray[np.float32] | None = None
    dense_queries: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CheckedDocuments:
    """A batch of n documents whose arguments are checked.

    Attributes
    ----------
    user_ids : sequence of int, str or UUID
        Ids as the user passed them, for reports.
    ids : list of int or str
        Ids of the points in Qdrant.
    tokens : TokenBatch or None
        Tokens of documents. None if the encoder still has to make them from ``texts``.
    dense : dict of str to ndarray of shape (n, dim), float32
        Dense vectors by name. A name is absent if the encoder still has to make its vectors from ``texts``.
    texts : sequence of str or None
        Texts of documents. None if neither the encoder nor the sparse vector needs them.
    payloads : sequence of mapping
        Payload of each document.
    saliency : ndarray of shape (sum_tokens,), float32, default=None
        Saliency of all tokens.
    """

    user_ids: Sequence[Id]
    ids: list[int | str]
    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    texts: Sequence[str] | None
    payloads: Sequence[Mapping[str, Any]]
    saliency: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def has_vectors(self, recipe: Recipe) -> bool:
        """Return whether no vector is missing, so that no encoder is needed.

        Parameters
        ----------
        recipe : Recipe
            Recipe whose vectors are needed.

        Returns
        -------
        bool
            True if tokens and all dense vectors of the recipe are present.
        """
        has_tokens = recipe.tokens is None or self.tokens is not None
        return has_tokens and self.dense.keys() >= recipe.dense.keys()

    def slices(self, size: int) -> Iterator[CheckedDocuments]:
        """Split the batch into consecutive parts, without copying vectors.

        Parameters
        ----------
        size : int
            Largest number of documents in a part.

        Yields
        ------
        CheckedDocuments
            The next part.
        """
        for start in range(0, len(self), size):
            yield self.part(start, start + size)

    def part(self, start: int, stop: int) -> CheckedDocuments:
        """Return a part of the batch, without copying vectors.

        Parameters
        ----------
        start : int
            Position of the first document.
        stop : int
            Position after the last document.

        Returns
        -------
        CheckedDocuments
            Documents ``start`` to ``stop - 1``.
        """
        part = slice(start, stop)
        saliency = None
        if self.saliency is not None and self.tokens is not None:
            first, last = self.tokens.offsets[[start, min(stop, len(self))]]
            saliency = self.saliency[first:last]
        return replace(
            self,
            saliency=saliency,
            user_ids=self.user_ids[part],
            ids=self.ids[part],
            tokens=None if self.tokens is None else self.tokens[part],
            dense={name: vectors[part] for name, vectors in self.dense.items()},
            texts=None if self.texts is None else self.texts[part],
            payloads=self.payloads[part],
        )


def check_documents(documents: Documents, recipe: Recipe, has_encoder: bool) -> CheckedDocuments:
    """Check a whole batch before any document of it is written.

    Parameters
    ----------
    documents : Documents
        Documents as the user passes them.
    recipe : Recipe
        Recipe of the collection.
    has_encoder : bool
        Whether an encoder can make missing vectors from texts.

    Returns
    -------
    CheckedDocuments
        The checked documents.

    Raises
    ------
    InvalidArgumentError
        If an argument is wrong or missing; the error, often of a subclass, names the argument and the first
        document that is wrong.
    """
    ids = point_ids(_sequence(documents.ids, "ids"))
    count = len(ids)
    tokens = None
    if documents.tokens is not None:
        if recipe.tokens is None:
            raise InvalidArgumentError("tokens", "none, because the recipe has no tokens", "token matrices")
        tokens = check_tokens(documents.tokens, recipe.tokens.dim, count)
    dense = _check_dense(documents.dense, recipe, count)
    texts = documents.texts
    if texts is not None:
        texts = _check_texts(texts, count)
    missing = [] if tokens is not None or recipe.tokens is None else ["tokens"]
    missing += [f"dense[{name!r}]" for name in recipe.dense if name not in dense]
    if missing and texts is None:
        raise InvalidArgumentError(
            missing[0], "the vectors that the recipe stores, or texts to make them from", None
        )
    if missing and not has_encoder:
        raise InvalidArgumentError(missing[0], f"vectors, or {ENCODER_FOR_TEXTS}", "texts alone")
    if recipe.sparse is not None and texts is None:
        raise InvalidArgumentError("texts", "a text for each document, for its sparse vector", None)
    payloads = _check_payloads(documents.payloads, count)
    for i, text in enumerate(texts or ()):
        payloads[i].setdefault(recipe.text_key, text)
    for payload, original in zip(payloads, original_ids(documents.ids, ids), strict=True):
        if original is not None:
            payload[ORIGINAL_ID] = original
    needed = texts if missing or recipe.sparse is not None else None
    saliency = _check_saliency(documents.saliency, tokens, recipe, "saliency")
    return CheckedDocuments(documents.ids, ids, tokens, dense, needed, payloads, saliency)


def _check_saliency(
    saliency: Sequence[ArrayLike] | None, tokens: TokenBatch | None, recipe: Recipe, argument: str
) -> NDArray[np.float32] | None:
    """Return the saliency of all tokens of all documents, concatenated."""
    prunes = recipe.tokens is not None and recipe.tokens.prunes
    if saliency is None:
        if prunes and tokens is not None:
            expected = "how much each token matters, because the recipe prunes by it"
            raise InvalidArgumentError(argument, expected, None)
        return None
    if tokens is None or not prunes:
        missing = "no tokens" if prunes else "a recipe that does not"
        raise InvalidArgumentError(argument, "tokens, and a recipe that prunes by it", missing)
    if len(saliency) != len(tokens):
        raise LengthMismatchError(argument, f"{len(tokens)} arrays, one per document", len(saliency))
    checked = [
        checked_weights(weights, int(count), f"{argument}[{i}]")
        for i, (weights, count) in enumerate(zip(saliency, tokens.lengths, strict=True))
    ]
    return np.concatenate(checked) if checked else None


def check_sample(sample: Sample, recipe: Recipe) -> CheckedSample:
    """Check a sample.

    Parameters
    ----------
    sample : Sample
        Sample as the user passes it.
    recipe : Recipe
        Recipe whose methods are fitted on it.

    Returns
    -------
    CheckedSample
        The checked sample.

    Raises
    ------
    InvalidArgumentError
        If an attribute of the sample is wrong; the error, often of a subclass, names it.
    """
    if not isinstance(sample, Sample):
        expected = "an embplug.Sample, such as Sample(dense=X)"
        raise InvalidArgumentError("sample", expected, type(sample).__name__)
    checked: dict[str, TokenBatch | None] = {}
    for name in ("tokens", "queries"):
        tokens, argument = getattr(sample, name), f"sample.{name}"
        if tokens is not None and recipe.tokens is None:
            raise InvalidArgumentError(argument, "none, because the recipe has no tokens", "token matrices")
        checked[name] = None
        if tokens is not None and recipe.tokens is not None:
            checked[name] = check_tokens(tokens, recipe.tokens.dim, len(tokens), argument)
    dense = _check_dense(sample.dense, recipe, within="sample.")
    dense_queries = _check_dense(sample.dense_queries, recipe, argument="dense_queries", within="sample.")
    texts = sample.texts
    if texts is not None:
        if recipe.sparse is None:
            raise InvalidArgumentError(
                "sample.texts", "none, because the recipe has no sparse vector", "texts"
            )
        texts = _check_texts(texts, len(texts), "sample.texts")
    saliency = _check_saliency(sample.saliency, checked["tokens"], recipe, "sample.saliency")
    return CheckedSample(checked["tokens"], dense, checked["queries"], texts, saliency, dense_queries)


def check_tokens(tokens: TokensLike, dim: int, count: int, argument: str = "tokens") -> TokenBatch:
    """Check that token matrices can be stored.

    Parameters
    ----------
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim)
        Token vectors of each document.
    dim : int
        Dimension of a token vector.
    count : int
        Number of documents.
    argument : str, default="tokens"
        Name of the argument, for the errors.

    Returns
    -------
    TokenBatch
        The tokens.

    Raises
    ------
    DimensionError
        If token vectors have another dimension.
    LengthMismatchError
        If there are not ``count`` documents.
    EmptyTokensError
        If a document has no token.
    PointTooLargeError
        If a document has more tokens than a multivector can hold in Qdrant.
    NonFiniteError
        If a document has NaN or infinity.
    """
    if isinstance(tokens, TokenBatch):
        batch = tokens
        if batch.dim != dim:
            raise DimensionError(argument, f"dim {dim}", batch.dim)
    else:
        matrices = _sequence(tokens, argument)
        try:
            batch = TokenBatch.from_list(matrices, dim)
        except InvalidArgumentError as error:
            named = error.argument.replace("arrays", argument)
            raise type(error)(named, error.expected, error.got) from None
    if len(batch) != count:
        raise LengthMismatchError(argument, f"{count} token matrices", len(batch))
    lengths = batch.lengths
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        raise EmptyTokensError(f"{argument}[{empty[0]}]", "at least one token", "none")
    large = np.flatnonzero(lengths * dim > MAX_MULTIVECTOR_FLOATS)
    if large.size:
        raise PointTooLargeError(
            f"{argument}[{large[0]}]",
            f"at most {MAX_MULTIVECTOR_FLOATS} numbers, which is {MAX_MULTIVECTOR_FLOATS // dim} tokens",
            f"{lengths[large[0]]} tokens",
        )
    if not np.isfinite(batch.values).all():
        row = int(np.flatnonzero(~np.isfinite(batch.values).all(axis=1))[0])
        document = int(np.searchsorted(batch.offsets, row, side="right")) - 1
        token = row - int(batch.offsets[document])
        raise NonFiniteError(f"{argument}[{document}]", "finite numbers", f"NaN or infinity in token {token}")
    return batch


def check_dense(
    vectors: ArrayLike, dim: int, count: int, argument: str, datatype: models.Datatype | None = None
) -> NDArray[np.float32]:
    """Check that dense vectors can be stored.

    Parameters
    ----------
    vectors : array-like of shape (count, dim)
        Vector of each document.
    dim : int
        Dimension of a vector.
    count : int
        Number of documents.
    argument : str
        Name of the argument, for the errors.
    datatype : models.Datatype, default=None
        Datatype in which Qdrant stores the vectors. None is float32.

    Returns
    -------
    ndarray of shape (count, dim), float32
        The vectors.

    Raises
    ------
    DimensionError
        If the array has another shape, or values that are not numbers.
    LengthMismatchError
        If there are not ``count`` vectors.
    NonFiniteError
        If a vector has NaN or infinity.
    InvalidArgumentError
        If the datatype cannot hold a vector.
    """
    try:
        rows = np.ascontiguousarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DimensionError(argument, f"numbers of shape ({count}, {dim})", str(error)) from None
    if rows.ndim != 2 or (len(rows) and rows.shape[1] != dim):
        raise DimensionError(argument, f"shape ({count}, {dim})", f"shape {rows.shape}")
    if len(rows) != count:
        raise LengthMismatchError(argument, f"{count} vectors", len(rows))
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise NonFiniteError(f"{argument}[{bad[0]}]", "finite numbers", "NaN or infinity")
    check_datatype(rows, datatype, argument)
    return rows


def check_datatype(vectors: NDArray[np.float32], datatype: models.Datatype | None, argument: str) -> None:
    """Check that a datatype can hold vectors: ``uint8`` only holds whole numbers from 0 to 255.

    Parameters
    ----------
    vectors : ndarray of shape (n, dim), float32
        Vectors to store.
    datatype : models.Datatype or None
        Datatype in which Qdrant stores them. None is float32.
    argument : str
        Name of the argument, for the error.

    Raises
    ------
    InvalidArgumentError
        If the datatype cannot hold a vector; the error names the first such vector.
    """
    if datatype != models.Datatype.UINT8:
        return
    wrong = (vectors != np.rint(vectors)) | (vectors < 0) | (vectors > BYTE_MAX)
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size:
        expected = (
            "whole numbers from 0 to 255, which is all that datatype uint8 keeps; for other vectors use "
            "quantization=models.ScalarQuantization(...), which also takes one byte for each dimension, or "
            "datatype float16"
        )
        number = vectors[rows[0]][wrong[rows[0]]][0]
        raise InvalidArgumentError(f"{argument}[{rows[0]}]", expected, number)


def _check_dense(
    dense: DenseLike | None,
    recipe: Recipe,
    count: int | None = None,
    argument: str = "dense",
    within: str = "",
) -> dict[str, NDArray[np.float32]]:
    """Return checked vectors by name, each for ``count`` documents; None accepts any number."""
    checked = {}
    for name, own, vectors in named_dense(dense, recipe, argument):
        part, rows = recipe.dense[name], len(vectors) if count is None else count
        checked[name] = check_dense(vectors, part.dim, rows, f"{within}{own}", part.datatype)
    return checked


def named_dense(dense: Any, recipe: Recipe, argument: str = "dense") -> list[tuple[str, str, Any]]:
    """Return dense vectors with their names.

    Parameters
    ----------
    dense : array-like, mapping of str to array-like, or None
        Vectors, or vectors for each name.
    recipe : Recipe
        Recipe of the collection.
    argument : str, default="dense"
        Name of the argument, for the errors.

    Returns
    -------
    list of (str, str, array-like)
        Name of the vector in the recipe, name of the argument for errors, and the vectors.

    Raises
    ------
    InvalidArgumentError
        If the recipe has no vector of that name, or has several and vectors come without a name.
    """
    if dense is None:
        return []
    if isinstance(dense, Mapping):
        for name in dense:
            if name not in recipe.dense:
                raise InvalidArgumentError(f"{argument}[{name!r}]", f"one of {[*recipe.dense]}", repr(name))
        return [(name, f"{argument}[{name!r}]", vectors) for name, vectors in dense.items()]
    if len(recipe.dense) != 1:
        expected = "none, because the recipe has no dense vector"
        if recipe.dense:
            expected = f"a mapping with names of {[*recipe.dense]}"
        raise InvalidArgumentError(argument, expected, "vectors without a name")
    return [(next(iter(recipe.dense)), argument, dense)]


def _check_texts(texts: Any, count: int, argument: str = "texts") -> Sequence[str]:
    checked: Sequence[str] = _sequence(texts, argument)
    if len(checked) != count:
        raise LengthMismatchError(argument, f"{count} texts, one for each document", len(checked))
    for i, text in enumerate(checked):
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(f"{argument}[{i}]", "a text that is not empty", repr(text))
    return checked


def _check_payloads(payloads: Any, count: int) -> list[dict[str, Any]]:
    if payloads is None:
        return [{} for _ in range(count)]
    items = _sequence(payloads, "payloads")
    if len(items) != count:
        raise LengthMismatchError("payloads", f"{count} payloads, one for each document", len(items))
    checked = [
        jsonable_payload({} if payload is None else payload, f"payloads[{i}]")
        for i, payload in enumerate(items)
    ]
    for i, payload in enumerate(checked):
        for key in OWN_FIELDS:
            if key in payload:
                expected = f"no key {key!r}, which embplug uses itself"
                raise InvalidArgumentError(f"payloads[{i}]", expected, "a payload with this key")
    return checked


def _sequence(items: Any, argument: str) -> Any:
    if isinstance(items, np.ndarray):
        return items if argument == "tokens" else items.tolist()
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Sequence):
        raise InvalidArgumentError(argument, "a sequence, one item per document", type(items).__name__)
    return items
