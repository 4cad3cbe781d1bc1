"""Lines for a console of some width and encoding."""

from __future__ import annotations

import re
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
    height: int | None = None  # lines that can be seen at once; None where the reader can scroll

    @staticmethod
    def of(writer: Any, height: int | None = None) -> Page:
        """The page that a TerminalWriter writes on."""
        glyphs = Glyphs.for_encoding(getattr(writer._file, "encoding", None))
        return Page(writer.fullwidth, glyphs, writer.hasmarkup, height)

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
            ) or [""]
        return rows[:most]

    def lines(self, text: str, *markup: str, indent: str = "", most: int = 12) -> list[Line]:
        """The text within the width, as lines of one markup."""
        return [Line(row, markup) for row in self.wrapped(text, indent, most)]

    def broken_path(self, place: str, indent: str) -> list[str]:
        """A path within the width: broken after a slash, where there is none after the last character that fits."""
        rows, room = [""], max(10, self.width - 1 - len(indent))
        for part in re.findall(r"[^/]+/?|/", place):
            if rows[-1] and len(rows[-1]) + len(part) > room:
                rows.append("")
            rows[-1] += part
        return [indent + row[i : i + room] for row in rows for i in range(0, len(row), room)]


def fitting(body: list[Line], end: list[Line], height: int | None) -> list[Line]:
    """Both, within the height: what does not fit goes from the end of the body, and is counted."""
    room = len(body) if height is None else max(height - len(end), 3)
    if len(body) <= room:
        return [*body, *end]
    return [*body[: room - 1], Line(f"... {len(body) - room + 1} lines more"), *end]


def write(writer: Any, lines: Sequence[Line]) -> None:
    """Write lines; what the console cannot show becomes a question mark, never an exception."""
    encoding = getattr(writer._file, "encoding", None)
    for line in lines:
        writer.line(shown_in(encoding, line.text), **dict.fromkeys(line.markup, True))
