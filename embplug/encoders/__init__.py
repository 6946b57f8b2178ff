"""From texts to vectors: the encoder protocol, and adapters for the libraries that people use."""

from __future__ import annotations

from embplug.encoders.base import Encoded, Encoder
from embplug.encoders.registry import load_encoder, register_encoder

__all__ = ["Encoded", "Encoder", "load_encoder", "register_encoder"]
