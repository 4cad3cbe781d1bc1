"""A mark of the test that runs now. A run that dies (a segmentation fault, `os._exit`, a kill) leaves it behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

import pytest


class RunningMark:
    """A file that holds this process's number and the test that runs; gone at each ordinary end."""

    def __init__(self, config: pytest.Config) -> None:
        self.path: Path | None = None
        self._file: IO[str] | None = None
        with contextlib.suppress(OSError, AttributeError):  # a read-only folder, or no cache: then nothing is marked
            self.path = config.cache.mkdir("kata") / "running"
        self._left = _left_by_a_dead_run(self.path) if self.path is not None else None

    def take(self) -> str | None:
        """The test that ran when an earlier run died; told once."""
        left, self._left = self._left, None
        if left is not None and self.path is not None and self._file is None:
            with contextlib.suppress(OSError):
                self.path.unlink()
        return left

    def set(self, nodeid: str) -> None:
        if self.path is None:
            return
        with contextlib.suppress(OSError):
            self._file = self._file or self.path.open("w", encoding="utf-8")
            self._file.seek(0)
            self._file.write(f"{os.getpid()} {nodeid}")
            self._file.truncate()
            self._file.flush()

    def clear(self) -> None:
        if self._file is not None and self.path is not None:
            self._file.close()
            with contextlib.suppress(OSError):
                self.path.unlink()


def _left_by_a_dead_run(path: Path) -> str | None:
    """The test that ran when an earlier run died. The mark of a run that still goes on is none."""
    try:
        pid, _, nodeid = path.read_text(encoding="utf-8").partition(" ")
    except (OSError, ValueError):
        return None
    return nodeid if nodeid and not (pid.isdigit() and _lives(int(pid))) else None


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return False  # os.kill would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
