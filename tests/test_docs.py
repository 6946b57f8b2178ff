"""The walk-throughs in docs/ are run: each page's blocks in order, in one shell and one empty folder.

A page is a walk-through when it has ```bash blocks; its ```python blocks run between them, each in its own
interpreter. A block marked ``no-run`` is only read. What a page stores it keeps under ``./data``, on Qdrant
Edge.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import embplug
from embplug import methods

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(bash|python)(?: [^\n]*)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"^```\w+ no-run\n.*?^```", re.DOTALL | re.MULTILINE)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, code) of each block that is run."""
    return BLOCK.findall(NOT_RUN.sub("", page))


def run_page(page: str, folder: Path) -> str:
    """Run a page's blocks in ``folder``, and return what they printed."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EMBPLUG_")},
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        # What is tested is this checkout, whatever is installed.
        "PYTHONPATH": f"{ROOT}:{ROOT / 'integrations'}",
        "COLUMNS": "120",
    }
    script = folder / ".walk-through.sh"
    script.write_text("\n".join(_as_shell(*block) for block in blocks(page)), encoding="utf-8")
    # Lines are shown as they are run, so that a failure tells where it is.
    done = subprocess.run(
        ["bash", "-euvo", "pipefail", str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _as_shell(language: str, code: str) -> str:
    return code if language == "bash" else f"{sys.executable} - <<'END_OF_PYTHON'\n{code}END_OF_PYTHON\n"


WALK_THROUGHS = [
    page.name
    for page in sorted(DOCS.glob("*.md"))
    if any(language == "bash" for language, _ in blocks(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("name", WALK_THROUGHS)
def test_a_walk_through_runs(name, tmp_path):
    assert run_page((DOCS / name).read_text(encoding="utf-8"), tmp_path)


PYTHON = re.compile(r"^```python[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
OTHERS = sorted(page.name for page in DOCS.glob("*.md") if page.name not in WALK_THROUGHS)


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_pages_name_is_there(name):
    """Their blocks are parts of programs: they are read, and what they import of embplug is looked up."""
    for code in PYTHON.findall((DOCS / name).read_text(encoding="utf-8")):
        imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            if node.module and node.module.split(".")[0] == "embplug":
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{name}: {node.module} has no {missing}"


def test_a_block_that_fails_is_told(tmp_path):
    page = (
        "```bash\necho one > f\n```\n```python no-run\n1 / 0\n```\n```python\nprint(open('f').read())\n```\n"
    )
    assert run_page(page, tmp_path) == "one\n\n"
    with pytest.raises(AssertionError, match="false"):
        run_page("```bash\nfalse\ntrue\n```\n", tmp_path)


# The examples of ``register`` and its like would stay registered for other tests.
EXAMPLES = sorted(
    name for name in {*embplug.__all__, *methods.__all__} - {"models"} if not name.startswith("register")
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_docstring_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    public = getattr(embplug if name in embplug.__all__ else methods, name)
    for example in doctest.DocTestFinder(recurse=False).find(public, name, globs={}):
        assert doctest.DocTestRunner().run(example).failed == 0
