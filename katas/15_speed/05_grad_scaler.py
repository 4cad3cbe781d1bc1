"""Unscale, clip, step, update

float16 has digits enough for a gradient, but no reach: below 6e-8 it knows only zero, and many gradients are smaller.
So the loss is multiplied by a big number before backward, and with it all gradients; before the step they are divided
by it again. Too big a number makes them inf. Nobody knows the right one beforehand, so a `GradScaler` finds it: it
begins with 65536, halves its scale when a gradient is inf or nan, and leaves that step out, so that the weights never
see it; after many good steps it doubles its scale.

It wants to be asked at each point: `scaler.scale(loss).backward()` in place of loss.backward(), then
`scaler.step(optimizer)` in place of optimizer.step(), which divides, looks for inf, and steps or does not, and
`scaler.update()` for the new scale, after each step, left out or not.

Between backward and step the gradients are still multiplied. Whoever clips them there to length 1, as in any training,
has clipped 65536 times too hard: after the division the gradient is 0.000015 long, and the training seems frozen. First
`scaler.unscale_(optimizer)` divides now, once; scaler.step then knows that it is done, and if inf was found. Two calls
of unscale_ without an update between them raise.

`scaler.get_scale()` is the present scale. torch.amp.GradScaler is told its device, "cpu" or "cuda"; without it, it is
for CUDA, and switches itself off where there is none. (In float32, as here, nothing would be lost without a scaler: it
lets you see each number. In float16 the forward would run in autocast.)

What is asked here: one training step with a scaler and clipping, that says whether it was made.

About 25 minutes. Before it: training_step, clip_gradients, autocast_bf16.

https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def amp_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    x: torch.Tensor,
    y: torch.Tensor,
    max_norm: float,
) -> bool:
    """One training step in float32 on the mse loss of `model(x)` and `y`, with the gradients scaled by `scaler`.

    The true gradients, those of the loss itself, are clipped: their norm over all parameters together is at most
    `max_norm` in the step. If a gradient is inf or nan the step is left out: weights and optimizer stay as they are,
    and `scaler` takes a smaller scale. It is brought up to date after each step, with the settings that it was made
    with. `optimizer` holds all parameters, in one group or in several. `x` and `y`, of the same shape as model(x), stay
    as they are. The model comes in train mode and stays in it. Gradients of an earlier call have no influence.

    Returns True where the weights were stepped, otherwise False: Python's own. (Gradients of 0 everywhere: not asked.)
    """
    raise NotImplementedError("scale, backward, unscale, clip, step, update")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"unscale_\(\) has already been called": "unscale_ was called twice without an update of the scaler between them",
    r"being called after step|step\(\) has already been called": "scaler.step came, and then another unscale_ or "
    "step without an update of the scaler between them",
    "No inf checks were recorded": "the scaler was updated without unscaling any gradient: was its step left out?",
    "error_if_nonfinite|non-finite": "clipping raised on gradients of inf: this step is to be left out, without a word",
    "does not require grad": "the loss has no graph: backward needs one",
    "second time": "backward ran twice on one graph: one loss, one backward",
}


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def _batch(rows: int, size: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.linspace(-1, 2, 3 * rows).view(rows, 3).mul(5).cos()
    return x, torch.linspace(-3, 1, 2 * rows).view(rows, 2) * size


def _step(model: nn.Module, optimizer: Any, scaler: Any, x: torch.Tensor, y: torch.Tensor, max_norm: float) -> Any:
    __tracebackhide__ = True
    with explain("amp_step raised", _SIGNS), unchanged("amp_step changed the batch", x=x, y=y):
        return amp_step(model, optimizer, scaler, x, y, max_norm)


def _weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().double().flatten() for p in model.parameters()])


def _gradient(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The true gradient, all in one vector, computed in float64."""
    twin = copy.deepcopy(model).double()
    loss = nn.functional.mse_loss(twin(x.double()), y.double())
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()))])


def _off(moved: torch.Tensor, want: torch.Tensor) -> float:
    return ((moved - want).norm() / want.norm()).item()


@pytest.mark.myth(
    says="Gradients are clipped right after loss.backward().",
    today="With a scaler they are 65536 times too long there: scaler.unscale_(optimizer) comes first.",
)
@pytest.mark.parametrize("scale", [65536.0, 1024.0], ids=["scale of 65536", "scale of 1024"])
def test_gradients_are_unscaled_before_they_are_clipped(scale):
    model, modes = _net(), []
    model.register_forward_pre_hook(lambda *_: modes.append(model.training))
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters()}]
    optimizer, scaler = torch.optim.SGD(groups, lr=1.0), torch.amp.GradScaler("cpu", init_scale=scale)
    for rows, max_norm in ((6, 1.0), (4, 0.25), (5, 2)):
        x, y = _batch(rows, size=10.0)
        before, gradient = _weights(model), _gradient(model, x, y)
        norm = gradient.norm().item()
        assert norm > 2 * max_norm, "this test needs a gradient that is too long"
        _step(model, optimizer, scaler, x, y, max_norm)
        moved = before - _weights(model)
        length = moved.norm().item()
        assert length > 0, "no weight moved: there was no step, or it had no gradients"
        case = f"lr is 1 and the gradient is clipped from {norm:.3g} to {max_norm}: the step has length {length:.3g}"
        early = abs(length * scale / max_norm - 1) < 0.05
        cause = "the gradients were clipped before unscale_, or divided by the scale twice"
        assert not early, f"{case}, {scale:.0f} times too short: {cause}"
        never = abs(length / norm - 1) < 0.01
        assert not never, f"{case}, which is all of the gradient: it was not clipped before the step"
        assert abs(length / norm / scale - 1) > 0.01, f"{case}: the gradients are still multiplied by {scale:.0f}"
        assert abs(length / max_norm - 1) < 2e-3, f"{case}, expected {max_norm}"
        turned = _off(moved, gradient * (max_norm / norm))
        assert turned < 1e-3, f"the step has the right length, but not the gradient's direction: off by {turned:.1%}"
        assert model.training, "the model came in train mode, and it was left in eval mode"
        assert all(modes), "the model came in train mode, and ran in eval mode"


