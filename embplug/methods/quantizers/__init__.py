"""Vectors to bytes that our rerankers score, without storing the vectors themselves."""

from __future__ import annotations

from embplug.methods.quantizers.base import Description, Quantizer
from embplug.methods.quantizers.binary import BinaryTokens
from embplug.methods.quantizers.bit_allocation import BitAllocation
from embplug.methods.quantizers.centroid import Centroids
from embplug.methods.quantizers.power import PowerQuantizer
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.methods.quantizers.pyramid import PyramidQuantizer
from embplug.methods.quantizers.recurrent_binary import RecurrentBinarizer
from embplug.methods.quantizers.residual import Residual
from embplug.methods.token_codes.predictive import Predictive

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
