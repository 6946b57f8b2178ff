"""What a migration did, or would do."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from embplug.lifecycle.migration.sizes import PointBytes
from embplug.lifecycle.migration.verify import Recall


@dataclass
class MigrationReport:
    """What a migration did, or with ``dry_run`` would do.

    Attributes
    ----------
    source, target
        Collections; of an alias, the collection behind it. In place both are the same.
    vectors
        Vector of the recipe -> vector of the source; ``""`` has no name.
    points
        Of the source, at the end.
    target_points
        Of the target, at the end.
    copied
        Points written by the first pass of this call.
    changed, deleted
        Points written or deleted by later passes, because they were written to or deleted meanwhile.
    passes
        Over the source.
    resumed
        Whether this call went on with what an earlier one had begun.
    checked_payloads
        Payloads compared, all of which were equal.
    recall
        Part of the source's best hits that the target finds; ``None`` when nothing could be searched.
    alias
        As it was asked for.
    switched
        Whether the alias was switched by this call.
    finished
        Whether the migration is over: nothing is left to catch up with.
    point_bytes
        Bytes of a point's vectors in ``source`` and ``target``.
    notes
        What of the source the target does not have, and what else one should know.
    seconds
        Of each stage.
    """

    source: str
    target: str
    vectors: dict[str, str]
    points: int = 0
    target_points: int = 0
    copied: int = 0
    changed: int = 0
    deleted: int = 0
    passes: int = 0
    resumed: bool = False
    checked_payloads: int = 0
    recall: Recall | None = None
    alias: str | None = None
    switched: bool = False
    finished: bool = False
    dry_run: bool = False
    in_place: bool = False
    point_bytes: dict[str, PointBytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **asdict(self),
            "recall": None if self.recall is None else {**asdict(self.recall), "value": self.recall.value},
        }
