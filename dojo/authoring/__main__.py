"""What a kata's author needs, beside `pytest tests/test_gate.py -k NAME`: `python -m dojo.authoring --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dojo.kata.files import UnknownKata, find_kata, find_katas

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dojo.authoring", description=__doc__)
    commands = parser.add_subparsers(required=True)
    new = commands.add_parser("new", help="the files of a kata, with blanks to fill in")
    new.add_argument("key", metavar="NN_chapter/NN_name")
    new.set_defaults(do=lambda given: _new(given.key))
    pages = commands.add_parser("pages", help="bring the made pages up to date: the chapters' tables, MYTHS, MAP, EXAM")
    pages.set_defaults(do=lambda given: _pages())
    pictures = commands.add_parser("pictures", help="draw docs/pictures anew, from the reference")
    pictures.set_defaults(do=lambda given: _pictures())
    attack = commands.add_parser("attack", help="spoil the reference in general ways: what do the tests not see?")
    attack.add_argument("names", metavar="NAME", nargs="*", help="a kata (default: all)")
    attack.set_defaults(do=lambda given: _attack(given.names))
    given = parser.parse_args()
    try:
        given.do(given)
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


def _pictures() -> None:
    from dojo.authoring.pictures import draw

    for path in draw(_ROOT):
        print(f"wrote {path.relative_to(_ROOT)}, {path.stat().st_size / 1000:.0f} KB")
    _pages()  # the chapters show them


def _attack(names: list[str]) -> None:
    from dojo.authoring.attack import attack, counts

    katas, everything = find_katas(_ROOT / "katas"), []
    for kata in [find_kata(katas, name) for name in names] or katas:
        mutants = attack(kata, _ROOT / "reference")
        everything += mutants
        print(f"{kata.key}: {counts(mutants)}")
        for mutant in mutants:
            if mutant.survives:
                print(f"  survives         {mutant.function}: {mutant.way} (in {mutant.changed} calls)")
            elif names and not mutant.changed:
                print(f"  changed nothing  {mutant.function}: {mutant.way}")
    print(f"in all: {counts(everything)}")


if __name__ == "__main__":
    sys.exit(main())
