"""Vectors to bytes that our rerankers score, without storing the vectors themselves."""

from __future__ import annotations

from embplug.quantizers.base import Description, Quantizer
from embplug.quantizers.bit_allocation import BitAllocation
from embplug.quantizers.centroid import Centroids
from embplug.quantizers.residual import Residual

__all__ = ["BitAllocation", "Centroids", "Description", "Quantizer", "Residual"]
