"""The docstrings of the standard library: about two thousand texts that come with Python."""

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
"""Smallest number of characters of a document."""

LONGEST = 240
"""Characters after which a document is cut. Two cores then encode all documents in about two minutes."""

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
    """A document, and the query for which it is the only relevant document.

    Attributes
    ----------
    name : str
        Dotted name of the object: ``"textwrap.TextWrapper.wrap"``.
    query : str
        First sentence of the docstring.
    text : str
        Beginning of the rest of the docstring.
    """

    name: str
    query: str
    text: str


def stdlib_docstrings(folder: Path | None = None) -> list[Docstring]:
    """Collect docstrings of Python sources, which are parsed and not imported.

    Docstrings that are too short, and repeated texts and queries, are left out.

    Parameters
    ----------
    folder : path, default=None
        Folder of Python sources. ``None`` stands for the standard library of this interpreter.

    Returns
    -------
    list of Docstring
        Docstrings, sorted by their names.
    """
    root = Path(sysconfig.get_path("stdlib")) if folder is None else folder
    seen: set[str] = set()
    docstrings = []
    for file in sorted(root.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(file.relative_to(root).parts):
            for name, docstring in _in_file(file, root):
                split = _split(docstring)
                if split is not None and seen.isdisjoint(split):
                    seen.update(split)
                    docstrings.append(Docstring(name, *split))
    return sorted(docstrings, key=lambda docstring: docstring.name)


def _in_file(file: Path, root: Path) -> Iterator[tuple[str, str]]:
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            # Old sources have invalid escapes, of which Python warns.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # Some files are invalid on purpose.
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
