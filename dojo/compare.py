"""Two solutions of one kata beside each other, function by function."""

from __future__ import annotations

import ast
import difflib
import textwrap
from pathlib import Path

from dojo.catalog import Kata, definitions, parse
from dojo.failures import relative
from dojo.verdict import Line, Page

_BESIDE = 100  # columns from which two panes fit; below that, a unified diff


def side_by_side(kata: Kata, yours: Path, reference: Path, page: Page) -> list[Line]:
    """Each function of the kata as you wrote it and as the reference has it.

    Side by side on a wide console, else as a unified diff: `-` yours, `+` the reference's.
    """
    mine, theirs = parse(yours), parse(reference)
    if theirs is None:
        return [Line(f"there is no reference: {relative(reference)} is missing or not valid Python")]
    if mine is None:
        return [Line(f"{relative(yours)} is missing or not valid Python")]
    lines = [Line(kata.name, ("bold",))]
    own = definitions(mine)
    for name, definition in definitions(theirs).items():
        left = _source(yours, own[name]) if name in own else []
        right = _source(reference, definition)
        lines += [Line(), Line(name, ("bold",))]
        if _same(left, right):
            lines.append(Line("  the same as the reference", ("green",)))
        lines += _panes(left, right, page) if page.width >= _BESIDE else _unified(left, right)
    return lines


def _source(path: Path, definition: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """The lines of a definition, without its docstrings, comments kept."""
    text = path.read_text(encoding="utf-8").splitlines()
    first = min([definition.lineno, *(d.lineno for d in definition.decorator_list)])
    docstrings = {
        number
        for node in ast.walk(definition)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None
        for number in range(node.body[0].lineno, (node.body[0].end_lineno or node.body[0].lineno) + 1)
    }
    kept = [text[n - 1] for n in range(first, (definition.end_lineno or first) + 1) if n not in docstrings]
    return textwrap.dedent("\n".join(kept)).splitlines()


def _same(left: list[str], right: list[str]) -> bool:
    return [line.strip() for line in left if line.strip()] == [line.strip() for line in right if line.strip()]


def _unified(left: list[str], right: list[str]) -> list[Line]:
    lines = []
    for row in difflib.ndiff(left, right):
        if not row.startswith("?"):
            colour = {"-": ("red",), "+": ("green",)}.get(row[0], ())
            lines.append(Line(f"  {row.rstrip()}", colour))
    return lines


def _panes(left: list[str], right: list[str], page: Page) -> list[Line]:
    """Two columns, aligned where the lines agree."""
    half = (page.width - 5) // 2
    rows = [Line(f"  {'yours':<{half}} | reference", ("light",))]
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        mine, theirs = left[i1:i2], right[j1:j2]
        for k in range(max(len(mine), len(theirs))):
            a = mine[k] if k < len(mine) else ""
            b = theirs[k] if k < len(theirs) else ""
            for part_a, part_b in _folded(a, b, half):
                rows.append(Line(f"  {part_a:<{half}} | {part_b}".rstrip(), () if tag == "equal" else ("yellow",)))
    return rows


def _folded(a: str, b: str, width: int) -> list[tuple[str, str]]:
    """A pair of lines, each cut into pieces of the pane's width."""
    pieces_a = [a[i : i + width] for i in range(0, len(a), width)] or [""]
    pieces_b = [b[i : i + width] for i in range(0, len(b), width)] or [""]
    count = max(len(pieces_a), len(pieces_b))
    pad = [""] * count
    return list(zip((pieces_a + pad)[:count], (pieces_b + pad)[:count], strict=True))
