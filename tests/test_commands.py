"""The commands that show something: list, hint, why, compare."""

from __future__ import annotations

import pytest


def screen(result) -> str:
    return "\n".join(result.outlines)


def test_list_shows_done_current_and_to_do(project):
    project.solve("alpha", "gamma")
    result = project.run("--kata-list")
    assert result.ret == 0
    lines = [line.strip() for line in result.outlines if line.strip()]
    assert lines == [
        "first",
        "✓ alpha",
        "> beta  current: to do",
        "second",
        "✓ gamma",
        "2 of 3 done",
    ]


def test_list_says_of_gpu_katas_that_they_were_not_run_here(project, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    project.solve("alpha", "beta")
    project.edit(
        "beta",
        lambda text: text.replace("import torch\n", "import pytest\nimport torch\n").replace(
            "def test_", "@pytest.mark.gpu\ndef test_"
        ),
    )
    text = screen(project.run("--kata-list"))
    assert "beta  not run here: needs a GPU" in text
    assert "1 of 3 done" in text
    assert "not run here, for want of a GPU: 1 whole kata" in screen(project.run())


def test_a_kata_that_needs_a_missing_package_is_not_done_and_says_how_to_install_it(project):
    project.solve("alpha", "beta")
    needs = "\n    from dojo.kit import needs\n    needs('torch', 'no_such_package')\n"
    project.edit("beta", lambda text: text + needs)
    text = screen(project.run())
    assert "not run here: needs no_such_package (pip install no_such_package)" in text
    assert "for want of a GPU" not in text
    text = screen(project.run("--kata-list"))
    assert "beta  not run here: needs no_such_package (pip install no_such_package)" in text
    assert "1 of 3 done" in text


def test_hint_gives_the_next_one_each_time_and_the_last_one_stays(project):
    first = project.run("--kata-hint")
    assert first.ret == 0
    assert "first/alpha · hint 1 of 2" in screen(first)
    assert "the first idea" in screen(first)
    assert "the second idea" not in screen(first)
    second = screen(project.run("--kata-hint"))
    assert "the second idea" in second
    assert "that was the last one" in second
    assert "the second idea" in screen(project.run("--kata-hint"))


@pytest.mark.parametrize("name", ["gamma", "second/gamma", "katas/02_second/01_gamma.py", "02_second/01_gamma"])
def test_a_kata_has_many_names(project, name):
    assert "second/gamma · hint 1" in screen(project.run(f"--kata-hint={name}"))
    assert "second/gamma · hint 2" in screen(project.run("--kata-hint", name))


@pytest.mark.parametrize("option", ["--kata-hint", "--kata-why", "--kata-compare"])
def test_an_unknown_name_gets_the_nearest_ones(project, option):
    result = project.run(option, "gama")
    assert result.ret == 4
    assert "Did you mean gamma" in result.stderr.str()


def test_why_is_told_only_after_passing(project):
    result = project.run("--kata-why", "alpha")
    assert "not solved yet" in screen(result)
    assert "because" not in screen(result)
    project.solve("alpha")
    result = project.run("--kata-why", "alpha")
    assert result.ret == 0
    assert "because two times one is two." in screen(result)


def test_compare_refuses_while_unsolved_unless_peeking(project):
    refused = screen(project.run("--kata-compare", "alpha"))
    assert "not solved yet" in refused
    assert "return x * 2" not in refused
    assert "return x * 2" in screen(project.run("--kata-compare", "alpha", "--kata-peek"))


def test_compare_shows_both_functions(project, monkeypatch):
    project.solve("alpha")
    project.edit("alpha", lambda text: text.replace("return x * 2", "return x + x"))
    narrow = screen(project.run("--kata-compare", "alpha"))
    assert "-     return x + x" in narrow
    assert "+     return x * 2" in narrow
    assert narrow.count("the same as the reference") == 1
    monkeypatch.setenv("COLUMNS", "120")
    wide = screen(project.run("--kata-compare"))
    assert "return x + x" in wide
    row = next(line for line in wide.splitlines() if "return x + x" in line)
    assert "return x * 2" in row


def test_compare_takes_the_functions_of_another_tree(project):
    project.write(
        "other/01_first/01_alpha.py", 'def alpha(x):\n    return 2 * x\n\n\ndef alpha_name():\n    return "alpha"\n'
    )
    text = screen(project.run("--kata-solutions=other", "--kata-compare", "alpha"))
    assert "-     return 2 * x" in text


def test_commands_leave_no_trace_of_a_test_run_on_screen(project):
    text = screen(project.run("--kata-hint"))
    assert "test session starts" not in text
    assert "todo" not in text
    assert "ttt" not in text
