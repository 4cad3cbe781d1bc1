"""Clip the gradient as a whole, and skip the steps that would break the model

One strange batch makes a gradient a thousand times larger than the others, and the step after it throws away what was
learnt. Clipping makes a gradient that is too long shorter: all gradients of the model together are one long vector,
whose length is the root of the sum of all their squares. If it is above max_norm, every `.grad` is multiplied by the
*same* number, so that the length is max_norm. The direction stays; a short gradient stays as it is. To clip each
parameter on its own is something else: it turns the direction. `torch.nn.utils.clip_grad_norm_` does the first.

It has one place in a training step: after backward, when the gradients are there, and before the optimizer uses them.
The number that it returns is the length *before* clipping, which is what you want to log.

Clipping does not help against inf and nan: max_norm / inf is 0, and 0 * inf is nan, so a single inf turns into nan, and
the step writes it into the weights, for good. Then there is nothing to do but to leave this step out: no `opt.step()`,
not even with gradients of zero, since momentum would still move the weights. The next batch begins with clean
gradients: without it, backward adds to the nan that is left, and nan plus anything is nan.

What is asked here: clipping by the norm of all gradients, and a training step that can skip itself.

About 25 minutes. Before it: accumulate_or_separate, training_step.

https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain


def clip_norm_(params: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor | float:
    """Shorten the gradients of `params`, in place, so that the norm over all of them together is at most `max_norm`.

    Within 1e-5 of it; where it is not above `max_norm` already, they stay as they are. A `.grad` that is None stays so.
    `params` is a list, or a generator such as `model.parameters()`. Returns the norm before clipping, as a float or as
    a tensor without dimensions.
    """
    raise NotImplementedError("shorten the gradients, return how long they were")


def safe_step(opt: torch.optim.Optimizer, loss: torch.Tensor, params: list[torch.Tensor], max_norm: float) -> bool:
    """One training step from `loss`, whose gradients are clipped to `max_norm`; True if the weights were updated.

    Gradients from before count for nothing. Where the gradients of `loss` are not finite, as those of a loss of inf or
    nan, the step is left out: the weights and what `opt` remembers stay as they are, and it returns False. `params` are
    the weights of `opt`.
    """
    raise NotImplementedError("clear, backward, clip; step if that is safe")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _clip(params: Any, max_norm: float) -> float:
    """What clip_norm_ returns, as a float."""
    __tracebackhide__ = True
    signs = {
        "NoneType": "one of these parameters has .grad None: the loss did not reach it, and it is to be skipped",
        "ZeroDivision": "all gradients are 0 here, and so is their norm: nothing is to be divided by it",
        "generator": "params may be a generator: it has no length and no index, and it can be walked only once",
    }
    with explain("clip_norm_ raised", signs):
        total = clip_norm_(params, max_norm)
    number = isinstance(total, int | float) or (isinstance(total, torch.Tensor) and total.dim() == 0)
    assert number, f"clip_norm_ returns the norm before clipping, one number; got {total!r}"
    return float(total)


def _with_grads(*grads: Any, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    params = [torch.zeros_like(torch.tensor(grad, dtype=dtype), requires_grad=True) for grad in grads]
    for p, grad in zip(params, grads, strict=True):
        p.grad = torch.tensor(grad, dtype=dtype)
    return params


def test_a_long_gradient_is_scaled_to_max_norm():
    for max_norm, want in ((1.0, [0.6, 0.8]), (2, [1.2, 1.6])):
        (w,) = _with_grads([3.0, 4.0])
        total = _clip([w], max_norm)
        got = w.grad.tolist()
        assert got != [3.0, 4.0], f"the gradient is still [3, 4], of length 5: max_norm is {max_norm}"
        clamped = [min(x, max_norm) for x in (3.0, 4.0)]
        assert got != clamped, f"{got}: each number was clamped by itself, which turns the direction"
        check_tensor(w.grad, torch.tensor(want), f"[3, 4] has length 5, and is to have {max_norm}", rtol=1e-5)
        assert abs(total - max_norm) > 1e-3, f"it returned {total:.6g}, the norm after clipping; before, it was 5"
        assert total == pytest.approx(5, rel=1e-5), f"the norm of [3, 4] is 5, it returned {total:.6g}"
    (w,) = _with_grads([[3.0, -4.0], [0.0, 12.0]], dtype=torch.float64)
    total = _clip([w], 6.5)
    want = torch.tensor([[1.5, -2.0], [0.0, 6.0]], dtype=torch.float64)
    check_tensor(w.grad, want, "a matrix [[3, -4], [0, 12]] of float64 has length 13", rtol=1e-5)
    assert total == pytest.approx(13, rel=1e-5), f"the norm of [[3, -4], [0, 12]] is 13, it returned {total:.6g}"
    check_tensor(w.detach(), torch.zeros(2, 2).double(), "clip_norm_ changed the weights: their gradients are meant")


def test_a_short_gradient_stays_as_it_is():
    for grad, max_norm in (([0.3, 0.4], 1.0), ([0.3, -0.4], 100), ([3.0, 4.0], 5.5), ([0.0, 0.0], 1.0)):
        (w,) = _with_grads(grad)
        total, want = _clip([w], max_norm), torch.tensor(grad)
        length = want.norm().item()
        longer = w.grad.norm().item() > length + 1e-4
        assert not longer, f"the gradient {grad} was made longer, to {w.grad.tolist()}: max_norm is a limit, no target"
        check_tensor(w.grad, want, f"{grad} is shorter than max_norm={max_norm}, and stays as it is", rtol=1e-5)
        assert total == pytest.approx(length, rel=1e-5), f"the norm of {grad} is {length:.6g}, it returned {total:.6g}"


@pytest.mark.myth(
    says="clip_grad_norm_ clips the gradient of each parameter to max_norm.",
    today="It takes the norm over all of them together, and multiplies each by the same number: the direction stays.",
)
@pytest.mark.parametrize("kind", ["list", "generator"])
def test_the_norm_runs_over_all_parameters(kind):
    v, w = _with_grads([3.0, 0.0], [[4.0]])
    total = _clip([v, w] if kind == "list" else (p for p in (v, w)), 1.0)
    lengths = v.grad.norm().item(), w.grad.norm().item()
    alone = lengths == pytest.approx((1, 1), rel=1e-4)
    assert not alone, "gradients of length 3 and 4 both have length 1 now: clipped one by one, their direction changed"
    untouched = lengths == (3, 4)
    assert not untouched or kind == "list", "nothing was clipped: a generator can be walked once, and it was at its end"
    sevenths = lengths == pytest.approx((3 / 7, 4 / 7), rel=1e-4)
    assert not sevenths, "3 and 4 became 3/7 and 4/7: norms do not add up, their squares do"
    said = "[3, 0] and [[4]] have length 5 together: both are to be multiplied by 1/5"
    check_tensor(v.grad, torch.tensor([0.6, 0.0]), said, rtol=1e-5)
    check_tensor(w.grad, torch.tensor([[0.8]]), said, rtol=1e-5)
    assert total == pytest.approx(5, rel=1e-5), f"their norm was 5, clip_norm_ returned {total:.6g}"

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    (model(torch.randn(4, 3)) * torch.tensor([10.0, -30.0])).sum().backward()
    before = torch.cat([p.grad.flatten().clone() for p in model.parameters()])
    total = _clip(list(model.parameters()) if kind == "list" else model.parameters(), 0.25)
    after = torch.cat([p.grad.flatten() for p in model.parameters()])
    check_tensor(after, before * (0.25 / before.norm()), "the whole gradient of a model, scaled to 0.25", rtol=1e-4)
    assert total == pytest.approx(before.norm().item(), rel=1e-5), f"the norm was {before.norm()}, it returned {total}"


def test_clipping_works_in_place_and_skips_none():
    first, w, last = _with_grads([1.0], [3.0, 4.0], [1.0])
    first.grad = last.grad = None
    held = w.grad
    total = _clip([first, w, last], 1.0)
    assert first.grad is None, "first.grad was None, for the loss did not reach it, and is something else now"
    assert last.grad is None, "last.grad was None, for the loss did not reach it, and is something else now"
    assert w.grad is held, "w.grad is a new tensor: the underscore promises that the gradient is changed in place"
    check_tensor(w.grad, torch.tensor([0.6, 0.8]), "[3, 4] scaled to length 1, beside two gradients of None", rtol=1e-5)
    assert total == pytest.approx(5, rel=1e-5), f"the norm of [3, 4] is 5, it returned {total:.6g}"


def _weight(lr: float = 0.5, momentum: float = 0.0) -> tuple[torch.Tensor, torch.optim.Optimizer]:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    return w, torch.optim.SGD([w], lr=lr, momentum=momentum)


def _safe(opt: Any, loss: torch.Tensor, params: Any, max_norm: float) -> bool:
    __tracebackhide__ = True
    signs = {
        "second time": "backward was called twice on one loss",
        "NoneType": "there is a None where a gradient was expected: they are there after backward, not before",
    }
    with explain("safe_step raised", signs):
        done = safe_step(opt, loss, params, max_norm)
    assert done is not None, "safe_step returned None: it says True or False"
    assert bool(done) == done, f"safe_step says True or False, it returned {done!r}"
    return bool(done)


def test_the_gradient_is_clipped_between_backward_and_step():
    w, opt = _weight()
    w.grad = torch.tensor([100.0, -100.0])
    for max_norm, size, want in ((1.0, 1, [0.7, 1.6]), (2.5, 1, [-0.05, 0.6]), (1.0, 1e8, [-0.35, 0.2])):
        done = _safe(opt, (w * torch.tensor([3.0, 4.0]) * size).sum(), [w], max_norm)
        assert done, f"safe_step returned False, for a loss whose gradient is finite, of length {5 * size:.6g}"
        stays = torch.equal(w.detach(), torch.tensor([1.0, 2.0]))
        assert not stays, "the weights did not move: no step, or without the gradients of this loss"
        unclipped = torch.allclose(w.detach(), torch.tensor([-0.5, 0.0]))
        assert not unclipped, "w moved by lr * [3, 4]: the gradient was clipped too late, or too early, or not at all"
        said = (
            f"w moves by lr * {[0.6 * max_norm, 0.8 * max_norm]}, the gradient of this loss, clipped to {max_norm}; "
            "what was in w.grad counts for nothing"
        )
        check_tensor(w.detach(), torch.tensor(want), said, rtol=1e-4, atol=1e-5)
    _safe(opt, (w * torch.tensor([0.2, 0.4])).sum(), [w], 1.0)
    check_tensor(w.detach(), torch.tensor([-0.45, 0.0]), "a short gradient, [0.2, 0.4], is not clipped", atol=1e-5)
    v, u = (torch.zeros(n, requires_grad=True) for n in (1, 2))
    opt = torch.optim.SGD([v, u], lr=1.0)
    _safe(opt, 3 * v.sum() + (u * torch.tensor([0.0, 4.0])).sum(), [v, u], 1.0)
    moved = [round(x, 4) + 0.0 for x in (*v.tolist(), *u.tolist())]
    assert moved != [-1, 0, -1], "two weights with gradients 3 and [0, 4] both moved by 1: they were clipped one by one"
    assert moved == [-0.6, 0, -0.8], f"gradients 3 and [0, 4] are clipped together, to 0.6 and [0, 0.8]; moved {moved}"


def _bad_losses(w: torch.Tensor) -> dict[str, torch.Tensor]:
    """Losses at w = [1, 2] whose gradients are not finite."""
    return {
        "nan": (w * float("nan")).sum(),
        "inf": (w * float("inf")).sum(),
        "minus inf": (w * float("-inf")).sum(),
        "finite, but its gradient is inf": (w[0] - 1).sqrt() + w[1],
    }


@pytest.mark.parametrize("kind", ["nan", "inf", "minus inf", "finite, but its gradient is inf"])
def test_a_step_with_gradients_that_are_not_finite_is_left_out(kind):
    w, opt = _weight(momentum=0.9)
    w.grad = torch.tensor([0.3, 0.4])
    opt.step()  # so that there is momentum
    w.grad, w.data = None, torch.tensor([1.0, 2.0])
    loss, buffer = _bad_losses(w)[kind], opt.state[w]["momentum_buffer"].clone()
    done = _safe(opt, loss, [w], 1.0)
    assert not w.isnan().any(), f"the weights are nan, for good: {w.tolist()}; the loss was {loss.item()}"
    unmoved = torch.tensor([1.0, 2.0])
    drifted = torch.allclose(w.detach(), unmoved - 0.5 * 0.9 * buffer)
    assert not drifted, "momentum moved the weights in a step that was to be left out: opt.step() ran in it"
    check_tensor(w.detach(), unmoved, "the weights moved in a step that was to be left out")
    assert w in opt.state, "the momentum is gone: what the optimizer remembers stays as it is"
    check_tensor(opt.state[w].get("momentum_buffer"), buffer, "the momentum changed in a step that was to be left out")
    assert not done, f"safe_step returned True, for a loss of {loss.item()} and gradients that are not finite"
    done = _safe(opt, (w * torch.tensor([3.0, 4.0])).sum(), [w], 1.0)
    stale = w.isnan().any() or (not done and w.grad is not None and not w.grad.isfinite().all())
    assert not stale, "the gradients of a bad step were not cleared: nan survived into the next step"
    assert done, "the step after a bad one was left out too, though the gradient of its loss is finite"
    want = torch.tensor([1 - 0.5 * (0.9 * 0.3 + 0.6), 2 - 0.5 * (0.9 * 0.4 + 0.8)])
    check_tensor(w.detach(), want, "the step after a bad one is an ordinary one, with clipping and momentum", rtol=1e-4)


def test_one_bad_number_in_one_gradient_is_enough():
    for bad, place in ((float("nan"), "last"), (float("inf"), "last"), (float("nan"), "first")):
        v, w = (torch.ones(n, requires_grad=True) for n in (1, 2))
        params = [v, w] if place == "last" else [w, v]
        opt = torch.optim.SGD(params, lr=1.0)
        done = _safe(opt, v.sum() + (w * torch.tensor([1.0, bad])).sum(), params, 1.0)
        said = f"of two weights, the {place} has a gradient of [1, {bad}], so the step is left out for both"
        for p in (v, w):
            check_tensor(p.detach(), torch.ones_like(p), said)
        assert not done, f"safe_step returned True; {said}"
