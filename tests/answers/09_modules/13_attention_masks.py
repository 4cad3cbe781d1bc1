"""Answers that people give to attention_masks, right ones and wrong ones."""

import math

import torch
import torch.nn.functional as F

from dojo import Mistake


def _one_call(q, k, v, keep=None):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep)


def _where(q, k, v, keep=None):
    scores = torch.einsum("...ld,...sd->...ls", q, k) * q.size(-1) ** -0.5
    if keep is not None:
        scores = torch.where(keep, scores, -torch.inf)
    return torch.einsum("...ls,...se->...le", scores.softmax(-1), v)


def _added(q, k, v, keep=None):
    scores = torch.matmul(q / math.sqrt(q.shape[-1]), k.mT)
    if keep is not None:
        bias = torch.zeros_like(keep, dtype=q.dtype)
        bias.masked_fill_(keep.logical_not(), -torch.inf)
        scores = scores + bias
    scores = scores - scores.amax(-1, keepdim=True)
    weights = scores.exp()
    return (weights / weights.sum(-1, keepdim=True)) @ v


def _large_number(q, k, v, keep=None):
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if keep is not None:
        scores = scores.masked_fill(keep == 0, -1e9)
    return F.softmax(scores, dim=-1).matmul(v)


def _least_number(q, k, v, keep=None):
    scores = q.matmul(k.swapaxes(-2, -1)).div(math.sqrt(k.shape[-1]))
    if keep is not None:
        scores.masked_fill_(~keep, torch.finfo(scores.dtype).min)
    return torch.exp(scores - scores.logsumexp(-1, keepdim=True)) @ v


def _float_mask(keep):
    mask = torch.zeros(keep.shape)
    mask[~keep] = float("-inf")
    return mask


def _row_by_row(lengths, S):
    mask = torch.ones(len(lengths), S, dtype=torch.bool)
    for i, n in enumerate(lengths):
        mask[i, :n] = False
    return mask


def _float_padding(lengths, S):
    return torch.tensor([[0.0] * n + [-math.inf] * (S - n) for n in lengths])


def _heads_in_a_loop(q, k, v, keep=None):
    """The leading dims one by one, down to matrices."""
    if keep is not None:
        keep = keep.expand(*q.shape[:-1], k.shape[-2])
    if q.dim() > 2:
        parts = [_heads_in_a_loop(q[i], k[i], v[i], None if keep is None else keep[i]) for i in range(len(q))]
        return torch.stack(parts)
    rows = []
    for i, query in enumerate(q):
        chosen = slice(None) if keep is None else keep[i]
        scores = k[chosen].mv(query) / math.sqrt(len(query))
        rows.append(torch.softmax(scores, 0) @ v[chosen])
    return torch.stack(rows)


def _root_of_a_tensor(q, k, v, keep=None):
    """As in many tutorials: the root is a float32 of its own."""
    scores = torch.matmul(q, k.transpose(-2, -1)) / torch.sqrt(torch.tensor(k.size(-1), dtype=torch.float32))
    if keep is not None:
        scores = scores.masked_fill(keep == False, -1e20)  # noqa: E712
    return torch.matmul(F.softmax(scores, dim=-1), v)


def _columns_in_place(lengths, S):
    mask = torch.zeros((len(lengths), S)).bool()
    for b in range(len(lengths)):
        for s in range(lengths[b], S):
            mask[b][s] = True
    return mask


RIGHT = [
    dict(attention=_root_of_a_tensor),
    dict(
        attention=_heads_in_a_loop,
        to_mha_mask=lambda keep: torch.from_numpy(keep.numpy() == 0),
        padding_mask=_columns_in_place,
    ),
    dict(attention=_one_call, to_mha_mask=torch.logical_not, padding_mask=_row_by_row),
    dict(attention=_where, to_mha_mask=_float_mask),
    dict(attention=_added, to_mha_mask=lambda keep: keep == False, padding_mask=_float_padding),  # noqa: E712
    dict(attention=_large_number, to_mha_mask=lambda keep: torch.where(keep, 0.0, -torch.inf)),
    dict(
        attention=_least_number,
        to_mha_mask=lambda keep: 1 - keep.int() > 0,
        padding_mask=lambda lengths, S: ~(torch.arange(S)[None] < torch.as_tensor(lengths)[:, None]),
    ),
]


def _no_scale(q, k, v, keep=None):
    scores = torch.einsum("...ld,...sd->...ls", q, k)
    if keep is not None:
        scores = torch.where(keep, scores, -torch.inf)
    return scores.softmax(-1) @ v


def _over_dim_1(q, k, v, keep=None):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if keep is not None:
        scores = scores.masked_fill(~keep, -torch.inf)
    return scores.softmax(1) @ v


def _scaled_by_everything(q, k, v, keep=None):
    scores = q @ k.mT / q.size(-1)
    if keep is not None:
        scores = scores.masked_fill(~keep, -torch.inf)
    return scores.softmax(-1) @ v


