"""State that is saved and moved, but not trained: reference.

Hint: Three questions: is it in the state_dict, is it in parameters(), does it hang on a graph? Only the first is a yes.
Hint: `self.register_buffer(name, tensor)`; `self.training`; `torch.no_grad()`; `Tensor.mean(0)` or `Tensor.lerp_`.
Hint: Under no_grad, and only where self.training is True, move the mean towards the mean of the rows; then subtract it.

Why: parameters and buffers stand in two tables of the module; `state_dict`, `to` and `double` walk both, `parameters`
only the first. An assignment to a registered name goes into its table, so a new tensor may be bound to `self.mean`;
an in-place update also keeps those happy who hold the same tensor (DDP, a CUDA graph). Batch norm does exactly this,
with the same momentum: there it is the share of the new batch, elsewhere momentum means the share of the old.
"""

import torch
from torch import nn

from dojo import Mistake


class RunningMean(nn.Module):
    mean: torch.Tensor

    def __init__(self, d: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            with torch.no_grad():
                self.mean += self.momentum * (x.mean(0) - self.mean)
        return x - self.mean


class _Base(nn.Module):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, d, momentum=0.1):
        super().__init__()
        self.d, self.momentum = d, momentum
        self.start(torch.zeros(d))

    def start(self, zeros):
        self.register_buffer("mean", zeros)

    def batch_mean(self, x):
        return x.detach().mean(0)

    def update(self, new):
        self.mean = (1 - self.momentum) * self.mean + self.momentum * new

    def forward(self, x):
        if self.training:
            self.update(self.batch_mean(x))
        return x - self.mean


class _Plain(_Base):
    def start(self, zeros):
        self.mean = zeros


class _NotPersistent(_Base):
    def start(self, zeros):
        self.register_buffer("mean", zeros, persistent=False)


class _OtherName(_Base):
    def start(self, zeros):
        self.register_buffer("running_mean", zeros)

    @property
    def mean(self):
        return self.running_mean

    def update(self, new):
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * new


class _NoSuper(_Base):
    def __init__(self, d, momentum=0.1):
        self.register_buffer("mean", torch.zeros(d))


class _PlainNoSuper(_Base):
    def __init__(self, d, momentum=0.1):
        self.mean = torch.zeros(d)


class _NoMomentumAsDefault(_Base):
    def __init__(self, d, momentum=0.1):
        super().__init__(d, momentum or 0.1)


class _Ones(_Base):
    def start(self, zeros):
        self.register_buffer("mean", zeros + 1)


class _Scalar(_Base):
    def start(self, zeros):
        self.register_buffer("mean", zeros[:1])


class _Frozen(_Base):
    def start(self, zeros):
        self.mean = nn.Parameter(zeros, requires_grad=False)

    def update(self, new):
        self.mean.copy_((1 - self.momentum) * self.mean + self.momentum * new)


class _Learned(_Frozen):
    def start(self, zeros):
        self.mean = nn.Parameter(zeros)

    def update(self, new):
        with torch.no_grad():
            super().update(new)


class _ParameterRebound(_Base):
    def start(self, zeros):
        self.mean = nn.Parameter(zeros, requires_grad=False)


class _Unregistered(_Base):
    def update(self, new):
        mean = self.mean
        del self.mean
        self.mean = (1 - self.momentum) * mean + self.momentum * new


class _InFloat32(_Base):
    def update(self, new):
        super().update(new.float())
        self.mean = self.mean.float()


class _InNumbers(_Base):
    def batch_mean(self, x):
        return torch.tensor(x.detach().float().mean(0).tolist(), dtype=x.dtype)


class _Result(_Base):
    def forward(self, x):
        return super().forward(x).float()


class _Swapped(_Base):
    def update(self, new):
        self.mean = self.momentum * self.mean + (1 - self.momentum) * new


class _FixedMomentum(_Base):
    def update(self, new):
        self.mean = 0.9 * self.mean + 0.1 * new


class _FirstBatch(_Base):
    def update(self, new):
        if self.mean.any():
            super().update(new)
        else:
            self.mean = new


class _OnlyTheBatch(_Base):
    def update(self, new):
        self.mean = new


class _OneMeanOfAll(_Base):
    def batch_mean(self, x):
        return x.detach().mean()


