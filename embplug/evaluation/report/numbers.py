"""Numbers as the text of plots and tables."""

from __future__ import annotations


def interval_text(figure: dict[str, float]) -> str:
    """Write a mean with its interval."""
    return f"{figure['mean']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def p_text(value: float) -> str:
    """Write a p-value as HTML."""
    return "&lt; .001" if value < 0.001 else f"{value:.3f}"


def bytes_text(value: float) -> str:
    """Write bytes with a unit."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def decimal_text(value: float) -> str:
    """Write a number with up to three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".") or "0"


def plain_text(value: float) -> str:
    """Write a number in its shortest form."""
    return f"{value:g}"