def _two_dims(q, k, v, keep=None):
    return _one_call(q, k, v, keep) if q.dim() == 3 else (q @ k.t() / math.sqrt(q.size(-1))).softmax(-1) @ v


def _inverted_where(q, k, v, keep=None):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if keep is not None:
        scores = torch.where(keep, -torch.inf, scores)
    return scores.softmax(-1) @ v


def _called_with_the_opposite(q, k, v, keep=None):
    return _one_call(q, k, v, None if keep is None else ~keep)


def _as_a_float(q, k, v, keep=None):
    return _one_call(q, k, v, None if keep is None else keep.to(q.dtype))


def _zeroed(q, k, v, keep=None):
    weights = (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)
    if keep is not None:
        weights = torch.where(keep, weights, 0)
    return weights @ v


def _zeroed_scores(q, k, v, keep=None):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if keep is not None:
        scores = scores.masked_fill(~keep, 0.0)
    return scores.softmax(-1) @ v


def _masked_values(q, k, v, keep=None):
    scores = (q @ k.mT / math.sqrt(q.size(-1))).exp()
    if keep is not None:
        scores = scores.masked_fill(~keep, 0.0)
    return (scores @ v) / scores.sum(-1, keepdim=True)


def _in_data(q, k, v, keep=None):
    return _one_call(q, k, v, keep).data


def _small_fill(q, k, v, keep=None):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if keep is not None:
        scores = scores + (1.0 - keep.to(q.dtype)) * -10000.0
    return scores.softmax(-1) @ v


def _divides_again(q, k, v, keep=None):
    weights = (q @ k.mT / math.sqrt(q.size(-1))).softmax(-1)
    if keep is not None:
        weights = F.normalize(weights.masked_fill(~keep, 0), p=1, dim=-1, eps=0.0)
    return weights @ v


def _through_numpy(q, k, v, keep=None):
    scores = torch.from_numpy(q.detach().numpy() @ k.detach().mT.numpy()) / math.sqrt(q.size(-1))
    if keep is not None:
        scores = scores.masked_fill(~keep, -torch.inf)
    return scores.softmax(-1) @ v


def _inf_times(q, k, v, keep=None):
    scores = q @ k.mT / math.sqrt(q.size(-1))
    if keep is not None:
        scores = scores - torch.inf * (1 - keep.to(scores.dtype))
    return scores.softmax(-1) @ v


WRONG = [
    Mistake("0 * -inf is nan, 0 / 0 too", caught_by="", attention=_inf_times),
    Mistake("the mask has nan in it", caught_by="", to_mha_mask=lambda keep: (1 - keep.float()) * float("-inf")),
    Mistake(
        "lengths stays as it is",
        caught_by="",
        padding_mask=lambda n, S: torch.arange(S) >= torch.tensor([[n.pop(0)] for _ in range(len(n))]),
    ),
    Mistake("are not divided by √D", caught_by="", attention=_no_scale),
    Mistake("divided by D, not by √D", caught_by="", attention=_scaled_by_everything),
    Mistake("softmax(q @ kᵀ / √D) @ v", caught_by="", attention=_over_dim_1),
    Mistake("in front of which there may be any number of dims", caught_by="", attention=_two_dims),
    Mistake("the mask is inverted: True keeps a key", caught_by="", attention=_inverted_where),
    Mistake("the mask is inverted: True keeps a key", caught_by="", attention=_called_with_the_opposite),
    Mistake("a mask of 0 and 1 is added", caught_by="", attention=_as_a_float),
    Mistake("the weights of the kept keys must sum to 1", caught_by="", attention=_zeroed),
    Mistake("a key that is not kept has the weight", caught_by="", attention=_zeroed_scores),
    Mistake("exp of such scores is inf, or 0", caught_by="", attention=_masked_values),
    Mistake("exp of such scores is inf, or 0", caught_by="", attention=_divides_again),
    Mistake("the result hangs on no graph", caught_by="", attention=_in_data),
    Mistake("with kept scores of -900000", caught_by="", attention=_small_fill),
    Mistake("no gradient reaches q", caught_by="", attention=_through_numpy),
    Mistake("the mask is the wrong way round", caught_by="", to_mha_mask=lambda keep: keep.clone()),
    Mistake("takes bool and float masks only", caught_by="", to_mha_mask=lambda keep: 1 - keep.long()),
    Mistake("a float mask of 0 and 1 is added", caught_by="", to_mha_mask=lambda keep: 1.0 - keep.float()),
    Mistake("three queries and five keys: a blocked key has", caught_by="", to_mha_mask=lambda keep: keep & ~keep),
    Mistake(
        "the mask is the wrong way round",
        caught_by="",
        padding_mask=lambda lengths, S: torch.arange(S) < torch.tensor(lengths)[:, None],
    ),
    Mistake(
        "a blocked key has the weight",
        caught_by="",
        padding_mask=lambda lengths, S: torch.arange(S) > torch.tensor(lengths)[:, None],
    ),
    Mistake(
        "padding_mask([1, 4, 2], 6) is (3, 6)",
        caught_by="",
        padding_mask=lambda lengths, S: torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None],
    ),
]
