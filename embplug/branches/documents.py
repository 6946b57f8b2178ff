"""Documents and queries as users give them, checked once at this edge; inside, code trusts the arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models

from embplug.common.ids import ORIGINAL_ID, OWN_FIELDS, Id, original_ids, point_ids
from embplug.engines.capabilities import MAX_MATRIX_FLOATS
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

TokensLike: TypeAlias = TokenBatch | Sequence[ArrayLike]
DenseLike: TypeAlias = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True, eq=False)
class Documents:
    """A batch of documents, as given to ``Collection.add_batches``.

    Attributes
    ----------
    ids
        One id per document: unsigned integers, UUIDs or any strings.
    tokens
        TokenBatch, or one array ``(t_i, dim)`` per document.
    dense
        Array ``(n, dim)``, or one such array per name of a dense vector.
    texts
        Texts, for the recipe's encoder to make what of ``tokens`` and ``dense`` is not given, and for
        its sparse branch. They are kept in the payload.
    payloads
        One mapping (or ``None``) per document.
    saliency
        How much each token matters, for a recipe that prunes by it: one array ``(t_i,)`` per document.
        Default: as the encoder says.
    """

    ids: Sequence[Id]
    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    texts: Sequence[str] | None = None
    payloads: Sequence[Mapping[str, Any] | None] | None = None
    saliency: Sequence[ArrayLike] | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """Data from which a recipe's methods learn, for ``Collection.create``.

    Attributes
    ----------
    tokens
        Token matrices of documents.
    dense
        Dense vectors of documents, as in :class:`Documents`.
    queries
        Token matrices of real queries, for methods that can use them.
    texts
        Texts of documents, for the sparse branch.
    saliency
        How much each of ``tokens`` matters, as in :class:`Documents`, for a recipe that prunes by it:
        methods learn from what is left.
    dense_queries
        Dense vectors of real queries, for methods that can use them; as ``dense``.
    """

    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    queries: TokensLike | None = None
    texts: Sequence[str] | None = None
    saliency: Sequence[ArrayLike] | None = None
    dense_queries: DenseLike | None = None


@dataclass(frozen=True, eq=False)
class CheckedSample:
    """A sample whose arrays were checked."""

    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    queries: TokenBatch | None = None
    texts: Sequence[str] | None = None
    saliency: NDArray[np.float32] | None = None
    dense_queries: dict[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CheckedDocuments:
    """A batch of documents that can be written as it stands.

    Attributes
    ----------
    given_ids
        As the user gave them, for reports.
    ids
        As Qdrant takes them.
    tokens, dense
        float arrays; ``None`` or absent where the encoder still has to make them from ``texts``.
    texts
        Where they are still needed, for vectors or for the sparse branch.
    saliency : float32 (sum_tokens,)
        Of all tokens, where it was given.
    """

    given_ids: Sequence[Id]
    ids: list[int | str]
    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    texts: Sequence[str] | None
    payloads: Sequence[Mapping[str, Any]]
    saliency: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def has_vectors(self, recipe: Recipe) -> bool:
        """Whether all vectors are there, so that the encoder has nothing to do."""
        has_tokens = recipe.tokens is None or self.tokens is not None
        return has_tokens and self.dense.keys() >= recipe.dense.keys()

    def slices(self, size: int) -> Iterator[CheckedDocuments]:
        """Consecutive parts of at most ``size`` documents, without copies of their vectors."""
        for start in range(0, len(self), size):
            yield self.part(start, start + size)

    def part(self, start: int, stop: int) -> CheckedDocuments:
        """Documents ``start`` to ``stop``, without copies of their vectors."""
        part = slice(start, stop)
        saliency = None
        if self.saliency is not None and self.tokens is not None:
            first, last = self.tokens.offsets[[start, min(stop, len(self))]]
            saliency = self.saliency[first:last]
        return replace(
            self,
            saliency=saliency,
            given_ids=self.given_ids[part],
            ids=self.ids[part],
            tokens=None if self.tokens is None else self.tokens[part],
            dense={name: vectors[part] for name, vectors in self.dense.items()},
            texts=None if self.texts is None else self.texts[part],
            payloads=self.payloads[part],
        )


def check_documents(documents: Documents, recipe: Recipe, has_encoder: bool) -> CheckedDocuments:
    """Check a whole batch, before anything of it is written.

    ``has_encoder`` says whether texts can stand for vectors.

    Raises
    ------
    InvalidArgumentError
        One of its subclasses, naming the argument and the first document that is wrong.
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
            missing[0], "vectors, as the recipe says, or texts to make them from", None
        )
    if missing and not has_encoder:
        raise InvalidArgumentError(
            missing[0], "vectors, because there is no encoder for texts", "texts alone"
        )
    if recipe.sparse is not None and texts is None:
        raise InvalidArgumentError("texts", "a text for each document, in which words are found", None)
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
    given: Sequence[ArrayLike] | None, tokens: TokenBatch | None, recipe: Recipe, argument: str
) -> NDArray[np.float32] | None:
    """Saliency of all tokens, one after the other."""
    prunes = recipe.tokens is not None and recipe.tokens.prunes
    if given is None:
        if prunes and tokens is not None:
            expected = "how much each token matters, because tokens are given"
            raise InvalidArgumentError(argument, expected, None)
        return None
    if tokens is None or not prunes:
        missing = "no tokens" if prunes else "a recipe that does not"
        raise InvalidArgumentError(argument, "tokens, and a recipe that prunes by it", missing)
    if len(given) != len(tokens):
        raise LengthMismatchError(argument, f"{len(tokens)} arrays, one per document", len(given))
    checked = [
        checked_weights(one, int(count), f"{argument}[{i}]")
        for i, (one, count) in enumerate(zip(given, tokens.lengths, strict=True))
    ]
    return np.concatenate(checked) if checked else None


