"""A learner's day: what goes wrong around the exercise itself, and the one sentence that it gets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dojo.screen.lines import Line, fitting
from dojo.text import first_lines, folded

ROOT = Path(__file__).resolve().parents[1]


def screen(result) -> str:
    return folded("\n".join(result.outlines + result.errlines))


# ── where pytest runs ──


def test_another_environment_gets_one_sentence(project, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = project.run()
    assert result.ret == 4
    assert f"this pytest runs with a Python that has no torch and no numpy and no platformdirs: {sys.executable}" in (
        screen(result)
    )
    assert "Activate the virtual environment" in screen(result)
    assert "INTERNALERROR" not in screen(result)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["--kata-list"], "--kata-list is known only where the katas are."), ([], "There are no katas in")],
    ids=["an option", "nothing"],
)
def test_elsewhere_pytest_says_where_the_katas_are(tmp_path, arguments, sentence):
    command = [sys.executable, "-m", "pytest", "-p", "dojo.installation", *arguments]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert sentence in result.stdout + result.stderr
    assert f"They are in {ROOT}: run pytest there." in result.stdout + result.stderr


def test_a_name_for_a_path_is_told_the_path(project):
    result = project.run("beta")
    assert result.ret == 4
    assert "The kata beta is run by its path: pytest katas/01_first/02_beta.py" in screen(result)


# ── paths ──


@pytest.fixture
def with_paths(project):
    for name in ("alpha", "gamma"):
        project.edit(name, lambda text: text.replace("A lesson.", "A lesson.\n\nAbout 10 minutes.\nPath: short, other"))
    return project


def test_a_path_is_walked_until_another_is_chosen(with_paths):
    with_paths.solve("alpha")
    first = screen(with_paths.run("--kata-path=short"))
    assert "second/gamma · 0 of 2 tests pass" in first
    assert "1 of 2 katas of short" in first
    assert "beta" not in first
    assert "1 of 2 katas of short" in screen(with_paths.run())
    listed = screen(with_paths.run("--kata-list"))
    assert "beta" not in listed
    assert "the path short; --kata-path=all shows all 3 katas" in listed
    assert "1 of 3 katas" in screen(with_paths.run("--kata-path=all"))
    assert "first/beta · 0 of 2" in screen(with_paths.run())


def test_an_emptied_kata_of_a_path_is_not_passed_over(with_paths):
    with_paths.edit("alpha", lambda text: "")
    text = screen(with_paths.run("--kata-path=short"))
    assert "01_alpha.py:1: the tests are gone: `pytest --kata-reset alpha` brings them back" in text


def test_the_end_of_a_path_leads_on(with_paths):
    with_paths.solve("alpha", "gamma")
    result = with_paths.run("--kata-path=short")
    assert result.ret == 0
    assert "All katas of short pass. `pytest --kata-path=all` leads on through the others." in screen(result)


def test_an_ini_file_may_name_a_path_and_an_unknown_one_is_told_which_there_are(with_paths):
    with_paths.write("pytest.ini", (with_paths.path / "pytest.ini").read_text() + "kata_path = other\n")
    assert "0 of 2 katas of other" in screen(with_paths.run())
    result = with_paths.run("--kata-path=long")
    assert result.ret == 4
    assert "there is no path 'long'. There are: other (2 katas), short (2 katas), and all (3)" in screen(result)


def test_a_kata_outside_the_path_still_has_its_hints(with_paths):
    with_paths.run("--kata-path=short")
    assert "first/beta · hint 1 of 2" in screen(with_paths.run("--kata-hint", "beta"))


# ── the verdict ──


def test_functions_come_first_then_their_tests(project):
    project.body("alpha", "return x")
    rows = project.run().outlines
    at = {row.strip().split("  ")[0]: i for i, row in enumerate(rows)}
    assert at["alpha 0 of 1 · alpha_name 0 of 1"] < at["alpha"] < at["✗ test_alpha_doubles"] < at["alpha_name"]


def test_by_hand_there_is_the_chapter_the_current_kata_and_the_next(project):
    project.run("katas/01_first")
    project.solve("alpha")
    text = screen(project.run("katas/01_first"))
    assert "✓ first/alpha passes because two times one is two." in text
    assert "✓ first/alpha > first/beta current: 0 of 2 tests pass" in text
    assert "1 of 2 in first done edit katas/01_first/02_beta.py" in text
    project.solve("beta")
    text = screen(project.run("katas/01_first/02_beta.py"))
    assert "2 of 2 in first done next pytest katas/02_second/01_gamma.py" in text


def test_chapters_stand_in_their_order_whatever_was_typed(project):
    text = screen(project.run("katas/02_second", "katas/01_first"))
    assert text.index("> first/alpha") < text.index("○ first/beta") < text.index("○ second/gamma")


def test_one_cause_is_told_once(project):
    project.body("alpha", "return undefined(x)")
    project.edit("alpha", lambda text: text.replace('raise NotImplementedError("say the name")', "return undefined()"))
    text = screen(project.run())
    assert text.count("name 'undefined' is not defined") == 1
    assert "the same in 1 more test" in text
    assert "at katas/01_first/01_alpha.py:16: return undefined(x)" in text
    assert "edit katas/01_first/01_alpha.py:16" in text


def test_a_stub_that_is_gone_is_one_sentence(project):
    project.edit("alpha", lambda text: text.replace("def alpha_name", "def alpha_names"))
    text = screen(project.run())
    assert "01_alpha.py:1: defines no alpha_name, which the kata asks for. Renamed? `pytest --kata-reset alpha`" in text
    assert text.count("alpha_name,") == 1


@pytest.mark.parametrize("columns", ["80", "50", "40"])
def test_everything_keeps_to_the_width(project, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    long = "katas/01_first/01_a_kata_whose_name_is_longer_than_a_phone_is_wide_in_columns.py"
    (project.path / "katas/01_first/01_alpha.py").rename(project.path / long)
    file = project.path / long
    file.write_text(file.read_text().replace('raise NotImplementedError("double x")', "return x + torch.zeros(3)"))
    rows = project.run(long).outlines
    rows = rows[next(i for i, row in enumerate(rows) if " katas " in row) :]
    assert max(map(len, rows)) <= int(columns)
    assert "edit" in "".join(rows)
    assert any(row.endswith(".py:16") for row in rows)


def test_what_the_code_printed_stands_under_the_failing_test(project):
    project.body("alpha", 'print("\\n".join(f"line {i}" for i in range(30)))\n    return x')
    text = screen(project.run())
    assert "printed (30 lines, the last 10): | line 20" in text
    assert "| line 29" in text
    assert "| line 19" not in text


def test_state_is_one_paragraph_and_the_same_value_is_no_change(project):
    project.body(
        "alpha", 'torch.set_default_device("cpu")\n    torch.set_default_dtype(torch.float64)\n    return x * 2'
    )
    text = screen(project.run())
    assert text.count("your code left") == 1
    assert "your code left the default dtype (was float32, is now float64). It has been put back" in text
    assert "device" not in text


def test_an_error_is_cut_before_it_prints_a_tensor_and_without_colours():
    error = RuntimeError("Jacobian mismatch for output 0,\nnumerical:tensor([[1., 0.],\n [0., 1.]])\nanalytical: ...")
    assert first_lines(error) == "Jacobian mismatch for output 0,"
    assert first_lines(ValueError("\x1b[31mred\x1b[0m text")) == "red text"


def test_the_header_has_no_line_of_pytest_benchmark(project):
    assert "benchmark: " not in "\n".join(project.run().outlines)


def test_where_the_reader_cannot_scroll_the_end_of_the_body_is_counted():
    body, end = [Line(str(i)) for i in range(20)], [Line("edit"), Line("hint")]
    assert fitting(body, end, None) == body + end
    shown = [line.text for line in fitting(body, end, 10)]
    assert len(shown) == 10
    assert shown[:7] == list("0123456")
    assert shown[7:] == ["... 13 lines more", "edit", "hint"]


# ── calls that no test can bear ──


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ('input("? ")', "your code calls input(), and nobody answers while tests run"),
        ("import sys; sys.exit()", "your code calls sys.exit(), which ends a program"),
        ("breakpoint()", "your code calls breakpoint(), and there is no terminal here"),
        ("import pdb; pdb.set_trace()", "your code calls breakpoint(), and there is no terminal here"),
        ('import pytest; pytest.skip("later")', "your code calls pytest.skip()"),
        ('import pytest; pytest.xfail("later")', "your code calls pytest.xfail()"),
        ('import pytest; pytest.exit("bye", 0)', "your code calls pytest.exit()"),
    ],
    ids=["input", "exit", "breakpoint", "pdb", "skip", "xfail", "end"],
)
@pytest.mark.parametrize("explained", [False, True], ids=["plain", "in explain"])
def test_a_call_that_reaches_out_of_the_test_is_named(project, statement, sentence, explained):
    project.body("alpha", f"{statement}\n    return x * 2")
    if explained:
        project.edit("alpha", lambda text: text.replace("from dojo.kit import", "from dojo.kit import explain,"))
        project.edit(
            "alpha",
            lambda text: text.replace(
                "    check_tensor(alpha(torch.ones(2)), want",
                '    with explain("accused"):\n        out = alpha(torch.ones(2))\n    check_tensor(out, want',
            ),
        )
    result = project.run_apart()
    assert result.ret == 1
    assert sentence in screen(result)
    assert "accused" not in screen(result)
    assert "0 of 3 katas" in screen(result)
    assert "1 failed, 1 todo" in result.outlines[-1]


def test_a_thread_left_running_does_not_hold_the_end(project):
    project.body(
        "alpha", "import threading, time\n    threading.Thread(target=time.sleep, args=(50,)).start()\n    return x"
    )
    started = time.monotonic()
    result = project.run_apart()
    assert time.monotonic() - started < 25
    assert "your code left a thread running" in screen(result)


def test_a_forked_child_does_not_run_the_rest(project):
    project.body("alpha", "import os\n    os.fork()\n    return x * 2")
    result = project.run_apart()
    assert screen(result).count("0 of 3 katas") == 1
    assert "1 passed, 1 todo" in result.outlines[-1]


def test_a_debugger_has_no_time_limit(project):
    project.write(
        "conftest.py",
        """
        import pytest, sys
        pytest_plugins = ["dojo.plugin"]
        sys.stdin = type("Terminal", (), {"isatty": lambda self: True})()

        @pytest.hookimpl(trylast=True)
        def pytest_enter_pdb(config):
            import time
            time.sleep(1.5)  # somebody thinks
            raise ValueError("thought")
        """,
    )
    project.body("alpha", "import pdb; pdb.set_trace()")
    text = screen(project.run_apart("--kata-timeout=0.5", "-s"))
    assert "ValueError: thought" in text
    assert "did not end in" not in text


def test_a_marker_may_know_why_code_is_slow(project):
    project.body("alpha", "while True: pass")
    project.edit("alpha", lambda text: text.replace("import torch\n", "import pytest\nimport torch\n", 1))
    marks = '@pytest.mark.timeout(0.5)\n@pytest.mark.timeout_advice("Counting.")\n'
    project.edit("alpha", lambda text: text.replace("def test_alpha_d", f"{marks}def test_alpha_d"))
    text = screen(project.run())
    assert "did not end in 0.5 s; the code was at katas/01_first/01_alpha.py:17: while True: pass" in text
    assert "Counting." in text


# ── files ──


def test_copies_beside_a_kata_are_none(project):
    text = (project.path / "katas/01_first/01_alpha.py").read_text()
    for name in ("01_alpha (copy).py", "01_alpha.orig.py", "01_alpha-2.py"):
        project.write(f"katas/01_first/{name}", text)
    assert "6 todo" in project.run("katas").outlines[-1]
    assert "0 of 3 katas" in screen(project.run())


def test_a_helper_with_a_tests_name_is_no_test(project):
    project.solve("alpha")
    project.edit(
        "alpha", lambda text: text.replace("def alpha(x", "def test_mine():\n    assert False\n\n\ndef alpha(x")
    )
    assert "first/beta · 0 of 2" in screen(project.run())
    project.edit("alpha", lambda text: text.replace("return x * 2", "return x"))
    assert "test_mine is a function of yours, not run as a test" in screen(project.run())


def test_a_file_beside_cannot_be_imported_and_says_so(project):
    project.edit("beta", lambda text: text.replace("import torch\n", "import torch\nimport alpha\n", 1))
    text = screen(project.run("katas/01_first/02_beta.py"))
    assert "02_beta.py:9: 01_alpha.py lies beside this file, but a kata stands alone" in text


def test_a_folder_that_may_not_be_written_costs_no_warnings_and_no_lies(project, monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", _refuse)
    text = screen(project.run())
    assert "0 of 3 katas" in text
    assert "CacheWarning" not in text
    for _ in range(2):
        text = screen(project.run("--kata-hint", "alpha"))
        assert "hint 1 of 2" in text
        assert "hint 2 of 2" in text


def _refuse(*args, **kwargs):
    raise PermissionError(13, "Permission denied")


def test_the_kit_does_not_rest_on_assert():
    """`python -O` would take it away."""
    for file in (ROOT / "dojo/kit").glob("*.py"):
        assert "\n    assert " not in file.read_text(encoding="utf-8").replace("        ", "    "), file


# ── commands ──


def test_why_without_a_name_is_that_of_the_last_solved_kata(project):
    assert "no kata passes yet" in screen(project.run("--kata-why"))
    project.solve("alpha")
    project.run()
    assert "first/alpha because two times one is two." in screen(project.run("--kata-why"))


@pytest.mark.parametrize("name", ["gam", "amma", "second/gam", "katas/02_second/01_gamma.py"])
def test_a_name_may_be_a_beginning_a_part_or_a_path(project, name):
    assert "second/gamma · hint 1" in screen(project.run("--kata-hint", name))


def test_nothing_is_proposed_for_a_name_that_is_far_from_all(project):
    text = screen(project.run("--kata-hint", "zzzzzz"))
    assert "no kata is called 'zzzzzz'; `pytest --kata-list` shows them all" in text


def test_a_hint_is_shown_again(project):
    project.run("--kata-hint", "alpha")
    project.run("--kata-hint", "alpha")
    assert "hint 1 of 2 the first idea" in screen(project.run("--kata-hint", "alpha=1"))
    assert "has 2 hints" in screen(project.run("--kata-hint", "alpha=7"))


def test_a_list_is_filtered_and_says_how_long_a_kata_takes(project):
    project.edit("beta", lambda text: text.replace("A lesson.", "A lesson.\n\nAbout 25 minutes. Before it: alpha."))
    text = screen(project.run("--kata-list", "first"))
    assert "gamma" not in text
    assert "○ beta about 25 minutes, after alpha" in text
    assert "0 of 2 done" in text


def test_a_test_leaves_a_note_for_the_verdict_and_the_list(project):
    project.run()
    project.edit("alpha", lambda text: text.replace("import check_tensor", "import check_tensor, tell"))
    project.edit("alpha", lambda text: text + '    tell("98.70 % in 1.7 s")\n')
    project.run()
    project.solve("alpha")
    assert "✓ first/alpha passes 98.70 % in 1.7 s because two" in screen(project.run())
    assert "✓ alpha (98.70 % in 1.7 s)" in screen(project.run("--kata-list"))
