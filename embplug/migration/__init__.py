"""From an existing collection to a compressed one, while it is in use."""

from embplug.migration.entry import migrate, rollback
from embplug.migration.report import MigrationReport

__all__ = ["MigrationReport", "migrate", "rollback"]
