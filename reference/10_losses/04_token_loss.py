"""Loss of a language model: reference.

Hint: Every token is one classification. So join texts and places to one long list of N tokens, each with C scores.
Hint: `reshape(-1, C)` for the scores, `reshape(-1)` for the targets; `ignore_index=`; and `reduction="sum"`, whose sum
over nothing is 0.
Hint: Divide the sum by the number of real tokens, but never by less than 1 (`Tensor.clamp`). Perplexity: `math.exp`.

Why: with reduction="mean" and ignore_index F.cross_entropy divides by the real tokens too, but gives nan (since 1.11)
where there is none; the clamp makes it 0, still connected to the logits. Where batches are of different lengths, sum
the losses and the numbers of tokens over all batches before you divide: neither the mean of means nor the mean of
perplexities is the perplexity of the corpus.
"""

import math

import torch
from torch.nn import functional as F

from dojo import Mistake


def token_loss(logits: torch.Tensor, targets: torch.Tensor, pad_id: int) -> torch.Tensor:
    scores = logits.reshape(-1, logits.shape[-1])  # (B * T, C)
    total = F.cross_entropy(scores, targets.reshape(-1), ignore_index=pad_id, reduction="sum")
    return total / (targets != pad_id).sum().clamp(min=1)


def perplexity(logits: torch.Tensor, targets: torch.Tensor, pad_id: int) -> float:
    return math.exp(token_loss(logits, targets, pad_id).item())


def _each(logits, targets):
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


def _none_if_empty(loss, logits, targets, pad_id):
    return loss if (targets != pad_id).any() else logits.sum() * 0


def _raw(logits, targets, pad_id):
    return _none_if_empty(F.cross_entropy(logits, targets, ignore_index=pad_id), logits, targets, pad_id)


def _reshaped(logits, targets, pad_id):
    b, t, c = logits.shape
    loss = F.cross_entropy(logits.reshape(b, c, t), targets, ignore_index=pad_id)
    return _none_if_empty(loss, logits, targets, pad_id)


def _mean_of_means(logits, targets, pad_id):
    real = (targets != pad_id).to(logits.dtype)
    return ((_each(logits, targets) * real).sum(1) / real.sum(1).clamp(min=1)).mean()


def _nan_if_empty(logits, targets, pad_id):
    return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=pad_id)


def _ignores(index):
    def loss(logits, targets, pad_id):
        return _none_if_empty(
            F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=index), logits, targets, index
        )

    return loss


def _ignores_both(logits, targets, pad_id):
    real = (targets > 0) & (targets != pad_id)
    return (_each(logits, targets) * real).sum() / real.sum().clamp(min=1)


def _constant_zero(logits, targets, pad_id):
    return token_loss(logits, targets, pad_id) if (targets != pad_id).any() else torch.tensor(0.0)


def _python_zero(logits, targets, pad_id):
    return token_loss(logits, targets, pad_id) if (targets != pad_id).any() else 0.0


def _nan_to_zero_by_multiplying(logits, targets, pad_id):
    real = targets != pad_id
    return (_each(logits, targets) * real).sum() / real.sum() * real.any()


def _view(logits, targets, pad_id):
    scores = logits.view(-1, logits.size(-1))
    total = F.cross_entropy(scores, targets.view(-1), ignore_index=pad_id, reduction="sum")
    return total / (targets != pad_id).sum().clamp(min=1)


def _zeroed_scores(logits, targets, pad_id):
    """Scores at the padding are set to 0: they cost log C each."""
    real = targets != pad_id
    return _each(logits * real.unsqueeze(-1), targets).sum() / real.sum().clamp(min=1)


def _real_scores_in_place(logits, targets, pad_id):
    with torch.no_grad():
        logits[targets == pad_id] = 0
    return token_loss(logits, targets, pad_id)


