"""Which methods stand in which field of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Field, Tag

from embplug.common.kinds import kind_tag
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.quantizers.binary import BinaryQuantizer
from embplug.methods.quantizers.bit_allocation import BitAllocationQuantizer
from embplug.methods.quantizers.centroid import CentroidQuantizer
from embplug.methods.quantizers.power import PowerQuantizer
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.methods.quantizers.pyramid import PyramidQuantizer
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer
from embplug.methods.quantizers.residual import ResidualQuantizer
from embplug.methods.reductions.pooling import GridPooling, HierarchicalPooling, KMeansPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.methods.token_codes.predictive import PredictiveQuantizer
from embplug.methods.transforms.learned_truncation import LearnedTruncation
from embplug.methods.transforms.pca import PCA
from embplug.methods.transforms.random_projection import SparseRandomProjection
from embplug.methods.transforms.rotation import ITQRotation, OPQRotation, Rotation
from embplug.methods.transforms.truncation import Truncation

Encoding = Annotated[
    Annotated[FDE, Tag("[fde]")] | Annotated[LearnedEncoding, Tag("[learned]")],
    Discriminator(
        lambda encoding: kind_tag(encoding, "fde"),
        custom_error_type="encoding_kind",
        custom_error_message="an FDE (kind: fde) or a LearnedEncoding (kind: learned)",
    ),
]


Codes = Annotated[
    Annotated[ResidualQuantizer, Tag("[residual]")]
    | Annotated[PredictiveQuantizer, Tag("[predictive]")]
    | Annotated[BitAllocationQuantizer, Tag("[bit_allocation]")]
    | Annotated[CentroidQuantizer, Tag("[centroids]")]
    | Annotated[BinaryQuantizer, Tag("[binary]")]
    | Annotated[ProductQuantizer, Tag("[product]")]
    | Annotated[OptimizedProductQuantizer, Tag("[optimized_product]")],
    Discriminator(
        lambda codes: kind_tag(codes, "residual"),
        custom_error_type="codes_kind",
        custom_error_message="a kind of: residual, predictive, bit_allocation, centroids, binary, "
        "product, optimized_product",
    ),
]


DenseCodes = Annotated[
    Annotated[BitAllocationQuantizer, Tag("[bit_allocation]")]
    | Annotated[ProductQuantizer, Tag("[product]")]
    | Annotated[OptimizedProductQuantizer, Tag("[optimized_product]")]
    | Annotated[PyramidQuantizer, Tag("[pyramid]")]
    | Annotated[PowerQuantizer, Tag("[power]")]
    | Annotated[RecurrentBinaryQuantizer, Tag("[recurrent_binary]")],
    Discriminator(
        kind_tag,
        custom_error_type="dense_codes_kind",
        custom_error_message="a kind of: bit_allocation, product, optimized_product, pyramid, power, "
        "recurrent_binary",
    ),
]


Reduction = Annotated[
    Annotated[HierarchicalPooling, Tag("[hierarchical]")]
    | Annotated[KMeansPooling, Tag("[kmeans]")]
    | Annotated[GridPooling, Tag("[grid]")]
    | Annotated[SaliencyPruning, Tag("[saliency]")]
    | Annotated[FirstTokens, Tag("[first]")],
    Discriminator(
        kind_tag,
        custom_error_type="reduction_kind",
        custom_error_message="pooling or pruning: hierarchical, kmeans, grid, saliency or first as its kind",
    ),
]


Reductions = Annotated[
    Annotated[Reduction, Tag("[one]")]
    | Annotated[tuple[Reduction, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(lambda given: "[several]" if isinstance(given, (list, tuple)) else "[one]"),
]


QueryReduction = Annotated[
    Annotated[BallCarving, Tag("[ball_carving]")] | Annotated[SaliencyPruning, Tag("[saliency]")],
    Discriminator(
        lambda reduction: kind_tag(reduction, "ball_carving"),
        custom_error_type="query_reduction_kind",
        custom_error_message="ball_carving or saliency as its kind",
    ),
]


AnyTransform = Annotated[
    Annotated[PCA, Tag("[pca]")]
    | Annotated[Truncation, Tag("[truncation]")]
    | Annotated[LearnedTruncation, Tag("[learned_truncation]")]
    | Annotated[SparseRandomProjection, Tag("[sparse_random_projection]")]
    | Annotated[Rotation, Tag("[rotation]")]
    | Annotated[OPQRotation, Tag("[opq_rotation]")]
    | Annotated[ITQRotation, Tag("[itq_rotation]")],
    Discriminator(
        kind_tag,
        custom_error_type="transform_kind",
        custom_error_message="a transform: pca, truncation, learned_truncation, sparse_random_projection, "
        "rotation, opq_rotation or itq_rotation as its kind",
    ),
]
