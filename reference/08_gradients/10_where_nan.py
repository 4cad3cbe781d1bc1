"""torch.where does not hide a bad gradient: reference.

Hint: Backward visits both branches everywhere. What must be true of the input of sqrt, so that no slope is infinite?
Hint: `torch.where` twice: once before the root, to replace what is not positive by a harmless number, once after. For
    the distance: torch has norms that know about 0 (`torch.linalg.vector_norm`).
Hint: Keep the mask x > 0 in a name. Where it is False, let sqrt see a 1 in place of x, and let the result be 0.

Why: where's backward multiplies nothing: it routes the upstream gradient to the chosen branch and sends 0 to the other;
then sqrt's backward computes 0 / (2 * 0) = nan. With the harmless input it computes 0 / 2. Mind where the mask sits:
relu(x).sqrt() has the gradient 0 at 0, because relu's backward comes *after* that of sqrt and selects, it does not
multiply. The norms define their gradient at 0 as 0, which a sqrt written by hand cannot know.
"""

import torch

from dojo import Mistake


def safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    positive = x > 0
    harmless = torch.where(positive, x, 1.0)
    return torch.where(positive, harmless.sqrt(), 0.0)


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(a - b, dim=1)


def _with_numbers(x):
    return torch.tensor([max(v, 0.0) ** 0.5 for v in x.flatten().tolist()], dtype=x.dtype).view(x.shape)


def _float32_zeros(x):
    out = torch.where(x > 0, torch.where(x > 0, x, 1.0).sqrt(), torch.zeros(x.shape))
    return out.to(x.dtype) if x.dtype == torch.float64 else out


def _one_dimension_only(x):
    return torch.stack([v.sqrt() if v > 0 else 0 * v for v in x])


def _root_changed_in_place(x):
    root = torch.where(x > 0, x, 1.0).sqrt()
    root[x <= 0] = 0.0
    return root


def _shift_in_place(x):
    with torch.no_grad():
        x.clamp_(min=0)
    return safe_sqrt(x)


def _zero_below_a_millionth(x):
    mask = x > 1e-6
    return torch.where(mask, torch.where(mask, x, 1.0).sqrt(), 0.0)


def _zero_below_a_thousandth(a, b):
    square = (a - b).pow(2).sum(1)
    far = square > 1e-6
    return torch.where(far, torch.where(far, square, 1.0).sqrt(), 0.0)


def _difference_in_place(a, b):
    with torch.no_grad():
        a -= b
    return a.norm(dim=1)


def _clip_the_slope(x):
    alias = x.view_as(x)
    if alias.requires_grad:
        alias.register_hook(lambda grad: grad.clamp(-10, 10))
    return safe_sqrt(alias)


def _expanded_square(a, b):
    square = (a * a).sum(1) + (b * b).sum(1) - 2 * (a * b).sum(1)
    return safe_sqrt(square)


class _IgnoresUpstream(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0).sqrt()

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 0.5 / torch.where(x > 0, x, 1.0).sqrt(), 0.0)


_VALUE = "test_where_x_is_not_positive_the_root_is_zero"
_BOTH = "test_backward_goes_through_both_branches_of_where"
_UPSTREAM = "test_the_upstream_gradient_arrives_place_by_place"
_SMALL = "test_small_values_keep_their_steep_slope"
_ROW = "test_each_row_has_one_distance"
_MEET = "test_the_norm_has_no_slope_where_two_points_meet"

_BRANCHES = "differentiated wherever it was computed"

