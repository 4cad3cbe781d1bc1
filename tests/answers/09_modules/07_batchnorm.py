"""Answers that people give to batchnorm, right ones and wrong ones."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dojo import Mistake


class _Subclass(nn.BatchNorm1d):
    pass


class _Made(nn.Module):
    """Rebinds its buffers, and counts without looking."""

    def __init__(self, d):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))
        self.register_buffer("running_mean", torch.zeros(d))
        self.register_buffer("running_var", torch.ones(d))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))
        self.eps, self.momentum = 1e-5, 0.1

    def forward(self, x):
        if not self.training:
            mean, var = self.running_mean, self.running_var
        else:
            n = x.size(0)
            if n == 1:
                raise ValueError("Expected more than 1 value per channel when training")
            mean = x.mean(dim=0)
            var = ((x - mean) ** 2).mean(dim=0)
            m = self.momentum
            self.running_mean = (1 - m) * self.running_mean + m * mean.detach()
            self.running_var = (1 - m) * self.running_var + m * var.detach() * n / (n - 1)
            self.num_batches_tracked = self.num_batches_tracked + 1
        return self.weight * (x - mean) / torch.sqrt(var + self.eps) + self.bias


class _Functional(_Made):
    def forward(self, x):
        if self.training:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )


class _Data(_Made):
    def forward(self, x):
        if self.training:
            if x.shape[0] <= 1:
                raise ValueError
            var, mean = torch.var_mean(x, 0, correction=0)
            self.running_mean.data.mul_(0.9).add_(mean.data, alpha=0.1)
            self.running_var.data.mul_(0.9).add_(x.data.var(0), alpha=0.1)
            self.num_batches_tracked += 1
        else:
            mean, var = self.running_mean, self.running_var
        return torch.addcmul(self.bias, self.weight, (x - mean) * torch.rsqrt(var + 1e-5))


class _Copies(_Made):
    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            if len(x) == 1:
                raise ValueError("a single row")
            mean, var = x.mean(0, keepdim=True), x.var(0, unbiased=False, keepdim=True)
            with torch.no_grad():
                unbiased = var * (len(x) / (len(x) - 1))
                self.running_mean.copy_(self.running_mean * 0.9 + mean.squeeze(0) * 0.1)
                self.running_var.copy_(self.running_var * 0.9 + unbiased.squeeze(0) * 0.1)
                self.num_batches_tracked.add_(1)
        return F.linear((x - mean) / (var + 1e-5).sqrt(), torch.diag(self.weight), self.bias)


class _Std(_Made):
    """std has a slope of 0 at 0, unlike sqrt."""

    def forward(self, x):
        if self.training and x.shape[0] < 2:
            raise ValueError("two rows at least")
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.std(0, correction=0) ** 2
            self.running_mean = torch.lerp(self.running_mean, mean, 0.1).detach()
            self.running_var = torch.lerp(self.running_var, x.std(0) ** 2, 0.1).detach()
            self.num_batches_tracked = self.num_batches_tracked + 1
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


class _ColumnByColumn(_Made):
    def forward(self, x):
        if self.training and len(x) == 1:
            raise ValueError(f"a batch of shape {tuple(x.shape)}")
        n, columns = len(x), []
        for j in range(x.shape[1]):
            mean, var = self.running_mean[j], self.running_var[j]
            if self.training:
                mean = x[:, j].sum() / n
                var = ((x[:, j] - mean) ** 2).sum() / n
                self.running_mean.data[j] = 0.9 * self.running_mean.data[j] + 0.1 * mean.data
                self.running_var.data[j] = 0.9 * self.running_var.data[j] + 0.1 * var.data * n / (n - 1)
            columns.append((x[:, j] - mean) * torch.rsqrt(var + 1e-5) * self.weight[j] + self.bias[j])
        self.num_batches_tracked += int(self.training)
        return torch.stack(columns, dim=1)


RIGHT = [
    dict(BatchNorm=_ColumnByColumn),
    dict(BatchNorm=_Std),
    dict(BatchNorm=_Subclass),
    dict(BatchNorm=_Made),
    dict(BatchNorm=_Functional),
    dict(BatchNorm=_Data),
    dict(BatchNorm=_Copies),
]


class _Wrong(_Made):
    """The layer in pieces, each of which a wrong answer replaces."""

    def stats(self, x):
        return x.mean(0), x.var(0, unbiased=False)

    def running(self, x):
        return x.mean(0), x.var(0)

    def mix(self, old, new):
        return 0.9 * old + 0.1 * new

    def step(self, x):
        with torch.no_grad():
            mean, var = self.running(x)
            self.running_mean.copy_(self.mix(self.running_mean, mean))
            self.running_var.copy_(self.mix(self.running_var, var))
            self.num_batches_tracked.add_(1)

    def normed(self, x, mean, var):
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias

    def forward(self, x):
        if not self.training:
            return self.normed(x, self.running_mean, self.running_var)
        if len(x) == 1:
            raise ValueError("one row")
        y = self.normed(x, *self.stats(x))
        self.step(x)
        return y


class _DefaultVar(_Wrong):
    def stats(self, x):
        return x.mean(0), x.std(0) ** 2


class _StdPlusEps(_Wrong):
    def normed(self, x, mean, var):
        return (x - mean) / (torch.sqrt(var) + self.eps) * self.weight + self.bias


class _NoEps(_Wrong):
    def normed(self, x, mean, var):
        return (x - mean) / torch.sqrt(var) * self.weight + self.bias


class _LastDim(_Wrong):
    def stats(self, x):
        return x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)


class _OnlyUpdated(_Wrong):
    def forward(self, x):
        if self.training:
            if len(x) == 1:
                raise ValueError
            self.step(x)
        return self.normed(x, self.running_mean, self.running_var)


class _Swapped(_Wrong):
    def mix(self, old, new):
        return self.momentum * old + (1 - self.momentum) * new


class _SameVariance(_Wrong):
    def running(self, x):
        return self.stats(x)


class _Uncounted(_Wrong):
    def step(self, x):
        super().step(x)
        self.num_batches_tracked.zero_()


class _AlwaysSteps(_Wrong):
    def forward(self, x):
        y = super().forward(x)
        if not self.training and len(x) > 1:
            self.step(x)
        return y


class _AlwaysBatch(_Wrong):
    def forward(self, x):
        if len(x) == 1:
            return super().forward(x)
        if self.training:
            self.step(x)
        return self.normed(x, *self.stats(x))


class _EvalRefuses(_Wrong):
    def forward(self, x):
        if x.shape[0] < 2:
            raise ValueError("Expected more than 1 value per channel")
        return super().forward(x)


class _OneRowPasses(_Wrong):
    def forward(self, x):
        return x * self.weight + self.bias if self.training and len(x) == 1 else super().forward(x)


class _RaisesAnother(_Wrong):
    def forward(self, x):
        if self.training and len(x) == 1:
            raise RuntimeError("one row")
        return super().forward(x)


class _Attributes(_Wrong):
    def __init__(self, d):
        super().__init__(d)
        del self.num_batches_tracked
        self.num_batches_tracked = torch.tensor(0)


class _MoreState(_Wrong):
    def __init__(self, d):
        super().__init__(d)
        self.register_buffer("momentum_", torch.tensor(0.1))


class _OtherNames(_Wrong):
    def __init__(self, d):
        super().__init__(d)
        self.gamma, self.beta = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))


class _AllParameters(_Wrong):
    def __init__(self, d):
        super().__init__(d)
        del self.running_mean
        self.running_mean = nn.Parameter(torch.zeros(d), requires_grad=False)


class _ZeroVariance(_Wrong):
    def __init__(self, d):
        super().__init__(d)
        self.running_var = torch.zeros(d)


class _Graph(_Wrong):
    def step(self, x):
        mean, var = self.running(x)
        self.running_mean = self.mix(self.running_mean, mean)
        self.running_var = self.mix(self.running_var, var)
        self.num_batches_tracked += 1


class _GraphInPlace(_Wrong):
    def step(self, x):
        self.running_mean.mul_(0.9).add_(0.1 * x.mean(0))
        self.running_var.mul_(0.9).add_(0.1 * x.var(0))
        self.num_batches_tracked += 1


class _GradOnly(_Wrong):
    def step(self, x):
        if x.requires_grad or torch.is_grad_enabled():
            super().step(x)


class _DataStats(_Wrong):
    def stats(self, x):
        return super().stats(x.data)


class _NoGradStats(_Wrong):
    @torch.no_grad()
    def stats(self, x):
        return super().stats(x)


class _MeanDetached(_Wrong):
    def stats(self, x):
        return x.mean(0).detach(), ((x - x.mean(0).detach()) ** 2).mean(0).detach()


class _RootOfZero(_Wrong):
    def normed(self, x, mean, var):
        return (x - mean) / torch.hypot(
            var.sqrt(), torch.tensor(self.eps, dtype=x.dtype).sqrt()
        ) * self.weight + self.bias


class _Kept(_Wrong):
    def normed(self, x, mean, var):
        with torch.no_grad():
            x.sub_(mean.detach())
        return x / torch.sqrt(var + self.eps) * self.weight + self.bias


class _Moments(_Wrong):
    def stats(self, x):
        return x.mean(0), x.square().mean(0) - x.mean(0).square()


class _OnAgain(_Made):
    def forward(self, x):
        out = super().forward(x)
        torch.set_grad_enabled(True)
        return out


class _ChecksAtTheEnd(nn.BatchNorm1d):
    def forward(self, x):
        if self.training and len(x) == 1:
            self.running_mean.lerp_(x.detach()[0], self.momentum)
        return super().forward(x)


WRONG = [
    Mistake("and forward switched them on", caught_by="", BatchNorm=_OnAgain),
    Mistake("after one row was refused", caught_by="", BatchNorm=_ChecksAtTheEnd),
    Mistake("normalise with the biased variance", caught_by="", BatchNorm=_DefaultVar),
    Mistake("with eps inside the root", caught_by="", BatchNorm=_StdPlusEps),
    Mistake("with eps inside the root", caught_by="", BatchNorm=_NoEps),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by="", BatchNorm=_LastDim),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by="", BatchNorm=_OnlyUpdated),
    Mistake("the small differences still count", caught_by="", BatchNorm=_Moments),
    Mistake("forward changed x itself", caught_by="", BatchNorm=_Kept),
    Mistake("momentum 0.1 weighs the new value", caught_by="", BatchNorm=_Swapped),
    Mistake("it takes the unbiased variance", caught_by="", BatchNorm=_SameVariance),
    Mistake("num_batches_tracked, after batch 1", caught_by="", BatchNorm=_Uncounted),
    Mistake("in eval the statistics stay as they are", caught_by="", BatchNorm=_AlwaysSteps),
    Mistake("are normalised with the running statistics", caught_by="", BatchNorm=_AlwaysBatch),
    Mistake("the layer raised in eval, on 1 row", caught_by="", BatchNorm=_EvalRefuses),
    Mistake("one row in training has no variance", caught_by="", BatchNorm=_OneRowPasses),
    Mistake("one row in training has no variance", caught_by="", BatchNorm=_RaisesAnother),
    Mistake("a plain tensor is not", caught_by="", BatchNorm=_Attributes),
    Mistake("which nn.BatchNorm1d does not know", caught_by="", BatchNorm=_MoreState),
    Mistake("which nn.BatchNorm1d does not know", caught_by="", BatchNorm=_OtherNames),
    Mistake("the statistics are buffers", caught_by="", BatchNorm=_AllParameters),
    Mistake("running_var of a new layer", caught_by="", BatchNorm=_ZeroVariance),
    Mistake("it carries a graph along", caught_by="", BatchNorm=_Graph),
    Mistake("it carries a graph along", caught_by="", BatchNorm=_GraphInPlace),
    Mistake("in training mode they move", caught_by="", BatchNorm=_GradOnly),
    Mistake("no gradient flows through them here", caught_by="", BatchNorm=_DataStats),
    Mistake("no gradient flows through them here", caught_by="", BatchNorm=_NoGradStats),
    Mistake("no gradient flows through them here", caught_by="", BatchNorm=_MeanDetached),
    Mistake("a root of 0 has no slope", caught_by="", BatchNorm=_RootOfZero),
]