def _targets_in_place(logits, targets, pad_id):
    targets[targets == pad_id] = -100
    total = F.cross_entropy(logits.transpose(1, 2), targets, reduction="sum")
    return total / (targets != -100).sum().clamp(min=1)


def _pad_class_removed(logits, targets, pad_id):
    """The padding can't be predicted: its score becomes -inf."""
    hidden = logits.clone()
    hidden[..., pad_id] = -1e9
    return token_loss(hidden, targets, pad_id)


def _until_the_first_padding(logits, targets, pad_id):
    real = (targets == pad_id).cumsum(1) == 0
    return (_each(logits, targets) * real).sum() / real.sum().clamp(min=1)


def _rows_without_padding(logits, targets, pad_id):
    real = (targets != pad_id).all(1)
    return token_loss(logits[real], targets[real], pad_id)


def _in_float32(logits, targets, pad_id):
    return token_loss(logits.float(), targets, pad_id).to(logits.dtype)


def _log_of_softmax(logits, targets, pad_id):
    real = targets != pad_id
    p = logits.softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return -(p.clamp(min=1e-30).log() * real).sum() / real.sum().clamp(min=1)


def _next_token(logits, targets, pad_id):
    """The scores of each place against the token after it: here the targets are shifted already."""
    return token_loss(logits[:, :-1], targets[:, 1:], pad_id)


def _at_least_two(logits, targets, pad_id):
    """Divides by one more than there are, so that it is never 0."""
    real = targets != pad_id
    return (_each(logits, targets) * real).sum() / (real.sum() + 1e-3)


def _detached(logits, targets, pad_id):
    return token_loss(logits.detach(), targets, pad_id)


_DIM = "test_cross_entropy_looks_for_classes_in_dimension_one"
_PAD = "test_padding_has_no_part_in_the_mean_and_gets_no_gradient"
_EMPTY = "test_a_batch_of_only_padding_costs_nothing"
_ANY = "test_any_class_may_be_the_padding_and_zero_may_be_a_word"
_MEMORY = "test_view_needs_memory_in_order_and_logits_come_in_any"
_PERPLEXITY = "test_perplexity_is_exp_of_the_mean_loss"


def _text_by_text(logits, targets, pad_id):
    each = [token_loss(z[None], y[None], pad_id).exp().item() for z, y in zip(logits, targets, strict=True)]
    return sum(each) / len(each)


def _zero_is_nothing(logits, targets, pad_id):
    return token_loss(logits, targets, pad_id) if targets.any() else logits.sum() * 0


def _perplexity_if_there_is_padding(logits, targets, pad_id):
    index = pad_id if pad_id else -100
    return F.cross_entropy(logits.mT, targets, ignore_index=index).exp().item()


