"""The ``embplug`` command: thin, it calls what the library offers.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the collection exists with another recipe,
4 no such collection, 5 a recipe, a copy or an upgrade that is not what was asked for.
"""

from embplug.cli import advise as advise  # registers its commands
from embplug.cli import collection as collection
from embplug.cli import evaluate as evaluate
from embplug.cli import migrate as migrate
from embplug.cli import upgrade as upgrade
from embplug.cli.shared import app

__all__ = ["app", "main"]


def main() -> None:
    """Entry point of the ``embplug`` command."""
    app()
