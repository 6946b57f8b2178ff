"""Outcomes of suites of tests that ours and others' stores run, by engine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _harness import environment, report

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("edge", "memory", "rest", "grpc")
OUTCOMES = ("passed", "failed", "skipped")


def compare(suites: Mapping[str, str], names: Sequence[str], packages: Sequence[str], as_json: bool) -> None:
    """Run files of tests, and report their outcomes beside each other.

    Parameters
    ----------
    suites
        Whose store it is -> file of tests; one of their parameters is the engine.
    names
        Of the suites that the files run.
    packages
        Whose versions are told.
    as_json
        As ``--json`` says.
    """
    results = {name: count(ROOT / path) for name, path in suites.items()}
    rows = [
        {"store": name, "engine": engine, **counts}
        for name, result in results.items()
        for engine, counts in [*result["by_engine"].items(), ("all", {o: result[o] for o in OUTCOMES})]
    ]
    described = environment(suites=list(names))
    described["versions"] |= {package: version(package) for package in packages}
    report({**results, "environment": described}, rows, as_json)
    for name, result in results.items():
        for failure in result["failures"]:
            print(f"failed in {name}: {failure}", file=sys.stderr)


def count(path: Path) -> dict[str, Any]:
    """Outcomes of a file of tests, together and by engine."""
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", str(path), "-p", "no:cacheprovider", f"--junitxml={xml}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not xml.exists():
            raise SystemExit(f"{path} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        cases = list(ElementTree.parse(xml).getroot().iter("testcase"))
    failures = []
    by_engine = {engine: dict.fromkeys(OUTCOMES, 0) for engine in ENGINES}
    for case in cases:
        parameters = case.attrib["name"].partition("[")[2].rstrip("]").split("-")
        engine = next(engine for engine in ENGINES if engine in parameters)
        kinds = {child.tag for child in case}
        outcome = "skipped" if "skipped" in kinds else "failed" if kinds & {"failure", "error"} else "passed"
        by_engine[engine][outcome] += 1
        if outcome == "failed":
            failures.append(case.attrib["name"])
    ran = {engine: counts for engine, counts in by_engine.items() if any(counts.values())}
    return {
        **{outcome: sum(counts[outcome] for counts in ran.values()) for outcome in OUTCOMES},
        "by_engine": ran,
        "failures": failures,
    }
