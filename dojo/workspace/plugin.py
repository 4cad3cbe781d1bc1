"""Options and hooks of a learner's own folder. It is a tree of solutions like any other; the tests come from katas/."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dojo.kata.files import Kata
from dojo.kata.source import text_below_the_seam
from dojo.kata.trees import Trees
from dojo.session.session import KataSession
from dojo.text import relative, shown_in
from dojo.workspace import files, workspace
from dojo.workspace.workspace import Workspace


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas")
    group.addoption(
        "--kata-start",
        nargs="?",
        const="",
        metavar="DIR",
        help="copy the katas into a folder of your own, which is used from then on; a second time: the new ones "
        f"(default: ./{workspace.DEFAULT}). With a DIR, write it with `=`",
    )
    group.addoption("--kata-reset", metavar="NAME", help="bring back a kata's stubs, and keep your version beside them")
    parser.addini("kata_project", "the project that the katas in this folder come from", default="")


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    asked, name = config.option.kata_start, config.option.kata_reset
    if asked is None and name is None:
        return None
    try:
        if asked is not None:
            folder = (config.invocation_params.dir / Path(asked).expanduser()).resolve() if asked else None
            rows = workspace.start(_project(config), folder)
        else:
            rows = workspace.reset(_project(config), _workspace(config), name)
    except files.FilesError as error:
        raise pytest.UsageError(str(error)) from None
    sys.stdout.write("".join(f"{shown_in(sys.stdout.encoding, row)}\n" for row in rows))
    return int(pytest.ExitCode.OK)


def _project(config: pytest.Config) -> Path:
    """The project; its path may be noted in the folder that pytest runs in."""
    noted = config.getini("kata_project")
    return workspace.project_at(Path(noted) if noted else config.rootpath.resolve())


def _workspace(config: pytest.Config) -> Workspace | None:
    """The learner's folder: the one that pytest runs in, or the one that the project remembers."""
    if config.getini("kata_project"):
        return Workspace(config.rootpath.resolve(), _project(config))
    return workspace.recorded(config.rootpath.resolve())


def pytest_kata_trees(config: pytest.Config) -> Trees | None:
    own = _workspace(config)
    if own is None:
        return None
    if not own.folder.is_dir():
        raise pytest.UsageError(
            f"Your katas are in {own.folder}, says {own.project / workspace.POINTER}, but that folder is gone. Bring "
            f"it back; or `pytest --kata-start` begins anew in ./{workspace.DEFAULT}; or delete {workspace.POINTER} to "
            "practise in katas/ itself."
        )
    return Trees(own.project / "katas", own.project / "reference", (own.folder,))


def pytest_kata_begins(session: KataSession, kata: Kata) -> None:
    """A kata that came since the folder was made is copied when its turn comes."""
    own = _workspace(session.config)
    if own is not None and session.trees.edited == own.folder and not session.trees.file_of(kata).exists():
        try:
            own.copy(kata)
        except files.FilesError as error:
            session.problems.append(str(error))


def pytest_kata_note(session: KataSession) -> str | None:
    current, trees = session.current(), session.trees
    if current is None or trees.edited == trees.katas:
        return None
    file = trees.file_of(current.kata)
    below = text_below_the_seam(file)
    if below is None or below == text_below_the_seam(current.kata.path):
        return None
    return f"{relative(file)} holds other tests than {relative(current.kata.path)}: the latter ran"