MISTAKES = [
    Mistake("all targets are 0, a word", caught_by=_ANY, token_loss=_zero_is_nothing),
    Mistake("counted as if it were words", caught_by=_PERPLEXITY, perplexity=_perplexity_if_there_is_padding),
    Mistake("that is the mean of the perplexities of the texts", caught_by=_PERPLEXITY, perplexity=_text_by_text),
    Mistake("here they are in dimension 2", caught_by=_DIM, token_loss=_raw),
    Mistake("T equal to C hides it", caught_by=_DIM, token_loss=_raw),
    Mistake("mixes tokens with classes", caught_by=_DIM, token_loss=_reshaped),
    Mistake("the mean over 10 tokens", caught_by=_DIM, token_loss=_in_float32),
    Mistake(
        "that is the sum over the tokens",
        caught_by=_DIM,
        token_loss=lambda z, y, pad: (_each(z, y) * (y != pad)).sum(),
    ),
    Mistake(
        "that is divided by B", caught_by=_DIM, token_loss=lambda z, y, pad: (_each(z, y) * (y != pad)).sum() / len(y)
    ),
    Mistake("the mean over 10 tokens", caught_by=_DIM, token_loss=_pad_class_removed),
    Mistake("counted as if it were words", caught_by=_PAD, token_loss=lambda z, y, pad: F.cross_entropy(z.mT, y)),
    Mistake(
        "divided by all tokens, the padding too",
        caught_by=_PAD,
        token_loss=lambda z, y, pad: F.cross_entropy(z.mT, y, ignore_index=pad, reduction="none").mean(),
    ),
    Mistake(
        "divided by all tokens, the padding too",
        caught_by=_PAD,
        token_loss=lambda z, y, pad: (_each(z, y) * (y != pad)).mean(),
    ),
    Mistake("the mean of the means of each text", caught_by=_PAD, token_loss=_mean_of_means),
    Mistake("the mean over the 8 real tokens", caught_by=_PAD, token_loss=_zeroed_scores),
    Mistake("the mean over the 8 real tokens", caught_by=_PAD, token_loss=_rows_without_padding),
    Mistake("changed what it was given", caught_by=_PAD, token_loss=_real_scores_in_place),
    Mistake("changed what it was given", caught_by=_PAD, token_loss=_targets_in_place),
    Mistake("cut from the logits", caught_by=_PAD, token_loss=_detached),
    Mistake("the loss is nan where all is padding", caught_by=_EMPTY, token_loss=_nan_if_empty),
    Mistake(
        "the loss is nan where all is padding",
        caught_by=_EMPTY,
        token_loss=lambda z, y, pad: (_each(z, y) * (y != pad)).sum() / (y != pad).sum(),
    ),
    Mistake("the loss is nan where all is padding", caught_by=_EMPTY, token_loss=_nan_to_zero_by_multiplying),
    Mistake("the 0 is a constant", caught_by=_EMPTY, token_loss=_constant_zero),
    Mistake("expected the loss as a tensor, got float", caught_by=_EMPTY, token_loss=_python_zero),
    Mistake("0 was left out, which is a word here", caught_by=_ANY, token_loss=_ignores(0)),
    Mistake("0 was left out together with", caught_by=_ANY, token_loss=_ignores_both),
    Mistake("nothing was left out", caught_by=_ANY, token_loss=_ignores(-100)),
    Mistake("the mean over all that is not", caught_by=_ANY, token_loss=_until_the_first_padding),
    Mistake("the mean over all that is not 1", caught_by=_ANY, token_loss=_log_of_softmax),
    Mistake("the mean over 10 tokens", caught_by=_DIM, token_loss=_next_token),
    Mistake("the mean over 10 tokens", caught_by=_DIM, token_loss=_at_least_two),
    Mistake("view needs memory in the order", caught_by=_MEMORY, token_loss=_view),
    Mistake(
        "that is the loss itself", caught_by=_PERPLEXITY, perplexity=lambda z, y, pad: token_loss(z, y, pad).item()
    ),
    Mistake(
        "2 to the power of the loss",
        caught_by=_PERPLEXITY,
        perplexity=lambda z, y, pad: 2 ** token_loss(z, y, pad).item(),
    ),
    Mistake(
        "the mean of the exps",
        caught_by=_PERPLEXITY,
        perplexity=lambda z, y, pad: _each(z, y)[y != pad].exp().mean().item(),
    ),
    Mistake(
        "counted as if it were words",
        caught_by=_PERPLEXITY,
        perplexity=lambda z, y, pad: F.cross_entropy(z.mT, y).exp().item(),
    ),
    Mistake(
        "that is exp of the sum",
        caught_by=_PERPLEXITY,
        perplexity=lambda z, y, pad: _each(z, y)[y != pad].sum().exp().item(),
    ),
    Mistake(
        "a Python float, got Tensor", caught_by=_PERPLEXITY, perplexity=lambda z, y, pad: token_loss(z, y, pad).exp()
    ),
    Mistake(
        "the perplexity of texts with a p of 1/8",
        caught_by=_PERPLEXITY,
        perplexity=lambda z, y, pad: round(math.exp(token_loss(z.float(), y, pad).item()), 4),
    ),
]
