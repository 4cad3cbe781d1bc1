"""Heads are columns: split, merge, repeat

Attention works in several *heads* side by side. A token comes as one row of C numbers, and a head is nothing but a
block of its columns: with H heads and D = C / H, head 0 has columns 0 to D-1, head 1 the next D, and so on. To let all
heads work at once, (B, T, C) is turned into (B, H, T, D), and at the end back into (B, T, C).

`x.view(B, H, T, D)` has that shape and runs without an error, but it cuts the numbers in reading order: it deals the
*tokens* out to the heads. What is right takes two steps: split the last axis in two neighbours, then swap two axes
(`Tensor.transpose`). On the way back, swap first, then join. Splitting an axis never needs a copy; joining what does
not lie side by side does, and `view` refuses that: `reshape` copies where it must. Nothing tells you of a mistake here.
The loss still falls, the scrambled way back even undoes the scrambled way there, and repositories have carried it for
years.

Newer models save memory: G heads of keys and values serve H = G * n heads of queries, in groups of n neighbours. Heads
0 to n-1 of the queries share head 0 of the keys. `Tensor.repeat` gives the order 0, 1, 0, 1, ..., as if you laid the
whole row down n times; `Tensor.repeat_interleave` with a `dim` gives 0, 0, ..., 1, 1, ...; `expand` between two axes,
joined afterwards, does too. `F.scaled_dot_product_attention(..., enable_gqa=True)` groups neighbours as well.

What is asked here: heads from a row of columns, the way back, and keys repeated for their group.

About 20 minutes. Before it: view_or_copy, permute_not_reshape, expand_or_repeat.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """(B, T, C) -> (B, H, T, D), with H = n_heads and D = C / H: head h of a token is its columns h*D to (h+1)*D - 1.

    `n_heads` divides C. `x` is of any float dtype, which is kept, and may have any strides; it stays as it is. Each
    gradient flows back to the column that its number came from.
    """
    raise NotImplementedError("give each head its block of columns")


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """(B, H, T, D) -> (B, T, H*D), the inverse of split_heads: of each token head 0, then head 1, and so on.

    Dtype, strides, gradients and `x` itself as in split_heads.
    """
    raise NotImplementedError("put the heads of each token side by side")


def repeat_kv(x: torch.Tensor, n: int) -> torch.Tensor:
    """(B, G, T, D) -> (B, G*n, T, D): heads g*n to g*n + n-1 of the result are all like head g of `x`; n is 1 or more.

    Dtype, strides and `x` itself as in split_heads. A number that stands n times in the result gets the sum of the
    gradients of all n.
    """
    raise NotImplementedError("repeat each head for the group of heads that share it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "view size is not compatible": "view can't join axes whose numbers don't lie one after the other in memory, as "
    "after a swap: merging needs a copy, and so may other strides",
    "[Cc]an't call numpy|requires grad.*numpy|does not support numpy|unsupported ScalarType": "the numbers left torch: "
    "numpy knows neither gradients nor bfloat16",
    "leaf Variable that requires grad": "x was edited in place: it is the caller's",
}


def _call(function: Callable[..., Any], x: torch.Tensor, *number: int) -> Any:
    __tracebackhide__ = True
    told = f"{function.__name__} of x {tuple(x.shape)}" + "".join(f" and {n}" for n in number)
    with explain(f"{told} raised", _SIGNS), unchanged(f"{told} must leave x as it is", x=x):
        got = function(x, *number)
    assert isinstance(got, torch.Tensor), f"{told} is a tensor, got {type(got).__name__}"
    return got


def _same(got: torch.Tensor, other: torch.Tensor) -> bool:
    return got.shape == other.shape and torch.equal(got.detach().to(other.dtype), other)


# B, H, T, D: all different, all equal, one token, one head, heads of one column
_SIZES = ((2, 3, 5, 4), (3, 3, 3, 3), (2, 4, 1, 3), (2, 1, 5, 3), (2, 5, 3, 1), (1, 2, 6, 3))


@pytest.mark.myth(
    says="view(B, n_head, T, head_dim) saves the transpose.",
    today="It has the right shape and the wrong numbers: view keeps reading order, so each head gets whole tokens.",
)
def test_a_head_is_a_block_of_columns_of_every_token():
    x = torch.arange(24.0).view(1, 3, 8)
    heads = _call(split_heads, x, 4)
    assert heads.shape == (1, 4, 3, 2), f"3 tokens of 8 columns in 4 heads: (1, 4, 3, 2), got {tuple(heads.shape)}"
    first = heads[0, 2, 0].tolist()
    dealt = _same(heads, x.view(1, 4, 3, 2))
    assert not dealt, (
        f"head 2 of token 0 is {first}, and its columns 4 and 5 hold [4.0, 5.0]: the heads hold other tokens' numbers: "
        "split the last axis, then swap"
    )
    assert first == [4.0, 5.0], f"head 2 of token 0 is {first}, and its columns 4 and 5 hold [4.0, 5.0]"
    torch.manual_seed(0)
    for (B, H, T, D), dtype in zip(_SIZES, 2 * [torch.float64, torch.bfloat16, torch.float32], strict=True):
        x = torch.randn(B, T, H * D, dtype=torch.float64).to(dtype)
        want = torch.stack([x[:, :, h * D : (h + 1) * D] for h in range(H)], dim=1)
        dealt, mixed = x.reshape(B, H, T, D), x.reshape(B, T, D, H).permute(0, 3, 1, 2)
        heads = _call(split_heads, x, H)
        told = f"(B, H, T, D) = {(B, H, T, D)}"
        assert not _same(heads, want.transpose(1, 2)) or _same(heads, want), (
            f"{told}: the result is (B, T, H, D): the heads come before the tokens"
        )
        assert not _same(heads, dealt) or _same(dealt, want), (
            f"{told}: the heads hold other tokens' numbers: split the last axis, then swap"
        )
        assert not _same(heads, mixed) or _same(mixed, want), f"{told}: head h has columns h, h+H, ...: not a block"
        check_tensor(heads, want, f"{told}: head h is columns h*D to (h+1)*D - 1 of each token")


def test_any_strides_may_come_in():
    torch.manual_seed(0)
    for B, H, T, D in _SIZES:
        wide = torch.randn(B, 2 * T, H * D + 3, dtype=torch.float64)
        transposed = torch.randn(T, H * D, B, dtype=torch.float64).permute(2, 0, 1)
        for x, told in ((transposed, "a permuted x"), (wide[:, ::2, 2:-1], "a part of a wider x")):
            want = torch.stack([x[:, :, h * D : (h + 1) * D] for h in range(H)], dim=1)
            check_tensor(_call(split_heads, x, H), want, f"split_heads of {told}, with (B, H, T, D) = {(B, H, T, D)}")
        kv = torch.randn(B, T, H, D, dtype=torch.float64).transpose(1, 2)  # as it comes from split_heads
        want = torch.stack([kv[:, h // 2] for h in range(2 * H)], dim=1)
        check_tensor(_call(repeat_kv, kv, 2), want, f"repeat_kv of a transposed view {tuple(kv.shape)}")


def test_merging_swaps_first_and_joins_then():
    x = torch.tensor([[[[0.0, 1.0], [4.0, 5.0], [8.0, 9.0]], [[2.0, 3.0], [6.0, 7.0], [10.0, 11.0]]]])
    merged = _call(merge_heads, x)
    assert merged.shape == (1, 3, 4), f"2 heads of 3 tokens of 2 numbers: (1, 3, 4), got {tuple(merged.shape)}"
    first = merged[0, 0].tolist()
    assert first == [0.0, 1.0, 2.0, 3.0], (
        f"token 0 has [0, 1] in head 0 and [2, 3] in head 1, and came out as {first}"
        + (": joined without the swap, a token gets other tokens' numbers" if _same(merged, x.view(1, 3, 4)) else "")
    )
    torch.manual_seed(0)
    attended = F.scaled_dot_product_attention
    for B, H, T, D in _SIZES:
        q, k, v = (torch.randn(B, H, T, D, dtype=torch.float64) for _ in range(3))
        back = torch.randn(B, T, H, D, dtype=torch.float64).transpose(1, 2)
        for x, told in (
            (v, "contiguous"),
            (back, "a transposed view"),
            (attended(q, k, v), "what attention gives for contiguous heads"),
            (attended(back, back, back), "what attention gives for transposed heads"),
            (v.bfloat16(), "bfloat16"),
        ):
            want = torch.cat([x[:, h] for h in range(H)], dim=-1)
            merged = _call(merge_heads, x)
            for other, cause in (
                (x.reshape(B, T, H * D), "joined without the swap, a token gets other tokens' numbers"),
                (x.permute(0, 2, 3, 1).reshape(B, T, H * D), "the columns of the heads are mixed: one of each in turn"),
            ):
                assert not _same(merged, other) or _same(other, want), (
                    f"x {tuple(x.shape)}, {told}: {cause}: swap heads and tokens, then join the last two axes"
                )
            check_tensor(merged, want, f"x {tuple(x.shape)}, {told}: of each token head 0, then head 1, and so on")


@pytest.mark.myth(
    says="Split and merge give the input back, and the model trains: so the heads are right.",
    today="view there and view back are the identity too. Only a look at one head alone shows what it holds.",
)
def test_each_gradient_returns_to_its_own_column():
    torch.manual_seed(0)
    for B, H, T, D in _SIZES:
        told = f"(B, H, T, D) = {(B, H, T, D)}"
        x = torch.randn(B, T, H * D, dtype=torch.float64)
        assert torch.equal(x.view(B, H, T, D).view(B, T, H * D), x), "the scrambled round trip is the identity, too"
        x.requires_grad_()
        whole = _call(merge_heads, _call(split_heads, x, H))
        check_tensor(whole.detach(), x.detach(), f"{told}: merge_heads undoes split_heads")
        weights = torch.randn(B, T, H * D, dtype=torch.float64)
        assert whole.requires_grad, f"{told}: no gradient can come back to x: was it detached, or copied?"
        (grad,) = torch.autograd.grad((whole * weights).sum(), x, allow_unused=True)
        assert grad is not None, f"{told}: the result hangs on another tensor than x"
        check_tensor(grad, weights, f"{told}: the gradient of each number, split and merged, is its weight")
        head, weights = _call(split_heads, x, H)[:, -1], torch.randn(B, T, D, dtype=torch.float64)
        (grad,) = torch.autograd.grad((head * weights).sum(), x)
        want = torch.cat([torch.zeros(B, T, (H - 1) * D, dtype=torch.float64), weights], -1)
        check_tensor(grad, want, f"{told}: the gradient of the last head reaches the last {D} columns, and no others")
        heads = torch.randn(B, H, T, D, dtype=torch.float64, requires_grad=True)
        merged, weights = _call(merge_heads, heads), torch.randn(B, T, H, D, dtype=torch.float64)
        assert merged.requires_grad, f"{told}: no gradient can come back through merge_heads"
        (grad,) = torch.autograd.grad((merged * weights.view(B, T, H * D)).sum(), heads, allow_unused=True)
        assert grad is not None, f"{told}: merge_heads gives a result that hangs on another tensor than x"
        check_tensor(grad, weights.transpose(1, 2), f"{told}: merge_heads sends each gradient back to its head")


def test_groups_of_neighbours_share_a_key():
    heads = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1)
    got = _call(repeat_kv, heads, 3)
    assert got.shape == (1, 6, 1, 1), f"2 heads, each for 3: (1, 6, 1, 1), got {tuple(got.shape)}"
    order = got.flatten().int().tolist()
    tiled = ": groups of neighbours share a key" if order == [0, 1, 0, 1, 0, 1] else ""
    assert order == [0, 0, 0, 1, 1, 1], f"heads 0 and 1, each for 3: 0,0,0,1,1,1 expected, got {order}{tiled}"
    torch.manual_seed(0)
    for B, G, n, T, D in ((2, 2, 3, 5, 4), (1, 3, 2, 4, 5), (2, 1, 4, 3, 5), (3, 3, 3, 3, 3), (2, 4, 1, 3, 5)):
        told = f"(B, G, n, T, D) = {(B, G, n, T, D)}"
        q = torch.randn(B, G * n, T, D, dtype=torch.float64)
        k, v = (torch.randn(B, G, T, D, dtype=torch.float64) for _ in range(2))
        keys, values = _call(repeat_kv, k, n), _call(repeat_kv, v, n)
        tiled = not _same(k.repeat_interleave(n, 1), k.repeat(1, n, 1, 1)) and _same(keys, k.repeat(1, n, 1, 1))
        assert not tiled, f"{told}: the heads come as 0, 1, 0, 1: groups of neighbours share a key"
        check_tensor(
            keys, torch.stack([k[:, h // n] for h in range(G * n)], dim=1), f"{told}: head h is as head h//n was"
        )
        want = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        got = F.scaled_dot_product_attention(q, keys, values)
        check_tensor(got, want, f"{told}: attention with repeated keys is that of enable_gqa=True", atol=1e-9)
        few = k.bfloat16()
        check_tensor(_call(repeat_kv, few, n), few.repeat_interleave(n, 1), f"{told}, in bfloat16")


def test_a_shared_key_gets_the_gradients_of_its_whole_group():
    torch.manual_seed(0)
    for B, G, n, T, D in ((2, 2, 3, 5, 4), (1, 3, 2, 4, 5), (2, 1, 4, 3, 5), (3, 3, 3, 3, 3), (2, 4, 1, 3, 5)):
        told = f"(B, G, n, T, D) = {(B, G, n, T, D)}"
        x = torch.randn(B, G, T, D, dtype=torch.float64, requires_grad=True)
        got = _call(repeat_kv, x, n)
        check_tensor(got.detach(), torch.stack([x.detach()[:, h // n] for h in range(G * n)], dim=1), told)
        assert got.requires_grad, f"{told}: no gradient can come back to x: was it detached, or copied?"
        weights = torch.randn(B, G, n, T, D, dtype=torch.float64)
        (grad,) = torch.autograd.grad((got * weights.view(B, G * n, T, D)).sum(), x, allow_unused=True)
        assert grad is not None, f"{told}: the result hangs on another tensor than x"
        said = f"{told}: the gradient of a shared key is the sum over its {n} heads"
        check_tensor(grad, weights.sum(2), said, rtol=1e-9, atol=1e-12)
