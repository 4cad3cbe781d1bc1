"""State that is saved and moved, but not trained

Some numbers of a model are not learned by gradient: the running mean of batch norm, a mask, a table of positions. Kept
as a plain attribute, `self.mean = torch.zeros(3)`, such a tensor belongs to the object and not to the model: it is
missing in `state_dict()`, so a loaded model begins again at zero, and `model.to("cuda")` or `model.double()` leaves it
behind. Made an `nn.Parameter`, it goes to the optimizer with the weights.

The third kind is a *buffer*: `self.register_buffer("mean", torch.zeros(3))` in `__init__`, or in newer versions
`self.mean = nn.Buffer(torch.zeros(3))`. It is saved, loaded and moved like a weight, and `parameters()` does not name
it. Afterwards you may edit it in place, or assign a new tensor to `self.mean`: it stays registered.

What goes into a buffer must not carry a graph. A mean of activations that was computed with gradients on keeps the
graph of its batch alive, the next mean is built on it, and the second `backward()` fails with "Trying to backward
through the graph a second time". So cut it off: `torch.no_grad()`, or `detach()`.

`model.train()` and `model.eval()` set `self.training` of every module inside: that says in which mode forward runs.

What is asked here: a layer that subtracts a running mean, which it updates in training only.

About 20 minutes. Before it: stop_gradient, registration.
Path: transformer

https://docs.pytorch.org/docs/stable/notes/modules.html#module-state
"""

