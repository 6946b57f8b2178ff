"""Compressed and multi-vector retrieval on Qdrant."""

from __future__ import annotations

from qdrant_client import models

from embplug.advisor import Advice, advise
from embplug.aio import AsyncCollection
from embplug.collection import Collection
from embplug.documents import Documents, Sample
from embplug.encoders import Encoded, Encoder, load_encoder, register_encoder
from embplug.engines import connect, connect_async
from embplug.evaluation import Evaluation, evaluate
from embplug.ingest import AddReport
from embplug.migration import MigrationReport, migrate
from embplug.multivector.fde import FDE
from embplug.multivector.learned import LearnedEncoding
from embplug.multivector.pooling import GridPooling, HierarchicalPooling, KMeansPooling
from embplug.multivector.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.multivector.token_batch import TokenBatch
from embplug.multivector.token_idf import TokenIDF
from embplug.operations import CollectionInfo, Record
from embplug.plan import Hit, Query
from embplug.quantizers import (
    BinaryTokens,
    BitAllocation,
    Centroids,
    OptimizedProductQuantizer,
    PowerQuantizer,
    Predictive,
    ProductQuantizer,
    PyramidQuantizer,
    RecurrentBinarizer,
    Residual,
)
from embplug.recipe import CrossEncoderStage, Dense, Fusion, Matrix, Recipe, Rerank, Sparse, Storage, Tokens
from embplug.recode import recode, recode_async
from embplug.rerank.cross_encoder import register_cross_encoder
from embplug.transforms import (
    PCA,
    ITQRotation,
    LearnedTruncation,
    OPQRotation,
    Rotation,
    SparseRandomProjection,
    Truncation,
)
from embplug.upgrade import reembed, reembed_async, upgrade, upgrade_async

__all__ = [
    "FDE",
    "PCA",
    "AddReport",
    "Advice",
    "AsyncCollection",
    "BallCarving",
    "BinaryTokens",
    "BitAllocation",
    "Centroids",
    "Collection",
    "CollectionInfo",
    "CrossEncoderStage",
    "Dense",
    "Documents",
    "Encoded",
    "Encoder",
    "Evaluation",
    "FirstTokens",
    "Fusion",
    "GridPooling",
    "HierarchicalPooling",
    "Hit",
    "ITQRotation",
    "KMeansPooling",
    "LearnedEncoding",
    "LearnedTruncation",
    "Matrix",
    "MigrationReport",
    "OPQRotation",
    "OptimizedProductQuantizer",
    "PowerQuantizer",
    "Predictive",
    "ProductQuantizer",
    "PyramidQuantizer",
    "Query",
    "Recipe",
    "Record",
    "RecurrentBinarizer",
    "Rerank",
    "Residual",
    "Rotation",
    "SaliencyPruning",
    "Sample",
    "Sparse",
    "SparseRandomProjection",
    "Storage",
    "TokenBatch",
    "TokenIDF",
    "Tokens",
    "Truncation",
    "advise",
    "connect",
    "connect_async",
    "evaluate",
    "load_encoder",
    "migrate",
    "models",
    "recode",
    "recode_async",
    "reembed",
    "reembed_async",
    "register_cross_encoder",
    "register_encoder",
    "upgrade",
    "upgrade_async",
]
