"""Per-sample gradients: torch.func makes functions of functions.

`loss.backward()` gives one gradient for the whole batch, the mean. Differential privacy, influence scores, or a hunt
for the one bad sample need the gradient of *each* sample. A loop over the batch is right and slow. `torch.func` turns
functions into functions: `grad(f)` is the function that returns the gradient of f by its first argument, `vmap(f)` is f
with a batch dimension added to every operation, and they nest. `in_dims=` tells vmap, for each argument, which
dimension is the batch; None is for an argument that all samples share.

grad differentiates only by what is *passed in*. The weights of a module are no argument of anything, so the loss has to
be written as a function of them: `functional_call(model, params, x)` runs the module with these params in place of its
own; `model.named_parameters()` gives the pairs of name and weight. Forget it, call `model(x)` inside, and the loss does
not depend on its argument: all gradients are exactly zero, and no error tells you. A number taken out with `.item()`
loses its gradient in the same silent way.

Jacobians are the same story. `jacrev(f)(x)` on a batch knows nothing of samples: it differentiates every output by
every input, (N, out, N, in), and all of it between different samples is zeros. Map the Jacobian of one sample over the
batch. Modules that write to themselves in forward (BatchNorm in train mode) are refused by vmap.

What is asked is the result; a loop that gives it is right as well.

About 45 minutes. Before it: vector_backward, accumulate_or_separate.

https://docs.pytorch.org/docs/stable/func.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def per_sample_grads(model: nn.Module, loss_fn: Loss, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of each sample's loss by each parameter: `{name: (N, *parameter.shape)}`, named as in the model.

    `x` is (N, D), `y` holds N targets; `loss_fn(model(x), y)` is the mean over a batch, and takes a single sample
    without batch dimension, too. All parameters require a gradient. Row i is the gradient of sample i alone, whatever
    a `.grad` held before. `x`, `y`, the model's weights, their `requires_grad` and the modes of its modules stay as
    they were, and no gradient of yours is left in a `.grad`.
    """
    raise NotImplementedError("one gradient per sample and parameter")


