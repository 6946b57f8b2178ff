"""Checks and notes that transforms share."""

from __future__ import annotations

from embplug.errors import InvalidArgumentError


def too_few(sampled: int, needed: int, parts: str) -> list[str]:
    """Notes of a description if a sample had fewer vectors than there are parts to learn."""
    return [f"{sampled} vectors to learn from, fewer than the {needed} {parts}"] if sampled < needed else []


def check_output_dim(name: str, output_dim: int, dim: int) -> int:
    """Return the dimension of results, or refuse one above that of the vectors.

    Raises
    ------
    InvalidArgumentError
        The error names the argument ``name``.
    """
    if output_dim > dim:
        raise InvalidArgumentError(name, f"at most the {dim} dimensions of the vectors", output_dim)
    return output_dim
