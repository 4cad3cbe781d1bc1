"""The gate's rules about the tree of files: numbers without gaps, no file astray, pages in step."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from dojo.authoring.maps import unknown_names
from dojo.authoring.pages import stale_pages
from dojo.kata.files import find_katas

_NUMBERED = re.compile(r"\d\d_[a-z0-9_A-Z]+")
_BESIDE_KATAS = {"README.md", "MYTHS.md"}


def complaints(project: Path, chapters_to_come: set[int]) -> list[str]:
    """Everything that is wrong with the tree of a project; `chapters_to_come` are numbers left free on purpose."""
    root, reference, answers = project / "katas", project / "reference", project / "tests" / "answers"
    katas = find_katas(root)
    found = _gaps("katas", {kata.chapter for kata in katas}, chapters_to_come)
    for chapter in sorted({kata.chapter for kata in katas}):
        found += _gaps(chapter, {kata.path.stem for kata in katas if kata.chapter == chapter}, set())
        if not (root / chapter / "README.md").is_file():
            found.append(f"katas/{chapter}/README.md is missing: a paragraph on the chapter")
    found += [f"two katas are called {slug}" for slug, n in Counter(kata.slug for kata in katas).items() if n > 1]
    slugs = [kata.slug for kata in katas]
    found += [
        f"{kata.key} names {name} as what comes before it: no kata before it is called so"
        for i, kata in enumerate(katas)
        for name in kata.lesson.before
        if name not in slugs[:i]
    ]
    keys = {kata.key for kata in katas}
    for path in _files(root):
        if path.name not in _BESIDE_KATAS and _key(path, root) not in keys:
            found.append(f"{path.relative_to(project)} is astray: katas are katas/NN_chapter/NN_name.py")
    for home in (reference, answers):
        have = {key for path in _files(home) if _NUMBERED.fullmatch((key := _key(path, home)).split("/")[0])}
        if home == reference:  # the answers are extra
            found += [f"reference/{key}.py is missing" for key in sorted(keys - have)]
        found += [f"{home.relative_to(project)}/{key} belongs to no kata" for key in sorted(have - keys)]
    if (project / "docs").is_dir():
        found += [f"dojo/authoring/maps.py names {name}: no kata is called so" for name in unknown_names(katas)]
    out_of_step = "is out of step with the katas: run `python -m dojo.authoring pages`"
    return found + [f"{path.relative_to(project)} {out_of_step}" for path in stale_pages(root)]


def _gaps(where: str, names: set[str], to_come: set[int]) -> list[str]:
    numbers = {int(name[:2]) for name in names}
    wanted = set(range(1, max(numbers, default=0) + 1))
    found = [f"{where}: number {n:02d} is missing" for n in sorted(wanted - numbers - to_come)]
    found += [f"{where}: number {n:02d} is there, but listed as still to come" for n in sorted(numbers & to_come)]
    if len(numbers) < len(names):
        found.append(f"{where}: a number is used twice: {', '.join(sorted(names))}")
    return found


def _files(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.rglob("*")) if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".bak"]


def _key(path: Path, home: Path) -> str:
    return path.relative_to(home).with_suffix("").as_posix()
