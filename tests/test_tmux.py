"""A whole session in a terminal, as a learner has it: tmux types the keys and reads the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Terminal:
    """A tmux server of its own, with one window."""

    def __init__(self, name: str, cwd: object, columns: int, rows: int) -> None:
        self.name = name
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "TMUX", "PYTEST_ADDOPTS")}
        shell = "env PS1='ready> ' sh"
        size = ["-x", str(columns), "-y", str(rows)]
        subprocess.run(
            ["tmux", "-L", name, "-f", "/dev/null", "new-session", "-d", *size, shell],
            cwd=str(cwd),
            env=environment | {"LC_ALL": "C.UTF-8"},
            check=True,
        )

    def do(self, *command: str) -> str:
        done = subprocess.run(["tmux", "-L", self.name, *command], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, text: str) -> None:
        self.do("send-keys", "-l", text)

    def press(self, key: str) -> None:
        self.do("send-keys", key)

    def screen(self) -> str:
        return self.do("capture-pane", "-p").rstrip()

    def wait_for(self, *texts: str, seconds: float = 90) -> str:
        """Until all the texts are on the screen; returns the screen."""
        end = time.monotonic() + seconds
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < end, f"{texts} did not come:\n{screen}"
            time.sleep(0.1)
        return screen

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self.name, "kill-server"], capture_output=True)


@pytest.fixture
def terminal(project):
    window = Terminal(f"kata-{os.getpid()}", project.path, 80, 45)
    yield window
    window.close()


def test_a_session_from_the_first_save_to_quitting(project, terminal):
    keys = "q quit"
    before = settings(terminal)
    terminal.type(f"clear; {shlex.quote(sys.executable)} -m pytest --kata-watch\n")
    terminal.wait_for("first/alpha", "0 of 3 katas", keys)

    project.body("alpha", "return x")
    terminal.wait_for("you did not double it", "dtype", keys)  # the X-ray's head
    terminal.do("resize-window", "-x", "80", "-y", "13")
    terminal.press("Enter")
    terminal.wait_for("first/alpha · 0 of 2", "you did not double it", "lines more", "edit ", keys)
    terminal.press("l")
    terminal.wait_for("> alpha", "0 of 3 done", keys)
    terminal.do("resize-window", "-x", "80", "-y", "45")

    terminal.press("h")
    terminal.wait_for("the first idea", keys)

    project.edit("alpha", lambda text: text.replace("    return x\n", "    return (x\n"))
    terminal.wait_for("SyntaxError", keys)
    project.edit("alpha", lambda text: text.replace("    return (x\n", "    while True: pass\n"))
    time.sleep(1)  # it runs, and would for a minute
    assert keys not in terminal.screen()
    project.edit("alpha", lambda text: text.replace("    while True: pass\n", "    return x + x\n"))
    terminal.wait_for("1 of 2 tests pass", keys)

    terminal.do("resize-window", "-x", "44", "-y", "45")
    terminal.press("l")
    terminal.wait_for("0 of 3 done", keys)
    terminal.press("Enter")
    narrow = terminal.wait_for("1 of 2 tests pass", keys)
    assert max(map(len, narrow.splitlines())) <= 44
    terminal.do("resize-window", "-x", "80", "-y", "45")

    project.solve("alpha")
    screen = terminal.wait_for("first/alpha passes", "because two times one is two", keys)
    assert "beta" not in screen, "it runs on by itself"
    terminal.press("n")
    terminal.wait_for("first/beta", keys)
    terminal.press("l")
    terminal.wait_for("1 of 3 done", keys)
    terminal.press("q")
    terminal.wait_for("ready>")
    assert settings(terminal) == before, "the terminal is not as it was"


def settings(terminal: Terminal) -> str:
    """What the shell says of the terminal's settings, keys aside (they do not change)."""
    terminal.wait_for("ready>")
    terminal.type("clear; stty -g; echo said\n")
    return next(row for row in terminal.wait_for("\nsaid").splitlines() if row.count(":") > 10)
