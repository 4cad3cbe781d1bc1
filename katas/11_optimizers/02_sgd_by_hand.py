"""SGD by hand: what momentum remembers

`torch.optim.SGD` is a few lines of arithmetic for each weight p with gradient g, in this order:

1. weight decay: g + weight_decay * p takes the place of g.
2. momentum: a buffer per weight. The first gradient that a weight gets *is* its buffer; later ones are mixed in:
   momentum * buffer + (1 - dampening) * g. Without momentum (0) there is no buffer, and the next lines use g.
3. the direction is the buffer; with Nesterov it is g + momentum * buffer.
4. p moves by -lr * direction.

Papers and other libraries write it otherwise: as an average (then steps are ten times smaller at momentum 0.9), or with
lr inside the buffer (the same path until a scheduler changes lr, another one afterwards). Who copies a formula or a
learning rate from there gets another training, and no error says so.

A weight that the loss did not reach has `.grad` None. It is left out completely: no decay, no move by old momentum, and
its buffer waits. A gradient of *zeros* is a gradient: momentum goes on moving such a weight. This is why `zero_grad`
sets None.

What is asked here: the class, by arithmetic. `param_groups` is where a scheduler finds and changes lr: read it there.

About 30 minutes. Before it: manual_sgd, in_place_and_versions.

https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises


class SGD:
    """Moves its weights, leaves of any float dtype, as torch.optim.SGD does, and as exactly as their dtype allows.

    `param_groups` is a list of dicts, as in torch, and the first one holds "lr". A new value in `param_groups[0]["lr"]`
    counts from the next step on.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        momentum: float,
        dampening: float,
        weight_decay: float,
        nesterov: bool,
    ) -> None:
        """`params` is a list, or a generator such as `model.parameters()`. Nothing moves yet.

        `nesterov` wants a momentum above 0, and a dampening of 0: else a ValueError.
        """
        raise NotImplementedError("keep the weights and how to move them")

    def step(self) -> None:
        """Move each weight that has a gradient; what has none stays as it is, and so does its buffer.

        A weight stays the same object, a leaf that requires a gradient. Its `.grad` stays as it is.
        """
        raise NotImplementedError("move the weights by their gradients")

    def zero_grad(self) -> None:
        """Each `.grad` is None afterwards."""
        raise NotImplementedError("drop the gradients")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "leaf Variable": "a leaf that requires grad can be edited in place only where autograd does not record",
    "NoneType": "a weight that the loss did not reach has .grad None: it is to be skipped",
    "has no attribute 'param_groups'": 'the optimizer has no param_groups, the list of dicts in which "lr" is',
    "Boolean value of Tensor": "several numbers are neither true nor false: ask `is None`, and find a weight by "
    "identity, not with == or `in`",
}


def _make(params: Any, *hyper: Any) -> Any:
    __tracebackhide__ = True
    with explain(f"SGD(params, {', '.join(map(str, hyper))}) raised", _SIGNS):
        return SGD(params, *hyper)


def _step(opt: Any) -> None:
    __tracebackhide__ = True
    with explain("opt.step() raised", _SIGNS):
        opt.step()
    assert torch.is_grad_enabled(), "step() left gradients switched off: the next loss would have no graph"


def _check_grad(w: torch.Tensor, was: float, said: str) -> None:
    __tracebackhide__ = True
    assert w.grad is not None, "step() dropped w.grad: to clear it is the work of zero_grad()"
    check_tensor(w.grad, torch.full_like(w, was), f"step() changed w.grad: {said}")


def _moves(hyper: tuple[Any, ...], lrs: list[float], grads: Any = (1.0,) * 9, dtype: Any = torch.float64) -> Any:
    """How far one weight moves down in each step, where its gradient is 1; lr is changed as a scheduler does."""
    __tracebackhide__ = True
    w = torch.zeros(1, dtype=dtype, requires_grad=True)
    opt, moves = _make([w], lrs[0], *hyper), []
    for lr, grad in zip(lrs, grads, strict=False):
        if lr != lrs[0]:
            with explain('opt.param_groups[0]["lr"] = ... raised', _SIGNS):
                opt.param_groups[0]["lr"] = lr
        before = w.item()
        w.grad = torch.full_like(w, grad)
        _step(opt)
        moves.append(before - w.item())
        assert w.dtype == dtype, f"w was of {dtype}, and is of {w.dtype} after a step"
        _check_grad(w, grad, "it is only to be read")
    return moves


