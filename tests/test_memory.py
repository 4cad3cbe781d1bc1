"""What is remembered: a kata that passed is not run again until something that decides it has changed."""

from __future__ import annotations

import re
import sys

import pytest

from dojo.kit import mnist as data
from dojo.session import memory


@pytest.fixture(autouse=True)
def fresh_digest():
    memory.engine_digest.cache_clear()
    yield
    memory.engine_digest.cache_clear()


def screen(result) -> str:
    return "\n".join(result.outlines)


def ran(result) -> list[str]:
    """The katas whose tests ran."""
    lines = (re.match(r"katas/\S+_(\w+)\.py [.FtsE]+", line) for line in result.outlines)
    return [line[1] for line in lines if line]


@pytest.fixture
def begun(project):
    """One kata is done, and pytest knows it."""
    project.solve("alpha")
    project.run()
    return project


def test_what_passed_is_not_run_again_and_the_verdict_says_how_many(begun):
    result = begun.run()
    assert ran(result) == ["beta"]
    assert "1 done, unchanged since they passed" in screen(result)
    assert "1 of 3 katas" in screen(result)
    assert result.ret == 1


def test_a_walk_collects_only_what_it_runs(begun):
    result = begun.run()
    assert "collected 2 items" in screen(result)
    begun.edit("gamma", lambda text: "1 / 0\n" + text)
    assert "ZeroDivisionError" not in screen(begun.run())


@pytest.mark.parametrize("side", ["katas", "reference"])
def test_a_change_of_the_learners_file_runs_it_again(begun, side):
    file = begun.path / side / "01_first/01_alpha.py"
    file.write_text(file.read_text() + "\n# a thought\n")
    assert ran(begun.run()) == (["alpha", "beta"] if side == "katas" else ["beta"])


@pytest.mark.parametrize("what", ["the engine", "a library", "Python", "the data"])
def test_a_change_of_what_judges_runs_everything_again(begun, monkeypatch, what):
    if what == "the engine":
        real = memory._bytes
        monkeypatch.setattr(memory, "_bytes", lambda path: real(path) + b"x" * (path.name == "seam.py"))
    elif what == "a library":
        monkeypatch.setattr(memory, "_version", lambda library: "99" if library == "torch" else "")
    elif what == "Python":
        monkeypatch.setattr(sys, "version", sys.version.replace("(", "(another ", 1))
    else:
        monkeypatch.setattr(memory, "at_hand", lambda: "mnist" if data.at_hand() == "stand-in" else "stand-in")
    memory.engine_digest.cache_clear()
    assert ran(begun.run()) == ["alpha", "beta"]


def test_a_failure_is_not_remembered_as_done(begun):
    begun.edit("alpha", lambda text: text.replace("return x * 2", "return x * 3"))
    assert ran(begun.run()) == ["alpha"]
    assert ran(begun.run()) == ["alpha"]


@pytest.mark.parametrize(
    "line",
    [
        "import helper_of_mine",
        "from helper_of_mine import f",
        "import importlib; importlib.import_module('helper_of_mine')",
    ],
)
def test_a_solution_that_imports_a_file_of_ones_own_always_runs(project, line):
    project.write("helper_of_mine.py", "def f():\n    pass\n")
    project.write("pytest.ini", (project.path / "pytest.ini").read_text() + "pythonpath = .\n")
    project.edit("alpha", lambda text: text.replace("import torch\n", f"import torch\n{line}\n", 1))
    project.solve("alpha")
    project.run()
    assert ran(project.run()) == ["alpha", "beta"]


def test_with_other_solutions_in_ci_and_without_a_cache_everything_runs(begun, monkeypatch):
    for _ in range(2):
        assert ran(begun.run("--kata-solutions=reference")) == ["alpha", "beta", "gamma"]
    assert ran(begun.run("-p", "no:cacheprovider")) == ["alpha", "beta"]
    assert ran(begun.run("--cache-clear")) == ["alpha", "beta"]
    monkeypatch.setenv("CI", "true")
    assert ran(begun.run()) == ["alpha", "beta"]


def test_a_selection_runs_what_it_names_and_is_remembered(project):
    project.solve("alpha", "beta")
    project.run("katas/01_first")
    assert ran(project.run()) == ["gamma"]
    assert ran(project.run("katas/01_first")) == ["alpha", "beta"]


