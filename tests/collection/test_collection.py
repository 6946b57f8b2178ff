"""The collection on each engine in turn: Edge, memory, a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    Collection,
    Dense,
    Documents,
    Multivector,
    Query,
    Recipe,
    Rerank,
    Sample,
    Storage,
    TokenBatch,
    Tokens,
    connect,
)
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.engines import EdgeClient
from embplug.errors import (
    CapabilityError,
    CollectionNotFoundError,
    DimensionError,
    DuplicateIdError,
    EmptyTokensError,
    FilterError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
    NotAnEmbplugCollectionError,
    NotFittedError,
    PointTooLargeError,
    RecipeMismatchError,
    RecipeVersionError,
    StateError,
)
from embplug.methods import FDE, AdaptiveEncoding, LearnedEncoding
from embplug.recipe.recipe import digest
from embplug.search import mmr
from embplug.search.types import SearchOptions

DIM = 16
SMALL_FDE = FDE(repetitions=4, simhash_bits=3, projection_dim=8)
RECIPE = Recipe(
    tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None),
    rerank=Rerank(candidates=20),
    payload_indexes={"year": "integer", "tag": "keyword"},
)
LEARNING = Recipe(
    tokens=Tokens(
        dim=DIM,
        encoding=FDE(repetitions=2, simhash_bits=3, partitioner="kmeans", dtype="uint8"),
        multivector=Multivector(),
        codes=None,
    ),
    rerank=Rerank(candidates=20),
)


def matrices(count: int, seed: int = 0, dim: int = DIM) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = [rng.standard_normal((rng.integers(1, 9), dim)).astype(np.float32) for _ in range(count)]
    return [matrix / np.linalg.norm(matrix, axis=1, keepdims=True) for matrix in drawn]


def maxsim(query: np.ndarray, documents: list[np.ndarray]) -> np.ndarray:
    return np.array([(query @ document.T).max(axis=1).sum() for document in documents])


def filled(engine, recipe: Recipe = RECIPE, count: int = 60) -> tuple[Collection, list[np.ndarray]]:
    documents = matrices(count)
    collection = Collection.create("docs", recipe, engine)
    payloads = [{"year": 2000 + i, "tag": "odd" if i % 2 else "even"} for i in range(count)]
    report = collection.add(ids=range(count), tokens=documents, payloads=payloads)
    assert (report.added, report.failed) == (count, [])
    return collection, documents


def test_exact_search_ranks_by_maxsim(engine):
    collection, documents = filled(engine)
    query = matrices(1, seed=1)[0]
    scores = maxsim(query, documents)
    hits = collection.search(tokens=query, limit=5, exact=True)
    assert [hit.id for hit in hits] == np.argsort(-scores)[:5].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:5], rtol=2e-3)
    assert hits[0].payload == {"year": 2000 + hits[0].id, "tag": "odd" if hits[0].id % 2 else "even"}


def test_candidates_are_reranked_by_maxsim_in_one_request(engine):
    collection, documents = filled(engine)
    for i in (3, 30, 59):
        hits = collection.search(tokens=documents[i], limit=3, with_stages=True)
        assert hits[0].id == i
        assert hits[0].score == pytest.approx(len(documents[i]), rel=2e-3)
        assert hits[0].stages == {"fde": pytest.approx(hits[0].stages["fde"]), "maxsim": hits[0].score}
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)


def test_weights_of_query_tokens_are_factors_in_every_stage(engine):
    collection, documents = filled(engine)
    query = max(matrices(8, seed=1), key=len)
    weights = np.linspace(0, 2, len(query))
    scores = maxsim(query * weights[:, None], documents)
    hits = collection.search(tokens=query, token_weights=weights, limit=5, exact=True)
    assert [hit.id for hit in hits] == np.argsort(-scores)[:5].tolist()
    staged = collection.search(tokens=query, token_weights=weights, limit=5, with_stages=True)
    encoded_query = SMALL_FDE.encode_queries(TokenBatch.from_list([query]), weights)[0]
    found = SMALL_FDE.encode_documents(TokenBatch.from_list(documents))
    for hit in staged:
        assert hit.score == pytest.approx(scores[hit.id], rel=2e-3)
        assert hit.stages["fde"] == pytest.approx(float(encoded_query @ found[hit.id]), rel=2e-3, abs=2e-3)
    second_only = np.eye(len(query))[1]
    batch = collection.batch_search(
        [Query(tokens=query, token_weights=second_only), Query(tokens=query)], limit=1
    )
    assert batch[0][0].score == pytest.approx(maxsim(query[1:2], documents).max(), rel=2e-3)
    assert batch[1][0].score > batch[0][0].score


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_documents_that_differ_are_chosen_by_what_float_encodings_say(edge_client, dtype):
    # The shorter a document, the more its last number adds, which says nothing of what is in it.
    documents = [np.concatenate(matrices(1 + 3 * (i % 4), seed=i)) for i in range(60)]
    encoding = LearnedEncoding(stored_dim=24, features=16, landmarks=256, compared=64, dtype=dtype)
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, multivector=None, codes=None))
    collection = Collection.create("docs", recipe, edge_client, sample=Sample(tokens=documents))
    collection.add(range(60), tokens=documents)
    encoding.fit(TokenBatch.from_list(documents))
    query = documents[7][:3]
    said = [
        encoding.encode_queries(TokenBatch.from_list([query])),
        encoding.encode_documents(TokenBatch.from_list(documents)),
    ]
    encoded_query, stored = (
        rows[:, :-1] / np.linalg.norm(rows[:, :-1], axis=1, keepdims=True) for rows in said
    )
    for diversity in (0, 0.3, 0.7):
        hits = collection.search(
            tokens=query, limit=8, mmr=models.Mmr(diversity=diversity, candidates_limit=60)
        )
        expected = mmr((encoded_query @ stored.T)[0], stored @ stored.T, diversity, 8)
        assert [hit.id for hit in hits] == expected


@pytest.mark.parametrize(("hnsw_ef", "expected"), [(None, None), (77, 77)])
@pytest.mark.parametrize(
    ("encoding", "most"), [(SMALL_FDE, 400), (LearnedEncoding(features=16, landmarks=256, compared=64), 800)]
)
def test_encodings_are_searched_more_broadly_unless_the_recipe_says(encoding, most, hnsw_ef, expected):
    pipeline = Pipeline(
        Recipe(
            tokens=Tokens(dim=DIM, encoding=encoding, multivector=Multivector(), codes=None),
            rerank=Rerank(hnsw_ef=hnsw_ef),
        )
    )
    if not pipeline.fitted:
        pipeline.fit(CheckedSample(TokenBatch.from_list(matrices(100)), {}))
    (request,) = pipeline.plan([Query(tokens=np.ones((2, DIM)))], SearchOptions())[0].send(None)
    assert request.prefetch[0].params.hnsw_ef == (expected or most)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"tokens": np.ones((2, DIM)), "token_weights": [1.0]}, LengthMismatchError, "token_weights"),
        (
            {"tokens": np.ones((2, DIM)), "token_weights": [1.0, -1.0]},
            InvalidArgumentError,
            "token_weights[1]",
        ),
        (
            {"tokens": np.ones((2, DIM)), "token_weights": [np.nan, 1.0]},
            InvalidArgumentError,
            "token_weights[0]",
        ),
        ({"text": "words", "token_weights": [1.0]}, InvalidArgumentError, "token_weights"),
    ],
)
def test_bad_weights_are_named(engine, arguments, error, named):
    collection, _ = filled(engine, count=3)
    with pytest.raises(error) as raised:
        collection.search(**arguments)
    assert raised.value.argument == named


def test_candidates_bound_what_is_reranked(engine):
    collection, _ = filled(engine)
    query = matrices(1, seed=2)[0]
    hits = collection.search(tokens=query, limit=60, candidates=60)
    assert len(hits) == 60
    few = collection.search(tokens=query, limit=3, candidates=3, with_stages=True)
    by_fde = sorted(few, key=lambda hit: -hit.stages["fde"])
    assert all(hit.stages["fde"] <= by_fde[0].stages["fde"] for hit in hits if hit.stages)
    assert [hit.score for hit in few] == sorted((hit.score for hit in few), reverse=True)


def test_filters_hold_through_candidates_and_rerank(engine):
    collection, documents = filled(engine)
    query = matrices(1, seed=3)[0]
    odd = models.Filter(must=[models.FieldCondition(key="tag", match=models.MatchValue(value="odd"))])
    recent = models.Filter(must=[models.FieldCondition(key="year", range=models.Range(gte=2050))])
    for condition, allowed in ((odd, range(1, 60, 2)), (recent, range(50, 60))):
        for exact in (False, True):
            hits = collection.search(tokens=query, limit=5, filter=condition, candidates=60, exact=exact)
            scores = maxsim(query, documents)
            assert [hit.id for hit in hits] == sorted(allowed, key=lambda i: -scores[i])[:5]
        assert collection.count(filter=condition) == len(allowed)


def test_conditions_that_no_engine_reads_are_refused_in_the_same_words(engine):
    collection, documents = filled(engine, count=5)
    spaced = models.FieldCondition(key="a b", match=models.MatchValue(value=1))
    for condition, place in (
        (spaced, "filter.must[0].key"),
        (models.FieldCondition(key="tag"), "filter.must[0]"),
        (
            models.FieldCondition(key="tag", match=models.MatchValue(value="\udfff")),
            "filter.must[0].match.value",
        ),
    ):
        wrong = models.Filter(must=[condition])
        for call in (
            lambda: collection.search(tokens=documents[0], filter=wrong),  # noqa: B023
            lambda: collection.count(filter=wrong),  # noqa: B023
            lambda: collection.delete(filter=wrong),  # noqa: B023
            lambda: collection.set_payload({"a": 1}, filter=wrong),  # noqa: B023
        ):
            with pytest.raises(FilterError) as raised:
                call()
            assert raised.value.argument == place
    with pytest.raises(InvalidArgumentError, match=r"^with_payload\[0\]: expected a path"):
        collection.search(tokens=documents[0], with_payload=["a b"])
    for key in ('"a b".c', "é", "a[0][].b", '"".a'):
        right = models.Filter(must=[models.FieldCondition(key=key, is_empty=True)])
        assert collection.count(filter=right) == 5
        collection.search(tokens=documents[0], with_payload=[key])


def test_score_threshold_and_payload_selection(engine):
    collection, documents = filled(engine)
    hits = collection.search(tokens=documents[5], limit=60, score_threshold=len(documents[5]) * 0.999)
    assert [hit.id for hit in hits] == [5]
    assert collection.search(tokens=documents[5], limit=1, with_payload=False)[0].payload is None
    assert collection.search(tokens=documents[5], limit=1, with_payload=["tag"])[0].payload == {"tag": "odd"}


def test_ids_of_every_kind_come_back_as_they_were_given(engine):
    documents = matrices(5)
    ids = [7, 2**63 + 1, str(uuid.uuid4()), "chapter 1/§2", uuid.UUID(int=5)]
    collection = Collection.create("docs", RECIPE, engine)
    collection.add(ids=ids, tokens=documents, payloads=[{"n": i} for i in range(5)])
    returned = [*ids[:4], str(ids[4])]
    for i, expected in enumerate(returned):
        hit = collection.search(tokens=documents[i], limit=1)[0]
        assert (hit.id, hit.payload) == (expected, {"n": i})
    records = collection.retrieve(ids)
    assert {record.id for record in records} == set(returned)
    collection.delete(["chapter 1/§2", 7])
    assert {record.id for record in collection.scroll()[0]} == set(returned) - {"chapter 1/§2", 7}


def test_adding_again_replaces(engine):
    collection, documents = filled(engine)
    collection.add(ids=[4], tokens=[documents[9]], payloads=[{"year": 1}])
    assert collection.count() == 60
    assert collection.retrieve([4])[0].payload == {"year": 1}
    assert {hit.id for hit in collection.search(tokens=documents[9], limit=2)} == {4, 9}


def test_everything_comes_back_by_name_alone(engine):
    collection, _ = filled(engine)
    reopened = Collection.open("docs", engine)
    assert reopened.recipe == RECIPE
    query = matrices(1, seed=4)[0]
    assert reopened.search(tokens=query) == collection.search(tokens=query)


REOPEN = """
import sys, numpy as np
from embplug import Collection, connect
target, port, name, query = sys.argv[1], sys.argv[2], sys.argv[3], np.load(sys.argv[4])
engine = connect(target, grpc_port=int(port)) if port else connect(target)
print([hit.id for hit in Collection.open(name, engine).search(tokens=query, limit=5)])
"""


@pytest.mark.parametrize("recipe", [RECIPE, LEARNING], ids=["seeded", "learned"])
@pytest.mark.parametrize("engine_name", ["edge", "server"])
def test_another_process_opens_it(engine, engine_name, recipe, tmp_path, request):
    collection, _ = filled(engine, recipe)
    query = matrices(1, seed=5)[0]
    expected = [hit.id for hit in collection.search(tokens=query, limit=5)]
    np.save(tmp_path / "query.npy", query)
    target, port = str(tmp_path / "edge"), ""
    if engine_name == "edge":
        engine.close()
    else:
        target, port = (str(part) for part in request.getfixturevalue("qdrant_address"))
    done = subprocess.run(
        [sys.executable, "-c", REOPEN, target, port, "docs", str(tmp_path / "query.npy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(expected), done.stderr


def test_creating_again_with_the_same_recipe_changes_nothing(engine):
    filled(engine)
    again = Collection.create("docs", RECIPE, engine)
    assert again.count() == 60


def test_creating_with_another_recipe_names_the_differences(engine):
    filled(engine)
    other = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=FDE(repetitions=5, simhash_bits=3, projection_dim=8),
            multivector=Multivector(),
            codes=None,
        )
    )
    with pytest.raises(RecipeMismatchError) as caught:
        Collection.create("docs", other, engine)
    assert caught.value.differences["tokens.encoding.repetitions"] == (4, 5)
    assert caught.value.differences["payload_indexes.year"] == ("integer", None)
    assert Collection.open("docs", engine).recipe == RECIPE


def test_the_default_encoding_learns_from_any_sample(engine):
    recipe, tokens = Recipe(tokens=Tokens(dim=DIM, multivector=Multivector(), codes=None)), matrices(80)
    learned = Collection.create("learned", recipe, engine, sample=Sample(tokens=tokens))
    assert isinstance(learned.recipe.tokens.encoding, AdaptiveEncoding)
    for count in (80, 1, 0):
        sample = Sample(tokens=tokens[:count]) if count else None
        other = Collection.create(f"of-{count}", recipe, engine, sample=sample)
        assert other.info().fitted is bool(count)
        assert other.recipe == learned.recipe == Collection.open(f"of-{count}", engine).recipe
        assert Collection.create(f"of-{count}", recipe, engine).recipe == learned.recipe
    text = "tokens: {dim: 16, encoding: auto, multivector: auto, codes: auto}"
    assert Recipe.from_yaml(text) == Recipe(tokens=Tokens(dim=DIM))


def test_a_collection_of_somebody_else_is_refused(engine):
    engine.create_collection("docs", vectors_config=models.VectorParams(size=4, distance="Dot"))
    with pytest.raises(NotAnEmbplugCollectionError, match="'docs'"):
        Collection.open("docs", engine)
    with pytest.raises(NotAnEmbplugCollectionError, match="'docs'"):
        Collection.create("docs", RECIPE, engine)
    with pytest.raises(CollectionNotFoundError, match="'other'"):
        Collection.open("other", engine)


def manifest(engine) -> dict:
    return engine.get_collection("docs").config.metadata["embplug"]


def test_an_altered_recipe_is_refused(engine):
    filled(engine)
    stored = manifest(engine)
    stored["recipe"]["tokens"]["encoding"]["seed"] = 1
    engine.update_collection("docs", metadata={"embplug": stored})
    with pytest.raises(StateError, match="altered"):
        Collection.open("docs", engine)


def test_a_recipe_of_a_newer_library_is_refused(engine):
    filled(engine)
    stored = manifest(engine)
    stored["recipe"]["version"] = 99
    stored["sha256"] = digest({key: value for key, value in stored.items() if key != "sha256"})
    engine.update_collection("docs", metadata={"embplug": stored})
    with pytest.raises(RecipeVersionError, match="99"):
        Collection.open("docs", engine)


def test_methods_learn_from_the_first_documents(engine):
    collection = Collection.create("docs", LEARNING, engine)
    with pytest.raises(NotFittedError):
        collection.search(tokens=matrices(1)[0])
    early = Collection.open("docs", engine)
    documents = matrices(60)
    batches = (Documents(range(i, i + 10), tokens=documents[i : i + 10]) for i in range(0, 60, 10))
    assert collection.add_batches(batches).added == 60
    assert collection.info().fitted and collection.info().state_bytes > 0
    for i in (0, 31, 59):
        expected = collection.search(tokens=documents[i])
        assert expected[0].id == i
        assert Collection.open("docs", engine).search(tokens=documents[i]) == expected
        assert early.search(tokens=documents[i]) == expected


def test_a_second_writer_takes_over_what_the_first_made_the_collection_learn(engine):
    first = Collection.create("docs", LEARNING, engine)
    second = Collection.open("docs", engine)
    documents = matrices(60)
    first.add(ids=range(30), tokens=documents[:30])
    learned = manifest(engine)["state"]
    second.add(ids=range(30, 60), tokens=documents[30:])
    assert manifest(engine)["state"] == learned
    assert [first.search(tokens=d, limit=1)[0].id for d in documents] == list(range(60))


def test_a_sample_given_to_create_is_learned_from(engine):
    documents = matrices(60)
    collection = Collection.create("docs", LEARNING, engine, sample=Sample(tokens=documents[:40]))
    assert collection.info().fitted
    before = manifest(engine)["state"]
    collection.add(ids=range(60), tokens=documents)
    assert manifest(engine)["state"] == before


def test_damaged_state_is_an_error_that_names_what_is_wrong(engine, engine_name):
    filled(engine, LEARNING)
    reference = manifest(engine)["state"]
    if isinstance(engine, EdgeClient):
        file = engine.collection_path("docs") / "state" / f"{reference['sha256']}.npz"
        whole = file.read_bytes()
        damages = [
            (lambda: file.write_bytes(whole[:-10]), "bytes instead of"),
            (lambda: file.write_bytes(whole[:-1] + b"x"), "altered"),
            (lambda: file.unlink(), "missing"),
        ]
    else:
        point = engine.scroll(STATE_COLLECTION, limit=1)[0][0]
        cut = {"data": point.payload["data"][:-8]}
        swapped = {"data": "AAAA" + point.payload["data"][4:]}
        damages = [
            (lambda: engine.set_payload(STATE_COLLECTION, cut, points=[point.id]), "bytes instead of"),
            (lambda: engine.set_payload(STATE_COLLECTION, swapped, points=[point.id]), "altered"),
            (lambda: engine.delete(STATE_COLLECTION, [point.id]), "missing"),
        ]
    for damage, named in damages:
        damage()
        with pytest.raises(StateError, match=named):
            Collection.open("docs", engine)


BAD_BATCHES = [
    ({"tokens": [np.zeros((2, DIM + 1))] * 2}, DimensionError, r"tokens\[0\]"),
    ({"tokens": [np.ones((2, DIM)), np.full((2, DIM), np.nan)]}, NonFiniteError, r"tokens\[1\]"),
    ({"tokens": [np.ones((2, DIM)), np.full((2, DIM), np.inf)]}, NonFiniteError, r"tokens\[1\]"),
    (
        {"tokens": [np.ones((2, DIM)), np.full((2, DIM), 1e20)]},
        InvalidArgumentError,
        r"tokens\[1\].*at most 1\.126e\+15.*1e\+20 in token 0",
    ),
    ({"tokens": [np.ones((2, DIM)), np.zeros((0, DIM))]}, EmptyTokensError, r"tokens\[1\]"),
    ({"tokens": [np.ones((2, DIM))]}, LengthMismatchError, "tokens"),
    ({"tokens": [np.ones((2, DIM))] * 2, "payloads": [{}]}, LengthMismatchError, "payloads"),
    (
        {"tokens": [np.ones((2, DIM))] * 2, "payloads": [{}, {"a": {1, 2}, "b": object()}]},
        InvalidArgumentError,
        "payloads",
    ),
    (
        {"tokens": [np.ones((1, DIM)), np.ones(((1 << 20) // DIM + 1, DIM))]},
        PointTooLargeError,
        r"tokens\[1\]",
    ),
    ({"tokens": [np.ones((2, DIM))] * 2, "dense": np.ones((2, 4))}, InvalidArgumentError, "dense"),
    ({"texts": ["a", "b"]}, InvalidArgumentError, "tokens"),
    ({}, InvalidArgumentError, "tokens"),
]


@pytest.mark.parametrize(("batch", "error", "named"), BAD_BATCHES)
def test_nothing_of_a_bad_batch_is_written(engine, batch, error, named):
    collection = Collection.create("docs", RECIPE, engine)
    with pytest.raises(error, match=f"^{named}"):
        collection.add(ids=[1, 2], **batch)
    assert collection.count() == 0


@pytest.mark.parametrize(
    ("ids", "error", "named"),
    [
        ([1, 1], DuplicateIdError, r"ids\[1\]"),
        (["a", str(uuid.uuid4()), "a"], DuplicateIdError, r"ids\[2\]"),
        ([1, -1], InvalidArgumentError, r"ids\[1\]"),
        ([1, 1.5], InvalidArgumentError, r"ids\[1\]"),
        (["", "b"], InvalidArgumentError, r"ids\[0\]"),
    ],
)
def test_bad_ids_are_named(engine, ids, error, named):
    collection = Collection.create("docs", RECIPE, engine)
    with pytest.raises(error, match=f"^{named}"):
        collection.add(ids=ids, tokens=[np.ones((1, DIM))] * len(ids))
    assert collection.count() == 0


def test_bad_searches_are_named(engine):
    collection, documents = filled(engine)
    good = documents[0]
    wrong_type = models.Filter(must=[models.FieldCondition(key="year", match=models.MatchValue(value="x"))])
    for arguments, error, named in [
        ({}, InvalidArgumentError, "tokens"),
        ({"tokens": np.ones((1, DIM + 1))}, DimensionError, "tokens"),
        ({"tokens": np.full((1, DIM), np.nan)}, NonFiniteError, "tokens"),
        ({"tokens": np.full((1, DIM), -1e20)}, InvalidArgumentError, "tokens.*at most"),
        ({"tokens": np.ones((0, DIM))}, EmptyTokensError, "tokens"),
        ({"tokens": good, "limit": 0}, InvalidArgumentError, "limit"),
        ({"tokens": good, "candidates": -1}, InvalidArgumentError, "candidates"),
        ({"tokens": good, "filter": {"must": []}}, FilterError, "filter"),
        ({"tokens": good, "filter": wrong_type}, FilterError, r"filter.must\[0\]"),
        ({"dense": np.ones(4)}, InvalidArgumentError, "dense"),
        ({"text": "hello"}, InvalidArgumentError, "encoder"),
    ]:
        with pytest.raises(error, match=f"^{named}"):
            collection.search(**arguments)


def test_float16_tokens_and_tokens_alone_without_matrix(engine):
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=None, codes=None))
    documents = matrices(40)
    collection = Collection.create("docs", recipe, engine)
    collection.add(ids=range(40), tokens=[d.astype(np.float16) for d in documents])
    hit = collection.search(tokens=documents[7], limit=1, with_stages=True)[0]
    assert hit.stages == {"fde": hit.score}
    assert {*collection.info().vectors} == {"fde"}


def test_dense_vectors_by_name_and_alone(engine):
    recipe = Recipe(dense={"title": Dense(dim=4), "body": Dense(dim=8, distance="Dot")})
    rng = np.random.default_rng(0)
    title, body = rng.standard_normal((20, 4)), rng.standard_normal((20, 8))
    collection = Collection.create("docs", recipe, engine)
    collection.add(ids=range(20), dense={"title": title, "body": body})
    assert collection.search(dense={"title": title[3]}, limit=1)[0].id == 3
    scores = body @ body[5]
    found = collection.search(dense={"body": body[5]}, limit=3)
    assert [hit.id for hit in found] == np.argsort(-scores)[:3].tolist()
    with pytest.raises(InvalidArgumentError, match="dense"):
        collection.search(dense=title[3])
    both = collection.search(dense={"title": title[3], "body": body[3]}, limit=1, with_stages=True)[0]
    assert both.id == 3 and set(both.stages) == {"title", "body", "fusion"}


def test_dense_and_token_candidates_are_reranked_together(engine):
    recipe = Recipe(
        tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None),
        dense=Dense(dim=4),
        rerank=Rerank(candidates=10),
    )
    documents, dense = matrices(60), np.random.default_rng(1).standard_normal((60, 4))
    collection = Collection.create("docs", recipe, engine)
    collection.add(ids=range(60), tokens=documents, dense=dense)
    query = matrices(1, seed=6)[0]
    hits = collection.search(tokens=query, dense=dense[41], limit=10, with_stages=True)
    found_by = [{*hit.stages} - {"maxsim", "fusion"} for hit in hits]
    assert {"dense"} in found_by and {"fde"} in found_by and set() not in found_by
    np.testing.assert_allclose(
        [h.score for h in hits], maxsim(query, documents)[[h.id for h in hits]], rtol=2e-3
    )


def test_batch_search_is_search_many_times(engine):
    collection, documents = filled(engine)
    queries = [Query(tokens=d) for d in documents[:7]]
    together = collection.batch_search(queries, limit=4)
    assert together == [collection.search(tokens=d, limit=4) for d in documents[:7]]
    assert collection.batch_search([]) == []


def test_deleting_and_payloads(engine):
    collection, _ = filled(engine)
    collection.set_payload({"tag": "chosen"}, ids=[3, 5])
    chosen = models.Filter(must=[models.FieldCondition(key="tag", match=models.MatchValue(value="chosen"))])
    assert collection.count(filter=chosen) == 2
    assert collection.retrieve([3])[0].payload == {"year": 2003, "tag": "chosen"}
    collection.delete(filter=chosen)
    assert collection.count() == 58
    collection.delete(ids=[0, 3, 1000])
    assert collection.count() == 57
    with pytest.raises(InvalidArgumentError, match="ids"):
        collection.delete()


def test_scrolling_meets_every_document_once(engine):
    collection, _ = filled(engine)
    seen, offset = [], None
    while True:
        records, offset = collection.scroll(limit=17, offset=offset)
        seen += [record.id for record in records]
        if offset is None:
            break
    assert seen == list(range(60))


def test_dropping_leaves_nothing_behind(engine):
    first, _ = filled(engine, LEARNING)
    second = Collection.create("twin", LEARNING, engine)
    second.add(ids=range(60), tokens=matrices(60))
    first.drop()
    assert not engine.collection_exists("docs")
    assert Collection.open("twin", engine).search(tokens=matrices(60)[3], limit=1)[0].id == 3
    second.drop()
    if engine.collection_exists(STATE_COLLECTION):
        assert engine.count(STATE_COLLECTION).count == 0
    with pytest.raises(CollectionNotFoundError):
        first.drop()


def test_info_describes(engine, engine_name):
    collection, _ = filled(engine)
    described = collection.info()
    assert (described.name, described.points, described.fitted) == ("docs", 60, True)
    assert described.vectors["fde"]["size"] == 4 * 8 * 8
    assert described.vectors["tokens"]["multivector_config"]["comparator"] == "max_sim"
    assert (described.disk_bytes is not None) == (engine_name == "edge")
    assert Recipe.from_dict(described.to_dict()["recipe"]) == RECIPE


@pytest.mark.parametrize("engine_name", ["edge", "server"])
def test_reranking_ignores_quantized_tokens_unless_asked(engine):
    coarse = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    documents = matrices(60)
    query = matrices(1, seed=7)[0]
    scores = {}
    for quantized in (False, True):
        recipe = Recipe(
            tokens=Tokens(
                dim=DIM, encoding=SMALL_FDE, multivector=Multivector(quantization=coarse), codes=None
            ),
            rerank=Rerank(candidates=60, quantized_tokens=quantized),
        )
        name = f"docs-{quantized}"
        collection = Collection.create(name, recipe, engine)
        collection.add(ids=range(60), tokens=documents)
        hits = collection.search(tokens=query, limit=60)
        scores[quantized] = {hit.id: hit.score for hit in hits}
    exact = maxsim(query, documents)
    np.testing.assert_allclose([scores[False][i] for i in range(60)], exact, rtol=2e-3, atol=2e-3)


def test_searching_from_threads_while_another_adds(engine):
    collection, documents = filled(engine)
    more = matrices(200, seed=8)
    wrong: list[object] = []
    added = threading.Event()

    def look() -> None:
        rng = np.random.default_rng()
        while not added.is_set():
            i = int(rng.integers(60))
            hits = collection.search(tokens=documents[i], limit=1, candidates=200)
            if hits[0].id != i:
                wrong.append((i, hits))

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for i in range(0, 200, 20):
        collection.add(ids=range(1000 + i, 1020 + i), tokens=more[i : i + 20])
    added.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert collection.count() == 260


def test_edge_directories_and_paths_are_engines(tmp_path):
    collection = Collection.create("docs", RECIPE, tmp_path / "somewhere")
    collection.add(ids=[1], tokens=[np.ones((1, DIM))])
    assert Collection.open("docs", connect(tmp_path / "somewhere")).count() == 1
    collection.engine.close()


def test_what_the_engine_cannot_do_is_refused_before_anything_is_made(engine, engine_name):
    turbo = models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits="bits4"))
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=SMALL_FDE,
            encoding_storage=Storage(quantization=turbo),
            multivector=Multivector(),
            codes=None,
        )
    )
    if engine_name == "edge":
        Collection.create("docs", recipe, engine)
        return
    with pytest.raises(CapabilityError, match=r"tokens\.encoding_storage\.quantization"):
        Collection.create("docs", recipe, engine)
    assert not engine.collection_exists("docs")
