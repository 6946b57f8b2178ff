"""LangChain's official suites on the embplug store and on langchain-qdrant's, on every engine.

The embplug store is tested with dense vectors and with tokens, langchain-qdrant's with dense vectors; it
has no Qdrant Edge.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _harness import environment, parser, report

ROOT = Path(__file__).resolve().parent.parent
SUITES = {
    "ours": "tests/integrations/test_langchain_suite.py",
    "langchain_qdrant": "tests/integrations/peer_langchain_qdrant.py",
}
PACKAGES = ("langchain-core", "langchain-tests", "langchain-qdrant")
ENGINES = ("edge", "memory", "rest", "grpc")
OUTCOMES = ("passed", "failed", "skipped")


def main() -> None:
    arguments = parser(__doc__ or "").parse_args()
    results = {name: count(ROOT / path) for name, path in SUITES.items()}
    rows = [
        {"store": name, "engine": engine, **counts}
        for name, result in results.items()
        for engine, counts in [*result["by_engine"].items(), ("all", {o: result[o] for o in OUTCOMES})]
    ]
    sizes = {"suites": ["VectorStoreIntegrationTests", "RetrieversIntegrationTests"]}
    described = environment(**sizes)
    described["versions"] |= {package: version(package) for package in PACKAGES}
    report({**results, "environment": described}, rows, arguments.json)


def count(path: Path) -> dict[str, Any]:
    """Outcomes of a file of tests, together and by engine."""
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", str(path), "-p", "no:cacheprovider", f"--junitxml={xml}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not xml.exists():
            raise SystemExit(f"{path} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = list(ElementTree.parse(xml).getroot().iter("testcase"))
    by_engine = {engine: dict.fromkeys(OUTCOMES, 0) for engine in ENGINES}
    for case in cases:
        parameters = case.attrib["name"].partition("[")[2].rstrip("]").split("-")
        engine = next(engine for engine in ENGINES if engine in parameters)
        kinds = {child.tag for child in case}
        outcome = "skipped" if "skipped" in kinds else "failed" if kinds & {"failure", "error"} else "passed"
        by_engine[engine][outcome] += 1
    ran = {engine: counts for engine, counts in by_engine.items() if any(counts.values())}
    return {
        **{outcome: sum(counts[outcome] for counts in ran.values()) for outcome in OUTCOMES},
        "by_engine": ran,
    }


if __name__ == "__main__":
    main()
