"""Prefixes of vectors whose model was trained for it (Matryoshka)."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import register
from embplug.methods.roles import Transform
from embplug.methods.transforms.base import check_output_dim


@register("truncation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class Truncation(Transform):
    """Keeps the first dimensions and scales the result to length 1.

    It is meant for models that were trained with Matryoshka losses. The dimensions of other models have no
    order: put :class:`PCA` or :class:`LearnedTruncation` in front.

    Parameters
    ----------
    dim : int
        Number of dimensions to keep.
    normalize : bool, default=True
        Whether results are scaled to length 1.
    kind : str, default="truncation"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
    """

    dim: int = Field(ge=1)
    normalize: bool = True
    kind: Literal["truncation"] = "truncation"

    _order: ClassVar[str] = "close to that of the input, if the model was trained for prefixes"

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"truncation": cls(dim=size)}

    @property
    @override
    def unit_length(self) -> bool:
        return self.normalize

    @override
    def output_dim(self, dim: int) -> int:
        return check_output_dim("dim", self.dim, dim)

    def _transform(self, vectors: Float32) -> Float32:
        prefix = np.ascontiguousarray(vectors[:, : self.output_dim(vectors.shape[1])])
        return unit_rows(prefix) if self.normalize else prefix
