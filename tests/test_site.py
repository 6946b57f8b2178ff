"""The site is built, with every warning as an error: a missing page, link or public name fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import embplug
from embplug import errors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_reference_has_every_public_name(site):
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").rglob("index.html"))
    missing = [name for name in embplug.__all__ if name != "models" and f">{name}<" not in pages]
    assert not missing
    assert "embplug migrate" in pages


def test_pages_load_nothing_from_elsewhere(site):
    """A page that is opened without a network looks the same."""
    page = (site / "index.html").read_text(encoding="utf-8")
    loaded = re.findall(r"<(?:script|img)[^>]+src=\"(https?://[^\"]+)", page)
    loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|preconnect)\"[^>]+href=\"(https?://[^\"]+)", page)
    assert not loaded


def test_troubleshooting_has_every_error():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    kinds = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert "EngineLockedError" in kinds
    assert not [name for name in kinds if f"`{name}`" not in page and f".{name}`" not in page]


def test_results_name_every_benchmark():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    scripts = [path.name for path in (ROOT / "benchmarks").glob("[a-z]*.py")]
    assert "latency.py" in scripts
    assert not [name for name in scripts if f"`{name}`" not in page]
