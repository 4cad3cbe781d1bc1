"""A cache of keys and values: one token at a time gives what all at once give

A language model writes one token after the other. The keys and values of the tokens before do not change any more, as
none of them looks ahead: keep them, and a step only has to project the newest token. `torch.cat([keys, k], dim=2)` does
that, and copies the whole cache for every token. So the memory for the longest text is taken once, and each step writes
its numbers into it, `memory[:, :, start:end] = k`. What is behind the last token written is no key: return a slice.

Four things go wrong there, most of them without a sound. A slice beyond the end is clipped: after the last place,
start:end is empty, and one token written into it goes nowhere, with no error. A key that hangs on a graph takes it into
the memory, and the graph grows until nothing is left: `detach()`. What is made under `torch.inference_mode()` can never
be written to outside of it; `with torch.inference_mode(False):` around the making gives a normal tensor. And when a
beam search goes on with other rows, moving them one by one overwrites a row that is still needed.

The mask depends on what is cached: with 4 keys kept, the first of 5 new queries stands at position 4 and sees 5 keys.
`is_causal=True` in F.scaled_dot_product_attention puts its triangle into the top left corner, so this query would see
key 0 only. Keys and values often have fewer heads than queries: H/G neighbouring heads read the same one.

What is asked here: such a cache, and attention on it, for one token or many.

About 40 minutes. Before it: causal_attention, inference_mode, stop_gradient, behind_the_view.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

import gc
import math
import weakref
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


class KVCache:
    """Room for the keys and values of `max_len` tokens, for each row of the batch and each of G key heads.

    `length: int` says how many tokens are in it. It can be written to in each grad mode, also outside of the
    `torch.inference_mode()` in which it was made.
    """

    length: int

    def __init__(
        self,
        batch: int,
        n_kv_heads: int,
        max_len: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        """Empty: length 0."""
        raise NotImplementedError("take the memory, once")

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the keys and the values (B, G, n, D) of n more tokens; return all keys and all values so far.

        The results are (B, G, length, D), without a graph. `k` and `v` are of the cache's dtype; their numbers are
        copied, and the tensors may be changed or deleted afterwards. More than `max_len` tokens are a ValueError, and
        then the cache is as it was before.

        Until a `select` or a `reset`, all results of `update` lie in the same memory, and keys and values together take
        no more of it than 2 * B * G * max_len * D numbers.
        """
        raise NotImplementedError("write the new numbers behind the others")

    def select(self, rows: torch.Tensor) -> None:
        """Row i of the batch goes on with all that row rows[i] had, its keys and its values; `rows` is int64 (B,)."""
        raise NotImplementedError("move the rows")

    def reset(self) -> None:
        """Empty again, with all its room."""
        raise NotImplementedError("forget all tokens")


