"""The tables of methods in docs/: each method has a row, and what a row says is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from embplug import methods
from embplug.methods.registry import is_built_in, registered
from tests.methods.table import CASES

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| `(\w+)` \| `(\w+\([^`]*\))` \| ([\d,]+) \|", re.MULTILINE)
DIM = 384
PAGES: dict[str, tuple[Any, ...]] = {
    "compression.md": ("transform", "dense_codes"),
    "token_codes.md": ("token_codes",),
    "encodings.md": ("encoding", "query_weights", "reduction", "query_reduction"),
}


class Names(dict[str, Any]):
    """The names of ``embplug.methods``, also of methods that its stub does not list."""

    def __missing__(self, name: str) -> Any:
        return getattr(methods, name)


@pytest.mark.parametrize("page", PAGES)
def test_every_method_has_a_row_with_its_kind_and_bytes(page: str) -> None:
    rows = ROW.findall((DOCS / page).read_text(encoding="utf-8"))
    for kind, example, size in rows:
        method = eval(example, {}, Names())
        code_bytes = method.bytes_per_vector(DIM, unit_length=True)
        assert (kind, int(size.replace(",", ""))) == (method.kind, code_bytes), example
    kinds = {kind for role in PAGES[page] for kind, cls in registered(role).items() if is_built_in(cls)}
    assert {kind for kind, _, _ in rows} == kinds


def test_every_adapter_has_a_row() -> None:
    page = (DOCS / "upgrading.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind, cls in registered("adapter").items() if is_built_in(cls))


@pytest.mark.parametrize("name", CASES)
def test_docstrings_name_every_parameter_and_learned_attribute(name: str) -> None:
    method = CASES[name].method
    learned = [attribute for attribute in vars(method) if re.fullmatch(r"[a-z]\w*_", attribute)]
    for attribute in [*(field.name for field in fields(method)), *learned]:
        assert f"    {attribute} : " in type(method).__doc__, attribute
