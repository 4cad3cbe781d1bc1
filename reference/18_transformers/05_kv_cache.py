"""A cache of keys and values: reference.

Hint: Draw the mask for 3 new queries on 4 cached keys: 3 rows, 7 columns. On which diagonal does it end?
Hint: `torch.inference_mode(False)`, `Tensor.detach`, slices; `Tensor.tril(diagonal)`, `enable_gqa=True`.
Hint: Compare length + n with max_len before anything else. The triangle's diagonal is the number of tokens cached.

Why: the rows of a causal mask are the last rows of the full triangle, so the one for n queries on S keys ends in the
bottom right corner; for n = 1 it hides nothing, and for n = S it is what is_causal means. Growing by cat reads and
writes the whole cache for each token: the cost of a text grows with the square of its length. Memory of a fixed size
costs the same in each step, and its address does not change: torch.compile and CUDA graphs need that.
"""

import torch
from torch import nn

from dojo import Mistake


class KVCache:
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
        with torch.inference_mode(False):  # normal tensors, whatever the mode outside is
            self.keys, self.values = (
                torch.zeros(batch, n_kv_heads, max_len, head_dim, dtype=dtype, device=device) for _ in range(2)
            )
        self.max_len, self.length = max_len, 0

    def update(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        end = self.length + k.shape[2]
        if end > self.max_len:
            raise ValueError(f"{end} tokens do not fit into a cache for {self.max_len}")
        self.keys[:, :, self.length : end] = k.detach()
        self.values[:, :, self.length : end] = v.detach()
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def reset(self) -> None:
        self.length = 0


def attend(cache: KVCache, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    cached, n = cache.length, q.shape[2]
    keys, values = cache.update(k, v)
    sees = torch.ones(n, cached + n, dtype=torch.bool, device=q.device).tril(cached)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=sees, enable_gqa=True)


class _Base:
    """Right. The mistakes below change one thing of it."""

    def __init__(self, batch, n_kv_heads, max_len, head_dim, dtype=torch.float32, device=None):
        self.shape, self.dtype, self.device = (batch, n_kv_heads, max_len, head_dim), dtype, device
        self.max_len, self.length = max_len, 0
        self.start()

    def start(self):
        with torch.inference_mode(False):
            self.k, self.v = self.memory(), self.memory()

    def memory(self):
        return torch.zeros(self.shape, dtype=self.dtype, device=self.device)

    def check(self, n):
        if self.length + n > self.max_len:
            raise ValueError("full")

    def write(self, k, v):
        n = k.shape[2]
        self.k[:, :, self.length : self.length + n] = k.detach()
        self.v[:, :, self.length : self.length + n] = v.detach()

    def grow(self, n):
        self.length += n

    def result(self):
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

    def update(self, k, v):
        self.check(k.shape[2])
        self.write(k, v)
        self.grow(k.shape[2])
        return self.result()

    def select(self, rows):
        self.k, self.v = self.k[rows], self.v[rows]

    def reset(self):
        self.length = 0


class _Cat(_Base):
    def start(self):
        self.k = self.v = None

    def write(self, k, v):
        k, v = k.detach().clone(), v.detach().clone()
        if self.length:
            k, v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        self.k, self.v = k, v

    def select(self, rows):
        if self.length:
            super().select(rows)


class _CatOfGraphs(_Cat):
    def write(self, k, v):
        if self.length:
            k, v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        self.k, self.v = k, v


class _KeepsTheFirst(_Cat):
    """The first chunk is not copied, as nothing is to be appended to."""

    def write(self, k, v):
        k, v = k.detach(), v.detach()
        if self.length:
            k, v = torch.cat([self.k, k], 2), torch.cat([self.v, v], 2)
        self.k, self.v = k, v


class _CopiedOut(_Base):
    def result(self):
        return tuple(x.clone() for x in super().result())


class _Contiguous(_Base):
    def result(self):
        return tuple(x.contiguous() for x in super().result())


class _Twice(_Base):
    """Room for more than was asked for."""

    def memory(self):
        batch, groups, max_len, dim = self.shape
        return torch.zeros(batch, groups, 2 * max_len, dim, dtype=self.dtype, device=self.device)


class _Grows(_Base):
    """Doubles when it is full."""

    def start(self):
        with torch.inference_mode(False):
            self.k, self.v = self.memory()[:, :, :2], self.memory()[:, :, :2]

    def write(self, k, v):
        while self.k.shape[2] < self.length + k.shape[2]:
            self.k, self.v = torch.cat([self.k, self.k], 2), torch.cat([self.v, self.v], 2)
        super().write(k, v)


class _Graph(_Base):
    def write(self, k, v):
        n = k.shape[2]
        self.k[:, :, self.length : self.length + n] = k
        self.v[:, :, self.length : self.length + n] = v


class _GraphInside(_Graph):
    """What is returned has no graph, and the memory has it."""

    def result(self):
        return tuple(x.detach() for x in super().result())


class _History(_Base):
    def start(self):
        super().start()
        self.seen = []

    def write(self, k, v):
        self.seen.append((k, v))
        super().write(k, v)


class _NoGradFromNowOn(_Base):
    def write(self, k, v):
        torch.set_grad_enabled(False)
        super().write(k, v)


class _Whole(_Base):
    def result(self):
        return self.k, self.v


class _PlusOne(_Base):
    def grow(self, n):
        self.length += 1


class _FirstPlace(_Base):
    """Each chunk begins one place too far on."""

    def write(self, k, v):
        n = k.shape[2]
        self.k[:, :, self.length + 1 : self.length + 1 + n] = k.detach()[:, :, : self.max_len - self.length - 1]
        self.v[:, :, self.length + 1 : self.length + 1 + n] = v.detach()[:, :, : self.max_len - self.length - 1]


class _OnlyKeys(_Base):
    def write(self, k, v):
        super().write(k, k)


class _ClassMemory(_Base):
    shared: dict = {}

    def start(self):
        with torch.inference_mode(False):
            key = self.shape, self.dtype, self.device
            self.k, self.v = self.shared.setdefault(key, (self.memory(), self.memory()))


class _ClassLength(_Base):
    count: dict = {"n": 0}

    def __init__(self, *sizes, **kwargs):
        super().__init__(*sizes, **kwargs)
        self.count["n"] = 0

    @property
    def length(self):
        return self.count["n"]

    @length.setter
    def length(self, n):
        self.count["n"] = n


class _Float32(_Base):
    def memory(self):
        return torch.zeros(self.shape, device=self.device)


class _NoDevice(_Base):
    def memory(self):
        return torch.zeros(self.shape, dtype=self.dtype)


class _TensorLength(_Base):
    def start(self):
        super().start()
        self.length = torch.tensor(0)


class _ZeroesOnly(_Base):
    """The numbers are gone, and the length stays."""

    def reset(self):
        self.k.zero_()
        self.v.zero_()


class _Unchecked(_Base):
    def check(self, n):
        pass

    def grow(self, n):
        self.length = min(self.length + n, self.max_len)


class _Native(_Base):
    """What does not fit raises by itself, so they say."""

    def check(self, n):
        pass


class _Asserts(_Base):
    def check(self, n):
        assert self.length + n <= self.max_len, "full"


class _OneEarly(_Base):
    def check(self, n):
        if self.length + n >= self.max_len:
            raise ValueError("full")


class _OneLate(_Base):
    def check(self, n):
        if self.length >= self.max_len:
            raise ValueError("full")


class _CountsFirst(_Base):
    def update(self, k, v):
        self.length += k.shape[2]
        if self.length > self.max_len:
            raise ValueError("full")
        self.length -= k.shape[2]
        return super().update(k, v)


class _DropsOldest(_Base):
    def check(self, n):
        pass

    def update(self, k, v):
        over = max(self.length + k.shape[2] - self.max_len, 0)
        if over:
            self.k, self.v = self.k.roll(-over, 2), self.v.roll(-over, 2)
            self.length = max(self.length - over, 0)
            k, v = k[:, :, -self.max_len :], v[:, :, -self.max_len :]
        return super().update(k, v)


class _ClearsWhenFull(_Base):
    def check(self, n):
        if self.length + n > self.max_len:
            self.length = 0
            raise ValueError("full")


class _Inference(_Base):
    def start(self):
        self.k, self.v = self.memory(), self.memory()


class _NoGradInside(_Base):
    """no_grad does not end inference_mode."""

    def start(self):
        with torch.no_grad():
            self.k, self.v = self.memory(), self.memory()


class _Learned(_Base):
    def start(self):
        with torch.inference_mode(False):
            self.k, self.v = nn.Parameter(self.memory()), nn.Parameter(self.memory())


class _RowByRow(_Base):
    def select(self, rows):
        for i, row in enumerate(rows.tolist()):
            self.k[i], self.v[i] = self.k[row].clone(), self.v[row].clone()


class _SelectsKeys(_Base):
    def select(self, rows):
        self.k = self.k[rows]


class _SelectsNothing(_Base):
    def select(self, rows):
        self.k[rows]
        self.v[rows]


class _Scatters(_Base):
    def select(self, rows):
        k, v = self.k.clone(), self.v.clone()
        self.k[rows], self.v[rows] = k, v


class _SelectsTheFilled(_Base):
    """Only what is filled moves, and the room behind it is lost."""

    def select(self, rows):
        self.k, self.v = (x[rows] for x in self.result())


def _attending(
    mask=lambda n, cached: torch.ones(n, cached + n, dtype=torch.bool).tril(cached),
    heads=lambda x, times: x.repeat_interleave(times, 1),
    scale=lambda q, keys: q.shape[3] ** -0.5,
    fill=-torch.inf,
    out=lambda y, q: y,
):
    """attend, of which the mistakes change one part."""

    def wrong(cache, q, k, v):
        cached, n = cache.length, q.shape[2]
        keys, values = cache.update(k, v)
        keys, values = (heads(x, q.shape[1] // k.shape[1]) for x in (keys, values))
        scores = q @ keys.mT * scale(q, keys)
        scores = scores.masked_fill(~mask(n, cached), fill)
        return out(scores.softmax(-1) @ values, q)

    return wrong


def _causal_flag(cache, q, k, v):
    keys, values = cache.update(k, v)
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=True, enable_gqa=True)


def _causal_if_many(cache, q, k, v):
    keys, values = cache.update(k, v)
    many = q.shape[2] > 1
    return nn.functional.scaled_dot_product_attention(q, keys, values, is_causal=many, enable_gqa=True)


def _no_mask(cache, q, k, v):
    keys, values = cache.update(k, v)
    return nn.functional.scaled_dot_product_attention(q, keys, values, enable_gqa=True)


def _only_new(cache, q, k, v):
    cache.update(k, v)
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def _no_groups(cache, q, k, v):
    cached, n = cache.length, q.shape[2]
    keys, values = cache.update(k, v)
    sees = torch.ones(n, cached + n, dtype=torch.bool).tril(cached)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=sees)


def _appends_twice(cache, q, k, v):
    cached, n = cache.length, q.shape[2]
    keys, values = (x.clone() for x in cache.update(k, v))
    if cache.length + n <= 12:
        cache.update(k, v)
    sees = torch.ones(n, cached + n, dtype=torch.bool).tril(cached)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=sees, enable_gqa=True)


