"""Batch norm: two modes, two variances

Batch norm shifts and stretches each column of a batch (N, d) to mean 0 and variance 1, and then lets the network choose
another scale and place with a `weight` and a `bias` of d numbers each: (x - mean) / sqrt(var + eps) * weight + bias.

In training, mean and variance are those of the batch itself. So the answer for one row depends on the other rows, and
the gradient flows through the mean and the variance too. Beside that the layer keeps *running* statistics, as buffers:
saved and moved with the model, but not trained. Each batch in training moves them a step: running = (1 - momentum) *
running + momentum * new. In eval the layer normalises with them, and leaves them alone; there one row is enough.

Three things surprise people. The batch is normalised with the *biased* variance (a mean of squares, divided by N), but
`running_var` takes the *unbiased* one (divided by N - 1). `momentum` = 0.1 is the share of the *new* value; Keras means
the share of the old one. And the statistics move with every batch in training mode, under `torch.no_grad()` and with
frozen weights as well: only the mode stops them. Written down carelessly, they keep the graph of each batch.

What is asked here: the layer, so alike that it can exchange checkpoints with `nn.BatchNorm1d(d)`.

About 30 minutes. Before it: keepdim_and_correction, buffers, dropout.

https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html
"""

from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


class BatchNorm(nn.Module):
    """Normalises the columns of a batch as `nn.BatchNorm1d(d)` does, with eps = 1e-5 and momentum = 0.1.

    Parameters (`nn.Parameter`) `weight` (ones) and `bias` (zeros); buffers `running_mean` (zeros), `running_var`
    (ones), all of shape (d,), and `num_batches_tracked` (a 0-d int64 tensor, 0): how many batches it has seen in
    training. The state_dict is that of nn.BatchNorm1d, and each can load the other's.
    """

    def __init__(self, d: int) -> None:
        """`d` is the number of columns."""
        raise NotImplementedError("make the parameters and the buffers")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`x` is (N, d), of the dtype of the layer (float32, or float64 after `.double()`), and so is the result.

        In training: with the mean and biased variance of the batch, through which gradients flow; `running_mean`,
        `running_var` (unbiased) and `num_batches_tracked` move, without a graph. A batch of one row is a ValueError,
        and then the running mean and variance stay as they are. In eval: with the running statistics, which stay as
        they are. `x` is not changed, nor whether gradients are on.
        """
        raise NotImplementedError("normalise with the batch in training, with the running statistics in eval")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_EARLY = "something was registered in BatchNorm before super().__init__(), or that is not called at all"
_SIGNS = {
    "does not require grad": "the result hangs on no graph: it was cut from x, and from weight and bias",
    "second time": "running_mean or running_var carries the graph of the batch before: take the new values out of it",
    "Expected more than 1 value": "the layer refuses one row, although it has no variance to compute here",
    "cannot assign": "a buffer keeps its name for tensors only: a number, or a Parameter, cannot take its place",
    "leaf Variable|modified by an inplace": "what belongs to the caller, or to the graph, was edited in place",
}


def _layer(d: int) -> Any:
    with explain(f"BatchNorm({d}) raised", {"Module.__init__|_modules|_parameters|_buffers": _EARLY}):
        layer = BatchNorm(d)
    assert isinstance(layer, nn.Module), "BatchNorm is no nn.Module any more: keep its base class"
    return layer


def _pair(d: int = 3) -> tuple[Any, nn.BatchNorm1d]:
    """The layer and torch's, in float64, with the same weight and bias."""
    ours, theirs = _layer(d).double(), nn.BatchNorm1d(d).double()
    for name, start in (("weight", 0.5), ("bias", -1.0)):
        values = torch.linspace(start, start + 1, d, dtype=torch.float64)
        for layer in (ours, theirs):
            with explain(f"the layer's {name} is no parameter of {d} numbers"), torch.no_grad():
                getattr(layer, name).copy_(values)
    for name in ("running_mean", "running_var"):
        is_ = _statistics(ours)[name].dtype
        assert is_ == torch.float64, (
            f"after layer.double() {name} is {is_}: a buffer moves, a plain tensor stays behind"
        )
    return ours, theirs


def _call(layer: Any, x: torch.Tensor, case: str) -> torch.Tensor:
    with explain(f"the layer raised {case}", _SIGNS):
        y = layer(x)
    assert isinstance(y, torch.Tensor), f"forward returned {type(y).__name__} {case}, a tensor was expected"
    return y


def _batch(n: int, seed: int) -> torch.Tensor:
    """(n, 3) in float64: columns of a small spread, of a large one around 50, and of an ordinary one."""
    x = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([0.003, 10.0, 1.0]) + torch.tensor([0.0, 50.0, -2.0])


