"""The models of qdrant-client, which embplug takes and returns; imported when they are first used."""

from __future__ import annotations

from qdrant_client import models

__all__ = ["models"]
