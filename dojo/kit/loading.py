"""Worker processes of a DataLoader, in a test that must not hang."""

from __future__ import annotations

import multiprocessing
from typing import Any


def workers(count: int) -> dict[str, Any]:
    """Keyword arguments of a DataLoader with `count` worker processes (0: none); one that hangs raises after 20 s.

    Forked where the system can: 0.05 s a pass; a spawned worker imports torch anew, which takes seconds.
    (Where there are fewer cores than workers, DataLoader warns.)
    """
    if not count:
        return {"num_workers": 0}
    forks = "fork" in multiprocessing.get_all_start_methods()
    return {"num_workers": count, "timeout": 20, "multiprocessing_context": "fork" if forks else None}
