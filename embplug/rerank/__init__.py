"""The last word on candidates: MaxSim, exact dense scores, cross-encoders, and the fusion of rankings."""

from __future__ import annotations

from embplug.rerank.cross_encoder import CrossEncoder
from embplug.rerank.dense import dense, dense_codes
from embplug.rerank.diversity import dense_similarities, mmr, token_similarities
from embplug.rerank.fusion import reciprocal_rank_fusion, weighted_fusion
from embplug.rerank.maxsim import maxsim, maxsim_codes

__all__ = [
    "CrossEncoder",
    "dense",
    "dense_codes",
    "dense_similarities",
    "maxsim",
    "maxsim_codes",
    "mmr",
    "reciprocal_rank_fusion",
    "token_similarities",
    "weighted_fusion",
]
