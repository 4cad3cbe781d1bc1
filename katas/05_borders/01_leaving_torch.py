"""Leaving torch: item, tolist, and what Python thinks of a tensor

A loss is a tensor, a prediction is a tensor, and sooner or later both must become plain numbers: for a log file, a
JSON answer, a key in a dict. `t.item()` gives the one number in a tensor, `t.tolist()` all of them as (nested) lists.
`list(t)` only unrolls one dimension: a list of tensors comes out, not of numbers. And a loss that you keep as a tensor
keeps its whole graph alive, so that logging alone can fill the memory.

Python's own tools do not see tensors as values. `==` answers with a tensor, one truth value for each element, so that
`t in tensors` and `tensors.index(t)` raise "Boolean value of Tensor with more than one value is ambiguous"; with
different shapes `==` even broadcasts, or fails. `torch.equal(a, b)` answers with one bool: same shape and same values,
or not. And a tensor's hash is its identity: a set of ten equal scalars has ten members, a dict never finds the key that
looks the same.

What is asked here: `log_row` has just the keys step, loss and preds. `find` compares shapes and values.

About 15 minutes.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.tolist.html
"""

import json
from numbers import Integral
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, unchanged


def log_row(step: int, loss: torch.Tensor, preds: torch.Tensor) -> dict[str, Any]:
    """{"step": ..., "loss": ..., "preds": ...}.

    `loss` is (), float32 or float64, perhaps with a graph; `preds` is (B,), int64 or float32. Ready for json.dumps: an
    int, a float, a list of numbers, each with all its digits. `loss` and `preds` stay as they are.
    """
    raise NotImplementedError("return a dict of plain Python numbers")


def find(tensors: list[torch.Tensor], t: torch.Tensor) -> int:
    """The index of the first tensor with the shape and exactly the values of `t`, or -1.

    All are of one dtype, any one (bfloat16 too), and hold no NaN; the shapes may be anything.
    """
    raise NotImplementedError("search the list by value")


def distinct(scalars: list[torch.Tensor]) -> set[Any]:
    """`scalars`: one or more tensors of shape () and one dtype, any one. The set of their values, as plain numbers.

    bfloat16 is a dtype too, and there is no NaN. The values are exact; `scalars` stays as it is.
    """
    raise NotImplementedError("return the different values as a set")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize("preds", [[2, 0, 2**53 + 1], [0.25, -1.5, 1 + 2**-20], [7]], ids=["ints", "floats", "one int"])
def test_json_knows_numbers_and_lists_no_tensors(preds):
    w = torch.tensor([1.0, 0.25], requires_grad=True)
    loss = (w * w).sum() / 2  # 0.53125
    given = torch.tensor(preds)
    with (
        explain("log_row raised for a loss with a graph and a vector of predictions"),
        unchanged("log_row changed what it was given", loss=loss, preds=given),
    ):
        row = log_row(12, loss, given)
    assert isinstance(row, dict), f"log_row returns a dict, you returned {type(row).__name__}"
    assert set(row) == {"step", "loss", "preds"}, (
        f"the keys are step, loss and preds, yours are {sorted(map(str, row))}"
    )
    graph = ", and it holds the graph" if getattr(row["loss"], "requires_grad", False) else ""
    assert not isinstance(row["loss"], torch.Tensor), f"the loss is a tensor still: JSON refuses it{graph}"
    assert not isinstance(row["preds"], torch.Tensor), "preds are a tensor still: JSON wants a list"
    tensors = [x for x in row["preds"] if isinstance(x, torch.Tensor)] if isinstance(row["preds"], list) else []
    assert not tensors, "your list holds tensors: list(t) unrolls one dimension and stops there"
    with explain("JSON refuses something in your row: no tensors, no sets, none of numpy's numbers and arrays"):
        text = json.dumps(row)
    assert json.loads(text)["step"] == 12, "the row says which step it is: 12"
    assert json.loads(text)["preds"] == preds, (
        f"preds {preds} became {row['preds']!r}: numbers are wanted, in their order"
    )
    assert loss.requires_grad, "you changed the loss: it has lost its graph, and training would stop"


def test_a_loss_leaves_as_a_float_not_as_text():
    with explain("log_row raised for a loss without a graph"):
        row = log_row(3, torch.tensor(0.53125), torch.tensor([1, 0]))
    loss = row.get("loss") if isinstance(row, dict) else None
    assert not isinstance(loss, str), f"you logged the text {loss!r}: nobody can plot that, a number is wanted"
    assert not isinstance(loss, int), f"you logged {loss!r}: the digits after the point are gone"
    assert not isinstance(loss, list), f"you logged {loss!r}: the loss is one number, not a list"
    assert isinstance(loss, float), f"the loss is a float, you logged {type(loss).__name__}"
    assert loss == 0.53125, f"the loss is 0.53125, you logged {loss!r}: all its digits belong in the log"
    exact = 1 + 2**-40
    with explain("log_row raised for a loss in float64"):
        row = log_row(3, torch.tensor(exact, dtype=torch.float64), torch.tensor([1, 0]))
    assert row["loss"] == exact, f"the loss is {exact!r}, in float64, you logged {row['loss']!r}"


