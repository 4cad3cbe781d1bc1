"""Clip the gradient as a whole: reference.

Hint: The length of one long vector is also the length of the vector of the lengths of its pieces.
Hint: `torch.linalg.vector_norm`, `torch.stack`, `Tensor.mul_`, `torch.isfinite`; walk `params` once, into a list.
Hint: The norm that clipping returns tells whether any gradient is inf or nan: ask it before opt.step().

Why: One factor for all gradients keeps their direction, so a clipped step is a shorter step on the same way. torch adds
1e-6 to the norm before it divides, so that the result is a little below max_norm. A sum of squares is inf or nan as
soon as one number in it is: one look at the total says enough, and mixed precision training uses the same test to skip
steps (torch.amp.GradScaler).
"""

from collections.abc import Iterable

import torch

from dojo import Mistake


def clip_norm_(params: Iterable[torch.Tensor], max_norm: float) -> torch.Tensor | float:
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return 0.0
    total = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))
    if total > max_norm:
        for g in grads:
            g.mul_(max_norm / total)
    return total


def safe_step(opt: torch.optim.Optimizer, loss: torch.Tensor, params: list[torch.Tensor], max_norm: float) -> bool:
    opt.zero_grad()
    loss.backward()
    finite = bool(torch.isfinite(torch.as_tensor(clip_norm_(params, max_norm))))
    if finite:
        opt.step()
    else:
        opt.zero_grad()
    return finite


def _clipping(total_of, scale=lambda total, max_norm: min(1.0, max_norm / (float(total) + 1e-9))):
    """clip_norm_ with another total."""

    def clip(params, max_norm):
        grads = [p.grad for p in params if p.grad is not None]
        total = total_of(grads)
        for g in grads:
            g.mul_(scale(total, max_norm))
        return total

    return clip


def _norm(grads):
    return torch.cat([g.flatten() for g in grads]).norm()


def _each_alone(params, max_norm):
    total = 0.0
    for p in params:
        if p.grad is not None:
            norm = p.grad.norm()
            total += norm.item() ** 2
            if norm > max_norm:
                p.grad.mul_(max_norm / norm)
    return total**0.5


def _clamped(params, max_norm):
    params = [p for p in params if p.grad is not None]
    total = _norm([p.grad for p in params])
    for p in params:
        p.grad.clamp_(-max_norm, max_norm)
    return total


def _after(params, max_norm):
    params = [p for p in params if p.grad is not None]
    clip_norm_(params, max_norm)
    return _norm([p.grad for p in params])


def _two_walks(params, max_norm):
    total = sum((p.grad.norm() ** 2 for p in params if p.grad is not None), torch.tensor(0.0)).sqrt()
    for p in params:
        if p.grad is not None and total > max_norm:
            p.grad.mul_(max_norm / total)
    return total


def _new_grads(params, max_norm):
    params = [p for p in params if p.grad is not None]
    total = _norm([p.grad for p in params])
    for p in params:
        p.grad = p.grad * min(1.0, max_norm / (total.item() + 1e-9))
    return total


def _none_as_zeros(params, max_norm):
    params = list(params)
    for p in params:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    return clip_norm_(params, max_norm)


def _no_none(params, max_norm):
    grads = [p.grad for p in params]
    total = torch.cat([g.flatten() for g in grads]).norm()
    return _clipping(lambda _: total)(params, max_norm)


def _nothing_returned(params, max_norm):
    clip_norm_(params, max_norm)


def _returns_the_factor(params, max_norm):
    return max_norm / (clip_norm_(params, max_norm) + 1e-6)


def _weights_instead(params, max_norm):
    params = list(params)
    total = clip_norm_(params, max_norm)
    with torch.no_grad():
        for p in params:
            p.sub_(p.grad if p.grad is not None else 0)
    return total


def _divided_by_zero(params, max_norm):
    grads = [p.grad for p in params if p.grad is not None]
    total = float(_norm(grads))
    for g in grads:
        g.mul_(min(1.0, max_norm / total))
    return total


def _length_of_the_list(params, max_norm):
    return clip_norm_([params[i] for i in range(len(params))], max_norm)


def _clip_before_backward(opt, loss, params, max_norm):
    opt.zero_grad()
    total = torch.as_tensor(clip_norm_(params, max_norm))
    loss.backward()
    if all(bool(p.grad.isfinite().all()) for p in params) and total.isfinite():
        opt.step()
        return True
    return False


