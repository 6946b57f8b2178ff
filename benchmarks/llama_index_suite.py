"""A suite for LlamaIndex stores on the embplug store and on LlamaIndex's for Qdrant, on every engine.

LlamaIndex has no official suite; this one is ``tests/frameworks/llama_index/llama_index_suite.py``. The
embplug store is tested with dense vectors and with tokens, the other store with dense vectors; the other
store does not support Qdrant Edge.
"""

from __future__ import annotations

from _harness import parser
from _suites import compare

SUITES = {
    "ours": "tests/frameworks/llama_index/test_llama_index_suite.py",
    "llama_index_qdrant": "tests/frameworks/llama_index/peer_llama_index_qdrant.py",
}
NAMES = ("VectorStoreSuite",)
PACKAGES = ("llama-index-core", "llama-index-vector-stores-qdrant")

if __name__ == "__main__":
    compare(SUITES, NAMES, PACKAGES, parser(__doc__ or "").parse_args().json)
