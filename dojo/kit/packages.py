"""What a kata may do without: where a package or a compiler is missing, its tests are "not run here"."""

from __future__ import annotations

import importlib.util
import os
import shutil

from dojo.kata.not_run_here import NotRunHere


def needs(*packages: str) -> None:
    """End a test that cannot run without these packages (named as pip and as import name them); it says how to install.

    The kata then counts as "not run here", whatever its other tests say; as unfinished as long as one of them fails.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunHere("package", f"needs {' and '.join(missing)} (pip install {' '.join(missing)})")


def needs_compiler() -> None:
    """End a test that cannot run without a C++ compiler and ninja, which torch.utils.cpp_extension calls."""
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        raise NotRunHere("package", "needs a C++ compiler (such as g++; on Debian and Ubuntu: apt install g++)")
    if shutil.which("ninja") is None:
        raise NotRunHere("package", "needs ninja on the PATH (pip install ninja, in an activated environment)")
