"""What a class has handed in: one folder or zip for each student, of which only kata files are read."""

from __future__ import annotations

import csv
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dojo.kata.files import Kata, is_kata_name, without_number

_MOST_BYTES = 4_000_000  # a kata file has 10 kB


class SubmissionsError(Exception):
    """They cannot be read; the message is the whole story, for the teacher."""


@dataclass(frozen=True)
class Submission:
    """One student's work: the text of each kata that was handed in, by the kata's key."""

    student: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what the teacher should know of how it was read


def find_submissions(folder: Path, aside: Path | None = None) -> dict[str, Path]:
    """Each student's folder or zip, by the student's name. `aside`: a folder that is none (the report's)."""
    if not folder.is_dir():
        raise SubmissionsError(f"{folder}: there is no such folder. It holds one folder or zip for each student")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_zip = path.suffix.lower() == ".zip"
        if path.name.startswith((".", "__")) or not (path.is_dir() or is_zip) or path.is_symlink():
            continue
        if aside is not None and path.resolve() == aside:
            continue
        name = path.stem if is_zip else path.name
        if name in found:
            raise SubmissionsError(f"two submissions are called {name}: {found[name].name} and {path.name}. Keep one")
        found[name] = path
    if not found:
        raise SubmissionsError(f"{folder} holds no submission: one folder or zip for each student")
    return found


def read_submission(student: str, path: Path, katas: Mapping[str, Kata]) -> Submission:
    """The kata files of one student's folder or zip; `katas`: those that there are, by key."""
    by_slug = {kata.slug: key for key, kata in katas.items()}
    files: dict[str, bytes] = {}
    notes: list[str] = []
    try:
        for name, text in _candidates(path):
            key = _key_of(name, katas, by_slug)
            if key is None:
                continue
            if text is None:
                notes.append(f"{name} was not read: it is a link, or larger than {_MOST_BYTES // 1_000_000} MB")
            elif key in files:
                notes.append(f"{name} was not read: another file for the same kata lies nearer to the top")
            else:
                files[key] = text
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        notes.append(f"{path.name} could not be read: {type(error).__name__}: {error}")
    if not files and not notes:
        notes.append("no kata file was found: NN_chapter/NN_name.py, at any depth, or NN_name.py")
    return Submission(student, files, tuple(notes))


def _key_of(name: str, katas: Mapping[str, Kata], by_slug: Mapping[str, str]) -> str | None:
    """The kata that a path is for; its number may be of former days, its chapter's folder may be missing."""
    path = PurePosixPath(name)
    if not is_kata_name(Path(path.name)):
        return None
    key = f"{path.parent.name}/{path.stem}"
    return key if key in katas else by_slug.get(without_number(path.stem))


def _candidates(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Name and text of what may be a kata file, those nearest to the top first; no text where it must not be read."""
    if path.is_dir():
        yield from _in_folder(path)
        return
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if _may_be_a_kata(entry.filename)]
        for entry in sorted(entries, key=lambda entry: (entry.filename.count("/"), entry.filename)):
            is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            with archive.open(entry) as file:
                text = file.read(_MOST_BYTES + 1)  # what the archive says of its size is only said
            yield entry.filename, None if is_link or len(text) > _MOST_BYTES else text


def _in_folder(path: Path) -> Iterator[tuple[str, bytes | None]]:
    names: list[str] = []
    for parent, folders, files in os.walk(path):  # follows no links
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        names += [(Path(parent) / name).relative_to(path).as_posix() for name in files]
    for name in sorted(filter(_may_be_a_kata, names), key=lambda name: (name.count("/"), name)):
        file = path / name
        readable = file.is_file() and not file.is_symlink() and file.stat().st_size <= _MOST_BYTES
        yield name, file.read_bytes() if readable else None


def _may_be_a_kata(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and is_kata_name(Path(parts[-1])) and not any(p.startswith((".", "__")) for p in parts)


# ── what a teacher may lay beside the submissions ──


def read_roster(folder: Path) -> dict[str, str]:
    """`roster.csv`: the name of each student, by what their submission is called (columns `student,name`)."""
    return {row["student"]: row.get("name") or "" for row in _rows(folder / "roster.csv", "student")}


def read_weights(folder: Path, katas: Mapping[str, Kata]) -> dict[str, float]:
    """`weights.csv`: how much each kata counts, by its key (columns `kata,weight`; what is not named counts 1)."""
    path, weights = folder / "weights.csv", dict[str, float]()
    by_name = {name: key for key, kata in katas.items() for name in (key, kata.slug, kata.name)}
    for row in _rows(path, "kata"):
        name, said = row["kata"], row.get("weight") or ""
        if name not in by_name:
            raise SubmissionsError(f"{path}: no kata is called {name!r}")
        if not re.fullmatch(r"\d+(\.\d+)?", said.strip()):
            raise SubmissionsError(f"{path}: the weight of {name} is {said!r}; a number of 0 or more was expected")
        weights[by_name[name]] = float(said)
    return weights


def _rows(path: Path, column: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SubmissionsError(f"{path} could not be read: {error}") from None
    if rows and column not in rows[0]:
        raise SubmissionsError(f"{path}: its first line must name a column `{column}`")
    return [row for row in rows if row[column]]
