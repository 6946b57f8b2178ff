"""Some two thousand real texts that every machine with Python has: its standard library's docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHORTEST = 120
"""Characters of a document."""

LONGEST = 240
"""Characters after which a document is cut, so that two cores encode all of them in about two minutes."""

SHORTEST_QUERY = 15
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "__pycache__",
}
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.DOTALL)


@dataclass(frozen=True)
class Docstring:
    """A document, and the query that it is the one right answer to.

    Attributes
    ----------
    name
        Where the docstring stands: ``"textwrap.TextWrapper.wrap"``.
    query
        Its first sentence.
    text
        The beginning of the rest.
    """

    name: str
    query: str
    text: str


def stdlib_docstrings(folder: Path | None = None) -> list[Docstring]:
    """Collect docstrings whose rest is long enough, each text and query once, ordered by their names.

    Sources are parsed, not imported.

    Parameters
    ----------
    folder
        Of Python sources. Default: this interpreter's standard library.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    seen: set[str] = set()
    found = []
    for file in sorted(root.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(file.relative_to(root).parts):
            for name, docstring in _in_file(file, root):
                split = _split(docstring)
                if split is not None and seen.isdisjoint(split):
                    seen.update(split)
                    found.append(Docstring(name, *split))
    return sorted(found, key=lambda one: one.name)


def _in_file(file: Path, root: Path) -> Iterator[tuple[str, str]]:
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            # Old sources have escapes that are no escapes, which is not the reader's concern.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # Some files are there to be wrong.
    yield from _in_node(tree, module)


def _in_node(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        docstring = ast.get_docstring(node)
        if docstring:
            yield name, docstring
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if hasattr(child, "name") else name
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _in_node(child, inner)


def _split(docstring: str) -> tuple[str, str] | None:
    text = inspect.cleandoc(docstring)
    sentence = _SENTENCE.match(text)
    if sentence is None:
        return None
    query, rest = " ".join(sentence[1].split()), text[sentence.end() :].strip()[:LONGEST]
    return (query, rest) if len(query) >= SHORTEST_QUERY and len(rest) >= SHORTEST else None
