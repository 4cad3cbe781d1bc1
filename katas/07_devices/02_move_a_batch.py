"""Move a batch: `.to` returns, it does not move

`x.to(device)` never changes `x`. It returns a tensor on the device, and if you do not take what it returns, nothing has
happened at all: no error comes until some operation meets tensors of two devices. (A module is different: `model.to`
changes the module itself.) And `.to` copies only where something has to change: a tensor that is already there comes
back as the same object, not as a copy that you may edit.

Batches are seldom one tensor. A DataLoader hands you dicts, lists, tuples and namedtuples, one inside the other, with
strings and numbers among them. A list has no `.to`, so everybody writes this function some day. What bites: a tensor
one level deeper stays behind; a tuple comes back as a list; a namedtuple is a tuple, but it is not built like one: it
takes its fields one by one. (A namedtuple is a tuple that has an attribute `_fields`.) And the batch that you were
given belongs to somebody else. A *model* in it would move by itself, if you called its `.to`.

What is asked: the same structure, with every tensor in it on the device, and all else in it as it was.

About 30 minutes. Before it: which_device.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.to.html
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def move(batch: Any, device: str | torch.device) -> Any:
    """`batch` with all tensors on `device`: a tensor, or dicts, lists, tuples, namedtuples of such, at any depth.

    Containers keep their types (an OrderedDict too), other leaves are the same objects and do not move (a module
    neither). `batch` itself does not change, a tensor that is on `device` already is not copied, and one that requires
    grad still does where it comes to. Other subclasses of dict, list and tuple do not occur.
    """
    raise NotImplementedError("return the batch with its tensors on the device")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_BUILT = "a list or a tuple is built from one iterable, a namedtuple from its fields one by one"


class _Sample(NamedTuple):
    image: Any
    label: Any


def _tensors():
    return torch.arange(6.0).view(2, 3), torch.tensor([3, 1])


def _moved(batch, device="meta"):
    no_to = {"has no attribute '(to|device)'": "what is no tensor has no `.to`, and stays as it is"}
    with explain(f"move(batch, {device!r}) raised for this batch: {batch!r}", no_to):
        return move(batch, device)


def _built(batch, kind):
    """What move makes of a container; Python's TypeError is about how it was built."""
    built = {"^TypeError.*argument": f"a {kind} broke your move: {_BUILT}"}
    with explain(f"move(batch, 'meta') raised for this batch: {batch!r}", built):
        return move(batch, "meta")


def _check_moved(got, x, where):
    """`got` is what x.to('meta') is."""
    if isinstance(got, torch.Tensor):
        assert got.device.type == "meta", f"{where} stayed on {got.device}"
    check_tensor(got, torch.empty_like(x, device="meta"), f"{where} has another form than before the move")


def test_to_returns_the_moved_tensor():
    x, _ = _tensors()
    got = _moved(x)
    if isinstance(got, torch.Tensor):
        assert got.device.type == "meta", "still on the CPU: `.to` returns the moved tensor, x stays; did you drop it?"
    _check_moved(got, x, "the tensor")
    _check_moved(_moved(x, torch.device("meta")), x, "the tensor (moved to a torch.device)")
    got = _moved({"x": x.clone().requires_grad_()})
    with explain("the batch is no longer what it was"):
        cut = not got["x"].requires_grad
    assert not cut, "a tensor that requires grad was moved, and the moved one does not: it was cut from its graph"


def test_tensors_may_lie_deep_and_other_leaves_stay():
    x, y = _tensors()
    model = nn.Linear(2, 1)
    leaves = {"name": "cat", "count": 0, "missing": None, "other": object(), "model": model, 7: 0.5}
    number, nothing = torch.tensor(2.5), torch.zeros(0, 3)
    tensors = {"x": x, "number": number, "nothing": nothing}
    got = _moved({**tensors, "inner": {"y": y, "list": [x, OrderedDict(y=y)]}, "empty": [], **leaves})
    assert isinstance(got, dict), f"a dict stays a dict, yours became {type(got).__name__}"
    assert list(got) == [*tensors, "inner", "empty", *leaves], f"the keys stay as they were, yours are {list(got)}"
    for key, leaf in leaves.items():
        assert got[key] is leaf, f"what is no tensor stays as it is: {leaf!r} became {got[key]!r}"
    assert model.weight.device.type == "cpu", "you moved the model in the batch: a module's `.to` changes the module"
    assert got["empty"] == [], f"an empty list stays an empty list, yours became {got['empty']!r}"
    _check_moved(got["x"], x, "a tensor in a dict")
    _check_moved(got["number"], number, "a 0-dim tensor")
    _check_moved(got["nothing"], nothing, "a tensor without values")
    with explain("the inner containers of the batch are no longer what they were"):
        inner, last = got["inner"], got["inner"]["list"]
        deep = [
            (inner["y"], y, "a dict in a dict"),
            (last[0], x, "a list in a dict"),
            (last[1]["y"], y, "an OrderedDict in a list"),
        ]
    kind = type(last[1])
    assert kind is OrderedDict, f"an OrderedDict stays an OrderedDict, yours became a {kind.__name__}"
    for tensor, before, where in deep:
        _check_moved(tensor, before, f"a tensor further down ({where})")


