"""What the last check of a kata test compared, for the X-ray to point at. Holds no tensor alive."""

from __future__ import annotations

import traceback
import weakref
from dataclasses import dataclass
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """`got` differs from `want` in `aspect`; for the aspect "memory", `same` says whether they share it."""

    got: Any
    want: Any
    aspect: str
    same: bool = False


@dataclass(frozen=True)
class _MemoryCheck:
    """The operands of a `shares_memory`, weakly, and the line of the test that called it."""

    got: weakref.ref[Any]
    want: weakref.ref[Any]
    same: bool
    place: tuple[str, int]


_last_memory_check: _MemoryCheck | None = None


def note_memory_check(got: Any, want: Any, same: bool, caller: FrameType) -> None:
    """Remember what a `shares_memory` looked at."""
    global _last_memory_check
    place = caller.f_code.co_filename, caller.f_lineno
    try:
        _last_memory_check = _MemoryCheck(weakref.ref(got), weakref.ref(want), same, place)
    except TypeError:
        _last_memory_check = None


def last_comparison(error: BaseException) -> Comparison | None:
    """What the failed assertion compared: told by `check_tensor` on the error, or the `shares_memory` of its line."""
    told = getattr(error, "comparison", None)
    if isinstance(told, Comparison):
        return told
    check = _last_memory_check
    if check is None or type(error) is not AssertionError or error.__traceback__ is None:
        return None
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return Comparison(check.got(), check.want(), "memory", check.same) if places[-1] == check.place else None
