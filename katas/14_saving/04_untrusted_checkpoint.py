"""Loading a file can run a program

A file from `torch.save` is a pickle, and a pickle is not only data: it may say "call this function with these
arguments" while it is read. Whoever made the file chooses the function, so opening a stranger's checkpoint could delete
your folder or send away your keys. Nothing needs to be called for that: to load is enough.

Since 2.6 `torch.load` protects you: with weights_only=True, its default, it builds tensors, numbers, text, dicts, lists
and a few more, and stops at other classes and functions. The error is a `pickle.UnpicklingError` that begins with
"Weights only load failed" and names what it met, as in "Unsupported global: GLOBAL mycode.Net". A model that was saved
whole (`torch.save(model, path)`) is stopped as well: it is an object of a class. The advice that you find for this
error is weights_only=False. That does not repair the file, it switches the protection off, and the code in the file
runs.

Where you do want one class of your own, allow just that one, and just while you load: the context manager
`torch.serialization.safe_globals([Config])`. `add_safe_globals` allows it for the rest of the process, in every other
load. `torch.serialization.get_safe_globals()` is the list that is in force.

What is asked here: load a file that you don't trust, or say why not; and load a file with a config of a known class.

About 20 minutes. Before it: plain_checkpoint.

https://docs.pytorch.org/docs/stable/notes/serialization.html#weights-only-security
"""

import contextlib
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import HostilePickle, TrainConfig, check_tensor, explain, raises


def load_untrusted(path: str | Path) -> tuple[dict, None] | tuple[None, str]:
    """What is in the file, or why it is not loaded; no code from the file runs.

    (state, None) where the file holds a dict of plain data only: tensors, numbers, text, lists, tuples and dicts.
    (None, reason) where it needs anything else, such as a class of one's own; the reason, a text, has the name of the
    refused class in it.
    """
    raise NotImplementedError("load plain data, or say why not")


def load_with_config(path: str | Path, config_class: type) -> dict:
    """What is in a file that holds, besides plain data, objects of `config_class`: these come back as such.

    No other class is loaded, no code from the file runs: a file that needs more raises an error. Afterwards the class
    (which was not allowed before) is not allowed, and what was allowed before still is, also after an error.
    """
    raise NotImplementedError("load the file with this one class allowed")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_RAN = "opening the file ran the code inside it (here it only wrote an empty file)"


def _saved(file: Path, what: Any) -> Path:
    torch.save(what, file)
    return file


def _load_untrusted(path: str | Path, what: str) -> tuple[Any, Any]:
    __tracebackhide__ = True
    signs = {
        "Weights only load failed": "load_untrusted raised on a file that torch.load refuses: catch the error, and "
        "return (None, reason)",
    }
    with explain(f"load_untrusted raised on {what}", signs):
        got = load_untrusted(path)
    pair = isinstance(got, tuple | list) and len(got) == 2
    assert pair, f"load_untrusted returns a pair, (state, None) or (None, reason); for {what} got {got!r}"
    return got[0], got[1]


def _check_refused(path: str | Path, what: str, name: str = "") -> None:
    """Does load_untrusted refuse the file, with this name in the reason?"""
    __tracebackhide__ = True
    state, reason = _load_untrusted(path, what)
    assert state is None, f"{what} is not plain data, and load_untrusted returned it: {type(state).__name__}"
    said = isinstance(reason, str)
    assert said, f"for {what} the reason is to be a text, got {reason!r}"
    assert reason, f"for {what} the reason is empty"
    assert name in reason, f"{what}: the reason has not the name of the class {name} in it: {reason[:300]!r}"


def _call_safely(load: Callable[[], Any]) -> None:
    """To raise, or to leave the program in the file out: both are safe."""
    __tracebackhide__ = True
    try:
        load()
    except NotImplementedError:
        raise
    except Exception:
        pass


