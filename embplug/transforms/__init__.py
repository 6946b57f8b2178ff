"""Vectors to vectors: fewer dimensions, or dimensions that quantize better."""

from __future__ import annotations

from embplug.transforms.alignment import (
    DimensionScale,
    LowRankAffine,
    Procrustes,
    RankedAffine,
    RelativeAnchors,
    ResidualMLP,
)
from embplug.transforms.base import Transform, TransformDescription
from embplug.transforms.learned_truncation import LearnedTruncation
from embplug.transforms.pca import PCA
from embplug.transforms.random_projection import SparseRandomProjection
from embplug.transforms.rotation import ITQRotation, OPQRotation, Rotation
from embplug.transforms.truncation import Truncation

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
