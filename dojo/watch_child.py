"""One run of the watch, in a process of its own: forked from a parent that has imported torch, or started afresh.

The run prints its verdict to stdout and tells the parent over a pipe, as JSON lines, what it is doing: the test that
starts, where the code was when it ended the process, what became of the kata. A run that is forked ahead has its
pytest session configured and started, and waits before it collects: half of a short run's time is spent by then.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dojo.collect import LIMITS, KataModule, forget_katas


class Messages:
    """Plugin of the child's pytest session: tells the parent what goes on."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, or stopped listening
            os.write(self.fd, (json.dumps(message) + "\n").encode())

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LIMITS].dump_to(self.fd)  # fifty lines of traceback: the parent picks out the learner's

    @pytest.hookimpl(trylast=True)
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, KataModule):
            self.tell(ready=True)  # torch is imported; what is slow from here on is the kata

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.tell(test=nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_kata_verdict(self, states: dict[str, str], current: str | None) -> None:
        self.tell(states=states, current=current)


class Wait:
    """Plugin of a session that is forked ahead: holds it back, ready to collect, until the learner saves."""

    def __init__(self, orders: int) -> None:
        self.orders = orders

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        gc.freeze()  # what torch and pytest hold stays: a collection during the run need not walk it
        line = b""
        while not line.endswith(b"\n"):
            part = os.read(self.orders, 4096)
            if not part:
                os._exit(0)  # the parent is gone, or has another use for its children
            line += part
        os.close(self.orders)
        os.environ.update(json.loads(line))


def run(arguments: list[str], fd: int, memory_gb: float, *plugins: object) -> int:
    """Run pytest with the limits of a watched run; returns its exit code."""
    messages = Messages(fd)
    _limit_memory(memory_gb)
    # A crash writes where each thread was to the parent's pipe, as plain lines.
    faulthandler.enable(file=fd, all_threads=False)
    really_exit = _report_hard_exits(messages)
    try:
        # pytest's own faulthandler plugin would write crashes to the screen instead.
        return int(pytest.main(["-p", "no:faulthandler", *arguments], plugins=[messages, *plugins]))
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


_WARM_KATA = '''"""A kata that teaches nothing."""
import torch

from dojo.kit import check_tensor, explain, under_test


def one():
    """One."""
    return torch.zeros(1)


def two():
    """Two."""
    raise NotImplementedError("two")


under_test(globals())


def test_one():
    with explain("no"):
        got = one()
    check_tensor(got, torch.ones(1), "one is not zero")


def test_two():
    assert two() == 2, "two"
'''


def warm_up() -> None:
    """A run over a kata that teaches nothing, so that first-time work is done before the learner saves.

    The parent does it once, and its children inherit it: imports, regular expressions, what torch sets up at its first
    operation, the way of a failure from the traceback to the verdict.
    """
    with tempfile.TemporaryDirectory() as folder, _nothing_on_screen():
        root = Path(folder)
        kata = root / "katas" / "01_warm" / "01_up.py"
        kata.parent.mkdir(parents=True)
        kata.write_text(_WARM_KATA)
        (root / "conftest.py").write_text('pytest_plugins = ["dojo.plugin"]\n')
        (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
        before = Path.cwd()
        os.chdir(root)
        try:
            pytest.main(["-p", "no:faulthandler", "-c", str(root / "pytest.ini"), "--kata-verdict=01_up"])
        finally:
            os.chdir(before)
            forget_katas(root)


@contextlib.contextmanager
def _nothing_on_screen() -> Iterator[None]:
    """Let what is written to stdout and stderr vanish, at the level of file descriptors."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd, _ in saved:
            os.dup2(nothing, fd)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for fd, copy in saved:
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nothing)


def main(arguments: list[str]) -> None:
    """`python -m dojo.watch_child FD MEMORY ARGUMENT...`: where fork is not safe."""
    raise SystemExit(run(arguments[2:], int(arguments[0]), float(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
