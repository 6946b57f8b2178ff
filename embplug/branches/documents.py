"""Documents and samples as users pass them, checked once at this edge; inside, code trusts the arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models

from embplug.branches.datatypes import check_datatype, check_float16_tokens, datatype_of_user
from embplug.branches.images import check_images
from embplug.branches.sparse_vectors import SparseBatch, SparseLike, check_sparse
from embplug.common.ids import ORIGINAL_ID, OWN_FIELDS, Id, original_ids, point_ids
from embplug.common.json_types import jsonable_payload
from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.engines.capabilities import MAX_MULTIVECTOR_FLOATS
from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    PointTooLargeError,
)
from embplug.methods.numeric.arrays import as_array, as_float32, first_out_of_range, out_of_range
from embplug.methods.reductions.cells import checked_grids
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import checked_weights
from embplug.pages import ImageLike, PageImage
from embplug.recipe import Recipe, Tokens

ENCODER_FOR_TEXTS = "an encoder for texts, named in the recipe or passed to open"
"""What is missing where a text cannot become a vector."""

TokensLike: TypeAlias = TokenBatch | Sequence[ArrayLike]
DenseLike: TypeAlias = ArrayLike | Mapping[str, ArrayLike]
GridsLike: TypeAlias = ArrayLike | Sequence[Sequence[int] | None]


@dataclass(frozen=True, eq=False)
class Documents:
    """A batch of n documents, for :meth:`Collection.add_batches`.

    Every sequence has one item for each document, in the order of ``ids``.

    Attributes
    ----------
    ids : sequence of int, str or UUID
        Id of each document: an unsigned integer, a UUID or any string.
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of each document. If None, the encoder computes them from ``images`` or ``texts``.
    dense : array-like of shape (n, dim) or mapping of str to array-like, default=None
        Dense vectors. A recipe with several dense vectors takes a mapping by their names. If None, the
        encoder computes them from ``images`` or ``texts``.
    texts : sequence of str, default=None
        Text of each document. The sparse vector reads it, and the encoder if there are no ``images``. It is
        also stored in the payload, in the field ``recipe.text_key``, which a payload may hold only with the
        same text. Beside an image it may be blank.
    payloads : sequence of mapping or None, default=None
        Payload of each document, of JSON types. None for a document stores no payload except its text.
    saliency : sequence of array-like of shape (t_i,), default=None
        How much each token matters: any finite number, and larger numbers matter more. It is for a recipe
        whose ``reduction`` prunes tokens by saliency. If ``tokens`` are computed by the encoder, it computes
        the saliency too.
    images : sequence of PIL.Image.Image, path, bytes, PdfPage or PageImage, default=None
        Image of each document. The encoder reads it in place of the text for the vectors that are None. It is
        not stored. :mod:`embplug.pages` reads PDFs and scans.
    grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None, default=None
        Where ``tokens`` are patches of images: rows and columns of the patches of each document, and the
        number of tokens before the first patch, by default 0. None is a document without patches. If
        ``tokens`` are computed by the encoder, it tells the grids too.
    sparse : sequence of mapping or SparseVector, or scipy sparse matrix, default=None
        Weights of terms by index, for a recipe with ``Sparse(kind="learned")``. If None, the encoder computes
        them from ``texts``.
    position : int, default=None
        Position of the first document among all that the user passes, by which errors name documents. If
        None, errors name the batch and the position in it.

    Examples
    --------
    >>> from embplug import Documents
    >>> batch = Documents([1, 2], dense=[[0.6, 0.8], [0.8, 0.6]], payloads=[{"year": 2024}, None])
    """

    ids: Sequence[Id]
    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    texts: Sequence[str] | None = None
    payloads: Sequence[Mapping[str, Any] | None] | None = None
    saliency: Sequence[ArrayLike] | None = None
    images: Sequence[ImageLike] | None = None
    grids: GridsLike | None = None
    sparse: SparseLike | None = None
    position: int | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """Data on which the methods of a recipe are fitted, for :meth:`Collection.create`.

    It needs only what the methods learn from: token vectors for the methods of ``recipe.tokens``, dense
    vectors for the methods of ``recipe.dense``, and texts for the sparse vector. The sample is not stored.
    A few thousand documents that resemble those to come are enough.

    Attributes
    ----------
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of each document.
    dense : array-like of shape (n, dim) or mapping of str to array-like, default=None
        Dense vectors of documents. A recipe with several dense vectors takes a mapping by their names.
    token_queries : TokenBatch or sequence of array-like of shape (t_i, dim), default=None
        Token vectors of real queries. :class:`~embplug.methods.LearnedEncoding` learns from them, and other
        methods ignore them.
    texts : sequence of str, default=None
        Texts of documents, from which BM25 learns the mean length of a text.
    saliency : sequence of array-like of shape (t_i,), default=None
        How much each token of ``tokens`` matters. It is needed if the ``reduction`` of the recipe prunes
        tokens by saliency. Methods are then fitted on the tokens that remain after pruning.
    dense_queries : array-like of shape (m, dim) or mapping of str to array-like, default=None
        Dense vectors of real queries. Transforms and quantizers that learn from queries use them, such as
        :class:`~embplug.methods.LearnedTruncation`.
    grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None, default=None
        Grids of the patches of ``tokens``, as in :class:`Documents`. They are needed if the ``reduction`` of
        the recipe pools patches by their places.

    Examples
    --------
    >>> import numpy as np
    >>> from embplug import Sample
    >>> vectors = np.random.default_rng(0).standard_normal((200, 64))
    >>> sample = Sample(dense=vectors, dense_queries=vectors[:20])
    """

    tokens: TokensLike | None = None
    dense: DenseLike | None = None
    token_queries: TokensLike | None = None
    texts: Sequence[str] | None = None
    saliency: Sequence[ArrayLike] | None = None
    dense_queries: DenseLike | None = None
    grids: GridsLike | None = None


@dataclass(frozen=True, eq=False)
class CheckedSample:
    """A sample whose arrays are checked.

    Attributes
    ----------
    tokens : TokenBatch or None
        Tokens of documents.
    dense : dict of str to ndarray of shape (n, dim), float32
        Dense vectors of documents by name.
    token_queries : TokenBatch, default=None
        Token vectors of queries.
    texts : sequence of str, default=None
        Texts of documents.
    saliency : ndarray of shape (sum_tokens,), float32, default=None
        Saliency of all tokens of documents.
    dense_queries : dict of str to ndarray of shape (n, dim), float32, default={}
        Dense vectors of queries by name.
    grids : ndarray of shape (n, 3), int64, default=None
        Rows and columns of the patches of each document, and the number of tokens before them.
    """

    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    token_queries: TokenBatch | None = None
    texts: Sequence[str] | None = None
    saliency: NDArray[np.float32] | None = None
    dense_queries: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    grids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of documents."""
        return max(map(len, [self.tokens or (), *self.dense.values(), self.texts or ()]))


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
        Tokens of documents. None if the encoder still has to make them from ``images`` or ``texts``.
    dense : dict of str to ndarray of shape (n, dim), float32
        Dense vectors by name. A name is absent if the encoder still has to make its vectors.
    texts : sequence of str or None
        Texts of documents. None if neither the encoder nor the sparse vector needs them.
    payloads : sequence of mapping
        Payload of each document.
    saliency : ndarray of shape (sum_tokens,), float32, default=None
        Saliency of all tokens.
    sparse : SparseBatch, default=None
        Learned weights of terms.
    without_vectors : bool, default=False
        Whether the documents are stored without any vector, so that no search finds them.
    images : sequence of PageImage, default=None
        Images of documents, of which the encoder makes the vectors that are missing.
    grids : ndarray of shape (n, 3), int64, default=None
        Rows and columns of the patches of each document, and the number of tokens before them.
    """

    user_ids: Sequence[Id]
    ids: list[int | str]
    tokens: TokenBatch | None
    dense: dict[str, NDArray[np.float32]]
    texts: Sequence[str] | None
    payloads: Sequence[Mapping[str, Any]]
    saliency: NDArray[np.float32] | None = None
    without_vectors: bool = False
    images: Sequence[PageImage] | None = None
    grids: NDArray[np.int64] | None = None
    sparse: SparseBatch | None = None

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
            True if tokens and all dense vectors of the recipe are present, or the documents get none.
        """
        if self.without_vectors:
            return True
        has_tokens = recipe.tokens is None or self.tokens is not None
        has_sparse = recipe.sparse is None or not recipe.sparse.is_learned or self.sparse is not None
        return has_tokens and has_sparse and self.dense.keys() >= recipe.dense.keys()

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
            images=None if self.images is None else self.images[part],
            grids=None if self.grids is None else self.grids[part],
            sparse=None if self.sparse is None else self.sparse[part],
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
        An argument is wrong or missing; the error, often of a subclass, names the argument and the first
        document that is wrong.
    """
    ids = point_ids(_sequence(documents.ids, "ids"))
    count = len(ids)
    tokens = None
    if documents.tokens is not None:
        if recipe.tokens is None:
            raise InvalidArgumentError("tokens", "none, because the recipe has no tokens", "token matrices")
        tokens = check_document_tokens(documents.tokens, recipe.tokens, count)
    dense = _check_dense(documents.dense, recipe, count)
    texts = documents.texts
    if texts is not None:
        texts = _check_texts(texts, count, may_be_blank=documents.images is not None)
    missing = [] if tokens is not None or recipe.tokens is None else ["tokens"]
    missing += [f"dense[{name!r}]" for name in recipe.dense if name not in dense]
    learned = recipe.sparse is not None and recipe.sparse.is_learned
    sparse = None
    if documents.sparse is not None:
        check_takes_sparse(recipe)
        sparse = check_sparse(documents.sparse, count)
    own_encoder = recipe.sparse is not None and recipe.sparse.encoder is not None
    if learned and sparse is None and not own_encoder:
        missing.append("sparse")
    source = "texts" if documents.images is None else "images"
    if missing and texts is None and documents.images is None:
        expected = "the vectors that the recipe stores, or texts or images to make them from"
        raise InvalidArgumentError(missing[0], expected, None)
    if missing and not has_encoder:
        expected = f"vectors, or {ENCODER_FOR_TEXTS.replace('texts', source)}"
        raise InvalidArgumentError(missing[0], expected, f"{source} alone")
    by_own_encoder = own_encoder and learned and sparse is None
    if by_own_encoder and texts is None:
        raise InvalidArgumentError("sparse", "weights of terms, or texts to make them from", None)
    images = None
    if documents.images is not None:
        if not missing:
            expected = "none, because no vector is missing that an encoder makes of images"
            raise InvalidArgumentError("images", expected, "images")
        images = check_images(documents.images, count)
    by_bm25 = recipe.sparse is not None and not learned
    if by_bm25 and texts is None:
        raise InvalidArgumentError("texts", "a text for each document, for its sparse vector", None)
    payloads = _payloads_to_store(documents, ids, texts, recipe)
    needed = texts if (missing and images is None) or by_bm25 or by_own_encoder else None
    saliency = _check_saliency(documents.saliency, tokens, recipe, "saliency")
    grids = _check_grids(documents.grids, tokens, recipe, "grids")
    return CheckedDocuments(
        documents.ids,
        ids,
        tokens,
        dense,
        needed,
        payloads,
        saliency,
        sparse=sparse,
        images=images,
        grids=grids,
    )


def check_takes_sparse(recipe: Recipe, argument: str = "sparse") -> None:
    """Refuse learned weights for a recipe that takes none.

    Raises
    ------
    InvalidArgumentError
        The recipe has no sparse vector, or one of BM25.
    """
    if recipe.sparse is None or not recipe.sparse.is_learned:
        kind = "has no sparse vector" if recipe.sparse is None else "computes them by BM25"
        expected = f"no sparse vectors, because the recipe {kind}"
        raise InvalidArgumentError(argument, expected, "sparse vectors")


def check_without_vectors(documents: Documents, recipe: Recipe) -> CheckedDocuments:
    """Check a batch of documents that are stored without vectors.

    Parameters
    ----------
    documents : Documents
        Documents, of which ids, texts and payloads are read.
    recipe : Recipe
        Recipe of the collection.

    Returns
    -------
    CheckedDocuments
        The checked documents.

    Raises
    ------
    InvalidArgumentError
        An id, a text or a payload is wrong.
    """
    ids = point_ids(_sequence(documents.ids, "ids"))
    texts = () if documents.texts is None else documents.texts
    for i, text in enumerate(texts):
        if text is not None:
            check_text(text, f"texts[{i}]")
    payloads = _payloads_to_store(documents, ids, texts, recipe)
    return CheckedDocuments(documents.ids, ids, None, {}, None, payloads, without_vectors=True)


def _payloads_to_store(
    documents: Documents, ids: list[int | str], texts: Sequence[str] | None, recipe: Recipe
) -> list[dict[str, Any]]:
    """Checked payloads, with the texts and with the ids of users that are no ids of points."""
    payloads = _check_payloads(documents.payloads, len(ids))
    for payload, text in zip(payloads, () if texts is None else texts, strict=False):
        if text is not None and not (documents.images is not None and not text.strip()):
            payload.setdefault(recipe.text_key, text)
    for payload, original in zip(payloads, original_ids(documents.ids, ids), strict=True):
        if original is not None:
            payload[ORIGINAL_ID] = original
    return payloads


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
    count = _count(saliency, argument)
    if count != len(tokens):
        raise LengthMismatchError(argument, f"{len(tokens)} arrays, one per document", count)
    checked = [
        checked_weights(weights, int(count), f"{argument}[{i}]")
        for i, (weights, count) in enumerate(zip(saliency, tokens.lengths, strict=True))
    ]
    return np.concatenate(checked) if checked else None


def _check_grids(
    grids: GridsLike | None, tokens: TokenBatch | None, recipe: Recipe, argument: str
) -> NDArray[np.int64] | None:
    """Return the grids of all documents, checked against their tokens."""
    if grids is None:
        if tokens is not None and recipe.tokens is not None and recipe.tokens.needs_grids:
            expected = "rows and columns of the patches of each document, by which the recipe pools"
            raise InvalidArgumentError(argument, expected, None)
        return None
    if tokens is None:
        raise InvalidArgumentError(argument, "tokens, which lie on the grids", "no tokens")
    return checked_grids(grids, tokens, argument)


def check_token_documents(
    tokens: TokensLike, saliency: Sequence[ArrayLike] | None, grids: GridsLike | None, recipe: Recipe
) -> tuple[TokenBatch, NDArray[np.float32] | None, NDArray[np.int64] | None]:
    """Check token matrices of a recipe with tokens, and what it reduces them by.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong or missing; the error names it.
    """
    assert recipe.tokens is not None
    checked = check_tokens(tokens, recipe.tokens.dim, _count(tokens, "tokens"))
    return (
        checked,
        _check_saliency(saliency, checked, recipe, "saliency"),
        _check_grids(grids, checked, recipe, "grids"),
    )


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
        An attribute of the sample is wrong; the error, often of a subclass, names it.
    """
    if not isinstance(sample, Sample):
        expected = "an embplug.Sample, such as Sample(dense=X)"
        raise InvalidArgumentError("sample", expected, type(sample).__name__)
    checked: dict[str, TokenBatch | None] = {}
    for name in ("tokens", "token_queries"):
        tokens, argument = getattr(sample, name), f"sample.{name}"
        if tokens is not None and recipe.tokens is None:
            raise InvalidArgumentError(argument, "none, because the recipe has no tokens", "token matrices")
        checked[name] = None
        if tokens is not None and recipe.tokens is not None:
            check = check_document_tokens if name == "tokens" else check_query_tokens
            checked[name] = check(tokens, recipe.tokens, _count(tokens, argument), argument)
    dense = _check_dense(sample.dense, recipe, within="sample.")
    dense_queries = _check_dense(sample.dense_queries, recipe, argument="dense_queries", within="sample.")
    texts = sample.texts
    if texts is not None:
        if recipe.sparse is None:
            raise InvalidArgumentError(
                "sample.texts", "none, because the recipe has no sparse vector", "texts"
            )
        texts = _check_texts(texts, _count(texts, "sample.texts"), "sample.texts")
    saliency = _check_saliency(sample.saliency, checked["tokens"], recipe, "sample.saliency")
    grids = _check_grids(sample.grids, checked["tokens"], recipe, "sample.grids")
    return CheckedSample(
        checked["tokens"], dense, checked["token_queries"], texts, saliency, dense_queries, grids
    )


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
        Token vectors have another dimension.
    LengthMismatchError
        There are not ``count`` documents.
    EmptyTokensError
        A document has no token.
    PointTooLargeError
        A document has more tokens than a multivector can hold in Qdrant.
    NonFiniteError
        A document has NaN or infinity.
    InvalidArgumentError
        A document has a number that is too large for sums of products in float32.
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
    if not lengths.all():
        raise EmptyTokensError(f"{argument}[{lengths.argmin()}]", "at least one token", "none")
    most = MAX_MULTIVECTOR_FLOATS // dim
    large = lengths > most
    if large.any():
        raise PointTooLargeError(
            f"{argument}[{large.argmax()}]",
            f"at most {MAX_MULTIVECTOR_FLOATS} numbers, which is {most} tokens",
            f"{lengths[large.argmax()]} tokens",
        )
    wrong = first_out_of_range(batch.values)
    if wrong is not None:
        document, token = batch.place(wrong)
        # float32 has infinity in place of a large float64, which the error names.
        vector = batch.values[wrong] if batch is tokens else as_array(matrices[document])[token]
        raise out_of_range(vector, f"{argument}[{document}]", f" in token {token}")
    return batch