def _expect(got: list[float], want: list[float], said: str, known: dict[str, list[float]]) -> None:
    """`got` is `want`; if not, it may be what a known mistake gives."""
    __tracebackhide__ = True
    shown = [round(x, 6) for x in got]
    for mistake, wrong in known.items():
        assert got != pytest.approx(wrong, rel=1e-9), f"the moves are {shown}, expected {want}: {mistake}"
    assert got == pytest.approx(want, rel=1e-9), f"the moves are {shown}, expected {want}: {said}"


def _path(cls: Any, *hyper: Any, lrs: Any = None, absent: Any = ()) -> torch.Tensor:
    """The weights after each of 8 steps of an optimizer, where the second of them has no gradient in some."""
    __tracebackhide__ = True
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[0.3], [-0.7]], dtype=torch.float64, requires_grad=True)
    opt = (_make if cls is SGD else cls)([w, b], *hyper)
    path = []
    for i in range(8):
        if lrs is not None:
            opt.param_groups[0]["lr"] = lrs[i]
        w.grad = b.grad = None
        loss = (w**2 * torch.tensor([0.5, 1.0, 2.0])).sum()
        if i not in absent:
            loss = loss + (b**3 + b * torch.tensor([[0.2], [1.5]])).sum()
        with explain("loss.backward() raised after a step: the weights stay leaves that require a gradient"):
            loss.backward()
        _step(opt)
        path.append(torch.cat([w.detach().flatten(), b.detach().flatten()]))
    return torch.stack(path)


def _as_torch(said: str, *hyper: Any, **options: Any) -> None:
    __tracebackhide__ = True
    want = _path(torch.optim.SGD, *hyper, **options)
    check_tensor(_path(SGD, *hyper, **options), want, said, rtol=1e-9, atol=1e-12)


def test_plain_sgd_moves_a_weight_by_lr_times_its_gradient():
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        w, also = (torch.tensor(values, dtype=dtype, requires_grad=True) for values in ([1.0, 2.0], [[4.0]]))
        opt = _make((p for p in (w, also)), 0.25, 0.0, 0.0, 0.0, False)
        check_tensor(w.detach(), torch.tensor([1.0, 2.0], dtype=dtype), "a new optimizer has moved a weight already")
        for want in ([0.5, 2.0], [0.0, 2.0]):
            w.grad, also.grad = torch.tensor([2.0, 0.0], dtype=dtype), torch.tensor([[1.0]], dtype=dtype)
            before = w.detach().clone()
            _step(opt)
            assert w.is_leaf, "w is no leaf any more: the step became a part of a graph"
            assert w.requires_grad, "w no longer requires a gradient: training ends after one step"
            once = want[0] == 0 and torch.equal(w, before)
            assert not once, "the first step moved w, the second did not: params may be a generator, walked only once"
            said = f"w moves by -lr * grad in each step, in {dtype}; params is a generator here"
            check_tensor(w.detach(), torch.tensor(want, dtype=dtype), said, rtol=1e-2)
        check_tensor(also.detach(), torch.tensor([[3.5]], dtype=dtype), "the second weight moves too", rtol=1e-2)
        for grads in ("there", "there", "None already"):
            if grads == "there":
                w.grad, also.grad = torch.ones_like(w), torch.ones_like(also)
            with explain(f"opt.zero_grad() raised, where the gradients are {grads}", _SIGNS):
                opt.zero_grad()
            left = "" if w.grad is None else f"{w.grad.tolist()}, expected None"
            assert left[:4] != "[0.0", f"after zero_grad() w.grad is {left}: zeros are a gradient, too"
            assert not left, f"after zero_grad() w.grad is {left}: it is to be cleared in each call"
            assert also.grad is None, "zero_grad() cleared the first weight only"
    _as_torch("plain SGD, 8 steps in float64", 0.03, 0.0, 0.0, 0.0, False)


