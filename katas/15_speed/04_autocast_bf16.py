"""Half the bits for the work, all of them for the weights

bfloat16 is a float of 16 bits: it reaches as far as float32, but keeps only about three decimal digits. Matrix products
are several times faster in it. Small steps are lost in it: 256 + 1 is 256, and 1 - 0.001 is 1. So people who cast their
model, `model.to(torch.bfloat16)`, see a loss that falls for a while and then stands still: each update of a weight is
smaller than the gap to the next number. And a bfloat16 loss of 2.3 can only move in steps of 0.016.

*Mixed* precision casts no model. `with torch.autocast("cpu"):` chooses a dtype for each operation that runs inside it:
Linear, convolutions and matrix products are computed in bfloat16 (on "cuda" in float16, unless dtype= says otherwise),
on casts of inputs and weights that live for this call; cross_entropy and mse_loss in float32; many others, such as
log_softmax, in the dtype that comes. The weights stay float32, and so do their gradients.

Only the forward and the loss belong in that block. backward runs each operation in the dtype that its forward had, so
it needs no autocast, and PyTorch advises against it. A loss outside gets the bfloat16 logits as they are, and loses its
digits if nobody casts them. The name of the device matters: `autocast("cuda")`, or torch.cuda.amp.autocast as in older
tutorials, leaves what runs on the CPU as it is. A GradScaler is for float16, whose small gradients become zero;
bfloat16 needs none.

What is asked here: one training step in mixed precision. Old gradients are cleared before it, as in any step.

About 20 minutes. Before it: dtype_limits, cross_entropy_by_hand, training_step.

https://docs.pytorch.org/docs/stable/amp.html
"""

from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import explain, unchanged


def amp_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """One training step on the CPU, its forward in bfloat16 autocast.

    The loss is the mean cross-entropy of the bfloat16 logits, computed in float32. `model` has float32 weights, which
    stay float32, and so do their gradients. It comes in train mode and stays in it. `x` is a float32 batch, `y` its
    classes, int64 (B,); both stay as they are. backward runs outside autocast, which is off again after the step.
    Gradients that are there from before have no influence.

    Returns the loss before the update: a float32 tensor of shape (), with no graph.
    """
    raise NotImplementedError("forward and loss in autocast, then backward and step")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "must have the same dtype|expected scalar type|should be the same|should have the same": "one side was cast to "
    "another dtype, and the other was not: in autocast nothing is to be cast by hand",
    "does not require grad": "the loss has no graph: backward needs one",
    "second time": "backward ran twice on one graph: one loss, one backward",
    "not implemented for|expected a floating point|target": "the loss wants logits, and classes as whole numbers",
}


_USUAL = "the model, called as usual after a step, raised on its float32 batch"
_NO_LONGER = {"same dtype|scalar type|should be the same": "after a step the model takes no float32 batch: it was cast"}


