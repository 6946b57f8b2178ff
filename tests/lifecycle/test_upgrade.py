"""A new model for a collection: searched with at once, embedded anew in the background."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from qdrant_client import models
from typer.testing import CliRunner

from embplug import (
    Collection,
    Dense,
    Documents,
    Encoded,
    Fusion,
    Recipe,
    Sparse,
    Tokens,
    reembed,
    register_encoder,
    upgrade,
)
from embplug.branches.vector_version import VectorVersion
from embplug.cli import app
from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.errors import (
    CapabilityError,
    InvalidArgumentError,
    LengthMismatchError,
    MissingExtraError,
    RecipeMismatchError,
    UpgradeError,
)
from embplug.files.export import export_documents
from embplug.methods import PCA, PowerQuantizer, registry

COUNT, DIM = 300, 16
ROOT = Path(__file__).parents[2]
TEXTS = [f"document number {i}" for i in range(COUNT)]
generator = np.random.default_rng(5)
MEANING = generator.standard_normal((COUNT, DIM))


class Model:
    """A model that sees the meaning of a text, turned, blurred and perhaps lengthened in its own way."""

    def __init__(self, name: str, dim: int = DIM, blur: float = 0.015) -> None:
        self.spec = name
        own = np.random.default_rng(sum(name.encode()))
        turn = np.linalg.qr(own.standard_normal((dim, dim)))[0][:DIM]
        self._vectors = (MEANING + blur * own.standard_normal(MEANING.shape)) @ turn
        self.seen = 0

    def encode_documents(self, texts: Any) -> Encoded:
        self.seen += len(texts)
        return self.encode_queries(texts)

    def encode_queries(self, texts: Any) -> Encoded:
        rows = [int(text.split()[-1]) for text in texts]
        return Encoded(None, self._vectors[rows].astype(np.float32))


register_encoder("tests-old", lambda: Model("tests-old"))
register_encoder("tests-new", lambda: Model("tests-new"))
register_encoder("tests-long", lambda: Model("tests-long", 24))
register_encoder("tests-other", lambda: Model("tests-other", blur=30.0))
PLAIN = Recipe(dense=Dense(dim=DIM), encoder="tests-old")


def filled(engine: Engine, recipe: Recipe = PLAIN) -> Collection:
    collection = Collection.create("up", recipe, engine)
    collection.add([f"doc {i}" for i in range(COUNT)], texts=TEXTS, payloads=[{"n": i} for i in range(COUNT)])
    return collection


def found(collection: Collection, i: int, **options: Any) -> list[Any]:
    return [hit.id for hit in collection.search(text=f"query {i}", **options)]


def exact(model: str, i: int, count: int = 10) -> set[str]:
    """The documents closest by a model's own vectors."""
    vectors = Model(model, 24 if model == "tests-long" else DIM).encode_queries(TEXTS).dense
    assert vectors is not None
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {f"doc {row}" for row in np.argsort(-(unit @ unit[i]))[:count]}


def recall(collection: Collection, model: str) -> float:
    return float(np.mean([len({*found(collection, i)} & exact(model, i)) / 10 for i in range(0, COUNT, 10)]))


