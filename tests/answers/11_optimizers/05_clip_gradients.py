"""Answers that people give to clip_gradients, right ones and wrong ones."""

import math

import torch

from dojo import Mistake


def _total_by_squares(params, max_norm):
    params = [p for p in params if p.grad is not None]
    total = math.sqrt(sum(float(p.grad.detach().double().pow(2).sum()) for p in params))
    coef = max_norm / (total + 1e-6)
    if coef < 1:
        for p in params:
            p.grad.detach().mul_(coef)
    return total


def _total_by_cat(params, max_norm):
    grads = [p.grad for p in params if p.grad is not None]
    total = torch.cat([g.reshape(-1) for g in grads]).norm(2)
    coef = torch.clamp(max_norm / (total + 1e-6), max=1.0)
    for g in grads:
        g *= coef
    return total


def _with_data(params, max_norm):
    params = tuple(filter(lambda p: p.grad is not None, params))
    total = torch.stack([p.grad.data.norm() for p in params]).norm()
    if total.item() > max_norm:
        for p in params:
            p.grad.data.mul_(max_norm / total)
    return total.item()


def _error_if_nonfinite(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    try:
        torch.nn.utils.clip_grad_norm_(params, max_norm, error_if_nonfinite=True)
    except RuntimeError:
        return False
    opt.step()
    return True


def _both_checked(opt, loss, params, max_norm):
    for p in params:
        p.grad = None
    if not math.isfinite(loss.item()):
        return False
    loss.backward()
    total = _total_by_squares(params, max_norm)
    if math.isinf(total) or math.isnan(total):
        for p in params:
            p.grad = None
        return False
    opt.step()
    opt.zero_grad(set_to_none=True)
    return True


def _each_gradient_checked(opt, loss, params, max_norm):
    opt.zero_grad(set_to_none=False)
    loss.backward()
    if not all(torch.isfinite(p.grad).all() for p in params if p.grad is not None):
        return False
    torch.nn.utils.clip_grad_norm_(params, max_norm)
    opt.step()
    return True


def _by_autograd_grad(opt, loss, params, max_norm):
    for p, g in zip(params, torch.autograd.grad(loss, params), strict=True):
        p.grad = g
    ok = torch.nn.utils.clip_grad_norm_(params, max_norm).isfinite()
    opt.step() if ok else None
    return ok.item()


def _by_loops(params, max_norm):
    total = 0.0
    params = [p for p in params]
    for p in params:
        if p.grad is not None:
            for g in p.grad.flatten().tolist():
                total += g * g
    total = total**0.5
    if total > max_norm:
        for p in params:
            if p.grad is not None:
                p.grad.data.div_(total).mul_(max_norm)
    return torch.tensor(total)


def _measured_first(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    total = torch.nn.utils.get_total_norm([p.grad for p in params])
    if not torch.isfinite(total):
        return False
    torch.nn.utils.clip_grads_with_norm_(params, max_norm, total)
    opt.step()
    return True


RIGHT = [
    {"clip_norm_": _by_loops, "safe_step": _measured_first},
    {"clip_norm_": torch.nn.utils.clip_grad_norm_, "safe_step": _error_if_nonfinite},
    {"clip_norm_": _total_by_squares, "safe_step": _both_checked},
    {"clip_norm_": _total_by_cat, "safe_step": _each_gradient_checked},
    {"clip_norm_": _with_data, "safe_step": _by_autograd_grad},
]


def _torch_one_by_one(params, max_norm):
    return torch.stack([torch.nn.utils.clip_grad_norm_(p, max_norm) for p in params if p.grad is not None]).norm()


def _by_value(params, max_norm):
    params = list(params)
    total = torch.nn.utils.clip_grad_norm_(params, float("inf"))
    torch.nn.utils.clip_grad_value_(params, max_norm)
    return total


def _clipped_then_measured(params, max_norm):
    params = list(params)
    torch.nn.utils.clip_grad_norm_(params, max_norm)
    return torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])


def _get_then_clip(params, max_norm):
    total = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    torch.nn.utils.clip_grads_with_norm_(params, max_norm, total)
    return total


def _always_scaled(params, max_norm):
    params = [p for p in params if p.grad is not None]
    total = torch.stack([p.grad.norm() for p in params]).norm()
    for p in params:
        p.grad.mul_(max_norm).div_(total + 1e-8)
    return total


def _rebinding(params, max_norm):
    params = list(params)
    total = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    for p in params:
        if p.grad is not None and total > max_norm:
            p.grad = p.grad / total * max_norm
    return total


