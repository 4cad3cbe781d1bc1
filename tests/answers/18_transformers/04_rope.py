"""Answers that people give to rope, right ones and wrong ones."""

import math

import torch
from torch import nn

from dojo import Mistake


class _RotateHalf(nn.Module):
    """As transformers writes it, with the frequencies made in forward."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.head_dim = head_dim
        self.base = base

    def rotate_half(self, x):
        x1, x2 = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
        return torch.cat((-x2, x1), dim=-1)

    def inv_freq(self, device):
        return 1.0 / (self.base ** (torch.arange(0, self.head_dim, 2, device=device).float() / self.head_dim))

    def emb(self, x, positions):
        freqs = positions.float()[..., None] * self.inv_freq(x.device)
        return torch.cat((freqs, freqs), dim=-1)

    def forward(self, x, positions):
        emb = self.emb(x, positions)
        cos, sin = emb.cos().to(x.dtype), emb.sin().to(x.dtype)
        if positions.ndim == 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return x * cos + self.rotate_half(x) * sin


class _Complex(nn.Module):
    """Each pair as a complex number, in float32."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.h, self.log = head_dim // 2, math.log(base)

    def forward(self, x, positions):
        freqs = torch.exp(-self.log * torch.arange(self.h, device=x.device, dtype=torch.float32) / self.h)
        angles = positions.unsqueeze(-1).to(torch.float32) * freqs
        turn = torch.polar(torch.ones_like(angles), angles)
        turn = turn.unsqueeze(-3)
        z = torch.complex(x[..., : self.h].float(), x[..., self.h :].float()) * turn
        return torch.cat((z.real, z.imag), -1).type_as(x)


class _PlainTensor(nn.Module):
    """A float64 tensor that is no buffer: no cast of the module reaches it."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.freqs = torch.tensor([base ** (-2 * i / head_dim) for i in range(head_dim // 2)], dtype=torch.float64)

    def forward(self, x, positions):
        b = 1 if positions.dim() == 1 else positions.shape[0]
        a = torch.einsum("bt,i->bti", positions.view(b, -1).double(), self.freqs.to(x.device)).unsqueeze(1)
        lo, hi = x.double().unflatten(-1, (2, -1)).unbind(-2)
        out = torch.stack((lo * a.cos() - hi * a.sin(), hi * a.cos() + lo * a.sin()), -2)
        return out.flatten(-2).to(x.dtype)


class _KeepsItsDtype(nn.Module):
    """A buffer that refuses the casts."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.register_buffer(
            "inv_freq", base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim), persistent=False
        )

    def _apply(self, fn, recurse=True):
        kept = self.inv_freq
        super()._apply(fn, recurse)
        self.inv_freq = kept.to(self.inv_freq.device)
        return self

    def forward(self, x, positions):
        angles = positions[..., None] * self.inv_freq
        while angles.dim() < 4:
            angles = angles.unsqueeze(-3)
        out = torch.empty_like(x)
        h = x.shape[-1] // 2
        out[..., :h] = x[..., :h] * angles.cos() - x[..., h:] * angles.sin()
        out[..., h:] = x[..., h:] * angles.cos() + x[..., :h] * angles.sin()
        return out


class _Table(nn.Module):
    """A table of cos and sin that grows with the positions, outside of the module's buffers."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.dim, self.base, self.tables = head_dim, float(base), None

    def forward(self, x, positions):
        longest = int(positions.max()) + 1
        if self.tables is None or len(self.tables[0]) < longest:
            freqs = torch.pow(self.base, torch.arange(0, self.dim, 2, dtype=torch.float32).neg() / self.dim)
            angles = torch.outer(torch.arange(longest, dtype=torch.float32), freqs)
            self.tables = angles.cos(), angles.sin()
        cos, sin = (table.to(x.device)[positions] for table in self.tables)
        if positions.dim() > 1:
            cos, sin = cos[:, None, :, :], sin[:, None, :, :]
        a, b = torch.split(x.float() if x.dtype != torch.float64 else x, self.dim // 2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)


class _Matrix(nn.Module):
    """A matrix for each position."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.d, self.base = head_dim, base

    def forward(self, x, positions):
        h = self.d // 2
        at = positions if positions.dim() == 2 else positions[None]
        rotation = torch.zeros(*at.shape, self.d, self.d, dtype=torch.float64, device=x.device)
        for i in range(h):
            a = at * (1 / self.base ** (2 * i / self.d))
            a = a.double()
            rotation[..., i, i] = rotation[..., i + h, i + h] = a.cos()
            rotation[..., i, i + h], rotation[..., i + h, i] = -a.sin(), a.sin()
        return torch.einsum("btij,bhtj->bhti", rotation.expand(len(x), -1, -1, -1), x.double()).to(x.dtype)