@pytest.mark.parametrize("selection", [["-k", "alpha_doubles"], ["katas/01_first/01_alpha.py::test_alpha_doubles"]])
def test_a_kata_of_which_some_tests_ran_is_not_ticked(project, selection):
    project.run()
    project.solve("alpha")
    result = project.run(*selection)
    assert result.ret == 0
    assert "first/alpha · 1 of 2 tests ran" in screen(result)
    assert "✓" not in screen(result)
    assert ran(project.run()) == ["alpha", "beta"]


def test_when_the_last_kata_passes_all_run_once_more(begun):
    begun.solve("beta")
    begun.run()
    begun.solve("gamma")
    result = begun.run()
    assert "all katas pass; they run once more, all together" in screen(result)
    assert ran(result) == ["gamma", "alpha", "beta"]
    assert "6 passed" in result.outlines[-1]
    assert "3 of 3 katas" in screen(result)
    again = begun.run()
    assert again.ret == 0
    assert ran(again) == []
    assert "3 done, unchanged since they passed" in screen(again)
    assert "All katas pass" in screen(again)


def test_a_kata_that_fails_in_the_last_run_of_all_is_the_current_one(project):
    project.solve("alpha", "beta", "gamma")
    answer = "import os; return x * (3 if os.path.exists('now') else 2)"
    project.edit("alpha", lambda text: text.replace("return x * 2", answer))
    for name in ("katas/01_first/01_alpha.py", "katas/01_first/02_beta.py"):
        project.run(name)
    project.write("now", "")
    result = project.run()
    assert result.ret == 1
    assert "first/alpha · 1 of 2 tests pass" in screen(result)
    assert "2 of 3 katas" in screen(result)


def test_the_list_and_the_hint_run_nothing(begun, monkeypatch):
    begun.run("--kata-list")
    monkeypatch.setitem(sys.modules, "dojo.isolation.state", None)  # importing it, before a kata runs, would fail
    result = begun.run("--kata-list")
    assert [line.strip() for line in result.outlines if "beta" in line] == ["> beta  current: 0 of 2 tests pass"]
    assert "✓ alpha" in screen(result)
    assert "running" not in result.stderr.str()
    assert "first/beta · hint 1" in screen(begun.run("--kata-hint"))
    assert "because two times one is two." in screen(begun.run("--kata-why", "alpha"))


def test_the_list_runs_what_has_changed_and_says_so(begun):
    begun.solve("gamma")
    result = begun.run("--kata-list")
    assert "running 1 kata to see how they stand" in result.stderr.str()
    assert "✓ gamma" in screen(result)
    assert "running" not in begun.run("--kata-list").stderr.str()


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "import ctypes; ctypes.string_at(0)"])
def test_a_run_that_dies_is_told_of_by_the_next_one(begun, end):
    begun.body("beta", end)
    begun.run_apart()
    begun.edit("beta", lambda text: text.replace(end, "return x"))
    text = " ".join(screen(begun.run()).split())
    assert "the last run ended inside test_beta_doubles of 02_beta.py: it crashed or was killed there" in text
    assert "the last run ended" not in screen(begun.run())


def test_a_kata_that_is_deselected_does_not_make_everything_run_again(project):
    project.solve("alpha", "gamma")
    left_out = "--deselect=katas/01_first/02_beta.py"
    assert ran(project.run(left_out)) == ["alpha", "gamma"]
    result = project.run(left_out)
    assert ran(result) == []
    assert result.ret == 0
    assert "All katas pass" in screen(result)


def test_a_hint_does_not_take_away_the_word_of_a_run_that_died(begun):
    begun.body("beta", "import os; os._exit(0)")
    begun.run_apart()
    begun.run("--kata-hint")
    begun.edit("beta", lambda text: text.replace("import os; os._exit(0)", "return x"))
    assert "the last run ended inside" in screen(begun.run())


def test_a_read_only_cache_costs_nothing_but_the_memory(begun, monkeypatch):
    monkeypatch.setattr(memory.Memory, "_write", lambda self: None)
    assert ran(begun.run()) == ["beta"]


def test_a_damaged_cache_is_no_cache(begun):
    (begun.path / ".pytest_cache/v/kata/known").write_text("{")
    assert ran(begun.run()) == ["alpha", "beta"]
    (begun.path / ".pytest_cache/v/kata/known").write_text('{"01_first/01_alpha": 3}')
    assert ran(begun.run()) == ["alpha", "beta"]
