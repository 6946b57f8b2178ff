"""Names of branches, and of the vectors that embplug stores for them in Qdrant."""

from __future__ import annotations

DENSE = "dense"
"""Name of a dense vector for which the user chooses no name."""

ENCODING_VECTOR = "fde"
"""Name in Qdrant of the encoding of a document's tokens, whatever its kind."""

TOKENS_VECTOR = "tokens"
"""Name in Qdrant of the multivector."""

SPARSE_VECTOR = "sparse"
"""Name in Qdrant of the sparse vector, and name of its branch."""

TOKENS_BRANCH = TOKENS_VECTOR
"""Name of the tokens branch."""
