"""Backward from a vector: you choose the weights

A slope is a number per input, so backward starts from one number. From a vector it refuses: "grad can be implicitly
created only for scalar outputs". What it can do is to start from a *weighted sum* of the outputs, and the weights are
yours: `y.backward(v)` gives the gradient of (y * v).sum(), which is v @ J, with J[i, j] = dy[i]/dx[j], the Jacobian.
(`torch.autograd.grad` takes v as `grad_outputs=`.) Many posts call v a gradient and pass ones; that adds up all
outputs, and what differs between them is gone.

J itself is never made on the way. Where you need it, ask row by row: a v that is 1 at place i and 0 elsewhere picks out
row i. Each row is one more pass through the same graph, and the first pass frees what the graph had saved unless you
tell it to stay, by `retain_graph=True`. And if you collect rows from `.grad`: it is one tensor, which later passes
write again.

What is asked here: v @ J without J, and J. Both leave `x` as it was: values, `requires_grad` and `.grad`. A stand-in
may help: `x.detach()` is a new tensor with the same values and no graph. `torch.eye(n)` is the n x n matrix with 1 on
its diagonal.

About 30 minutes. Before it: cat_or_stack, leaf_weights.

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


def vjp(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """v @ J, shape (in,), where J is the Jacobian of `f` at `x`; exact, in the dtype of `x`.

    `f` takes `x` (in,) to y (out,), and `v` has the shape of y. `x` may or may not require a gradient.
    """
    raise NotImplementedError("run backward from f(x) with the weights v")


def jacobian(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The Jacobian of `f` at `x` (in,), shape (out, in): row i is the gradient of output i.

    It is exact, and in the dtype of `x`. `x` may or may not require a gradient.
    """
    raise NotImplementedError("one row per output, each with its own weights")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_A = torch.tensor([[1.0, 2.0, -3.0], [4.0, 0.5, 6.0]])


_SIGNS = {
    "scalar outputs": "y is a vector: backward needs a weight for each output, in the shape of y",
    "second time": "a row after the first failed. Graph already freed: tell each pass to keep it",
    "not require grad|not have been used in the graph": "autograd finds no way from y to x: work on a leaf of your "
    "own, and give f that very leaf",
    "same dtype": "f works in the dtype of x, also float64: your tensors have another",
    "out of bounds|out of range": "you asked for an output that f has not: as many rows as outputs of f, which need "
    "not be the number of inputs",
    "[Ss]ize|[Ss]hape|dimension": "two sizes do not fit. A weight stands for an output of f and a gradient for an "
    "input: v belongs into the backward",
}


def _run(ask: Callable[..., Any], *arguments: Any) -> Any:
    __tracebackhide__ = True
    with explain(f"{getattr(ask, '__name__', 'your function')} raised", _SIGNS):
        return ask(*arguments)


def test_the_weights_say_what_is_summed():
    v = torch.tensor([1.0, 10.0, 100.0])
    got = _run(vjp, lambda x: x**2, torch.tensor([1.0, 2.0, 3.0]), v)
    pair = isinstance(got, tuple | list) and len(got) == 2
    assert not pair, "you returned two things, as functional.vjp does, f(x) and v @ J: only v @ J was asked for"
    assert not isinstance(got, tuple | list), "torch.autograd.grad returns a tuple, one gradient per input: unpack it"
    assert got is not None, "you returned None: backward returns nothing, the gradient is on the leaf that f was given"
    if isinstance(got, torch.Tensor) and got.shape == (3,):
        assert got.tolist() != [2.0, 4.0, 6.0], "[2, 4, 6]: you used weights of 1, and v says 1, 10, 100"
        assert got.tolist() != [1.0, 4.0, 9.0], "you returned the value of f, not v @ J"
        assert abs(got[2].item() - 200) > 1, "a third of it: the weighted sum was asked for, not the mean"
    check_tensor(got, torch.tensor([2.0, 40, 600]), "the gradient of 1*y[0] + 10*y[1] + 100*y[2]", rtol=1e-5)


def test_weights_multiply_the_jacobian_from_the_left():
    v = torch.tensor([10.0, 2.0], dtype=torch.float64)
    x = torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)
    got = _run(vjp, lambda x: _A.double() @ x, x, v)
    want = torch.tensor([18.0, 21.0, -18.0], dtype=torch.float64)
    check_tensor(got, want, "for y = A @ x the result is v @ A: J stands on the right of v", rtol=1e-12)

    v = torch.tensor([1.0, 10.0, 100.0])
    got = _run(vjp, lambda x: x.sum() * x, torch.tensor([0.0, 1.0, 2.0]), v)
    if isinstance(got, torch.Tensor) and got.shape == (3,):
        assert got.tolist() != [3.0, 141.0, 522.0], "J @ v: that is the forward way, weights of the inputs"
        assert got.tolist() != [6.0, 60.0, 600.0], "you multiplied the gradient of y.sum() by v: weigh before you sum"
    check_tensor(got, torch.tensor([213.0, 240, 510]), "v @ J, with weights for the outputs", rtol=1e-5)