def test_momentum_is_a_sum_of_gradients_not_their_average():
    known = {
        "that is an average of the gradients, momentum * buffer + (1 - momentum) * g": [0.1, 0.19, 0.271],
        "the new gradient was added to the old buffer, which momentum did not shrink": [1, 2, 3],
        "each step is the gradient alone: the buffer begins anew, or it is an average that began with g": [1, 1, 1],
    }
    got = _moves((0.9, 0.0, 0.0, False), [1.0, 1.0, 1.0])
    _expect(got, [1, 1.9, 2.71], "the buffer is 0.9 times the buffer, plus the gradient", known)
    _as_torch("momentum 0.9, 8 steps", 0.03, 0.9, 0.0, 0.0, False)
    w, v = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    one, other = _make([w], 1.0, 0.75, 0.0, 0.0, False), _make([v], 1.0, 0.75, 0.0, 0.0, False)
    w.grad, v.grad = torch.ones_like(w), 10 * torch.ones_like(v)
    for opt in (one, other, one):
        _step(opt)
    _check_grad(w, 1.0, "the buffer is a tensor of its own")
    want = torch.tensor([-2.75], dtype=torch.float64)
    check_tensor(w.detach(), want, "two optimizers share a buffer: the second one's gradient moved the first one's w")

    w, v = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    opt = _make([w, v], 1.0, 0.75, 0.0, 0.0, False)
    for _ in range(2):
        opt.zero_grad()
        w.grad, v.grad = torch.ones_like(w), 10 * torch.ones_like(v)
        _step(opt)
    got = [w.item(), v.item()]
    assert got != [-2, -20], "zero_grad() cleared the buffers too: only the gradients go, momentum stays"
    assert got == [-2.75, -27.5], f"two weights of one shape should move to [-2.75, -27.5], each by its buffer; {got}"
    got = _moves((0.5, 0.0, 0.0, False), [0.25, 0.25], dtype=torch.bfloat16)
    _expect(got, [0.25, 0.375], "momentum 0.5 in bfloat16", {})


@pytest.mark.myth(
    says="SGD with momentum is v = momentum * v + lr * g; w = w - v, as in the papers.",
    today="lr stands outside: the buffer holds bare gradients, so a smaller lr shrinks the very next step.",
)
def test_lr_is_no_part_of_the_momentum():
    lrs = [0.1, 0.1, 0.1, 0.01, 0.01]
    known = {
        "lr went into the buffer, so that old steps live on at the old lr": [0.1, 0.19, 0.271, 0.2539, 0.23851],
        'param_groups[0]["lr"] was changed to 0.01 after three steps, and you still use the lr of the start': [
            *(0.1, 0.19, 0.271, 0.3439, 0.40951)
        ],
    }
    want = [0.1, 0.19, 0.271, 0.03439, 0.040951]
    _expect(_moves((0.9, 0.0, 0.0, False), lrs), want, "lr times the buffer, with the lr of that step", known)
    lrs = [0.05] * 3 + [0.005] * 3 + [0.02] * 2
    _as_torch("momentum 0.9, where lr changes twice", 0.05, 0.9, 0.0, 0.0, False, lrs=lrs)


def test_dampening_spares_the_first_gradient():
    known = {
        "dampening applied to the first gradient, as it is where a buffer starts at 0": [0.75, 1.425, 2.0325],
        "dampening was forgotten": [1, 1.9, 2.71],
        "the new gradient is to be multiplied by 1 - dampening, not by dampening": [1, 1.15, 1.285],
    }
    got = _moves((0.9, 0.25, 0.0, False), [1.0, 1.0, 1.0])
    _expect(got, [1, 1.65, 2.235], "first the gradient, then 0.9 * buffer + (1 - 0.25) * g", known)
    got = _moves((0.0, 0.25, 0.0, False), [1.0, 1.0, 1.0])
    _expect(got, [1, 1, 1], "without momentum there is no buffer, and nothing to dampen", {})
    got = _moves((0.9, 0.25, 0.0, False), [1.0, 1.0], [0.0, 1.0])
    _expect(got, [0, 0.75], "a first gradient of 0 is the buffer; the one after it is dampened", {})
    _as_torch("momentum 0.8, dampening 0.3, 8 steps", 0.03, 0.8, 0.3, 0.0, False)


