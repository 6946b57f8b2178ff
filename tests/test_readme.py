"""What the README shows is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_python_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks("python"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("42 ") or "maxsim" in done.stdout


def test_the_shell_commands_run(tmp_path):
    script = next(block for block in blocks("sh") if "embplug create" in block)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The cat sleeps on the sofa." in done.stdout


def test_every_file_it_names_is_there():
    for name in [*re.findall(r"\]\((docs/[^)]+)\)", README), *re.findall(r"`(\w+\.py)`", README)]:
        assert (ROOT / name).exists() or (ROOT / "benchmarks" / name).exists(), name
