"""A server of a tiny model on a free port of this machine, with the endpoints of OpenAI, vLLM and TEI."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DIM = 6
REVISION = "0123456789abcdef0123456789abcdef01234567"


def token_vectors(text: str) -> Any:
    """A vector of each word, of the length 2."""
    rows = [np.random.default_rng(zlib.crc32(word.encode())).standard_normal(DIM) for word in text.split()]
    return np.stack([2 * row / np.linalg.norm(row) for row in rows]).astype(np.float32)


class ModelServer:
    """What the server has received, and how it fails."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any, str | None]] = []
        self.failures: list[tuple[int, dict[str, str], str]] = []
        """Status, headers and body of the next answers, before those that succeed."""
        self.answers: dict[str, Any] = {}
        """Answers in place of the right ones, by path."""
        self.url = ""
        self.lock = threading.Lock()

    def answer(self, path: str, body: Any) -> Any:
        if path in self.answers:
            return self.answers[path]
        if path == "/info":
            return {"model_sha": REVISION, "max_input_length": 77}
        if path == "/v1/models":
            return {"data": [{"id": "other", "max_model_len": 5}, {"id": "tiny", "max_model_len": 99}]}
        texts = body["inputs"] if "inputs" in body else body["input"]
        matrices = [token_vectors(text) for text in texts]
        if path == "/v1/embeddings":
            rows = [{"index": i, "embedding": m.mean(0).tolist()} for i, m in enumerate(matrices)]
            return {"data": rows[::-1]}
        if path == "/pooling":
            return {"data": [{"index": i, "data": m.tolist()} for i, m in enumerate(matrices)]}
        if path == "/embed_all":
            return [m.tolist() for m in matrices]
        if path == "/embed_sparse":
            counts = [np.unique([zlib.crc32(w.encode()) % 1000 for w in t.split()]) for t in texts]
            return [[{"index": int(i), "value": 1.5} for i in row[::-1]] for row in counts]
        return [m.mean(0).tolist() for m in matrices]


@contextmanager
def running() -> Iterator[ModelServer]:
    """Run a server until the end of the block."""
    server = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def do_GET(self) -> None:
            self._respond(None)

        def _respond(self, body: Any) -> None:
            with server.lock:
                server.requests.append((self.path, body, self.headers.get("authorization")))
                failure = server.failures.pop(0) if server.failures else None
            status, headers, text = failure or (200, {}, json.dumps(server.answer(self.path, body)))
            content = text.encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
