"""Class weights and label smoothing: the two knobs of cross-entropy

Rare classes get larger weights: `nn.CrossEntropyLoss(weight=w)` multiplies the loss of each row by the weight of its
true class. But then it does not divide by the number of rows: it divides by the sum of those weights. It is a weighted
mean. So all weights times ten changes nothing, and in a batch of one row the weights cancel out: whoever accumulates
gradients over batches of one trains without weights, and nobody says so. Your own `(loss * w[y]).mean()` has another
size, and so needs another learning rate.

Which weights? The usual "balanced" ones are N / (C · count): N labels, C classes, `count` of this class. Each class
then has the same total weight N / C, and the average label has the weight 1. `torch.bincount` counts labels.

Label smoothing asks for a little less than certainty: a share eps of the target is spread over *all* C classes evenly,
the true one included. For eps = 0.1 and 3 classes the true class gets 0.9333 and not 0.9, each other one 0.0333.
`F.cross_entropy` (F is `torch.nn.functional`) takes such rows of probabilities as targets, or `label_smoothing=0.1`.

What is asked here: the weighted loss, smoothed targets, balanced weights. Any function of torch may be used.

About 25 minutes. Before it: one_per_row, group_sums, cross_entropy_by_hand.

https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

import contextlib
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def weighted_ce(logits: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The weighted mean of the rows' cross-entropies, each with the weight `w[class]` of its true class.

    `logits` is float32 or float64 of shape (N, C), its scores may be far apart; `y` int64 (N,), classes 0 to C-1; `w`
    (C,) in the dtype of `logits`, not negative, and not 0 for all of `y`. The result is 0-d, in that dtype, and can be
    differentiated with respect to the scores. The arguments stay as they are.
    """
    raise NotImplementedError("the weighted mean of the cross-entropies")


def smooth_targets(y: torch.Tensor, C: int, eps: float) -> torch.Tensor:
    """Rows of probabilities (N, C), float32 or float64: the share `eps`, 0 to 1, spread evenly over all `C` classes.

    The true class gets the rest as well. `y` is int64 of shape (N,), and stays as it is; not all classes need occur.
    """
    raise NotImplementedError("one row of target probabilities for each label")


def balanced_weights(labels: torch.Tensor, C: int) -> torch.Tensor:
    """N / (C · count) for each of `C` classes: shape (C,), float32 or float64.

    `labels` is int64 of shape (N,), in any order. It stays as it is. Where a class does not occur, its own weight is
    yours to choose, or you raise a ZeroDivisionError.
    """
    raise NotImplementedError("one weight for each class")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {"leaf Variable": "an argument is edited in place: it is a leaf, and it is the caller's"}


