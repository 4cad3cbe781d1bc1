"""`pytest --kata-verdict=NAME`, which the watch runs: the verdict without pytest's own output around it."""

from __future__ import annotations

from dojo.kata.files import Kata
from dojo.screen.lines import Line, Page
from dojo.screen.verdict import Verdict
from dojo.session.session import Command, KataSession


def command(kata: Kata | None) -> Command:
    return Command("verdict", None if kata is None else (kata,), _say)


def _say(session: KataSession, page: Page) -> list[Line]:
    return Verdict(session, page).lines()
