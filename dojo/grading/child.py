"""One kata of a submission, in a process of its own: the limits, one pytest session, and what the worker is told."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import re
import resource
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dojo.grading.tampering import Names, Snapshot
from dojo.isolation.timeout import TIMEOUTS
from dojo.kata.files import Kata
from dojo.kata.module import BrokenTest, KataModule
from dojo.process.limits import limit_memory
from dojo.session.facts import Result, TestFact, fact_of

FILE_BYTES = 256 << 20
_FILES = 256  # open at once
_MOST = 4000  # characters of a sentence, of an X-ray, of what was printed
_SECONDS_AFTER_A_HANG = 2.0
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
# Plugins that a kata has no use for.
_WITHOUT = ("terminal", "cacheprovider", "faulthandler", "logging", "unraisableexception", "threadexception")


def limit(job: dict[str, Any], processes: int) -> None:
    """Set the limits that hold for this process and all that it starts. `processes`: 0 where the wall counts them."""
    limits = {"RLIMIT_FSIZE": FILE_BYTES, "RLIMIT_NOFILE": _FILES, "RLIMIT_CORE": 0}
    limits["RLIMIT_CPU"] = int(job["seconds"]) + 10
    if processes:
        limits["RLIMIT_NPROC"] = processes
    for name, value in limits.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))
    limit_memory(job["memory_gb"])


def run(job: dict[str, Any], told: int, crashes: int, folder: Path, snapshot: Snapshot) -> NoReturn:
    """Run the kata's tests on the submission's functions, and end.

    told: where the worker listens.  crashes: where faulthandler writes.  folder: the working directory.
    """
    faulthandler.enable(file=crashes, all_threads=False)
    project = Path(job["project"])
    kata = Kata(project / "katas" / f"{job['key']}.py", project / "katas")
    solution = folder / f"{job['key']}.py"
    solution.parent.mkdir(parents=True)
    solution.write_bytes(job["text"].encode("utf-8", "surrogateescape"))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    teller = Teller(told, job, kata, snapshot)
    really_exit, os._exit = os._exit, teller.hard_exit
    gc.freeze()
    with contextlib.suppress(BaseException):
        pytest.main(_arguments(job, kata, folder), plugins=[teller])
    teller.tell(what="end")
    really_exit(0)


def _arguments(job: dict[str, Any], kata: Kata, folder: Path) -> list[str]:
    return [
        *("-c", os.devnull, "--rootdir", job["project"], "--noconftest", "--import-mode=importlib"),
        *(word for name in _WITHOUT for word in ("-p", f"no:{name}")),
        f"--confcutdir={kata.path.parent}",  # pytest collects from there on; what is above may not be read
        *("-p", "dojo.plugin"),
        *("-o", "python_functions=test_*", "-o", "python_files=[0-9][0-9]_*.py"),
        *(f"--kata-solutions={folder}", f"--kata-seed={job['seed']}", f"--basetemp={folder.parent / 'tmp'}"),
        *(("-m", job["mark"]) if job["mark"] else ()),
        str(kata.path),
    ]


class Teller:
    """Plugin of the session: tells what goes on, and looks whether what judges is still what it was."""

    def __init__(self, told: int, job: dict[str, Any], kata: Kata, snapshot: Snapshot) -> None:
        self._told, self._token, self._pid, self._exit = told, job["token"], os.getpid(), os._exit
        self._test_seconds = job["test_seconds"]
        self._result, self._snapshot = Result(kata), snapshot
        self._folders = (f"{Path.cwd()}/", f"{job['project']}/")
        self._names: Names | None = None
        self._plugins = 0
        self._write, self._dumps = os.write, json.dumps  # as they are now

    def tell(self, **fact: Any) -> None:
        if os.getpid() != self._pid:  # a child that the submission's code forked: the session is its parent's
            self._exit(0)
        line = self._dumps({"token": self._token, **fact}).encode() + b"\n"
        while line:
            line = line[self._write(self._told, line) :]

    def hard_exit(self, status: int) -> NoReturn:
        """Stands for os._exit."""
        caller = sys._getframe(1)
        if os.getpid() == self._pid:
            self.tell(what="exit", status=int(status), at=f"{caller.f_code.co_filename}:{caller.f_lineno}")
        self._exit(status)

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[TIMEOUTS].close()  # the worker is the second tier
        config.stash[TIMEOUTS].default = self._test_seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """After the tests, those that must fail; a session in which they do not is none."""
        module = next((item.getparent(KataModule) for item in items if not isinstance(item, BrokenTest)), None)
        self.tell(what="tests", tests=[item.name for item in items])
        if module is not None:
            items += [pytest.Function.from_parent(module, name=c.__name__, callobj=c) for c in CANARIES]
            functions = {item.name: item.obj for item in items if isinstance(item, pytest.Function)}
            self._names = Names(module.obj, functions)
            self._plugins = len(session.config.pluginmanager.get_plugins())

    def pytest_runtest_logstart(self, location: tuple[str, int | None, str]) -> None:
        self.tell(what="begin", test=location[2])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        self._item = item
        vars(item)["repr_failure"] = lambda excinfo: ""  # tracebacks that nobody sees took half of the time
        item.config.stash[TIMEOUTS].default = self._test_seconds

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        fact = fact_of(report)
        if fact is not None:
            self._result.add(fact)
            if fact.error == "Timeout":  # the others are given less
                self._test_seconds = min(self._test_seconds, _SECONDS_AFTER_A_HANG)

    def pytest_runtest_logfinish(self, location: tuple[str, int | None, str]) -> None:
        item, fact = self._item, self._result.facts.get(self._item.name)
        if item.name in _CANARY_NAMES:
            self.tell(what="canary", test=item.name, failed=fact is not None and fact.kind == "failed")
            return
        if fact is not None and fact.kind == "passed":
            changed = self._changes(item)
            if changed:
                self.tell(what="tampering", names=changed[:10], test=item.name)
        self.tell(what="result", test=item.name, fact=self._plain(fact) if fact is not None else None)

    def _plain(self, fact: TestFact) -> dict[str, Any]:
        """Of the fact what a record keeps: without this machine's folders, and addresses that differ each time."""
        texts = {"says": fact.says[:_MOST], "printed": fact.printed[-_MOST:], "at": fact.at, "source": fact.source}
        texts["where"] = fact.where
        plain = {name: self._clean(text) for name, text in texts.items()}
        others = {"kind": fact.kind, "error": fact.error, "unusable": fact.unusable}
        return plain | others | {"xray": [self._clean(row) for row in fact.xray[:40]]}

    def _clean(self, text: str) -> str:
        for folder in self._folders:
            text = text.replace(folder, "")
        return _ADDRESS.sub("0x...", text)

    def _changes(self, item: pytest.Item) -> list[str]:
        changed = self._snapshot.changes()
        if self._names is not None and isinstance(item, pytest.Function):
            changed += self._names.changes(item.name, item.obj)
        if len(item.config.pluginmanager.get_plugins()) != self._plugins:
            changed.append("pytest's plugins")
        return changed + [f"{check.__name__} (it did not fail)" for check in CANARIES if not _fails(check)]


def _fails(check: Any) -> bool:
    try:
        check()
    except AssertionError:
        return True
    except BaseException:
        return False
    return False


# ── what must fail, whatever a submission has done ──


def an_assertion_must_fail() -> None:
    one, two = [1], [2]
    assert one == two, "a list that differs"


def check_tensor_must_fail() -> None:
    import torch

    from dojo.kit import check_tensor

    check_tensor(torch.zeros(2), torch.ones(2), "a tensor that differs")


def assert_close_must_fail() -> None:
    import torch

    torch.testing.assert_close(torch.zeros(2), torch.ones(2))


def equal_must_fail() -> None:
    import torch

    assert torch.equal(torch.zeros(2), torch.ones(2)) or bool((torch.zeros(2) == torch.ones(2)).any()), "they differ"


def raises_must_fail() -> None:
    try:
        with pytest.raises(ValueError):
            pass
    except pytest.fail.Exception as error:
        raise AssertionError("nothing was raised") from error


CANARIES = (an_assertion_must_fail, check_tensor_must_fail, assert_close_must_fail, equal_must_fail, raises_must_fail)
_CANARY_NAMES = frozenset(check.__name__ for check in CANARIES)
