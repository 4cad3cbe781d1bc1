"""Answers that people give to grad_scaler, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_

from dojo import Mistake


def _norm_tells(model, optimizer, scaler, x, y, max_norm):
    model.zero_grad(set_to_none=False)
    scaler.scale(((model(x) - y) ** 2).mean()).backward()
    scaler.unscale_(optimizer)
    norm = clip_grad_norm_(list(model.parameters()), max_norm=max_norm)
    scaler.step(optimizer)
    scaler.update()
    return torch.isfinite(norm).item()


def _limit_scaled(model, optimizer, scaler, x, y, max_norm):
    """No unscale_: the limit is multiplied, too."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(nn.MSELoss()(model(x), y)).backward()
    before = scaler.get_scale()
    clip_grad_norm_(model.parameters(), max_norm * before)
    scaler.step(optimizer)
    scaler.update()
    return not scaler.get_scale() < before


def _steps_by_itself(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    finite = all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    if finite:
        clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
    scaler.update()
    return finite


def _hook(model, optimizer, scaler, x, y, max_norm):
    """The optimizer says itself whether it stepped; gradients are cleared at the end."""
    steps = []
    handle = optimizer.register_step_post_hook(lambda *_: steps.append(1))
    try:
        scaler.scale(F.mse_loss(model(x), y)).backward()
        scaler.unscale_(optimizer)
        clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), max_norm)
        scaler.step(optimizer)
        scaler.update()
    finally:
        handle.remove()
        optimizer.zero_grad()
    return bool(steps)


