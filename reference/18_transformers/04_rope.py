"""Positions as rotations: reference.

Hint: Which tensors does `.bfloat16()` reach? Keep in the module only what it does not. Print D and a 0/1 vector first.
Hint: `Tensor.unsqueeze` for the axis of the heads; `Tensor.chunk(2, dim=-1)`, `torch.cat`; `Tensor.unflatten`, `mT`.
Hint: (B, T, h) angles in float32 get an axis 1; halves a, b: a cos - b sin beside b cos + a sin, then x's dtype.

Why: a pair is a complex number, and turning it is a product with e^(ia); q times the conjugate of k then holds only the
difference of the angles. The frequencies take D/2 powers: making them in each call costs nothing beside attention, and
nothing can round them. Models that kept them in a buffer were off by whole radians in long texts for years, and only
long texts showed it. In half types one more rounding is harmless: that of cos and sin, after the angle was exact.
"""

import torch
from torch import nn

from dojo import Mistake


class Rope(nn.Module):
    def __init__(self, head_dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.frequencies = [base ** (-i / head_dim) for i in range(0, head_dim, 2)]  # Python's: no cast reaches them

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        frequencies = torch.tensor(self.frequencies, dtype=torch.float32, device=x.device)
        angles = positions.float().unsqueeze(-1) * frequencies  # (T, h) or (B, T, h)
        if positions.dim() == 2:
            angles = angles.unsqueeze(1)  # (B, 1, T, h): the same for all heads
        cos, sin = angles.cos(), angles.sin()
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


def half_layout(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    rows = torch.arange(len(weight), device=weight.device).view(n_heads, -1, 2)  # (H, D/2, 2): the pairs
    return weight[rows.mT.flatten()]


def picture(solution):
    from dojo.kit import pictures

    distance = torch.arange(49)
    arrows = torch.zeros(1, 1, len(distance), 8)
    arrows[..., :4] = 1  # each of the four pairs begins as (1, 0)
    turned = solution.Rope(8)(arrows, distance)[0, 0].unflatten(1, (2, 4)).mT  # (positions, pairs, 2)

    rope, ones = solution.Rope(64), torch.ones(1, 1, len(distance), 64) / 8

    def scores(key, queries):
        return (rope(ones, torch.full_like(distance, key)) * rope(ones, queries)).sum(-1)[0, 0]

    keys = [0, 1000, 4000]
    exact = {key: scores(key, key + distance) for key in keys}
    rounded = scores(4000, (4000 + distance).bfloat16().long())
    apart = (torch.stack(list(exact.values())) - exact[0]).abs().max().item()
    off = (rounded - exact[4000]).abs().max().item()

    figure = pictures.figure(6, 3.8)
    circle, curve = figure.subplots(1, 2, width_ratios=[1, 1.35])
    lines = []
    for i, (color, dashes) in enumerate(pictures.CYCLE[:4]):
        (line,) = circle.plot([], [], color=color, linestyle=dashes, marker="o", markevery=[1], markersize=5)
        line.set_label(f"numbers {i} and {i + 4}")
        lines.append(line)
    around = torch.linspace(0, 2 * torch.pi, 100)
    circle.plot(around.cos(), around.sin(), color=pictures.GREY, linewidth=0.5)
    circle.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    pictures.tidy(circle, "first number of the pair", "second number")
    circle.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25), handlelength=4)
    curve.plot(distance, exact[0], color=pictures.BLUE, label="key at 0")
    for start, key, marker in ((0, 1000, "x"), (3, 4000, "+")):
        places = slice(start, None, 6)
        curve.plot(distance[places], exact[key][places], marker, color=pictures.BLACK, label=f"key at {key}")
    curve.plot(distance, rounded, "--", color=pictures.ORANGE, label="key at 4000, positions in bfloat16")
    (here,) = curve.plot([], [], "o", color=pictures.BLUE)
    pictures.tidy(curve, "distance of query and key (tokens)", "score q·k", "what attention gets")
    curve.title.set_fontsize(10)
    curve.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25))

    shown = [0, 1, 2, 3, 4, 5, 6, *range(8, len(distance), 2)]

    def draw(frame):
        i = shown[frame]
        circle.set_title(f"a head of 8, position {i}", fontsize=10)
        for line, (x, y) in zip(lines, turned[i].tolist(), strict=True):
            line.set_data([0, x], [0, y])
        here.set_data([i], [exact[0][i]])

    return pictures.Picture(
        pictures.moving(figure, draw, len(shown)),
        f"Wherever a key stands, at 0, 1000 or 4000, the score depends on the distance only: the three curves differ "
        f"by {apart:.1g}. With positions rounded to bfloat16, 4001 is 4000, and the score is off by up to {off:.2f}.",
        {
            "distance": distance,
            "turned": turned,
            "scores": {str(key): values for key, values in exact.items()},
            "rounded": rounded,
        },
    )


