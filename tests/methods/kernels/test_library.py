"""The kernel is optional, and says whether it is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embplug.methods.kernels import available, in_use, load
from embplug.methods.kernels import build as build_module
from embplug.methods.kernels.build import BuildError, build, sources_version
from embplug.methods.kernels.library import _library
from tests.methods.kernels.conftest import COMPILED

ROOT = Path(__file__).parents[3]


def test_the_environment_turns_the_kernel_off_or_limits_it(
    compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embplug.methods.kernels.library._path", lambda: compiled)
    monkeypatch.delenv("EMBPLUG_KERNEL", raising=False)
    assert in_use() == available()[-1] != "numpy"
    for name in available():
        monkeypatch.setenv("EMBPLUG_KERNEL", name)
        assert in_use() == name
    monkeypatch.setenv("EMBPLUG_KERNEL", "0")
    assert load() is None
    assert in_use() == "numpy"


@pytest.mark.parametrize("content", [None, b"", b"not a library"])
def test_without_a_library_numpy_is_in_use(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kernel"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr("embplug.methods.kernels.library._path", lambda: path)
    assert in_use() == "numpy"
    assert available() == []


def test_a_library_of_other_sources_is_not_used(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embplug.methods.kernels.library._path", lambda: compiled)
    monkeypatch.delenv("EMBPLUG_KERNEL", raising=False)
    monkeypatch.setattr("embplug.methods.kernels.library.sources_version", lambda: -1)
    monkeypatch.setattr("embplug.methods.kernels.library._library", _library.__wrapped__)
    with pytest.warns(UserWarning, match="built from other sources"):
        assert in_use() == "numpy"


def test_the_version_changes_with_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "SOURCE", tmp_path / "kernel.c")
    versions = {sources_version()}
    for name in ("kernel.c", "more.c", "tables.py"):
        (tmp_path / name).write_text("/* */")
        versions.add(sources_version())
    assert len(versions) == 4
    (tmp_path / "kernel.so").write_bytes(b"compiled")
    assert sources_version() in versions


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_a_failed_build_says_why_and_leaves_what_is_there(
    compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    target = tmp_path / build_module.FILE_NAME
    target.write_bytes(b"before")
    with pytest.raises(BuildError, match=compiler):
        build(target)
    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_without_a_compiler_the_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build_module.shutil, "which", lambda name: None)
    with pytest.raises(BuildError, match="no C compiler"):
        build()


@pytest.mark.slow
def test_under_sanitizers(tmp_path: Path) -> None:
    """All tests of the kernel once more, with every access and every operation checked."""
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    try:
        library = build(tmp_path / build_module.FILE_NAME, flags)
        compiler = os.environ.get("CC", "cc")
        found = subprocess.run(
            [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
        )
    except (BuildError, OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no sanitizers: {error}")
    environment = {
        **os.environ,
        COMPILED: str(library),
        "LD_PRELOAD": found.stdout.strip(),
        # Python itself frees nothing at its end.
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    folder = Path(__file__).parent
    tests = [
        str(folder / f"test_{name}.py") for name in ("lookups", "bits", "bytewise", "highest", "messages")
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
