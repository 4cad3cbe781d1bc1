"""cat or stack: join along a dimension, or make a new one

`torch.cat` lays tensors end to end along a dimension that they have: (2, 3) and (4, 3) become (6, 3). `torch.stack`
puts tensors of one shape side by side along a dimension that is *new*: four tensors (3,) become (4, 3). The number of
dimensions tells which one you need: does the result have as many as its parts, or one more?

A batch is one more. So samples are stacked; a flat cat of them has all the numbers and no samples any more. A loss, a
scalar of shape (), has no dimension to be laid along, and cat refuses it.

`torch.tensor([t1, t2])` is neither. It reads *numbers*: of vectors it refuses to, but of scalars it takes the values
and forgets where they came from. The graph is cut (of that, only a warning tells), and your model trains on a constant.

What is asked here: `collate` makes a batch of equal samples, and gradients flow back through it into every sample.
Samples of different lengths are an error: nothing is padded, cut or repeated.

About 10 minutes.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.stack.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def collate(samples: list[torch.Tensor]) -> torch.Tensor:
    """B vectors of shape (D,) become (B, D); B scalars of shape () become (B,): in the samples' dtype, any one of all.

    Differentiable where the samples are. The list and the samples stay as they are. An error, such as ValueError, where
    the samples are not all of one shape; B is at least 1.
    """
    raise NotImplementedError("make one batch of the samples")


def append_rows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The rows of `a`: (N, D), and below them those of `b`: (M, D). Returns (N + M, D), in the dtype that both have."""
    raise NotImplementedError("put the rows of b below those of a")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize(
    ("batch", "length"), [(2, 3), (3, 3), (1, 4)], ids=["2 samples", "3 samples of 3 values", "one sample"]
)
def test_stack_makes_a_new_dimension_in_front(batch, length):
    want = torch.arange(float(batch * length)).view(batch, length)
    samples = [row.clone() for row in want]
    numbers = {"converted to Python scalars|only one element": "torch.tensor reads numbers, not vectors"}
    with (
        explain(f"collate raised on {batch} vectors", where=numbers),
        unchanged("you changed the samples, or their list: they are the caller's", samples=samples),
    ):
        got = collate(samples)
    plain = isinstance(got, torch.Tensor) and not got.is_nested
    flat = plain and got.shape == (batch * length,)
    assert not flat or batch > 1, "a batch of one sample is still a batch: its first dimension has size 1"
    assert not flat, "you laid the samples end to end: a batch has one dimension more than a sample"
    turned = plain and batch > 1 and torch.equal(got, want.t())
    assert not turned, "your samples became columns: the batch is the first dimension"
    check_tensor(got, want, f"{batch} vectors of {length} values become a batch of shape ({batch}, {length})")
    for dtype in (torch.float64, torch.int64, torch.bfloat16, torch.bool):
        want = (torch.arange(batch * length).view(batch, length) / 3 * 2**26).to(dtype)
        want = want + (2**53 + 1) if dtype == torch.int64 else want  # no float64 has that number
        with explain(f"collate raised on {batch} vectors of {dtype}", where=numbers):
            got = collate(list(want.clone()))
        check_tensor(got, want, f"{batch} vectors become a batch, in the samples' own dtype, {dtype}, to the last bit")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.5, -2.0, 3.0], torch.float32),
        ([7, 2**53 + 1, 2], torch.int64),
        ([4.0], torch.float32),
        ([0.1, 1e300], torch.float64),
        ([1.0, 0.5], torch.float16),
    ],
    ids=["floats", "large ints", "one scalar", "float64", "float16"],
)
def test_scalars_can_be_stacked_but_not_concatenated(values, dtype):
    no_dimension = {"zero-dimensional": "a scalar has no dimension to be laid along: collate has to give it a new one"}
    with explain(f"collate raised on {len(values)} scalars", where=no_dimension):
        got = collate([torch.tensor(v, dtype=dtype) for v in values])
    want = torch.tensor(values, dtype=dtype)
    check_tensor(got, want, "B scalars become a vector of B values, in the samples' own dtype")


@pytest.mark.parametrize("shape", [(), (3,)], ids=["scalars", "vectors"])
def test_a_list_made_into_a_tensor_cuts_the_graph(shape):
    leaves = [torch.full(shape, float(i), requires_grad=True) for i in range(1, 4)]
    with explain("collate raised on samples that require grad"):
        got = collate([leaf * leaf for leaf in leaves])
    squares = [torch.full(shape, float(i * i)) for i in range(1, 4)]
    check_tensor(got, torch.stack(squares), "collate gives the values of samples that carry a graph")
    assert got.requires_grad, "the graph is cut: numbers and detached tensors carry no gradient to the samples"
    weights = torch.tensor([1.0, 10.0, 100.0]).view(3, *(1 for _ in shape))
    (got * weights).sum().backward()
    for leaf, slope in zip(leaves, (2.0, 40.0, 600.0), strict=True):
        assert leaf.grad is not None, "the graph is cut: one of the samples got no gradient"
        check_tensor(leaf.grad, torch.full(shape, slope), "the gradient of each sample is that of its own row")


@pytest.mark.parametrize(("n", "m"), [(2, 4), (2, 2), (1, 3)], ids=["2 rows and 4", "2 rows and 2", "one row and 3"])
def test_cat_joins_along_a_dimension_that_is_there(n, m):
    want = torch.arange(float((n + m) * 3)).view(n + m, 3)
    a, b = want[:n].clone(), want[n:].clone()
    along = {"Sizes of tensors must match": f"({n}, 3) and ({m}, 3) are joined along dim 0, the one that may differ"}
    with (
        explain(f"append_rows raised on ({n}, 3) and ({m}, 3)", where=along),
        unchanged("append_rows changed what it was given", a=a, b=b),
    ):
        got = append_rows(a, b)
    shape = tuple(getattr(got, "shape", ()))
    assert shape != (n, 6), "you put the rows of b beside those of a: they belong below"
    assert shape != (2, n, 3), "you made a new dimension: a table with more rows has two dimensions still"
    swapped = isinstance(got, torch.Tensor) and torch.equal(got, torch.cat([b, a]))
    assert not swapped, "the rows of a come first"
    check_tensor(got, want, f"append_rows of ({n}, 3) and ({m}, 3) has {n + m} rows")
    for dtype in (torch.float64, torch.int64):
        want = (torch.arange((n + m) * 3).view(n + m, 3) / 3 * 2**26).to(dtype)
        want = want + (2**53 + 1) if dtype == torch.int64 else want
        with explain(f"append_rows raised on {dtype}"):
            got = append_rows(want[:n].clone(), want[n:].clone())
        check_tensor(got, want, f"append_rows keeps the dtype, {dtype}, and each value to the last bit")


_RAGGED = {
    "2 values and 3": [(2,), (3,)],
    "3 values and 2": [(3,), (2,)],
    "3 values and 1": [(3,), (1,)],
    "3 values, 3 and 1": [(3,), (3,), (1,)],
    "2 values, 3 and 1": [(2,), (3,), (1,)],
    "a scalar and a vector of 1": [(), (1,)],
    "a vector of 1 and a scalar": [(1,), ()],
    "3 values and a scalar": [(3,), ()],
}


@pytest.mark.parametrize("shapes", _RAGGED.values(), ids=_RAGGED.keys())
def test_stack_refuses_ragged_samples(shapes):
    samples = [torch.ones(shape).cumsum(-1) for shape in shapes]
    message = f"samples of {', '.join(map(str, shapes))} are no batch: nothing is padded, cut, repeated, reshaped"
    with raises(Exception, message):
        collate(samples)