def check_sample(sample: Sample, recipe: Recipe) -> CheckedSample:
    """Check what methods are to learn from, as documents are checked.

    Raises
    ------
    InvalidArgumentError
        One of its subclasses, naming the part of the sample.
    """
    checked: dict[str, TokenBatch | None] = {}
    for name in ("tokens", "queries"):
        given, argument = getattr(sample, name), f"sample.{name}"
        if given is not None and recipe.tokens is None:
            raise InvalidArgumentError(argument, "none, because the recipe has no tokens", "token matrices")
        checked[name] = None
        if given is not None and recipe.tokens is not None:
            checked[name] = check_tokens(given, recipe.tokens.dim, len(given), argument)
    dense = _check_dense(sample.dense, recipe, within="sample.")
    dense_queries = _check_dense(sample.dense_queries, recipe, argument="dense_queries", within="sample.")
    texts = sample.texts
    if texts is not None:
        if recipe.sparse is None:
            raise InvalidArgumentError("sample.texts", "none, because the recipe has no sparse", "texts")
        texts = _check_texts(texts, len(texts), "sample.texts")
    saliency = _check_saliency(sample.saliency, checked["tokens"], recipe, "sample.saliency")
    return CheckedSample(checked["tokens"], dense, checked["queries"], texts, saliency, dense_queries)


def check_tokens(given: TokensLike, dim: int, count: int, argument: str = "tokens") -> TokenBatch:
    """Token matrices that can be stored.

    Raises
    ------
    DimensionError, LengthMismatchError, EmptyTokensError, NonFiniteError, PointTooLargeError
        Naming the first matrix that is wrong.
    """
    if isinstance(given, TokenBatch):
        tokens = given
        if tokens.dim != dim:
            raise DimensionError(argument, f"dim {dim}", tokens.dim)
    else:
        matrices = _sequence(given, argument)
        try:
            tokens = TokenBatch.from_list(matrices, dim)
        except InvalidArgumentError as error:
            named = error.argument.replace("arrays", argument)
            raise type(error)(named, error.expected, error.got) from None
    if len(tokens) != count:
        raise LengthMismatchError(argument, f"{count} token matrices", len(tokens))
    lengths = tokens.lengths
    empty = np.flatnonzero(lengths == 0)
    if empty.size:
        raise EmptyTokensError(f"{argument}[{empty[0]}]", "at least one token", "none")
    large = np.flatnonzero(lengths * dim > MAX_MATRIX_FLOATS)
    if large.size:
        raise PointTooLargeError(
            f"{argument}[{large[0]}]",
            f"at most {MAX_MATRIX_FLOATS} numbers, which is {MAX_MATRIX_FLOATS // dim} tokens",
            f"{lengths[large[0]]} tokens",
        )
    if not np.isfinite(tokens.values).all():
        row = int(np.flatnonzero(~np.isfinite(tokens.values).all(axis=1))[0])
        document = int(np.searchsorted(tokens.offsets, row, side="right")) - 1
        token = row - int(tokens.offsets[document])
        raise NonFiniteError(f"{argument}[{document}]", "finite numbers", f"NaN or infinity in token {token}")
    return tokens


