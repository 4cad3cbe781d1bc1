"""Adam, AdamW and RMSprop by hand: steps that don't know how large the gradient is

These three divide each weight's gradient by its own recent size, so a gradient of 0.001 and one of 1000 make about the
same step: lr says how far a weight moves, nearly alone.

RMSprop keeps v, an average of squares: v ← alpha * v + (1 - alpha) * g², from 0. It moves by lr * g / (√v + eps). As v
begins at 0, the first step is lr / √(1 - alpha), ten times lr. With momentum, a buffer gathers the quotients:
buffer ← momentum * buffer + g / (√v + eps), and the move is lr * buffer.

Adam keeps two averages from 0, m of g with betas[0] and v of g² with betas[1]. Both are too small at first, by a factor
that is known: 1 - beta**t after t gradients. Adam divides it out (bias correction) and moves by lr * m̂ / (√v̂ + eps).
So eps comes after the root and after the correction; TensorFlow puts it elsewhere. t counts the gradients of *this
weight*, from 1: a weight without a gradient (`.grad` is None) is skipped, and its t, m and v wait.

`weight_decay` of Adam is added to the gradient (g + weight_decay * p), so it is divided by √v̂ as well, and hardly says
how strong it is. AdamW keeps it apart: first p ← p * (1 - lr * weight_decay), then Adam's move.

What is asked here: all three, in this arithmetic, with torch's parameter names and defaults.

About 45 minutes. Before it: sgd_by_hand.

https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain


class Adam:
    """Moves its weights, leaves of any float dtype, as torch.optim.Adam does, and as exactly as their dtype allows."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        """`params` is a list, or a generator such as `model.parameters()`. `weight_decay` joins the gradient."""
        raise NotImplementedError("keep the weights and how to move them")

    def step(self) -> None:
        """Move each weight that has a gradient, in place. It stays a leaf that requires a gradient.

        A weight without a gradient stays as it is. Each `.grad` stays as it is. Where you keep `param_groups`, as in
        sgd_by_hand, a new "lr" there counts from the next step on; you need not.
        """
        raise NotImplementedError("move the weights by m̂ / (√v̂ + eps)")


class AdamW:
    """The same as torch.optim.AdamW: Adam's move, with a weight decay of its own."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        """As in Adam; but `weight_decay` shrinks the weight, and the gradient stays free of it."""
        raise NotImplementedError("keep the weights and how to move them")

    def step(self) -> None:
        """As in Adam. A weight without a gradient does not shrink either."""
        raise NotImplementedError("shrink the weights, then move them")


class RMSprop:
    """The same as torch.optim.RMSprop, without its other options."""

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
    ) -> None:
        """`params` as in Adam."""
        raise NotImplementedError("keep the weights and how to move them")

    def step(self) -> None:
        """As in Adam."""
        raise NotImplementedError("move the weights by g / (√v + eps)")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "leaf Variable": "a leaf that requires grad can be edited in place only where autograd does not record",
    "NoneType": "a weight that the loss did not reach has .grad None: it is to be skipped",
    "ZeroDivision": "1 - beta**t is 0 for t = 0: t counts the gradients of a weight, and the first one is number 1",
    "Boolean value of Tensor": "several numbers are neither true nor false: ask `is None`, and find a weight by "
    "identity, not with == or `in`",
}


def _make(cls: Any, params: Any, lr: float, options: dict[str, Any]) -> Any:
    __tracebackhide__ = True
    shown = "".join(f", {name}={value}" for name, value in options.items())
    with explain(f"{getattr(cls, '__name__', 'the class')}(params, {lr}{shown}) raised", _SIGNS):
        return cls(params, lr, **options)


def _step(opt: Any) -> None:
    __tracebackhide__ = True
    with explain("opt.step() raised", _SIGNS):
        opt.step()
    assert torch.is_grad_enabled(), "step() left gradients switched off: the next loss would have no graph"


