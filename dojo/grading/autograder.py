"""The archive that Gradescope asks of a teacher: it installs the project, and grades one submission by a plan.

The plan is made here, before: so the archive needs no reference, and holds none.
https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dojo.grading import plan as plans
from dojo.grading.grade import GradingError, Project, Wanted, make_plan

MEMORY = "set memory to 3 GB"
_PARTS = ("dojo", "katas", "pyproject.toml", "conftest.py", "README.md", "LICENSE")
_SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image. In the assignment's settings, {memory}.
set -euo pipefail
apt-get update -qq && apt-get install -y -qq bubblewrap python3 python3-venv python3-pip
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --quiet -e '/autograder/source/project[grading]'
"""
_RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission.
set -euo pipefail
cd /autograder/source/project
/autograder/venv/bin/python -m dojo.grading --project=/autograder/source/project one \\
    /autograder/submission /autograder/source/report --copy-to=/autograder/results/results.json
"""


def make_archive(project: Project, wanted: Wanted, archive: Path, say: Callable[[str], None]) -> None:
    """Write setup.sh, run_autograder, the engine, the katas chosen and the plan."""
    if wanted.chosen is None:
        raise GradingError("--kata-gradescope: say which katas, with their paths, -k or --kata-path")
    with TemporaryDirectory() as folder:
        plan = make_plan(project, replace(wanted, submissions=Path(folder), report=Path(folder) / "report"), {}, say)
        # A container has its own walls; which one holds there is found out there.
        plans.write(Path(folder) / "report", replace(plan, wall="auto"))
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in (("setup.sh", _SETUP.format(memory=MEMORY)), ("run_autograder", _RUN)):
                _add(file, name, text.encode(), 0o755)
            _add(file, "report/plan.json", plans.path_of(Path(folder) / "report").read_bytes(), 0o644)
            for path in _files(project.root, set(plan.katas)):
                _add(file, f"project/{path.relative_to(project.root).as_posix()}", path.read_bytes(), 0o644)
    say(f"{archive}: {len(plan.katas)} katas. Upload it as the autograder; {MEMORY}")


def _files(root: Path, keys: set[str]) -> Iterator[Path]:
    for part in _PARTS:
        found = sorted((root / part).rglob("*")) if (root / part).is_dir() else [root / part]
        for path in found:
            kata = path.relative_to(root / "katas").with_suffix("").as_posix() if part == "katas" else ""
            if path.is_file() and "__pycache__" not in path.parts and (part != "katas" or kata in keys):
                yield path


def _add(file: zipfile.ZipFile, name: str, text: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, text)
