"""The `--kata-...` options that show something: each is a quiet run of the katas that it must know about."""

from __future__ import annotations

import pytest

from dojo.kata.files import Kata, UnknownKata, find_kata
from dojo.session.session import Command, KataSession


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("katas").addoption
    add(
        "--kata-list",
        nargs="?",
        const="",
        metavar="WORD",
        help="which katas are done, current, to do (with WORD in them)",
    )
    add(
        "--kata-hint",
        nargs="?",
        const="",
        metavar="NAME",
        help="the next hint for a kata (default: the current one); NAME=1 shows the first again",
    )
    add(
        "--kata-why",
        nargs="?",
        const="",
        metavar="NAME",
        help="why the solution is as it is; told once the kata passes (default: the kata that you solved last)",
    )
    add(
        "--kata-compare",
        nargs="?",
        const="",
        metavar="NAME",
        help="your functions beside the reference's (default: the kata that you solved last)",
    )
    add(
        "--kata-peek",
        action="store_true",
        help="with --kata-compare and --kata-picture: show the reference's of an unsolved kata too",
    )
    add(
        "--kata-picture",
        nargs="?",
        const="",
        metavar="NAME",
        help="draw what your functions of a kata do, once it passes (default: the kata that you solved last)",
    )
    add(
        "--kata-pictures-to",
        default="pictures",
        metavar="DIR",
        help="write it with `=`: the folder for pictures (default: ./pictures)",
    )
    add("--kata-verdict", metavar="NAME", help="run one kata (default: up to the current one), print its verdict only")
    add("--kata-download", action="store_true", help="fetch MNIST (12 MB), verify it, and end")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    option = config.option
    if option.kata_download:
        from dojo.commands.data import main

        return main(config)
    names = ("list", "hint", "why", "compare", "picture", "verdict")
    if any(getattr(option, f"kata_{name}") is not None for name in names):
        # A quiet session: only what the command says.
        option.verbose, option.tbstyle, option.disable_warnings = -2, "no", True
    return None


@pytest.hookimpl
def pytest_kata_command(session: KataSession) -> Command | None:
    from dojo.commands import compare, hint, kata_list, picture, verdict, why

    option = session.config.option
    if option.kata_verdict is not None:
        return verdict.command(_named(session, option.kata_verdict))
    if option.kata_list is not None:
        return kata_list.command(session, option.kata_list)
    if option.kata_hint is not None:
        name, _, level = option.kata_hint.partition("=")
        return hint.command(session, _named(session, name), int(level) if level.isdecimal() else None)
    if option.kata_why is not None:
        return why.command(session, _named(session, option.kata_why))
    if option.kata_compare is not None:
        return compare.command(session, _named(session, option.kata_compare), peek=option.kata_peek)
    if option.kata_picture is not None:
        folder = session.config.invocation_params.dir / option.kata_pictures_to
        return picture.command(session, _named(session, option.kata_picture), folder, peek=option.kata_peek)
    return None


def _named(session: KataSession, name: str | None) -> Kata | None:
    if not name:
        return None
    try:
        return find_kata(session.every, name)
    except UnknownKata as error:
        raise pytest.UsageError(str(error)) from None
