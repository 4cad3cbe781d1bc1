"""The pages made from the katas: the table in each chapter's README, katas/MYTHS.md, docs/MAP.md, docs/EXAM.md.

`python -m dojo.authoring pages` writes them; the gate fails when they are out of step.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dojo.authoring.maps import exam_page, map_page
from dojo.kata.files import Kata, find_katas
from dojo.kata.source import parse
from dojo.text import folded

BEGIN, END = "<!-- made by `python -m dojo.authoring pages`: do not edit below -->", "<!-- end -->"

MYTHS_INTRO = """\
# What you may have read, and what PyTorch does

Tutorials live longer than the versions they were written for, and some were wrong from the start. Each line below
says what widely read ones tell, what PyTorch does today, and which test shows it. Run that test on the reference with
`pytest --kata-solutions=reference PATH::TEST`.

This page is made from the tests' own `myth` markers by `python -m dojo.authoring pages`; edit those, not this.
"""


@dataclass(frozen=True)
class Myth:
    """One wrong idea, and the test that disproves it."""

    kata: Kata
    test: str
    line: int
    says: str
    today: str


def myths(katas: list[Kata]) -> Iterator[Myth]:
    """The `@pytest.mark.myth(says=..., today=...)` markers of all tests, in the order of the katas."""
    for kata in katas:
        tree = parse(kata.path)
        for test in tree.body if tree else []:
            if not isinstance(test, ast.FunctionDef):
                continue
            for decorator in test.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.myth":
                    values = {word.arg: ast.literal_eval(word.value) for word in decorator.keywords}
                    yield Myth(kata, test.name, test.lineno, values["says"], values["today"])


def myths_page(katas: list[Kata]) -> str:
    """The text of katas/MYTHS.md."""
    parts = [MYTHS_INTRO]
    for chapter, found in groupby(myths(katas), key=lambda myth: myth.kata.chapter):
        parts.append(
            f"\n## {_title_of(katas, chapter)}\n\n| tutorials say | PyTorch today | shown by |\n|---|---|---|\n"
        )
        for myth in found:
            link = f"[{myth.kata.slug}: {myth.test}]({chapter}/{myth.kata.path.name}#L{myth.line})"
            parts.append(f"| {_cell(myth.says)} | {_cell(myth.today)} | {link} |\n")
    return "".join(parts)


def chapter_page(readme: str, katas: list[Kata]) -> str:
    """A chapter's README with its table and pictures made anew: the text above the mark is the author's."""
    text = readme.split(BEGIN)[0].rstrip()
    head = "| | kata | what it is about | minutes | before it |\n|---|---|---|---|---|\n"
    pictures = "".join(map(_picture, katas))
    return f"{text}\n\n{BEGIN}\n\n{head}{''.join(map(_row, katas))}\n{pictures}{END}\n"


def _picture(kata: Kata) -> str:
    """What `--kata-picture` draws of the kata, where it is one of those shown in docs/pictures."""
    picture = next(iter((kata.root.parent / "docs" / "pictures").glob(f"{kata.slug}.*")), None)
    if picture is None:
        return ""
    return (
        f"`pytest --kata-picture {kata.slug}` draws yours:\n\n"
        f"![{_cell(kata.title)}](../../docs/pictures/{picture.name})\n\n"
    )


def _row(kata: Kata) -> str:
    before = ", ".join(kata.lesson.before)
    link = f"[{kata.slug}]({kata.path.name})"
    return f"| {kata.path.name[:2]} | {link} | {_cell(kata.title)} | {kata.lesson.minutes or ''} | {before} |\n"


def pages(root: Path) -> dict[Path, str]:
    """Every made page, with the text that it should have."""
    katas = find_katas(root)
    made = {root / "MYTHS.md": myths_page(katas)}
    for _, group in groupby(katas, key=lambda kata: kata.chapter):
        chapter = list(group)
        readme = chapter[0].path.parent / "README.md"
        before = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        made[readme] = chapter_page(before, chapter)
    docs = root.parent / "docs"
    if docs.is_dir():
        made |= {docs / "MAP.md": map_page(katas), docs / "EXAM.md": exam_page(katas)}
    return made


def _title_of(katas: list[Kata], chapter: str) -> str:
    readme = next(kata for kata in katas if kata.chapter == chapter).path.parent / "README.md"
    first = readme.read_text(encoding="utf-8").split("\n", 1)[0] if readme.is_file() else ""
    return first.removeprefix("# ").strip() or chapter


def _cell(text: str) -> str:
    return folded(text).replace("|", "\\|")


def stale_pages(root: Path) -> dict[Path, str]:
    """The made pages that are out of step with the katas, with the text that they should have."""
    return {p: t for p, t in pages(root).items() if not p.is_file() or p.read_text(encoding="utf-8") != t}


def write_pages(root: Path) -> list[Path]:
    """Bring the made pages up to date; returns those that were not."""
    stale = stale_pages(root)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    return list(stale)
