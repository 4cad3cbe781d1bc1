"""A folder of one's own: `pytest --kata-start` fills it, `pytest --kata-reset` brings a kata's stubs back.

Each kata is copied once. From then on a run takes the functions from there and the tests from katas/, so an update of
the project never has to touch what a learner wrote, and no copy of a test goes stale.
"""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import dojo
from dojo.kata.files import Kata, UnknownKata, find_kata, find_katas
from dojo.kata.source import is_untouched, is_untouched_text
from dojo.text import relative
from dojo.workspace.files import FilesError, create, in_sentences, keep_beside, put, read

POINTER = ".kata-home"  # at the project's root: where the learner's folder is
DEFAULT = "my_katas"

_CONFTEST = '''\
"""Registers the engine; this folder's katas were copied by `pytest --kata-start`."""

from __future__ import annotations

import pytest


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    # Not `pytest_plugins = [...]`: pytest refuses that below its root, and this folder may be run from the project's.
    pluginmanager.import_plugin("dojo.plugin")
'''

_INI = """\
[pytest]
# Written by `pytest --kata-start`: the settings of the project that the katas come from.
kata_project = {project}
pythonpath = {quoted}
cache_dir = {project}/.pytest_cache
python_files = [0-9][0-9]_*.py
python_functions = test_*
addopts = --import-mode=importlib -rN --tb=short -p no:randomly --strict-markers
norecursedirs = .* build dist __pycache__
"""
_OURS = b"# Written by `pytest --kata-start`"


@dataclass(frozen=True)
class Workspace:
    """A learner's folder, and the project whose tests it is run against."""

    folder: Path
    project: Path

    def copy(self, kata: Kata) -> str:
        """Copy a kata if it is not there yet; returns what came: "new", "mine" (the learner's own work), or ""."""
        target = self.folder / f"{kata.key}.py"
        with in_sentences():
            if not target.exists():
                moved = self._of_another_number(kata)
                text = (moved if moved and not is_untouched(moved) else kata.path).read_bytes()
                if create(target, text):
                    if moved is not None and moved.read_bytes() != text:
                        keep_beside(moved)  # no function is written there, but a comment may be
                    if moved is not None:
                        moved.unlink()
                    return "new" if is_untouched_text(text) else "mine"
            elif target.is_file() and is_untouched(target) and not is_untouched(kata.path):
                put(target, kata.path.read_bytes())  # somebody who has a folder wrote into katas/ itself
                return "mine"
        return ""

    def _of_another_number(self, kata: Kata) -> Path | None:
        """The learner's version of a kata that has got another number or chapter since."""
        shipped = {other.key for other in find_katas(kata.root)}
        moved = (other for other in find_katas(self.folder) if other.slug == kata.slug and other.key not in shipped)
        return next((other.path for other in moved), None)

    def kit(self) -> dict[str, bytes]:
        """What pytest needs to run in the folder."""
        project = self.project.as_posix()
        kit = {"conftest.py": _CONFTEST, "pytest.ini": _INI.format(project=project, quoted=shlex.quote(project))}
        if self.folder.is_relative_to(self.project):
            kit[".gitignore"] = "# Your own folder: not part of the project that it lies in.\n*\n"
        return {name: text.encode(errors="surrogateescape") for name, text in kit.items()}


def recorded(project: Path) -> Workspace | None:
    """The learner's folder as the project remembers it."""
    try:
        text = (project / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return Workspace((project / text).resolve(), project) if text else None


def project_at(path: Path) -> Path:
    """The project; where that path has no katas any more, the one that the engine lies in."""
    ours = Path(dojo.__file__).resolve().parents[1]
    return path if (path / "katas").is_dir() or not (ours / "katas").is_dir() else ours


# ── pytest --kata-start[=DIR] ──


def start(project: Path, asked: Path | None) -> list[str]:
    """Fill the learner's folder with what it does not have yet; returns what to say."""
    before, katas = recorded(project), find_katas(project / "katas")
    if before is not None and not before.folder.is_dir():
        before = None
    own = Workspace(asked or (before.folder if before else (project / DEFAULT).resolve()), project)
    _refuse(own, katas)
    rows, came = [], {"new": list[str](), "mine": list[str](), "": list[str]()}
    for kata in katas:
        if (own.folder / kata.chapter).is_file():
            rows.append(f"{relative(own.folder / kata.chapter)} is a file: there is no room for {kata.name}")
        else:
            came[own.copy(kata)].append(kata.name)
    with in_sentences():
        rows += [row for name, text in own.kit().items() for row in _bring_kit(own.folder / name, text)]
        inside = own.folder.is_relative_to(project)
        place = own.folder.relative_to(project).as_posix() if inside else str(own.folder)
        if read(project / POINTER) != f"{place}\n".encode():
            (project / POINTER).unlink(missing_ok=True)
            create(project / POINTER, f"{place}\n".encode())
    here = f"{relative(own.folder)}/"
    if not came[""]:
        rows.append(
            f"{len(katas)} katas are in {here}, yours to edit. `pytest`, here or in that folder, takes your functions "
            "from it, and the tests from katas/."
        )
    elif came["new"]:
        rows.append(f"new in {here}: {', '.join(came['new'])}")
    elif not came["mine"]:
        rows.append(f"{here} has all katas: nothing is new, and what you wrote stays as it is")
    if came["mine"]:
        rows.append(f"what you have written came along: {', '.join(came['mine'])}")
    if before is not None and before.folder != own.folder:
        rows.append(f"{relative(before.folder)}/, which was used until now, is left as it is")
    return rows


def _refuse(own: Workspace, katas: list[Kata]) -> None:
    folder, project = own.folder, own.project
    if not katas:
        raise FilesError(f"There are no katas in {project / 'katas'}: run `pytest --kata-start` in the project's root.")
    ours = [project / name for name in ("katas", "reference", "dojo", "tests", "docs", ".git")]
    if project.is_relative_to(folder) or any(folder.is_relative_to(path) for path in ours):
        raise FilesError(f"{folder} is a folder of the project itself: name another, such as --kata-start={DEFAULT}")
    if folder.exists() and not folder.is_dir():
        raise FilesError(f"{folder} is a file: name a folder, such as --kata-start={DEFAULT}")


def _bring_kit(path: Path, text: bytes) -> list[str]:
    have = read(path)
    if have is None:
        create(path, text)
    elif have != text and _OURS in have:
        put(path, text)
    elif have != text and path.name != ".gitignore":
        there = f"{relative(path)} was there already, is not ours, and stays as it is"
        return [f"{there}: run pytest at the project's root, where it does not matter"]
    return []


# ── pytest --kata-reset NAME ──


def reset(project: Path, own: Workspace | None, name: str) -> list[str]:
    """Bring back a kata's stubs, and keep the learner's version beside them; returns what to say."""
    root = project / "katas"
    # The reference knows the katas too whose files have been deleted.
    known = [Kata(root / f"{other.key}.py", root) for other in find_katas(project / "reference")]
    try:
        kata = find_kata(dict.fromkeys([*find_katas(root), *known]), name)
    except UnknownKata as error:
        raise FilesError(str(error)) from None
    path = (own.folder if own is not None else root) / f"{kata.key}.py"
    with in_sentences():
        text = _original(project, kata)
        if read(path) == text:
            return [f"{relative(path)} is the original: there is nothing to reset"]
        beside = put(path, text)
    rows = [f"{relative(path)} is the original again"]
    return [*rows, f"your version is kept: {relative(beside)}"] if beside is not None else rows


def _original(project: Path, kata: Kata) -> bytes:
    """The text with nothing written into it: the file in katas/, or the last commit's."""
    here = read(kata.path)
    if here is not None and is_untouched_text(here):
        return here
    committed = _last_commit(project, f"katas/{kata.key}.py")
    if committed is None:
        raise FilesError(
            f"The original of {kata.name} is not to be had: katas/{kata.key}.py has been written into, and git knows "
            f"no other text. Unpack the project anew, and copy katas/{kata.key}.py from there."
        )
    if not is_untouched_text(committed):
        raise FilesError(
            f"Your last commit has {kata.name} with functions written: "
            f"`git log -- katas/{kata.key}.py` shows older ones."
        )
    return committed


def _last_commit(project: Path, file: str) -> bytes | None:
    """A file as git has it; None where there is no git, no checkout, no such file."""
    command = ["git", "cat-file", "--filters", f"HEAD:./{file}"]
    try:
        done = subprocess.run(command, cwd=project, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
