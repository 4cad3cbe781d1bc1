"""In-place edits and the version counter: what autograd notices.

For backward, many operations keep a tensor: `exp` keeps its result, `x ** 2` keeps `x`. They keep it without a copy. If
you write into that memory before backward runs, the gradient would be computed from the wrong numbers. So each tensor
counts the in-place edits that autograd can see, and backward compares: "one of the variables needed for gradient
computation has been modified by an inplace operation ... is at version 1; expected version 0". The error comes late, at
backward, far from the line that caused it.

Two escapes are worse than the error. `.data` is an alias whose edits are *not* counted: backward runs and returns wrong
gradients, in silence. And a `.detach()` that makes the error go away also cuts a part of the gradient off. The honest
ways: write out of place where autograd needs the old values; and where you want to edit a leaf (clamp a weight after a
step), do it in place under `torch.no_grad()`, which autograd does not record but does count.

What is asked: `softmax_rows` (from exp and sum; overflow is no concern here) is differentiable and leaves x alone.
`clamp_` edits a leaf, and an older graph then refuses to run backward.

About 20 minutes. Before it: keepdim_and_correction, rebind_or_mutate, stop_gradient.

https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks
"""

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises


def softmax_rows(x: torch.Tensor) -> torch.Tensor:
    """Softmax along each row of `x` (N, C): exp of each value over the sum of the row's exps. Shape and dtype of `x`,
    float32 or float64, and as exact as that dtype is.

    Gradients flow back to `x`; `x` is not changed.
    """
    raise NotImplementedError("exp, divided by the sum of each row")


def clamp_(w: torch.Tensor, lo: float, hi: float) -> None:
    """Clamp the leaf `w` (of any float dtype, it requires grad) into [lo, hi], in place. It stays the leaf it was.

    Autograd must notice: backward through a graph that was built from the old values raises its RuntimeError. What
    clamp_ returns does not matter.
    """
    raise NotImplementedError("change the numbers of w where autograd counts it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())

_LEAF = {"a leaf Variable": "a leaf that requires grad can be edited only where autograd does not record"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_softmax_makes_each_row_sum_to_one(dtype):
    two_rows = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.0, -3.0]], dtype=dtype)
    for x in (two_rows, two_rows.T, torch.tensor([[3.0, 1.0]], dtype=dtype), torch.full((2, 3), -25.0, dtype=dtype)):
        want = torch.softmax(x, dim=1)
        with explain(f"softmax_rows raised on a {tuple(x.shape)} tensor"):
            got = softmax_rows(x.clone())
        near = 1e-5 if dtype == torch.float32 else 1e-12
        check_tensor(got, want, "exp(x) over the sum of exp(x) in the same row", rtol=near)


def test_backward_needs_the_result_of_exp():
    """exp keeps its result: d exp(x) / dx = exp(x). Dividing it in place overwrites what backward will read."""
    x = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.0, -3.0]], requires_grad=True)
    c = torch.tensor([[1.0, 2.0, 4.0], [-3.0, 0.5, 7.0]])
    s = torch.softmax(x, dim=1)
    (want,) = torch.autograd.grad((s * c).sum(), x)
    written = {"a leaf Variable": "x is a leaf that requires grad here, so nothing may be written into it"}
    with explain("softmax_rows raised on an x that requires grad", written):
        y = softmax_rows(x)
    assert isinstance(y, torch.Tensor), f"softmax_rows returns a tensor, got {type(y).__name__}"
    assert y.requires_grad, "the result does not require grad: you left the graph on the way"
    written = {
        "inplace.* of Exp": "exp saved its result for backward and you overwrote it: divide into a new tensor",
        "inplace": "an operation saved a tensor for backward and you overwrote it: write into a new tensor",
    }
    with explain("backward through your result raised", written):
        (got,) = torch.autograd.grad((y * c).sum(), x, allow_unused=True)
    assert got is not None, (
        "the result requires grad, but does not depend on x: it was built from a copy cut off from x"
    )
    assert not torch.allclose(got, (s * c).detach(), rtol=1e-4), (
        "wrong gradient, and no error: the row sums (or exp's saved result) went past autograd, through .data, detach, "
        "no_grad or plain numbers"
    )
    check_tensor(got, want, "the gradient of x, with the weights c, should be that of softmax", rtol=1e-4, atol=1e-6)


def test_softmax_leaves_its_input_alone():
    x = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.0, -3.0]])
    before = x.clone()
    with explain("softmax_rows raised on a tensor that needs no gradient"):
        softmax_rows(x)
    check_tensor(x.detach(), before, "you changed x: an in-place operation wrote into the caller's tensor")
    assert not x.requires_grad, "x did not require grad, and now it does: that switch belongs to the caller"


def test_a_leaf_can_be_edited_in_place_under_no_grad():
    layer = nn.Linear(3, 2)
    w = layer.weight
    with torch.no_grad():
        w.copy_(torch.tensor([[-2.0, 0.125, 3.0], [0.5, -0.25, 0.75]]))
    w.grad = torch.full((2, 3), 4.0)
    memory = w.data_ptr()
    with explain("clamp_ raised on a leaf that requires grad", _LEAF):
        clamp_(w, -0.25, 0.5)
    want = torch.tensor([[-0.25, 0.125, 0.5], [0.5, -0.25, 0.5]])
    check_tensor(w, want, "every value of the layer's own weight should be in [-0.25, 0.5]")
    assert w.requires_grad, "w no longer requires grad: the layer would not train any more"
    assert w.is_leaf, "w is no leaf any more: the clamp became a part of the graph, and w.grad will stay None"
    assert w.data_ptr() == memory, "w was given other memory: in place means to write into the memory that w has"
    check_tensor(w.grad, torch.full((2, 3), 4.0), "w.grad is not yours to change: clamp_ edits the numbers of w only")
    with explain("after clamp_ the layer should still train: its backward raised"):
        layer(torch.ones(1, 3)).sum().backward()
    check_tensor(w.grad, torch.full((2, 3), 5.0), "after clamp_, backward should add the layer's gradient to w.grad")


@pytest.mark.myth(
    says="edit weights through .data (w.data.clamp_(), f.data.sub_(...)); it is the same as under torch.no_grad()",
    today="edits through .data are not counted: an older graph runs backward and gives wrong gradients, silently.",
)
def test_backward_refuses_a_graph_that_is_older_than_the_edit():
    """Of w ** 2, backward reads w: with the clamped values it would give 2 instead of 6 at the last place."""
    w = torch.tensor([-2.0, 0.125, 3.0], requires_grad=True)
    loss = (w**2).sum()
    with explain("clamp_ raised on a leaf that requires grad", _LEAF):
        clamp_(w, -0.5, 1.0)
    check_tensor(w.detach(), torch.tensor([-0.5, 0.125, 1.0]), "w itself should be clamped into [-0.5, 1]")
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        leaf = torch.tensor([-2.0, 0.05, 3.0], dtype=dtype, requires_grad=True)
        with explain(f"clamp_ raised on a leaf of {dtype}", _LEAF):
            clamp_(leaf, -0.1, 0.1)
        want = torch.tensor([-0.1, 0.05, 0.1], dtype=dtype)
        check_tensor(leaf.detach(), want, f"a leaf of {dtype}, and lo and hi as exact as that is")
    with raises(
        RuntimeError,
        "autograd did not notice your edit: the stale graph ran backward and gave wrong gradients",
        match="modified by an inplace operation",
    ):
        loss.backward()
