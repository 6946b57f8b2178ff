"""Strings of predictive codes: the number of tokens, a header for each, and their codes class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.lookups import check_predictive
from embplug.methods.numeric.arrays import Codes
from embplug.methods.numeric.packing import pack, packed_bytes, unpack

COUNT_BYTES = 4
HEADER = (12, 8, 4, 3, 5)
"""Bits of a token's centroid, of how far back its reference stands, of its gain, class and factor."""
HEADER_BYTES = packed_bytes(HEADER)
ID_BYTES = 2
"""First bytes of a header, which hold the id of the centroid above other bits."""
GAINS, CLASSES, FACTORS = (1 << bits for bits in HEADER[2:])


class Parsed(NamedTuple):
    """Strings of a block of documents, taken apart; one row a token."""

    ids: NDArray[np.int64]
    references: NDArray[np.int64]
    """Row of the earlier token, -1 without one"""
    gains: NDArray[np.int64]
    classes: NDArray[np.int64]
    factors: NDArray[np.int64]
    codes: list[Codes]
    """Codes of the tokens of each class, in their order."""


def written(
    fields: NDArray[np.int64], codes: Codes, offsets: NDArray[np.int64], sizes: NDArray[np.int64]
) -> list[bytes]:
    """One string a document.

    Parameters
    ----------
    fields : (tokens, 5)
        As in :data:`HEADER`.
    codes : uint8 (tokens, most bytes of a class)
        Each row filled from the left.
    offsets : (documents + 1,)
    sizes : (8,)
        Bytes of a code of each class.
    """
    headers = pack(fields, HEADER)
    classes = fields[:, 3]
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((classes, owner))
    used = np.arange(codes.shape[1]) < sizes[classes[order], None]
    rests = codes[order][used]
    stops = np.concatenate([[0], np.cumsum(sizes[classes[order]])])[offsets].tolist()
    strings = []
    for i, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        count = (stop - start).to_bytes(COUNT_BYTES, "little")
        strings.append(count + headers[start:stop].tobytes() + rests[stops[i] : stops[i + 1]].tobytes())
    return strings


def token_offsets(strings: Sequence[bytes]) -> NDArray[np.int64]:
    """Compute the offsets (documents + 1,) of the tokens of each document.

    Raises
    ------
    InvalidArgumentError
        A string is too short for its tokens. The error names the first one.
    """
    joined = ByteStrings.of(strings)
    offsets = np.zeros(len(joined) + 1, dtype=np.int64)
    counts, whole = offsets[1:], joined.lengths >= COUNT_BYTES
    counts[whole] = joined.data[joined.starts[whole, None] + np.arange(COUNT_BYTES)].view("<u4")[:, 0]
    rest = joined.lengths - HEADER_BYTES * counts - COUNT_BYTES
    wrong = (rest < 0) | ((rest > 0) & (counts == 0))
    if wrong.any():
        i, expected = int(wrong.argmax()), f"{COUNT_BYTES} bytes for the number of tokens, and those of each"
        raise InvalidArgumentError(f"codes[{i}]", expected, f"{joined.lengths[i]} bytes of codes")
    np.cumsum(counts, out=counts)
    return offsets


def headers_of(strings: Sequence[bytes]) -> CodedDocuments:
    """The headers of the tokens of documents, ``HEADER_BYTES`` each.

    Raises
    ------
    InvalidArgumentError
        A string is too short for its tokens. The error names the first one.
    """
    joined = ByteStrings.of(strings)
    return CodedDocuments.of(joined.without_heads(COUNT_BYTES), token_offsets(joined))


def centroid_ids(headers: CodedDocuments, centroids: int) -> NDArray[np.int64]:
    """Ids (tokens,) of the centroids of all tokens.

    Raises
    ------
    InvalidArgumentError
        There is no such centroid. The error names the first such string.
    """
    rows = headers.rows(HEADER_BYTES)
    ids = unpack(rows, HEADER)[:, 0].astype(np.int64)
    wrong = np.flatnonzero(ids >= centroids)
    if wrong.size:
        document = int(np.searchsorted(headers.offsets, wrong[0], side="right")) - 1
        raise InvalidArgumentError(f"codes[{document}]", f"centroids below {centroids}", "others")
    return ids