MISTAKES = [
    Mistake("exact in torch.float16", caught_by=_VALUE, safe_sqrt=_float32_zeros),
    Mistake(
        "for tensors of shape (30, 3)",
        caught_by="test_each_row_has_one_distance",
        distance=lambda a, b: torch.cdist(a, b).diagonal() if len(a) > 25 else distance(a, b),
    ),
    Mistake(_BRANCHES, caught_by=_BOTH, safe_sqrt=lambda x: torch.where(x > 0, x.sqrt(), torch.zeros_like(x))),
    Mistake(_BRANCHES, caught_by=_BOTH, safe_sqrt=lambda x: x.sqrt().nan_to_num()),
    Mistake(_BRANCHES, caught_by=_BOTH, safe_sqrt=lambda x: x.abs().sqrt() * (x > 0)),
    Mistake("the root of a negative number got through", caught_by=_VALUE, safe_sqrt=lambda x: (x + 1e-12).sqrt()),
    Mistake("the root of a negative number got through", caught_by=_VALUE, safe_sqrt=lambda x: x.sqrt() * (x > 0)),
    Mistake("and 0 elsewhere", caught_by=_VALUE, safe_sqrt=lambda x: x.abs().sqrt()),
    Mistake("and 0 elsewhere", caught_by=_VALUE, safe_sqrt=lambda x: torch.where(x > 0, x, 1.0).sqrt()),
    Mistake("and 0 elsewhere", caught_by=_VALUE, safe_sqrt=_zero_below_a_millionth),
    Mistake("safe_sqrt raised on a (2, 5) tensor", caught_by=_VALUE, safe_sqrt=_one_dimension_only),
    Mistake("changed a value that backward needs", caught_by=_UPSTREAM, safe_sqrt=_root_changed_in_place),
    Mistake("exact in torch.float64", caught_by=_VALUE, safe_sqrt=lambda x: safe_sqrt(x.float()).to(x.dtype)),
    Mistake("exact in torch.float32", caught_by=_VALUE, safe_sqrt=lambda x: (x.relu() + 1e-12).sqrt()),
    Mistake("safe_sqrt must not change x", caught_by=_VALUE, safe_sqrt=_shift_in_place),
    Mistake(
        "the slope should be 0",
        caught_by=_BOTH,
        safe_sqrt=lambda x: torch.where(x >= 0, torch.where(x >= 0, x + 1e-12, 1.0).sqrt(), 0.0),
    ),
    Mistake("no gradient", caught_by=_BOTH, safe_sqrt=_with_numbers),
    Mistake("the upstream weight times the slope", caught_by=_UPSTREAM, safe_sqrt=_IgnoresUpstream.apply),
    Mistake("is steep at small x", caught_by=_SMALL, safe_sqrt=lambda x: x.relu().add(1e-6).sqrt() - 1e-3),
    Mistake("is steep at small x", caught_by=_SMALL, safe_sqrt=_clip_the_slope),
    Mistake(
        "is steep at small x",
        caught_by=_SMALL,
        safe_sqrt=lambda x: torch.where(x > 1e-3, x.clamp(min=1e-3).sqrt(), x.relu() * 100),
    ),
    Mistake(
        "the slope inf at 0, and inf * 0 is nan", caught_by=_MEET, distance=lambda a, b: (a - b).pow(2).sum(1).sqrt()
    ),
    Mistake("it should be 0 where two points meet", caught_by=_MEET, distance=torch.nn.functional.pairwise_distance),
    Mistake("no gradient for b", caught_by=_MEET, distance=lambda a, b: distance(a, b.detach())),
    Mistake("one number per row", caught_by=_ROW, distance=lambda a, b: (a - b).norm(dim=1).squeeze()),
    Mistake("one number per row", caught_by=_ROW, distance=_expanded_square),
    Mistake("one number per row", caught_by=_ROW, distance=_zero_below_a_thousandth),
    Mistake("one number per row", caught_by=_ROW, distance=lambda a, b: (a - b).norm()),
    Mistake(
        "of shape (2, 2) and torch.float64",
        caught_by=_ROW,
        distance=lambda a, b: distance(a.float(), b.float()).to(a.dtype),
    ),
    Mistake("distance must not change a and b", caught_by=_ROW, distance=_difference_in_place),
    Mistake("one number per row", caught_by=_ROW, distance=lambda a, b: (a - b).norm(dim=0)),
    Mistake("one number per row", caught_by=_ROW, distance=lambda a, b: torch.cdist(a, b)),
    Mistake("one number per row", caught_by=_ROW, distance=lambda a, b: (a - b).pow(2).sum(1)),
]
