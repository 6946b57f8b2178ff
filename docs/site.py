"""Pages of the site that are made of the code: the reference of the API and of the command line."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import embplug
from embplug import errors, methods
from embplug.cli import app

API = {
    "reference/collection.md": (
        "Collection",
        "embplug.collection",
        "embplug.search",
        "embplug.engines",
        "embplug.branches",
    ),
    "reference/recipes.md": ("Recipes in Python", "embplug.recipe"),
    "reference/encoders.md": ("Encoders", "embplug.encoders"),
    "reference/lifecycle.md": ("Evaluation and lifecycle", "embplug.evaluation", "embplug.lifecycle"),
    "reference/methods.md": ("Methods", "embplug.methods"),
    "reference/errors.md": ("Errors", "embplug.errors"),
}
"""Title of each page, and the packages whose public names stand on it."""

ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the site that are files of the repository's root."""

ROLE = re.compile(r":(?:func|class|meth|attr|mod|data):\s*<code>~?([\w.]+)</code>")


def public_names() -> dict[str, str]:
    """Module of each public name that is documented."""
    everything = [(embplug, name) for name in embplug.__all__ if name != "models"]
    everything += [(methods, name) for name in methods.__all__]
    everything += [(errors, name) for name, value in vars(errors).items() if inspect.isclass(value)]
    named = {name: getattr(getattr(owner, name), "__module__", owner.__name__) for owner, name in everything}
    return {name: module for name, module in named.items() if module.startswith("embplug")}


def api_pages() -> Iterator[tuple[str, str]]:
    """Path and Markdown of each page of the API."""
    names = public_names()
    for path, (title, *packages) in API.items():
        own = [f"{module}.{name}" for name, module in names.items() if _belongs(module, packages)]
        yield path, f"# {title}\n\n" + "\n\n".join(f"::: {name}" for name in own)
    homeless = [
        name for name, module in names.items() if not any(_belongs(module, p[1:]) for p in API.values())
    ]
    if homeless:
        raise ValueError(f"no page of the reference has {homeless}: extend API in docs/site.py")


def _belongs(module: str, packages: Any) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def cli_page() -> str:
    """Markdown of the page of the command line."""
    parts = ["# Command line\n\nEvery command takes `--help`. `EMBPLUG_AT` stands for `--at`.\n"]
    parts.extend(_command(typer.main.get_command(app), "embplug"))
    return "\n".join(parts)


def _command(command: Any, name: str) -> Iterator[str]:
    """Markdown of a command, or of the commands of a group."""
    if hasattr(command, "commands"):
        for child in sorted(command.commands):
            yield from _command(command.commands[child], f"{name} {child}")
        return
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## {name}\n\n```text\n{name} {usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n"
    rows = [record for option in command.params if (record := option.get_help_record(context))]
    if rows:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{_cell(option)}` | {html.escape(_cell(text))} |" for option, text in rows)
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    root = Path(config.config_file_path).parent
    roots = [(page, (root / file).read_text(encoding="utf-8")) for file, page in ROOT_PAGES.items()]
    for path, text in [*api_pages(), ("reference/cli.md", cli_page()), *roots]:
        files.append(File.generated(config, path, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to files of the root lead to their pages."""
    for file, page in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{file}", f"]({page}")
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Show the references of docstrings as code."""
    return ROLE.sub(lambda match: f"<code>{match[1].rsplit('.')[-1]}</code>", content)
