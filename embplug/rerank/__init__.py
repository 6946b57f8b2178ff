"""The last word on candidates: MaxSim, exact dense scores, cross-encoders, and the fusion of rankings."""

from __future__ import annotations

from embplug.rerank.cross_encoder import CrossEncoder
from embplug.rerank.dense import dense, dense_codes
from embplug.rerank.fusion import reciprocal_rank_fusion, weighted_fusion
from embplug.rerank.maxsim import maxsim, maxsim_codes

__all__ = [
    "CrossEncoder",
    "dense",
    "dense_codes",
    "maxsim",
    "maxsim_codes",
    "reciprocal_rank_fusion",
    "weighted_fusion",
]
