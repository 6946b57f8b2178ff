"""Vectors to bytes that our rerankers score, without storing the vectors themselves."""

from __future__ import annotations

from embplug.quantizers.base import Description, Quantizer
from embplug.quantizers.binary import BinaryTokens
from embplug.quantizers.bit_allocation import BitAllocation
from embplug.quantizers.centroid import Centroids
from embplug.quantizers.power import PowerQuantizer
from embplug.quantizers.predictive import Predictive
from embplug.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.quantizers.pyramid import PyramidQuantizer
from embplug.quantizers.recurrent_binary import RecurrentBinarizer
from embplug.quantizers.residual import Residual

__all__ = [
    "BinaryTokens",
    "BitAllocation",
    "Centroids",
    "Description",
    "OptimizedProductQuantizer",
    "PowerQuantizer",
    "Predictive",
    "ProductQuantizer",
    "PyramidQuantizer",
    "Quantizer",
    "RecurrentBinarizer",
    "Residual",
]