def test_in_and_index_want_one_truth_value():
    tensors = [torch.tensor([1, 2]), torch.tensor([3, 4]), torch.tensor([3, 4]), torch.tensor([3, 5])]
    ambiguous = {"ambiguous": "list.index and `in` ask == for one bool, and it answers with one for each element"}
    with explain("find raised for a list of four tensors of shape (2,)", where=ambiguous):
        got = [find(tensors, torch.tensor([1, 2])), find(tensors, torch.tensor([3, 4]))]
    assert got[0] is not None, "find returns the index: yours is None"
    assert all(isinstance(i, Integral) for i in got), f"find returns an index, an int: got {got}"
    assert got[0] != -1, "an equal tensor is in the list: compare values, not objects"
    assert got != [True, True], "find returns the index, not whether there is one"
    assert got != [0, 2], "of several equal tensors find returns the first"
    assert got == [0, 1], f"expected the indices 0 and 1, got {got[0]!r} and {got[1]!r}"
    with explain("find raised for a tensor that is not there: it returns -1", where=ambiguous):
        absent = [find(tensors, torch.tensor([4, 3])), find(tensors, torch.tensor([1, 5])), find([], torch.tensor([1]))]
    assert absent == [-1, -1, -1], f"find returns -1 for a tensor that is not there: got {absent}"
    for dtype, one, other in (
        (torch.float32, 0.12341, 0.12344),
        (torch.float32, 1.0, 1.0000002),
        (torch.float64, 1.0, 1.0 + 1e-12),
        (torch.int64, 2**53, 2**53 + 1),
        (torch.bfloat16, 1.0, 1.0078125),
    ):
        a, b = torch.tensor([one], dtype=dtype), torch.tensor([other], dtype=dtype)
        with explain(f"find raised for {dtype}"):
            alike = find([a, b], b.clone())
        assert alike == 1, f"{dtype}: {one} and {other} are close, but not equal: expected the index 1, got {alike!r}"
    for same in (torch.tensor([float("inf"), 1.0]), torch.tensor([True, False])):
        with explain(f"find raised for {same}"):
            alike = find([same.clone()], same)
        assert alike == 0, f"{same} is in the list, at index 0, find returned {alike!r}"


def test_comparing_different_shapes_broadcasts_or_fails():
    tensors = [torch.ones(3), torch.ones(2, 1), torch.ones(()), torch.ones(2, 3), torch.ones(1), torch.ones(1, 2, 3)]
    fails = {"must match": "the list holds tensors of other shapes: == fails where they do not broadcast"}
    with explain("find raised for a list of tensors of six shapes, () among them", where=fails):
        got = [find(tensors, torch.ones(t.shape)) for t in tensors]
        absent = find(tensors, torch.ones(2))
    assert all(isinstance(i, Integral) for i in [*got, absent]), f"find returns an index, an int: got {[*got, absent]}"
    assert -1 not in got, f"each of the six is in the list, and find missed some: expected 0 to 5, got {got}"
    assert got == [0, 1, 2, 3, 4, 5], f"another shape is another tensor, == broadcasts: expected 0 to 5, got {got}"
    assert absent == -1, "no tensor of shape (2,) is in the list: another shape is another tensor"
    empty = find([torch.ones(0), torch.ones(0, 3)], torch.ones(0, 3))
    assert empty == 1, f"(0,) and (0, 3) are two shapes, although neither holds a value: expected 1, got {empty}"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([3, 1, 3, 3, 2, 1], torch.int64),
        ([2**53, 2**53 + 1], torch.int64),
        ([0.5, 0.25, 0.5, 0.5001220703125], torch.float32),
        ([0.1, 0.1 + 1e-12, 0.1], torch.float64),
        ([True, False, True], torch.bool),
        ([0.5, 1.0078125, 1.0, 0.5], torch.bfloat16),
    ],
    ids=["ints", "large ints", "floats", "float64", "bools", "bfloat16"],
)
def test_a_set_of_tensors_goes_by_identity(values, dtype):
    scalars = [torch.tensor(v, dtype=dtype) for v in values]
    with explain(f"distinct raised for {dtype}"), unchanged("distinct changed its scalars", scalars=scalars):
        got = distinct(scalars)
    assert isinstance(got, (set, frozenset)), f"distinct returns a set, you returned {type(got).__name__}"
    tensors = [x for x in got if isinstance(x, torch.Tensor)]
    assert not (tensors and len(got) == len(values)), "your set kept equal tensors: a tensor's hash is its identity"
    assert not tensors, "your set holds tensors: `1 in got` would be False, make them plain numbers"
    assert got == set(values), f"expected {set(values)}, got {got}"
