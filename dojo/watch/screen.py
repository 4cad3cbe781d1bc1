"""The terminal: what the parent says on it, and the keys that come from it. A run writes its verdict there itself."""

from __future__ import annotations

import contextlib
import shutil
import sys
import termios
import textwrap
import tty
from collections.abc import Iterator

from dojo.text import shown_in

KEYS = "Enter again · h hint · n next · l list · c compare · p peek · v view · q quit"
_CLEAR = "\x1b[2J\x1b[3J\x1b[H"
_FIRST_LINE = "\x1b7\x1b[H{}\x1b[K\x1b8"  # keep the cursor's place, write the first line anew, go back
_RULE = "\n" + "-" * 60 + "\n"


class Screen:
    """Where the parent writes; it may be a file or a pipe, too."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.has_keys = False

    def begin(self, title: str) -> None:
        """A new page, whose first line says what happens."""
        self._write((_CLEAR if self.is_terminal else _RULE) + self._cut(title) + "\n")

    def tick(self, title: str) -> None:
        """Write the first line anew, wherever the run has left the cursor."""
        if self.is_terminal:
            self._write(_FIRST_LINE.format(self._cut(title)))

    def say(self, text: str) -> None:
        """Write a paragraph, folded where the terminal ends."""
        if self.is_terminal:
            fold = textwrap.TextWrapper(self._width(), break_on_hyphens=False, break_long_words=False)
            text = "\n".join(fold.wrap(text))
        self._write(f"{text}\n")

    def _cut(self, text: str) -> str:
        return text if len(text) <= self._width() else f"{text[: self._width() - 2]}.."

    @staticmethod
    def _width() -> int:
        return max(20, shutil.get_terminal_size().columns - 1)

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(shown_in(sys.stdout.encoding, text))
        sys.stdout.flush()

    @contextlib.contextmanager
    def keyboard(self) -> Iterator[int | None]:
        """A file descriptor that gives single keys; afterwards the terminal is as it was. None: there are no keys."""
        if not sys.stdin.isatty():
            yield None
            return
        keys = sys.stdin.fileno()
        before = termios.tcgetattr(keys)
        tty.setcbreak(keys)
        self.has_keys = True
        try:
            yield keys
        finally:
            termios.tcsetattr(keys, termios.TCSADRAIN, before)
