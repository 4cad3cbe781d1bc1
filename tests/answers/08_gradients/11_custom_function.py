"""Answers that people give to custom_function, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch.autograd import Function

from dojo import Mistake


class _SetupContext(Function):
    @staticmethod
    def forward(x, k):
        return torch.tanh(x).mul(k)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.scale = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * ctx.scale / torch.cosh(x).square(), None


class _SavesTheOutput(Function):
    @staticmethod
    def forward(ctx, x, k):
        y = k * x.tanh()
        ctx.save_for_backward(y)
        ctx.k = k
        return y

    @staticmethod
    def backward(ctx, grad_output):
        y = ctx.saved_tensors[0]
        return (ctx.k - y * y / ctx.k) * grad_output, None


class _AsksAutograd(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        t = torch.tanh(x)
        if not ctx.needs_input_grad[0]:
            return None, None
        return grad_output * (ctx.k - ctx.k * t * t), None


class _AttributeX(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.x, ctx.k = x, k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, g):
        t = torch.tanh(ctx.x)
        return g * (ctx.k * (1 - t) * (1 + t)), None


class _Exponentials(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x, torch.tensor(k))
        return k * (2 * torch.sigmoid(2 * x) - 1)

    @staticmethod
    def backward(ctx, grad_output):
        x, k = ctx.saved_tensors
        return (4 * k * grad_output / (x.exp() + x.neg().exp()).square()).to(x.dtype), None


class _GradInsideBackward(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            y = ctx.k * torch.tanh(x)
            return torch.autograd.grad(y, x, grad_output, create_graph=True)[0], None


class _Round(Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


class _RoundClone(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone().round_()

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone()


def _hooked(x):
    y = x * 1.0
    y.data = y.data.round()
    return y


class _NumberAsTensor(_AsksAutograd):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return torch.tensor([k]) * torch.tanh(x) if x.dim() else k * torch.tanh(x)


RIGHT = [
    dict(ScaledTanh=_SetupContext, ste_round=_Round.apply),
    dict(ScaledTanh=_SavesTheOutput, ste_round=lambda x: x - (x - torch.round(x)).detach()),
    dict(ScaledTanh=_AsksAutograd, ste_round=lambda x: _RoundClone.apply(x)),
    dict(ScaledTanh=_AttributeX, ste_round=lambda x: (x.round() - x).detach() + x),
    dict(ste_round=_hooked),
    dict(ScaledTanh=_GradInsideBackward, ste_round=lambda x: x.round().detach() + x - x.detach()),
    dict(ScaledTanh=_Exponentials, ste_round=lambda x: x + (torch.round(x) - x).data),
]


class _UpstreamLost(_SetupContext):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return torch.ones_like(grad_output) * ctx.scale * (1 - x.tanh() ** 2), None


class _SumOfUpstream(_SetupContext):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output.mean() * ctx.scale * (1 - x.tanh() ** 2), None


class _ScaleForgotten(_SavesTheOutput):
    @staticmethod
    def backward(ctx, grad_output):
        (y,) = ctx.saved_tensors
        return grad_output * (1 - (y / ctx.k) ** 2), None


class _Tuple1(_AsksAutograd):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return (grad_output * ctx.k * (1 - x.tanh() ** 2),)


class _Numpy(Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.t, ctx.k = np.tanh(x.detach().cpu().numpy()), k
        return torch.from_numpy(k * ctx.t)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * torch.from_numpy(ctx.k * (1 - ctx.t**2)), None


class _Slope(Function):
    """The slope is computed in forward."""

    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(k * (1 - torch.tanh(x) ** 2))
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.saved_tensors[0], None


class _Detached(_AsksAutograd):
    @staticmethod
    def backward(ctx, grad_output):
        x = ctx.saved_tensors[0].detach()
        return grad_output * ctx.k * (1 - torch.tanh(x) ** 2), None


class _KTwice(_AsksAutograd):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * ctx.k**2 * (1 - torch.tanh(x) ** 2), None


class _NoGrad(_AsksAutograd):
    @staticmethod
    def backward(ctx, grad_output):
        with torch.no_grad():
            (x,) = ctx.saved_tensors
            return grad_output * ctx.k * (1 - torch.tanh(x) ** 2), None


_last = {}


class _KeptInAGlobal(_AsksAutograd):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        _last["k"] = k
        return k * torch.tanh(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * _last["k"] * (1 - torch.tanh(x) ** 2), None


class _Module(torch.nn.Module):
    def forward(self, x, k):
        return k * torch.tanh(x)


def _round_data(x):
    return torch.round(x.data)


WRONG = [
    Mistake("is 1.1 * tanh(x)", caught_by="", ScaledTanh=_NumberAsTensor),
    Mistake("ctx is there for what belongs to one call", caught_by="", ScaledTanh=_KeptInAGlobal),
    Mistake("is a subclass of torch.autograd.Function", caught_by="", ScaledTanh=_Module),
    Mistake(
        "halves go to the even number",
        caught_by="",
        ste_round=lambda x: x + (torch.sign(x) * (x.abs() + 0.5).floor() - x).detach(),
    ),
    Mistake("backward ignores grad_output", caught_by="", ScaledTanh=_UpstreamLost),
    Mistake("the gradient of k * tanh(x), times grad_output", caught_by="", ScaledTanh=_SumOfUpstream),
    Mistake("backward forgot k", caught_by="", ScaledTanh=_ScaleForgotten),
    Mistake("one gradient for each input of forward", caught_by="", ScaledTanh=_Tuple1),
    Mistake("backward is right once, but not twice", caught_by="", ScaledTanh=_Numpy),
    Mistake("backward is right once, but not twice", caught_by="", ScaledTanh=_Slope),
    Mistake("backward is right once, but not twice", caught_by="", ScaledTanh=_Detached),
    Mistake("the gradient of k * tanh(x), times grad_output", caught_by="", ScaledTanh=_KTwice),
    Mistake("backward is right once, but not twice", caught_by="", ScaledTanh=_NoGrad),
    Mistake(
        "goes on to x unchanged", caught_by="", ste_round=lambda x: x - (x.round() - x) + 2 * (x.round() - x).detach()
    ),
    Mistake("the rounded tensor is cut from x", caught_by="", ste_round=_round_data),
    Mistake(
        "the rounded tensor is cut from x",
        caught_by="",
        ste_round=lambda x: torch.tensor([round(v) * 1.0 for v in x.tolist()]),
    ),
    Mistake("the slope of rounding itself is 0", caught_by="", ste_round=lambda x: torch.floor(x + 0.5)),
    Mistake("holds the rounded values of x", caught_by="", ste_round=lambda x: x * 1.0 + math.e - math.e),
]
