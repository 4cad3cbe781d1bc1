"""Leaf or not: reference.

Hint: When does autograd begin to record? Everything that you do to the weight before that leaves it a leaf.
Hint: `Tensor.requires_grad_()` turns a finished tensor into a trainable leaf; `Tensor.retain_grad()` is for non-leaves.
Hint: In hidden_gradient: make y, ask it to retain its gradient, then z, then the backward; y.grad is dz/dy.

Why: A leaf is where the graph begins, so it is what can be trained: gradients end there, and an optimizer may change it
in place. Results are thrown away with the graph, and keeping all their gradients would cost as much memory as the
forward pass; so autograd keeps none that you did not ask for. retain_grad (or a hook) only listens; detach cuts.
"""

import torch

from dojo import Mistake


def make_weight(rows: int, cols: int, scale: float) -> torch.Tensor:
    return (torch.randn(rows, cols) * scale).requires_grad_()


def hidden_gradient(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    y = x + 2
    y.retain_grad()
    (y**2).sum().backward()
    return y, y.grad


def _no_grad_needed(rows, cols, scale):
    return torch.randn(rows, cols) * scale


def _scaled_too_late(rows, cols, scale):
    return torch.randn(rows, cols, requires_grad=True) * scale


def _retained(rows, cols, scale):
    w = torch.randn(rows, cols, requires_grad=True) * scale
    w.retain_grad()
    return w


def _cast_too_late(rows, cols, scale):
    w = torch.normal(0.0, scale, (rows, cols), dtype=torch.float64, requires_grad=True)
    return w.to(torch.float32)


def _turned(rows, cols, scale):
    return (torch.randn(cols, rows) * scale).requires_grad_()


def _variance(rows, cols, scale):
    return (torch.randn(rows, cols) * scale**0.5).requires_grad_()


def _scaled_twice(rows, cols, scale):
    return torch.normal(0.0, scale, (rows, cols)).mul_(scale).requires_grad_()


def _not_scaled(rows, cols, scale):
    w = torch.randn(rows, cols, requires_grad=True)
    w.detach().clone().mul_(scale)
    return w


def _uniform(rows, cols, scale):
    return (torch.rand(rows, cols) * scale).requires_grad_()


def _shifted(rows, cols, scale):
    return (torch.randn(rows, cols) * scale + scale).requires_grad_()


def _double(rows, cols, scale):
    return torch.normal(0.0, scale, (rows, cols), dtype=torch.float64, requires_grad=True)


def _not_retained(x):
    y = x + 2
    (y**2).sum().backward()
    return y, y.grad


def _retained_too_late(x):
    y = x + 2
    (y**2).sum().backward()
    y.retain_grad()
    return y, y.grad


def _cut(x):
    y = (x + 2).detach().requires_grad_()
    (y**2).sum().backward()
    return y, y.grad


def _cut_and_mended(x):
    y, slope = _cut(x)
    x.grad = slope.clone()
    return y, slope


def _stops_at_y(x):
    y = x + 2
    return y, torch.autograd.grad((y**2).sum(), y)[0]


def _twice(x):
    y = x + 2
    y.retain_grad()
    z = (y**2).sum()
    z.backward(retain_graph=True)
    slope = y.grad.clone()
    z.backward()
    return y, slope


def _in_place(x):
    y = x.add_(2)
    y.retain_grad()
    (y**2).sum().backward()
    return y, y.grad


def _scaled_in_place(rows, cols, scale):
    w = torch.randn(rows, cols, requires_grad=True)
    w *= scale
    return w


def _one_row(rows, cols, scale):
    return (torch.randn(1, cols) * scale).repeat(rows, 1).requires_grad_()


def _even(rows, cols, scale):
    return ((torch.rand(rows, cols) - 0.5) * scale * 12**0.5).requires_grad_()


def _seeded(rows, cols, scale):
    values = torch.randn(rows, cols, generator=torch.Generator().manual_seed(0))
    return (values * scale).requires_grad_()


def _of_x(x):
    y = x + 2
    (y**2).sum().backward()
    return y, x.grad


def _two_passes(x):
    y = x + 2
    z = (y**2).sum()
    (slope,) = torch.autograd.grad(z, y)
    z.backward()
    return y, slope


def _no_sum(x):
    y = x + 2
    y.retain_grad()
    (y**2).backward()
    return y, y.grad


def _as_a_dot_product(x):
    y = x + 2
    y.retain_grad()
    torch.dot(y.flatten(), y.flatten()).backward() if x.dim() == 1 else (y @ y.T).trace().backward()
    return y, y.grad


def _in_float32(x):
    y = x.float() + 2
    y.retain_grad()
    (y**2).sum().backward()
    return y, y.grad


def _mean(x):
    y = x + 2
    y.retain_grad()
    (y**2).mean().backward()
    return y, y.grad


def _edited_under_no_grad(x):
    with torch.no_grad():
        x += 2
    (x**2).sum().backward()
    return x, x.grad


def _half(rows, cols, scale):
    return (torch.randn(rows, cols, dtype=torch.float16) * scale).float().requires_grad_()


_LEAF = "test_a_weight_that_was_scaled_after_requires_grad_is_no_leaf"
_STD = "test_scale_is_the_standard_deviation"
_KEPT = "test_only_leaves_keep_their_gradient_unless_told"

MISTAKES = [
    Mistake("the result of an operation after requires_grad (Mul)", caught_by=_LEAF, make_weight=_scaled_too_late),
    Mistake("the result of an operation after requires_grad (Mul)", caught_by=_LEAF, make_weight=_retained),
    Mistake("the result of an operation after requires_grad", caught_by=_LEAF, make_weight=_cast_too_late),
    Mistake("the weight does not require a gradient", caught_by=_LEAF, make_weight=_no_grad_needed),
    Mistake("expected shape (3, 5), got (5, 3)", caught_by=_LEAF, make_weight=_turned),
    Mistake("expected float32", caught_by=_LEAF, make_weight=_double),
    Mistake("scale is the std, not the variance", caught_by=_STD, make_weight=_variance),
    Mistake("scale once, by scale", caught_by=_STD, make_weight=_scaled_twice),
    Mistake("the values are not scaled", caught_by=_STD, make_weight=_not_scaled),
    Mistake("the standard deviation of the values must be scale", caught_by=_STD, make_weight=_uniform),
    Mistake("the values must lie around 0", caught_by=_STD, make_weight=_shifted),
    Mistake("was edited in place, and recorded", caught_by=_LEAF, make_weight=_scaled_in_place),
    Mistake("draw a value for each weight", caught_by=_STD, make_weight=_one_row),
    Mistake("draw a value for each weight", caught_by=_STD, make_weight=_half),
    Mistake("hidden_gradient(x) raised", caught_by=_KEPT, hidden_gradient=_as_a_dot_product),
    Mistake("y is x + 2", caught_by=_KEPT, hidden_gradient=_in_float32),
    Mistake("dz/dy is 2*y", caught_by=_KEPT, hidden_gradient=_mean),
    Mistake("x itself changed", caught_by=_KEPT, hidden_gradient=_edited_under_no_grad),
    Mistake("draw normal ones", caught_by=_STD, make_weight=_even),
    Mistake("the second call drew the same values", caught_by=_STD, make_weight=_seeded),
    Mistake("x.grad belongs to x", caught_by=_KEPT, hidden_gradient=_of_x),
    Mistake("two passes through one graph", caught_by=_KEPT, hidden_gradient=_two_passes),
    Mistake("backward starts from one number", caught_by=_KEPT, hidden_gradient=_no_sum),
    Mistake("dz/dy is None: y is no leaf", caught_by=_KEPT, hidden_gradient=_not_retained),
    Mistake("dz/dy is None: y is no leaf", caught_by=_KEPT, hidden_gradient=_retained_too_late),
    Mistake("x.grad is None: you cut the graph", caught_by=_KEPT, hidden_gradient=_cut),
    Mistake("or the backward stopped at y", caught_by=_KEPT, hidden_gradient=_stops_at_y),
    Mistake("that of one backward", caught_by=_KEPT, hidden_gradient=_twice),
    Mistake("you edited x in place", caught_by=_KEPT, hidden_gradient=_in_place),
    Mistake(
        "so you cut it off from x",
        caught_by="test_a_hidden_tensor_stays_connected_to_its_input",
        hidden_gradient=_cut_and_mended,
    ),
]

KEEP = {"test_an_optimizer_moves_a_leaf": "it shows what being a leaf is good for"}
