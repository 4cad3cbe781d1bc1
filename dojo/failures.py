"""Sentences about code that went wrong: stubs that are still stubs, files that do not import."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from pathlib import Path
from types import TracebackType

_STUB_LINE = "raise NotImplementedError"
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def is_stub_error(error: BaseException | None) -> bool:
    """Did a stub raise this? torch raises NotImplementedError too, in C++ and in Python: look where it came from."""
    if type(error) is not NotImplementedError or error.__traceback__ is None:
        return False
    frame = _last(error.__traceback__)
    file = frame.tb_frame.f_code.co_filename
    if file.startswith("<") or _INSTALLED.search(file):
        return False
    return linecache.getline(file, frame.tb_lineno).strip().startswith(_STUB_LINE)


def _last(tb: TracebackType) -> TracebackType:
    while tb.tb_next is not None:
        tb = tb.tb_next
    return tb


def safe_str(error: BaseException) -> str:
    """str(error), also where its __str__ raises."""
    try:
        return str(error)
    except Exception as second:
        return f"<its __str__ raised {type(second).__name__}>"


def describe_import_failure(error: BaseException, path: Path) -> str:
    """Why a file did not import: `file:line: sentence`, the line, and a caret where Python gives one."""
    where = relative(path)
    if isinstance(error, SyntaxError):
        return _describe_syntax_error(error, where)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _same_file(frame.filename, path)]
    line = frames[-1].lineno if frames else 1
    said = safe_str(error)
    if type(error).__name__ == "TimeLimit":
        return said
    if isinstance(error, SystemExit):
        sentence = "the file calls sys.exit() while it is imported: remove that call"
    elif type(error).__name__ in ("Skipped", "Exit"):
        sentence = "the file skips or ends the run while it is imported: remove that call"
    elif isinstance(error, UnicodeDecodeError):
        sentence = f"the file is not UTF-8 text: save it as UTF-8 ({said})"
    elif isinstance(error, NotImplementedError) and is_stub_error(error):
        sentence = "a stub is called while the file is imported: call it only inside functions"
    else:
        sentence = f"{type(error).__name__} while the file is imported: {said}"
    text = "\n".join(f"    {frame.line}" for frame in frames if frame.line)
    return f"{where}:{line}: {sentence}" + (f"\n{text}" if text else "")


def _describe_syntax_error(error: SyntaxError, where: str) -> str:
    if "codec can't decode" in (error.msg or "") or "invalid or missing encoding" in (error.msg or ""):
        return f"{where}:{error.lineno or 1}: the file is not UTF-8 text: save it as UTF-8 ({error.msg})"
    if "null bytes" in (error.msg or ""):
        return f"{where}:1: the file holds a NUL byte: it is not text, or was saved half; restore it"
    lines = [f"{where}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"]
    if error.text:
        text = error.text.rstrip()
        shift = len(text) - len(text.lstrip())
        lines.append(f"    {text.strip()}")
        if error.offset:
            lines.append("    " + " " * max(0, error.offset - 1 - shift) + "^")
    return "\n".join(lines)


def _same_file(name: str, path: Path) -> bool:
    return os.path.abspath(name) == os.path.abspath(path)


def relative(path: Path) -> str:
    """The path as the learner would type it: relative to the working directory where that is shorter."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except (ValueError, OSError):
        return str(path)
