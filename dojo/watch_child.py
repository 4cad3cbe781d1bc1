"""One run of the watch, in a process of its own: forked from a parent that has imported torch, or started afresh.

The run prints its verdict to stdout and tells the parent over a pipe, as JSON lines, what it is doing: the test that
starts, where the code was when it ended the process, what became of the kata.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest


class Messages:
    """Plugin of the child's pytest session: tells the parent what goes on."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, or stopped listening
            os.write(self.fd, (json.dumps(message) + "\n").encode())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(test=nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_kata_verdict(self, states: dict[str, str], current: str | None) -> None:
        self.tell(states=states, current=current)


def run(arguments: list[str], fd: int, memory_gb: float) -> int:
    """Run pytest with the limits of a watched run; returns its exit code."""
    messages = Messages(fd)
    _limit_memory(memory_gb)
    # A crash writes where each thread was to the parent's pipe, as plain lines.
    faulthandler.enable(file=fd, all_threads=False)
    really_exit = _report_hard_exits(messages)
    try:
        # pytest's own faulthandler plugin would write crashes to the screen instead.
        return int(pytest.main(["-p", "no:faulthandler", *arguments], plugins=[messages]))
    finally:
        os._exit = really_exit


def _limit_memory(gigabytes: float) -> None:
    """An allocation beyond the limit raises in the learner's code, instead of taking the machine down."""
    if gigabytes <= 0 or sys.platform != "linux":
        return
    import resource

    now = next(int(row.split()[1]) for row in Path("/proc/self/status").read_text().splitlines() if "VmSize" in row)
    limit = now * 1024 + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _report_hard_exits(messages: Messages) -> Any:
    """os._exit leaves no trace; tell the parent who called it. Returns the real one."""
    real: Any = os._exit

    def told(status: int) -> Any:
        frame = sys._getframe(1)
        messages.tell(exit=status, at=f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return real(status)

    os._exit = told
    return real


def warm_up() -> None:
    """A run over a test that teaches nothing, so that pytest's own first-time work is done before the learner saves."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kata = root / "katas" / "01_warm" / "01_up.py"
        kata.parent.mkdir(parents=True)
        kata.write_text("def test_nothing():\n    assert [1] == [1]\n")
        (root / "conftest.py").write_text('pytest_plugins = ["dojo.plugin"]\n')
        (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
        before = Path.cwd()
        os.chdir(root)
        try:
            pytest.main(["-p", "no:faulthandler", "-c", str(root / "pytest.ini"), "--kata-verdict=01_up"])
        finally:
            os.chdir(before)


def main(arguments: list[str]) -> None:
    """`python -m dojo.watch_child FD MEMORY ARGUMENT...`: where fork is not safe."""
    raise SystemExit(run(arguments[2:], int(arguments[0]), float(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
