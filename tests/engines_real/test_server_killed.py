"""A server is killed while a collection is created, filled, upgraded or migrated: the next call goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug import Collection, Dense, Recipe, Sample, connect, migrate, reembed, upgrade
from embplug.engines import calls
from embplug.errors import EmbplugError, UpgradeError
from embplug.lifecycle.migration import reader, verify
from embplug.methods import PCA
from tests.branches.parts import DIM, vectors
from tests.engines_real.sources import RECIPE as MIGRATED
from tests.engines_real.sources import assert_same, make_source
from tests.lifecycle.test_upgrade import PLAIN, TEXTS
from tests.servers import server_in

MOMENTS = int(os.environ.get("EMBPLUG_TEST_KILLS", "2"))
SEED = 11
COUNT = 600
LEARNING = Recipe(
    dense=Dense(dim=DIM, transforms=[PCA(DIM, center="both", normalize=True)]),
    payload_indexes={"year": "integer"},
)
DATA = vectors(COUNT)
SAMPLE = Sample(dense=vectors(200, seed=1))


def nothing(engine: Any) -> None:
    del engine


def create(engine: Any) -> None:
    Collection.create("docs", LEARNING, engine, sample=SAMPLE)


def check_created(engine: Any) -> None:
    collection = Collection.open("docs", engine)
    assert collection.info().fitted and "year" in engine.get_collection("docs").payload_schema
    assert collection.add([1], dense=DATA[:1]).added == 1


def create_empty(engine: Any) -> None:
    Collection.create("docs", LEARNING, engine)


def add(engine: Any) -> None:
    Collection.open("docs", engine).add(range(COUNT), dense=DATA)


def check_added(engine: Any) -> None:
    collection = Collection.open("docs", engine)
    assert collection.count() == COUNT
    for row in range(0, COUNT, 50):
        assert collection.search(dense=DATA[row], limit=1)[0].id == row


def fill(engine: Any) -> None:
    collection = Collection.create("docs", PLAIN, engine)
    collection.add(range(200), texts=TEXTS[:200])


def begin_upgrade(engine: Any) -> None:
    with contextlib.suppress(UpgradeError):
        # It says so if it was begun already.
        upgrade("docs", "tests-new", engine=engine, pairs=150, progress=False)
    if Collection.open("docs", engine).info().versions:
        with contextlib.suppress(UpgradeError):
            reembed("docs", engine=engine, batch=20, progress=False)


def check_upgraded(engine: Any) -> None:
    collection = Collection.open("docs", engine)
    version = collection.info().versions["dense"]
    assert (version.model, version.previous, collection.count()) == (2, None, 200)
    for row in range(0, 200, 20):
        assert collection.search(text=TEXTS[row], limit=1)[0].id == row


def fill_source(engine: Any) -> None:
    make_source(engine, 400)


def go(engine: Any) -> None:
    migrate("source", "target", MIGRATED, engine=engine, alias="live", progress=False)


def check_migrated(engine: Any) -> None:
    assert_same(engine, "source", "live")


@pytest.mark.parametrize(
    ("prepare", "work", "check"),
    [
        (nothing, create, check_created),
        (create_empty, add, check_added),
        (fill, begin_upgrade, check_upgraded),
        (fill_source, go, check_migrated),
    ],
    ids=["create", "first add", "upgrade", "migrate"],
)
def test_killed_at_random_moments(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qdrant_address: Any,
    prepare: Callable[[Any], None],
    work: Callable[[Any], None],
    check: Callable[[Any], None],
) -> None:
    monkeypatch.setattr(calls, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(reader, "PAGE_POINTS", 50)
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 10)
    with server_in(tmp_path / "undisturbed") as (url, grpc_port, _):
        engine = connect(url, grpc_port=grpc_port)
        prepare(engine)
        started = time.monotonic()
        work(engine)
        undisturbed = time.monotonic() - started
        check(engine)
        engine.close()
    for i, share in enumerate(np.random.default_rng(SEED).uniform(0.05, 0.95, MOMENTS)):
        folder = tmp_path / str(i)
        killed(folder, prepare, work, share * undisturbed)
        with server_in(folder) as (url, grpc_port, _):
            engine = connect(url, grpc_port=grpc_port)
            work(engine)
            check(engine)
            engine.close()


def killed(folder: Path, prepare: Callable[[Any], None], work: Callable[[Any], None], moment: float) -> None:
    """Kill the server ``moment`` seconds after the work has begun."""
    with server_in(folder) as (url, grpc_port, pid):
        engine = connect(url, grpc_port=grpc_port)
        prepare(engine)
        untyped: list[Exception] = []

        def attempt() -> None:
            try:
                work(engine)
            except EmbplugError:
                pass
            except Exception as error:
                untyped.append(error)

        thread = threading.Thread(target=attempt)
        thread.start()
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        thread.join()
        engine.close()
        assert untyped == []
