"""Encoders turn texts into vectors: a protocol, and adapters for popular libraries."""

from __future__ import annotations

from embplug.encoders.base import Encoded, Encoder
from embplug.encoders.registry import load_encoder, register_encoder

__all__ = ["Encoded", "Encoder", "load_encoder", "register_encoder"]
