"""Presets: what is stored where a recipe leaves it open, for tokens and for dense vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from qdrant_client import models

from embplug.errors import RecipeError

if TYPE_CHECKING:
    from embplug.methods import AdaptiveEncoding, AdaptiveQuantizer

Preset: TypeAlias = Literal["small", "balanced", "exact"]

PRESETS: tuple[Preset, ...] = ("small", "balanced", "exact")

CODE_SHARE = {"small": 1 / 8, "balanced": 0.2525}
"""Bytes of the code of a token for each of its dimensions, which take four bytes as float32."""

ENCODING_BYTES = {"small": 256, "balanced": 512, "exact": 1024}
"""Bytes of the encoding of a document, for tokens of 384 dimensions or more."""

ENCODING_SHARE = {"small": 1, "balanced": 2, "exact": 4}
"""Largest number of bytes of the encoding for each dimension of a token."""

STATE_SHARE = {"small": 0.01, "balanced": 0.01, "exact": 0.02}
"""Largest size of what the encoding learns, as a share of the first tokens in float32.

``"exact"`` stores a quarter of float32 and more, beside which another hundredth finds better candidates.
"""

EMPHASIS = 1.5
"""Exponent of variances that shares out bits where few tokens are learned from; chosen on docstrings."""

PRIOR = 8
"""Tokens for each dimension that codes learn from at least."""

PRIOR_NUMBERS = 1 << 26
"""Most numbers in those tokens, so that they fit into memory whatever their dimension."""

OVERSAMPLING = 4.0
"""Candidates by quantized dense vectors for each hit; their originals rank them."""


class Features(Protocol):
    """What presets have to know of an engine; ``Capabilities`` tells it."""

    @property
    def quantization(self) -> bool:
        """Whether Qdrant quantizes vectors."""

    @property
    def turbo_quantization(self) -> bool:
        """Whether there is TurboQuant."""

    @property
    def turbo4_datatype(self) -> bool:
        """Whether there is the datatype turbo4."""

    @property
    def turbo8_datatype(self) -> bool:
        """Whether there is the datatype turbo8."""


def check_preset(preset: Any) -> Preset:
    """Return a preset that has such a name.

    Raises
    ------
    RecipeError
        There is no preset of this name.
    """
    if preset not in PRESETS:
        raise RecipeError("preset", f"one of {[*PRESETS]}", repr(preset))
    return preset  # type: ignore[no-any-return]


def token_encoding(preset: Preset, dim: int) -> AdaptiveEncoding:
    """Return the encoding of a document's tokens, in one byte for each of its dimensions."""
    from embplug.methods import AdaptiveEncoding

    size = max(128, min(ENCODING_BYTES[preset], ENCODING_SHARE[preset] * dim))
    return AdaptiveEncoding(stored_dim=size, state_share=STATE_SHARE[preset])


def token_codes(preset: Preset, dim: int) -> AdaptiveQuantizer:
    """Return the codes of tokens; ``"exact"`` has those of ``"balanced"``, if it has codes at all."""
    from embplug.methods import AdaptiveQuantizer

    share = CODE_SHARE["small" if preset == "small" else "balanced"]
    prior = min(PRIOR * dim, PRIOR_NUMBERS // dim)
    return AdaptiveQuantizer(size=max(4, round(share * dim)), emphasis=EMPHASIS, prior=prior)


def token_datatype(preset: Preset, features: Features | None) -> models.Datatype:
    """Return the datatype of a multivector that ranks like float32: turbo8 takes a byte a dimension."""
    has_turbo8 = features is not None and features.turbo8_datatype
    return models.Datatype.TURBO8 if has_turbo8 else models.Datatype.FLOAT16


def dense_storage(preset: Preset, features: Features | None) -> dict[str, Any]:
    """Return ``datatype``, ``on_disk`` and ``quantization`` of a dense vector.

    ``"small"`` and ``"balanced"`` search one and two bits a dimension in memory, and rank by the original
    vectors on disk. An engine without quantization keeps float16 in memory, as ``"exact"`` does.
    """
    if preset == "exact" or features is None or not features.quantization:
        return {"datatype": models.Datatype.FLOAT16}
    small = preset == "small"
    quantization: models.QuantizationConfig
    if features.turbo_quantization:
        bits = models.TurboQuantBitSize.BITS1 if small else models.TurboQuantBitSize.BITS2
        turbo = models.TurboQuantQuantizationConfig(bits=bits, always_ram=True)
        quantization = models.TurboQuantization(turbo=turbo)
    else:
        encoding = models.BinaryQuantizationEncoding
        binary = models.BinaryQuantizationConfig(
            encoding=encoding.ONE_BIT if small else encoding.TWO_BITS, always_ram=True
        )
        quantization = models.BinaryQuantization(binary=binary)
    is_small_enough = small and features.turbo4_datatype
    datatype = models.Datatype.TURBO4 if is_small_enough else models.Datatype.FLOAT16
    return {"datatype": datatype, "on_disk": True, "quantization": quantization}