def test_weight_decay_joins_the_gradient_before_momentum():
    w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    opt, got = _make([w], 0.5, 0.5, 0.0, 0.1, False), []
    w.grad = torch.ones_like(w)
    for _ in range(3):
        before = w.item()
        _step(opt)
        got.append(before - w.item())
        _check_grad(w, 1.0, "the decayed gradient is a tensor of its own")
    known = {
        "that is AdamW's decoupling: decay shrinks w beside the step, and never enters the buffer": [0.6, 0.82, 0.904],
        "that is AdamW's decoupling, and after the step: decay never enters the buffer": [0.575, 0.78375, 0.8633125],
        "weight decay was forgotten": [0.5, 0.75, 0.875],
        "the sign: decay adds weight_decay * w to the gradient, so that w goes towards 0": [0.4, 0.62, 0.761],
    }
    _expect(got, [0.6, 0.87, 0.9615], "g + 0.1 * w goes into the buffer in place of g", known)
    _as_torch("weight decay 0.3 with momentum 0.9, 8 steps", 0.03, 0.9, 0.0, 0.3, False)
    _as_torch("weight decay 0.3 without momentum, 8 steps", 0.03, 0.0, 0.0, 0.3, False)


def test_nesterov_takes_the_gradient_and_the_new_buffer():
    known = {
        "that is plain momentum": [1, 1.9, 2.71],
        "the direction is momentum times the buffer, without the gradient": [0.9, 1.71, 2.439],
        "the gradient is to be added to the buffer times momentum, not to the whole buffer": [2, 2.9, 3.71],
        "the direction itself was kept as the buffer": [1.9, 3.439, 4.68559],
    }
    got = _moves((0.9, 0.0, 0.0, True), [1.0, 1.0, 1.0])
    _expect(got, [1.9, 2.71, 3.439], "the direction is g + 0.9 * buffer, after the buffer took g in", known)
    _as_torch("nesterov with momentum 0.9, 8 steps", 0.03, 0.9, 0.0, 0.0, True)
    for what, momentum, dampening in (("no momentum", 0.0, 0.0), ("a dampening of 0.5", 0.9, 0.5)):
        with raises(ValueError, f"nesterov with {what} has no meaning here: it is a ValueError"):
            SGD([torch.zeros(1, requires_grad=True)], 0.1, momentum, dampening, 0.0, True)
    _as_torch("nesterov with momentum 0.7 and weight decay 0.3", 0.03, 0.7, 0.0, 0.3, True)


@pytest.mark.myth(
    says="A weight whose gradient is zero stays where it is.",
    today="Momentum and weight decay go on moving it; only a weight whose .grad is None is skipped.",
)
def test_a_weight_without_a_gradient_is_skipped_and_its_buffer_waits():
    w = torch.tensor([1.0, 3.0], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    opt = _make([w, other], 0.1, 0.9, 0.0, 0.5, False)
    for _ in range(2):
        w.grad, other.grad = torch.tensor([1.0, 1.0]).double(), torch.ones_like(other)
        _step(opt)
    w.grad, still, from_here = None, w.detach().clone(), other.item()
    _step(opt)
    assert other.item() != from_here, "w has no gradient in this step, and the weight after it was not moved either"
    check_tensor(w.detach(), still, "w has no gradient in this step, and moved: by weight decay or by old momentum")
    w.grad, before = torch.zeros_like(w), w.detach().clone()
    _step(opt)
    moved = not torch.equal(w.detach(), before)
    assert moved, "w has a gradient of zeros in this step, which is a gradient: momentum and decay go on"
    _as_torch("absent in steps 3 and 4, with momentum", 0.03, 0.9, 0.0, 0.0, False, absent=(3, 4))
    said = "absent in steps 0 and 1: its first gradient comes in step 2, and is its buffer, whole"
    _as_torch(said, 0.03, 0.9, 0.4, 0.2, False, absent=(0, 1))
    _as_torch("absent in steps 0, 1 and 4, with decay", 0.03, 0.0, 0.0, 0.2, False, absent=(0, 1, 4))
