"""LangChain's official suites on the embplug store and on langchain-qdrant's, on every engine.

The embplug store is tested with dense vectors and with tokens, langchain-qdrant's with dense vectors.
langchain-qdrant does not support Qdrant Edge.
"""

from __future__ import annotations

from _harness import parser
from _suites import compare

SUITES = {
    "ours": "tests/frameworks/langchain/test_langchain_suite.py",
    "langchain_qdrant": "tests/frameworks/langchain/peer_langchain_qdrant.py",
}
NAMES = ("VectorStoreIntegrationTests", "RetrieversIntegrationTests")
PACKAGES = ("langchain-core", "langchain-tests", "langchain-qdrant")

if __name__ == "__main__":
    compare(SUITES, NAMES, PACKAGES, parser(__doc__ or "").parse_args().json)
