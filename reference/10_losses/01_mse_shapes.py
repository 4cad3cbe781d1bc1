"""A mean squared error that refuses to broadcast: reference.

Hint: What must be true of the two shapes before anything is computed? Say so with `raise`, not with a warning.
Hint: `pred.shape != target.shape`; `F.mse_loss` knows the three reductions, and raises for another one.
Hint: For the column think of `reshape`, where -1 stands for whatever fits, and of `Tensor.to` for the dtype.

Why: A loss is the one place where predictions and labels meet, so it is the place to insist on their shapes. Over all
pairs, the best constant prediction is the mean of the labels, and any dependence on x only adds to the loss: so the
weight goes to 0. `reshape(-1, 1)` makes the same of (N,) and of (N, 1), and of a batch of one as well, which neither
`unsqueeze` nor `squeeze` does.
"""

import torch
import torch.nn.functional as F

from dojo import Mistake


def mse(pred: torch.Tensor, target: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    if pred.shape != target.shape:
        raise ValueError(f"pred {tuple(pred.shape)} and target {tuple(target.shape)} differ in shape")
    return F.mse_loss(pred, target, reduction=reduction)


def as_column(y: torch.Tensor) -> torch.Tensor:
    return y.reshape(-1, 1).to(torch.float32)


def _checked(pred, target):
    if pred.shape != target.shape:
        raise ValueError("shapes differ")
    return (pred - target) ** 2


def _only_the_call(pred, target, reduction="mean"):
    return F.mse_loss(pred, target, reduction=reduction)


def _squeezes(pred, target, reduction="mean"):
    return mse(pred.squeeze(), target.squeeze(), reduction)


def _views(pred, target, reduction="mean"):
    return mse(pred, target.view_as(pred), reduction) if pred.numel() == target.numel() else mse(pred, target)


def _expands(pred, target, reduction="mean"):
    try:
        return mse(pred, target.expand_as(pred), reduction)
    except RuntimeError as error:
        raise ValueError("shapes differ") from error


def _counts_elements(pred, target, reduction="mean"):
    if pred.numel() != target.numel():
        raise ValueError("sizes differ")
    return F.mse_loss(pred, target, reduction=reduction)


def _counts_dims(pred, target, reduction="mean"):
    if pred.dim() != target.dim():
        raise ValueError("dims differ")
    return F.mse_loss(pred, target, reduction=reduction)


def _compares_lengths(pred, target, reduction="mean"):
    if pred.dim() != target.dim() or pred.dim() and len(pred) != len(target):
        raise ValueError("batches differ")
    return F.mse_loss(pred, target, reduction=reduction)


def _only_of_a_mean(pred, target, reduction="mean"):
    if reduction == "mean" and pred.shape != target.shape:
        raise ValueError("shapes differ")
    return F.mse_loss(pred, target, reduction=reduction)


def _asserts(pred, target, reduction="mean"):
    assert pred.shape == target.shape, "shapes differ"
    return F.mse_loss(pred, target, reduction=reduction)


def _root(pred, target, reduction="mean"):
    return mse(pred, target, reduction).sqrt()


def _absolute(pred, target, reduction="mean"):
    mse(pred, target, reduction)
    return F.l1_loss(pred, target, reduction=reduction)


def _half(pred, target, reduction="mean"):
    return mse(pred, target, reduction) / 2


def _expanded(pred, target, reduction="mean"):
    """The square of a difference, as in school."""
    squares = _checked(pred, target) * 0 + pred**2 - 2 * pred * target + target**2
    return {"none": squares, "sum": squares.sum(), "mean": squares.mean()}.get(reduction, mse(pred, target, reduction))


def _divides_by_length(pred, target, reduction="mean"):
    if reduction != "mean":
        return mse(pred, target, reduction)
    return mse(pred, target, "sum") / (len(pred) * (pred.shape[1] if pred.dim() > 1 else 1))


def _by_batch(pred, target, reduction="mean"):
    squares = mse(pred, target, "none")
    return squares.sum() / len(pred) if reduction == "mean" else mse(pred, target, reduction)


def _mean_of_dim_0(pred, target, reduction="mean"):
    squares = mse(pred, target, "none")
    return squares.mean(0) if reduction == "mean" else mse(pred, target, reduction)


def _anything_else_is_the_mean(pred, target, reduction="mean"):
    squares = _checked(pred, target)
    return squares if reduction == "none" else squares.sum() if reduction == "sum" else squares.mean()


def _by_name(pred, target, reduction="mean"):
    return {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction](_checked(pred, target))


def _any_case(pred, target, reduction="mean"):
    return mse(pred, target, reduction.lower())


def _sum_by_default(pred, target, reduction="sum"):
    return mse(pred, target, reduction)


def _number(pred, target, reduction="mean"):
    loss = mse(pred, target, reduction)
    return loss if reduction == "none" else loss.item()


def _number_in_a_tensor(pred, target, reduction="mean"):
    loss = mse(pred, target, reduction)
    return loss if reduction == "none" else torch.tensor(loss.item(), dtype=pred.dtype)


def _none_only_to_look_at(pred, target, reduction="mean"):
    loss = mse(pred, target, reduction)
    return loss.detach() if reduction == "none" else loss


def _in_place(pred, target, reduction="mean"):
    mse(pred, target, reduction)
    with torch.no_grad():
        pred -= target
    return mse(pred, torch.zeros_like(pred), reduction)


def _in_float32(pred, target, reduction="mean"):
    return mse(pred.float(), target.float(), reduction).to(pred.dtype)


class _TwiceTheSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pred, target, reduction):
        ctx.save_for_backward(pred - target)
        return mse(pred, target, reduction)

    @staticmethod
    def backward(ctx, grad_output):
        (difference,) = ctx.saved_tensors
        return 2 * difference * grad_output, None, None


