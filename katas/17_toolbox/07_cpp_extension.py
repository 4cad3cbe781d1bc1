"""A loop in C++ sees memory, not a tensor

Sometimes an operation is missing in PyTorch, and a loop in Python over a million values takes a second. The same loop
in C++ takes a millisecond, and PyTorch compiles it for you: `load_inline` from torch.utils.cpp_extension takes a name
for the module, `cpp_sources=[text]`, `functions=["count_above"]` to bind for Python, and `build_directory=`, as a
string, for what the compiler makes. It returns the module. It needs a C++ compiler and ninja (`pip install ninja`), and
takes half a minute, since the text includes all of torch.

In C++ a tensor is a `torch::Tensor x`: `x.numel()`, `x.dim()`, `x.size(0)`, `x.scalar_type() == torch::kFloat64` (or
kFloat32). A Python float arrives as a double; an int64_t goes back as an int.

`x.data_ptr<float>()` points at the first value, and there the tensor ends: shape, strides and dtype are not in a
pointer. For a column of a matrix, `p[1]` is its neighbour to the right, not the value below. `x.contiguous()` is the
same tensor, with its values in a row: a copy, if they are not. Don't rely on another copy by the way: `x.to(...)` makes
one only where the dtype changes, and otherwise gives x itself, strides and all. `x.view({-1})` refuses what is not
contiguous.

Of the wrong dtype, data_ptr raises "expected scalar type Float but found Double". So the loop is needed once for each
dtype: AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "name", [&] { ... }) runs what is in the braces with `scalar_t` as
float or double, and refuses any other dtype. `TORCH_CHECK(condition, "message")` raises a RuntimeError.

What is asked here: a count in C++, and the module that holds it.

About 40 minutes. Before it: view_or_copy, behind_the_view, dtype_limits.

https://docs.pytorch.org/docs/stable/cpp_extension.html
"""

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, needs_compiler, raises, unchanged


def cpp_source() -> str:
    """C++ that defines `int64_t count_above(torch::Tensor x, double limit)`: how many values of x are above the limit.

    x is float32 or float64, of any shape and strides, on the CPU, and stays as it is. float64 values are compared as
    float64; for float32, the limits here are such that float32 holds them exactly. NaN is not above anything. For any
    other dtype (integers, bools, float16): RuntimeError or TypeError.
    """
    raise NotImplementedError("write the function in C++")


def build(source: str, folder: Path) -> ModuleType:
    """Compile such a `source` in `folder`, which is there and empty, and return the module with its `count_above`."""
    raise NotImplementedError("compile the source and return the module")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What this process has built, by build and source, or the sentence why not: a build takes half a minute. It is kept
# where the modules of the process are, so that it is still there when this file is imported once more.
_KEPT = sys.modules.setdefault("_built_for_cpp_extension", ModuleType("_built_for_cpp_extension"))
_BUILT: dict[Any, Any] = vars(_KEPT).setdefault("built", {})

_SIGNS = {
    "expected scalar type": "data_ptr<float> is for float32 alone, and data_ptr<double> for float64: the loop is "
    "needed for both",
    "expected . dims but tensor has|Dimension specified as|dimension specified as": "the loop is for tensors of one "
    "number of dimensions only; any shape is asked for",
    "view size is not compatible": "view refuses a tensor that is not contiguous",
    "incompatible function arguments": "count_above takes a tensor and a double",
}


@pytest.fixture
def count(tmp_path_factory, capsys):
    """count_above of the module, with an int as its result. Built at the first call."""

    def checked(x: torch.Tensor, limit: float, what: str = "count_above raised") -> int:
        __tracebackhide__ = True
        module, _ = _module(tmp_path_factory, capsys)
        with explain(what, _SIGNS):
            got = module.count_above(x, limit)
        assert type(got) is int, f"count_above gives a Python int, as an int64_t does; got {type(got).__name__}: {got}"
        return got

    return checked