def check_query_tokens(
    tokens: TokensLike, recipe: Tokens, count: int, argument: str = "tokens"
) -> TokenBatch:
    """Check token matrices of queries against the tokens of a recipe; see :func:`check_tokens`."""
    batch = check_tokens(tokens, recipe.dim, count, argument)
    check_float16_tokens(batch, recipe, argument)
    return batch


def check_document_tokens(
    tokens: TokensLike, recipe: Tokens, count: int, argument: str = "tokens"
) -> TokenBatch:
    """Check token matrices of documents against the tokens of a recipe.

    Parameters
    ----------
    tokens : TokenBatch or sequence of array-like of shape (t_i, dim)
        Token vectors of each document.
    recipe : Tokens
        Part of the recipe that says how they are stored.
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
    InvalidArgumentError
        If a token has only zeros, as padding does, or more than the datatype can hold; or as
        :func:`check_tokens` says.
    """
    batch = check_query_tokens(tokens, recipe, count, argument)
    padding = np.flatnonzero(~batch.values.any(axis=1))
    if padding.size:
        document, token = batch.place(int(padding[0]))
        expected = (
            "tokens that are not all zeros, because padding changes encodings and MaxSim; leave it out by "
            "TokenBatch.from_padded(values, mask), or cut each matrix to its number of tokens"
        )
        raise InvalidArgumentError(f"{argument}[{document}]", expected, f"zeros in token {token}")
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
        The array has another shape, or values that are not numbers.
    LengthMismatchError
        There are not ``count`` vectors.
    NonFiniteError
        A vector has NaN or infinity.
    InvalidArgumentError
        The datatype cannot hold a vector, or a number is too large for sums of products in float32.
    """
    numbers = _as_numbers(vectors, dim, count, argument)
    rows = as_float32(numbers)
    if rows.ndim != 2 or (len(rows) and rows.shape[1] != dim):
        raise DimensionError(argument, f"shape ({count}, {dim})", f"shape {rows.shape}")
    if len(rows) != count:
        raise LengthMismatchError(argument, f"{count} vectors", len(rows))
    wrong = first_out_of_range(rows)
    if wrong is not None:
        raise out_of_range(numbers[wrong], f"{argument}[{wrong}]")
    check_datatype(rows, datatype, argument)
    return rows


def _as_numbers(vectors: Any, dim: int, count: int, argument: str) -> NDArray[Any]:
    """Vectors as an array of real numbers; rows may be tensors, and arrays in an array of objects."""
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32:
        return vectors
    expected = f"numbers of shape ({count}, {dim})"
    try:
        if isinstance(vectors, Sequence) and len(vectors) and hasattr(vectors[0], "detach"):
            vectors = [as_array(row) for row in vectors]
        numbers = as_array(vectors)
        if numbers.dtype == object:
            vectors = numbers.tolist()
            numbers = np.asarray(vectors)
        if numbers.dtype == object:
            numbers = numbers.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        wrong = _wrong_row(vectors, dim, argument)
        raise wrong or DimensionError(argument, expected, str(error)) from None
    if numbers.dtype.kind not in "fiub":
        raise _wrong_row(vectors, dim, argument) or DimensionError(argument, expected, numbers.dtype)
    return numbers


def _wrong_row(vectors: Any, dim: int, argument: str) -> DimensionError | None:
    """The error that names the first row that is no vector; None where all rows are vectors."""
    for i, row in enumerate(vectors if isinstance(vectors, Sequence) else ()):
        try:
            shape = np.shape(np.asarray(row, dtype=np.float32))
        except (TypeError, ValueError, OverflowError):
            return DimensionError(f"{argument}[{i}]", f"{dim} numbers", short_repr(row))
        if row is None or shape != (dim,):
            got = "None" if row is None else f"shape {shape}"
            return DimensionError(f"{argument}[{i}]", f"{dim} numbers", got)
    return None


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
        part, place = recipe.dense[name], f"{within}{own}"
        rows = _count(vectors, place) if count is None else count
        checked[name] = check_dense(vectors, part.dim, rows, place, datatype_of_user(part))
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
        The recipe has no vector of that name, or has several and vectors come without a name.
    """
    if dense is None:
        return []
    if isinstance(dense, Mapping):
        for name in dense:
            if name not in recipe.dense:
                expected = f"one of {[*recipe.dense]}"
                raise InvalidArgumentError(f"{argument}[{short_repr(name)}]", expected, short_repr(name))
        return [(name, f"{argument}[{name!r}]", vectors) for name, vectors in dense.items()]
    if len(recipe.dense) != 1:
        expected = "none, because the recipe has no dense vector"
        if recipe.dense:
            expected = f"a mapping with names of {[*recipe.dense]}"
        raise InvalidArgumentError(argument, expected, "vectors without a name")
    return [(next(iter(recipe.dense)), argument, dense)]


