"""What the last check of a kata test compared, for the X-ray to point at. Holds no tensor alive."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Comparison:
    """`got` differs from `want` in `aspect`; for the aspect "memory", `same` says whether they share it."""

    got: Any
    want: Any
    aspect: str
    same: bool = False


_last_memory_check: tuple[Any, Any, bool] | None = None


def note_memory_check(got: Any, want: Any, same: bool) -> None:
    """Remember the operands of a `shares_memory`, weakly."""
    global _last_memory_check
    try:
        _last_memory_check = (weakref.ref(got), weakref.ref(want), same)
    except TypeError:
        _last_memory_check = None


def last_comparison(error: BaseException) -> Comparison | None:
    """What the failed assertion compared: told by `check_tensor` on the error, or the last `shares_memory`."""
    told = getattr(error, "comparison", None)
    if isinstance(told, Comparison):
        return told
    text = str(error) if type(error) is AssertionError else ""
    if _last_memory_check is None or "shares_memory(" not in text:
        return None
    got, want, same = _last_memory_check
    return Comparison(got(), want(), "memory", same)
