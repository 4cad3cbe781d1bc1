"""Layers alone stay a straight line: reference.

Hint: Which of the things in your net is not a multiplication and an addition?
Hint: `nn.Sequential`, `nn.Linear`, `nn.ReLU`; `torch.optim.Adam`; `nn.functional.mse_loss`.
Hint: One number in, two hidden layers of 32 with an activation behind each, a bare layer with one number out; then
    600 times zero_grad, the loss of all 200 points, backward, step.

Why: a product of matrices is a matrix, so linear layers in a row are one layer, written in a longer way. With ReLU
between them the net is made of straight pieces, and each hidden number adds a corner; training moves the corners to
where they help. The last layer only adds up, so every number can be reached.
"""

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


def make_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(1, 32),
        nn.ReLU(),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
    )


def fit_curve(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    model = make_mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(600):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def picture(solution):
    from dojo.kit import pictures, training

    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 200)[:, None]
    true = torch.sin(2 * x) + 0.1 * x**2
    y = true + 0.1 * torch.randn(200, 1)
    columns = torch.cat([x, torch.ones_like(x)], 1)
    line = columns @ torch.linalg.lstsq(columns, y).solution

    def answers(net):
        with torch.no_grad():
            return net.eval()(x)

    def distance(z):
        return (z - true).square().mean().item()

    torch.manual_seed(0)
    untrained = answers(solution.make_mlp())
    torch.manual_seed(0)
    net, weights = training.weights_of_each_step(lambda: solution.fit_curve(x, y))
    steps, curves = pictures.steps_to_show(len(weights), 32), []
    for n in steps:
        net.load_state_dict(weights[n], strict=False)
        curves.append(answers(net))
    distances = [distance(z) for z in curves]

    figure = pictures.figure(6, 3.7)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    left.plot(x, y, ".", color=pictures.GREY, markersize=3, label="the points")
    left.plot(x, untrained, ":", color=pictures.BLACK, label="make_mlp(), untrained")
    left.plot(x, line, "--", color=pictures.ORANGE, label="the best without an activation")
    (curve,) = left.plot(x, curves[0], color=pictures.BLUE, label="fit_curve's net")
    left.set(ylim=(-1.4, 2.2))
    pictures.tidy(left, "x", "y")
    right.plot(steps, distances, color=pictures.BLUE)
    right.axhline(distance(line), linestyle="--", color=pictures.ORANGE)
    (here,) = right.plot([], [], "o", color=pictures.BLUE)
    right.set(yscale="log")
    pictures.tidy(right, "optimizer steps", "mean squared distance")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)

    def draw(i):
        curve.set_ydata(curves[i])
        here.set_data([steps[i]], [distances[i]])
        when = f"optimizer step {steps[i]} of {steps[-1]}" if len(steps) > 1 else "after the training"
        left.set_title(when, fontsize=10)

    draw(len(steps) - 1)
    return pictures.Picture(
        pictures.moving(figure, draw, len(steps)) if len(steps) > 1 else figure,
        f"The trained net ends at a mean squared distance of {distances[-1]:.3f} from the curve under the points, and "
        f"its highest answer is {curves[-1].max().item():.2f}; the best straight line, all that a net without an "
        f"activation can be, is at {distance(line):.2f}.",
        {
            "step": steps,
            "distance": distances,
            "line": line.flatten().tolist(),
            "untrained": untrained.flatten().tolist(),
            "net": curves[-1].flatten().tolist(),
        },
    )


# ── known mistakes ──


def _net(*modules):
    return lambda: nn.Sequential(*(make() for make in modules))


def _linear(n, m):
    return lambda: nn.Linear(n, m)


def _fit(make=make_mlp, steps=300, lr=0.01, target=lambda y: y, optimizer=torch.optim.Adam, zero=True):
    def fit_curve(x, y):
        model = make()
        opt = optimizer(model.parameters(), lr=lr)
        for _ in range(steps):
            if zero:
                opt.zero_grad()
            F.mse_loss(model(x), target(y)).backward()
            opt.step()
        return model

    return fit_curve


def _returns_another(x, y):
    _fit(steps=2)(x, y)
    return make_mlp()


def _standardises_in_place(x, y):
    x /= 3
    return _fit(steps=2)(x, y)


def _sorts_the_inputs(x, y):
    return _fit()(x.sort(0).values, y)


def _graph_is_cut(x, y):
    model = make_mlp()
    opt = torch.optim.Adam(model.parameters(), lr=0.01)
    with torch.no_grad():
        out = model(x)
    F.mse_loss(out, y).backward()
    opt.step()
    return model


class _OverTheBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 32), nn.Linear(32, 1)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).softmax(0))


def _by_hand_and_too_far(x, y):
    model = make_mlp()
    for _ in range(100):
        model.zero_grad()
        F.mse_loss(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 20 * p.grad
    return model


_SHARED = make_mlp()

_CURVE = "test_a_trained_net_follows_a_curve"
_BENDS = "test_only_an_activation_bends_the_line"
_BARE = "test_the_last_layer_stays_bare"
_SIZE = "test_each_net_has_few_weights_of_its_own"

_BOUNDED = "100 times as large, and their answers stay between"
_LINE = "and all draw straight lines"
_NEGATIVE = "and not one has ever a negative answer"
_FAR = "more steps, another lr, or more hidden numbers?"

MISTAKES = [
    Mistake(_LINE, caught_by=_BENDS, make_mlp=_net(_linear(1, 32), _linear(32, 32), _linear(32, 1))),
    Mistake(_LINE, caught_by=_BENDS, make_mlp=_net(_linear(1, 32), nn.Dropout, _linear(32, 1))),
    Mistake(_LINE, caught_by=_BENDS, make_mlp=_net(_linear(1, 32), lambda: nn.BatchNorm1d(32), _linear(32, 1))),
    Mistake(_LINE, caught_by=_BENDS, make_mlp=_net(_linear(1, 1))),
    Mistake(_NEGATIVE, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.ReLU)),
    Mistake(_NEGATIVE, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.Sigmoid)),
    Mistake(_NEGATIVE, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.Tanh, _linear(32, 1), nn.Softplus)),
    Mistake(_BOUNDED, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.Tanh)),
    Mistake(_BOUNDED, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.GELU, _linear(32, 1), nn.Hardtanh)),
    Mistake(_BOUNDED, caught_by=_BARE, make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.ELU)),
    Mistake(
        "and not one has ever a positive answer",
        caught_by=_BARE,
        make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.LogSigmoid),
    ),
    Mistake(
        "parameters, and 5000 are allowed",
        caught_by=_SIZE,
        make_mlp=_net(_linear(1, 128), nn.ReLU, _linear(128, 128), nn.ReLU, _linear(128, 1)),
    ),
    Mistake("gave the same weights", caught_by=_SIZE, make_mlp=lambda: _SHARED),
    Mistake("makes an nn.Module, got list", caught_by=_SIZE, make_mlp=lambda: [nn.Linear(1, 8), nn.ReLU()]),
    Mistake("changes with the others in the batch", caught_by=_SIZE, make_mlp=_OverTheBatch),
    Mistake("the net has no parameters", caught_by=_SIZE, make_mlp=nn.Tanh),
    Mistake(
        "made with brackets",
        caught_by=_BENDS,
        make_mlp=lambda: nn.Sequential(nn.Linear(1, 32), nn.ReLU, nn.Linear(32, 1)),
    ),
    Mistake("as many as the one before gives", caught_by=_SIZE, make_mlp=_net(_linear(1, 32), nn.ReLU, _linear(48, 1))),
    Mistake(
        "as many as the one before gives", caught_by=_SIZE, make_mlp=_net(_linear(100, 32), nn.ReLU, _linear(32, 1))
    ),
    Mistake(
        "was given (1, 1) and returned (1,)",
        caught_by=_SIZE,
        make_mlp=lambda: nn.Sequential(make_mlp(), nn.Flatten(0)),
    ),
    Mistake("was given (1, 1) and returned (1, 32)", caught_by=_SIZE, make_mlp=_net(_linear(1, 32), nn.ReLU)),
    Mistake("The net is a straight line: the best one", caught_by=_CURVE, fit_curve=_fit(lambda: nn.Linear(1, 1))),
    Mistake(
        "The net is a straight line: the best one",
        caught_by=_CURVE,
        fit_curve=_fit(_net(_linear(1, 32), _linear(32, 1)), steps=100),
    ),
    Mistake("to every x, the mean of all y", caught_by=_CURVE, fit_curve=_fit(target=lambda y: y.flatten())),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_fit(steps=50, lr=1e-3)),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_fit(optimizer=torch.optim.SGD)),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_fit(_net(_linear(1, 2), nn.ReLU, _linear(2, 1)))),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_fit(_net(nn.ReLU, _linear(1, 32), _linear(32, 1)))),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_fit(_net(_linear(1, 32), nn.ReLU, _linear(32, 1), nn.Sigmoid))),
    Mistake(
        "what bounds its answers?",
        caught_by=_CURVE,
        fit_curve=_fit(_net(_linear(1, 64), nn.ReLU, _linear(64, 64), nn.ReLU, _linear(64, 1), nn.Tanh)),
    ),
    Mistake("gradients of the last step were still there", caught_by=_CURVE, fit_curve=_fit(zero=False)),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_returns_another),
    Mistake(_FAR, caught_by=_CURVE, fit_curve=_sorts_the_inputs),
    Mistake(
        "answers nan or inf",
        caught_by=_CURVE,
        fit_curve=_fit(_net(_linear(1, 64), nn.ReLU, _linear(64, 1)), lr=50.0, optimizer=torch.optim.SGD),
    ),
    Mistake("answers nan or inf", caught_by=_CURVE, fit_curve=_by_hand_and_too_far),
    Mistake("changed the points that it was given", caught_by=_CURVE, fit_curve=_standardises_in_place),
    Mistake("the loss hangs on no graph", caught_by=_CURVE, fit_curve=_graph_is_cut),
    Mistake(
        "the net, an nn.Module; got Tensor", caught_by=_CURVE, fit_curve=lambda x, y: _fit(steps=2)(x, y)(x).detach()
    ),
]
