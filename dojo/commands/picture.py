"""`pytest --kata-picture [NAME] [--kata-peek]`: what the learner's own functions do, drawn.

What to draw, the reference file of a kata says: `picture(solution)`, see dojo.kit.pictures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dojo.isolation.timeout import TIMEOUTS, Timeout
from dojo.kata.files import Kata
from dojo.kata.seam import import_solution, solution_of
from dojo.kata.source import PICTURE, has_picture
from dojo.screen.inline import inline
from dojo.screen.lines import Line, Page
from dojo.session.session import Command, KataSession
from dojo.text import first_lines, listed, relative

if TYPE_CHECKING:
    from dojo.kit.pictures import Picture

_SECONDS = 900.0  # some pictures train a net


def command(session: KataSession, named: Kata | None, folder: Path, *, peek: bool) -> Command:
    def say(session: KataSession, page: Page) -> list[Line]:
        kata = named or (session.first_unfinished() if peek else session.last_solved())
        if kata is None:
            return page.lines("no kata passes yet: the picture of one is drawn once it does")
        if not has_picture(session.trees.reference / f"{kata.key}.py"):
            return page.lines(f"{kata.name} has no picture. These have: {_with_pictures(session)}")
        if not peek and not session.is_behind(kata):
            return page.lines(f"{_how_far(session, kata)} --kata-peek draws the reference's.")
        if importlib.util.find_spec("matplotlib") is None:
            return page.lines("a picture needs matplotlib: python3 -m pip install matplotlib")
        return _draw(session, kata, folder, page, peek=peek)

    remembered = () if session.memory.cache else None
    return Command("picture", session.to_be_run(named) if named else remembered, say)


def _how_far(session: KataSession, kata: Kata) -> str:
    known = session.standing(kata)
    passed = f"{known.passed} of {known.tests} tests pass" if known is not None and known.tests else "not solved yet"
    return f"{kata.name}: {passed}. Its picture is drawn from your functions once all do."


def _with_pictures(session: KataSession) -> str:
    files = ((kata, session.trees.reference / f"{kata.key}.py") for kata in session.every)
    return listed([kata.slug for kata, file in files if has_picture(file)])


def _draw(session: KataSession, kata: Kata, folder: Path, page: Page, *, peek: bool) -> list[Line]:
    from dojo.kit.pictures import write

    try:
        solution = solution_of(kata, [session.trees.reference] if peek else ())
        picture = _picture(session, kata, solution)
        try:
            paths = write(picture, folder, kata.slug)
        except OSError as error:
            return page.lines(f"{relative(folder)} cannot be written to: {error.strerror or error}", "red")
    except (Exception, Timeout) as error:  # the learner's own, though the kata passes: other sizes, more steps
        place = session.trees.learners_line(error, kata)
        at = f", at {relative(place[0])}:{place[1]}" if place else ""
        what = str(error) if isinstance(error, Timeout) else f"{type(error).__name__}: {first_lines(error, 3)}"
        return page.lines(f"the picture could not be drawn{at}: {what}", "red")
    whose = _whose(session, peek=peek)
    files = [row for path in paths for row in page.broken_path(relative(path), "  ")]
    image = inline(paths[0], session.config)
    return [
        Line(kata.name, ("bold",)),
        *([Line(image)] if image else []),
        *page.lines(picture.says, indent="  "),
        Line(f"drawn with {whose}:"),
        *map(Line, files),
    ]


def _whose(session: KataSession, *, peek: bool) -> str:
    if peek:
        return "the reference's functions"
    trees = session.trees
    return "your functions" if trees.own else f"the functions of {listed([relative(f) for f in trees.solutions])}"


def _picture(session: KataSession, kata: Kata, solution: SimpleNamespace) -> Picture:
    """Let the reference draw, as a test would run: seeded, with a limit, and what it leaves changed put back."""
    from dojo.isolation.state import StateGuard

    draw: Callable[[SimpleNamespace], Picture] = getattr(
        import_solution(session.trees.reference / f"{kata.key}.py"), PICTURE
    )
    timeouts = session.config.stash[TIMEOUTS]
    guard = StateGuard()
    guard.seed()
    try:
        with timeouts.limit(timeouts.seconds_for(_SECONDS), "drawing the picture"):
            return draw(solution)
    finally:
        guard.restore()
