"""Vectors to bytes that our rerankers score, without storing the vectors themselves."""

from __future__ import annotations

from embplug.methods.quantizers.base import Description, Quantizer
from embplug.methods.quantizers.binary import BinaryQuantizer
from embplug.methods.quantizers.bit_allocation import BitAllocationQuantizer
from embplug.methods.quantizers.centroid import CentroidQuantizer
from embplug.methods.quantizers.power import PowerQuantizer
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.methods.quantizers.pyramid import PyramidQuantizer
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer
from embplug.methods.quantizers.residual import ResidualQuantizer
from embplug.methods.token_codes.predictive import PredictiveQuantizer

__all__ = [
    "BinaryQuantizer",
    "BitAllocationQuantizer",
    "CentroidQuantizer",
    "Description",
    "OptimizedProductQuantizer",
    "PowerQuantizer",
    "PredictiveQuantizer",
    "ProductQuantizer",
    "PyramidQuantizer",
    "Quantizer",
    "RecurrentBinaryQuantizer",
    "ResidualQuantizer",
]