def _zeros_above_the_diagonal(cache, q, k, v):
    """Whatever is 0 after tril counts as blocked, a visible score too."""
    cached = cache.length
    keys, values = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in cache.update(k, v))
    scores = (q @ keys.mT * q.shape[3] ** -0.5).tril(cached)
    return scores.masked_fill(scores == 0, -torch.inf).softmax(-1) @ values


def _length_after(cache, q, k, v):
    """The length is read when it has grown already."""
    keys, values = cache.update(k, v)
    sees = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril(cache.length)
    return nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=sees, enable_gqa=True)


def _scales_q(cache, q, k, v):
    q *= q.shape[3] ** -0.5
    return _attending(scale=lambda q, keys: 1.0)(cache, q, k, v)


def _upcast(cache, q, k, v):
    """In float32, and not back."""
    out = _attending()(cache, q, k, v)
    return out.to(torch.promote_types(out.dtype, torch.float32))


def _catches(cache, q, k, v):
    """A full cache begins anew."""
    try:
        return attend(cache, q, k, v)
    except ValueError:
        cache.reset()
        return q


_CHUNK = "test_a_chunk_sees_what_is_cached_and_its_own_past"
_ALL = "test_update_returns_all_so_far_and_no_more"
_FULL = "test_a_slice_beyond_the_end_is_clipped_so_a_full_cache_has_to_refuse"
_ONCE = "test_the_memory_is_taken_once"
_COPIED = "test_numbers_are_copied_and_no_graph_comes_along"
_MODE = "test_a_cache_outlives_the_inference_mode_it_was_made_in"
_ROWS = "test_all_rows_move_at_once"

