"""Compiled making and scoring of codes, and what it is tested against.

A search compares every token of a query with every token of some hundred documents. The codes of those
documents need no decoding for it: each of their bytes names a row of a table of products. Adding up such
rows is what ``kernel.c`` does most. It also finds the nearest entries of vectors when codes are made.

The kernel is compiled when the package is installed. Without a compiler, or with ``EMBPLUG_KERNEL=0`` in
the environment, numpy and scipy make and score the codes; :func:`in_use` tells which of them does.

Products are rounded to steps so small that codes of 16 bytes have 16 bits for each byte. Of longer codes, 16
bytes or a quarter of them have 16 bits, the others 8. Centroids and queries are rounded to 8 bits where the
processor multiplies those (AVX-512 VNNI), their products to 16, and products with single bits to 7, so that
those of four or six bits fit into a register (AVX2, AVX-512 VBMI).
:meth:`embplug.methods.kernels.tables.Table.largest_error`,
:meth:`embplug.methods.kernels.bases.RoundedRows.largest_error` and
:func:`embplug.methods.kernels.bits.largest_error` bound what a token's score changes by. Where
``EMBPLUG_KERNEL_TABLES`` is ``float32`` in the environment, scores are those of numpy up to the rounding of
float32 sums. So are those of codes of dense vectors.
"""

from embplug.methods.kernels.library import Kernel, available, in_use, load

__all__ = ["Kernel", "available", "in_use", "load"]
