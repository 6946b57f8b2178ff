"""Vectors to vectors: fewer dimensions, or dimensions that quantize better."""

from __future__ import annotations

from embplug.methods.adapters.alignment import (
    DimensionScale,
    LowRankAffine,
    Procrustes,
    RankedAffine,
    RelativeAnchors,
    ResidualMLP,
)
from embplug.methods.transforms.base import Transform, TransformDescription
from embplug.methods.transforms.learned_truncation import LearnedTruncation
from embplug.methods.transforms.pca import PCA
from embplug.methods.transforms.random_projection import SparseRandomProjection
from embplug.methods.transforms.rotation import ITQRotation, OPQRotation, Rotation
from embplug.methods.transforms.truncation import Truncation

__all__ = [
    "PCA",
    "DimensionScale",
    "ITQRotation",
    "LearnedTruncation",
    "LowRankAffine",
    "OPQRotation",
    "Procrustes",
    "RankedAffine",
    "RelativeAnchors",
    "ResidualMLP",
    "Rotation",
    "SparseRandomProjection",
    "Transform",
    "TransformDescription",
    "Truncation",
]
