"""The machine on which something was measured."""

from __future__ import annotations

import os
import platform
from typing import Any


def processor_name() -> str:
    """Return the name of the processor, or an empty text where the system does not tell it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def this_machine() -> dict[str, Any]:
    """Describe the machine as JSON types: ``processor``, ``cores``, ``system`` and version of ``python``."""
    return {
        "processor": processor_name() or platform.machine(),
        "cores": core_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