def _weighted(logits: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """weighted_ce(...), where that is a tensor, and its arguments are as they were."""
    __tracebackhide__ = True
    with explain(f"weighted_ce raised on logits of {tuple(logits.shape)} and weights {w.tolist()}", _SIGNS):
        with unchanged("weighted_ce changed what it was given", logits=logits, y=y, w=w):
            loss = weighted_ce(logits, y, w)
    assert isinstance(loss, torch.Tensor), f"expected the loss as a tensor, got {type(loss).__name__}"
    return loss


def _is_none_of(loss: torch.Tensor, known: dict[str, Any]) -> None:
    """`loss` is none of these values, each of which is what a known mistake gives."""
    __tracebackhide__ = True
    for sentence, value in known.items():
        same = loss.numel() == 1 and math.isclose(loss.item(), float(value), rel_tol=1e-5)
        assert not same, f"got {loss.item():.4f}: {sentence}"


def _smooth(y: list[int], classes: int, eps: float) -> torch.Tensor:
    """smooth_targets(...) in float64, where that is a float tensor."""
    __tracebackhide__ = True
    labels = torch.tensor(y)
    with explain(f"smooth_targets raised on labels {y} of {classes} classes", _SIGNS):
        with unchanged("smooth_targets changed the labels", y=labels):
            rows = smooth_targets(labels, classes, eps)
    assert isinstance(rows, torch.Tensor), f"expected the targets as a tensor, got {type(rows).__name__}"
    floats = (torch.float32, torch.float64)
    assert rows.dtype in floats, f"probabilities are floats, float32 or float64, got {rows.dtype}"
    return rows.detach().double()


def test_the_weighted_mean_divides_by_the_weights_of_the_targets():
    logits = torch.tensor([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0], [2.0, 2.0, 4.0], [1.0, 6.0, 1.0]]).log()
    y, w = torch.tensor([2, 1, 0, 1]), torch.tensor([4.0, 0.5, 10.0])
    each = F.cross_entropy(logits, y, reduction="none")
    loss = _weighted(logits, y, w)
    known = {
        "that is the mean over the rows: divide by the weights of the targets": (each * w[y]).mean(),
        "that is the sum, divide it by the weights of the targets": (each * w[y]).sum(),
        "that is divided by all weights in w, not by one for each target": (each * w[y]).sum() / w.sum(),
        "that is divided by N and by the mean of w": (each * w[y]).mean() / w.mean(),
        "the weights were multiplied into the scores": F.cross_entropy(logits * w, y),
        "the weights were added to the scores, as logarithms": F.cross_entropy(logits + w.log(), y),
        "the weights had no influence": each.mean(),
        "row i was given w[i], but the weights belong to classes": (each[:3] * w).sum() / w.sum(),
    }
    _is_none_of(loss, known)
    costs = [(10.0, 5 / 8), (0.5, 1 / 8), (4.0, 2 / 8), (0.5, 6 / 8)]
    want = -sum(weight * math.log(p) for weight, p in costs) / sum(weight for weight, _ in costs)
    check_tensor(loss, torch.tensor(want), "the p are 5/8, 1/8, 2/8, 6/8, the weights 10, .5, 4, .5", rtol=1e-5)
    torch.manual_seed(20)
    logits = torch.randn(20, 4, dtype=torch.float64) * 3
    logits[7] = torch.tensor([2000.0, 0.0, -2000.0, 1.0])  # of class 1
    y, w = torch.arange(20) * 3 % 4, torch.tensor([0.1, 3.0, 0.0, 1e3], dtype=torch.float64)
    want = F.cross_entropy(logits.clone(), y, weight=w)
    check_tensor(_weighted(logits, y, w), want, "20 rows, one weight is 0, as exact as float64", rtol=1e-9)


@pytest.mark.myth(
    says="weight=[1, 10] makes each mistake in class 1 cost ten times as much.",
    today="The mean divides by the weights of the batch: in a batch of one class they cancel out.",
)
def test_weights_cancel_in_a_single_row_and_their_scale_does_nothing():
    logits = torch.tensor([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0], [2.0, 3.0, 3.0]]).log()
    y, w = torch.tensor([0, 1, 2]), torch.tensor([0.25, 5.0, 3.0])
    for i in range(3):
        want = F.cross_entropy(logits[i : i + 1], y[i : i + 1])
        said = f"a single row of class {i} costs the same with any weight"
        check_tensor(_weighted(logits[i : i + 1], y[i : i + 1], w), want, said, rtol=1e-5)
    plain = F.cross_entropy(logits, y)
    check_tensor(_weighted(logits, y, torch.ones(3)), plain, "weights of 1 are the plain mean", rtol=1e-5)
    want = F.cross_entropy(logits, y, weight=w)
    for scale in (10.0, 1e-3):
        said = f"all weights times {scale:g} is the same weighted mean"
        check_tensor(_weighted(logits, y, scale * w), want, said, rtol=1e-4)


def test_the_gradient_of_a_row_has_its_share_of_the_weights():
    logits = torch.tensor([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]], dtype=torch.float64).log().requires_grad_()
    y, w = torch.tensor([2, 1]), torch.tensor([9.0, 3.0, 1.0], dtype=torch.float64)
    loss = _weighted(logits, y, w)
    assert loss.requires_grad, "the loss is cut from the scores: nothing can learn from it"
    with explain("the backward of the loss raised"):
        (loss * -8).backward()
    assert logits.grad is not None, "no gradient reached the scores"
    error = torch.tensor([[1.0, 2.0, -3.0], [6.0, -7.0, 1.0]], dtype=torch.float64) / 8
    want = -8 * error * torch.tensor([[1 / 4], [3 / 4]], dtype=torch.float64)
    said = "the weights 1 and 3 are shares of 1/4 and 3/4 of the gradient, times -8 from above"
    check_tensor(logits.grad, want, said, rtol=1e-8)


