"""Loss of a language model: classes in the right dimension, padding out of the mean

A language model gives a row of scores for each of the T places of each of B texts: (B, T, C), C words. But
`F.cross_entropy` (from `torch.nn.functional`) looks for the classes in dimension 1, whatever comes after it: it wants
(N, C) with targets (N,), or (B, C, T) with targets (B, T). Given (B, T, C) it mostly stops: "Expected target size
[2, 7], got [2, 5]". Only where T equals C there is nothing to notice, and it scores places instead of words. To reshape
until the error is gone is no better: `reshape(B, C, T)` runs, and mixes everything. Dimensions are exchanged by
`transpose`; `reshape` may join neighbours, such as B and T; `view` does so only where memory lies in that order.

Texts have different lengths, so short ones are filled up with a padding token. That is no word to be predicted:
it must have no part in the sum, nor in the number that you divide by. `ignore_index=` of F.cross_entropy leaves a
target out of both; with `reduction="none"` a plain `.mean()` still divides by all. If all is padding, 0/0 is nan, and
one nan destroys the weights. `reduction="sum"` of nothing is 0.

Perplexity, the usual number to report, is exp(mean loss): a model that guesses among 6 words has perplexity 6.

What is asked here: the loss for training, 0 for a batch of only padding; and the perplexity as a Python number.

About 25 minutes. Before it: permute_not_reshape, mask_do_not_multiply, cross_entropy_by_hand.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
"""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def token_loss(logits: torch.Tensor, targets: torch.Tensor, pad_id: int) -> torch.Tensor:
    """The mean cross-entropy over the real tokens: those whose target is not `pad_id`.

    `logits` is float32 or float64 of shape (B, T, C), in any memory layout, its scores may be far apart; `targets` is
    int64 of shape (B, T), with classes 0 to C-1, and `pad_id` is one of these classes. Returns a 0-d tensor of the
    dtype of `logits`, which can be differentiated; it is 0 where no token is real, and backward works there as well.
    The arguments stay as they are.
    """
    raise NotImplementedError("the mean cross-entropy over the real tokens")


def perplexity(logits: torch.Tensor, targets: torch.Tensor, pad_id: int) -> float:
    """exp of the mean cross-entropy over the real tokens, of which there is at least one: a Python float.

    The arguments are those of `token_loss`.
    """
    raise NotImplementedError("exp of the mean loss, as a float")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "Expected target size": "F.cross_entropy looks for the classes in dimension 1, here they are in dimension 2",
    "view size is not compatible|Use .reshape": "view needs memory in the order of the dimensions, which a "
    "transposed or cut tensor does not have",
    "leaf Variable": "one of the arguments is edited in place: it is a leaf, and it is the caller's",
}


def _batch(batch: int, tokens: int, classes: int, dtype: torch.dtype = torch.float32) -> Any:
    """Scores that differ everywhere, and targets that are none of them 0."""
    torch.manual_seed(batch + tokens)
    logits = torch.randn(batch, tokens, classes, dtype=dtype) * 2
    return logits, torch.randint(1, classes, (batch, tokens))


def _costs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """What each token costs, one by one, shape (B, T)."""
    log_p = logits.detach().clone().log_softmax(-1)
    return torch.stack(
        [torch.stack([-row[k] for row, k in zip(*pair, strict=True)]) for pair in zip(log_p, targets, strict=True)]
    )


def _loss(logits: torch.Tensor, targets: torch.Tensor, pad_id: int, what: str) -> torch.Tensor:
    """token_loss(...), where that is a tensor."""
    __tracebackhide__ = True
    with explain(f"token_loss raised on {what}", _SIGNS):
        with unchanged("token_loss changed what it was given", logits=logits, targets=targets):
            loss = token_loss(logits, targets, pad_id)
    assert isinstance(loss, torch.Tensor), f"expected the loss as a tensor, got {type(loss).__name__}"
    return loss


def _is_none_of(loss: torch.Tensor, known: dict[str, Any]) -> None:
    """`loss` is none of these values, each of which is what a known mistake gives."""
    __tracebackhide__ = True
    for sentence, value in known.items():
        same = loss.numel() == 1 and math.isclose(loss.item(), float(value), rel_tol=1e-5)
        assert not same, f"got {loss.item():.4f}: {sentence}"