def batch_jacobian(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The Jacobian of `f` at each row of `x` (N, in); returns (N, out, in) in the dtype of `x`.

    `x` may or may not require a gradient, and is not changed. `f` maps (in,) to (out,), and a batch (N, in) to (N, out)
    row by row.
    """
    raise NotImplementedError("one (out, in) matrix per row of x")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_each_sample_has_a_gradient_of_its_own():
    model, x, y = _mlp(), torch.randn(5, 3), torch.tensor([0, 3, 1, 1, 2])
    want = _one_by_one(model, F.cross_entropy, x, y)
    got = _call(model, F.cross_entropy, x, y)
    for name, rows in want.items():
        assert name in got, f"there is no {name} in the dict; its keys are {list(got)}"
        row = got[name]
        assert isinstance(row, torch.Tensor), f"{name}: expected a tensor, got {type(row).__name__}"
        if row.shape == rows.shape:
            _diagnose(name, row.detach(), rows)
        check_tensor(row, rows, f"{name}: row i should be the gradient of sample i alone", rtol=1e-3, atol=1e-6)
    for p in model.parameters():
        p.grad = torch.full_like(p, 100.0)
    got = _call(model, F.cross_entropy, x, y)
    for name, rows in want.items():
        old = f"{name}: .grad held 100 from an earlier backward, which is no sample's gradient"
        check_tensor(got[name], rows, old, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("n", [1, 4], ids=["one sample", "4 samples"])
def test_there_is_one_row_per_sample_and_one_entry_per_parameter(n):
    model = _mlp()
    got = _call(model, F.cross_entropy, torch.randn(n, 3), torch.arange(n) % 4)
    names = sorted(name for name, _ in model.named_parameters())
    assert sorted(got) == names, f"the keys should be the names of the model's parameters, {names}, got {sorted(got)}"
    for name, p in model.named_parameters():
        shape = tuple(getattr(got[name], "shape", ()))
        assert shape == (n, *p.shape), f"{name}: expected the shape {(n, *p.shape)}, one row per sample, got {shape}"


def test_the_mean_over_the_samples_is_the_gradient_of_the_batch():
    model = _mlp().double()
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    want = torch.autograd.grad(F.mse_loss(model(x), y), list(model.parameters()))
    got = _call(model, F.mse_loss, x, y)
    for (name, _), grad in zip(model.named_parameters(), want, strict=True):
        assert name in got, f"there is no {name} in the dict; its keys are {list(got)}"
        rows = got[name]
        assert isinstance(rows, torch.Tensor), f"{name}: expected a tensor, got {type(rows).__name__}"
        assert rows.shape[:1] == (6,), f"{name}: expected one row per sample, got the shape {tuple(rows.shape)}"
        mean = rows.mean(dim=0).to(grad.dtype)  # rows that you made as float32 will do
        check_tensor(
            mean, grad, f"{name}: the rows' mean should be the gradient of loss_fn's mean", rtol=1e-3, atol=1e-6
        )


def test_torch_func_leaves_the_model_alone():
    model = _mlp()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    objects = dict(model.named_parameters())
    objects["0.weight"].grad = torch.full((6, 3), 2.0)
    _call(model, F.cross_entropy, torch.randn(5, 3), torch.tensor([0, 3, 1, 1, 2]))
    assert all(p is objects.get(name) for name, p in model.named_parameters()), "the model has other parameters now"
    old = objects["0.weight"].grad  # as it was, or cleared by your zero_grad(): both will do
    left = [] if old is None or torch.equal(old, torch.full((6, 3), 2.0)) else ["0.weight"]
    left += [name for name, p in objects.items() if p.grad is not None and name != "0.weight"]
    assert not left, f"you left gradients in the .grad of {left}: the next optimizer step uses them"
    frozen = [name for name, p in objects.items() if not p.requires_grad]
    assert not frozen, f"{frozen} no longer require grad: the model would not train any more"
    for name, p in objects.items():
        check_tensor(p, before[name], f"you changed the values of {name}")
    now = [module.training for module in model.modules()]
    assert now == modes, f"each module should keep its mode: training was {modes}, is {now}"


@pytest.mark.parametrize(
    ("n", "out", "dtype"), [(5, 2, torch.float32), (1, 4, torch.float64)], ids=["5 samples", "one sample, float64"]
)
def test_a_batch_of_jacobians_has_no_pairs_of_samples(n, out, dtype):
    a = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [0.5, 0.5, 0.75], [-1.0, 2.0, 0.0]], dtype=dtype)[:out]
    x = torch.randn(n, 3, dtype=dtype)
    want = (1 - torch.tanh(x @ a.T) ** 2)[:, :, None] * a
    x.requires_grad_(n == 1)
    otherwise = f"batch_jacobian raised on an x of shape ({n}, 3) and {dtype}"
    with unchanged("batch_jacobian must leave the caller's x as it is", x=x):
        got = _run(batch_jacobian, lambda x: torch.tanh(x @ a.T), x, otherwise=otherwise)
    assert isinstance(got, torch.Tensor), f"batch_jacobian returns a tensor, got {type(got).__name__}"
    shape = tuple(got.shape)
    assert shape != (n, out, n, 3), f"{shape}: every output by every input; between different samples it is all zeros"
    assert shape != (n, 3), f"{shape}: the outputs were added up; each has a row of its own in the Jacobian"
    assert shape != (n, 3, out), f"{shape}: transposed; a Jacobian has a row per output and a column per input"
    check_tensor(got.detach(), want, "[i] should be the Jacobian (out, in) of f at row i", rtol=1e-4, atol=1e-6)


def _diagnose(name: str, got: torch.Tensor, rows: torch.Tensor) -> None:
    """The usual mistakes, by what they give in place of `rows`."""

    def looks_like(other: torch.Tensor) -> bool:
        return torch.allclose(got, other.expand_as(rows).to(got.dtype), rtol=1e-3)

    assert got.any(), f"{name}: all zeros, as when the loss does not use the params that you differentiate by"
    assert not looks_like(rows.mean(dim=0)), f"{name}: every sample got the batch's mean"
    assert not looks_like(rows.cumsum(dim=0)), f"{name}: row i is the sum of rows 0 to i: backward adds to .grad"
    assert not looks_like(rows / len(rows)), f"{name}: each row is {len(rows)} times too small: divided by N"
    assert not looks_like(rows[-1]), (
        f"{name}: all rows show the last sample: they are one tensor, overwritten each time"
    )


def _mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4))


_SIGNS = {
    "same size in the mapped dimension": "vmap maps all that it is given, if you do not say otherwise; params have no "
    "dimension of samples",
    "to return a scalar": "grad wants a function that returns one number: one sample's loss is one, f(row) has several",
    "does not require grad": "there is no graph to go back through",
    "second time": "one graph was walked back twice, and the first walk freed it",
    "to be dictionaries|'generator'": "params should be a dict of tensors by name, as the module names them",
    "same dtype": "x and the model may be float64: leave both in the dtype that they have",
}


def _run(ask: Callable[..., Any], *arguments: Any, otherwise: str) -> Any:
    __tracebackhide__ = True
    with explain(otherwise, _SIGNS):
        return ask(*arguments)


def _call(model: nn.Module, loss_fn: Loss, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    with unchanged("per_sample_grads must not change x and y", x=x, y=y):
        got = _run(per_sample_grads, model, loss_fn, x, y, otherwise="per_sample_grads raised")
    assert isinstance(got, dict), f"per_sample_grads returns a dict of tensors by name, got {type(got).__name__}"
    return got


def _one_by_one(model: nn.Module, loss_fn: Loss, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
    """The truth: a backward for each sample."""
    names, params = zip(*model.named_parameters(), strict=True)
    losses = [loss_fn(model(x[i : i + 1]), y[i : i + 1]) for i in range(len(x))]
    columns = zip(*[torch.autograd.grad(loss, params) for loss in losses], strict=True)
    return {name: torch.stack(rows) for name, rows in zip(names, columns, strict=True)}
