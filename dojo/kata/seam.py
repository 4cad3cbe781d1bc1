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
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from dojo.kata.files import Kata, without_number
from dojo.kata.import_failure import FAILURES, Broken, import_failure
from dojo.kata.source import stub_names
from dojo.text import relative

_MODULE_PREFIX = "dojo_solution_"
_PROBLEM = "__kata_problem__"

# A folder that mirrors katas/ (reference/, a learner's own), or functions for the one kata that runs (a known mistake).
Source = Path | Mapping[str, Any]


class Unsolved(Exception):
    """There is no solution for this kata in the trees given; counts as todo."""


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
    setup, path = _setups[-1], Path(namespace["__file__"]).resolve()
    if path.is_relative_to(setup.katas):
        key = path.relative_to(setup.katas).with_suffix("").as_posix()
        names = stub_names(path, setup.reference / f"{key}.py")
        try:
            if setup.sources:
                namespace.update(_functions(key, names, setup))
            else:
                _check_that_all_are_there(names, namespace, path)
        except (Broken, Unsolved) as problem:
            namespace[_PROBLEM] = problem


def solution_of(kata: Kata, sources: Sequence[Source] = ()) -> SimpleNamespace:
    """The functions of a kata outside its tests: from the sources (default: those in force). Broken, Unsolved."""
    setup = _setups[-1]
    names = stub_names(kata.path, setup.reference / f"{kata.key}.py")
    setup = replace(setup, sources=sources or setup.sources or [setup.katas])
    return SimpleNamespace(**_functions(kata.key, names, setup))


def problem_of(module: ModuleType) -> Exception | None:
    """Why the functions of a kata could not be bound; every test of it raises this."""
    return getattr(module, _PROBLEM, None)


def _functions(key: str, names: Sequence[str], setup: Setup) -> dict[str, Any]:
    """Each of the names, from the first source that defines it."""
    found: dict[str, Any] = {}
    files = [source / f"{key}.py" for source in setup.sources if isinstance(source, Path)]
    having = [file for file in files if file.is_file()]
    for source in setup.sources:
        if isinstance(source, Path):
            file = source / f"{key}.py"
            source = _import(file, setup) if file in having else {}
        found = {name: source[name] for name in names if name in source} | found
    if not found and not having:
        raise Unsolved(f"no solution yet: {' or '.join(map(relative, files))} does not exist")
    if having:
        _check_that_all_are_there(names, found, having[0])
    return found


def _check_that_all_are_there(names: Sequence[str], found: Mapping[str, Any], file: Path) -> None:
    if missing := [name for name in names if name not in found]:
        raise Broken(
            file,
            1,
            f"defines no {' and no '.join(missing)}, which the kata asks for. Renamed? "
            f"`pytest --kata-reset {without_number(file.stem)}` brings the stubs, and keeps your version beside them",
        )


def _import(file: Path, setup: Setup) -> Mapping[str, Any]:
    try:
        with setup.while_importing():
            return vars(import_solution(file))
    except FAILURES as error:
        raise import_failure(error, file) from None


def import_solution(path: Path) -> ModuleType:
    """Run a solution file as a module of its own. Never from a .pyc: its key, mtime and size, misses quick edits."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module = ModuleType(f"{_MODULE_PREFIX}{digest}_{path.stem}")
    module.__file__ = str(path)
    source = path.read_bytes().decode("utf-8-sig")  # compile() would let some bad bytes through in comments
    # Registered, so that dataclasses, pickle and inspect find the module of what it defines.
    sys.modules[module.__name__] = module
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module
