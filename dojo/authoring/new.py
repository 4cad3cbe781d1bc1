"""`python -m dojo.authoring new 09_modules/14_name`: the files of a kata, with all that the gate asks for as blanks."""

from __future__ import annotations

import re
from pathlib import Path

_TEMPLATES = Path(__file__).parent / "templates"
_HOMES = {"katas": "kata.txt", "reference": "reference.txt", "tests/answers": "answers.txt"}


def new(project: Path, key: str) -> list[Path]:
    """Write the three files of a kata; ValueError where the name is none, or one of them is there already."""
    if not re.fullmatch(r"\d\d_\w+/\d\d_\w+", key):
        raise ValueError(f"{key!r} is no place for a kata: NN_chapter/NN_name, such as 09_modules/14_name")
    name = key.split("/")[1][3:]
    words = {"name": name, "title": name.replace("_", " ").capitalize()}
    paths = {project / home / f"{key}.py": _TEMPLATES / template for home, template in _HOMES.items()}
    if there := [path for path in paths if path.exists()]:
        raise ValueError(f"{there[0].relative_to(project)} is there already")
    for path, template in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.read_text(encoding="utf-8").format(**words), encoding="utf-8")
    readme = project / "katas" / key.split("/")[0] / "README.md"
    if not readme.exists():
        readme.write_text("# THE CHAPTER'S TITLE\n\nA paragraph on the chapter.\n", encoding="utf-8")
    return list(paths)
