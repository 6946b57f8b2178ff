"""Compressed and multi-vector retrieval on Qdrant."""

from __future__ import annotations

from qdrant_client import models

from embplug.branches.documents import Documents, Sample
from embplug.collection.async_collection import AsyncCollection
from embplug.collection.collection import Collection
from embplug.collection.ingest import AddReport
from embplug.collection.operations import CollectionInfo, Record
from embplug.encoders import Encoded, Encoder, load_encoder, register_encoder
from embplug.engines import connect, connect_async
from embplug.evaluation.advisor import Advice, advise
from embplug.evaluation.evaluate import Evaluation, evaluate
from embplug.lifecycle.migration import MigrationReport, migrate
from embplug.lifecycle.recode import recode, recode_async
from embplug.lifecycle.upgrade import reembed, reembed_async, upgrade, upgrade_async
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.encodings.token_idf import TokenIDF
from embplug.methods.quantizers import (
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
from embplug.methods.reductions.pooling import GridPooling, HierarchicalPooling, KMeansPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.methods.token_batch import TokenBatch
from embplug.methods.transforms import (
    PCA,
    ITQRotation,
    LearnedTruncation,
    OPQRotation,
    Rotation,
    SparseRandomProjection,
    Truncation,
)
from embplug.recipe.recipe import (
    CrossEncoderStage,
    Dense,
    Fusion,
    Matrix,
    Recipe,
    Rerank,
    Sparse,
    Storage,
    Tokens,
)
from embplug.search.cross_encoder import register_cross_encoder
from embplug.search.types import Hit, Query

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
