"""Fit a line, f(x) = 2x + 2: reference.

Hint: Print the shapes of the prediction and of y before you subtract. What clears the gradients, and how often?
Hint: `nn.Linear`, `torch.optim.SGD`, `nn.functional.mse_loss`, `Tensor.squeeze(1)`, `Tensor.item`; `linalg.eigvalsh`.
Hint: predict, squeeze, loss, zero_grad, backward, step, `epochs` times; eigvalsh sorts, so the greatest comes last.

Why: in the direction of an eigenvector of H, the error is multiplied by 1 - lr * eigenvalue in each step. For x = 1, 2,
3 the eigenvalues are 11.09 and 0.24: the first one forbids an lr above 0.18, and the second one, 46 times flatter,
decides how long it takes. That ratio, the condition number, is why inputs are normalized, why momentum helps, and why
"500 epochs" means nothing without lr and data. A big net has such a limit as well, only it moves during training.
"""

import torch
from torch import nn

from dojo import Mistake


def fit_line(x: torch.Tensor, y: torch.Tensor, lr: float, epochs: int) -> tuple[float, float]:
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        loss = nn.functional.mse_loss(model(x).squeeze(1), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return model.weight.item(), model.bias.item()


def max_stable_lr(x: torch.Tensor) -> float:
    columns = torch.cat([x, torch.ones_like(x)], dim=1)
    hessian = 2 / len(x) * columns.T @ columns
    return 2 / torch.linalg.eigvalsh(hessian)[-1].item()


def picture(solution):
    from dojo.kit import pictures

    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([4.0, 6.0, 8.0])
    limit = solution.max_stable_lr(x)
    lr, too_high = 0.1, max(0.2, 1.1 * limit)

    def after(epochs, lr):
        torch.manual_seed(1)
        return solution.fit_line(x, y, lr, epochs)

    def loss(line):
        return ((line[0] * x[:, 0] + line[1] - y) ** 2).mean().item()

    epochs = pictures.steps_to_show(301, 50)
    lines = [after(n, lr) for n in epochs]
    losses = [loss(line) for line in lines]
    beyond = [loss(after(n, too_high)) for n in range(25)]
    settled = next((n for n, (w, b) in zip(epochs, lines, strict=True) if abs(w - 2) + abs(b - 2) < 0.05), epochs[-1])

    figure = pictures.figure(6, 3.2)
    left, right = figure.subplots(1, 2)
    ends = torch.tensor([0.0, 4.0])
    left.plot(x[:, 0], y, "o", color=pictures.BLACK, label="the points")
    (line,) = left.plot(ends, ends, color=pictures.BLUE)
    left.set(xlim=(0, 4), ylim=(-2, 12))
    pictures.tidy(left, "x", "f(x)")
    right.plot(epochs, losses, color=pictures.BLUE, label=f"lr {lr:g}")
    right.plot(range(25), beyond, "--", color=pictures.ORANGE, label=f"lr {too_high:g}")
    (here,) = right.plot([], [], "o", color=pictures.BLUE)
    right.set(yscale="log")
    pictures.tidy(right, "epochs", "mean squared error")
    right.legend(frameon=False)

    def draw(i):
        w, b = lines[i]
        line.set_data(ends, w * ends + b)
        left.set_title(f"after {epochs[i]} epochs: {w:.2f}x + {b:.2f}", fontsize=10)
        here.set_data([epochs[i]], [losses[i]])

    w, b = lines[-1]
    return pictures.Picture(
        pictures.moving(figure, draw, len(epochs)),
        f"With lr {lr:g} the line settles at {w:.2f}x + {b:.2f} after {settled} epochs; beyond {limit:.3f}, with lr "
        f"{too_high:g}, it diverges: the mean squared error is {beyond[-1]:.3g} after 24 epochs.",
        {"epochs": epochs, "w": [w for w, _ in lines], "b": [b for _, b in lines], "loss": losses, "diverges": beyond},
    )


def _mse(p, y):
    return ((p.squeeze(1) - y) ** 2).mean()


def _both(model):
    return model.weight.item(), model.bias.item()


def _trained(
    loss=_mse,
    make=lambda: nn.Linear(1, 1),
    optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr),
    clear=True,
    result=_both,
    steps=lambda epochs: epochs,
    before_step=lambda model: None,
    lr_in=lambda lr, epoch: lr,
):
    """fit_line, of which the mistakes change one part."""

    def wrong(x, y, lr, epochs):
        model = make()
        opt = optimizer(model.parameters(), lr)
        for epoch in range(steps(epochs)):
            opt.param_groups[0]["lr"] = lr_in(lr, epoch)
            value = loss(model(x), y)
            if clear:
                opt.zero_grad()
            value.backward()
            before_step(model)
            opt.step()
        return result(model)

    return wrong


def _zeros():
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


