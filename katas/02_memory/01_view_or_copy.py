"""View or copy: the same numbers, but whose memory?

A tensor is a window on a block of memory: a shape, and strides that say how far to walk in memory for one step along
each dimension. `x.view(shape)` puts another window on the *same* block; a write through one window shows in the other.
Some blocks cannot be seen in the shape that you ask for: the rows of a transposed matrix do not lie one after the
other, so no stride walks through them in order, and `view` refuses with a RuntimeError.

`x.reshape(shape)` never refuses: where a view is possible it is one, and where not it copies, without a word. People
lost days to the second half of that sentence: they wrote into what `reshape` gave them, and on some inputs the writes
went nowhere. So ask yourself each time: do I need the memory, or only the numbers? Two calls leave no doubt:
`x.clone()` always copies, and `x.copy_(y)` writes the values of y, which has the shape of x, into x itself. (A size of
-1 in a shape means: whatever is left.)

What is asked here: `flat_view` is a window or an error; `flat` never fails, and is free for a contiguous `x`;
`fill_flat_` really writes (nobody looks at what it returns).

About 15 minutes.
Path: first_day, numpy, transformer

https://docs.pytorch.org/docs/stable/tensor_view.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


def flat_view(x: torch.Tensor) -> torch.Tensor:
    """A 1-D window on the memory of `x` (any shape), row by row. RuntimeError where no such window exists."""
    raise NotImplementedError("return a 1-D view of x, or let torch refuse")


def flat(x: torch.Tensor) -> torch.Tensor:
    """The values of `x` (any shape or dtype) as a 1-D tensor, row by row. Never fails; no copy of a contiguous `x`."""
    raise NotImplementedError("return the values of x in one row")


def fill_flat_(x: torch.Tensor, values: torch.Tensor) -> None:
    """Write `values` (1-D, as many as `x` has) into `x` itself, row by row, whatever its strides."""
    raise NotImplementedError("write the values into x")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_a_view_is_a_window_on_the_same_memory():
    x = torch.arange(6.0).view(2, 3)
    with explain("flat_view raised on a contiguous x of shape (2, 3), which has a 1-D view"):
        v = flat_view(x)
    check_tensor(v, torch.tensor([0.0, 1, 2, 3, 4, 5]), "flat_view(x) holds the values of x row by row")
    v[4] = 40.0
    assert x[1, 1] == 40.0, "you returned a copy: a write through the view must show in x"


def test_a_view_needs_strides_that_fit_not_contiguous_memory():
    """A slice of rows with a gap between them cannot be flattened, but a column of it, or every second value, can."""
    x = torch.arange(12.0).view(3, 4)
    with explain("flat_view raised, but a view exists: strides may be anything, x need not be contiguous"):
        v = flat_view(x[1, ::2])
    check_tensor(v, torch.tensor([4.0, 6.0]), "flat_view(x[1, ::2]) holds every second value of row 1")
    assert shares_memory(v, x), "you copied x[1, ::2], but a view of it exists"
    with explain("flat_view raised on x[:, ::2], but from each value to the next are 2 places: a view exists"):
        v = flat_view(x[:, ::2])
    check_tensor(v, torch.tensor([0.0, 2, 4, 6, 8, 10]), "flat_view(x[:, ::2]) holds every second value of each row")
    assert shares_memory(v, x), "you copied x[:, ::2], but a view of it exists"


@pytest.mark.parametrize(
    "name",
    ["a transposed matrix", "a matrix without its last column"],
    ids=["a transposed matrix", "without its last column"],
)
def test_view_refuses_what_it_cannot_show(name):
    x = torch.arange(6.0).view(2, 3)
    x = x.t() if name == "a transposed matrix" else x[:, :2]
    with raises(
        RuntimeError, f"x is {name}: no window shows it row by row. Asked is the error, not a copy or another order"
    ):
        flat_view(x)


def test_flat_reads_a_transposed_tensor_row_by_row():
    x = torch.tensor([[0.1, 1, 2], [3, 4, 5]], dtype=torch.float64)
    never = {"view size is not compatible": "flat never fails: where view refuses, it copies"}
    with explain("flat raised on a transposed matrix", where=never):
        y = flat(x.t())
    want = torch.tensor([0.1, 3, 1, 4, 2, 5], dtype=torch.float64)
    check_tensor(y, want, "flat(x.t()) holds the values of x.t() as they are, along its rows, not through memory")
    cube = torch.arange(16777217, 16777225).view(2, 2, 2)
    with explain("flat raised on a transposed cube: x may have any shape", where=never):
        y = flat(cube.transpose(0, 2))
    want = torch.tensor([0, 4, 2, 6, 1, 5, 3, 7]) + 16777217
    check_tensor(y, want, "flat holds the values of a transposed cube as they are, along its rows")
    graph = torch.tensor([[0.5, 1.0], [2.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    numpy = {r"ScalarType|numpy\(\)": "flat never fails: NumPy knows no bfloat16 and no graph"}
    with explain("flat raised on a bfloat16 matrix that requires a gradient", where=numpy):
        y = flat(graph.t())
    check_tensor(y.detach(), torch.tensor([0.5, 2, 1, 3]).bfloat16(), "flat holds the values of a bfloat16 matrix")


def test_flat_is_free_where_a_view_is_possible():
    x = torch.arange(6.0).view(2, 3)
    with explain("flat(x) failed for a contiguous x of shape (2, 3)"):
        y = flat(x)
    check_tensor(y, torch.tensor([0.0, 1, 2, 3, 4, 5]), "flat(x) holds the values of x row by row")
    assert shares_memory(y, x), "you copied a contiguous tensor that could be viewed"


def test_fill_flat_writes_into_contiguous_memory():
    x = torch.zeros(2, 3)
    with explain("fill_flat_ failed for a contiguous x of shape (2, 3) and 6 values"):
        fill_flat_(x, torch.arange(6.0))
    assert x.any(), "x is unchanged: the underscore promises that x itself is written to"
    check_tensor(x, torch.tensor([[0.0, 1, 2], [3, 4, 5]]), "the values go into x row by row")


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2)], ids=["a transposed matrix", "a transposed cube"])
def test_fill_flat_writes_into_any_strides(shape):
    base = torch.zeros(shape[::-1], dtype=torch.float64)
    x = base.mT if len(shape) == 2 else base.transpose(0, 2)
    values = torch.arange(x.numel(), dtype=torch.float64) + 0.1
    no_view = {"view size is not compatible": f"a transposed x of shape {shape} has no 1-D view: write without one"}
    with explain(f"fill_flat_ raised on a transposed x of shape {shape}: any shape may come", where=no_view):
        with unchanged("fill_flat_ must not change `values`", values=values):
            fill_flat_(x, values)
    assert base.any(), "your write went nowhere: nothing arrived in the memory of x. Was it a copy that you wrote into?"
    want = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7], dtype=torch.float64)[: x.numel()] + 0.1
    mistake = f"x has the shape {shape}: the values go along its rows, not through memory"
    check_tensor(x, want.view(shape), mistake)
