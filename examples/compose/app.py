"""A service that stores and searches texts, on the standard library and embplug.

``POST /documents`` takes ``{"id": …, "text": …}``; ``GET /search?text=…&limit=…`` returns hits;
``GET /health`` answers once Qdrant does.
"""

import json
import logging
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from embplug import Collection, connect
from embplug.errors import EmbplugError, EngineConnectionError, InvalidArgumentError

URL = os.environ.get("QDRANT_URL", "http://localhost:6333")
API_KEY = os.environ.get("QDRANT_API_KEY")
PORT = int(os.environ.get("PORT", "8000"))
LONGEST_BODY = 1 << 20
WAIT_S = 60


class Handler(BaseHTTPRequestHandler):
    docs: Collection

    def do_GET(self):
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/health":
            return self.answer(200, {"documents": self.docs.info().points})
        if path != "/search":
            return self.answer(404, {"error": "expected /search, /documents or /health"})
        text, limit = query.get("text", [""])[0], query.get("limit", ["5"])[0]
        if not limit.isdecimal():
            return self.answer(400, {"error": f"limit: expected a number, got {limit!r}"})
        return self.answered(lambda: {"hits": self.hits(text, int(limit))})

    def do_POST(self):
        size = int(self.headers.get("content-length") or 0)
        if self.path != "/documents":
            return self.answer(404, {"error": "expected /documents"})
        if size > LONGEST_BODY:
            return self.answer(413, {"error": f"expected at most {LONGEST_BODY} bytes"})
        try:
            document = json.loads(self.rfile.read(size))
            document_id, text = document["id"], document["text"]
        except (ValueError, KeyError, TypeError):
            return self.answer(400, {"error": 'expected {"id": …, "text": …}'})
        return self.answered(lambda: {"added": self.docs.add([document_id], texts=[text]).added})

    def hits(self, text, limit):
        found = self.docs.search(text=text, limit=limit)
        return [{"id": hit.id, "score": hit.score, "text": hit.payload["text"]} for hit in found]

    def answered(self, work):
        try:
            return self.answer(200, work())
        except InvalidArgumentError as error:
            return self.answer(400, {"error": str(error)})
        except EmbplugError as error:
            return self.answer(503, {"error": str(error)})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def opened():
    """Wait for Qdrant, which may start at the same moment, and create the collection unless it exists."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return Collection.create("docs", "small", connect(URL, api_key=API_KEY), encoder="minilm-int8")
        except EngineConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    Handler.docs = opened()
    logging.info("listening on port %d", PORT)
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
