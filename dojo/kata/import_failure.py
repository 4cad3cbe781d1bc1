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


class Broken(Exception):
    """The kata, or the solution that was to be tested, cannot be used; the message is the whole story."""

    error = ""  # the class of what an import raised

    def __init__(self, file: Path, line: int, sentence: str) -> None:
        self.where = f"{relative(file)}:{line}"
        super().__init__(f"{self.where}: {sentence}")


def import_failure(error: BaseException, path: Path) -> Broken:
    """Why a file did not import: a sentence, the line, and a caret where Python gives one."""
    broken = _import_failure(error, path)
    broken.error = type(error).__name__
    return broken


def _import_failure(error: BaseException, path: Path) -> Broken:
    if isinstance(error, SyntaxError):
        return _syntax_error(error, path)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _same_file(frame.filename, path)]
    line = (frames[-1].lineno if frames else None) or 1
    said = safe_str(error)
    if isinstance(error, Timeout):
        return Broken(path, line, said)
    if isinstance(error, SystemExit):
        sentence = "the file calls sys.exit() while it is imported: remove that call"
    elif isinstance(error, pytest.skip.Exception | pytest.exit.Exception):
        sentence = "the file skips or ends the run while it is imported: remove that call"
    elif isinstance(error, UnicodeDecodeError):
        sentence = f"the file is not UTF-8 text: save it as UTF-8 ({said})"
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("dojo"):
        reset = f"`pytest --kata-reset {without_number(path.stem)}`"
        sentence = f"{said}: the engine has moved since this was copied. {reset} brings it up to date, and keeps yours"
    elif isinstance(error, ModuleNotFoundError) and (beside := _beside(error.name or "", path)) is not None:
        sentence = (
            f"{beside.name} lies beside this file, but a kata stands alone: copy what you need of it into the file"
        )
    elif isinstance(error, NotImplementedError) and is_stub_error(error):
        sentence = "a stub is called while the file is imported: call it only inside functions"
    else:
        sentence = f"{type(error).__name__} while the file is imported: {said}"
    return Broken(path, line, "\n".join([sentence, *(f"    {frame.line}" for frame in frames if frame.line)]))


def _syntax_error(error: SyntaxError, path: Path) -> Broken:
    said, line = error.msg or "", error.lineno or 1
    if "codec can't decode" in said or "invalid or missing encoding" in said:
        return Broken(path, line, f"the file is not UTF-8 text: save it as UTF-8 ({said})")
    if "null bytes" in said:
        return Broken(path, 1, "the file holds a NUL byte: it is not text, or was saved half; restore it")
    lines = [f"{type(error).__name__}: {said}"]
    if error.text:
        text = error.text.rstrip()
        shift = len(text) - len(text.lstrip())
        lines.append(f"    {text.strip()}")
        if error.offset:
            lines.append("    " + " " * max(0, error.offset - 1 - shift) + "^")
    return Broken(path, line, "\n".join(lines))


def _beside(module: str, path: Path) -> Path | None:
    """The file of the same folder that an import means, also `import shape_words` for 01_shape_words.py."""
    files = (file for file in path.parent.glob("*.py") if module and module in (file.stem, without_number(file.stem)))
    return next(files, None)


def _same_file(name: str, path: Path) -> bool:
    return os.path.abspath(name) == os.path.abspath(path)
