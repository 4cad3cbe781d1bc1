"""Positions as rotations

Attention compares a query with keys, and where they stand in the text does not enter: the words of a sentence in
another order get the same scores. RoPE (rotary position embedding) turns each query and key by an angle that grows with
its position. The numbers of a head are taken in pairs, each pair is an arrow in the plane, and pair i turns by
position * base^(-2i/D): the first one fast, the last one hardly. Two arrows turned by a and b meet at an angle that
changed by a - b only, so a score depends on the *distance* of two tokens, wherever they stand.

Which numbers are a pair is a convention. Llama's weights in transformers use halves, i with i + D/2; the original
paper and other code put them side by side, 2i with 2i + 1. Take weights of one kind with code of the other and the
model talks nonsense, without an error. Reordering the rows of the q and k weights makes one kind into the other.

An angle has to be exact to some hundredths, at position 4097 too. Frequencies in bfloat16, with about three digits, are
off by 0.7 radians there in a head of 32, and bfloat16 has no 257 at all, only 256 and 258. `model.bfloat16()` and
`model.half()` round every parameter and every *buffer*, non-persistent ones too, and a later `.float()` does not bring
the bits back. What is a plain Python number, or made anew in forward as float32, they cannot reach.

What is asked here: a module that turns queries or keys by their positions, and the reordering of weights.

About 30 minutes. Before it: buffers, split_heads.
Path: transformer

https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.bfloat16
"""

import math
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


class Rope(nn.Module):
    """Turns each pair (i, i + D/2) of a head of D numbers by an angle that grows with the position of its token.

    Nothing of it is trained, and nothing is saved: no parameters, an empty state_dict.
    """

    def __init__(self, head_dim: int, base: float = 10000.0) -> None:
        """`head_dim` is D, an even number."""
        raise NotImplementedError("keep what forward needs")

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(B, H, T, D) -> (B, H, T, D) in the dtype of `x`, which stays as it is; `x` may have any strides.

        `positions` is int64: (T,), the same for each row of the batch, or (B, T). They come in any order, are 0 or
        more, and may be large: 30001. With h = D/2 and a = position * base^(-2i/D), for i = 0 ... h - 1,

            out[i] = x[i] * cos(a) - x[i + h] * sin(a)        out[i + h] = x[i + h] * cos(a) + x[i] * sin(a)

        The angles are as exact as float32 makes them, or better, for an `x` of each float dtype, and also after the
        module, or a model that holds it, went through `.to(torch.bfloat16)` or `.half()`. Gradients flow to `x`.
        """
        raise NotImplementedError("turn each pair by its angle")


def half_layout(weight: torch.Tensor, n_heads: int) -> torch.Tensor:
    """The weight (H * D, C) of a q or k projection whose pairs are 2i and 2i + 1, reordered for `Rope`.

    D rows of the weight make a head, and there are H = `n_heads` of them. In each head come first its even rows, 0, 2,
    4, ..., then its odd rows. So all scores stay what they were. Same dtype; `weight` itself stays as it is.
    """
    raise NotImplementedError("reorder the rows of each head")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"before Module\.__init__\(\) call|has no attribute '_": "call super().__init__() first",
    "in-place operation|modified by an inplace": "x was edited in place: make a new tensor",
    "view size is not compatible": "x may have any strides, as after a transpose: view is not always possible",
    "index.* out of (range|bounds)|out of range": "the table of angles is too short for this position",
}


def _rope(dim, **base) -> Any:
    __tracebackhide__ = True
    with explain(f"Rope({dim}) raised", _SIGNS):
        rope = Rope(dim, **base)
    assert isinstance(rope, nn.Module), f"Rope makes an nn.Module, here it made a {type(rope).__name__}"
    return rope


def _run(rope, x, positions, what="rope(x, positions)", signs=()) -> Any:
    __tracebackhide__ = True
    with explain(f"{what} raised", {**dict(signs), **_SIGNS}):
        with unchanged("x and the positions are the caller's", rng=True, x=x, positions=positions):
            out = rope(x, positions)
    assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
    return out


def _numbers(*shape, dtype=torch.float64):
    """Numbers between -1 and 1, no two alike."""
    n = math.prod(shape)
    return torch.sin(1 + 1.7 * torch.arange(n, dtype=torch.float64)).view(shape).to(dtype)


def _turned(x, positions, base=10000.0, step=2, sign=1.0):
    """The formula, pair by pair, in float64."""
    x, dim = x.detach().double(), x.shape[-1]
    at = positions.double() if positions.dim() == 1 else positions.double()[:, None]
    h, out = dim // 2, x.clone()
    for i in range(h):
        a = sign * at * base ** (-step * i / dim)
        out[..., i] = x[..., i] * a.cos() - x[..., i + h] * a.sin()
        out[..., i + h] = x[..., i + h] * a.cos() + x[..., i] * a.sin()
    return out


def _interleaved(x, positions, base=10000.0):
    """The other layout: 2i and 2i + 1 are a pair."""
    turned = _turned(torch.cat([x[..., 0::2], x[..., 1::2]], -1), positions, base)
    return torch.stack(turned.chunk(2, -1), -1).flatten(-2)


def _repeated(x, positions, base=10000.0):
    """Each angle twice in a row, as by repeat_interleave, with the halves as pairs."""
    x, dim = x.detach().double(), x.shape[-1]
    at = positions.double() if positions.dim() == 1 else positions.double()[:, None]
    a = at[..., None] * torch.tensor([base ** (-2 * (i // 2) / dim) for i in range(dim)], dtype=torch.float64)
    return x * a.cos() + torch.cat([-x[..., dim // 2 :], x[..., : dim // 2]], -1) * a.sin()


def _check(out, x, positions, what, base=10000.0, atol=1e-5):
    """Is it the formula's? If not: what is it then?"""
    __tracebackhide__ = True
    want = _turned(x, positions, base)
    if out.shape == x.shape and not torch.allclose(out.detach().double(), want, rtol=0, atol=atol):
        for other, cause in (
            (_interleaved(x, positions, base), "the pairs are 2i and 2i + 1, the interleaved layout. Here i and i + h"),
            (
                _repeated(x, positions, base),
                "i and i + h get the same angle, as by cat((a, a)). repeat_interleave is for the other layout",
            ),
            (_turned(x, positions, base, sign=-1), "every pair was turned the other way round"),
            (_turned(x, positions + 1, base), "every token was turned as if it stood one place further"),
            (_turned(x, positions, base, step=1), "the frequencies are base^(-i/D): it is -2i/D"),
            (_turned(x, positions, base, step=4), "the frequencies fall too fast: base^(-2i/D), D the whole head"),
            (_turned(x, positions), "base was not used, but 10000"),
            (_turned(x, torch.arange(x.shape[2]), base), "turned by its place in the tensor, not by its position"),
        ):
            right_there = torch.allclose(out.detach().double(), other, rtol=0, atol=atol)
            assert not right_there, f"{what}: {cause}"
        lengths = [v.detach().double().norm(dim=-1) for v in (out, x)]
        same = torch.allclose(*lengths, rtol=1e-3, atol=10 * atol)
        assert same, f"{what}: the length of a vector changed, and a rotation keeps it"
    check_tensor(out.detach(), want.to(x.dtype), what, atol=atol)


