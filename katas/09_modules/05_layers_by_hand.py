"""Linear, Embedding and Conv2d are indexing and matmul

Three layers, no magic. `nn.Linear(3, 5)` keeps a weight of shape (5, 3), outputs first, and computes x @ w.T + b over
the last dimension of x, however many there are before it. With a square weight, x @ w runs as well and is wrong.

`nn.Embedding(10, 4)` is a table of 10 rows, and its forward picks rows: `W[idx]`. A row that is picked twice gets the
*sum* of both gradients; that of a row that nobody picked is zero. `padding_idx` names a row that must not learn: it is
picked like any other row, with the values that stand in it, and only its gradient is zero. nn.Embedding sets that row
to zero once, when it is made; whoever then initializes the whole table overwrites it, and nothing brings it back.

`nn.Conv2d` lays a kernel on each place of an image, multiplies point by point, and sums over the kernel's height and
width and over all input channels; then each output channel adds its own bias. The kernel is not flipped, unlike the
convolution of mathematics: it is a cross-correlation. `F.unfold(x, (kh, kw))` cuts an image into all its patches, one
a column, (n, channels·kh·kw, places): then a convolution is one matmul. (`Tensor.unfold`, or two loops, do as well.)

What is asked here: the three, for gradients too. PyTorch's own functions are allowed; try it without them.

About 35 minutes. Before it: one_per_row, group_sums, stop_gradient, registration.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.Embedding.html
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """What nn.Linear with the weight `w` (out, in) and the bias `b` (out,), or without a bias, gives for `x`.

    (..., in) -> (..., out), with any number of dimensions before the last, none too. All have the same float dtype, and
    the result has it. Gradients flow to x, w and b, which stay as they are.
    """
    raise NotImplementedError("x times the transposed weight, plus the bias")


def embedding(idx: torch.Tensor, W: torch.Tensor, padding_idx: int | None = None) -> torch.Tensor:
    """The rows `idx` of the table `W` (rows, dim), in its dtype: (*idx.shape, dim).

    `idx` is int64, of one dimension or more, and holds 0 to rows - 1. The gradient of a row of W is the sum over all
    places where it was picked, and for the row `padding_idx` (0 to rows - 1, or None) zero. `idx` and `W` stay as they
    are, also `W.grad` before backward.
    """
    raise NotImplementedError("pick the rows; one of them may not learn")


def conv2d(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What nn.Conv2d with the weight `w` (out, in, kh, kw) and the bias `b` (out,) gives for `x` (n, in, h, w).

    Stride 1, no padding: (n, out, h - kh + 1, w - kw + 1), in the dtype of `x`, float32 or float64 as w and b.
    Gradients flow to x, w and b, which stay as they are.
    """
    raise NotImplementedError("all patches times all kernels, plus the bias")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "Boolean value of Tensor": "a tensor of several numbers is neither true nor false: ask `b is not None`",
    "NoneType": "b is None here, and None cannot be added",
    "shapes cannot be multiplied|size of tensor|must match|same dtype": "the shapes or dtypes do not fit together",
    "leaf Variable that requires grad": "an argument that requires a gradient was edited in place",
}


def _wave(*shape, dtype=torch.float64) -> Any:
    """Numbers without symmetry, another in each place, of both signs."""
    return torch.sin(7.3 * torch.arange(1.0, 1 + torch.Size(shape).numel(), dtype=torch.float64)).view(shape).to(dtype)


def _call(function, name, *args, **options) -> Any:
    """function(*args), where that is a tensor and changed no argument."""
    __tracebackhide__ = True
    given = {f"argument {i}": arg for i, arg in enumerate(args)}
    shapes = ", ".join(str(tuple(arg.shape)) for arg in args if arg is not None)
    with explain(f"{name} raised on shapes {shapes}", _SIGNS):
        with unchanged(f"{name} must leave its arguments as they are", **given):
            out = function(*args, **options)
    assert isinstance(out, torch.Tensor), f"{name} gives a tensor, got {type(out).__name__}"
    return out


def _check_gradients(function, true, name, **args):
    """Like those of torch's own function, for an upstream gradient with another number in each place."""
    __tracebackhide__ = True
    results = []
    for f in (true, function):
        leaves = [arg.clone().requires_grad_() for arg in args.values()]
        out = f(*leaves) if f is true else _call(f, name, *leaves)
        assert out.requires_grad, f"the result of {name} hangs on no graph: nothing learns"
        with explain(f"backward through {name} raised"):
            (out * _wave(*out.shape, dtype=out.dtype)).sum().backward()
        results.append([leaf.grad for leaf in leaves])
    for argument, want, got in zip(args, *results, strict=True):
        assert got is not None, f"no gradient flows to {argument}: it was taken out of the graph"
        check_tensor(got, want, f"the gradient of {argument}", rtol=1e-9, atol=1e-12)


