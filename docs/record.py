"""Records docs/session.svg, the moving picture at the top of the README, from a real session in a real terminal.

    python docs/record.py

Needs tmux and vim, asciinema (PyPI) and svg-term (npm: svg-term-cli) on the PATH. tmux shows an editor above and the
watch below; keys are sent to the editor, and nothing else is acted: each verdict is what the watch answered.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, LINES, EDITOR = 92, 34, 9
KATA = "katas/01_basics/01_shape_words.py"
# What the learner has written before the recording begins.
WRITTEN = {
    'raise NotImplementedError("count the values of x")': "return x.numel()",
    'raise NotImplementedError("return the size of dimension 0")': "return x.shape[0]",
}
WRONG = "return x.squeeze()"
RIGHT = ["if x.shape[1] != 1:", '    raise ValueError("more than one channel")', "return x.squeeze(1)"]
TOOLS = ("git", "tmux", "vim", "asciinema", "svg-term")


def main() -> int:
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        print(f"not on the PATH: {', '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "torch-dojo"
        run("git", "clone", "--quiet", str(ROOT), str(project))
        kata = project / KATA
        text = kata.read_text(encoding="utf-8")
        for stub, line in WRITTEN.items():
            text = text.replace(stub, line)
        kata.write_text(text, encoding="utf-8")
        cast = Path(folder) / "session.cast"
        record(project, cast)
        svg = ["--in", cast, "--out", ROOT / "docs/session.svg", "--window", "--no-cursor", "--to", seconds(cast)]
        run("svg-term", *map(str, svg), "--padding", "8")
    size = (ROOT / "docs/session.svg").stat().st_size
    print(f"wrote docs/session.svg, {size / 1000:.0f} KB")
    return 0


def record(project: Path, cast: Path) -> None:
    """The session, as an asciicast."""
    line = next(n for n, text in enumerate((project / KATA).read_text().splitlines(), 1) if "take the channel" in text)
    vim = f"vim -u NONE -N -n --cmd 'set noruler noshowcmd laststatus=0 shm+=I' +{line} {KATA}"
    watch = f"{shlex.quote(sys.executable)} -m pytest --kata-watch"
    tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), "-c", str(project), vim)
    try:
        tmux("set", "-g", "status", "off")
        tmux("split-window", "-v", "-l", str(LINES - EDITOR - 1), "-c", str(project), watch)
        tmux("select-pane", "-t", ":.0")
        until("drop_channel", "to do")
        keys(0, "z", "t")  # the function's line at the top
        keys(0, "5", "C-y")
        size = ["--cols", str(COLUMNS), "--rows", str(LINES)]
        attach = "tmux -L recording attach"
        with subprocess.Popen(["asciinema", "rec", "-q", "-i", "3", *size, "-c", attach, str(cast)]) as recording:
            time.sleep(2)
            write([WRONG])
            until("✗", "the batch dimension is gone too")
            time.sleep(6)
            write(RIGHT)
            until("shape_words passes")
            time.sleep(6)
            keys(1, "n")
            until("tensor_not_Tensor")
            time.sleep(4)
            tmux("detach-client", "-s", "0")
            recording.wait(10)
    finally:
        tmux("kill-server")


def write(lines: list[str]) -> None:
    """Replace what is written below the docstring, as somebody types it, and save."""
    keys(0, "c", "c", pause=0.2)
    for i, line in enumerate(lines):
        for word in f"    {line}".replace(" ", " \0").split("\0"):
            keys(0, "-l", word, pause=0.09)
        if i + 1 < len(lines):
            keys(0, "Enter", pause=0.1)
    keys(0, "Escape", pause=0.6)
    tmux("send-keys", "-t", ":.0", ":w", "Enter")


def keys(pane: int, *names: str, pause: float = 0.0) -> None:
    tmux("send-keys", "-t", f":.{pane}", *names)
    time.sleep(pause)


def until(*texts: str, patience: float = 60) -> None:
    """Wait for all of the texts in the watch's pane."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        seen = tmux("capture-pane", "-p", "-t", ":.1")
        if all(text in seen for text in texts):
            return
        time.sleep(0.1)
    raise SystemExit(f"the watch does not show {texts}:\n{seen}")


def seconds(cast: Path) -> str:
    """The end of an asciicast, in milliseconds."""
    last = cast.read_text(encoding="utf-8").splitlines()[-1]
    return str(int(float(last[1:].split(",")[0]) * 1000))


def tmux(*arguments: str) -> str:
    return run("tmux", "-L", "recording", "-f", "/dev/null", *arguments)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