def test_the_batch_belongs_to_the_caller():
    x, y = _tensors()
    batch, inner = {"x": x, "inner": [y, {"y": y}]}, [y, {"y": y}]
    items = batch["inner"]
    with unchanged("move must not change the tensors of the batch", x=x, y=y):
        _moved(batch)
    assert batch["x"] is x, "you changed the caller's dict: build a new one"
    assert batch["inner"] is items, "you changed the caller's dict: build a new one"
    assert len(items) == len(inner), "you changed the caller's list: build a new one"
    assert items[0] is y, "you changed the caller's list: build a new one"
    assert items[1]["y"] is y, "you changed the dict in the caller's list: build a new one"
    assert x.device.type == y.device.type == "cpu", "you changed the caller's tensors, not only the batch"


@pytest.mark.myth(
    says="x.to(device) always makes a copy on that device",
    today="it copies only where something has to change: a tensor that is there already comes back as the same object",
)
def test_a_tensor_that_is_there_already_is_not_copied():
    x, y = _tensors()
    got = _moved(x, "cpu")
    check_tensor(got, x, "move(x, 'cpu') is x on the CPU")
    assert got is x, "x was on the CPU already, and another tensor came back: `.to` alone returns x itself"
    turned = x.t()
    assert _moved(turned, "cpu") is turned, "x.t() was on the CPU already, and another tensor came back"
    got = _moved({"x": x, "inner": (x, y)}, torch.device("cpu"))
    with explain("the batch is no longer what it was"):
        outer, inner = got["x"], got["inner"][1]
    check_tensor(outer, x, "move(batch, 'cpu') holds x on the CPU")
    check_tensor(inner, y, "move(batch, 'cpu') holds y on the CPU, further down")
    assert (outer is x, inner is y) == (True, True), (
        "the tensors in the batch were on the CPU already, and other tensors came back"
    )


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_stays_a_list_and_a_tuple_a_tuple(kind):
    x, y = _tensors()
    got = _built(kind([x, (y, "cat"), None, (y,)]), kind.__name__)
    assert type(got) is kind, f"a {kind.__name__} stays a {kind.__name__}, yours became a {type(got).__name__}"
    assert len(got) == 4, f"the {kind.__name__} had 4 items, yours has {len(got)}"
    _check_moved(got[0], x, f"a tensor in a {kind.__name__}")
    assert type(got[1]) is tuple, f"a tuple in a {kind.__name__} stays a tuple, yours became a {type(got[1]).__name__}"
    assert got[1][1:] == ("cat",), f"(tensor, 'cat') in a {kind.__name__} keeps its 'cat'"
    _check_moved(got[1][0], y, f"a tensor in a tuple in a {kind.__name__}")
    assert got[2] is None, f"a None in a {kind.__name__} stays None, yours became {got[2]!r}"
    assert isinstance(got[3], tuple), f"a tuple of one stays a tuple, yours became a {type(got[3]).__name__}"


def test_a_namedtuple_takes_its_fields_one_by_one():
    x, y = _tensors()
    got = _built([_Sample(image=x, label={"y": y})], "namedtuple")
    assert isinstance(got, list), f"a list stays a list, yours became a {type(got).__name__}"
    assert len(got) == 1, f"the list held one namedtuple, yours holds {len(got)} things"
    assert isinstance(got[0], _Sample), (
        f"the namedtuple became a {type(got[0]).__name__}: it must stay a {_Sample.__name__}, with its fields"
    )
    _check_moved(got[0].image, x, "a tensor in a namedtuple")
    assert isinstance(got[0].label, dict), f"the dict in the namedtuple became a {type(got[0].label).__name__}"
    _check_moved(got[0].label.get("y"), y, "a tensor in a dict in a namedtuple")
