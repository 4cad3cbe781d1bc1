"""Answers that people give to mask_do_not_multiply, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _mean_with_a_loop(x, mask):
    kept = [v for v, m in zip(x.flatten(), mask.flatten(), strict=True) if m]
    return sum(kept) / len(kept)


def _fill_a_clone(x, mask, v):
    out = x.clone()
    out[mask] = v
    return out


def _fill_by_numpy(x, mask, v):
    return torch.from_numpy(np.where(mask.numpy(), np.array(v, x.numpy().dtype), x.numpy()))


def _fill_with_full(x, mask, v):
    return torch.where(mask, torch.full_like(x, v), x)


def _fill_through_a_view(x, mask, v):
    out = x.view(-1)
    out[mask.view(-1)] = v
    return out.view(x.shape)


def _fill_by_weights(x, mask, v):
    w = mask.to(x.dtype)
    return (1 - w) * x + w * v


def _invert_in_place(mask):
    return mask.logical_xor_(torch.tensor(True)).bool()


def _fill_and_clone(x, mask, v):
    return x.index_put_((mask,), torch.tensor(v)).clone()


RIGHT = [
    dict(
        invert=lambda m: m.eq(torch.zeros_like(m)),
        masked_mean=lambda x, m: x[m].mean().item(),
        fill=lambda x, m, v: x.masked_scatter(m, torch.full_like(x, v)),
    ),
    dict(masked_mean=lambda x, m: np.mean(x.numpy()[m.numpy()])),
    dict(invert=lambda m: ~m.bool(), masked_mean=lambda x, m: x.masked_select(m).mean(), fill=_fill_a_clone),
    dict(
        invert=lambda m: m == 0,
        masked_mean=lambda x, m: torch.where(m, x, 0.0).sum() / m.sum(),
        fill=lambda x, m, v: torch.where(m, v, x),
    ),
    dict(
        invert=lambda m: (1 - m.int()).bool(),
        masked_mean=lambda x, m: x.masked_fill(~m, float("nan")).nanmean(),
        fill=_fill_with_full,
    ),
    dict(invert=torch.logical_not, masked_mean=_mean_with_a_loop),
    dict(
        invert=lambda m: m != 1,
        masked_mean=lambda x, m: x.masked_fill(m.logical_not(), 0).sum() / m.float().sum(),
        fill=lambda x, m, v: torch.masked_fill(x, m, v),
    ),
    dict(
        invert=lambda m: torch.where(m.bool(), False, True),
        masked_mean=lambda x, m: x[m].sum() / m.count_nonzero(),
        fill=lambda x, m, v: x.where(~m, v),
    ),
    dict(
        invert=lambda m: m.to(torch.bool) ^ True,
        masked_mean=lambda x, m: torch.masked.mean(x, mask=m),
        fill=lambda x, m, v: x.index_put((m,), torch.tensor(v, dtype=x.dtype)),
    ),
    dict(
        invert=lambda m: m.bool().bitwise_not(),
        masked_mean=lambda x, m: torch.mean(torch.take(x, m.flatten().nonzero().flatten())),
        fill=lambda x, m, v: torch.where(m, torch.tensor(v, dtype=x.dtype), x),
    ),
    dict(invert=lambda m: torch.tensor([not v for v in m.flatten().tolist()]).view(m.shape)),
    dict(invert=lambda m: ~(m > 0), masked_mean=lambda x, m: torch.tensor(x.numpy()[m.numpy()].mean())),
]

WRONG = [
    Mistake("NumPy knows no bfloat16", caught_by="", fill=_fill_by_numpy),
    Mistake("neither a number, to be subtracted", caught_by="", invert=lambda m: torch.tensor(not m)),
    Mistake("the mask keeps 4 and 5", caught_by="", masked_mean=lambda x, m: x[m].mean(0, keepdim=True)),
    Mistake("neither a number, to be subtracted", caught_by="", invert=lambda m: (torch.ones_like(m) - m).bool()),
    Mistake("neither a number, to be subtracted", caught_by="", invert=lambda m: -m + 1 > 0),
    Mistake("with its eight bits flipped", caught_by="", invert=lambda m: m.bitwise_not()),
    Mistake("1 becomes False, 0 becomes True", caught_by="", invert=lambda m: m ^ 1 if m.dtype == torch.uint8 else ~m),
    Mistake(
        "those that became 0 still count", caught_by="", masked_mean=lambda x, m: x.masked_fill(~m, 0).sum() / x.numel()
    ),
    Mistake("22.25 is the mean of all values", caught_by="", masked_mean=lambda x, m: x.nan_to_num().mean()),
    Mistake("NaN * 0 is NaN", caught_by="", masked_mean=lambda x, m: (x * m.float()).sum() / m.float().sum()),
    Mistake(
        "NaN * 0 is NaN", caught_by="", masked_mean=lambda x, m: torch.dot(x.flatten(), m.flatten().float()) / m.sum()
    ),
    Mistake("fill must not write into x", caught_by="", fill=_fill_through_a_view),
    Mistake("the NaN is still there", caught_by="", fill=_fill_by_weights),
    Mistake("-inf * 0 is NaN", caught_by="", fill=lambda x, m, v: torch.where(m, 0.0, x) + m.float() * v),
    Mistake("22.25 is the mean of all values", caught_by="", masked_mean=lambda x, m: x[x.isfinite()].mean()),
    Mistake("those that became 0 still count", caught_by="", masked_mean=lambda x, m: x[m].sum() / x.numel()),
    Mistake(
        "in the dtype of x, exactly",
        caught_by="",
        fill=lambda x, m, v: torch.from_numpy(np.where(m, np.float32(v), x)).to(x.dtype),
    ),
    Mistake("-inf where the mask is True", caught_by="", fill=lambda x, m, v: torch.where(m, v, x.float())),
    Mistake("their mean is inf", caught_by="", masked_mean=lambda x, m: x[m & x.isfinite()].mean()),
    Mistake("invert must not change the mask", caught_by="", invert=_invert_in_place),
    Mistake("nobody asked to hide it", caught_by="", fill=lambda x, m, v: torch.where(m | x.isnan(), v, x)),
    Mistake("fill must not write into x", caught_by="", fill=_fill_and_clone),
    Mistake("each True becomes False", caught_by="", invert=lambda m: m.bool()),
]
