"""Attention by hand; here True keeps, there True blocks: reference.

Hint: Which dim of the scores are the keys? Over it goes the softmax, and blocking comes before it.
Hint: `k.transpose(-2, -1)`, `Tensor.masked_fill` with float("-inf"), `torch.softmax`. A bool mask is inverted by `~`.
Hint: For padding, compare `torch.arange(S)`, a row, with the lengths as a column: which positions lie at or after the
end?

Why: √D is the standard deviation of a sum of D products of numbers with spread 1, so the scores keep a spread of 1.
-inf before the softmax is an exact 0 after it, and softmax shifts by the largest score, so nothing overflows.
`F.scaled_dot_product_attention` does all this in one call without ever storing (L, S). nn.MultiheadAttention is older,
and its masks say what to leave out; of a row with nothing left it returns weights of 0/0.
"""

import math

import torch
import torch.nn.functional as F

from dojo import Mistake


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., L, S)
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v  # (..., L, E)


def to_mha_mask(keep: torch.Tensor) -> torch.Tensor:
    return ~keep


def padding_mask(lengths: list[int], S: int) -> torch.Tensor:
    return torch.arange(S) >= torch.tensor(lengths).unsqueeze(1)  # (S,) beside (B, 1)


def picture(solution):
    from dojo.kit import pictures

    S, lengths = 6, [3, 6, 4]
    torch.manual_seed(0)
    x = torch.randn(len(lengths), S, 8)
    keep = torch.ones(S, S, dtype=torch.bool).tril()
    causal, padding = solution.to_mha_mask(keep), solution.padding_mask(list(lengths), S)
    values = torch.eye(S).repeat(len(lengths), 1, 1)  # an average of these values is the weights themselves
    mha = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        by_keep = solution.attention(x, x, values, keep=keep)[0]
        by_causal = mha(x, x, x, attn_mask=causal)[1][0]
        by_padding = mha(x, x, x, key_padding_mask=padding)[1][0]

    def blocked(mask):
        return mask if mask.dtype == torch.bool else mask.softmax(-1) == 0

    def written(value):
        return "FT"[value] if isinstance(value, bool) else "0" if value == 0 else "-∞" if value < -1e30 else "-"

    figure = pictures.figure(6, 5.6)
    parts = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    above, below = parts[0].subplots(1, 3), parts[1].subplots(1, 3)
    masks = (
        (keep, ~keep, "query", "keep"),
        (causal, blocked(causal), "query", "to_mha_mask(keep)"),
        (padding, blocked(padding), "sequence", f"padding_mask(\n{lengths}, {S})"),
    )
    for axes, (mask, dark, rows, title) in zip(above, masks, strict=True):
        axes.imshow(dark.numpy(), cmap="gray_r", vmin=0, vmax=2)
        for i, row in enumerate(mask.tolist()):
            for j, value in enumerate(row):
                axes.text(j, i, written(value), ha="center", va="center", fontsize=9)
        axes.set(xlabel="key", ylabel=rows, xticks=range(S), yticks=range(len(mask)))
        axes.set_title(title, fontsize=9)
    weights = (
        (by_keep, "attention\n(q, k, v, keep)"),
        (by_causal, "MultiheadAttention\nwith this attn_mask"),
        (by_padding, "MultiheadAttention,\nsequence 0"),
    )
    for axes, (values, title) in zip(below, weights, strict=True):
        image = axes.imshow(values.numpy(), cmap=pictures.RISING, vmin=0, vmax=1)
        i, j = (values == 0).nonzero(as_tuple=True)
        axes.plot(j.tolist(), i.tolist(), "x", color="white", markersize=5)
        axes.set(xlabel="key", ylabel="query", xticks=range(S), yticks=range(S))
        axes.set_title(title, fontsize=9)
    parts[1].colorbar(image, ax=below, label="weight (×: exactly 0)", location="bottom", shrink=0.6)

    same = "the same" if torch.equal(by_keep == 0, by_causal == 0) else "other"
    return pictures.Picture(
        figure,
        f"keep is True at {int(keep.sum())} of {S * S} places: a query may look there. to_mha_mask(keep) blocks "
        f"{int(blocked(causal).sum())} places (grey), and {same} weights are 0. padding_mask blocks the last "
        f"{int(blocked(padding)[0].sum())} of {S} keys for a sequence of {lengths[0]}.",
        {
            "keep": keep,
            "to_mha_mask": blocked(causal),
            "padding_mask": blocked(padding),
            "weights": by_keep,
            "mha_weights": by_causal,
            "mha_weights_padding": by_padding,
        },
    )


def _attention(q, k, v, keep=None, scale=lambda q, k, v: math.sqrt(q.shape[-1]), fill=-math.inf, invert=False, dim=-1):
    scores = q @ k.transpose(-2, -1) / scale(q, k, v)
    if keep is not None:
        scores = scores.masked_fill(keep if invert else ~keep, fill)
    return torch.softmax(scores, dim=dim) @ v


