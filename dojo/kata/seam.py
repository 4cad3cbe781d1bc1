"""The one mechanism: tests come from the kata file, the functions under test from a solution.

Each kata calls `under_test(globals())` between its stubs and its tests. In a learner's own run that does nothing.
With `--kata-solutions=DIR` it re-binds the stubs' names to the functions of `DIR/NN_chapter/NN_name.py`, before the
tests below are defined, so that parametrised values, default arguments and subclasses see them too.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from dojo.kata.files import without_number
from dojo.kata.import_failure import FAILURES, describe_import_failure
from dojo.kata.source import stub_names
from dojo.text import relative

_MODULE_PREFIX = "dojo_solution_"
BINDING = "__kata_binding__"


@dataclass(frozen=True)
class Binding:
    """What the seam did to one kata module; the plugin reads it before it runs a test of that module."""

    kind: Literal["own", "bound", "unsolved", "broken"]
    message: str = ""


class Source(Protocol):
    """Something that may define a kata's functions."""

    def describe(self, key: str) -> str:
        """Where this kata's functions would be, for messages."""

    def load(self, key: str) -> Mapping[str, Any] | None:
        """The names that it defines for the kata `key`; None when it has nothing for it."""


class SolutionTree:
    """A folder that mirrors `katas/`: `reference/`, a learner's submission."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def describe(self, key: str) -> str:
        return str(self.folder / f"{key}.py")

    def load(self, key: str) -> Mapping[str, Any] | None:
        path = self.folder / f"{key}.py"
        return vars(import_solution(path)) if path.is_file() else None


class Overlay:
    """A few functions for one kata, such as those of a known mistake."""

    def __init__(self, key: str, functions: Mapping[str, Any]) -> None:
        self.key = key
        self.functions = functions

    def describe(self, key: str) -> str:
        return f"overlay of {key}"

    def load(self, key: str) -> Mapping[str, Any] | None:
        return self.functions if key == self.key else None


@dataclass(frozen=True)
class Setup:
    """Where the katas, the reference and the solutions in force are."""

    katas: Path
    reference: Path
    sources: Sequence[Source] = ()
    while_importing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


# The innermost pytest session's setup is the last one: the gate runs sessions inside a session.
_setups: list[Setup] = []


@contextlib.contextmanager
def in_force(setup: Setup) -> Iterator[None]:
    """Make `setup` the one that the seams see."""
    _setups.append(setup)
    try:
        yield
    finally:
        _setups.remove(setup)


def under_test(namespace: dict[str, Any]) -> None:
    """Bind the functions under test into a kata module: nothing in a learner's own run (see the module docstring)."""
    if namespace["__name__"].startswith(_MODULE_PREFIX) or not _setups:
        return  # a whole kata file used as a solution, or a kata imported outside pytest
    setup = _setups[-1]
    path = Path(namespace["__file__"]).resolve()
    if not setup.sources or not path.is_relative_to(setup.katas):
        namespace[BINDING] = Binding("own")
        return
    key = path.relative_to(setup.katas).with_suffix("").as_posix()
    namespace[BINDING] = bind(namespace, key, stub_names(path, setup.reference / f"{key}.py"), setup)


def bind(namespace: dict[str, Any], key: str, names: Sequence[str], setup: Setup) -> Binding:
    """Re-bind `names` from the first source that defines each."""
    found: dict[str, Any] = {}
    having: list[Source] = []
    for source in setup.sources:
        try:
            with setup.while_importing():
                defined = source.load(key)
        except FAILURES as error:
            return Binding("broken", describe_import_failure(error, Path(source.describe(key))))
        if defined is None:
            continue
        having.append(source)
        found = {name: defined[name] for name in names if name in defined} | found
    if not having:
        where = " or ".join(relative(Path(source.describe(key))) for source in setup.sources)
        return Binding("unsolved", f"no solution yet: {where} does not exist")
    missing = [name for name in names if name not in found]
    if missing:
        return Binding("broken", _about_missing(missing, Path(having[0].describe(key)), key))
    namespace.update(found)
    return Binding("bound")


def _about_missing(names: Sequence[str], path: Path, key: str) -> str:
    reset = f"`pytest --kata-reset {without_number(key.split('/')[-1])}`"
    return (
        f"{relative(path)}:1: defines no {' and no '.join(names)}, which the kata asks for. Renamed? "
        f"{reset} brings the stubs, and keeps your version beside them"
    )


def import_solution(path: Path) -> ModuleType:
    """Run a solution file as a module of its own. Never from a .pyc: its key, mtime and size, misses quick edits."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module = ModuleType(f"{_MODULE_PREFIX}{digest}_{path.stem}")
    module.__file__ = str(path)
    source = path.read_bytes().decode("utf-8")  # compile() would let some bad bytes through in comments
    # Registered, so that dataclasses, pickle and inspect find the module of what it defines.
    sys.modules[module.__name__] = module
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module