class _OverTheFeatures(_Base):
    def batch_mean(self, x):
        return x.detach().mean(1).mean()


class _Sum(_Base):
    def batch_mean(self, x):
        return x.detach().sum(0)


class _KeepDim(_Base):
    def batch_mean(self, x):
        return x.detach().mean(0, keepdim=True)


class _FirstRow(_Base):
    def batch_mean(self, x):
        return x.detach()[0]


class _Median(_Base):
    def batch_mean(self, x):
        return x.detach().median(0).values


class _OnlyAdds(_Base):
    def update(self, new):
        self.mean = self.mean + self.momentum * new


class _SubtractsTheOld(_Base):
    def forward(self, x):
        out = x - self.mean
        if self.training:
            self.update(x.detach().mean(0))
        return out


class _SubtractsTheBatch(_Base):
    def forward(self, x):
        super().forward(x)
        return x - (self.batch_mean(x) if self.training else self.mean)


class _AddsTheMean(_Base):
    def forward(self, x):
        return super().forward(x) + 2 * self.mean


class _InPlaceOnX(_Base):
    def forward(self, x):
        if self.training:
            self.update(self.batch_mean(x))
        x.data -= self.mean
        return x


class _ReturnsNothing(_Base):
    def forward(self, x):
        super().forward(x)


class _AlwaysUpdates(_Base):
    def forward(self, x):
        self.update(self.batch_mean(x))
        return x - self.mean


class _AsksForGradients(_Base):
    def forward(self, x):
        if torch.is_grad_enabled():
            self.update(self.batch_mean(x))
        return x - self.mean


class _AsksX(_Base):
    def forward(self, x):
        if self.training and not x.requires_grad or x.requires_grad:
            self.update(self.batch_mean(x))
        return x - self.mean


class _OwnFlag(_Base):
    learning = True

    def eval(self):
        self.learning = False
        return super().eval()

    def forward(self, x):
        if self.learning:
            self.update(self.batch_mean(x))
        return x - self.mean


class _EvalSubtractsNothing(_Base):
    def forward(self, x):
        return super().forward(x) if self.training else x


class _Graph(_Base):
    def batch_mean(self, x):
        return x.mean(0)


class _GraphInPlace(_Base):
    def forward(self, x):
        if self.training:
            self.mean.mul_(1 - self.momentum).add_(self.momentum * x.mean(0))
        return x - self.mean


class _NothingFlows(_Base):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


_starts: dict = {}


class _SharedZeros(_Base):
    """All layers begin with the same tensor, and edit it."""

    def start(self, zeros):
        self.register_buffer("mean", _starts.setdefault(len(zeros), zeros))

    def update(self, new):
        self.mean.lerp_(new, self.momentum)


class _Squeezed(_Base):
    def batch_mean(self, x):
        return x.detach().mean(0).squeeze()

    def update(self, new):
        self.mean = ((1 - self.momentum) * self.mean + self.momentum * new).squeeze()


class _SwitchesGradientsOn(_Base):
    def forward(self, x):
        torch.set_grad_enabled(False)
        if self.training:
            self.update(x.mean(0))
        torch.set_grad_enabled(True)
        return x - self.mean


class _BeginsAnewInTraining(_Base):
    def train(self, mode=True):
        if mode:
            self.mean.zero_()
        return super().train(mode)


class _Inference(_Base):
    def update(self, new):
        with torch.inference_mode():
            super().update(new)


_SAVED = "test_a_buffer_is_saved_and_loaded"
_PARAMETER = "test_a_buffer_is_no_parameter"
_MOVES = "test_a_buffer_moves_with_the_model"
_SHARE = "test_momentum_is_the_share_of_the_newest_batch"
_EVAL = "test_eval_leaves_the_mean_alone"
_GRAPH = "test_a_running_mean_carries_no_graph"

_AFTER = "the mean after batches with means 10 and 20"