def _clip_after_step(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    if not all(p.grad.isfinite().all() for p in params):
        return False
    opt.step()
    clip_norm_(params, max_norm)
    return True


def _no_zero(opt, loss, params, max_norm):
    loss.backward()
    if torch.isfinite(clip_norm_(params, max_norm)):
        opt.step()
        return True
    return False


def _zero_after_a_step(opt, loss, params, max_norm):
    """Clears after a step only."""
    loss.backward()
    if not torch.isfinite(clip_norm_(params, max_norm)):
        return False
    opt.step()
    opt.zero_grad()
    return True


def _zero_unless_skipped(opt, loss, params, max_norm):
    """Clears what a step has used, and what was there at the very first."""
    if "buffers" not in opt.__dict__:
        opt.zero_grad()
        opt.buffers = True
    loss.backward()
    if any(p.grad.isnan().any() or p.grad.isinf().any() for p in params):
        return False
    clip_norm_(params, max_norm)
    opt.step()
    opt.zero_grad()
    return True


def _clears_too_late(opt, loss, params, max_norm):
    loss.backward()
    finite = bool(torch.isfinite(clip_norm_(params, max_norm)))
    opt.zero_grad()
    if finite:
        opt.step()
    return finite


def _never_skips(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    finite = bool(torch.isfinite(clip_norm_(params, max_norm)))
    opt.step()
    return finite


def _loss_only(opt, loss, params, max_norm):
    opt.zero_grad()
    if not torch.isfinite(loss):
        return False
    loss.backward()
    clip_norm_(params, max_norm)
    opt.step()
    return True


def _nan_only(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    if torch.isnan(loss) or torch.isnan(clip_norm_(params, max_norm)):
        return False
    opt.step()
    return True


def _steps_with_zeros(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    finite = bool(torch.isfinite(clip_norm_(params, max_norm)))
    if not finite:
        for p in params:
            p.grad.zero_()
    opt.step()
    return finite


def _always_true(opt, loss, params, max_norm):
    safe_step(opt, loss, params, max_norm)
    return True


def _returns_the_norm(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    total = clip_norm_(params, max_norm)
    if torch.as_tensor(total).isfinite():
        opt.step()
    return total


def _true_or_nothing(opt, loss, params, max_norm):
    if safe_step(opt, loss, params, max_norm):
        return True


def _mends_the_gradient(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    for p in params:
        p.grad.nan_to_num_(0.0, 0.0, 0.0)
    clip_norm_(params, max_norm)
    opt.step()
    return True


def _forgets_momentum(opt, loss, params, max_norm):
    done = safe_step(opt, loss, params, max_norm)
    if not done:
        opt.state.clear()
    return done


def _undone(opt, loss, params, max_norm):
    """Steps, and takes the weights back."""
    before = [p.detach().clone() for p in params]
    opt.zero_grad()
    loss.backward()
    finite = bool(torch.isfinite(clip_norm_(params, max_norm)))
    opt.step()
    if not finite:
        with torch.no_grad():
            for p, old in zip(params, before, strict=True):
                p.copy_(old)
    return finite


def _one_by_one(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    totals = [torch.as_tensor(clip_norm_([p], max_norm)) for p in params]
    if not torch.stack(totals).isfinite().all():
        return False
    opt.step()
    return True


def _first_only(opt, loss, params, max_norm):
    return safe_step(opt, loss, params[:1], max_norm)


def _unclipped(opt, loss, params, max_norm):
    return safe_step(opt, loss, params, 1e9)


def _looks_at(finite, max_norm_used=lambda max_norm: max_norm):
    """safe_step that asks finite(params, total), with gradients before clipping."""

    def safe(opt, loss, params, max_norm):
        opt.zero_grad()
        loss.backward()
        fine = bool(finite(params, _norm([p.grad for p in params])))
        clip_norm_(params, max_norm_used(max_norm))
        if fine:
            opt.step()
        return fine

    return safe


def _to_max_norm_always(opt, loss, params, max_norm):
    opt.zero_grad()
    loss.backward()
    total = _norm([p.grad for p in params])
    if not total.isfinite():
        return False
    for p in params:
        p.grad.mul_(max_norm / total)
    opt.step()
    return True


_LONG = "test_a_long_gradient_is_scaled_to_max_norm"
_SHORT = "test_a_short_gradient_stays_as_it_is"
_ALL = "test_the_norm_runs_over_all_parameters"
_IN_PLACE = "test_clipping_works_in_place_and_skips_none"
_ORDER = "test_the_gradient_is_clipped_between_backward_and_step"
_SKIP = "test_a_step_with_gradients_that_are_not_finite_is_left_out"

_ONE = "test_one_bad_number_in_one_gradient_is_enough"

MISTAKES = [
    Mistake("each number was clamped by itself", caught_by=_LONG, clip_norm_=_clamped),
    Mistake("the norm after clipping", caught_by=_LONG, clip_norm_=_after),
    Mistake("the norm before clipping, one number; got None", caught_by=_LONG, clip_norm_=_nothing_returned),
    Mistake("the norm of [3, 4] is 5", caught_by=_LONG, clip_norm_=_returns_the_factor),
    Mistake(
        "has length 5, and is to have 1.0",
        caught_by=_LONG,
        clip_norm_=_clipping(lambda grads: sum((g**2).sum() for g in grads)),
    ),
    Mistake("clip_norm_ changed the weights", caught_by=_LONG, clip_norm_=_weights_instead),
    Mistake("the gradient is still [3, 4]", caught_by=_LONG, clip_norm_=_clipping(_norm, lambda total, max_norm: 1.0)),
    Mistake(
        "was made longer",
        caught_by=_SHORT,
        clip_norm_=_clipping(_norm, lambda total, max_norm: max_norm / (total + 1e-6)),
    ),
    Mistake("nothing is to be divided by it", caught_by=_SHORT, clip_norm_=_divided_by_zero),
    Mistake(
        "stays as it is",
        caught_by=_SHORT,
        clip_norm_=_clipping(_norm, lambda total, max_norm: max_norm / max(float(total), max_norm + 1)),
    ),
    Mistake("clipped one by one, their direction changed", caught_by=_ALL, clip_norm_=_each_alone),
    Mistake("it was at its end", caught_by=_ALL, clip_norm_=_two_walks),
    Mistake("it has no length and no index", caught_by=_ALL, clip_norm_=_length_of_the_list),
    Mistake(
        "norms do not add up, their squares do",
        caught_by=_ALL,
        clip_norm_=_clipping(lambda grads: sum(g.norm() for g in grads)),
    ),
    Mistake(
        "have length 5 together",
        caught_by=_ALL,
        clip_norm_=_clipping(lambda grads: max(g.norm() for g in grads)),
    ),
    Mistake("w.grad is a new tensor", caught_by=_IN_PLACE, clip_norm_=_new_grads),
    Mistake("is something else now", caught_by=_IN_PLACE, clip_norm_=_none_as_zeros),
    Mistake("it is to be skipped", caught_by=_IN_PLACE, clip_norm_=_no_none),
    Mistake("the gradient was clipped too late", caught_by=_ORDER, safe_step=_clip_before_backward),
    Mistake("the momentum is gone", caught_by=_SKIP, safe_step=_forgets_momentum),
    Mistake("nan survived into the next step", caught_by=_SKIP, safe_step=_zero_unless_skipped),
    Mistake("the gradient was clipped too late", caught_by=_ORDER, safe_step=_clip_after_step),
    Mistake("the gradient was clipped too late", caught_by=_ORDER, safe_step=_unclipped),
    Mistake("what was in w.grad counts for nothing", caught_by=_ORDER, safe_step=_no_zero),
    Mistake("what was in w.grad counts for nothing", caught_by=_ORDER, safe_step=_zero_after_a_step),
    Mistake("the weights did not move", caught_by=_ORDER, safe_step=_clears_too_late),
    Mistake("they were clipped one by one", caught_by=_ORDER, safe_step=_one_by_one),
    Mistake("are clipped together", caught_by=_ORDER, safe_step=_first_only),
    Mistake(
        "clipped to 2.5", caught_by=_ORDER, safe_step=_looks_at(lambda params, total: total.isfinite(), lambda _: 1.0)
    ),
    Mistake("is finite, of length 5e+08", caught_by=_ORDER, safe_step=_looks_at(lambda params, total: total < 1e6)),
    Mistake(
        "so the step is left out for both",
        caught_by=_ONE,
        safe_step=_looks_at(lambda params, total: params[0].grad.isfinite().all()),
    ),
    Mistake(
        "so the step is left out for both",
        caught_by=_ONE,
        safe_step=_looks_at(lambda params, total: all(p.grad.flatten()[0].isfinite() for p in params)),
    ),
    Mistake("is not clipped", caught_by=_ORDER, safe_step=_to_max_norm_always),
    Mistake("the weights are nan, for good", caught_by=_SKIP, safe_step=_never_skips),
    Mistake("the weights are nan, for good", caught_by=_SKIP, safe_step=_loss_only),
    Mistake("the weights are nan, for good", caught_by=_SKIP, safe_step=_nan_only),
    Mistake("momentum moved the weights", caught_by=_SKIP, safe_step=_steps_with_zeros),
    Mistake("momentum moved the weights", caught_by=_SKIP, safe_step=_mends_the_gradient),
    Mistake("safe_step returned True, for a loss of", caught_by=_SKIP, safe_step=_always_true),
    Mistake("safe_step says True or False, it returned", caught_by=_ORDER, safe_step=_returns_the_norm),
    Mistake("safe_step returned None", caught_by=_SKIP, safe_step=_true_or_nothing),
    Mistake("the momentum changed", caught_by=_SKIP, safe_step=_undone),
]
