"""A fixed dimensional encoding learned from the collection: fewer bytes than FDE for better candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.threads import single_blas_thread, worker_count
from embplug.common.torch_device import torch_on
from embplug.errors import DimensionError, EmptyTokensError, InvalidArgumentError
from embplug.methods.encodings.feature_training import train_features
from embplug.methods.numeric.arrays import State
from embplug.methods.numeric.balanced import BalancedBytes
from embplug.methods.numeric.partition import Float32
from embplug.methods.registry import register
from embplug.methods.roles import Encoding
from embplug.methods.stored import StoredArray
from embplug.methods.token_batch import TokenBatch, check_token_batch, document_blocks
from embplug.methods.token_checks import check_finite, checked_weights

LANDMARK_BLOCK = 1024
"""Landmarks compared at a time: the products of a document with them stay in the cache."""

DOCUMENT_BLOCK = 256
"""Documents whose targets are mapped to encodings in one matrix product."""

DEVICE_TOKENS = 4096
"""Tokens that are compared with landmarks in one product on a torch device."""

QUERY_BLOCK = 512
"""Query tokens whose features are held at a time."""

SAMPLE_TOKENS = 650_000
"""Tokens of a sample from which an encoding is learned in minutes."""

MIN_DOCUMENTS = 16
MIN_TOKENS = 256
"""Smallest sample. More is better up to ``sample`` documents and ``landmarks`` tokens."""

HNSW_EF = 800
"""Default of hnsw_ef: queries lie far from all documents, where a graph search is less precise."""

LANDMARKS_A_FEATURE = 4
"""Smallest number of landmarks for each feature to train. With fewer, features overfit."""

QUERY_SHARE = 0.5
"""Share of the landmarks that are query tokens, if queries are passed."""

SPREAD = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Times ``activity``, in turns: narrow features are precise in the sample, broad ones hold beyond it."""

BROADEST = 0.5
"""Largest activity."""

POWER_ROUNDS = 3
OVERSAMPLING = 64
"""Block power iteration for the leading directions: far more precise than the sample is."""

SMOOTHNESS = 1e-3
"""Weight of the features' own covariance beside that of the documents': orders what no document used."""

DRIFT_DOCUMENTS = 200
DRIFT_TOKENS = 2000
DRIFT_LIMIT = 2.0
"""A :meth:`LearnedEncoding.drift` above it says that fitting again pays."""

# The streams of the seed.
LANDMARKS, DIRECTIONS, ROTATION, DRIFT, TRAINING = range(5)


@plain_dataclass(frozen=True)
class _Fitted:
    """Learned arrays. The maps are rounded to float16, the type of the stored state."""

    landmarks: NDArray[Any]
    """(landmarks, dim): the first ``features`` are feature directions unless these were trained, the first
    ``compared`` are compared with documents. float16 where the tokens were."""
    trained: NDArray[Any] | None
    """float16 (features, dim)"""
    thresholds: Float32
    """(features,)"""
    query_map: Float32
    """(features + dim, rank)"""
    document_map: Float32
    """(compared, rank)"""
    document_bias: Float32
    """(rank,)"""
    bytes_scale: float
    length: float
    """Length of all documents; see :class:`BalancedBytes`."""
    unexplained: float
    """Share of the variance of MaxSim that the encodings of the sample do not explain."""

    @cached_property
    def directions(self) -> Float32:
        """(dim, features): kept as float32, because converting them takes longer than encoding a query."""
        rows = self.landmarks[: len(self.thresholds)] if self.trained is None else self.trained
        return np.ascontiguousarray(rows.astype(np.float32, copy=False).T)

    @property
    def dim(self) -> int:
        return int(self.landmarks.shape[1])

    @property
    def rank(self) -> int:
        return int(self.query_map.shape[1])


