"""The compiled kernel, where there is one and nobody turned it off."""

from __future__ import annotations

import ctypes
import os
import warnings
from ctypes import c_char_p, c_float, c_int, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from embplug.methods.kernels.build import FILE_NAME, sources_version

VARIABLE = "EMBPLUG_KERNEL"
"""Environment variable: ``0`` turns the kernel off; the name of an instruction set limits it to that."""

TABLES = "EMBPLUG_KERNEL_TABLES"
"""Environment variable: ``float32`` keeps products exact, which is slower."""

LONG_CALL = 1 << 16
"""Looked-up rows from which on a call lets other threads run."""

_ARGUMENTS = {
    "embplug_table": [c_int, c_int, c_int, c_void_p, c_void_p, c_int64, *[c_void_p] * 7],
    "embplug_vector_table": [c_void_p, c_void_p, c_int64, c_void_p, c_void_p],
    "embplug_turned": [c_int, c_int, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p],
    "embplug_predictive_order": [c_void_p, c_int64],
    "embplug_predictive_sums": [c_int, c_int, c_int, c_void_p, c_void_p, c_int64, c_int64],
    "embplug_predictive": [c_int, c_int, c_int, c_void_p, c_int64, c_int64],
    "embplug_sums": [*[c_void_p] * 3, *[c_int64] * 4, c_void_p, c_void_p],
    "embplug_bits": [c_int, c_void_p, c_int64, c_int64],
    "embplug_bits_tables": [c_int, c_void_p, c_int64, c_int64, *[c_void_p] * 3],
    "embplug_products": [
        *(c_int, c_void_p, c_int64, c_void_p, c_void_p),
        *(c_int64, c_int64, c_float, *[c_void_p] * 3),
    ],
    "embplug_nearest": [c_int, c_void_p, *[c_int64] * 2, *[c_void_p] * 3, c_int64, c_void_p],
    "embplug_entries": [c_void_p, *[c_int64] * 2, *[c_void_p] * 2, c_int64, c_void_p],
    "embplug_weighted_rows": [c_int, c_void_p, c_void_p, c_int64, c_int64, c_void_p],
    "embplug_rounded_tokens": [c_void_p, c_int, c_void_p, *[c_int64] * 3, c_void_p, c_void_p],
    "embplug_distinct": [*[c_void_p] * 2, *[c_int64] * 2, *[c_void_p] * 5],
    "embplug_highest": [*[c_void_p] * 2, *[c_int64] * 3, *[c_void_p] * 2, c_int64, c_void_p],
}
_RESULTS: dict[str, tuple[Any, list[Any]]] = {
    "embplug_levels": (c_int, []),
    "embplug_version": (c_int, []),
    "embplug_eight_bits": (c_int, []),
    "embplug_bits_of_group": (c_int, [c_int]),
    "embplug_bits_room": (c_int64, [c_int64]),
    "embplug_level_name": (c_char_p, [c_int]),
    "embplug_maxsim": (c_int64, [c_int, c_int, c_int, c_void_p, c_int64, c_int64]),
    "embplug_bytewise": (
        c_int64,
        [
            *(*[c_int] * 3, *[c_void_p] * 2, c_int64, *[c_void_p] * 3),
            *(*[c_int64] * 3, *[c_void_p] * 4, c_int64),
        ],
    ),
    "embplug_bytewise_room": (c_int64, [c_void_p, c_int, c_int, c_int64]),
    "embplug_bytewise_sum": (
        c_int64,
        [*[c_void_p] * 2, c_int64, c_void_p, c_int64, c_void_p, c_int64, *[c_void_p] * 2],
    ),
    "embplug_documents": (c_int64, [c_void_p, c_void_p, *[c_int64] * 4]),
    "embplug_check": (c_int64, [*[c_void_p] * 4, c_int64, c_void_p, c_int64]),
    "embplug_points": (c_int64, [c_char_p, *[c_int64] * 3, *[c_void_p] * 2]),
    "embplug_texts": (c_int64, [c_char_p, c_void_p, c_int64, c_char_p, c_int64, *[c_void_p] * 2]),
    "embplug_base85": (c_int64, [c_int, *[c_void_p] * 2, c_int64, *[c_void_p] * 4]),
}
"""Functions that return something: what, and their arguments."""


class Kernel(NamedTuple):
    """A loaded kernel."""

    functions: Any
    """The C functions. A call of one releases the GIL; ``functions.held`` are the same ones that hold it."""
    level: int
    """Number of the instruction set to use."""
    exact: bool = True
    """Whether products stay float32, or are rounded to 16 and 8 bits."""
    eight_bits: bool = False
    """Whether this processor multiplies numbers of 8 bits faster than BLAS those of 32."""
    bits: int = 0
    """How many bits of a code this processor looks up in a register, for many tokens at once, or 0."""

    def functions_for(self, steps: int) -> Any:
        """The C functions for so much work: a short call holds the GIL, which costs more to get back."""
        return self.functions if steps > LONG_CALL else self.functions.held


def in_use() -> str:
    """Name of what makes and scores codes in this process.

    Returns
    -------
    str
        The instruction set of the compiled kernel: ``"avx512"``, ``"avx2"``, ``"sse2"``, ``"neon"``, or
        ``"c"`` for plain C. ``"numpy"`` where there is no kernel, or ``EMBPLUG_KERNEL=0`` turns it off.
    """
    kernel = load()
    return "numpy" if kernel is None else _names(kernel.functions)[kernel.level]


def load() -> Kernel | None:
    """The kernel to use, or None; the environment variables are read in each call."""
    setting = os.environ.get(VARIABLE, "")
    functions = None if setting == "0" else _library(_path())
    if functions is None:
        return None
    return _kernel(functions, setting, os.environ.get(TABLES) == "float32")


def available() -> list[str]:
    """Names of all instruction sets that the kernel can use on this processor."""
    functions = _library(_path())
    return [] if functions is None else list(_names(functions))


@lru_cache(maxsize=1)
def _path() -> Path:
    return Path(__file__).with_name(FILE_NAME)


@lru_cache(maxsize=4)
def _library(path: Path) -> Any:
    try:
        library = ctypes.CDLL(str(path))
        if library.embplug_version() != sources_version():
            warnings.warn(
                f"the compiled kernel {path} is not used, because it was built from other sources: install "
                "embplug again, or run embplug/methods/kernels/build.py",
                UserWarning,
                stacklevel=2,
            )
            return None
        library.held = ctypes.PyDLL(str(path))  # type: ignore[attr-defined]
        for functions in (library, library.held):
            for name, arguments in _ARGUMENTS.items():
                function = getattr(functions, name)
                function.argtypes, function.restype = arguments, None
            for name, (result, arguments) in _RESULTS.items():
                function = getattr(functions, name)
                function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError):
        # Not built, or for another machine.
        return None
    return library


@lru_cache(maxsize=16)
def _kernel(functions: Any, setting: str, exact: bool) -> Kernel:
    names = _names(functions)
    level = names.index(setting) if setting in names else len(names) - 1
    bits = functions.embplug_bits_of_group(level)
    return Kernel(functions, level, exact, _has_eight_bits(functions, level), bits)


@lru_cache(maxsize=4)
def _names(functions: Any) -> tuple[str, ...]:
    levels = functions.embplug_levels()
    return tuple(functions.embplug_level_name(level).decode() for level in range(levels))


@lru_cache(maxsize=8)
def _has_eight_bits(functions: Any, level: int) -> bool:
    return level == len(_names(functions)) - 1 and bool(functions.embplug_eight_bits())
