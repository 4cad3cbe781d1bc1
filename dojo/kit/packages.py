"""Packages that a kata may do without: where one is missing, its tests are "not run here"."""

from __future__ import annotations

import importlib.util

from dojo.kata.not_run_here import NotRunHere


def needs(*packages: str) -> None:
    """End a test that cannot run without these packages (named as pip and as import name them); it says how to install.

    The kata then counts as "not run here", whatever its other tests say; as unfinished as long as one of them fails.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunHere("package", f"needs {' and '.join(missing)} (pip install {' '.join(missing)})")
