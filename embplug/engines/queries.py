"""Search requests, sent in the form that the engine reads fastest, and answered as columns."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.engines import unparsed
from embplug.engines.answers import Answer, BytesAnswer, EdgeAnswer, MessagesAnswer, ModelsAnswer
from embplug.engines.calls import Call, Steps
from embplug.engines.connect import AnyEngine
from embplug.engines.search_request import SearchRequest
from embplug.engines.traits import traits_of
from embplug.methods.kernels import load


def query_steps(
    engine: AnyEngine,
    name: str,
    requests: Sequence[SearchRequest],
    *,
    consistency: models.ReadConsistency | None = None,
    timeout: int | None = None,
) -> Steps[list[Answer]]:
    """Run several searches in one request.

    Parameters
    ----------
    engine : client
        Open client of the engine.
    name : str
        Name of the collection or of an alias.
    requests : sequence of SearchRequest
        Searches to run.
    consistency : models.ReadConsistency, default=None
        Number of replicas that are asked, or a kind of majority. None is Qdrant's default.
    timeout : int, default=None
        Seconds for the request. None is the client's. Edge has none.

    Returns
    -------
    list of Answer
        Answer to each request.
    """
    traits = traits_of(engine)
    if traits.kind == "edge":
        shard, scored = yield Call.of("query_batch_scored", collection_name=name, requests=requests)
        return [
            EdgeAnswer(points, shard, scored=request.ids is None)
            for request, points in zip(requests, scored, strict=True)
        ]
    if traits.uses_grpc:
        batch = grpc.QueryBatchPoints(
            collection_name=name,
            query_points=[request.as_message(name) for request in requests],
            read_consistency=None
            if consistency is None
            else RestToGrpc.convert_read_consistency(consistency),
            timeout=timeout,
        )
        kernel = load()
        function = None if kernel is None else unparsed.query_batch(engine)
        arguments = {"request": batch, "timeout": timeout or traits.timeout}
        response = yield Call("grpc_points.QueryBatch", arguments, function)
        if kernel is None or function is None:
            return [MessagesAnswer(answer.result) for answer in response.result]
        limits = enumerate(request.limit for request in requests)
        return [BytesAnswer(kernel, response, result, limit) for result, limit in limits]
    searches = [request.as_model() for request in requests]
    if traits.kind == "memory":
        searches = [_without_index_params(search) for search in searches]
    options = {"consistency": consistency, "timeout": timeout}
    responses = yield Call.of("query_batch_points", collection_name=name, requests=searches, **options)
    return [ModelsAnswer(response) for response in responses]


def _without_index_params(request: models.QueryRequest) -> models.QueryRequest:
    """Leave out parameters of indexes, which the simulation has not, and of which it warns at each search."""
    if request.params is None:
        return request
    idf = getattr(request.params, "idf", None)
    kept = None if idf is None else models.SearchParams(idf=idf)
    return request.model_copy(update={"params": kept})
