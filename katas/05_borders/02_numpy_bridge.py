"""The NumPy bridge: who owns this memory?

`torch.from_numpy(a)` and `t.numpy()` move no number: the tensor and the array are two names for one block of memory,
and an in-place write to one shows in the other. `torch.tensor(a)` always copies. In between lie the conversions:
`.float()`, `astype`, `as_tensor(a, dtype=...)` copy when the dtype changes and *may share when it does not*, so code
that was safe with float64 data corrupts its input once the data are float32. Decide: a window, or a copy?

The border has customs. NumPy walks backwards with negative strides (`a[::-1]`, what flipping an image gives), torch has
none, and even `torch.tensor` refuses such an array. A tensor that requires grad does not leave by `.numpy()`, and
bfloat16 does not exist in NumPy at all. Three calls prepare a tensor for the border: `t.detach()` is the same values
without the graph, `t.cpu()` brings them to the CPU, `t.to(dtype)` changes the dtype. On the other side, `a.copy()`
writes all values of an array out in order. And `t += array` looks in-place but is not: NumPy takes the addition over,
builds a *new* float64 tensor, and Python binds the name `t` to it; every other holder of the old tensor sees nothing. A
method with an underscore at its end (`add_`, `copy_`) is in-place.

What is asked here: `wrap` shares and `own` does not, both with the dtype, shape and values of the array. `own` takes
any array, however it is flipped or sliced (an array of one row too). `export` gives the values exactly, so in the
tensor's own dtype or a wider one; it must not change the tensor. `add_array_` writes into `t`'s own memory.

About 30 minutes. Before it: tensor_not_Tensor, view_or_copy.
Path: first_day, numpy

https://docs.pytorch.org/docs/stable/generated/torch.from_numpy.html
"""

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def wrap(a: np.ndarray) -> torch.Tensor:
    """A tensor on the memory of `a` (any dtype torch has, no negative strides): same dtype, same shape, no copy."""
    raise NotImplementedError("return a tensor that shares the memory of a")


def own(a: np.ndarray) -> torch.Tensor:
    """A tensor with the values, shape and dtype of `a` (any strides), in memory of its own. `a` stays as it is.

    `a` has one dimension at least, and one value at least.
    """
    raise NotImplementedError("return a tensor that has nothing to do with the memory of a")


def export(t: torch.Tensor) -> np.ndarray:
    """The values of `t` (any device, with or without a graph) as an array of the same shape.

    `t` is of any int dtype, or float16, bfloat16, float32, float64. Exactly these values (of ints, those up to 2**53),
    in a dtype of NumPy's that holds them. Never fails, and `t` itself stays as it is: its values, its graph, its
    requires_grad.
    """
    raise NotImplementedError("return the values of t as a numpy array")


def add_array_(t: torch.Tensor, a: np.ndarray) -> torch.Tensor:
    """Add `a` to `t` in place: `t` keeps memory and dtype. Returns `t`; `a` stays as it is.

    `a` is float16, float32 or float64, in the shape of `t`, without negative strides; `t` is float32 or float64,
    without grad. The sum is as exact as the dtype of `t` is.
    """
    raise NotImplementedError("add a to t in place and return t")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_NAMES = ("float32", "float64", "int64", "float16", "uint8", "bool")
_DTYPES = {name: getattr(torch, name) for name in _NAMES}


@pytest.mark.parametrize("dtype", _DTYPES)
def test_a_tensor_and_an_array_can_be_two_names_for_one_memory(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    with explain(f"wrap raised for a {dtype} array"), unchanged("wrap changed the array", a=a):
        t = wrap(a)
    want = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=_DTYPES[dtype])
    converted = isinstance(t, torch.Tensor) and t.dtype != want.dtype
    note = ": another dtype needs other memory, a copy" if converted else ""
    check_tensor(t, want, f"wrap gives a {dtype} array as a {dtype} tensor{note}")
    a[0, 0] = 1
    assert t[0, 0] == 1, "you copied: a write to the array must show in the tensor"
    t[0, 2] = 0
    assert a[0, 2] == 0, "you copied: a write to the tensor must show in the array"


