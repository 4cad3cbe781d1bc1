"""What a kata's author needs, beside `pytest tests/test_gate.py -k NAME`: `python -m dojo.authoring --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.kata.files import UnknownKata, find_kata, find_katas

if TYPE_CHECKING:
    from dojo.authoring.attack import Mutant

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dojo.authoring", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="both files of a kata and its answers, with blanks to fill in")
    new.add_argument("key", metavar="NN_chapter/NN_name")
    commands.add_parser("pages", help="bring the made pages up to date: the chapters' tables, MYTHS.md")
    attack = commands.add_parser("attack", help="spoil the reference in general ways: what do the tests not see?")
    attack.add_argument("name", metavar="NAME", nargs="*", help="a kata (default: all)")
    given = parser.parse_args()
    try:
        if given.command == "new":
            _new(given.key)
        elif given.command == "pages":
            _pages()
        else:
            _attack(given.name)
    except (UnknownKata, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _new(key: str) -> None:
    from dojo.authoring.new import new

    for path in new(_ROOT, key):
        print(f"wrote {path.relative_to(_ROOT)}")
    print(f"fill in what is in CAPITALS, then: pytest tests/test_gate.py -k {key.split('/')[1][3:]}")


def _pages() -> None:
    from dojo.authoring.pages import write_pages

    for path in write_pages(_ROOT / "katas"):
        print(f"wrote {path.relative_to(_ROOT)}")


def _attack(names: list[str]) -> None:
    from dojo.authoring.attack import attack

    katas = find_katas(_ROOT / "katas")
    everything = []
    for kata in [find_kata(katas, name) for name in names] or katas:
        mutants = attack(kata, _ROOT / "reference")
        everything += mutants
        print(f"{kata.key}: {_counts(mutants)}")
        for mutant in mutants:
            if mutant.survives:
                print(f"  survives         {mutant.function}: {mutant.way} (in {mutant.changed} calls)")
            elif names and not mutant.changed:
                print(f"  changed nothing  {mutant.function}: {mutant.way}")
    print(f"in all: {_counts(everything)}")


def _counts(mutants: list[Mutant]) -> str:
    survivors, idle = sum(mutant.survives for mutant in mutants), sum(not mutant.changed for mutant in mutants)
    return f"{len(mutants)} mutants, {survivors} survive, {idle} never changed anything"


if __name__ == "__main__":
    sys.exit(main())
