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
    """Matryoshka after the fact, for models that were not trained for it.

    A linear map starts at the principal components and is trained until the softmax of similarities
    among prefixes is that among the given vectors. Results have unit length and so do their prefixes,
    once :class:`~embplug.methods.transforms.truncation.Truncation` has cut them.

    With ``target="binary"`` the documents' side of the training are signs, so that what Qdrant's
    binary quantization keeps of the results ranks as the full vectors do (BiDR: coarse codes trained by
    contrast, full vectors on disk).

    Parameters
    ----------
    dim
        Dimensions of the results.
    prefixes
        Those that shall work, ``dim`` always among them; ``None`` is ``dim`` and its halves down to 16.
        Only ``dim`` for ``target="binary"``.
    target
        What documents become afterwards.
    sampling
        ``local``: batches of neighbours. ``random``: of any vectors.
    steps, batch, learning_rate, temperature
        Of the training.
    noise
        Length of what is added to a document to stand for a query, where no queries are given.
    seed
        Seed of the training. A fit on another processor rounds otherwise
        and may differ: share the fitted state between machines.
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
        """Train on documents (n, d), and on queries (m, d) where there are some.

        Raises
        ------
        InvalidArgumentError
            More dimensions than the vectors have.
        MissingExtraError
            PyTorch is not installed.
        """
        torch = import_extra("torch", "LearnedTruncation")
        sample = as_sample(X)
        self.output_dim(sample.shape[1])
        sample = unit_rows(sample)
        asked = None if queries is None else unit_rows(as_vectors(queries, sample.shape[1], "queries"))
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
                if asked is None or len(asked) == 0:
                    queried = noised(documents, self.noise, generator)
                else:
                    queried = asked[generator.choice(len(asked), min(len(asked), self.batch), replace=False)]
                left, right = torch.from_numpy(queried), torch.from_numpy(documents)
                exact = left @ right.T
                small_left, small_right = left @ weights.T, (right - mean) @ weights.T
                loss = torch.zeros(())
                for prefix in self._prefixes():
                    ours = small_left[:, :prefix]
                    theirs = small_right[:, :prefix]
                    if self.target == "binary":
                        theirs = signs(theirs * scale)
                    ours = torch.nn.functional.normalize(ours, dim=1)
                    theirs = torch.nn.functional.normalize(theirs, dim=1)
                    loss = loss + ranking_loss(ours @ theirs.T, exact, self.temperature)
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
