"""Cross-entropy: from scores to a loss

A classifier's last layer gives a *score* (a logit) for each class: any number, large is likely. `log_softmax` along the
class dimension turns a row of scores into log-probabilities: all of them are ≤ 0, and their exp sums to 1.

The negative log-likelihood takes from each row the log-probability of the true class, changes its sign, and averages
over the rows. That is all: no logarithm, no absolute value. `F.nll_loss` (`torch.nn.functional` is called F) believes
whatever you give it: fed with probabilities, its "loss" is a negative number, which training can still push down.

`F.cross_entropy` is both steps in one, so it wants the raw scores. Put a softmax in front of it, as many programs do,
and nothing complains. But a score is now between 0 and 1, so for 10 classes the loss of a perfect answer is 1.46,
gradients are small, and people ask for years why their loss is stuck.

In which order you compute matters too: softmax first and log afterwards gives log(0) = -inf for a score of -200.
To pick one entry per row: `t.gather(1, index)`, or `t[rows, columns]` with rows = `torch.arange(N)`.

What is asked here: both losses, each a tensor without dimensions. Write them with any function of torch that you like.

About 20 minutes. Before it: one_per_row, stable_softmax.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def nll(log_probs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean over the rows of minus the entry of the true class.

    `log_probs` is float32 or float64 of shape (N, C), `y` int64 of shape (N,) with classes 0 to C-1. The entries are
    taken as they are, whatever their sign; an entry of another class may be -inf. The result is 0-d, in the dtype of
    `log_probs`, and can be differentiated. Both arguments stay as they are.
    """
    raise NotImplementedError("pick the true class of each row, negate, average")


