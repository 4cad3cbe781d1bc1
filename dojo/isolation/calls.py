"""Calls that reach out of a test, where nobody answers or the run would end: each becomes a failure that names it.

input(), sys.exit(), pytest.skip(), pytest.exit(), a debugger without a terminal; a fork, whose child would run the rest
of the tests; a thread of one's own, for which Python would wait at its end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from unittest import mock

import pytest

from dojo.text import safe_str

_READS = ("reading from stdin while output is captured", "EOF when reading a line")


class Forbidden(AssertionError):
    """The learner's code called what it must not call; the message names it."""


def forbidden_call(error: BaseException) -> str:
    """The sentence for an error that such a call has raised; empty for any other."""
    if isinstance(error, SystemExit):
        return "your code calls sys.exit(), which ends a program: return, or raise an error, instead"
    if isinstance(error, EOFError | OSError) and any(sign in safe_str(error) for sign in _READS):
        return "your code calls input(), and nobody answers while tests run: work with the arguments"
    if isinstance(error, pytest.xfail.Exception):
        return "your code calls pytest.xfail(): an expected failure proves nothing"
    # pytest itself raises "Quitting debugger", for a `q` that is typed in pdb: that may end the run.
    if isinstance(error, pytest.exit.Exception) and safe_str(error) != "Quitting debugger":
        return "your code calls pytest.exit(), which would end the run: return, or raise an error, instead"
    if type(error) is pytest.skip.Exception:
        return "your code calls pytest.skip(): a test that is skipped proves nothing"
    return ""


@contextlib.contextmanager
def contained(is_the_learners: Callable[[BaseException], bool]) -> Iterator[list[threading.Thread]]:
    """Around a test. Gives the threads that are begun in it and that Python would wait for at its end; it won't."""
    test_process, threads = os.getpid(), list[threading.Thread]()
    start = threading.Thread.start

    def start_without_waiting(thread: threading.Thread) -> None:
        if not thread.daemon:
            thread.daemon = True
            threads.append(thread)
        start(thread)

    try:
        with mock.patch.object(threading.Thread, "start", start_without_waiting):
            yield threads
    except BaseException as error:
        sentence = forbidden_call(error)
        if not sentence or not is_the_learners(error):
            raise
        raise Forbidden(sentence).with_traceback(error.__traceback__) from None
    finally:
        if os.getpid() != test_process:  # a child that the learner's code forked: the tests are its parent's
            os._exit(0)


def refuse_debugger_without_terminal(config: pytest.Config) -> None:
    """At pytest's `pytest_enter_pdb`, when output is no longer captured."""
    if sys.stdin is not None and sys.stdin.isatty():
        return
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.resume()
    raise Forbidden(
        "your code calls breakpoint(), and there is no terminal here to debug in: run pytest on this file in a terminal"
    )
