"""Ask autograd for a slope: reference.

Hint: Three steps: a fresh leaf that holds x0, the value of f on it, the slope of that value along the leaf.
Hint: `torch.tensor(..., requires_grad=True)` makes the leaf; `y.backward()` fills the leaf's `.grad`.
Hint: Convert x0 with `float()` first, so that an int makes a floating tensor; at the end `.item()` makes a number.

Why: A gradient belongs to an input: after `y.backward()` it is `x.grad` that is filled, `y.grad` stays None. A leaf
that is made inside the function starts with `.grad` None each time, so nothing is left over from the last call. The
graph is only a record of what ran, which is why Python's `if` and `for` need no special treatment.
"""

from collections.abc import Callable

import torch

from dojo import Mistake


def gradient_at(f: Callable[[torch.Tensor], torch.Tensor], x0: float) -> float:
    x = torch.tensor(float(x0), requires_grad=True)
    f(x).backward()
    return x.grad.item()


def _leaf_of_any_dtype(f, x0):
    x = torch.tensor(x0, requires_grad=True)
    f(x).backward()
    return x.grad.item()


def _leaf_required_later(f, x0):
    x = torch.as_tensor(x0).requires_grad_()
    return torch.autograd.grad(f(x), x)[0].item()


def _the_tensor(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    f(x).backward()
    return x.grad


def _the_tuple(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    return tuple(g.item() for g in torch.autograd.grad(f(x), x))


_leaves: dict = {}


def _kept_leaf(f, x0):
    x = _leaves.setdefault(float(x0), torch.tensor(float(x0), requires_grad=True))
    f(x).backward()
    return x.grad.item()


def _one_leaf(f, x0, x=torch.zeros((), requires_grad=True)):  # noqa: B008
    with torch.no_grad():
        x.fill_(x0)
    f(x).backward()
    return x.grad.item()


def _kept_slope(f, x0, known={}):  # noqa: B006
    # Keyed by the function: good until f has a branch.
    if f not in known:
        known[f] = gradient_at(f, x0)
    return known[f]


def _batched(f, x0):
    return torch.func.vmap(torch.func.grad(f))(torch.tensor([float(x0)]))[0].item()


def _of_the_result(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    y = f(x)
    y.retain_grad()
    y.backward()
    return y.grad.item()


def _of_the_result_without_retain(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    y = f(x)
    y.backward()
    return y.grad.item()


def _difference(f, x0, h=1e-3):
    x = torch.tensor(float(x0))
    return ((f(x + h) - f(x - h)) / (2 * h)).item()


def _one_dimension(f, x0):
    x = torch.tensor([float(x0)], requires_grad=True)
    f(x).backward()
    return x.grad.item()


_THE_INT = "x0 is an int here: make a floating tensor of it"
_FRESH = ".grad accumulates, use a fresh leaf in each call"
_by_place: dict[float, float] = {}


def _kept_by_place(f, x0):
    if x0 not in _by_place:
        _by_place[x0] = gradient_at(f, x0)
    return _by_place[x0]


def _half_precision(f, x0):
    x = torch.tensor(x0, dtype=torch.bfloat16, requires_grad=True)
    f(x).backward()
    return x.grad.item()


def _outside_the_graph(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    with torch.no_grad():
        y = f(x)
    y.backward()
    return x.grad.item()


def _number_of_the_results_grad(f, x0):
    x = torch.tensor(float(x0), requires_grad=True)
    y = f(x)
    y.backward()
    return float(y.grad)


def _another_leaf(f, x0):
    y = f(torch.tensor(float(x0), requires_grad=True))
    return torch.autograd.grad(y, torch.tensor(float(x0), requires_grad=True))[0].item()


def _rounded_difference(f, x0, h=2.0**-14):
    x = torch.tensor(float(x0), dtype=torch.float64)
    return round(((f(x + h) - f(x - h)) / (2 * h)).item(), 4)


_EXACT = "test_autograd_gives_the_exact_slope_on_the_input"

MISTAKES = [
    Mistake(
        "a Python float was asked for",
        caught_by="test_a_gradient_is_a_tensor_until_you_ask_for_its_number",
        gradient_at=lambda f, x0: _the_tensor(f, x0).numpy(),
    ),
    Mistake(_THE_INT, caught_by="test_a_leaf_needs_a_floating_dtype", gradient_at=_leaf_of_any_dtype),
    Mistake(_THE_INT, caught_by="test_a_leaf_needs_a_floating_dtype", gradient_at=_leaf_required_later),
    Mistake(
        "you returned a tensor: a float was asked for",
        caught_by="test_a_gradient_is_a_tensor_until_you_ask_for_its_number",
        gradient_at=_the_tensor,
    ),
    Mistake(
        "torch.autograd.grad returns a tuple",
        caught_by="test_a_gradient_is_a_tensor_until_you_ask_for_its_number",
        gradient_at=_the_tuple,
    ),
    Mistake(
        _FRESH,
        caught_by="test_grad_adds_up_on_a_leaf_that_is_kept",
        gradient_at=_kept_leaf,
    ),
    Mistake(
        _FRESH,
        caught_by="test_grad_adds_up_on_a_leaf_that_is_kept",
        gradient_at=_one_leaf,
    ),
    Mistake(
        "you kept the graph of the first call",
        caught_by="test_only_the_branch_that_ran_is_differentiated",
        gradient_at=_kept_slope,
    ),
    Mistake(
        "f holds a Python `if`, and vmap cannot follow one",
        caught_by="test_only_the_branch_that_ran_is_differentiated",
        gradient_at=_batched,
    ),
    Mistake("with respect to the input x", caught_by=_EXACT, gradient_at=_of_the_result),
    Mistake("leaves the gradient on x, not on y", caught_by=_EXACT, gradient_at=_of_the_result_without_retain),
    Mistake(
        "you returned the value of f", caught_by=_EXACT, gradient_at=lambda f, x0: f(torch.tensor(float(x0))).item()
    ),
    Mistake("f(x) has no graph", caught_by=_EXACT, gradient_at=_outside_the_graph),
    Mistake("leaves the gradient on x, not on y", caught_by=_EXACT, gradient_at=_number_of_the_results_grad),
    Mistake("another tensor than the one whose gradient you ask for", caught_by=_EXACT, gradient_at=_another_leaf),
    Mistake("float32 gives seven digits", caught_by=_EXACT, gradient_at=_half_precision),
    Mistake("float32 gives seven digits", caught_by=_EXACT, gradient_at=lambda f, x0: round(gradient_at(f, x0), 8)),
    Mistake("float32 gives seven digits", caught_by=_EXACT, gradient_at=_rounded_difference),
    Mistake(
        "you gave the slope of the f before",
        caught_by="test_grad_adds_up_on_a_leaf_that_is_kept",
        gradient_at=_kept_by_place,
    ),
    Mistake("no finite difference, autograd is exact", caught_by=_EXACT, gradient_at=_difference),
    Mistake(
        "f takes a 0-d tensor",
        caught_by="test_the_input_is_a_tensor_without_dimensions",
        gradient_at=_one_dimension,
    ),
]
