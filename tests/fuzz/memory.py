"""The most memory that this process has taken since a moment."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

PROCESS = Path("/proc/self")


def peak_begins() -> int:
    """Forget the peak so far where the system can, and return the bytes that the process has now."""
    if not PROCESS.exists():
        return peak_bytes()
    (PROCESS / "clear_refs").write_text("5")
    return _status("VmRSS")


def peak_bytes() -> int:
    """Return the most bytes that the process has had since :func:`peak_begins`, or since it began."""
    if PROCESS.exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(name: str) -> int:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
