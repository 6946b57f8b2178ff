"""Random projections: fewer dimensions without learning anything."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from embplug.methods.numeric.arrays import Float32
from embplug.methods.registry import register
from embplug.methods.roles import Transform
from embplug.methods.transforms.base import check_output_dim


@register("sparse_random_projection", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class SparseRandomProjection(Transform):
    """Very sparse random projection to fewer dimensions, which learns nothing.

    The entries of the matrix are -1, 0 and 1, scaled so that dot products are kept in expectation. At equal
    dimension :class:`PCA` keeps more.

    Parameters
    ----------
    dim : int
        Dimension of the results.
    density : float, default=None
        Share of the entries that are not zero. None takes ``1 / sqrt(d)``.
    seed : int, default=0
        Seed of the matrix. The same seed gives the same matrix on every machine.
    kind : str, default="sparse_random_projection"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Li, Hastie and Church, "Very Sparse Random Projections", KDD 2006.
    """

    dim: int = Field(ge=1)
    density: float | None = Field(default=None, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["sparse_random_projection"] = "sparse_random_projection"

    def __post_init__(self) -> None:
        self._matrices: dict[int, Any] = {}

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"random projection": cls(dim=size)}

    @override
    def output_dim(self, dim: int) -> int:
        return check_output_dim("dim", self.dim, dim)

    @property
    def _order(self) -> str:  # type: ignore[override]
        return f"that of the input in expectation, with an error of 1/sqrt({self.dim}) of the lengths"

    def _transform(self, vectors: Float32) -> Float32:
        return np.ascontiguousarray((self._matrix(vectors.shape[1]) @ vectors.T).T)

    def _matrix(self, dim: int) -> Any:
        """Sparse float32 (output_dim, dim)."""
        if dim not in self._matrices:
            import scipy.sparse as sp

            rows = self.output_dim(dim)
            density = self.density or 1 / math.sqrt(dim)
            uniform = np.random.default_rng([self.seed, dim]).random((rows, dim))
            signs = (uniform < density / 2).astype(np.float32) - (uniform > 1 - density / 2)
            self._matrices[dim] = sp.csr_array((signs / math.sqrt(density * rows)).astype(np.float32))
        return self._matrices[dim]
