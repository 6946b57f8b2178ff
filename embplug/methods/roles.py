"""One base class for each role of methods, with the checks of arguments that methods of a role share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import DimensionError, InvalidArgumentError
from embplug.methods.base import Method
from embplug.methods.kernels import Kernel, in_use, load
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bases import Bases
from embplug.methods.kernels.bytewise import BytewiseCodes
from embplug.methods.kernels.lookups import TokenTerms, maxsim_of_tiles, vector_scores
from embplug.methods.kernels.tables import Table, VectorTable
from embplug.methods.numeric.arrays import Codes, Float32, as_query, as_vectors, check_codes
from embplug.methods.token_batch import TokenBatch

if TYPE_CHECKING:
    from embplug.methods.reductions.reduced import Reduced


class Transform(Method):
    """Base of transforms: vectors to vectors whose dot products Qdrant compares.

    A subclass gives :meth:`output_dim` and ``_transform``. One that learns also gives :meth:`fit`,
    :attr:`fitted_dim` and ``_arrays``.

    Attributes
    ----------
    trial_storage : {"float16", "binary", "product"}
        Storage in Qdrant with which the advisor tries the transform. It belongs to the class.
    """

    _order: ClassVar[str] = "that of the input"

    trial_storage: ClassVar[Literal["float16", "binary", "product"]] = "float16"

    @classmethod
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        """Return transforms that are worth a trial by the advisor, by the names of the trials.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.
        size : int
            Dimension of the results. If ``trial_storage`` is ``product``, bytes of the codes that follow.

        Returns
        -------
        dict of str to Transform
            Empty by default: the advisor does not try the method.
        """
        return {}

    @property
    def unit_length(self) -> bool:
        """Whether all results have length 1, so that their dot products are cosines."""
        return False

    def output_dim(self, dim: int) -> int:
        """Dimension of the results.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.

        Returns
        -------
        int
            Number of dimensions.
        """
        raise NotImplementedError

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from a sample. The default learns nothing.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.
        queries : array-like of shape (m, dim), default=None
            Vectors of queries, for the methods that use them.

        Returns
        -------
        self
        """
        return self

    def transform(self, X: ArrayLike) -> Float32:
        """Transform documents.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.

        Returns
        -------
        ndarray of shape (n, output_dim), float32

        Raises
        ------
        NotFittedError
            The method learns from data, and :meth:`fit` was not called.
        DimensionError
            The vectors have another dimension than those passed to :meth:`fit`.
        NonFiniteError
            A vector holds NaN or infinity. The error names the first one.
        """
        self._check_fitted()
        return self._transform(as_vectors(X, self.fitted_dim))

    def transform_query(self, Q: ArrayLike) -> Float32:
        """Transform queries.

        Parameters
        ----------
        Q : array-like of shape (n, dim)
            Vectors of queries.

        Returns
        -------
        ndarray of shape (n, output_dim), float32

        Raises
        ------
        NotFittedError
            The method learns from data, and :meth:`fit` was not called.
        DimensionError
            The vectors have another dimension than those passed to :meth:`fit`.
        NonFiniteError
            A vector holds NaN or infinity. The error names the first one.
        """
        self._check_fitted()
        return self._transform_query(as_vectors(Q, self.fitted_dim, "Q"))

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Bytes of a result as float32; see :meth:`Method.bytes_per_vector`."""
        return 4 * self.output_dim(dim)

    @property
    def _learns(self) -> bool:
        # A transform that inherits ``fit`` from here learns nothing.
        return type(self).fit is not Transform.fit

    def _transform(self, vectors: Float32) -> Float32:
        """Results of documents (n, dim), which are checked."""
        raise NotImplementedError

    def _transform_query(self, vectors: Float32) -> Float32:
        """Results of queries (n, dim); the default is that of documents."""
        return self._transform(vectors)

    def _described_dim(self, dim: int | None) -> int | None:
        return None if dim is None else self.output_dim(dim)


class PreparedQuery(NamedTuple):
    """A query in the form in which codes are scored.

    Attributes
    ----------
    parts
        What the quantizer computes from the query once for all codes, such as tables of dot products.
    single : bool
        Whether the query was one vector (dim,), so that each code has one score.
    """

    parts: Any
    single: bool


class Quantizer(Method):
    """Base of quantizers: each vector becomes a code of a few bytes, and exact queries score the codes.

    A subclass gives :meth:`fit`, :attr:`fitted_dim`, :meth:`bytes_per_vector`, ``_arrays``, ``_encode``,
    ``_decode``, ``_prepare`` and ``_score``.

    Attributes
    ----------
    has_signs : bool
        Whether the first bits of codes are signs that Qdrant can search; see :meth:`signs`. It belongs to the
        class.
    """

    has_signs: ClassVar[bool] = False

    @property
    def dim(self) -> int:
        """Dimension of the vectors that the quantizer has learned from."""
        self._check_fitted()
        assert self.fitted_dim is not None
        return self.fitted_dim

    @property
    def code_bytes(self) -> int:
        """Bytes of the code of one vector."""
        return int(self.bytes_per_vector(self.dim))

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from a sample.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.
        queries : array-like of shape (m, dim), default=None
            Vectors of queries, for the methods that use them.

        Returns
        -------
        self
        """
        raise NotImplementedError

    def encode(self, X: ArrayLike) -> Codes:
        """Encode vectors.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.

        Returns
        -------
        ndarray of shape (n, code_bytes), uint8

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The vectors have another dimension than those passed to :meth:`fit`.
        NonFiniteError
            A vector holds NaN or infinity. The error names the first one.
        """
        return self._encode(as_vectors(X, self.dim))

    def decode(self, codes: Codes) -> Float32:
        """Compute the vectors that codes stand for.

        Parameters
        ----------
        codes : ndarray of shape (n, code_bytes), uint8
            Results of :meth:`encode`.

        Returns
        -------
        ndarray of shape (n, dim), float32

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The codes are not uint8, or do not have :attr:`code_bytes` columns.
        """
        return self._decode(check_codes(codes, self.code_bytes))

    def encode_query(self, q: ArrayLike) -> PreparedQuery:
        """Prepare a query for :meth:`score`.

        Parameters
        ----------
        q : array-like of shape (dim,) or (t, dim)
            One vector, or the t tokens of one query.

        Returns
        -------
        PreparedQuery
            The query in the form that :meth:`score` takes.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The query has another dimension than the vectors passed to :meth:`fit`.
        NonFiniteError
            The query holds NaN or infinity.
        """
        query, single = as_query(q, self.dim)
        kernel = load() if single else None
        table = None if kernel is None else self._vector_table(kernel, query)
        return PreparedQuery(self._prepare(query) if table is None else table, single)

    def score(self, query: PreparedQuery, codes: Codes) -> Float32:
        """Compute the dot products of a query with the vectors that codes stand for.

        Parameters
        ----------
        query : PreparedQuery
            Result of :meth:`encode_query`.
        codes : ndarray of shape (n, code_bytes), uint8
            Results of :meth:`encode`.

        Returns
        -------
        ndarray of shape (n,) or (n, t), float32, C-contiguous
            Dot products of each code with the query, or with each of its t tokens.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The codes are not uint8, or do not have :attr:`code_bytes` columns.
        """
        if not isinstance(query, PreparedQuery):
            raise InvalidArgumentError("query", "the result of encode_query", type(query).__name__)
        codes = check_codes(codes, self.code_bytes)
        if isinstance(query.parts, VectorTable):
            terms = self._token_terms(query.parts.kernel, CodedDocuments.of_rows(codes))
            assert terms is not None
            return vector_scores(query.parts, terms)
        scores = self._score(query.parts, codes)
        return np.ascontiguousarray(scores[:, 0] if query.single else scores)

    def score_places(self, query: Float32, codes: Codes, starts: NDArray[np.int64]) -> Float32:
        """Sum the dot products of all tokens of a query with codes that stand anywhere in a buffer.

        Parameters
        ----------
        query : ndarray of shape (t, dim), float32
            Tokens of one query.
        codes : ndarray of shape (bytes,), uint8
            The buffer.
        starts : ndarray of shape (n,), int64
            The first byte of each code.

        Returns
        -------
        ndarray of shape (n,), float32
        """
        kernel = load()
        bytewise = None if kernel is None else self._bytewise()
        if kernel is not None and bytewise is not None and bytewise.adds_up:
            return bytewise.sums(kernel, query, codes, starts)
        whole = self.encode_query(query.sum(axis=0))
        return self.score(whole, codes[starts[:, None] + np.arange(self.code_bytes)])

    def check_vectors(self, dim: int, *, unit_length: bool) -> None:
        """Refuse vectors for which the codes make no sense. The default accepts all.

        Parameters
        ----------
        dim : int
            Dimension of the vectors.
        unit_length : bool
            Whether all vectors have length 1. If False, codes have to keep the lengths.

        Raises
        ------
        InvalidArgumentError
            The error names the parameter of the quantizer that does not fit, or ``distance``.
        """

    def signs_dim(self, dim: int) -> int:
        """Dimension of the results of :meth:`signs` for vectors of dimension ``dim``."""
        raise NotImplementedError

    def signs(self, X: ArrayLike) -> Float32:
        """Compute the signs of documents, if :attr:`has_signs`.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.

        Returns
        -------
        ndarray of shape (n, signs_dim), float32
            All numbers are -1 or 1.
        """
        raise NotImplementedError

    def sign_queries(self, Q: ArrayLike) -> Float32:
        """Compute queries whose dot products with :meth:`signs` rank documents.

        Parameters
        ----------
        Q : array-like of shape (n, dim)
            Vectors of queries.

        Returns
        -------
        ndarray of shape (n, signs_dim), float32
        """
        raise NotImplementedError

    def token_codes(self) -> TokenCodes:
        """Return this quantizer as token codes: a document is the codes of its tokens in a row.

        Returns
        -------
        TokenCodes
            It shares what the quantizer has learned.
        """
        from embplug.methods.token_by_token import TokenByToken

        return TokenByToken(self)

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Bytes of the code of one vector; see :meth:`Method.bytes_per_vector`."""
        raise NotImplementedError

    def _encode(self, vectors: Float32) -> Codes:
        """Codes (n, code_bytes) of vectors (n, dim), which are checked."""
        raise NotImplementedError

    def _decode(self, codes: Codes) -> Float32:
        """Vectors (n, dim) of codes, which are checked."""
        raise NotImplementedError

    def _prepare(self, query: Float32) -> Any:
        """Parts that :meth:`_score` needs of a query (t, dim)."""
        raise NotImplementedError

    def _score(self, parts: Any, codes: Codes) -> Float32:
        """Dot products (n, t)."""
        raise NotImplementedError

    def _maxsim(self, kernel: Kernel, query: Float32, documents: CodedDocuments) -> Float32 | None:
        """MaxSim (n,) of query tokens (t, dim) by the compiled kernel. None if it cannot score the codes."""
        terms = self._token_terms(kernel, documents)
        if terms is None:
            return None
        return maxsim_of_tiles(kernel, query, terms, partial(self._lookups, kernel))

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms | None:
        """What the compiled kernel needs of the codes of tokens. None if it cannot score them.

        The codes of a document follow one another, ``code_bytes`` each, and are there.
        """
        return None

    def _bytewise(self) -> BytewiseCodes | None:
        """The codes as the compiled kernel scores them in one call, where their bytes name entries."""
        return None

    def _lookups(self, kernel: Kernel, query: Float32) -> tuple[Table, Bases]:
        """Table and bases (rows, tile) by which the compiled kernel scores query tokens (tile, dim)."""
        raise NotImplementedError

    def _vector_table(self, kernel: Kernel, query: Float32) -> VectorTable | None:
        """Table by which the compiled kernel scores codes for one vector (1, dim). None if it cannot."""
        return None

    def _scored_by(self) -> str:
        own, base = type(self), Quantizer
        compiled = own._token_terms is not base._token_terms or own._bytewise is not base._bytewise
        return in_use() if compiled else "numpy"


class TokenCodes(Method):
    """Base of token codes: the tokens of a document become one string of bytes, which queries score.

    A subclass gives :meth:`fit`, :attr:`fitted_dim`, ``_arrays``, :meth:`encode`, :meth:`decode`,
    :meth:`sizes`, :meth:`maxsim` and :meth:`bytes_per_vector`.
    """

    @property
    def dim(self) -> int:
        """Dimension of the tokens that the codes have learned from."""
        self._check_fitted()
        assert self.fitted_dim is not None
        return self.fitted_dim

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> Self:
        """Learn from documents, or a random sample of them.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        queries : TokenBatch, default=None
            Tokens of queries, for the methods that use them.

        Returns
        -------
        self
        """
        raise NotImplementedError

    @property
    def centroid_bytes(self) -> int:
        """Bytes of the id of a token's centroid, or 0, the default, where codes have no centroids.

        Before :meth:`fit` it is what the codes are expected to have.
        """
        return 0

    @property
    def centroids_rank(self) -> bool:
        """Whether :meth:`centroid_maxsim` is there, and tells which documents may be among the best."""
        return False

    def centroid_codes(self) -> Quantizer | None:
        """Return a quantizer of tokens whose codes are the ids of centroids that were learned anyway.

        Returns
        -------
        Quantizer or None
            It is fitted, and shares the centroids. None, the default, where codes have no centroids.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        """
        return None

    def encode(self, tokens: TokenBatch) -> list[bytes]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        list of bytes
            One string for each document.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        """
        raise NotImplementedError

    def decode(self, strings: Sequence[bytes]) -> TokenBatch:
        """Compute the token matrices that strings stand for.

        Parameters
        ----------
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        TokenBatch
            Token vectors of each document.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        InvalidArgumentError
            A string is not one of these codes. The error names the first one.
        """
        raise NotImplementedError

    def sizes(self, tokens: TokenBatch) -> NDArray[np.int64]:
        """Compute how many bytes the string of each document has at most.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        ndarray of shape (n,), int64
            Bytes of each string.
        """
        raise NotImplementedError

    def maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        """Score documents by MaxSim.

        Parameters
        ----------
        query : array-like of shape (t, dim)
            Tokens of one query.
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        ndarray of shape (n,), float32
            The score of a document without tokens is -inf.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError, NonFiniteError
            The query has another dimension than the tokens passed to :meth:`fit`, or is not finite.
        InvalidArgumentError
            A string is not one of these codes. The error names the first one.
        """
        raise NotImplementedError

    def centroid_maxsim(self, query: ArrayLike, strings: Sequence[bytes]) -> Float32:
        """Score documents by MaxSim with the centroids alone that their codes name, where they name some.

        The arguments, the result and the errors are those of :meth:`maxsim`, which takes several times as
        long.
        """
        raise NotImplementedError

    def products(self, query: ArrayLike, strings: Sequence[bytes]) -> TokenBatch:
        """Compute the dot products of query tokens with the tokens that strings stand for.

        MaxSim adds up the highest one of each query token. The compiled kernel rounds them, so that its sums
        may differ a little.

        Parameters
        ----------
        query : array-like of shape (t, dim)
            Tokens of one query.
        strings : sequence of bytes
            Results of :meth:`encode`.

        Returns
        -------
        TokenBatch
            For each document a matrix of shape (tokens, t).

        Raises
        ------
        NotFittedError, DimensionError, NonFiniteError, InvalidArgumentError
            See :meth:`maxsim`.
        """
        query_tokens, tokens = as_vectors(query, self.dim, "query"), self.decode(strings)
        return TokenBatch(tokens.values @ query_tokens.T, tokens.offsets)

    def token_codes(self) -> TokenCodes:
        """Return these token codes; see :meth:`Quantizer.token_codes`."""
        return self