class _Base(nn.Module):
    """Right. The mistakes below change one thing of it."""

    def __init__(self, head_dim, base=10000.0):
        super().__init__()
        self.dim, self.base = head_dim, base
        self.start()

    def start(self):
        pass

    def exponents(self):
        return torch.arange(0, self.dim, 2, dtype=torch.float64) / self.dim

    def frequencies(self):
        return self.base ** -self.exponents()

    def angles(self, x, positions):
        return positions.double()[..., None] * self.frequencies()

    def heads(self, angles):
        return angles[:, None] if angles.dim() == 3 else angles

    def turn(self, x, angles):
        cos, sin = angles.cos(), angles.sin()
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def finish(self, out, x):
        return out.to(x.dtype)

    def forward(self, x, positions):
        return self.finish(self.turn(x, self.heads(self.angles(x, positions))), x)


class _Buffer(_Base):
    def start(self):
        self.register_buffer("inv_freq", self.frequencies().float(), persistent=False)

    def angles(self, x, positions):
        return positions[..., None] * self.inv_freq


class _CastBack(_Buffer):
    def angles(self, x, positions):
        return positions[..., None].float() * self.inv_freq.float()


class _LateBuffer(_Base):
    """Made when it is needed first: a cast before that has nothing to round, a cast after it has."""

    def angles(self, x, positions):
        if not hasattr(self, "inv_freq"):
            self.register_buffer("inv_freq", self.frequencies(), persistent=False)
        return positions[..., None].double() * self.inv_freq


class _Saved(_Base):
    def start(self):
        self.register_buffer("inv_freq", self.frequencies())


class _SavedCos(_Base):
    """A table that is made when it is needed, and saved with the model."""

    def angles(self, x, positions):
        angles = super().angles(x, positions)
        self.register_buffer("cos_cached", angles.cos())
        return angles


class _Learned(_Base):
    def start(self):
        self.inv_freq = nn.Parameter(self.frequencies(), requires_grad=False)


class _NoSuper(_Base):
    def __init__(self, head_dim, base=10000.0):
        self.register_buffer("inv_freq", torch.ones(head_dim), persistent=False)


class _PositionsInDtype(_Base):
    def angles(self, x, positions):
        return positions.to(x.dtype)[..., None].double() * self.frequencies()


class _AnglesInDtype(_Base):
    def angles(self, x, positions):
        return positions.to(x.dtype)[..., None] * self.frequencies().to(x.dtype)


class _FrequenciesInDtype(_Base):
    def angles(self, x, positions):
        return positions.double()[..., None] * self.frequencies().to(x.dtype)


class _Float32Out(_Base):
    def finish(self, out, x):
        return out.float()


class _Promoted(_Base):
    def finish(self, out, x):
        return out.to(torch.promote_types(x.dtype, torch.float32))


class _Interleaved(_Base):
    def turn(self, x, angles):
        cos, sin = angles.cos(), angles.sin()
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


class _RepeatInterleave(_Base):
    def turn(self, x, angles):
        angles = angles.repeat_interleave(2, -1)
        a, b = x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-b, a], -1) * angles.sin()


class _HalfOfIt(_Base):
    """Interleaved pairs, left in halves."""

    def turn(self, x, angles):
        cos, sin = angles.cos(), angles.sin()
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class _Clockwise(_Base):
    def turn(self, x, angles):
        return super().turn(x, -angles)


class _Reflects(_Base):
    def turn(self, x, angles):
        cos, sin = angles.cos(), angles.sin()
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos + b * sin, b * cos + a * sin], -1)


class _InPlace(_Base):
    def turn(self, x, angles):
        out = super().turn(x, angles)
        return x.copy_(out)


class _FirstHalfFirst(_Base):
    """The new first half enters the second one."""

    def turn(self, x, angles):
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        out, h = x.clone(), self.dim // 2
        out[..., :h] = out[..., :h] * cos - out[..., h:] * sin
        out[..., h:] = out[..., h:] * cos + out[..., :h] * sin
        return out


class _FromOne(_Base):
    def angles(self, x, positions):
        return super().angles(x, positions + 1)


