"""The pytest plugin: options and thin hooks. What they do is in the modules that they name."""

from __future__ import annotations

import os

# Before torch is imported. One thread: with two, the same training took 46 s instead of 1 s while the other core was
# busy, forked children can hang, and sums differ in their last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Asking for CUDA must not initialise it, or forked DataLoader workers cannot use it.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import contextlib
import functools
import hashlib
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dojo import commands, home, limits, reports, seam
from dojo.catalog import Kata
from dojo.collect import LIMITS, BrokenTest, KataModule, refuse_unusable
from dojo.failures import is_stub_error
from dojo.session import KataSession

_SESSION = "kata-session"
_PLACE = pytest.StashKey[home.Place]()
_GUARD = pytest.StashKey[Any]()  # of a dojo.guard.Guard; that module imports torch


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas", "learning PyTorch (bare `pytest` leads from kata to kata)")
    add = group.addoption
    add("--kata-list", action="store_true", help="run all katas and show which are done, current, to do")
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
    add(
        "--kata-solutions",
        action="append",
        metavar="DIR",
        default=[],
        help="write it with `=`: test the functions of DIR/NN_chapter/NN_name.py instead of those in katas/. "
        "Repeatable: the first that defines a name wins. The environment variable KATA_SOLUTIONS does the same",
    )
    add(
        "--kata-timeout",
        type=float,
        metavar="SECONDS",
        help=f"stop a test after that long (default {limits.DEFAULT:g}, some tests have more; 0: never)",
    )
    add("--kata-watch", action="store_true", help="stay open, and show the verdict at each save")
    add("--kata-poll", action="store_true", help="with --kata-watch: poll for changes, where events do not come")
    add(
        "--kata-memory",
        type=float,
        default=8.0,
        metavar="GB",
        help="with --kata-watch: how much memory a run may take (Linux; default 8, 0: no limit)",
    )
    add("--kata-verdict", metavar="NAME", help="run one kata (default: up to the current one), print its verdict only")
    add("--kata-no-xray", action="store_true", help="do not show the tensors of a failing test")
    add(
        "--kata-data",
        metavar="DIR",
        help="write it with `=`: the folder that holds MNIST/raw "
        "(default: ./data where it has it, else a cache of yours). The environment variable KATA_DATA does the same",
    )
    add("--kata-download", action="store_true", help="fetch MNIST (12 MB), verify it, and end")
    add(
        "--kata-start",
        nargs="?",
        const="",
        metavar="DIR",
        help="copy the katas into a folder of your own, which is used from then on, or bring it up to date "
        "(default: ./my_katas). With a DIR, write it with `=`",
    )
    add("--kata-reset", metavar="NAME", help="bring back the original of a kata, and keep your version beside it")


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from dojo import hooks

    pluginmanager.add_hookspecs(hooks)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if config.option.kata_watch:
        from dojo import watch

        place = _place(config)
        for line in _update(place):
            sys.stdout.write(f"{line}\n")
        return watch.main(config, place)
    if config.option.kata_start is not None or config.option.kata_reset is not None:
        return _settle(config)
    return _download(config) if config.option.kata_download else None


def _settle(config: pytest.Config) -> int:
    """--kata-start and --kata-reset: files only, no tests."""
    asked = config.option.kata_start
    try:
        if asked is not None:
            folder = config.invocation_params.dir / Path(asked).expanduser() if asked else None
            lines = home.start(home.project_of(config.rootpath), folder)
        else:
            lines = home.reset(_place(config), config.option.kata_reset)
    except home.HomeError as error:
        raise pytest.UsageError(str(error)) from None
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write("".join(f"{line}\n" for line in lines).encode(encoding, "replace").decode(encoding))
    return int(pytest.ExitCode.OK)


def _download(config: pytest.Config) -> int:
    from dojo.data import DataError, download_mnist

    _name_data_root(config)
    try:
        download_mnist()
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return int(pytest.ExitCode.TESTS_FAILED)
    except KeyboardInterrupt:
        return int(pytest.ExitCode.INTERRUPTED)
    return int(pytest.ExitCode.OK)