def test_each_row_of_the_jacobian_is_a_backward_of_its_own():
    got = _run(jacobian, lambda x: x.sum() * x, torch.tensor([0.0, 1.0, 2.0]))
    want = torch.tensor([[3.0, 0, 0], [1, 4, 1], [2, 2, 5]])
    if isinstance(got, torch.Tensor) and got.shape == (3, 3):
        assert not (got == want[-1]).all(), "each row is the last one: aliasing, .grad is one tensor, clone it"
        assert not torch.allclose(got, want.cumsum(0)), "each row has those before it in it: .grad adds up"
        assert not torch.allclose(got, want.t()), "you returned the transpose: row i is the gradient of output i"
    check_tensor(got, want, "J[i, j] is the slope of output i along input j", rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("f", "x", "want"),
    [
        pytest.param(lambda x: _A @ x, [1.0, -1.0, 2.0], _A.tolist(), id="A times x"),
        pytest.param(lambda x: torch.stack([x.prod()]), [2.0, 3.0, 5.0], [[15.0, 10.0, 6.0]], id="one output"),
        pytest.param(lambda x: torch.cat([x**2, 3 * x]), [2.0], [[4.0], [3.0]], id="one input"),
    ],
)
def test_a_jacobian_has_a_row_per_output_and_a_column_per_input(f, x, want):
    got = _run(jacobian, f, torch.tensor(x))
    check_tensor(got, torch.tensor(want), "shape (outputs, inputs), also where one of them is 1", rtol=1e-5, atol=1e-6)


def test_a_graph_that_saved_its_result_serves_every_row():
    diagonal = "tanh works on each value alone: 1 - tanh(x)**2 on the diagonal, exact, in the dtype of x"
    for values in ([1.0, 1.0, 0.5, 0.0], [0.0, 0.5, -2.0, 1.0]):
        x = torch.tensor(values, dtype=torch.float64)
        want = torch.diag(1 - torch.tanh(x) ** 2)
        got = _run(jacobian, torch.tanh, x)
        check_tensor(got, want, diagonal, rtol=1e-12, atol=1e-15)
    for v in (torch.tensor([1.0, -2.0, 0.1, 3.0], dtype=torch.float64), torch.zeros(4, dtype=torch.float64)):
        got = _run(vjp, torch.tanh, x, v)
        check_tensor(got, v * want.diagonal(), "v * (1 - tanh(x)**2), exact, in the dtype of x", rtol=1e-12)


@pytest.mark.parametrize("requires_grad", [False, True], ids=["x needs no gradient", "x needs a gradient"])
def test_x_is_as_it_was_afterwards(requires_grad):
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=requires_grad)
    v = torch.tensor([1.0, 10.0, 100.0])
    rows = _run(jacobian, lambda x: x * x.sum(), x)
    got = _run(vjp, lambda x: x**2, x, v)
    assert x.grad is None, f"x.grad is {x.grad} now: a backward down to x leaves its traces there, x must not change"
    check_tensor(x.detach(), torch.tensor([1.0, 2.0, 3.0]), "you changed the values of x")
    assert x.requires_grad == requires_grad, f"x came with requires_grad={requires_grad}, and you switched it"
    assert x.is_leaf, "x was a leaf, and is none any more"
    check_tensor(
        rows, torch.tensor([[7.0, 1, 1], [2, 8, 2], [3, 3, 9]]), f"J, requires_grad={requires_grad}", rtol=1e-5
    )
    check_tensor(got, torch.tensor([2.0, 40, 600]), f"v @ J, for an x of requires_grad={requires_grad}", rtol=1e-5)
    if requires_grad:
        x.grad = torch.full((3,), 7.0)
        _run(jacobian, lambda x: x * x.sum(), x)
        _run(vjp, lambda x: x**2, x, v)
        kept = isinstance(x.grad, torch.Tensor) and x.grad.tolist() == [7.0, 7.0, 7.0]
        assert kept, (
            f"x.grad held [7, 7, 7] before you came, now it is {x.grad}: it is not yours, work on a leaf of your own"
        )
