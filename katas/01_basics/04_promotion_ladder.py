"""The promotion ladder: category first, width only among equals.

Two dtypes meet in `x - mean`. Which one comes out? torch looks at the *category* first: bool < integer < floating
point, and the higher category wins. Only among equals does the wider dtype win, and even there not everybody votes:

- float32 tensor and a Python number: float32. The number lends its category, never its width.
- float32 tensor and a tensor of shape (), be it float64: float32. It counts like a Python number.
- float32 tensor and a *vector* of float64, be it of one element: float64. Your batch has doubled its memory.
- int64 tensor / int64 tensor: float32, or whatever `torch.get_default_dtype()` says. `True + True` is True.

The third line is the common accident: statistics computed with NumPy are float64, they meet the batch in the input
pipeline, and the error appears in a layer far away. The mean of an integer or bool tensor is no number of its category,
so `x.mean()` does not guess: it raises "could not infer output dtype". Two tools: `x.is_floating_point()` asks for the
category, and `y.to(dtype)` gives the values of y in the dtype that you name.

About 20 minutes. Before it: tensor_not_Tensor.
Path: numpy

https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc
"""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def standardise(x: torch.Tensor, mean: float | torch.Tensor, std: float | torch.Tensor) -> torch.Tensor:
    """(x - mean) / std, in the dtype of `x` if `x` is floating point and in the default dtype if `x` is integer.

    `mean` and `std`, each by itself, are a number (an int or a float) or a tensor of any floating dtype that broadcasts
    to the shape of `x`. All three stay as they are. With a float64 `x`, all the digits of float64 count, also those
    of a number.
    """
    raise NotImplementedError("standardise x without promoting it")


def average(x: torch.Tensor) -> torch.Tensor:
    """The mean over all values of `x` as a tensor of shape (), for any integer, bool and floating `x`.

    A float64 `x` has a float64 mean; for all others any floating dtype will do. Where `x` is float16, the mean is right
    even if the sum is beyond the range of float16 (65504). `x` stays as it is.
    """
    raise NotImplementedError("average x, whatever its dtype")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _stats(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([1.0, 1.5, -2.0], dtype=dtype), torch.tensor([2.0, 0.25, 4.0], dtype=dtype)


@pytest.mark.parametrize("elements", [3, 1], ids=["a value per column", "one value for all"])
def test_a_vector_of_float64_promotes_a_float32_batch(elements):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mean, std = (s[:elements] for s in _stats(torch.float64))
    want = torch.tensor([[0.0, 2.0, 1.25], [1.5, 14.0, 2.0]] if elements == 3 else [[0.0, 0.5, 1.0], [1.5, 2.0, 2.5]])
    with (
        explain(f"standardise raised on a float32 batch and float64 statistics of shape ({elements},)"),
        unchanged(
            "standardise gives back a new tensor: x, mean and std must stay as they are", x=x, mean=mean, std=std
        ),
    ):
        out = standardise(x, mean, std)
    promoted = isinstance(out, torch.Tensor) and out.dtype == torch.float64
    assert not promoted, "your float32 batch became float64: 1-D float64 statistics promote it, even with one element"
    check_tensor(out, want, "(x - mean) / std of a float32 batch", atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_stays_half_precision(dtype):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=dtype)
    want = torch.tensor([[0.0, 2.0, 1.25], [1.5, 14.0, 2.0]], dtype=dtype)
    with explain(f"standardise raised on x in {dtype} and float32 statistics"):
        out = standardise(x, *_stats(torch.float32))
    check_tensor(
        out, want, f"x came in {dtype} and must leave in it, whatever dtype the statistics have", rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    "kind",
    ["Python numbers", "0-dim float64 tensors", "a vector and a number"],
    ids=["Python numbers", "float64 scalars", "a vector and a number"],
)
def test_numbers_and_0_dim_tensors_have_a_category_but_no_width(kind):
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mean, std = (1.5, 0.5) if kind == "Python numbers" else torch.tensor([1.5, 0.5], dtype=torch.float64).unbind()
    if kind == "a vector and a number":
        mean, std = torch.tensor([1.5, 1.5, 1.5]).double(), 0.5
    where = {"AttributeError": f"mean and std may be numbers too, here {kind}: a number has no method of a tensor"}
    with explain(f"standardise raised on a float32 batch and {kind}", where):
        out = standardise(x, mean, std)
    want = torch.tensor([[-1.0, 1.0, 3.0], [5.0, 7.0, 9.0]])
    check_tensor(out, want, f"a float32 batch and {kind} give float32", atol=1e-6)


def test_float64_keeps_all_its_digits():
    x = torch.tensor([[1.0, 1.0 + 1e-10, 3.0]], dtype=torch.float64)
    with (
        explain("standardise raised on a float64 batch and float64 statistics"),
        unchanged("x must stay as it is: .to(torch.float64) of a float64 tensor is that tensor, no copy", x=x),
    ):
        out = standardise(x, *_stats(torch.float64))
        exact = standardise(x.clone(), *torch.tensor([[1.0, 1.0, 1.0 + 1e-10], [2.0, 2.0, 2.0]], dtype=torch.float64))
    want = torch.tensor([[0.0, -2.0 + 4e-10, 1.25]], dtype=torch.float64)
    said = "a float64 batch stays float64 all the way: a detour through float32 keeps 7 digits"
    check_tensor(out, want, said, atol=1e-14)
    want = torch.tensor([[0.0, 5e-11, 1.0 - 5e-11]], dtype=torch.float64)
    check_tensor(exact, want, f"{said}, the statistics' digits count too", atol=1e-14)
    with explain("standardise raised on a float64 batch and the Python numbers 0.1 and 0.3"):
        out = standardise(torch.tensor([0.1, 0.7], dtype=torch.float64), 0.1, 0.3)
    want = torch.tensor([0.0, 2.0], dtype=torch.float64)
    check_tensor(
        out, want, "a Python number has the digits of float64: 0.1 - 0.1 is 0, (0.7 - 0.1) / 0.3 is 2", atol=1e-14
    )


@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=["default float32", "default float64"])
@pytest.mark.parametrize(
    "kind",
    ["float64 vector", "0-dim float16", "Python numbers"],
    ids=["float64 vector", "float16 scalar", "Python numbers"],
)
def test_integers_become_the_default_dtype(default, kind):
    """uint8 and a 0-dim float16 give float16: the category goes up, and the only width in sight is half."""
    x = torch.tensor(
        [1, 3, 4], dtype={"float64 vector": torch.int64, "0-dim float16": torch.uint8}.get(kind, torch.int32)
    )
    stats: dict[str, tuple[float | torch.Tensor, float | torch.Tensor]] = {
        "float64 vector": (torch.tensor([1.0, 0.5, 4.0]).double(), torch.tensor([2.0, 5.0, 4.0]).double()),
        "0-dim float16": (torch.tensor(0.5).half(), torch.tensor(2.0).half()),
        "Python numbers": (0.5, 2),
    }
    mean, std = stats[kind]
    right, cut = ([0.0, 0.5, 0.0], [0.0, 0.6, 0.0]) if "vector" in kind else ([0.25, 1.25, 1.75], [0.5, 1.5, 2.0])
    with _default_dtype(default), explain(f"standardise raised on x in {x.dtype} and {kind}"):
        out = standardise(x, mean, std)
    numbers = out.tolist() if isinstance(out, torch.Tensor) else None
    whole = isinstance(out, torch.Tensor) and not out.is_floating_point()
    assert not whole, "your result went back to integers: 0.5 has no place there"
    assert numbers != pytest.approx(cut), "the mean 0.5 became the integer 0: the statistics must not take x's dtype"
    want = torch.tensor(right, dtype=default)
    check_tensor(out, want, f"an integer x and {kind}: the default dtype, here {default}", rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool], ids=["int64", "uint8", "bool"])