def _unsqueezed(y):
    return y.float().unsqueeze(1)


def _squeezed_first(y):
    return y.squeeze().to(torch.float32)[:, None]


def _only_if_flat(y):
    return y.float().unsqueeze(-1) if y.dim() == 1 else y


def _default(y):
    return y.reshape(-1, 1).to(torch.get_default_dtype())


def _if_int(y):
    y = y.reshape(-1, 1)
    return y if y.is_floating_point() else y.to(torch.float32)


def _in_place_column(y):
    return (y.unsqueeze_(1) if y.dim() == 1 else y).float()


def _through_a_list(y):
    return torch.tensor(y.tolist()).reshape(-1, 1)


def _without_the_nans(pred, target, reduction="mean"):
    squares = mse(pred, target, reduction="none")
    return {"mean": squares.nanmean, "sum": squares.nansum, "none": lambda: squares}.get(
        reduction, lambda: mse(pred, target, reduction)
    )()


_MEAN = "test_the_mean_is_over_all_elements"
_SHAPES = "test_shapes_that_differ_are_an_error_even_if_they_broadcast"
_GRADIENT = "test_the_gradient_is_twice_the_difference_over_the_number_of_elements"
_COLUMN = "test_labels_become_a_float_column"
_LEARNS = "test_with_broadcasting_a_model_learns_the_mean_of_the_labels"
_BROADCAST = "a perfect prediction, (3, 1) beside (3,): broadcast to 3 x 3"

KEEP = {_LEARNS: "it is the damage itself: what training does without the two functions, and with them"}

