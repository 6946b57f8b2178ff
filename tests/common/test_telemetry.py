"""Spans, metrics and lines of the log: there when an application exports, free and silent when not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug import Collection, Dense, Recipe
from embplug.common import telemetry
from tests.common.observed_program import SECRET

PROGRAM = Path(__file__).with_name("observed_program.py")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program exports that creates a collection on Edge, adds, and searches in both ways."""
    done = _run(str(PROGRAM), str(tmp_path_factory.mktemp("observed")))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture
def docs(memory_client: Any) -> Collection:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=4)), memory_client)
    collection.add(["a", "b"], dense=np.eye(4)[:2], texts=[SECRET, SECRET])
    return collection


def test_a_search_is_a_span_with_its_stages_inside(exported):
    for question in ("question", "awaited question"):
        (asking,) = _spans(exported, name=question)
        (search,) = _spans(exported, name="embplug.search", parent=asking["id"])
        assert search["attributes"] == {
            "db.system.name": "qdrant",
            "db.collection.name": "docs",
            "embplug.queries": 1,
            "embplug.limit": 5,
        }
        inside = _spans(exported, parent=search["id"])
        # The second request reads the codes that are not known yet.
        names = ["embplug.request", "embplug.request", "embplug.rerank", "embplug.request"]
        assert [span["name"] for span in inside] == names
        found, read, ranked, hits = (span["attributes"]["embplug.candidates"] for span in inside)
        assert (found, ranked, hits) == (20, 20, 5) and 0 < read <= 20
        assert sum(span["seconds"] for span in inside) <= search["seconds"]


def test_what_add_learns_and_sends_belongs_to_its_span(exported):
    (adding,) = _spans(exported, name="embplug.add")
    assert adding["attributes"]["embplug.documents"] == 300
    inside = _spans(exported, parent=adding["id"])
    (fit,) = [span for span in inside if span["name"] == "embplug.fit"]
    assert fit["attributes"]["embplug.methods"] == ["LearnedEncoding", "ResidualQuantizer"]
    assert any(span["attributes"].get("db.operation.name") == "upsert" for span in inside)


def test_a_failed_operation_is_marked_by_the_kind_of_its_error_alone(exported):
    (failed,) = _spans(exported, status="ERROR")
    assert failed["name"] == "embplug.search"
    assert failed["attributes"]["error.type"] == "InvalidArgumentError"
    assert failed["events"] == 0


def test_metrics_count_what_was_done(exported):
    metrics = exported["metrics"]
    assert _sum(metrics, telemetry.ADDED) == 300
    assert _sum(metrics, telemetry.RERANKED) == 40
    # Two searches find 20, return 5, and read the codes of those of the 20 that are new.
    assert 50 < _sum(metrics, telemetry.CANDIDATES) <= 90
    assert _sum(metrics, telemetry.CODE_BYTES) > 0
    (drift,) = metrics[telemetry.DRIFT]
    assert 0.5 < drift["sum"] < 2
    counts = {row["attributes"]["embplug.operation"]: row["count"] for row in metrics[telemetry.DURATION]}
    assert {"search", "request", "rerank", "add", "fit", "create"} <= counts.keys()
    assert telemetry.RETRIED not in metrics


def test_nothing_is_exported_of_what_a_user_stores(exported):
    assert SECRET not in json.dumps(exported)


def test_opentelemetry_is_not_imported_by_embplug():
    program = """
import sys
from qdrant_client import QdrantClient
from embplug import Collection, Dense, Recipe
docs = Collection.create("docs", Recipe(dense=Dense(dim=2)), QdrantClient(":memory:"))
docs.add([1], dense=[[1.0, 0.0]])
assert len(docs.search(dense=[1.0, 0.0])) == 1
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    assert _run("-c", program).stdout.strip() == "[]"


def test_unobserved_operations_share_one_object():
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "opentelemetry.trace", raising=False)
        assert telemetry.span("search", "docs") is telemetry.span("add", "other")
        telemetry.record(telemetry.ADDED, 1)


def test_requests_are_logged_with_their_duration_and_without_contents(docs, caplog):
    with caplog.at_level(logging.DEBUG, "embplug"):
        docs.search(dense=np.eye(4)[0], limit=1)
        docs.add(["c"], dense=np.eye(4)[2:3], texts=[SECRET])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("embplug.")]
    (search,) = [line for line in lines if line.startswith("search of 'docs': ")]
    assert search.endswith(" ms, queries 1, limit 1")
    assert any(line.startswith("request of ") and "method query_batch_points" in line for line in lines)
    assert any(
        line.startswith("add of 'docs': ") and line.endswith("documents 1, retries 0") for line in lines
    )
    assert not any(SECRET in line for line in lines)


def test_steps_of_a_collection_are_logged(memory_client, caplog):
    recipe = Recipe(dense=Dense(dim=4, transforms=[{"kind": "pca", "dim": 2}]))
    with caplog.at_level(logging.INFO, "embplug"):
        docs = Collection.create("docs", recipe, memory_client)
        docs.add(range(8), dense=np.random.default_rng(0).normal(size=(8, 4)))
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("embplug.")]
    assert lines[0] == "created collection 'docs'"
    assert lines[1] == "collection 'docs' learns from 8 documents: dense.dense.transforms.0 (PCA)"
    assert lines[2].startswith("collection 'docs': dense.dense.transforms.0 (PCA) has learned from 8")
    assert lines[3].startswith("collection 'docs' has learned in ")
    assert lines[4].startswith("collection 'docs' has the new revision ")


def test_a_failure_is_logged_by_its_kind(docs, caplog):
    with caplog.at_level(logging.DEBUG, "embplug"), pytest.raises(ValueError, match="valley"):
        docs.search(dense=np.eye(4)[0], branches=[SECRET])
    (search,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("search")]
    assert search.endswith(", InvalidArgumentError")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    return done


def _spans(exported: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [span for span in exported["spans"] if all(span[key] == value for key, value in fields.items())]


def _sum(metrics: dict[str, Any], name: str) -> float:
    return sum(row["sum"] for row in metrics[name])
