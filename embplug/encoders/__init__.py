"""Encoders turn texts and images into vectors: protocols, and adapters for popular libraries."""

from __future__ import annotations

from embplug.encoders.base import Encoded, Encoder
from embplug.encoders.images import EncodedImages, ImageEncoder, encodes_images, encodes_texts
from embplug.encoders.registry import load_encoder, register_encoder

__all__ = [
    "Encoded",
    "EncodedImages",
    "Encoder",
    "ImageEncoder",
    "encodes_images",
    "encodes_texts",
    "load_encoder",
    "register_encoder",
]
