"""Runs the Python blocks of a page of the documentation, and the examples."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_page(name: str) -> tuple[int, dict[str, Any]]:
    """Run the blocks of a page in the working directory: their number, and the names that they define."""
    page = ROOT.joinpath("docs", name).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, f"docs/{name}", "exec"), names)
    return len(blocks), names


def run_example(name: str) -> None:
    """Run an example as a program."""
    runpy.run_path(str(ROOT / "examples" / name))