def _seeded():
    torch.manual_seed(0)
    return nn.Linear(1, 1)


def _twice():
    nn.Linear(1, 1)
    return nn.Linear(1, 1)


def _normal():
    model = nn.Linear(1, 1)
    nn.init.normal_(model.weight)
    return model


_model = None


def _shared():
    global _model
    _model = _model or nn.Linear(1, 1)
    return _model


def _a_step_per_point(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for a, c in zip(x, y):
            opt.zero_grad()
            ((model(a) - c) ** 2).mean().backward()
            opt.step()
    return _both(model)


def _in_batches(x, y, lr, epochs):
    """Of 32: no difference as long as there are few points."""
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for a, c in zip(x.split(32), y.split(32)):
            opt.zero_grad()
            _mse(model(a), c).backward()
            opt.step()
    return _both(model)


_answers = {}


def _remembered(x, y, lr, epochs):
    """By the shape of the points, not by their values."""
    key = (x.shape, lr, epochs, torch.initial_seed())
    if key not in _answers:
        _answers[key] = fit_line(x, y, lr, epochs)
    return _answers[key]


def _until_it_stands_still(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        loss = _mse(model(x), y)
        if loss < 1e-2:
            break
        opt.zero_grad()
        loss.backward()
        opt.step()
    return _both(model)


def _best(x, y, lr, epochs):
    """The best line that it came by."""
    model, found = nn.Linear(1, 1), []
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for epoch in range(epochs + 1):
        loss = _mse(model(x), y)
        found.append((loss.item(), epoch, _both(model)))
        opt.zero_grad()
        loss.backward()
        opt.step()
    return min(found)[2]


def _least_squares(x, y, lr, epochs):
    columns = torch.cat([x, torch.ones_like(x)], dim=1)
    w, b = torch.linalg.lstsq(columns, y[:, None]).solution.flatten().tolist()
    return w, b


def _standardized(x, y, lr, epochs):
    mean, std = x.mean(), x.std()
    w, b = fit_line((x - mean) / std, y, lr, epochs)
    return w / std.item(), b - w * mean.item() / std.item()


def _targets_unsqueezed_in_place(x, y, lr, epochs):
    y.unsqueeze_(1)
    return _trained(loss=lambda p, y: ((p - y) ** 2).mean())(x, y, lr, epochs)


def _hessian(x):
    columns = torch.cat([x, torch.ones_like(x)], dim=1)
    return 2 / len(x) * columns.T @ columns


_LINE = "test_enough_steps_of_a_good_size_find_the_line"
_STEP = "test_an_epoch_is_one_step_against_the_gradient_of_all_points"
_LIMIT = "test_the_steepest_direction_of_the_loss_limits_lr"
_BEYOND = "test_beyond_the_limit_each_step_overshoots_by_more"

MISTAKES = [
    Mistake(
        "f(x) = 0.0000x + 6.0000, expected 2.0000x + 2.0000: that is what (n, 1) against (n,) learns",
        caught_by=_LINE,
        fit_line=_trained(loss=lambda p, y: ((p - y) ** 2).mean()),
    ),
    Mistake("that is what (n, 1) against (n,) learns", caught_by=_STEP, fit_line=_trained(loss=nn.functional.mse_loss)),
    Mistake("the gradients of the epochs before were added", caught_by=_LINE, fit_line=_trained(clear=False)),
    Mistake("w should be a Python float", caught_by=_LINE, fit_line=_trained(result=lambda m: (m.weight, m.bias))),
    Mistake(
        "fit_line returns a pair, w and b",
        caught_by=_LINE,
        fit_line=_trained(result=lambda m: (m.weight.item(), m.bias.item(), 0.0)),
    ),
    Mistake("fit_line returns a pair, w and b", caught_by=_LINE, fit_line=_trained(result=lambda m: m)),
    Mistake(
        "w comes first, then b", caught_by=_LINE, fit_line=_trained(result=lambda m: (m.bias.item(), m.weight.item()))
    ),
    Mistake("after 500 epochs with lr=0.1", caught_by=_LINE, fit_line=_trained(steps=lambda epochs: min(epochs, 100))),
    Mistake("after 500 epochs with lr=0.1", caught_by=_LINE, fit_line=_until_it_stands_still),
    Mistake(
        "after 500 epochs with lr=0.1", caught_by=_LINE, fit_line=_trained(lr_in=lambda lr, epoch: lr * 0.99**epoch)
    ),
    Mistake("with lr=0.01, f(x) = 2.0000x + 2.0000", caught_by=_LINE, fit_line=_least_squares),
    Mistake("that is a step for each point", caught_by=_STEP, fit_line=_a_step_per_point),
    Mistake("after 1 epoch with lr=0.07", caught_by=_STEP, fit_line=_in_batches),
    Mistake("after 1 epoch with lr=0.07", caught_by=_STEP, fit_line=_remembered),
    Mistake(
        "after 3 epochs with lr=0.07",
        caught_by=_STEP,
        fit_line=_trained(lr_in=lambda lr, epoch: lr / (1 + epoch)),
    ),
    Mistake(
        "that is the sum of the squared errors",
        caught_by=_STEP,
        fit_line=_trained(loss=lambda p, y: ((p.squeeze(1) - y) ** 2).sum()),
    ),
    Mistake(
        "that is half of the mean squared error",
        caught_by=_STEP,
        fit_line=_trained(loss=lambda p, y: ((p.squeeze(1) - y) ** 2).mean() / 2),
    ),
    Mistake(
        "after 1 epoch with lr=0.07",
        caught_by=_STEP,
        fit_line=_trained(loss=lambda p, y: (p.squeeze(1) - y).abs().mean()),
    ),
    Mistake("that begins with w = b = 0", caught_by=_STEP, fit_line=_trained(make=_zeros)),
    Mistake("that begins with a second random draw", caught_by=_STEP, fit_line=_trained(make=_twice)),
    Mistake("after 1 epoch with lr=0.07", caught_by=_STEP, fit_line=_trained(make=_seeded)),
    Mistake("after 1 epoch with lr=0.07", caught_by=_STEP, fit_line=_trained(make=_normal)),
    Mistake("the same call after the same seed gave", caught_by=_STEP, fit_line=_trained(make=_shared)),
    Mistake(
        "that is SGD with momentum=0.9",
        caught_by=_STEP,
        fit_line=_trained(optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
    ),
    Mistake(
        "after 1 epoch with lr=0.07",
        caught_by=_STEP,
        fit_line=_trained(optimizer=lambda p, lr: torch.optim.Adam(p, lr=lr)),
    ),
    Mistake(
        "after 1 epoch with lr=0.07",
        caught_by=_STEP,
        fit_line=_trained(optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr, weight_decay=1e-2)),
    ),
    Mistake("that is one step more", caught_by=_STEP, fit_line=_trained(steps=lambda epochs: epochs + 1)),
    Mistake("that is one step less", caught_by=_STEP, fit_line=_trained(steps=lambda epochs: epochs - 1)),
    Mistake("after 1 epoch with lr=0.07", caught_by=_STEP, fit_line=_standardized),
    Mistake("the points belong to the caller", caught_by=_STEP, fit_line=_targets_unsqueezed_in_place),
    Mistake(
        "after 1 epoch with lr=0.2",
        caught_by=_STEP,
        fit_line=_trained(before_step=lambda model: nn.utils.clip_grad_norm_(model.parameters(), 100.0)),
    ),
    Mistake("300 epochs lead to", caught_by=_BEYOND, fit_line=_best),
    Mistake(
        "300 epochs lead to",
        caught_by=_BEYOND,
        fit_line=_trained(before_step=lambda model: nn.utils.clip_grad_norm_(model.parameters(), 1000.0)),
    ),
    Mistake(
        "that is 1 / the greatest eigenvalue",
        caught_by=_LIMIT,
        max_stable_lr=lambda x: 1 / torch.linalg.eigvalsh(_hessian(x))[-1].item(),
    ),
    Mistake(
        "2/n belongs into H",
        caught_by=_LIMIT,
        max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(len(x) / 2 * _hessian(x))[-1].item(),
    ),
    Mistake("the 2 is missing", caught_by=_LIMIT, max_stable_lr=lambda x: 2 * max_stable_lr(x)),
    Mistake(
        "that is 2 / the least eigenvalue",
        caught_by=_LIMIT,
        max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(_hessian(x))[0].item(),
    ),
    Mistake(
        "the column of ones is missing", caught_by=_LIMIT, max_stable_lr=lambda x: 1 / (x**2).mean().clamp(1e-9).item()
    ),
    Mistake(
        "that is the square root of the curvature",
        caught_by=_LIMIT,
        max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(_hessian(x))[-1].sqrt().item(),
    ),
    Mistake("max_stable_lr is 0.1803 for x = [-1.0, 1.0]", caught_by=_LIMIT, max_stable_lr=lambda x: 0.1803),
    Mistake("expected 0.32415", caught_by=_LIMIT, max_stable_lr=lambda x: 2 / _hessian(x).diagonal().max().item()),
    Mistake("expected 0.32415", caught_by=_LIMIT, max_stable_lr=lambda x: 2 / _hessian(x).trace().item()),
    Mistake("expected 0.32415", caught_by=_LIMIT, max_stable_lr=lambda x: 2 / _hessian(x).norm().item()),
    Mistake("max_stable_lr raised", caught_by=_LIMIT, max_stable_lr=lambda x: torch.linalg.eigvalsh(_hessian(x))),
]

KEEP = {
    _LINE: "the line that the lesson promises, and how long it takes: what the other tests take apart, in one piece"
}