def _name_data_root(config: pytest.Config) -> None:
    if config.option.kata_data:
        os.environ["KATA_DATA"] = str((config.invocation_params.dir / config.option.kata_data).resolve())


@pytest.hookimpl(tryfirst=True)  # before pytest's cache plugin reads where its folder is
def pytest_configure(config: pytest.Config) -> None:
    _add_markers(config)
    _name_data_root(config)
    place = _place(config)
    news = _use(place, config)
    katas, reference = place.katas, place.reference
    config.option.kata_solutions = _solution_folders(config)
    _keep_caches_apart(config)
    _set_limits(config, katas)
    _put_seam_in_force(config, katas, reference)
    if hasattr(config, "workerinput"):
        return  # a worker of pytest-xdist: the controller has the terminal
    command = commands.command_of(config, katas)
    _prepare_for(command, config)
    config.pluginmanager.register(KataSession(config, katas, reference, command, news), _SESSION)


def _place(config: pytest.Config) -> home.Place:
    """Where the katas of this run are: the learner's own folder, or katas/."""
    if _PLACE not in config.stash:
        source, given = config.args_source, pytest.Config.ArgsSource
        paths = [] if source is given.TESTPATHS else [arg.split("::")[0] for arg in config.args]
        try:
            config.stash[_PLACE] = home.place_of(
                config.rootpath,
                [(config.invocation_params.dir / path).resolve() for path in paths],
                explicit=source is given.ARGS,
                other_solutions=bool(config.option.kata_solutions or os.environ.get("KATA_SOLUTIONS")),
            )
        except home.HomeError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_PLACE]


def _katas(config: pytest.Config) -> Path:
    return _place(config).katas


def _use(place: home.Place, config: pytest.Config) -> list[str]:
    """Collect the learner's own folder instead of katas/; returns what is new in it."""
    if place.is_home and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(place.katas)]
    # Workers leave the files to their controller, and watched runs to the watch.
    quiet = hasattr(config, "workerinput") or config.option.kata_verdict is not None
    return [] if quiet else _update(place)


def _update(place: home.Place) -> list[str]:
    """Bring what an update of the project brought. Where that fails, practice goes on with the files as they are."""
    try:
        return home.update(place)
    except home.HomeError as error:
        return [str(error)]


def _add_markers(config: pytest.Config) -> None:
    for line in (
        "gpu: needs a real CUDA device; not run elsewhere",
        "slow: may take longer than the gate's time budget",
        "time_limit(seconds): how long the test may take, unless --kata-timeout says otherwise",
        "myth(says, today): what old tutorials say, and what this test shows instead",
    ):
        config.addinivalue_line("markers", line)


def _solution_folders(config: pytest.Config) -> list[str]:
    folders = list(config.option.kata_solutions)
    if not folders and os.environ.get("KATA_SOLUTIONS"):
        folders = os.environ["KATA_SOLUTIONS"].split(os.pathsep)
    for folder in folders:
        if not (config.invocation_params.dir / folder).is_dir():
            raise pytest.UsageError(f"--kata-solutions={folder}: there is no such folder")
    return folders


def _keep_caches_apart(config: pytest.Config) -> None:
    """Another tree's failures must not become the learner's `--lf`: give each set of trees a cache of its own."""
    folders = config.option.kata_solutions
    if not config.pluginmanager.hasplugin("cacheprovider"):
        return  # -p no:cacheprovider: nothing is kept
    if folders and config.getini("cache_dir") == ".pytest_cache":
        digest = hashlib.sha256("\n".join(folders).encode()).hexdigest()[:8]
        # pytest has no public setter for an ini value after the command line is parsed.
        config._inicache["cache_dir"] = f".pytest_cache/solutions-{digest}"


def _set_limits(config: pytest.Config, katas: Path) -> None:
    homes = [katas, *((config.invocation_params.dir / folder).resolve() for folder in config.option.kata_solutions)]

    @functools.lru_cache(maxsize=1024)  # asked of every frame of every failure's traceback
    def is_learner_code(file: str) -> bool:
        return any(Path(file).is_relative_to(home) for home in homes)

    config.stash[LIMITS] = limits.Limits(config.option.kata_timeout, is_learner_code)
    config.add_cleanup(config.stash[LIMITS].close)