def check_dense(
    given: ArrayLike, dim: int, count: int, argument: str, datatype: models.Datatype | None = None
) -> NDArray[np.float32]:
    """Dense vectors as float32 ``(count, dim)``, which a vector of ``datatype`` can hold.

    Raises
    ------
    DimensionError, LengthMismatchError, NonFiniteError, InvalidArgumentError
        Naming the first vector that is wrong.
    """
    try:
        vectors = np.ascontiguousarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DimensionError(argument, f"numbers of shape ({count}, {dim})", str(error)) from None
    if vectors.ndim != 2 or (len(vectors) and vectors.shape[1] != dim):
        raise DimensionError(argument, f"shape ({count}, {dim})", f"shape {vectors.shape}")
    if len(vectors) != count:
        raise LengthMismatchError(argument, f"{count} vectors", len(vectors))
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if bad.size:
        raise NonFiniteError(f"{argument}[{bad[0]}]", "finite numbers", "NaN or infinity")
    check_datatype(vectors, datatype, argument)
    return vectors


def check_datatype(vectors: NDArray[np.float32], datatype: models.Datatype | None, argument: str) -> None:
    """Refuse vectors (n, dim) of which the engine would cut off all but whole numbers.

    Raises
    ------
    InvalidArgumentError
        Naming the first vector that is not bytes, where bytes are stored.
    """
    if datatype != models.Datatype.UINT8:
        return
    wrong = (vectors != np.rint(vectors)) | (vectors < 0) | (vectors > BYTE_MAX)
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size:
        expected = (
            "whole numbers from 0 to 255, which is all that datatype uint8 keeps; for other vectors take "
            "quantization=models.ScalarQuantization(...), one byte a dimension too, or datatype float16"
        )
        number = vectors[rows[0]][wrong[rows[0]]][0]
        raise InvalidArgumentError(f"{argument}[{rows[0]}]", expected, number)


def _check_dense(
    given: DenseLike | None,
    recipe: Recipe,
    count: int | None = None,
    argument: str = "dense",
    within: str = "",
) -> dict[str, NDArray[np.float32]]:
    """Vectors by name, as many as ``count`` where that is given."""
    checked = {}
    for name, own, vectors in named_dense(given, recipe, argument):
        wanted, rows = recipe.dense[name], len(vectors) if count is None else count
        checked[name] = check_dense(vectors, wanted.dim, rows, f"{within}{own}", wanted.datatype)
    return checked


def named_dense(given: Any, recipe: Recipe, argument: str = "dense") -> list[tuple[str, str, Any]]:
    """(name of the vector, name of the argument, vectors) of each vector in ``argument``.

    Raises
    ------
    InvalidArgumentError
        A name that the recipe does not have, or no name where the recipe has several.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        for name in given:
            if name not in recipe.dense:
                raise InvalidArgumentError(f"{argument}[{name!r}]", f"one of {[*recipe.dense]}", repr(name))
        return [(name, f"{argument}[{name!r}]", vectors) for name, vectors in given.items()]
    if len(recipe.dense) != 1:
        expected = (
            f"a mapping with names of {[*recipe.dense]}" if recipe.dense else "none, as the recipe says"
        )
        raise InvalidArgumentError(argument, expected, "vectors without a name")
    return [(next(iter(recipe.dense)), argument, given)]


def _check_texts(texts: Any, count: int, argument: str = "texts") -> Sequence[str]:
    checked: Sequence[str] = _sequence(texts, argument)
    if len(checked) != count:
        raise LengthMismatchError(argument, f"{count} texts, as there are ids", len(checked))
    for i, text in enumerate(checked):
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(f"{argument}[{i}]", "a text that is not empty", repr(text))
    return checked


def _check_payloads(payloads: Any, count: int) -> list[dict[str, Any]]:
    if payloads is None:
        return [{} for _ in range(count)]
    given = _sequence(payloads, "payloads")
    if len(given) != count:
        raise LengthMismatchError("payloads", f"{count} payloads, as there are ids", len(given))
    checked = [jsonable_payload({} if one is None else one, f"payloads[{i}]") for i, one in enumerate(given)]
    for i, payload in enumerate(checked):
        for key in OWN_FIELDS:
            if key in payload:
                raise InvalidArgumentError(f"payloads[{i}]", f"no key {key!r}, which is embplug's", "it")
    return checked


def _sequence(given: Any, argument: str) -> Any:
    if isinstance(given, np.ndarray):
        return given if argument == "tokens" else given.tolist()
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence):
        raise InvalidArgumentError(argument, "a sequence, one item per document", type(given).__name__)
    return given
