"""Softmax that never overflows: reference.

Hint: What happens to the quotient if each score of a slice is made smaller by the same number? Which number suits best?
Hint: `x.amax(dim, keepdim=True)`, `exp`, `sum` with keepdim. For the logarithm: `torch.logsumexp`, again with keepdim.
Hint: softmax: shift, exponentials, divide by their sum. log_softmax: shift first, then take away log(sum(exp)) of what
is left. Both have the same first line.

Why: After the shift the largest exponential is 1, so the sum lies between 1 and the number of scores: no overflow, and
no division by 0. What underflows to 0 was below the last digit anyway, in softmax; in log_softmax it would be
everything, so it never becomes an exponential. `torch.softmax` and `torch.log_softmax` do just this; use them. As for
dim, say it always: the one that F.softmax picks for you depends on the number of dims.
"""

import math

import torch
import torch.nn.functional as F

from dojo import Mistake


def softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def log_softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _naive(x, dim):
    return x.exp() / x.exp().sum(dim, keepdim=True)


def _global_max(x, dim):
    e = torch.exp(x - x.max())
    return e / e.sum(dim, keepdim=True)


def _mean(x, dim):
    e = torch.exp(x - x.mean(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _clamped(x, dim):
    return _naive(x.clamp(-80, 80), dim)


def _finite(x, dim):
    return torch.nan_to_num(_naive(x, dim))


def _with_eps(x, dim):
    e = x.clamp(max=80).exp()
    return e / (e.sum(dim, keepdim=True) + 1e-8)


def _no_keepdim(x, dim):
    e = torch.exp(x - x.max(dim, keepdim=True).values)
    return e / e.sum(dim)


def _max_without_keepdim(x, dim):
    e = torch.exp(x - x.amax(dim))
    return e / e.sum(dim, keepdim=True)


def _max_of_rows(x, dim):
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _whole(x, dim):
    e = torch.exp(x - x.amax())
    return e / e.sum()


def _transposes(x, dim):
    """Works for two dims."""
    x = x.t() if dim in (0, -2) else x
    p = softmax(x, -1)
    return p.t() if dim in (0, -2) else p


def _in_place(x, dim):
    with torch.no_grad():
        x -= x.amax(dim, keepdim=True)
    return _naive(x, dim)


def _exp_in_place(x, dim):
    e = x.sub_(x.amax(dim, keepdim=True)).exp()
    return e / e.sum(dim, keepdim=True)


def _base_2(x, dim):
    e = torch.exp2(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


def _squares(x, dim):
    return F.normalize(softmax(x, dim), dim=dim)


def _unshifted_gradient(x, dim):
    """The largest score is taken from a copy, the quotient from a detached one."""
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True).detach()


def _max_detached_and_sum(x, dim):
    z = x - x.amax(dim, keepdim=True)
    return z - z.exp().sum(dim, keepdim=True).log().detach()


def _log_of_naive_sum(x, dim):
    return x - x.exp().sum(dim, keepdim=True).log()


def _max_not_taken_back(x, dim):
    return x - (x - x.amax(dim, keepdim=True)).exp().sum(dim, keepdim=True).log()


def _log_of_sum_of_all(x, dim):
    return x - torch.logsumexp(x.flatten(), 0)


def _floor(x, dim):
    return F.log_softmax(x.clamp(min=-1e6), dim)


def _limited(x, dim):
    return F.log_softmax(x, dim).clamp(min=torch.finfo(x.dtype).min)


def _large_for_infinite(x, dim):
    return softmax(x.masked_fill(x == -float("inf"), -1e4), dim)


def _limited_scores(x, dim):
    """float16 could not hold more."""
    return F.log_softmax(x.clamp(-65504, 65504), dim)


def _log_where_positive(x, dim):
    p = softmax(x, dim)
    safe = F.log_softmax(x, dim)
    return safe + torch.where(p > 0, p.log(), 0) - torch.where(p > 0, p.log(), 0).detach() - (safe - safe.detach())


def _lists(x, dim):
    return torch.tensor(F.log_softmax(x, dim).tolist(), dtype=x.dtype)


_DIM = "test_dim_names_the_slices_that_sum_to_1"
_DIFFERENCES = "test_only_differences_within_a_slice_count"
_LOG = "test_a_log_probability_needs_no_probability"
_INF = "test_a_score_of_minus_infinity_has_probability_0"
_GRADIENTS = "test_gradients_are_those_of_the_formula"
_OTHER = "the slices along the other dim sum to 1"
_OVERFLOW = "scores around 1000"
_EACH = "one row around 1000 and one around -1000: exp is inf or 0 there"
_ROUNDED = "softmax has rounded to 0 what you took the log of"
_KEEPDIM = "must keep a dim of size 1"

KEEP = {
    _LOG: "it is the reason why log_softmax exists, at the scores where each shortcut is seen",
    _DIFFERENCES: "shows overflow and underflow one by one, before scores of -inf come in",
}

MISTAKES = [
    Mistake(_OTHER, caught_by=_DIM, softmax=lambda x, dim: softmax(x, 1 if x.dim() > 1 else 0)),
    Mistake(_OTHER, caught_by=_DIM, log_softmax=lambda x, dim: F.log_softmax(x, -1)),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, softmax=_no_keepdim),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, softmax=_max_without_keepdim),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, softmax=_whole),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, softmax=_base_2),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, softmax=_squares),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=0", caught_by=_DIM, softmax=_max_of_rows),
    Mistake("softmax raised, for x of shape (2, 3, 4)", caught_by=_DIM, softmax=_transposes),
    Mistake("in float64", caught_by=_DIM, softmax=lambda x, dim: softmax(x.float(), dim).to(x.dtype)),
    Mistake("in float64", caught_by=_DIM, log_softmax=lambda x, dim: F.log_softmax(x.float(), dim)),
    Mistake("x stays as it is", caught_by=_DIM, softmax=_in_place),
    Mistake("softmax raised, for x of shape (2,)", caught_by=_GRADIENTS, softmax=_exp_in_place),
    Mistake(
        "log_softmax of [[1, 2], [3, 6]] along dim=1",
        caught_by=_DIM,
        log_softmax=lambda x, dim: x - torch.logsumexp(x, dim),
    ),
    Mistake(
        "log_softmax of [[1, 2], [3, 6]] along dim=1",
        caught_by=_DIM,
        log_softmax=lambda x, dim: F.log_softmax(x, dim) / math.log(2),
    ),
    Mistake(
        "log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, log_softmax=lambda x, dim: -F.log_softmax(x, dim)
    ),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, log_softmax=_log_of_sum_of_all),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, log_softmax=_max_not_taken_back),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by=_DIM, log_softmax=softmax),
    Mistake(_OVERFLOW, caught_by=_DIFFERENCES, softmax=_naive),
    Mistake(_OVERFLOW, caught_by=_DIFFERENCES, softmax=_clamped),
    Mistake(_OVERFLOW, caught_by=_DIFFERENCES, softmax=_finite),
    Mistake(_OVERFLOW, caught_by=_DIFFERENCES, softmax=_with_eps),
    Mistake(_OVERFLOW, caught_by=_DIFFERENCES, log_softmax=_log_of_naive_sum),
    Mistake(_EACH, caught_by=_DIFFERENCES, softmax=_global_max),
    Mistake(_EACH, caught_by=_DIFFERENCES, log_softmax=lambda x, dim: _log_of_naive_sum(x - x.max(), dim)),
    Mistake("softmax of 10000, -10000 and 3", caught_by=_DIFFERENCES, softmax=_mean),
    Mistake(_ROUNDED, caught_by=_LOG, log_softmax=lambda x, dim: softmax(x, dim).log()),
    Mistake(
        "no probability is too small for its logarithm",
        caught_by=_LOG,
        log_softmax=lambda x, dim: (softmax(x, dim) + 1e-12).log(),
    ),
    Mistake(
        "no probability is too small for its logarithm",
        caught_by=_LOG,
        log_softmax=lambda x, dim: softmax(x, dim).log().clamp(min=-100),
    ),
    Mistake("no probability is too small for its logarithm", caught_by=_LOG, log_softmax=_limited_scores),
    Mistake("the gradient of -log p[0]", caught_by=_GRADIENTS, log_softmax=_log_where_positive),
    Mistake("softmax with scores of -inf", caught_by=_INF, softmax=_large_for_infinite),
    Mistake(
        "softmax of [[1, 2], [3, 6]] along dim=1",
        caught_by=_DIM,
        softmax=lambda x, dim: F.softmax(x, dim, dtype=torch.float64),
    ),
    Mistake("log_softmax with scores of -inf", caught_by=_INF, log_softmax=_floor),
    Mistake("log_softmax with scores of -inf", caught_by=_INF, log_softmax=_limited),
    Mistake("the gradient of softmax at the scores", caught_by=_GRADIENTS, softmax=_unshifted_gradient),
    Mistake("the gradient of -log p[0]", caught_by=_GRADIENTS, log_softmax=_max_detached_and_sum),
    Mistake(
        "the result of softmax hangs on no graph", caught_by=_GRADIENTS, softmax=lambda x, dim: softmax(x.data, dim)
    ),
    Mistake("the result of log_softmax hangs on no graph", caught_by=_GRADIENTS, log_softmax=_lists),
]
