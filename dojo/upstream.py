"""What the project ships: the text of its katas, as against what a learner has written into `katas/` itself.

A copy in the learner's own folder is refreshed from here, so a text that holds somebody's work must never be taken for
the shipped one: git is asked where the project is a git checkout, and a kata whose stubs are written is never shipped.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dojo.catalog import definitions, find_katas, is_seam, without_number


@dataclass(frozen=True)
class Upstream:
    """The files of `katas/`, by their path below it."""

    shipped: Mapping[str, bytes]
    worked_on: Mapping[str, bytes]  # written into katas/ itself; the shipped text is beside it where git knows it

    @property
    def paths(self) -> set[str]:
        return self.shipped.keys() | self.worked_on.keys()


def read(project: Path, known: Mapping[str, str]) -> Upstream:
    """The katas and chapter pages of a project.

    known: digests of shipped texts. A file that meets its digest is shipped; where all do, nothing else is asked.
    """
    root = project / "katas"
    files = [kata.path for kata in find_katas(root)]
    files += [page for page in sorted(root.glob("[0-9][0-9]_*/README.md")) if page.is_file()]
    shipped = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    if all(known.get(name) == digest(text) for name, text in shipped.items()) and not known.keys() - shipped.keys():
        return Upstream(shipped, {})
    worked_on: dict[str, bytes] = {}
    for name in _edited_in_place(project):
        if name in shipped:
            worked_on[name] = shipped.pop(name)
        committed = text_in_git(project, name)
        if committed is not None and is_learning_material(name):
            shipped[name] = committed
    for name, text in list(shipped.items()):
        if name.endswith(".py") and known.get(name) != digest(text) and not is_unsolved(text):
            worked_on.setdefault(name, shipped.pop(name))
    return Upstream(shipped, worked_on)


def is_learning_material(name: str) -> bool:
    """Is this path below `katas/` a kata or a chapter's page?"""
    path = PurePosixPath(name)
    return len(path.parts) == 2 and (path.match("[0-9][0-9]_*/[0-9][0-9]_*.py") or path.match("[0-9][0-9]_*/README.md"))


def digest(text: bytes) -> str:
    """Line endings aside, which git and editors change."""
    return hashlib.sha256(text.replace(b"\r\n", b"\n")).hexdigest()


def identity(name: str) -> str:
    """What stays when a kata gets another number or chapter: its slug; for a chapter's page, the chapter's."""
    path = PurePosixPath(name)
    return without_number(path.stem) if path.suffix == ".py" else f"{without_number(path.parent.name)}/{path.name}"


# ── reading a kata's text ──


def _tree(text: bytes) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None


def is_unsolved(text: bytes) -> bool:
    """Is every stub still a stub? Valid syntax, and nothing but docstrings and `raise NotImplementedError`."""
    tree = _tree(text)
    return tree is not None and all(_is_stub(node) for node in definitions(tree).values())


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return all(_is_stub(method) for method in node.body if isinstance(method, ast.FunctionDef))
    assert isinstance(node, ast.FunctionDef)
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return len(body) == 1 and isinstance(body[0], ast.Raise) and "NotImplementedError" in ast.unparse(body[0])


def is_kata(text: bytes) -> bool:
    """Does the text hold the line between stubs and tests?"""
    tree = _tree(text)
    return tree is not None and any(is_seam(node) for node in tree.body)


def takes_over(mine: bytes, theirs: bytes) -> bool:
    """Has a learner's text the lesson, the stubs' signatures and docstrings, and the tests of the shipped one?

    So a learner who has taken an upstream change over by hand is not told of it for ever.
    """
    here, there = _questions(mine), _questions(theirs)
    if here is None or there is None:
        return False
    return here[0] == there[0] and here[1].items() >= there[1].items()  # helpers of their own do no harm


def _questions(text: bytes) -> tuple[list[str | None], dict[str, str]] | None:
    """What a kata asks: its lesson and its tests; and its stubs, without their bodies."""
    tree = _tree(text)
    seam = next((i for i, node in enumerate(tree.body) if is_seam(node)), None) if tree else None
    if tree is None or seam is None:
        return None
    asked = [ast.get_docstring(tree), *(ast.dump(node) for node in tree.body[seam + 1 :])]
    return asked, {name: _signature(node) for name, node in definitions(tree).items()}


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    parts = [node.args, node.returns] if isinstance(node, ast.FunctionDef) else []
    return "\n".join([*(ast.dump(part) for part in parts if part), ast.get_docstring(node) or ""])


# ── git ──


def _git(project: Path, *arguments: str) -> bytes | None:
    """What git says, or None where there is no git, no checkout, no such thing."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=project, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _names(said: bytes | None) -> list[str]:
    names = [name.decode(errors="surrogateescape") for name in (said or b"").split(b"\0")]
    return [name.removeprefix("katas/") for name in names if name.startswith("katas/")]


def _edited_in_place(project: Path) -> list[str]:
    """The files of katas/ that are not as the last commit has them."""
    return _names(_git(project, "diff", "--name-only", "--no-renames", "--relative", "-z", "HEAD", "--", "katas"))


def names_in_git(project: Path) -> list[str]:
    """The files of katas/ in the last commit."""
    return _names(_git(project, "ls-tree", "-r", "--name-only", "-z", "HEAD", "--", "katas/"))


def text_in_git(project: Path, name: str) -> bytes | None:
    """A file of katas/ as the last commit has it, with the line endings that a checkout would give it."""
    return _git(project, "cat-file", "--filters", f"HEAD:./katas/{name}")
