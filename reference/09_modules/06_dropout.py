"""Dropout that obeys eval(): reference.

Hint: Three cases: not training (nothing to do), everything dropped (no division then), and the rest.
Hint: `torch.rand_like` tosses for each number; comparing it with p gives the mask. `self.training` is the flag.
Hint: Or let the function do it all: `F.dropout` takes x, p and training.

Why: dividing by 1 - p in training ("inverted" dropout) keeps the mean, so that eval has nothing to do; papers of 2012
multiply in eval instead. With p = 1 the formula is 0 / 0: torch gives zeros. The flag is set by `train(mode)`, which
`eval()` of the outermost model calls through the tree; a child's own `eval()` is never called. A function has no flag:
whoever writes F.dropout(x, p), or nn.Dropout(p)(x) inside forward (a new module, in training), drops for ever.
"""

import random

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from dojo import Mistake


class Dropout(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability, from 0 to 1, not {p}")
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if self.p == 1:
            return x * 0
        keep = torch.rand_like(x) >= self.p
        return x * keep / (1 - self.p)


def picture(solution):
    from dojo.kit import pictures

    p, calls = 0.5, 200
    far = torch.linspace(-1, 1, 12).square()
    x = 0.4 + 1.6 * torch.exp(-12 * (far + far[:, None] - 0.5).square())  # a ring
    layer = solution.Dropout(p)
    torch.manual_seed(0)
    with torch.no_grad():
        train = torch.stack([layer(x) for _ in range(calls)])
        in_eval = layer.eval()(x)
    mean = train.cumsum(0) / torch.arange(1, calls + 1).view(-1, 1, 1)
    zeros, factor = (train == 0).float().mean().item(), (train / x)[train != 0].mean().item()
    wholes = train.mean((1, 2))

    figure = pictures.figure(6, 4.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.5])
    top.supxlabel("black is 0, white is 4", fontsize=9)
    images = []
    shown = {"x": x, "train": train[0], "mean": mean[0], "eval": in_eval}
    for axes, (name, values) in zip(top.subplots(1, 4), shown.items(), strict=True):
        images.append(axes.imshow(values.numpy(), cmap="gray", vmin=0, vmax=4))
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    each, means = bottom.subplots(1, 2)
    (points,) = each.plot([], [], "o", color=pictures.ORANGE, markersize=3, label="train")
    each.plot(x.flatten(), in_eval.flatten(), "+", color=pictures.BLUE, markersize=5, label="eval")
    each.set(xlim=(0, 2.1), ylim=(-0.2, 4.3))
    pictures.tidy(each, "a number of x", "what becomes of it")
    each.legend(frameon=False, fontsize=8, loc="upper left")
    (dots,) = means.plot([], [], ".", color=pictures.ORANGE, markersize=4, label="train, each call")
    (line,) = means.plot([], [], color=pictures.BLUE, label="train, all calls so far")
    means.axhline(x.mean().item(), color=pictures.BLACK, linestyle="--", linewidth=1, label="x")
    means.set(xlim=(0, calls), ylim=(0, 2 * x.mean().item()))
    pictures.tidy(means, "calls", "mean of all numbers")
    means.legend(frameon=False, fontsize=8, loc="lower right")
    frames = pictures.steps_to_show(calls, 16)

    def draw(i):
        n = frames[i] + 1
        for image, values, title in (
            (images[1], train, f"train, call {n}"),
            (images[2], mean, f"mean so far, calls: {n}"),
        ):
            image.set_data(values[n - 1].numpy())
            image.axes.set_title(title, fontsize=9)
        points.set_data(x.flatten(), train[n - 1].flatten())
        dots.set_data(range(1, n + 1), wholes[:n])
        line.set_data(range(1, n + 1), mean[:n].mean((1, 2)))

    off = (in_eval - x).abs().max().item()
    return pictures.Picture(
        pictures.moving(figure, draw, len(frames)),
        f"In training {zeros:.1%} of the numbers become 0 and the others {factor:.2f} times as large, so the mean over "
        f"{calls} calls is {wholes.mean():.3f}; that of x is {x.mean():.3f}. In eval the output differs from x by "
        f"{off:g}.",
        {"x": x, "eval": in_eval, "train": train[-1], "mean": mean[-1], "means": wholes, "zeros": zeros},
    )


