"""Answers that people give to kv_cache, right ones and wrong ones."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


class _OneBuffer:
    """Keys and values in one tensor, under no_grad."""

    def __init__(self, batch, n_kv_heads, max_len, head_dim, dtype=torch.float32, device=None):
        self.buf = self.make((2, batch, n_kv_heads, max_len, head_dim), dtype, device)
        self.pos = 0

    def make(self, shape, dtype, device):
        with torch.inference_mode(False):
            return torch.empty(shape, dtype=dtype, device=device)

    @property
    def length(self):
        return self.pos

    @torch.no_grad()
    def update(self, k, v):
        n = k.size(2)
        if self.pos + n > self.buf.size(3):
            raise ValueError("cache overflow")
        self.put(k, v, n)
        self.pos += n
        return self.out()

    def put(self, k, v, n):
        self.buf[0].narrow(2, self.pos, n).copy_(k)
        self.buf[1].narrow(2, self.pos, n).copy_(v)

    def out(self):
        return self.buf[0, :, :, : self.pos], self.buf[1, :, :, : self.pos]

    def select(self, rows):
        self.buf = self.buf.index_select(1, rows)

    def reset(self):
        self.pos = 0


class _Module(nn.Module):
    """A module with buffers that are not saved; select in place."""

    def __init__(self, batch, n_kv_heads, max_len, head_dim, dtype=torch.float32, device=None):
        super().__init__()
        with torch.inference_mode(mode=False), torch.no_grad():
            shape = batch, n_kv_heads, max_len, head_dim
            self.register_buffer("k", torch.zeros(shape, dtype=dtype, device=device), persistent=False)
            self.register_buffer("v", torch.zeros(shape, dtype=dtype, device=device), persistent=False)
        self.length = 0

    def update(self, k, v):
        free = self.k.shape[2] - self.length
        if k.shape[2] > free:
            raise ValueError(f"{k.shape[2]} tokens for {free} places")
        at = torch.arange(self.length, self.length + k.shape[2], device=self.k.device)
        self.k.index_copy_(2, at, k.detach())
        self.v.index_copy_(2, at, v.detach())
        self.length += len(at)
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

    def select(self, rows):
        with torch.no_grad():
            self.k.copy_(self.k[rows])
            self.v.copy_(self.v[rows])

    def reset(self):
        self.length = 0
        self.k.zero_()
        self.v.zero_()


class _TokensFirst:
    """Stored as (max_len, B, G, D), returned as a permuted view; a list."""

    def __init__(self, batch, n_kv_heads, max_len, head_dim, dtype=torch.float32, device=None):
        with torch.inference_mode(False):
            self.store = [torch.zeros(max_len, batch, n_kv_heads, head_dim, dtype=dtype, device=device) for _ in "kv"]
        self.length = 0

    def update(self, k, v):
        start, end = self.length, self.length + k.shape[2]
        if end > len(self.store[0]):
            raise ValueError("too many tokens")
        for store, new in zip(self.store, (k, v), strict=True):
            store[start:end] = new.data.permute(2, 0, 1, 3)
        self.length = end
        return [store[:end].permute(1, 2, 0, 3) for store in self.store]

    def select(self, rows):
        self.store = [store[:, rows] for store in self.store]

    def reset(self):
        self.length = 0


def _by_hand(cache, q, k, v):
    before = cache.length
    keys, values = cache.update(k, v)
    (b, h, n, d), g = q.shape, k.shape[1]
    q = q.reshape(b, g, h // g, n, d)
    scores = torch.einsum("bgrnd,bgsd->bgrns", q, keys) / math.sqrt(d)
    i = before + torch.arange(n, device=q.device)
    j = torch.arange(before + n, device=q.device)
    scores = scores.masked_fill(j[None, :] > i[:, None], float("-inf"))
    return torch.einsum("bgrns,bgsd->bgrnd", scores.softmax(-1), values).reshape(b, h, n, d)


def _additive(cache, q, k, v):
    keys, values = cache.update(k, v)
    times = q.size(1) // keys.size(1)
    keys, values = keys.repeat_interleave(times, dim=1), values.repeat_interleave(times, dim=1)
    n, s = q.size(2), keys.size(2)
    mask = torch.full((n, s), float("-inf"), dtype=q.dtype, device=q.device).triu(s - n + 1)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)


def _three_cases(cache, q, k, v):
    before, n = cache.length, q.shape[2]
    keys, values = cache.update(k, v)
    if n == 1:
        return F.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
    if before == 0:
        return F.scaled_dot_product_attention(q, keys, values, is_causal=True, enable_gqa=True)
    mask = torch.tril(torch.ones(n, before + n, dtype=torch.bool, device=q.device), diagonal=before)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)


def _query_by_query(cache, q, k, v):
    outs, times = [], q.shape[1] // k.shape[1]
    before, n = cache.length, q.shape[2]
    keys, values = cache.update(k, v)
    for i in range(n):
        kk, vv = (x[:, :, : before + i + 1].repeat_interleave(times, 1) for x in (keys, values))
        outs.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], kk, vv))
    return torch.cat(outs, 2)


class _AlwaysInference(_OneBuffer):
    """The memory is an inference tensor, and whatever writes into it is in that mode again."""

    def make(self, shape, dtype, device):
        with torch.inference_mode():
            return torch.zeros(shape, dtype=dtype, device=device)

    @torch.inference_mode()
    def update(self, k, v):
        return super().update(k, v)

    @torch.inference_mode()
    def select(self, rows):
        super().select(rows)


RIGHT = [
    {"KVCache": _AlwaysInference},
    {"KVCache": _OneBuffer, "attend": _by_hand},
    {"KVCache": _Module, "attend": _additive},
    {"KVCache": _TokensFirst, "attend": _three_cases},
    {"attend": _query_by_query},
    {"KVCache": _OneBuffer},
]


class _Cat(_OneBuffer):
    def __init__(self, batch, n_kv_heads, max_len, head_dim, dtype=torch.float32, device=None):
        super().__init__(batch, n_kv_heads, max_len, head_dim, dtype, device)
        self.max_len, self.all = max_len, self.buf[:, :, :, :0]

    def put(self, k, v, n):
        self.all = torch.cat([self.all[:, :, :, : self.pos], torch.stack([k, v])], dim=3)

    def out(self):
        return self.all[0], self.all[1]

    def select(self, rows):
        self.all = self.all[:, rows]


class _Clones(_OneBuffer):
    def out(self):
        k, v = super().out()
        return k.clone(), v.clone()


class _AllHeads(_OneBuffer):
    def make(self, shape, dtype, device):
        return super().make((2, shape[1], 4 * shape[2], *shape[3:]), dtype, device)

    def put(self, k, v, n):
        super().put(k.repeat(1, 4, 1, 1), v.repeat(1, 4, 1, 1), n)

    def out(self):
        return tuple(x[:, : x.shape[1] // 4] for x in super().out())


class _Attached(_OneBuffer):
    def update(self, k, v):
        with torch.set_grad_enabled(not torch.is_inference_mode_enabled() and k.requires_grad):
            if self.pos + k.size(2) > self.buf.size(3):
                raise ValueError("cache overflow")
            self.buf = self.buf.clone() if False else self.buf
            start, self.pos = self.pos, self.pos + k.size(2)
            self.buf[0, :, :, start : self.pos] = k
            self.buf[1, :, :, start : self.pos] = v
            return self.out()


class _AttachedInside(_Attached):
    def out(self):
        return tuple(x.detach() for x in super().out())


class _Remembers(_OneBuffer):
    last = None

    def put(self, k, v, n):
        self.last = k
        super().put(k, v, n)


class _TakesTheFirst(_Cat):
    def put(self, k, v, n):
        if self.pos:
            self.first = [torch.cat([x, y], 2) for x, y in zip(self.first, (k, v), strict=True)]
        else:
            self.first = [k.data, v.data]

    def out(self):
        return tuple(self.first)

    def select(self, rows):
        self.first = [x[rows] for x in self.first]


class _Everything(_OneBuffer):
    def out(self):
        return self.buf[0], self.buf[1]


class _One(_OneBuffer):
    def update(self, k, v):
        super().update(k, v)
        self.pos += 1 - k.size(2)
        return self.out()


class _ValuesAreKeys(_OneBuffer):
    def out(self):
        k, _ = super().out()
        return k, k


class _Global(_OneBuffer):
    buffers: dict = {}

    def make(self, shape, dtype, device):
        key = tuple(shape), dtype, device
        if key not in self.buffers:
            self.buffers[key] = super().make(shape, dtype, device)
        return self.buffers[key]


class _DefaultDtype(_OneBuffer):
    def make(self, shape, dtype, device):
        return super().make(shape, torch.float32, device)


class _DefaultDevice(_OneBuffer):
    def make(self, shape, dtype, device):
        return super().make(shape, dtype, None)


class _KeepsLength(_OneBuffer):
    def reset(self):
        self.buf.zero_()


class _Silent(_OneBuffer):
    @torch.no_grad()
    def update(self, k, v):
        end = min(self.pos + k.size(2), self.buf.size(3))
        self.buf[0, :, :, self.pos : end] = k[:, :, : end - self.pos]
        self.buf[1, :, :, self.pos : end] = v[:, :, : end - self.pos]
        self.pos = end
        return self.out()


class _IndexError(_OneBuffer):
    def update(self, k, v):
        try:
            return super().update(k, v)
        except ValueError:
            raise IndexError("full") from None


class _Ring(_OneBuffer):
    def update(self, k, v):
        if self.pos + k.size(2) > self.buf.size(3):
            self.pos = 0
        return super().update(k[:, :, : self.buf.size(3)], v[:, :, : self.buf.size(3)])


class _Early(_OneBuffer):
    def update(self, k, v):
        if self.pos + k.size(2) > self.buf.size(3) - 1:
            raise ValueError("full")
        return super().update(k, v)


class _Counted(_OneBuffer):
    def update(self, k, v):
        start = self.pos
        self.pos += k.size(2)
        if self.pos > self.buf.size(3):
            raise ValueError("full")
        self.pos = start
        return super().update(k, v)


class _MadeInMode(_OneBuffer):
    def make(self, shape, dtype, device):
        return torch.zeros(shape, dtype=dtype, device=device)


class _GradOn(_OneBuffer):
    def make(self, shape, dtype, device):
        with torch.enable_grad():
            return torch.zeros(shape, dtype=dtype, device=device)


class _OneRow(_OneBuffer):
    def select(self, rows):
        for i in range(len(rows)):
            self.buf[:, i] = self.buf[:, rows[i]].clone()


class _KeysOnly(_OneBuffer):
    def select(self, rows):
        self.buf = torch.stack([self.buf[0, rows], self.buf[1]])


class _Nothing(_OneBuffer):
    def select(self, rows):
        self.buf.index_select(1, rows)


class _Inverse(_OneBuffer):
    def select(self, rows):
        self.buf = self.buf.clone().index_copy(1, rows, self.buf)


class _Cut(_OneBuffer):
    def select(self, rows):
        self.buf = self.buf[:, rows, :, : self.pos]


def _flag(cache, q, k, v):
    keys, values = cache.update(k, v)
    times = q.shape[1] // k.shape[1]
    return F.scaled_dot_product_attention(
        q, keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1), is_causal=True
    )


def _corner(cache, q, k, v):
    keys, values = cache.update(k, v)
    mask = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)


def _free(cache, q, k, v):
    keys, values = cache.update(k, v)
    times = q.shape[1] // k.shape[1]
    keys, values = keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1)
    return (q @ keys.mT / math.sqrt(q.shape[-1])).softmax(-1) @ values


def _expanded(cache, q, k, v):
    n = q.shape[2]
    keys, values = cache.update(k, v)
    times, s = q.shape[1] // k.shape[1], keys.shape[2]
    mask = torch.ones(n, s, dtype=torch.bool).tril(s - n)
    keys, values = (x[:, None].expand(-1, times, -1, -1, -1).flatten(1, 2) for x in (keys, values))
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)


def _diagonal(shift):
    def wrong(cache, q, k, v):
        keys, values = cache.update(k, v)
        n, s = q.shape[2], keys.shape[2]
        mask = torch.ones(n, s, dtype=torch.bool).tril(s - n + shift)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)

    return wrong


def _finite(cache, q, k, v):
    keys, values = cache.update(k, v)
    n, s = q.shape[2], keys.shape[2]
    mask = torch.ones(n, s).tril(s - n).sub(1).mul(1e4).to(q.dtype)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)


def _unscaled(cache, q, k, v):
    return _additive(cache, q * q.shape[-1], k, v)


_REFUSES = "a full cache refuses"
_COPIES = "in another memory than those of step 0: all were copied"

WRONG = [
    Mistake(_COPIES, caught_by="", KVCache=_Cat),
    Mistake(_COPIES, caught_by="", KVCache=_Clones),
    Mistake("2 * B * G * max_len * D are", caught_by="", KVCache=_AllHeads),
    Mistake("hang on a graph: it grows with every token", caught_by="", KVCache=_Attached),
    Mistake("the graph of k or v is kept alive", caught_by="", KVCache=_AttachedInside),
    Mistake("something keeps the tensor alive", caught_by="", KVCache=_Remembers),
    Mistake("k and v were zeroed after update", caught_by="", KVCache=_TakesTheFirst),
    Mistake("what is behind the last token would be attended to", caught_by="", KVCache=_Everything),
    Mistake("has length 1, expected 2", caught_by="", KVCache=_One),
    Mistake("the values so far", caught_by="", KVCache=_ValuesAreKeys),
    Mistake("with another cache beside it", caught_by="", KVCache=_Global),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by="", KVCache=_DefaultDtype),
    Mistake("on device='meta', update raised", caught_by="", KVCache=_DefaultDevice),
    Mistake("after reset the cache has length 7, expected 0", caught_by="", KVCache=_KeepsLength),
    Mistake(_REFUSES, caught_by="", KVCache=_Silent),
    Mistake(_REFUSES, caught_by="", KVCache=_IndexError),
    Mistake(_REFUSES, caught_by="", KVCache=_Ring),
    Mistake("tokens that just fit: update raised", caught_by="", KVCache=_Early),
    Mistake("Afterwards the cache has length", caught_by="", KVCache=_Counted),
    Mistake("outside of it nothing may be written into it", caught_by="", KVCache=_MadeInMode),
    Mistake("outside of it nothing may be written into it", caught_by="", KVCache=_GradOn),
    Mistake("one was overwritten before it was read", caught_by="", KVCache=_OneRow),
    Mistake("the keys moved, and the values stayed", caught_by="", KVCache=_KeysOnly),
    Mistake("no row moved", caught_by="", KVCache=_Nothing),
    Mistake("row rows[i] got what row i had", caught_by="", KVCache=_Inverse),
    Mistake("after select([1, 0]), update raised", caught_by="", KVCache=_Cut),
    Mistake("the mask sits in the top left corner", caught_by="", attend=_flag),
    Mistake("the mask sits in the top left corner", caught_by="", attend=_corner),
    Mistake("no mask: a query saw the tokens after it", caught_by="", attend=_free),
    Mistake("neighbours share one", caught_by="", attend=_expanded),
    Mistake("a query saw the token after it", caught_by="", attend=_diagonal(1)),
    Mistake("a query did not see its own token", caught_by="", attend=_diagonal(-1)),
    Mistake("with large scores", caught_by="", attend=_finite),
    Mistake("queries of 4 heads on 0 cached tokens", caught_by="", attend=_unscaled),
]
