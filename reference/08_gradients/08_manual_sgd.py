"""Updating weights by hand: reference.

Hint: The parameter object must stay the same and only its numbers change; autograd must not record that change.
Hint: An in-place operation (`-=`, `sub_`, `add_`) inside `with torch.no_grad():` is allowed on a leaf.
Hint: In one walk over params: skip where the gradient is None, subtract lr times it in place, then forget it. In
    fit_line make w and b once, outside the loop, and keep prediction and y in the same shape.

Why: A name is not a tensor: `w = w - lr * w.grad` leaves the leaf as it was and binds the name to a result. In-place
under no_grad changes the numbers that the model, the optimizer and you all see through the same object, and it still
bumps the version counter, so a stale graph is noticed; `.data` hides the edit. torch.optim.SGD without momentum is
this loop, with the clearing moved to zero_grad(). Parameters without a gradient are skipped there, too.
"""

from collections.abc import Iterable

import torch

from dojo import Mistake


def sgd_step_(params: Iterable[torch.Tensor], lr: float) -> None:
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p -= lr * p.grad
                p.grad = None


def fit_line(x: torch.Tensor, y: torch.Tensor, lr: float, steps: int) -> tuple[float, float]:
    w = torch.zeros((), requires_grad=True)
    b = torch.zeros((), requires_grad=True)
    for _ in range(steps):
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        sgd_step_([w, b], lr)
    return w.item(), b.item()


def _rebind(params, lr):
    for p in params:
        if p.grad is not None:
            p = p - lr * p.grad
            p.grad = None


def _rebind_and_zero(params, lr):
    for p in params:
        if p.grad is not None:
            p = p - lr * p.grad
            p.grad.zero_()