@pytest.mark.myth(
    says="cat((angles, angles)) is a bug: it should be repeat_interleave(angles, 2).",
    today="It depends on the layout: with i and i + D/2 as pairs it is cat, with 2i and 2i + 1 repeat_interleave.",
)
def test_i_and_i_plus_half_a_head_are_a_pair():
    x = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 1, 4)
    out = _run(_rope(4), x, torch.tensor([0]))
    check_tensor(out, x, "at position 0 nothing is turned", atol=1e-7)
    out = _run(_rope(4), x, torch.tensor([1]))
    want = torch.tensor([math.cos(1), 0.0, math.sin(1), 0.0]).view(1, 1, 1, 4)
    _check(out, x, torch.tensor([1]), "(1, 0, 0, 0) at position 1")
    check_tensor(out, want, "(1, 0, 0, 0) at position 1 is (cos 1, 0, sin 1, 0)", atol=1e-6)
    for shape in ((2, 3, 5, 8), (4, 4, 4, 4), (3, 1, 2, 6), (1, 2, 3, 2), (2, 5, 1, 10)):
        x, positions = _numbers(*shape), torch.arange(shape[2])
        for base in (10000.0, 500.0, 2):
            out = _run(_rope(shape[3], base=base), x, positions)
            _check(out, x, positions, f"base {base}, and x of shape {shape}", base)
        x = _numbers(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2)
        _check(_run(_rope(shape[3]), x, positions), x, positions, f"a transposed x of shape {shape}")


