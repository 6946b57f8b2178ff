"""From an existing collection to a compressed one, while it is in use."""

from embplug.lifecycle.migration.entry import migrate, rollback
from embplug.lifecycle.migration.report import MigrationReport

__all__ = ["MigrationReport", "migrate", "rollback"]
