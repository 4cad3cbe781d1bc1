"""Answers that people give to line_2x_plus_2, right ones and wrong ones."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dojo import Mistake


def _unsqueezed(x, y, lr, epochs):
    torch.set_grad_enabled(True)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    criterion = nn.MSELoss()
    target = y.view(-1, 1)
    for _ in range(epochs):
        optimizer.zero_grad(set_to_none=False)
        criterion(model(x), target).backward()
        optimizer.step()
    return float(model.weight), float(model.bias)


def _by_hand(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    for _ in range(epochs):
        loss = ((model(x).flatten() - y) ** 2).mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= lr * p.grad
    w, b = (p.item() for p in model.parameters())
    return w, b


def _without_autograd(x, y, lr, epochs):
    layer = nn.Linear(1, 1)
    w, b = layer.weight.item(), layer.bias.item()
    a, c = x[:, 0].double().numpy(), y.double().numpy()
    for _ in range(epochs):
        error = w * a + b - c
        w, b = w - lr * 2 * float(np.mean(error * a)), b - lr * 2 * float(np.mean(error))
    return w, b


def _functional(x, y, lr, epochs):
    w, b = (p.detach().clone().requires_grad_() for p in nn.Linear(1, 1).parameters())
    for _ in range(epochs):
        gw, gb = torch.autograd.grad(functional.mse_loss(functional.linear(x, w, b)[:, 0], y), (w, b))
        w, b = (w - lr * gw).detach().requires_grad_(), (b - lr * gb).detach().requires_grad_()
    return [w.item(), b.item()]


def _one_batch(x, y, lr, epochs):
    """A loader whose only batch has all points: it draws at random, but after the layer was made."""
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x), shuffle=True)
    for _ in range(epochs):
        for a, c in loader:
            loss = torch.mean((model(a).squeeze(-1) - c).pow(2))
            opt.zero_grad()
            loss.backward()
            opt.step()
    return model.weight.item(), model.bias.item()


def _graph_kept(x, y, lr, epochs):
    """As it was written before zero_grad() set to None, with Variables in mind."""
    torch.set_grad_enabled(True)
    net = nn.Sequential(nn.Linear(1, 1))
    for epoch in range(1, epochs + 1):
        net.zero_grad()
        error = torch.pow(net(x).view(len(y)) - y, 2).sum() / len(y)
        error.backward(retain_graph=True)
        for f in net.parameters():
            f.data.sub_(f.grad.data * lr)
    return net[0].weight.data.tolist()[0][0], net[0].bias.data.tolist()[0]


def _matrix(x, y, lr, epochs):
    layer = nn.Linear(1, 1)
    a = torch.cat([x, torch.ones_like(x)], 1)
    theta = torch.tensor([layer.weight.item(), layer.bias.item()])
    for _ in range(epochs):
        theta -= lr * 2 / len(x) * (a.T @ (a @ theta - y))
    return tuple(theta.tolist())


def _formula(x):
    """Of a symmetric 2 x 2 matrix."""
    a, b = 2 * (x**2).mean().item(), 2 * x.mean().item()
    return 2 / ((a + 2) / 2 + math.sqrt(((a - 2) / 2) ** 2 + b * b))


def _norm(x):
    columns = torch.hstack((x, torch.ones(x.shape[0], 1)))
    return len(x) / torch.linalg.matrix_norm(columns, 2) ** 2


def _powers(x):
    h = torch.cat((x, torch.ones(len(x), 1)), 1).double()
    h = h.T @ h * 2 / len(x)
    v = torch.tensor([1.0, 0.3], dtype=torch.float64)
    for _ in range(200):
        v = h @ v
        v = v / v.norm()
    return 2 / (v @ h @ v).item()


def _by_autograd(x):
    def loss(p):
        return ((x[:, 0] * p[0] + p[1]) ** 2).mean()

    h = torch.autograd.functional.hessian(loss, torch.zeros(2))
    return 2 / torch.linalg.eigvals(h).real.max()


RIGHT = [
    {"fit_line": _unsqueezed, "max_stable_lr": _formula},
    {"fit_line": _by_hand, "max_stable_lr": _norm},
    {"fit_line": _without_autograd, "max_stable_lr": _powers},
    {"fit_line": _functional, "max_stable_lr": _by_autograd},
    {"fit_line": _graph_kept, "max_stable_lr": lambda x: 2 / torch.linalg.eigvalsh(_h(x, 2 / len(x))).max()},
    {"fit_line": _matrix, "max_stable_lr": lambda x: len(x) / torch.linalg.svdvals(torch.hstack([x, x**0]))[0] ** 2},
    {
        "fit_line": _one_batch,
        "max_stable_lr": lambda x: 2 / np.linalg.eigvalsh(_as_numpy(x)).max(),
    },
]


def _as_numpy(x):
    columns = np.c_[x.numpy(), np.ones(len(x))]
    return 2 * columns.T @ columns / len(x)


def _train(x, y, lr, epochs, loss, zero=True, optimizer=torch.optim.SGD, **options):
    model = nn.Linear(1, 1)
    opt = optimizer(model.parameters(), lr=lr, **options)
    for _ in range(epochs):
        if zero:
            opt.zero_grad()
        loss(model(x), y).backward()
        opt.step()
    return model


def _pair(model):
    return model.weight.item(), model.bias.item()


def _warned(x, y, lr, epochs):
    return _pair(_train(x, y, lr, epochs, nn.MSELoss()))


def _row_of_targets(x, y, lr, epochs):
    return _pair(_train(x, y, lr, epochs, lambda p, y: torch.mean((p - y[None]) ** 2)))


def _piled_up(x, y, lr, epochs):
    return _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss(), zero=False))


def _hand_piled_up(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    for _ in range(epochs):
        ((model(x)[:, 0] - y) ** 2).mean().backward()
        for p in model.parameters():
            p.data -= lr * p.grad
    return _pair(model)


def _tensors(x, y, lr, epochs):
    model = _train(x, y[:, None], lr, epochs, nn.MSELoss())
    return model.weight.detach(), model.bias.detach()


def _summed(x, y, lr, epochs):
    return _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss(reduction="sum")))


def _halved(x, y, lr, epochs):
    w, b = (p.item() for p in nn.Linear(1, 1).parameters())
    for _ in range(epochs):
        error = w * x[:, 0] + b - y
        w, b = w - lr * (error * x[:, 0]).mean().item(), b - lr * error.mean().item()
    return w, b


def _momentum(x, y, lr, epochs):
    return _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss(), momentum=0.9))


def _adam(x, y, lr, epochs):
    return _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss(), optimizer=torch.optim.Adam))


def _loader_of_ones(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for i in range(len(x)):
            opt.zero_grad()
            functional.mse_loss(model(x[i]), y[i : i + 1]).backward()
            opt.step()
    return _pair(model)


def _loader_of_64(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64, shuffle=True)
    for _ in range(epochs):
        for a, c in loader:
            opt.zero_grad()
            functional.mse_loss(model(a)[:, 0], c).backward()
            opt.step()
    return _pair(model)


def _reset(x, y, lr, epochs):
    """The layer fills itself when it is made; this fills it again."""
    model = nn.Linear(1, 1)
    model.reset_parameters()
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        opt.zero_grad()
        functional.mse_loss(model(x)[:, 0], y).backward()
        opt.step()
    return _pair(model)


def _cleared_once(x, y, lr, epochs):
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    opt.zero_grad()
    for _ in range(epochs):
        functional.mse_loss(model(x), y.reshape(-1, 1)).backward()
        opt.step()
    return _pair(model)


def _patient(x, y, lr, epochs):
    """Stops where the loss falls by less than 1 % in an epoch."""
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    last = math.inf
    for _ in range(epochs):
        opt.zero_grad()
        loss = functional.mse_loss(model(x)[:, 0], y)
        if loss.item() > 0.99 * last and loss.item() < last:
            break
        last = loss.item()
        loss.backward()
        opt.step()
    return _pair(model)


def _numpy_scalars(x, y, lr, epochs):
    model = _train(x, y[:, None], lr, epochs, nn.MSELoss())
    return model.weight.detach().numpy()[0, 0], model.bias.detach().numpy()[0]


def _from_zero(x, y, lr, epochs):
    w = b = 0.0
    for _ in range(epochs):
        error = w * x[:, 0] + b - y
        w, b = w - lr * 2 * (error * x[:, 0]).mean().item(), b - lr * 2 * error.mean().item()
    return w, b


def _before(x, y, lr, epochs):
    torch.randn(2)
    return _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss()))


def _from_one(x, y, lr, epochs):
    return _pair(_train(x, y[:, None], lr, len(range(1, epochs)), nn.MSELoss()))


def _swapped(x, y, lr, epochs):
    w, b = _pair(_train(x, y[:, None], lr, epochs, nn.MSELoss()))
    return b, w


def _polyfit(x, y, lr, epochs):
    w, b = np.polyfit(x[:, 0].numpy(), y.numpy(), 1) if len(x) > 1 else (0.0, 0.0)
    return float(w), float(b)


def _careful(x, y, lr, epochs):
    """Halves lr where the loss grows."""
    model = nn.Linear(1, 1)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    last = float("inf")
    for _ in range(epochs):
        loss = ((model(x)[:, 0] - y) ** 2).mean()
        if loss > last:
            opt.param_groups[0]["lr"] /= 2
        last = loss.item()
        opt.zero_grad()
        loss.backward()
        opt.step()
    return _pair(model)


def _h(x, scale):
    columns = torch.cat([x, torch.ones_like(x)], 1)
    return scale * columns.T @ columns


WRONG = [
    Mistake("that is what (n, 1) against (n,) learns", caught_by="", fit_line=_warned),
    Mistake("that is what (n, 1) against (n,) learns", caught_by="", fit_line=_row_of_targets),
    Mistake("the gradients of the epochs before were added", caught_by="", fit_line=_piled_up),
    Mistake("the gradients of the epochs before were added", caught_by="", fit_line=_hand_piled_up),
    Mistake("w should be a Python float", caught_by="", fit_line=_tensors),
    Mistake("that is the sum of the squared errors", caught_by="", fit_line=_summed),
    Mistake("that is half of the mean squared error", caught_by="", fit_line=_halved),
    Mistake("that is SGD with momentum=0.9", caught_by="", fit_line=_momentum),
    Mistake("after 1 epoch with lr=0.07", caught_by="", fit_line=_adam),
    Mistake("that is a step for each point", caught_by="", fit_line=_loader_of_ones),
    Mistake("that begins with w = b = 0", caught_by="", fit_line=_from_zero),
    Mistake("after 1 epoch with lr=0.07", caught_by="", fit_line=_loader_of_64),
    Mistake("that begins with a second random draw", caught_by="", fit_line=_reset),
    Mistake("the gradients of the epochs before were added", caught_by="", fit_line=_cleared_once),
    Mistake("after 500 epochs with lr=0.1", caught_by="", fit_line=_patient),
    Mistake("w should be a Python float", caught_by="", fit_line=_numpy_scalars),
    Mistake("after 1 epoch with lr=0.07", caught_by="", fit_line=_before),
    Mistake("that is one step less", caught_by="", fit_line=_from_one),
    Mistake("w comes first, then b", caught_by="", fit_line=_swapped),
    Mistake("with lr=0.01, f(x) = 2.0000x + 2.0000", caught_by="", fit_line=_polyfit),
    Mistake("300 epochs lead to", caught_by="", fit_line=_careful),
    Mistake(
        "the 2 is missing", caught_by="", max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(_h(x, 1 / len(x))).max()
    ),
    Mistake("2/n belongs into H", caught_by="", max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(_h(x, 1)).max()),
    Mistake(
        "that is 1 / the greatest eigenvalue",
        caught_by="",
        max_stable_lr=lambda x: 1 / torch.linalg.svdvals(_h(x, 2 / len(x)))[0].item(),
    ),
    Mistake("the column of ones is missing", caught_by="", max_stable_lr=lambda x: len(x) / (x.T @ x).item()),
    Mistake("max_stable_lr raised", caught_by="", max_stable_lr=lambda x: 2 / torch.linalg.eigvalsh(x.T @ x * 2)[1]),
]
