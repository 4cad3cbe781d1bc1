"""What the text of a kata or a solution declares: stubs, tests, hints. Parses files, imports none."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import linecache
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

SEAM = "under_test(globals())"
PICTURE = "picture"  # a function of a reference file that draws; no kata asks for one of that name
Definition = ast.FunctionDef | ast.ClassDef
_ABOUT = re.compile(r"^About (?P<minutes>\d+) minutes\.(?: Before it: (?P<before>[\w, ]+)\.)?$", re.MULTILINE)
_PATHS = re.compile(r"^Path: (?P<paths>[\w, ]+?)\.?$", re.MULTILINE)
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


@functools.lru_cache(maxsize=512)
def _parse(path: Path, _mtime_ns: int, _size: int) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):  # not to be read; nested too deeply
        return None


def parse(path: Path) -> ast.Module | None:
    """The file's syntax tree, or None while it has no valid syntax (or is gone)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _parse(path, status.st_mtime_ns, status.st_size)


def docstring(path: Path) -> str:
    """A file's module docstring. Most are read without parsing: a list asks for those of all katas."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="utf-8")
        if text.startswith('"""') and "\\" not in (doc := text[3:].partition('"""')[0]):
            return inspect.cleandoc(doc)
    tree = parse(path)
    return (ast.get_docstring(tree) if tree else None) or ""


def first_docstring_line(path: Path) -> str:
    return docstring(path).split("\n", 1)[0].rstrip(".")


@dataclass(frozen=True)
class Lesson:
    """What a kata's docstring says of the kata itself: `About 15 minutes. Before it: a, b.`, `Path: first_day`."""

    minutes: int | None = None  # for a beginner
    before: tuple[str, ...] = ()  # the katas that it builds on
    paths: tuple[str, ...] = ()  # the selections of katas that it belongs to


def lesson(path: Path) -> Lesson:
    """The lesson's own data."""
    doc = docstring(path)
    about, chosen = _ABOUT.search(doc), _PATHS.search(doc)
    return Lesson(
        int(about["minutes"]) if about else None,
        _words(about["before"]) if about and about["before"] else (),
        _words(chosen["paths"]) if chosen else (),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text))


def definitions(tree: ast.Module) -> dict[str, Definition]:
    """The public functions and classes that a file defines above its seam (of a reference file all but its picture)."""
    found: dict[str, Definition] = {}
    for node in tree.body:
        if is_seam(node):
            break
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and node.name != PICTURE:
            found[node.name] = node
    return found


def has_picture(reference_file: Path) -> bool:
    """Does a reference file define `picture(solution)`?"""
    tree = parse(reference_file)
    return any(isinstance(node, ast.FunctionDef) and node.name == PICTURE for node in (tree.body if tree else ()))


def seam_line(path: Path) -> int:
    """The line of the seam; 0 where there is none."""
    tree = parse(path)
    return next((node.lineno for node in tree.body if is_seam(node)), 0) if tree else 0


def is_seam(node: ast.stmt) -> bool:
    """Is this statement the call that separates the stubs from the tests?"""
    return isinstance(node, ast.Expr) and ast.unparse(node) == SEAM


def stub_names(kata_file: Path, reference_file: Path) -> list[str]:
    """The names that a solution provides.

    The reference defines exactly the kata's stubs (the gate checks it), and unlike the kata nobody adds helpers of
    their own to it; so it is asked first. A kata without a reference is asked itself.
    """
    for path in (reference_file, kata_file):
        tree = parse(path)
        if tree is not None:
            return list(definitions(tree))
    return []


def doc_sections(path: Path) -> tuple[list[str], str]:
    """The hints and the why of a reference file: its docstring's paragraphs that begin `Hint:` and `Why:`."""
    doc = docstring(path)
    hints: list[str] = []
    why = ""
    for part in re.split(r"^(?=(?:Hint|Why):)", doc, flags=re.MULTILINE):
        if part.startswith("Hint:"):
            hints.append(part.removeprefix("Hint:").strip())
        elif part.startswith("Why:"):
            why = part.removeprefix("Why:").strip()
    return hints, why


def test_names(path: Path) -> list[str]:
    """The names of a kata's test functions, in the order of the file."""
    tree = parse(path)
    return _test_names(tree) if tree else []


def _test_names(tree: ast.Module) -> list[str]:
    nodes = _below_the_seam(tree) or tree.body
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


def helpers_named_like_tests(path: Path) -> list[str]:
    """Functions of a kata file that stand above its seam under a test's name."""
    tree, seam = parse(path), seam_line(path)
    return [name for name in (definitions(tree) if tree and seam else ()) if name.startswith("test_")]


def stubs_in_tests(path: Path) -> dict[str, list[str]]:
    """Which of the kata's stubs each test uses, the first one first.

    Counted are also the uses through what stands below the seam: helpers, fixtures, classes, constants.
    """
    tree = parse(path)
    return _stubs_in_tests(tree) if tree is not None else {}


@functools.lru_cache(maxsize=8)  # a verdict asks several times
def _stubs_in_tests(tree: ast.Module) -> dict[str, list[str]]:
    stubs = definitions(tree)
    below = {name: node for node in _below_the_seam(tree) for name in _bound_by(node)}

    def used(node: ast.AST, seen: set[str]) -> list[str]:
        found = []
        for name in _names_in(node):
            if name in stubs:
                found.append(name)
            elif name in below and name not in seen:
                found += used(below[name], seen | {name})
        return found

    return {name: list(dict.fromkeys(used(below[name], {name}))) for name in _test_names(tree) if name in below}


def _below_the_seam(tree: ast.Module) -> list[ast.stmt]:
    start = next((i for i, node in enumerate(tree.body) if is_seam(node)), len(tree.body))
    return tree.body[start + 1 :]


def _bound_by(node: ast.stmt) -> list[str]:
    """The names that a top-level statement gives a meaning to."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]


def _names_in(node: ast.AST) -> list[str]:
    """The names that a definition mentions, from top to bottom; its arguments too, which may be fixtures."""
    parts = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.arg)]
    parts.sort(key=lambda part: (part.lineno, part.col_offset))
    return [part.id if isinstance(part, ast.Name) else part.arg for part in parts]


def definition_line(path: Path, name: str) -> int | None:
    """The line where a file defines a function or class."""
    tree = parse(path)
    node = definitions(tree).get(name) if tree else None
    return node.lineno if node else None


def text_below_the_seam(path: Path) -> str | None:
    """What a kata file asks: its statements below the seam, comments and layout aside. None without a seam."""
    tree = parse(path)
    if tree is None or not any(is_seam(node) for node in tree.body):
        return None
    return "\n".join(ast.dump(node) for node in _below_the_seam(tree))


# ── what a stub is: one rule for the text, and its counterpart for an exception ──


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
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deeply
        return False


def _all_stubs(tree: ast.Module | None) -> bool:
    found = definitions(tree).values() if tree else ()
    return bool(found) and all(map(is_stub, found))


def is_stub_error(error: BaseException | None) -> bool:
    """Did a stub raise this? torch raises NotImplementedError too, in C++ and in Python: look where it came from."""
    if type(error) is not NotImplementedError or error.__traceback__ is None:
        return False
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    file = frame.f_code.co_filename
    if file.startswith("<") or is_installed(file):
        return False
    return linecache.getline(file, line).strip().startswith("raise NotImplementedError")