def test_integers_and_bools_have_no_mean_in_their_own_dtype(dtype):
    rows = {torch.bool: [[1, 0, 1], [1, 1, 0]], torch.int64: [[1, 2, 1000000], [4, 5, 6]]}
    x = torch.tensor(rows.get(dtype, [[1, 2, 250], [4, 5, 6]])).to(dtype)
    want = sum(x.flatten().tolist()) / 6
    where = {
        "could not infer output dtype|must be either a floating point or complex": (
            f"the mean of a {dtype} tensor has a fraction, and mean() does not guess in which dtype you want it"
        )
    }
    with explain(f"average raised on a {dtype} tensor", where), unchanged("x must stay as it is", x=x):
        out = average(x)
    value = _value(out)
    assert value != want // 1, f"the mean of {x.tolist()} is {want:.4f}, not {value}: the fraction was cut off"
    assert value == pytest.approx(want, rel=1e-3), f"the mean of all values of {x.tolist()} is {want:.4f}, got {value}"


def test_the_mean_of_floats_loses_neither_digits_nor_range():
    """300 values of 400 add up to 120000, but the largest float16 is 65504. Their mean is 400."""
    x = torch.tensor([[1.5, 1.5, 1.5 + 1e-9], [1.5, 1.5, 1.5 + 5e-9]], dtype=torch.float64)
    with explain("average raised on a float64 tensor"):
        out = average(x)
    assert not isinstance(out, torch.Tensor) or out.dtype == torch.float64, (
        f"float64 was lost: you gave back {out.dtype}"
    )
    value = _value(out)
    assert value != 1.5, "the mean is 1.500000001, you gave 1.5: it went through float32 and lost its last digits"
    assert value == pytest.approx(1.5 + 1e-9, rel=1e-13), f"the mean of x is 1.500000001, got {value!r}"
    with explain("average raised on 300 values in float16"):
        value = _value(average(torch.full((3, 100), 400.0, dtype=torch.float16)))
    assert value != float("inf"), "the mean of 300 times 400 in float16 became inf: their sum is beyond its range"
    assert value == 400, f"the mean of 300 times 400 in float16 is 400, got {value}"
    with explain("average raised on a bfloat16 tensor", where={"ScalarType": "NumPy knows no bfloat16: x may be any"}):
        value = _value(average(torch.tensor([[1.0, 2.0], [4.0, 5.0]], dtype=torch.bfloat16)))
    assert value == 3, f"the mean of 1, 2, 4 and 5 in bfloat16 is 3, got {value}"


def _value(out: object) -> float:
    assert isinstance(out, torch.Tensor), f"expected a tensor of shape (), got {out!r}, of type {type(out).__name__}"
    assert out.shape == (), f"the mean over all values has shape (), got {tuple(out.shape)}"
    assert not out.requires_grad, "the mean requires a gradient, x does not"
    return out.item()


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
