"""What the recommended recipe has to reach: a limit of bytes, or a recall."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embplug.branches.sizing import Cost, Part, disk_bytes, vector_bytes
from embplug.errors import InvalidArgumentError

DEFAULT_RECALL = 0.95


@dataclass(frozen=True)
class Target:
    """A limit of bytes, or a recall that the recipe has to reach at the fewest bytes.

    For dense vectors, the bytes in memory count. For token matrices, the bytes on disk count.

    Attributes
    ----------
    budget : float, default=None
        Largest number of bytes of the whole collection with all its replicas.
    bytes_per_vector : float, default=None
        Largest number of bytes of the vectors and codes of one document.
    recall : float, default=None
        Smallest recall in the whole collection, 0 to 1.
    """

    budget: float | None = None
    bytes_per_vector: float | None = None
    recall: float | None = None

    def __str__(self) -> str:
        if self.budget is not None:
            return f"at most {self.budget:,.0f} bytes in all"
        if self.bytes_per_vector is not None:
            return f"at most {self.bytes_per_vector:,.0f} bytes a vector"
        return f"recall of at least {self.recall:g}"

    def headroom(self, by_disk: bool, parts: list[Part], total: Cost) -> float:
        """Compute by how many bytes a recipe stays below the limit.

        Parameters
        ----------
        by_disk : bool
            Whether the bytes on disk count, and not those in memory.
        parts : list of Part
            Bytes of one document.
        total : Cost
            Cost of the whole collection.

        Returns
        -------
        float
            Bytes below the limit; negative above it, infinite without a limit.
        """
        if self.budget is not None:
            return self.budget - (total.disk if by_disk else total.memory)
        if self.bytes_per_vector is not None:
            stored = [p for p in parts if p.kind in ("vectors", "codes", "payload")]
            return self.bytes_per_vector - (disk_bytes(stored) if by_disk else vector_bytes(parts))
        return math.inf


def checked_target(budget: float | None, bytes_per_vector: float | None, recall: float | None) -> Target:
    """Make a target from the arguments of :func:`advise`.

    Raises
    ------
    InvalidArgumentError
        More than one argument is set, or one is out of range.
    """
    arguments = {"budget": budget, "bytes_per_vector": bytes_per_vector, "recall": recall}
    names = [name for name, value in arguments.items() if value is not None]
    if len(names) > 1:
        expected = f"at most one of {', '.join(arguments)}"
        raise InvalidArgumentError(names[1], expected, " and ".join(names))
    for name in names:
        value = arguments[name]
        highest = 1.0 if name == "recall" else math.inf
        if not isinstance(value, (int, float)) or not 0 < value <= highest:
            raise InvalidArgumentError(name, f"a number above 0 and up to {highest:g}", repr(value))
    return Target(budget, bytes_per_vector, recall if names else DEFAULT_RECALL)