class _Forgets(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p)


class _NewModule(Dropout):
    def forward(self, x):
        return nn.Dropout(self.p)(x)


class _TheMethod(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.train)


class _IfTheMethod(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, training=bool(self.train))


class _AsIn2012(Dropout):
    def forward(self, x):
        if not self.training:
            return x * (1 - self.p)
        return x * (torch.rand_like(x) >= self.p)


class _ScaledTwice(Dropout):
    def forward(self, x):
        return super().forward(x) if self.training else x * (1 - self.p)


class _OwnFlag(Dropout):
    on = True

    def eval(self):
        self.on = False
        return super().eval()

    def train(self, mode=True):
        self.on = self.on or mode
        return super().train(mode)

    def forward(self, x):
        return F.dropout(x, self.p, self.on)


class _NeverOnAgain(Dropout):
    def train(self, mode=True):
        return super().train(False)


class _InPlace(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.training, inplace=not x.requires_grad)


class _Filled(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        x = x.detach() if not x.requires_grad else x
        mask = torch.rand_like(x) < self.p
        return x.masked_fill_(mask, 0.0) / (1 - self.p)


class _KeepProbability(Dropout):
    def forward(self, x):
        return F.dropout(x, 1 - self.p, self.training)


class _NotScaled(Dropout):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) if self.training else x


class _ScaledByP(Dropout):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) / (self.p or 1) if self.training else x


class _ScaledByTheShare(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        keep = (torch.rand_like(x) >= self.p).to(x.dtype)
        return x * keep / keep.mean()


class _Half(Dropout):
    def forward(self, x):
        if not self.training or self.p in (0, 1):
            return super().forward(x)
        return x * torch.randint(0, 2, x.shape) / (1 - self.p)


class _NanAtOne(Dropout):
    def forward(self, x):
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.p) / (1 - self.p)


class _DividesByZero(Dropout):
    def forward(self, x):
        return x * (torch.rand_like(x) >= self.p) * (1 / (1 - self.p)) if self.training else x


class _ZeroInEval(Dropout):
    def forward(self, x):
        return torch.zeros_like(x) if self.p == 1 else super().forward(x)


class _MaskKept(Dropout):
    mask = None

    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        if self.mask is None or self.mask.shape != x.shape:
            self.mask = torch.rand_like(x) >= self.p
        return x * self.mask / (1 - self.p)


class _Seeded(Dropout):
    def forward(self, x):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return super().forward(x)


class _OwnSeed(Dropout):
    def __init__(self, p):
        super().__init__(p)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        return x * (torch.rand(x.shape, generator=self.generator) >= self.p) / (1 - self.p)


class _PerPixel(Dropout):
    """One mask for the last two dimensions, for all images and channels."""

    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        return x * (torch.rand(x.shape[-2:]) >= self.p) / (1 - self.p)


class _OnlyBatches(Dropout):
    def forward(self, x):
        return super().forward(x) if x.dim() > 1 else x


class _Signless(Dropout):
    def forward(self, x):
        return F.dropout(x.abs(), self.p) if self.training else x


class _NewLeaf(Dropout):
    def forward(self, x):
        y = super().forward(x)
        return y if y.requires_grad or not self.training else y.requires_grad_()


