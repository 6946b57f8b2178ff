"""A fixed dimensional encoding learned from the collection: fewer bytes than FDE for better candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.threads import single_blas_thread, worker_count
from embplug.common.torch_device import torch_on
from embplug.errors import DimensionError, EmptyTokensError, InvalidArgumentError
from embplug.methods.encodings.document_products import highest_products, principal_components
from embplug.methods.encodings.feature_training import train_features
from embplug.methods.encodings.fitted_encoding import FittedEncoding, stored_arrays
from embplug.methods.encodings.landmark_choice import chosen_landmarks
from embplug.methods.encodings.scaled_rows import ScaledRows
from embplug.methods.encodings.token_regression import (
    feature_thresholds,
    leading_directions,
    mean_square_errors,
    posterior_map,
    regression,
    rms_length,
    slopes,
    token_features,
    unit_scale,
)
from embplug.methods.numeric.arrays import State
from embplug.methods.numeric.balanced import BalancedBytes
from embplug.methods.numeric.partition import Float32
from embplug.methods.registry import register
from embplug.methods.roles import Encoding
from embplug.methods.stored import StoredArray
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_checks import check_finite, checked_weights

DOCUMENT_BLOCK = 1024
"""Documents that are encoded at a time; workers share them."""

SAMPLE_TOKENS = 650_000
"""Tokens of a sample from which an encoding is learned in a minute."""

SPACED_TOKENS = 1 << 16
"""Tokens that tell how tokens lie: their principal components, and how far apart they are."""

MIN_DOCUMENTS = 16
MIN_TOKENS = 256
"""Smallest sample. More is better up to ``sample`` documents and ``landmarks`` tokens."""

HNSW_EF = 800
"""Default of hnsw_ef: queries lie far from all documents, where a graph search is less precise."""

LANDMARKS_A_FEATURE = 4
"""Smallest number of landmarks for each feature to train. With fewer, features overfit."""

QUERY_SHARE = 0.5
"""Share of the landmarks that are query tokens, if queries are passed."""

LARGEST_NUMBER = 2.0**20
"""Largest number in a token to learn from: products of several lengths are squared in float32."""

DRIFT_DOCUMENTS = 200
DRIFT_TOKENS = 2000
DRIFT_LIMIT = 2.0
"""A :meth:`LearnedEncoding.drift` above it says that fitting again pays."""

# The streams of the seed.
LANDMARKS, DIRECTIONS, ROTATION, DRIFT, TRAINING = range(5)


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
    features : int, default=2048
        Largest number of nonlinear features. More are more precise, and the time of a query grows with them.
    landmarks : int, default=12288
        Number of sample tokens on which features are learned. The time of :meth:`fit` grows with them.
    compared : int, default=4096
        Number of landmarks that a document is compared with: those that tell most about a document. The time
        of :meth:`encode_documents` grows with them.
    compared_dim : int, default=None
        Number of principal components of the tokens in which documents are compared with landmarks, and
        query tokens with the directions of features. None compares in all dimensions. Half of them take half
        of the time of :meth:`encode_documents`, and find less.
    sample : int, default=8000
        Largest number of documents to learn from, evenly spaced among those passed to :meth:`fit`.
    sample_tokens : int, default=650000
        Approximate largest number of tokens in the documents to learn from.
    duplicates : float, default=0.07
        A token that lies closer to an earlier one of its document is not compared: its squared distance is at
        most this share of the mean of two tokens. Words that come again, and empty parts of pages, take no
        time then. 0 compares all tokens.
    activity : float, default=0.05
        Share of the landmarks for which a feature of middle breadth is not zero. The breadths of features
        range from a quarter of it to four times of it, up to half of the landmarks.
    ridge : float, default=0.01
        Regularisation, relative to the mean square of the features.
    steps : int, default=300
        Number of steps of gradient descent on the features. 0 does not train them. Training needs four
        landmarks for each feature: with fewer, or with a sample of fewer tokens, there are fewer features.
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
    features: int = Field(default=2048, ge=1)
    landmarks: int = Field(default=12288, ge=1)
    compared: int = Field(default=4096, ge=1)
    compared_dim: int | None = Field(default=None, ge=1)
    sample: int = Field(default=8000, ge=MIN_DOCUMENTS)
    sample_tokens: int = Field(default=SAMPLE_TOKENS, ge=MIN_TOKENS)
    duplicates: float = Field(default=0.07, ge=0, lt=1)
    activity: float = Field(default=0.05, gt=0, le=0.5)
    ridge: float = Field(default=0.01, gt=0)
    steps: int = Field(default=300, ge=0)
    dtype: Literal["float32", "float16", "uint8"] = "uint8"
    seed: int = Field(default=0, ge=0)
    kind: Literal["learned"] = "learned"

    drifts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("features", "compared"):
            if getattr(self, name) > self.landmarks:
                raise ValueError(f"{name}: at most landmarks, {self.landmarks}, of which they are taken")
        self.fitted_: FittedEncoding | None = None

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
            There are too few documents or tokens, all tokens are zero, one has a number beyond
            :data:`LARGEST_NUMBER`, or torch has no such device.
        NonFiniteError
            A token is not finite.
        DimensionError
            Queries have another dimension than documents.
        MissingExtraError
            ``device`` is set, and torch is not installed.
        """
        import scipy.linalg

        check_token_batch(tokens)
        if device is not None:
            torch_on(device, f"encoding on device {device!r}")
        sample, query_tokens = self._checked_sample(tokens, queries)
        points = self._landmarks(sample, query_tokens).astype(np.float32, copy=False)
        alike = self._alike(sample)
        targets = highest_products(sample, ScaledRows.round(points), worker_count(-1), device, distance=alike)
        mean = targets.mean(axis=0)
        targets -= mean
        components = self._components(sample)
        projected: Float32 = points if components is None else points @ components
        directions, thresholds = self._trained(projected, targets, device)
        features = token_features(points, projected @ directions.values.T, thresholds)
        weights, factor = regression(features, targets, self.ridge)
        variances, basis = leading_directions(weights, factor, self._coded_dim, self._generator(DIRECTIONS))
        query_map = scipy.linalg.solve_triangular(factor.T, basis, check_finite=False)
        # What a document's weights are measured by, and its own weights, in these directions.
        measures, vectors = features @ query_map, weights.T @ basis
        noise = mean_square_errors(targets, vectors, measures)

        chosen = chosen_landmarks(measures, variances, noise, self.compared)
        landmarks = ScaledRows.round(projected[chosen])
        if components is None:
            targets, mean = targets[:, chosen], mean[chosen]
        else:
            targets = highest_products(sample, landmarks, worker_count(-1), device, components, alike)
            mean = targets.mean(axis=0)
            targets -= mean
        measures = measures[chosen]
        # Fewer dimensions and rounded landmarks make products smaller.
        measures *= slopes(targets, vectors, measures)
        noise = mean_square_errors(targets, vectors, measures)
        document_map = posterior_map(measures, variances, noise)
        rotation = self._rotation(len(variances))
        rounded_map = ScaledRows.round(unit_scale(document_map @ rotation))
        encodings = targets @ rounded_map.values
        spare = self._coded_dim - encodings.shape[1]
        coder = BalancedBytes.fit(np.pad(encodings, ((0, 0), (0, spare))), one_length=True)
        self.fitted_ = FittedEncoding(
            directions=directions,
            thresholds=thresholds,
            query_map=ScaledRows.round(unit_scale(query_map @ rotation)),
            components=components,
            landmarks=landmarks,
            document_map=rounded_map,
            document_bias=-mean @ rounded_map.values,
            bytes_scale=coder.scale,
            length=coder.length,
            alike=alike,
        )
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
                fitted.document_vectors(block, worker_count(n_jobs), device), documents=True
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
            return self._coded(fitted.query_vectors(tokens, weights), documents=False)

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
        return stored_arrays(state, self.features, self.compared, self.steps > 0, self._coded_dim)

    def _to_arrays(self) -> State:
        assert self.fitted_ is not None
        return self.fitted_.to_arrays()

    def _from_arrays(self, arrays: State) -> None:
        self.fitted_ = FittedEncoding.from_arrays(arrays)

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

    def _learned(self, tokens: TokenBatch) -> FittedEncoding:
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
        check_finite(tokens.values, "tokens", LARGEST_NUMBER)
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
        if not sample.values.any():
            raise InvalidArgumentError("tokens", "tokens that are not all zero", "zeros")
        if queries is None or len(queries.values) == 0:
            return sample, None
        if queries.dim != tokens.dim:
            raise DimensionError("queries", f"dim {tokens.dim}, as the documents", queries.dim)
        check_finite(queries.values, "queries", LARGEST_NUMBER)
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

    def _trained(self, points: Float32, targets: Float32, device: str | None) -> tuple[ScaledRows, Float32]:
        """Directions and thresholds of the features of points (n, dim), trained unless ``steps`` is 0."""
        count = len(points) // LANDMARKS_A_FEATURE if self.steps else len(points)
        directions = points[: min(self.features, count)]
        thresholds = feature_thresholds(points @ directions.T, self.activity)
        if self.steps:
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
        # Features then grow with a token as its own coordinates do, which the ridge weighs alike.
        length = rms_length(points)
        return ScaledRows.round(directions / length), thresholds / length

    def _components(self, sample: TokenBatch) -> Float32 | None:
        """Principal components (dim, compared_dim) of the tokens, rounded to halves as they are stored."""
        if self.compared_dim is None or self.compared_dim >= sample.dim:
            return None
        components = principal_components(_spaced(sample).astype(np.float32), self.compared_dim)
        return components.astype(np.float16).astype(np.float32)

    def _alike(self, sample: TokenBatch) -> float:
        """Squared distance up to which two tokens are alike."""
        # Two tokens lie, on average, at twice the variance.
        return float(self.duplicates * 2 * _spaced(sample).astype(np.float64).var(axis=0).sum())

    def _rotation(self, rank: int) -> Float32:
        import scipy.linalg

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
        true = highest_products(documents, ScaledRows.exact(query_tokens), worker_count(-1), device)
        vectors = self.fitted_.document_vectors(documents, worker_count(-1), device)
        single = TokenBatch(query_tokens, np.arange(len(query_tokens) + 1))
        predicted = vectors @ self.fitted_.query_vectors(single, None).T
        # Squares of products of long tokens leave the range of float32.
        true, predicted = (matrix - matrix.mean(axis=0, dtype=np.float64) for matrix in (true, predicted))
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


def _spaced(sample: TokenBatch) -> NDArray[Any]:
    """Tokens of a sample, evenly spaced."""
    return sample.values[:: -(-len(sample.values) // SPACED_TOKENS)]
