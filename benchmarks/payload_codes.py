"""Bytes of codes as text or numbers in the payload: what the engine keeps on disk, and the time to read them.

Random bytes, as good codes are. They are read as a search reads them: with the candidates of one request,
over gRPC, REST and on Edge. Bytes a document are those by which the segments exceed the ones of as many
points with an empty payload. Of a server that was not started here the disk cannot be seen, and only the time
is told.
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _harness import best_seconds, environment, parser, report
from qdrant_client import QdrantClient, models

from embplug import connect
from embplug.common import base85
from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.engines.edge.store import bytes_on_disk
from embplug.engines.queries import query_steps
from embplug.methods.kernels import base85 as kernel_base85
from tests.servers import qdrant_server

READ_DOCUMENTS = 200
ROUNDS = 5
BATCH = 100
FLUSHED_AFTER_S = 7.0
"""A server writes what it holds every five seconds."""

Encoding = tuple[Callable[[bytes], Any], Callable[[list[Any]], Sequence[bytes]]]

ENCODINGS: dict[str, Encoding] = {
    "base85 (ours)": (lambda code: base85.encode([code])[0], kernel_base85.decode),
    "base64": (lambda code: base64.b64encode(code).decode(), lambda texts: [*map(base64.b64decode, texts)]),
    "Latin-1 text": (lambda code: code.decode("latin-1"), lambda texts: [t.encode("latin-1") for t in texts]),
    "list of 64-bit integers": (
        lambda code: np.frombuffer(code, "<i8").tolist(),
        lambda lists: [np.array(integers, "<i8").tobytes() for integers in lists],
    ),
    "list of bytes": (lambda code: [*code], lambda lists: [*map(bytes, lists)]),
}


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--documents", type=int, default=1000)
    arguments.add_argument("--bytes", type=int, default=2000, help="of a document; a multiple of 8")
    settings = arguments.parse_args()
    if settings.bytes % 8:
        arguments.error("--bytes: a multiple of 8 is expected, for the 64-bit integers")
    generator = np.random.default_rng(0)
    codes = [generator.bytes(settings.bytes) for _ in range(settings.documents)]
    rows = []
    for engine_name, opened in (("Qdrant Edge", _edge), ("Qdrant server", _server)):
        with ExitStack() as stack:
            engine, segment_bytes = stack.enter_context(opened())
            _fill(engine, "nothing", [{} for _ in codes])
            for i, (encode, _) in enumerate(ENCODINGS.values()):
                _fill(engine, f"codes-{i}", [{"codes": encode(code)} for code in codes])
            clients = {"": engine}
            if isinstance(engine, QdrantClient):
                options = engine.init_options | {"prefer_grpc": False, "grpc_options": None}
                clients = {", gRPC": engine, ", REST": stack.enter_context(closing(QdrantClient(**options)))}
            seconds = best_seconds(
                {
                    (name, protocol): _reading(client, f"codes-{i}", decode, codes)
                    for i, (name, (_, decode)) in enumerate(ENCODINGS.items())
                    for protocol, client in clients.items()
                },
                ROUNDS,
            )
            if engine_name == "Qdrant server":
                time.sleep(FLUSHED_AFTER_S)
            without = segment_bytes("nothing")
            for i, name in enumerate(ENCODINGS):
                stored = segment_bytes(f"codes-{i}")
                per_document = None if stored is None else (stored - (without or 0)) / len(codes)
                rows += [
                    {
                        "engine": f"{engine_name}{protocol}",
                        "encoding": name,
                        "bytes_per_document": per_document,
                        "times_the_codes": None if per_document is None else per_document / settings.bytes,
                        f"ms_to_read_{READ_DOCUMENTS}": 1e3 * seconds[name, protocol],
                    }
                    for protocol in clients
                ]
    sizes = {"documents": settings.documents, "bytes": settings.bytes, "rounds": ROUNDS}
    report({"encodings": rows, "environment": environment(**sizes)}, rows, settings.json)


def _fill(engine: Engine, name: str, payloads: list[dict[str, Any]]) -> None:
    params = models.VectorParams(size=1, distance=models.Distance.DOT)
    engine.create_collection(name, vectors_config=params)
    for start in range(0, len(payloads), BATCH):
        points = [
            models.PointStruct(id=start + i, vector=[1.0], payload=payload)
            for i, payload in enumerate(payloads[start : start + BATCH])
        ]
        engine.upsert(name, points=points, wait=True)


def _reading(
    engine: Engine, name: str, decode: Callable[[list[Any]], list[bytes]], codes: list[bytes]
) -> Callable[[], object]:
    count = min(READ_DOCUMENTS, len(codes))
    nearest = models.NearestQuery(nearest=[1.0])
    request = models.QueryRequest(query=nearest, limit=count, with_payload=["codes"])

    def read() -> Sequence[bytes]:
        (answer,) = run(engine, query_steps(engine, name, [request]))
        return decode(answer.field("codes"))

    (answer,) = run(engine, query_steps(engine, name, [request]))
    assert [*decode(answer.field("codes"))] == [codes[int(point_id)] for point_id in answer.ids]
    return read


@contextmanager
def _edge() -> Iterator[tuple[Engine, Callable[[str], int | None]]]:
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as client:
        yield client, client.disk_bytes


@contextmanager
def _server() -> Iterator[tuple[Engine, Callable[[str], int | None]]]:
    before = tempfile.tempdir
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.callback(setattr, tempfile, "tempdir", before)
        # A server that is started here puts its storage there.
        tempfile.tempdir = folder
        url, grpc_port = stack.enter_context(qdrant_server())
        client = connect(url, grpc_port=grpc_port)
        stack.callback(client.close)

        def segment_bytes(name: str) -> int | None:
            found = [*Path(folder).glob(f"*/storage/collections/{name}/*/segments")]
            return sum(map(bytes_on_disk, found)) if found else None

        yield client, segment_bytes


if __name__ == "__main__":
    main()