class Encoding(Method):
    """Base of encodings: the tokens of a document become one vector that a vector search can find.

    The dot product of a query's and a document's encoding estimates MaxSim. A subclass gives
    :meth:`output_dim`, :meth:`encode_documents` and :meth:`encode_queries`. One that learns also gives
    :meth:`fit`, :attr:`fitted_dim` and ``_arrays``.

    Attributes
    ----------
    dtype : str
        Type of the encodings: ``"float32"``, ``"float16"`` or ``"uint8"``.
    drifts : bool
        Whether new documents can differ from those learned from, so that :meth:`drift` can be called. It
        belongs to the class.
    """

    dtype: str

    _order: ClassVar[str] = "an estimate of that of MaxSim"

    drifts: ClassVar[bool] = False

    @property
    def datatype(self) -> models.Datatype:
        """Datatype of the encodings in Qdrant. Their distance is the dot product."""
        return models.Datatype(self.dtype)

    @property
    def hnsw_ef(self) -> int | None:
        """Size of the candidate list of HNSW that the encodings need. None is Qdrant's default."""
        return None

    def can_learn(self, tokens: TokenBatch) -> bool:
        """Whether a sample has enough documents and tokens for :meth:`fit`.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.

        Returns
        -------
        bool
            True if :meth:`fit` accepts the sample.
        """
        return not self._learns or len(tokens.values) > 0

    def output_dim(self, dim: int) -> int:
        """Dimension of the encodings.

        Parameters
        ----------
        dim : int
            Dimension of the tokens.

        Returns
        -------
        int
            Number of dimensions.
        """
        raise NotImplementedError

    def fit(
        self, tokens: TokenBatch, queries: TokenBatch | None = None, *, device: str | None = None
    ) -> Self:
        """Learn from documents, or a random sample of them. The default learns nothing.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        queries : TokenBatch, default=None
            Tokens of queries, for the methods that use them.
        device : str, default=None
            Torch device, such as ``"cuda"``, for the methods that use one. None computes with numpy.

        Returns
        -------
        self
        """
        return self

    def encode_documents(
        self, tokens: TokenBatch, *, n_jobs: int = 1, device: str | None = None
    ) -> NDArray[Any]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        n_jobs : int, default=1
            Number of threads. -1 uses all cores.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy.

        Returns
        -------
        ndarray of shape (n, output_dim), of the type ``dtype``
            The encoding of a document without tokens is zero.
        """
        raise NotImplementedError

    def encode_queries(self, tokens: TokenBatch, token_weights: ArrayLike | None = None) -> NDArray[Any]:
        """Encode queries.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of queries.
        token_weights : array-like of shape (sum_tokens,), default=None
            Weight of each token in its query. None weighs all alike.

        Returns
        -------
        ndarray of shape (n, output_dim), of the type ``dtype``
        """
        raise NotImplementedError

    def comparable(self, vectors: NDArray[Any]) -> NDArray[Any]:
        """Return the part of encodings by which two documents can be compared with each other.

        Parameters
        ----------
        vectors : ndarray of shape (n, output_dim), or (output_dim,)
            Encodings of documents.

        Returns
        -------
        ndarray of shape (n, k), or (k,)
        """
        return vectors

    def drift(self, tokens: TokenBatch, *, device: str | None = None) -> float:
        """Measure how much worse the encoding is on new documents than on those learned from.

        Parameters
        ----------
        tokens : TokenBatch
            New documents.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy.

        Returns
        -------
        float
            Ratio of the two errors: about 1 if the new documents resemble those learned from.

        Raises
        ------
        InvalidArgumentError
            The encoding is not learned, so that it does not drift; see :attr:`drifts`.
        """
        raise InvalidArgumentError("encoding", "a learned encoding: others do not drift", self)

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Bytes of the encoding of one document; see :meth:`Method.bytes_per_vector`."""
        return np.dtype(self.dtype).itemsize * self.output_dim(dim)

    @property
    def _learns(self) -> bool:
        # An encoding that inherits ``fit`` from here learns nothing.
        return type(self).fit is not Encoding.fit

    def _described_dim(self, dim: int | None) -> int | None:
        return None if dim is None else self.output_dim(dim)

    def _check_tokens(self, tokens: TokenBatch) -> None:
        """Refuse to encode before ``fit``, and tokens of another dimension than in ``fit``."""
        self._check_fitted()
        if self.fitted_dim not in (None, tokens.dim):
            raise DimensionError("tokens", f"dim {self.fitted_dim}, as in fit", tokens.dim)


