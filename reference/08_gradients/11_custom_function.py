"""Your own backward: reference.

Hint: The slope of tanh at x is 1 - tanh(x)**2. What must it be multiplied by, and from what can backward get tanh(x)
so that its history leads back to x?
Hint: `ctx.save_for_backward` and `ctx.saved_tensors`; a Python float may sit on ctx as an attribute. For rounding,
think of x plus a correction through which no gradient flows (`Tensor.detach`).
Hint: Compute tanh again in backward, from the saved x. It returns a pair: the slope times k times grad_output, and
nothing for k.

Why: backward computes a vector-Jacobian product, so grad_output is always a factor. Inside `forward` autograd records
nothing, so what you make there has no history; inputs and outputs get theirs back when saved with
`save_for_backward`, which also finds in-place changes and avoids a reference cycle. Two ways: save x and compute tanh
again, or save the output y and use tanh(x) = y / k.
"""

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from dojo import Mistake


class ScaledTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, k: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.k = k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return grad_output * ctx.k * (1 - torch.tanh(x) ** 2), None


def ste_round(x: torch.Tensor) -> torch.Tensor:
    return x + (x.round() - x).detach()


class _KInATensor(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        return ScaledTanh.forward(ctx, x, k) / k * torch.tensor(k)


class _WithoutK(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return torch.tanh(x)


class _IgnoresUpstream(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return ctx.k * (1 - torch.tanh(x) ** 2), None


class _ForgetsK(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (1 - torch.tanh(x) ** 2), None


class _OneGradient(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        return ScaledTanh.backward(ctx, grad_output)[0]


class _GradientForK(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return ScaledTanh.backward(ctx, grad_output)[0], (grad_output * torch.tanh(x)).sum()


class _SlopeOfTheScaled(ScaledTanh):
    """1 - y**2 with y = k * tanh(x)."""

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (1 - (ctx.k * torch.tanh(x)) ** 2), None


class _AbsoluteK(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * abs(ctx.k) * (1 - torch.tanh(x) ** 2), None


class _SavesTheMiddle(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        t = torch.tanh(x)
        ctx.save_for_backward(t)
        ctx.k = k
        return k * t

    @staticmethod
    def backward(ctx, grad_output):
        (t,) = ctx.saved_tensors
        return grad_output * ctx.k * (1 - t**2), None


class _Attribute(_SavesTheMiddle):
    @staticmethod
    def forward(ctx, x, k):
        ctx.t, ctx.k = torch.tanh(x), k
        return k * ctx.t

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.k * (1 - ctx.t**2), None


class _Floats(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.t, ctx.k = [math.tanh(v) for v in x.flatten().tolist()], k
        return k * torch.tensor(ctx.t, dtype=x.dtype).view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        t = torch.tensor(ctx.t, dtype=grad_output.dtype).view_as(grad_output)
        return grad_output * ctx.k * (1 - t**2), None


class _OnlyOnce(ScaledTanh):
    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * ctx.k * (1 - torch.tanh(x) ** 2), None


class _DetachesTheResult(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        gradient, nothing = ScaledTanh.backward(ctx, grad_output)
        return gradient.detach(), nothing


class _InPlace(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return x.tanh_() * k


class _AutogradOfADetached(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            return torch.autograd.grad(ctx.k * torch.tanh(x), x, grad_output)[0], None


class _Nothing(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        return None, None


class _KeepsOnTheClass(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        _KeepsOnTheClass.x, _KeepsOnTheClass.k = x, k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * _KeepsOnTheClass.k * (1 - torch.tanh(_KeepsOnTheClass.x) ** 2), None


class _Dirty(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.mark_dirty(x)
        y = x.tanh_().mul_(k)
        ctx.save_for_backward(y)
        ctx.k = k
        return y


class _ChangesUpstream(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output.mul_(ctx.k * (1 - torch.tanh(x) ** 2)), None


class _ExponentialsForward(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        up, down = torch.exp(x), torch.exp(-x)
        return k * (up - down) / (up + down)


class _ExponentialsBackward(ScaledTanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        e = torch.exp(2 * x)
        return grad_output * ctx.k * 4 * e / (e + 1) ** 2, None


class _InFloat32(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return (k * torch.tanh(x.float())).to(x.dtype)


class _SavesK(ScaledTanh):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x, k)
        return k * torch.tanh(x)


def _round_in_place(x):
    with torch.no_grad():
        x.round_()
    return x * 1.0


class _NoFunction:
    @staticmethod
    def apply(x, k):
        return k * torch.tanh(x)


class _OnesInstead(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad_output):
        return torch.ones_like(grad_output)


_HISTORY = "backward is right once, but not twice"
_t1 = "test_forward_computes_the_value"
_t2 = "test_gradcheck_compares_backward_with_differences_of_forward"
_t3 = "test_backward_multiplies_by_what_comes_from_above"
_t4 = "test_a_value_from_the_middle_of_forward_has_no_history"
_t5 = "test_rounding_stops_the_gradient_unless_you_let_it_through"

MISTAKES = [
    Mistake("is 1.1 * tanh(x)", caught_by=_t1, ScaledTanh=_KInATensor),
    Mistake("is 1.1 * tanh(x)", caught_by=_t1, ScaledTanh=_WithoutK),
    Mistake("backward ignores grad_output", caught_by=_t3, ScaledTanh=_IgnoresUpstream),
    Mistake("backward forgot k", caught_by=_t2, ScaledTanh=_ForgetsK),
    Mistake("one gradient for each input of forward", caught_by=_t3, ScaledTanh=_OneGradient),
    Mistake("k is a Python float and has no gradient", caught_by=_t3, ScaledTanh=_GradientForK),
    Mistake("the gradient of k * tanh(x), times grad_output", caught_by=_t3, ScaledTanh=_SlopeOfTheScaled),
    Mistake("backward is not the derivative of forward at k = -0.6", caught_by=_t2, ScaledTanh=_AbsoluteK),
    Mistake("forward changed x itself", caught_by=_t3, ScaledTanh=_InPlace),
    Mistake("is a subclass of torch.autograd.Function", caught_by=_t1, ScaledTanh=_NoFunction),
    Mistake("ctx is there for what belongs to one call", caught_by=_t3, ScaledTanh=_KeepsOnTheClass),
    Mistake("forward works in place on x", caught_by=_t3, ScaledTanh=_Dirty),
    Mistake("backward changed grad_output itself", caught_by=_t3, ScaledTanh=_ChangesUpstream),
    Mistake("backward returned no gradient for x", caught_by=_t3, ScaledTanh=_Nothing),
    Mistake("got nan: exp overflows", caught_by=_t1, ScaledTanh=_ExponentialsForward),
    Mistake("for x of torch.float64", caught_by=_t1, ScaledTanh=_InFloat32),
    Mistake("its slope 0, not nan", caught_by=_t3, ScaledTanh=_ExponentialsBackward),
    Mistake("save_for_backward keeps tensors only", caught_by=_t3, ScaledTanh=_SavesK),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_DetachesTheResult),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_SavesTheMiddle),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_AutogradOfADetached),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_Attribute),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_Floats),
    Mistake(_HISTORY, caught_by=_t4, ScaledTanh=_OnlyOnce),
    Mistake("the rounded tensor is cut from x", caught_by=_t5, ste_round=lambda x: x.detach().round()),
    Mistake("the slope of rounding itself is 0", caught_by=_t5, ste_round=lambda x: x.round()),
    Mistake("goes on to x unchanged", caught_by=_t5, ste_round=_OnesInstead.apply),
    Mistake("holds the rounded values of x", caught_by=_t5, ste_round=lambda x: x + (x.trunc() - x).detach()),
    Mistake(
        "the rounded tensor is cut from x", caught_by=_t5, ste_round=lambda x: x.detach().round().requires_grad_(False)
    ),
    Mistake(
        "halves go to the even number",
        caught_by=_t5,
        ste_round=lambda x: x + (torch.floor(x + 0.5) - x).detach(),
    ),
    Mistake(
        "float64 stays exact", caught_by=_t5, ste_round=lambda x: x.float() + (x.float().round() - x.float()).detach()
    ),
    Mistake("ste_round works in place on x", caught_by=_t5, ste_round=lambda x: x.round_()),
    Mistake(
        "goes on to x unchanged",
        caught_by=_t5,
        ste_round=lambda x: 2 * x.round().detach() - x + (x - x.round()).detach(),
    ),
    Mistake("ste_round must not change x", caught_by=_t5, ste_round=_round_in_place),
    Mistake("no gradient reached x", caught_by=_t5, ste_round=lambda x: x.detach().round().requires_grad_()),
]
