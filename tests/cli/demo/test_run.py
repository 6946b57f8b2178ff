from __future__ import annotations

import pytest

from embplug.cli.demo import Demo
from embplug.cli.demo.corpus import stdlib_docstrings


def test_what_is_there_is_used_again(tmp_path, monkeypatch):
    documents = stdlib_docstrings()[:24]
    with Demo(tmp_path, documents=documents) as demo:
        figures = demo.figures()
        hits = demo.search(documents[7].query)
    plain, ours = figures
    assert (plain.method, plain.recall_at_10) == ("plain multivector", 1.0)
    assert ours.recall_at_10 > 0.9 and ours.mrr_at_10 > 0.5
    assert ours.bytes_per_document > 0 and 0 < ours.p50_ms <= ours.p95_ms
    assert hits[0].payload is not None and hits[0].payload["name"] in {d.name for d in documents}
    monkeypatch.setattr(Demo, "_measure", lambda *_: pytest.fail("measured again"))
    with Demo(tmp_path, documents=documents) as demo:
        assert demo.figures() == figures
