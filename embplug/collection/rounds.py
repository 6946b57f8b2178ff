"""Plans on an engine: the requests of all plans of a round are sent together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from embplug.branches.pipeline import Pipeline
from embplug.engines import AnyEngine
from embplug.engines.answers import Answer
from embplug.engines.calls import Call, Steps
from embplug.engines.queries import query_steps
from embplug.engines.request_options import ReadOptions
from embplug.engines.search_request import SearchRequest
from embplug.search.plan import Rounds

T = TypeVar("T")


def run_plans(
    engine: AnyEngine, name: str, pipeline: Pipeline, plans: Sequence[Rounds[T]], reading: ReadOptions
) -> Steps[list[T]]:
    """Results of each plan, such as hits, each round of all plans in one request."""
    arguments = reading.arguments(pipeline.capabilities)
    shard_key = arguments.pop("shard_key_selector", None)
    results: dict[int, T] = {}
    answers: dict[int, Sequence[Answer] | None] = dict.fromkeys(range(len(plans)))
    while answers:
        requests = yield Call.compute(partial(_advance, plans, answers, results))
        answers = {}
        if requests:
            flat = [request for own in requests.values() for request in own]
            if shard_key is not None:
                flat = [replace(request, shard_key=shard_key) for request in flat]
            answered = iter((yield from query_steps(engine, name, flat, **arguments)))
            answers = {i: [next(answered) for _ in own] for i, own in requests.items()}
    return [results[i] for i in range(len(plans))]


def _advance(
    plans: Sequence[Rounds[T]], answers: Mapping[int, Sequence[Answer] | None], results: dict[int, T]
) -> dict[int, list[SearchRequest]]:
    """Hand each plan its answers; return what it asks next, and store the results of those that end."""
    requests = {}
    for i, own in answers.items():
        try:
            # A plan starts when it is sent None.
            requests[i] = plans[i].send(own)  # type: ignore[arg-type]
        except StopIteration as stop:
            results[i] = stop.value
    return requests
