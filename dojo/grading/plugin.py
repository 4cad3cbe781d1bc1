"""The options of grading, and its start."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from dojo.kata.files import Kata
from dojo.text import shown_in

_WALLS = ("auto", "bwrap", "landlock", "none")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas, for teachers", "grade a class (docs/GRADING.md)")
    group.addoption(
        "--kata-grade",
        metavar="DIR",
        help="write it with `=`: grade DIR, which holds one folder or zip for each student (-n: so many at once; "
        "paths, -k and --kata-path choose katas)",
    )
    group.addoption(
        "--kata-report",
        metavar="DIR",
        default="report",
        help="write it with `=`: where grades, feedback and records go (default: ./report)",
    )
    group.addoption(
        "--kata-wall",
        choices=_WALLS,
        default="auto",
        help="what submissions run behind: bubblewrap, Landlock, or, by name only, nothing (default: what holds here)",
    )
    group.addoption(
        "--kata-gradescope",
        metavar="FILE",
        help="write it with `=`: make an autograder archive for Gradescope of the katas chosen",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    option = config.option
    if option.kata_grade is None and option.kata_gradescope is None:
        return None
    if sys.platform != "linux":
        raise pytest.UsageError("--kata-grade runs on Linux (on Windows: in WSL), where there are walls")
    from dojo.grading.autograder import make_archive
    from dojo.grading.grade import GradingError, Project, SubmissionsError, Wanted, grade_class

    start = config.invocation_params.dir
    project = Project(config.rootpath.resolve())
    wanted = Wanted(
        start / (option.kata_grade or ""),
        start / option.kata_report,
        option.kata_wall,
        mark=option.markexpr or "",
        workers=_workers(option),
        chosen=_choice(config),
    )
    try:
        if option.kata_gradescope is not None:
            name = option.kata_gradescope if option.kata_gradescope != "zip" else "autograder.zip"
            make_archive(project, wanted, start / name, _say)
        else:
            grade_class(project, wanted, _say)
            _say(f"{wanted.report}: grades.csv, class.md, flags.csv; students/NAME/feedback.md for each")
    except (GradingError, SubmissionsError) as error:
        raise pytest.UsageError(str(error)) from None
    except OSError as error:
        raise pytest.UsageError(f"{error.filename or wanted.report}: {error.strerror or error}. {_GOES_ON}") from None
    except KeyboardInterrupt:
        _say(f"\ninterrupted. {_GOES_ON}")
        return int(pytest.ExitCode.INTERRUPTED)
    return int(pytest.ExitCode.OK)


_GOES_ON = "Who is graded stays graded; the same command goes on."


def _say(text: str) -> None:
    sys.stdout.write(f"{shown_in(sys.stdout.encoding, text)}\n")
    sys.stdout.flush()


def _workers(option: object) -> int:
    asked = getattr(option, "numprocesses", None)
    return os.cpu_count() or 1 if isinstance(asked, str) else max(1, asked or 1)


def _choice(config: pytest.Config) -> Callable[[Kata], bool] | None:
    """Which katas the command line chooses; None where it does not say."""
    from _pytest.mark.expression import Expression

    from dojo.kata.files import UnknownKata, find_kata, find_katas
    from dojo.session import path

    option, start = config.option, config.invocation_params.dir
    every = find_katas(config.rootpath.resolve() / "katas")
    by_hand = config.args_source is pytest.Config.ArgsSource.ARGS
    places = [(start / argument.split("::")[0]).resolve() for argument in config.args] if by_hand else []
    for argument, place in zip(config.args if by_hand else (), list(places), strict=True):
        if not place.exists():
            try:
                places.append(find_kata(every, argument).path)
            except UnknownKata as error:
                raise pytest.UsageError(str(error)) from None
    chosen_path = path.chosen(config, every) if option.kata_path else ""
    expression = Expression.compile(option.keyword) if option.keyword else None
    if not (places or chosen_path or expression):
        return None

    def matches(word: str, kata: Kata) -> bool:
        return word.lower() in kata.key.lower()

    def chosen(kata: Kata) -> bool:
        here = not places or any(kata.path.is_relative_to(place) for place in places)
        on_path = not chosen_path or chosen_path in kata.lesson.paths
        named = expression is None or expression.evaluate(lambda word, /, **_: matches(word, kata))
        return here and on_path and named

    return chosen