def test_sharing_memory_works_with_gaps_between_the_values():
    a = np.arange(10, dtype=np.float32).reshape(2, 5)
    with explain("wrap raised for a slice of an array, every second column"):
        t = wrap(a[:, ::2])
    check_tensor(t, torch.tensor([[0.0, 2, 4], [5, 7, 9]]), "wrap gives every second column, as the array has it")
    a[1, 2] = 100
    assert t[1, 1] == 100, "you copied the columns together: a tensor has strides too, it can skip what the slice skips"


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.myth(
    says="A conversion such as .float() or astype gives you new memory",
    today="It copies only if the dtype changes: torch.from_numpy(a).float() of a float32 array shares its memory.",
)
def test_a_conversion_that_changes_nothing_does_not_copy(dtype):
    a = np.arange(6).reshape(2, 3).astype(dtype)
    before = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=_DTYPES[dtype])
    with explain(f"own raised for a {dtype} array"), unchanged("own changed the array", a=a):
        t = own(a)
    check_tensor(t, before, f"own gives the values of a {dtype} array as a {dtype} tensor")
    a[0, 0] = 1
    shared = "from_numpy shares, and a conversion that changes no dtype copies nothing"
    assert t[0, 0] == 0, f"your tensor lives in the array's memory: {shared}"
    t[0, 1] = 0
    assert a[0, 1] == 1, "your tensor lives in the array's memory: a write to the tensor changed the array"


@pytest.mark.parametrize("flipped", ["rows", "columns", "one row"])
def test_torch_knows_no_negative_strides(flipped, monkeypatch):
    monkeypatch.setattr(torch, "from_dlpack", _from_dlpack_without_a_crash)
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    view, want = {
        "rows": (base[::-1], [[3.0, 4, 5], [0, 1, 2]]),
        "columns": (base[:, ::-1], [[2.0, 1, 0], [5, 4, 3]]),
        "one row": (base[:1][::-1], [[0.0, 1, 2]]),  # NumPy calls this contiguous, its stride is negative all the same
    }[flipped]
    already = "; ascontiguousarray takes one row for contiguous and copies nothing" if flipped == "one row" else ""
    refused = f"{flipped} flipped: torch refuses negative strides, so let NumPy write the values out first{already}"
    with explain(f"own raised for an array with {flipped} flipped", where={"negative": refused}):
        t = own(view)
    check_tensor(t, torch.tensor(want), f"own gives the values of the flipped array in its order ({flipped} flipped)")
    assert not shares_memory(t, base), "your tensor lives in the memory of the flipped array"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_tensor_leaves_without_its_graph_and_its_device(device):
    w = torch.tensor([[1.0, 2, 3], [4, 5, 4097]], device=device, requires_grad=True)
    y = w * 2
    leave = {"requires grad|cuda|device": "export never fails: NumPy knows no graphs and no devices, leave both behind"}
    with (
        explain("export never fails, and raised for a tensor that requires grad", where=leave),
        unchanged("export changed the tensor", w=w, y=y),
    ):
        arrays = export(w), export(y)
    _check_array(arrays[0], [[1.0, 2, 3], [4, 5, 4097]], "export of a tensor that requires grad")
    _check_array(arrays[1], [[2.0, 4, 6], [8, 10, 8194]], "export of a tensor with a graph")
    assert all(t.requires_grad for t in (w, y)), "you changed the tensor: after export it no longer requires grad"
    for t in (
        torch.tensor(7, device=device),
        torch.tensor([16777217, -5, 2**53], device=device),
        torch.tensor([[1 + 2**-40, 1e300]], dtype=torch.float64, device=device),
        torch.tensor([0.1, float("inf"), 60000.0], dtype=torch.float16, device=device),
        torch.zeros(0, 3, device=device),
    ):
        with explain(f"export never fails, and raised for {t.dtype} of shape {tuple(t.shape)}"):
            array = export(t)
        _check_array(array, t.cpu().numpy(), f"export of {t.dtype}, shape {tuple(t.shape)}")