@register("learned", roles=("encoding",))
@dataclass(config=ConfigDict(extra="forbid"))
class LearnedEncoding(Encoding):
    """One vector for each token matrix whose dot product predicts MaxSim, learned from a sample.

    MaxSim of a query is the sum over its tokens x of ``y_d(x) = max_j <x, d_j>``. Each ``y_d`` is
    approximated by a linear function of common nonlinear features of x: half-spaces around sample tokens, and
    x itself. Ridge regression on *landmarks*, which are tokens of the sample, learns the weights. The leading
    directions of the documents' weights, in the metric of the regression, tell which combinations of features
    matter. The encoding of a document is its weights in these directions, that of a query the sum of the
    combined features of its tokens. A rotation spreads the information evenly over all dimensions, so that
    one byte for each is enough.

    A new document is compared with the landmarks, and one matrix product gives its encoding. Nothing is
    fitted again. Dot products estimate MaxSim up to a constant factor and a constant of the query, so that
    only their order has a meaning. One more dimension, in which queries are zero, brings all documents to the
    same length, which a graph search (HNSW) by dot products needs.

    Parameters
    ----------
    stored_dim : int, default=1536
        Dimension of the stored vectors, which is the bytes of a document with ``dtype="uint8"``. A small
        sample may not fill all dimensions; the rest is zero.
    features : int, default=4096
        Number of nonlinear features. More are more precise, and the time of a query grows with them.
    landmarks : int, default=8192
        Number of sample tokens on which features are learned. The time of :meth:`fit` grows with them.
    compared : int, default=8192
        Number of landmarks that a document is compared with. The time of :meth:`encode_documents` grows with
        them.
    sample : int, default=8000
        Largest number of documents to learn from, evenly spaced among those passed to :meth:`fit`.
    sample_tokens : int, default=650000
        Approximate largest number of tokens in the documents to learn from.
    activity : float, default=0.05
        Share of the landmarks for which a feature of middle breadth is not zero. The breadths of features
        range from a quarter of it to four times of it, up to half of the landmarks.
    ridge : float, default=0.01
        Regularisation, relative to the mean square of the features.
    steps : int, default=0
        Number of steps of gradient descent on the features, which needs PyTorch. 0 does not train them.
        Training needs four landmarks for each feature: ``steps=300, landmarks=32768``.
    dtype : {"uint8", "float16", "float32"}, default="uint8"
        Type of the encodings and of the vectors in Qdrant. ``"uint8"`` keeps the order of dot products.
    seed : int, default=0
        Seed of all random choices. The same seed, sample and machine give the same encodings.
        A fit on another processor or device may give slightly different results, because sums are rounded
        differently, and encodings of two fits cannot be compared. Copy the fitted state instead of fitting
        again. With a copied state, a byte of an encoding rarely differs between machines, and then by 1.
    kind : str, default="learned"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    fitted_ : object
        Landmarks, features and the maps of queries and documents. None before :meth:`fit`.

    References
    ----------
    .. [1] Jääsaari, Hyvönen and Roos, "LEMUR: Learned Multi-Vector Retrieval", ICML 2026, arXiv:2601.21853,
           for trained features.
    """

    stored_dim: int = Field(default=1536, ge=16)
    features: int = Field(default=4096, ge=1)
    landmarks: int = Field(default=8192, ge=1)
    compared: int = Field(default=8192, ge=1)
    sample: int = Field(default=8000, ge=MIN_DOCUMENTS)
    sample_tokens: int = Field(default=SAMPLE_TOKENS, ge=MIN_TOKENS)
    activity: float = Field(default=0.05, gt=0, le=0.5)
    ridge: float = Field(default=0.01, gt=0)
    steps: int = Field(default=0, ge=0)
    dtype: Literal["float32", "float16", "uint8"] = "uint8"
    seed: int = Field(default=0, ge=0)
    kind: Literal["learned"] = "learned"

    drifts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("features", "compared"):
            if getattr(self, name) > self.landmarks:
                raise ValueError(f"{name}: at most landmarks, {self.landmarks}, of which they are taken")
        if self.steps and self.landmarks < LANDMARKS_A_FEATURE * self.features:
            raise ValueError(
                f"landmarks: at least {LANDMARKS_A_FEATURE} for every feature to train, "
                f"{LANDMARKS_A_FEATURE * self.features}"
            )
        self.fitted_: _Fitted | None = None

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {f"learned {size}": cls(stored_dim=size) for size in (512, 1024)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.fitted_ is None else self.fitted_.dim

    @override
    def can_learn(self, tokens: TokenBatch) -> bool:
        return int(np.count_nonzero(tokens.lengths)) >= MIN_DOCUMENTS and len(tokens.values) >= MIN_TOKENS

    @property
    @override
    def hnsw_ef(self) -> int:
        return HNSW_EF

    @override
    def output_dim(self, dim: int) -> int:
        return self.stored_dim

    def fit(
        self, tokens: TokenBatch, queries: TokenBatch | None = None, *, device: str | None = None
    ) -> Self:
        """Learn from a sample of documents.

        Parameters
        ----------
        tokens : TokenBatch
            Documents, or a random sample of them. A few thousand are enough.
        queries : TokenBatch, default=None
            Queries similar to those to come, real or made from the text of documents (sentences or titles,
            encoded as queries). Half of the landmarks are then tokens of queries.
        device : str, default=None
            Torch device, such as ``"cuda"``, that compares documents with landmarks and trains.

        Returns
        -------
        self

        Raises
        ------
        EmptyTokensError
            There is no token.
        InvalidArgumentError
            There are too few documents or tokens, all tokens are zero, or torch has no such device.
        NonFiniteError
            A token is not finite.
        DimensionError
            Queries have another dimension than documents.
        MissingExtraError
            ``steps`` or ``device`` is set, and torch is not installed.
        """
        check_token_batch(tokens)
        if self.steps or device is not None:
            torch_on(device or "cpu", "LearnedEncoding with steps, or on a device,")
        sample, query_tokens = self._checked_sample(tokens, queries)
        landmarks = self._landmarks(sample, query_tokens)
        least = LANDMARKS_A_FEATURE * self.features
        if self.steps and len(landmarks) < least:
            expected = f"at least {least} tokens to train {self.features} features on"
            raise InvalidArgumentError("tokens", expected, len(landmarks))
        points = landmarks.astype(np.float32, copy=False)
        targets = _targets(sample, points, worker_count(-1), device)
        mean = targets.mean(axis=0)
        targets -= mean

        directions = points[: self.features]
        products = points @ directions.T
        thresholds = _thresholds(products, self.activity)
        trained = None
        if self.steps:
            del products
            directions, thresholds = train_features(
                points,
                targets,
                directions,
                thresholds,
                ridge=self.ridge,
                steps=self.steps,
                generator=self._generator(TRAINING),
                device=device,
            )
            trained = _halves(directions)
            products = points @ trained.astype(np.float32).T
        features = _features(points, products, thresholds)
        # The weights of document d are W[:, d] with (features' features + ridge) W = features' targets.
        # In the coordinates of the factor, factor' W, the mean square of a difference is its length.
        gram = features.T @ features
        gram[np.diag_indices_from(gram)] += self.ridge * np.trace(gram) / len(gram)
        factor = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
        weights = scipy.linalg.solve_triangular(
            factor, (targets @ features).T, lower=True, overwrite_b=True, check_finite=False
        )
        variances, basis = self._directions(weights, factor)
        query_map = scipy.linalg.solve_triangular(factor.T, basis, check_finite=False)

        components = features @ query_map
        noise = _mean_square_error(targets, weights.T @ basis, components)
        compared = min(self.compared, len(points))
        document_map = _posterior_map(components[:compared], variances, noise)
        rotation = self._rotation(len(variances))
        query_map, document_map = _unit_scale(query_map @ rotation), _unit_scale(document_map @ rotation)
        document_map = document_map.astype(np.float16).astype(np.float32)
        self.fitted_ = _Fitted(
            landmarks[: compared if self.steps else max(compared, self.features)],
            trained,
            thresholds,
            query_map.astype(np.float16).astype(np.float32),
            document_map,
            -mean[:compared] @ document_map,
            1.0,
            0.0,
            1.0,
        )
        encodings = targets[:, :compared] @ document_map
        spare = self._coded_dim - encodings.shape[1]
        coder = BalancedBytes.fit(np.pad(encodings, ((0, 0), (0, spare))), one_length=True)
        self.fitted_ = replace(self.fitted_, bytes_scale=coder.scale, length=coder.length)
        self.fitted_ = replace(self.fitted_, unexplained=self._unexplained(sample, device))
        return self

    def encode_documents(
        self, tokens: TokenBatch, *, n_jobs: int = 1, device: str | None = None
    ) -> NDArray[Any]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        n_jobs : int, default=1
            Number of threads. -1 uses all cores.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy. Results differ by rounding.

        Returns
        -------
        ndarray of shape (n, stored_dim), of the type ``dtype``
            The encoding of a document without tokens is zero.

        Raises
        ------
        NotFittedError
            The encoding learns from data, and :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        MissingExtraError
            ``device`` is set, and torch is not installed.
        """
        check_token_batch(tokens)
        fitted = self._learned(tokens)
        out = np.zeros((len(tokens), self.stored_dim), dtype=self.dtype)
        for start in range(0, len(tokens), DOCUMENT_BLOCK):
            block = tokens[start : start + DOCUMENT_BLOCK]
            out[start : start + len(block)] = self._coded(
                _document_vectors(fitted, block, worker_count(n_jobs), device), documents=True
            )
        return out

    def encode_queries(self, tokens: TokenBatch, token_weights: ArrayLike | None = None) -> NDArray[Any]:
        """Encode queries.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        token_weights : array-like of shape (sum_tokens,), default=None
            Weight of each token in its query, such as its inverse document frequency. None weighs all alike.

        Returns
        -------
        ndarray of shape (n, stored_dim), of the type ``dtype``
            The encoding of a query without tokens is zero.

        Raises
        ------
        NotFittedError
            The encoding learns from data, and :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        LengthMismatchError
            There are not as many weights as tokens.
        InvalidArgumentError
            A weight is not a finite number.
        """
        check_token_batch(tokens)
        fitted = self._learned(tokens)
        weights = None if token_weights is None else checked_weights(token_weights, len(tokens.values))
        with single_blas_thread():
            return self._coded(_query_vectors(fitted, tokens, weights), documents=False)

    def drift(self, tokens: TokenBatch, *, device: str | None = None) -> float:
        """Measure how much worse the encoding predicts MaxSim between new documents than in its sample.

        It compares the shares of the variance of MaxSim that the encodings do not explain, over new documents
        and over the sample. Tokens of documents stand for query tokens.

        Parameters
        ----------
        tokens : TokenBatch
            New documents. Of many, a random part is used.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy.

        Returns
        -------
        float
            Ratio of the two shares: about 1 if the new documents resemble the sample. Above 2 it pays to fit
            again and to encode all documents again, because encodings of two fits cannot be compared.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        InvalidArgumentError
            Fewer than two documents have tokens.
        """
        check_token_batch(tokens)
        fitted = self._learned(tokens)
        inhabited = np.flatnonzero(tokens.lengths)
        if len(inhabited) < 2:
            raise InvalidArgumentError("tokens", "at least two documents with tokens", len(inhabited))
        return self._unexplained(tokens.take(inhabited), device) / max(fitted.unexplained, 1e-9)

    @override
    def comparable(self, vectors: NDArray[Any]) -> NDArray[Any]:
        # The last number only brings documents to one length.
        return vectors[..., :-1]

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        landmarks = np.asarray(state.get("landmarks"))
        if landmarks.ndim != 2 or landmarks.dtype not in (np.float16, np.float32):
            return {"landmarks": StoredArray(np.float32, ("landmarks", "dim"))}
        count, dim = landmarks.shape
        features = self.features if self.steps else min(self.features, count)
        compared = min(self.compared, count)
        rank = min(self._coded_dim, features + dim)
        arrays = {
            "landmarks": StoredArray(landmarks.dtype.type, (count, dim)),
            "thresholds": StoredArray(np.float32, (features,)),
            "query_map": StoredArray(np.float16, (features + dim, rank)),
            "document_map": StoredArray(np.float16, (compared, rank)),
            "document_bias": StoredArray(np.float32, (rank,)),
            "bytes_scale": StoredArray(np.float64, low=0),
            "length": StoredArray(np.float64, low=0),
            "unexplained": StoredArray(np.float64, low=0),
        }
        if self.steps:
            arrays["directions"] = StoredArray(np.float16, (features, dim))
        return arrays

    def _to_arrays(self) -> State:
        fitted = self.fitted_
        assert fitted is not None
        return {
            "landmarks": fitted.landmarks,
            **({} if fitted.trained is None else {"directions": fitted.trained}),
            "thresholds": fitted.thresholds,
            "query_map": fitted.query_map.astype(np.float16),
            "document_map": fitted.document_map.astype(np.float16),
            "document_bias": fitted.document_bias,
            "bytes_scale": np.array(fitted.bytes_scale, dtype=np.float64),
            "length": np.array(fitted.length, dtype=np.float64),
            "unexplained": np.array(fitted.unexplained, dtype=np.float64),
        }

    def _from_arrays(self, arrays: State) -> None:
        self.fitted_ = _Fitted(
            arrays["landmarks"],
            arrays.get("directions"),
            arrays["thresholds"],
            arrays["query_map"].astype(np.float32),
            arrays["document_map"].astype(np.float32),
            arrays["document_bias"],
            float(arrays["bytes_scale"]),
            float(arrays["length"]),
            float(arrays["unexplained"]),
        )

    def _fit_cost(self) -> str:
        cost = (
            f"at most {self.sample:,} documents of {self.sample_tokens:,} tokens compared with at most "
            f"{self.landmarks:,} landmarks, one decomposition of a matrix of {self.features:,} features"
        )
        return f"{cost}, {self.steps} steps of training" if self.steps else cost

    @property
    def _coded_dim(self) -> int:
        """Dimensions of ``stored_dim`` that carry information."""
        if self.dtype != "uint8":
            return self.stored_dim - 1
        dim = self.stored_dim - BalancedBytes.balancing_dims(self.stored_dim)
        while dim + 1 + BalancedBytes.balancing_dims(dim + 1) <= self.stored_dim:
            dim += 1
        return dim

    def _learned(self, tokens: TokenBatch) -> _Fitted:
        self._check_tokens(tokens)
        assert self.fitted_ is not None
        return self.fitted_

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream,)))

    def _checked_sample(
        self, tokens: TokenBatch, queries: TokenBatch | None
    ) -> tuple[TokenBatch, NDArray[Any] | None]:
        """Documents with tokens, at most ``sample`` of them, and the tokens of the queries."""
        inhabited = np.flatnonzero(tokens.lengths)
        if inhabited.size == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        if not self.can_learn(tokens):
            raise InvalidArgumentError(
                "tokens",
                f"at least {MIN_DOCUMENTS} documents and {MIN_TOKENS} tokens to learn from",
                f"{len(inhabited)} documents with {len(tokens.values)} tokens",
            )
        affordable = int(self.sample_tokens * len(inhabited) / len(tokens.values))
        most = min(self.sample, max(affordable, MIN_DOCUMENTS))
        if len(inhabited) > most:
            inhabited = inhabited[np.linspace(0, len(inhabited) - 1, most).astype(np.int64)]
        sample = tokens if len(inhabited) == len(tokens) else tokens.take(inhabited)
        check_finite(sample.values, "tokens")
        if not sample.values.any():
            raise InvalidArgumentError("tokens", "tokens that are not all zero", "zeros")
        if queries is None or len(queries.values) == 0:
            return sample, None
        if queries.dim != tokens.dim:
            raise DimensionError("queries", f"dim {tokens.dim}, as the documents", queries.dim)
        check_finite(queries.values, "queries")
        return sample, queries.values

    def _landmarks(self, sample: TokenBatch, queries: NDArray[Any] | None) -> NDArray[Any]:
        """Random tokens (landmarks, dim) of the documents and, for a share of them, of the queries."""
        generator = self._generator(LANDMARKS)
        query_tokens = 0 if queries is None else min(len(queries), int(self.landmarks * QUERY_SHARE))
        count = min(self.landmarks - query_tokens, len(sample.values))
        chosen = sample.values[generator.choice(len(sample.values), count, replace=False)]
        if queries is not None:
            chosen = np.concatenate(
                [chosen, queries[generator.choice(len(queries), query_tokens, replace=False)]]
            )
            chosen = chosen[generator.permutation(len(chosen))]
        return chosen

    def _directions(self, weights: Float32, factor: Float32) -> tuple[Float32, Float32]:
        """Variances (rank,) and directions (features + dim, rank) in which documents differ most."""
        covariance = weights @ weights.T / np.float32(weights.shape[1])
        smooth = factor.T @ factor
        total = max(float(np.trace(covariance)), np.finfo(np.float32).tiny)
        covariance += smooth * np.float32(SMOOTHNESS * total / np.trace(smooth))
        rank = min(self._coded_dim, len(covariance))
        width = rank + OVERSAMPLING
        if 2 * width >= len(covariance):
            variances, basis = scipy.linalg.eigh(covariance, overwrite_a=True, check_finite=False)
        else:
            block = self._generator(DIRECTIONS).standard_normal((len(covariance), width)).astype(np.float32)
            for _ in range(POWER_ROUNDS):
                block = scipy.linalg.qr(covariance @ block, mode="economic", check_finite=False)[0]
            variances, inner = scipy.linalg.eigh(block.T @ (covariance @ block), check_finite=False)
            basis = block @ inner
        floor = variances[-1] * 1e-7
        return np.maximum(variances[::-1][:rank], floor), np.ascontiguousarray(basis[:, ::-1][:, :rank])

    def _rotation(self, rank: int) -> Float32:
        normal = self._generator(ROTATION).standard_normal((rank, rank))
        rotation: Float32 = scipy.linalg.qr(normal, check_finite=False)[0].astype(np.float32)
        return rotation

    def _unexplained(self, documents: TokenBatch, device: str | None) -> float:
        """Share of the variance of MaxSim between documents that encodings do not explain."""
        assert self.fitted_ is not None
        generator = self._generator(DRIFT)
        some = min(DRIFT_DOCUMENTS, len(documents))
        documents = documents.take(np.sort(generator.choice(len(documents), some, replace=False)))
        rows = generator.choice(
            len(documents.values), min(DRIFT_TOKENS, len(documents.values)), replace=False
        )
        query_tokens = documents.values[np.sort(rows)].astype(np.float32)
        true = _targets(documents, query_tokens, worker_count(-1), device)
        vectors = _document_vectors(self.fitted_, documents, worker_count(-1), device)
        single = TokenBatch(query_tokens, np.arange(len(query_tokens) + 1))
        predicted = vectors @ _query_vectors(self.fitted_, single, None).T
        true -= true.mean(axis=0)
        predicted -= predicted.mean(axis=0)
        # Encodings know MaxSim up to a factor: the best one is taken.
        power = float(np.square(predicted).sum())
        factor = float((true * predicted).sum()) / power if power > 0 else 0.0
        variance = float(np.square(true).sum())
        return float(np.square(true - factor * predicted).sum()) / variance if variance > 0 else 0.0

    def _coded(self, vectors: Float32, documents: bool) -> NDArray[Any]:
        """Vectors (n, rank) as ``dtype`` (n, stored_dim)."""
        assert self.fitted_ is not None
        padded = np.zeros((len(vectors), self._coded_dim), dtype=np.float32)
        padded[:, : vectors.shape[1]] = vectors
        if self.dtype == "uint8":
            coder = BalancedBytes(self._coded_dim, self.fitted_.bytes_scale, self.fitted_.length)
            coded = coder.documents(padded) if documents else coder.queries(padded)
            spare = self.stored_dim - coded.shape[1]
            return np.pad(coded, ((0, 0), (0, spare))) if spare else coded
        filling = np.zeros((len(padded), 1), dtype=np.float32)
        if documents and self.fitted_.length > 0:
            padded /= np.float32(self.fitted_.length)
            squares = np.square(padded).sum(axis=1, keepdims=True)
            filling = np.sqrt(np.maximum(np.where(squares > 0, 1 - squares, 0), 0))
        return np.concatenate([padded, filling], axis=1).astype(self.dtype, copy=False)


def _thresholds(products: Float32, activity: float) -> Float32:
    """Thresholds (features,) above which products (points, features) lie at their activity."""
    thresholds = np.empty(products.shape[1], dtype=np.float32)
    for i, factor in enumerate(SPREAD):
        columns = slice(i, None, len(SPREAD))
        thresholds[columns] = np.quantile(products[:, columns], 1 - min(activity * factor, BROADEST), axis=0)
    return thresholds


def _features(points: Float32, products: Float32, thresholds: Float32) -> Float32:
    """Features (n, features + dim) of points whose products with the directions are known (overwritten)."""
    products -= thresholds
    np.maximum(products, 0, out=products)
    return np.concatenate([products, points], axis=1)


def _mean_square_error(targets: Float32, vectors: Float32, components: Float32) -> float:
    """Mean square error of ``vectors @ components'`` against targets (documents, points)."""
    total = 0.0
    for start in range(0, len(targets), DOCUMENT_BLOCK):
        rows = slice(start, start + DOCUMENT_BLOCK)
        total += float(np.square(targets[rows] - vectors[rows] @ components.T).sum(dtype=np.float64))
    return total / targets.size


def _posterior_map(components: Float32, variances: Float32, noise: float) -> Float32:
    """Map (points, rank) from targets at points to the most probable weights.

    Weights have the prior variances, targets are ``components @ weights`` plus noise.
    """
    noise = max(noise, float(np.finfo(np.float32).tiny))
    # Scaled by the prior's deviations, so that all weights have the same prior: well conditioned.
    scaled = components * np.sqrt(variances)
    system = scaled.T @ scaled
    system[np.diag_indices_from(system)] += np.float32(noise)
    factor = scipy.linalg.cho_factor(system, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve(factor, scaled.T, check_finite=False)
    mapped: Float32 = solved.T * np.sqrt(variances)
    return mapped


def _halves(directions: Float32) -> NDArray[np.float16]:
    """Round directions to float16, the type of the stored state.

    Raises
    ------
    InvalidArgumentError
        Numbers are too large.
    """
    largest = float(np.abs(directions).max())
    if largest > float(np.finfo(np.float16).max):
        raise InvalidArgumentError("tokens", "numbers that float16 holds, to train features on", largest)
    return directions.astype(np.float16)


def _unit_scale(matrix: Float32) -> Float32:
    """Scale to a root mean square of one: the order of dot products does not notice, and float16 fits."""
    size = np.sqrt(np.square(matrix).mean(dtype=np.float64))
    return matrix * np.float32(1 / size) if size > 0 else matrix


def _document_vectors(fitted: _Fitted, documents: TokenBatch, workers: int, device: str | None) -> Float32:
    """Vectors (n, rank); of a document without tokens zero."""
    points = fitted.landmarks[: len(fitted.document_map)].astype(np.float32, copy=False)
    vectors: Float32 = _targets(documents, points, workers, device) @ fitted.document_map
    vectors += fitted.document_bias
    vectors[documents.lengths == 0] = 0
    return vectors


def _query_vectors(fitted: _Fitted, queries: TokenBatch, weights: Float32 | None) -> Float32:
    """Vectors (n, rank): for each query the sum over its tokens."""
    sums = np.zeros((len(queries), len(fitted.query_map)), dtype=np.float32)
    owner = np.repeat(np.arange(len(queries)), queries.lengths)
    for start in range(0, len(owner), QUERY_BLOCK):
        rows = slice(start, start + QUERY_BLOCK)
        points = queries.values[rows].astype(np.float32, copy=False)
        features = _features(points, points @ fitted.directions, fitted.thresholds)
        first, last = owner[rows][[0, -1]]
        members = (np.arange(first, last + 1)[:, None] == owner[rows]).astype(np.float32)
        if weights is not None:
            members *= weights[rows]
        sums[first : last + 1] += members @ features
    vectors: Float32 = sums @ fitted.query_map
    return vectors


def _targets(documents: TokenBatch, points: Float32, workers: int, device: str | None) -> Float32:
    """Highest products (n, points) of each document's tokens with each point; zero without tokens."""
    if device is not None:
        return _targets_on(device, documents, points)
    targets = np.zeros((len(documents), len(points)), dtype=np.float32)
    blocks = list(_landmark_blocks(points))

    def compare(document: int) -> None:
        tokens = documents[document].astype(np.float32, copy=False)
        for columns, block in blocks:
            np.max(tokens @ block, axis=0, out=targets[document, columns])

    inhabited = np.flatnonzero(documents.lengths).tolist()
    with single_blas_thread():
        _for_each(compare, inhabited, workers)
    return targets


def _landmark_blocks(points: Float32) -> Iterator[tuple[slice, Float32]]:
    for start in range(0, len(points), LANDMARK_BLOCK):
        columns = slice(start, start + LANDMARK_BLOCK)
        yield columns, np.ascontiguousarray(points[columns].T)


def _for_each(work: Callable[[int], None], items: list[int], workers: int) -> None:
    if workers == 1:
        for item in items:
            work(item)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, items))


def _targets_on(device: str, documents: TokenBatch, points: Float32) -> Float32:
    """Compute :func:`_targets` with torch on a device, many documents in one product."""
    torch, where = torch_on(device, f"encoding on device {device!r}")
    targets = np.zeros((len(documents), len(points)), dtype=np.float32)
    landmarks = torch.from_numpy(np.ascontiguousarray(points.T)).to(where)
    with torch.inference_mode():
        for block in document_blocks(documents.offsets, DEVICE_TOKENS):
            part = documents[block]
            rows = np.flatnonzero(part.lengths)
            if rows.size:
                tokens = torch.from_numpy(np.array(part.values, dtype=np.float32)).to(where)
                lengths = torch.from_numpy(part.lengths[rows]).to(where)
                highest = torch.segment_reduce(tokens @ landmarks, "max", lengths=lengths)
                targets[block.start + rows] = highest.cpu().numpy()
    return targets
