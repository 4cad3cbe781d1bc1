"""The engine runs without the packages that only the watch, the download, the pictures and a bar need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPARED = ("watchfiles", "torchvision", "matplotlib", "rich", "sklearn")


def test_katas_run_where_these_packages_are_missing():
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({SPARED!r}));"  # None there: an import of it fails
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    wanted = ["katas/01_basics", "katas/07_devices", "--kata-solutions=reference", "-p", "no:cacheprovider"]
    ended = subprocess.run([sys.executable, "-c", program, *wanted], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
