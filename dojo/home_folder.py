"""A learner's own folder of katas, and how it follows the project without ever writing over the learner's work.

The folder remembers, in `.kata-origin.json`, the digest of the shipped text of each file that was copied. A file whose
digest is still that one was not touched, and may be refreshed; any other file is the learner's. Whatever was
interrupted can be done again: a file that is as shipped counts as copied.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import dojo
from dojo.home_news import News
from dojo.upstream import Upstream, digest, identity, is_kata, is_learning_material, takes_over
from dojo.upstream import read as read_upstream

STATE = ".kata-origin.json"
_ABOUT = (
    "Which shipped text each file here was copied from (a SHA-256; empty: unknown). A file that differs is yours, and "
    "no update writes over it. Leave this page where it is."
)
_UNKNOWN = ""  # the digest of a shipped text that nobody could tell, as the learner had already written into it

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
pythonpath = {project}
python_files = [0-9][0-9]_*.py
python_functions = test_*
addopts = --import-mode=importlib -rN --tb=short -p no:randomly --strict-markers
norecursedirs = .* build dist __pycache__
"""


class HomeError(Exception):
    """It cannot be done; the message is the whole story, in sentences for the learner."""


class Home:
    """A learner's folder."""

    def __init__(self, folder: Path, project: Path, origins: dict[str, str]) -> None:
        self.folder = folder
        self.project = project
        self.origins = origins

    @classmethod
    def open(cls, folder: Path) -> Home:
        """The folder with what it remembers."""
        try:
            data = json.loads((folder / STATE).read_text(encoding="utf-8"))
            project, origins = Path(data["project"]), {str(k): str(v) for k, v in data["files"].items()}
        except OSError as error:
            raise HomeError(f"{folder / STATE} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise HomeError(
                f"{folder / STATE} is damaged. Delete it, then run `pytest --kata-start={folder}` in the project: "
                "nothing of yours is overwritten."
            ) from None
        if not (project / "katas").is_dir():
            ours = Path(dojo.__file__).resolve().parents[1]  # the project may have moved, and dojo with it
            project = ours if (ours / "katas").is_dir() else project
        return cls(folder, project, origins)

    def save(self) -> None:
        data = {"about": _ABOUT, "project": str(self.project), "files": dict(sorted(self.origins.items()))}
        path = self.folder / STATE
        write_at_one_stroke(path, (json.dumps(data, indent=1) + "\n").encode(), read_bytes(path))

    def update(self, *, asked_for: bool = False) -> News:
        """Bring what the project has; `asked_for`: by --kata-start, not by a run on its way."""
        before = dict(self.origins)
        news = News(self.folder, self.project)
        with in_sentences():
            up = self.upstream()
            self._follow_renames(up, news)
            for name in sorted(name for name in self.origins.keys() - up.paths if is_learning_material(name)):
                self._leave(name, news)
            for name in sorted(up.paths):
                try:
                    self._bring(name, up, news)
                except (FileExistsError, NotADirectoryError, IsADirectoryError):
                    news.blocked.append(name)
            for name, text in self._kit().items():
                self._bring_kit(name, text, news, asked_for)
            if asked_for or self.origins != before:
                self.save()
        return news

    def upstream(self) -> Upstream:
        known = {name: origin for name, origin in self.origins.items() if is_learning_material(name)}
        up = read_upstream(self.project, known)
        if not any(name.endswith(".py") for name in up.paths):
            raise HomeError(
                f"The project that these katas came from is not in {self.project} any more: no hints and no updates "
                f"until you run `pytest --kata-start={self.folder}` in it, where it is now."
            )
        return up

    def _follow_renames(self, up: Upstream, news: News) -> None:
        """A kata with another number, chapter or name: the learner's file moves along."""
        fresh = sorted(up.paths - self.origins.keys())
        for old in sorted(name for name in self.origins.keys() - up.paths if is_learning_material(name)):
            new = next((name for name in fresh if identity(name) == identity(old)), None)
            same_text = (n for n in fresh if n in up.shipped and digest(up.shipped[n]) == self.origins[old])
            new = new or next(same_text, None)
            if new is None or not self._move(old, new, news):
                continue
            fresh.remove(new)
            self.origins[new] = self.origins.pop(old)

    def _move(self, old: str, new: str, news: News) -> bool:
        """False where something else is in the way."""
        source, target = self.folder / old, self.folder / new
        if not source.exists():
            return True  # deleted by the learner, or moved by an update that was interrupted
        if target.exists() and not target.samefile(source):  # the same file: only upper and lower case differ
            return False
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return False
        if digest(source.read_bytes()) != self.origins[old]:
            news.moved.append(new)
        source.rename(target)
        tidy(source.parent)
        return True

    def _leave(self, name: str, news: News) -> None:
        """What the project no longer has."""
        path = self.folder / name
        text = read_bytes(path) if path.is_file() else None
        if text is not None and digest(text) != self.origins[name]:
            news.gone.append(name)
            return
        if text is not None:
            path.unlink()
            tidy(path.parent)
            news.removed.append(name)
        del self.origins[name]

    def _bring(self, name: str, up: Upstream, news: News) -> None:
        """One file that the project has."""
        path = self.folder / name
        have, shipped = read_bytes(path), up.shipped.get(name)
        origin = digest(shipped) if shipped is not None else _UNKNOWN
        if name not in self.origins:
            self._bring_first(name, path, have, up, news)
        elif have is None:
            news.deleted.append(name)
        elif shipped is None or digest(have) == origin:
            self.origins[name] = origin or self.origins[name]
        elif digest(have) == self.origins[name]:
            if write_at_one_stroke(path, shipped, have):
                self.origins[name] = origin
                news.refreshed.append(name)
        else:
            news.own.append(name)
            if self.origins[name] == _UNKNOWN or (self.origins[name] != origin and takes_over(have, shipped)):
                self.origins[name] = origin
            elif self.origins[name] != origin:
                news.changed.append(name)

    def _bring_first(self, name: str, path: Path, have: bytes | None, up: Upstream, news: News) -> None:
        """A file that was never copied. What a learner wrote into katas/ itself comes along."""
        shipped = up.shipped.get(name)
        wanted = up.worked_on.get(name, shipped)
        assert wanted is not None
        if have is None:
            write_at_one_stroke(path, wanted, None)
            news.new.append(name)
        elif digest(have) not in (digest(wanted), digest(shipped or wanted)):
            if not (name.endswith(".py") and is_kata(have)):
                news.blocked.append(name)
                return
            news.taken.append(name)  # surely the learner's: a folder whose page of digests was lost
        if (have or wanted) != shipped:
            news.own.append(name)
        self.origins[name] = digest(shipped) if shipped is not None else _UNKNOWN

    def _bring_kit(self, name: str, text: bytes, news: News, asked_for: bool) -> None:
        """What pytest needs to run in the folder."""
        path = self.folder / name
        have = read_bytes(path) if not path.is_dir() else b""
        if have is None:
            if name in self.origins and not asked_for:
                return
        elif digest(have) != digest(text) and digest(have) != self.origins.get(name):
            if name not in self.origins and asked_for and name != ".gitignore":
                news.blocked.append(name)
            return
        if have == text or write_at_one_stroke(path, text, have):
            self.origins[name] = digest(text)

    def _kit(self) -> dict[str, bytes]:
        kit = {"conftest.py": _CONFTEST, "pytest.ini": _INI.format(project=shlex.quote(self.project.as_posix()))}
        if self.folder.is_relative_to(self.project):
            kit[".gitignore"] = "# Your own folder: not part of the project that it lies in.\n*\n"
        return {name: text.encode(errors="surrogateescape") for name, text in kit.items()}


# ── files ──


@contextlib.contextmanager
def in_sentences() -> Iterator[None]:
    """A disk that is full, a folder that may not be written: a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename if error.filename is not None else "the folder"
        raise HomeError(
            f"{where}: {error.strerror or error}. Nothing of yours was overwritten; the same command goes on where it "
            "stopped, once that is mended."
        ) from None


def read_bytes(path: Path) -> bytes | None:
    """The file's bytes; None where there is nothing. A directory raises."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_at_one_stroke(path: Path, text: bytes, had: bytes | None) -> bool:
    """Write a file at one stroke. False, and nothing written, where it is no longer as it was when it was looked at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if read_bytes(path) != had:
            return False
        os.replace(temporary, path)
        return True
    except OSError as error:
        if error.filename is None or error.filename == str(temporary):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove a chapter's folder once it is empty."""
    with contextlib.suppress(OSError):
        folder.rmdir()
