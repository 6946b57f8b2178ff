"""A dense vector as a recipe stores it: transformed, its prefixes for a funnel, its original on disk."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.recipe import Dense
from embplug.state import State
from embplug.transforms import Transform
from embplug.transforms.base import unit_rows

DenseArray = NDArray[np.float32]


class DenseVector:
    """One named vector of a recipe with what its transforms learned.

    Attributes
    ----------
    stored
        Names in Qdrant of what is stored for it, coarsest first: each finds candidates for the next.
    """

    def __init__(self, name: str, recipe: Dense) -> None:
        self.name = name
        self.recipe = recipe
        self.transforms: list[Transform] = copy.deepcopy(list(recipe.transforms))
        self.stored = recipe.stored_names(name)
        self.needs_fit = any(transform.requires_fit for transform in self.transforms)

    @property
    def stored_floats(self) -> int:
        """Numbers stored of one vector."""
        kept = self.recipe.dim if self.recipe.keep_original else 0
        return sum(self.recipe.funnel) + self.recipe.stored_dim + kept

    def fit(self, vectors: DenseArray) -> None:
        """Let each transform learn from what those before it make of a sample (n, dim)."""
        made = self._prepared(vectors)
        for transform in self.transforms:
            made = transform.fit(made).transform(made)
        self.needs_fit = False

    def get_state(self) -> State:
        """What was learned, by the transform's place."""
        return {
            f"{place}.{key}": array
            for place, transform in enumerate(self.transforms)
            for key, array in transform.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        for place, transform in enumerate(self.transforms):
            prefix = f"{place}."
            own = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
            if own or transform.requires_fit:
                transform.set_state(own)
        self.needs_fit = False

    def vectors_config(self) -> dict[str, models.VectorParams]:
        """Qdrant's parameters of all that is stored; storage options go to what is searched first."""
        recipe = self.recipe
        distance = recipe.stored_distance
        dims = [*recipe.funnel, recipe.stored_dim]
        config = {}
        for place, (name, dim) in enumerate(zip(self.stored, dims, strict=False)):
            config[name] = models.VectorParams(
                size=dim,
                distance=distance,
                datatype=recipe.datatype,
                on_disk=recipe.on_disk,
                hnsw_config=recipe.hnsw if place == 0 else models.HnswConfigDiff(m=0),
                quantization_config=recipe.quantization if place == 0 else None,
            )
        if recipe.keep_original:
            config[self.stored[-1]] = models.VectorParams(
                size=recipe.dim,
                distance=recipe.distance,
                on_disk=True,
                hnsw_config=models.HnswConfigDiff(m=0),
            )
        return config

    def encode(self, vectors: DenseArray) -> dict[str, DenseArray]:
        """Documents (n, dim) as they are stored, by name."""
        made = self._prepared(vectors)
        for transform in self.transforms:
            made = transform.transform(made)
        return self._by_name(vectors, made)

    def encode_query(self, vectors: DenseArray) -> dict[str, DenseArray]:
        """Queries (n, dim) as they are compared, by name."""
        made = self._prepared(vectors)
        for transform in self.transforms:
            made = transform.transform_query(made)
        return self._by_name(vectors, made)

    def _prepared(self, vectors: DenseArray) -> DenseArray:
        # Transforms keep dot products, and those of unit vectors are cosines.
        cosine = self.transforms and self.recipe.distance == models.Distance.COSINE
        return unit_rows(vectors) if cosine else vectors

    def _by_name(self, given: DenseArray, made: DenseArray) -> dict[str, DenseArray]:
        parts = [np.ascontiguousarray(made[:, :dim]) for dim in self.recipe.funnel]
        parts.append(made)
        if self.recipe.keep_original:
            parts.append(given)
        return dict(zip(self.stored, parts, strict=True))
