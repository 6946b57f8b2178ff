"""Token matrices and what turns them into something one vector search can find."""

from __future__ import annotations

from embplug.multivector.token_batch import TokenBatch

__all__ = ["TokenBatch"]