def _llama(weight, n_heads):
    dim1, dim2 = weight.shape
    return weight.reshape(n_heads, dim1 // n_heads // 2, 2, dim2).transpose(1, 2).reshape(dim1, dim2)


def _by_slices(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


def _by_a_loop(weight, n_heads):
    d = weight.shape[0] // n_heads
    out = torch.empty_like(weight)
    for h in range(n_heads):
        for r in range(d):
            out[h * d + r // 2 + (r % 2) * (d // 2)] = weight[h * d + r]
    return out


RIGHT = [
    {"Rope": _RotateHalf, "half_layout": _llama},
    {"Rope": _Complex, "half_layout": _by_slices},
    {"Rope": _PlainTensor, "half_layout": _by_a_loop},
    {"Rope": _KeepsItsDtype},
    {"Rope": _Table},
    {"Rope": _Matrix},
]


class _HFBuffer(_RotateHalf):
    def __init__(self, head_dim, base=10000.0):
        super().__init__(head_dim, base)
        self.register_buffer("freqs", super().inv_freq("cpu"), persistent=False)

    def inv_freq(self, device):
        return self.freqs.float()


class _HFBufferInDtype(_HFBuffer):
    def emb(self, x, positions):
        freqs = positions.to(self.freqs.dtype)[..., None] * self.freqs
        return torch.cat((freqs, freqs), dim=-1)


class _HFSaved(_HFBuffer):
    def __init__(self, head_dim, base=10000.0):
        super().__init__(head_dim, base)
        self.register_buffer("freqs", self.freqs)


class _ModelGuard(_HFBuffer):
    def bfloat16(self):
        return self

    half = bfloat16

    def to(self, *args, **kwargs):
        return self


class _Parameter(_RotateHalf):
    def __init__(self, head_dim, base=10000.0):
        super().__init__(head_dim, base)
        self.inv_freq_ = nn.Parameter(super().inv_freq("cpu").double())
        self.inv_freq = lambda device: self.inv_freq_


class _TypeOfX(_RotateHalf):
    def emb(self, x, positions):
        freqs = positions.type_as(x)[..., None] * self.inv_freq(x.device)
        return torch.cat((freqs, freqs), dim=-1)


class _FreqOfX(_RotateHalf):
    def inv_freq(self, device):
        return super().inv_freq(device).bfloat16()


class _Repeat(_RotateHalf):
    def emb(self, x, positions):
        return (positions.float()[..., None] * self.inv_freq(x.device)).repeat_interleave(2, dim=-1)


class _Pairs(_RotateHalf):
    def rotate_half(self, x):
        return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)

    def emb(self, x, positions):
        return (positions.float()[..., None] * self.inv_freq(x.device)).repeat_interleave(2, dim=-1)


class _Back(_RotateHalf):
    def rotate_half(self, x):
        return -super().rotate_half(x)


class _NoMinus(_RotateHalf):
    def rotate_half(self, x):
        return super().rotate_half(x).abs() if False else torch.cat(x.chunk(2, -1)[::-1], -1)


class _One(_RotateHalf):
    def emb(self, x, positions):
        return super().emb(x, positions + 1)


class _Places(_RotateHalf):
    def emb(self, x, positions):
        return super().emb(x, torch.arange(x.size(2)).expand(positions.shape))


class _FromTheFirst(_RotateHalf):
    def emb(self, x, positions):
        return super().emb(x, positions.min() + torch.arange(x.size(2)).expand(positions.shape))


class _NoUnsqueeze(_RotateHalf):
    def forward(self, x, positions):
        emb = self.emb(x, positions)
        return x * emb.cos().to(x.dtype) + self.rotate_half(x) * emb.sin().to(x.dtype)


class _RowZero(_RotateHalf):
    def emb(self, x, positions):
        return super().emb(x, positions[:1].expand_as(positions) if positions.dim() == 2 else positions)


class _NotCastDown(_RotateHalf):
    def forward(self, x, positions):
        return super().forward(x.double(), positions).to(torch.promote_types(x.dtype, torch.float32))


class _AlwaysFloat(_RotateHalf):
    def forward(self, x, positions):
        return super().forward(x.float(), positions)


class _Short(_RotateHalf):
    def emb(self, x, positions):
        return super().emb(x, torch.arange(4500))[positions]


class _OldCache(_RotateHalf):
    """As transformers had it: tables in the dtype that was in use when they were made."""

    tables = None

    def forward(self, x, positions):
        longest = int(positions.max()) + 1
        if self.tables is None or longest > len(self.tables[0]):
            emb = self.emb(x, torch.arange(longest))
            self.tables = emb.cos().to(x.dtype), emb.sin().to(x.dtype)
        cos, sin = (table[positions].to(x.dtype) for table in self.tables)
        if positions.ndim == 2:
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return x * cos + self.rotate_half(x) * sin


class _Data(_RotateHalf):
    def forward(self, x, positions):
        return super().forward(x.data, positions)


class _SmallBase(_RotateHalf):
    def inv_freq(self, device):
        return 10000 ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)


class _Quick(_RotateHalf):
    def inv_freq(self, device):
        return super().inv_freq(device) ** 2


class _Slow(_RotateHalf):
    def inv_freq(self, device):
        return super().inv_freq(device) ** 0.5


class _Edits(_RotateHalf):
    def forward(self, x, positions):
        out = super().forward(x, positions)
        x.data.copy_(out)
        return out


_KEPT = "The cast rounded what the module keeps, and what is rounded stays rounded"

WRONG = [
    Mistake(_KEPT, caught_by="", Rope=_HFBuffer),
    Mistake(_KEPT, caught_by="", Rope=_HFBufferInDtype),
    Mistake(_KEPT, caught_by="", Rope=_ModelGuard),
    Mistake("in its state_dict", caught_by="", Rope=_HFSaved),
    Mistake("has a parameter, inv_freq", caught_by="", Rope=_Parameter),
    Mistake("became [256, 1000, 4096]: float32 holds them", caught_by="", Rope=_TypeOfX),
    Mistake("x in torch.bfloat16, at positions", caught_by="", Rope=_FreqOfX),
    Mistake("repeat_interleave is for the other layout", caught_by="", Rope=_Repeat),
    Mistake("the pairs are 2i and 2i + 1, the interleaved layout", caught_by="", Rope=_Pairs),
    Mistake("every pair was turned the other way round", caught_by="", Rope=_Back),
    Mistake("the length of a vector changed, and a rotation keeps it", caught_by="", Rope=_NoMinus),
    Mistake("at position 0 nothing is turned", caught_by="", Rope=_One),
    Mistake("by its place in the tensor, not by its position", caught_by="", Rope=_Places),
    Mistake("positions [7, 2, 2, 0, 31]", caught_by="", Rope=_FromTheFirst),
    Mistake("need an axis for the heads", caught_by="", Rope=_NoUnsqueeze),
    Mistake("turned by the positions of the first", caught_by="", Rope=_RowZero),
    Mistake("what follows would be promoted", caught_by="", Rope=_NotCastDown),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by="", Rope=_AlwaysFloat),
    Mistake("the table of angles is too short for this position", caught_by="", Rope=_Short),
    Mistake("x in float32, after an x in torch.bfloat16", caught_by="", Rope=_OldCache),
    Mistake("the result hangs on no graph", caught_by="", Rope=_Data),
    Mistake("base was not used, but 10000", caught_by="", Rope=_SmallBase),
    Mistake("the frequencies fall too fast", caught_by="", Rope=_Quick),
    Mistake("the frequencies are base^(-i/D)", caught_by="", Rope=_Slow),
    Mistake("x and the positions are the caller's", caught_by="", Rope=_Edits),
    Mistake("no row moved", caught_by="", half_layout=lambda weight, n_heads: weight.contiguous()),
    Mistake(
        "the heads were mixed",
        caught_by="",
        half_layout=lambda weight, n_heads: weight.unflatten(0, (-1, 2)).transpose(0, 1).flatten(0, 1),
    ),
    Mistake(
        "that is the way back, from halves to pairs",
        caught_by="",
        half_layout=lambda weight, n_heads: torch.stack(weight.unflatten(0, (n_heads, 2, -1)).unbind(1), dim=2).flatten(
            0, 2
        ),
    ),
    Mistake(
        "expected [0, 2, 4, 1, 3, 5",
        caught_by="",
        half_layout=lambda weight, n_heads: weight.unflatten(0, (-1, n_heads)).transpose(0, 1).flatten(0, 1),
    ),
]