class _PerColumn(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        return x * (torch.rand(x.shape[-1]) >= self.p) / (1 - self.p)


class _PerRow(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        keep = torch.rand(x.shape[0]) >= self.p
        return x * keep.view(-1, *[1] * (x.dim() - 1)) / (1 - self.p)


class _OneToss(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        return x * (random.random() >= self.p) / (1 - self.p)


class _Cut(Dropout):
    def forward(self, x):
        return super().forward(x.detach())


class _CutInEval(Dropout):
    def forward(self, x):
        return super().forward(x) if self.training else x.detach()


class _CutInTraining(Dropout):
    def forward(self, x):
        return super().forward(x.detach()) if self.training else x


class _SlopeOne(Dropout):
    def forward(self, x):
        return x + (super().forward(x) - x).detach()


class _NotUnderNoGrad(Dropout):
    def forward(self, x):
        return super().forward(x) if torch.is_grad_enabled() else x


class _OnlyWithGradient(Dropout):
    def forward(self, x):
        return super().forward(x) if x.requires_grad else x


class _Gaussian(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        return x * (1 + torch.randn_like(x) * (self.p / (1 - self.p)) ** 0.5)


class _Float32(Dropout):
    def forward(self, x):
        return super().forward(x.float())


class _ScaleInFloat32(Dropout):
    def forward(self, x):
        if not self.training or self.p == 1:
            return super().forward(x)
        scale = torch.tensor(1 / (1 - self.p), dtype=torch.float32)
        return x * (torch.rand_like(x) >= self.p) * scale


class _Trained(Dropout):
    def __init__(self, p):
        super().__init__(p)
        self.factor = nn.Parameter(torch.tensor(float(p)), requires_grad=False)


class _ZeroIsDefault(Dropout):
    def __init__(self, p):
        super().__init__(p or 0.5)


class _JustThatMany(Dropout):
    def forward(self, x):
        if not self.training:
            return x
        mask = torch.ones(x.numel(), dtype=x.dtype)
        mask[torch.randperm(x.numel())[: int(self.p * x.numel())]] = 0
        return x * mask.view(x.shape) / max(1 - self.p, 1e-9)


class _Unchecked(Dropout):
    def __init__(self, p):
        nn.Module.__init__(self)
        self.p = p


class _Clamped(Dropout):
    def __init__(self, p):
        super().__init__(min(max(p, 0.0), 1.0))


class _NoEnds(Dropout):
    def __init__(self, p):
        if not 0 < p < 1:
            raise ValueError("p must be between 0 and 1")
        super().__init__(p)


class _NoOne(Dropout):
    def __init__(self, p):
        if not 0 <= p < 1:
            raise ValueError("p must be between 0 and 1")
        super().__init__(p)


class _NoInit(nn.Module):
    def __init__(self, p):
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)


class _NoModule:
    def __init__(self, p):
        self.p, self.training = p, True

    def __call__(self, x):
        return F.dropout(x, self.p, self.training)


class _Nothing(Dropout):
    def forward(self, x):
        super().forward(x)


_TRAIN = "test_in_training_a_share_is_dropped_and_the_rest_is_scaled_up"
_EVAL = "test_eval_of_a_whole_model_reaches_the_layers_in_it"
_NO_GRAD = "test_no_grad_does_not_switch_dropout_off"
_ZERO = "test_with_probability_zero_nothing_is_dropped"
_ONE = "test_with_probability_one_all_becomes_zero"
_RANGE = "test_a_probability_lies_between_zero_and_one"
_GRADIENT = "test_each_call_tosses_anew_and_the_gradient_passes_where_the_numbers_passed"
_DROPPED = "numbers were dropped after net.eval()"

MISTAKES = [
    Mistake("1.5 is no probability", caught_by=_RANGE, Dropout=_Unchecked),
    Mistake("-0.1 is no probability", caught_by=_RANGE, Dropout=_Clamped),
    Mistake(_DROPPED, caught_by=_EVAL, Dropout=_Forgets),
    Mistake(_DROPPED, caught_by=_EVAL, Dropout=_NewModule),
    Mistake(_DROPPED, caught_by=_EVAL, Dropout=_OwnFlag),
    Mistake(_DROPPED, caught_by=_EVAL, Dropout=_IfTheMethod),
    Mistake("self.train is the method that switches", caught_by=_TRAIN, Dropout=_TheMethod),
    Mistake("the scaling is done in training already", caught_by=_EVAL, Dropout=_AsIn2012),
    Mistake("the scaling is done in training already", caught_by=_EVAL, Dropout=_ScaledTwice),
    Mistake("nothing is dropped any more after eval() and train()", caught_by=_EVAL, Dropout=_NeverOnAgain),
    Mistake("in eval the result is cut from x", caught_by=_EVAL, Dropout=_CutInEval),
    Mistake("in eval the result is cut from x", caught_by=_EVAL, Dropout=_Cut),
    Mistake("p is the probability to drop", caught_by=_TRAIN, Dropout=_KeepProbability),
    Mistake("what survives is to be divided by 1 - p", caught_by=_TRAIN, Dropout=_NotScaled),
    Mistake("each number is 0 or x / (1 - p)", caught_by=_TRAIN, Dropout=_ScaledByP),
    Mistake("each number is 0 or x / (1 - p)", caught_by=_TRAIN, Dropout=_ScaledByTheShare),
    Mistake("expected a quarter of them", caught_by=_TRAIN, Dropout=_Half),
    Mistake("expected a quarter of them", caught_by=_TRAIN, Dropout=_Gaussian),
    Mistake("expected a quarter of them", caught_by=_TRAIN, Dropout=_OneToss),
    Mistake("not for each column", caught_by=_TRAIN, Dropout=_PerColumn),
    Mistake("along dimension 0", caught_by=_TRAIN, Dropout=_PerPixel),
    Mistake("numbers in a row became 0", caught_by=_TRAIN, Dropout=_OnlyBatches),
    Mistake("each number is 0 or x / (1 - p)", caught_by=_TRAIN, Dropout=_Signless),
    Mistake("the result requires a gradient, x does not", caught_by=_TRAIN, Dropout=_NewLeaf),
    Mistake("two layers drop the same numbers", caught_by=_GRADIENT, Dropout=_OwnSeed),
    Mistake("not for each row", caught_by=_TRAIN, Dropout=_PerRow),
    Mistake("float64 stays float64", caught_by=_TRAIN, Dropout=_Float32),
    Mistake("float64 stays float64", caught_by=_TRAIN, Dropout=_ScaleInFloat32),
    Mistake("Dropout has nothing to train", caught_by=_TRAIN, Dropout=_Trained),
    Mistake("something was assigned in Dropout before super().__init__()", caught_by=_TRAIN, Dropout=_NoInit),
    Mistake("Dropout is no nn.Module any more", caught_by=_TRAIN, Dropout=_NoModule),
    Mistake("forward returned NoneType", caught_by=_TRAIN, Dropout=_Nothing),
    Mistake("self.training alone decides", caught_by=_NO_GRAD, Dropout=_NotUnderNoGrad),
    Mistake("self.training alone decides", caught_by=_NO_GRAD, Dropout=_OnlyWithGradient),
    Mistake("with p = 0 all stays as it is", caught_by=_ZERO, Dropout=_ZeroIsDefault),
    Mistake("raised", caught_by=_ZERO, Dropout=_NoEnds),
    Mistake("raised", caught_by=_ONE, Dropout=_NoOne),
    Mistake("0 / 0 or 0 * inf is not 0", caught_by=_ONE, Dropout=_NanAtOne),
    Mistake("1 - p is 0 here, and you divide by it", caught_by=_ONE, Dropout=_DividesByZero),
    Mistake("in eval p does not matter", caught_by=_ONE, Dropout=_ZeroInEval),
    Mistake("the same numbers were dropped in the second call", caught_by=_GRADIENT, Dropout=_MaskKept),
    Mistake("the same numbers were dropped in the second call", caught_by=_GRADIENT, Dropout=_Seeded),
    Mistake("forward changed x itself", caught_by=_GRADIENT, Dropout=_InPlace),
    Mistake("forward changed x itself", caught_by=_GRADIENT, Dropout=_Filled),
    Mistake("the result is cut from x: no gradient", caught_by=_GRADIENT, Dropout=_CutInTraining),
    Mistake("the gradient has the mask of the values", caught_by=_GRADIENT, Dropout=_SlopeOne),
    Mistake("that is no coin toss for each", caught_by=_GRADIENT, Dropout=_JustThatMany),
]