def test_from_the_old_model_to_the_new(engine: Engine) -> None:
    collection = filled(engine)
    report = upgrade(collection, "tests-new", pairs=250)
    assert report.installed and report.recall > 0.9 and report.model == 2
    assert {measured.adapter: measured.recall for measured in report.adapters}["none"] < 0.5
    assert report.adapters[0].mixed is not None and report.adapters[0].mixed > 0.9
    collection = Collection.open("up", engine)
    assert collection.recipe.encoder == "tests-new"
    assert recall(collection, "tests-new") > 0.85
    half = reembed(collection, batch=50, limit=COUNT // 2)
    assert (half.embedded, half.left, half.finished) == (150, 150, False)
    assert recall(collection, "tests-new") > 0.85
    hits = collection.search(text="query 7", with_stages=True, limit=40)
    assert hits[0].id == "doc 7" and hits[0].payload == {"n": 7, "text": TEXTS[7]}
    assert {"dense", "dense_v1"} == {stage for hit in hits for stage in hit.stages or {}}
    few = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=20))])
    assert {hit.payload["n"] for hit in collection.search(text="query 7", filter=few, limit=40)} == {
        *range(20)
    }
    collection.add(["doc 7", "more"], texts=["document 7", "document 8"], payloads=[{"n": 7}, {"n": 8}])
    with pytest.raises(UpgradeError, match="already"):
        upgrade(collection, "tests-old")
    with pytest.raises(InvalidArgumentError, match="finish the upgrade"):
        collection.search(text="query 7", mmr=models.Mmr(candidates_limit=100))

    async def awaited() -> Any:
        return [hit.id for hit in await collection.to_async().search(text="query 9")]

    assert asyncio.run(awaited()) == found(collection, 9)
    rest = reembed(collection, batch=100)
    assert rest.finished and rest.left == 0 and rest.embedded in (149, 150)
    collection.delete(["more"])
    for opened in (collection, Collection.open("up", engine)):
        assert opened.recipe.dense["dense"] == Dense(dim=DIM)
        assert opened.info().versions == {"dense": VectorVersion(model=2)}
        assert recall(opened, "tests-new") > 0.99
        assert opened.search(text="query 7", limit=1)[0].payload == {"n": 7, "text": "document 7"}
    with pytest.raises(UpgradeError, match="no upgrade"):
        reembed(collection)
    assert upgrade(collection, "tests-old", pairs=250).model == 3
    assert reembed(collection).embedded == COUNT
    assert recall(Collection.open("up", engine), "tests-old") > 0.99


def test_dimensions_may_differ_where_a_vector_can_be_added(engine: Engine, engine_name: str) -> None:
    collection = filled(engine)
    if engine_name == "server" and engine.info().version < "1.18":
        with pytest.raises(CapabilityError, match=r"1\.18"):
            upgrade(collection, "tests-long", pairs=250)
        assert recall(Collection.open("up", engine), "tests-old") > 0.99
        return
    assert upgrade(collection, "tests-long", pairs=250, adapter="affine").installed
    reembed(collection, limit=120, batch=40)
    collection = Collection.open("up", engine)
    assert recall(collection, "tests-long") > 0.85
    assert reembed(collection).finished
    collection = Collection.open("up", engine)
    assert recall(collection, "tests-long") > 0.99
    assert set(collection.info().vectors) == {"dense_v2"}


def test_an_export_names_vectors_as_the_recipe_does(edge_client: EdgeClient, tmp_path: Path) -> None:
    collection = filled(edge_client)
    upgrade(collection, "tests-long", pairs=250, adapter="affine")
    reembed(collection)
    assert "dense" not in collection.info().vectors
    export_documents(collection, tmp_path / "out.jsonl", with_vectors=True)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(rows) == COUNT
    assert all(row.keys() == {"id", "n", "text", "dense"} and len(row["dense"]) == 24 for row in rows)


def test_what_learned_learns_anew_and_words_stay(edge_client: EdgeClient) -> None:
    recipe = Recipe(
        # A query is its document's own vector: of unit length, nothing else can be as close.
        dense=Dense(dim=DIM, transforms=(PCA(12, normalize=True),)),
        sparse=Sparse(),
        fusion=Fusion(weights={"dense": 1.0, "sparse": 0.5}),
        encoder="tests-old",
    )
    collection = filled(edge_client, recipe)
    upgrade(collection, "tests-new", pairs=250, min_recall=0.5)
    reembed(collection, limit=100)
    collection = Collection.open("up", edge_client)
    hits = collection.search(text="document number 9", limit=30, with_stages=True)
    assert hits[0].id == "doc 9"
    stages = {stage for hit in hits for stage in hit.stages or {}}
    assert stages == {"dense", "dense_v1", "sparse", "fusion"}
    assert reembed(collection).finished
    assert collection.search(text="query 9", branches=["dense"])[0].id == "doc 9"