def test_numpy_has_no_bfloat16():
    t = torch.tensor([[0.5, -1.0, 131072.0]], dtype=torch.bfloat16)
    for leaf in (t, t.clone().requires_grad_()):
        none = {"BFloat16": "export never fails: NumPy has no bfloat16, so give it a dtype that it has"}
        with explain("export never fails, and raised for bfloat16", where=none):
            array = export(leaf)
        what = "export of a bfloat16 tensor: the numbers, not the bits, and float16 ends at 65504"
        _check_array(array, [[0.5, -1.0, 131072.0]], what)
        assert leaf.dtype == torch.bfloat16, f"you changed the tensor: after export it is {leaf.dtype}"


@pytest.mark.myth(
    says="A tensor and its array stay in sync, so t += array writes through to both",
    today="t += array is no in-place write: it makes a new float64 tensor and binds t to it; the old memory stays.",
)
def test_plus_equals_an_array_is_not_in_place():
    t = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    row = t[1]
    a = np.array([[0.5, 0.5, 0.5], [1, 2, 3]])
    bring = {"must be Tensor|not ndarray|can't be cast": "add_ takes a tensor, of a dtype that t holds: bring a over"}
    with (
        explain("add_array_ raised for a float32 tensor and a float64 array", where=bring),
        unchanged("you changed the array", a=a),
    ):
        out = add_array_(t, a)
    assert t.tolist() != [[1, 2, 3], [4, 5, 6]], "t did not change: the sum went to a new tensor, not to t"
    check_tensor(t, torch.tensor([[1.5, 2.5, 3.5], [5, 7, 9]]), "t holds t + a afterwards, in its own dtype")
    assert row.tolist() == [5, 7, 9], "a view of t still shows the old values: you gave t new memory"
    assert out is t, "add_array_ returns t itself"
    exact = torch.tensor([[1.0]], dtype=torch.float64)
    with explain("add_array_ raised for a float64 tensor and a float64 array"):
        add_array_(exact, np.array([[1 / 3]]))
    assert exact.item() == 1 + 1 / 3, f"t is float64, and 1 + 1 / 3 is {1 + 1 / 3!r} there, yours is {exact.item()!r}"
    base = torch.tensor([[1.0, 4], [2, 5], [3, 6]], dtype=torch.float64)
    t = base.t()
    with explain("add_array_ raised for a transposed float64 tensor and a float32 array", where=bring):
        out = add_array_(t, np.array([[0.5, 0.5, 0.5], [1, 2, 3]], dtype=np.float32))
    moved = "t is a transposed view, and the tensor behind it did not change: you added to a copy of t"
    assert base.tolist() != [[1, 4], [2, 5], [3, 6]], moved
    want = torch.tensor([[1.5, 5], [2.5, 7], [3.5, 9]], dtype=torch.float64)
    check_tensor(base, want, "the tensor behind a transposed t holds the sum afterwards, in float64")
    assert out is t, "add_array_ returns t itself, transposed and float64 too"


def _check_array(got, want, what):
    __tracebackhide__ = True
    assert isinstance(got, np.ndarray), f"{what}: expected a numpy.ndarray, got {type(got).__name__}"
    assert got.dtype.kind in "fiu", f"{what}: expected an array of real numbers, got dtype {got.dtype}"
    want = np.array(want)
    assert got.shape == want.shape, f"{what}: expected shape {want.shape}, got {got.shape}"
    assert (got == want).all(), f"{what}: expected {want.tolist()}, got {got.tolist()}"


def _from_dlpack_without_a_crash(x, *args, _real=torch.from_dlpack, **kwargs):
    """In older torch, from_dlpack of negative strides ends the whole process; newer torch raises."""
    if isinstance(x, np.ndarray) and any(stride < 0 for stride in x.strides):
        raise ValueError("negative strides are not supported")
    return _real(x, *args, **kwargs)
