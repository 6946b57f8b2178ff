"""How large documents are as a request, and whether a server takes requests of that size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from embplug.branches.documents import CheckedDocuments
from embplug.branches.points import WirePayload
from embplug.engines import PointForm
from embplug.engines.capabilities import MAX_REST_BYTES
from embplug.errors import PointTooLargeError


def check_payload_sizes(documents: CheckedDocuments, form: PointForm) -> None:
    """Refuse a payload that no request over REST could carry, before anything is encoded.

    Raises
    ------
    PointTooLargeError
        A document is too large. The error names the first one.
    """
    if form is PointForm.LISTS:
        check_sizes(documents, payload_sizes(documents))


def payload_sizes(documents: CheckedDocuments) -> NDArray[np.int64]:
    """Bytes of the payload of each document as JSON, int64 ``(n,)``."""
    sizes = (
        len(payload.entries) if isinstance(payload, WirePayload) else len(to_json(payload))
        for payload in documents.payloads
    )
    return np.fromiter(sizes, dtype=np.int64, count=len(documents))


def check_sizes(documents: CheckedDocuments, sizes: NDArray[np.int64]) -> None:
    """Refuse documents that no request over REST can carry.

    Raises
    ------
    PointTooLargeError
        A document is too large. The error names the first one.
    """
    large = np.flatnonzero(sizes > MAX_REST_BYTES)
    if large.size:
        at = int(large[0])
        expected = f"at most {MAX_REST_BYTES} bytes as JSON, or a connection over gRPC"
        raise PointTooLargeError(f"document {documents.user_ids[at]!r}", expected, int(sizes[at]))