def test_nothing_changes_where_too_little_is_kept_or_only_measured(edge_client: EdgeClient) -> None:
    collection = filled(edge_client)
    with pytest.raises(UpgradeError, match="nothing was changed") as caught:
        upgrade(collection, "tests-other", pairs=250)
    assert caught.value.report.recall < 0.5 and not caught.value.report.installed
    best = upgrade(collection, "tests-new", adapter="best", queries=TEXTS[:50], dry_run=True, pairs=250)
    assert not best.installed and len(best.adapters) >= 5
    assert best.chosen == best.adapters[0].adapter and best.recall == best.adapters[0].recall
    recalls = [measured.recall for measured in best.adapters if measured.adapter != "none"]
    assert recalls == sorted(recalls, reverse=True) and best.adapters[-1].adapter == "none"
    kinds = {*registry.registered("adapter"), "none"}
    assert {measured.adapter for measured in best.adapters} == kinds and best.skipped == {}
    assert Collection.open("up", edge_client).recipe == PLAIN
    for options, message in (
        ({"adapter": "magic"}, "^adapter"),
        ({"encoder": "nothing"}, "^encoder"),
        ({"encoder": "tests-long", "adapter": "dimension_scale"}, "24 dimensions"),
        ({"min_recall": 95}, "^min_recall"),
        ({"pairs": 10}, "^pairs"),
        ({"pairs": 250.0}, "^pairs"),
        ({"k": 0}, "^k: "),
        ({"k": 10.0}, "^k: "),
        ({"k": True}, "^k: "),
        ({"k": 63, "pairs": 250}, "^k: expected at most 62"),
        ({"queries": []}, "^queries: "),
        ({"queries": "document 3"}, "^queries: "),
        ({"queries": 3}, "^queries: "),
        ({"queries": ["document 3", " "]}, r"^queries\[1\]"),
        ({"queries": [b"document 3"]}, r"^queries\[0\]"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            upgrade(collection, **{"encoder": "tests-new", **options})
    assert upgrade(collection, "tests-new", k=62, pairs=250, dry_run=True).k == 62
    words = Collection.create("words", Recipe(sparse=Sparse()), edge_client)
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.dense"):
        upgrade(words, "tests-new")
    few = Collection.create("few", PLAIN, edge_client)
    few.add([1], dense=np.ones((1, DIM)))
    with pytest.raises(InvalidArgumentError, match="payload"):
        upgrade(few, "tests-new")
    funnel = Collection.create("funnel", Recipe(dense=Dense(dim=DIM, funnel=(4,))), edge_client)
    tokens = Collection.create(
        "tokens", Recipe(dense=Dense(dim=DIM), tokens=Tokens(dim=DIM, codes=None)), edge_client
    )
    coded = Collection.create("coded", Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer())), edge_client)
    of_bytes = Collection.create("bytes", Recipe(dense=Dense(dim=DIM, datatype="uint8")), edge_client)
    for unsupported in (funnel, tokens, coded, of_bytes):
        with pytest.raises(InvalidArgumentError, match="migrate"):
            upgrade(unsupported, "tests-new")


def test_a_document_without_a_text_is_named(edge_client: EdgeClient) -> None:
    collection = filled(edge_client)
    collection.add(["bare"], dense=np.ones((1, DIM)))
    upgrade(collection, "tests-new", pairs=250, min_recall=0.5)
    with pytest.raises(UpgradeError, match="'bare'"):
        reembed(collection, batch=500)
    collection.delete(["bare"])
    assert reembed(collection).finished


def test_documents_without_vectors_stay_so(engine: Engine) -> None:
    collection = filled(engine)
    collection.add(["blank"], texts=[" "], payloads=[{"n": -1}], on_empty="store")
    upgrade(collection, "tests-long" if _adds_vectors(engine) else "tests-new", pairs=250)
    collection.add(["later"], texts=[""], payloads=[{"n": -2}], on_empty="store")
    report = reembed(collection, batch=77)
    assert report.finished and report.embedded == COUNT + 1
    bare = collection.retrieve(["blank", "later"], with_vectors=True)
    assert [(record.payload, record.vector or {}) for record in bare] == [
        ({"n": -1, "text": " "}, {}),
        ({"n": -2, "text": ""}, {}),
    ]
    assert {*found(collection, 7, limit=2 * COUNT)} == {f"doc {i}" for i in range(COUNT)}


