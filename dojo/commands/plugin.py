"""The `--kata-...` options that show something: each is a quiet run of the katas that it must know about."""

from __future__ import annotations

import pytest

from dojo.kata.files import Kata, UnknownKata, find_kata
from dojo.session.session import Command, KataSession


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("katas").addoption
    add("--kata-list", action="store_true", help="show which katas are done, current, to do")
    add("--kata-hint", nargs="?", const="", metavar="NAME", help="the next hint for a kata (default: the current one)")
    add("--kata-why", metavar="NAME", help="why the solution is as it is; told once the kata passes")
    add(
        "--kata-compare",
        nargs="?",
        const="",
        metavar="NAME",
        help="your functions beside the reference's (default: the kata that you solved last)",
    )
    add("--kata-peek", action="store_true", help="with --kata-compare: show the reference of an unsolved kata too")
    add("--kata-verdict", metavar="NAME", help="run one kata (default: up to the current one), print its verdict only")
    add("--kata-download", action="store_true", help="fetch MNIST (12 MB), verify it, and end")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    option = config.option
    if option.kata_download:
        from dojo.commands.data import main

        return main(config)
    if option.kata_list or any(name is not None for name in _names(option)):
        # A quiet session: only what the command says.
        option.verbose, option.tbstyle, option.disable_warnings = -2, "no", True
    return None


def _names(option: object) -> list[str | None]:
    return [getattr(option, f"kata_{name}") for name in ("hint", "why", "compare", "verdict")]


@pytest.hookimpl
def pytest_kata_command(session: KataSession) -> Command | None:
    from dojo.commands import compare, hint, kata_list, verdict, why

    option = session.config.option
    hinted, whys, compared, judged = ((name, _named(session, name)) for name in _names(option))
    if judged[0] is not None:
        return verdict.command(judged[1])
    if option.kata_list:
        return kata_list.command(session)
    if hinted[0] is not None:
        return hint.command(session, hinted[1])
    if whys[0] is not None:
        return why.command(session, whys[1])
    if compared[0] is not None:
        return compare.command(session, compared[1], peek=option.kata_peek)
    return None


def _named(session: KataSession, name: str | None) -> Kata | None:
    if not name:
        return None
    try:
        return find_kata(session.katas, name)
    except UnknownKata as error:
        raise pytest.UsageError(str(error)) from None
