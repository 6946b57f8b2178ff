"""Recipes recommended from samples of collections of every kind."""

from __future__ import annotations

import json
import sys
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from qdrant_client import models
from rich.console import Console, Group
from typer.testing import CliRunner

from embplug import Collection, Dense, Recipe, Tokens, advise, register_encoder
from embplug.branches.pipeline import Pipeline
from embplug.cli import app
from embplug.cli.advise import _bytes, _shown
from embplug.encoders import Encoded
from embplug.engines import EdgeClient
from embplug.engines.calls import run
from embplug.engines.capabilities import Capabilities
from embplug.errors import CollectionNotFoundError, InvalidArgumentError
from embplug.evaluation import advisor
from embplug.evaluation.advisor import trials
from embplug.evaluation.advisor.sample import sample_ids_steps, text_key_of
from embplug.evaluation.advisor.selection import Hopeless
from embplug.evaluation.exact import overlap
from embplug.evaluation.recipes import dense_recipes
from embplug.evaluation.statistics import Figure
from embplug.evaluation.trial import TrialData, exact_rankings
from embplug.methods import AdaptiveQuantizer
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import SHORTLIST_TOKENS
from embplug.methods.token_diagnosis import diagnose
from tests.words import DIM, Words

COUNT = 500
POOLED = "learned 1024, residual 16, pooled"