def _clips_by_hand(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    old = [p.detach().clone() for p in model.parameters()]
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    total = sum(float(p.grad.double().pow(2).sum()) for p in model.parameters()) ** 0.5
    if total > max_norm:
        for p in model.parameters():
            p.grad *= max_norm / total
    scaler.step(optimizer)
    scaler.update()
    return any(not torch.equal(a, b) for a, b in zip(old, model.parameters(), strict=True))


def _groups_in_one_list(model, optimizer, scaler, x, y, max_norm):
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for p in params:
        p.grad = None
    scaler.scale(F.mse_loss(model.train()(x), y)).backward()
    scaler.unscale_(optimizer)
    total = clip_grad_norm_(params, float(max_norm))
    scaler.step(optimizer)
    scaler.update()
    return not (total.isnan() or total.isinf())


def _factors_divided(model, optimizer, scaler, x, y, max_norm):
    """The scaler's own note is left to step; clipping is done by one factor for all."""
    optimizer.zero_grad(set_to_none=False)
    scaler.scale((model(x) - y).square().mean()).backward()
    grads = [p.grad for p in model.parameters()]
    norm = torch.cat([g.flatten() for g in grads]).norm() / scaler.get_scale()
    if norm > max_norm:
        torch._foreach_mul_(grads, (max_norm / norm).item())
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return bool(before <= scaler.get_scale())


def _step_replaced(model, optimizer, scaler, x, y, max_norm):
    """The scaler calls optimizer.step, or does not: a step of one's own notes it."""
    optimizer.zero_grad()
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    made, usual = [], optimizer.step
    optimizer.step = lambda *args, **kwargs: made.append(usual(*args, **kwargs))
    try:
        scaler.step(optimizer)
    finally:
        del optimizer.step
    scaler.update()
    return len(made) == 1


RIGHT = [{"amp_step": f} for f in (_step_replaced, _groups_in_one_list, _factors_divided)]
RIGHT += [{"amp_step": f} for f in (_norm_tells, _limit_scaled, _steps_by_itself, _hook, _clips_by_hand)]


def _run(order, answer=None, clear=True):
    """The calls of one step in some order: b(ackward), u(nscale_), c(lip), s(tep), o(ptimizer.step), U(pdate)."""

    def step(model, optimizer, scaler, x, y, max_norm):
        if clear:
            optimizer.zero_grad()
        loss, before = F.mse_loss(model(x), y), scaler.get_scale()
        for call in order:
            if call == "b":
                scaler.scale(loss).backward()
            elif call == "B":
                loss.backward()
            elif call == "u":
                scaler.unscale_(optimizer)
            elif call == "c":
                clip_grad_norm_(model.parameters(), max_norm)
            elif call == "s":
                scaler.step(optimizer)
            elif call == "o":
                optimizer.step()
            elif call == "U":
                scaler.update()
        return scaler.get_scale() >= before if answer is None else answer(scaler, before, loss)

    return step


def _skips_by_hand(model, optimizer, scaler, x, y, max_norm):
    loss = F.mse_loss(model(x), y)
    if torch.isnan(loss) or torch.isinf(loss):
        return False
    return _run("bucsU")(model, optimizer, scaler, x, y, max_norm)


def _update_if_stepped(model, optimizer, scaler, x, y, max_norm):
    _run("bucs")(model, optimizer, scaler, x, y, max_norm)
    finite = all(p.grad.isfinite().all() for p in model.parameters())
    if finite:
        scaler.update()
    return bool(finite)


def _new_start(model, optimizer, scaler, x, y, max_norm):
    done = _run("bucsU")(model, optimizer, scaler, x, y, max_norm)
    if not done:
        optimizer.load_state_dict({"state": {}, "param_groups": optimizer.state_dict()["param_groups"]})
    return done


def _first_layer_only(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    clip_grad_norm_(next(iter(model.parameters())), max_norm)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before


def _disabled(model, optimizer, scaler, x, y, max_norm):
    return _run("bucsU")(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), x, y, max_norm)


def _divides_again(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    for p in model.parameters():
        p.grad /= scaler.get_scale()
    clip_grad_norm_(model.parameters(), max_norm)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before


def _each_group(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    scaler.scale(F.mse_loss(model(x), y)).backward()
    scaler.unscale_(optimizer)
    for group in optimizer.param_groups:
        clip_grad_norm_(group["params"], max_norm)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= before


_TIMES = "times what SGD with momentum makes of it"

WRONG = [
    Mistake("65536 times too short", caught_by="", amp_step=_run("bcsU")),
    Mistake("65536 times too short", caught_by="", amp_step=_run("bcusU")),
    Mistake("it was not clipped before the step", caught_by="", amp_step=_run("bscU")),
    Mistake("it was not clipped before the step", caught_by="", amp_step=_run("busUc")),
    Mistake("the step has length", caught_by="", amp_step=_first_layer_only),
    Mistake("the step has length", caught_by="", amp_step=_each_group),
    Mistake("65536 times too short", caught_by="", amp_step=_divides_again),
    Mistake("65536 times too short", caught_by="", amp_step=_run("bucUs")),
    Mistake("without an update of the scaler between them", caught_by="", amp_step=_run("bsucU")),
    Mistake("the gradients are still multiplied by 65536", caught_by="", amp_step=_run("bouU")),
    Mistake("inf or nan is in the weights now", caught_by="", amp_step=_run("bucoU")),
    Mistake("half of what it was", caught_by="", amp_step=_disabled),
    Mistake("the optimizer lost its momentum, or has other settings", caught_by="", amp_step=_new_start),
    Mistake("half of what it was", caught_by="", amp_step=_skips_by_hand),
    Mistake("update() comes after each step, also one that is left out", caught_by="", amp_step=_update_if_stepped),
    Mistake("without an update of the scaler between them", caught_by="", amp_step=_run("bucs")),
    Mistake("update() once a step", caught_by="", amp_step=_run("bucsUU")),
    Mistake(_TIMES, caught_by="", amp_step=_run("BucsU")),
    Mistake("gradients of the call before, true ones, were added", caught_by="", amp_step=_run("bucsU", clear=False)),
    Mistake("and the weights were not stepped", caught_by="", amp_step=_run("bucsU", lambda *_: True)),
    Mistake(
        "and the weights were not stepped",
        caught_by="",
        amp_step=_run("bucsU", lambda s, b, loss: bool(loss.isfinite())),
    ),
    Mistake(
        "as it does after some good steps", caught_by="", amp_step=_run("bucsU", lambda s, b, _: not s.get_scale() != b)
    ),
    Mistake(
        "True is expected where the weights were stepped",
        caught_by="",
        amp_step=_run("bucsU", lambda s, b, _: s._scale >= b),
    ),
    Mistake("amp_step returned None", caught_by="", amp_step=_run("bucsU", lambda *_: None)),
    Mistake(
        "the weights were stepped; amp_step returned False",
        caught_by="",
        amp_step=_run("bucsU", lambda s, b, _: s.get_scale() > b),
    ),
]
