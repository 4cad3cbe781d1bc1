"""Setosa or versicolor: a first classifier: reference.

Hint: Decide once what the model returns, and let the other functions follow: a logit is the best choice.
Hint: `nn.Linear(2, 1)`; `F.binary_cross_entropy_with_logits`; `torch.sigmoid`; `torch.no_grad()`; `Tensor.long()`.
Hint: Train by zero_grad, loss, backward, step, 500 times with Adam and lr 0.5. A class is 1 where sigmoid says more
    than a half: compare, and make integers of it.

Why: sigmoid and log together are log(1 + exp(-z)), and the loss with logits computes just that, without rounding the
probability to 0 or 1 in between. So its slope is (probability - y) / n for every z, and steepest where the model is
most wrong. The four functions share one decision, what the model returns. One that takes a logit for a
probability, or the other way round, still runs, and only gets worse answers.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))


def fit_logistic(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    for _ in range(500):
        optimizer.zero_grad()
        loss(model(x).squeeze(1), y).backward()
        optimizer.step()
    return model


def predict_proba(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.sigmoid(model(x).squeeze(1))


def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (predict_proba(model, x) > 0.5).long()


def picture(solution):
    from contourpy import contour_generator
    from matplotlib.colors import ListedColormap
    from sklearn.datasets import load_iris

    from dojo.kit import pictures, training

    data = load_iris()
    x, y = torch.tensor(data.data[:100, :2], dtype=torch.float32), torch.tensor(data.target[:100])
    lengths, widths = torch.linspace(4, 7.3, 34), torch.linspace(1.8, 4.6, 29)
    grid = torch.cartesian_prod(widths, lengths).flip(1)
    cut = torch.stack([torch.linspace(4, 7.3, 331), torch.full((331,), 3.0)], 1)

    torch.manual_seed(0)
    model, weights = training.weights_of_each_step(lambda: solution.fit_logistic(x, y))
    steps, logits, along, right = pictures.steps_to_show(len(weights), 26), [], [], []
    for n in steps:
        model.load_state_dict(weights[n], strict=False)
        logits.append(solution.predict_proba(model, grid).view(29, 34).logit(eps=1e-6).numpy())
        along.append(solution.predict_proba(model, cut))
        right.append(int((solution.predict(model, x) == y).sum()))

    figure = pictures.figure(5.4, 4.9)
    top, low = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    colours = ListedColormap(["#d6e6f2", "#f8e0d2"])  # of the logits below 0, and of those above
    region = top.imshow(logits[0], colours, vmin=-1, vmax=1, interpolation="bilinear", origin="lower", aspect="auto")
    region.set_extent((3.95, 7.35, 1.75, 4.65))  # a point of the grid is the middle of a pixel
    top.set(xlim=(4, 7.3), ylim=(1.8, 4.6))
    lines = [
        top.plot([], [], dashes, color=pictures.BLACK, label=f"probability {p}")[0]
        for p, dashes in ((0.1, ":"), (0.5, "-"), (0.9, "--"))
    ]
    top.plot(*x[y == 0].T, "o", color=pictures.BLUE, mec="white", label="setosa, class 0")
    top.plot(*x[y == 1].T, "^", color=pictures.ORANGE, mec="white", label="versicolor, class 1")
    top.axhline(3, color=pictures.GREY, linewidth=0.8)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    pictures.tidy(top, "", "sepal width (cm)")
    top.grid(False)
    (curve,) = low.plot(cut[:, 0], along[0], color=pictures.BLACK)
    low.axhline(0.5, color=pictures.GREY, linewidth=0.8)
    low.set(ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
    pictures.tidy(low, "sepal length (cm), at a width of 3 cm", "probability")

    def draw(i):
        region.set_data(logits[i])
        contours = contour_generator(lengths, widths, logits[i])
        for line, p in zip(lines, (0.1, 0.5, 0.9), strict=True):
            found = contours.lines(math.log(p / (1 - p)))
            line.set_data(*max(found, key=len).T if found else ([], []))
        curve.set_ydata(along[i])
        when = f"optimizer step {steps[i]} of {steps[-1]}" if len(steps) > 1 else "after the training"
        top.set_title(f"{when}: {right[i]} of 100 flowers right", fontsize=10)

    draw(len(steps) - 1)
    p = solution.predict_proba(model, x)
    unsure = int(((p > 0.1) & (p < 0.9)).sum())
    changes = cut[1:, 0][solution.predict(model, cut).diff() != 0].tolist()
    return pictures.Picture(
        pictures.moving(figure, draw, len(steps)) if len(steps) > 1 else figure,
        f"In the end {right[-1]} of 100 flowers are on their side of the boundary; {unsure} get a probability "
        f"between 0.1 and 0.9. At a width of 3 cm the answer changes at a length of "
        f"{' and '.join(f'{length:.2f}' for length in changes)} cm.",
        {"step": steps, "right": right, "p": p.tolist(), "along": along[-1].tolist(), "changes": changes},
    )


# ── known mistakes ──


def _fit(
    make=lambda: nn.Linear(2, 1), steps=500, lr=0.5, criterion=loss, prepare=lambda x: x, optimizer=torch.optim.Adam
):
    def fit_logistic(x, y):
        model, x = make(), prepare(x)
        opt = optimizer(model.parameters(), lr=lr)
        for _ in range(steps):
            opt.zero_grad()
            criterion(model(x).squeeze(1), y).backward()
            opt.step()
        return model

    return fit_logistic


def _with_sigmoid():
    return nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())


def _standardised(x):
    return (x - x.mean(0)) / x.std(0)


def _standardises_in_place(x):
    x -= x.mean(0)
    return x


def _twice(logits, y):
    return F.binary_cross_entropy_with_logits(logits.sigmoid(), y.float())


def _bce(logits, y):
    return F.binary_cross_entropy(torch.sigmoid(logits), y.float())


def _clamped(logits, y):
    p = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)
    return -torch.where(y == 1, p.log(), (1 - p).log()).mean()


def _left_off(logits, y):
    value = loss(logits, y)
    torch.set_grad_enabled(False)
    return value


def _naive(logits, y):
    return torch.log(1 + torch.exp(-(2 * y - 1) * logits)).mean()


def _batch_statistics(model, x):
    with torch.no_grad():
        return torch.sigmoid(model(_standardised(x) if len(x) > 1 else x).squeeze(1))


def _own_sigmoid(model, x):
    with torch.no_grad():
        z = model(x).squeeze(1)
        return z.exp() / (1 + z.exp())


def _trains_on(model, x):
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
        return torch.sigmoid(model(x).squeeze(1))


def _freezes(model, x):
    return torch.sigmoid(model.requires_grad_(False)(x).squeeze(1))


def _off_for_all(model, x):
    torch.set_grad_enabled(False)
    return torch.sigmoid(model(x).squeeze(1))


def _class_off_for_all(model, x):
    return (_off_for_all(model, x) > 0.5).long()


def _softmax_over_flowers(model, x):
    with torch.no_grad():
        return model(x).softmax(0).squeeze(1)


def _one_column(x, y):
    class Model(nn.Linear):
        def forward(self, x):
            return super().forward(x[:, :1])

    return _fit(lambda: Model(1, 1))(x, y)


_SHARED = nn.Linear(2, 1)


def _zero_grad_forgotten(x, y):
    model = nn.Linear(2, 1)
    opt = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(500):
        loss(model(x).squeeze(1), y).backward()
        opt.step()
    return model


def _adds_up_by_hand(x, y):
    model = nn.Linear(2, 1)
    for _ in range(500):
        loss(model(x).squeeze(1), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.5 * p.grad
    return model


_LINE = "test_a_line_tells_setosa_from_versicolor"
_PROBABILITY = "test_a_sigmoid_makes_a_probability_of_a_logit"
_HALF = "test_probability_one_half_is_logit_zero"
_WORST = "test_the_worst_mistakes_teach_the_most"
_MEAN = "test_the_loss_is_a_mean_over_flowers"

_FEW = "was the training long and bold enough?"
_DEAD = "so the worst mistakes stop learning"

MISTAKES = [
    Mistake(_FEW, caught_by=_LINE, fit_logistic=_one_column),
    Mistake(_FEW, caught_by=_LINE, fit_logistic=_fit(steps=50, lr=0.01)),
    Mistake(_FEW, caught_by=_LINE, fit_logistic=_fit(prepare=_standardised)),
    Mistake(_FEW, caught_by=_LINE, fit_logistic=_adds_up_by_hand),
    Mistake("the second changed what the first learnt", caught_by=_LINE, fit_logistic=_fit(lambda: _SHARED)),
    Mistake("gradients of the last step were still there", caught_by=_LINE, fit_logistic=_zero_grad_forgotten),
    Mistake(
        "that is sigmoid of a sigmoid",
        caught_by=_PROBABILITY,
        loss=_twice,
        fit_logistic=_fit(_with_sigmoid),
    ),
    Mistake(
        _FEW, caught_by=_LINE, fit_logistic=_fit(_with_sigmoid), predict_proba=lambda m, x: m(x).squeeze(1).detach()
    ),
    Mistake("changed the data that it was given", caught_by=_LINE, fit_logistic=_fit(prepare=_standardises_in_place)),
    Mistake("the model, an nn.Module; got NoneType", caught_by=_LINE, fit_logistic=lambda x, y: None),
    Mistake("is it still a logit?", caught_by=_PROBABILITY, predict_proba=lambda m, x: m(x).squeeze(1).detach()),
    Mistake(
        "one probability for each", caught_by=_PROBABILITY, predict_proba=lambda m, x: torch.sigmoid(m(x)).detach()
    ),
    Mistake(
        "one probability for each",
        caught_by=_PROBABILITY,
        predict_proba=lambda m, x: torch.sigmoid(m(x)).squeeze().detach(),
    ),
    Mistake(
        "the probabilities require a gradient",
        caught_by=_PROBABILITY,
        predict_proba=lambda m, x: torch.sigmoid(m(x)).squeeze(1),
    ),
    Mistake(
        "is that the probability of class 0?",
        caught_by=_PROBABILITY,
        predict_proba=lambda m, x: torch.sigmoid(-m(x)).squeeze(1).detach(),
    ),
    Mistake(
        "another probability than among others",
        caught_by=_PROBABILITY,
        fit_logistic=_fit(prepare=_standardised),
        predict_proba=_batch_statistics,
    ),
    Mistake("far away from all flowers, the probabilities are", caught_by=_PROBABILITY, predict_proba=_own_sigmoid),
    Mistake("predict_proba changed weight", caught_by=_PROBABILITY, predict_proba=_trains_on),
    Mistake("after predict_proba torch records no graphs", caught_by=_PROBABILITY, predict_proba=_off_for_all),
    Mistake("on the average, and above 0.8 is asked", caught_by=_PROBABILITY, predict_proba=_softmax_over_flowers),
    Mistake("after predict torch records no graphs", caught_by=_LINE, predict=_class_off_for_all),
    Mistake(
        "different probabilities: were they rounded?", caught_by=_HALF, predict_proba=lambda m, x: predict(m, x).float()
    ),
    Mistake(
        "different probabilities: were they rounded?",
        caught_by=_HALF,
        predict_proba=lambda m, x: torch.sigmoid(m(x).squeeze(1)).detach().round(decimals=1),
    ),
    Mistake("predict_proba changed requires_grad", caught_by=_PROBABILITY, predict_proba=_freezes),
    Mistake("on the average, and below 0.2 is asked", caught_by=_PROBABILITY, fit_logistic=_fit(steps=2000, lr=1e-3)),
    Mistake(
        "that is logit 0.5, and probability 0.5 is logit 0",
        caught_by=_HALF,
        predict=lambda m, x: (m(x).squeeze(1) > 0.5).long(),
    ),
    Mistake("as the labels are; got torch.bool", caught_by=_HALF, predict=lambda m, x: m(x).squeeze(1) > 0),
    Mistake("as the labels are; got torch.float32", caught_by=_HALF, predict=lambda m, x: predict_proba(m, x).round()),
    Mistake("one class for each", caught_by=_HALF, predict=lambda m, x: (m(x) > 0).long()),
    Mistake("one class for each", caught_by=_HALF, predict=lambda m, x: (m(x).squeeze() > 0).long()),
    Mistake("predict and predict_proba disagree", caught_by=_HALF, predict=lambda m, x: m(x).argmax(1)),
    Mistake("predict and predict_proba disagree", caught_by=_HALF, predict=lambda m, x: predict_proba(m, x).long()),
    Mistake("a class is 0 or 1", caught_by=_HALF, predict=lambda m, x: m(x).squeeze(1).sign().long()),
    Mistake(_DEAD, caught_by=_WORST, loss=_bce),
    Mistake(_DEAD, caught_by=_WORST, loss=_clamped),
    Mistake(_DEAD, caught_by=_WORST, loss=lambda z, y: loss(z.clamp(-30, 30), y)),
    Mistake("after loss torch records no graphs", caught_by=_WORST, loss=_left_off),
    Mistake("both wrong: loss inf", caught_by=_WORST, loss=_naive),
    Mistake("That is the loss of sigmoid(logits)", caught_by=_MEAN, loss=_twice),
    Mistake(
        "That is the sum, and the mean is asked",
        caught_by=_MEAN,
        loss=lambda z, y: F.binary_cross_entropy_with_logits(z, y.float(), reduction="sum"),
    ),
    Mistake(
        "the mean over all is one number",
        caught_by=_MEAN,
        loss=lambda z, y: F.binary_cross_entropy_with_logits(z, y.float(), reduction="none"),
    ),
    Mistake(
        "the classes are int64 and the loss wants floats", caught_by=_MEAN, loss=F.binary_cross_entropy_with_logits
    ),
    Mistake("BCELoss takes probabilities", caught_by=_MEAN, loss=lambda z, y: F.binary_cross_entropy(z, y.float())),
    Mistake(
        "shapes (n, 1) and (n,) met",
        caught_by=_MEAN,
        loss=lambda z, y: F.binary_cross_entropy_with_logits(z, y.float().unsqueeze(1)),
    ),
    Mistake(
        "That is the loss for the other class",
        caught_by=_MEAN,
        loss=lambda z, y: F.binary_cross_entropy_with_logits(-z, y.float()),
    ),
    Mistake("1 logits: loss 0.0", caught_by=_MEAN, loss=lambda z, y: F.relu(-z * (2 * y - 1)).mean()),
    Mistake("5 logits: loss", caught_by=_MEAN, loss=lambda z, y: F.softplus(-z * (2 * y[:1] - 1)).mean()),
    Mistake(
        "no gradient can reach the logits",
        caught_by=_MEAN,
        loss=lambda z, y: torch.tensor(F.binary_cross_entropy_with_logits(z, y.float()).item()),
    ),
    Mistake(
        "1 logits: loss",
        caught_by=_MEAN,
        loss=lambda z, y: F.binary_cross_entropy_with_logits(z, y.float(), pos_weight=torch.tensor(2.0)),
    ),
]