def _moves(cls: Any, gradient: float, n: int = 1, lr: float = 0.1, start: float = 0.0, **options: Any) -> list[float]:
    """How far a weight at `start` moves down in each of `n` steps, where its gradient is always the same."""
    __tracebackhide__ = True
    w, moves = torch.tensor([start], dtype=torch.float64, requires_grad=True), []
    opt = _make(cls, [w], lr, options)
    for _ in range(n):
        w.grad = torch.full_like(w, gradient)
        before = w.item()
        _step(opt)
        assert not w.isnan(), "the weight became nan, as 0 / 0 is: 1 - beta**t is 0 for t = 0, and √v is 0 for g = 0"
        moves.append(before - w.item())
        check_tensor(w.grad, torch.full_like(w, gradient), "step() changed w.grad: it is only to be read")
    return moves


def _check_lr_of_the_groups(cls: Any, name: str) -> None:
    """Where there are param_groups, their lr is the one that counts."""
    __tracebackhide__ = True
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    opt = _make(cls, [w], 0.1, {})
    groups = getattr(opt, "param_groups", [])
    for group in groups:
        group["lr"] = 0.0
    w.grad = torch.ones_like(w)
    _step(opt)
    moved = bool(groups) and w.item() != 0
    assert not moved, f'{name} has param_groups, whose "lr" was set to 0, and its step moved w by {-w.item():.6f}'


def _expect(got: list[float], want: list[float], said: str, known: dict[str, list[float]], rel: float = 1e-5) -> None:
    """`got` is `want`; if not, it may be what a known mistake gives."""
    __tracebackhide__ = True
    shown = [round(x, 6) for x in got]
    for mistake, wrong in known.items():
        assert got != pytest.approx(wrong, rel=1e-4), f"the moves are {shown}, expected {want}: {mistake}"
    assert got == pytest.approx(want, rel=rel), f"the moves are {shown}, expected {want}: {said}"


def _path(cls: Any, lr: float, absent: tuple[int, ...], options: dict[str, Any], dtype: torch.dtype) -> torch.Tensor:
    """The weights after each of 8 steps of an optimizer; the second has no gradient in some, two are of one shape."""
    __tracebackhide__ = True
    w = torch.tensor([1.0, -2.0, 0.5], dtype=dtype, requires_grad=True)
    c = torch.tensor([0.4, 1.5, -3.0], dtype=dtype, requires_grad=True)
    b = torch.tensor([[0.3], [-0.7]], dtype=dtype, requires_grad=True)
    opt, path = _make(cls, (p for p in (w, b, c)), lr, options), []
    for i in range(8):
        w.grad = b.grad = c.grad = None
        loss = (w**2 * torch.tensor([0.5, 1.0, 2.0])).sum() + (c**4).sum()
        if i not in absent:
            loss = loss + (b**3 + b * torch.tensor([[0.2], [1.5]])).sum()
        with explain("loss.backward() raised after a step: the weights must stay leaves that require a gradient"):
            loss.backward()
        _step(opt)
        assert w.is_leaf, "w is no leaf any more: the step became a part of a graph"
        assert w.dtype == dtype, f"w was of {dtype}, and is of {w.dtype} after a step"
        path.append(torch.cat([p.detach().flatten() for p in (w, b, c)]))
        still = i == 1 and torch.equal(path[0], path[1])
        assert not still, "the second step moved nothing: params is a generator here, which can be walked only once"
    return torch.stack(path)


def _as_torch(cls: Any, torchs: Any, lr: float, said: str, *, absent: tuple[int, ...] = (), **options: Any) -> None:
    __tracebackhide__ = True
    for dtype, rtol in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        want = _path(torchs, lr, absent, options, dtype)
        got = _path(cls, lr, absent, options, dtype)
        check_tensor(got, want, f"{torchs.__name__}, 8 steps in {dtype}: {said}", rtol=rtol, atol=rtol / 100)