MISTAKES = [
    Mistake("momentum=0.0 gives the newest batch no share", caught_by=_SHARE, RunningMean=_NoMomentumAsDefault),
    Mistake("'mean' is not in the state_dict", caught_by=_SAVED, RunningMean=_Plain),
    Mistake("'mean' is not in the state_dict", caught_by=_SAVED, RunningMean=_NotPersistent),
    Mistake("'mean' is not in the state_dict", caught_by=_SAVED, RunningMean=_OtherName),
    Mistake("'mean' is gone from the state_dict", caught_by=_SAVED, RunningMean=_Unregistered),
    Mistake("call super().__init__() first: before it", caught_by=_SAVED, RunningMean=_NoSuper),
    Mistake("call super().__init__() first: without it", caught_by=_SAVED, RunningMean=_PlainNoSuper),
    Mistake("an inference tensor became the mean", caught_by=_SAVED, RunningMean=_Inference),
    Mistake("mean is a parameter", caught_by=_PARAMETER, RunningMean=_Frozen),
    Mistake("mean is a parameter", caught_by=_PARAMETER, RunningMean=_Learned),
    Mistake("a Parameter takes only Parameters", caught_by=_SAVED, RunningMean=_ParameterRebound),
    Mistake("after layer.double() the mean is torch.float32", caught_by=_MOVES, RunningMean=_Plain),
    Mistake("the mean of the layer in float64", caught_by=_MOVES, RunningMean=_InFloat32),
    Mistake("the mean of the layer in float64", caught_by=_MOVES, RunningMean=_InNumbers),
    Mistake("x - mean, in float64", caught_by=_MOVES, RunningMean=_Result),
    Mistake("the mean starts with zeros", caught_by=_SHARE, RunningMean=_Ones),
    Mistake("one for each feature", caught_by=_SHARE, RunningMean=_Scalar),
    Mistake("momentum weights the new value", caught_by=_SHARE, RunningMean=_Swapped),
    Mistake("the mean with momentum=0.25", caught_by=_SHARE, RunningMean=_FixedMomentum),
    Mistake("the batch's own, and forgot the zeros before", caught_by=_SHARE, RunningMean=_FirstBatch),
    Mistake("the batch's own, and forgot the zeros before", caught_by=_SHARE, RunningMean=_OnlyTheBatch),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_OneMeanOfAll),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_OverTheFeatures),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_Sum),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_KeepDim),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_FirstRow),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_Median),
    Mistake(_AFTER, caught_by=_SHARE, RunningMean=_OnlyAdds),
    Mistake("update it first", caught_by=_SHARE, RunningMean=_SubtractsTheOld),
    Mistake("x - mean, with the mean updated before", caught_by=_SHARE, RunningMean=_SubtractsTheBatch),
    Mistake("x - mean, with the mean updated before", caught_by=_SHARE, RunningMean=_AddsTheMean),
    Mistake("the batch is the caller's", caught_by=_SHARE, RunningMean=_InPlaceOnX),
    Mistake("forward returns a tensor, got NoneType", caught_by=_SHARE, RunningMean=_ReturnsNothing),
    Mistake("model.eval(), and forward changed the mean", caught_by=_EVAL, RunningMean=_AlwaysUpdates),
    Mistake("model.eval(), and forward changed the mean", caught_by=_EVAL, RunningMean=_AsksForGradients),
    Mistake("model.eval(), and forward changed the mean", caught_by=_EVAL, RunningMean=_AsksX),
    Mistake("model.eval(), and forward changed the mean", caught_by=_EVAL, RunningMean=_OwnFlag),
    Mistake("and forward switched them on", caught_by=_EVAL, RunningMean=_SwitchesGradientsOn),
    Mistake("the mode decides, not whether gradients are on", caught_by=_EVAL, RunningMean=_BeginsAnewInTraining),
    Mistake("the mean starts with zeros", caught_by=_SHARE, RunningMean=_SharedZeros),
    Mistake("the mean of d = 1 feature", caught_by=_SHARE, RunningMean=_Squeezed),
    Mistake("in eval, x - mean as it was learned", caught_by=_EVAL, RunningMean=_EvalSubtractsNothing),
    Mistake("after the first step mean.requires_grad is True", caught_by=_GRAPH, RunningMean=_Graph),
    Mistake("after the first step mean.requires_grad is True", caught_by=_GRAPH, RunningMean=_GraphInPlace),
    Mistake("x - mean hangs on no graph", caught_by=_GRAPH, RunningMean=_NothingFlows),
]
