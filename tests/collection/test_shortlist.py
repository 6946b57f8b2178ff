"""Searches that read the codes of a shortlist alone, and codes that stay in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Multivector, Query, Recipe, Rerank, TokenBatch, Tokens
from embplug.common.ids import CODES, SHORTLIST
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError
from embplug.methods import FDE, PredictiveQuantizer
from embplug.methods.token_codes import predictive, token_coder
from embplug.search.code_cache import VARIABLE

DIM, COUNT = 16, 80


@pytest.fixture(autouse=True)
def _for_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short codes for the small documents of these tests."""
    monkeypatch.setattr(token_coder, "SHORTLIST_TOKENS", 0)
    monkeypatch.setattr(predictive, "RANKING_CENTROIDS", 0)


def documents(seed: int = 0, count: int = COUNT) -> TokenBatch:
    generator = np.random.default_rng(seed)
    tokens = [
        generator.normal(size=DIM) + generator.normal(size=(int(generator.integers(3, 12)), DIM))
        for _ in range(count)
    ]
    return TokenBatch.from_list([own / np.linalg.norm(own, axis=1, keepdims=True) for own in tokens])


def recipe(shortlist: int | None = 12, **fields: Any) -> Recipe:
    tokens = Tokens(
        dim=DIM,
        encoding=FDE(repetitions=2, simhash_bits=1, projection_dim=8),
        codes=PredictiveQuantizer(size=14, centroids=32),
        document_bytes=8,
        **{"multivector": None, "shortlist_bytes": 8, **fields},
    )
    return Recipe(tokens=tokens, rerank=Rerank(candidates=60, shortlist=shortlist))


def filled(engine: Engine, own: Recipe | None = None) -> Collection:
    collection = Collection.create("docs", own or recipe(), engine)
    payloads = [{"number": i} for i in range(COUNT)]
    collection.add([f"doc {i}" for i in range(COUNT)], tokens=documents(), payloads=payloads)
    return collection


def fields_of(engine: Engine) -> dict[str, int]:
    """Payload fields of all points, and in how many they are."""
    records, _ = engine.scroll("docs", limit=COUNT + 1, with_payload=True)
    return {
        field: sum(field in record.payload for record in records) for field in (CODES, SHORTLIST, "number")
    }


def test_short_codes_are_stored_and_stay_out_of_sight(engine: Engine) -> None:
    collection = filled(engine)
    assert fields_of(engine) == {CODES: COUNT, SHORTLIST: COUNT, "number": COUNT}
    (record,) = collection.retrieve(["doc 3"])
    assert record.payload == {"number": 3}
    (hit,) = collection.search(tokens=documents()[3], limit=1)
    assert (hit.id, hit.payload) == ("doc 3", {"number": 3})
    with pytest.raises(InvalidArgumentError, match=SHORTLIST):
        collection.add([1], tokens=[documents()[0]], payloads=[{SHORTLIST: "x"}])


def test_a_shortlist_keeps_the_hits_and_their_scores(engine: Engine) -> None:
    collection = filled(engine)
    queries = documents(1, 20)
    alike = 0.0
    for query in queries:
        hits = collection.search(tokens=query, limit=3, candidates=COUNT, with_stages=True)
        whole = collection.search(tokens=query, limit=3, exact=True)
        assert all(hit.stages is not None and {"shortlist", "codes"} <= hit.stages.keys() for hit in hits)
        scores = {hit.id: hit.score for hit in whole}
        for hit in hits:
            if hit.id in scores:
                assert hit.score == pytest.approx(scores[hit.id], abs=1e-5)
                alike += 1 / 60
    # Of 80 documents at random, 12 would hold a seventh of the hits.
    assert alike > 0.7
    both = collection.batch_search([Query(tokens=queries[0]), Query(tokens=queries[1])], limit=3)
    assert [hit.id for hit in both[1]] == [hit.id for hit in collection.search(tokens=queries[1], limit=3)]


