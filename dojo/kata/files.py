"""The katas on disk: what there is, in which order, and by which names people ask for one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dojo.kata.source import Lesson, first_docstring_line, lesson

_NUMBERED = re.compile(r"(\d\d)_(\w+)")


@dataclass(frozen=True)
class Kata:
    """One kata: a file `NN_chapter/NN_name.py` under the folder of katas."""

    path: Path
    root: Path

    @property
    def key(self) -> str:
        """`02_memory/01_view_or_copy`: what the file and its reference share."""
        return self.path.relative_to(self.root).with_suffix("").as_posix()

    @property
    def chapter(self) -> str:
        return self.path.parent.name

    @property
    def slug(self) -> str:
        """`view_or_copy`: the name that people say."""
        return without_number(self.path.stem)

    @property
    def name(self) -> str:
        """`memory/view_or_copy`: the slug with its chapter, for the screen."""
        return f"{without_number(self.chapter)}/{self.slug}"

    @property
    def lesson(self) -> Lesson:
        """How long it takes, what should come before, and its paths."""
        return lesson(self.path)

    @property
    def title(self) -> str:
        """The first line of the module docstring, without its full stop."""
        return first_docstring_line(self.path)


def without_number(name: str) -> str:
    """`02_memory` -> `memory`."""
    match = _NUMBERED.fullmatch(name)
    return match[2] if match else name


def find_katas(root: Path) -> list[Kata]:
    """Every kata under `root`, in file-name order, which is the order in which they are learnt."""
    files = (path for chapter in sorted(root.glob("[0-9][0-9]_*")) for path in sorted(chapter.glob("[0-9][0-9]_*.py")))
    return [Kata(path, root) for path in files if is_kata_name(path)]


def is_kata_name(path: Path) -> bool:
    """`01_x.py`; but not `01_x (copy).py`, `01_x.orig.py`: what editors and people leave beside."""
    return path.suffix == ".py" and _NUMBERED.fullmatch(path.stem) is not None


class UnknownKata(LookupError):
    """No kata, or more than one, has that name; the message lists what was probably meant."""


def find_kata(katas: Iterable[Kata], name: str) -> Kata:
    """The kata that `name` (a slug, `chapter/slug`, a key or a path, with or without `.py` and `::test`) means."""
    katas = list(katas)
    wanted = name.split("::")[0].replace("\\", "/").removeprefix("./").removesuffix(".py").rstrip("/")
    ways: list[Callable[[Kata], bool]] = [
        lambda kata: wanted in _names(kata),
        lambda kata: kata.slug.startswith(wanted),
        lambda kata: wanted in kata.key or wanted in kata.name,
    ]
    hits = next((found for way in ways if wanted and (found := list(filter(way, katas)))), [])
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise UnknownKata(f"{name!r} could be any of: {', '.join(kata.name for kata in hits[:6])}")
    near = difflib.get_close_matches(wanted.split("/")[-1], [kata.slug for kata in katas], n=3, cutoff=0.6)
    if near:
        raise UnknownKata(f"no kata is called {name!r}. Did you mean {', '.join(near)}?")
    raise UnknownKata(f"no kata is called {name!r}; `pytest --kata-list` shows them all")


def _names(kata: Kata) -> set[str]:
    path = kata.path.with_suffix("").as_posix()
    roots = {kata.root.name, "katas"}  # a learner's own folder has another name
    return {kata.slug, kata.path.stem, kata.name, kata.key, *(f"{root}/{kata.key}" for root in roots), path}