class _Fields(NamedTuple):
    """Headers of a block of documents, checked."""

    ids: NDArray[np.int64]
    references: NDArray[np.int64]
    gains: NDArray[np.int64]
    classes: NDArray[np.int64]
    factors: NDArray[np.int64]
    members: NDArray[np.int64]
    """(documents, classes)"""
    stops: list[int]
    """Bytes of the headers of each document, and what is before them."""


def checked(
    kernel: Kernel, strings: Sequence[bytes], sizes: NDArray[np.int64], centroids: int
) -> CodedDocuments:
    """The strings of documents as the compiled kernel reads them, starting at their headers.

    Raises
    ------
    InvalidArgumentError
        A string is not one of these codes. The error names the first one.
    """
    joined = ByteStrings.of(strings)
    offsets = token_offsets(joined)
    wrong = check_predictive(kernel, joined, offsets, sizes, centroids)
    if wrong >= 0:
        parsed(joined, slice(wrong, wrong + 1), sizes, centroids)
        raise AssertionError(f"codes[{wrong}] are refused by the kernel alone")
    return CodedDocuments.of(joined.without_heads(COUNT_BYTES), offsets)


def parsed(strings: Sequence[bytes], documents: slice, sizes: NDArray[np.int64], centroids: int) -> Parsed:
    """Take the strings of some documents apart, whose codes have these many bytes in each class.

    Raises
    ------
    InvalidArgumentError
        A string is not one of these codes. The error names the first one.
    """
    block = list(strings[documents])
    fields = _fields(block, token_offsets(block), documents.start, sizes, centroids)
    ends = np.cumsum(fields.members * sizes, axis=1) + np.array(fields.stops)[:, None]
    codes, starts = [], fields.stops
    for k, size in enumerate(sizes.tolist()):
        ends_of_class = ends[:, k].tolist()
        joined = b"".join(
            string[a:b] for string, a, b in zip(block, starts, ends_of_class, strict=True) if a < b
        )
        codes.append(np.frombuffer(joined, dtype=np.uint8).reshape(fields.members[:, k].sum(), size))
        starts = ends_of_class
    return Parsed(*fields[:5], codes)


def _fields(
    block: Sequence[bytes], offsets: NDArray[np.int64], first: int, sizes: NDArray[np.int64], centroids: int
) -> _Fields:
    """Read and check the headers of a block, whose first string has the number ``first``."""
    lengths = np.diff(offsets)
    stops = (COUNT_BYTES + HEADER_BYTES * lengths).tolist()
    joined = b"".join(string[COUNT_BYTES:stop] for string, stop in zip(block, stops, strict=True))
    headers = np.frombuffer(joined, dtype=">u4").astype(np.int64)
    ends_of_fields = np.cumsum(HEADER).tolist()
    ids, back, gains, classes, factors = (
        (headers >> (8 * HEADER_BYTES - end)) & ((1 << bits) - 1)
        for end, bits in zip(ends_of_fields, HEADER, strict=True)
    )
    owner = np.repeat(np.arange(len(block)), lengths)
    members = np.bincount(owner * CLASSES + classes, minlength=len(block) * CLASSES).reshape(-1, CLASSES)
    expected = members @ sizes + np.array(stops, dtype=np.int64)
    sizes_of_strings = np.array([len(string) for string in block], dtype=np.int64)
    for i in np.flatnonzero(sizes_of_strings != expected):
        got = f"{sizes_of_strings[i]} bytes of codes"
        raise InvalidArgumentError(f"codes[{first + i}]", f"{expected[i]} bytes, as its headers say", got)
    references = np.arange(len(ids)) - back
    for row in np.flatnonzero((references < offsets[owner]) | (ids >= centroids)):
        token = row - offsets[owner[row]]
        right = f"earlier tokens of the document, and centroids below {centroids}"
        got = f"token {token} of centroid {ids[row]} that refers {back[row]} back"
        raise InvalidArgumentError(f"codes[{first + owner[row]}]", right, got)
    references[back == 0] = -1
    return _Fields(ids, references, gains, classes, factors, members, stops)