MISTAKES = [
    Mistake("one prediction is nan, so their mean is nan", caught_by=_MEAN, mse=_without_the_nans),
    Mistake("the root of the squares was taken", caught_by=_MEAN, mse=_root),
    Mistake("of the squares 0, 4 and 16", caught_by=_MEAN, mse=_absolute),
    Mistake("of the squares 0, 4 and 16", caught_by=_MEAN, mse=_half),
    Mistake("with reduction=mean (the default)", caught_by=_MEAN, mse=_sum_by_default),
    Mistake("first the difference, then its square", caught_by=_MEAN, mse=_expanded),
    Mistake("mse raised, for two tensors of shape ()", caught_by=_MEAN, mse=_divides_by_length),
    Mistake("12: the sum was divided by the batch", caught_by=_MEAN, mse=_by_batch),
    Mistake("the mean of twelve squares", caught_by=_MEAN, mse=_mean_of_dim_0),
    Mistake("reduction='average' is none of the three", caught_by=_MEAN, mse=_anything_else_is_the_mean),
    Mistake("reduction='average' is none of the three", caught_by=_MEAN, mse=_by_name),
    Mistake("reduction='Mean' is none of the three", caught_by=_MEAN, mse=_any_case),
    Mistake("mse returns a tensor, got float", caught_by=_MEAN, mse=_number),
    Mistake("mse changes no argument", caught_by=_MEAN, mse=_in_place),
    Mistake("of the squares 0, 4 and 16", caught_by=_MEAN, mse=_in_float32),
    Mistake(_BROADCAST, caught_by=_SHAPES, mse=_only_the_call),
    Mistake(_BROADCAST, caught_by=_SHAPES, mse=_squeezes),
    Mistake(_BROADCAST, caught_by=_SHAPES, mse=_views),
    Mistake(_BROADCAST, caught_by=_SHAPES, mse=_counts_elements),
    Mistake(_BROADCAST, caught_by=_SHAPES, mse=_asserts),
    Mistake("pred (8, 18) and target (1, 18) differ in shape", caught_by=_SHAPES, mse=_expands),
    Mistake("pred (8, 18) and target (1, 18) differ in shape", caught_by=_SHAPES, mse=_counts_dims),
    Mistake("pred (3, 1) and target (3, 4) differ in shape", caught_by=_SHAPES, mse=_compares_lengths),
    Mistake("(1, 18) differ in shape, reduction='sum'", caught_by=_SHAPES, mse=_only_of_a_mean),
    Mistake("the loss hangs on no graph", caught_by=_GRADIENT, mse=_none_only_to_look_at),
    Mistake("the loss hangs on no graph", caught_by=_GRADIENT, mse=_number_in_a_tensor),
    Mistake(
        "the loss hangs on no graph", caught_by=_GRADIENT, mse=lambda p, t, reduction="mean": mse(p.data, t, reduction)
    ),
    Mistake(
        "the gradient, reduction='mean'",
        caught_by=_GRADIENT,
        mse=lambda p, t, reduction="mean": _TwiceTheSlope.apply(p, t, reduction),
    ),
    Mistake("expected the shape (4, 1), got (4, 1, 1)", caught_by=_COLUMN, as_column=_unsqueezed),
    Mistake("as_column raised, for y of shape (1,)", caught_by=_COLUMN, as_column=_squeezed_first),
    Mistake("expected float32, got torch.int64", caught_by=_COLUMN, as_column=_only_if_flat),
    Mistake("expected float32, got torch.int64", caught_by=_COLUMN, as_column=lambda y: y.reshape(-1, 1)),
    Mistake("expected float32, got torch.int64", caught_by=_COLUMN, as_column=_through_a_list),
    Mistake("expected float32, got torch.float64", caught_by=_COLUMN, as_column=_default),
    Mistake("expected float32, got torch.float64", caught_by=_COLUMN, as_column=_if_int),
    Mistake("expected the shape (4, 1), got (1, 4)", caught_by=_COLUMN, as_column=lambda y: y.float().reshape(1, -1)),
    Mistake("expected the shape (4, 1), got (4,)", caught_by=_COLUMN, as_column=lambda y: y.float().flatten()),
    Mistake("as_column changes nothing of y", caught_by=_COLUMN, as_column=_in_place_column),
]
