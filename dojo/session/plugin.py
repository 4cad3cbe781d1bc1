"""Options and hooks of a run: whose functions are tested, for how long each test may run, on which data."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import pytest

from dojo.isolation import timeout
from dojo.isolation.timeout import TIMEOUTS, Timeouts
from dojo.kata import seam
from dojo.kata.files import is_kata_name
from dojo.kata.module import KataModule
from dojo.kata.trees import TREES, Trees
from dojo.kit.mnist import ROOT_VARIABLE
from dojo.session import each_test, hooks
from dojo.session.session import SESSION, KataSession

_MARKERS = (
    "gpu: needs a real CUDA device; not run elsewhere",
    "slow: may take longer than the gate's time budget",
    "timeout(seconds): how long the test may take, unless --kata-timeout says otherwise",
    "timeout_advice(sentence): what to say to somebody whose code took longer",
    "time_limit(seconds): the old name of timeout",
    "myth(says, today): what old tutorials say, and what this test shows instead",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas", "learning PyTorch (bare `pytest` leads from kata to kata)")
    group.addoption(
        "--kata-solutions",
        action="append",
        metavar="DIR",
        default=[],
        help="write it with `=`: test the functions of DIR/NN_chapter/NN_name.py instead of those in katas/. "
        "Repeatable: the first that defines a name wins. The environment variable KATA_SOLUTIONS does the same",
    )
    group.addoption(
        "--kata-path",
        metavar="PATH",
        help="write it with `=`: go only over the katas of that path, until another is chosen (first_day: from shapes "
        "to MNIST, about 14 hours; transformer: from shapes to a small GPT, about 12 hours; numpy: for those who know "
        "NumPy; all: every kata). kata_path in the ini file does so too",
    )
    parser.addini("kata_path", "the path that the walk goes along, until --kata-path chooses another", default="")
    group.addoption(
        "--kata-timeout",
        type=float,
        metavar="SECONDS",
        help=f"stop a test after that long (default {timeout.DEFAULT:g}, some tests have more; 0: never)",
    )
    group.addoption(
        "--kata-seed",
        type=int,
        default=0,
        metavar="N",
        help="the seed that each test starts with (default 0): other random inputs, which a right answer passes too",
    )
    group.addoption(
        "--kata-data",
        metavar="DIR",
        help="write it with `=`: the folder that holds MNIST/raw "
        f"(default: ./data where it has it, else a cache of yours). {ROOT_VARIABLE} in the environment does the same",
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hooks)


def trees_of(config: pytest.Config) -> Trees:
    """The trees of this run. Asked for the first time before `pytest_configure`, by a command that ends early."""
    if TREES not in config.stash:
        root, folders = config.rootpath.resolve(), _solution_folders(config)
        in_place = Trees(root / "katas", root / "reference", folders, own=not folders)
        config.stash[TREES] = (None if folders else config.hook.pytest_kata_trees(config=config)) or in_place
    return config.stash[TREES]


def _solution_folders(config: pytest.Config) -> tuple[Path, ...]:
    given = list(config.option.kata_solutions)
    if not given and os.environ.get("KATA_SOLUTIONS"):
        given = os.environ["KATA_SOLUTIONS"].split(os.pathsep)
    config.option.kata_solutions = given
    folders = [(config.invocation_params.dir / name).resolve() for name in given]
    for name, folder in zip(given, folders, strict=True):
        if not folder.is_dir():
            raise pytest.UsageError(f"--kata-solutions={name}: there is no such folder")
    return tuple(folders)


@pytest.hookimpl(tryfirst=True)  # before pytest's cache plugin reads where its folder is
def pytest_configure(config: pytest.Config) -> None:
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    # In a folder that may not be written nothing is remembered; nobody need read that six times.
    config.addinivalue_line("filterwarnings", "ignore::pytest.PytestCacheWarning")
    if config.option.kata_data:
        os.environ[ROOT_VARIABLE] = str((config.invocation_params.dir / config.option.kata_data).resolve())
    trees = trees_of(config)
    if not trees.own:
        _keep_caches_apart(config)
    config.stash[TIMEOUTS] = timeouts = Timeouts(config.option.kata_timeout, trees.is_learner_code)
    config.add_cleanup(timeouts.close)
    _put_the_seam_in_force(config, trees, timeouts)
    config.pluginmanager.register(each_test, "kata-each-test")


def _keep_caches_apart(config: pytest.Config) -> None:
    """Another tree's failures must not become the learner's `--lf`: give each set of trees a cache of its own."""
    if config.pluginmanager.hasplugin("cacheprovider") and config.getini("cache_dir") == ".pytest_cache":
        digest = hashlib.sha256("\n".join(config.option.kata_solutions).encode()).hexdigest()[:8]
        # pytest has no public setter for an ini value after the command line is parsed.
        config._inicache["cache_dir"] = f".pytest_cache/solutions-{digest}"


def _put_the_seam_in_force(config: pytest.Config, trees: Trees, timeouts: Timeouts) -> None:
    def while_importing() -> contextlib.AbstractContextManager[None]:
        return timeouts.limit(timeouts.seconds_for(None), "importing the solution")

    stack = contextlib.ExitStack()
    stack.enter_context(seam.in_force(seam.Setup(trees.katas, trees.reference, trees.solutions, while_importing)))
    config.add_cleanup(stack.close)


@pytest.hookimpl(trylast=True)  # once pytest's cache is there
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist leaves the terminal to its controller
        config.stash[SESSION] = KataSession(config, config.stash[TREES])
        config.pluginmanager.register(config.stash[SESSION], "kata-session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What people and editors leave beside a kata (`01_x (copy).py`, `01_x.orig.py`) is none."""
    trees = config.stash[TREES]
    beside = collection_path.suffix == ".py" and collection_path.parent.parent in (trees.katas, trees.edited)
    return True if beside and not is_kata_name(collection_path) else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    kata = parent.config.stash[TREES].kata_at(module_path.resolve())
    if kata is None:
        return None
    module: KataModule = KataModule.from_parent(parent, path=module_path, kata=kata)
    return module
