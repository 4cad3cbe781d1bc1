"""What a test has to say although it passed: shown with the verdict, and kept for the list."""

from __future__ import annotations

_notes: list[str] = []


def tell(text: str) -> None:
    """Leave a line for the verdict, such as an accuracy and a time. Kept if the test passes."""
    _notes.append(text)


def taken() -> list[str]:
    """The lines since the last time; the session asks after each test."""
    notes = _notes[:]
    _notes.clear()
    return notes
