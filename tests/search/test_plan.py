"""The plan of a search, driven by hand: what it asks in each round, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug import Fusion, Hit
from embplug.common import base85
from embplug.common.ids import CODES, DENSE_CODES, ORIGINAL_ID, SHORTLIST
from embplug.engines.answers import Answer, ModelsAnswer
from embplug.search.cross_encoder import CrossEncoder
from embplug.search.payload_rerank import PayloadRerank
from embplug.search.plan import search_plan
from embplug.search.stages import PreparedQuery, PreviousModelStage, Ranker, Stage
from embplug.search.types import SearchOptions

RRF = Fusion(method="rrf")


def stage(name: str, **fields: Any) -> Stage:
    return Stage(name, name, models.NearestQuery(nearest=[1.0]), **fields)


def two_finders(fusion: Fusion) -> PreparedQuery:
    return PreparedQuery({"a": stage("a"), "b": stage("b")}, None, fusion, 50)


def by_first_byte(strings: Sequence[bytes]) -> np.ndarray:
    return np.array([string[0] for string in strings], dtype=np.float32)


def answer(**scores: float) -> Answer:
    """Points by name, with codes whose first byte is the number in their name."""
    points = [
        models.ScoredPoint(
            id=int(name[1:]),
            version=0,
            score=score,
            payload=dict.fromkeys((CODES, SHORTLIST, DENSE_CODES), code(int(name[1:]))),
        )
        for name, score in scores.items()
    ]
    return ModelsAnswer(QueryResponse(points=points))


def code(number: int) -> str:
    return base85.encode([bytes([number])])[0]


def ids(hits: Sequence[Hit]) -> list[int | str]:
    return [hit.id for hit in hits]


def finish(plan: Any, answers: Sequence[Answer]) -> list[Hit]:
    with pytest.raises(StopIteration) as stop:
        plan.send(answers)
    hits: list[Hit] = stop.value.value
    return hits


def test_a_single_finder_is_one_request_with_filter_limit_and_threshold() -> None:
    only = models.Filter(must=[models.HasIdCondition(has_id=[1])])
    options = SearchOptions(limit=3, filter=only, score_threshold=0.5)
    plan = search_plan(PreparedQuery({"a": stage("a")}, None, RRF, 100), options)
    (request,) = next(plan)
    assert (request.using, request.limit, request.filter, request.score_threshold) == ("a", 3, only, 0.5)
    assert not request.prefetch
    hits = finish(plan, [answer(p7=0.9, p2=0.8)])
    assert ids(hits) == [7, 2] and hits[0].score == 0.9 and hits[0].stages is None


def test_finders_are_fused_in_the_engine_by_rank() -> None:
    plan = search_plan(
        PreparedQuery({"a": stage("a"), "b": stage("b")}, None, RRF, 50), SearchOptions(limit=5)
    )
    (request,) = next(plan)
    assert request.query == models.RrfQuery(rrf=models.Rrf(k=RRF.k + 1))
    assert [(inner.using, inner.limit) for inner in request.prefetch] == [("a", 50), ("b", 50)]


@pytest.mark.parametrize("fusion", [Fusion(method="min_max"), Fusion(method="rrf", weights={"b": 3.0})])
def test_what_the_engine_cannot_fuse_is_fused_here(fusion: Fusion) -> None:
    plan = search_plan(
        PreparedQuery({"a": stage("a"), "b": stage("b")}, None, fusion, 50), SearchOptions(limit=2)
    )
    requests = next(plan)
    assert [(request.using, request.limit) for request in requests] == [("a", 50), ("b", 50)]
    # Payloads are read for the hits alone, in one request more.
    assert all(request.with_payload is False for request in requests)
    (payloads,) = plan.send([answer(p1=0.9, p2=0.1), answer(p2=0.9, p3=0.8)])
    best = payloads.ids
    assert len(best) == 2 and 2 in best
    hits = finish(plan, [answer(**{f"p{number}": 0.0 for number in best})])
    assert ids(hits) == best and hits[0].id == (2 if fusion.weights else best[0])


def test_a_ranker_in_the_engine_is_one_request_with_the_candidates_below() -> None:
    ranker = Ranker("tokens", stage("maxsim"))
    plan = search_plan(PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30), SearchOptions(limit=4))
    (request,) = next(plan)
    assert (request.using, request.limit, request.params.exact) == ("maxsim", 4, False)
    assert [(inner.using, inner.limit) for inner in request.prefetch] == [("fde", 30)]


def test_an_exact_search_ranks_all_documents() -> None:
    ranker = Ranker("tokens", stage("maxsim"))
    plan = search_plan(PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30), SearchOptions(exact=True))
    (request,) = next(plan)
    assert (request.using, request.prefetch, request.params.exact) == ("maxsim", [], True)


def test_codes_come_with_the_candidates_and_rank_them() -> None:
    ranker = Ranker("tokens", None, PayloadRerank("codes", CODES, by_first_byte))
    plan = search_plan(
        PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30), SearchOptions(limit=2, with_stages=True)
    )
    (request,) = next(plan)
    assert (request.using, request.limit) == ("fde", 30)
    assert CODES not in request.with_payload.exclude and DENSE_CODES in request.with_payload.exclude
    hits = finish(plan, [answer(p3=0.9, p9=0.5, p5=0.1)])
    assert ids(hits) == [9, 5] and hits[0].stages == {"fde": 0.5, "codes": 9.0}
    assert hits[0].payload is None


def shortlisting(**fields: Any) -> Ranker:
    """Short codes rank by the number of a point, codes by how close it is to 5."""

    def closest_to_5(strings: Sequence[bytes]) -> np.ndarray:
        return -np.abs(by_first_byte(strings) - 5)

    by_codes = PayloadRerank("codes", CODES, closest_to_5)
    short = PayloadRerank("shortlist", SHORTLIST, by_first_byte)
    return Ranker("tokens", None, by_codes, shortlist=short, **fields)


def test_codes_are_read_for_the_shortlist_alone() -> None:
    query = PreparedQuery({"tokens": stage("fde")}, shortlisting(shortlisted=3), RRF, 30)
    plan = search_plan(query, SearchOptions(limit=1, with_stages=True, with_payload=["year"]))
    (request,) = next(plan)
    assert (request.limit, request.with_payload) == (30, [SHORTLIST])
    found = {f"p{number}": 1 - number / 10 for number in range(1, 8)}
    (codes,) = plan.send([answer(**found)])
    # Four times the limit are more than the three of the recipe.
    assert codes.ids == [7, 6, 5, 4]
    assert codes.with_payload == [ORIGINAL_ID, CODES, "year"]
    # One was deleted meanwhile, and the engine answers in an order of its own.
    (hit,) = finish(plan, [answer(p4=0.0, p5=0.0, p7=0.0)])
    assert hit.id == 5
    assert hit.stages == {"fde": pytest.approx(0.5), "shortlist": 5.0, "codes": 0.0}


@pytest.mark.parametrize(("candidates", "limit", "exact"), [(3, 1, False), (30, 8, False), (30, 1, True)])
def test_a_shortlist_that_spares_nothing_is_left_out(candidates: int, limit: int, exact: bool) -> None:
    query = PreparedQuery({"tokens": stage("fde")}, shortlisting(shortlisted=3), RRF, candidates)
    plan = search_plan(query, SearchOptions(limit=limit, exact=exact, with_payload=False))
    (request,) = next(plan)
    assert request.with_payload == [ORIGINAL_ID, CODES]
    assert ids(finish(plan, [answer(p3=0.9, p9=0.5, p5=0.1)]))[0] == 5


def test_a_shortlist_is_long_enough_for_what_the_engine_scores_again() -> None:
    by_codes = shortlisting()
    ranker = Ranker("tokens", stage("maxsim"), by_codes.by_codes, 6, by_codes.shortlist, 3)
    plan = search_plan(PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30), SearchOptions(limit=1))
    next(plan)
    (codes,) = plan.send([answer(**{f"p{number}": 1 - number / 10 for number in range(1, 9)})])
    assert codes.ids == [8, 7, 6, 5, 4, 3]
    (again,) = plan.send([answer(p8=0.0, p7=0.0, p6=0.0, p5=0.0, p4=0.0, p3=0.0)])
    assert (again.using, len(again.filter.must[0].has_id)) == ("maxsim", 6)


def test_without_a_number_there_is_no_shortlist() -> None:
    query = PreparedQuery({"tokens": stage("fde")}, shortlisting(), RRF, 30)
    (request,) = next(search_plan(query, SearchOptions(with_payload=False)))
    assert request.with_payload == [ORIGINAL_ID, CODES]


def test_documents_outside_the_shortlist_take_part_in_a_fusion_after_it() -> None:
    """Their scores are those of short codes, on the level of the codes."""
    fusion = Fusion(method="min_max", after_rerank=True)
    finders = {"tokens": stage("fde"), "words": stage("words")}
    query = PreparedQuery(finders, shortlisting(shortlisted=1), fusion, 30)
    plan = search_plan(query, SearchOptions(limit=1, with_payload=["year"]))
    candidates, words = next(plan)
    assert candidates.with_payload == [SHORTLIST]
    assert words.with_payload is False
    found = {f"p{number}": 1 - number / 10 for number in (3, 4, 5, 6, 7, 9)}
    (codes,) = plan.send([answer(**found), answer(p4=9.0, p9=1.0)])
    assert codes.ids == [9, 7, 6, 5]
    # Codes put these four at -1.75 on average, and short codes at 6.75: 4 becomes -4.5, and 3 -5.5.
    (payloads,) = plan.send([answer(p9=0.0, p7=0.0, p6=0.0, p5=0.0)])
    assert payloads.with_payload == [ORIGINAL_ID, "year"]
    (best,) = payloads.ids
    assert best == 4
    (hit,) = finish(plan, [answer(p4=0.0)])
    assert hit.id == 4 and hit.score == pytest.approx(1 + 1 / 5.5)


def test_payloads_are_read_for_the_hits_alone_where_that_costs_less() -> None:
    ranker = Ranker("tokens", None, PayloadRerank("codes", CODES, by_first_byte))
    query = PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30, payload_later=True)
    plan = search_plan(query, SearchOptions(limit=2, with_payload=["year"]))
    (request,) = next(plan)
    assert request.with_payload == [CODES]
    (payloads,) = plan.send([answer(p3=0.9, p9=0.5, p5=0.1)])
    assert payloads.with_payload == [ORIGINAL_ID, "year"]
    assert payloads.ids == [9, 5]
    assert ids(finish(plan, [answer(p5=0.0, p9=0.0)])) == [9, 5]


def test_the_best_by_codes_are_scored_again_in_the_engine() -> None:
    ranker = Ranker("tokens", stage("maxsim"), PayloadRerank("codes", CODES, by_first_byte), exact=2)
    plan = search_plan(PreparedQuery({"tokens": stage("fde")}, ranker, RRF, 30), SearchOptions(limit=1))
    next(plan)
    (request,) = plan.send([answer(p3=0.9, p9=0.5, p5=0.1)])
    assert request.using == "maxsim" and request.filter.must[0].has_id == [9, 5]
    assert ids(finish(plan, [answer(p5=8.0, p9=7.0)])) == [5]


@pytest.mark.parametrize("limit", [2, 4])
def test_what_is_not_scored_again_keeps_its_scores_where_branches_are_fused(limit: int) -> None:
    ranker = Ranker("tokens", stage("maxsim"), PayloadRerank("codes", CODES, by_first_byte), exact=2)
    finders = {"tokens": stage("fde"), "sparse": stage("sparse")}
    options = SearchOptions(limit=limit, with_payload=False, with_stages=True)
    plan = search_plan(PreparedQuery(finders, ranker, Fusion(), 4), options)
    next(plan)
    words = answer(p6=3.0, p7=3.0, p8=3.0, p9=2.0)
    found = answer(p6=0.4, p7=0.3, p8=0.2, p9=0.1)
    # The stages below the fusion are asked for, too.
    (request,) = plan.send([found, words, found, words])
    assert request.filter.must[0].has_id == [9, 8, 7, 6][:limit]
    scored = answer(p8=9.5, p9=7.0, p7=7.0, p6=6.0) if limit == 4 else answer(p8=9.5, p9=7.0)
    hits = finish(plan, [scored])
    # Of the scores 9.5, 7.0, 7.0 and 6.0 only the first is above the mean.
    assert ids(hits) == [8, 7, 6, 9][:limit]
    assert [hit.id for hit in hits if "maxsim" in (hit.stages or ())] == ([8] if limit == 2 else [8, 7, 6, 9])


def test_distances_are_not_fused_in_the_engine_by_their_distribution() -> None:
    finders = {"a": stage("a", lower_is_better=True), "b": stage("b")}
    plan = search_plan(PreparedQuery(finders, None, Fusion(method="dbsf"), 30), SearchOptions(limit=1))
    assert [request.using for request in next(plan)] == ["a", "b"]
    plan.send([answer(p3=0.1, p9=0.5), answer(p3=5.0, p9=4.0)])


def test_codes_of_a_dense_vector_rank_its_own_stage() -> None:
    dense = stage("a", rerank=PayloadRerank("a_codes", DENSE_CODES, by_first_byte, 1))
    plan = search_plan(PreparedQuery({"a": dense}, None, RRF, 30), SearchOptions(limit=2))
    (request,) = next(plan)
    assert DENSE_CODES not in request.with_payload.exclude and request.limit == 30
    hits = finish(plan, [answer(p3=0.9, p9=0.5)])
    assert ids(hits) == [9, 3] and hits[0].score == 9.0


def test_vectors_of_two_models_are_brought_to_one_scale() -> None:
    new = stage("a", previous=PreviousModelStage(stage("a_v1"), factor=2.0, offset=1.0))
    plan = search_plan(
        PreparedQuery({"a": new}, None, RRF, 30), SearchOptions(limit=3, with_payload=False, with_stages=True)
    )
    assert [request.using for request in next(plan)] == ["a", "a_v1"]
    hits = finish(plan, [answer(p1=2.5, p2=0.5), answer(p3=1.0)])
    assert ids(hits) == [3, 1, 2] and hits[0].stages == {"a_v1": 1.0, "a": 3.0}


def test_branches_are_fused_once_more_after_the_ranker_where_the_recipe_says_so() -> None:
    ranker = Ranker("tokens", None, PayloadRerank("codes", CODES, by_first_byte))
    finders = {"tokens": stage("fde"), "sparse": stage("sparse")}
    fusion = Fusion(method="min_max", weights={"sparse": 100.0}, after_rerank=True)
    plan = search_plan(PreparedQuery(finders, ranker, fusion, 30), SearchOptions(limit=1, with_stages=True))
    requests = next(plan)
    assert [request.using for request in requests] == ["fde", "sparse"]
    hits = finish(plan, [answer(p9=0.9, p3=0.1), answer(p3=5.0, p9=1.0)])
    assert ids(hits) == [3]
    assert {"fde", "sparse", "codes", "fusion"} == set(hits[0].stages or ())


def test_codes_come_with_candidates_and_not_with_what_is_fused_after_the_ranker() -> None:
    ranker = Ranker("tokens", None, PayloadRerank("codes", CODES, by_first_byte))
    finders = {"tokens": stage("fde"), "sparse": stage("sparse")}
    plan = search_plan(PreparedQuery(finders, ranker, Fusion(), 30), SearchOptions(limit=2))
    candidates, words = next(plan)
    assert [within.using for within in candidates.prefetch] == ["fde", "sparse"] and words.using == "sparse"
    assert CODES not in candidates.with_payload.exclude and CODES in words.with_payload.exclude
    assert ids(finish(plan, [answer(p9=0.9, p3=0.1), answer(p3=5.0)])) == [9, 3]


def test_the_cross_encoder_has_the_last_word_and_reads_more_than_the_limit() -> None:
    encoder = CrossEncoder(lambda query, texts: [float(text) for text in texts])
    query = PreparedQuery({"a": stage("a")}, None, RRF, 30, "text", encoder, cross_encoded=7)
    plan = search_plan(query, SearchOptions(limit=1, with_payload=["year"]))
    (request,) = next(plan)
    assert request.limit == 7 and "text" in request.with_payload and "year" in request.with_payload
    points = [
        models.ScoredPoint(id=i, version=0, score=1.0 - i, payload={"text": str(i), "year": i})
        for i in (1, 2)
    ]
    hits = finish(plan, [ModelsAnswer(QueryResponse(points=points))])
    assert ids(hits) == [2] and hits[0].payload == {"year": 2}


def test_a_document_that_is_deleted_between_two_rounds_is_left_out() -> None:
    plan = search_plan(two_finders(Fusion(method="min_max")), SearchOptions())
    next(plan)
    plan.send([answer(p1=0.9), answer(p2=0.9)])
    assert ids(finish(plan, [answer(p2=0.0)])) == [2]
