"""Bare `pytest`: the order, the stop, the exit codes, the verdict."""

from __future__ import annotations


def screen(result) -> str:
    return "\n".join(result.outlines)


def test_bare_pytest_stops_after_the_first_unfinished_kata(project):
    result = project.run()
    assert result.ret == 1
    assert "alpha · 0 of 2 tests pass" in screen(result)
    assert "beta" not in screen(result)
    assert "0 of 3 katas" in screen(result)
    assert "edit  katas/01_first/01_alpha.py:16" in screen(result)
    assert "hint  pytest --kata-hint" in screen(result)


def test_stubs_are_todo_with_a_letter_a_line_and_no_traceback(project):
    result = project.run()
    assert "2 todo" in result.outlines[-1]
    assert "01_alpha.py tt" in screen(result)
    assert "Error" not in screen(result)
    assert "FAILURES" not in screen(result)
    assert screen(result).count("to do") == 2


def test_the_first_screen_has_at_most_40_lines(project):
    assert len(project.run().outlines) <= 40


def test_finished_katas_are_run_again_and_the_next_one_is_led_to(project):
    project.solve("alpha")
    result = project.run()
    assert result.ret == 1
    assert "1 of 3 katas" in screen(result)
    assert "second/gamma" not in screen(result)
    assert "first/beta · 0 of 2 tests pass" in screen(result)
    project.body("alpha", "return x")
    project.edit("alpha", lambda text: text.replace("return x * 2", "return x * 3"))
    assert "first/alpha · 1 of 2" in screen(project.run())


def test_a_kata_that_passes_for_the_first_time_tells_its_why(project):
    project.run()
    project.solve("alpha")
    result = project.run()
    assert "first/alpha passes" in screen(result)
    assert "because two times one is two." in screen(result)
    assert "first/alpha passes" not in screen(project.run())


def test_all_katas_done_is_exit_0(project):
    project.solve("alpha", "beta", "gamma")
    result = project.run()
    assert result.ret == 0
    assert "3 of 3 katas" in screen(result)
    assert "All katas pass" in screen(result)


def test_an_explicit_selection_does_not_stop(project):
    result = project.run("katas")
    result.assert_outcomes(failed=0)
    assert "6 todo" in result.outlines[-1]
    assert result.ret == 1
    assert "6 todo" in project.run("katas/01_first", "katas/02_second").outlines[-1]
    assert "3 todo" in project.run("-k", "doubles").outlines[-1]
    assert "1 todo" in project.run("katas/02_second/01_gamma.py::test_gamma_doubles").outlines[-1]


def test_the_whole_kata_runs_before_the_stop_and_each_failure_is_told_once(project):
    project.body("alpha", "return x")
    project.edit("alpha", lambda text: text.replace('raise NotImplementedError("say the name")', 'return "x"'))
    result = project.run()
    assert "2 failed" in result.outlines[-1]
    text = screen(result)
    assert "____ test_" not in text
    assert text.count("you did not double it") == 1
    assert text.count("worst at") == 1
    assert text.count("the name is wrong") == 1
    assert "edit  katas/01_first/01_alpha.py:14" in text


def test_verbose_shows_pytests_own_tracebacks(project):
    project.body("alpha", "return x")
    for option in ("-v", "--tb=long"):
        assert "____ test_alpha_doubles ____" in screen(project.run(option))


def test_the_verdict_comes_last_before_pytests_own_line(project):
    lines = [line for line in project.run().outlines if line.strip()]
    assert lines[-3].startswith("edit ")
    assert lines[-2].startswith("hint ")
    assert lines[-1].startswith("=")


def test_maxfail_lf_and_collect_only_are_pytests_own(project):
    assert "1 todo" in project.run("katas", "-x").outlines[-2] + project.run("katas", "-x").outlines[-1]
    project.body("alpha", "return x * 2")
    project.run("katas/01_first/01_alpha.py")
    result = project.run("--lf", "katas/01_first/01_alpha.py")
    assert "1 todo" in result.outlines[-1]
    assert "1 deselected" in screen(result)
    result = project.run("--collect-only", "-q")
    assert result.ret == 0
    assert "katas/02_second/01_gamma.py::test_gamma_doubles" in screen(result)
    assert "of 3 katas" not in screen(result)


def test_no_tests_selected_is_exit_5(project):
    assert project.run("-k", "nothing_is_called_so").ret == 5


def test_with_workers_the_stop_is_off_and_says_so(project):
    project.solve("beta")
    result = project.run_apart("-n", "2")
    assert result.ret == 1
    text = screen(result)
    assert "with -n all katas ran" in text
    assert "4 todo" in result.outlines[-1]
    assert "2 passed" in result.outlines[-1]
    assert "first/alpha · 0 of 2" in text
    assert "+ first/beta" in text or "✓ first/beta" in text
    assert "with -n all katas ran" not in screen(project.run_apart("-n", "2", "-k", "alpha"))


def test_junit_xml_counts_todo_as_failures(project):
    project.run("katas", "--junitxml=out.xml")
    xml = (project.path / "out.xml").read_text()
    assert 'failures="6"' in xml
    assert "double x" in xml


def test_a_narrow_console_and_an_ascii_one(project, monkeypatch):
    project.body("alpha", "return x")
    monkeypatch.setenv("COLUMNS", "40")
    result = project.run()
    ours = result.outlines[result.outlines.index(next(x for x in result.outlines if " katas " in x)) :]
    assert max(len(line) for line in ours) <= 40, "\n".join(ours)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("PYTHONUTF8", "0")
    text = screen(project.run_apart())
    assert text.isascii()
    assert "x test_alpha_doubles" in text


def test_without_the_cache_plugin_everything_works(project):
    result = project.run("-p", "no:cacheprovider")
    assert result.ret == 1
    assert "first/alpha" in screen(result)
    hints = screen(project.run("-p", "no:cacheprovider", "--kata-hint"))
    assert "the first idea" in hints
    assert "the second idea" in hints


def test_a_deselected_kata_is_skipped_by_the_walk(project):
    result = project.run("--deselect", "katas/01_first/01_alpha.py")
    assert "first/beta · 0 of 2" in screen(result)