_REFUSES = "a full cache refuses"
_COPIES = "in another memory than those of step 0: all were copied"
_GRAPHS = "hang on a graph: it grows with every token"

MISTAKES = [
    Mistake("the mask sits in the top left corner", caught_by=_CHUNK, attend=_causal_flag),
    Mistake("the mask sits in the top left corner", caught_by=_CHUNK, attend=_causal_if_many),
    Mistake("no mask: a query saw the tokens after it", caught_by=_CHUNK, attend=_no_mask),
    Mistake("no mask: a query saw the tokens after it", caught_by=_CHUNK, attend=_length_after),
    Mistake(
        "a query saw the token after it",
        caught_by=_CHUNK,
        attend=_attending(mask=lambda n, cached: torch.ones(n, cached + n, dtype=torch.bool).tril(cached + 1)),
    ),
    Mistake(
        "a query did not see its own token",
        caught_by=_CHUNK,
        attend=_attending(mask=lambda n, cached: torch.ones(n, cached + n, dtype=torch.bool).tril(cached - 1)),
    ),
    Mistake(
        "neighbours share one", caught_by=_CHUNK, attend=_attending(heads=lambda x, times: x.repeat(1, times, 1, 1))
    ),
    Mistake("on 0 cached tokens of 2: attend raised", caught_by=_CHUNK, attend=_no_groups),
    Mistake("queries of 4 heads on 4 cached tokens", caught_by=_CHUNK, attend=_only_new),
    Mistake("queries of 4 heads on 0 cached tokens", caught_by=_CHUNK, attend=_attending(scale=lambda q, k: 1.0)),
    Mistake("with large scores", caught_by=_CHUNK, attend=_attending(fill=-1e4)),
    Mistake("with scores of 0", caught_by=_CHUNK, attend=_zeros_above_the_diagonal),
    Mistake("after attend with 1 tokens in all, the cache", caught_by=_CHUNK, attend=_appends_twice),
    Mistake("q, k and v are the caller's", caught_by=_CHUNK, attend=_scales_q),
    Mistake("dtype: expected torch.bfloat16, got torch.float32", caught_by=_CHUNK, attend=_upcast),
    Mistake("what is behind the last token would be attended to", caught_by=_ALL, KVCache=_Whole),
    Mistake("has length 1, expected 2", caught_by=_ALL, KVCache=_PlusOne),
    Mistake("the keys so far", caught_by=_ALL, KVCache=_FirstPlace),
    Mistake("the values so far", caught_by=_ALL, KVCache=_OnlyKeys),
    Mistake("with another cache beside it", caught_by=_ALL, KVCache=_ClassMemory),
    Mistake("after 2 tokens the cache has length 4", caught_by=_ALL, KVCache=_ClassLength),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by=_ALL, KVCache=_Float32),
    Mistake("on device='meta', update raised", caught_by=_ALL, KVCache=_NoDevice),
    Mistake("length is an int, got Tensor", caught_by=_ALL, KVCache=_TensorLength),
    Mistake("after reset the cache has length 7, expected 0", caught_by=_ALL, KVCache=_ZeroesOnly),
    Mistake(_REFUSES, caught_by=_FULL, KVCache=_Unchecked),
    Mistake(_REFUSES, caught_by=_FULL, KVCache=_Native),
    Mistake(_REFUSES, caught_by=_FULL, KVCache=_Asserts),
    Mistake(_REFUSES, caught_by=_FULL, KVCache=_OneLate),
    Mistake(_REFUSES, caught_by=_FULL, KVCache=_DropsOldest),
    Mistake("tokens that just fit: update raised", caught_by=_FULL, KVCache=_OneEarly),
    Mistake("Afterwards the cache has length", caught_by=_FULL, KVCache=_CountsFirst),
    Mistake("Afterwards the cache has length", caught_by=_FULL, KVCache=_ClearsWhenFull),
    Mistake("in attend: a full cache refuses", caught_by=_FULL, attend=_catches),
    Mistake(_COPIES, caught_by=_ONCE, KVCache=_Cat),
    Mistake(_COPIES, caught_by=_ONCE, KVCache=_CopiedOut),
    Mistake(_COPIES, caught_by=_ONCE, KVCache=_Contiguous),
    Mistake(_COPIES, caught_by=_ONCE, KVCache=_Grows),
    Mistake("2 * B * G * max_len * D are", caught_by=_ONCE, KVCache=_Twice),
    Mistake(_GRAPHS, caught_by=_COPIED, KVCache=_Graph),
    Mistake(_GRAPHS, caught_by=_COPIED, KVCache=_CatOfGraphs),
    Mistake("the graph of k or v is kept alive", caught_by=_COPIED, KVCache=_GraphInside),
    Mistake("something keeps the tensor alive", caught_by=_COPIED, KVCache=_History),
    Mistake("k and v were zeroed after update", caught_by=_COPIED, KVCache=_KeepsTheFirst),
    Mistake("update left another grad mode behind", caught_by=_ALL, KVCache=_NoGradFromNowOn),
    Mistake("outside of it nothing may be written into it", caught_by=_MODE, KVCache=_Inference),
    Mistake("outside of it nothing may be written into it", caught_by=_MODE, KVCache=_NoGradInside),
    Mistake("the memory requires a gradient: it is no parameter", caught_by=_ALL, KVCache=_Learned),
    Mistake("one was overwritten before it was read", caught_by=_ROWS, KVCache=_RowByRow),
    Mistake("the keys moved, and the values stayed", caught_by=_ROWS, KVCache=_SelectsKeys),
    Mistake("no row moved", caught_by=_ROWS, KVCache=_SelectsNothing),
    Mistake("row rows[i] got what row i had", caught_by=_ROWS, KVCache=_Scatters),
    Mistake("after select([1, 0]), update raised", caught_by=_ROWS, KVCache=_SelectsTheFilled),
]