def cross_entropy(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The nll of the log-softmax over the classes: the mean cross-entropy of the scores `logits`, shape (N, C).

    Scores may be as far apart as 1e30, and that of another class may be -inf. `y`, the result and the rest
    are as for `nll`.
    """
    raise NotImplementedError("log-softmax over the classes, then nll")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


# What people put into a logarithm, so that it is never of 0.
_EPSILONS = [10.0**-i for i in range(5, 46)] + [torch.finfo(torch.float32).eps, torch.finfo(torch.float32).tiny]
_SIGNS = {
    "leaf Variable": "one of the arguments is edited in place: it is a leaf, and it is the caller's",
    "numpy": "a tensor that requires grad does not go through numpy: stay in torch, or no gradient can come back",
}


def _name(function: Callable[..., Any]) -> str:
    return next(name for name in ("nll", "cross_entropy") if globals()[name] is function)


def _loss(function: Callable[..., Any], scores: torch.Tensor, y: torch.Tensor) -> Any:
    """function(scores, y), where that is a tensor."""
    __tracebackhide__ = True
    name, seen = _name(function), tuple(scores.shape)
    with explain(f"{name} raised on {scores.dtype} of shape {seen} with {y.tolist()} as classes", _SIGNS):
        with unchanged(f"{name} changed what it was given", scores=scores, y=y):
            loss = function(scores, y)
    assert isinstance(loss, torch.Tensor), f"expected the loss as a tensor, got {type(loss).__name__}"
    return loss


def _is_none_of(loss: torch.Tensor, known: dict[str, Any]) -> None:
    """`loss` is none of these values, each of which is what a known mistake gives."""
    __tracebackhide__ = True
    for sentence, value in known.items():
        same = loss.numel() == 1 and math.isclose(loss.item(), float(value), rel_tol=1e-5)
        assert not same, f"got {loss.item():.4f}: {sentence}"


def test_nll_picks_the_true_class_negates_and_averages():
    probs = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.125, 0.375, 0.5]])
    log_probs, y = probs.log(), torch.tensor([0, 1, 0, 2])
    loss = _loss(nll, log_probs, y)
    picked = log_probs[[0, 1, 2, 3], [0, 1, 0, 2]]
    _is_none_of(
        loss,
        {
            "that is the mean itself. The log of a probability is negative, and a loss is its opposite": picked.mean(),
            "that is the sum over the rows, not their mean": -picked.sum(),
            "that is the sum divided by all N * C entries, not by the N rows": -picked.sum() / 12,
            "log_probs[:, y] picks every label for every row; one is wanted per row": -log_probs[:, y].mean(),
            "that is for the most likely class of each row, not for the true one": -log_probs.max(1).values.mean(),
        },
    )
    want = torch.tensor(-math.log(0.5 * 0.7 * 0.2 * 0.5) / 4)
    check_tensor(loss, want, "minus the mean of log .5, log .7, log .2 and log .5", rtol=1e-5)
    for rows in (1, 3):
        log_probs = torch.linspace(-2.0, -0.1, 3 * rows, dtype=torch.float64).view(3, rows).t()
        y = torch.tensor([2, 0, 2])[:rows]
        want = -(sum(log_probs[i, k].item() for i, k in enumerate(y.tolist())) / rows)
        said = f"minus the mean of one entry for each of {rows} rows, as exact as float64"
        check_tensor(_loss(nll, log_probs, y), torch.tensor(want, dtype=torch.float64), said, rtol=1e-12)


@pytest.mark.myth(
    says="nll_loss takes the absolute value of the softmax value of the true class.",
    today="It takes log-probabilities and changes the sign: an entry of 2 gives a loss of -2.",
)
def test_nll_changes_the_sign_it_takes_no_absolute_value():
    entries, y = torch.tensor([[0.5, 2.0]]), torch.tensor([1])
    loss = _loss(nll, entries, y)
    known = {
        "nll changes the sign, it does not take absolute values": 2.0,
        "nll is given log-probabilities, and must not apply another softmax": F.cross_entropy(entries, y),
        "nll is given log-probabilities, and must not take another logarithm": -math.log(2),
        "a softmax was applied to what nll was given, it takes the entries as they are": -entries.softmax(1)[0, 1],
    }
    _is_none_of(loss, known)
    check_tensor(loss, torch.tensor(-2.0), "nll of the entries .5 and 2 with class 1 is -2")
    loss = _loss(nll, torch.tensor([[3.0, -4.0], [1.0, 5.0]]), torch.tensor([1, 0]))
    check_tensor(loss, torch.tensor(1.5), "minus the mean of -4 and 1 is 1.5", rtol=1e-6)
    loss = _loss(nll, torch.tensor([[-200.0, 0.0], [0.0, 1000.0]]), torch.tensor([0, 1]))
    check_tensor(loss, torch.tensor(-400.0), "minus the mean of -200 and 1000 is -400", rtol=1e-6)


def test_cross_entropy_wants_raw_scores():
    logits, y = torch.tensor([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0], [2.0, 2.0, 4.0]]).log(), torch.tensor([2, 1, 0])
    p, rows = logits.softmax(1), torch.arange(3)
    loss = _loss(cross_entropy, logits, y)
    known = {
        "that is nll of probabilities: their logarithm is missing": -p[rows, y].mean(),
        "that is nll of the raw scores: the log-softmax is missing": -logits[rows, y].mean(),
        "softmax was applied twice": F.cross_entropy(p, y),
        "the softmax went down the columns (dim 0): the classes of one row must add up": -logits.log_softmax(0)[
            rows, y
        ].mean(),
        "that is the sum over the rows, not their mean": -p.log()[rows, y].sum(),
        "that adds log(1 - p) of the other classes: cross-entropy looks at the true class only": F.binary_cross_entropy(
            p, F.one_hot(y, 3).float(), reduction="sum"
        )
        / 3,
    }
    _is_none_of(loss, known)
    check_tensor(loss, torch.tensor(-math.log(5 / 8 * 1 / 8 * 2 / 8) / 3), "the p are 5/8, 1/8 and 2/8", rtol=1e-5)
    for rows_, classes in ((5, 3), (4, 4), (1, 6), (3, 1)):
        torch.manual_seed(rows_)
        logits = torch.randn(classes, rows_, dtype=torch.float64).t() * 3
        y = torch.randint(classes, (rows_,))
        want, said = F.cross_entropy(logits.clone(), y), f"{rows_} rows of {classes} classes, as exact as float64"
        check_tensor(_loss(cross_entropy, logits, y), want, said, rtol=1e-9, atol=1e-12)


@pytest.mark.myth(
    says="The last layer of a classifier is a softmax, then comes nn.CrossEntropyLoss.",
    today="The softmax is in the loss. With another one before it, a perfect answer among 10 classes costs 1.46.",
)
def test_the_loss_of_a_sure_and_right_answer_is_zero():
    logits, y = torch.eye(10) * 1e4, torch.arange(10)
    loss = _loss(cross_entropy, logits, y)
    at_best = math.log(math.e + 9) - 1
    _is_none_of(loss, {"that is the least that scores between 0 and 1 can cost, as they are behind a softmax": at_best})
    check_tensor(loss, torch.tensor(0.0), "all ten answers are right and sure, so the loss is 0", atol=1e-6)


def test_scores_far_apart_neither_overflow_nor_vanish():
    loss = _loss(cross_entropy, torch.tensor([[0.0, 200.0]]), torch.tensor([0]))
    said = "scores of 0 and 200 with class 0 cost 200"
    finite = bool(loss.isfinite().all())
    assert finite, f"{said}, got {loss.tolist()}: exp(200) overflows, and log(softmax) is log(0)"
    hidden = loss.numel() == 1 and any(math.isclose(loss.item(), -math.log(e), rel_tol=1e-3) for e in _EPSILONS)
    assert not hidden, (
        f"{said}, got {loss.tolist()}: an epsilon in the logarithm, or a clamp, hides how wrong the answer is"
    )
    check_tensor(loss, torch.tensor(200.0), said, rtol=1e-6)
    logits = torch.tensor([[1000.0, 1001.0, 1000.0], [-1000.0, -1001.0, -1002.0]])
    want = F.cross_entropy(logits, torch.tensor([0, 2]))
    loss, said = _loss(cross_entropy, logits, torch.tensor([0, 2])), "one row around 1000 and one around -1000"
    assert loss.isfinite().all(), f"got {loss.tolist()}, {said}: each row has to be shifted by its own maximum"
    check_tensor(loss, want, said, rtol=1e-4)
    loss = _loss(cross_entropy, torch.tensor([[1e30, 0.0]]), torch.tensor([1]))
    check_tensor(loss, torch.tensor(1e30), "scores of 1e30 and 0 with class 1 cost 1e30", rtol=1e-6)
    logits = torch.tensor([[0.0, 2e4], [0.0, 0.0]], dtype=torch.float64)
    want = torch.tensor(1e4 + math.log(2) / 2, dtype=torch.float64)
    said = "20000 and log 2 have the mean 10000.3466, as exact as float64"
    check_tensor(_loss(cross_entropy, logits, torch.tensor([0, 1])), want, said, rtol=1e-12)


def test_an_impossible_class_costs_nothing_if_it_is_not_the_true_one():
    impossible, y = torch.tensor([[0.0, -math.inf, 0.0]]), torch.tensor([2])
    for function, given in ((nll, impossible.log_softmax(1)), (cross_entropy, impossible)):
        loss = _loss(function, given, y)
        what = f"{_name(function)} of two equal classes and an impossible one is log 2"
        lost = bool(loss.isnan().any())
        assert not lost, f"{what}, got nan. 0 * -inf is nan: the true class is to be picked, not multiplied"
        check_tensor(loss, torch.tensor(math.log(2)), what, rtol=1e-6)


def test_the_gradient_is_softmax_minus_the_label():
    given = torch.tensor([[1.0, 2.0, 5.0], [6.0, 1.0, 1.0]], dtype=torch.float64).log()
    y, label = torch.tensor([2, 1]), torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    for function, at, want in (
        (nll, given - math.log(8), -label / 2),
        (cross_entropy, given, (given.exp() / 8 - label) / 2),
    ):
        name, leaf = _name(function), at.clone().requires_grad_()
        loss = _loss(function, leaf, y)
        assert loss.requires_grad, f"the result of {name} is cut from its argument: nothing can learn from it"
        with explain(f"the backward of {name} raised"):
            (loss * -3).backward()
        assert leaf.grad is not None, f"no gradient reached the argument of {name}"
        said = f"the gradient of {name}, times the -3 that comes from above"
        check_tensor(leaf.grad, -3 * want, said, rtol=1e-9, atol=1e-12)