class _Watched(nn.Module):
    """Notes each forward: its first layer's dtype, the modes, the logits, and if its backward runs in autocast."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.dtypes: list[torch.dtype] = []
        self.modes: list[bool] = []
        self.logits = torch.empty(0)
        self.backward_in_autocast: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layers[0](x)
        self.dtypes.append(out.dtype)
        self.modes.append(all(module.training for module in self.modules()))
        if out.requires_grad:
            out.register_hook(lambda _: self.backward_in_autocast.append(torch.is_autocast_enabled("cpu")))
        out = self.layers[1:](out)
        self.logits = out.detach().float()
        return out


def _net(seed: int = 0) -> _Watched:
    torch.manual_seed(seed)
    return _Watched(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))


def _batch(rows: int, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 2, 3 * rows).view(rows, 3).mul(7).sin() * size
    return x, torch.arange(rows) * 3 % 4


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> Any:
    """amp_step; whatever it left switched on is off again."""
    __tracebackhide__ = True
    try:
        with explain("amp_step raised", _SIGNS), unchanged("amp_step changed the batch", x=x, y=y):
            loss = amp_step(model, optimizer, x, y)
        left_on = torch.is_autocast_enabled("cpu")
    finally:
        torch.set_autocast_enabled("cpu", False)
    assert not left_on, "autocast is still on after the step: all that follows would be computed in bfloat16"
    assert torch.is_grad_enabled(), "amp_step left gradients switched off"
    return loss


def _true_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    __tracebackhide__ = True
    with torch.no_grad(), explain(_USUAL, _NO_LONGER):
        return nn.functional.cross_entropy(model(x), y).item()


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten() for p in model.parameters()])


def _true_gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    with explain(_USUAL, _NO_LONGER):
        grads = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(model.parameters()))
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.myth(
    says="torch.cuda.amp.autocast() switches mixed precision on.",
    today="It is deprecated, and for CUDA only: on the CPU all stays float32. torch.autocast(...) is told the device.",
)
def test_autocast_on_the_cpu_runs_linear_and_conv_layers_in_bfloat16():
    torch.manual_seed(1)
    images = torch.linspace(-1, 1, 2 * 25).view(2, 1, 5, 5), torch.tensor([1, 0])
    for what, model, (x, y) in (
        ("Linear", _net(), _batch(6)),
        ("Conv2d", _Watched(nn.Conv2d(1, 3, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(27, 2)), images),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(2):
            _step(model, optimizer, x, y)
        assert model.dtypes, "amp_step never called the model that it was given"
        wide = torch.float32 not in model.dtypes
        assert wide, f"the first layer, a {what}, gave float32: no autocast for the CPU was on while the model ran"
        short = set(model.dtypes) == {torch.bfloat16}
        assert short, f"the first layer, a {what}, gave {model.dtypes[0]}; bfloat16 was expected"
        assert all(model.modes), "the model came in train mode, and ran in eval mode, without its dropout"
        assert all(m.training for m in model.modules()), "the model came in train mode, and it was left in eval mode"
        with explain(_USUAL, _NO_LONGER):
            out = model(x)
        assert out.dtype == torch.float32, "after the step the model, called as usual, gives float32 no more"


@pytest.mark.myth(
    says="model.bfloat16() or model.half() is how a model is trained in mixed precision.",
    today="That casts the weights, and small updates are lost. autocast casts per operation, weights stay float32.",
)
def test_weights_and_gradients_stay_float32():
    x, y = _batch(5)
    for kind in ("SGD", "AdamW"):
        model = _net()
        params = dict(model.named_parameters())
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        if kind == "SGD":
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            _step(model, optimizer, x, y)
        for name, p in model.named_parameters():
            assert p is params[name], f"{name} is a new parameter: the optimizer still has the old one"
            cast = f"{name} is {p.dtype} after the step: the weights were cast, and in bfloat16 1 - 0.001 is still 1"
            assert p.dtype == torch.float32, cast
            dtype = torch.float32 if p.grad is None else p.grad.dtype
            assert dtype == torch.float32, f"the gradient of {name} is {dtype}, not float32"
        for state in optimizer.state.values():
            for name, value in state.items():
                short = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
                assert not short, f"the {name} of {kind} is bfloat16: what is added up in small pieces needs float32"


def test_float32_weights_do_not_lose_a_small_step():
    x, y = _batch(7)
    model = _net()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(1 + torch.arange(p.numel()).view(p.shape) % 11 / 10.3)  # from 1 to 2, and no bfloat16 numbers
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)  # its first step moves each weight by lr
    before = _weights(model)
    _step(model, optimizer, x, y)
    moved = (_weights(model) - before).abs()
    still = int((moved == 0).sum())
    assert still < len(moved), "no weight moved: there was no step, or it had no gradients"
    sizes = f"between {moved.min().item():.2g} and {moved.max().item():.2g}"
    right = bool(((moved - 1e-4).abs() < 2e-6).all())
    assert right, f"a step of 0.0001 was due for each weight; {still} of {len(moved)} stand still, they moved {sizes}"


def test_cross_entropy_is_computed_in_float32():
    losses = []
    for rows, size in ((6, 1.0), (1, 3.0), (9, 10.0)):
        x, y = _batch(rows, size)
        model = _net(rows)
        optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
        want = _true_loss(model, x, y)
        loss = _step(model, optimizer, x, y)
        exact = nn.functional.cross_entropy(model.logits, y).item()
        after = _true_loss(model, x, y)
        tensor = isinstance(loss, torch.Tensor)
        assert tensor, f"the loss should come back as a tensor, and not read for it; got {type(loss).__name__}"
        assert loss.shape == (), f"the loss is a tensor of shape (), got {tuple(loss.shape)}"
        assert not loss.requires_grad, "the loss still hangs on its graph, and keeps it alive: detach it"
        said = "inside of autocast cross_entropy gives float32, outside it keeps the dtype of the logits"
        assert loss.dtype != torch.bfloat16, f"the loss is bfloat16: {said}"
        assert loss.dtype == torch.float32, f"the loss is {loss.dtype}, expected float32"
        case = f"batch of {rows}: the loss in float32 is {want:.4f}, got {loss.item():.4f}"
        late = abs(after - want) > 0.05 and abs(loss.item() - after) < 0.02
        assert not late, f"{case}, which is the loss after the update"
        assert abs(loss.item() - want) < 0.02, f"{case}; bfloat16 logits explain 0.02 at most"
        same = abs(loss.item() - want) < 2e-6
        assert not same, f"{case}: exactly that of a model in float32, so the loss was not that of the bfloat16 logits"
        losses.append((loss.item(), exact))
    rounded = all(loss == torch.tensor(loss).bfloat16().item() for loss, _ in losses)
    assert not rounded, f"each loss is a bfloat16 number, {losses[0][0]} for one: it was rounded, and cast after"
    for loss, exact in losses:
        said = f"the bfloat16 logits have the mean cross-entropy {exact:.6f}, computed in float32; got {loss:.6f}"
        assert abs(loss / exact - 1) < 1e-4, said


def test_backward_runs_outside_autocast():
    x, y = _batch(6)
    model = _net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        _step(model, optimizer, x, y)
    assert model.backward_in_autocast, "no backward went through the model that amp_step was given"
    inside = any(model.backward_in_autocast)
    assert not inside, "autocast was on during backward: only the forward and the loss belong in its block"


def test_a_step_follows_the_gradient_of_its_own_batch():
    model = _net(3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    for p in model.parameters():
        p.grad = torch.full_like(p, 100.0)
    want = torch.zeros(())
    for step, rows in enumerate((6, 1, 5)):
        x, y = _batch(rows)
        before, gradient = _weights(model), _true_gradient(model, x, y)
        want = 0.5 * want + gradient
        _step(model, optimizer, x, y)
        moved = before - _weights(model)
        off = (moved - want).norm().item() / want.norm().item()
        assert moved.any(), "no weight moved: there was no step, or it had no gradients"
        stale = step == 0 and (moved - want - 100).norm() < 0.1 * want.norm()
        assert not stale, "the gradients from before the step were added to its own: clear them before backward"
        times = (moved @ want / want.norm() ** 2).item()
        said = (
            f"step {step + 1}, of SGD with lr 1 and momentum 0.5: the weights moved by {times:.3g} times what the "
            f"gradient of this batch says, and are off by {off:.0%}; bfloat16 explains 4 %"
        )
        assert off < 0.04, said