@pytest.mark.myth(
    says="nn.Linear(3, 5) has a weight of shape (3, 5).",
    today="It is (5, 3), outputs first, and forward is x @ w.T + b.",
)
def test_the_weight_of_a_linear_is_out_by_in():
    assert nn.Linear(3, 5).weight.shape == (5, 3), "outputs first"
    x, w, b = torch.tensor([1.0, 10.0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([100.0, 200.0])
    got = _call(linear, "linear", x, w, b)
    assert got.tolist() != [131.0, 242.0], "this is x @ w: the weight is (out, in), which a square one does not show"
    check_tensor(got, torch.tensor([121.0, 243.0]), "x of shape (2,): 1*1 + 10*2 + 100, and 1*3 + 10*4 + 200")
    for shape, n_out in (((5, 4, 3), 6), ((4, 4), 4), ((1, 3), 1), ((2, 1, 2, 3), 2)):
        x, w, b = _wave(*shape), _wave(n_out, shape[-1]) + 0.1, _wave(n_out) - 0.3
        want = (x[..., None, :] * w).sum(-1) + b
        for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)):
            got = _call(linear, "linear", x.to(dtype), w.to(dtype), b.to(dtype))
            said = f"linear of x {shape} and w {tuple(w.shape)}, in {dtype}"
            check_tensor(got, want.to(dtype), said, rtol=rtol, atol=rtol)
        _check_gradients(linear, F.linear, "linear", x=x, w=w, b=b)


def test_a_linear_may_have_no_bias():
    for shape in ((5, 4, 3), (3,)):
        x, w = _wave(*shape), _wave(2, 3)
        want = (x[..., None, :] * w).sum(-1)
        check_tensor(_call(linear, "linear", x, w), want, "linear(x, w), without a bias", rtol=1e-9, atol=1e-12)
        check_tensor(_call(linear, "linear", x, w, None), want, "linear(x, w, None)", rtol=1e-9, atol=1e-12)
        got = _call(linear, "linear", x.bfloat16(), w.bfloat16())
        assert got.dtype == torch.bfloat16, f"without a bias, bfloat16 gives bfloat16, got {got.dtype}"


def test_an_embedding_picks_rows():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        table = _wave(7, 4, dtype=dtype)
        for places in ([3], [[0, 6, 3], [3, 1, 0]], [[[5], [5]], [[2], [4]]]):
            idx = torch.tensor(places)
            want = torch.stack([table[i] for i in idx.flatten().tolist()]).view(*idx.shape, 4)
            got = _call(embedding, "embedding", idx, table)
            check_tensor(got, want, f"rows {places} of a table of {dtype}, each in its place", rtol=1e-6)
    table = _wave(4, 4)
    got = _call(embedding, "embedding", torch.tensor([[1, 2], [0, 3]]), table)
    check_tensor(got[1, 0], table[0], "row 0 of a square table", rtol=1e-9)


def test_a_row_that_is_picked_twice_gets_the_sum_of_both_gradients():
    table = _wave(5, 2).requires_grad_()
    with explain("embedding raised", _SIGNS):
        out = embedding(torch.tensor([3, 1, 3, 0, 4]), table)
    assert isinstance(out, torch.Tensor), f"embedding gives a tensor, got {type(out).__name__}"
    assert out.requires_grad, "the rows hang on no graph: the table was taken out of it, and cannot learn"
    with explain("backward through embedding raised"):
        (out * torch.tensor([[1, 2], [10, 20], [100, 200], [5, 6], [7, 8]])).sum().backward()
    grad = table.grad
    assert isinstance(grad, torch.Tensor), "no gradient came to the table"
    unlearned = [i for i in (0, 4) if not grad[i].any()]
    assert not unlearned, f"no padding_idx was given, and row {unlearned[0]} learns nothing"
    want = torch.tensor([[5.0, 6], [10, 20], [0, 0], [101, 202], [7, 8]], dtype=torch.float64)
    check_tensor(grad, want, "row 3 gets 1 + 100 and 2 + 200, the others what came to them, row 2 zero", rtol=1e-9)