@pytest.mark.parametrize("method", ["update_vectors", "set_payload", "delete_vectors"])
def test_documents_that_are_deleted_meanwhile_do_not_stop_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    adds_vectors = _adds_vectors(engine)
    if method == "delete_vectors" and not adds_vectors:
        pytest.skip("the new vectors replace the old ones")
    collection = filled(engine)
    upgrade(collection, "tests-long" if adds_vectors else "tests-new", pairs=250)
    real, gone = getattr(engine, method), []

    def after_a_deletion(**arguments: Any) -> Any:
        points = [getattr(point, "id", point) for point in arguments["points"]]
        # First some and once more others of a batch, then a whole batch.
        deleted = {0: points[:2], 1: points[:1], 2: points}.get(len(gone), [])
        gone.append(deleted)
        if deleted:
            engine.delete("up", models.PointIdsList(points=deleted), wait=True)
        return real(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, method, after_a_deletion)
        report = reembed(collection, batch=20)
    left = COUNT - sum(map(len, gone))
    assert len(gone) > 3 and 0 < left < COUNT - 3
    assert (report.left, report.finished, collection.count()) == (0, True, left)
    # What is deleted before it has its mark is not counted.
    assert report.embedded == (COUNT if method == "delete_vectors" else left)
    assert len(found(collection, 7, limit=COUNT)) == left


