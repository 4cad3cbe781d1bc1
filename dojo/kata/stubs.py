"""What a stub is: one rule for the text, and its counterpart for an exception."""

from __future__ import annotations

import ast
import linecache
import re
from pathlib import Path
from types import TracebackType

from dojo.kata.source import Definition, definitions, parse

_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def is_installed(file: str) -> bool:
    """Does the file belong to an installed package?"""
    return _INSTALLED.search(file) is not None


def is_stub(node: Definition) -> bool:
    """Is nothing written yet? A docstring, then `raise NotImplementedError("what to write")`, and no line more.

    A class is a stub while each of its methods is one.
    """
    if isinstance(node, ast.ClassDef):
        methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        return bool(methods) and all(is_stub(method) for method in methods)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return len(body) == 1 and _says_what_to_write(body[0])


def _says_what_to_write(node: ast.stmt) -> bool:
    error = node.exc if isinstance(node, ast.Raise) else None
    return isinstance(error, ast.Call) and ast.unparse(error.func) == "NotImplementedError" and bool(error.args)


def is_untouched(path: Path) -> bool:
    """Is every stub of the file still a stub?"""
    return _all_stubs(parse(path))


def is_untouched_text(text: bytes) -> bool:
    """The same of a text that is in no file yet."""
    try:
        return _all_stubs(ast.parse(text))
    except (SyntaxError, ValueError):
        return False


def _all_stubs(tree: ast.Module | None) -> bool:
    found = definitions(tree).values() if tree else ()
    return bool(found) and all(map(is_stub, found))


def is_stub_error(error: BaseException | None) -> bool:
    """Did a stub raise this? torch raises NotImplementedError too, in C++ and in Python: look where it came from."""
    if type(error) is not NotImplementedError or error.__traceback__ is None:
        return False
    frame = _last(error.__traceback__)
    file = frame.tb_frame.f_code.co_filename
    if file.startswith("<") or is_installed(file):
        return False
    return linecache.getline(file, frame.tb_lineno).strip().startswith("raise NotImplementedError")


def _last(tb: TracebackType) -> TracebackType:
    while tb.tb_next is not None:
        tb = tb.tb_next
    return tb
