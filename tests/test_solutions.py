"""`--kata-solutions`: tests from katas/, functions from elsewhere."""

from __future__ import annotations

import pytest

SOLVED = """
import torch

def alpha(x):
    return x + x

def alpha_name():
    return "alpha"
"""


def screen(result) -> str:
    return "\n".join(result.outlines)


def ids(result) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def test_the_reference_passes_everything(project):
    result = project.run("--kata-solutions=reference", "katas")
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    assert "functions from reference" in screen(result)
    assert ids(project.run("--kata-solutions=reference", "--collect-only", "-q")) == ids(
        project.run("--collect-only", "-q")
    )


def test_a_path_may_be_absolute_or_come_from_the_environment(project, monkeypatch):
    project.run(f"--kata-solutions={project.path / 'reference'}", "katas").assert_outcomes(passed=6)
    monkeypatch.setenv("KATA_SOLUTIONS", "reference")
    project.run("katas").assert_outcomes(passed=6)


def test_the_first_tree_that_defines_a_name_wins(project):
    project.write("other/01_first/01_alpha.py", 'def alpha_name():\n    return "other"\n')
    result = project.run("--kata-solutions=other", "--kata-solutions=reference", "katas/01_first/01_alpha.py")
    result.assert_outcomes(passed=1, failed=1)
    assert "the name is wrong" in screen(result)


def test_a_missing_file_is_an_unsolved_kata_even_if_the_learner_solved_it(project):
    project.solve("alpha", "beta")
    project.write("other/01_first/01_alpha.py", SOLVED)
    result = project.run("--kata-solutions=other", "katas/01_first")
    result.assert_outcomes(passed=2)
    assert "2 todo" in result.outlines[-1]
    assert "no solution yet" in screen(result)


def test_a_missing_name_fails_at_the_solutions_file(project):
    project.write("other/01_first/01_alpha.py", "def alpha(x):\n    return x + x\n")
    result = project.run("--kata-solutions=other", "katas/01_first/01_alpha.py")
    result.assert_outcomes(failed=2)
    assert "other/01_first/01_alpha.py:1: defines no alpha_name" in " ".join(screen(result).split())


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def alpha(x:\n    pass\n", "01_alpha.py:1: SyntaxError"),
        (
            "import nowhere\n",
            "01_alpha.py:1: ModuleNotFoundError while the file is imported: No module named 'nowhere'",
        ),
        ("import sys\nsys.exit(0)\n", "01_alpha.py:2: the file calls sys.exit()"),
        ("x = 1\n\ny = undefined\n", "01_alpha.py:3: NameError"),
        (
            "import pytest\npytest.skip('no', allow_module_level=True)\n",
            "01_alpha.py:2: the file skips or ends the run",
        ),
        (b"# caf\xe9\nx = 1\n", "01_alpha.py:1: the file is not UTF-8 text"),
    ],
    ids=["syntax", "import", "exit", "name", "skip", "encoding"],
)
def test_a_solution_that_does_not_import_fails_that_kata_alone(project, source, sentence):
    project.write("other/01_first/01_alpha.py", source)
    project.write("other/01_first/02_beta.py", SOLVED.replace("alpha", "beta"))
    result = project.run("--kata-solutions=other", "katas/01_first")
    result.assert_outcomes(passed=2, failed=2)
    assert sentence in " ".join(screen(result).split())
    assert result.ret == 1


def test_helpers_classes_decorators_and_module_state_work_in_a_solution(project):
    project.write(
        "other/01_first/01_alpha.py",
        """
        import functools
        import pickle

        calls = []

        def logged(f):
            @functools.wraps(f)
            def inner(*args):
                calls.append(f.__name__)
                return f(*args)
            return inner

        class Base:
            def double(self, x):
                return x + x

        class Child(Base):
            def double(self, x):
                return super().double(x)

        @logged
        def alpha(x):
            pickle.loads(pickle.dumps(Child()))
            return Child().double(x)

        @logged
        def alpha_name():
            assert calls[-1] == "alpha_name"
            return "alpha"
        """,
    )
    project.run("--kata-solutions=other", "katas/01_first/01_alpha.py").assert_outcomes(passed=2)


def test_a_solution_cannot_replace_a_test_or_a_helper(project):
    project.write(
        "other/01_first/01_alpha.py",
        "def alpha(x):\n    return x\n\ndef alpha_name():\n    return 'no'\n\n"
        "def test_alpha_doubles():\n    pass\n\ndef check_tensor(*a):\n    pass\n",
    )
    project.run("--kata-solutions=other", "katas/01_first/01_alpha.py").assert_outcomes(failed=2)


def test_a_whole_solved_kata_file_is_a_solution_too(project):
    project.solve("alpha")
    project.write("class/anna/01_first/01_alpha.py", (project.path / "katas/01_first/01_alpha.py").read_text())
    project.body("alpha", "return None")
    project.run("--kata-solutions=class/anna", "katas/01_first/01_alpha.py").assert_outcomes(passed=2)


def test_the_learners_own_helpers_do_not_disturb(project):
    project.edit("alpha", lambda text: text.replace("def alpha(", "def my_helper():\n    pass\n\n\ndef alpha("))
    project.run("--kata-solutions=reference", "katas/01_first/01_alpha.py").assert_outcomes(passed=2)


def test_assertion_rewriting_selection_and_workers_work_with_solutions(project):
    project.write("other/01_first/01_alpha.py", SOLVED.replace('"alpha"', '"omega"'))
    result = project.run("--kata-solutions=other", "katas/01_first/01_alpha.py")
    assert "'omega' == 'alpha'" in screen(result)
    result = project.run("--kata-solutions=other", "katas/01_first/01_alpha.py::test_alpha_doubles")
    result.assert_outcomes(passed=1)
    project.run("--kata-solutions=other", "-k", "alpha and doubles").assert_outcomes(passed=1)
    project.run_apart("--kata-solutions=reference", "katas", "-n", "2").assert_outcomes(passed=6)


def test_another_trees_run_leaves_the_learners_last_failed_alone(project):
    project.run("katas")
    project.run("--kata-solutions=reference", "katas").assert_outcomes(passed=6)
    assert "6 todo" in project.run("--lf", "katas").outlines[-1]
    project.write("other/01_first/01_alpha.py", SOLVED.replace('"alpha"', '"omega"'))
    project.run("--kata-solutions=other", "katas/01_first/01_alpha.py").assert_outcomes(passed=1, failed=1)
    project.run("--kata-solutions=other", "--lf", "katas/01_first/01_alpha.py").assert_outcomes(failed=1)


def test_a_folder_that_is_not_there_is_a_usage_error(project):
    result = project.run("--kata-solutions=nowhere", "katas")
    assert result.ret == 4
    assert "nowhere: there is no such folder" in result.stderr.str()


def test_it_works_without_pytests_cache(project):
    result = project.run("--kata-solutions=reference", "-p", "no:cacheprovider", "katas")
    result.assert_outcomes(passed=6)
