"""Hostile submissions, graded behind each wall: a grade for each, nothing left behind, nothing changed."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from dojo.grading import record
from dojo.grading.walls import WALLS
from tests import hostile
from tests.conftest import Project

pytestmark = [pytest.mark.xdist_group("grading"), pytest.mark.skipif(sys.platform != "linux", reason="walls of Linux")]


def wall_that_is_here(name: str) -> str:
    if missing := WALLS[name].missing():
        pytest.skip(missing)
    return name


def hostile_class(project: Project, names: Sequence[str]) -> None:
    """A project of two katas, and a class of which each student hands in one of these and a right second kata."""
    for path in ("katas", "reference"):
        for file in (project.path / path).rglob("*.py"):
            file.unlink()
    for key, kata, reference in (
        (hostile.DOUBLE_KEY, hostile.DOUBLE, hostile.DOUBLE_REFERENCE),
        (hostile.NEXT_KEY, hostile.NEXT, hostile.NEXT_REFERENCE),
    ):
        project.write(f"katas/{key}.py", kata.encode())
        project.write(f"reference/{key}.py", reference.encode())
    for name in names:
        one = hostile.HOSTILE[name]
        folder = f"submissions/{name}"
        for path, text in one.beside.items():
            project.write(f"{folder}/{path}", text if isinstance(text, bytes) else text.encode())
        project.write(
            f"{folder}/{hostile.DOUBLE_KEY}.py", one.text if isinstance(one.text, bytes) else one.text.encode()
        )
        if not (project.path / folder / f"{hostile.NEXT_KEY}.py").exists():
            project.write(f"{folder}/{hostile.NEXT_KEY}.py", hostile.RIGHT_NEXT.encode())


def files_of(folder: Path) -> dict[str, str]:
    """What stands in the project and the class; pytester and pytest write beside them."""
    parts = ("katas", "reference", "submissions", "conftest.py", "pytest.ini")
    paths = (path for part in parts for path in [folder / part, *(folder / part).rglob("*")])
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.is_file() and "__pycache__" not in path.parts
    }


def survivors(marker: str) -> list[str]:
    """Processes that were started by a grading whose environment holds this word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
    return found


def complaints(project: Project, names: Sequence[str], wall: str) -> list[str]:
    """Grade these; returns what must not be."""
    hostile_class(project, names)
    before = files_of(project.path)
    result = project.run_apart(
        "--kata-grade=submissions", "--kata-report=report", f"--kata-wall={wall}", "-n", "2", timeout=3000
    )
    if result.ret:
        return [f"exit code {result.ret}: {result.stdout.str()[-2000:]} {result.stderr.str()[-2000:]}"]
    found = []
    after = files_of(project.path)
    found += [f"{name} has changed" for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    time.sleep(0.2)
    found += [f"still running: {line}" for line in survivors(str(project.path / "katas"))]
    with (project.path / "report/flags.csv").open() as file:
        flagged = {(row["student"], row["kata"]) for row in csv.DictReader(file) if row["flag"] != "identical"}
    for name in names:
        one = record.read(record.path_of(project.path / "report", name))
        if one is None:
            found.append(f"{name} has no record")
            continue
        double, following = ([kata for kata in one.katas if kata.key == key] for key in KEYS)
        if not double or not following:
            found.append(f"{name}: a kata has no grade")
            continue
        if not hostile.HOSTILE[name].right and double[0].share == 1 and (name, KEYS[0]) not in flagged:
            found.append(f"{name}: full marks for a wrong answer, and no flag")
        if hostile.HOSTILE[name].right and double[0].share < 1 and not double[0].flags:
            said = [test.says.split("\n")[0] for test in double[0].tests if test.kind != "passed"]
            found.append(f"{name}: a right answer has lost marks: {said}")
        if following[0].share < 1 and name != "a_folder_called_next":
            said = [test.says.split("\n")[0] for test in following[0].tests if test.kind != "passed"]
            found.append(f"{name}: the next kata has {following[0].share:.2f}: {said} {following[0].flags}")
    return found


KEYS = (hostile.DOUBLE_KEY, hostile.NEXT_KEY)


@pytest.mark.parametrize("wall", ["bwrap", "landlock"])
def test_a_few_hostile_submissions(project: Project, wall: str) -> None:
    assert complaints(project, hostile.SOME, wall_that_is_here(wall)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_more_hostile_submissions(project: Project) -> None:
    """Every eighth; with KATA_HOSTILE=bwrap or landlock in the environment all, behind that: twenty minutes."""
    names, wall = list(hostile.HOSTILE), os.environ.get("KATA_HOSTILE")
    chosen = names if wall else names[::8]
    assert complaints(project, chosen, wall_that_is_here(wall or "bwrap")) == []
