"""The `--kata-…` commands that show something instead of a run's verdict.

Each is a quiet pytest session that runs just the katas it must know about, and then says its lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pytest

from dojo.catalog import Kata, UnknownKata, doc_sections, find_kata, find_katas, without_number
from dojo.verdict import Line, Page, Result

if TYPE_CHECKING:
    from pathlib import Path

    from dojo.session import KataSession

_CACHE_HINTS = "kata/hints"
Runs = Literal["selection", "all", "up to the current one", "one kata", "nothing"]


def _say_nothing(_session: KataSession, _page: Page) -> list[Line]:
    return []


@dataclass(frozen=True)
class Command:
    """What this session is for, and what has to run before it can be said."""

    name: str = "run"
    runs: Runs = "selection"
    kata: Kata | None = None
    say: Callable[[KataSession, Page], list[Line]] = _say_nothing

    def walks(self, bare: bool) -> bool:
        """Stop after the first unfinished kata?"""
        return self.runs == "up to the current one" or (self.runs == "selection" and bare)


def command_of(config: pytest.Config, root: Path) -> Command:
    """The command that the options ask for."""
    option = config.option
    if option.kata_verdict is not None:
        kata = _named(option.kata_verdict, root)
        return Command("verdict", "one kata" if kata else "up to the current one", kata, say_verdict)
    if option.kata_list:
        return Command("list", "all", say=say_list)
    if option.kata_hint is not None:
        kata = _named(option.kata_hint, root)
        return Command("hint", "nothing" if kata else "up to the current one", kata, say_hint)
    if option.kata_why is not None:
        return Command("why", "one kata", _named(option.kata_why, root), say_why)
    if option.kata_compare is not None:
        kata = _named(option.kata_compare, root)
        return Command("compare", "one kata" if kata else "up to the current one", kata, say_compare)
    return Command()


def _named(name: str, root: Path) -> Kata | None:
    if not name:
        return None
    try:
        return find_kata(find_katas(root), name)
    except UnknownKata as error:
        raise pytest.UsageError(str(error)) from None


# ── pytest --kata-verdict=NAME, which the watch runs ──


def say_verdict(session: KataSession, page: Page) -> list[Line]:
    """The verdict without pytest's own output around it."""
    return session.verdict_lines(page)


# ── pytest --kata-list ──


def say_list(session: KataSession, page: Page) -> list[Line]:
    """Chapters and katas: done, current, to do."""
    lines: list[Line] = []
    chapter = ""
    current = session.current()
    for kata in session.katas:
        if kata.chapter != chapter:
            chapter = kata.chapter
            lines += [Line(), Line(f"{without_number(chapter)}", ("bold",))]
        lines.append(_list_row(kata, session.results.get(kata.key), kata == current, page))
    done = sum(r.state in ("done", "stand-in") for r in session.results.values())
    return [*lines, Line(), Line(f"{done} of {len(session.katas)} done")]


def _list_row(kata: Kata, result: Result | None, is_current: bool, page: Page) -> Line:
    if result is not None and result.state in ("done", "stand-in", "not run here"):
        status = page.status(result)
        mark, note = status.text[0], status.text.removeprefix(f"{status.text[0]} {kata.name}")
        return Line(f"  {mark} {kata.slug}{note}", status.markup)
    if is_current and result is not None:
        return Line(f"  > {kata.slug}  current: {result.count()['passed']} of {result.collected} tests pass", ("bold",))
    passed = result.count()["passed"] if result else 0
    begun = f"  begun: {passed} of {result.collected} tests pass" if result and passed else ""
    return Line(f"  {page.glyphs.todo} {kata.slug}{begun}")


# ── pytest --kata-hint [NAME] ──


def say_hint(session: KataSession, page: Page) -> list[Line]:
    """The next hint of a kata; all of them where no cache can remember which came last."""
    kata = session.command.kata or session.current()
    if kata is None:
        return [Line("every kata passes: no hint is needed")]
    hints, _ = doc_sections(session.reference / f"{kata.key}.py")
    if not hints:
        return [Line(f"{kata.name} has no hints")]
    cache = getattr(session.config, "cache", None)
    if cache is None:
        return [row for i in range(len(hints)) for row in _hint(kata, hints, i, page)]
    levels = cache.get(_CACHE_HINTS, {})
    level = min(int(levels.get(kata.key, 0)), len(hints) - 1)
    cache.set(_CACHE_HINTS, levels | {kata.key: level + 1})
    more = (
        f"pytest --kata-hint {kata.slug}  says more"
        if level + 1 < len(hints)
        else f"that was the last one; pytest --kata-compare {kata.slug} --kata-peek  shows the reference"
    )
    return [*_hint(kata, hints, level, page), Line(more)]


def _hint(kata: Kata, hints: list[str], level: int, page: Page) -> list[Line]:
    head = Line(f"{kata.name} {page.glyphs.dot} hint {level + 1} of {len(hints)}", ("bold",))
    return [head, *(Line(row) for row in page.wrapped(" ".join(hints[level].split()), "  "))]


# ── pytest --kata-why NAME ──


def say_why(session: KataSession, page: Page) -> list[Line]:
    """Why the reference is as it is; only to those who have solved the kata."""
    kata = session.command.kata
    if kata is None:
        return [Line("say which kata: pytest --kata-why NAME")]
    if not _solved(session, kata):
        return _refusal(kata, "its why is told once it passes", page)
    _, why = doc_sections(session.reference / f"{kata.key}.py")
    return [Line(kata.name, ("bold",)), *(Line(row) for row in page.wrapped(" ".join(why.split()), "  "))]


# ── pytest --kata-compare [NAME] [--kata-peek] ──


def say_compare(session: KataSession, page: Page) -> list[Line]:
    """The learner's functions beside the reference's."""
    kata = session.command.kata
    if kata is None:
        done = [r.kata for r in session.results.values() if r.state in ("done", "stand-in")]
        kata = session.current() if session.config.option.kata_peek else (done[-1] if done else session.current())
    if kata is None:
        return [Line("there is no kata to compare")]
    if not session.config.option.kata_peek and not _solved(session, kata):
        return _refusal(kata, "the reference is shown beside yours once it passes; --kata-peek shows it now", page)
    from dojo import compare  # rich is imported only where it is used

    return compare.side_by_side(kata, session.own_file(kata), session.reference / f"{kata.key}.py", page)


def _solved(session: KataSession, kata: Kata) -> bool:
    result = session.results.get(kata.key)
    return result is not None and result.state in ("done", "stand-in", "not run here")


def _refusal(kata: Kata, sentence: str, page: Page) -> list[Line]:
    return [Line(row) for row in page.wrapped(f"{kata.name} is not solved yet: {sentence}")]
