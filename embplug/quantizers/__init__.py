"""Vectors to bytes that our rerankers score, without storing the vectors themselves."""

from __future__ import annotations

from embplug.quantizers.base import Description, Quantizer

__all__ = ["Description", "Quantizer"]
