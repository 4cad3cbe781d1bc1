"""Where does not stop NaN: reference.

Hint: Look at what goes *into* the root and the quotient. No branch may ever see an input without a finite derivative.
Hint: Use `torch.where` twice: once on the input, to make it harmless, and once on the output, to choose.
Hint: Keep the condition in a variable, put 1 in the places where it fails, compute, and put 0 in the same places.

Why: `where` passes a gradient of 0, not no gradient, to the branch that was not taken, and 0 times an infinite
derivative is NaN. With a harmless input the derivative is finite, and 0 times it is 0. An eps hides the NaN, but the
values are then wrong, and for small numbers very wrong. (`clamp(min=0).sqrt()` depends on the version: its gradient
at 0 was inf up to torch 2.13, and is 0 today.)
"""

import torch

from dojo import Mistake


def safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def safe_div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    zero = b == 0
    return torch.where(zero, 0.0, a / torch.where(zero, 1.0, b))


def picture(solution):
    from dojo.kit import pictures

    places = torch.arange(-16, 17) / 8  # 0 is one of them

    def with_slopes(f):
        """f at each place, and its gradient there."""
        x = places.clone().requires_grad_()
        y = f(x)
        return y.detach(), torch.autograd.grad(y.sum(), x)[0]

    functions = {
        "safe_sqrt": solution.safe_sqrt,
        "where(x > 0, x.sqrt(), 0)": lambda x: torch.where(x > 0, x.sqrt(), 0.0),
        "safe_div": lambda b: solution.safe_div(torch.ones_like(b), b),
        "where(b == 0, 0, 1 / b)": lambda b: torch.where(b == 0, 0.0, 1 / b),
    }
    drawn = {name: with_slopes(f) for name, f in functions.items()}
    names = list(drawn)
    nans = {name: int(slopes.isnan().sum()) for name, (_, slopes) in drawn.items()}

    figure = pictures.figure(6, 4.6)
    axes = figure.subplots(2, 2, sharex=True)
    for column, (safe, naive) in zip(axes.T, [names[:2], names[2:]]):
        for place, ours, theirs in zip(column, drawn[safe], drawn[naive]):
            place.plot(places, theirs, "o", color=pictures.ORANGE, markersize=6, fillstyle="none", label=naive)
            place.plot(places, ours, ".", color=pictures.BLUE, markersize=5, label=safe)
        lost = places[drawn[naive][1].isnan()]
        bottom = torch.full_like(lost, column[1].get_ylim()[0])
        (crosses,) = column[1].plot(lost, bottom, "x", color=pictures.ORANGE)
        variable, free = ("x", ["upper left"] * 2) if safe == "safe_sqrt" else ("b", ["lower right", "center right"])
        pictures.tidy(column[0], "", "value")
        pictures.tidy(column[1], variable, f"gradient of {variable}")
        column[0].legend(frameon=False, fontsize=8, handletextpad=0, loc=free[0])
        column[1].legend([crosses], ["where: NaN"], frameon=False, fontsize=9, handletextpad=0, loc=free[1])
    gap = max((drawn[safe][0] - drawn[naive][0]).abs().max().item() for safe, naive in [names[:2], names[2:]])
    steepest = {name: slopes.abs().max().item() for name, (_, slopes) in drawn.items()}
    root, naive_root, quotient, naive_quotient = nans.values()
    return pictures.Picture(
        figure,
        f"The values differ by {gap:.2g} at most. But the gradient of where(x > 0, x.sqrt(), 0) is NaN at {naive_root} "
        f"of {len(places)} places, that of where(b == 0, 0, 1 / b) at {naive_quotient}. Those of safe_sqrt and "
        f"safe_div: NaN at {root} and {quotient}, elsewhere at most {steepest['safe_sqrt']:.3g} and "
        f"{steepest['safe_div']:.3g}.",
        {
            "places": places,
            "nans": nans,
            "values": {name: y for name, (y, _) in drawn.items()},
            "safe_gradients": [drawn["safe_sqrt"][1], drawn["safe_div"][1]],
        },
    )


def _sqrt_in_place(x):
    x[x < 0] = 0
    return torch.where(x > 0, x, 0.0).sqrt()


def _div_with_a_written(a, b):
    a[b == 0] = 0
    return a / torch.where(b == 0, 1.0, b)


def _sqrt_from_a_tiny_bound(x):
    return torch.where(x > 0, x.clamp(min=1e-12).sqrt(), 0.0)


def _sqrt_without_graph(x):
    with torch.no_grad():
        return torch.where(x > 0, x.sqrt(), 0.0)


def _div_in_place(a, b):
    zero = b == 0
    b[zero] = 1.0
    return (a / b).masked_fill(zero, 0.0)


_ROOT = "test_the_root_of_nothing_is_zero"
_ROOT_GRAD = "test_where_does_not_stop_the_nan_of_the_other_branch"
_DIV = "test_division_by_zero_is_zero"
_B_GRAD = "test_the_denominator_gets_a_finite_gradient"
_A_GRAD = "test_the_numerator_gets_a_finite_gradient"
_NAN = "0 * inf is NaN"

