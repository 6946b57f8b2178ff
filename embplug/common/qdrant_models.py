"""The models of qdrant-client, which embplug takes and returns. They are imported on first use."""

from __future__ import annotations

from qdrant_client import models

__all__ = ["models"]
