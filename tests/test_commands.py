"""The commands that show something: list, hint, why, compare, picture."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


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


# ── --kata-picture ──


def test_a_picture_is_drawn_from_the_learners_functions(drawing):
    drawing.body("alpha", "return x + x")
    drawing.edit("alpha", lambda text: text.replace('raise NotImplementedError("say the name")', 'return "alpha"'))
    result = drawing.run("--kata-picture", "alpha")
    assert result.ret == 0
    lines = [line.strip() for line in result.outlines if line.strip()]
    files = [f"pictures/alpha.{ending}" for ending in ("png", "gif", "json")]
    assert lines == ["first/alpha", "21 becomes 42", "drawn with your functions:", *files]
    numbers = json.loads((drawing.path / "pictures/alpha.json").read_text())
    assert numbers == {"says": "21 becomes 42", "doubled": [4, 42]}
    with Image.open(drawing.path / "pictures/alpha.png") as png, Image.open(drawing.path / "pictures/alpha.gif") as gif:
        assert png.size == gif.size == (300, 200)
        assert gif.n_frames == 3
    last = screen(drawing.run("--kata-picture", "--kata-pictures-to=elsewhere/deep"))
    assert "elsewhere/deep/alpha.png" in last, "without a name: of the kata that was solved last"


def test_a_picture_of_an_unsolved_kata_waits_unless_peeking(drawing):
    drawing.body("alpha", "return x * 3")
    refused = screen(drawing.run("--kata-picture", "alpha"))
    assert "first/alpha: 0 of 2 tests pass. Its picture is drawn" in refused
    assert "--kata-peek" in refused
    assert not (drawing.path / "pictures").exists()
    peek = screen(drawing.run("--kata-picture", "alpha", "--kata-peek"))
    assert "21 becomes 42" in peek
    assert "drawn with the reference's functions:" in peek


def test_a_kata_without_a_picture_names_those_that_have_one(drawing):
    drawing.solve("beta")
    assert "first/beta has no picture. These have: alpha" in screen(drawing.run("--kata-picture", "beta"))


def test_a_picture_that_the_learners_code_cannot_draw_is_told_with_its_line(drawing):
    drawing.solve("alpha")
    drawing.edit("alpha", lambda text: text.replace("return x * 2", "return x * 2 if len(x) != 3 else x[7]"))
    drawing.run()
    text = " ".join(screen(drawing.run("--kata-picture", "alpha")).split())
    assert "the picture could not be drawn, at katas/01_first/01_alpha.py:" in text
    assert "IndexError: index 7 is out of bounds" in text
    assert not (drawing.path / "pictures").exists()


def test_a_file_that_the_learners_code_does_not_find_is_not_taken_for_the_pictures_folder(drawing):
    drawing.solve("alpha")
    drawing.edit("alpha", lambda text: text.replace("return x * 2", "return x * 2 if len(x) != 3 else open('no.txt')"))
    text = " ".join(screen(drawing.run("--kata-picture", "alpha")).split())
    assert "the picture could not be drawn, at katas/01_first/01_alpha.py:" in text
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'no.txt'" in text


def test_an_endless_loop_while_drawing_is_stopped(drawing):
    drawing.solve("alpha")
    endless = "while len(x) == 3:\n        pass\n    return x * 2"
    drawing.edit("alpha", lambda text: text.replace("return x * 2", endless))
    drawing.run()
    text = " ".join(screen(drawing.run("--kata-picture", "alpha", "--kata-timeout=0.5")).split())
    assert "drawing the picture did not end in 0.5 s" in text


def test_what_drawing_changes_is_put_back_and_a_folder_that_is_a_file_is_told(drawing):
    drawing.solve("alpha")
    drawing.edit("alpha", lambda text: text.replace("return x * 2", "torch.set_num_threads(1)\n    return x * 2"))
    threads = torch.get_num_threads()
    (drawing.path / "file").write_text("")
    result = drawing.run("--kata-picture", "alpha", "--kata-pictures-to=file", "-W", "error")
    assert "file cannot be written to: File exists" in " ".join(screen(result).split())
    assert "Warning" not in result.stderr.str()
    assert torch.get_num_threads() == threads


def test_without_matplotlib_a_picture_says_what_to_install(drawing, monkeypatch):
    drawing.solve("alpha")
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    assert "a picture needs matplotlib: python3 -m pip install matplotlib" in screen(
        drawing.run("--kata-picture", "alpha")
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("answer", [b"\x1b[?62;4;22c", b"\x1b[?62;22c", b""], ids=["sixel", "no pictures", "no answer"])
def test_a_terminal_that_can_shows_the_picture_between_the_lines(drawing, answer):
    import fcntl
    import pty
    import struct
    import termios

    drawing.solve("alpha")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 900, 800))  # rows, columns, pixels
    environment = os.environ | {"TERM": "foot", "PYTHONPATH": str(ROOT)}
    environment.pop("TERM_PROGRAM", None)
    command = [sys.executable, "-m", "pytest", "--kata-picture", "alpha"]
    with subprocess.Popen(
        command, cwd=drawing.path, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # the end, on Linux
            while chunk := os.read(ours, 4096):
                if b"\x1b[c" in chunk and answer:
                    os.write(ours, answer)
                said += chunk
        assert run.wait(60) == 0, said.decode(errors="replace")[-3000:]
    os.close(ours)
    assert b"21 becomes 42" in said
    assert (b"\x1bP" in said) == (b";4;" in answer), "a sixel image"
