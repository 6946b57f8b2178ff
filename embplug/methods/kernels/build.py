"""Compile the kernel beside its source: ``python embplug/methods/kernels/build.py`` does it in place.

This file imports nothing of the package, because the build of the package runs it.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("kernel.c")
FILE_NAME = {"win32": "kernel.dll", "darwin": "kernel.dylib"}.get(sys.platform, "kernel.so")


class BuildError(Exception):
    """The kernel was not compiled; the message says why."""


def sources_version() -> int:
    """Compute a number that changes with every source in this folder, in C or in Python.

    Both sides of a call have to lay out its arguments alike, so that a library of other sources is not used.
    """
    version = 0
    for source in sorted(SOURCE.parent.iterdir()):
        if source.suffix in {".c", ".py"}:
            version = zlib.crc32(source.read_bytes(), version)
    return version >> 1


def build(target: Path | None = None, flags: Sequence[str] = ()) -> Path:
    """Compile the kernel with the C compiler of this machine.

    Parameters
    ----------
    target : Path, default=None
        File to write. None writes it beside the source, where the package loads it.
    flags : sequence of str, default=()
        More flags for the compiler.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    BuildError
        There is no compiler, or it failed.
    """
    target = SOURCE.with_name(FILE_NAME) if target is None else target
    compiler = _compiler()
    if compiler is None:
        raise BuildError("no C compiler: set CC, or install gcc or clang")
    # The new file takes the place of the old one at once: another process may have that one loaded.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        library = Path(folder) / target.name
        command = [*compiler, *_arguments(compiler, library, folder), *flags]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise BuildError(f"{shlex.join(command)}: {error}") from error
        if done.returncode != 0:
            raise BuildError(f"{shlex.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        library.replace(target)
    return target


def _compiler() -> list[str] | None:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"], posix=sys.platform != "win32")
    known = (sysconfig.get_config_var("CC") or "").split()[:1]
    usual = ["cl", "clang", "gcc"] if sys.platform == "win32" else [*known, "cc", "gcc", "clang"]
    return next(([name] for name in usual if shutil.which(name)), None)


def _arguments(compiler: list[str], target: Path, folder: str) -> list[str]:
    version = f"EMBPLUG_VERSION={sources_version()}"
    if Path(compiler[0]).stem.lower() in {"cl", "clang-cl"}:
        return ["/nologo", "/O2", f"/D{version}", "/LD", str(SOURCE), f"/Fo{folder}\\", f"/Fe{target}"]
    arguments = [
        "-O3",
        "-std=c11",
        "-ffp-contract=fast",
        "-fno-math-errno",
        f"-D{version}",
        "-shared",
        "-o",
        str(target),
        str(SOURCE),
    ]
    if sys.platform != "win32":
        arguments += ["-fPIC", "-fvisibility=hidden"]
    if sys.platform == "darwin":
        # Builders of wheels say here for which processors they are.
        arguments += shlex.split(os.environ.get("ARCHFLAGS", ""))
    return [*arguments, *shlex.split(os.environ.get("CFLAGS", ""))]


if __name__ == "__main__":
    try:
        print(f"compiled {build()} for {platform.machine()}")  # noqa: T201
    except BuildError as error:
        sys.exit(f"the kernel was not compiled: {error}")
