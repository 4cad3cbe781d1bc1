"""A scaler around the training step: reference.

Hint: Write next to each line whether the gradients are multiplied at that point. Where must they not be?
Hint: `scaler.scale`, `scaler.unscale_`, `torch.nn.utils.clip_grad_norm_`, `scaler.step`, `scaler.update`.
Hint: scaler.step does not tell what it did. The scale does: after update() it is smaller only if the step was left out.

Why: unscale_ and step share one look at the gradients: whoever divides, notes whether inf or nan was found, and step
reads the note. update() reads it too, and forgets it, so it belongs to each step. A scale that is equal to the old one
is no proof of a step, as it grows after `growth_interval` good ones; one that fell is. Clipping before unscale_ does
not fail, and so it is found late: the norm that it returns, 65536 times too large, would have told.
"""

import torch
from torch import nn

from dojo import Mistake


def amp_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    x: torch.Tensor,
    y: torch.Tensor,
    max_norm: float,
) -> bool:
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)
    scale = scaler.get_scale()
    scaler.update()
    return scaler.get_scale() >= scale


def _backward(model, optimizer, scaler, x, y, clear=True):
    if clear:
        optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss).backward()
    return loss.detach()


def _finish(optimizer, scaler):
    scale = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    return scaler.get_scale() >= scale


def _clip(model, max_norm):
    return nn.utils.clip_grad_norm_(model.parameters(), max_norm)


