"""Haystack's own tests of document stores on the embplug store, on every engine.

The suite is ``tests/frameworks/haystack/test_haystack_suite.py``: all mix-ins of ``haystack.testing`` for
waiting and for awaited methods, with embeddings and with tokens.
"""

from __future__ import annotations

from _harness import parser
from _suites import compare

SUITES = {"ours": "tests/frameworks/haystack/test_haystack_suite.py"}
NAMES = ("DocumentStoreBaseExtendedTests", "the mix-ins of document_store and document_store_async")
PACKAGES = ("haystack-ai",)

if __name__ == "__main__":
    compare(SUITES, NAMES, PACKAGES, parser(__doc__ or "").parse_args().json)