def _statistics(layer: Any) -> dict[str, torch.Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    missing = [name for name in names if not isinstance(getattr(layer, name, None), torch.Tensor)]
    assert not missing, f"the layer has no tensor called {', '.join(missing)}"
    return {name: getattr(layer, name).detach().clone() for name in names}


def _check_statistics(ours: Any, theirs: nn.Module, case: str) -> None:
    want = _statistics(theirs)
    for name, got in _statistics(ours).items():
        check_tensor(got, want[name], f"{name}, {case}", rtol=1e-9, requires_grad=False)


def test_a_batch_is_normalised_with_its_own_biased_variance():
    y = _call(_layer(1), torch.tensor([[1.0], [2.0], [3.0], [4.0]]), "in training").detach()
    unbiased = y.shape == (4, 1) and abs(y[0, 0].item() + 1.1619) < 1e-3
    assert not unbiased, "1, 2, 3, 4 became -1.1619, ...: normalise with the biased variance 1.25, not with 1.6667"
    want = torch.tensor([[-1.34164], [-0.44721], [0.44721], [1.34164]])
    check_tensor(y, want, "1, 2, 3, 4 have mean 2.5 and biased variance 1.25", rtol=1e-4)
    for n in (2, 3, 7):
        ours, theirs = _pair()
        x = _batch(n, seed=n)
        want = theirs(x.clone()).detach()
        with unchanged("forward changed x itself: it belongs to the caller", x=x):
            y = _call(ours, x, f"in training, on {n} rows")
        check_tensor(y.detach(), want, f"each column of {n} rows, with eps inside the root", rtol=1e-9, atol=1e-12)
    flat = torch.tensor([[2.0, 1000.0], [2.0, 1001.0], [2.0, 1003.0]])
    want = torch.tensor([[0.0, -1.06904], [0.0, -0.26726], [0.0, 1.33630]])
    y = _call(_layer(2), flat, "on a constant column beside one of 1000, 1001, 1003").detach()
    check_tensor(y, want, "a constant column becomes 0; far from 0 the small differences still count", rtol=2e-3)


@pytest.mark.myth(
    says="The momentum of a batch norm is how much of the old statistics stays.",
    today="In PyTorch it is the share of the new batch: 0.1 is what other libraries call 0.9.",
)
def test_momentum_is_the_share_of_the_new_and_running_var_is_unbiased():
    layer = _layer(1)
    _call(layer, torch.tensor([[1.0], [2.0], [3.0], [4.0]]), "in training")
    got = _statistics(layer)
    mean, var = (round(got[name].sum().item(), 4) for name in ("running_mean", "running_var"))
    assert mean != 2.25, "running_mean went from 0 to 2.25 by a batch of mean 2.5: momentum 0.1 weighs the new value"
    assert var != 1.025, "running_var went from 1 to 1.025: it takes the unbiased variance, 1.6667, not 1.25"
    assert mean == 0.25, f"0.9 * 0 + 0.1 * 2.5 is 0.25, running_mean is {mean}"
    assert var == 1.0667, f"0.9 * 1 + 0.1 * 1.6667 is 1.0667, running_var is {var}"
    ours, theirs = _pair()
    for step, n in enumerate((5, 2, 7, 7, 3), start=1):
        x = _batch(n, seed=step)
        theirs(x)
        _call(ours, x, f"in training, on {n} rows")
        _check_statistics(ours, theirs, f"after batch {step}, of {n} rows")


def test_eval_normalises_with_the_running_statistics_and_leaves_them():
    ours, theirs = _pair()
    for step in (1, 2):
        theirs(_batch(6, seed=step))
        _call(ours, _batch(6, seed=step), "in training")
    ours.eval()
    theirs.eval()
    for n in (6, 1):
        x = _batch(n, seed=3)
        want = theirs(x).detach()
        with unchanged("in eval the statistics stay as they are", layer=ours, x=x):
            y = _call(ours, x, f"in eval, on {n} row(s)")
        check_tensor(y.detach(), want, f"in eval, {n} row(s) are normalised with the running statistics", rtol=1e-9)
    leaf, weights = x.clone().requires_grad_(), torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    y = _call(ours, leaf, "in eval")
    assert y.requires_grad, "in eval the result is cut from x: eval() is about layers, not about gradients"
    (y * weights).sum().backward()
    assert leaf.grad is not None, "in eval no gradient reached x: eval() is about layers, not about gradients"
    want = weights * ours.weight.detach() / (ours.running_var + 1e-5).sqrt()
    check_tensor(leaf.grad, want, "in eval the layer is a fixed scale and shift", rtol=1e-9)


def test_one_row_has_no_variance():
    layer = _layer(3)
    before = _statistics(layer)
    with raises(ValueError, "one row in training has no variance, its result would be the bias alone: raise an error"):
        layer(torch.tensor([[1.0, 2.0, 3.0]]))
    for name in ("running_mean", "running_var"):
        check_tensor(
            _statistics(layer)[name], before[name], f"{name}, after one row was refused: look before you move it"
        )


def test_the_state_dict_is_that_of_torchs_layer():
    fresh, want = _layer(3), nn.BatchNorm1d(3)
    state, keys = fresh.state_dict(), set(want.state_dict())
    missing, more = ", ".join(sorted(keys - set(state))), ", ".join(sorted(set(state) - keys))
    assert not missing, f"not in the state_dict: {missing}. Parameters and buffers are, a plain tensor is not"
    assert not more, f"the state_dict has {more}, which nn.BatchNorm1d does not know"
    trained = {name for name, p in fresh.named_parameters() if p.requires_grad}
    assert trained == {"weight", "bias"}, f"weight and bias are trained, here it is {sorted(trained)}"
    counted = len(list(fresh.parameters()))
    assert counted == 2, f"an optimizer would get {counted} parameters, expected 2: the statistics are buffers"
    for name, value in want.state_dict().items():
        check_tensor(state[name].detach(), value, f"{name} of a new layer")

    ours, theirs = _pair()
    for step in (1, 2, 3):
        theirs(_batch(4, seed=step))
    with explain("the layer cannot load the state_dict of an nn.BatchNorm1d"):
        ours.load_state_dict(theirs.state_dict())
    x = _batch(5, seed=4)
    check_tensor(
        _call(ours.eval(), x, "in eval, after load_state_dict").detach(),
        theirs.eval()(x).detach(),
        "after load_state_dict both layers compute the same",
        rtol=1e-9,
    )
    _call(ours.train(), x, "in training, after load_state_dict")
    theirs.train()(x)
    _check_statistics(ours, theirs, "after load_state_dict and one batch more")
    with explain("nn.BatchNorm1d cannot load the state_dict of the layer"):
        nn.BatchNorm1d(3).double().load_state_dict(ours.state_dict())


@pytest.mark.myth(
    says="Under torch.no_grad(), or with frozen weights, a batch norm does not change.",
    today="In training mode its running statistics move with every batch; only eval() stops them.",
)
def test_statistics_carry_no_graph_and_move_without_one_too():
    ours, theirs = _pair()
    net = nn.Sequential(nn.Linear(4, 3).double(), ours)
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).view(6, 4) ** 3
    for step in ("first", "second"):
        y = _call(net, x, f"in the {step} step")
        theirs(net[0](x).detach())
        with explain(f"backward raised in the {step} step", _SIGNS):
            (y * torch.linspace(-1, 2, 18, dtype=torch.float64).view(6, 3)).sum().backward()
        for name in ("running_mean", "running_var"):
            tensor = getattr(ours, name)
            assert not tensor.requires_grad, f"{name}.requires_grad is True after a step: it carries a graph along"
    ours.requires_grad_(False)
    with torch.no_grad():
        _call(net, x, "under no_grad, with frozen weights")
        theirs(net[0](x))
        assert not torch.is_grad_enabled(), "gradients were off at the call, and forward switched them on"
    _check_statistics(ours, theirs, "after a batch under no_grad, with frozen weights: in training mode they move")