def _put_seam_in_force(config: pytest.Config, katas: Path, reference: Path) -> None:
    folders = [(config.invocation_params.dir / folder).resolve() for folder in config.option.kata_solutions]
    ours = config.stash[LIMITS]

    def while_importing() -> contextlib.AbstractContextManager[None]:
        return ours.limit(ours.seconds_for(None), "importing the solution")

    setup = seam.Setup(katas, reference, [seam.SolutionTree(folder) for folder in folders], while_importing)
    stack = contextlib.ExitStack()
    stack.enter_context(seam.in_force(setup))
    config.add_cleanup(stack.close)


def _prepare_for(command: commands.Command, config: pytest.Config) -> None:
    if command.name != "run":
        # A quiet session: only what the command says.
        config.option.verbose = -2
        config.option.tbstyle = "no"
        config.option.disable_warnings = True
    if command.runs == "one kata" and command.kata is not None:
        config.args = [str(command.kata.path)]
    elif command.runs in ("all", "up to the current one"):
        config.args = [str(_katas(config))]


def pytest_report_header(config: pytest.Config) -> str | None:
    folders = config.option.kata_solutions
    return f"katas: tests from katas/, functions from {', '.join(folders)}" if folders else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    if module_path.resolve().is_relative_to(_katas(parent.config)):
        module: pytest.Module = KataModule.from_parent(parent, path=module_path)
        return module
    return None


def pytest_collectstart(collector: pytest.Collector) -> None:
    if isinstance(collector, KataModule):
        from dojo.guard import prepare_torch

        prepare_torch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    session = item.config.pluginmanager.get_plugin(_SESSION)
    return True if session is not None and session.walked_to_the_end else None


def _module_of(item: pytest.Item) -> KataModule | None:
    return item.getparent(KataModule)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _module_of(item) is None:
        return
    from dojo.guard import Guard
    from dojo.kit import gpu_is_here

    item.stash[_GUARD] = Guard()
    Guard.seed()
    if item.get_closest_marker("gpu") and not gpu_is_here():
        pytest.skip("needs a GPU, and torch finds no CUDA device here")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if _module_of(item) is None or isinstance(item, BrokenTest):
        return (yield)
    refuse_unusable(item)
    ours = item.config.stash[LIMITS]
    marked = limits.marked_limit(item.get_closest_marker("time_limit"))
    with ours.limit(ours.seconds_for(marked), item.name):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    module = _module_of(item)
    if module is not None and call.excinfo is not None and is_stub_error(call.excinfo.value):
        # reports.annotate writes one line: spare pytest a traceback that nobody sees, a millisecond or two for each.
        vars(item)["repr_failure"] = lambda excinfo: "todo"
    report = yield
    if module is not None and (call.when == "call" or not report.passed or call.when == "teardown"):
        key = Kata(module.path.resolve(), _katas(item.config)).key
        reports.annotate(report, item, call, key, _xray_of(item.config))
        if call.when == "teardown" and _GUARD in item.stash:
            reports.fact_of(report)["left"].extend(item.stash[_GUARD].restore())  # type: ignore[index]
    return report


def _xray_of(config: pytest.Config) -> reports.Xray:
    if config.option.kata_no_xray:
        return lambda error: []
    from dojo.xray import xray

    width = shutil.get_terminal_size().columns - 4
    return lambda error: xray(error, config.stash[LIMITS].is_learner_code, width)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any, config: pytest.Config) -> tuple[str, str, Any] | None:
    fact = reports.fact_of(report)
    session = config.pluginmanager.get_plugin(_SESSION)
    if session is not None and session.command.name != "run":
        return ("passed" if report.passed else "todo"), "", ""
    if fact is not None and fact["kind"] == "todo":
        return "todo", "t", ("TODO", {"yellow": True})
    return None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.pluginmanager.get_plugin(_SESSION)
    if session is not None:
        session.verdict(terminalreporter)


def pytest_sessionfinish(session: pytest.Session) -> None:
    ours = session.config.pluginmanager.get_plugin(_SESSION)
    if ours is not None and ours.command.name != "run" and session.exitstatus in (1, 5):
        session.exitstatus = pytest.ExitCode.OK  # a command that answered has succeeded
