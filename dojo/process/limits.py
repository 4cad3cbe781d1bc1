"""How much memory a process may take."""

from __future__ import annotations

import sys
from pathlib import Path


def limit_memory(gigabytes: float) -> None:
    """An allocation beyond the limit raises in the learner's code, instead of taking the machine down."""
    if gigabytes <= 0 or sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
