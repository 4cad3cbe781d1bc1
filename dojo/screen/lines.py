"""Lines for a console of some width and encoding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dojo.text import shown_in


@dataclass(frozen=True)
class Glyphs:
    """The marks of the verdict; ASCII where the console can't do better."""

    good: str = "✓"
    bad: str = "✗"
    todo: str = "○"
    full: str = "━"
    empty: str = "─"
    dot: str = "·"

    @staticmethod
    def for_encoding(encoding: str | None) -> Glyphs:
        fancy = Glyphs()
        try:
            "".join(vars(fancy).values()).encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return Glyphs(good="+", bad="x", todo="o", full="#", empty="-", dot="|")
        return fancy


@dataclass(frozen=True)
class Line:
    """One line of the screen, with the markup names of pytest's TerminalWriter."""

    text: str = ""
    markup: tuple[str, ...] = ()


@dataclass(frozen=True)
class Page:
    """The console that lines are made for."""

    width: int
    glyphs: Glyphs
    colour: bool = False

    @staticmethod
    def of(writer: Any) -> Page:
        """The page that a TerminalWriter writes on."""
        glyphs = Glyphs.for_encoding(getattr(writer._file, "encoding", None))
        return Page(writer.fullwidth, glyphs, colour=writer.hasmarkup)

    def wrapped(self, text: str, indent: str = "", most: int = 12) -> list[str]:
        """The text within the width; lines that are already broken stay broken."""
        rows: list[str] = []
        for line in text.splitlines() or [""]:
            inner = indent + " " * (len(line) - len(line.lstrip()))
            rows += textwrap.wrap(
                line.strip(),
                max(20, self.width - 1),
                initial_indent=inner,
                subsequent_indent=inner,
                break_on_hyphens=False,
                break_long_words=False,
            ) or [""]
        return rows[:most]

    def lines(self, text: str, *markup: str, indent: str = "", most: int = 12) -> list[Line]:
        """The text within the width, as lines of one markup."""
        return [Line(row, markup) for row in self.wrapped(text, indent, most)]


def write(writer: Any, lines: Sequence[Line]) -> None:
    """Write lines; what the console cannot show becomes a question mark, never an exception."""
    encoding = getattr(writer._file, "encoding", None)
    for line in lines:
        writer.line(shown_in(encoding, line.text), **dict.fromkeys(line.markup, True))
