"""The demonstration searches the docstrings of the standard library with and without embplug."""

from __future__ import annotations

from embplug.cli.demo.run import Demo, MethodFigures, conclusion

__all__ = ["Demo", "MethodFigures", "conclusion"]
