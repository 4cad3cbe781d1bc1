"""The mask sits in the corner, and a test that finds a leak

A model that writes text must not read ahead: the query at position i may look at the keys 0 to i. While it trains, L
queries meet L keys, and the mask is a lower triangle. When it writes, old keys are kept, and few new queries meet many
keys: L = 1, S = 6. The queries are then the *last* L positions, so the triangle sits in the bottom right corner.

`F.scaled_dot_product_attention(q, k, v, is_causal=True)` puts it in the top left corner: the one query sees key 0 only,
and gives back v[0]. No error tells you. With `attn_mask=` you say it yourself (bool, True = look), but not both at
once. `torch.ones(L, S, dtype=torch.bool).tril(diagonal=d)` keeps what lies on the diagonal d and below it.

Blocked scores need -inf. -1e4, as in old code, is an ordinary score: if the others are lower still, the future wins.
-1e9 does not even fit into float16. And `dropout_p` of that function is an argument: model.eval() does not know it.

A leak makes a wonderful loss and a worthless model, so test for it: change x from position t on and look whether an
output *before* t moves. One t is not enough: a token that reads only its neighbour shows up at one cut alone. Judge in
eval mode (dropout moves everything), and give the model back as it was: `m.training` of each of `model.modules()`.

What is asked here: causal attention for any S >= L, and a judge that finds a leak.

About 35 minutes. Before it: dtype_limits, attention_masks, predict_one, split_heads.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """softmax(q @ kᵀ / √D) @ v, where no query looks at a later key: (B, H, L, E).

    `q` is (B, H, L, D), `k` (B, H, S, D), `v` (B, H, S, E), with S >= L. The queries are the last L of the S positions:
    query i stands at position S - L + i, and sees the keys up to there, itself included.

    All three have one dtype, float16, bfloat16, float32 or float64, which is that of the result. The scores may be
    large, of both signs, such as ±1e12 in float32. Gradients flow; no argument changes.
    """
    raise NotImplementedError("score, block the later keys, average")


def sees_future(model: nn.Module, x: torch.Tensor) -> bool:
    """Does the output of `model` at any position depend on a later position of `x`? Judged in eval mode.

    `x` is (B, T, C), float32, with T >= 2; model(x) is (B, T, any). A leak that moves an output by 1e-3 when a later
    number of x moves by 1, up or down, must be found, wherever it is; differences under 1e-5 are rounding. Afterwards
    `x`, the mode of each module of the model and every `.grad` and `requires_grad` are as before.
    """
    raise NotImplementedError("change what comes later, and look at what came before")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "is_causal.*attn_mask|attn_mask.*is_causal": "a mask or is_causal=True, not both: is_causal makes its own mask",
    "without overflow": "the number that blocks does not fit into float16, whose range ends at 65504; -inf fits",
    "same dtype|to match|but found|but got": "the dtypes of the parts don't fit together",
    "leaf Variable that requires grad": "an argument was edited in place: it is the caller's",
}


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    __tracebackhide__ = True
    told = f"causal_attention, for q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)} in {q.dtype}"
    with explain(f"{told}, raised", _SIGNS), unchanged("no argument of causal_attention changes", q=q, k=k, v=v):
        got = causal_attention(q, k, v)
    assert isinstance(got, torch.Tensor), f"{told}, is a tensor; got {type(got).__name__}"
    return got


def _inputs(B: int, H: int, L: int, S: int, D: int, E: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """q, k, v as from a split into heads, so not contiguous."""
    return [torch.randn(B, t, H, d).to(dtype).transpose(1, 2) for t, d in ((L, D), (S, D), (S, E))]


def _by_loops(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The definition, written out: each query, each key that it sees."""
    L, S, rows = q.shape[2], k.shape[2], []
    for i in range(L):
        seen = range(S - L + i + 1)
        scores = torch.stack([(q[:, :, i] * k[:, :, j]).sum(-1) / math.sqrt(q.shape[-1]) for j in seen], dim=-1)
        weights = scores.softmax(-1)
        rows.append(torch.stack([weights[:, :, j, None] * v[:, :, j] for j in seen]).sum(0))
    return torch.stack(rows, dim=2)