def _module(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> tuple[Any, Path]:
    """The module, and the folder that it was built in."""
    __tracebackhide__ = True
    with explain("cpp_source raised"):
        source = cpp_source()
    assert isinstance(source, str), f"cpp_source returns the text of the C++, got {type(source).__name__}"
    key = build, source
    if key not in _BUILT:
        folder, path = tmp_path_factory.mktemp("built"), list(sys.path)
        try:
            _needs_compiler(source, folder)
            with capsys.disabled():
                print("\ncompiling C++: this takes half a minute ...", flush=True)
            _BUILT[key] = _compiled(source, folder), folder
        finally:
            sys.path[:] = path  # setuptools, which torch's cpp_extension imports, adds to it
    module, folder = _BUILT[key]
    assert not isinstance(module, str), module
    assert isinstance(module, ModuleType), f"build returns the module, got {type(module).__name__}"
    assert hasattr(module, "count_above"), "the module has no count_above: load_inline binds what functions=[...] names"
    return module, folder


def _needs_compiler(source: str, folder: Path) -> None:
    try:
        needs_compiler()
    except pytest.skip.Exception:
        try:
            build(source, folder)
        except NotImplementedError:
            raise  # it is not written yet: to do
        except Exception:  # it can do nothing without a compiler
            needs_compiler()
        needs_compiler()


def _compiled(source: str, folder: Path) -> Any:
    """What build returns, or what the compiler says."""
    __tracebackhide__ = True
    try:
        with explain("build raised"):
            return build(source, folder)
    except AssertionError as error:
        cause = str(error.__cause__ or "")
        said = [line.strip() for line in cause.splitlines() if " error: " in line or "undefined symbol" in line]
        return "\n".join(["the C++ compiler refuses the source:", *said[:3]]) if said else str(error)


def test_a_loop_in_cpp_counts_what_a_comparison_does(count, tmp_path_factory, capsys):
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([1.0, 2.0, 2.0, 3.0, -4.0, 2.5, math.nan, math.inf], dtype=dtype)
        for limit, want in ((2.0, 3), (0.5, 6), (-100.0, 7), (2.25, 3), (1e9, 1)):
            for _ in range(2):
                got = count(x.clone(), limit)
                with_equal = int((x >= limit).sum())
                equal = got == with_equal != want
                assert not equal, f"{got} of {x.tolist()} are counted as above {limit}: a value is not above itself"
                assert int((x > limit).sum()) == want, "torch counts as the test does"
                assert got == want, f"{want} of {x.tolist()} ({dtype}) are above {limit}, and count_above says {got}"
    _, folder = _module(tmp_path_factory, capsys)
    assert any(folder.iterdir()), "build left its folder empty: say build_directory, or all builds share one folder"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_tensor_has_any_number_of_dimensions(count, dtype):
    x = (torch.arange(24, dtype=dtype) - 12).view(2, 3, 4)
    for part, want in (
        (x, 9),
        (x[1], 9),
        (x[0], 0),
        (x.view(1, 24), 9),
        (x.view(24, 1), 9),
        (x[1, 2, 3], 1),
        (x[0, 0, 0], 0),
        (x[:0], 0),
        (x[:, :, :0], 0),
        (x.view(2, 3, 2, 2), 9),
    ):
        got = count(part.clone(), 2.0, f"count_above raised for the shape {tuple(part.shape)}")
        assert int((part > 2).sum()) == want, "torch counts as the test does"
        assert got == want, f"of a tensor of shape {tuple(part.shape)}, {want} values are above 2, not {got}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_pointer_knows_nothing_of_strides(count, dtype):
    x = torch.tensor([[1, 50], [2, 60], [30, 70], [3, 80], [4, 90], [5, 95]], dtype=dtype)
    for part, want, what in (
        (x[:, 0], 1, "a column"),
        (x[:, 1], 6, "the other column"),
        (x.T[0], 1, "a row of the transposed matrix"),
        (x.T, 7, "the transposed matrix"),
        (x.T[:, 1:3], 3, "a part of the transposed matrix"),
        (x[::3], 2, "every third row"),
        (x[1:, :1], 1, "a column that begins below"),
        (x[0, :1].expand(8), 0, "one value, expanded to eight"),
        (x[0, 1:].expand(3, 1), 3, "one value, expanded to three rows"),
        (x[:3].unsqueeze(1).expand(3, 2, 2), 8, "an expanded matrix"),
    ):
        got = count(part, 10.0, f"count_above raised for {what} ({dtype})")
        assert int((part > 10).sum()) == want, "torch counts as the test does"
        in_a_row = part.as_strided((part.numel(),), (1,))
        walked = got != want and got == int((in_a_row > 10).sum())
        assert not walked, (
            f"{what} ({dtype}): {want} values of it are above 10, and count_above says {got}: the pointer walked on to "
            "the next values in memory, which are not of this tensor"
        )
        assert got == want, f"{what} ({dtype}): {want} values of it are above 10, and count_above says {got}"


def test_float64_is_compared_as_float64(count):
    near = 1e-12
    for values, limit, want in (
        ([1 + near], 1.0, 1),
        ([1 + near, 1 - near, 1 + 3 * near], 1 + 2 * near, 1),
        ([2.0**24 + 1, 2.0**53 - 1], 2.0**24, 2),
        ([1e300, -1e300], 1e299, 1),
    ):
        got = count(torch.tensor(values, dtype=torch.float64), limit)
        assert got == want, (
            f"{want} of {values} (float64) are above {limit!r}, and count_above says {got}: as float32 they are equal"
        )


@pytest.mark.parametrize(
    "x",
    [
        torch.tensor([1, 5]),
        torch.tensor([1, 5], dtype=torch.int32),
        torch.tensor([True, False]),
        torch.tensor([1.0, 5.0], dtype=torch.float16),
        torch.tensor([1.0, 5.0], dtype=torch.bfloat16),
    ],
    ids=["int64", "int32", "bool", "float16", "bfloat16"],
)
def test_a_dtype_without_a_loop_is_refused(count, x, tmp_path_factory, capsys):
    count(torch.tensor([1.0]), 0.5)
    module, _ = _module(tmp_path_factory, capsys)
    with raises((RuntimeError, TypeError), f"count_above must refuse {x.dtype}, and say so", match=r"\S"):
        module.count_above(x, 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_a_pointer_could_write_and_must_not(count, dtype):
    x = torch.tensor([3.0, -1.0, 2.0, 0.5], dtype=dtype)
    matrix = torch.tensor([[3.0, 1.0], [-2.0, 4.0], [5.0, -6.0]], dtype=dtype, requires_grad=True)
    (matrix * matrix).sum().backward()
    with unchanged("count_above wrote into its tensor", x=x, matrix=matrix):
        count(x, 1.0)
        count(matrix, 1.0)
        count(matrix.detach().T, 1.0)
