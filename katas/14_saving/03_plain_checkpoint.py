"""A checkpoint of plain things only

Training runs for a night, and `torch.save` takes all of it without a word: the weights, the optimizer, the best loss,
the options from the command line, the folder of the data. The next morning `torch.load` refuses the file: "Weights
only load failed". By default it builds only what cannot run code: tensors, Python's numbers, text, lists, tuples,
dicts and a few more. One `np.float64`, one `Path`, one `argparse.Namespace` or dataclass among them is enough to lose
the rest, unless you trust the file and switch the protection off.

So make everything plain before you save. What hides best is the NumPy scalar: `arr.mean()` gives an `np.float64`, which
prints like a float, and `isinstance(x, float)` is even True. `np.generic` is the class above all scalars of NumPy; of a
number, `x.item()` is the Python number. And what you cannot make plain should raise now, while the training is still in
memory, and not when somebody opens the file.

`dataclasses.is_dataclass(x)` and `dataclasses.fields(x)`, `vars(namespace)`, and `torch.from_numpy(array)` or
`torch.tensor(array)` do most of the work. `defaultdict`, `OrderedDict` and `Counter` are subclasses of dict. `True` is
an int for isinstance, and has to stay `True`.

What is asked here: `to_plain(obj)`, which goes through all containers inside of each other.

About 25 minutes. Before it: numpy_bridge, state_dict_roundtrip.

https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

import argparse
import contextlib
import copy
import dataclasses
import datetime
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises


def to_plain(obj: Any) -> Any:
    """The same content in plain objects, which `torch.load` reads by default, to the bottom of all containers.

    - None, bool, int, float, str, bytes and tensors: as they are
    - a NumPy number: the Python number; a NumPy array of numbers: a tensor of the same dtype, shape and values
    - a `Path`: its text, a str
    - an instance of a dataclass, an `argparse.Namespace`: a dict from the names of its fields to their plain values
    - a dict of any class: a dict with the same keys (they are plain already); a list: a list; a tuple: a tuple
    - anything else, at the top or deep inside, such as a set, a range, a generator or a class: TypeError

    `obj`, and what it holds, stays as it is.
    """
    raise NotImplementedError("return the same content in plain objects")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@dataclasses.dataclass
class _Data:
    name: str
    folder: Path
    channels: tuple[Any, ...] = ()


@dataclasses.dataclass
class _Config:
    lr: Any
    data: _Data
    version: ClassVar[int] = 7


@dataclasses.dataclass
class _Defaults:
    lr: float = 0.1


@dataclasses.dataclass
class _LongConfig(_Config):
    mean: Any = None


class _Holder:
    """Not plain, although it has attributes to go through."""

    def __init__(self) -> None:
        self.lr = 0.1


def _plain(obj: Any, what: str) -> Any:
    __tracebackhide__ = True
    with explain(f"to_plain raised on {what}"):
        return to_plain(obj)


def _check(got: Any, want: Any, what: str) -> None:
    """Is `got` of the very class of `want`, and equal to it, to the bottom?"""
    __tracebackhide__ = True
    if isinstance(want, torch.Tensor):
        check_tensor(got, want, f"{what}: the tensor", requires_grad=want.requires_grad)
        return
    said = f"{what}: expected the {type(want).__name__} {want!r}, got the {type(got).__name__} {got!r}"
    right_class = type(got) is type(want)
    assert right_class, said
    if isinstance(want, dict):
        same_keys = set(map(repr, got)) == set(map(repr, want))
        assert same_keys, f"{what}: the keys are {list(got)}, expected {list(want)}"
        for key in want:
            _check(got[key], want[key], f"{what}, under {key!r}")
    elif isinstance(want, list | tuple):
        assert len(got) == len(want), f"{what}: expected {want!r}, got {got!r}"
        for i, item in enumerate(want):
            _check(got[i], item, f"{what}, item {i}")
    else:
        assert got == want, said


def _kinds(obj: Any) -> Any:
    """What the containers hold, with the class of each item: to see whether somebody has edited them."""
    if isinstance(obj, dict):
        return type(obj), id(obj), [(key, _kinds(value)) for key, value in obj.items()]
    if isinstance(obj, list | tuple):
        return type(obj), id(obj), [_kinds(value) for value in obj]
    if isinstance(obj, argparse.Namespace) or dataclasses.is_dataclass(obj):
        return type(obj), id(obj), _kinds(list(vars(obj).values()))[2]
    return type(obj), id(obj)


@pytest.mark.myth(
    says="The mean of an array is a float: isinstance(x, float) says so.",
    today="It is an np.float64, a subclass of float; torch.load refuses it by default. x.item() is the float.",
)
def test_a_numpy_scalar_becomes_the_python_number():
    for number, kind in (
        (np.array([0.1, 0.2, 0.7]).mean(), float),
        (np.float64("-inf"), float),
        (np.float32(0.1), float),
        (np.float16(1.5), float),
        (np.int64(2**53 + 1), int),
        (np.int32(-7), int),
        (np.uint8(200), int),
    ):
        name = type(number).__name__
        got = _plain(number, f"an np.{name}")
        same = type(got) is type(number)
        cause = ": np.float64 is a float for isinstance, so it went through as it was" if name == "float64" else ""
        assert not same, f"got an np.{name} back, expected a Python {kind.__name__}{cause}"
        assert type(got) is kind, f"expected a Python {kind.__name__} for an np.{name}, got a {type(got).__name__}"
        assert got == number.item(), f"np.{name} {number.item()!r} came back as {got!r}: the value is to be the same"
    with contextlib.suppress(TypeError):  # whether a truth value is a number is left open
        got = to_plain(np.bool_(True))
        assert type(got) in (bool, int), f"np.bool_ came back as {got!r}, which is not plain: expected Python's True"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "uint8", "bool"])
def test_a_numpy_array_becomes_a_tensor_with_its_dtype(dtype):
    for shape in ((2, 3), (1,), (), (0, 4)):
        array = np.arange(int(np.prod(shape))).reshape(shape) * 1.7 + 0.1
        array = np.ascontiguousarray(array).reshape(shape).astype(dtype)
        want = torch.from_numpy(array.copy())
        got = _plain(array, f"an array of {dtype} and shape {shape}")
        said = f"an array of {dtype} and shape {shape} becomes a tensor of the same, also with one item or none"
        check_tensor(got, want, said)
    across = np.arange(6.0).reshape(2, 3).T
    want = torch.tensor([[0.0, 3], [1, 4], [2, 5]], dtype=torch.float64)
    check_tensor(_plain(across, "a transposed array"), want, "a transposed array keeps each value in its place")


def test_what_is_plain_stays_as_it_is_and_a_path_becomes_text():
    for value in (None, True, False, 0, 1, -(2**70), 0.1, float("inf"), "", "runs/a", b"\x00\xff", "3"):
        got = _plain(value, repr(value))
        _check(got, value, f"{value!r} is plain already")
    row = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for x in (row, torch.tensor([3]), torch.tensor(2.5), torch.ones(2, requires_grad=True), row[::2]):
        got = _plain(x, "a tensor")
        assert got is x, f"a tensor is plain already, and stays the same object; got a {type(got).__name__} {got!r}"
    for path in (Path("runs") / "best.pt", Path(), Path("/")):
        _check(_plain(path, "a Path"), str(path), "a Path becomes its text")


def test_objects_with_fields_become_dicts():
    _check(_plain(argparse.Namespace(), "an empty Namespace"), {}, "a Namespace without fields")
    out = Path("runs") / "x"
    args = argparse.Namespace(epochs=3, out=out, lr=np.float32(0.5), more=argparse.Namespace(deep=(out, None)))
    want = {"epochs": 3, "out": str(out), "lr": 0.5, "more": {"deep": (str(out), None)}}
    before = _kinds(args)
    _check(_plain(args, "a Namespace that holds a Path"), want, "a Namespace becomes a dict, plain inside too")
    same = _kinds(args) == before
    assert same, "the Namespace was edited: it belongs to the caller"

    folder, mean = Path("data"), np.array([0.5, 0.25])
    data = _Data("mnist", folder, (np.int64(1), [out]))
    config = _LongConfig(np.float64(0.1), data, mean)
    plain_data = {"name": "mnist", "folder": "data", "channels": (1, [str(out)])}
    want = {"lr": 0.1, "data": plain_data, "mean": torch.tensor([0.5, 0.25], dtype=torch.float64)}
    before = _kinds(config)
    got = _plain(config, "a dataclass that holds a dataclass, a Path and an array")
    _check(got, want, "a dataclass becomes a dict of its fields, plain inside too")
    same = _kinds(config) == before
    assert same, "the dataclass was edited: it belongs to the caller"

    weights = torch.tensor([1.0, 2.0])
    both = _Config(argparse.Namespace(path=out), _Data("", folder, (weights, True)))
    got = _plain(argparse.Namespace(both=[both]), "a dataclass in a list in a Namespace")
    inner = {"lr": {"path": str(out)}, "data": {"name": "", "folder": "data", "channels": (weights, True)}}
    _check(got, {"both": [inner]}, "a dataclass in a list in a Namespace, and a Namespace in the dataclass")


def test_containers_are_made_plain_to_the_bottom():
    p, x = Path("p"), torch.arange(3)
    for made, kind in (
        (defaultdict(list, {"a": [p], 3: x}), "a defaultdict"),
        (OrderedDict([("a", [p]), (3, x)]), "an OrderedDict"),
        ({"a": [p], 3: x}, "a dict"),
    ):
        before = _kinds(made)
        got = _plain(made, kind)
        _check(got, {"a": ["p"], 3: x}, f"{kind} with a list of a Path and a tensor becomes a dict")
        assert got[3] is x, f"{kind} holds a tensor, which stays the same object"
        same = _kinds(made) == before
        assert same, f"{kind} was edited: it belongs to the caller. Make a new dict"
    _check(_plain(Counter("aab"), "a Counter"), {"a": 2, "b": 1}, "a Counter becomes a dict")
    nested = [(p, [np.float64(0.5), (p,)]), [], {"deep": ({1: [argparse.Namespace(p=p)]}, True)}, b"x"]
    before = _kinds(nested)
    got = _plain(nested, "tuples, lists and dicts inside of each other")
    want = [("p", [0.5, ("p",)]), [], {"deep": ({1: [{"p": "p"}]}, True)}, b"x"]
    _check(got, want, "tuples, lists and dicts inside of each other keep their kind")
    same = _kinds(nested) == before
    assert same, "a list was edited: it belongs to the caller. Make a new one"
    for empty in ([], (), {}):
        _check(_plain(empty, f"an empty {type(empty).__name__}"), empty, "an empty container")


@pytest.mark.myth(
    says="A checkpoint is a dict with all that you have: torch.save takes it.",
    today="It takes it, and torch.load refuses it since 2.6, where one thing in it is not plain.",
)
def test_a_plain_checkpoint_survives_saving_and_loading(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    opt = torch.optim.Adam(model.parameters(), lr=0.01, betas=(0.8, 0.99))
    for _ in range(3):
        model(torch.randn(5, 3)).square().sum().backward()
        opt.step()
    out = Path("runs")
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": opt.state_dict(),
        "best": np.float64(0.25),
        "args": argparse.Namespace(out=out, seed=np.int64(3)),
        "losses": [np.float32(0.5), 0.25],
        "done": True,
        "stop": None,
    }
    want = {
        "model": dict(copy.deepcopy(model.state_dict())),
        "optimizer": copy.deepcopy(opt.state_dict()),
        "best": 0.25,
        "args": {"out": "runs", "seed": 3},
        "losses": [0.5, 0.25],
        "done": True,
        "stop": None,
    }
    plain = _plain(checkpoint, "a checkpoint of a model, Adam and options")
    torch.save(plain, tmp_path / "plain.pt")
    with explain("torch.load refused what to_plain made: something in it is not plain"):
        loaded = torch.load(tmp_path / "plain.pt")
    _check(loaded, want, "the checkpoint, saved and loaded")
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other_opt = torch.optim.Adam(other.parameters())
    with explain("the loaded checkpoint does not fit into the model and Adam that it came from"):
        other.load_state_dict(loaded["model"])
        other_opt.load_state_dict(loaded["optimizer"])
    for name, value in other.state_dict().items():
        check_tensor(value, want["model"][name], f"{name} of the model, loaded again")
    kept = other_opt.state_dict()["state"][0]["exp_avg"]
    check_tensor(kept, want["optimizer"]["state"][0]["exp_avg"], "Adam's mean of the gradients, loaded again")


def test_what_has_no_plain_form_is_refused_at_the_call():
    for odd, what in (
        (object(), "object()"),
        (_Holder(), "an object of a class of one's own, with an attribute"),
        (nn.Linear(2, 1), "a whole module"),
        (datetime.date(2024, 2, 29), "a date"),
        (len, "a function"),
        ({1, 2}, "a set"),
        (frozenset("ab"), "a frozenset"),
        (range(3), "a range"),
        ((n for n in (1, 2)), "a generator"),
        (_Defaults, "the class of a dataclass"),
    ):
        for container, where in (
            (odd, ""),
            ({"a": [1, (odd,)]}, " deep in a dict"),
            (argparse.Namespace(x=odd), " in a Namespace"),
            (_Config(0.1, _Data("", Path(), (odd,))), " in a dataclass"),
        ):
            with raises(TypeError, f"{what}{where} has no plain form, so to_plain has to raise a TypeError"):
                to_plain(container)
