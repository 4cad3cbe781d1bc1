"""The katas on disk: what there is, in which order, and what a kata declares. Reads files, imports none."""

from __future__ import annotations

import ast
import difflib
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SEAM = "under_test(globals())"
_NUMBERED = re.compile(r"(\d\d)_(\w+)")


@dataclass(frozen=True)
class Kata:
    """One kata: a file `NN_chapter/NN_name.py` under the folder of katas."""

    path: Path
    root: Path

    @property
    def key(self) -> str:
        """`02_memory/01_view_or_copy`: what the file and its reference share."""
        return self.path.relative_to(self.root).with_suffix("").as_posix()

    @property
    def chapter(self) -> str:
        return self.path.parent.name

    @property
    def slug(self) -> str:
        """`view_or_copy`: the name that people say."""
        return without_number(self.path.stem)

    @property
    def name(self) -> str:
        """`memory/view_or_copy`: the slug with its chapter, for the screen."""
        return f"{without_number(self.chapter)}/{self.slug}"

    @property
    def title(self) -> str:
        """The first line of the module docstring, without its full stop."""
        return first_docstring_line(self.path)


def without_number(name: str) -> str:
    """`02_memory` -> `memory`."""
    match = _NUMBERED.fullmatch(name)
    return match[2] if match else name


def find_katas(root: Path) -> list[Kata]:
    """Every kata under `root`, in file-name order, which is the order in which they are learnt."""
    files = (path for chapter in sorted(root.glob("[0-9][0-9]_*")) for path in sorted(chapter.glob("[0-9][0-9]_*.py")))
    return [Kata(path, root) for path in files]


class UnknownKata(LookupError):
    """No kata, or more than one, has that name; the message lists what was probably meant."""


def find_kata(katas: Iterable[Kata], name: str) -> Kata:
    """The kata that `name` (a slug, `chapter/slug`, a key or a path, with or without `.py` and `::test`) means."""
    katas = list(katas)
    wanted = name.split("::")[0].replace("\\", "/").removeprefix("./").removesuffix(".py").rstrip("/")
    hits = [kata for kata in katas if wanted in _names(kata)]
    if not hits:
        hits = [kata for kata in katas if wanted and wanted in kata.key]
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise UnknownKata(f"{name!r} could be any of: {', '.join(kata.name for kata in hits[:6])}")
    near = difflib.get_close_matches(wanted.split("/")[-1], [kata.slug for kata in katas], n=3, cutoff=0.4)
    if near:
        raise UnknownKata(f"no kata is called {name!r}. Did you mean {', '.join(near)}?")
    raise UnknownKata(f"no kata is called {name!r}; `pytest --kata-list` shows them all")


def _names(kata: Kata) -> set[str]:
    path = kata.path.with_suffix("").as_posix()
    roots = {kata.root.name, "katas"}  # a learner's own folder has another name
    return {kata.slug, kata.path.stem, kata.name, kata.key, *(f"{root}/{kata.key}" for root in roots), path}


@functools.lru_cache(maxsize=512)
def _parse(path: Path, _mtime_ns: int, _size: int) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError):
        return None


def parse(path: Path) -> ast.Module | None:
    """The file's syntax tree, or None while it has no valid syntax (or is gone)."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _parse(path, status.st_mtime_ns, status.st_size)


def first_docstring_line(path: Path) -> str:
    tree = parse(path)
    doc = (ast.get_docstring(tree) if tree else None) or ""
    return doc.split("\n", 1)[0].rstrip(".")


Definition = ast.FunctionDef | ast.ClassDef


def definitions(tree: ast.Module) -> dict[str, Definition]:
    """The public functions and classes that a file defines above its seam (all of them in a reference file)."""
    found: dict[str, Definition] = {}
    for node in tree.body:
        if is_seam(node):
            break
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = node
    return found


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
    tree = parse(path)
    doc = (ast.get_docstring(tree) if tree else None) or ""
    hints: list[str] = []
    why = ""
    for part in re.split(r"^(?=(?:Hint|Why):)", doc, flags=re.MULTILINE):
        if part.startswith("Hint:"):
            hints.append(part.removeprefix("Hint:").strip())
        elif part.startswith("Why:"):
            why = part.removeprefix("Why:").strip()
    return hints, why


def find_test(kata: Kata, test_id: str) -> ast.FunctionDef | None:
    """The test function of a kata that a test id such as `test_x[2]` means."""
    tree = parse(kata.path)
    name = test_id.split("[")[0]
    found = (node for node in (tree.body if tree else []) if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(found, None)


def stub_line(kata: Kata, test: ast.FunctionDef | None) -> int | None:
    """The line of the first stub that a test uses."""
    tree = parse(kata.path)
    if tree is None or test is None:
        return None
    stubs = definitions(tree)
    names = [node for node in ast.walk(test) if isinstance(node, ast.Name) and node.id in stubs]
    return stubs[min(names, key=lambda node: (node.lineno, node.col_offset)).id].lineno if names else None


def uses_of_stubs(kata: Kata) -> dict[str, set[str]]:
    """Which of the kata's stubs each test names, itself or through a helper below the seam."""
    tree = parse(kata.path)
    if tree is None:
        return {}
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    stubs = set(definitions(tree))

    def names_in(node: ast.AST, seen: frozenset[str]) -> set[str]:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        found = names & stubs
        for helper in (names & functions.keys()) - stubs - seen:
            found |= names_in(functions[helper], seen | {helper})
        return found

    return {name: names_in(node, frozenset({name})) for name, node in functions.items() if name.startswith("test_")}
