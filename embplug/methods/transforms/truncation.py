"""Prefixes of vectors whose model was trained for it (Matryoshka)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.transforms.base import NothingLearned, TransformDescription, check_output_dim


@dataclass(config=ConfigDict(extra="forbid"))
class Truncation(NothingLearned):
    """Keep the first dimensions and bring what is left to unit length.

    For models trained with Matryoshka losses. The dimensions of another model have no order, so half
    of them lose about half of what was there: put :class:`~embplug.methods.transforms.pca.PCA` or
    :class:`~embplug.methods.transforms.learned_truncation.LearnedTruncation` in front.

    Parameters
    ----------
    dim
        Dimensions to keep.
    normalize
        Bring the results to unit length.
    """

    dim: int = Field(ge=1)
    normalize: bool = True
    kind: Literal["truncation"] = "truncation"

    @property
    def unit_length(self) -> bool:
        """Whether results have unit length: where ``normalize`` says so."""
        return self.normalize

    def output_dim(self, dim: int) -> int:
        """Dimension of the results."""
        return check_output_dim("dim", self.dim, dim)

    def describe(self, dim: int | None = None) -> TransformDescription:
        """Say what a vector costs.

        Parameters
        ----------
        dim
            Of the vectors that will be given: it learns nothing, so it cannot know.
        """
        order = "close to the given one, if the model was trained for prefixes"
        return TransformDescription(self.kind, dim, self.dim, 0, order, "none")

    def _made(self, vectors: Float32) -> Float32:
        prefix = np.ascontiguousarray(vectors[:, : self.output_dim(vectors.shape[1])])
        return unit_rows(prefix) if self.normalize else prefix
