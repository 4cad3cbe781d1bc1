"""Batch norm: two modes, two variances: reference.

Hint: First decide which mean and variance to use, then write the one formula for both modes.
Hint: `nn.Parameter`, `self.register_buffer`; `Tensor.var(0, correction=0)` is biased, correction=1 is not.
Hint: The running statistics are updated in place, in a block of `torch.no_grad()`; `lerp_` mixes old and new.

Why: the batch is normalised as a population of its own (divide by N), while running_var estimates the variance of all
data (divide by N - 1). The statistics are a by-product of forward: whoever predicts in training mode, even without
gradients, changes the model, and the answer for one image depends on those beside it. A batch norm in eval is a fixed
scale and shift, which is why it can be folded into the layer before it. With one row x - mean is 0, whatever x is.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dojo import Mistake


class BatchNorm(nn.Module):
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))
        self.register_buffer("running_mean", torch.zeros(d))
        self.register_buffer("running_var", torch.ones(d))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            if len(x) < 2:
                raise ValueError("in training, a batch of one row has no variance")
            mean, var = x.mean(0), x.var(0, correction=0)
            self._update(x)
        else:
            mean, var = self.running_mean, self.running_var
        return (x - mean) / torch.sqrt(var + 1e-5) * self.weight + self.bias

    @torch.no_grad()
    def _update(self, x: torch.Tensor) -> None:
        self.running_mean.lerp_(x.mean(0), 0.1)
        self.running_var.lerp_(x.var(0), 0.1)
        self.num_batches_tracked += 1


def picture(solution):
    from dojo.kit import pictures

    torch.manual_seed(0)
    batches = 4 - 2 * torch.rand(61, 64, 1).clamp(min=1e-6).log()  # far from normal: mean 6, variance 4
    unseen = 4 - 2 * torch.rand(4000, 1).clamp(min=1e-6).log()
    edges = torch.linspace(-2, 14, 65)

    def share(values):
        return (torch.histogram(values, edges).hist / values.numel()).tolist()

    layer = solution.BatchNorm(1)
    means, variances, trained, in_eval = [], [], [], []
    with torch.no_grad():
        for batch in batches:
            means.append(layer.running_mean.item())
            variances.append(layer.running_var.item())
            layer.eval()
            in_eval.append(layer(unseen))
            layer.train()
            trained.append(layer(batch))
    after = torch.cat(trained)

    figure = pictures.figure(6, 3.6)
    left, right = figure.subplots(1, 2)
    left.stairs(share(batches), edges.tolist(), color=pictures.GREY, fill=True, alpha=0.4, label="before")
    left.stairs(share(after), edges.tolist(), color=pictures.ORANGE, linestyle="--", label="behind it, in train")
    moving = left.stairs(share(in_eval[0]), edges.tolist(), color=pictures.BLUE, label="behind it, in eval")
    left.set(ylim=(0, 0.26))
    pictures.tidy(left, "the feature", "share of the rows", "after 0 batches")
    left.legend(frameon=False, fontsize=8)
    (mean,) = right.plot([], [], color=pictures.BLUE, marker="o", markersize=3, label="running_mean")
    (variance,) = right.plot([], [], "--", color=pictures.GREEN, marker="s", markersize=3, label="running_var")
    right.axhline(6, color=pictures.BLUE, linewidth=1, linestyle=":", label="mean of all data: 6")
    right.axhline(4, color=pictures.GREEN, linewidth=1, linestyle=(0, (1, 3)), label="their variance: 4")
    right.set(xlim=(0, 61), ylim=(0, 7))
    pictures.tidy(right, "batches", "running statistics")
    right.legend(frameon=False, fontsize=8, loc="lower right")
    frames = pictures.steps_to_show(len(means), 16)

    def draw(i):
        n = frames[i]
        moving.set_data(share(in_eval[n]))
        left.set_title(f"after {n} batches", fontsize=10)
        mean.set_data(range(n + 1), means[: n + 1])
        variance.set_data(range(n + 1), variances[: n + 1])

    def spread(values):
        return f"mean {values.mean().item():.2f} and standard deviation {values.std().item():.2f}".replace(
            "-0.00", "0.00"
        )

    return pictures.Picture(
        pictures.moving(figure, draw, len(frames)),
        f"In train each batch is normalised by itself, and what comes out has {spread(after)}. In eval it has "
        f"{spread(in_eval[0])} before the first batch, and {spread(in_eval[-1])} after {len(means) - 1} batches: by "
        f"then running_mean is {means[-1]:.2f} (of all data: 6) and running_var {variances[-1]:.2f} (4).",
        {
            "running_mean": means,
            "running_var": variances,
            "before": share(batches),
            "train": share(after),
            "eval": [share(in_eval[n]) for n in frames],
            "eval_mean_std": [(y.mean().item(), y.std().item()) for y in in_eval],
        },
    )


class _Base(BatchNorm):
    """The layer in pieces, for the mistakes to replace one."""

    eps, momentum = 1e-5, 0.1

    def forward(self, x):
        if self.training:
            self._check(x)
            mean, var = self._of_the_batch(x)
            self._move(x)
        else:
            mean, var = self.running_mean, self.running_var
        return self._apply_them(x, mean, var)

    def _check(self, x):
        if x.shape[0] == 1:
            raise ValueError("one row")

    def _of_the_batch(self, x):
        return x.mean(0), x.var(0, correction=0)

    def _move(self, x):
        with torch.no_grad():
            self.running_mean += self.momentum * (x.mean(0) - self.running_mean)
            self.running_var += self.momentum * (x.var(0) - self.running_var)
            self.num_batches_tracked += 1

    def _apply_them(self, x, mean, var):
        return self.weight * (x - mean) / (var + self.eps) ** 0.5 + self.bias


class _Unbiased(_Base):
    def _of_the_batch(self, x):
        return x.mean(0), x.var(0)


class _EpsOutside(_Base):
    def _apply_them(self, x, mean, var):
        return self.weight * (x - mean) / (var**0.5 + self.eps) + self.bias


class _OtherEps(_Base):
    eps = 1e-3


class _NoRoot(_Base):
    def _apply_them(self, x, mean, var):
        return self.weight * (x - mean) / (var + self.eps) + self.bias


class _OverRows(_Base):
    def _of_the_batch(self, x):
        return x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)


class _OverAll(_Base):
    def _of_the_batch(self, x):
        return x.mean(), x.var(correction=0)


class _SquaresMinusSquare(_Base):
    def _of_the_batch(self, x):
        mean = x.mean(0)
        return mean, (x * x).mean(0) - mean * mean


class _NoBias(_Base):
    def _apply_them(self, x, mean, var):
        return self.weight * (x - mean) / (var + self.eps) ** 0.5


class _InPlace(_Base):
    def _apply_them(self, x, mean, var):
        x = x if x.requires_grad else x.sub_(mean).div_((var + self.eps).sqrt())
        if x.requires_grad:
            x = (x - mean) / (var + self.eps) ** 0.5
        return self.weight * x + self.bias


class _RunningInTraining(_Base):
    def forward(self, x):
        if self.training:
            self._check(x)
            self._move(x)
        return self._apply_them(x, self.running_mean, self.running_var)


class _OldShare(_Base):
    momentum = 0.9


class _BiasedRunning(_Base):
    def _move(self, x):
        with torch.no_grad():
            self.running_mean += self.momentum * (x.mean(0) - self.running_mean)
            self.running_var += self.momentum * (x.var(0, correction=0) - self.running_var)
            self.num_batches_tracked += 1


class _RunningStd(_Base):
    def _move(self, x):
        with torch.no_grad():
            self.running_mean += self.momentum * (x.mean(0) - self.running_mean)
            self.running_var += self.momentum * (x.std(0) - self.running_var)
            self.num_batches_tracked += 1


class _FixedCorrection(_Base):
    """N / (N - 1) of the first batch, for all."""

    factor = None

    def _move(self, x):
        with torch.no_grad():
            self.factor = self.factor or len(x) / (len(x) - 1)
            self.running_mean += self.momentum * (x.mean(0) - self.running_mean)
            self.running_var += self.momentum * (x.var(0, correction=0) * self.factor - self.running_var)
            self.num_batches_tracked += 1


class _PlainMean(_Base):
    """The mean over all batches so far, as with momentum=None."""

    def _move(self, x):
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = self.momentum if self.num_batches_tracked == 1 else 1 / self.num_batches_tracked.item()
            self.running_mean += share * (x.mean(0) - self.running_mean)
            self.running_var += share * (x.var(0) - self.running_var)


class _NotCounted(_Base):
    def _move(self, x):
        with torch.no_grad():
            self.running_mean += self.momentum * (x.mean(0) - self.running_mean)
            self.running_var += self.momentum * (x.var(0) - self.running_var)


class _CountsRows(_Base):
    def _move(self, x):
        super()._move(x)
        self.num_batches_tracked += len(x) - 1


class _FirstBatchAsItIs(_Base):
    """The first batch replaces the start values."""

    def _move(self, x):
        with torch.no_grad():
            share = 1.0 if self.num_batches_tracked == 0 else self.momentum
            self.running_mean += share * (x.mean(0) - self.running_mean)
            self.running_var += share * (x.var(0) - self.running_var)
            self.num_batches_tracked += 1


class _MovesInEval(_Base):
    def forward(self, x):
        if self.training or len(x) == 1:
            return super().forward(x)
        y = super().forward(x)
        self._move(x)
        return y


class _CountsInEval(_Base):
    def forward(self, x):
        self.num_batches_tracked += not self.training
        return super().forward(x)


class _BatchInEval(_Base):
    def forward(self, x):
        if self.training or len(x) == 1:
            return super().forward(x)
        return self._apply_them(x, *self._of_the_batch(x))


class _ChecksInEval(_Base):
    def forward(self, x):
        self._check(x)
        return super().forward(x)


class _CutInEval(_Base):
    def forward(self, x):
        return super().forward(x) if self.training else super().forward(x).detach()


class _NoCheck(_Base):
    def _check(self, x):
        pass


class _AnotherError(_Base):
    def _check(self, x):
        assert len(x) > 1, "one row"


class _Silent(_Base):
    """One row in training goes the way of eval."""

    def forward(self, x):
        if self.training and len(x) == 1:
            return self._apply_them(x, self.running_mean, self.running_var)
        return super().forward(x)


class _PlainTensors(_Base):
    def __init__(self, d):
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))
        self.running_mean, self.running_var = torch.zeros(d), torch.ones(d)
        self.num_batches_tracked = torch.tensor(0)


class _NotSaved(_Base):
    def __init__(self, d):
        super().__init__(d)
        self.register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)


class _AsParameters(_Base):
    def __init__(self, d):
        super().__init__(d)
        del self.running_mean, self.running_var
        self.running_mean = nn.Parameter(torch.zeros(d), requires_grad=False)
        self.running_var = nn.Parameter(torch.ones(d), requires_grad=False)


class _WeightAsBuffer(_Base):
    def __init__(self, d):
        super().__init__(d)
        del self.weight
        self.register_buffer("weight", torch.ones(d))


class _CounterOfOne(_Base):
    def __init__(self, d):
        super().__init__(d)
        self.register_buffer("num_batches_tracked", torch.zeros(1, dtype=torch.long))

    def _move(self, x):
        super()._move(x)
        self.num_batches_tracked = self.num_batches_tracked.view(())


class _CounterAsFloat(_Base):
    def __init__(self, d):
        super().__init__(d)
        self.register_buffer("num_batches_tracked", torch.tensor(0.0))


class _CounterAsNumber(_Base):
    def _move(self, x):
        super()._move(x)
        self.num_batches_tracked = int(self.num_batches_tracked)


class _VarianceFromZero(_Base):
    def __init__(self, d):
        super().__init__(d)
        self.running_var.zero_()


class _EpsSaved(_Base):
    def __init__(self, d):
        super().__init__(d)
        self.register_buffer("e", torch.tensor(1e-5))


class _WithGraph(_Base):
    def _move(self, x):
        self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(0)
        self.running_var = 0.9 * self.running_var + 0.1 * x.var(0)
        self.num_batches_tracked += 1


class _OneWithGraph(_Base):
    def _move(self, x):
        var = 0.9 * self.running_var + 0.1 * x.var(0)
        super()._move(x)
        self.running_var = var


class _NotUnderNoGrad(_Base):
    def _move(self, x):
        if torch.is_grad_enabled():
            super()._move(x)


class _NotWhenFrozen(_Base):
    def _move(self, x):
        if self.weight.requires_grad:
            super()._move(x)


class _Detached(_Base):
    def _of_the_batch(self, x):
        return super()._of_the_batch(x.detach())


class _VarianceDetached(_Base):
    def _of_the_batch(self, x):
        return x.mean(0), x.detach().var(0, correction=0)


class _ThroughStd(_Base):
    def _of_the_batch(self, x):
        return x.mean(0), x.var(0, correction=0).sqrt() ** 2


class _NoGradAll(_Base):
    def forward(self, x):
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            return super().forward(x)


class _RefusesTooLate(_Base):
    def _check(self, x):
        if x.shape[0] == 1:
            self._move(x)
            raise ValueError("one row")


class _GradientsOn(_Base):
    def _move(self, x):
        torch.set_grad_enabled(False)
        super()._move(x)
        torch.set_grad_enabled(True)


class _WeightCut(_Base):
    def _apply_them(self, x, mean, var):
        return self.weight.detach() * (x - mean) / (var + self.eps) ** 0.5 + self.bias


class _Float32(_Base):
    def forward(self, x):
        y = F.batch_norm(
            x.float(),
            self.running_mean.float(),
            self.running_var.float(),
            self.weight.float(),
            self.bias.float(),
            self.training,
        )
        if self.training:
            self._move(x)
        return y.to(x.dtype)


_TRAIN = "test_a_batch_is_normalised_with_its_own_biased_variance"
_RUNNING = "test_momentum_is_the_share_of_the_new_and_running_var_is_unbiased"
_EVAL = "test_eval_normalises_with_the_running_statistics_and_leaves_them"
_ONE = "test_one_row_has_no_variance"
_STATE = "test_the_state_dict_is_that_of_torchs_layer"
_GRAPH = "test_statistics_carry_no_graph_and_move_without_one_too"
_GRADIENT = "test_the_gradient_flows_through_mean_and_variance"
_INSIDE = "with eps inside the root"

MISTAKES = [
    Mistake("normalise with the biased variance", caught_by=_TRAIN, BatchNorm=_Unbiased),
    Mistake(_INSIDE, caught_by=_TRAIN, BatchNorm=_EpsOutside),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by=_TRAIN, BatchNorm=_OtherEps),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by=_TRAIN, BatchNorm=_NoRoot),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by=_TRAIN, BatchNorm=_OverRows),
    Mistake("have mean 2.5 and biased variance 1.25", caught_by=_TRAIN, BatchNorm=_RunningInTraining),
    Mistake(_INSIDE, caught_by=_TRAIN, BatchNorm=_OverAll),
    Mistake(_INSIDE, caught_by=_TRAIN, BatchNorm=_NoBias),
    Mistake(_INSIDE, caught_by=_TRAIN, BatchNorm=_Float32),
    Mistake("the small differences still count", caught_by=_TRAIN, BatchNorm=_SquaresMinusSquare),
    Mistake("forward changed x itself", caught_by=_TRAIN, BatchNorm=_InPlace),
    Mistake("momentum 0.1 weighs the new value", caught_by=_RUNNING, BatchNorm=_OldShare),
    Mistake("it takes the unbiased variance", caught_by=_RUNNING, BatchNorm=_BiasedRunning),
    Mistake("0.9 * 1 + 0.1 * 1.6667 is 1.0667", caught_by=_RUNNING, BatchNorm=_RunningStd),
    Mistake("0.9 * 0 + 0.1 * 2.5 is 0.25", caught_by=_RUNNING, BatchNorm=_FirstBatchAsItIs),
    Mistake("after batch 2, of 2 rows", caught_by=_RUNNING, BatchNorm=_FixedCorrection),
    Mistake("after batch 2, of 2 rows", caught_by=_RUNNING, BatchNorm=_PlainMean),
    Mistake("num_batches_tracked, after batch 1", caught_by=_RUNNING, BatchNorm=_NotCounted),
    Mistake("num_batches_tracked, after batch 1", caught_by=_RUNNING, BatchNorm=_CountsRows),
    Mistake("in eval the statistics stay as they are", caught_by=_EVAL, BatchNorm=_MovesInEval),
    Mistake("in eval the statistics stay as they are", caught_by=_EVAL, BatchNorm=_CountsInEval),
    Mistake("are normalised with the running statistics", caught_by=_EVAL, BatchNorm=_BatchInEval),
    Mistake("the layer raised in eval, on 1 row", caught_by=_EVAL, BatchNorm=_ChecksInEval),
    Mistake("in eval the result is cut from x", caught_by=_EVAL, BatchNorm=_CutInEval),
    Mistake("one row in training has no variance", caught_by=_ONE, BatchNorm=_NoCheck),
    Mistake("one row in training has no variance", caught_by=_ONE, BatchNorm=_AnotherError),
    Mistake("one row in training has no variance", caught_by=_ONE, BatchNorm=_Silent),
    Mistake("a plain tensor is not", caught_by=_STATE, BatchNorm=_PlainTensors),
    Mistake("a plain tensor is not", caught_by=_STATE, BatchNorm=_NotSaved),
    Mistake("the statistics are buffers", caught_by=_STATE, BatchNorm=_AsParameters),
    Mistake("weight and bias are trained", caught_by=_STATE, BatchNorm=_WeightAsBuffer),
    Mistake("num_batches_tracked of a new layer", caught_by=_STATE, BatchNorm=_CounterOfOne),
    Mistake("num_batches_tracked of a new layer", caught_by=_STATE, BatchNorm=_CounterAsFloat),
    Mistake("a buffer keeps its name for tensors only", caught_by=_RUNNING, BatchNorm=_CounterAsNumber),
    Mistake("running_var of a new layer", caught_by=_STATE, BatchNorm=_VarianceFromZero),
    Mistake("which nn.BatchNorm1d does not know", caught_by=_STATE, BatchNorm=_EpsSaved),
    Mistake("it carries a graph along", caught_by=_GRAPH, BatchNorm=_WithGraph),
    Mistake("it carries a graph along", caught_by=_GRAPH, BatchNorm=_OneWithGraph),
    Mistake("in training mode they move", caught_by=_GRAPH, BatchNorm=_NotUnderNoGrad),
    Mistake("in training mode they move", caught_by=_GRAPH, BatchNorm=_NotWhenFrozen),
    Mistake("no gradient flows through them here", caught_by=_GRADIENT, BatchNorm=_Detached),
    Mistake("the gradient of x in training", caught_by=_GRADIENT, BatchNorm=_VarianceDetached),
    Mistake("a root of 0 has no slope", caught_by=_GRADIENT, BatchNorm=_ThroughStd),
    Mistake("the result is cut from x, and from weight and bias", caught_by=_GRADIENT, BatchNorm=_NoGradAll),
    Mistake("no gradient reached the weight", caught_by=_GRADIENT, BatchNorm=_WeightCut),
    Mistake("after one row was refused", caught_by=_ONE, BatchNorm=_RefusesTooLate),
    Mistake("and forward switched them on", caught_by=_GRAPH, BatchNorm=_GradientsOn),
]
