"""Answers that people give to sampling, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake

_INF = float("inf")


def _ascending(logits, top_k=0, top_p=1.0):
    """From the worst one up, in the manner of a well-known library."""
    out = logits.clone()
    if top_k:
        k = min(top_k, out.size(-1))
        out[out < torch.topk(out, k)[0][..., -1, None]] = -_INF
    if top_p < 1.0:
        values, indices = torch.sort(out, descending=False)
        remove = values.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        remove[..., -1:] = False
        out = out.masked_fill(remove.scatter(1, indices, remove), -_INF)
    return out


def _by_rows(logits, top_k=0, top_p=1.0):
    out = torch.full_like(logits, -_INF)
    for b in range(logits.shape[0]):
        order = logits[b].argsort(descending=True)
        if top_k > 0:
            order = order[:top_k]
        p = torch.softmax(logits[b, order].double(), 0)
        total = 0.0
        for share, i in zip(p.tolist(), order.tolist(), strict=True):
            out[b, i] = logits[b, i]
            total += share
            if top_p < 1 and total >= top_p:
                break
    return out


def _by_ranks(logits, top_k=0, top_p=1.0):
    order = logits.argsort(dim=-1, descending=True, stable=True)
    ranks = order.argsort(dim=-1)
    keep = ranks < top_k if top_k > 0 else torch.ones_like(ranks, dtype=torch.bool)
    logits = torch.where(keep, logits, -_INF)
    if top_p >= 1:
        return logits
    p = logits.float().softmax(-1).gather(-1, order)
    before = F.pad(p.cumsum(-1)[:, :-1], (1, 0))
    n = (before < top_p).sum(-1, keepdim=True).clamp(min=1)
    return torch.where(ranks < n, logits, -_INF)


def _or_itself(logits, top_k=0, top_p=1.0):
    """Nothing to do: the logits as they came."""
    if 0 < top_k < logits.size(1):
        values, indices = logits.topk(top_k, dim=1)
        logits = torch.full_like(logits, -torch.inf).scatter_(1, indices, values)
    if top_p != 1.0:
        values, indices = logits.sort(dim=1, descending=True)
        p = F.softmax(values, dim=1)
        mask = (p.cumsum(1) - p) >= top_p
        mask[:, 0] = 0
        values = values.masked_fill(mask, -torch.inf)
        logits = torch.empty_like(logits).scatter_(1, indices, values)
    return logits


def _gumbel(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    logits = _ascending(logits / temperature, top_k=top_k, top_p=top_p)
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits.softmax(-1) / noise).argmax(-1)


def _inverse(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if not temperature:
        return logits.max(dim=-1).indices
    p = _by_ranks(logits.double() / temperature, top_k, top_p).softmax(-1)
    u = torch.rand(len(p), 1, generator=generator, dtype=torch.float64)
    return torch.searchsorted(p.cumsum(-1), u, right=True).clamp(max=p.shape[-1] - 1).view(-1)


def _always_a_generator(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    generator = torch.default_generator if generator is None else generator
    if temperature < 1e-9:
        return logits.topk(1).indices[:, 0]
    logits = _or_itself(logits / temperature, top_k, top_p)
    return torch.multinomial(torch.exp(logits.log_softmax(1)), num_samples=1, generator=generator).view(len(logits))


RIGHT = [
    {"filter_logits": _ascending, "sample": _gumbel},
    {"filter_logits": _by_rows},
    {"filter_logits": _by_ranks, "sample": _inverse},
    {"filter_logits": _or_itself, "sample": _always_a_generator},
]


def _until_p(logits, top_k=0, top_p=1.0):
    """While the sum is below p."""
    out = _by_rows(logits, top_k)
    if top_p >= 1:
        return out
    values, order = out.sort(descending=True)
    keep = values.softmax(-1).cumsum(-1) < top_p
    return torch.full_like(out, -_INF).scatter(1, order, values.masked_fill(~keep, -_INF))


def _until_p_or_one(logits, top_k=0, top_p=1.0):
    out = _until_p(logits, top_k, top_p)
    best = logits.argmax(-1, keepdim=True)
    return out.scatter(1, best, logits.gather(1, best))


def _shifted(logits, top_k=0, top_p=1.0):
    out = _by_rows(logits, top_k)
    if top_p < 1:
        values, order = out.sort(descending=True)
        remove = values.softmax(-1).cumsum(-1) > top_p
        remove[:, 1:] = remove[:, :-1].clone()
        remove[:, 0] = False
        out[remove.scatter(1, order, remove)] = -_INF
    return out


def _mask_of_the_sorted(logits, top_k=0, top_p=1.0):
    out = _by_rows(logits, top_k)
    if top_p < 1:
        p = out.softmax(-1).sort(descending=True).values
        remove = p.cumsum(-1) - p >= top_p
        remove[:, 0] = False
        out[remove] = -_INF
    return out


def _written_into(logits, top_k=0, top_p=1.0):
    logits[_by_rows(logits, top_k, top_p) == -_INF] = -_INF
    return logits


def _kth_of_row_zero(logits, top_k=0, top_p=1.0):
    if top_k:
        kth = logits[0].topk(min(top_k, logits.size(1)))[0][-1]
        logits = torch.where(logits < kth, -_INF, logits)
    return _by_rows(logits, 0, top_p)


def _too_large(logits, top_k=0, top_p=1.0):
    if top_k > 0:
        logits = logits.masked_fill(logits < logits.sort(descending=True).values[:, top_k - 1, None], -_INF)
    return _by_rows(logits, 0, top_p)


def _nucleus_first(logits, top_k=0, top_p=1.0):
    return _by_rows(_by_rows(logits, 0, top_p), top_k)


def _both_of_all(logits, top_k=0, top_p=1.0):
    return torch.minimum(_by_rows(logits, top_k), _by_rows(logits, 0, top_p))


def _very_negative(logits, top_k=0, top_p=1.0):
    out = _by_rows(logits, top_k, top_p)
    return out.masked_fill(out == -_INF, torch.finfo(out.dtype).min)


def _through_numpy(logits, top_k=0, top_p=1.0):
    return torch.from_numpy(np.asarray(_by_rows(logits, top_k, top_p).float()))


def _strict_k(logits, top_k=0, top_p=1.0):
    if top_k:
        logits = logits.masked_fill(~(logits > logits.topk(min(top_k, 4))[0][:, -1:]), -_INF)
    return _by_rows(logits, 0, top_p)


def _few_columns(logits, top_k=0, top_p=1.0):
    return _by_rows(logits, 0, top_p)[:, : top_k or None]


def _tail_at_one(logits, top_k=0, top_p=1.0):
    out = _by_rows(logits, top_k)
    values, order = out.float().sort(descending=True)
    p = values.softmax(-1)
    late = p.cumsum(-1) - p >= top_p
    late[:, 0] = False
    return out.masked_fill(late.scatter(1, order, late), -_INF)


def _clamped(logits, top_k=0, top_p=1.0):
    return (
        _by_rows(logits, top_k, top_p) if top_k == 0 or top_p < 1 else _by_rows(logits.nan_to_num(neginf=-99.0), top_k)
    )


def _sampler(zero=None, order="temperature first", column=False, seed=None, scale=None):
    def wrong(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
        if temperature == 0:
            if zero is None:
                return logits.argmax(-1)
            temperature = zero
        if order == "temperature first":
            logits = _ascending(logits / temperature, top_k, top_p)
        elif order == "temperature last":
            logits = _ascending(logits, top_k, top_p) / temperature
        else:
            logits = _ascending(logits, top_k, top_p)
        p = logits.softmax(-1)
        if order == "probabilities":
            p = p / temperature
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
        token = torch.multinomial(p, 1, generator=generator)
        return token if column else token.squeeze()

    return wrong


def _with_numpy(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1)
    p = _ascending(logits / temperature, top_k, top_p).double().softmax(-1).cumsum(-1).numpy()
    u = np.random.default_rng(len(p)).random((len(p), 1))
    return torch.from_numpy((p < u).sum(-1)).clamp(max=p.shape[-1] - 1)


def _categorical(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1)
    return torch.distributions.Categorical(logits=_ascending(logits / temperature, top_k, top_p)).sample()


def _divided_in_place(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1)
    logits /= temperature
    return torch.multinomial(_ascending(logits, top_k, top_p).softmax(-1), 1, generator=generator).flatten()


def _exponentials(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1)
    p = torch.exp(_ascending(logits / temperature, top_k, top_p))
    return torch.multinomial(p / p.sum(-1, keepdim=True), 1, generator=generator).flatten()


def _no_filters(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).flatten()


def _at_least_a_tenth(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    """Who is afraid of large logits."""
    return _gumbel(logits, temperature and max(temperature, 0.1), top_k, top_p, generator)


def _keepdim(logits, temperature=1.0, top_k=0, top_p=1.0, generator=None):
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    return _gumbel(logits, temperature, top_k, top_p, generator)


def _global_seed(logits, generator=None, **o):
    if generator is not None:
        torch.manual_seed(generator.seed())
    return _gumbel(logits, **o)


WRONG = [
    Mistake("the token that reaches top_p stays", caught_by="", filter_logits=_until_p_or_one),
    Mistake("nothing is left of row 0", caught_by="", filter_logits=_until_p),
    Mistake("which is the smallest set", caught_by="", filter_logits=_shifted),
    Mistake("has to go back to its place", caught_by="", filter_logits=_mask_of_the_sorted),
    Mistake("the logits are the caller's: put -inf into another tensor", caught_by="", filter_logits=_written_into),
    Mistake("the limit of row 0 cuts all", caught_by="", filter_logits=_kth_of_row_zero),
    Mistake("top_k may be larger than the vocabulary", caught_by="", filter_logits=_too_large),
    Mistake("that is top_p of all tokens", caught_by="", filter_logits=_nucleus_first),
    Mistake("that is top_p of all tokens", caught_by="", filter_logits=_both_of_all),
    Mistake("it stays as it is, or it is -inf", caught_by="", filter_logits=_very_negative),
    Mistake("and so is the result", caught_by="", filter_logits=_through_numpy),
    Mistake("nothing is left of row 0", caught_by="", filter_logits=_strict_k),
    Mistake("the result has a column for each token", caught_by="", filter_logits=_few_columns),
    Mistake("nothing is to be removed", caught_by="", filter_logits=_tail_at_one),
    Mistake("a token that had -inf came back", caught_by="", filter_logits=_clamped),
    Mistake("used random numbers", caught_by="", sample=_sampler(zero=1e-4)),
    Mistake("probabilities with nan, inf", caught_by="", sample=_sampler(zero=0.0)),
    Mistake("was drawn in", caught_by="", sample=_sampler(order="temperature last")),
    Mistake("expected (0.6849", caught_by="", sample=_sampler(order="probabilities")),
    Mistake("one token for each row", caught_by="", sample=_sampler(column=True)),
    Mistake("one token for each row", caught_by="", sample=_sampler()),
    Mistake("one token for each row", caught_by="", sample=_keepdim),
    Mistake("it was seeded anew", caught_by="", sample=_sampler(seed=0)),
    Mistake("torch's global one is as before", caught_by="", sample=_with_numpy),
    Mistake("torch's global one moved", caught_by="", sample=_categorical),
    Mistake("the logits are the caller's", caught_by="", sample=_divided_in_place),
    Mistake("probabilities with nan, inf", caught_by="", sample=_exponentials),
    Mistake("was drawn in", caught_by="", sample=_no_filters),
    Mistake("divided by it, they are those logits again", caught_by="", sample=_at_least_a_tenth),
    Mistake("or it was set back", caught_by="", sample=lambda logits, generator=None, **o: _gumbel(logits, **o)),
    Mistake(
        "shares of", caught_by="", sample=lambda logits, temperature=1.0, **o: _gumbel(logits, temperature**2, **o)
    ),
    Mistake("torch's global one moved", caught_by="", sample=_global_seed),
]