def _ask_the_gradient_itself(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad:
                p -= lr * p.grad
                p.grad = None


def _record_the_update(params, lr):
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad
            p.grad = None


def _switch_requires_grad_off(params, lr):
    for p in params:
        if p.grad is not None:
            p.requires_grad_(False)
            p -= lr * p.grad
            p.grad = None


def _uphill(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p += lr * p.grad
                p.grad = None


def _clear_first(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p.grad.zero_()
                p -= lr * p.grad


def _never_clear(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p -= lr * p.grad


def _leave_grad_mode_off(params, lr):
    torch.set_grad_enabled(False)
    for p in params:
        if p.grad is not None:
            p -= lr * p.grad
            p.grad = None


def _old_data_idiom(params, lr):
    for p in params:
        p.data.sub_(p.grad.data * lr)
        p.grad = None


def _stop_at_the_first_none(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is None:
                break
            p -= lr * p.grad
            p.grad = None


def _zero_the_unused(params, lr):
    with torch.no_grad():
        for p in params:
            p -= p if p.grad is None else lr * p.grad
            p.grad = None


def _freeze_the_unused(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is None:
                p.requires_grad_(False)
            else:
                p -= lr * p.grad
                p.grad = None


def _count_first(params, lr):
    if not any(p.grad is not None for p in params):
        return
    sgd_step_(params, lr)


def _walk_twice(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p -= lr * p.grad
    for p in params:
        p.grad = None


def _by_index(params, lr):
    with torch.no_grad():
        for i in range(len(params)):
            if params[i].grad is not None:
                params[i] -= lr * params[i].grad
                params[i].grad = None


def _fit(x, y, lr, steps, update):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        ((w * x + b - y) ** 2).mean().backward()
        w, b = update(w, lr), update(b, lr)
    return w.item(), b.item()


def _new_tensor(p, lr):
    return p - lr * p.grad


def _new_tensor_without_grad(p, lr):
    with torch.no_grad():
        return p - lr * p.grad


def _edit_in_place(p, lr):
    p -= lr * p.grad
    return p


def _fit_what_the_step_returns(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        ((w * x + b - y) ** 2).mean().backward()
        w, b = sgd_step_([w, b], lr)
    return w.item(), b.item()


def _fit_predicted_once(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    loss = ((w * x + b - y) ** 2).mean()
    for _ in range(steps):
        loss.backward()
        sgd_step_([w, b], lr)
    return w.item(), b.item()


def _fit_every_error(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        ((w * x + b - y) ** 2).backward()
        sgd_step_([w, b], lr)
    return w.item(), b.item()


def _accumulate(p, lr):
    with torch.no_grad():
        p -= lr * p.grad
    return p


def _fit_squeezed(x, y, lr, steps):
    return fit_line(x, y.squeeze(1), lr, steps)


def _fit_swapped(x, y, lr, steps):
    w, b = fit_line(x, y, lr, steps)
    return b, w


def _fit_only_w(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1)
    for _ in range(steps):
        ((w * x + b - y) ** 2).mean().backward()
        sgd_step_([w, b], lr)
    return w.item(), b.item()


def _fit_a_thousand_steps(x, y, lr, steps):
    return fit_line(x, y, lr, 1000)


def _fit_at_a_fixed_rate(x, y, lr, steps):
    return fit_line(x, y, 0.05, 500)


def _fit_least_squares(x, y, lr, steps):
    w, b = torch.linalg.lstsq(torch.cat([x, torch.ones_like(x)], dim=1), y).solution.flatten().tolist()
    return w, b


def _fit_and_leave_grad_mode_off(x, y, lr, steps):
    line = fit_line(x, y, lr, steps)
    torch.set_grad_enabled(False)
    return line


def _fit_x_too(x, y, lr, steps):
    return fit_line(x.requires_grad_(), y, lr, steps)


def _fit_tensors(x, y, lr, steps):
    w, b = fit_line(x, y, lr, steps)
    return torch.tensor(w), torch.tensor(b)


def _lr_as_a_float32_tensor(params, lr):
    lr = torch.tensor(lr)
    return sgd_step_(params, lr)


def _through_float32(params, lr):
    with torch.no_grad():
        for p in params:
            if p.grad is not None:
                p.copy_(p.float() - lr * p.grad.float())
                p.grad = None


def _fit_the_loss(x, y, lr, steps, loss_of):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(steps):
        loss_of(w * x + b - y).backward()
        sgd_step_([w, b], lr)
    return w.item(), b.item()


def _fit_the_sum(x, y, lr, steps):
    return _fit_the_loss(x, y, lr, steps, lambda error: (error**2).sum())


def _fit_half_the_mean(x, y, lr, steps):
    return _fit_the_loss(x, y, lr, steps, lambda error: (error**2).mean() / 2)


def _fit_the_absolute_error(x, y, lr, steps):
    return _fit_the_loss(x, y, lr, steps, lambda error: error.abs().mean())


def _fit_the_root(x, y, lr, steps):
    return _fit_the_loss(x, y, lr, steps, lambda error: (error**2).mean().sqrt())


def _fit_with_momentum(x, y, lr, steps):
    w, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([w, b], lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        ((w * x + b - y) ** 2).mean().backward()
        optimizer.step()
    return w.item(), b.item()


_LEAF = "test_a_step_changes_the_leaf_itself"
_OWN = "test_each_step_uses_its_own_gradient"
_NONE = "test_a_parameter_without_a_gradient_stays_as_it_is"
_GENERATOR = "test_model_parameters_is_a_generator_which_can_be_walked_once"
_FAR = "test_lr_and_steps_say_how_far_it_goes"
_LINE = "test_gradient_descent_by_hand_finds_the_line"

_known_lines: dict = {}


def _fit_remembered(x, y, lr, steps):
    key = (x.shape, lr, steps)
    if key not in _known_lines:
        _known_lines[key] = fit_line(x, y, lr, steps)
    return _known_lines[key]


def _data_replaced(params, lr):
    for p in params:
        if p.grad is not None:
            p.data = p.data - lr * p.grad
            p.grad = None


MISTAKES = [
    Mistake("w was given other memory", caught_by=_LEAF, sgd_step_=_data_replaced),
    Mistake("should end at 7/8 of it", caught_by=_FAR, fit_line=_fit_remembered),
    Mistake("four steps lead", caught_by=_FAR, fit_line=lambda x, y, lr, steps: fit_line(x, y, lr, steps + 1)),
    Mistake("two steps lead", caught_by=_FAR, fit_line=lambda x, y, lr, steps: fit_line(x, y, lr, steps - 1)),
    Mistake("as exact as float64 is", caught_by=_OWN, sgd_step_=_lr_as_a_float32_tensor),
    Mistake("as exact as float64 is", caught_by=_OWN, sgd_step_=_through_float32),
    Mistake("the sum of the squared errors leads", caught_by=_FAR, fit_line=_fit_the_sum),
    Mistake("half of the mean leads", caught_by=_FAR, fit_line=_fit_half_the_mean),
    Mistake("should end at 7/8 of it", caught_by=_FAR, fit_line=_fit_the_root),
    Mistake("is each step downhill, by its own gradient only", caught_by=_LINE, fit_line=_fit_the_absolute_error),
    Mistake("should end at 7/8 of it", caught_by=_FAR, fit_line=_fit_with_momentum),
    Mistake("rebinding the loop variable makes a new tensor", caught_by=_LEAF, sgd_step_=_rebind),
    Mistake(
        "can be edited in place only where autograd does not record", caught_by=_LEAF, sgd_step_=_record_the_update
    ),
    Mistake("a new tensor of the same name has none", caught_by=_LEAF, sgd_step_=_rebind_and_zero),
    Mistake("several numbers are neither true nor false", caught_by=_LEAF, sgd_step_=_ask_the_gradient_itself),
    Mistake("w no longer requires grad", caught_by=_LEAF, sgd_step_=_switch_requires_grad_off),
    Mistake("w should be w - 0.1 * 2w", caught_by=_LEAF, sgd_step_=_uphill),
    Mistake("clearing first leaves nothing to add", caught_by=_LEAF, sgd_step_=_clear_first),
    Mistake("backward added the second gradient to the first", caught_by=_OWN, sgd_step_=_never_clear),
    Mistake("the second backward failed", caught_by=_OWN, sgd_step_=_leave_grad_mode_off),
    Mistake("and its .grad is None: skip it", caught_by=_NONE, sgd_step_=_old_data_idiom),
    Mistake("must not end the step for the rest", caught_by=_NONE, sgd_step_=_stop_at_the_first_none),
    Mistake("a parameter with .grad None must not move", caught_by=_NONE, sgd_step_=_zero_the_unused),
    Mistake("a parameter with .grad None no longer", caught_by=_NONE, sgd_step_=_freeze_the_unused),
    Mistake("was the generator used up before the update", caught_by=_GENERATOR, sgd_step_=_count_first),
    Mistake("a second loop over a generator does nothing", caught_by=_GENERATOR, sgd_step_=_walk_twice),
    Mistake("it has no length and no index", caught_by=_GENERATOR, sgd_step_=_by_index),
    Mistake(
        "it is no leaf",
        caught_by=_LINE,
        fit_line=lambda x, y, lr, steps: _fit(x, y, lr, steps, _new_tensor),
    ),
    Mistake(
        "nothing in this loss requires grad",
        caught_by=_LINE,
        fit_line=lambda x, y, lr, steps: _fit(x, y, lr, steps, _new_tensor_without_grad),
    ),
    Mistake(
        "can be edited in place only where autograd does not record",
        caught_by=_LINE,
        fit_line=lambda x, y, lr, steps: _fit(x, y, lr, steps, _edit_in_place),
    ),
    Mistake("None was unpacked", caught_by=_LINE, fit_line=_fit_what_the_step_returns),
    Mistake("one graph serves one backward", caught_by=_LINE, fit_line=_fit_predicted_once),
    Mistake("the loss is one number", caught_by=_LINE, fit_line=_fit_every_error),
    Mistake(
        "is each step downhill, by its own gradient only",
        caught_by=_LINE,
        fit_line=lambda x, y, lr, steps: _fit(x, y, lr, steps, _accumulate),
    ),
    Mistake("a flat line at the mean of y", caught_by=_LINE, fit_line=_fit_squeezed),
    Mistake("expected w=3.0, b=-1.0", caught_by=_LINE, fit_line=_fit_swapped),
    Mistake("expected w=2.0, b=2.0", caught_by=_LINE, fit_line=_fit_only_w),
    Mistake("Is steps used", caught_by=_FAR, fit_line=_fit_a_thousand_steps),
    Mistake("Is lr used", caught_by=_FAR, fit_line=_fit_at_a_fixed_rate),
    Mistake("is it gradient descent", caught_by=_FAR, fit_line=_fit_least_squares),
    Mistake("fit_line left grad mode off", caught_by=_LINE, fit_line=_fit_and_leave_grad_mode_off),
    Mistake("fit_line changed x", caught_by=_LINE, fit_line=_fit_x_too),
    Mistake("w and b should be floats", caught_by=_LINE, fit_line=_fit_tensors),
]

KEEP = {
    "test_gradient_descent_by_hand_finds_the_line": "it is the training itself, and it tells apart what the next one "
    "only sees fail",
}
