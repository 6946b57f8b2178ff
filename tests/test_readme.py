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


def test_its_blocks_run_in_order_in_one_folder(tmp_path):
    """Python in one interpreter, as a reader types it; then the shell, beside what Python has stored."""
    python = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks("python"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert python.returncode == 0, python.stderr
    *texts, tokens = python.stdout.splitlines()
    assert len(texts) == 3 and texts[0].split()[0] in ("for", "lists", "typesseq")
    assert tokens.startswith("51 ") and "codes" in tokens
    shell = subprocess.run(
        ["bash", "-euc", "\n".join(blocks("sh"))],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert "The cat sleeps on the sofa." in shell.stdout


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


def test_every_file_it_names_is_there():
    links = re.findall(r"\]\(((?:docs/|[A-Z]+\.md)[^)#]*)", README)
    assert len(links) > 10
    for name in links:
        assert (ROOT / name).exists(), name
