"""Heads are columns: split, merge, repeat: reference.

Hint: Take one token and write down its columns. Which axis do the heads come out of, and who is its neighbour then?
Hint: `Tensor.unflatten` (or `view`) splits an axis, `Tensor.transpose` swaps two, `reshape` or `flatten` joins; a
`dim` for `repeat_interleave`.
Hint: Split: (B, T, H, D) on the way to (B, H, T, D). Merge: the same two steps, backwards and in the other order.

Why: a view only changes how the memory is cut. The numbers of a token lie together, so its heads can be cut out of it
where they lie, and the swap moves axes, not numbers. Before the join the heads of a token are far apart: somebody has
to copy. repeat_interleave copies each key n times; enable_gqa=True computes the same without the copies. Its gradient
is a sum, since each of the n query heads had its say.
"""

import numpy as np
import torch

from dojo import Mistake


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # (B, T, H, D) -> (B, H, T, D)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, T, H, D) -> (B, T, H*D)


def repeat_kv(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.repeat_interleave(n, dim=1)


def _dealt(x, n_heads):
    B, T, C = x.shape
    return x.reshape(B, n_heads, T, C // n_heads)


def _undealt(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


def _no_swap(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


def _interleaved(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).permute(0, 3, 1, 2)


def _chunks_of_n(x, n_heads):
    return torch.stack(x.split(n_heads, dim=-1), dim=1)


def _stacked_in_front(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1))


def _detached_split(x, n_heads):
    return split_heads(x.detach(), n_heads)


def _single(x, n_heads):
    return split_heads(x.float(), n_heads)


def _strided(x, n_heads):
    B, T, C = x.shape
    D = C // n_heads
    return torch.as_strided(x, (B, n_heads, T, D), (T * C, D, C, 1))


def _one_long_batch(x, n_heads):
    B, T, C = x.shape
    return x.view(B * T, n_heads, C // n_heads).view(B, T, n_heads, -1).transpose(1, 2)


def _swapped_in_place(x, n_heads):
    return x.transpose_(1, 2).unflatten(1, (n_heads, -1)).transpose(2, 3)


def _merge_view(x):
    B, H, T, D = x.shape
    return x.transpose(1, 2).view(B, T, H * D)


def _merge_mixed(x):
    return x.permute(0, 2, 3, 1).flatten(2)


def _merge_detached(x):
    return merge_heads(x.data)


def _merge_as_list(x):
    return torch.tensor(merge_heads(x).tolist(), dtype=x.dtype, requires_grad=x.requires_grad)


def _merge_columns_reversed(x):
    return merge_heads(x.flip(1))


def _merge_cat_tokens(x):
    return torch.cat(x.unbind(2), dim=-1)


def _merge_float(x):
    return merge_heads(x).float()


def _tiled(x, n):
    return x.repeat(1, n, 1, 1)


def _flat(x, n):
    return x.repeat_interleave(n)


def _other_axis(x, n):
    return x.repeat_interleave(n, dim=2)


def _five_axes(x, n):
    return x.unsqueeze(2).expand(-1, -1, n, -1, -1)


def _expanded_in_front(x, n):
    B, G, T, D = x.shape
    return x[:, None].expand(B, n, G, T, D).reshape(B, n * G, T, D)


def _through_numpy(x, n):
    return torch.from_numpy(np.repeat(x.detach().double().numpy(), n, axis=1)).to(x.dtype)


def _only_the_first_learns(x, n):
    copies = [x] + [x.detach()] * (n - 1)
    return torch.stack(copies, dim=2).flatten(1, 2)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, n):
        ctx.n = n
        return x.repeat_interleave(n, dim=1)

    @staticmethod
    def backward(ctx, grad):
        return grad.unflatten(1, (-1, ctx.n)).mean(2), None


def _mean_of_gradients(x, n):
    return _Mean.apply(x, n)


def _viewed(x, n):
    B, G, T, D = x.shape
    return x.contiguous().view(B, G, 1, T * D).expand(B, G, n, T * D).contiguous().view(B, G * n, D, T).mT


def _reads_memory(x, n):
    B, G, T, D = x.shape
    return x.as_strided((B, G, n, T, D), (G * T * D, T * D, 0, D, 1)).reshape(B, G * n, T, D)


def _half_to_single(function):
    """As the reference, but bfloat16 and float16 go in and float32 comes out."""

    def wrong(x, *n):
        got = function(x, *n)
        return got.float() if got.element_size() == 2 else got

    return wrong


def _n_in_all(x, n):
    return x.repeat_interleave(max(n // x.shape[1], 1), dim=1)


_BLOCK = "test_a_head_is_a_block_of_columns_of_every_token"
_STRIDES = "test_any_strides_may_come_in"
_MERGE = "test_merging_swaps_first_and_joins_then"
_GRADIENT = "test_each_gradient_returns_to_its_own_column"
_GROUPS = "test_groups_of_neighbours_share_a_key"
_SHARED = "test_a_shared_key_gets_the_gradients_of_its_whole_group"

_DEALT = "the heads hold other tokens' numbers: split the last axis, then swap"
_JOINED = "joined without the swap, a token gets other tokens' numbers"
_COPY = "merging needs a copy"

MISTAKES = [
    Mistake(_DEALT, caught_by=_BLOCK, split_heads=_dealt),
    Mistake(_DEALT, caught_by=_BLOCK, split_heads=_dealt, merge_heads=_undealt),
    Mistake("3 tokens of 8 columns in 4 heads", caught_by=_BLOCK, split_heads=_no_swap),
    Mistake("and its columns 4 and 5 hold [4.0, 5.0]", caught_by=_BLOCK, split_heads=_interleaved),
    Mistake("3 tokens of 8 columns in 4 heads", caught_by=_BLOCK, split_heads=_chunks_of_n),
    Mistake("3 tokens of 8 columns in 4 heads", caught_by=_BLOCK, split_heads=_stacked_in_front),
    Mistake("expected torch.float64, got torch.float32", caught_by=_BLOCK, split_heads=_single),
    Mistake("expected torch.bfloat16, got torch.float32", caught_by=_BLOCK, split_heads=_half_to_single(split_heads)),
    Mistake("must leave x as it is", caught_by=_BLOCK, split_heads=_swapped_in_place),
    Mistake("split_heads of a permuted x", caught_by=_STRIDES, split_heads=_strided),
    Mistake("and so may other strides", caught_by=_STRIDES, split_heads=_one_long_batch),
    Mistake("repeat_kv of a transposed view", caught_by=_STRIDES, repeat_kv=_reads_memory),
    Mistake(_JOINED, caught_by=_MERGE, merge_heads=_undealt),
    Mistake(_COPY, caught_by=_MERGE, merge_heads=_merge_view),
    Mistake("token 0 has [0, 1] in head 0 and [2, 3] in head 1", caught_by=_MERGE, merge_heads=_merge_mixed),
    Mistake("token 0 has [0, 1] in head 0", caught_by=_MERGE, merge_heads=_merge_columns_reversed),
    Mistake("2 heads of 3 tokens of 2 numbers", caught_by=_MERGE, merge_heads=_merge_cat_tokens),
    Mistake("expected torch.float64, got torch.float32", caught_by=_MERGE, merge_heads=_merge_float),
    Mistake("expected torch.bfloat16, got torch.float32", caught_by=_MERGE, merge_heads=_half_to_single(merge_heads)),
    Mistake("no gradient can come back to x", caught_by=_GRADIENT, split_heads=_detached_split),
    Mistake("no gradient can come back to x", caught_by=_GRADIENT, merge_heads=_merge_detached),
    Mistake("the result hangs on another tensor than x", caught_by=_GRADIENT, merge_heads=_merge_as_list),
    Mistake("groups of neighbours share a key", caught_by=_GROUPS, repeat_kv=_tiled),
    Mistake("groups of neighbours share a key", caught_by=_GROUPS, repeat_kv=_expanded_in_front),
    Mistake("2 heads, each for 3", caught_by=_GROUPS, repeat_kv=_flat),
    Mistake("2 heads, each for 3", caught_by=_GROUPS, repeat_kv=_other_axis),
    Mistake("2 heads, each for 3", caught_by=_GROUPS, repeat_kv=_five_axes),
    Mistake("2 heads, each for 3", caught_by=_GROUPS, repeat_kv=_n_in_all),
    Mistake("head h is as head h//n was", caught_by=_GROUPS, repeat_kv=_viewed),
    Mistake("expected torch.bfloat16, got torch.float32", caught_by=_GROUPS, repeat_kv=_half_to_single(repeat_kv)),
    Mistake("no gradient can come back to x", caught_by=_SHARED, repeat_kv=_through_numpy),
    Mistake("is the sum over its 3 heads", caught_by=_SHARED, repeat_kv=_only_the_first_learns),
    Mistake("is the sum over its 3 heads", caught_by=_SHARED, repeat_kv=_mean_of_gradients),
]