def _blame(got: torch.Tensor, want: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    """If the answer is exactly that of a mistake which is known, say so."""
    __tracebackhide__ = True
    L, S, D = q.shape[2], k.shape[2], q.shape[3]
    keep, sdpa = torch.ones(L, S, dtype=torch.bool).tril(S - L), F.scaled_dot_product_attention
    wider, narrower = keep | keep.roll(-1, 0).index_fill(0, torch.tensor(L - 1), True), keep.tril(S - L - 1)
    weights = (q @ k.mT / math.sqrt(D)).softmax(-1)
    corner = (
        "one query, top-left mask: it saw key 0 only"
        if L == 1
        else f"{L} queries on {S} keys, top-left mask: the queries are the last {L} positions, not the first"
    )
    for other, cause in (
        (sdpa(q, k, v), "every query looks at every key, also at later ones: there is no mask"),
        (sdpa(q, k, v, is_causal=True), corner),
        (sdpa(q, k, v, attn_mask=keep.to(q.dtype)), "a mask of 0 and 1 is added, not masking"),
        ((weights * keep) @ v, "masked after the softmax: the weights that are left don't sum to 1"),
        (sdpa(q, k, v, attn_mask=keep, scale=1.0), "the scores are not divided by √D"),
        (sdpa(q, k, v, attn_mask=keep, scale=1 / D), "the scores are divided by D, not by √D"),
        (sdpa(q, k, v, attn_mask=wider), "each query sees one key too many"),
        (sdpa(q, k, v, attn_mask=narrower), "each query misses one key, that of its own position"),
    ):
        alike = got.shape == other.shape and torch.allclose(got.to(other.dtype), other, rtol=1e-6, equal_nan=True)
        differs = not torch.allclose(other, want, rtol=1e-4, equal_nan=True)
        assert not (alike and differs), f"q {tuple(q.shape)}, k {tuple(k.shape)}: {cause}"


def test_the_first_token_sees_only_itself():
    torch.manual_seed(0)
    for sizes in ((2, 3, 5, 5, 4, 6), (4, 4, 4, 4, 4, 4), (1, 2, 7, 7, 3, 1)):
        q, k, v = _inputs(*sizes)
        got, want = _attend(q, k, v), _by_loops(q, k, v)
        _blame(got, want, q, k, v)
        told = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        check_tensor(got, want, f"{told}: each query averages the keys up to its own position", rtol=1e-9, atol=1e-9)
        check_tensor(got[:, :, 0], v[:, :, 0], f"{told}: the first query answers v[0]", rtol=1e-9, atol=1e-12)
    q, k, v = _inputs(2, 3, 5, 5, 4, 6)
    means = torch.stack([v[:, :, : i + 1].mean(2) for i in range(5)], dim=2)
    check_tensor(_attend(0 * q, k, v), means, "every score is 0: each visible key weighs the same", atol=1e-9)


@pytest.mark.myth(
    says="is_causal=True is the mask for decoding.",
    today="It starts in the top left corner: with a cache, the one new query sees key 0 only, and gives back v[0].",
)
def test_the_queries_are_the_last_of_the_positions():
    torch.manual_seed(0)
    for sizes in ((2, 3, 1, 6, 4, 5), (1, 2, 3, 7, 4, 5), (3, 3, 2, 3, 3, 3), (2, 1, 4, 8, 4, 4)):
        q, k, v = _inputs(*sizes)
        L, S = sizes[2:4]
        if L == 1:
            corner = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            assert torch.allclose(corner, v[:, :, :1]), "is_causal=True lets one query see the first key, and no other"
        got, want = _attend(q, k, v), _by_loops(q, k, v)
        _blame(got, want, q, k, v)
        told = f"{L} queries on {S} keys: query i sees the keys 0 to {S - L} + i"
        check_tensor(got, want, told, rtol=1e-9, atol=1e-9)


@pytest.mark.myth(
    says="A mask of -1e4 is as good as -inf.",
    today="It is one score among others: where those of the visible keys are lower, the future gets all the weight.",
)
def test_the_future_weighs_nothing_whatever_the_scores_and_the_dtype():
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        for sizes in ((2, 3, 5, 5, 8, 6), (4, 4, 4, 4, 4, 4)):
            q, k, v = _inputs(*sizes, dtype=dtype)
            want = _by_loops(q.double(), k.double(), v.double())
            got = _attend(q, k, v)
            assert got.dtype == dtype, f"{dtype} went in, and {got.dtype} came out"
            told = f"{dtype}, q {tuple(q.shape)}: as in float64, but for rounding"
            check_tensor(got.double(), want, told, rtol=3e-2, atol=3e-2)
    keep = torch.ones(3, 3, dtype=torch.bool).tril()
    for dtype in (torch.float32, torch.float64):
        eye = torch.eye(3, dtype=dtype).view(1, 1, 3, 3)  # with these values the answer is the weights
        for size, sign in ((300.0, 1), (300.0, -1), (1e6, 1), (1e6, -1)):
            q = torch.full((1, 1, 3, 1), sign * size, dtype=dtype)
            k = torch.tensor([-1.0, -0.5, 1.0], dtype=dtype).mul(sign * size).view(1, 1, 3, 1)
            got, scores = _attend(q, k, eye), q @ k.mT
            told = f"visible scores down to {scores.min().item():.0f} and later ones up to {scores.max().item():.0f}"
            assert not got.isnan().any(), f"{told}: nan, expected finite weights (exp of such a score is inf)"
            for number in (-1e4, -1e5, -1e9, -1e10):
                for other in (scores.masked_fill(~keep, number), scores + number * (~keep)):
                    weights = other.softmax(-1)
                    lost = not torch.equal(weights, eye) and torch.equal(weights, got)
                    assert not lost, f"{told}: the future has all the weight: finite masks lose"
            check_tensor(got, eye, f"{told}: query i sees no key after i, and its own has the largest score", atol=1e-6)


def test_no_gradient_reaches_a_later_key():
    torch.manual_seed(0)
    for sizes in ((2, 3, 5, 5, 4, 6), (3, 3, 3, 3, 3, 3)):
        q, k, v = (t.requires_grad_() for t in _inputs(*sizes))
        L, S = sizes[2:4]
        weights = torch.randn(*sizes[:2], L, sizes[5], dtype=torch.float64)
        got = _attend(q, k, v)
        assert got.requires_grad, "the result hangs on no graph: nothing can be trained"
        for what, part in ((f"row {L - 2}", slice(L - 2, L - 1)), ("all rows", slice(None))):
            want = torch.autograd.grad((_by_loops(q, k, v) * weights)[:, :, part].sum(), (q, k, v))
            with explain("backward through causal_attention raised"):
                grads = torch.autograd.grad(
                    (got * weights)[:, :, part].sum(), (q, k, v), retain_graph=True, allow_unused=True
                )
            for name, grad, true in zip("qkv", grads, want, strict=True):
                told = f"{L} queries on {S} keys: the gradient that {what} sends to {name}"
                assert grad is not None, f"{told} is missing"
                assert not grad.isnan().any(), f"{told} has nan in it"
                check_tensor(grad, true, told, rtol=1e-8, atol=1e-10)
            if part.stop is not None:
                assert not want[1][:, :, -1].any(), "no gradient reaches a later key"
    q, k, v = (torch.full((1, 1, 2, 1), number, requires_grad=True) for number in (30.0, 30.0, 1.0))
    with torch.no_grad():
        k[:, :, 0] = -30.0
    (grad,) = torch.autograd.grad(_attend(q, k, v)[:, :, 0].sum(), v)
    check_tensor(grad.flatten(), torch.tensor([1.0, 0.0]), "row 0 of two, scores -900 and 900: all goes to v[0]")


class _Model(nn.Module):
    """Maps x to function(x), with a parameter beside it, whose gradient is in use."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.scale = function, nn.Parameter(torch.ones(()))
        self.scale.grad = torch.tensor(7.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x) * self.scale


class _Watched(nn.Dropout):
    """Dropout that notes in which mode it was called."""

    def __init__(self, note: Callable[[bool], None]) -> None:
        super().__init__(0.5)
        self.note = note

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.note(self.training)
        return super().forward(x)


class _Attention(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.causal = nn.Linear(16, 48), nn.Linear(16, 16), causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (t.unflatten(-1, (2, 8)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(heads.transpose(1, 2).flatten(2))


def _judge(model: nn.Module, x: torch.Tensor, told: str) -> bool:
    __tracebackhide__ = True
    with explain(f"sees_future raised: {told}", _SIGNS):
        with unchanged(f"{told}: sees_future must leave model and x as they were", model=model, x=x):
            got = sees_future(model, x)
    assert torch.is_grad_enabled(), "gradients were on at the call, and are off now"
    assert type(got) is bool, f"sees_future returns True or False, got {type(got).__name__}"
    return got


def _check(
    function: Callable[[torch.Tensor], torch.Tensor], leaks: bool, told: str, shape: tuple[int, ...] = (4, 6, 3)
) -> None:
    __tracebackhide__ = True
    torch.manual_seed(0)
    got = _judge(_Model(function), torch.randn(shape), told)
    if leaks:
        assert got, f"a leak stays unseen: {told}"
    else:
        assert not got, f"a causal model was accused: {told}"


def _peeks(at: int, to: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A sum over the past; only position `at` also reads a little of token `to`."""

    def function(x: torch.Tensor) -> torch.Tensor:
        out = x.cumsum(1).clone()
        if -x.shape[1] <= to < x.shape[1]:
            out[:, at] = out[:, at] + 1e-3 * x[:, to]
        return out

    return function


def _last_channel(x: torch.Tensor) -> torch.Tensor:
    """The last column of row 3 reads a little of the last column of row 4."""
    out = x.cumsum(1).clone()
    if x.shape[1] > 4:
        out[:, 3, -1] = out[:, 3, -1] + 1e-3 * x[:, 4, -1]
    return out


def _one_number(x: torch.Tensor) -> torch.Tensor:
    """As _last_channel, but late: a mean over all numbers that came before hardly moves."""
    out = x.cumsum(1).clone()
    if x.shape[1] > 61:
        out[:, 60, -1] = out[:, 60, -1] + 1e-3 * x[:, 61, -1]
    return out


def _later(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1).cumsum(1).flip(1)


def test_one_token_that_reads_its_neighbour_is_a_leak():
    for t in range(5):
        _check(_peeks(t, t + 1), True, f"a leak from t to t+1 stays unseen, where t = {t} of 6 tokens reads 0.001 of x")
    _check(_peeks(0, 1), True, "a leak from t to t+1 stays unseen, where t = 0 of 2 tokens", shape=(4, 2, 3))
    _check(_peeks(0, -1), True, "row 0 reads 0.001 of the last token")
    _check(_last_channel, True, "one number of row 3 reads 0.001 of one number of row 4")
    _check(_one_number, True, "of 65 tokens, row 60 reads 0.001 of row 61, in one number", shape=(4, 65, 3))
    _check(lambda x: x.mean(1, keepdim=True).expand_as(x), True, "every row is the mean of all")
    _check(_later, True, "every row is the sum of itself and all later ones")
    _check(_later, True, "one text, and one number a token: the sum of itself and all later ones", shape=(1, 6, 1))
    _check(lambda x: x.roll(-1, 1), True, "every row is the next one of x")
    _check(lambda x: F.normalize(x.roll(-1, 1), dim=-1), True, "every row is the direction of the next, not its length")
    _check(lambda x: x.roll(-1, 1).norm(dim=-1, keepdim=True), True, "every row is the length of the next")
    _check(lambda x: x.cumsum(1) / x.std(1, keepdim=True), True, "every row is divided by the std over all rows")
    _check(lambda x: 3 + (x - x.mean(1, keepdim=True))[..., :1], True, "one number a row, and the mean of all is off")


def test_a_causal_model_is_not_accused():
    _check(lambda x: x.cumsum(1), False, "every row is the sum of those up to it")
    _check(lambda x: x.cumsum(1), False, "every row is the sum of those up to it, and T = 2", shape=(4, 2, 3))
    _check(lambda x: 100 * torch.cat([x, x.cummax(1).values], -1), False, "the result is wider than x, and larger")
    _check(lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1], False, "every row is the one before")
    _check(lambda x: 1e-3 * (x.sum(1, keepdim=True) - _later(x) + x), False, "all minus the later ones, to rounding")
    for causal in (True, False):
        torch.manual_seed(0)
        model, x = _Attention(causal), torch.randn(2, 33, 16)
        got = _judge(model, x, "attention in float32 with 33 tokens")
        if causal:
            assert not got, "a causal model was accused: attention in float32 with 33 tokens and is_causal=True"
        else:
            assert got, "a leak stays unseen: attention in float32 with 33 tokens and no mask"


