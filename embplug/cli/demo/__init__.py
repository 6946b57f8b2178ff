"""The demonstration: the standard library's docstrings, searched plainly and with embplug."""

from __future__ import annotations

from embplug.cli.demo.run import Demo, MethodFigures

__all__ = ["Demo", "MethodFigures"]
