"""The notebooks run from the first cell to the last one, and hold no outputs."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))


class ThisPython(AsyncKernelManager):
    """Starts the Python that runs the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """Return the command of the kernel."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


def run(path: Path, folder: Path) -> list[str]:
    """Text that each cell of code shows."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_manager_class=ThisPython, resources={"metadata": {"path": str(folder)}}
    ).execute()
    return ["".join(map(shown, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"]


def shown(output: Any) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with this checkout on the path."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return tmp_path


def test_first_steps(here):
    shown = run(ROOT / "examples" / "notebooks" / "first_steps.ipynb", here)
    assert "added=5" in shown[1]
    assert shown[2].splitlines()[0].endswith("Pigeons find their way by the magnetic field of the earth.")
    assert "honey" in shown[3] or "hive" in shown[3]
    assert "bees" not in shown[3]
    assert "encoder: minilm-int8" in shown[4]
    assert shown[5] == "'hive'"


def test_compress_my_collection(here):
    shown = run(ROOT / "examples" / "notebooks" / "compress_my_collection.ipynb", here)
    assert shown[1] == "2000"
    assert "2000 points, recall@10 " in shown[3]
    assert shown[3].endswith("True") and shown[6] == "True"
    before, after = ast.literal_eval(shown[4])
    assert before[0] == after[0] == 7


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
