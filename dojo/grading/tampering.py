"""Is all that judges a submission still what it was? One process cannot keep its guest from its own objects.

A snapshot of what tests rely on is taken before any submission is imported, and compared after each passed test. Who
puts everything back in time is not seen by it: that is what `suspicion.py` is for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

_MODULES = ("builtins", "math", "operator", "pytest", "torch", "torch.testing", "torch.nn.functional", "numpy")
_ROOMS = ("dojo.kit", "dojo.kata", "dojo.session", "dojo.isolation", "dojo.grading", "dojo.screen")
_PYTEST = tuple(f"_pytest.{name}" for name in ("reports", "runner", "python", "raises", "outcomes", "nodes", "main"))
_CLASSES = (
    *("torch.Tensor", "pytest.TestReport", "pytest.CallInfo", "pytest.Function", "pytest.Item", "pytest.Session"),
    *("pytest.Module", "pytest.ExceptionInfo", "pytest.RaisesExc", "dojo.session.facts.Result"),
    *("dojo.session.facts.TestFact", "dojo.kata.module.KataModule", "json.JSONEncoder"),
)
Mark = tuple[Any, Any, Any, Any]


class Snapshot:
    """What each name of what judges stood for."""

    def __init__(self) -> None:
        self.owners = [(label, owner, [(name, _mark(v)) for name, v in _of(owner)]) for label, owner in _owners()]

    def changes(self) -> list[str]:
        """The names that stand for something else now."""
        changed = []
        for label, owner, marks in self.owners:
            now = vars(owner)
            changed += [f"{label}.{name}" for name, mark in marks if name in now and not _is(now[name], mark)]
        return changed


class Names:
    """The same of one kata's module: what stands below its seam, and the tests that were collected from it."""

    def __init__(self, module: ModuleType, tests: dict[str, Callable[..., object]]) -> None:
        self.module, self.tests = module, tests
        self.marks = {name: _mark(value) for name, value in vars(module).items() if not name.startswith("__")}
        self.codes = {name: _mark(test) for name, test in tests.items()}

    def changes(self, test: str, now: Callable[..., object]) -> list[str]:
        """What a test's module, and the test itself, were robbed of."""
        names = vars(self.module)
        changed = [name for name, mark in self.marks.items() if not _is(names.get(name), mark)]
        if test in self.codes and not _is(now, self.codes[test]):
            changed.append(test)
        return changed


def _owners() -> Iterator[tuple[str, Any]]:
    rooms = [name for name in sorted(sys.modules) if name.startswith(_ROOMS)]
    for name in (*_MODULES, *_PYTEST, *rooms):
        if name in sys.modules:
            yield name, sys.modules[name]
    for name in _CLASSES:
        module, _, attribute = name.rpartition(".")
        if module in sys.modules and hasattr(sys.modules[module], attribute):
            yield name, getattr(sys.modules[module], attribute)


def _of(owner: Any) -> list[tuple[str, Any]]:
    """The functions and classes of a module or class. Modules come in lazily, and values of settings do change."""
    return [(name, value) for name, value in vars(owner).items() if _judges(name, value)]


def _judges(name: str, value: Any) -> bool:
    if isinstance(value, ModuleType) or (name.startswith("__") and not isinstance(value, FunctionType)):
        return False
    return callable(value) or isinstance(value, classmethod | staticmethod | property)


def _mark(value: Any) -> Mark:
    """The object itself, and of a function what it does."""
    function = getattr(value, "__func__", value)
    if isinstance(function, FunctionType):
        return value, function.__code__, function.__defaults__, function.__kwdefaults__
    return value, None, None, None


def _is(value: Any, mark: Mark) -> bool:
    """Is it still what was marked? Asked of thousands of names after each test."""
    if value is not mark[0]:
        return False
    function = getattr(value, "__func__", value) if mark[1] is not None else None
    return function is None or (
        function.__code__ is mark[1] and function.__defaults__ is mark[2] and function.__kwdefaults__ is mark[3]
    )
