"""What is remembered from run to run: which katas passed, as long as nothing that decides it has changed.

It is a cache, kept by pytest's own (`--cache-clear` forgets it): without it, everything runs. A kata is known by a
digest of the learner's file, the kata, the engine's rooms that judge it, the versions of Python and the libraries, and
what the machine has (MNIST, a GPU).
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

import dojo
from dojo.kata.files import Kata
from dojo.kata.source import is_installed, is_untouched, parse
from dojo.kata.trees import Trees
from dojo.kit.mnist import at_hand
from dojo.session.facts import Result, Standing

_KNOWN, _WHOLE = "kata/known", "kata/whole"
_JUDGES = ("__init__.py", "text.py", "torch_internals.py", "isolation", "kata", "kit", "session")
_LIBRARIES = (
    *("torch", "numpy", "pytest", "torchvision", "scikit-learn", "matplotlib"),
    *("tensorboard", "onnx", "onnxscript", "onnxruntime"),
)
_IMPORT_ANYTHING = {"importlib", "runpy", "imp"}


class Memory:
    """What earlier runs have found out of each kata. A kata's digest is taken before it runs."""

    def __init__(self, config: pytest.Config, trees: Trees, katas: Sequence[Kata]) -> None:
        self.cache = config.cache if trees.own and "CI" not in os.environ and hasattr(config, "cache") else None
        self.trees, self.katas = trees, katas
        self.machine = machine_digest() if self.cache is not None and katas else ""
        self._page: dict[str, tuple[str, Standing]] = {}  # by key, the digest under which it was found out
        self._digests: dict[str, str] = {}
        if self.cache is not None:
            with contextlib.suppress(
                TypeError, KeyError, ValueError, AttributeError
            ):  # a page of another version, or damaged
                for key, (digest, standing) in self.cache.get(_KNOWN, {}).items():
                    self._page[key] = digest, Standing(**standing | {"notes": tuple(standing["notes"])})
        self.before = {key: standing for key, (_, standing) in self._page.items()}  # as things were, changed or not

    def digest(self, kata: Kata) -> str:
        """Of all that decides whether a kata passes, as it was when this was first asked."""
        if kata.key not in self._digests:
            parts = [self.machine.encode(), *(_bytes(path) for path in (kata.path, self.trees.file_of(kata)))]
            self._digests[kata.key] = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        return self._digests[kata.key]

    def of(self, kata: Kata) -> Standing | None:
        """What is known of a kata without running it: of one that is untouched, that nothing is done."""
        digest, standing = self._page.get(kata.key, ("", None))
        if standing is not None and digest == self.digest(kata):
            return standing
        if self.cache is None or not is_untouched(self.trees.file_of(kata)):
            return None
        # So that the next list need not parse it again.
        self._page[kata.key] = self.digest(kata), Standing("unfinished")
        return self._page[kata.key][1]

    def is_behind(self, kata: Kata) -> bool:
        """Has it passed, just as it is now?"""
        digest, standing = self._page.get(kata.key, ("", None))
        return standing is not None and standing.behind and digest == self.digest(kata)

    def record(self, results: Iterable[Result]) -> None:
        """Remember the katas that ran whole."""
        for result in results:
            kata = result.kata
            if self.cache is None or kata.key not in self._digests or result.state == "incomplete":
                continue
            self._page.pop(kata.key, None)
            if not (result.standing.behind and _imports_own_module(self.trees.file_of(kata))):
                self._page[kata.key] = self._digests[kata.key], result.standing
        self._write()

    def _write(self) -> None:
        if self.cache is not None:
            self.cache.set(_KNOWN, {key: (digest, asdict(known)) for key, (digest, known) in self._page.items()})

    # ── all of them together ──

    def proved_whole(self) -> bool:
        """Have all these katas once passed in one run, under this engine, these versions, on this machine?"""
        return self.cache is not None and self.cache.get(_WHOLE, None) == self._whole()

    def record_whole(self) -> None:
        if self.cache is not None:
            self.cache.set(_WHOLE, self._whole())

    def _whole(self) -> str:
        return hashlib.sha256("\n".join([self.machine, *(kata.key for kata in self.katas)]).encode()).hexdigest()[:16]


def machine_digest() -> str:
    """All that decides whether a kata passes, its own files aside. Imports none of it."""
    gpu = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    return hashlib.sha256(f"{engine_digest()} {at_hand()} {gpu}".encode()).hexdigest()[:16]


@functools.cache
def engine_digest() -> str:
    """Of the rooms that judge, and the versions of Python and the libraries."""
    parts = [sys.version, *map(_version, _LIBRARIES)]
    home = Path(dojo.__file__).parent
    for name in _JUDGES:
        path = home / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            parts.append(hashlib.sha256(_bytes(file)).hexdigest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _imports_own_module(path: Path) -> bool:
    """Does a solution import what no digest covers: a file of the learner's own, or whatever `importlib` brings?"""
    tree = parse(path)
    names: set[str] = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                return True
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.Name) and node.id == "__import__":
            return True
    return bool(names & _IMPORT_ANYTHING) or any(_is_own(name) for name in names - {"dojo"} - sys.stdlib_module_names)


def _is_own(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return True
    return spec is None or spec.origin is None or not is_installed(spec.origin)
