"""Compiled scoring of codes, and what it is tested against.

A search compares every token of a query with every token of some hundred documents. The codes of those
documents need no decoding for it: each of their bytes names a row of a table of products. Adding up such
rows is all that ``kernel.c`` does.

The kernel is compiled when the package is installed. Without a compiler, or with ``EMBPLUG_KERNEL=0`` in
the environment, numpy and scipy score the codes; :func:`in_use` tells which of them does.

Products are float32, and scores those of numpy up to rounding. ``EMBPLUG_KERNEL_TABLES=int16`` in the
environment rounds them to 16 bits: :meth:`embplug.methods.kernels.lookups.Table.largest_error` bounds what a
score changes by. Rankings change where scores lie closer together than that.
"""

from embplug.methods.kernels.library import Kernel, available, in_use, load

__all__ = ["Kernel", "available", "in_use", "load"]