def _clips_scaled_gradients(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _clips_then_unscales(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    _clip(model, max_norm)
    scaler.unscale_(optimizer)
    return _finish(optimizer, scaler)


def _never_clips(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    return _finish(optimizer, scaler)


def _clips_after_the_step(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scale = scaler.get_scale()
    scaler.step(optimizer)
    _clip(model, max_norm)
    scaler.update()
    return scaler.get_scale() >= scale


def _clips_by_value(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_value_(model.parameters(), max_norm)
    return _finish(optimizer, scaler)


def _clips_one_by_one(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    for p in model.parameters():
        nn.utils.clip_grad_norm_([p], max_norm)
    return _finish(optimizer, scaler)


def _always_to_the_norm(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    for p in model.parameters():
        p.grad.mul_(max_norm / norm)
    return _finish(optimizer, scaler)


def _divides_by_the_default(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    for p in model.parameters():
        p.grad.div_(65536)
    _clip(model, max_norm)
    for p in model.parameters():
        p.grad.mul_(65536)
    return _finish(optimizer, scaler)


def _no_division(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    optimizer.step()
    scaler.unscale_(optimizer)
    scaler.update()
    return True


def _clips_scaled_ones_and_steps(model, optimizer, scaler, x, y, max_norm):
    """The length is right, but an inf goes into the weights."""
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    norm = _clip(model, max_norm)
    optimizer.step()
    scaler.update()
    return bool(norm.isfinite())


def _steps_with_zeros(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    norm = _clip(model, max_norm)
    if not norm.isfinite():
        for p in model.parameters():
            p.grad.zero_()
    optimizer.step()
    scaler.update()
    return bool(norm.isfinite())


def _raises_on_inf(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm, error_if_nonfinite=True)
    return _finish(optimizer, scaler)


def _no_update(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    norm = _clip(model, max_norm)
    scaler.step(optimizer)
    return bool(norm.isfinite())


def _leaves_early(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    if not _clip(model, max_norm).isfinite():
        return False
    scaler.step(optimizer)
    scaler.update()
    return True


def _looks_at_the_loss_first(model, optimizer, scaler, x, y, max_norm):
    loss = nn.functional.mse_loss(model(x), y)
    if not loss.isfinite():
        return False
    return amp_step(model, optimizer, scaler, x, y, max_norm)


def _says_what_the_loss_was(model, optimizer, scaler, x, y, max_norm):
    with torch.no_grad():
        finite = nn.functional.mse_loss(model(x), y).isfinite().item()
    amp_step(model, optimizer, scaler, x, y, max_norm)
    return finite


def _a_scaler_of_its_own(model, optimizer, scaler, x, y, max_norm):
    return amp_step(model, optimizer, torch.amp.GradScaler("cpu"), x, y, max_norm)


def _clips_the_first_group(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_norm)
    return _finish(optimizer, scaler)


def _multiplies_by_hand(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    (nn.functional.mse_loss(model(x), y) * scaler.get_scale()).backward()
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _in_bfloat16(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    with torch.autocast("cpu"):
        loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _left_in_eval(model, optimizer, scaler, x, y, max_norm):
    model.eval()
    return amp_step(model, optimizer, scaler, x, y, max_norm)


def _eval_and_back(model, optimizer, scaler, x, y, max_norm):
    model.eval()
    done = amp_step(model, optimizer, scaler, x, y, max_norm)
    model.train()
    return done


def _forgets_momentum(model, optimizer, scaler, x, y, max_norm):
    done = amp_step(model, optimizer, scaler, x, y, max_norm)
    if not done:
        optimizer.state.clear()
    return done


def _smaller_steps(model, optimizer, scaler, x, y, max_norm):
    done = amp_step(model, optimizer, scaler, x, y, max_norm)
    if not done:
        for group in optimizer.param_groups:
            group["lr"] /= 2
    return done


def _not_halved(model, optimizer, scaler, x, y, max_norm):
    scale = scaler.get_scale()
    amp_step(model, optimizer, scaler, x, y, max_norm)
    return scaler.get_scale() != scale / 2


def _no_scaler(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    finite = bool(_clip(model, max_norm).isfinite())
    if finite:
        optimizer.step()
    return finite


def _fixed_scale(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    norm = _clip(model, max_norm)
    scaler.step(optimizer)
    scaler.update(scaler.get_scale() if norm.isfinite() else scaler.get_scale() / 2)
    return bool(norm.isfinite())


def _always_true(model, optimizer, scaler, x, y, max_norm):
    amp_step(model, optimizer, scaler, x, y, max_norm)
    return True


def _what_step_returned(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    done = scaler.step(optimizer)
    scaler.update()
    return done is not None


def _same_scale(model, optimizer, scaler, x, y, max_norm):
    scale = scaler.get_scale()
    amp_step(model, optimizer, scaler, x, y, max_norm)
    return scaler.get_scale() == scale


def _a_tensor(model, optimizer, scaler, x, y, max_norm):
    return torch.tensor(amp_step(model, optimizer, scaler, x, y, max_norm))


def _a_number(model, optimizer, scaler, x, y, max_norm):
    return int(amp_step(model, optimizer, scaler, x, y, max_norm))


def _nothing(model, optimizer, scaler, x, y, max_norm):
    amp_step(model, optimizer, scaler, x, y, max_norm)


def _scale_read_after_update(model, optimizer, scaler, x, y, max_norm):
    amp_step(model, optimizer, scaler, x, y, max_norm)
    scale = scaler.get_scale()
    return scaler.get_scale() >= scale


def _never_clears(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y, clear=False)
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _clears_good_ones_only(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y, clear=False)
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    done = _finish(optimizer, scaler)
    if done:
        optimizer.zero_grad()
    return done


def _unscales_twice(model, optimizer, scaler, x, y, max_norm):
    _backward(model, optimizer, scaler, x, y)
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    scaler.unscale_(optimizer)
    return _finish(optimizer, scaler)


def _sum_of_squares(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    scaler.scale(nn.functional.mse_loss(model(x), y, reduction="sum")).backward()
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _backward_on_the_loss(model, optimizer, scaler, x, y, max_norm):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    scaler.scale(loss)
    loss.backward()
    scaler.unscale_(optimizer)
    _clip(model, max_norm)
    return _finish(optimizer, scaler)


def _cleans_x(model, optimizer, scaler, x, y, max_norm):
    x.nan_to_num_()
    return amp_step(model, optimizer, scaler, x, y, max_norm)


_CLIP = "test_gradients_are_unscaled_before_they_are_clipped"
_PLAIN = "test_a_short_gradient_gives_the_step_of_a_training_without_scaler"
_BAD = "test_a_step_with_gradients_that_are_not_finite_is_left_out"
_ANSWER = "test_the_answer_is_python_s_true_or_false"

_WRONG_LENGTH = "max_norm=1000000000.0 is far above the gradient"

MISTAKES = [
    Mistake("65536 times too short", caught_by=_CLIP, amp_step=_clips_scaled_gradients),
    Mistake("65536 times too short", caught_by=_CLIP, amp_step=_clips_then_unscales),
    Mistake("it was not clipped before the step", caught_by=_CLIP, amp_step=_never_clips),
    Mistake("it was not clipped before the step", caught_by=_CLIP, amp_step=_clips_after_the_step),
    Mistake("the gradients are still multiplied by 65536", caught_by=_CLIP, amp_step=_no_division),
    Mistake("the step has length", caught_by=_CLIP, amp_step=_clips_by_value),
    Mistake("the step has length", caught_by=_CLIP, amp_step=_clips_one_by_one),
    Mistake("the step has length", caught_by=_CLIP, amp_step=_divides_by_the_default),
    Mistake("the step has length", caught_by=_CLIP, amp_step=_clips_the_first_group),
    Mistake("it was left in eval mode", caught_by=_CLIP, amp_step=_left_in_eval),
    Mistake("ran in eval mode", caught_by=_CLIP, amp_step=_eval_and_back),
    Mistake("did not use scaler.scale", caught_by=_CLIP, amp_step=_multiplies_by_hand),
    Mistake("unscale_ was called twice", caught_by=_CLIP, amp_step=_unscales_twice),
    Mistake("without an update of the scaler between them", caught_by=_CLIP, amp_step=_no_update),
    Mistake(_WRONG_LENGTH, caught_by=_PLAIN, amp_step=_always_to_the_norm),
    Mistake("gradients of the call before, true ones, were added", caught_by=_PLAIN, amp_step=_never_clears),
    Mistake("times what SGD with momentum makes of it", caught_by=_PLAIN, amp_step=_sum_of_squares),
    Mistake("times what SGD with momentum makes of it", caught_by=_PLAIN, amp_step=_backward_on_the_loss),
    Mistake("times what SGD with momentum makes of it", caught_by=_PLAIN, amp_step=_in_bfloat16),
    Mistake("inf or nan is in the weights now", caught_by=_BAD, amp_step=_clips_scaled_ones_and_steps),
    Mistake("the weights moved in a step that was to be left out", caught_by=_BAD, amp_step=_steps_with_zeros),
    Mistake("the optimizer lost its momentum, or has other settings", caught_by=_BAD, amp_step=_forgets_momentum),
    Mistake("the optimizer lost its momentum, or has other settings", caught_by=_BAD, amp_step=_smaller_steps),
    Mistake("clipping raised on gradients of inf", caught_by=_BAD, amp_step=_raises_on_inf),
    Mistake("update() comes after each step, also one that is left out", caught_by=_BAD, amp_step=_leaves_early),
    Mistake("half of what it was", caught_by=_BAD, amp_step=_looks_at_the_loss_first),
    Mistake("half of what it was", caught_by=_BAD, amp_step=_a_scaler_of_its_own),
    Mistake("half of what it was", caught_by=_BAD, amp_step=_no_scaler),
    Mistake("and the weights were not stepped", caught_by=_BAD, amp_step=_always_true),
    Mistake("and the weights were not stepped", caught_by=_BAD, amp_step=_says_what_the_loss_was),
    Mistake("and the weights were not stepped", caught_by=_BAD, amp_step=_scale_read_after_update),
    Mistake("the old ones are still in", caught_by=_BAD, amp_step=_clears_good_ones_only),
    Mistake("amp_step changed the batch", caught_by=_BAD, amp_step=_cleans_x),
    Mistake("as it does after some good steps", caught_by=_ANSWER, amp_step=_same_scale),
    Mistake("True is expected where the weights were stepped", caught_by=_ANSWER, amp_step=_a_tensor),
    Mistake("True is expected where the weights were stepped", caught_by=_ANSWER, amp_step=_a_number),
    Mistake("False is expected where the step was left out", caught_by=_ANSWER, amp_step=_not_halved),
    Mistake("amp_step returned None", caught_by=_ANSWER, amp_step=_nothing),
    Mistake("the weights were stepped; amp_step returned False", caught_by=_ANSWER, amp_step=_what_step_returned),
    Mistake("update() once a step", caught_by=_ANSWER, amp_step=_fixed_scale),
]