@pytest.mark.parametrize("classes", [7, 5], ids=["five tokens of seven classes", "as many tokens as classes"])
def test_cross_entropy_looks_for_classes_in_dimension_one(classes):
    what = f"logits of shape (2, 5, {classes})"
    for dtype, rtol in ((torch.float32, 1e-5), (torch.float64, 1e-8)):
        logits, targets = _batch(2, 5, classes, dtype)
        costs = _costs(logits, targets)
        loss = _loss(logits, targets, 0, what)
        known = {
            "that is the sum over the tokens, not their mean": costs.sum(),
            "that is divided by B": costs.sum() / 2,
        }
        mixed = F.cross_entropy(logits.reshape(2, classes, 5), targets)
        if classes == 5:
            known["the classes must be dimension 1 for F.cross_entropy; T equal to C hides it"] = mixed
        else:
            known["reshape(B, C, T) keeps the order in memory and mixes tokens with classes: exchange them"] = mixed
        _is_none_of(loss, known)
        check_tensor(loss, costs.mean(), f"the mean over 10 tokens, {what} and {dtype}", rtol=rtol)


def test_padding_has_no_part_in_the_mean_and_gets_no_gradient():
    logits, targets = _batch(3, 4, 6)
    targets[0, 1:] = 0
    targets[2, 3:] = 0
    costs, real = _costs(logits, targets), targets != 0
    logits = logits.requires_grad_()
    loss = _loss(logits, targets, 0, "logits of which 4 of 12 tokens are padding")
    rows = torch.stack([c[r].mean() for c, r in zip(costs, real, strict=True)])
    known = {
        "the padding is counted as if it were words": costs.mean(),
        "divided by all tokens, the padding too": costs[real].sum() / 12,
        "that is the mean of the means of each text: a short text would count as much as a long one": rows.mean(),
        "that is the sum over the real tokens, not their mean": costs[real].sum(),
        "that is divided by B": costs[real].sum() / 3,
    }
    _is_none_of(loss, known)
    check_tensor(loss.detach(), costs[real].mean(), "the mean over the 8 real tokens", rtol=1e-5)
    assert loss.requires_grad, "the loss is cut from the logits: nothing can learn from it"
    with explain("the backward of the loss raised"):
        (loss * -3).backward()
    want = -3 * (logits.detach().softmax(-1) - F.one_hot(targets, 6)) * real.unsqueeze(-1) / 8
    assert logits.grad is not None, "no gradient reached the logits"
    touched = bool(logits.grad[~real].any())
    assert not touched, "the scores at the padding get a gradient: they must have no influence on the loss"
    check_tensor(logits.grad, want, "the gradient of the mean over 8 tokens, times -3 from above", rtol=1e-4, atol=1e-6)


def test_a_batch_of_only_padding_costs_nothing():
    for pad_id, dtype in ((0, torch.float32), (2, torch.float64)):
        logits = torch.tensor([[[0.5, -1.0, 2.0], [1.0, 1.0, 0.0]]], dtype=dtype, requires_grad=True)
        loss = _loss(logits, torch.full((1, 2), pad_id), pad_id, "a batch of only padding")
        lost = bool(loss.isnan().any())
        assert not lost, "the loss is nan where all is padding: 0 / 0, a mean over no token at all"
        check_tensor(loss.detach(), torch.zeros((), dtype=dtype), f"a batch of only padding costs 0, in {dtype}")
        assert loss.requires_grad, "the 0 is a constant, and the backward of a training loop would stop here"
        with explain("backward of the loss of only padding raised"):
            loss.backward()
        grad = torch.zeros_like(logits) if logits.grad is None else logits.grad
        check_tensor(grad.detach(), torch.zeros_like(logits).detach(), "a batch of only padding has no gradient")


