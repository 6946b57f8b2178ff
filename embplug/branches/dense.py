"""A dense vector as a recipe stores it: transformed, its prefixes for a funnel, its original or codes."""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.methods.numeric.arrays import Codes, State, state_part
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer
from embplug.methods.roles import Quantizer, Transform
from embplug.recipe import Dense

DenseArray = NDArray[np.float32]
_Method = TypeVar("_Method", Transform, Quantizer)

CODES_KEY = "codes"
"""Under which the state of codes is kept, beside that of the transforms."""


class DenseVector:
    """One named vector of a recipe with what its transforms and codes learned.

    Methods of the recipe that have learned already are taken as they are.

    Attributes
    ----------
    stored
        Names in Qdrant of what is stored for it, coarsest first: each finds candidates for the next.
    codes
        What makes the codes, and scores them.
    """

    def __init__(self, name: str, recipe: Dense) -> None:
        self.name = name
        self.recipe = recipe
        self.transforms: list[Transform] = [_own(transform) for transform in recipe.transforms]
        self.codes: Quantizer | None = None if recipe.codes is None else _own(recipe.codes)
        self.stored = recipe.stored_names(name)

    @property
    def needs_fit(self) -> bool:
        """Whether a transform or the codes have yet to learn."""
        codes = self.codes is not None and not self.codes.fitted
        return codes or not all(transform.fitted for transform in self.transforms)

    @property
    def stored_floats(self) -> int:
        """Numbers stored of one vector."""
        kept = self.recipe.dim if self.recipe.keep_original else 0
        return sum(self.recipe.funnel) + self.recipe.stored_dim + kept

    @property
    def ranks_by_codes(self) -> bool:
        """Whether codes stand for vectors that are not stored as they were given."""
        return self.codes is not None and (self.recipe.signs or bool(self.transforms))

    def fit(self, vectors: DenseArray, queries: DenseArray | None = None) -> None:
        """Let each method learn from what those before it make of samples (n, dim) and (m, dim)."""
        made = self._prepared(vectors)
        asked = None if queries is None else self._prepared(queries)
        if self.codes is not None and not self.codes.fitted:
            self.codes.fit(made, asked)
        for transform in self.transforms:
            if not transform.fitted:
                transform.fit(made, asked)
            made = transform.transform(made)
            asked = None if asked is None else transform.transform_query(asked)

    def get_state(self) -> State:
        """What was learned, by the transform's place."""
        methods: dict[str, Transform | Quantizer] = {
            str(place): transform for place, transform in enumerate(self.transforms)
        }
        if self.codes is not None:
            methods[CODES_KEY] = self.codes
        return {
            f"{place}.{key}": array
            for place, method in methods.items()
            for key, array in method.get_state().items()
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; methods that it does not know stay as they are."""
        for place, transform in enumerate(self.transforms):
            if own := state_part(state, f"{place}."):
                transform.set_state(own)
        if self.codes is not None and (own := state_part(state, f"{CODES_KEY}.")):
            self.codes.set_state(own)

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
        if self.recipe.signs and isinstance(self.codes, RecurrentBinaryQuantizer):
            made = self.codes.signs(made)
        for transform in self.transforms:
            made = transform.transform(made)
        return self._by_name(vectors, made)

    def encode_query(self, vectors: DenseArray) -> dict[str, DenseArray]:
        """Queries (n, dim) as they are compared, by name."""
        made = self._prepared(vectors)
        if self.recipe.signs and isinstance(self.codes, RecurrentBinaryQuantizer):
            made = self.codes.sign_queries(made)
        for transform in self.transforms:
            made = transform.transform_query(made)
        return self._by_name(vectors, made)

    def encode_codes(self, vectors: DenseArray) -> Codes:
        """Codes uint8 (n, code_bytes) of documents (n, dim), where the recipe has codes."""
        assert self.codes is not None
        return self.codes.encode(self.coded(vectors))

    def coded(self, vectors: DenseArray) -> DenseArray:
        """Documents or queries (n, dim) as codes compare them: at unit length for the cosine."""
        return unit_rows(vectors) if self.recipe.distance == models.Distance.COSINE else vectors

    def _prepared(self, vectors: DenseArray) -> DenseArray:
        # Transforms and codes keep dot products, and those of unit vectors are cosines.
        return self.coded(vectors) if self.transforms or self.codes else vectors

    def _by_name(self, given: DenseArray, made: DenseArray) -> dict[str, DenseArray]:
        parts = [np.ascontiguousarray(made[:, :dim]) for dim in self.recipe.funnel]
        parts.append(made)
        if self.recipe.keep_original:
            parts.append(given)
        return dict(zip(self.stored, parts, strict=True))


def dense_code_bytes(recipe: Dense) -> float:
    """Bytes of the codes of one vector, also before anything was learned; 0 without codes."""
    if recipe.codes is None:
        return 0
    return recipe.codes.bytes_per_vector(recipe.dim, unit_length=recipe.distance == models.Distance.COSINE)


def _own(method: _Method) -> _Method:
    """A method with what it has learned, apart from the one in the recipe."""
    made = copy.copy(method)
    state = method.get_state()
    if state:
        made.set_state(state)
    return made