@pytest.mark.myth(
    says="The row padding_idx of an embedding gives zeros.",
    today="It gives the values that stand in it; only its gradient is zero. nn.Embedding zeroes it once, when made.",
)
@pytest.mark.parametrize(("pad", "shape"), [(0, (2, 3)), (2, (6,))], ids=["row 0", "row 2, idx of one dimension"])
def test_a_padding_row_is_a_row_that_does_not_learn(pad, shape):
    layer = nn.Embedding(4, 2, padding_idx=pad)
    assert not layer.weight[pad].any(), "a new layer has zeros there"
    nn.init.normal_(layer.weight)
    assert layer.weight[pad].any(), "an init of the whole table overwrites them"
    table = _wave(4, 2).requires_grad_()
    table.grad = torch.zeros(4, 2, dtype=torch.float64)  # of a step before
    idx, upstream = torch.tensor([0, 2, 1, 2, 0, 2]).view(shape), _wave(*shape, 2) + 2
    picked = torch.stack([table.detach()[i] for i in idx.flatten().tolist()]).view(*shape, 2)
    with unchanged("the table and idx stay as they are, the padding row too", table=table, idx=idx):
        with explain("embedding raised with a padding_idx", _SIGNS):
            out = embedding(idx, table, padding_idx=pad)
    assert isinstance(out, torch.Tensor), f"embedding gives a tensor, got {type(out).__name__}"
    assert out.shape != picked.shape or out[idx == pad].any(), (
        f"row {pad} came out as zeros: the padding row is picked like any other, only its gradient is 0"
    )
    check_tensor(out.detach(), picked, f"the values with padding_idx={pad}: all rows as they stand in W", rtol=1e-9)
    assert out.requires_grad, "the other rows must learn, and the result hangs on no graph"
    with explain("backward through embedding with a padding_idx raised"):
        (out * upstream).sum().backward()
    want = torch.stack([upstream[idx == i].sum(0) * (i != pad) for i in range(4)])
    grad = table.grad
    assert isinstance(grad, torch.Tensor), "no gradient came to the table"
    assert not grad[pad].any(), f"padding_idx={pad}, and row {pad} got the gradient {grad[pad].tolist()}"
    check_tensor(grad, want, f"the gradient with padding_idx={pad}: zero in this row only", rtol=1e-9)
    table.grad = None
    with explain("backward through W itself raised"):
        (table * _wave(4, 2)).sum().backward()
    said = "W is used elsewhere too, and there row padding_idx has a gradient: something of yours stayed on W"
    check_tensor(table.grad, _wave(4, 2), said)
    with explain("embedding with a padding_idx raised on a table of float32", _SIGNS):
        got = embedding(idx, table.detach().float().requires_grad_(), padding_idx=pad)
    check_tensor(got.detach(), picked.float(), "a table of float32, with a padding_idx", rtol=1e-6)


def test_a_convolution_sums_over_patches_and_channels():
    for n, channels, height, width, out, kh, kw in (
        (2, 3, 5, 7, 5, 2, 3),  # 5 channels come out, 5 wide: a bias on the wrong axis would fit
        (1, 3, 4, 4, 3, 1, 1),
        (3, 1, 6, 5, 2, 3, 2),
        (2, 2, 3, 4, 1, 3, 4),
        (1, 2, 5, 5, 3, 2, 2),
    ):
        x, w, b = _wave(n, channels, height, width) + 0.2, _wave(out, channels, kh, kw), 3 * _wave(out)
        want = F.conv2d(x, w, b)
        got = _call(conv2d, "conv2d", x, w, b)
        shapes = f"x {tuple(x.shape)} and w {tuple(w.shape)}"
        if got.shape == want.shape:
            mean = want - b.view(-1, 1, 1)
            slips = {
                "the mean over the channels is not their sum": mean / channels + b.view(-1, 1, 1),
                "the mean over the patch is not its sum": mean / (channels * kh * kw) + b.view(-1, 1, 1),
                "the bias is missing": mean,
                "the kernel was flipped": F.conv2d(x, w.flip(2, 3), b),
                "the bias stands on the last axis, it belongs to the channels": mean + b
                if out == width - kw + 1
                else x,
            }
            for said, slip in slips.items():
                fits = slip.shape == got.shape and torch.allclose(got.double(), slip) and not torch.allclose(slip, want)
                assert not fits, f"{said}: conv2d of {shapes}"
        check_tensor(got, want, f"conv2d of {shapes}", rtol=1e-9, atol=1e-12)
        got = _call(conv2d, "conv2d", x.float(), w.float(), b.float())
        check_tensor(got, want.float(), f"conv2d of {shapes}, in float32", rtol=1e-4, atol=1e-5)
        _check_gradients(conv2d, F.conv2d, "conv2d", x=x, w=w, b=b)


@pytest.mark.myth(
    says="nn.Conv2d flips the kernel, as convolution does.",
    today="It does not: it is a cross-correlation, and a kernel with its 1 at the upper left gives the upper left.",
)
def test_a_kernel_is_not_flipped():
    x = torch.arange(9.0).view(1, 1, 3, 3)
    w, b = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), torch.zeros(1)
    got = _call(conv2d, "conv2d", x, w, b)
    assert got.flatten().tolist() != [4.0, 5.0, 7.0, 8.0], (
        "[[4, 5], [7, 8]] is the lower right: the kernel was flipped, and conv2d does not flip it"
    )
    check_tensor(got, torch.tensor([[[[0.0, 1.0], [3.0, 4.0]]]]), "the kernel [[1, 0], [0, 0]] picks the upper left")
