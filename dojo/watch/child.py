"""One run from inside its process: the limits on what the learner's code may take, and what the parent is told."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import shutil
import signal
import sys
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NoReturn

import pytest

from dojo.isolation.timeout import TIMEOUTS, marked_seconds
from dojo.kata.module import KataModule
from dojo.kata.source import parse
from dojo.kata.trees import TREES
from dojo.process.limits import limit_memory
from dojo.watch.screen import KEYS


@dataclass(frozen=True)
class Busy:
    """Told to the parent: what begins now, and for how many seconds it may last (0: as long as it likes)."""

    what: str
    seconds: float


@dataclass(frozen=True)
class HardExit:
    """Told to the parent: somebody calls os._exit, which leaves no other trace."""

    status: int
    file: str
    line: int


@dataclass(frozen=True)
class Verdict:
    """Told to the parent: the verdict is on screen."""

    states: dict[str, str]
    current: str | None
    imported: list[str]  # the libraries that the run had to import


Fact = Busy | HardExit | Verdict
# The first would write crashes to the screen. The others only warn, and collect garbage at the end for 0.1 s.
WITHOUT = [f"-pno:{plugin}" for plugin in ("faulthandler", "unraisableexception", "threadexception")]


def main(parent: Connection, crashes: Connection, arguments: list[str], imports: list[str], memory_gb: float) -> None:
    """Get ready, wait for the parent's word, run pytest, and end.

    crashes: where faulthandler writes which line was running, at a fatal signal.
    arguments: pytest's.  imports: libraries that the kata will need.
    """
    os.setsid()  # the parent ends all of this group; Ctrl-C is its business, too
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    faulthandler.enable(file=crashes.fileno(), all_threads=False)
    for name in imports:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    warm = importlib.import_module("dojo.process.warm")  # the fork server has done so; elsewhere it is done now
    if not parent.poll():  # there is time: once more, so that the memory that a run writes to is this process's own
        warm.up()
    limit_memory(memory_gb)
    teller = Teller(parent)
    really_exit, os._exit = os._exit, teller.hard_exit
    status = pytest.main([*WITHOUT, *arguments], plugins=[teller])
    sys.stdout.flush()
    sys.stderr.flush()
    really_exit(int(status))


class Teller:
    """Plugin of the child's pytest session: waits for the parent's word, and tells it what goes on."""

    def __init__(self, parent: Connection) -> None:
        self.parent = parent
        self.pid, self.really_exit = os.getpid(), os._exit
        self.known: set[str] = set()  # names of modules that were there before

    def tell(self, fact: Fact) -> None:
        if os.getpid() == self.pid:  # the run may have forked processes of its own
            with contextlib.suppress(OSError):  # the parent is gone
                self.parent.send(fact)

    def hard_exit(self, status: int) -> NoReturn:
        """Stands for os._exit."""
        caller = sys._getframe(1)
        self.tell(HardExit(status, caller.f_code.co_filename, caller.f_lineno))
        self.really_exit(status)

    def pytest_configure(self, config: pytest.Config) -> None:
        # The parent is the second tier; faulthandler's would cost a thread for each test.
        config.stash[TIMEOUTS].close()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """The session is configured, which is half of a short run's time: hold it until the learner saves."""
        # What does not change until then is read now: the names that the reference of the kata declares.
        parse(session.config.stash[TREES].reference / f"{session.config.option.kata_verdict}.py")
        gc.collect()
        gc.freeze()  # a collection during the run need not walk what torch and pytest hold
        self.known = set(sys.modules)
        try:
            self.parent.recv()
        except EOFError:  # the parent is gone
            self.really_exit(0)
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, KataModule):
            seconds = collector.config.stash[TIMEOUTS].seconds_for(None)
            self.tell(Busy(f"importing {collector.path.name}", seconds))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """The logging plugin puts a handler on the root logger and back, three times a test, for `caplog`."""
        if not any("caplog" in getattr(item, "fixturenames", ()) for item in session.items):
            session.config.pluginmanager.unregister(name="logging-plugin")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.tell(Busy(item.name, item.config.stash[TIMEOUTS].seconds_for(marked_seconds(item))))

    def pytest_kata_page_height(self) -> int | None:
        """Each run clears the screen, and the parent writes a line above and the keys below."""
        size = shutil.get_terminal_size()
        return max(8, size.lines - 4 - len(KEYS) // size.columns) if sys.stdout.isatty() else None

    @pytest.hookimpl(trylast=True)
    def pytest_kata_verdict(self, states: dict[str, str], current: str | None) -> None:
        sys.stdout.flush()
        new = [name for name in list(sys.modules) if name not in self.known]
        libraries = [name for name in new if "site-packages" in (getattr(sys.modules[name], "__file__", None) or "")]
        self.tell(Verdict(states, current, libraries))
