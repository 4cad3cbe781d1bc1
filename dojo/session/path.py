"""A path: the katas whose lesson says `Path: first_day`. `--kata-path=first_day` has the walk go over those only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from dojo.kata.files import Kata

_CHOSEN = "kata/path"
ALL = "all"  # the name of no path: every kata


def chosen(config: pytest.Config, katas: Sequence[Kata]) -> str:
    """The path that this run is on, "" for none: as the command line says, or as it said last, or the ini file."""
    named = config.option.kata_path
    cache = getattr(config, "cache", None)
    remembered = cache.get(_CHOSEN, None) if cache is not None else None
    path = named or remembered or config.getini("kata_path") or ALL
    if path == ALL and not named:
        return ""
    lengths = Counter(path for kata in katas for path in kata.lesson.paths)
    if path != ALL and path not in lengths:
        if path == remembered and not named:
            return ""  # it had another name once
        known = ", ".join(f"{name} ({length} katas)" for name, length in sorted(lengths.items()))
        raise pytest.UsageError(f"there is no path {path!r}. There are: {known or 'none'}, and {ALL} ({len(katas)})")
    if named and cache is not None:
        cache.set(_CHOSEN, path)
    return "" if path == ALL else path
