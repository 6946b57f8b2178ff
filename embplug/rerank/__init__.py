"""The last word on candidates: MaxSim, exact dense scores, cross-encoders, and the fusion of rankings."""

from __future__ import annotations

from embplug.rerank.cross_encoder import CrossEncoder, load_cross_encoder, register_cross_encoder
from embplug.rerank.dense import dense, dense_codes
from embplug.rerank.diversity import dense_similarities, mmr, token_similarities
from embplug.rerank.fusion import distribution_based_fusion, reciprocal_rank_fusion, weighted_fusion
from embplug.rerank.maxsim import maxsim, maxsim_codes

__all__ = [
    "CrossEncoder",
    "dense",
    "dense_codes",
    "dense_similarities",
    "distribution_based_fusion",
    "load_cross_encoder",
    "maxsim",
    "maxsim_codes",
    "mmr",
    "reciprocal_rank_fusion",
    "register_cross_encoder",
    "token_similarities",
    "weighted_fusion",
]
