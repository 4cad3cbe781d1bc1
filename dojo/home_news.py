"""What an update of a learner's folder did, in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dojo.catalog import Kata
from dojo.failures import relative


@dataclass
class News:
    """What an update did, and what it did not do; paths below the folder."""

    folder: Path
    project: Path
    new: list[str] = field(default_factory=list)
    refreshed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)  # new paths of the learner's own versions
    taken: list[str] = field(default_factory=list)  # were there before the folder was one of katas
    changed: list[str] = field(default_factory=list)  # by the learner, and upstream
    gone: list[str] = field(default_factory=list)  # upstream, but not what the learner made of it
    blocked: list[str] = field(default_factory=list)  # somebody else's file is where ours should be
    own: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def lines(self, most: int = 3) -> list[str]:
        """For the verdict: what is new since the last run, and what waits for the learner."""
        rows = []
        if new := katas_in(self.new):
            rows.append(f"new katas: {listed(new)}")
        if refreshed := katas_in(self.refreshed):
            rows.append(f"brought up to date, as you had not touched them: {listed(refreshed)}")
        if removed := katas_in(self.removed):
            rows.append(f"no longer part of the project, untouched by you, and so removed: {listed(removed)}")
        if self.taken:
            rows.append(f"there already, and taken as your versions: {listed(katas_in(self.taken))}")
        rows += [
            f"{shown_name(n)} has another place now, and your version moved along: {self._at(n)}" for n in self.moved
        ]
        rows += _few([self._changed(name) for name in self.changed], most, "changed upstream")
        rows += _few(
            [f"{shown_name(n)} is no longer part of the project; yours is kept: {self._at(n)}" for n in self.gone],
            most,
            "are no longer part of the project, and kept",
        )
        rows += _few([self._blocked(name) for name in self.blocked], most, "are in the way of shipped files")
        return rows

    def forget(self, name: str) -> None:
        """That file has just been brought back."""
        for names in (self.new, self.changed, self.blocked):
            if name in names:
                names.remove(name)

    def _at(self, name: str) -> str:
        return relative(self.folder / name)

    def _changed(self, name: str) -> str:
        see = shlex.join(["git", "diff", "--no-index", relative(self.project / "katas" / name), self._at(name)])
        take = f", `pytest --kata-reset {slug(name)}` takes it" if name.endswith(".py") else ""
        return f"{shown_name(name)} changed upstream, and yours is kept. `{see}` shows the two{take}"

    def _blocked(self, name: str) -> str:
        if name.endswith(".py") and "/" in name:
            end = f"`pytest --kata-reset {slug(name)}` puts the kata there, and keeps your file beside it"
        elif "/" in name:
            end = "move it away to get the chapter's page"
        else:
            end = "run pytest at the project's root, where it does not matter"
        return f"{self._at(name)} was there already, is not ours, and stays as it is: {end}"


def shown_name(path: str) -> str:
    return Kata(Path(path), Path()).name if path.endswith(".py") and "/" in path else path


def slug(path: str) -> str:
    return Kata(Path(path), Path()).slug


def katas_in(paths: Sequence[str]) -> list[str]:
    return [shown_name(path) for path in paths if path.endswith(".py") and "/" in path]


def listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _few(rows: list[str], most: int, what: str) -> list[str]:
    if len(rows) <= most:
        return rows
    return [*rows[:most], f"{len(rows) - most} more {what}: `pytest --kata-start` tells of all"]
