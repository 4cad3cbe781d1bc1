"""Known mistakes: wrong solutions that people really write, kept beside the reference."""

from __future__ import annotations

from typing import Any


class Mistake:
    """One named wrong solution.

    `says` is what the learner must read when they make this mistake: a piece of the assertion message of the test
    `caught_by` (compared with white space folded). `functions` replace the reference's functions of the same name;
    the others stay the reference's. A reference function that calls another one keeps calling the reference's:
    override both where that matters.
    """

    def __init__(self, says: str, *, caught_by: str, **functions: Any) -> None:
        if not functions:
            raise TypeError(f"Mistake({says!r}): give at least one wrong function by name")
        self.says = says
        self.caught_by = caught_by
        self.functions = functions

    def __repr__(self) -> str:
        return f"Mistake({self.says!r}, caught_by={self.caught_by!r})"
