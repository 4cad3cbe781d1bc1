"""One line for one kata: how it stands."""

from __future__ import annotations

from dojo.kata.files import Kata
from dojo.kata.source import Lesson
from dojo.screen.lines import Line, Page
from dojo.session.facts import Standing
from dojo.text import listed


def kata_row(name: str, kata: Kata, known: Standing | None, page: Page, *, current: bool = False) -> list[Line]:
    """`✓ view_or_copy`, with what there is to say of it; `name` with the blanks that stand before it in its list."""
    glyphs = page.glyphs
    state = known.state if known is not None else "unfinished"
    mark, said, colour = glyphs.todo, "", "yellow"
    if known is not None and state == "done":
        mark, colour = glyphs.good, "green"
        parts = [*known.notes[-1:], *([f"{known.no_gpu} not run here"] if known.no_gpu else [])]
        said = f"({', '.join(parts)})" if parts else ""
    elif state == "stand-in":
        mark, said = glyphs.good, "done on the stand-in data, not on MNIST"
    elif state == "not run here":
        said = f"not run here: {known.needs if known and known.needs else 'needs a GPU'}"
    elif known is not None and state == "incomplete":
        said, mark = ran(known), ">" if current else mark
    else:
        passed = f"{known.passed} of {known.tests} tests pass" if known is not None and known.tests else "to do"
        begun, about = known is not None and known.passed > 0, about_the_lesson(kata.lesson)
        if current:
            said = ", ".join(filter(None, [f"current: {passed}", "" if begun else about]))
        else:
            said = f"begun: {passed}" if begun else about
        mark, colour = (">", "bold") if current else (mark, "")
    indent = " " * (len(name) - len(name.lstrip()))
    text = f"{indent}{mark} {name.strip()}  {said}".rstrip()
    if len(text) < page.width:
        return [Line(text, (colour,) if colour else ())]
    rows = page.wrapped(said, f"{indent}    ")
    return [Line(row, (colour,) if colour else ()) for row in (f"{indent}{mark} {name.strip()}", *rows)]


def about_the_lesson(lesson: Lesson) -> str:
    """`about 15 minutes, after view_or_copy`."""
    after = f", after {listed(lesson.before)}" if lesson.before else ""
    return f"about {lesson.minutes} minutes{after}" if lesson.minutes else ""


def ran(known: Standing) -> str:
    """Of a kata of which only a part ran."""
    if known.tests > known.ran:
        return f"{known.ran} of {known.tests} tests ran"
    return f"only some of its tests ran ({known.ran})"