class _SlowFall(_Base):
    def exponents(self):
        return torch.arange(self.dim // 2, dtype=torch.float64) / self.dim


class _FastFall(_Base):
    def exponents(self):
        return torch.arange(0, self.dim, 2, dtype=torch.float64) / (self.dim // 2)


class _FixedBase(_Base):
    def start(self):
        self.base = 10000.0


class _Arange(_Base):
    def angles(self, x, positions):
        at = torch.arange(x.shape[2])
        return super().angles(x, at if positions.dim() == 1 else positions)


class _Offset(_Base):
    """From the first position on, one after the other."""

    def angles(self, x, positions):
        return super().angles(x, positions[..., :1] + torch.arange(x.shape[2]))


class _Cached(_Base):
    """The angles of the first text of this length, for all later ones."""

    def angles(self, x, positions):
        kept = self.__dict__.setdefault("kept", {})
        return kept.setdefault(tuple(positions.shape), super().angles(x, positions))


class _NoHeads(_Base):
    def heads(self, angles):
        return angles


class _FirstRow(_Base):
    def heads(self, angles):
        return angles[0] if angles.dim() == 3 else angles


class _HeadsLast(_Base):
    """The axis of the heads at the wrong place."""

    def heads(self, angles):
        return angles[:, :, None] if angles.dim() == 3 else angles


class _OnlyT(_Base):
    def angles(self, x, positions):
        return torch.outer(positions.double(), self.frequencies())


class _ShortTable(_Base):
    def start(self):
        table = torch.arange(8192, dtype=torch.float64)[:, None] * self.frequencies()
        self.__dict__["table"] = table

    def angles(self, x, positions):
        return self.table[positions]


class _TableOfTheFirst(_Base):
    """cos and sin in the dtype of the first x, kept for all that follow."""

    kept = None

    def forward(self, x, positions):
        if self.kept is None:
            table = self.angles(x, torch.arange(32768))
            self.kept = table.cos().to(x.dtype), table.sin().to(x.dtype)
        cos, sin = (self.heads(table[positions]) for table in self.kept)
        a, b = x.chunk(2, -1)
        return self.finish(torch.cat([a * cos - b * sin, b * cos + a * sin], -1), x)


class _Clamped(_ShortTable):
    def angles(self, x, positions):
        return self.table[positions.clamp(max=8191)]


class _NothingFlows(_Base):
    @torch.no_grad()
    def forward(self, x, positions):
        return super().forward(x, positions)


class _Detached(_Base):
    """Half of the gradient is missing."""

    def turn(self, x, angles):
        cos, sin = angles.cos(), angles.sin()
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b.detach() * sin, b * cos + a.detach() * sin], -1)


class _GuardsTo(_Base):
    """Only its own .to() is guarded, and a model that holds it casts with another."""

    def start(self):
        self.register_buffer("inv_freq", self.frequencies(), persistent=False)

    def angles(self, x, positions):
        return positions[..., None].double() * self.inv_freq

    def to(self, *args, **kwargs):
        return self

    half = bfloat16 = to


def _per_head(order):
    """half_layout with another order of the (H, D/2, 2, C) rows."""
    return lambda weight, n_heads: order(weight.reshape(n_heads, -1, 2, weight.shape[1])).reshape(weight.shape)


def _all_heads(weight, n_heads):
    return torch.cat([weight[0::2], weight[1::2]])