def clustered(count: int, dim: int = DIM, seed: int = 0):
    """Vectors near a few directions, as real ones are, most of their variance in few dimensions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((20, dim)) * np.linspace(2, 0.1, dim)
    vectors = centres[rng.integers(20, size=count)] + 0.5 * rng.standard_normal((count, dim)) * np.linspace(
        1, 0.05, dim
    )
    return vectors.astype(np.float32)


@pytest.fixture
def few(monkeypatch):
    """A few recipes of each kind, so that a test takes seconds."""
    names = ("float32", "int8", "PCA 16 float16")
    names += tuple(f"{name}, original on disk" for name in names)
    whole = trials.dense_recipes

    def chosen(*arguments):
        return {name: recipe for name, recipe in whole(*arguments).items() if name in names}

    monkeypatch.setattr(trials, "dense_recipes", chosen)
    monkeypatch.setattr(trials, "FEWEST", 100)


@pytest.fixture
def plain(tmp_path):
    """A collection that embplug did not make, with a named dense vector and payload."""
    with EdgeClient(tmp_path / "edge") as client:
        parameters = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        client.create_collection("plain", vectors_config={"v": parameters})
        client.create_payload_index("plain", field_name="kind", field_schema="keyword")
        client.upsert(
            "plain",
            points=models.Batch(
                ids=list(range(COUNT)),
                vectors={"v": clustered(COUNT).tolist()},
                payloads=[
                    {"kind": "rare" if i % 100 == 0 else "common", "text": f"t {i}"} for i in range(COUNT)
                ],
            ),
        )
        yield client


def test_a_recall_is_reached_at_the_fewest_bytes(plain, few):
    advice = advise("plain", engine=plain, recall=0.8, queries=clustered(30, seed=5), sample=300, replicas=2)
    assert advice.chance is not None and 0.9 <= advice.chance <= 1
    assert (advice.points, advice.sampled, advice.held_out, advice.met) == (COUNT, 300, False, True)
    assert advice.best.expected_recall >= 0.8
    # A smaller recipe reaches the recall with less certainty.
    surer = [candidate for candidate in advice.tried if candidate.expected_recall >= 0.9]
    assert advice.best.bytes <= 1.02 * min(candidate.bytes for candidate in surer)
    assert advice.best.front
    assert Recipe.from_yaml(advice.to_yaml()) == advice.recipe
    assert advice.recipe.payload_indexes == {"kind": models.PayloadSchemaType.KEYWORD}
    assert [cost.points for cost in advice.costs] == [COUNT, 10 * COUNT, 100 * COUNT]
    assert all((cost.replicas, cost.nodes) == (2, 2) for cost in advice.costs)
    json.dumps(advice.to_dict())
    collection = Collection.create("advised", advice.recipe, plain)
    collection.add(range(COUNT), dense=clustered(COUNT))
    assert collection.search(dense=clustered(COUNT)[7])[0].id == 7


def test_a_budget_is_kept_and_held_out_points_stand_for_queries(plain, few):
    advice = advise("plain", engine=plain, bytes_per_vector=40, sample=300)
    assert advice.diagnosis is None and advice.to_dict()["diagnosis"] is None
    assert advice.held_out and advice.met and advice.queries == 125
    today = next(candidate for candidate in advice.tried if candidate.name == advisor.AS_IT_IS)
    assert today.vector_bytes == pytest.approx(4 * DIM, rel=0.05)
    assert all(candidate.vector_bytes <= 40 for candidate in advice.tried if candidate is not today)
    assert advice.best is not today
    # The prediction of the best recipe is lowered by its luck.
    assert advice.chance is None
    fitting = [candidate.expected_recall for candidate in advice.tried if candidate is not today]
    assert advice.best.expected_recall >= max(fitting) - 0.01
    assert all(candidate.documents == 300 for candidate in advice.tried)
    with pytest.raises(InvalidArgumentError, match="budget"):
        advise("plain", engine=plain, budget=1000, sample=300)


@pytest.mark.parametrize(
    "queries", [np.float32(1), np.array(1.0), "one text", 7, [[float("nan")] * DIM], [1.0]]
)
def test_queries_that_are_no_list_of_vectors_are_refused(plain, queries):
    with pytest.raises(InvalidArgumentError, match=r"^queries"):
        advise("plain", engine=plain, recall=0.9, sample=300, queries=queries)


def test_a_sample_has_the_proportions_of_the_collection(plain):
    source = run(plain, advisor.sample_steps(plain, "plain", None, None, "kind"))
    assert len(source.payloads) == COUNT
    drawn = run(plain, sample_ids_steps(plain, "plain", 200, "kind", 0))
    assert (len(drawn), sum(i % 100 == 0 for i in drawn)) == (200, 2)
    assert drawn != sorted(drawn) and len(set(drawn)) == 200


def test_a_collection_of_embplug_is_sampled_without_what_embplug_keeps(plain):
    collection = Collection.create("own", Recipe(dense=Dense(dim=DIM)), plain)
    collection.add(["a", "b"], dense=clustered(2), payloads=[{"year": 1}, None])
    source = run(plain, advisor.sample_steps(plain, "own", None))
    assert sorted(map(str, source.payloads)) == ["{'year': 1}", "{}"]


def test_recall_is_a_function_of_documents_per_document_wanted():
    assert advisor.ranks_to_measure(10, 400, 1000) == [4]
    assert advisor.ranks_to_measure(10, 450, 1000) == [4, 5]
    assert advisor.ranks_to_measure(10, 1000, 10**6) == [1, 3, 10]
    assert advisor.expected_recall({4: 0.8}, 10, 400, 1000) == 0.8
    assert 0.8 < advisor.expected_recall({4: 0.8, 5: 0.9}, 10, 450, 1000) < 0.9
    falling = {10: 0.9, 1: 0.8}
    assert advisor.expected_recall(falling, 10, 1000, 100_000) == pytest.approx(0.7)
    assert advisor.expected_recall({10: 0.8, 1: 0.9}, 10, 1000, 10**6) == pytest.approx(0.9)
    assert advisor.expected_recall(falling, 10, 1000, 10**18) == 0


def test_a_sample_predicts_the_whole():
    vectors = clustered(2400)
    queries = Encoded(dense=clustered(100, seed=5))
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[{"kind": "truncation", "dim": 6}],
                                       keep_original="disk"), rerank={"candidates": 40})  # fmt: skip
    found = {}
    for count in (600, 2400):
        material = TrialData(Encoded(dense=vectors[:count]), queries)
        cuts = advisor.ranks_to_measure(10, count, 2400)
        exact = exact_rankings(recipe, material, 10)[0]
        searches, _ = advisor.try_indexed(recipe, {}, material, 10, cuts)
        recalls = {cut: overlap(searches[cut].rankings, exact[:, :cut]).mean() for cut in cuts}
        found[count] = advisor.expected_recall(recalls, 10, count, 2400)
    assert found[2400] < 0.97 and found[600] == pytest.approx(found[2400], abs=0.05)


def test_token_matrices(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    documents = [clustered(rng.integers(3, 8), 16, seed=i) for i in range(400)]
    parameters = models.VectorParams(
        size=16,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )
    whole = trials.token_recipes

    def chosen(*arguments):
        recipes = whole(*arguments)
        chosen = {name: r for name, r in recipes.items() if name.startswith("FDE") and "32" not in name}
        # A pooled one, without the encoding that takes long to learn.
        pooled = recipes[POOLED].tokens.model_copy(
            update={"encoding": chosen["FDE 5120, residual 16"].tokens.encoding}
        )
        return chosen | {POOLED: recipes[POOLED].replaced(tokens=pooled)}

    monkeypatch.setattr(trials, "token_recipes", chosen)
    with EdgeClient(tmp_path / "edge") as client:
        client.create_collection("matrices", vectors_config=parameters)
        client.upsert(
            "matrices", points=[models.PointStruct(id=i, vector=d.tolist()) for i, d in enumerate(documents)]
        )
        queries = TokenBatch.from_list([document[:2] for document in documents[:20]])
        advice = advise("matrices", engine=client, budget=400 * 7000, queries=queries, sample=300)
    assert "FDE 5120, centroids 256" in {candidate.name for candidate in advice.tried}
    tried = {candidate.name: candidate for candidate in advice.tried + advice.dropped}
    assert tried[POOLED].recipe.tokens.reduction.factor == 2
    payload = {
        name: next(p.bytes for p in candidate.parts if p.kind == "payload")
        for name, candidate in tried.items()
    }
    assert payload[POOLED] < payload["FDE 5120, residual 16"]
    weighed = advice.best.memory_bytes + advice.best.disk_bytes / 20
    assert advice.best.bytes == pytest.approx(weighed)
    # The sample holds all documents, in another order.
    expected = diagnose(TokenBatch.from_list(documents))
    assert advice.diagnosis is not None and advice.diagnosis.dim == 16
    assert advice.diagnosis.effective_dim == pytest.approx(expected.effective_dim, rel=0.1)
    assert advice.diagnosis.mean_cosine == pytest.approx(expected.mean_cosine, abs=0.05)
    assert advice.to_dict()["diagnosis"]["sentence"] == advice.diagnosis.sentence
    console = Console(width=400, file=StringIO())
    console.print(Group(*_shown(advice)))
    assert advice.diagnosis.sentence in console.file.getvalue()


def tried(name: str, recall: float, **fields) -> advisor.TriedRecipe:
    empty = Recipe(dense=Dense(dim=4))
    figure = Figure(recall, recall, recall)
    sizes = {"memory_bytes": 1.0, "disk_bytes": 1.0, "vector_bytes": 1.0, "bytes": 1.0} | fields
    return advisor.TriedRecipe(name, empty, 100, recall, figure, {"p50": 1.0}, state_bytes=0, **sizes)


def test_smaller_recipes_of_a_kind_that_falls_short_are_not_tried():
    hopeless = Hopeless(0.9)
    for name, recall in [("float32", 1.0), ("PCA 96 float16", 0.85), ("PCA 96 int8", 0.7)]:
        assert not hopeless.includes(name)
        hopeless.see(tried(name, recall))
    for name, expected in [
        ("PCA 48 float16", False),
        ("PCA 48 int8", True),
        ("PCA 48 int8, original on disk", False),
        ("truncated 48 int8", False),
        ("PCA 96 turbo 2", False),
    ]:
        assert hopeless.includes(name) is expected, name
    hopeless.see(tried("PCA 96 turbo 1", 0.5))
    assert hopeless.includes("PCA 48 turbo 1") and not hopeless.includes("PCA 48 turbo 2")
    # Without a target, and where nothing reaches it, the best recipe is the measure.
    for measure in (Hopeless(None), Hopeless(0.9)):
        measure.see(tried("binary 2", 0.5))
        measure.see(tried("PCA 96 int8", 0.45))
        assert not measure.includes("PCA 48 int8")


def test_a_low_target_is_the_measure_also_on_the_largest_sample(monkeypatch):
    recalls = {"float32": 0.99, "PCA 96 int8": 0.85, "PCA 48 int8": 0.75, "PCA 24 int8": 0.5}
    recipes = {name: Recipe(dense=Dense(dim=100 - i)) for i, name in enumerate(recalls)}
    run = object.__new__(trials.Trials)
    run.__dict__ |= {
        "_rows": [range(100)],
        "sizes": [100],
        "_k": 10,
        "_progress": False,
        "_source": SimpleNamespace(points=100),
        "_data": lambda rows: None,
        "_expected_cost": lambda recipe: recipe.dense["dense"].dim,
        "_try": lambda name, *_: (tried(name, recalls[name]), {}),
    }
    monkeypatch.setattr(trials, "exact_rankings", lambda *_: [None])
    monkeypatch.setattr(trials.RecallBounds, "of", lambda *_: None)
    assert [trial.name for trial in run.run(recipes, 0.7)[0]] == [*recalls]
    # Without a target, recipes that are far from the best one cannot be chosen.
    assert [trial.name for trial in run.run(recipes)[0]] == ["float32", "PCA 96 int8"]
    # What is left out of the largest sample alone is told as it was tried before.
    run._rows = [range(10), range(100)]
    recalls |= {"PCA 96 int8": 0.95}
    lower = {"PCA 96 int8": 0.8}
    run._data = len
    run._try = lambda name, recipe, rows, exact: (
        tried(name, (recalls if rows == 10 else recalls | lower)[name]),
        {},
    )
    last, dropped, _ = run.run(recipes)
    assert [trial.name for trial in last] == ["float32", "PCA 96 int8"]
    assert [(trial.name, trial.expected_recall) for trial in dropped] == [
        ("PCA 48 int8", 0.75),
    ]


def test_short_codes_count_where_documents_are_long_enough_to_have_them():
    tokens = Tokens(dim=8, codes=AdaptiveQuantizer(size=40), multivector=None, document_bytes=0)
    sizes = []
    for length in (SHORTLIST_TOKENS - 1, SHORTLIST_TOKENS):
        documents = Encoded(tokens=TokenBatch(np.ones((2 * length, 8), np.float32), [0, length, 2 * length]))
        source = SimpleNamespace(_source=SimpleNamespace(documents=documents, points=1000))
        parts = trials.Trials.expected(source, Recipe(tokens=tokens))
        (payload,) = [part for part in parts if part.kind == "payload"]
        sizes.append(payload.bytes)
    # One token more, then two bytes a token and those of the correction, in characters of base85.
    assert sizes[1] - sizes[0] > 1.2 * (40 + 2 * SHORTLIST_TOKENS + tokens.shortlist_bytes)


def test_recipes_that_take_long_to_learn_wait_for_their_counterparts():
    names = ("OPQ product x16", "product x16", "OPQ product x32", "product x32", "PCA 8 int8")
    names += ("ITQ 8 binary, original on disk", "rotation 8 binary, original on disk")
    recipes = dict.fromkeys(names, Recipe(dense=Dense(dim=4)))
    assert {*trials._costly_to_learn(recipes, {"product x16", "PCA 8 int8"})} == {"OPQ product x16"}
    kept = {"rotation 8 binary, original on disk"}
    assert {*trials._costly_to_learn(recipes, kept)} == {"ITQ 8 binary, original on disk"}


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"page_content": "short", "metadata": {"source": "x" * 90}}, "page_content"),
        ({"text": "a", "body": "x" * 90}, "text"),
        ({"abstract": "x" * 90, "title": "x" * 45, "_node_content": "x" * 200}, "abstract"),
        ({"title": "short", "n": 1}, None),
    ],
)
def test_the_field_of_the_text_is_recognised(payload, key):
    assert text_key_of([payload] * 9 + [{}]) == key


def test_the_text_key_is_that_of_the_source(tmp_path, few):
    with EdgeClient(tmp_path / "edge") as client:
        params = models.VectorParams(
            size=DIM, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16
        )
        client.create_collection("docs", vectors_config=params)
        payloads = [{"page_content": f"t {i}", "metadata": {"n": i}} for i in range(COUNT)]
        points = models.Batch(ids=list(range(COUNT)), vectors=clustered(COUNT).tolist(), payloads=payloads)
        client.upsert("docs", points=points)
        advice = advise("docs", engine=client, recall=0.8, sample=300)
    assert advice.recipe.text_key == "page_content"
    today = next(candidate for candidate in advice.tried if candidate.name == advisor.AS_IT_IS)
    assert today.recipe.dense["dense"].datatype == models.Datatype.FLOAT16
    assert today.vector_bytes == pytest.approx(2 * DIM, rel=0.05)


@pytest.mark.parametrize("dim", [1, 2, 8, 16, 31, 64])
def test_there_are_recipes_for_vectors_of_few_dimensions(dim):
    recipes = dense_recipes(dim, models.Distance.COSINE, Capabilities.of("edge", "0.9.0"))
    assert {"float32", "float16", "int8"} <= recipes.keys()
    for recipe in recipes.values():
        stored = Pipeline(recipe).vectors_config()
        assert all(1 <= params.size <= dim for params in stored.values())


def test_recipes_whose_package_is_not_installed_are_left_out(plain, monkeypatch):
    whole = trials.dense_recipes

    def chosen(*arguments):
        recipes = whole(*arguments).items()
        return {name: recipe for name, recipe in recipes if name == "int8" or name.startswith("OPQ ")}

    monkeypatch.setattr(trials, "dense_recipes", chosen)
    monkeypatch.setitem(sys.modules, "faiss", None)
    advice = advise("plain", engine=plain, recall=0.5)
    assert "int8" in {trial.name for trial in advice.tried}
    assert advice.untried and all(name.startswith("OPQ ") for name in advice.untried)
    assert all("embplug[faiss]" in reason for reason in advice.untried.values())
    assert "Not tried: OPQ" in str(_shown(advice)) and "pip install 'embplug[faiss]'" in str(_shown(advice))


def test_wrong_arguments_are_named(plain):
    for arguments, said in [
        ({"recall": 1.5}, "recall"),
        (
            {"recall": 0.9, "budget": 100},
            "expected at most one of budget, bytes_per_vector, recall, got budget and recall",
        ),
        ({"sample": 10}, "sample"),
        ({"k": 0}, "k"),
        ({"shards": 0}, "shards"),
        ({"replicas": 0}, "replicas"),
        ({"nodes": 1.5}, "nodes"),
        ({"node_memory": 0}, "node_memory"),
        ({"vector": "w"}, "vector"),
        ({"queries": np.zeros((3, 5))}, "queries"),
        ({"queries": ["a text"]}, "encoder"),
    ]:
        with pytest.raises(InvalidArgumentError, match=said):
            advise("plain", engine=plain, **arguments)
    with pytest.raises(CollectionNotFoundError):
        advise("absent", engine=plain)


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2e9), ("500 MiB", 500 * 2**20), ("128", 128), ("1.5k", 1500)]
)
def test_sizes_as_people_write_them(text, size):
    assert _bytes(text, "--budget") == size


def test_from_the_command_line_on_a_server(tmp_path, qdrant_address, server_client, few):
    register_encoder("words", Words)
    server_client.create_collection(
        "plain", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.DOT)
    )
    texts = [f"w{i} w{i // 2} c{i % 20}" for i in range(400)]
    vectors = Words().encode_documents(texts).dense
    server_client.upsert(
        "plain", points=models.Batch(ids=list(range(400)), vectors=vectors.tolist()), wait=True
    )
    (tmp_path / "queries.txt").write_text("w1 w2\nw3 c4\n")
    arguments = ["advise", "plain", "--at", qdrant_address[0], "--sample", "300", "--encoder", "words"]
    arguments += ["--queries", str(tmp_path / "queries.txt"), "-o", str(tmp_path / "recipe.yaml")]
    done = CliRunner().invoke(app, [*arguments, "--recall", "0.8", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert Recipe.from_file(tmp_path / "recipe.yaml") == Recipe.from_dict(told["recipe"])
    assert not any("turbo" in candidate["name"] for candidate in told["tried"] + told["dropped"])
    shown = CliRunner().invoke(app, [*arguments, "--bytes-per-vector", "70"], env={"COLUMNS": "160"})
    assert "Recommended, for at most 70 bytes a vector" in shown.stdout and "dense:" in shown.stdout
    assert advisor.AS_IT_IS in shown.stdout
    recipe = tmp_path / "recipe.yaml"
    following = f"embplug migrate plain plain-small --recipe {recipe} --at {qdrant_address[0]} --dry-run"
    assert following in " ".join(shown.stdout.split())
    wrong = CliRunner().invoke(app, ["advise", "absent", "--at", qdrant_address[0]])
    assert wrong.exit_code == 4