def test_the_gradient_flows_through_mean_and_variance():
    ours, theirs = _pair()
    values = _batch(5, seed=1)
    values[:, 2] = 2.0
    c = torch.linspace(-1, 2, 15, dtype=torch.float64).view(5, 3) ** 2
    x, x_theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    (theirs(x_theirs) * c).sum().backward()
    y = _call(ours, x, "in training")
    assert y.requires_grad, "the result is cut from x, and from weight and bias: nothing can learn"
    with explain("backward through the layer raised", _SIGNS):
        (y * c).sum().backward()
    assert x.grad is not None, "no gradient reached x"
    without = c * ours.weight.detach() / (values.var(0, correction=0) + 1e-5).sqrt()
    constant = torch.allclose(x.grad, without, rtol=1e-6)
    assert not constant, "mean and variance depend on x, and no gradient flows through them here"
    assert not x.grad.isnan().any(), "the gradient is nan where a column is constant: a root of 0 has no slope"
    check_tensor(x.grad, x_theirs.grad, "the gradient of x in training", rtol=1e-6, atol=1e-9)
    for name in ("weight", "bias"):
        got, want = getattr(ours, name).grad, getattr(theirs, name).grad
        assert got is not None, f"no gradient reached the {name}: it cannot learn"
        check_tensor(got, want, f"the gradient of {name}", rtol=1e-9, atol=1e-12)
