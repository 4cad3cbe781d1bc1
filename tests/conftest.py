"""A small project of four katas, for the engine's own tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dojo.kit.checks  # noqa: F401  torch is imported once, before pytester takes its snapshots of sys.modules

INI = """
[pytest]
testpaths = katas
python_files = [0-9][0-9]_*.py
python_functions = test_*
addopts = --import-mode=importlib -rN --tb=short --strict-markers -p no:randomly
markers =
"""

KATA = '''
"""The {name} kata

A lesson.

https://docs.pytorch.org/docs/stable/
"""

import torch

from dojo import under_test
from dojo.kit import check_tensor


def {name}(x: torch.Tensor) -> torch.Tensor:
    """Twice x."""
    raise NotImplementedError("double x")


def {name}_name() -> str:
    """The name."""
    raise NotImplementedError("say the name")


# tests below
under_test(globals())


def test_{name}_doubles():
    want = torch.full((2,), 2.0)
    check_tensor({name}(torch.ones(2)), want, "you did not double it")


def test_{name}_has_a_name():
    assert {name}_name() == "{name}", "the name is wrong"
'''

REFERENCE = '''
"""Reference.

Hint: the first idea
Hint: the second idea

Why: because two times one
is two.
"""

import torch


def {name}(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def {name}_name() -> str:
    return "{name}"
'''

NAMES = {
    "alpha": "katas/01_first/01_alpha.py",
    "beta": "katas/01_first/02_beta.py",
    "gamma": "katas/02_second/01_gamma.py",
}


class Project:
    """The fixture project: `solve`, `write`, `run`."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.write("conftest.py", 'pytest_plugins = ["dojo.plugin"]\n')
        self.write("pytest.ini", INI)
        for name, path in NAMES.items():
            self.write(path, KATA.format(name=name))
            self.write(path.replace("katas/", "reference/"), REFERENCE.format(name=name))

    def write(self, path: str, text: str | bytes) -> Path:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            file.write_bytes(text)
        else:
            file.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        return file

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        file = self.path / NAMES[name]
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")

    def solve(self, *names: str) -> None:
        for name in names:
            self.edit(
                name,
                lambda text, name=name: text.replace('raise NotImplementedError("double x")', "return x * 2").replace(
                    'raise NotImplementedError("say the name")', f'return "{name}"'
                ),
            )

    def body(self, name: str, statement: str) -> None:
        """Make `statement` the body of the kata's first function."""
        self.edit(name, lambda text: text.replace('raise NotImplementedError("double x")', statement))

    def run(self, *args: str) -> pytest.RunResult:
        """In this process: torch is there already."""
        return self.pytester.runpytest_inprocess(*args)

    def run_apart(self, *args: str, timeout: float = 120) -> pytest.RunResult:
        """In a process of its own, for what ends processes or starts some."""
        return self.pytester.runpytest_subprocess(*args, timeout=timeout)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("KATA_SOLUTIONS", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("CI", raising=False)  # where nothing is remembered
    return Project(pytester)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The checks of a kata look at one run of it: they belong into one worker.

    pytest-xdist 3.8 writes a test's group into `item._nodeid`, which pytest 9.2 no longer reads: every test would be a
    group of its own.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByKata(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.rpartition("-")[0] if "::test_kata[" in nodeid else super()._split_scope(nodeid)

    return ByKata(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The default run of tests/ leaves out what is marked slow; `-m slow`, or naming the file, runs it."""
    if config.option.markexpr:
        return
    # `-k name` is an author at work on that kata.
    if config.option.keyword:
        return
    named = {Path(argument.split("::")[0]).name for argument in config.args}
    here = Path(__file__).parent
    slow = [
        item
        for item in items
        if item.get_closest_marker("slow") and item.path.is_relative_to(here) and item.path.name not in named
    ]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


DRAWS = """

def picture(solution):
    import torch

    from dojo.kit import pictures

    figure = pictures.figure(3, 2)
    axes = figure.subplots()
    (line,) = axes.plot([0, 1, 2], solution.alpha(torch.arange(3.0)), color=pictures.BLUE)
    pictures.tidy(axes, "x", "twice x")
    drawing = figure if DRAWING == "still" else pictures.moving(figure, lambda i: line.set_alpha(1 - i / 4), 3)
    doubled = solution.alpha(torch.tensor([2.0, 21.0]))
    return pictures.Picture(drawing, f"21 becomes {doubled[1]:g}", {"doubled": doubled})
"""


@pytest.fixture
def drawing(project):
    """The fixture project, whose kata alpha has a picture that moves."""
    for module in (
        "animation",
        "backends.backend_agg",
        "figure",
    ):  # once: a session in this process forgets its imports
        pytest.importorskip(f"matplotlib.{module}")
    reference = project.path / "reference/01_first/01_alpha.py"
    reference.write_text(reference.read_text() + DRAWS.replace("DRAWING", '"moving"'))
    return project
