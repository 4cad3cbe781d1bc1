"""cat or stack: join along a dimension, or make a new one

`torch.cat` lays tensors end to end along a dimension that they have: (2, 3) and (4, 3) become (6, 3). `torch.stack`
puts tensors of one shape side by side along a dimension that is *new*: four tensors (3,) become (4, 3). The number of
dimensions tells which one you need: does the result have as many as its parts, or one more?

A batch is one more. So samples are stacked; a flat cat of them has all the numbers and no samples any more. A loss, a
scalar of shape (), has no dimension to be laid along, and cat refuses it.

`torch.tensor([t1, t2])` is neither. It reads *numbers*: of vectors it refuses to, but of scalars it takes the values
and forgets where they came from. The graph is cut, nothing is said, and your model trains on a constant.

What is asked here: `collate` makes a batch of equal samples, and gradients flow back through it into every sample.
Samples of different lengths are an error: nothing is padded, cut or repeated.

About 10 minutes.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.stack.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises


def collate(samples: list[torch.Tensor]) -> torch.Tensor:
    """B vectors of shape (D,) become (B, D); B scalars of shape () become (B,). Same dtype, and differentiable.

    An error, such as ValueError, where the samples are not all of one shape.
    """
    raise NotImplementedError("make one batch of the samples")


def append_rows(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The rows of `a`: (N, D), and below them those of `b`: (M, D). Returns (N + M, D)."""
    raise NotImplementedError("put the rows of b below those of a")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


@pytest.mark.parametrize(
    ("batch", "length"), [(2, 3), (3, 3), (1, 4)], ids=["2 samples", "3 samples of 3 values", "one sample"]
)
def test_stack_makes_a_new_dimension_in_front(batch, length):
    want = torch.arange(float(batch * length)).view(batch, length)
    samples = [row.clone() for row in want]
    with explain(f"collate failed on {batch} vectors (torch.tensor reads numbers, not vectors)"):
        got = collate(samples)
    plain = isinstance(got, torch.Tensor) and not got.is_nested
    flat = plain and got.shape == (batch * length,)
    assert not flat or batch > 1, "a batch of one sample is still a batch: its first dimension has size 1"
    assert not flat, "you laid the samples end to end: a batch has one dimension more than a sample"
    turned = plain and batch > 1 and torch.equal(got, want.t())
    assert not turned, "your samples became columns: the batch is the first dimension"
    check_tensor(got, want, f"{batch} vectors of {length} values become a batch of shape ({batch}, {length})")
    assert len(samples) == batch, "you changed the list of samples: it is the caller's"
    assert all(torch.equal(s, w) for s, w in zip(samples, want, strict=True)), "you changed the samples"


@pytest.mark.parametrize(
    "values", [[0.5, -2.0, 3.0], [7, 16777217, 2], [4.0]], ids=["floats", "large ints", "one scalar"]
)
def test_scalars_can_be_stacked_but_not_concatenated(values):
    with explain("a scalar has no dimension to be laid along: collate has to give it a new one"):
        got = collate([torch.tensor(v) for v in values])
    check_tensor(got, torch.tensor(values), "B scalars become a vector of B values, in the samples' own dtype")


@pytest.mark.parametrize("shape", [(), (3,)], ids=["scalars", "vectors"])
def test_a_list_made_into_a_tensor_cuts_the_graph(shape):
    leaves = [torch.full(shape, float(i), requires_grad=True) for i in range(1, 4)]
    with explain("collate takes samples that require grad"):
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
    with explain(f"append_rows joins ({n}, 3) and ({m}, 3) along dim 0: the other dimension is the same already"):
        got = append_rows(a, b)
    shape = tuple(getattr(got, "shape", ()))
    assert shape != (n, 6), "you put the rows of b beside those of a: they belong below"
    assert shape != (2, n, 3), "you made a new dimension: a table with more rows has two dimensions still"
    swapped = isinstance(got, torch.Tensor) and torch.equal(got, torch.cat([b, a]))
    assert not swapped, "the rows of a come first"
    check_tensor(got, want, f"append_rows of ({n}, 3) and ({m}, 3) has {n + m} rows")
    assert torch.equal(a, want[:n]), "you changed a"


@pytest.mark.parametrize(
    "lengths",
    [(2, 3), (3, 2), (3, 1), (3, 3, 1), (2, 3, 1)],
    ids=["2 values and 3", "3 values and 2", "3 values and 1", "3 values, 3 and 1", "2 values, 3 and 1"],
)
def test_stack_refuses_ragged_samples(lengths):
    samples = [torch.arange(1.0, n + 1) for n in lengths]
    message = (
        f"samples of {' and '.join(map(str, lengths))} values are no batch: nothing is to be padded, cut or repeated"
    )
    with raises(Exception, message):
        collate(samples)
