"""Answers that people give to split_heads, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _view(x, n_heads):
    B, T, C = x.shape
    return x.view(B, T, n_heads, C // n_heads).transpose(1, 2)


def _contiguous(x):
    B, H, T, D = x.size()
    return x.transpose(1, 2).contiguous().view(B, T, H * D)


def _expand(x, n):
    B, G, T, D = x.shape
    if n == 1:
        return x
    return x[:, :, None, :, :].expand(B, G, n, T, D).reshape(B, G * n, T, D)


def _stack(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def _cat(x):
    return torch.cat(x.unbind(1), dim=-1)


def _by_index(x, n):
    return x[:, torch.arange(x.shape[1] * n) // n]


def _permuted(x, n_heads):
    return x.reshape(*x.shape[:2], n_heads, -1).permute(0, 2, 1, 3).contiguous()


def _permuted_back(x):
    return x.permute(0, 2, 1, 3).reshape(x.size(0), x.size(2), -1)


def _stacked(x, n):
    return torch.stack([x] * n, dim=2).flatten(1, 2)


def _filled(x, n_heads):
    B, T, C = x.shape
    D = C // n_heads
    out = x.new_empty(B, n_heads, T, D)
    for h in range(n_heads):
        out[:, h] = x[..., h * D : (h + 1) * D]
    return out


def _filled_back(x):
    B, H, T, D = x.shape
    out = torch.zeros(B, T, H * D, dtype=x.dtype, device=x.device)
    for h in range(H):
        out[..., h * D : (h + 1) * D] = x[:, h]
    return out


def _cat_repeat(x, n):
    return torch.cat([x[:, g : g + 1].expand(-1, n, -1, -1) for g in range(x.shape[1])], dim=1)


def _einsum(x, n):
    return torch.einsum("bgtd,n->bgntd", x, x.new_ones(n)).flatten(1, 2)


def _swapaxes(x, n_heads):
    return torch.swapaxes(x.view(x.shape[0], x.shape[1], n_heads, -1), 1, 2)


def _moved(x):
    return torch.movedim(x, 1, 2).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def _tensor_of_counts(x, n):
    return torch.repeat_interleave(x, torch.full((x.shape[1],), n), dim=1)


RIGHT = [
    dict(split_heads=_view, merge_heads=_contiguous, repeat_kv=_expand),
    dict(split_heads=_stack, merge_heads=_cat, repeat_kv=_by_index),
    dict(split_heads=_permuted, merge_heads=_permuted_back, repeat_kv=_stacked),
    dict(split_heads=_filled, merge_heads=_filled_back, repeat_kv=_cat_repeat),
    dict(split_heads=_swapaxes, merge_heads=_moved, repeat_kv=_einsum),
    dict(repeat_kv=_tensor_of_counts),
]


def _clone_view(x, n_heads):
    return x.clone().contiguous().view(x.size(0), n_heads, x.size(1), x.size(2) // n_heads)


def _split_and_cat(x, n_heads):
    return torch.cat(x.chunk(n_heads, -1), 0).view(x.shape[0], n_heads, x.shape[1], -1)


def _heads_inside(x, n_heads):
    return x.reshape(x.shape[0], x.shape[1], -1, n_heads).permute(0, 3, 1, 2)


def _list(x, n_heads):
    return [x[..., h :: x.shape[-1] // n_heads] for h in range(n_heads)]


def _new_tensor(x, n_heads):
    return torch.tensor(_view(x, n_heads).detach().numpy()) if x.dtype != torch.bfloat16 else _view(x, n_heads)


def _unchecked_view(x):
    return torch.swapdims(x, 1, 2).view(x.shape[0], x.shape[2], -1)


def _flatten_only(x):
    return x.flatten(1).view(x.shape[0], x.shape[2], -1)


def _swap_tokens_and_columns(x):
    return x.transpose(1, 3).flatten(2).mT if x.shape[2] == x.shape[3] else _permuted_back(x)


def _rounded(x):
    return _permuted_back(x.float()).to(x.dtype)


def _mean(x):
    return x.mean(1)


def _tile(x, n):
    return torch.tile(x, (1, n, 1, 1))


def _cat_all(x, n):
    return torch.cat([x] * n, dim=1)


def _stack_first(x, n):
    return torch.stack([x for _ in range(n)], 1).flatten(1, 2)


def _np(x, n):
    return torch.as_tensor(np.repeat(x.detach().float().numpy(), n, 1), dtype=x.dtype)


def _no_grad(x, n):
    with torch.no_grad():
        return x.repeat_interleave(n, 1)


def _batch(x, n):
    return x.repeat_interleave(n, dim=0)


def _reshaped(x, n):
    return x.unsqueeze(3).expand(*x.shape[:3], n, x.shape[3]).reshape(x.shape[0], -1, *x.shape[2:])


def _shared_once(x, n):
    return torch.cat([x, x.detach().repeat_interleave(n - 1, 1)], 1) if x.shape[1] == 1 else x.repeat_interleave(n, 1)


WRONG = [
    Mistake("the heads hold other tokens' numbers: split the last axis, then swap", caught_by="", split_heads=fn)
    for fn in (_clone_view, _split_and_cat)
]
WRONG += [
    Mistake("and its columns 4 and 5 hold [4.0, 5.0]", caught_by="", split_heads=_heads_inside),
    Mistake("3 tokens of 8 columns in 4 heads", caught_by="", split_heads=_list),
    Mistake("no gradient can come back to x", caught_by="", split_heads=_new_tensor),
    Mistake("merging needs a copy", caught_by="", merge_heads=_unchecked_view),
    Mistake("joined without the swap, a token gets other tokens' numbers", caught_by="", merge_heads=_flatten_only),
    Mistake("token 0 has [0, 1] in head 0", caught_by="", merge_heads=_swap_tokens_and_columns),
    Mistake("expected torch.float64, got torch.float32", caught_by="", merge_heads=_rounded),
    Mistake("2 heads of 3 tokens of 2 numbers", caught_by="", merge_heads=_mean),
    Mistake("groups of neighbours share a key", caught_by="", repeat_kv=_tile),
    Mistake("groups of neighbours share a key", caught_by="", repeat_kv=_cat_all),
    Mistake("groups of neighbours share a key", caught_by="", repeat_kv=_stack_first),
    Mistake("no gradient can come back to x", caught_by="", repeat_kv=_np),
    Mistake("no gradient can come back to x", caught_by="", repeat_kv=_no_grad),
    Mistake("2 heads, each for 3", caught_by="", repeat_kv=_batch),
    Mistake("head h is as head h//n was", caught_by="", repeat_kv=_reshaped),
    Mistake("is the sum over its 3 heads", caught_by="", repeat_kv=_shared_once),
]
