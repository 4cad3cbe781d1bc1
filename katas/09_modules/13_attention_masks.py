"""Attention by hand; here True keeps, there True blocks

Attention answers each query with an average of the values `v`: the weights are softmax(q @ k.T / √D) over the keys, D
the length of a query. (With batches or heads in front, k.T is `k.transpose(-2, -1)`.) Without the √D the scores grow
with D, and the softmax puts all weight on one key.

A mask says which keys a query may look at: none after it (causal), no padding. A key is blocked by giving it the score
-inf *before* the softmax (`Tensor.masked_fill`); then the weights of the others still sum to 1. Zeroing weights
afterwards takes their share away, and nobody gets it.

PyTorch has two conventions, and both are called attn_mask. In `F.scaled_dot_product_attention`, True means: look at
this key. In `nn.MultiheadAttention`, True means: do *not* look, in `attn_mask` (L, S) as in `key_padding_mask` (B, S).
Hand one the other's mask, and a language model reads the word it is to predict: a wonderful loss, a worthless model. If
a row is all blocked, its weights are nan. A float mask blocks nothing by itself: it is *added* to the scores, so 0 and
1 make a small difference of weights, while 0 and -inf do block.

(`nn.MultiheadAttention` also takes (T, B, E), time first, unless it is made with `batch_first=True`.)

What is asked here: attention from matmul and softmax, a mask of the first kind made into one of the second, and the
mask of padded sequences.

About 30 minutes. Before it: mask_do_not_multiply, contract_by_name, layers_by_hand.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    """softmax(q @ kᵀ / √D) @ v, the softmax over the keys: (..., L, E).

    `q` is (..., L, D), `k` (..., S, D), `v` (..., S, E), with the same leading dims, or none, all float32 or all
    float64, and so is the result. `keep` is bool and broadcasts to (..., L, S): True where a query may look at a key;
    each row has one True at least. Scores may be huge, such as ±1e6. Gradients flow; no argument changes.
    """
    raise NotImplementedError("scores, mask, softmax, average")


def to_mha_mask(keep: torch.Tensor) -> torch.Tensor:
    """`keep` (L, S), bool, True where a query may look, as an `attn_mask` of nn.MultiheadAttention: (L, S).

    A bool mask, or a float32 one to be added to the scores. `keep` stays as it is.
    """
    raise NotImplementedError("make the mask that nn.MultiheadAttention understands")


def padding_mask(lengths: list[int], S: int) -> torch.Tensor:
    """A `key_padding_mask` (B, S) for B sequences, padded at their end to `S`: it blocks the padding, and only that.

    `lengths` are B numbers from 1 to S, and stay as they are. A bool mask, or a float32 one to be added to the scores.
    """
    raise NotImplementedError("mark the keys after the end of each sequence")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "must match the size of|expand": "the shapes do not fit: the keys are dim -2 of k, their numbers dim -1, in front "
    "of which there may be any number of dims",
}


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None = None) -> Any:
    __tracebackhide__ = True
    mask = "no mask" if keep is None else f"keep {tuple(keep.shape)}"
    with explain(
        f"attention raised, for q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} and {mask}", _SIGNS
    ):
        with unchanged("no argument of attention changes", q=q, k=k, v=v, keep=keep):
            got = attention(q, k, v) if keep is None else attention(q, k, v, keep=keep)
    assert isinstance(got, torch.Tensor), f"attention returns a tensor, got {type(got).__name__}"
    return got


def _inputs(*lead: int, L: int = 3, S: int = 5, D: int = 7, E: int = 2, dtype: torch.dtype = torch.float32) -> Any:
    """q, k, v; with two leading dims as from a split into heads, so not contiguous."""
    shapes = ((L, D), (S, D), (S, E))
    if len(lead) == 2:
        b, h = lead
        return [torch.randn(b, t, h, d, dtype=dtype).transpose(1, 2) for t, d in shapes]
    return [torch.randn(*lead, t, d, dtype=dtype) for t, d in shapes]


def test_attention_is_an_average_over_the_keys():
    torch.manual_seed(0)
    single, double = torch.float32, torch.float64
    for lead, dtype, L, S in (((), single, 3, 5), ((2,), single, 3, 5), ((2, 4), double, 3, 5), ((1, 1), single, 1, 2)):
        q, k, v = _inputs(*lead, L=L, S=S, dtype=dtype)
        if dtype == double:
            k = k + 1e4  # all scores of a query are larger by the same number: nothing changes, but for float32
        got = _attend(q, k, v)
        want = F.scaled_dot_product_attention(q, k, v)
        for scale, cause in ((1.0, "are not divided by √D"), (1 / 7, "are divided by D, not by √D")):
            other = F.scaled_dot_product_attention(q, k, v, scale=scale)
            wrong = got.shape == other.shape and torch.allclose(got.to(dtype), other, rtol=1e-4)
            assert not wrong, f"the scores {cause}, where D = 7 is the length of a query"
        said = f"softmax(q @ kᵀ / √D) @ v, for q {tuple(q.shape)} in {dtype}"
        check_tensor(got, want, said, rtol=1e-4, atol=1e-6)
    q, k = torch.tensor([[2.0, 0.0]]), torch.tensor([[math.log(3) / math.sqrt(2), 5.0], [0.0, -1.0]])
    got = _attend(q, k, torch.tensor([[4.0], [8.0]]))
    by_hand = "the scores are ln 3 and 0, the weights 3/4 and 1/4, the values 4 and 8: their average is 5"
    check_tensor(got, torch.tensor([[5.0]]), by_hand, rtol=1e-4)


def _masks(L: int, S: int) -> dict[tuple[int, ...], torch.Tensor]:
    """Masks of several shapes, one False and one True at least in each row."""
    masks = {shape: torch.rand(shape) < 0.5 for shape in ((L, S), (2, 1, L, S), (2, 1, 1, S), (2, 4, L, S))}
    for mask in masks.values():
        mask[..., 0], mask[..., S - 2] = False, True
    return masks


@pytest.mark.myth(
    says="The bool masks of attention are all read alike.",
    today="True means look in F.scaled_dot_product_attention, and don't look in nn.MultiheadAttention.",
)
def test_true_in_keep_lets_a_query_look_at_a_key():
    torch.manual_seed(0)
    q, k, v = _inputs(2, 4, dtype=torch.float64)
    eye = torch.eye(5, dtype=torch.float64).expand(2, 4, 5, 5)
    for shape, keep in _masks(3, 5).items():
        weights, kept = _attend(q, k, eye, keep), keep.expand(2, 4, 3, 5)  # values 1 and 0: the answer is the weights
        assert weights.shape == kept.shape, f"the result is (..., L, E), got {tuple(weights.shape)}"
        said = f"keep {shape}"
        assert not weights.isnan().any(), f"nan under a mask, {said}: expected numbers (0 * -inf is nan, 0 / 0 too)"
        off = (weights.sum(-1) - 1).abs().max().item()
        assert off < 1e-6, f"the weights of the kept keys must sum to 1, {said}; they are off by {off:.3g}"
        for mask, cause in (
            (~keep, "the mask is inverted: True keeps a key"),
            (None, "the mask has no effect: blocked keys still count"),
            (keep.double(), "a mask of 0 and 1 is added to the scores: that blocks no key"),
        ):
            other = F.scaled_dot_product_attention(q, k, eye, attn_mask=mask)
            assert not torch.allclose(weights.double(), other, rtol=1e-6), cause
        share = weights[~kept].abs().max().item()
        assert share == 0, f"a key that is not kept has the weight {share:.3g} instead of 0, {said}"
        want = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        check_tensor(_attend(q, k, v, keep), want, f"the average over the kept keys, {said}", rtol=1e-6, atol=1e-7)
    q, k, v = _inputs(L=4, S=4)
    got = _attend(q, k, v, torch.ones(4, 4, dtype=torch.bool).tril())
    check_tensor(got[0], v[0], "under a causal mask the first query sees the first key only: its answer is v[0]")
    want = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    check_tensor(got, want, "the causal mask of F.scaled_dot_product_attention", rtol=1e-4, atol=1e-6)


def test_huge_scores_stay_finite():
    v = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    k = torch.tensor([[3e4], [3e4], [-2e4]])
    for q, keep, want, told in (
        ([[1.0], [-1.0]], None, [[1.5, 15.0], [4.0, 40.0]], "scores up to 30000"),
        ([[30.0], [-30.0]], None, [[1.5, 15.0], [4.0, 40.0]], "scores up to 900000"),
        ([[-30.0]], [[True, True, False]], [[1.5, 15.0]], "kept scores of -900000, a blocked one of 600000"),
        ([[30.0]], [[False, False, True]], [[4.0, 40.0]], "a kept score of -600000, blocked ones of 900000"),
    ):
        mask = None if keep is None else torch.tensor(keep)
        got = _attend(torch.tensor(q), k, v, mask)
        assert not got.isnan().any(), f"nan, with {told}, expected finite numbers: exp of such scores is inf, or 0"
        check_tensor(got, torch.tensor(want), f"with {told}", rtol=0.05)


def test_gradients_flow_to_the_kept_keys_only():
    torch.manual_seed(0)
    q, k, v = (t.requires_grad_() for t in _inputs(2))
    keep = torch.ones(3, 5, dtype=torch.bool).tril(1)
    up = torch.randn(2, 3, 2)
    want = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, attn_mask=keep), (q, k, v), up)
    got = _attend(q, k, v, keep)
    assert got.requires_grad, "the result hangs on no graph: nothing can be trained"
    with explain("backward through attention raised"):
        grads = torch.autograd.grad(got, (q, k, v), up, allow_unused=True)
    for name, grad, true in zip("qkv", grads, want, strict=True):
        assert grad is not None, f"no gradient reaches {name}"
        assert not grad.isnan().any(), f"the gradient of {name} has nan in it"
        check_tensor(grad, true, f"the gradient of {name}", rtol=1e-3, atol=1e-5)
    assert not want[1][:, 4].any(), "a key that nobody may look at gets no gradient"


def _weights(mask: dict[str, Any], L: int, S: int, B: int) -> torch.Tensor:
    """The weights (B, L, S) that nn.MultiheadAttention gives with this mask."""
    __tracebackhide__ = True
    mha = nn.MultiheadAttention(8, 2, batch_first=True)
    q, kv = torch.randn(B, L, 8), torch.randn(B, S, 8)
    ((name, given),) = mask.items()
    fits = given.dtype == torch.bool or given.is_floating_point()
    assert fits, f"nn.MultiheadAttention takes bool and float masks only, got {given.dtype}"
    assert not given.isnan().any(), "the mask has nan in it: 0 * -inf is nan"
    with explain(f"nn.MultiheadAttention does not take your mask as {name}", _SIGNS), torch.no_grad():
        return mha(q, kv, kv, **mask)[1]


def _check_weights(weights: torch.Tensor, blocked: torch.Tensor, told: str) -> None:
    __tracebackhide__ = True
    blocked = blocked.expand_as(weights)
    swapped = weights[blocked].nan_to_num().any() and not weights[~blocked].nan_to_num().any()
    assert not swapped, f"{told}: the mask is the wrong way round, True blocks in nn.MultiheadAttention"
    assert not weights.isnan().any(), f"{told}: a query finds every key blocked, and its weights are nan"
    share = weights[blocked].max().item() if blocked.any() else 0.0
    assert share == 0, f"{told}: a blocked key has the weight {share:.3g} instead of 0"
    assert (weights[~blocked] > 0).all(), f"{told}: a key that may be looked at has the weight 0"


@pytest.mark.myth(
    says="A float mask of 0 and 1 switches the keys off where it is 0.",
    today="A float mask is added to the scores: only -inf takes a key out; a bool mask says it without numbers.",
)
def test_true_in_the_mask_of_multihead_attention_blocks_a_key():
    torch.manual_seed(0)
    some = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    for keep, told in (
        (torch.ones(4, 4, dtype=torch.bool).tril(), "a causal mask"),
        (some, "three queries and five keys"),
        (torch.ones(2, 3, dtype=torch.bool), "all kept"),
    ):
        with explain("to_mha_mask raised"), unchanged("keep stays as it is", keep=keep):
            mask = to_mha_mask(keep)
        assert isinstance(mask, torch.Tensor), f"to_mha_mask returns a tensor, got {type(mask).__name__}"
        assert mask.shape == keep.shape, f"the mask is (L, S) = {tuple(keep.shape)}, got {tuple(mask.shape)}"
        added = mask.is_floating_point() and not (mask == -torch.inf).any() and mask.abs().max() == 1
        assert not added, "a float mask of 0 and 1 is added to the scores: it blocks no key"
        _check_weights(_weights({"attn_mask": mask}, *keep.shape, 2), ~keep, told)


def test_the_padding_mask_blocks_what_comes_after_the_end():
    torch.manual_seed(0)
    for lengths, S in (([3, 5], 5), ([1, 4, 2], 6), ([2, 2], 2), ([7], 9)):
        told, given = f"padding_mask({lengths}, {S})", list(lengths)
        with explain(f"{told} raised"), unchanged("lengths stays as it is", lengths=given):
            mask = padding_mask(given, S)
        assert isinstance(mask, torch.Tensor), f"{told} is a tensor, got {type(mask).__name__}"
        assert mask.shape == (len(lengths), S), f"{told} is ({len(lengths)}, {S}), got {tuple(mask.shape)}"
        padded = torch.tensor([[False] * n + [True] * (S - n) for n in lengths])
        _check_weights(_weights({"key_padding_mask": mask}, 3, S, len(lengths)), padded.unsqueeze(1), told)
