"""`pytest --kata-compare [NAME] [--kata-peek]`: the learner's functions beside the reference's."""

from __future__ import annotations

import ast
import difflib
import io
import itertools
import textwrap
from pathlib import Path

from dojo.kata.files import Kata
from dojo.kata.source import definitions, parse
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession
from dojo.text import relative

_BESIDE = 100  # columns from which two panes fit; below that, a unified diff


def command(session: KataSession, named: Kata | None, *, peek: bool) -> Command:
    def say(session: KataSession, page: Page) -> list[Line]:
        kata = named or (session.first_unfinished() if peek else session.last_solved())
        if kata is None:
            return [Line("there is no kata to compare")]
        if not peek and not session.is_behind(kata):
            return page.lines(
                f"{kata.name} is not solved yet: the reference is shown beside yours once it passes; "
                "--kata-peek shows it now"
            )
        return side_by_side(kata, session.trees.file_of(kata), session.trees.reference / f"{kata.key}.py", page)

    remembered = () if session.memory.cache else None
    return Command("compare", session.to_be_run(named) if named else remembered, say)


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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("yours", "reference", box=None, expand=True, pad_edge=False, header_style="dim")
    for column in table.columns:
        column.ratio = 1
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        for mine, theirs in itertools.zip_longest(left[i1:i2], right[j1:j2], fillvalue=""):
            table.add_row(Text(mine), Text(theirs), style="" if tag == "equal" else "yellow")
    paper = io.StringIO()
    Console(
        file=paper, width=page.width - 3, force_terminal=page.colour, no_color=not page.colour, highlight=False
    ).print(table)
    return [Line(f"  {row.rstrip()}") for row in paper.getvalue().splitlines()]