import io
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class RunningMean(nn.Module):
    """Subtracts a running mean of each of `d` features, which is kept in the buffer `mean`.

    `mean` has the shape (d,) and starts with zeros. It is in the state_dict under this name, is no parameter, moves
    with the model (`.double()`), and never requires a gradient or hangs on a graph.
    """

    def __init__(self, d: int, momentum: float = 0.1) -> None:
        """`momentum`: the share of the newest batch in the mean, from 0 to 1."""
        raise NotImplementedError("make the buffer")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n, d), for n and d from 1 on, in the dtype of `x`, which is that of `mean`.

        `x` itself stays as it is, and gradients stay on or off, as they were at the call.

        In training, first mean <- (1 - momentum) * mean + momentum * (the mean of the n rows of x). Then, in training
        and in eval, x - mean. Gradients flow to `x` through the subtraction; whether also through the newest mean is
        yours to choose.
        """
        raise NotImplementedError("update the mean in training, then subtract it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"before Module\.__init__\(\) call": "call super().__init__() first: before it, nothing can be registered",
    "cannot assign .* as parameter": "a Parameter takes only Parameters; a running mean is no parameter, but a buffer",
    "cannot assign .* buffer": "a buffer holds a tensor: a Python number cannot be assigned to it",
    "leaf Variable that requires grad": "a tensor that requires a gradient was edited in place; a buffer needs none",
    "[Ii]nference": "an inference tensor became the mean, and it can never be edited or loaded into again",
}


def _layer(d, **momentum) -> Any:
    """RunningMean(d), with a tensor `mean`."""
    __tracebackhide__ = True
    with explain(f"RunningMean({d}) raised", _SIGNS):
        layer = RunningMean(d, **momentum)
    assert isinstance(layer, nn.Module), f"RunningMean makes an nn.Module, here it made a {type(layer).__name__}"
    assert "_modules" in vars(layer), "call super().__init__() first: without it nothing can be registered"
    assert isinstance(getattr(layer, "mean", None), torch.Tensor), "the layer has no tensor `mean`"
    return layer


def _run(layer, x, what="the layer") -> Any:
    __tracebackhide__ = True
    with explain(f"{what} raised when it was called", _SIGNS), unchanged("the batch is the caller's", x=x):
        out = layer(x)
    assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
    return out


def _mean(layer) -> Any:
    __tracebackhide__ = True
    assert isinstance(layer.mean, torch.Tensor), f"`mean` is no tensor any more, but a {type(layer.mean).__name__}"
    return layer.mean.detach()


def _batch(*rows, dtype=torch.float32):
    return torch.tensor(rows, dtype=dtype)


@pytest.mark.myth(
    says="A tensor that is an attribute of a model is saved with it.",
    today="Only parameters and buffers are in the state_dict; self.mean = torch.zeros(3) is saved and moved by nobody.",
)
def test_a_buffer_is_saved_and_loaded():
    layer = _layer(2)
    names = list(layer.state_dict())
    assert "mean" in names, (
        f"'mean' is not in the state_dict, which has {names}: whoever loads this model begins with another mean"
    )
    check_tensor(layer.state_dict()["mean"], torch.zeros(2), "the mean starts with zeros")
    _run(layer, _batch([5.0, 15.0], [15.0, 25.0]))
    assert "mean" in layer.state_dict(), "after a step in training, 'mean' is gone from the state_dict"
    learned = _mean(layer).clone()
    assert learned.any(), "a batch with means 10 and 20 in training, and the mean is still zero: it was not updated"
    check_tensor(layer.state_dict()["mean"], learned, "the state_dict has the mean as it is now")
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    other = _layer(2)
    check_tensor(_mean(other), torch.zeros(2), "a new layer starts with zeros, whatever another one has seen")
    _run(other, _batch([-7.0, 3.0], [4.0, 4.0]))
    _run(layer, _batch([100.0, 100.0]))
    file.seek(0)
    with explain("load_state_dict raised", _SIGNS):
        other.load_state_dict(torch.load(file))
    check_tensor(_mean(other), learned, "load_state_dict brings the saved mean back")
    out = _run(other.eval(), _batch([3.0, 3.0]))
    check_tensor(out, 3 - _mean(other).view(1, 2), "forward computes with the mean that was loaded", rtol=1e-5)


@pytest.mark.myth(
    says="nn.Parameter(..., requires_grad=False) is the place for numbers that are not trained.",
    today="It is counted among the parameters, and the optimizer gets it; a buffer is saved and moved all the same.",
)
def test_a_buffer_is_no_parameter():
    layer = _layer(3)
    names = [name for name, _ in layer.named_parameters()]
    assert not names, f"{', '.join(names)} is a parameter: every optimizer gets it, and weight decay may shrink it"
    _run(layer, torch.ones(4, 3))
    assert not list(layer.parameters()), "after a step in training, the layer has a parameter"


def test_momentum_is_the_share_of_the_newest_batch():
    layer, other = _layer(2), _layer(3, momentum=0.25)
    check_tensor(_mean(layer), torch.zeros(2), "the mean starts with zeros, one for each feature")
    x = _batch([5.0, 15.0], [8.0, 14.0], [17.0, 31.0])  # the means are 10 and 20
    for want in ([1.0, 2.0], [1.9, 3.8]):
        before = _mean(layer).clone()
        out = _run(layer, x)
        mean = _mean(layer).reshape(-1).tolist()
        assert mean != pytest.approx([9.0, 18.0]), (
            "the mean is [9, 18] after one batch: momentum weights the new value, 1 - momentum the old one"
        )
        assert mean != pytest.approx([10.0, 20.0]), "the mean is [10, 20], the batch's own, and forgot the zeros before"
        check_tensor(_mean(layer), torch.tensor(want), "the mean after batches with means 10 and 20", rtol=1e-5)
        stale = out.shape == x.shape and torch.allclose(out.detach(), x - before)
        assert not stale, f"the result is x - {before.tolist()}, with the mean from before this batch: update it first"
        check_tensor(out, x - torch.tensor(want), "x - mean, with the mean updated before", rtol=1e-5)
    check_tensor(_mean(other), torch.zeros(3), "another layer has a mean of its own, that saw nothing yet")
    for want in ([2.0, -1.0, 0.5], [3.5, -1.75, 0.875]):
        x = _batch([8.0, -4.0, 2.0])
        out = _run(other, x)
        check_tensor(
            _mean(other), torch.tensor(want), "the mean with momentum=0.25 after a batch of one row", rtol=1e-5
        )
        check_tensor(out, x - torch.tensor(want), "x - mean, for a batch of one row", rtol=1e-5)
    narrow = _layer(1)
    out = _run(narrow, _batch([5.0], [15.0]))
    check_tensor(_mean(narrow), torch.tensor([1.0]), "the mean of d = 1 feature is of shape (1,)", rtol=1e-5)
    check_tensor(out, _batch([4.0], [14.0]), "x - mean, for d = 1 feature", rtol=1e-5)
    last = _layer(2, momentum=1.0)
    _run(last, _batch([5.0, 15.0], [15.0, 25.0]))
    check_tensor(_mean(last), torch.tensor([10.0, 20.0]), "momentum=1.0 keeps the newest batch only", rtol=1e-5)
    first = _layer(2, momentum=0.0)
    _run(first, _batch([5.0, 15.0], [15.0, 25.0]))
    check_tensor(_mean(first), torch.zeros(2), "momentum=0.0 gives the newest batch no share")


def test_a_buffer_moves_with_the_model():
    layer = _layer(2)
    with explain("layer.double() raised", _SIGNS):
        layer.double()
    assert layer.mean.dtype == torch.float64, f"after layer.double() the mean is {layer.mean.dtype}: it was left behind"
    x = _batch([0.1, 1 / 3], [0.7, -2.0], [0.1, 0.1], dtype=torch.float64)
    want = x.mean(0) * 0.1
    for _ in range(2):
        out = _run(layer, x, "the layer in float64")
        check_tensor(_mean(layer), want, "the mean of the layer in float64", rtol=1e-9)
        check_tensor(out, x - want, "x - mean, in float64", rtol=1e-9, atol=1e-12)
        want = 0.9 * want + 0.1 * x.mean(0)
    for dtype in (torch.bfloat16, torch.float32):
        out = _run(layer.to(dtype), x.to(dtype), f"the layer in {dtype}")
        assert (out.dtype, layer.mean.dtype) == (dtype, dtype), (
            f"in {dtype}, mean and x - mean are of this dtype: got {layer.mean.dtype} and {out.dtype}"
        )


def test_eval_leaves_the_mean_alone():
    layer = _layer(2)
    model = nn.Sequential(nn.Identity(), layer)
    _run(model, _batch([10.0, 20.0]))
    model.eval()
    for x in (_batch([30.0, 5.0], [50.0, 7.0]), _batch([0.0, 4.0]).requires_grad_()):
        out = _run(model, x)
        check_tensor(_mean(layer), _batch([1.0, 2.0])[0], "model.eval(), and forward changed the mean", rtol=1e-5)
        check_tensor(out.detach(), x.detach() - _batch([1.0, 2.0]), "in eval, x - mean as it was learned", rtol=1e-5)
    model.train()
    with torch.no_grad():
        _run(model, _batch([10.0, 20.0]))
        assert not torch.is_grad_enabled(), "gradients were off at the call, and forward switched them on"
    check_tensor(
        _mean(layer),
        _batch([1.9, 3.8])[0],
        "the mean after model.train() and a batch under no_grad: the mode decides, not whether gradients are on",
        rtol=1e-5,
    )


def test_a_running_mean_carries_no_graph():
    layer = _layer(2)
    linear = nn.Linear(3, 2)
    model = nn.Sequential(linear, nn.Tanh(), layer, nn.Tanh())
    x, c = torch.linspace(-1, 2, 12).view(4, 3), torch.tensor([1.0, -3.0])
    for step in ("first", "second"):
        h = torch.tanh(linear(x))
        out = _run(model, x)
        assert not layer.mean.requires_grad, (
            f"after the {step} step mean.requires_grad is True: it drags the graph of every batch along, and the "
            "second backward fails"
        )
        with explain(
            f"the {step} backward raised",
            {
                "second time": "the mean still hangs on the graph of the step before",
                "does not require grad": "x - mean hangs on no graph: no gradient can reach what computed x",
            },
        ):
            (out * c).sum().backward()
        mean = layer.mean.detach()
        newest = mean + 0.1 * (h.mean(0) - h.mean(0).detach())  # the same numbers, but the newest batch is a variable
        want, other = (
            torch.autograd.grad((torch.tanh(h - m) * c).sum(), linear.weight, retain_graph=True)[0]
            for m in (mean, newest)
        )
        grad = linear.weight.grad
        assert grad is not None, "no gradient came through the layer: the mean may be a constant, x is none"
        want = other if torch.allclose(grad, other, rtol=1e-4, atol=1e-6) else want
        check_tensor(grad, want, "the gradient through x - mean", rtol=1e-4, atol=1e-6)
        linear.zero_grad()
