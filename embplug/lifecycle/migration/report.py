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
    source, target : str
        Names of the collections; of an alias, the collection behind it. In place both are the same.
    vectors : dict of str to str
        Name of each vector in the recipe, and its name in the source; ``""`` for a vector without a name.
    points : int
        Number of points of the source, at the end.
    target_points : int
        Number of points of the target, at the end.
    copied : int
        Number of points that the first pass of this call wrote.
    changed, deleted : int
        Number of points that later passes wrote or deleted, because they had changed meanwhile.
    passes : int
        Number of passes over the source.
    resumed : bool
        Whether this call went on with what an earlier call had begun.
    checked_payloads : int
        Number of payloads that were compared, all of which were equal.
    recall : Recall or None
        Share of the source's best hits that the target finds; None when nothing could be searched.
    alias : str or None
        Alias that was passed.
    switched : bool
        Whether this call switched the alias.
    finished : bool
        Whether the migration is over, and nothing is left to catch up with.
    dry_run : bool
        Whether nothing was written.
    in_place : bool
        Whether the vectors are added to the source itself.
    point_bytes : dict of str to PointBytes
        Bytes of a point's vectors in ``source`` and ``target``.
    search_ms : dict of str to float
        Median milliseconds of a search of ``source`` and ``target``, one at a time.
    readers : list of str
        What programs that read the source have to change, and when.
    notes : list of str
        Parts of the source that the target does not have, and other remarks.
    seconds : dict of str to float
        Seconds of each stage.
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
    search_ms: dict[str, float] = field(default_factory=dict)
    readers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return {
            **asdict(self),
            "recall": None if self.recall is None else {**asdict(self.recall), "value": self.recall.value},
        }
