"""tensor, not Tensor: a value or a size, and in which dtype?

`torch.tensor(data)` makes a tensor out of *data*: numbers, lists, arrays. `torch.Tensor` is the class, and calling it
is an old way that reads a lone number as a *size*: `torch.Tensor(3)` is not the number 3 but 3 numbers that nobody has
set. It also pushes everything through float32, which counts exactly only up to 16777216: larger ids change silently.

`torch.tensor` has a habit of its own: it keeps the dtype of what comes in. Python ints become int64, Python floats the
default dtype, which is float32 until somebody calls `torch.set_default_dtype`, and NumPy's floats, which are float64
unless somebody said otherwise, stay float64. A model's weights are float32 by default, and a layer does not mix: it
stops with "mat1 and mat2 must have the same dtype". So say the dtype that you want (`dtype=`), or ask the model for its
own: `model.parameters()` walks through its weights, and each of them is a tensor with a `.dtype`. (Half of all fixes
for this error change the model to float64. That is the wrong end: it makes every layer slower, for the sake of one
array.)

About 15 minutes.
Path: first_day, numpy

https://docs.pytorch.org/docs/stable/generated/torch.tensor.html
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def scalar(v: float) -> torch.Tensor:
    """The number `v` (an int or a float) as a float32 tensor of shape (), whatever the default dtype is."""
    raise NotImplementedError("make a tensor of one number, without a dimension")


def features(rows: Sequence[Sequence[float]] | np.ndarray) -> torch.Tensor:
    """A table of numbers as a float32 tensor of the same shape, where the default dtype is float32 or float64.

    `rows`, which stays as it is, is a list of lists or an array of any integer, floating or bool dtype.
    """
    raise NotImplementedError("make a float32 tensor out of rows")


def labels(ids: Sequence[int] | np.ndarray) -> torch.Tensor:
    """Class numbers, of which some may be negative, as an int64 tensor, exactly.

    `ids` is a list of ints or an array of any integer dtype, and stays as it is.
    """
    raise NotImplementedError("make an int64 tensor out of ids")


def predict(model: nn.Module, array: np.ndarray) -> torch.Tensor:
    """What `model` says to `array`, in the dtype of the model's parameters; `model` and `array` stay as they are.

    `model` is any module that has parameters, all of one dtype, and that does not write into its input. `array` may be
    of any integer or floating dtype.
    """
    raise NotImplementedError("give the array to the model in the model's dtype")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.myth(
    says="torch.Tensor(...) is how you create a tensor.",
    today="torch.Tensor is an old constructor that reads a lone int as a size; torch.tensor makes a tensor of data.",
)
def test_a_number_is_not_a_size():
    with explain("scalar raised on the number 3"):
        out = scalar(3)
    assert _shape(out) != (3,), "3 was read as a size: torch.Tensor(3) is 3 numbers that nobody has set"
    assert _shape(out) != (1,), "your tensor has one dimension (of size 1): a scalar has none, its shape is ()"
    why = ": an int stays int64 unless you say otherwise" if getattr(out, "dtype", None) == torch.int64 else ""
    check_tensor(out, torch.tensor(3.0), f"scalar(3) is the number 3 as a tensor in float32{why}")
    with _default_float64(), explain("scalar raised on the number 3, while the default dtype is float64"):
        out = scalar(3)
    said = "scalar(3) is float32, also while the default dtype is float64: name the dtype that you want"
    check_tensor(out, torch.tensor(3.0), said)


def test_a_fraction_stays_a_fraction():
    with explain("scalar raised on the number -0.1", where={"data must be a sequence": "-0.1 is a value, not a size"}):
        out = scalar(-0.1)
    check_tensor(out, torch.tensor(-0.1), "scalar(-0.1) is the number -0.1 in float32")


@pytest.mark.parametrize(
    "rows",
    ["list of ints", "list of floats", "float64 array", "int64 array", "float32 array", "uint8 array", "bool array"],
)
def test_features_are_float32_whatever_comes_in(rows):
    numbers = [[1, 2, 3], [4, 5, 6]] if "int" in rows or "bool" in rows else [[0.1, 0.2, 0.3], [4.5, 5.5, -6.5]]
    data = numbers if "list" in rows else np.array(numbers, dtype=rows.split()[0])
    want = torch.tensor(numbers, dtype=torch.float32) if rows != "bool array" else torch.ones(2, 3)
    where = {r"got list\)": "a list of lists is a table too: from_numpy takes nothing but arrays"}
    with explain(f"features raised on a table, {rows}", where), unchanged("features must not change rows", rows=data):
        out = features(data)
    said = "the same table, as a float32 tensor"
    if isinstance(out, torch.Tensor) and out.dtype != torch.float32:
        said = "torch.tensor keeps the dtype that comes in, float32 was asked for"
    check_tensor(out, want, f"features, from {rows}: {said}")
    with _default_float64(), explain(f"features raised on a table, {rows}, while the default dtype is float64"):
        out = features(data)
    said = "float32, also while the default dtype is float64: name the dtype that you want"
    check_tensor(out, want, f"features, from {rows}: {said}")


def test_a_class_number_must_not_pass_through_a_float():
    """float32 counts exactly up to 2**24 = 16777216, float64 up to 2**53."""
    where = {
        r"got list\)": "a list of ints is asked for too: from_numpy takes nothing but arrays",
        "without overflow": "2**53 + 1 has room in int64, not in what you made of it",
    }
    with explain("labels raised on the list [16777217, 3, 2**53 + 1]", where):
        out = labels([16777217, 3, 2**53 + 1])
    came = out.tolist() if isinstance(out, torch.Tensor) and out.shape == (3,) else [None, None, None]
    assert came[0] != 16777216, "16777217 became 16777216: your ids passed through float32"
    assert came[2] != 2**53, "2**53 + 1 became 2**53: your ids passed through float64"
    want = torch.tensor([16777217, 3, 2**53 + 1], dtype=torch.int64)
    said = "labels are a tensor of int64: class numbers are counted, not measured"
    if came != want.tolist() and getattr(out, "dtype", None) == torch.int64:
        said = "labels come out exactly as they came in, one for each: int64 has room for all of these"
    check_tensor(out, want, said)


@pytest.mark.parametrize(
    ("dtype", "ids"),
    [("int32", [7, 0, -100]), ("int64", [2**53 + 1, 0, -100]), ("uint8", [7, 0, 200]), ("uint16", [7, 0, 40000])],
    ids=["int32", "int64", "uint8", "uint16"],
)
def test_labels_are_int64_whatever_comes_in(dtype, ids):
    """-100 is a label too: torch's losses leave it out."""
    array = np.array(ids, dtype=dtype)
    with explain(f"labels raised on an array of {dtype}"), unchanged("labels must not change ids", ids=array):
        out = labels(array)
    want = torch.tensor(ids, dtype=torch.int64)
    check_tensor(out, want, f"labels of an array of {dtype}, {ids}, are the same numbers as int64, as losses want")