def test_a_token_is_turned_by_its_position_not_by_its_place():
    rope, x = _rope(6), _numbers(2, 3, 5, 6)
    for positions in ([0, 1, 2, 3, 4], [7, 2, 2, 0, 31], [5, 6, 7, 8, 9], [400, 300, 200, 100, 0], [4, 3, 2, 1, 0]):
        at = torch.tensor(positions)
        _check(_run(rope, x, at), x, at, f"positions {positions}", atol=1e-4)
    whole = _run(rope, x, torch.arange(5))
    for t in (4, 0, 2):
        alone = _run(rope, x[:, :, t : t + 1], torch.tensor([t]))
        check_tensor(alone, whole[:, :, t : t + 1], f"token {t} alone, and in the whole text", atol=1e-5)

    q, k = _numbers(1, 1, 1, 6), _numbers(1, 1, 1, 6) + 0.25

    def score(of_query, of_key):
        turned = (_run(rope, v, torch.tensor([at])) for v, at in ((q, of_query), (k, of_key)))
        return math.prod(turned).sum().item()

    here, there, back = score(3, 1), score(103, 101), score(1, 3)
    same = abs(here - there) < 1e-4
    assert same, f"the score is {here:.4f} for positions 3 and 1, {there:.4f} for 103 and 101: the distance is the same"
    assert abs(here - back) > 1e-2, f"the score is {here:.4f} for positions 3 and 1 and for 1 and 3: order is lost"


def test_every_row_of_a_batch_may_stand_elsewhere():
    no_axis = {"must match the (size|existing)|broadcast": "angles of positions (B, T) need an axis for the heads"}
    for shape in ((2, 3, 5, 8), (4, 4, 4, 4), (3, 1, 2, 6), (1, 3, 4, 4), (3, 2, 1, 2)):
        x = _numbers(*shape)
        positions = (torch.arange(shape[0] * shape[2]) * 7 % 23).view(shape[0], shape[2])
        out = _run(_rope(shape[3]), x, positions, f"positions of shape {tuple(positions.shape)}", no_axis)
        first = _turned(x, positions[0])
        only_first = shape[0] > 1 and out.shape == x.shape and torch.allclose(out.double(), first, rtol=0, atol=1e-4)
        assert not only_first, "every row of the batch was turned by the positions of the first"
        _check(out, x, positions, f"positions (B, T), and x of shape {shape}", atol=1e-4)
        each = _run(_rope(shape[3]), x, positions[-1], "positions of shape (T,)")
        check_tensor(out[-1], each[-1], "the last row of the batch, with its positions for all", atol=1e-4)


@pytest.mark.myth(
    says="Register the frequencies as a buffer: then they move with the model.",
    today="model.bfloat16() rounds every buffer, and .float() does not bring the bits back.",
)
def test_bfloat16_rounds_every_buffer_that_it_meets():
    positions = torch.tensor([257, 1001, 4097])
    x = _numbers(1, 2, 3, 8, dtype=torch.float32)
    far = torch.tensor([30001, 12, 8193])
    _check(_run(_rope(8), x, far, "position 30001"), x, far, "positions 30001, 12, 8193 in float32", atol=1e-2)
    for dtype, atol in ((torch.bfloat16, 3e-2), (torch.float16, 4e-3)):
        less = x.to(dtype)
        rope = _rope(8)
        out = _run(rope, less, positions, f"x in {dtype}")
        assert out.dtype == dtype, f"x is {dtype}, and the result {out.dtype}: what follows would be promoted"
        rounded = out.shape == x.shape and torch.allclose(out.double(), _turned(less, positions.to(dtype)), atol=atol)
        shown = positions.to(dtype).long().tolist()
        assert not rounded, f"positions {positions.tolist()} in {dtype} became {shown}: float32 holds them"
        _check(out, less, positions, f"x in {dtype}, at positions {positions.tolist()}", atol=atol)
        what = f"x in float32, after an x in {dtype}"
        _check(_run(rope, x, positions, what), x, positions, what, atol=1e-3)
        fresh, used, held = (_rope(8) for _ in range(3))
        _run(used, x, positions)
        for way, rope in (
            (f"rope.to({dtype})", fresh.to(dtype)),
            (f"a Rope that was used, after rope.to({dtype})", used.to(dtype)),
            (f"a model with a Rope, after model.to({dtype})", nn.ModuleList([held]).to(dtype)[0]),
        ):
            out = _run(rope, less, positions, way)
            assert out.dtype == dtype, f"{way}: x is {dtype}, and the result {out.dtype}"
            off = (out.double() - _turned(less, positions)).abs().max().item()
            assert off < atol, (
                f"{way}, at positions {positions.tolist()}: off by {off:.2g}, and before the cast it was right. The "
                "cast rounded what the module keeps, and what is rounded stays rounded"
            )
        out = _run(rope.float(), x, positions, f"rope.to({dtype}).float()")
        off = (out.double() - _turned(x, positions)).abs().max().item()
        assert off < 1e-2, f"rope.to({dtype}).float(), x in float32: off by {off:.2g}. The bits do not come back"
        assert out.dtype == x.dtype, f"rope.to({dtype}).float(): x is float32, and the result {out.dtype}"


