"""`pytest --kata-hint [NAME]`: the next hint of a kata; all of them where no cache can remember which came last."""

from __future__ import annotations

from dojo.kata.files import Kata
from dojo.kata.source import doc_sections
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession
from dojo.text import folded

_LEVELS = "kata/hints"


def command(session: KataSession, kata: Kata | None) -> Command:
    def say(session: KataSession, page: Page) -> list[Line]:
        return _say(session, kata or session.first_unfinished(), page)

    # Which kata is the current one is remembered; where nothing can be, it must be found out.
    return Command("hint", () if kata or session.memory.cache else None, say)


def _say(session: KataSession, kata: Kata | None, page: Page) -> list[Line]:
    if kata is None:
        return [Line("every kata passes: no hint is needed")]
    hints, _ = doc_sections(session.trees.reference / f"{kata.key}.py")
    if not hints:
        return [Line(f"{kata.name} has no hints")]
    cache = getattr(session.config, "cache", None)
    if cache is None:
        return [row for i in range(len(hints)) for row in _hint(kata, hints, i, page)]
    levels = cache.get(_LEVELS, {})
    level = min(int(levels.get(kata.key, 0)), len(hints) - 1)
    cache.set(_LEVELS, levels | {kata.key: level + 1})
    more = (
        f"pytest --kata-hint {kata.slug}  says more"
        if level + 1 < len(hints)
        else f"that was the last one; pytest --kata-compare {kata.slug} --kata-peek  shows the reference"
    )
    return [*_hint(kata, hints, level, page), Line(more)]


def _hint(kata: Kata, hints: list[str], level: int, page: Page) -> list[Line]:
    head = Line(f"{kata.name} {page.glyphs.dot} hint {level + 1} of {len(hints)}", ("bold",))
    return [head, *page.lines(folded(hints[level]), indent="  ")]