@pytest.mark.parametrize("given", ["float64", "int64"])
def test_numpy_counts_in_float64_and_a_layer_in_float32(given):
    model, array, want = _linear(torch.float32, whole=given == "int64")
    array = array.astype(given)
    where = {"same dtype|must be Tensor": f"the array is {given}, this model is float32: give it a tensor of its dtype"}
    with explain(f"predict raised on a float32 layer and a {given} array", where), _theirs(model, array):
        out = predict(model, array)
    check_tensor(out, want, f"the answer of a float32 model to a {given} array", rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["float64", "bfloat16"])
def test_data_follows_the_dtype_of_the_model(dtype):
    layer, array, want = _linear(dtype)
    model = nn.Sequential(layer)
    where = {
        "same dtype": f"this model's parameters are {dtype}: not every model is float32, ask this one for its dtype",
        "has no attribute": "the model is an nn.Sequential: any model has parameters(), not any a .weight",
    }
    with explain(f"predict raised on an nn.Sequential in {dtype}", where), _theirs(model, array):
        out = predict(model, array)
    if dtype == torch.float64 and isinstance(out, torch.Tensor):
        with torch.no_grad():
            rounded = model(torch.tensor(array).float().double())
        assert not out.equal(rounded), (
            "your answer is the one to float32 numbers: the float64 array passed through float32"
        )
    check_tensor(out, want, f"the answer of a {dtype} model", rtol=3e-2 if dtype == torch.bfloat16 else 1e-12)


@contextlib.contextmanager
def _default_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _shape(out: object) -> tuple[int, ...] | None:
    return tuple(out.shape) if isinstance(out, torch.Tensor) else None


def _theirs(model: nn.Module, array: np.ndarray) -> unchanged:
    return unchanged(
        "predict must leave the model and the array as they are, they are not yours", model=model, array=array
    )


def _linear(dtype: torch.dtype, whole: bool = False) -> tuple[nn.Linear, np.ndarray, torch.Tensor]:
    """A layer of known weights, a float64 array, maybe of whole numbers, and the layer's answer to it."""
    weight, bias = np.array([[1.0, 2.0, 0.5], [0.25, 8.0, 1.0]]), np.array([1.0, 2.0])
    array = np.array([[0.1, 0.2, 0.3], [1.1, 1.2, 1.3], [2.1, 2.2, 2.3], [3.0, 0.7, 0.9]])
    array = np.round(array) if whole else array
    model = nn.Linear(3, 2).to(dtype)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weight))
        model.bias.copy_(torch.tensor(bias))
    return model, array, torch.tensor(array @ weight.T + bias).to(dtype)
