"""Small things that every room does to text, in one place."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def folded(text: str) -> str:
    """The text with every run of white space as one space: for comparing sentences."""
    return " ".join(text.split())


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def relative(path: Path) -> str:
    """The path as the learner would type it: relative to the working directory where that is shorter."""
    try:
        return _relative(path, os.getcwd())
    except OSError:  # the working directory is gone
        return str(path)


@functools.lru_cache(maxsize=64)  # resolving asks the file system for each part of the path
def _relative(path: Path, start: str) -> str:
    try:
        return path.resolve().relative_to(start).as_posix()
    except (ValueError, OSError):
        return str(path)


def safe_str(error: BaseException) -> str:
    """str(error), also where its __str__ raises; without the colours that some libraries put into their messages."""
    try:
        return _ESCAPES.sub("", str(error))
    except Exception as second:
        return f"<its __str__ raised {type(second).__name__}>"


def first_lines(error: BaseException, lines: int = 3) -> str:
    """The first lines of an error's message; torch appends C++ stack traces, advice and whole tensors to some."""
    said = safe_str(error).splitlines()
    tensors = next((i for i, line in enumerate(said) if i > 0 and "tensor([" in line), len(said))
    return "\n".join(said[: min(lines, tensors)])


def shown_in(encoding: str | None, text: str) -> str:
    """The text as a console of that encoding can show it: what it lacks becomes a question mark, never an exception."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
