"""A place of one's own: `pytest --kata-start` makes it, each run uses it, `pytest --kata-reset` undoes work in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dojo import upstream
from dojo.catalog import Kata, UnknownKata, find_kata, find_katas
from dojo.failures import relative
from dojo.home_folder import STATE, Home, HomeError, in_sentences, read_bytes, write_at_one_stroke
from dojo.home_news import katas_in, listed, shown_name
from dojo.upstream import digest, is_learning_material

POINTER = ".kata-home"  # at the project's root: where the learner's folder is
DEFAULT = "my_katas"


# ── which katas a run is about ──


@dataclass(frozen=True)
class Place:
    """Where the katas of a run are."""

    katas: Path
    project: Path
    is_home: bool

    @property
    def reference(self) -> Path:
        return self.project / "reference"


def place_of(root: Path, paths: Sequence[Path], *, explicit: bool, other_solutions: bool) -> Place:
    """The learner's folder, or `katas/` itself.

    root: pytest's root directory.  paths: the paths that the run is about, if any were given (or stood in).
    explicit: they were given on the command line; then a path into the learner's folder is needed to choose it.
    """
    root = root.resolve()
    if (root / STATE).is_file():
        return Place(root, Home.open(root).project, is_home=True)
    in_place = Place(root / "katas", root, is_home=False)
    folder = recorded(root)
    if folder is None or other_solutions:
        return in_place
    inside = any(path.is_relative_to(folder) for path in paths)
    if (explicit and not inside) or any(path.is_relative_to(in_place.katas) for path in paths):
        return in_place
    if not (folder / STATE).is_file():
        what = f"has no {STATE} any more" if folder.is_dir() else "is gone"
        raise HomeError(
            f"Your katas are in {folder}, says {root / POINTER}, but that folder {what}. Bring it back; or "
            f"`pytest --kata-start` begins anew in ./{DEFAULT}; or delete {POINTER} to practise in katas/ itself."
        )
    return Place(folder, root, is_home=True)


def recorded(project: Path) -> Path | None:
    """The learner's folder as the project remembers it."""
    try:
        text = (project / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return (project / text).resolve() if text else None


def update(place: Place) -> list[str]:
    """Bring what the project has by now into the learner's folder, if it is one; returns what to say."""
    if not place.is_home:
        return []
    home = Home.open(place.katas)
    home.project = place.project
    return home.update().lines()


def project_of(root: Path) -> Path:
    """The project of a root directory, which may be a learner's folder."""
    return Home.open(root.resolve()).project if (root / STATE).is_file() else root.resolve()


# ── pytest --kata-start[=DIR] ──


def start(project: Path, asked: Path | None) -> list[str]:
    """Fill the learner's folder, or bring it up to date; returns what to say."""
    folder, before = asked, recorded(project)
    if folder is None:
        folder = before if before is not None and (before / STATE).is_file() else project / DEFAULT
    folder = folder.resolve()
    _refuse(project, folder)
    known = (folder / STATE).is_file()
    home = Home.open(folder) if known else Home(folder, project, {})
    home.project = project
    news = home.update(asked_for=True)
    if before != folder:
        inside = folder.is_relative_to(project)
        text = folder.relative_to(project).as_posix() if inside else str(folder)
        with in_sentences():
            write_at_one_stroke(project / POINTER, f"{text}\n".encode(), read_bytes(project / POINTER))
    here = f"{relative(folder)}/"
    own = katas_in(sorted(set(news.own) - set(news.taken)))
    if known:
        rows = news.lines(most=1000) or [f"{here} is up to date"]
    else:
        count = len(find_katas(folder))
        rows = [f"{count} katas are in {here}, yours to edit. `pytest`, here or in that folder, uses them from now on."]
        rows += [row for row in news.lines(most=1000) if not row.startswith("new katas")]
        rows.append("After an update of the project they follow; what you have changed is never overwritten.")
    if own and not known:
        rows.append(f"what you have written in katas/ came along: {listed(own)}")
    elif own:
        rows.append(f"changed by you, and kept: {listed(own)}")
    if deleted := katas_in(news.deleted):
        rows.append(f"deleted by you: {listed(deleted)}; `pytest --kata-reset NAME` brings one back")
    if before is not None and before != folder and before.is_dir():
        rows.append(f"{relative(before)}/, which was used until now, is left as it is")
    return rows


def _refuse(project: Path, folder: Path) -> None:
    if not find_katas(project / "katas"):
        raise HomeError(f"There are no katas in {project / 'katas'}: run `pytest --kata-start` in the project's root.")
    ours = [project / name for name in ("katas", "reference", "dojo", "tests", "docs", ".git")]
    if project.is_relative_to(folder) or any(folder.is_relative_to(path) for path in ours):
        raise HomeError(f"{folder} is a folder of the project itself: name another, such as --kata-start={DEFAULT}")
    if folder.exists() and not folder.is_dir():
        raise HomeError(f"{folder} is a file: name a folder, such as --kata-start={DEFAULT}")


# ── pytest --kata-reset NAME ──


def reset(place: Place, name: str) -> list[str]:
    """Bring back the original of a kata, and keep the learner's version beside it; returns what to say."""
    with in_sentences():
        return _reset_in_home(place, name) if place.is_home else _reset_in_place(place, name)


def _reset_in_home(place: Place, name: str) -> list[str]:
    home = Home.open(place.katas)
    home.project = place.project
    news = home.update()  # first: the kata may have moved since
    up = home.upstream()
    key = _find(place.katas, sorted(up.paths), name)
    if key not in up.shipped:
        raise HomeError(
            f"The original of {shown_name(key)} is not to be had: katas/{key} holds somebody's work, and git has "
            "no other text."
        )
    rows = _bring_back(place.katas / key, up.shipped[key])
    home.origins[key] = digest(up.shipped[key])
    home.save()
    news.forget(key)
    return rows + news.lines()


def _reset_in_place(place: Place, name: str) -> list[str]:
    committed = upstream.names_in_git(place.project)
    on_disk = [kata.path.relative_to(place.katas).as_posix() for kata in find_katas(place.katas)]
    key = _find(place.katas, sorted({*committed, *on_disk}), name)
    text = upstream.text_in_git(place.project, key)
    if text is None:
        raise HomeError(
            f"The original of {shown_name(key)} is not to be had: in katas/ it comes from git's last commit, and git "
            f"knows none of it in {place.project}. Unpack the project anew, and copy katas/{key} from there."
        )
    rows = _bring_back(place.katas / key, text)
    if not upstream.is_unsolved(text):
        rows.append(f"Your last commit has it with functions written; `git log -- katas/{key}` shows older ones.")
    return rows


def _find(root: Path, keys: Sequence[str], name: str) -> str:
    katas = [Kata(root / key, root) for key in keys if key.endswith(".py") and is_learning_material(key)]
    try:
        return find_kata(katas, name).path.relative_to(root).as_posix()
    except UnknownKata as error:
        raise HomeError(str(error)) from None


def _bring_back(path: Path, text: bytes) -> list[str]:
    have = read_bytes(path)
    if have == text:
        return [f"{relative(path)} is the original: there is nothing to reset"]
    beside = _keep_beside(path, have) if have is not None else None
    if not write_at_one_stroke(path, text, have):
        raise HomeError(f"{relative(path)} was saved at this very moment, and stays as it is: try again")
    rows = [f"{relative(path)} is the original again"]
    return [*rows, f"your version is kept: {relative(beside)}"] if beside is not None else rows


def _keep_beside(path: Path, text: bytes) -> Path:
    """Under a name that is free, and that neither pytest nor the gate takes for a kata."""
    for n in itertools.count(1):
        beside = path.with_name(f"{path.stem}.mine-{n}.py.bak")
        try:
            file = beside.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        return beside
    raise AssertionError("unreachable")