@pytest.mark.myth(
    says="model.eval() switches all dropout off, that of F.scaled_dot_product_attention too.",
    today="dropout_p is an argument of the function: it acts in eval as well, unless the caller passes 0.",
)
def test_the_judge_looks_in_eval_mode_and_gives_the_model_back():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 16)
    careless = nn.Identity().eval()
    once, twice = (F.scaled_dot_product_attention(*3 * [careless(x)], dropout_p=0.5) for _ in range(2))
    assert not torch.equal(once, twice), "dropout_p acts, whatever the mode of the model"
    for root, inner in ((True, True), (True, False), (False, True), (False, False)):
        for requires_grad in (False, True):
            modes: list[bool] = []
            causal = _Model(lambda x: x.cumsum(1))
            inside = nn.Sequential(causal, nn.Linear(16, 3).requires_grad_(False), _Watched(modes.append))
            model = nn.Sequential(inside, nn.Tanh()).train(root)
            inside[2].train(inner)
            causal.train(not root)
            x = torch.randn(2, 5, 16, requires_grad=requires_grad)
            if requires_grad:
                x.grad = torch.full_like(x, 3.0)
            told = f"the model is in {'train' if root else 'eval'} mode, a dropout in {'train' if inner else 'eval'}"
            got = _judge(model, x, told)
            assert not any(modes), f"{told}: dropout was called in train mode: model.eval() before you judge"
            assert modes, f"{told}: the model was not called"
            assert not got, f"a causal model was accused: {told}"
