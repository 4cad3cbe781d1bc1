"""Answers that people give to manual_sgd, right ones and wrong ones."""

import torch
import torch.nn.functional as F

from dojo import Mistake


def _through_data(params, lr):
    for p in params:
        if p.grad is None:
            continue
        p.data.add_(p.grad.data, alpha=-lr)
        p.grad.zero_()


@torch.no_grad()
def _all_at_once(params, lr):
    params = [p for p in params if p.grad is not None]
    for p, moved in zip(params, torch._foreach_sub(params, [lr * p.grad for p in params]), strict=True):
        p[...] = moved
        p.grad.fill_(0)


@torch.no_grad()
def _copy_over(params, lr):
    for p in list(params):
        if p.grad is not None:
            p.copy_(p - lr * p.grad)
            del p.grad


def _detached_alias(params, lr):
    for p in params:
        if p.grad is not None:
            p.detach().sub_(p.grad, alpha=lr)
            p.grad = torch.zeros_like(p.grad)


def _fit_with_linear(x, y, lr, steps):
    model = torch.nn.Linear(1, 1)
    for _ in range(steps):
        model.zero_grad()
        F.mse_loss(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p.sub_(lr * p.grad)
    return model.weight.item(), model.bias.item()


def _fit_with_autograd_grad(x, y, lr, steps):
    w = torch.randn(1, 1, requires_grad=True)
    b = torch.randn(1, requires_grad=True)
    for _ in range(steps):
        gw, gb = torch.autograd.grad(((x @ w + b - y) ** 2).sum() / len(x), [w, b])
        with torch.no_grad():
            w -= lr * gw
            b -= lr * gb
    return float(w.detach()), float(b.detach())


def _fit_with_fresh_leaves(x, y, lr, steps):
    w, b = torch.tensor(0.5, requires_grad=True), torch.tensor(-0.5, requires_grad=True)
    for _ in range(steps):
        (w * x + b - y).pow(2).mean().backward()
        w = (w - lr * w.grad).detach().requires_grad_()
        b = (b - lr * b.grad).detach().requires_grad_()
    return w.tolist(), b.tolist()


def _fit_flat(x, y, lr, steps):
    x, y = x.numpy().ravel(), y.numpy().ravel()
    w = b = 0.0
    for _ in range(steps):
        error = w * x + b - y
        w -= lr * float((2 * error * x).mean())
        b -= lr * float((2 * error).mean())
    return w, b


def _fit_one_vector(x, y, lr, steps):
    inputs, theta = torch.cat([x, torch.ones_like(x)], dim=1), torch.randn(2, 1, requires_grad=True)
    for _ in range(steps):
        F.mse_loss(inputs @ theta, y).backward()
        theta.data = theta.data - lr * theta.grad
        theta.grad = None
    return tuple(theta.flatten().tolist())


def _with_an_optimizer(params, lr):
    optimizer = torch.optim.SGD(params, lr=lr)
    optimizer.step()
    optimizer.zero_grad()


def _fit_half_the_error(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        (0.5 * (w * x + b - y) ** 2).mean().backward()
        _with_an_optimizer([w, b], lr)
    return w.item(), b.item()


def _fit_in_python(x, y, lr, steps):
    points = list(zip(x.flatten().tolist(), y.flatten().tolist(), strict=True))
    w = b = 0.0
    for _ in range(steps):
        gw = sum(2 * (w * u + b - v) * u for u, v in points) / len(points)
        gb = sum(2 * (w * u + b - v) for u, v in points) / len(points)
        w, b = w - lr * gw, b - lr * gb
    return w, b


def _inside_inference_mode(params, lr):
    with torch.inference_mode():
        for p in params:
            if p.grad is not None:
                p -= lr * p.grad
                p.grad.zero_()


def _switch_off_and_on(params, lr):
    for p in params:
        if p.grad is not None:
            p.requires_grad_(False)
            p -= lr * p.grad
            p.requires_grad_(True)
            p.grad = None


@torch.no_grad()
def _one_vector_of_all(params, lr):
    params = [p for p in params if p.grad is not None]
    moved = torch.cat([(p - lr * p.grad).flatten() for p in params])
    for p, piece in zip(params, moved.split([p.numel() for p in params]), strict=True):
        p.copy_(piece.view_as(p))
        p.grad = None


def _fit_half_the_error_from_anywhere(x, y, lr, steps):
    w, b = torch.tensor(-2.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    for _ in range(steps):
        (0.5 * (w * x + b - y) ** 2).mean().backward()
        with torch.no_grad():
            for p in (w, b):
                p -= lr * p.grad
                p.grad.zero_()
    return [w.item(), b.item()]


def _fit_by_norm(x, y, lr, steps):
    line = torch.nn.Parameter(torch.rand(2))
    for _ in range(steps):
        (gradient,) = torch.autograd.grad((line[0] * x + line[1] - y).square().mean(), line)
        with torch.no_grad():
            line.copy_(line - gradient * lr)
    w, b = line.detach().double().numpy()
    return w, b


def _fit_with_sgd(x, y, lr, steps):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.MSELoss()(model(x), y).backward()
        optimizer.step()
    return model.weight.item(), model.bias.item()


def _addcmul(params, lr):
    with torch.no_grad():
        for p in filter(lambda p: p.grad is not None, params):
            p.add_(p.grad, alpha=-lr)
            p.grad -= p.grad


RIGHT = [
    {"sgd_step_": _addcmul, "fit_line": _fit_by_norm},
    {"fit_line": _fit_with_sgd},
    {"sgd_step_": _inside_inference_mode},
    {"sgd_step_": _switch_off_and_on},
    {"sgd_step_": _one_vector_of_all},
    {"sgd_step_": _with_an_optimizer, "fit_line": _fit_in_python},
    {"fit_line": _fit_one_vector},
    {"sgd_step_": _through_data, "fit_line": _fit_with_linear},
    {"sgd_step_": _all_at_once, "fit_line": _fit_with_autograd_grad},
    {"sgd_step_": _copy_over, "fit_line": _fit_with_fresh_leaves},
    {"sgd_step_": _detached_alias, "fit_line": _fit_flat},
]


def _replace_in_the_list(params, lr):
    params = list(params)
    for i, p in enumerate(params):
        if p.grad is not None:
            params[i] = (p - lr * p.grad).detach().requires_grad_()
            p.grad = None


def _sub_without_no_grad(params, lr):
    for p in params:
        if p.grad is not None:
            p.sub_(lr * p.grad)
            p.grad.zero_()


def _data_assigned_back_to_front(params, lr):
    for p in params:
        if p.grad is not None:
            p.data = lr * p.grad - p.data
            p.grad = None


def _keep(params, lr):
    for p in params:
        if p.grad is not None:
            p.data -= lr * p.grad


def _zero_all(params, lr):
    with torch.no_grad():
        for p in params:
            p -= lr * p.grad
            p.grad.zero_()


def _return_at_none(params, lr):
    for p in params:
        if p.grad is None:
            return
        p.data -= lr * p.grad
        p.grad = None


def _two_comprehensions(params, lr):
    [p.data.sub_(lr * p.grad) for p in params if p.grad is not None]
    [p.grad.zero_() for p in params if p.grad is not None]


def _fit_one_dimensional_prediction(x, y, lr, steps):
    w, b = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    for _ in range(steps):
        loss = (w * x[:, 0] + b - y).pow(2).mean()
        gw, gb = torch.autograd.grad(loss, [w, b])
        with torch.no_grad():
            w -= lr * gw
            b -= lr * gb
    return w.item(), b.item()


def _fit_detached(x, y, lr, steps):
    w, b = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    for _ in range(steps):
        (w * x + b - y).pow(2).mean().backward()
        w, b = (w - lr * w.grad).detach(), (b - lr * b.grad).detach()
    return w.item(), b.item()


def _fit_parameters(x, y, lr, steps):
    w, b = _fit_with_autograd_grad(x, y, lr, steps)
    return torch.nn.Parameter(torch.tensor([w])), torch.nn.Parameter(torch.tensor([b]))


def _sign_of_the_gradient(params, lr):
    for p in params:
        if p.grad is not None:
            p.data -= lr * p.grad.sign()
            p.grad = None


def _fit_fresh_each_step(x, y, lr, steps):
    for _ in range(steps):
        w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
        F.mse_loss(w * x + b, y).backward()
        w.data -= lr * w.grad
        b.data -= lr * b.grad
    return w.item(), b.item()


_LINE = torch.zeros(2, requires_grad=True)


def _fit_from_the_last_call(x, y, lr, steps):
    for _ in range(steps):
        (_LINE[0] * x + _LINE[1] - y).pow(2).mean().backward()
        _LINE.data -= lr * _LINE.grad
        _LINE.grad = None
    return tuple(_LINE.tolist())


def _sum_to_see_whether(params, lr):
    if sum(p.grad is not None for p in params):
        for p in params:
            p.data -= lr * p.grad
            p.grad = None


def _zero_after_rebinding(params, lr):
    for p in params:
        if p.grad is not None:
            p = (p - lr * p.grad).detach()
            p.grad.zero_()


def _fit_unreduced(x, y, lr, steps):
    model = torch.nn.Linear(1, 1)
    for _ in range(steps):
        F.mse_loss(model(x), y, reduction="none").backward()
        _with_an_optimizer(model.parameters(), lr)
    return model.weight.item(), model.bias.item()


def _fit_total_error(x, y, lr, steps):
    model = torch.nn.Linear(1, 1)
    for _ in range(steps):
        F.mse_loss(model(x), y, reduction="sum").backward()
        _with_an_optimizer(model.parameters(), lr)
    return model.weight.item(), model.bias.item()


def _step_in_numpy(params, lr):
    for p in params:
        if p.grad is not None:
            p.data = torch.tensor((p.detach().numpy() - lr * p.grad.numpy()).astype("float32")).to(p.dtype)
            p.grad = None


def _fit_from_zero_to_steps(x, y, lr, steps):
    done, w, b = 0, torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    while done <= steps:
        F.mse_loss(w * x + b, y).backward()
        _with_an_optimizer([w, b], lr)
        done += 1
    return w.item(), b.item()


def _data_of_a_new_tensor(params, lr):
    for p in params:
        if p.grad is not None:
            p.data = torch.sub(p.detach(), p.grad, alpha=lr)
            p.grad.zero_()


WRONG = [
    Mistake("four steps lead", caught_by="", fit_line=_fit_from_zero_to_steps),
    Mistake("w was given other memory", caught_by="", sgd_step_=_data_of_a_new_tensor),
    Mistake("half of the mean leads", caught_by="", fit_line=_fit_half_the_error),
    Mistake("half of the mean leads", caught_by="", fit_line=_fit_half_the_error_from_anywhere),
    Mistake("the sum of the squared errors leads", caught_by="", fit_line=_fit_total_error),
    Mistake("as exact as float64 is", caught_by="", sgd_step_=_step_in_numpy),
    Mistake("the loss is one number", caught_by="", fit_line=_fit_unreduced),
    Mistake("a new tensor of the same name has none", caught_by="", sgd_step_=_zero_after_rebinding),
    Mistake("is it gradient descent", caught_by="", fit_line=_fit_from_the_last_call),
    Mistake("was the generator used up before the update", caught_by="", sgd_step_=_sum_to_see_whether),
    Mistake("w should be w - 0.1 * 2w", caught_by="", sgd_step_=_sign_of_the_gradient),
    Mistake("expected w=2.0, b=2.0", caught_by="", fit_line=_fit_fresh_each_step),
    Mistake("rebinding the loop variable makes a new tensor", caught_by="", sgd_step_=_replace_in_the_list),
    Mistake("can be edited in place only where autograd does not record", caught_by="", sgd_step_=_sub_without_no_grad),
    Mistake("w should be w - 0.1 * 2w", caught_by="", sgd_step_=_data_assigned_back_to_front),
    Mistake("backward added the second gradient to the first", caught_by="", sgd_step_=_keep),
    Mistake("and its .grad is None: skip it", caught_by="", sgd_step_=_zero_all),
    Mistake("must not end the step for the rest", caught_by="", sgd_step_=_return_at_none),
    Mistake("a second loop over a generator does nothing", caught_by="", sgd_step_=_two_comprehensions),
    Mistake("a flat line at the mean of y", caught_by="", fit_line=_fit_one_dimensional_prediction),
    Mistake("nothing in this loss requires grad", caught_by="", fit_line=_fit_detached),
    Mistake("w and b should be floats", caught_by="", fit_line=_fit_parameters),
]
