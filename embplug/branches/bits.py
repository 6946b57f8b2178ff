"""Sizes of a vector in Qdrant's datatypes and of its codes in Qdrant's quantizations."""

from __future__ import annotations

import math

from qdrant_client import models

_DATATYPES = {
    models.Datatype.FLOAT32: 32,
    models.Datatype.FLOAT16: 16,
    models.Datatype.UINT8: 8,
    models.Datatype.TURBO4: 4,
    models.Datatype.TURBO8: 8,
    models.Datatype.TURBO16: 16,
}
_BINARY = {
    models.BinaryQuantizationEncoding.ONE_BIT: 1.0,
    models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS: 1.5,
    models.BinaryQuantizationEncoding.TWO_BITS: 2.0,
}


def datatype_bits(datatype: models.Datatype | None) -> int:
    """Return the bits of a stored number.

    Parameters
    ----------
    datatype : models.Datatype or None
        Datatype of the vector. ``None`` stands for Qdrant's default, float32.

    Returns
    -------
    int
        Bits of one dimension.
    """
    return _DATATYPES[datatype or models.Datatype.FLOAT32]


def quantized_bytes(quantization: object, dim: int) -> float:
    """Compute the bytes of the quantized code of one vector.

    Parameters
    ----------
    quantization : quantization of qdrant_client.models or None
        Quantization of the vector.
    dim : int
        Dimension of the vector.

    Returns
    -------
    float
        Bytes of the code with its constants; 0 without quantization.

    References
    ----------
    Qdrant documentation, "Quantization": https://qdrant.tech/documentation/manage-data/quantization/
    """
    if isinstance(quantization, models.ScalarQuantization):
        return dim + 4.0
    if isinstance(quantization, models.ProductQuantization):
        return math.ceil(4 * dim / int(quantization.product.compression.value.removeprefix("x")))
    if isinstance(quantization, models.BinaryQuantization):
        bits = _BINARY[quantization.binary.encoding or models.BinaryQuantizationEncoding.ONE_BIT]
        return math.ceil(dim * bits / 128) * 16.0
    if isinstance(quantization, models.TurboQuantization):
        size = quantization.turbo.bits or models.TurboQuantBitSize.BITS4
        bits = float(size.value.removeprefix("bits").replace("_", "."))
        return math.ceil(dim * bits / 8) + turbo_bytes(bits)
    return 0.0


def turbo_bytes(bits: float) -> int:
    """Return the bytes of the constants in a TurboQuant code of so many bits a dimension."""
    return 4 if bits == 8 else 8