def _own_softmax(q, k, v, keep=None):
    weights = torch.exp(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]))
    if keep is not None:
        weights = weights * keep
    return weights / weights.sum(-1, keepdim=True) @ v


def _mask_afterwards(q, k, v, keep=None):
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), -1)
    if keep is not None:
        weights = weights.masked_fill(~keep, 0)
    return weights @ v


def _mask_afterwards_and_divide(q, k, v, keep=None):
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), -1)
    if keep is not None:
        weights = weights * keep
        weights = weights / weights.sum(-1, keepdim=True)
    return weights @ v


def _scores_times_mask(q, k, v, keep=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return torch.softmax(scores if keep is None else scores * keep, -1) @ v


def _adds_the_mask(q, k, v, keep=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return torch.softmax(scores if keep is None else scores + keep, -1) @ v


def _ignores_the_mask(q, k, v, keep=None):
    return attention(q, k, v)


def _always_causal(q, k, v, keep=None):
    return F.scaled_dot_product_attention(q, k, v, is_causal=keep is not None)


def _three_dims(q, k, v, keep=None):
    scores = torch.bmm(q, k.transpose(1, 2)) / math.sqrt(q.shape[-1])
    return torch.bmm(torch.softmax(scores if keep is None else scores.masked_fill(~keep, -math.inf), -1), v)


def _dims_1_and_2(q, k, v, keep=None):
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) if k.dim() > 2 else q @ k.T / math.sqrt(q.shape[-1])
    return torch.softmax(scores if keep is None else scores.masked_fill(~keep, -math.inf), -1) @ v


def _scales_q_in_place(q, k, v, keep=None):
    q.data.div_(math.sqrt(q.shape[-1]))
    scores = q @ k.transpose(-2, -1)
    return torch.softmax(scores if keep is None else scores.masked_fill(~keep, -math.inf), -1) @ v


def _in_float32(q, k, v, keep=None):
    return attention(q.float(), k.float(), v.float(), keep).to(q.dtype)


def _indexes_by_the_mask(q, k, v, keep=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if keep is not None:
        scores[..., ~keep] = -math.inf
    return torch.softmax(scores, -1) @ v


def _without_graph(q, k, v, keep=None):
    return attention(q.detach(), k.detach(), v.detach(), keep)


def _weights_without_graph(q, k, v, keep=None):
    return attention(q.detach(), k.detach(), v, keep)


def _returns_weights_too(q, k, v, keep=None):
    return attention(q, k, v, keep), None


def _adds_inf_times_mask(q, k, v, keep=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return torch.softmax(scores if keep is None else scores + (~keep) * -math.inf, -1) @ v


def _squeezed(q, k, v, keep=None):
    return attention(q, k, v, keep).squeeze(-2)


def _sorted(lengths, S):
    lengths.sort(reverse=True)
    return padding_mask(lengths, S)


def _square(keep):
    return torch.triu(torch.ones(keep.shape[-1], keep.shape[-1], dtype=torch.bool), 1)


def _always_the_triangle(keep):
    return torch.triu(torch.ones_like(keep), 1)


def _padding(lengths, S, after=True, off=0):
    positions = torch.arange(S)
    return torch.stack([(positions >= n + off) if after else (positions < n) for n in lengths])


def _length(q, k, v):
    return q.shape[-1]


_AVERAGE = "test_attention_is_an_average_over_the_keys"
_KEEP = "test_true_in_keep_lets_a_query_look_at_a_key"
_HUGE = "test_huge_scores_stay_finite"
_GRADIENTS = "test_gradients_flow_to_the_kept_keys_only"
_MHA = "test_true_in_the_mask_of_multihead_attention_blocks_a_key"
_PADDING = "test_the_padding_mask_blocks_what_comes_after_the_end"
_FORMULA = "softmax(q @ kᵀ / √D) @ v"
_MADE_1 = "the weights of the kept keys must sum to 1"

MISTAKES = [
    Mistake(
        "divided by D, not by √D", caught_by=_AVERAGE, attention=lambda *a, **b: _attention(*a, **b, scale=_length)
    ),
    Mistake(
        "are not divided by √D", caught_by=_AVERAGE, attention=lambda *a, **b: _attention(*a, **b, scale=lambda *_: 1)
    ),
    Mistake(
        _FORMULA,
        caught_by=_AVERAGE,
        attention=lambda *a, **b: _attention(*a, **b, scale=lambda q, k, v: math.sqrt(k.shape[-2])),
    ),
    Mistake(
        _FORMULA,
        caught_by=_AVERAGE,
        attention=lambda *a, **b: _attention(*a, **b, scale=lambda q, k, v: math.sqrt(v.shape[-1])),
    ),
    Mistake(
        _FORMULA,
        caught_by=_AVERAGE,
        attention=lambda *a, **b: _attention(*a, **b, scale=lambda q, k, v: 1 / math.sqrt(q.shape[-1])),
    ),
    Mistake(_FORMULA, caught_by=_AVERAGE, attention=lambda *a, **b: _attention(*a, **b, dim=-2)),
    Mistake(_FORMULA, caught_by=_AVERAGE, attention=_in_float32),
    Mistake("attention raised, for q (3, 7)", caught_by=_AVERAGE, attention=_three_dims),
    Mistake("in front of which there may be any number of dims", caught_by=_AVERAGE, attention=_dims_1_and_2),
    Mistake("no argument of attention changes", caught_by=_AVERAGE, attention=_scales_q_in_place),
    Mistake("attention returns a tensor, got tuple", caught_by=_AVERAGE, attention=_returns_weights_too),
    Mistake(
        "the mask is inverted: True keeps a key",
        caught_by=_KEEP,
        attention=lambda *a, **b: _attention(*a, **b, invert=True),
    ),
    Mistake(_MADE_1, caught_by=_KEEP, attention=_mask_afterwards),
    Mistake("a mask of 0 and 1 is added", caught_by=_KEEP, attention=_adds_the_mask),
    Mistake("a key that is not kept has the weight", caught_by=_KEEP, attention=_scores_times_mask),
    Mistake(
        "a key that is not kept has the weight",
        caught_by=_KEEP,
        attention=lambda *a, **b: _attention(*a, **b, fill=1e-9),
    ),
    Mistake("and keep (2, 1, 3, 5)", caught_by=_KEEP, attention=_indexes_by_the_mask),
    Mistake("the mask has no effect", caught_by=_KEEP, attention=_ignores_the_mask),
    Mistake("a key that is not kept has the weight", caught_by=_KEEP, attention=_always_causal),
    Mistake("exp of such scores is inf, or 0", caught_by=_HUGE, attention=_own_softmax),
    Mistake("exp of such scores is inf, or 0", caught_by=_HUGE, attention=_mask_afterwards_and_divide),
    Mistake("with kept scores of -900000", caught_by=_HUGE, attention=lambda *a, **b: _attention(*a, **b, fill=-1e4)),
    Mistake("0 * -inf is nan, 0 / 0 too", caught_by=_KEEP, attention=_adds_inf_times_mask),
    Mistake(_FORMULA, caught_by=_AVERAGE, attention=_squeezed),
    Mistake("the mask has nan in it", caught_by=_MHA, to_mha_mask=lambda keep: (~keep).float() * -math.inf),
    Mistake("a query finds every key blocked", caught_by=_MHA, to_mha_mask=torch.ones_like),
    Mistake("lengths stays as it is", caught_by=_PADDING, padding_mask=_sorted),
    Mistake("the result hangs on no graph", caught_by=_GRADIENTS, attention=_without_graph),
    Mistake("no gradient reaches q", caught_by=_GRADIENTS, attention=_weights_without_graph),
    Mistake("the mask is the wrong way round", caught_by=_MHA, to_mha_mask=lambda keep: keep),
    Mistake("a float mask of 0 and 1 is added", caught_by=_MHA, to_mha_mask=lambda keep: keep.float()),
    Mistake("a float mask of 0 and 1 is added", caught_by=_MHA, to_mha_mask=lambda keep: (~keep).float()),
    Mistake("takes bool and float masks only", caught_by=_MHA, to_mha_mask=lambda keep: (~keep).int()),
    Mistake("the mask is (L, S) = (3, 5)", caught_by=_MHA, to_mha_mask=_square),
    Mistake("three queries and five keys: a blocked key has", caught_by=_MHA, to_mha_mask=_always_the_triangle),
    Mistake("keep stays as it is", caught_by=_MHA, to_mha_mask=lambda keep: keep.logical_not_()),
    Mistake(
        "the mask is the wrong way round",
        caught_by=_MHA,
        to_mha_mask=lambda keep: torch.zeros(keep.shape).masked_fill(keep, -math.inf),
    ),
    Mistake("the mask is the wrong way round", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, S, False)),
    Mistake("a blocked key has the weight", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, S, off=1)),
    Mistake(
        "a key that may be looked at has the weight 0",
        caught_by=_PADDING,
        padding_mask=lambda n, S: _padding(n, S, off=-1),
    ),
    Mistake("padding_mask([1, 4, 2], 6) is (3, 6)", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, max(n))),
    Mistake("padding_mask([3, 5], 5) is (2, 5)", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, S).T),
    Mistake("takes bool and float masks only", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, S).int()),
    Mistake("a blocked key has the weight", caught_by=_PADDING, padding_mask=lambda n, S: _padding(n, S).float()),
]
