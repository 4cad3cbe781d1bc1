"""Answers that people give to buffers, right ones and wrong ones."""

import torch
from torch import nn

from dojo import Mistake


class _Buffer(nn.Module):
    def __init__(self, d, momentum=0.1):
        super().__init__()
        self.m = momentum
        self.mean = nn.Buffer(torch.zeros(d))

    def forward(self, x):
        if self.training:
            self.mean = (1 - self.m) * self.mean + self.m * x.mean(dim=0).detach()
        return x - self.mean


class _Copied(nn.Module):
    def __init__(self, d, momentum=0.1):
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("batches", torch.tensor(0))
        self.momentum = momentum

    @torch.no_grad()
    def _update(self, x):
        self.batches += 1
        self.mean.copy_((1 - self.momentum) * self.mean + self.momentum * x.mean(0))

    def forward(self, x):
        if self.training:
            self._update(x)
        return torch.sub(x, self.mean)


class _Lerp(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), self.m)
        return x - self.mean


class _InPlace(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean.mul_(1 - self.m).add_(x.detach().sum(0) / len(x), alpha=self.m)
        return x - self.mean.expand_as(x)


class _Data(_Copied):
    def forward(self, x):
        if self.training:
            self.mean.data = self.mean.data.mul(1 - self.momentum) + x.data.mean(0) * self.momentum
        return x - self.mean


class _RegistersAgain(_Buffer):
    def forward(self, x):
        if self.training:
            self.register_buffer("mean", self.mean + self.m * (x.detach().mean(0) - self.mean))
        return x - self.mean


class _Mixed(_Buffer):
    def forward(self, x):
        mean = self.mean
        if self.training:
            mean = self.mean.lerp(x.mean(0), self.m)
            with torch.no_grad():
                self.mean.copy_(mean)
        return x - mean


class _Loops(_Copied):
    """One feature, one row at a time."""

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                for j in range(x.shape[1]):
                    new = sum(row[j] for row in x) / len(x)
                    self.mean[j] = (1 - self.momentum) * self.mean[j] + self.momentum * new
        return torch.stack([row - self.mean for row in x])


_STYLES = (_Buffer, _Copied, _Lerp, _InPlace, _Data, _RegistersAgain, _Mixed, _Loops)
RIGHT = [{"RunningMean": cls} for cls in _STYLES]


class _NotZero(_Buffer):
    def __init__(self, d, momentum=0.1):
        super().__init__(d, momentum if momentum else 0.1)


class _InADict(_Buffer):
    def __init__(self, d, momentum=0.1):
        nn.Module.__init__(self)
        self.m, self.state = momentum, {"mean": torch.zeros(d)}

    @property
    def mean(self):
        return self.state["mean"]

    @mean.setter
    def mean(self, value):
        self.state["mean"] = value


class _ClassAttribute(_Buffer):
    mean = torch.zeros(2)

    def __init__(self, d, momentum=0.1):
        nn.Module.__init__(self)
        self.m = momentum
        self.mean = torch.zeros(d)


class _BufferNotSaved(_Buffer):
    def __init__(self, d, momentum=0.1):
        super().__init__(d, momentum)
        self.mean = nn.Buffer(torch.zeros(d), persistent=False)


class _ParameterData(_Buffer):
    def __init__(self, d, momentum=0.1):
        super().__init__(d, momentum)
        del self.mean
        self.mean = nn.Parameter(torch.zeros(d), requires_grad=False)

    def forward(self, x):
        if self.training:
            self.mean.data = (1 - self.m) * self.mean.data + self.m * x.data.mean(0)
        return x - self.mean


class _SwapLerp(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean = torch.lerp(x.detach().mean(0), self.mean, self.m)
        return x - self.mean


class _CountsBatches(_Buffer):
    n = 0

    def forward(self, x):
        if self.training:
            self.n += 1
            self.mean = self.mean + (x.detach().mean(0) - self.mean) / self.n
        return x - self.mean


class _OldMean(_Buffer):
    def forward(self, x):
        centered = x - self.mean
        if self.training:
            with torch.no_grad():
                self.mean.mul_(1 - self.m).add_(self.m * x.mean(0))
        return centered


class _NoMode(_Buffer):
    def forward(self, x):
        with torch.no_grad():
            self.mean.lerp_(x.mean(0), self.m)
        return x - self.mean


class _ByGradMode(_Buffer):
    def forward(self, x):
        if self.training or torch.is_grad_enabled():
            self.mean.lerp_(x.detach().mean(0), self.m)
        return x - self.mean


class _Requires(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean = self.mean * (1 - self.m) + x.mean(0) * self.m
        return x - self.mean


class _Axis(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean().expand_as(self.mean), self.m)
        return x - self.mean


class _Fixed(_Buffer):
    def __init__(self, d, momentum=0.1):
        super().__init__(d)


class _AsFloat(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean = torch.tensor(((1 - self.m) * self.mean + self.m * x.detach().mean(0)).tolist())
        return x - self.mean


class _WritesIntoX(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), self.m)
        with torch.no_grad():
            x -= self.mean
        return x


class _Detached(_Buffer):
    def forward(self, x):
        return super().forward(x.detach())


class _NotInEval(_Buffer):
    def forward(self, x):
        if not self.training:
            return x
        return super().forward(x)


class _FirstOne(_Buffer):
    fresh = True

    def forward(self, x):
        if self.training and self.fresh:
            self.mean, self.fresh = x.detach().mean(0), False
        elif self.training:
            self.mean = self.mean.lerp(x.detach().mean(0), self.m)
        return x - self.mean


class _OnAgain(_Buffer):
    def forward(self, x):
        out = super().forward(x)
        torch.set_grad_enabled(True)
        return out


class _NoOuterOne(_Buffer):
    def forward(self, x):
        if self.training:
            self.mean = self.mean.lerp(x.detach().mean(0), self.m).squeeze()
        return x - self.mean


_AFTER = "the mean after batches with means 10 and 20"

WRONG = [
    Mistake("and forward switched them on", caught_by="", RunningMean=_OnAgain),
    Mistake("the mean of d = 1 feature", caught_by="", RunningMean=_NoOuterOne),
    Mistake("'mean' is not in the state_dict", caught_by="", RunningMean=_InADict),
    Mistake("'mean' is not in the state_dict", caught_by="", RunningMean=_ClassAttribute),
    Mistake("'mean' is not in the state_dict", caught_by="", RunningMean=_BufferNotSaved),
    Mistake("mean is a parameter", caught_by="", RunningMean=_ParameterData),
    Mistake("momentum weights the new value", caught_by="", RunningMean=_SwapLerp),
    Mistake("the batch's own, and forgot the zeros before", caught_by="", RunningMean=_CountsBatches),
    Mistake("the batch's own, and forgot the zeros before", caught_by="", RunningMean=_FirstOne),
    Mistake("update it first", caught_by="", RunningMean=_OldMean),
    Mistake("model.eval(), and forward changed the mean", caught_by="", RunningMean=_NoMode),
    Mistake("model.eval(), and forward changed the mean", caught_by="", RunningMean=_ByGradMode),
    Mistake("after the first step mean.requires_grad is True", caught_by="", RunningMean=_Requires),
    Mistake("momentum=0.0 gives the newest batch no share", caught_by="", RunningMean=_NotZero),
    Mistake(_AFTER, caught_by="", RunningMean=_Axis),
    Mistake("the mean with momentum=0.25", caught_by="", RunningMean=_Fixed),
    Mistake("the mean of the layer in float64", caught_by="", RunningMean=_AsFloat),
    Mistake("the batch is the caller's", caught_by="", RunningMean=_WritesIntoX),
    Mistake("x - mean hangs on no graph", caught_by="", RunningMean=_Detached),
    Mistake("in eval, x - mean as it was learned", caught_by="", RunningMean=_NotInEval),
    Mistake("one for each feature", caught_by="", RunningMean=lambda d, momentum=0.1: _Buffer(1, momentum)),
    Mistake(
        "forward returns a tensor, got NoneType",
        caught_by="",
        RunningMean=type("_None", (_Buffer,), {"forward": lambda self, x: None}),
    ),
    Mistake(
        "call super().__init__() first: before it",
        caught_by="",
        RunningMean=type(
            "_Late",
            (_Buffer,),
            {"__init__": lambda self, d, momentum=0.1: setattr(self, "mean", nn.Buffer(torch.zeros(d)))},
        ),
    ),
]
