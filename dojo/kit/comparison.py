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


# Of the last `shares_memory`: its operands, weakly, its answer, and the line of the test that called it.
_last_memory_check: tuple[weakref.ref[Any], weakref.ref[Any], bool, tuple[str, int]] | None = None


def note_memory_check(got: Any, want: Any, same: bool, caller: FrameType) -> None:
    """Remember what a `shares_memory` looked at."""
    global _last_memory_check
    place = caller.f_code.co_filename, caller.f_lineno
    try:
        _last_memory_check = weakref.ref(got), weakref.ref(want), same, place
    except TypeError:
        _last_memory_check = None


def last_comparison(error: BaseException) -> Comparison | None:
    """What the failed assertion compared: told by `check_tensor` on the error, or the `shares_memory` of its line."""
    told = getattr(error, "comparison", None)
    if isinstance(told, Comparison):
        return told
    if _last_memory_check is None or type(error) is not AssertionError or error.__traceback__ is None:
        return None
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    got, want, same, place = _last_memory_check
    return Comparison(got(), want(), "memory", same) if places[-1] == place else None