def test_adam_corrects_both_averages_for_their_start_at_zero():
    known = {
        "without bias correction the first step is 3.16 times too large": [0.316228],
        "t begins at 2: the first gradient is number 1": [0.0744133],
        "only m was corrected, v is still far too small": [3.162278],
        "only v was corrected, m is still far too small": [0.01],
        "the root of v is missing": [0.05],
    }
    got = _moves(Adam, 2.0, 3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    _expect(got[:1], [0.1], "the first step is lr, as m̂ is g and v̂ is g²", known)
    _expect(got, [0.1, 0.1, 0.1], "where g stays the same, each step is lr", {})
    u, v = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    options = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    one, other = _make(Adam, [u], 0.1, options), _make(Adam, [v], 0.1, options)
    for w, opt in ((u, one), (v, other)):
        w.grad = torch.full_like(w, 2.0 if w is u else -500.0)
        _step(opt)
    moved = [u.item(), v.item()]
    assert moved == pytest.approx([-0.1, 0.1]), f"the second optimizer began with the state of the first: {moved}"
    for betas in ((0.9, 0.999), (0.7, 0.8)):
        _as_torch(Adam, torch.optim.Adam, 0.03, f"betas={betas}, eps=0", betas=betas, eps=0.0, weight_decay=0.0)


@pytest.mark.parametrize("cls", ["Adam", "AdamW"])
def test_eps_is_added_after_the_root_and_after_the_correction(cls):
    known = {
        "eps was added before the correction, as TensorFlow does": [0.00306535],
        "eps was added before the root was taken": [0.00995037],
        "eps has no effect": [0.1],
    }
    adam, options = {"Adam": Adam, "AdamW": AdamW}[cls], {"betas": (0.9, 0.999), "weight_decay": 0.0}
    got = _moves(adam, 0.01, eps=1e-2, **options)
    _expect(got, [0.05], "g is 0.01 and eps 0.01, so it is lr * 0.01 / (0.01 + 0.01)", known)
    _as_torch(adam, getattr(torch.optim, cls), 0.03, "eps=1e-2", eps=1e-2, **options)
    got = _moves(adam, 0.0, 2, eps=1e-8, **options)
    assert got == [0.0, 0.0], f"a gradient of zeros moves nothing, as m̂ is 0; the moves are {got}"


@pytest.mark.myth(
    says="weight_decay means the same for Adam as for AdamW.",
    today="Adam adds it to the gradient, which is then divided by its size: decay alone makes a whole step of lr.",
)
def test_weight_decay_of_adam_joins_the_gradient():
    known = {
        "that is AdamW's decay, beside the step": [0.02],
        "weight_decay has no effect": [0.0],
        "the sign: decay leads towards 0": [-0.1],
    }
    options = {"betas": (0.9, 0.999), "eps": 1e-8}
    got = _moves(Adam, 0.0, start=2.0, weight_decay=0.1, **options)
    _expect(got, [0.1], "g + weight_decay * p is 0.2, and any such g makes a first step of lr", known)
    _as_torch(Adam, torch.optim.Adam, 0.03, "weight_decay=0.1", weight_decay=0.1, **options)
    _as_torch(Adam, torch.optim.Adam, 0.03, "with its defaults")


def test_weight_decay_of_adamw_shrinks_the_weight_by_lr_times_decay():
    options = {"betas": (0.9, 0.999), "eps": 1e-8}
    known = {
        "that is Adam's decay, which joins the gradient": [0.1],
        "decay is multiplied by lr: p * (1 - lr * weight_decay)": [0.2],
        "weight_decay has no effect": [0.0],
        "the weight grew: decay leads towards 0": [-0.02],
    }
    got = _moves(AdamW, 0.0, start=2.0, weight_decay=0.1, **options)
    _expect(got, [0.02], "without a gradient, 2 shrinks by 0.1 * 0.1 of it", known)
    known = {
        "that is Adam's default, 0: AdamW decays unless told otherwise": [0.0],
        "the default of AdamW is 0.01, not 0.1": [0.02],
        "that is Adam's decay, which joins the gradient": [0.1],
    }
    got = _moves(AdamW, 0.0, start=2.0)
    _expect(got, [0.002], "the default of weight_decay is 0.01", known)
    known = {"the weight shrank after the step; it shrinks first": [0.119]}
    got = _moves(AdamW, 1.0, start=2.0, weight_decay=0.1, **options)
    _expect(got, [0.12], "0.02 by decay, then lr, 0.1", known)
    _as_torch(AdamW, torch.optim.AdamW, 0.03, "weight_decay=0.1", weight_decay=0.1, **options)
    _as_torch(AdamW, torch.optim.AdamW, 0.03, "with its defaults")


def test_rmsprop_corrects_nothing_and_momentum_gathers_the_quotients():
    known = {
        "that has bias correction, which RMSprop does not do": [0.1, 0.1],
        "g² was added whole: that is Adagrad, not an average": [0.1, 0.0707107],
        "alpha is the share of the old average, 1 - alpha that of g²": [0.100504, 0.100005],
        "the root of v is missing": [5.0, 2.512563],
    }
    got = _moves(RMSprop, 2.0, 2, alpha=0.99, eps=1e-8, momentum=0.0)
    _expect(got, [1.0, 0.708881], "v is 0.01 * g², then 0.0199 * g²: the first step is ten times lr", known)
    known = {
        "eps was added before the root was taken": [0.707107, 1.214711],
        "eps has no effect": [1.0, 1.608881],
        "momentum has no effect": [0.909091, 0.661957],
        "the buffer is an average; the new quotient is added whole": [0.0909091, 0.148014],
    }
    got = _moves(RMSprop, 1.0, 2, alpha=0.99, eps=1e-2, momentum=0.9)
    _expect(got, [0.909091, 1.480139], "lr * (0.9 * buffer + g / (√v + eps)), with eps=1e-2", known)
    got = _moves(RMSprop, 0.0, 2)
    assert got == [0.0, 0.0], f"a gradient of zeros moves nothing, as v is 0 and eps is not; the moves are {got}"
    _as_torch(RMSprop, torch.optim.RMSprop, 0.03, "eps=1e-2, momentum=0.9", alpha=0.8, eps=1e-2, momentum=0.9)
    _as_torch(RMSprop, torch.optim.RMSprop, 0.03, "eps=1e-2, without momentum", alpha=0.9, eps=1e-2, momentum=0.0)
    _as_torch(RMSprop, torch.optim.RMSprop, 0.003, "with its defaults")


def test_each_weight_counts_its_own_gradients():
    for name, cls in {"Adam": Adam, "AdamW": AdamW, "RMSprop": RMSprop}.items():
        _check_lr_of_the_groups(cls, name)
        w, other = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
        opt = _make(cls, [w, other], 0.1, {})
        for grad in (1.0, None, None, 1.0):
            w.grad, before = None if grad is None else torch.full_like(w, grad), w.detach().clone()
            other.grad, start = torch.ones_like(other), other.detach().clone()
            _step(opt)
            if grad is None:
                said = f"{name}: w has no gradient in this step, and moved: by decay or by old averages"
                check_tensor(w.detach(), before, said)
                assert not torch.equal(other, start), f"{name}: a weight without a gradient ended the whole step"
    options = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    said = "a weight without gradient in steps 0, 1 and 4 has its own t, m and v, which wait"
    _as_torch(Adam, torch.optim.Adam, 0.03, said, absent=(0, 1, 4), **options)
    _as_torch(AdamW, torch.optim.AdamW, 0.03, said, absent=(0, 1, 4), **{**options, "weight_decay": 0.1})
    _as_torch(RMSprop, torch.optim.RMSprop, 0.03, said, absent=(0, 1, 4), alpha=0.9, eps=1e-8, momentum=0.9)


@pytest.mark.myth(
    says="Smaller gradients make smaller steps.",
    today="Not with Adam: it divides by their size, so clipping the gradient does not change its first step.",
)
def test_the_first_step_of_adam_is_lr_whatever_the_gradient():
    for gradient in (1e-3, 1.0, 1e3, -1e3, -1e-3):
        for name, cls in {"Adam": Adam, "AdamW": AdamW}.items():
            got = _moves(cls, gradient, lr=0.02, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
            said = f"the first step of {name} for a gradient of {gradient} is lr, against its sign"
            _expect(got, [0.02 if gradient > 0 else -0.02], said, {}, rel=1e-4)
    for name, (cls, lr) in {"Adam": (Adam, 0.5), "AdamW": (AdamW, 0.5), "RMSprop": (RMSprop, 0.05)}.items():
        w = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
        opt = _make(cls, [w], lr, {"alpha": 0.99} if cls is RMSprop else {})
        w.grad = torch.tensor([1e-3, -1e3], dtype=torch.bfloat16)
        _step(opt)
        want = torch.tensor([-0.5, 0.5], dtype=torch.bfloat16)
        check_tensor(w.detach(), want, f"the first step of {name} with lr={lr}, in bfloat16", rtol=0.05)