def _back(weight, n_heads):
    return weight.reshape(n_heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _swapped_sizes(weight, n_heads):
    return weight.reshape(-1, n_heads // 2 or 1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _columns(weight, n_heads):
    return torch.cat([weight[:, 0::2], weight[:, 1::2]], 1)


def _writes(weight, n_heads):
    return weight.copy_(half_layout(weight.clone(), n_heads))


_PAIR = "test_i_and_i_plus_half_a_head_are_a_pair"
_PLACE = "test_a_token_is_turned_by_its_position_not_by_its_place"
_ROWS = "test_every_row_of_a_batch_may_stand_elsewhere"
_CAST = "test_bfloat16_rounds_every_buffer_that_it_meets"
_SAVED = "test_rotations_are_neither_trained_nor_saved"
_BACK = "test_the_gradient_is_turned_back"
_WEIGHTS = "test_weights_of_the_other_layout_move_their_rows"

_KEPT = "The cast rounded what the module keeps, and what is rounded stays rounded"

MISTAKES = [
    Mistake("the pairs are 2i and 2i + 1, the interleaved layout", caught_by=_PAIR, Rope=_Interleaved),
    Mistake("repeat_interleave is for the other layout", caught_by=_PAIR, Rope=_RepeatInterleave),
    Mistake("at position 0 nothing is turned", caught_by=_PAIR, Rope=_FromOne),
    Mistake("every pair was turned the other way round", caught_by=_PAIR, Rope=_Clockwise),
    Mistake("the length of a vector changed, and a rotation keeps it", caught_by=_PAIR, Rope=_Reflects),
    Mistake("the length of a vector changed, and a rotation keeps it", caught_by=_PAIR, Rope=_FirstHalfFirst),
    Mistake("and x of shape (2, 3, 5, 8)", caught_by=_PAIR, Rope=_HalfOfIt),
    Mistake("the frequencies are base^(-i/D)", caught_by=_PAIR, Rope=_SlowFall),
    Mistake("the frequencies fall too fast", caught_by=_PAIR, Rope=_FastFall),
    Mistake("base was not used, but 10000", caught_by=_PAIR, Rope=_FixedBase),
    Mistake("x and the positions are the caller's", caught_by=_PAIR, Rope=_InPlace),
    Mistake("call super().__init__() first", caught_by=_PAIR, Rope=_NoSuper),
    Mistake("by its place in the tensor, not by its position", caught_by=_PLACE, Rope=_Arange),
    Mistake("positions [7, 2, 2, 0, 31]", caught_by=_PLACE, Rope=_Offset),
    Mistake("positions [7, 2, 2, 0, 31]", caught_by=_PLACE, Rope=_Cached),
    Mistake("need an axis for the heads", caught_by=_ROWS, Rope=_NoHeads),
    Mistake("need an axis for the heads", caught_by=_ROWS, Rope=_HeadsLast),
    Mistake("turned by the positions of the first", caught_by=_ROWS, Rope=_FirstRow),
    Mistake("positions of shape (2, 5) raised", caught_by=_ROWS, Rope=_OnlyT),
    Mistake(_KEPT, caught_by=_CAST, Rope=_Buffer),
    Mistake(_KEPT, caught_by=_CAST, Rope=_CastBack),
    Mistake(_KEPT, caught_by=_CAST, Rope=_GuardsTo),
    Mistake("a Rope that was used, after rope.to", caught_by=_CAST, Rope=_LateBuffer),
    Mistake("became [256, 1000, 4096]: float32 holds them", caught_by=_CAST, Rope=_PositionsInDtype),
    Mistake("x in torch.bfloat16, at positions", caught_by=_CAST, Rope=_AnglesInDtype),
    Mistake("x in torch.bfloat16, at positions", caught_by=_CAST, Rope=_FrequenciesInDtype),
    Mistake("x in float32, after an x in torch.bfloat16", caught_by=_CAST, Rope=_TableOfTheFirst),
    Mistake("what follows would be promoted", caught_by=_CAST, Rope=_Promoted),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by=_PAIR, Rope=_Float32Out),
    Mistake("the table of angles is too short for this position", caught_by=_CAST, Rope=_ShortTable),
    Mistake("positions 30001, 12, 8193 in float32", caught_by=_CAST, Rope=_Clamped),
    Mistake("in its state_dict", caught_by=_SAVED, Rope=_Saved),
    Mistake("a Rope that was used has cos_cached in its state_dict", caught_by=_SAVED, Rope=_SavedCos),
    Mistake("has a parameter, inv_freq", caught_by=_SAVED, Rope=_Learned),
    Mistake("the result hangs on no graph", caught_by=_BACK, Rope=_NothingFlows),
    Mistake("the gradient, turned by minus the angle", caught_by=_BACK, Rope=_Detached),
    Mistake("no row moved", caught_by=_WEIGHTS, half_layout=lambda weight, n_heads: weight.clone()),
    Mistake("the heads were mixed", caught_by=_WEIGHTS, half_layout=_all_heads),
    Mistake("that is the way back, from halves to pairs", caught_by=_WEIGHTS, half_layout=_back),
    Mistake("expected [0, 2, 4, 1, 3, 5", caught_by=_WEIGHTS, half_layout=_swapped_sizes),
    Mistake("expected [0, 2, 4, 1, 3, 5", caught_by=_WEIGHTS, half_layout=_columns),
    Mistake(
        "expected [0, 2, 4, 1, 3, 5", caught_by=_WEIGHTS, half_layout=_per_head(lambda w: w.flip(2).transpose(1, 2))
    ),
    Mistake("the weight is the caller's", caught_by=_WEIGHTS, half_layout=_writes),
    Mistake(
        "dtype: expected torch.float64, got torch.float32",
        caught_by=_WEIGHTS,
        half_layout=lambda weight, n_heads: half_layout(weight, n_heads).float(),
    ),
]
