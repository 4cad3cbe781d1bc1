"""`pytest --kata-why [NAME]`: why the reference is as it is; only for those who have solved the kata."""

from __future__ import annotations

from dojo.kata.files import Kata
from dojo.kata.source import doc_sections
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession
from dojo.text import folded


def command(session: KataSession, named: Kata | None) -> Command:
    def say(session: KataSession, page: Page) -> list[Line]:
        kata = named or session.last_solved()
        if kata is None:
            return page.lines("no kata passes yet: the why of one is told once it does")
        if not session.is_behind(kata):
            return page.lines(f"{kata.name} is not solved yet: its why is told once it passes")
        _, why = doc_sections(session.trees.reference / f"{kata.key}.py")
        return [Line(kata.name, ("bold",)), *page.lines(folded(why), indent="  ")]

    if named is not None:
        return Command("why", session.to_be_run(named), say)
    return Command("why", () if session.memory.cache else None, say)
