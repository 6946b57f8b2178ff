"""From an existing collection to a compressed one, while it is in use."""

from embplug.migration.report import MigrationReport
from embplug.migration.run import migrate, rollback

__all__ = ["MigrationReport", "migrate", "rollback"]