def test_a_document_without_text_that_is_deleted_meanwhile_is_no_error(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(engine)
    collection.add(["blank"], texts=[""], on_empty="store")
    upgrade(collection, "tests-new", pairs=250)
    retrieve = engine.retrieve

    def after_the_deletion(**arguments: Any) -> Any:
        if arguments["with_vectors"]:
            engine.delete("up", models.PointIdsList(points=arguments["ids"]), wait=True)
        return retrieve(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "retrieve", after_the_deletion)
        assert reembed(collection, batch=COUNT + 1).finished
    assert collection.count() == COUNT


@pytest.mark.parametrize("method", ["delete_vector_name", "delete_payload_index"])
@pytest.mark.parametrize("done", [False, True])
def test_killed_before_its_clean_up_it_cleans_up_when_called_again(
    edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch, method: str, done: bool
) -> None:
    collection = filled(edge_client)
    upgrade(collection, "tests-long", pairs=250, adapter="affine")
    real = getattr(edge_client, method)

    def broken_off(**arguments: Any) -> None:
        if done:
            real(**arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(edge_client, method, broken_off)
        with pytest.raises(KeyboardInterrupt):
            reembed(collection)
    collection = Collection.open("up", edge_client)
    if (method, done) != ("delete_payload_index", True):
        report = reembed(collection)
        assert (report.embedded, report.left, report.finished) == (0, 0, True)
    info = edge_client.get_collection("up")
    assert ({*info.config.params.vectors}, info.payload_schema) == ({"dense_v2"}, {})
    with pytest.raises(UpgradeError, match="no upgrade"):
        reembed(collection)
    assert recall(collection, "tests-long") > 0.99


def test_a_vector_that_an_upgrade_to_another_model_has_left_is_named(
    edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(edge_client)

    def broken_off(**arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(edge_client, "create_payload_index", broken_off)
        with pytest.raises(KeyboardInterrupt):
            upgrade(collection, "tests-long", pairs=250)
    register_encoder("tests-longer", lambda: Model("tests-longer", 32))
    with pytest.raises(UpgradeError, match=r"'dense_v2' of 24 dimensions.* has 32"):
        upgrade(collection, "tests-longer", pairs=250)
    assert recall(Collection.open("up", edge_client), "tests-old") > 0.99
    assert upgrade(collection, "tests-long", pairs=250).installed


def test_the_recipe_before_an_upgrade_still_creates(engine: Engine) -> None:
    """A set-up script runs again after an upgrade, with the recipe that it always had."""
    collection = filled(engine)
    upgrade(collection, "tests-long" if _adds_vectors(engine) else "tests-new", pairs=250)
    for script in (PLAIN, collection.recipe):
        created = Collection.create("up", script, engine)
        assert created.recipe == collection.recipe and created.info().versions["dense"].model == 2
        assert found(created, 7, limit=1) == ["doc 7"]
    with pytest.raises(RecipeMismatchError, match="text_key"):
        Collection.create("up", PLAIN.model_copy(update={"text_key": "other"}), engine)
    assert reembed(collection).finished
    assert Collection.create("up", PLAIN, engine).recipe == collection.recipe
    collection.drop()
    assert Collection.create("up", PLAIN, engine).recipe == PLAIN


def _adds_vectors(engine: Engine) -> bool:
    return run(engine, capabilities_steps(engine)).add_vectors


def test_broken_off_between_any_two_calls_it_goes_on(
    edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(edge_client)
    upgrade(collection, "tests-long", pairs=250, adapter="affine")
    moments = [
        (m, done) for m in ("update_vectors", "set_payload", "delete_vectors") for done in (False, True)
    ]
    for method, done in moments:
        real = getattr(edge_client, method)

        def broken_off(real: Any = real, done: bool = done, **arguments: Any) -> None:
            if done:
                real(**arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(edge_client, method, broken_off)
            with pytest.raises(KeyboardInterrupt):
                reembed(collection, batch=20)
        collection = Collection.open("up", edge_client)
        assert collection.count() == COUNT
        assert reembed(collection, batch=20, limit=20).embedded == 20
    assert recall(collection, "tests-long") > 0.85
    assert 0 < reembed(collection).embedded < COUNT
    assert recall(Collection.open("up", edge_client), "tests-long") > 0.99


KILLED = """
import sys, time
from embplug import Collection, reembed
from embplug.engines import EdgeClient
from tests.lifecycle.test_upgrade import Model

encode = Model.encode_documents

def told(self, texts):
    print(self.seen, flush=True)
    if self.seen == 200:
        time.sleep(600)  # However slow its killer is, it does not get to the end.
    return encode(self, texts)

Model.encode_documents = told
with EdgeClient(sys.argv[1]) as client:
    reembed(Collection.open("up", client), batch=1)
"""


def test_killed_it_goes_on_from_the_folder(tmp_path: Path) -> None:
    with EdgeClient(tmp_path) as client:
        upgrade(filled(client), "tests-long", pairs=250, adapter="affine")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "0\n"
        time.sleep(np.random.default_rng().uniform(0.0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        said = ["0", *child.stdout.read().split("\n")[:-1]]
    assert child.returncode == -signal.SIGKILL
    with EdgeClient(tmp_path) as client:
        collection = Collection.open("up", client)
        assert collection.count() == COUNT
        assert recall(collection, "tests-long") > 0.85
        report = reembed(collection)
        # What it had begun is done again, and nothing that was marked.
        assert report.finished and COUNT - report.embedded in (len(said) - 1, len(said)), said[-1]
        assert {*found(Collection.open("up", client), 7, limit=COUNT)} == {f"doc {i}" for i in range(COUNT)}
        assert recall(collection, "tests-long") > 0.99


def test_no_faster_than_it_may(edge_client: EdgeClient) -> None:
    collection = filled(edge_client)
    upgrade(collection, "tests-new", pairs=250)
    started = time.monotonic()
    reembed(collection, rate=100, batch=10, limit=50)
    assert time.monotonic() - started >= 0.5
    assert reembed(collection, rate=float("inf"), batch=5, limit=5).embedded == 5
    collection.add_batches([Documents(["new one"], texts=["document 3"])])
    assert found(collection, 3, limit=2)[0] in ("doc 3", "new one")


def test_arguments_are_told_before_that_no_upgrade_is_under_way(edge_client: EdgeClient) -> None:
    collection = Collection.create("up", PLAIN, edge_client)
    for options in ({"rate": 0}, {"rate": float("nan")}, {"batch": 0}, {"batch": 2.5}, {"limit": 0}):
        with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))}"):
            reembed(collection, **options)  # type: ignore[arg-type]


def test_one_of_several_vectors_is_refused(edge_client: EdgeClient) -> None:
    recipe = Recipe(dense={"title": Dense(dim=DIM), "body": Dense(dim=DIM)}, encoder="tests-old")
    collection = Collection.create("up", recipe, edge_client)
    vectors = Model("tests-old").encode_queries(TEXTS).dense
    collection.add(range(COUNT), dense={"title": vectors, "body": vectors}, texts=TEXTS)
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.dense: .*migrate.*\['title', 'body'\]"):
        upgrade(collection, "tests-new", pairs=250)
    assert collection.recipe == recipe


def test_best_of_what_can_be_measured(edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = filled(edge_client)
    monkeypatch.setitem(sys.modules, "torch", None)
    report = upgrade(collection, "tests-long", adapter="best", pairs=250, dry_run=True)
    assert {measured.adapter for measured in report.adapters} == {
        "procrustes",
        "affine",
        "ranked",
        "relative",
    }
    assert set(report.skipped) == {"mlp", "dimension_scale"}
    assert "embplug[torch]" in report.skipped["mlp"]
    assert "24 dimensions" in report.skipped["dimension_scale"]
    assert report.to_dict()["skipped"] == report.skipped
    for kind in {*registry.registered("adapter")} - {"mlp", "dimension_scale"}:
        monkeypatch.delitem(registry._registered["adapter"], kind)
    with pytest.raises(LengthMismatchError, match="24 dimensions"):
        upgrade(collection, "tests-long", adapter="best", pairs=250, dry_run=True)
    monkeypatch.delitem(registry._registered["adapter"], "dimension_scale")
    with pytest.raises(MissingExtraError, match="torch"):
        upgrade(collection, "tests-long", adapter="best", pairs=250, dry_run=True)


def test_an_error_that_is_not_of_an_adapter_s_limits_is_not_hidden(
    edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise InvalidArgumentError("ridge", "something else", 0)

    monkeypatch.setattr(registry.registered("adapter")["affine"], "fit", broken)
    with pytest.raises(InvalidArgumentError, match=r"^ridge"):
        upgrade(filled(edge_client), "tests-new", adapter="best", pairs=250, dry_run=True)


def embplug(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def test_from_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    with EdgeClient(folder) as client:
        filled(client)
    (tmp_path / "queries.jsonl").write_text("".join(f'{{"text": "query {i}"}}\n' for i in range(20)))
    begin = ("upgrade", "up", "--at", folder, "--pairs", 250, "--encoder")
    refused = embplug(*begin, "tests-other", "--json")
    said = json.loads(refused.stdout)
    assert refused.exit_code == 5 and said["error"] == "UpgradeError" and said["report"]["recall"] < 0.5
    shown = embplug(*begin, "tests-other")
    assert (
        shown.exit_code == 5 and "procrustes not installed" in shown.stdout and "below 0.9:" in shown.stderr
    )
    tried = embplug(*begin, "tests-new", "--dry-run", "--queries", tmp_path / "queries.jsonl", "--json")
    said = json.loads(tried.stdout)
    assert not said["installed"] and said["queries"] == 20
    (tmp_path / "empty.jsonl").touch()
    for wrong in (
        ("--recall", 95),
        ("--queries", tmp_path / "none"),
        ("--queries", tmp_path / "empty.jsonl"),
        ("--adapter", "magic"),
        ("--pairs", 49),
    ):
        assert embplug(*begin, "tests-new", *wrong).exit_code == 2, wrong
    for wrong in (("--rate", 0), ("--batch", 0), ("--limit", 0)):
        assert embplug("reembed", "up", "--at", folder, *wrong).exit_code == 2, wrong
    long = embplug(*begin, "tests-long", "--adapter", "best", "--dry-run")
    assert "dimension_scale not measured: old: expected 24 dimensions" in long.stdout, long.stderr
    assert embplug("upgrade", "nowhere", "--encoder", "tests-new", "--at", folder).exit_code == 4
    early = embplug("reembed", "up", "--at", folder)
    assert early.exit_code == 1 and "no upgrade" in early.stderr
    taken = embplug(*begin, "tests-new", "--adapter", "affine", "--recall", 0.8)
    assert taken.exit_code == 0 and "affine installed" in taken.stdout, taken.stderr
    again = embplug(*begin, "tests-new", "--json")
    assert again.exit_code == 1 and "report" not in json.loads(again.stdout)
    half = embplug("reembed", "up", "--at", folder, "--limit", 150, "--batch", 50, "--rate", 1e6, "--json")
    report = {"collection": "up", "vector": "dense", "embedded": 150, "left": 150, "finished": False}
    assert json.loads(half.stdout) == report
    rest = embplug("reembed", "up", "--at", folder)
    assert (
        rest.exit_code == 0
        and "150 documents" in rest.stdout
        and "no vector of the old model remains" in rest.stdout
    )


def test_an_upgrade_that_has_ended_is_not_begun_again(edge_client: EdgeClient) -> None:
    """A job that was killed after its last step is started again."""
    collection = filled(edge_client)
    upgrade(collection, "tests-new")
    reembed(collection)
    before = collection.info().versions
    with pytest.raises(UpgradeError, match="'up' has the vectors of 'tests-new' already"):
        upgrade(collection, "tests-new")
    assert collection.info().versions == before
