from __future__ import annotations

import json

import pytest

from embplug.cli.demo import Demo, MethodFigures, conclusion
from embplug.cli.demo import run as demo_run
from embplug.cli.demo.corpus import stdlib_docstrings


def test_what_is_there_is_used_again(tmp_path, monkeypatch, capsys):
    documents = stdlib_docstrings()[:24]
    with Demo(tmp_path, documents=documents) as demo:
        figures = demo.figures()
        hits = demo.search(documents[7].query)
        assert demo.count == 24
    # No terminal: lines in place of bars.
    assert "encoding documents: 100 %" in capsys.readouterr().err
    plain, balanced, small = figures
    assert (plain.method, plain.recall_at_10) == ("plain multivector", 1.0)
    assert balanced.recall_at_10 > 0.9 and balanced.mrr_at_10 > 0.5 and small.recall_at_10 > 0.8
    assert 0 < small.bytes_per_document < balanced.bytes_per_document
    assert 0 < balanced.p50_ms <= balanced.p95_ms
    assert hits[0].payload is not None and hits[0].payload["name"] in {d.name for d in documents}
    for name in ("_measure", "_fill"):
        monkeypatch.setattr(Demo, name, lambda *_, name=name: pytest.fail(f"{name} again"))
    with Demo(tmp_path, documents=documents) as demo:
        assert demo.figures() == figures
        assert [hit.id for hit in demo.search(documents[7].query)] == [hit.id for hit in hits]
    monkeypatch.undo()
    with Demo(tmp_path, documents=documents) as demo:
        demo.collections["balanced"].delete([3])
        (tmp_path / "figures.json").write_text("{", encoding="utf-8")
    with Demo(tmp_path, documents=documents) as demo:
        again = demo.figures()
        assert demo.collections["balanced"].count() == 24 and len(again) == 3
    assert json.loads((tmp_path / "figures.json").read_text())["documents"] == 24


def test_one_sentence_says_what_the_figures_mean():
    plain = MethodFigures("plain", 80_000, 1.0, 0.6, 50.0, 60.0)
    ours = MethodFigures("embplug", 8_000, 0.97, 0.6, 2.5, 3.0)
    meaning = conclusion(plain, ours)
    assert "8,000 bytes instead of 80,000, 10 times fewer" in meaning
    assert "2.5 ms instead of 50.0, 20 times faster" in meaning and "9.7 of its ten hits" in meaning
    assert meaning.count(".") == 4 and demo_run.PRESETS[0] == "balanced"
