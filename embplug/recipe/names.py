"""Names of branches, and of the vectors that embplug stores for them in Qdrant."""

from __future__ import annotations

DENSE = "dense"


ENCODING_VECTOR = "fde"


TOKENS_VECTOR = "tokens"


SPARSE_VECTOR = "sparse"


TOKENS_BRANCH = TOKENS_VECTOR
