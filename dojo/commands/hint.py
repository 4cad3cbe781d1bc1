"""`pytest --kata-hint [NAME]`: the next hint of a kata; all of them where nothing can remember which came last.

`--kata-hint NAME=1` shows one again.
"""

from __future__ import annotations

from dojo.kata.files import Kata
from dojo.kata.source import doc_sections
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession
from dojo.text import folded

_LEVELS = "kata/hints"


def command(session: KataSession, kata: Kata | None, asked: int | None) -> Command:
    """`asked`: the number of the hint, None for the next one."""

    def say(session: KataSession, page: Page) -> list[Line]:
        return _say(session, kata or session.first_unfinished(), asked, page)

    # Which kata is the current one is remembered; where nothing can be, it must be found out.
    return Command("hint", () if kata or session.memory.cache else None, say)


def _say(session: KataSession, kata: Kata | None, asked: int | None, page: Page) -> list[Line]:
    if kata is None:
        return [Line("every kata passes: no hint is needed")]
    hints, _ = doc_sections(session.trees.reference / f"{kata.key}.py")
    if not hints:
        return [Line(f"{kata.name} has no hints")]
    if asked is not None and not 1 <= asked <= len(hints):
        return [Line(f"{kata.name} has {len(hints)} hints: --kata-hint {kata.slug}=1 to {kata.slug}={len(hints)}")]
    level = asked - 1 if asked is not None else _next_level(session, kata, len(hints) - 1)
    if level is None:
        return [row for i in range(len(hints)) for row in _hint(kata, hints, i, page)]
    more = (
        f"pytest --kata-hint {kata.slug}  says more"
        if level + 1 < len(hints)
        else f"that was the last one; pytest --kata-compare {kata.slug} --kata-peek  shows the reference"
    )
    return [*_hint(kata, hints, level, page), *page.lines(more)]


def _next_level(session: KataSession, kata: Kata, last: int) -> int | None:
    """Which hint is the next one; None where that cannot be remembered."""
    cache = getattr(session.config, "cache", None)
    if cache is None:
        return None
    levels = cache.get(_LEVELS, {})
    level = min(int(levels.get(kata.key, 0)), last)
    following = levels | {kata.key: level + 1}
    cache.set(_LEVELS, following)
    return level if cache.get(_LEVELS, None) == following else None


def _hint(kata: Kata, hints: list[str], level: int, page: Page) -> list[Line]:
    head = Line(f"{kata.name} {page.glyphs.dot} hint {level + 1} of {len(hints)}", ("bold",))
    return [head, *page.lines(folded(hints[level]), indent="  ")]
