"""Whatever a learner's file does: one clear sentence with file and line, exit 1, and nothing else lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest


def screen(result) -> str:
    return "\n".join(result.outlines)


def folded(result) -> str:
    return " ".join(screen(result).split())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("def broken(:", "katas/01_first/02_beta.py:1: SyntaxError"),
        ("  x = 1", "katas/01_first/02_beta.py:1: IndentationError: unexpected indent"),
        ("import nowhere", "katas/01_first/02_beta.py:1: ModuleNotFoundError while the file is imported: No module"),
        ("import sys; sys.exit(0)", "katas/01_first/02_beta.py:1: the file calls sys.exit()"),
        ("1 / 0", "katas/01_first/02_beta.py:1: ZeroDivisionError while the file is imported"),
        ("import pytest; pytest.exit('bye')", "katas/01_first/02_beta.py:1: the file skips or ends the run"),
    ],
)
def test_a_file_that_does_not_import_is_the_current_kata(project, line, sentence):
    project.solve("alpha")
    project.edit("beta", lambda text: line + "\n" + text)
    result = project.run()
    assert result.ret == 1
    assert sentence in folded(result)
    assert "1 of 3 katas" in screen(result)
    assert "first/beta · 0 of 2 tests pass" in screen(result)
    assert "gamma" not in screen(result)


def test_a_broken_later_kata_does_not_disturb(project):
    project.edit("gamma", lambda text: "def broken(:\n" + text)
    result = project.run()
    assert "first/alpha · 0 of 2" in screen(result)
    assert "SyntaxError" not in screen(result)
    result = project.run("katas/02_second/01_gamma.py::test_gamma_doubles")
    result.assert_outcomes(failed=1)
    assert "01_gamma.py:1: SyntaxError" in folded(result)


def test_an_early_syntax_error_points_at_its_column(project):
    project.edit(
        "alpha", lambda text: text.replace("return x", "return x").replace("def alpha_name()", "def alpha_name(")
    )
    lines = project.run().outlines
    at = next(i for i, line in enumerate(lines) if line.strip().startswith("def alpha_name("))
    assert lines[at + 1].strip() == "^"


def test_a_file_that_is_not_utf8(project):
    file = project.path / "katas/01_first/01_alpha.py"
    file.write_bytes(file.read_bytes() + b"# caf\xe9\n")
    result = project.run()
    assert result.ret == 1
    assert "the file is not UTF-8 text: save it as UTF-8" in folded(result)


def test_a_kata_that_is_deleted_or_renamed_leaves_the_others(project):
    project.run()
    (project.path / "katas/01_first/01_alpha.py").rename(project.path / "katas/01_first/01_omega.py")
    assert "first/omega" in screen(project.run())
    (project.path / "katas/01_first/01_omega.py").unlink()
    result = project.run()
    assert result.ret == 1
    assert "first/beta · 0 of 2" in screen(result)
    assert "0 of 2 katas" in screen(result)


def test_tests_that_were_deleted_are_missed(project):
    project.edit("alpha", lambda text: text[: text.index("def test_")])
    assert "the tests are gone" in folded(project.run())


def test_sys_exit_in_a_function_is_a_failure(project):
    project.body("alpha", "raise SystemExit(0)")
    result = project.run()
    assert result.ret == 1
    assert "SystemExit" in screen(result)


def test_an_exception_whose_str_raises(project):
    project.edit(
        "alpha",
        lambda text: text.replace(
            "def alpha(", "class Nasty(Exception):\n    def __str__(self):\n        raise ValueError\n\n\ndef alpha("
        ).replace('raise NotImplementedError("double x")', "raise Nasty()"),
    )
    result = project.run()
    assert result.ret == 1
    assert "Nasty" in screen(result)
    assert "INTERNALERROR" not in screen(result)
    assert "first/alpha · 0 of 2" in screen(result)


def test_skipping_in_a_function_is_not_passing(project):
    project.solve("alpha")
    project.edit("alpha", lambda text: text.replace("return x * 2", 'import pytest; pytest.skip("no")'))
    assert project.run().ret == 1


def test_torchs_own_not_implemented_error_is_no_todo(project):
    project.body("alpha", "return x.to_sparse().stride()")
    project.edit(
        "alpha",
        lambda text: text.replace("return x.to_sparse().stride()", "raise_it()").replace(
            "def alpha(",
            "def raise_it():\n    error = NotImplementedError('could not run')\n    raise error\n\n\ndef alpha(",
        ),
    )
    result = project.run()
    assert "1 failed, 1 todo" in result.outlines[-1]


def test_an_error_that_torch_raises_in_python_is_no_todo(project):
    project.body("alpha", 'return torch.nn.Linear(1, 1, device="meta").to("cpu")')
    result = project.run()
    assert "1 failed, 1 todo" in result.outlines[-1]
    assert "Cannot copy out of meta tensor" in screen(result)


def test_an_endless_loop_is_stopped_with_its_line(project):
    project.body("alpha", "while True:\n        x = x + 0")
    result = project.run("--kata-timeout=0.5")
    assert result.ret == 1
    assert "test_alpha_doubles did not end in 0.5 s; the code was at katas/01_first/01_alpha.py:1" in folded(result)
    assert "1 failed, 1 todo" in result.outlines[-1]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the table of lines has this form since Python 3.11")
def test_an_endless_loop_at_an_instruction_without_a_line_is_stopped_too(project):
    """The compiler gives no line to some: those that clean up after a `with`. Here all of a function have none."""
    project.body("alpha", "while True:\n        x = x + 0")
    # 0xFF stands for eight units of two bytes without a line.
    lineless = (
        "alpha.__code__ = alpha.__code__.replace(co_linetable=b'\\xff' * (len(alpha.__code__.co_code) // 16 + 1))"
    )
    project.edit("alpha", lambda text: text.replace("under_test(", f"{lineless}\nunder_test(", 1))
    result = project.run("--kata-timeout=0.5")
    assert "INTERNALERROR" not in screen(result)
    assert "test_alpha_doubles did not end in 0.5 s; the code was at katas/01_first/01_alpha.py:" in folded(result)


def test_an_endless_loop_at_import_is_stopped_too(project):
    project.edit("alpha", lambda text: "while True:\n    pass\n" + text)
    result = project.run("--kata-timeout=0.5")
    assert result.ret == 1
    assert "importing 01_alpha.py did not end in 0.5 s" in folded(result)
    assert "katas/01_first/01_alpha.py:" in folded(result)


def test_a_loop_that_swallows_everything_ends_the_process_with_its_line(project):
    project.body(
        "alpha",
        "import time\n    while True:\n        try:\n            time.sleep(60)\n"
        "        except BaseException:\n            pass",
    )
    result = project.run_apart("--kata-timeout=0.5", timeout=60)
    assert result.ret == 1
    assert "Timeout" in result.stderr.str()
    assert "01_alpha.py" in result.stderr.str()


def test_a_marker_gives_a_test_more_time_and_the_option_counts_more(project):
    project.edit(
        "alpha",
        lambda text: text.replace("import torch\n", "import time\nimport pytest\nimport torch\n", 1).replace(
            "def test_alpha_doubles", "@pytest.mark.timeout(0.3)\ndef test_alpha_doubles"
        ),
    )
    project.body("alpha", "time.sleep(1)\n    return x * 2")
    assert "did not end in 0.3 s" in folded(project.run())
    project.run("katas/01_first/01_alpha.py::test_alpha_doubles", "--kata-timeout=30").assert_outcomes(passed=1)


def test_state_left_changed_is_put_back_and_named(project):
    project.body("alpha", "torch.set_default_dtype(torch.float64)\n    torch.set_grad_enabled(False)\n    return x * 2")
    project.solve("alpha", "beta")
    result = project.run("katas/01_first")
    assert "4 passed" in result.outlines[-1]
    text = folded(result)
    assert "your code left grad mode (torch.set_grad_enabled) (was on, is now off) and the default dtype" in text
    assert "(was float32, is now float64)" in text
    assert text.count("your code left") == 1


@pytest.mark.parametrize(
    "body",
    ['torch.autocast("cpu").__enter__()', "torch.autocast_decrement_nesting()"],
    ids=["left open", "left twice"],
)
def test_an_autocast_not_left_once_keeps_no_old_weights_for_the_next_kata(project, body):
    """The casts of weights would be kept: a training after it would never see its optimizer's steps."""
    project.body("alpha", f"{body}\n    return x * 2")
    project.body(
        "beta",
        """w = torch.ones(2, 2, requires_grad=True)
    seen = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            seen.append((torch.ones(2, 2) @ w).sum().item())
        with torch.no_grad():
            w.mul_(2)
    assert seen == [8, 16], f"the second step still used the first weights: {seen}"
    return x * 2""",
    )
    result = project.run("katas/01_first")
    assert "2 passed" in result.outlines[-1]
    assert ("your code left autocast on the CPU (was off, is now on)" in folded(result)) == ("enter" in body)


