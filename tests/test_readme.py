"""What the README shows is run."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug.evaluation.exact import maxsim_scores

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
    *texts, tokens = done.stdout.splitlines()
    assert len(texts) == 3 and texts[0].split()[0] in ("for", "lists", "typesseq")
    assert tokens.startswith("51 ") and "codes" in tokens


@pytest.fixture
def folder_on_disk():
    """A folder on a disk: files that Qdrant allocates ahead take no bytes there, but do in memory."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="readme-") as folder:
        yield folder


def test_the_first_example_keeps_its_promise(folder_on_disk, monkeypatch, capsys):
    """A tenth of float32's bytes, all counted, and .97 of the hits of an exact search."""
    monkeypatch.chdir(folder_on_disk)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(blocks("python")[0], names)
    collection, texts = names["collection"], names["texts"]
    documents = collection.encoder.encode_documents([*texts.values()]).tokens.to_float32()
    questions = [f"How does {text.split('.')[0][:80]} work?" for text in texts.values()]
    queries = collection.encoder.encode_queries(questions).tokens.to_float32()
    ids = np.array([*texts])
    exact = ids[np.argsort(-maxsim_scores(queries, documents), axis=1)[:, :10]]
    hits = [[hit.id for hit in collection.search(tokens=query, limit=10)] for query in queries]
    recall = np.mean([len({*own} & {*best}) / 10 for own, best in zip(hits, exact, strict=True)])
    size = collection.info().document_bytes
    plain = documents.values.nbytes / len(documents)
    with capsys.disabled():
        print(f"\nREADME: {size.disk:,.0f} of {plain:,.0f} bytes a document, recall@10 {recall:.3f}")
    assert size.disk <= plain / 10 and size.float32 == pytest.approx(plain, rel=0.01)
    assert recall >= 0.97


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