def test_rotations_are_neither_trained_nor_saved():
    rope = _rope(8)
    for when in ("a new Rope", "a Rope that was used"):
        names = [name for name, _ in rope.named_parameters()]
        assert not names, f"{when} has a parameter, {', '.join(names)}: an optimizer would train it"
        saved = list(rope.state_dict())
        assert not saved, f"{when} has {', '.join(saved)} in its state_dict: no other code has such a key in its files"
        _run(rope, _numbers(1, 2, 3, 8), torch.tensor([3, 1, 2]))


def test_the_gradient_is_turned_back():
    rope, positions = _rope(6), torch.tensor([3, 0, 8, 1])
    x, c = _numbers(2, 3, 4, 6).requires_grad_(), _numbers(2, 3, 4, 6).flip(3)
    out = _run(rope, x, positions, "with an x that requires a gradient, rope(x, positions)")
    assert out.requires_grad, "x requires a gradient, and the result hangs on no graph: nothing is learned"
    with explain("backward raised", _SIGNS):
        (out * c).sum().backward()
    assert x.grad is not None, "no gradient came to x"
    check_tensor(x.grad, _turned(c, positions, sign=-1), "the gradient, turned by minus the angle", atol=1e-5)


def test_weights_of_the_other_layout_move_their_rows():
    for heads, dim, c, dtype in ((2, 6, 5, torch.float64), (4, 4, 16, torch.bfloat16), (1, 2, 3, torch.float32)):
        weight = _numbers(heads * dim, c, dtype=dtype)
        rows = [h * dim + r for h in range(heads) for r in [*range(0, dim, 2), *range(1, dim, 2)]]
        kinds = (("", weight), ("transposed ", weight.T.contiguous().T), ("trainable ", nn.Parameter(weight.clone())))
        for kind, w in kinds:
            with explain(f"half_layout raised for a {kind}weight of {heads} heads of {dim} rows", _SIGNS):
                with unchanged("the weight is the caller's", rng=True, weight=w):
                    got: Any = half_layout(w, heads)
            assert isinstance(got, torch.Tensor), f"half_layout returns a tensor, got {type(got).__name__}"
            if (got.shape, got.dtype) == (w.shape, dtype) and not torch.equal(got, w[rows]):
                found = [next((j for j, row in enumerate(w) if torch.equal(row, g)), None) for g in got]
                for cause, other in {
                    "no row moved": list(range(len(rows))),
                    "the heads were mixed: the even rows of all heads come first": [
                        *range(0, len(rows), 2),
                        *range(1, len(rows), 2),
                    ],
                    "that is the way back, from halves to pairs": sorted(range(len(rows)), key=rows.__getitem__),
                }.items():
                    assert found != other, f"{heads} heads of {dim} rows: {cause}; got rows {found}, expected {rows}"
                raise AssertionError(
                    f"{heads} heads of {dim} rows: got rows {found}, expected {rows} (None: no such row)"
                )
            check_tensor(got.detach(), weight[rows], f"a {kind}weight of {heads} heads of {dim} rows")

    x, (wq, wk) = _numbers(1, 4, 5), (_numbers(12, 5), _numbers(12, 5).flip(0))
    positions, rope = torch.tensor([2, 9, 0, 31]), _rope(6)

    def heads_of(w):
        return (x @ w.T).view(1, 4, 2, 6).transpose(1, 2)

    q, k = (_interleaved(heads_of(w), positions) for w in (wq, wk))
    mine = [_run(rope, heads_of(half_layout(w, 2)), positions) for w in (wq, wk)]
    scores = mine[0] @ mine[1].mT
    check_tensor(scores, q @ k.mT, "the scores of both layouts, with Rope on the reordered weights", atol=1e-3)
