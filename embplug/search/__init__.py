"""Searching: the plan of a search, reranking, cross-encoders, and the fusion of rankings."""

from __future__ import annotations

from embplug.search.cross_encoder import CrossEncoder, load_cross_encoder, register_cross_encoder
from embplug.search.dense_codes import dense, dense_codes
from embplug.search.diversity import dense_similarities, mmr, token_similarities
from embplug.search.fusion import (
    distribution_based_fusion,
    reciprocal_rank_fusion,
    weighted_fusion,
    z_score_fusion,
)

__all__ = [
    "CrossEncoder",
    "dense",
    "dense_codes",
    "dense_similarities",
    "distribution_based_fusion",
    "load_cross_encoder",
    "mmr",
    "reciprocal_rank_fusion",
    "register_cross_encoder",
    "token_similarities",
    "weighted_fusion",
    "z_score_fusion",
]
