"""What an import brings with it: heavy modules wait for their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from embplug.cli import advise, upgrade
from embplug.evaluation.advisor.trials import FEWEST
from embplug.lifecycle.upgrade import LEAST_PAIRS

HEAVY = (
    "torch",
    "transformers",
    "faiss",
    "matplotlib",
    "sklearn",
    "pandas",
    "bm25s",
    "ir_measures",
)
METHODS = tuple(
    f"embplug.methods.{module}"
    for module in (
        "encodings.learned",
        "quantizers.product",
        "reductions.pooling",
        "token_codes.predictive",
        "transforms.pca",
    )
)
ENGINE = ("qdrant_client", "qdrant_edge", "grpc", "numpy", "scipy", "pydantic")
SEEN = "import sys; print(*(name for name in {names!r} if name in sys.modules))"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import embplug", ENGINE + HEAVY),
        (
            "from typer.testing import CliRunner; from embplug.cli import app;"
            "assert 'migrate' in CliRunner().invoke(app, ['--help'], catch_exceptions=False).stdout",
            ENGINE + HEAVY,
        ),
        ("from embplug import Collection, AsyncCollection, Recipe, connect", ("scipy", *HEAVY, *METHODS)),
        (
            "from embplug import Dense, Recipe; Recipe(dense=Dense(dim=4, preset='small'))",
            ("scipy", *HEAVY, *METHODS),
        ),
    ],
    ids=["embplug", "help", "collection", "dense recipe"],
)
def test_heavy_modules_are_imported_on_first_use(code: str, absent: tuple[str, ...]) -> None:
    script = f"{code}\n{SEEN.format(names=absent)}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_bounds_that_the_command_repeats_are_those_of_the_library() -> None:
    assert (advise.FEWEST, upgrade.LEAST_PAIRS) == (FEWEST, LEAST_PAIRS)