class Reduction(Method):
    """Base of token reductions: documents or queries with fewer tokens. A subclass gives :meth:`reduce`.

    Attributes
    ----------
    needs_saliency : bool
        Whether :meth:`reduce` reads how much each token matters. It belongs to the class.
    needs_cells : bool
        Whether :meth:`reduce` reads where each token lies on an image, and cannot do without.
    pools : bool
        Whether tokens of the result stand for several tokens, so that they have neither saliency nor place of
        their own. It belongs to the class.
    """

    _order: ClassVar[str] = "changed by the tokens that are merged or left out"

    needs_saliency: ClassVar[bool] = False
    pools: ClassVar[bool] = False

    @property
    def needs_cells(self) -> bool:
        """Whether :meth:`reduce` cannot do without the places of tokens on an image."""
        return False

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Reduce the number of tokens.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents or queries.
        saliency : array-like of shape (sum_tokens,), default=None
            How much each token matters. Only used if :attr:`needs_saliency`.
        cells : array-like of shape (sum_tokens, 2), default=None
            Row and column of each token on its image, as :func:`~embplug.methods.patch_cells` returns them.
            Only used by poolings of patches.

        Returns
        -------
        Reduced
            The remaining tokens, and where each token went.
        """
        raise NotImplementedError

    @property
    def _learns(self) -> bool:
        return False

    def _described_dim(self, dim: int | None) -> int | None:
        return dim


class Adapter(Method):
    """Base of adapters: a query of a new model becomes one that finds documents of the old model.

    A subclass gives :meth:`fit`, :attr:`fitted_dim`, ``_arrays``, :meth:`transform` and :meth:`missing`.
    """

    _order: ClassVar[str] = "an estimate of that of the new model"

    @property
    def new_dim(self) -> int:
        """Dimension of the vectors of the new model."""
        self._check_fitted()
        assert self.fitted_dim is not None
        return self.fitted_dim

    def fit(self, new: ArrayLike, old: ArrayLike) -> Self:
        """Learn from the vectors of the same texts by both models.

        Parameters
        ----------
        new : array-like of shape (n, new_dim)
            Vectors of the new model.
        old : array-like of shape (n, old_dim)
            Vectors of the old model.

        Returns
        -------
        self

        Raises
        ------
        LengthMismatchError
            ``new`` and ``old`` differ in length.
        """
        raise NotImplementedError

    def transform(self, X: ArrayLike) -> Float32:
        """Map vectors of the new model to the space of the old model.

        Parameters
        ----------
        X : array-like of shape (n, new_dim)
            Vectors of the new model.

        Returns
        -------
        ndarray of shape (n, old_dim), float32
        """
        raise NotImplementedError

    def missing(self, X: ArrayLike) -> Float32:
        """Compute what the scores of mapped queries lack on average.

        Adding it makes the scores of both models comparable in one ranking.

        Parameters
        ----------
        X : array-like of shape (n, new_dim)
            Queries of the new model.

        Returns
        -------
        ndarray of shape (n,), float32
            Mean score by the new model minus mean score of the mapped query by the old model.
        """
        raise NotImplementedError


class QueryWeights(Method):
    """Base of query weights: how much each token of a query counts. A subclass gives :meth:`weights`."""

    def fit(self, documents: TokenBatch) -> Self:
        """Learn from documents, or a random sample of them.

        Parameters
        ----------
        documents : TokenBatch
            Token vectors of documents.

        Returns
        -------
        self
        """
        raise NotImplementedError

    def weights(self, queries: TokenBatch) -> Float32:
        """Compute the weights of the tokens of queries.

        Parameters
        ----------
        queries : TokenBatch
            Token vectors of queries.

        Returns
        -------
        ndarray of shape (sum_tokens,), float32
            All weights are positive.
        """
        raise NotImplementedError

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        """Bytes of the weight of one token; see :meth:`Method.bytes_per_vector`."""
        return 4