@pytest.mark.myth(
    says="With a label smoothing of 0.1 the true class has the target 0.9.",
    today="0.1 is spread over all classes, the true one too: it has 0.9 + 0.1 / C.",
)
def test_the_true_class_also_gets_its_part_of_the_smoothing():
    rows = _smooth([0, 2], 3, 0.1)
    want = torch.tensor([[14.0, 0.5, 0.5], [0.5, 0.5, 14.0]]).double() / 15
    assert rows.shape == want.shape, f"one row for each label: expected shape (2, 3), got {tuple(rows.shape)}"
    others_only = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.05, 0.9]]).double()
    same = torch.allclose(rows, others_only, rtol=1e-5)
    assert not same, "that is eps / (C - 1) for the others: the true class also gets eps / C"
    sums = rows.sum(1).tolist()
    assert all(abs(s - 1) < 1e-5 for s in sums), f"each row is a distribution and sums to 1, got {sums}"
    check_tensor(rows, want, "0.1 in three parts is .0333, and the true class has .9 more", rtol=1e-5)
    certain = torch.tensor([[0.0, 0, 0, 1], [0, 1, 0, 0]]).double()
    check_tensor(_smooth([3, 1], 4, 0.0), certain, "eps 0 leaves the labels alone", atol=1e-6)
    rows = _smooth([3, 0], 4, 1.0)
    check_tensor(rows, torch.full((2, 4), 0.25).double(), "eps 1 leaves nothing of the label", rtol=1e-5, atol=1e-7)


def test_cross_entropy_with_smoothed_targets_is_label_smoothing():
    torch.manual_seed(5)
    for y, classes, eps in (([4, 0, 1, 1], 5, 0.1), ([2, 0, 1], 3, 0.35), ([1, 0, 1, 1, 0], 7, 0.2)):
        logits = torch.randn(len(y), classes, dtype=torch.float64) * 2
        want = F.cross_entropy(logits, torch.tensor(y), label_smoothing=eps)
        rows = _smooth(y, classes, eps)
        assert rows.shape == logits.shape, f"expected shape {tuple(logits.shape)}, got {tuple(rows.shape)}"
        said = f"labels {y} of {classes} classes: the loss is that of label_smoothing={eps}"
        check_tensor(F.cross_entropy(logits, rows), want, said, rtol=1e-5)


def test_balanced_weights_give_each_class_the_same_total():
    for labels, want in (
        ([0, 0, 0, 1], [4 / 6, 2.0]),
        ([2, 0, 2, 2, 1, 2, 0, 2, 2, 2], [10 / 6, 10 / 3, 10 / 21]),
        ([1, 0, 2], [1.0, 1.0, 1.0]),
    ):
        y, classes = torch.tensor(labels), len(want)
        with explain(f"balanced_weights raised on {labels}", _SIGNS):
            with unchanged("balanced_weights changed the labels", labels=y):
                got = balanced_weights(y, classes)
        assert isinstance(got, torch.Tensor), f"expected the weights as a tensor, got {type(got).__name__}"
        floats = (torch.float32, torch.float64)
        assert got.dtype in floats, f"weights are floats, float32 or float64, got {got.dtype}"
        count = torch.bincount(y).double()
        n, weights = len(labels), got.detach().double()
        known = {
            "these are the counts: a frequent class would count more": count,
            "these are the shares of the classes: a frequent class would count more": count / n,
            "that is 1 / count; times N / C the average label has the weight 1": 1 / count,
            "that is N / count; divided by C the average label has the weight 1": n / count,
            "they sum to 1; the average label should have the weight 1": 1 / count / (1 / count).sum(),
            "they sum to C; the average label should have the weight 1": classes / count / (1 / count).sum(),
            "that is the largest count / count": count.max() / count,
        }
        right = torch.tensor(want, dtype=torch.float64)
        for sentence, value in known.items():
            same = weights.shape == value.shape and torch.allclose(weights, value, rtol=1e-5)
            assert not same or torch.allclose(value, right), f"got {weights.tolist()} for {labels}: {sentence}"
        check_tensor(weights, right, f"N / (C * count) for the labels {labels}", rtol=1e-5)
    with contextlib.suppress(ZeroDivisionError):
        got = balanced_weights(torch.tensor([0, 0, 0, 1]), 4)
        shape = tuple(got.shape)
        assert shape == (4,), f"4 classes have 4 weights, also where only 0 and 1 occur: got the shape {shape}"
        check_tensor(got[:2].double(), torch.tensor([1 / 3, 1.0]).double(), "the classes that do occur", rtol=1e-5)