def test_a_short_gradient_gives_the_step_of_a_training_without_scaler():
    x, y = _batch(5)
    for scale, limit in ((65536.0, 1e9), (2.0, 50)):
        model = _net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        want, last = torch.zeros((2, 26), dtype=torch.float64)
        for step in (1, 2, 3):
            before, gradient = _weights(model), _gradient(model, x, y)
            want = 0.5 * want + gradient
            _step(model, optimizer, scaler, x, y, limit)
            moved = (before - _weights(model)) / 0.1
            stale = step == 2 and _off(moved, want) > 0.02 and _off(moved, want + last / scale) < 0.02
            assert not stale, f"gradients of the call before, true ones, were added to this one's, times {scale:.0f}"
            times = (moved @ want / want.norm() ** 2).item()
            said = (
                f"max_norm={limit} is far above the gradient, and the weights moved by {times:.4g} times what SGD with "
                f"momentum makes of it (call {step}, scale {scale:.0f}), and are off by {_off(moved, want):.1%}"
            )
            assert _off(moved, want) < 1e-3, said
            last = gradient
    adam_model = _net()
    adam = torch.optim.Adam(adam_model.parameters(), lr=0.01)
    before = _weights(adam_model)
    _step(adam_model, adam, torch.amp.GradScaler("cpu"), x, y, 1e9)
    far = (_weights(adam_model) - before).abs().max().item()
    assert abs(far - 0.01) < 1e-4, f"the first step of Adam moves a weight by lr, 0.01 here; it moved by {far:.3g}"


_BAD = ["inf in x", "nan in x", "minus inf in y", "only the scaled gradient overflows"]


@pytest.mark.parametrize("kind", _BAD)
def test_a_step_with_gradients_that_are_not_finite_is_left_out(kind):
    good, target = _batch(6)
    x, y, scale = good.clone(), target.clone(), 65536.0
    if kind == "only the scaled gradient overflows":
        y, scale = y * 1000, 2.0**121
    elif kind == "minus inf in y":
        y[2, 1] = float("-inf")
    else:
        x[3, 1] = float("inf") if kind == "inf in x" else float("nan")
    model = _net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    nn.functional.mse_loss(model(good), target).backward()
    optimizer.step()  # so that there is momentum
    optimizer.zero_grad(set_to_none=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    for left_out in (1, 2):
        weights, memory = _weights(model), copy.deepcopy(optimizer.state_dict())
        done = _step(model, optimizer, scaler, x, y, 1.0)
        assert _weights(model).isfinite().all(), f"{kind}: inf or nan is in the weights now, for good"
        drifted = not torch.equal(_weights(model), weights)
        assert not drifted, f"{kind}: the weights moved in a step that was to be left out"
        after = optimizer.state_dict()
        kept = after["state"].keys() == memory["state"].keys() and after["param_groups"] == memory["param_groups"]
        assert kept, f"{kind}: the optimizer lost its momentum, or has other settings, and is to stay as it is"
        for i, state in after["state"].items():
            said = f"{kind}: the momentum changed in a step that was to be left out"
            check_tensor(state["momentum_buffer"], memory["state"][i]["momentum_buffer"], said)
        new, due = scaler.get_scale(), scale / 2**left_out
        halved = f"{kind}, call {left_out}: the scale is {new:.6g}, expected {due:.6g}, half of what it was"
        assert new == due, f"{halved}: update() comes after each step, also one that is left out"
        assert not done, f"{kind}: amp_step returned {done}, and the weights were not stepped"
    before = _weights(model)
    if kind == "only the scaled gradient overflows":  # a scale that is fine for this batch
        scaler.update(65536.0)
    done = _step(model, optimizer, scaler, good, target, 1e9)
    stepped = not torch.equal(_weights(model), before)
    spoilt = any(p.grad is not None and not bool(p.grad.isfinite().all()) for p in model.parameters())
    assert not spoilt, f"{kind}: a good batch came next, and its gradients are not finite: the old ones are still in"
    assert stepped, f"{kind}: a good batch came next, and its step was left out too"
    assert done, f"{kind}: a good batch came next, the weights were stepped, and amp_step returned {done}"


def test_the_answer_is_python_s_true_or_false():
    x, y = _batch(4)
    model = _net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2, backoff_factor=0.25)
    for step, due in enumerate((4.0, 8.0, 8.0, 16.0)):
        scale, before = scaler.get_scale(), _weights(model)
        done = _step(model, optimizer, scaler, x, y, 1.0)
        assert not torch.equal(_weights(model), before), "no weight moved, and the gradients are finite"
        new = scaler.get_scale()
        said = f"with growth_interval=2, the scale after good step {step + 1} is {due}, got {new}: update() once a step"
        assert new == due, said
        grown = f", and the scale went from {scale} to {new}, as it does after some good steps" if new > scale else ""
        assert done is not None, "amp_step returned None: it says True or False"
        assert done, f"the weights were stepped{grown}; amp_step returned {done}"
        assert done is True, f"True is expected where the weights were stepped, got {done!r}"
    done = _step(model, optimizer, scaler, x * float("inf"), y, 1.0)
    assert done is False, f"False is expected where the step was left out, got {done!r}"
    new = scaler.get_scale()
    assert new == 4.0, f"this scaler has backoff_factor=0.25, and its scale went from 16 to {new}, not to 4"