def test_any_class_may_be_the_padding_and_zero_may_be_a_word():
    logits, _ = _batch(2, 4, 6)
    for pad_id, scale in ((5, 1), (1, 100)):
        logits = logits * scale
        targets = torch.tensor([[0, 2, pad_id, 3], [4, pad_id, 0, 2]])
        costs = _costs(logits, targets)
        loss = _loss(logits, targets, pad_id, f"pad_id {pad_id}")
        known = {
            f"0 was left out, which is a word here, and {pad_id} is the padding": costs[targets != 0].mean(),
            f"0 was left out together with {pad_id}, but it is a word here": costs[
                (targets != 0) & (targets != pad_id)
            ].mean(),
            f"nothing was left out, {pad_id} is the padding": costs.mean(),
        }
        _is_none_of(loss, known)
        check_tensor(loss, costs[targets != pad_id].mean(), f"the mean over all that is not {pad_id}", rtol=1e-5)
    zeros = torch.zeros(2, 4, dtype=torch.int64)
    loss = _loss(logits, zeros, 5, "targets that are all 0")
    check_tensor(loss, _costs(logits, zeros).mean(), "all targets are 0, a word where pad_id is 5", rtol=1e-5)


def test_view_needs_memory_in_order_and_logits_come_in_any():
    logits, targets = _batch(4, 3, 5)
    want = _costs(logits, targets).mean()
    for memory, other in {
        "(T, B, C)": logits.transpose(0, 1).contiguous().transpose(0, 1),
        "(B, C, T)": logits.transpose(1, 2).contiguous().transpose(1, 2),
        "every second of (B, 2T, C)": logits.repeat_interleave(2, 1)[:, ::2],
    }.items():
        loss = _loss(other, targets, 0, f"logits whose memory is {memory}")
        check_tensor(loss, want, f"the same logits, their memory is {memory}", rtol=1e-5)


def test_perplexity_is_exp_of_the_mean_loss():
    rows = [[[1.0, 2, 5], [1, 3, 4], [7, 8, 9]], [[2, 1, 1], [5, 1, 1], [1, 1, 1]]]
    scores, words = torch.tensor(rows, dtype=torch.float64).log(), torch.tensor([[0, 1, 2], [0, 2, 2]])
    for what, logits, targets, pad_id, want in (
        ("equal scores for 6 classes", torch.zeros(2, 3, 6), torch.tensor([[1, 5, 2], [4, 0, 0]]), 0, 6.0),
        ("texts with a p of 1/8 and 3/8, and of 1/2", scores, words, 2, (8 * 8 / 3 * 2) ** (1 / 3)),
        ("the same texts with 0 as the padding", scores.flip(-1), 2 - words, 0, (8 * 8 / 3 * 2) ** (1 / 3)),
        ("right and sure answers", torch.eye(4)[None] * 1e4, torch.tensor([[0, 1, 2, 3]]), 3, 1.0),
    ):
        costs, real = _costs(logits, targets), targets != pad_id
        logits = logits.requires_grad_()
        with explain(f"perplexity raised on {what}", _SIGNS):
            with unchanged("perplexity changed what it was given", logits=logits, targets=targets):
                got = perplexity(logits, targets, pad_id)
        assert isinstance(got, float), f"perplexity is a Python float, got {type(got).__name__}"
        known = {
            "that is the loss itself, and perplexity is exp of it": costs[real].mean(),
            "that is 2 to the power of the loss, and the loss is in natural logarithms": 2 ** costs[real].mean(),
            "that is the mean of the exps, and not exp of the mean": costs[real].exp().mean(),
            "that is the mean of the perplexities of the texts, and not that of all their tokens": sum(
                row[is_real].mean().exp() / len(costs) for row, is_real in zip(costs, real, strict=True)
            ),
            "the padding is counted as if it were words": costs.mean().exp(),
            "that is exp of the sum": costs[real].sum().exp(),
        }
        others = {said: value for said, value in known.items() if not math.isclose(float(value), want, rel_tol=1e-3)}
        _is_none_of(torch.tensor(got), others)
        rtol = 1e-8 if logits.dtype == torch.float64 else 1e-5
        assert math.isclose(got, want, rel_tol=rtol), f"the perplexity of {what} is {want}, got {got!r}"
