"""Collecting katas: a file that does not import becomes failing tests, never a session that does not start."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.python import importtestmodule

from dojo.isolation.timeout import TIMEOUTS
from dojo.kata.files import Kata
from dojo.kata.import_failure import FAILURES, Broken, import_failure
from dojo.kata.source import helpers_named_like_tests

# A DataLoader forks its workers, and from Python 3.12 on that warns where libraries have threads. Here it is no danger:
# one thread computes. (A marker holds under `-W error` too, a setting would not.)
_FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
_TEST_LINE = re.compile(r"^def (test_\w+)", re.MULTILINE)


class KataModule(pytest.Module):
    """A kata file; or a learner's copy of one, which stands for the kata's tests with the copy's functions."""

    def __init__(self, *, kata: Kata, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kata = kata
        self.add_marker(_FORKS)

    def _getobj(self) -> ModuleType:
        return importtestmodule(self.kata.path, self.config)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            self.kata.path.read_bytes().decode("utf-8")  # pytest's assertion rewriting lets some through that are not
            timeouts = self.config.stash[TIMEOUTS]
            with timeouts.limit(timeouts.seconds_for(None), f"importing {self.path.name}"):
                _ = self.obj
        except FAILURES as error:
            cause = error.__cause__ if isinstance(error, self.CollectError) and error.__cause__ else error
            return self._broken_tests(import_failure(cause, self.kata.path))
        helpers = helpers_named_like_tests(self.kata.path)
        tests = [test for test in super().collect() if getattr(test, "originalname", test.name) not in helpers]
        gone = f"the tests are gone: `pytest --kata-reset {self.kata.slug}` brings them back, and keeps your version"
        return tests or self._broken_tests(Broken(self.kata.path, 1, f"{gone} beside it"))

    def _broken_tests(self, problem: Broken) -> list[pytest.Item]:
        """One failing item for each test that the text seems to hold, so that test ids and counts stay."""
        file = self.kata.path
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        names = dict.fromkeys(_TEST_LINE.findall(text)) or ["test_file_imports"]
        return [BrokenTest.from_parent(self, name=name, problem=problem) for name in names]


class BrokenTest(pytest.Item):
    """Stands for a test of a kata file that does not import."""

    def __init__(self, *, problem: Broken, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.problem = problem

    def runtest(self) -> None:
        raise self.problem

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


def forget_katas(root: Path) -> None:
    """Drop imported katas from sys.modules: with importlib mode a second session in a process gets the old ones.

    `root` is a folder, or the file of one kata.
    """
    prefix = str(root)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(prefix):
            del sys.modules[name]
