"""The ``embplug`` command, which calls the functions of the library.

The exit codes are 0 for success, 1 for a failure, 2 for wrong usage, 3 if the collection exists with another
recipe, 4 if there is no such collection, and 5 if a recipe, a copy or an upgrade misses its target.
"""

from embplug.cli import advise as advise  # Each import registers commands.
from embplug.cli import collection as collection
from embplug.cli import documents as documents
from embplug.cli import evaluate as evaluate
from embplug.cli import explain as explain
from embplug.cli import mcp as mcp
from embplug.cli import migrate as migrate
from embplug.cli import payloads as payloads
from embplug.cli import upgrade as upgrade
from embplug.cli.shared import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the ``embplug`` command."""
    app()