def attend(cache: KVCache, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Append k and v (B, G, n, D) to the cache; return what the n queries q (B, H, n, D) read there, (B, H, n, D).

    softmax(q kᵀ / √D) v, in the dtype of q, where each query sees the keys up to its own token: all that were in the
    cache before, and of the n new ones those before it and its own. G divides H, and head h reads key head h // (H/G).
    Too many tokens are a ValueError, as in `update`.
    """
    raise NotImplementedError("append, then attend with a mask that knows how much was cached")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "[Ii]nference tensor": "the memory was made in inference_mode, and outside of it nothing may be written into it",
    "leaf Variable that requires grad": "the memory requires a gradient: it is no parameter",
    "second time": "the memory hangs on the graph of a step before",
    "has no attribute 'length'": "a cache has its `length`, from the start",
}


def _cache(*sizes, **kwargs) -> Any:
    __tracebackhide__ = True
    with explain("KVCache raised", _SIGNS):
        cache = KVCache(*sizes, **kwargs)
    _has_length(cache, 0, "a new cache")
    return cache


def _has_length(cache, want, what):
    __tracebackhide__ = True
    with explain(f"{what}: reading its length raised", _SIGNS):
        length = cache.length
    assert isinstance(length, int), f"{what}: length is an int, got {type(length).__name__}"
    assert length == want, f"{what} has length {length}, expected {want}"


def _update(cache, k, v, what="update") -> Any:
    __tracebackhide__ = True
    grad = torch.is_grad_enabled()
    with explain(f"{what} raised", _SIGNS), unchanged("k and v are the caller's", rng=True, k=k, v=v):
        got = cache.update(k, v)
    assert torch.is_grad_enabled() == grad, "update left another grad mode behind"
    pair = isinstance(got, tuple | list) and len(got) == 2 and all(isinstance(x, torch.Tensor) for x in got)
    assert pair, f"{what}: update returns all keys and all values, got {type(got).__name__}"
    return got


def _holds(got, k, v, what):
    """Are these exactly the keys and values so far?"""
    __tracebackhide__ = True
    for name, is_, want in (("keys", got[0], k), ("values", got[1], v)):
        if is_.dim() == 4 and is_.shape[2] > want.shape[2]:
            beyond = is_.shape[2]
            told = f"{what}: {want.shape[2]} tokens are in it, and update returned {beyond} {name}"
            raise AssertionError(f"{told}: what is behind the last token would be attended to as well")
        check_tensor(is_.detach(), want, f"{what}: the {name} so far")


def _numbers(*shape, dtype=torch.float64, of=1.0):
    """Numbers between -1.5 and 1.5, no two alike."""
    n = math.prod(shape)
    return (1.5 * torch.sin(of + 1.7 * torch.arange(n, dtype=torch.float64))).view(shape).to(dtype)


def _kv(batch, heads, n, dim, dtype=torch.float64):
    return _numbers(batch, heads, n, dim, dtype=dtype), _numbers(batch, heads, n, dim, dtype=dtype, of=2.0)


def _read(q, k, v, sees, group):
    """Attention by hand, head by head: query i sees key j where sees[i, j]."""
    q, k, v = q.double(), k.double(), v.double()
    out = torch.empty_like(q)
    for h in range(q.shape[1]):
        scores = q[:, h] @ k[:, group(h)].mT / math.sqrt(q.shape[3])
        out[:, h] = scores.masked_fill(~sees, -math.inf).softmax(-1) @ v[:, group(h)]
    return out


def _check_attention(out, q, k, v, max_len, what, atol):
    """q are the last n of the S positions of k and v. If `out` is not what they read: what is it then?"""
    __tracebackhide__ = True
    n, length, (heads, groups) = q.shape[2], k.shape[2], (q.shape[1], k.shape[1])
    seen = torch.ones(n, length, dtype=torch.bool)

    def group(h):
        return h // (heads // groups)

    want = _read(q, k, v, seen.tril(length - n), group)
    if out.shape == want.shape and not torch.allclose(out.detach().double(), want, rtol=0, atol=atol):
        free = max_len - length
        longer = [torch.cat([x, x.new_zeros(*x.shape[:2], free, x.shape[3])], 2) for x in (k, v)]
        tail = torch.cat([seen.tril(length - n), torch.ones(n, free, dtype=torch.bool)], 1)
        for other, cause in (
            (_read(q, k, v, seen.tril(), group), "the mask sits in the top left corner, so query 0 saw key 0 only"),
            (_read(q, k, v, seen, group), "no mask: a query saw the tokens after it"),
            (_read(q, k, v, seen.tril(length - n + 1), group), "a query saw the token after it"),
            (_read(q, k, v, seen.tril(length - n - 1), group), "a query did not see its own token"),
            (_read(q, *longer, tail, group), "the unused end of the memory was attended to: its zeros are keys too"),
            (
                _read(q, k, v, seen.tril(length - n), lambda h: h % groups),
                "the key heads were repeated as 0, 1, 0, 1: neighbours share one",
            ),
        ):
            found = torch.allclose(out.detach().double(), other, rtol=0, atol=atol, equal_nan=True)
            assert not found, f"{what}: {cause}"
    check_tensor(out.detach(), want.to(q.dtype), what, atol=atol)


def _attend(cache, q, k, v, what) -> Any:
    __tracebackhide__ = True
    grad = torch.is_grad_enabled()
    with explain(f"{what}: attend raised", _SIGNS), unchanged("q, k and v are the caller's", rng=True, q=q, k=k, v=v):
        out: Any = attend(cache, q, k, v)
    assert torch.is_grad_enabled() == grad, "attend left another grad mode behind"
    assert isinstance(out, torch.Tensor), f"attend returns a tensor, got {type(out).__name__}"
    return out


@pytest.mark.parametrize(
    "chunks",
    [[1] * 9, [4, 5], [1, 2, 6], [9]],
    ids=["token by token", "four and five", "one, two and six", "all at once"],
)
def test_a_chunk_sees_what_is_cached_and_its_own_past(chunks):
    for batch, heads, groups, dim, max_len, dtype, atol in (
        (2, 4, 2, 3, 12, torch.float64, 1e-9),
        (1, 6, 2, 5, 9, torch.float64, 1e-9),
        (3, 3, 3, 3, 9, torch.float64, 1e-9),
        (2, 5, 1, 4, 10, torch.float64, 1e-9),
        (2, 4, 2, 8, 12, torch.bfloat16, 6e-2),
    ):
        k, v = _kv(batch, groups, 9, dim, dtype)
        for factor in (1, 300, 0) if dtype == torch.float64 else (1,):
            q = factor * _numbers(batch, heads, 9, dim, dtype=dtype, of=3.0)
            keys, cache, start = factor * k, _cache(batch, groups, max_len, dim, dtype=dtype), 0
            for n in chunks:
                now = slice(start, start + n)
                what = f"{n} queries of {heads} heads on {start} cached tokens of {groups}"
                out = _attend(cache, q[:, :, now], keys[:, :, now], v[:, :, now], what)
                start += n
                so_far = keys[:, :, :start], v[:, :, :start]
                scores = {1: "", 300: ", with large scores", 0: ", with scores of 0"}[factor]
                _check_attention(out, q[:, :, now], *so_far, max_len, what + scores, atol)
                _has_length(cache, start, f"after attend with {start} tokens in all, the cache")
    cache, (k, v), q = _cache(2, 2, 9, 3, dtype=torch.float64), _kv(2, 2, 7, 3), _numbers(2, 4, 3, 3)
    _update(cache, k[:, :, :4], v[:, :, :4])
    what = "4 tokens by update, then 3 by attend"
    _check_attention(_attend(cache, q, k[:, :, 4:], v[:, :, 4:], what), q, k, v, 9, what, 1e-9)


def test_update_returns_all_so_far_and_no_more():
    for batch, groups, max_len, dim, dtype in (
        (2, 3, 8, 5, torch.float64),
        (2, 2, 7, 2, torch.bfloat16),
        (1, 1, 9, 4, torch.float16),
    ):
        caches = [_cache(batch, groups, max_len, dim, dtype=dtype) for _ in range(2)]
        k, v = _kv(batch, groups, 7, dim, dtype)
        for start, end in ((0, 2), (2, 3), (3, 7)):
            for i, cache in enumerate(caches):
                mine = [(x * (1 - 2 * i))[:, :, start:end] for x in (k, v)]
                got = _update(cache, *mine, f"update by {end - start}")
                what = f"tokens {start} to {end - 1} appended, in {dtype}, with another cache beside it"
                _has_length(cache, end, f"after {end} tokens the cache")
                _holds(got, k[:, :, :end] * (1 - 2 * i), v[:, :, :end] * (1 - 2 * i), what)
        with explain("reset raised", _SIGNS):
            caches[0].reset()
        _has_length(caches[0], 0, "after reset the cache")
        _has_length(caches[1], 7, "after the reset of another one the cache")
        for end in (1, 7):
            got = _update(caches[0], *(x[:, :, end // 7 : end] for x in (v, k)), "after reset, update")
            _holds(got, v[:, :, :end], k[:, :, :end], "after reset")
    k, v = (x.transpose(1, 2) for x in _kv(2, 4, 3, 5, torch.float32))
    _holds(_update(_cache(2, 3, 6, 5), k, v), k, v, "keys that were transposed, and no dtype given, float32")
    k, v = _kv(2, 3, 4, 5, torch.float32)
    got = _update(_cache(2, 3, 6, 5, device="meta"), k.to("meta"), v.to("meta"), "on device='meta', update")
    _holds(got, k.to("meta"), v.to("meta"), "on device='meta'")


@pytest.mark.myth(
    says="Whoever writes beyond the end of a tensor gets an error.",
    today="A slice is clipped to what is there: one token written into an empty slice goes nowhere, silently.",
)
def test_a_slice_beyond_the_end_is_clipped_so_a_full_cache_has_to_refuse():
    k, v = _kv(2, 3, 8, 4)
    clipped = k.clone()
    clipped[:, :, 8:9] = torch.ones(2, 3, 1, 4)  # no error
    assert torch.equal(clipped, k), "a slice beyond the end was written to"
    for kept in (0, 3, 4, 5):
        cache = _cache(2, 3, 5, 4, dtype=torch.float64)
        if kept:
            _update(cache, k[:, :, :kept], v[:, :, :kept], f"{kept} tokens into a cache for 5: update")
        for n in (5 - kept + 1, 5 - kept + 2):
            what = f"{n} more tokens on {kept} in a cache for 5"
            with raises(ValueError, f"{what}: a full cache refuses"):
                cache.update(k[:, :, :n] + 7, v[:, :, :n] + 7)
            _has_length(cache, kept, f"refused: {what}. Afterwards the cache")
            with raises(ValueError, f"{what}, in attend: a full cache refuses"):
                attend(cache, _numbers(2, 6, n, 4), k[:, :, :n] + 7, v[:, :, :n] + 7)
            _has_length(cache, kept, f"refused in attend: {what}. Afterwards the cache")
        if kept < 5:
            got = _update(cache, k[:, :, kept:5], v[:, :, kept:5], f"{5 - kept} tokens that just fit: update")
            _holds(got, k[:, :, :5], v[:, :, :5], f"{kept} tokens, then too many, then {5 - kept} that just fit")


@pytest.mark.myth(
    says="torch.cat is how a cache grows.",
    today="cat copies the whole cache for each token; into memory that was taken once, only the new ones are written.",
)
def test_the_memory_is_taken_once():
    for dtype in (torch.float64, torch.bfloat16):
        cache, (k, v) = _cache(2, 3, 16, 4, dtype=dtype), _kv(2, 3, 9, 4, dtype)
        steps = [_update(cache, k[:, :, t : t + 1], v[:, :, t : t + 1]) for t in range(9)]
        for i, name in enumerate(("keys", "values")):
            for t in range(1, 9):
                same = shares_memory(steps[0][i], steps[t][i])
                assert same, f"the {name} of step {t} are in another memory than those of step 0: all were copied"
        memories = [x.untyped_storage().nbytes() for x in steps[-1]]
        taken = max(memories) if shares_memory(*steps[-1]) else sum(memories)
        numbers, enough = taken // dtype.itemsize, 2 * 2 * 3 * 16 * 4
        assert numbers <= enough, f"the memory has room for {numbers} numbers, 2 * B * G * max_len * D are {enough}"
        _holds(steps[-1], k, v, "after 9 steps")


def test_numbers_are_copied_and_no_graph_comes_along():
    cache, layer = _cache(2, 3, 6, 4), nn.Linear(5, 12)
    for step in ("first", "second", "third"):
        x = _numbers(2, 2, 5, dtype=torch.float32)
        k, v = (y.view(2, 2, 3, 4).transpose(1, 2) for y in (layer(x), torch.tanh(layer(x))))
        got = _update(cache, k, v, f"keys from an nn.Linear: the {step} update")
        for name, y in zip(("keys", "values"), got, strict=True):
            assert not y.requires_grad, f"after the {step} update the {name} hang on a graph: it grows with every token"
        alive = [weakref.ref(y) for y in (k, v, x)]
        del k, v, x, y
        if any(y() is not None for y in alive):
            gc.collect()  # a cycle is no leak
        kept = [name for name, y in zip("kv", alive[:2], strict=True) if y() is not None]
        assert not kept, f"after the {step} update {' and '.join(kept)} went, but something keeps the tensor alive"
        assert alive[2]() is None, f"after the {step} update, the graph of k or v is kept alive"

    k, v = _kv(2, 3, 6, 4)
    for n in (2, 6):  # also a prompt that fills the cache at once
        cache = _cache(2, 3, 6, 4, dtype=torch.float64)
        for start in range(0, 6, n):
            mine = [x[:, :, start : start + n].clone() for x in (k, v)]
            got = _update(cache, *mine)
            for x in mine:
                x.zero_()
            _holds(got, k[:, :, : start + n], v[:, :, : start + n], "k and v were zeroed after update")


def test_a_cache_outlives_the_inference_mode_it_was_made_in():
    k, v = _kv(2, 3, 8, 4)
    for kept in (0, 2):
        with torch.inference_mode():
            cache = _cache(2, 3, 8, 4, dtype=torch.float64)
            if kept:
                _update(cache, k[:, :, :kept], v[:, :, :kept], "under inference_mode, update")
        with torch.no_grad():
            got = _update(cache, k[:, :, kept:4], v[:, :, kept:4], "made in inference_mode, under no_grad, update")
            _holds(got, k[:, :, :4], v[:, :, :4], "made in inference_mode, then used under no_grad")
        got = _update(cache, k[:, :, 4:6], v[:, :, 4:6], "made in inference_mode, with gradients on, update")
        _holds(got, k[:, :, :6], v[:, :, :6], "made in inference_mode, then used with gradients on")
        with explain("made in inference_mode, select raised", _SIGNS):
            cache.select(torch.tensor([1, 0]))
        got = _update(cache, k[:, :, 6:], v[:, :, 6:], "made in inference_mode, after select, update")
        want = [torch.cat([x[[1, 0], :, :6], x[:, :, 6:]], 2) for x in (k, v)]
        _holds(got, *want, "made in inference_mode, then selected")


def test_all_rows_move_at_once():
    for rows in ([1, 0], [2, 0, 1], [1, 1], [0, 1], [1, 2, 2], [3, 3, 0, 1]):
        batch = len(rows)
        cache, (k, v) = _cache(batch, 3, 7, 4, dtype=torch.float64), _kv(batch, 3, 7, 4)
        _update(cache, k[:, :, :4], v[:, :, :4])
        at = torch.tensor(rows)
        with explain(f"select({rows}) raised", _SIGNS), unchanged("rows is the caller's", rng=True, rows=at):
            cache.select(at)
        _has_length(cache, 4, f"after select({rows}) the cache")
        got = _update(cache, k[:, :, 4:6], v[:, :, 4:6], f"after select({rows}), update")
        want = [torch.cat([x[rows, :, :4], x[:, :, 4:6]], 2) for x in (k, v)]
        if got[0].shape == want[0].shape and not torch.equal(got[0][:, :, :4], want[0][:, :, :4]):
            one_by_one, back = k.clone(), torch.empty_like(k)
            for i, row in enumerate(rows):
                one_by_one[i], back[row] = one_by_one[row].clone(), k[i]
            for other, cause in (
                (one_by_one, "the rows moved one by one, and one was overwritten before it was read"),
                (k, "no row moved"),
                (back, "row rows[i] got what row i had: it is the other way round"),
            ):
                assert not torch.equal(got[0][:, :, :4], other[:, :, :4]), f"select({rows}): {cause}"
        stayed = got[1].shape == v[:, :, :6].shape and torch.equal(got[1], v[:, :, :6]) and rows != sorted(set(rows))
        assert not stayed, f"select({rows}): the keys moved, and the values stayed where they were"
        _holds(got, *want, f"select({rows}), then two more tokens")
        with explain("select raised", _SIGNS):
            cache.select(at)
        got = _update(cache, k[:, :, 6:], v[:, :, 6:], f"after select({rows}) twice, an update that just fits")
        want = [torch.cat([x[rows], y[:, :, 6:]], 2) for x, y in zip(want, (k, v), strict=True)]
        _holds(got, *want, f"select({rows}) twice, then one more token")
        with raises(ValueError, "after select, a full cache refuses as before"):
            cache.update(k[:, :, :1], v[:, :, :1])