def _check_plain(got: Any, state: dict[str, Any]) -> None:
    """Is it the dict that was saved?"""
    __tracebackhide__ = True
    whole = isinstance(got, dict) and set(got) == set(state)
    assert whole, f"what comes back is the dict that was saved, with {list(state)}; got {got!r}"
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            check_tensor(got[key], value, f"{key!r} in the file")
        else:
            same = type(got[key]) is type(value) and repr(got[key]) == repr(value)
            assert same, f"{key!r} was saved as {value!r}, and came back as {got[key]!r}"


def _allowed() -> set[str]:
    """The names of what torch.load allows besides its own short list."""
    entries = [entry[0] if isinstance(entry, tuple) else entry for entry in torch.serialization.get_safe_globals()]
    return {getattr(entry, "__qualname__", str(entry)) for entry in entries}


def _check_still_there(before: set[str], after: set[str], call: str) -> None:
    __tracebackhide__ = True
    gone = ", ".join(sorted(before - after)[:3])
    assert not gone, f"{gone}: on the allow-list before {call}, not after it. The rest of the list belongs to others"


@pytest.mark.parametrize("kind", [str, Path], ids=["the path as text", "the path as Path"])
def test_plain_data_needs_no_trust(tmp_path, kind):
    weights, step = torch.arange(6, dtype=torch.float64).view(2, 3), torch.tensor(7)
    state = {"fc.weight": weights, "step": step, "name": "net", "more": [1, (True, None), {"lr": 0.1, 3: b"x"}]}
    path = kind(_saved(tmp_path / "good.pt", state))
    got, reason = _load_untrusted(path, "a file of plain data")
    assert reason is None, f"a file of plain data was refused: {str(reason)[:300]}"
    _check_plain(got, state)
    with explain("load_with_config raised on a file of plain data"):
        got = load_with_config(path, TrainConfig)
    _check_plain(got, state)
    empty = _saved(tmp_path / "empty.pt", {})
    got, reason = _load_untrusted(kind(empty), "a file with an empty dict")
    assert (got, reason) == ({}, None), f"an empty dict is plain data too: got ({got!r}, {str(reason)[:300]!r})"


@pytest.mark.myth(
    says="Weights only load failed? Pass weights_only=False.",
    today="That runs whatever the file says. Load with the default, and allow a class that you know by safe_globals.",
)
def test_code_in_a_file_does_not_run(tmp_path):
    marker = tmp_path / "the code ran"
    payload = HostilePickle(marker)
    for what, content in (
        ("a file of a program alone", payload),
        ("a program among good tensors", {"fc.weight": torch.ones(2), "epoch": 3, "extra": [payload]}),
        ("a program behind a good tensor", {"state": {"w": torch.ones(1)}, "z": payload}),
    ):
        path = _saved(tmp_path / "hostile.pt", content)
        try:
            _check_refused(path, what)
        finally:
            assert not marker.exists(), _RAN
    old, raw = tmp_path / "old.pt", tmp_path / "raw.pt"
    torch.save({"w": torch.ones(2), "extra": payload}, old, _use_new_zipfile_serialization=False)
    raw.write_bytes(pickle.dumps(payload, protocol=2))
    for path, what in ((old, "as torch.save wrote it before 1.6, no zip file"), (raw, "from pickle.dump")):
        _call_safely(lambda path=path: load_untrusted(path))
        assert not marker.exists(), f"{_RAN}: a file {what}"


@pytest.mark.myth(
    says="torch.save(model) is as good as its state_dict, only larger.",
    today="Such a file loads only with weights_only=False: whoever opens it has to trust whoever wrote it.",
)
def test_a_whole_model_is_refused_by_its_name(tmp_path):
    for what, content, name in (
        ("a whole model", nn.Sequential(nn.Linear(2, 1)), "Sequential"),
        ("a model in a checkpoint", {"epoch": 1, "weights": torch.ones(2), "model": nn.GRU(2, 1)}, "GRU"),
        ("a layer of torch", nn.Linear(2, 1), "Linear"),
        ("a config", {"config": TrainConfig(0.1, "a", [1])}, "TrainConfig"),
        ("a Namespace", {"w": torch.ones(1), "args": Namespace(lr=0.1)}, "Namespace"),
    ):
        _check_refused(_saved(tmp_path / "class.pt", content), what, name)
        _check_refused(str(tmp_path / "class.pt"), f"{what}, by a path as text,", name)


