"""The trees of a run: where the katas are, and whose functions are tested."""

from __future__ import annotations

import functools
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest

from dojo.kata.files import Kata, is_kata_name
from dojo.kata.source import seam_line


@dataclass(frozen=True)
class Trees:
    """Tests come from `katas`; functions from the first of `solutions` that defines them, else from `katas` too.

    own: the functions are the learner's own (what passes is counted and remembered), not somebody's that were named
    with --kata-solutions.
    """

    katas: Path
    reference: Path
    solutions: tuple[Path, ...] = ()
    own: bool = True

    @property
    def edited(self) -> Path:
        """The folder whose files the learner edits."""
        return self.solutions[0] if self.own and self.solutions else self.katas

    def kata_at(self, path: Path) -> Kata | None:
        """The kata that a file is: its tests, or a learner's copy of it, which stands for them."""
        for root in {self.katas, self.edited}:
            if path.is_relative_to(root):
                kata = Kata(self.katas / path.relative_to(root), self.katas)
                return kata if kata.path.is_file() and is_kata_name(path) else None
        return None

    def file_of(self, kata: Kata) -> Path:
        """The file that holds the functions of a kata: where the learner goes on."""
        files = [folder / f"{kata.key}.py" for folder in self.solutions]
        return next((file for file in files if file.is_file()), files[0] if files and self.own else kata.path)

    def argument(self, kata: Kata, start: Path) -> str:
        """How pytest, run in the folder `start`, is asked for a kata: the learner's copy stands for its tests."""
        copy = self.edited / f"{kata.key}.py"
        paths = [_relative(path, start) for path in (copy, kata.path) if path.is_file()]
        # pytest takes brackets in a path for a test's parameters.
        return next((path for path in paths if "[" not in path), paths[-1])

    @functools.lru_cache(maxsize=1024)  # noqa: B019  asked of every frame of a traceback; lives as long as the session
    def is_learner_code(self, file: str) -> bool:
        """Is this a file of the katas or of a solution?"""
        return any(Path(file).is_relative_to(folder) for folder in (self.katas, *self.solutions))

    def learners_line(self, error: BaseException, kata: Kata) -> tuple[Path, int] | None:
        """Where the learner's own code was when it raised: the innermost of its lines, over the chain of causes."""
        seam, found, seen = seam_line(kata.path), None, []
        step: BaseException | None = error
        while step is not None and step not in seen and found is None:
            for frame, line in traceback.walk_tb(step.__traceback__):
                file = frame.f_code.co_filename
                if self.is_learner_code(file) and (file != str(kata.path) or line < seam):
                    found = Path(file), line
            seen.append(step)
            step = step.__cause__
        return found


def _relative(path: Path, start: Path) -> str:
    try:
        return os.path.relpath(path, start)
    except ValueError:  # another drive
        return str(path)


TREES = pytest.StashKey[Trees]()
