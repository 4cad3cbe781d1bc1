"""Why a kata or a solution did not import, in one sentence with file and line."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from dojo.isolation.timeout import Timeout
from dojo.kata.files import without_number
from dojo.kata.source import is_stub_error
from dojo.text import relative, safe_str

# What an import may raise and still be the learner's affair. pytest.skip() and pytest.exit() raise BaseExceptions.
FAILURES = (
    *(Exception, SystemExit, Timeout),
    *(pytest.skip.Exception, pytest.fail.Exception, pytest.exit.Exception),
)


def describe_import_failure(error: BaseException, path: Path) -> str:
    """Why a file did not import: `file:line: sentence`, the line, and a caret where Python gives one."""
    where = relative(path)
    if isinstance(error, SyntaxError):
        return _describe_syntax_error(error, where)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _same_file(frame.filename, path)]
    line = frames[-1].lineno if frames else 1
    said = safe_str(error)
    if isinstance(error, Timeout):
        return said
    if isinstance(error, SystemExit):
        sentence = "the file calls sys.exit() while it is imported: remove that call"
    elif isinstance(error, pytest.skip.Exception | pytest.exit.Exception):
        sentence = "the file skips or ends the run while it is imported: remove that call"
    elif isinstance(error, UnicodeDecodeError):
        sentence = f"the file is not UTF-8 text: save it as UTF-8 ({said})"
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("dojo"):
        reset = f"`pytest --kata-reset {without_number(path.stem)}`"
        sentence = f"{said}: the engine has moved since this was copied. {reset} brings it up to date, and keeps yours"
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