@pytest.mark.parametrize(
    "own", [recipe(shortlist=None), recipe(shortlist_bytes=0)], ids=["no shortlist", "no short codes"]
)
def test_a_recipe_can_do_without(engine: Engine, own: Recipe) -> None:
    collection = filled(engine, own)
    assert fields_of(engine)[SHORTLIST] == (COUNT if own.tokens and own.tokens.shortlist_bytes else 0)
    (hit,) = collection.search(tokens=documents()[5], limit=1, with_stages=True)
    assert hit.id == "doc 5" and hit.payload == {"number": 5} and hit.stages is not None
    assert ("shortlist" in hit.stages) == (own.rerank.shortlist is not None)


def test_without_short_codes_the_ids_in_the_codes_choose(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(engine, recipe(shortlist_bytes=0))
    scored: list[int] = []
    score = token_coder.TokenCoder.score

    def noted(self: Any, query: Any, strings: Any) -> Any:
        scored.append(len(strings))
        return score(self, query, strings)

    monkeypatch.setattr(token_coder.TokenCoder, "score", noted)
    alike = 0.0
    for query in documents(1, 20):
        hits = collection.search(tokens=query, limit=3, candidates=COUNT)
        assert scored.pop() == COUNT // 2
        whole = collection.search(tokens=query, limit=3, exact=True)
        assert scored.pop() == 60
        alike += len({hit.id for hit in hits} & {hit.id for hit in whole}) / 60
    # Of 80 documents at random, 12 would hold a seventh of the hits.
    assert alike > 0.5


def test_a_handle_that_opens_the_collection_reads_short_codes(engine: Engine) -> None:
    filled(engine)
    collection = Collection.open("docs", engine)
    collection.add(["late"], tokens=[documents(3)[0]])
    (hit,) = collection.search(tokens=documents(3)[0], limit=1, with_stages=True, with_payload=False)
    assert hit.id == "late" and hit.stages is not None and "shortlist" in hit.stages


def test_a_search_sees_every_change(engine: Engine) -> None:
    """Codes that are kept in this process never outlive a change of their point, whoever makes it."""
    collection, other = filled(engine), Collection.open("docs", engine)
    new = documents(7, 5)
    for number in range(5):
        query = new[number]
        collection.search(tokens=query, limit=3)
        other.add([f"doc {number}"], tokens=[query], payloads=[{"number": -1}])
        (hit,) = collection.search(tokens=query, limit=1)
        assert (hit.id, hit.payload) == (f"doc {number}", {"number": -1})
        other.delete([f"doc {number}"])
        assert f"doc {number}" not in {own.id for own in collection.search(tokens=query, limit=60)}
    other.set_payload({"number": 99}, ids=["doc 30"])
    (hit,) = collection.search(tokens=documents()[30], limit=1)
    assert (hit.id, hit.payload) == ("doc 30", {"number": 99})


def payload_reads(engine: EdgeClient, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Fields that searches read from payloads, for every point that they read them of."""
    reads: list[Any] = []
    query = EdgeClient.query_batch_scored

    def noted(self: EdgeClient, collection_name: str, requests: Any) -> Any:
        shard, answers = query(self, collection_name, requests)
        for request, points in zip(requests, answers, strict=True):
            reads.extend([request.with_payload] * len(points) if request.with_payload else [])
        return shard, answers

    monkeypatch.setattr(EdgeClient, "query_batch_scored", noted)
    return reads


def test_the_second_search_on_edge_reads_no_codes(
    edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(edge_client)
    reads = payload_reads(edge_client, monkeypatch)
    query = documents(1)[0]
    first = collection.search(tokens=query, limit=3)
    assert reads.count([SHORTLIST]) == 60 and reads.count([CODES]) == 12
    reads.clear()
    assert collection.search(tokens=query, limit=3) == first
    assert len(reads) == 3 and [CODES] not in reads
    # One document is new: its codes alone are read.
    collection.add(["new"], tokens=[query])
    reads.clear()
    assert collection.search(tokens=query, limit=3)[0].id == "new"
    assert (reads.count([SHORTLIST]), reads.count([CODES])) == (1, 1)


def test_the_cache_can_be_switched_off(edge_client: EdgeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    collection = filled(edge_client)
    reads = payload_reads(edge_client, monkeypatch)
    for _ in range(2):
        reads.clear()
        assert collection.search(tokens=documents()[4], limit=3)[0].id == "doc 4"
        assert reads.count([SHORTLIST]) == 60


def test_a_collection_that_is_created_anew_shares_no_codes(edge_client: EdgeClient) -> None:
    """Versions begin anew, so that id and version are those of the collection before."""
    first = filled(edge_client)
    first.search(tokens=documents()[0], limit=3)
    edge_client.delete_collection("docs")
    second = Collection.create("docs", recipe(), edge_client)
    second.add([f"doc {i}" for i in range(COUNT)], tokens=documents()[::-1])
    for handle in (second, Collection.open("docs", edge_client)):
        (hit,) = handle.search(tokens=documents()[0], limit=1)
        assert hit.id == f"doc {COUNT - 1}"


def test_words_and_tokens_are_fused_after_a_shortlist(engine: Engine) -> None:
    from embplug import Fusion, Sparse

    own = recipe().replaced(sparse=Sparse(), fusion=Fusion(method="min_max"))
    collection = Collection.create("docs", own, engine)
    texts = [f"word{i} common" for i in range(COUNT)]
    collection.add([f"doc {i}" for i in range(COUNT)], tokens=documents(), texts=texts)
    hits = collection.search(text="word9", tokens=documents()[7], limit=2)
    assert {hit.id for hit in hits} == {"doc 7", "doc 9"}
    assert all(hit.payload for hit in hits)


@pytest.mark.parametrize("with_payload", [False, True, ["number"]])
@pytest.mark.parametrize("megabytes", ["0", "64"])
def test_hits_from_outside_the_shortlist_have_the_ids_of_users(
    engine: Engine, megabytes: str, with_payload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embplug import Fusion, Sparse

    monkeypatch.setenv(VARIABLE, megabytes)
    own = recipe().replaced(sparse=Sparse(), fusion=Fusion(method="min_max", weights={"sparse": 5.0}))
    collection = Collection.create("docs", own, engine)
    texts, payloads = [f"word{i}" for i in range(COUNT)], [{"number": i} for i in range(COUNT)]
    collection.add([f"doc {i}" for i in range(COUNT)], tokens=documents(), texts=texts, payloads=payloads)
    queries = [Query(text=f"word{i}", tokens=documents()[7]) for i in range(20)]
    by_words = [
        hits[0]
        for hits in collection.batch_search(queries, limit=2, with_payload=with_payload, with_stages=True)
    ]
    assert any("codes" not in (hit.stages or {}) for hit in by_words)
    assert [hit.id for hit in by_words] == [f"doc {i}" for i in range(20)]
    if with_payload is not True:
        expected = [{"number": i} if with_payload else None for i in range(20)]
        assert [hit.payload for hit in by_words] == expected


def test_lost_short_codes_are_named(engine: Engine) -> None:
    from embplug.errors import StateError

    collection = filled(engine)
    engine.delete_payload("docs", keys=[SHORTLIST], points=models.Filter())
    with pytest.raises(StateError, match=f"codes of its tokens .*{SHORTLIST}"):
        collection.search(tokens=documents()[0])


def test_changes_of_payloads_keep_short_codes(engine: Engine) -> None:
    collection, query = filled(engine), documents()[3]
    everything = models.Filter()
    changes: list[Callable[[], None]] = [
        lambda: collection.set_payload({"color": "red"}, filter=everything),
        lambda: collection.overwrite_payload({"number": 7}, ids=["doc 3"]),
        lambda: collection.delete_payload(["number"], ids=["doc 3"]),
        lambda: collection.clear_payload(filter=everything),
    ]
    expected: list[Any] = [{"number": 3, "color": "red"}, {"number": 7}, None, None]
    for change, payload in zip(changes, expected, strict=True):
        change()
        (hit,) = collection.search(tokens=query, limit=1, with_stages=True)
        assert (hit.id, hit.payload) == ("doc 3", payload)
        assert hit.stages is not None and "shortlist" in hit.stages
    assert fields_of(engine) == {CODES: COUNT, SHORTLIST: COUNT, "number": 0}


def test_fewer_tokens_take_the_place_of_all_codes(engine: Engine) -> None:
    collection, query = filled(engine), documents()[3]
    before = collection.search(tokens=query, limit=1)[0]
    collection.add(["doc 3"], tokens=[query[:1]])
    (record,) = engine.scroll("docs", limit=COUNT, with_payload=True, scroll_filter=_of("doc 3"))[0]
    fewer = [hit for hit in collection.search(tokens=query, limit=60, exact=True) if hit.id == "doc 3"]
    assert fewer[0].score < before.score - 1
    collection.add(["doc 3"], tokens=[query])
    (whole,) = engine.scroll("docs", limit=COUNT, with_payload=True, scroll_filter=_of("doc 3"))[0]
    for field in (CODES, SHORTLIST):
        assert len(record.payload[field]) < len(whole.payload[field])
    assert collection.search(tokens=query, limit=1)[0].score == pytest.approx(before.score)


def _of(document: str) -> models.Filter:
    from embplug.common.ids import point_id

    return models.Filter(must=[models.HasIdCondition(has_id=[point_id(document, "id")])])


def test_a_handle_from_before_the_fit_learns_of_short_codes(engine: Engine) -> None:
    Collection.create("docs", recipe(), engine)
    before = Collection.open("docs", engine)
    Collection.open("docs", engine).add([f"doc {i}" for i in range(COUNT)], tokens=documents())
    (hit,) = before.search(tokens=documents()[3], limit=1, with_stages=True)
    assert hit.id == "doc 3" and hit.stages is not None and "shortlist" in hit.stages
    before.add(["late"], tokens=[documents(3)[0]])
    assert fields_of(engine)[SHORTLIST] == COUNT + 1


def test_the_engine_scores_the_best_of_a_shortlist_again(engine: Engine) -> None:
    own = recipe(multivector=Multivector()).replaced(rerank=Rerank(candidates=60, shortlist=12, exact=5))
    collection = filled(engine, own)
    hits = collection.search(tokens=documents()[3], limit=5, with_stages=True)
    whole = collection.search(tokens=documents()[3], limit=COUNT, exact=True)
    scores = {hit.id: hit.score for hit in whole}
    for hit in hits:
        assert [*(hit.stages or {})] == ["fde", "shortlist", "codes", "maxsim"]
        # A multivector of float16, in another order of sums.
        assert hit.score == pytest.approx(scores[hit.id], abs=1e-2)


def test_what_follows_a_ranking_follows_a_shortlist(engine: Engine) -> None:
    """Groups, diversity, formulas and explanations have the same documents, and no short codes in sight."""
    collection, query = filled(engine), documents()[3]
    collection.set_payload({"group": 1}, ids=[f"doc {i}" for i in range(40)])
    groups = collection.search_groups(tokens=query, group_by="group", group_size=3)
    assert [group.id for group in groups] == [1] and groups[0].hits[0].id == "doc 3"
    mmr = models.Mmr(diversity=0.5, candidates_limit=20)
    formula = models.FormulaQuery(formula=models.MultExpression(mult=[2.0, "$score"]))
    (best,) = collection.search(tokens=query, limit=1)
    for options in ({"mmr": mmr}, {"formula": formula}, {"explain": True}):
        hits = collection.search(tokens=query, limit=3, with_vectors=True, **options)
        assert hits[0].id == "doc 3" and "_embplug" not in repr((groups, hits))
        assert hits[0].payload == {"number": 3, "group": 1}
        assert hits[0].score == pytest.approx(2 * best.score if "formula" in options else best.score)
