"""A linear map trained so that prefixes of vectors rank as whole ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.extras import import_extra
from embplug.common.threads import single_torch_thread
from embplug.methods.numeric.arrays import Float32, as_sample, as_vectors
from embplug.methods.numeric.contrast import batches, noised, ranking_loss, signs
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import register
from embplug.methods.roles import Transform
from embplug.methods.stored import StoredArray
from embplug.methods.transforms.base import check_output_dim, too_few
from embplug.methods.transforms.pca import PCA


@register("learned_truncation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class LearnedTruncation(Transform):
    """Linear map trained so that the prefixes of its results rank like whole vectors.

    It gives a model that was not trained for it Matryoshka embeddings. The map starts at the principal
    components. Gradient descent then brings the softmax of the similarities among prefixes close to that of
    the similarities among the original vectors. Results have length 1. :class:`Truncation` cuts them to a
    prefix of length 1.

    With ``target="binary"`` documents are replaced by their signs during the training, so that Qdrant's
    binary quantization of the results ranks like the original vectors.

    Parameters
    ----------
    dim : int
        Dimension of the results.
    prefixes : tuple of int, default=None
        Lengths of the prefixes to train. ``dim`` is always among them. None takes ``dim`` and its halves down
        to 16. With ``target="binary"`` only ``dim`` is trained.
    target : {"float", "binary"}, default="float"
        What Qdrant stores of the results.
    sampling : {"local", "random"}, default="local"
        How batches are drawn: neighbouring vectors, or any vectors.
    steps : int, default=200
        Number of training steps.
    batch : int, default=256
        Number of documents in a step.
    learning_rate : float, default=1e-3
        Learning rate of Adam.
    temperature : float, default=0.05
        Temperature of the softmax.
    noise : float, default=2.0
        Length of the noise that turns a document into a query if ``fit`` gets no queries.
    seed : int, default=0
        Seed of batches and noise.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="learned_truncation"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    map_ : ndarray of shape (dim, d), float32
        The linear map.
    mean_ : ndarray of shape (d,), float32
        Mean that is subtracted from documents.
    sampled_ : int
        Number of vectors that were learned from.

    References
    ----------
    .. [1] Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
    .. [2] Xiao et al., "Progressively Optimized Bi-Granular Document Representation for Scalable Embedding
           Based Retrieval" (BiDR), WWW 2022, arXiv:2201.05409, for ``target="binary"``.
    """

    dim: int = Field(ge=1)
    prefixes: tuple[int, ...] | None = None
    target: Literal["float", "binary"] = "float"
    sampling: Literal["local", "random"] = "local"
    steps: int = Field(default=200, ge=0)
    batch: int = Field(default=256, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    noise: float = Field(default=2.0, ge=0)
    seed: int = Field(default=0, ge=0)
    kind: Literal["learned_truncation"] = "learned_truncation"

    _order: ClassVar[str] = "trained to be that of cosines"

    def __post_init__(self) -> None:
        if self.prefixes is not None and any(not 1 <= prefix <= self.dim for prefix in self.prefixes):
            raise ValueError("prefixes: from 1 to dim")
        self.map_: Float32 | None = None
        """(dim, d)"""
        self.mean_: Float32 | None = None
        self.sampled_ = 0

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.map_ is None else int(self.map_.shape[1])

    @property
    @override
    def unit_length(self) -> bool:
        return True

    @override
    def output_dim(self, dim: int) -> int:
        return check_output_dim("dim", self.dim, dim)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Train the map.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.
        queries : array-like of shape (m, dim), default=None
            Vectors of queries. None takes noised documents.

        Returns
        -------
        self

        Raises
        ------
        LengthMismatchError
            ``X`` is empty.
        InvalidArgumentError
            ``dim`` is larger than the dimension of the vectors.
        MissingExtraError
            PyTorch is not installed.
        """
        torch = import_extra("torch", "LearnedTruncation")
        sample = as_sample(X)
        self.output_dim(sample.shape[1])
        sample = unit_rows(sample)
        query_sample = None if queries is None else unit_rows(as_vectors(queries, sample.shape[1], "queries"))
        generator = np.random.default_rng(self.seed)
        start = PCA(self.dim, center="none" if self.target == "float" else "documents").fit(sample)
        assert start.components_ is not None
        initial = start.components_
        if self.target == "binary":
            rotation = np.linalg.qr(generator.standard_normal((self.dim, self.dim)))[0]
            initial = (rotation @ initial).astype(np.float32)
        self.mean_ = start.mean_
        weights = torch.tensor(initial, requires_grad=True)
        mean = torch.from_numpy(start.mean_)
        optimizer = torch.optim.Adam([weights], lr=self.learning_rate)
        scale = float(np.sqrt(sample.shape[1]))
        with single_torch_thread(torch):
            for rows in batches(sample, self.batch, self.steps, self.sampling == "local", generator):
                documents = sample[rows]
                if query_sample is None or len(query_sample) == 0:
                    queried = noised(documents, self.noise, generator)
                else:
                    queried = query_sample[
                        generator.choice(len(query_sample), min(len(query_sample), self.batch), replace=False)
                    ]
                left, right = torch.from_numpy(queried), torch.from_numpy(documents)
                exact = left @ right.T
                small_left, small_right = left @ weights.T, (right - mean) @ weights.T
                loss = torch.zeros(())
                for prefix in self._prefixes():
                    left_prefix = small_left[:, :prefix]
                    right_prefix = small_right[:, :prefix]
                    if self.target == "binary":
                        right_prefix = signs(right_prefix * scale)
                    left_prefix = torch.nn.functional.normalize(left_prefix, dim=1)
                    right_prefix = torch.nn.functional.normalize(right_prefix, dim=1)
                    loss = loss + ranking_loss(left_prefix @ right_prefix.T, exact, self.temperature)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        self.map_, self.sampled_ = weights.detach().numpy().copy(), len(sample)
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "map": StoredArray(np.float32, (self.dim, "dim")),
            "mean": StoredArray(np.float32, ("dim",)),
            "sampled": StoredArray(np.int64),
        }

    def _transform(self, vectors: Float32) -> Float32:
        assert self.mean_ is not None
        return self._map(unit_rows(vectors) - self.mean_)

    def _transform_query(self, vectors: Float32) -> Float32:
        return self._map(unit_rows(vectors))

    def _map(self, vectors: Float32) -> Float32:
        assert self.map_ is not None
        return unit_rows(vectors @ self.map_.T)

    def _fit_cost(self) -> str:
        return f"{self.steps} steps on batches of {self.batch}"

    def _notes(self) -> list[str]:
        return too_few(self.sampled_, self.dim, "dimensions to keep")

    def _prefixes(self) -> list[int]:
        if self.target == "binary":
            return [self.dim]
        if self.prefixes is not None:
            return sorted({*self.prefixes, self.dim})
        halves = [self.dim]
        while halves[-1] >= 32:
            halves.append(halves[-1] // 2)
        return halves