def _check_texts(
    texts: Any, count: int, argument: str = "texts", *, may_be_blank: bool = False
) -> Sequence[str]:
    """Return checked texts; None becomes an empty text where texts may be blank, as those of scans are."""
    checked: Sequence[str] = _sequence(texts, argument)
    if may_be_blank:
        checked = ["" if text is None else text for text in checked]
    if len(checked) != count:
        raise LengthMismatchError(argument, f"{count} texts, one for each document", len(checked))
    for i, text in enumerate(checked):
        if not isinstance(text, str) or not (may_be_blank or text.strip()):
            raise InvalidArgumentError(f"{argument}[{i}]", "a text that is not empty", short_repr(text))
        check_text(text, f"{argument}[{i}]")
    return checked


def _check_payloads(payloads: Any, count: int) -> list[dict[str, Any]]:
    if payloads is None:
        return [{} for _ in range(count)]
    items = _sequence(payloads, "payloads")
    if len(items) != count:
        raise LengthMismatchError("payloads", f"{count} payloads, one for each document", len(items))
    return [
        check_payload({} if payload is None else payload, f"payloads[{i}]") for i, payload in enumerate(items)
    ]


def check_payload(payload: Any, argument: str) -> dict[str, Any]:
    """Convert the payload of a user to JSON types.

    Parameters
    ----------
    payload : mapping
        Payload of a document.
    argument : str
        Name of the argument, for the error.

    Returns
    -------
    dict
        Payload of JSON types.

    Raises
    ------
    InvalidArgumentError
        The payload holds what Qdrant cannot keep, or a field that embplug keeps for itself.
    """
    checked = jsonable_payload(payload, argument)
    for key in OWN_FIELDS:
        if key in checked:
            expected = f"no key {key!r}, which embplug uses itself"
            raise InvalidArgumentError(argument, expected, "a payload with this key")
    return checked


def _count(items: Any, argument: str) -> int:
    """Number of documents of which something is passed; what it is, is checked afterwards."""
    try:
        return len(items)
    except TypeError:
        raise InvalidArgumentError(argument, "a sequence, one item per document", short_repr(items)) from None


def _sequence(items: Any, argument: str) -> Any:
    if isinstance(items, np.ndarray):
        if items.ndim == 0:
            raise InvalidArgumentError(argument, "a sequence, one item per document", "an array of shape ()")
        return items if argument == "tokens" else items.tolist()
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Sequence):
        raise InvalidArgumentError(argument, "a sequence, one item per document", type(items).__name__)
    return items
