"""Answers that people give to stable_softmax, right ones and wrong ones."""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def _max_and_indices(x, dim):
    highest, _ = torch.max(x, dim=dim, keepdim=True)
    e = (x - highest.detach()).exp()
    return e / torch.sum(e, dim=dim, keepdim=True)


def _logsumexp(x, dim):
    return x - x.logsumexp(dim, keepdim=True)


def _last_dim_first(x, dim):
    y = x.movedim(dim, 0)
    y = y - y.max(dim=0).values
    y = y - torch.log(torch.sum(torch.exp(y), dim=0))
    return y.movedim(0, dim)


def _logaddexp(x, dim):
    parts = x.unbind(dim)
    total = parts[0]
    for part in parts[1:]:
        total = torch.logaddexp(total, part)
    return x - total.unsqueeze(dim)


def _no_grad_max(x, dim):
    with torch.no_grad():
        highest = torch.amax(x, dim).unsqueeze(dim)
    e = torch.exp(torch.sub(x, highest))
    return torch.div(e, e.sum(dim).unsqueeze(dim))


def _slice_by_slice(x, dim):
    """A loop over the slices, with Python's max."""
    rows = x.transpose(dim, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    out = []
    for row in flat:
        m = max(row.tolist())
        e = torch.exp(row - m)
        out.append(e / sum(e))
    return torch.stack(out).view(rows.shape).transpose(dim, -1)


def _log_slice_by_slice(x, dim):
    slices = list(x.unbind(dim))
    m = slices[0]
    for part in slices[1:]:
        m = torch.maximum(m, part)
    m = m.detach()
    total = 0
    for part in slices:
        total = total + torch.exp(part - m)
    return torch.stack([part - m - torch.log(total) for part in slices], dim)


RIGHT = [
    dict(softmax=_slice_by_slice, log_softmax=_log_slice_by_slice),
    dict(softmax=lambda x, dim: torch.softmax(x, dim), log_softmax=lambda x, dim: torch.log_softmax(x, dim=dim)),
    dict(softmax=_max_and_indices, log_softmax=_logsumexp),
    dict(softmax=lambda x, dim: _logsumexp(x, dim).exp(), log_softmax=_last_dim_first),
    dict(softmax=_no_grad_max, log_softmax=_logaddexp),
    dict(softmax=lambda x, dim: nn.Softmax(dim)(x), log_softmax=lambda x, dim: nn.LogSoftmax(dim=dim)(x)),
]


def _plain(x, dim):
    e = torch.exp(x)
    return torch.div(e, torch.sum(e, dim, True))


def _highest_of_all(x, dim):
    e = torch.exp(x - torch.max(x).item())
    return e / e.sum(dim, keepdim=True)


def _highest_of_all_and_eps(x, dim):
    e = torch.exp(x - x.max())
    return e / e.sum(dim, keepdim=True).clamp(min=1e-30)


def _middle(x, dim):
    middle = (x.amax(dim, keepdim=True) + x.amin(dim, keepdim=True)) / 2
    return _plain(x - middle, dim)


def _sum_of_rows(x, dim):
    e = (x - x.max(dim=dim, keepdim=True)[0]).exp()
    return e / e.sum(axis=dim)


def _powers(x, dim):
    z = x - x.amax(dim, keepdim=True)
    return 2.718**z / (2.718**z).sum(dim, keepdim=True)


def _float(x, dim):
    return F.softmax(x, dim, dtype=torch.float32).double()


def _two_dims(x, dim):
    return torch.stack([F.softmax(row, 0) for row in (x if dim in (1, -1) else x.T)], 0 if dim in (1, -1) else 1)


def _log_plain(x, dim):
    return torch.log(_plain(x, dim))


def _log_of_softmax(x, dim):
    return torch.log(F.softmax(x, dim=dim))


def _log_of_a_little_more(x, dim):
    return F.softmax(x, dim).clamp_min(1e-30).log()


def _sum_outside(x, dim):
    m = x.amax(dim, keepdim=True)
    return x - (m + (x - m).exp().sum().log())


def _forgets_the_max(x, dim):
    m = x.amax(dim, keepdim=True)
    return x - torch.logsumexp(x - m, dim, keepdim=True)


def _log_with_the_highest_of_all(x, dim):
    m = x.max()
    return x - m - (x - m).exp().sum(dim, keepdim=True).log()


def _bounded(x, dim):
    return torch.nan_to_num(F.log_softmax(x, dim), neginf=-1e30)


@torch.no_grad()
def _decorated(x, dim):
    return F.log_softmax(x, dim)


def _log_10(x, dim):
    return F.log_softmax(x, dim) * 0.4342945


def _numpy(x, dim):
    e = (x.detach() - x.detach().amax(dim, keepdim=True)).numpy()
    e = torch.from_numpy(e).exp()
    return e / e.sum(dim, keepdim=True)


def _takes_it_from_x(x, dim):
    x.data.sub_(x.data.amax(dim, keepdim=True))
    return F.softmax(x, dim)


def _capped(x, dim):
    return torch.log_softmax(torch.clamp(x, max=1e6, min=None), dim)


WRONG = [
    Mistake("no probability is too small for its logarithm", caught_by="", log_softmax=_capped),
    Mistake("scores around 1000", caught_by="", softmax=_plain),
    Mistake("one row around 1000 and one around -1000: exp is inf or 0 there", caught_by="", softmax=_highest_of_all),
    Mistake(
        "one row around 1000 and one around -1000: exp is inf or 0 there", caught_by="", softmax=_highest_of_all_and_eps
    ),
    Mistake(
        "one row around 1000 and one around -1000: exp is inf or 0 there",
        caught_by="",
        log_softmax=_log_with_the_highest_of_all,
    ),
    Mistake("softmax of 10000, -10000 and 3", caught_by="", softmax=_middle),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by="", softmax=_sum_of_rows),
    Mistake("softmax of [[1, 2], [3, 6]] along dim=1", caught_by="", softmax=lambda x, dim: F.softmax(-x, dim)),
    Mistake("the slices along the other dim sum to 1", caught_by="", softmax=lambda x, dim: F.softmax(x, -1)),
    Mistake(
        "the slices along the other dim sum to 1",
        caught_by="",
        log_softmax=lambda x, dim: F.log_softmax(x, x.dim() - 1),
    ),
    Mistake("in float64", caught_by="", softmax=_powers),
    Mistake("x stays as it is", caught_by="", softmax=_takes_it_from_x),
    Mistake("softmax raised, for x of shape (2, 3, 4)", caught_by="", softmax=_two_dims),
    Mistake("scores around 1000", caught_by="", log_softmax=_log_plain),
    Mistake("softmax has rounded to 0 what you took the log of", caught_by="", log_softmax=_log_of_softmax),
    Mistake("no probability is too small for its logarithm", caught_by="", log_softmax=_log_of_a_little_more),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by="", log_softmax=_sum_outside),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by="", log_softmax=_forgets_the_max),
    Mistake("log_softmax of [[1, 2], [3, 6]] along dim=1", caught_by="", log_softmax=_log_10),
    Mistake("log_softmax with scores of -inf", caught_by="", log_softmax=_bounded),
    Mistake("the result of log_softmax hangs on no graph", caught_by="", log_softmax=_decorated),
    Mistake("the result of softmax hangs on no graph", caught_by="", softmax=_numpy),
]