MISTAKES = [
    Mistake(
        "the root also for tiny x, in the dtype of x, and no eps",
        caught_by=_ROOT,
        safe_sqrt=lambda x: x.clamp(min=1e-8).sqrt() * (x > 0),
    ),
    Mistake(
        "the root also for tiny x, in the dtype of x, and no eps",
        caught_by=_ROOT,
        safe_sqrt=lambda x: torch.where(x > 0, x, 0.0).float().sqrt(),
    ),
    Mistake(_NAN, caught_by=_ROOT_GRAD, safe_sqrt=lambda x: torch.where(x > 0, x.sqrt(), 0.0)),
    Mistake(_NAN, caught_by=_ROOT_GRAD, safe_sqrt=lambda x: x.sqrt().nan_to_num(0.0)),
    Mistake(
        "the gradient of x is infinite",
        caught_by=_ROOT_GRAD,
        safe_sqrt=lambda x: torch.maximum(x, torch.tensor(0.0)).sqrt(),
    ),
    Mistake("your result has no graph", caught_by=_ROOT_GRAD, safe_sqrt=_sqrt_without_graph),
    Mistake("expected the dtype of the input", caught_by=_ROOT_GRAD, safe_sqrt=lambda x: safe_sqrt(x.double())),
    Mistake("expected the dtype of the input", caught_by=_B_GRAD, safe_div=lambda a, b: safe_div(a.double(), b)),
    Mistake("you wrote into a leaf that requires grad", caught_by=_ROOT_GRAD, safe_sqrt=_sqrt_in_place),
    Mistake("safe_sqrt must not change x", caught_by=_ROOT, safe_sqrt=_sqrt_in_place),
    Mistake("no eps", caught_by=_ROOT, safe_sqrt=lambda x: (x.relu() + 1e-8).sqrt()),
    Mistake("no eps", caught_by=_ROOT, safe_sqrt=lambda x: x.clamp(min=1e-12).sqrt()),
    Mistake("no eps", caught_by=_ROOT, safe_sqrt=lambda x: torch.where(x > 0, (x.relu() + 1e-8).sqrt(), 0.0)),
    Mistake("the root of a negative number came through", caught_by=_ROOT, safe_sqrt=lambda x: x.sqrt()),
    Mistake("0 where x <= 0", caught_by=_ROOT, safe_sqrt=lambda x: torch.where(x == 0, 1.0, x).abs().sqrt() * (x != 0)),
    Mistake(_NAN, caught_by=_B_GRAD, safe_div=lambda a, b: torch.where(b == 0, 0.0, a / b)),
    Mistake(_NAN, caught_by=_A_GRAD, safe_div=lambda a, b: torch.where(b == 0, 0.0, a / b)),
    Mistake(_NAN, caught_by=_B_GRAD, safe_div=lambda a, b: a * torch.where(b == 0, 0.0, 1 / b)),
    Mistake(
        "your result has no graph",
        caught_by=_A_GRAD,
        safe_div=lambda a, b: torch.where(b == 0, 0.0, a.detach() / torch.where(b == 0, 1.0, b)),
    ),
    Mistake("negative and tiny b", caught_by=_DIV, safe_div=lambda a, b: a / b.clamp(min=1e-8)),
    Mistake("safe_div must not change a or b", caught_by=_DIV, safe_div=_div_with_a_written),
    Mistake("and no eps", caught_by=_ROOT, safe_sqrt=_sqrt_from_a_tiny_bound),
    Mistake("and no eps", caught_by=_ROOT, safe_sqrt=lambda x: safe_sqrt(x.float()).to(x.dtype)),
    Mistake("negative and tiny b", caught_by=_DIV, safe_div=lambda a, b: safe_div(a.float(), b.float()).to(a.dtype)),
    Mistake(
        "negative and tiny b",
        caught_by=_DIV,
        safe_div=lambda a, b: torch.where(b.abs() < 1e-12, 0.0, a / torch.where(b.abs() < 1e-12, 1.0, b)),
    ),
    Mistake(
        "your result has no graph",
        caught_by=_B_GRAD,
        safe_div=lambda a, b: torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b.data)),
    ),
    Mistake("negative and tiny b", caught_by=_DIV, safe_div=lambda a, b: a / (b + 1e-8)),
    Mistake(
        "negative and tiny b",
        caught_by=_DIV,
        safe_div=lambda a, b: torch.where(b == 0, 0.0, a / (b + 1e-8)),
    ),
    Mistake("1/0 or 0/0 came through", caught_by=_DIV, safe_div=lambda a, b: a / b),
    Mistake("0 where b is 0", caught_by=_DIV, safe_div=lambda a, b: a / torch.where(b == 0, 1.0, b)),
    Mistake("safe_div must not change a or b", caught_by=_DIV, safe_div=_div_in_place),
    Mistake("you wrote into a leaf that requires grad", caught_by=_B_GRAD, safe_div=_div_in_place),
]
