"""The engine's rooms: what may be missing, and what may import what."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ["watch", "workspace", "grading", "authoring", "commands"]


@pytest.mark.parametrize(
    "missing", [[room] for room in OPTIONAL if (ROOT / "dojo" / room).is_dir()] + [OPTIONAL], ids="-".join
)
def test_a_plain_run_works_without_the_rooms_above_the_screen(project, missing):
    engine = project.path / "dojo"
    shutil.copytree(ROOT / "dojo", engine, ignore=shutil.ignore_patterns("__pycache__", *missing))
    code = "import sys; sys.path.insert(0, ''); import pytest; sys.exit(pytest.main())"
    project.solve("alpha")
    result = subprocess.run([sys.executable, "-c", code], cwd=project.path, capture_output=True, text=True)
    assert "first/beta · 0 of 2 tests pass" in result.stdout, result.stdout + result.stderr
    assert "1 of 3 katas" in result.stdout
    assert "edit  katas/01_first/02_beta.py:16" in result.stdout
    assert result.returncode == 1
    assert result.stderr == ""


def test_arrows_run_down():
    lint = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if lint is None:
        pytest.skip("import-linter is not installed")
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_katas_run_where_the_packages_of_single_rooms_are_missing():
    spared = ("watchfiles", "pooch", "rich", "torchvision", "matplotlib", "sklearn")
    code = f"import sys; sys.modules.update(dict.fromkeys({spared!r}));"  # None there: an import of it fails
    code += "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    wanted = ["katas/01_basics", "katas/07_devices", "--kata-solutions=reference", "-p", "no:cacheprovider"]
    result = subprocess.run([sys.executable, "-c", code, *wanted], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_torch_and_what_only_some_rooms_need_is_imported_late(project):
    names = {"torch", "numpy", "rich", "pooch", "watchfiles", "torchvision", "sklearn", "matplotlib"}
    code = "import sys, pytest; pytest.main(['--kata-list']); print(sorted(set(sys.modules) & NAMES))"
    command = [sys.executable, "-c", code.replace("NAMES", repr(names))]
    result = subprocess.run(command, cwd=project.path, capture_output=True, text=True)
    assert "> alpha  current: to do" in result.stdout
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr
