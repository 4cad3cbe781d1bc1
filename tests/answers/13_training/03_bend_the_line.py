"""Answers that people give to bend_the_line, right ones and wrong ones."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo import Mistake


class _Tanh(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(1, 64)
        self.out = nn.Linear(64, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))


class _Waves(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, 1)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.sin(layer(x))
        return self.layers[-1](x)


class _Bumps(nn.Module):
    """Bells at fixed places, added up."""

    def __init__(self):
        super().__init__()
        self.place, self.out = nn.Parameter(torch.linspace(-3, 3, 20)), nn.Linear(20, 1)

    def forward(self, x):
        return self.out(torch.exp(-((x - self.place) ** 2)))


def _act(activation, *widths):
    layers, n = [], 1
    for width in widths:
        layers += [nn.Linear(n, width), activation()]
        n = width
    return nn.Sequential(*layers, nn.Linear(n, 1))


def _fit(make, steps, optimizer=torch.optim.Adam, **options):
    def fit_curve(x, y):
        model = make().train()
        opt = optimizer(model.parameters(), **options)
        for _ in range(steps):
            opt.zero_grad()
            ((model(x) - y) ** 2).mean().backward()
            opt.step()
        return model.eval()

    return fit_curve


def _fit_batches(x, y):
    model = _act(nn.ReLU, 64, 64)
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=50, shuffle=True)
    for _ in range(150):
        for xb, yb in loader:
            loss = nn.SmoothL1Loss()(model(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
    return model


def _fit_lbfgs(x, y):
    model = _act(nn.Tanh, 32)
    opt = torch.optim.LBFGS(model.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        opt.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    opt.step(closure)
    return model


RIGHT = [
    {"make_mlp": _Tanh, "fit_curve": _fit(_Tanh, 600, lr=1e-2)},
    {"make_mlp": _Waves, "fit_curve": _fit(_Waves, 400, lr=1e-2)},
    {"make_mlp": lambda: _act(nn.GELU, 64, 64), "fit_curve": _fit_batches},
    {"make_mlp": lambda: _act(nn.Sigmoid, 32, 32), "fit_curve": _fit_lbfgs},
    {
        "make_mlp": lambda: _act(nn.SiLU, 20, 20, 20),
        "fit_curve": _fit(lambda: _act(nn.ReLU, 32, 32), 600, torch.optim.SGD, lr=0.05, momentum=0.9),
    },
    {"make_mlp": lambda: _act(nn.LeakyReLU, 128)},
    {"make_mlp": _Bumps, "fit_curve": _fit(_Bumps, 500, lr=0.05)},
]


class _ForgetsTheActivation(_Waves):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            nn.functional.relu(x)
        return x


class _ReluEverywhere(_Waves):
    def forward(self, x):
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class _Clamped(_Waves):
    def forward(self, x):
        return super().forward(x).clamp(-1, 1)


class _SinesOnly(_Waves):
    def forward(self, x):
        for layer in self.layers:
            x = torch.sin(layer(x))
        return x


def _act_over_the_batch():
    return nn.Sequential(nn.Linear(1, 32), nn.Softmax(dim=0), nn.Linear(32, 1))


class _Squeezed(_Waves):
    def forward(self, x):
        return super().forward(x).squeeze()


class _Squared(_Waves):
    def forward(self, x):
        return super().forward(x).square()


def _on_the_data_of_one_step(x, y):
    model = _Tanh()
    F.mse_loss(model(x), y).backward()
    torch.optim.Adam(model.parameters(), lr=1e-2).step()
    return model


def _new_optimizer_each_step(x, y):
    model = _act(nn.ReLU, 32, 32)
    for _ in range(100):
        opt = torch.optim.SGD(model.parameters(), lr=1e-3)
        opt.zero_grad()
        F.mse_loss(model(x), y).backward()
        opt.step()
    return model


def _squeezed_target(x, y):
    model = _act(nn.ReLU, 32, 32)
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        opt.zero_grad()
        ((model(x).squeeze() - y) ** 2).mean().backward()
        opt.step()
    return model


class _Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(1, 16), nn.Linear(16, 1)

    def forward(self, x):
        return self.b(self.a(x))


_LINE = "and all draw straight lines"
_BOUNDED = "100 times as large, and their answers stay between"
_NEGATIVE = "and not one has ever a negative answer"
_FAR = "more steps, another lr, or more hidden numbers?"

WRONG = [
    Mistake(_LINE, caught_by="", make_mlp=_ForgetsTheActivation),
    Mistake(_LINE, caught_by="", make_mlp=_Line),
    Mistake(_LINE, caught_by="", make_mlp=lambda: _act(nn.Identity, 16, 16)),
    Mistake(_BOUNDED, caught_by="", make_mlp=_Clamped),
    Mistake(_BOUNDED, caught_by="", make_mlp=_SinesOnly),
    Mistake("what bounds its answers?", caught_by="", fit_curve=_fit(_SinesOnly, 400, lr=1e-2)),
    Mistake(_NEGATIVE, caught_by="", make_mlp=_ReluEverywhere),
    Mistake(_NEGATIVE, caught_by="", make_mlp=_Squared),
    Mistake(_NEGATIVE, caught_by="", make_mlp=lambda: nn.Sequential(_act(nn.GELU, 32), nn.Softmax(0))),
    Mistake("parameters, and 5000 are allowed", caught_by="", make_mlp=lambda: _Waves(70)),
    Mistake("parameters, and 5000 are allowed", caught_by="", make_mlp=lambda: _act(nn.ReLU, 64, 64, 64)),
    Mistake("was given (1, 1) and returned (1,)", caught_by="", make_mlp=_Squeezed),
    Mistake("makes an nn.Module, got list", caught_by="", make_mlp=lambda: _Waves),
    Mistake(
        "made with brackets", caught_by="", make_mlp=lambda: nn.Sequential(nn.Linear(1, 8), F.relu, nn.Linear(8, 1))
    ),
    Mistake("The net is a straight line: the best one", caught_by="", fit_curve=_fit(_Line, 300, lr=1e-2)),
    Mistake("to every x, the mean of all y", caught_by="", fit_curve=_squeezed_target),
    Mistake(_FAR, caught_by="", fit_curve=_on_the_data_of_one_step),
    Mistake(_FAR, caught_by="", fit_curve=_new_optimizer_each_step),
    Mistake(_FAR, caught_by="", fit_curve=_fit(_ReluEverywhere, 300, lr=1e-2)),
    Mistake("changes with the others in the batch", caught_by="", make_mlp=_act_over_the_batch),
    Mistake("answers nan or inf", caught_by="", fit_curve=_fit(_Tanh, 300, torch.optim.SGD, lr=2.0, momentum=0.99)),
    Mistake("the net, an nn.Module; got Tensor", caught_by="", fit_curve=lambda x, y: None),
]
