"""The revision of a collection: one process changes it, and what is broken off is completed or undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Recipe
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection import revision as module
from embplug.collection.fitting import learn_steps, save_manifest_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest
from embplug.collection.opening import create_steps, open_steps
from embplug.collection.revision import (
    ALIAS_PREFIX,
    alias_of,
    current_revision_steps,
    is_own_alias,
    new_id,
    read_revision_steps,
    revise_steps,
)
from embplug.engines import Engine
from embplug.engines.calls import PAUSE, Call, run, translated
from embplug.errors import CollectionNotFoundError, EngineError
from embplug.methods import PCA
from tests.branches.parts import DIM, vectors
from tests.collection.watched import Killed, watched

RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))
SAMPLE = CheckedSample(None, {"dense": vectors(30)})
OTHER = CheckedSample(None, {"dense": vectors(30, seed=9)})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.001)


def own_aliases(engine: Any) -> list[str]:
    return sorted(
        alias.alias_name for alias in engine.get_aliases().aliases if is_own_alias(alias.alias_name)
    )


def set_aliases(engine: Any, *aliases: str, name: str = "docs") -> None:
    """Let the collection have these aliases of revisions, and no others."""
    remove = [models.DeleteAlias(alias_name=alias) for alias in own_aliases(engine)]
    add = [models.CreateAlias(collection_name=name, alias_name=alias) for alias in aliases]
    engine.update_collection_aliases(
        [models.DeleteAliasOperation(delete_alias=own) for own in remove]
        + [models.CreateAliasOperation(create_alias=own) for own in add]
    )


def killed_before(engine: Any, steps: Any, method: str, count: int = 1) -> None:
    """Run steps as a process that is killed before its ``count``-th call of ``method``."""
    left = count

    def kill(call: Call) -> None:
        nonlocal left
        left -= call.method == method
        if not left:
            raise Killed

    run(engine, watched(steps, kill))
    assert left == 0


def single(call: Call) -> Any:
    return (yield call)


def test_a_new_collection_has_one_alias_of_its_revision(engine: Engine) -> None:
    pipeline = run(engine, create_steps(engine, "docs", RECIPE))
    revision = run(engine, read_revision_steps("docs"))
    assert revision.fenced and revision.manifest.revision == pipeline.revision
    assert [pipeline.alias] == own_aliases(engine) == [alias_of(str(pipeline.revision))]
    assert run(engine, open_steps(engine, "docs")).alias == pipeline.alias


def test_each_change_has_another_alias_and_the_one_before_is_gone(engine: Engine) -> None:
    pipeline = run(engine, create_steps(engine, "docs", RECIPE))
    learned = run(engine, learn_steps(engine, "docs", pipeline, SAMPLE))
    assert learned.alias != pipeline.alias and own_aliases(engine) == [learned.alias]
    with pytest.raises(CollectionNotFoundError):
        run(engine, single(Call.of("count", collection_name=str(pipeline.alias))))
    metadata = engine.get_collection("docs").config.metadata
    assert metadata is not None and {*metadata} == {MANIFEST_KEY, learned.alias}


def test_of_two_changes_of_one_revision_one_is_made(engine: Engine) -> None:
    run(engine, create_steps(engine, "docs", RECIPE))
    before = run(engine, read_revision_steps("docs"))
    first, second = (replace(before.manifest, revision=new_id()) for _ in range(2))
    assert run(engine, revise_steps(before, first))
    assert not run(engine, revise_steps(before, second))
    now = run(engine, read_revision_steps("docs"))
    assert now.fenced and now.manifest.revision == first.revision
    metadata = engine.get_collection("docs").config.metadata
    assert metadata is not None and alias_of(str(second.revision)) not in metadata


def test_what_was_read_before_another_change_is_not_saved(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    early = run(memory_client, open_steps(memory_client, "docs"))
    early.fit(OTHER)
    learned = run(memory_client, learn_steps(memory_client, "docs", Pipeline(RECIPE), SAMPLE))
    assert run(memory_client, save_manifest_steps(memory_client, "docs", early)) is False
    now = run(memory_client, open_steps(memory_client, "docs"))
    assert now.revision == learned.revision
    assert memory_client.count("embplug_state").count == 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_change_that_is_killed_is_not_made_or_is_made_wholly(engine: Engine, count: int) -> None:
    """Before the alias is renamed nothing has happened; after it everyone sees the change."""
    run(engine, create_steps(engine, "docs", RECIPE))
    before = run(engine, read_revision_steps("docs"))
    manifest = replace(before.manifest, revision=new_id())
    method = {1: "update_collection_aliases", 2: "update_collection"}[count]
    killed_before(engine, revise_steps(before, manifest), method, count)
    now = run(engine, read_revision_steps("docs"))
    assert now.fenced and now.manifest.revision == (
        before.manifest.revision if count == 1 else manifest.revision
    )
    # Whoever comes next goes on from there.
    learned = run(engine, learn_steps(engine, "docs", Pipeline(RECIPE), SAMPLE))
    assert learned.fitted and own_aliases(engine) == [learned.alias]


def test_a_change_whose_answer_is_lost_is_made_once(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embplug.engines.calls.FIRST_PAUSE_S", 0.0)
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    before = run(memory_client, read_revision_steps("docs"))
    lost: list[Call] = []

    def lose_the_answer(call: Call) -> None:
        if call.method == "update_collection_aliases" and not lost:
            lost.append(call)
            memory_client.update_collection_aliases(**call.arguments)
            raise translated(httpx.ConnectError("the line is cut"))

    manifest = replace(before.manifest, revision=new_id())
    assert run(memory_client, watched(revise_steps(before, manifest), lose_the_answer))
    assert own_aliases(memory_client) == [alias_of(str(manifest.revision))]


def test_a_late_note_of_an_older_manifest_changes_nothing(memory_client: QdrantClient) -> None:
    pipeline = run(memory_client, create_steps(memory_client, "docs", RECIPE))
    first = run(memory_client, learn_steps(memory_client, "docs", pipeline, SAMPLE))
    old = memory_client.get_collection("docs").config.metadata[MANIFEST_KEY]  # type: ignore[index]
    assert run(memory_client, save_manifest_steps(memory_client, "docs", first))
    memory_client.update_collection("docs", metadata={MANIFEST_KEY: old})
    assert run(memory_client, open_steps(memory_client, "docs")).revision == first.revision


def test_a_collection_without_an_alias_gets_one(engine: Engine) -> None:
    run(engine, create_steps(engine, "docs", RECIPE))
    set_aliases(engine)
    opened = run(engine, open_steps(engine, "docs"))
    assert opened.alias is not None and own_aliases(engine) == [opened.alias]
    again = run(engine, open_steps(engine, "docs"))
    assert again.alias == opened.alias


def test_a_collection_of_before_gets_a_revision(engine: Engine) -> None:
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    recipe = Recipe(dense=Dense(dim=DIM))
    manifest = Manifest(recipe).to_dict()
    assert "revision" not in manifest
    engine.create_collection("docs", vectors_config={"dense": params}, metadata={MANIFEST_KEY: manifest})
    opened = Collection.open("docs", engine)
    assert own_aliases(engine) == [opened._pipeline.alias]
    opened.add([1], dense=vectors(1))
    assert opened.search(dense=vectors(1)[0])[0].id == 1


@pytest.mark.parametrize("count", [1, 2])
def test_aliases_that_are_of_no_manifest_are_replaced(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """As after a restored snapshot, or where two processes were killed on their way."""
    monkeypatch.setattr(module, "PATIENCE", 2)
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    set_aliases(memory_client, *(f"{ALIAS_PREFIX}{i}" for i in range(count)))
    opened = run(memory_client, open_steps(memory_client, "docs"))
    assert own_aliases(memory_client) == [opened.alias]
    assert opened.recipe == RECIPE


def test_the_alias_of_another_process_stays_where_both_make_one(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    set_aliases(memory_client)
    others: list[Any] = []

    def be_slower(call: Call) -> None:
        if call.method == "update_collection_aliases" and not others:
            others.append(run(memory_client, current_revision_steps("docs")))

    mine = run(memory_client, watched(current_revision_steps("docs"), be_slower))
    assert mine.manifest.revision == others[0].manifest.revision
    assert own_aliases(memory_client) == [mine.aliases[0]]


def test_an_alias_that_is_renamed_before_it_was_seen_is_not_waited_for(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    set_aliases(memory_client)
    learned: list[Any] = []

    def be_faster(call: Call) -> None:
        if call.method == "get_aliases" and own_aliases(memory_client) and not learned:
            learned.append(run(memory_client, learn_steps(memory_client, "docs", Pipeline(RECIPE), SAMPLE)))

    mine = run(memory_client, watched(current_revision_steps("docs"), be_faster))
    assert mine.manifest.revision == learned[0].revision


def test_who_may_not_write_aliases_reads_the_revision_without(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE, sample=SAMPLE))
    set_aliases(memory_client)

    def forbid(call: Call) -> None:
        if call.method in ("update_collection", "update_collection_aliases", "get_aliases"):
            raise EngineError("the engine answered 403: Forbidden")

    opened = run(memory_client, watched(open_steps(memory_client, "docs"), forbid))
    assert opened.fitted and opened.alias is None and opened.revision is not None


def test_a_collection_that_is_deleted_meanwhile_is_told(engine: Engine) -> None:
    run(engine, create_steps(engine, "docs", RECIPE))
    set_aliases(engine)

    def delete(call: Call) -> None:
        if call.method == "update_collection_aliases":
            engine.delete_collection("docs")

    with pytest.raises(CollectionNotFoundError):
        run(engine, watched(current_revision_steps("docs"), delete))


def test_waiting_is_bounded(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    pauses = 0

    def be_restless(call: Call) -> None:
        """Another process makes and removes aliases all the time."""
        nonlocal pauses
        pauses += call.method == PAUSE
        if call.method == "get_aliases":
            set_aliases(memory_client, ALIAS_PREFIX + new_id(), ALIAS_PREFIX + new_id())

    with pytest.raises(EngineError, match="changed by other processes all the time"):
        run(memory_client, watched(current_revision_steps("docs"), be_restless))
    assert pauses >= module.PATIENCE
