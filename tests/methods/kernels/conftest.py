"""The kernel, compiled from the source as it stands, on each instruction set of this processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embplug.methods.kernels import Kernel
from embplug.methods.kernels.build import FILE_NAME, BuildError, build
from embplug.methods.kernels.library import _has_eight_bits, _library, _names

COMPILED = "EMBPLUG_TEST_KERNEL"
"""Environment variable: a compiled kernel to test in place of a new one."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILED in os.environ:
        return Path(os.environ[COMPILED])
    try:
        return build(tmp_path_factory.mktemp("kernel") / FILE_NAME)
    except BuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session", params=["base", "avx2", "avx512"])
def kernel(request: pytest.FixtureRequest, compiled: Path) -> Kernel:
    functions = _library(compiled)
    assert functions is not None
    names = _names(functions)
    if request.param != "base" and request.param not in names:
        pytest.skip(f"no {request.param} here")
    level = 0 if request.param == "base" else names.index(request.param)
    bits = functions.embplug_bits_of_group(level)
    return Kernel(functions, level, eight_bits=_has_eight_bits(functions, level), bits=bits)