def _l_one(params, max_norm):
    return torch.nn.utils.clip_grad_norm_(params, max_norm, norm_type=1)


def _l_inf(params, max_norm):
    return torch.nn.utils.clip_grad_norm_(params, max_norm, norm_type=float("inf"))


def _no_return(params, max_norm):
    torch.nn.utils.clip_grad_norm_(params, max_norm)


def _all_have_grads(params, max_norm):
    params = list(params)
    total = torch.sqrt(sum(p.grad.pow(2).sum() for p in params))
    for p in params:
        p.grad.mul_(min(1.0, max_norm / max(total.item(), 1e-9)))
    return total


def _steps(check, clear_first=True, before_step=True):
    def safe(opt, loss, params, max_norm):
        if clear_first:
            opt.zero_grad()
        loss.backward()
        total = torch.nn.utils.clip_grad_norm_(params, max_norm if before_step else float("inf"))
        if not check(loss, total):
            return False
        opt.step()
        torch.nn.utils.clip_grad_norm_(params, max_norm)
        return True

    return safe


def _cleared_and_stepped(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    ok = torch.nn.utils.clip_grad_norm_(params, max_norm).isfinite().item()
    if not ok:
        opt.zero_grad(set_to_none=False)
    opt.step()
    return ok


def _zero_in_the_middle(opt, loss, params, max_norm):
    loss.backward()
    total = torch.nn.utils.clip_grad_norm_(params, max_norm)
    opt.zero_grad(set_to_none=False)
    if torch.isfinite(total):
        opt.step()
        return True
    return False


def _weights_mended(opt, loss, params, max_norm):
    saved = [p.detach().clone() for p in params]
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(params, max_norm)
    opt.step()
    if any(p.isnan().any() or p.isinf().any() for p in params):
        for p, old in zip(params, saved, strict=True):
            p.data.copy_(old)
        return False
    return True


def _loop_of_clips(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    ok = True
    for p in params:
        ok = ok and bool(torch.nn.utils.clip_grad_norm_([p], max_norm).isfinite())
    if ok:
        opt.step()
    return ok


def _all_is_well(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    for p in params:
        if not torch.isfinite(p.grad).all():
            return False
        torch.nn.utils.clip_grad_norm_(params, max_norm)
        opt.step()
        return True


WRONG = [
    Mistake("so the step is left out for both", caught_by="", safe_step=_all_is_well),
    Mistake("is finite, of length 5e+08", caught_by="", safe_step=_steps(lambda loss, total: total.item() < 1e4)),
    Mistake("they were clipped one by one", caught_by="", safe_step=_loop_of_clips),
    Mistake("clipped one by one, their direction changed", caught_by="", clip_norm_=_torch_one_by_one),
    Mistake("each number was clamped by itself", caught_by="", clip_norm_=_by_value),
    Mistake("the norm after clipping", caught_by="", clip_norm_=_clipped_then_measured),
    Mistake("it was at its end", caught_by="", clip_norm_=_get_then_clip),
    Mistake("was made longer", caught_by="", clip_norm_=_always_scaled),
    Mistake("w.grad is a new tensor", caught_by="", clip_norm_=_rebinding),
    Mistake("norms do not add up, their squares do", caught_by="", clip_norm_=_l_one),
    Mistake("have length 5 together", caught_by="", clip_norm_=_l_inf),
    Mistake("the norm before clipping, one number; got None", caught_by="", clip_norm_=_no_return),
    Mistake("it is to be skipped", caught_by="", clip_norm_=_all_have_grads),
    Mistake("the weights are nan, for good", caught_by="", safe_step=_steps(lambda loss, total: True)),
    Mistake("the weights are nan, for good", caught_by="", safe_step=_steps(lambda loss, total: loss.isfinite())),
    Mistake("the weights are nan, for good", caught_by="", safe_step=_steps(lambda loss, total: not total.isnan())),
    Mistake(
        "what was in w.grad counts for nothing",
        caught_by="",
        safe_step=_steps(lambda loss, total: total.isfinite(), clear_first=False),
    ),
    Mistake(
        "the gradient was clipped too late",
        caught_by="",
        safe_step=_steps(lambda loss, total: total.isfinite(), before_step=False),
    ),
    Mistake("momentum moved the weights", caught_by="", safe_step=_cleared_and_stepped),
    Mistake("the weights did not move", caught_by="", safe_step=_zero_in_the_middle),
    Mistake("the momentum changed", caught_by="", safe_step=_weights_mended),
]