@pytest.mark.parametrize("kind", [str, Path], ids=["the path as text", "the path as Path"])
def test_one_class_can_be_allowed(tmp_path, kind):
    weights = torch.tensor([0.5, -1.0])
    first = {"config": TrainConfig(0.1, "net", [2, 3]), "w": weights, "old": [TrainConfig(0.2, "", [])], "epoch": 3}
    second = {"other": Namespace(x=4), "w": weights}
    third = {"config": TrainConfig(1e-3, "net", [4]), "w": weights * 2, "epoch": 4}
    for saved, config_class in ((first, TrainConfig), (second, Namespace), (third, TrainConfig)):
        path = kind(_saved(tmp_path / "config.pt", saved))
        with explain(f"load_with_config raised on a file with objects of {config_class.__name__}"):
            got = load_with_config(path, config_class)
        _check_plain(got, saved)


@pytest.mark.myth(
    says="Allow a class with add_safe_globals before torch.load.",
    today="That lasts for the whole process, for every file; safe_globals([C]) ends with its block.",
)
def test_a_class_is_allowed_for_one_load_only(tmp_path):
    config = {"config": TrainConfig(0.1, "net", [2])}
    good = _saved(tmp_path / "good.pt", config)
    more = _saved(tmp_path / "more.pt", {**config, "model": nn.Linear(2, 1)})
    for allowed in ([], [Namespace]):
        with torch.serialization.safe_globals(allowed):
            before = _allowed()
            with explain("load_with_config raised on a file with a config"):
                load_with_config(good, TrainConfig)
            after = _allowed()
            stays = "TrainConfig" in after
            assert not stays, "TrainConfig is still on the allow-list of the whole process: get_safe_globals() has it"
            _check_still_there(before, after, "load_with_config")
            _check_refused(good, "a config, after load_with_config,")
            before = _allowed()
            with contextlib.suppress(Exception):  # it should raise: another test asks for that
                load_with_config(more, TrainConfig)
            after = _allowed()
            stays = "TrainConfig" in after
            assert not stays, "the load failed, and TrainConfig is still on the allow-list of the whole process"
            _check_still_there(before, after, "a load_with_config that failed")
            _check_refused(good, "a config, after a load_with_config that failed,")


def test_allowing_one_class_allows_no_other(tmp_path):
    config, marker = TrainConfig(0.1, "net", [2]), tmp_path / "the code ran"
    payload, path = HostilePickle(marker), tmp_path / "hostile.pt"
    inside = TrainConfig(0.1, "net", [payload])  # type: ignore[list-item]
    for where, content in (
        ("beside", {"config": config, "z": payload}),
        ("beside", {"a": payload, "config": config}),
        ("inside of", {"config": inside}),
    ):
        for zipped in (True, False):  # False: as torch.save wrote it before 1.6
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            _call_safely(lambda: load_with_config(path, TrainConfig))
            assert not marker.exists(), f"load_with_config ran the code that stood in the file {where} the config"
    for what, content in (
        ("a file with a config and a Namespace", {"config": config, "more": Namespace(x=1)}),
        ("a file with a config and another class of its module", {"config": config, "more": HostilePickle}),
        ("a file with a config and a model", {"config": config, "model": nn.Linear(2, 1)}),
        ("a Namespace, where a TrainConfig is allowed", {"config": Namespace(x=1)}),
        ("a config that holds a Namespace", {"config": TrainConfig(0.1, "", [Namespace(x=1)])}),  # type: ignore[list-item]
    ):
        path = _saved(tmp_path / "more.pt", content)
        with raises(Exception, f"{what}: no other class may be loaded, and load_with_config raised no error"):
            load_with_config(path, TrainConfig)
