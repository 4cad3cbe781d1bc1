"""Answers that people give to dropout, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dojo import Mistake


class _Function(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout(x, p=self.p, training=self.training)


class _Subclass(nn.Dropout):
    pass


class _Base(nn.Module):
    def __init__(self, p):
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(p)
        self.p = p


class _Bernoulli(_Base):
    def forward(self, x):
        if self.training and self.p > 0:
            mask = torch.bernoulli(torch.full(x.shape, 1 - self.p))
            return x * mask / (1 - self.p) if self.p < 1 else torch.zeros_like(x)
        return x


class _Empty(_Base):
    def forward(self, x):
        if not self.training:
            return x.clone()
        keep = 1.0 - self.p
        mask = torch.empty_like(x).bernoulli_(keep)
        if keep:
            mask.div_(keep)
        return mask * x


class _Where(_Base):
    def forward(self, x):
        if not self.training:
            return x
        dropped = torch.rand(x.shape, device=x.device) < self.p
        return torch.where(dropped, torch.zeros_like(x), x / (1 - self.p))


class _FloatMask(_Base):
    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        scale = 0.0 if self.p == 1 else 1 / (1 - self.p)
        return x * (torch.rand(x.shape) > self.p).float() * scale


class _Filled(_Base):
    def forward(self, x):
        if not self.training:
            return x
        y = x.masked_fill(torch.rand_like(x) < self.p, 0)
        return y if self.p == 1 else y / (1 - self.p)


class _Inner(nn.Module):
    """A module of torch inside: it hears of train(False) as a child."""

    def __init__(self, p):
        super().__init__()
        self.inner = nn.Dropout(p)

    def forward(self, x):
        return self.inner(x)


class _Listens(_Base):
    """A flag of its own, but kept by train()."""

    on = True

    def train(self, mode=True):
        self.on = mode
        return super().train(mode)

    def forward(self, x):
        return F.dropout(x, self.p, self.on)


class _NativeError(_Base):
    """torch.bernoulli refuses what is no probability, when it is called."""

    def __init__(self, p):
        nn.Module.__init__(self)
        self.keep = 1.0 - p

    def forward(self, x):
        if not self.training:
            return x
        mask = torch.bernoulli(torch.full_like(x, self.keep))
        return x * mask if self.keep == 0 else x * mask / self.keep


class _ByNumpy(_Base):
    def forward(self, x):
        if not self.training:
            return x
        mask = torch.from_numpy((np.random.rand(*x.shape) >= self.p).astype(np.float32)).to(x.dtype)
        return x * mask / (1 - self.p) if self.p != 1 else x * 0.0


class _DrawnInPlace(_Base):
    def forward(self, x):
        if self.training:
            if self.p >= 1.0:
                return torch.zeros_like(x)
            keep = 1.0 - self.p
            return x.mul(torch.full(x.shape, keep, dtype=x.dtype).bernoulli().div_(keep))
        return x.clone()


RIGHT = [
    dict(Dropout=_ByNumpy),
    dict(Dropout=_DrawnInPlace),
    dict(Dropout=_NativeError),
    dict(Dropout=_Function),
    dict(Dropout=_Subclass),
    dict(Dropout=_Bernoulli),
    dict(Dropout=_Empty),
    dict(Dropout=_Where),
    dict(Dropout=_FloatMask),
    dict(Dropout=_Filled),
    dict(Dropout=_Inner),
    dict(Dropout=_Listens),
]


class _PlainMask(_Base):
    """Never asks for the mode."""

    def forward(self, x):
        if self.p == 1:
            return torch.zeros_like(x)
        return x * torch.bernoulli(torch.full_like(x, 1 - self.p)) / (1 - self.p)


class _Module(_Base):
    def forward(self, x):
        layer = nn.Dropout(p=self.p)
        return layer(x)


class _Hidden(_Base):
    """The layer is in a list, where eval() does not reach it."""

    def __init__(self, p):
        super().__init__(p)
        self.layers = [nn.Dropout(p)]

    def forward(self, x):
        return self.layers[0](x)


class _ModeAtStart(_Base):
    def __init__(self, p):
        super().__init__(p)
        self.drop = self.training

    def forward(self, x):
        return F.dropout(x, self.p, self.drop)


class _TestTime(_Base):
    def forward(self, x):
        keep = 1 - self.p
        return x * torch.bernoulli(torch.full_like(x, keep)) if self.training else keep * x


class _Keep(_Base):
    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return F.dropout(x, self.p, self.training)
        return torch.where(torch.rand_like(x) < self.p, x / self.p, torch.zeros_like(x))


class _Unscaled(_Base):
    def forward(self, x):
        return x.masked_fill(torch.rand_like(x) < self.p, 0.0) if self.training else x


class _ScaledDown(_Base):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) * (1 - self.p) if self.training else x


class _Normal(_Base):
    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return F.dropout(x, self.p, self.training)
        return x * (torch.randn_like(x) > self.p) / (1 - self.p)


class _Numpy(_Base):
    def forward(self, x):
        if not self.training or self.p == 1:
            return F.dropout(x, self.p, self.training)
        mask = np.random.binomial(1, 1 - self.p, size=x.shape)
        return torch.tensor(x.detach().numpy() * mask / (1 - self.p), dtype=x.dtype)


class _Channels(_Base):
    def forward(self, x):
        if x.dim() < 3:
            return F.dropout(x.T, self.p, self.training).T if self.p == 1 else F.dropout1d(x, self.p, self.training)
        return F.dropout(x, self.p, self.training)


class _Nan(_Base):
    def forward(self, x):
        return x * ((torch.rand_like(x) > self.p).to(x.dtype) / (1 - self.p)) if self.training else x


class _Fixed(_Base):
    def forward(self, x):
        if not self.training or self.p == 1:
            return F.dropout(x, self.p, self.training)
        g = torch.Generator().manual_seed(42)
        return x * (torch.rand(x.shape, generator=g) >= self.p) / (1 - self.p)


class _Assigns(_Base):
    def forward(self, x):
        if not self.training or self.p == 1:
            return F.dropout(x, self.p, self.training)
        with torch.no_grad():
            x[torch.rand_like(x) < self.p] = 0
        return x / (1 - self.p)


class _Multiplies(_Base):
    def forward(self, x):
        if self.training and self.p < 1:
            x.data *= (torch.rand_like(x) >= self.p) / (1 - self.p)
            return x * 1.0
        return F.dropout(x, self.p, self.training)


class _Data(_Base):
    def forward(self, x):
        return F.dropout(x.data, self.p) if self.training else x


class _NoGrad(_Base):
    @torch.no_grad()
    def forward(self, x):
        return F.dropout(x, self.p, self.training)


class _MeanKept(_Base):
    def forward(self, x):
        if not self.training or self.p == 1:
            return F.dropout(x, self.p, self.training)
        y = x * (torch.rand_like(x) >= self.p)
        return y * (x.mean() / y.mean())


class _Inference(_Base):
    def forward(self, x):
        return F.dropout(x, self.p, self.training and torch.is_grad_enabled())


class _SilentAtOne(_Base):
    def forward(self, x):
        return F.dropout(x, min(self.p, 0.999), self.training)


class _Never(_Base):
    def forward(self, x):
        return x


class _Shuffled(_Base):
    def forward(self, x):
        if not self.training:
            return x
        dropped = round(self.p * x.numel())
        mask = torch.tensor([0.0] * dropped + [1.0] * (x.numel() - dropped), dtype=x.dtype)
        return x * mask[torch.randperm(x.numel())].view_as(x) / (1 - self.p if self.p < 1 else 1)


class _Switched(_Base):
    def eval(self):
        self.p = 0.0
        return super().eval()

    def forward(self, x):
        return F.dropout(x, self.p)


class _Buffer(_Base):
    def __init__(self, p):
        super().__init__(p)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return F.dropout(x, self.p, self.training) * self.scale.detach()


class _CountsItsCalls(_Base):
    calls = 0

    def forward(self, x):
        self.calls += 1
        torch.manual_seed(self.calls)
        return F.dropout(x, self.p, self.training)


class _MaskOfTheLastTwo(_Base):
    def forward(self, x):
        mask = F.dropout(torch.ones(x.shape[-2:], dtype=x.dtype), self.p, self.training)
        return x * mask


class _Positive(_Base):
    def forward(self, x):
        return F.dropout(x.abs() if self.training else x, self.p, self.training)


class _NotTooLarge(_Base):
    def __init__(self, p):
        super().__init__(abs(p))

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


WRONG = [
    Mistake("-0.1 is no probability", caught_by="", Dropout=_NotTooLarge),
    Mistake("two layers drop the same numbers", caught_by="", Dropout=_CountsItsCalls),
    Mistake("along dimension 0", caught_by="", Dropout=_MaskOfTheLastTwo),
    Mistake("each number is 0 or x / (1 - p)", caught_by="", Dropout=_Positive),
    Mistake("numbers were dropped after net.eval()", caught_by="", Dropout=_PlainMask),
    Mistake("numbers were dropped after net.eval()", caught_by="", Dropout=_Module),
    Mistake("numbers were dropped after net.eval()", caught_by="", Dropout=_Hidden),
    Mistake("numbers were dropped after net.eval()", caught_by="", Dropout=_ModeAtStart),
    Mistake("numbers were dropped after net.eval()", caught_by="", Dropout=_Switched),
    Mistake("the scaling is done in training already", caught_by="", Dropout=_TestTime),
    Mistake("p is the probability to drop", caught_by="", Dropout=_Keep),
    Mistake("what survives is to be divided by 1 - p", caught_by="", Dropout=_Unscaled),
    Mistake("each number is 0 or x / (1 - p)", caught_by="", Dropout=_ScaledDown),
    Mistake("each number is 0 or x / (1 - p)", caught_by="", Dropout=_MeanKept),
    Mistake("expected a quarter of them", caught_by="", Dropout=_Normal),
    Mistake("expected a quarter of them", caught_by="", Dropout=_Never),
    Mistake("not for each row", caught_by="", Dropout=_Channels),
    Mistake("the result is cut from x: no gradient", caught_by="", Dropout=_Numpy),
    Mistake("the result is cut from x: no gradient", caught_by="", Dropout=_Data),
    Mistake("in eval the result is cut from x", caught_by="", Dropout=_NoGrad),
    Mistake("0 / 0 or 0 * inf is not 0", caught_by="", Dropout=_Nan),
    Mistake("the same numbers were dropped in the second call", caught_by="", Dropout=_Fixed),
    Mistake("forward changed x itself", caught_by="", Dropout=_Assigns),
    Mistake("forward changed x itself", caught_by="", Dropout=_Multiplies),
    Mistake("self.training alone decides", caught_by="", Dropout=_Inference),
    Mistake("that is no coin toss for each", caught_by="", Dropout=_Shuffled),
    Mistake("Dropout has nothing to train", caught_by="", Dropout=_Buffer),
    Mistake("in eval p does not matter", caught_by="", Dropout=_SilentAtOne),
]