def test_an_entry_of_the_search_path_that_no_learner_made_is_not_named(project):
    vendor = 'import os, sys\n    sys.path.append(os.path.join(os.sep, "x", "setuptools", "_vendor"))\n    '
    project.body("alpha", f"{vendor}return x * 2")
    project.body("beta", "import sys\n    sys.path.append('/somewhere')\n    return x * 2")
    text = folded(project.run("katas/01_first"))
    assert text.count("your code left") == text.count("your code left sys.path") == 1
    assert "_vendor" not in text


def test_figures_that_stay_open_are_closed_and_named(project):
    project.body("alpha", "import matplotlib.pyplot as plt\n    plt.figure()\n    return x * 2")
    project.body("beta", "import matplotlib.pyplot as plt\n    assert not plt.get_fignums()\n    return x * 2")
    result = project.run("katas/01_first")
    assert "2 passed" in result.outlines[-1]
    assert "your code left figures of matplotlib open" in folded(result)


def test_workers_of_a_pass_that_broke_off_are_ended(project):
    workers = "from torch.utils.data import DataLoader\n    from dojo.kit import workers\n    "
    begin = "kept = iter(DataLoader([1, 2, 3], **workers(2)))\n    next(kept)\n    globals()['keep'] = kept\n    "
    project.body("alpha", f"{workers}{begin}return x * 2")
    project.body("beta", "import multiprocessing\n    assert not multiprocessing.active_children()\n    return x * 2")
    assert "2 passed" in project.run("katas/01_first").outlines[-1]


def test_ctrl_c_ends_with_pytests_code_and_the_katas_so_far(project):
    project.solve("alpha")
    project.body("beta", "import time; print('sleeping', flush=True); time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s"],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job is started deaf to Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "sleeping" in line:
            time.sleep(0.2)
            os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 2
    text = "".join(lines)
    assert "KeyboardInterrupt" in text
    assert "1 of 3 katas" in text
    assert "interrupted: test_beta_doubles of 02_beta.py was running" in text
    assert "edit " not in text
    assert "the last run ended" not in screen(project.run("katas/01_first/01_alpha.py"))


def test_ctrl_c_before_anything_ran_shows_the_last_known_count(project):
    project.solve("alpha")
    project.run()
    project.edit("beta", lambda text: "raise KeyboardInterrupt\n" + text)
    text = screen(project.run_apart())
    assert "1 of 3 katas" in text
    assert "interrupted" in text


def test_a_learners_print_shows_only_with_the_failure(project):
    project.body("alpha", "print('look here'); return x")
    assert "look here" in screen(project.run())
    project.edit("alpha", lambda text: text.replace("return x", "return x * 2"))
    assert "look here" not in screen(project.run())
