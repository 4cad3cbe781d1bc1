"""Permute, not reshape: the right shape with scrambled pixels.

Images come from files as (H, W, C): height, width, colour. Layers want (C, H, W). Two calls give that shape, and only
one of them gives the image. `img.permute(...)` moves the *dimensions*: each number keeps its row, column and colour.
`img.view(C, H, W)`, and `reshape` too, leaves the numbers in the order in which they lie in memory and only puts other
brackets round them: what was the colour of one pixel becomes a piece of a row. The shape is as ordered, nothing raises,
the loss even falls a bit, and people search for weeks. If two dimensions are of one size, no shape check can help.

So: to reorder dimensions use `permute` or `transpose` (free: a view with other strides); to split one dimension in two
neighbours, or to merge two neighbours into one, use `view` or `reshape`. Attention needs both: the heads must first be
moved next to what they merge with. (A *token* is one piece of a text, such as a word; a text has T of them. Attention
describes each token by H * D numbers, D for each of its H *heads*, which work side by side.) And `.T` is no shorthand:
it reverses all dimensions, and is deprecated beyond 2.

About 20 minutes. Before it: view_or_copy.
Path: numpy, transformer

https://docs.pytorch.org/docs/stable/generated/torch.permute.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def to_chw(img: torch.Tensor) -> torch.Tensor:
    """An image (H, W, C) as (C, H, W): a view of `img`, no copy. `img` itself stays (H, W, C)."""
    raise NotImplementedError("move the colour dimension to the front")


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """(B, H, T, D) -> (B, T, H*D): for each token the D numbers of head 0, then those of head 1, and so on.

    Of any dtype, and with any strides; each number stays as it is, NaN too, and so does `x`.
    """
    raise NotImplementedError("bring the heads of each token together")


def split_heads(x: torch.Tensor, h: int) -> torch.Tensor:
    """(B, T, h*D) -> (B, h, T, D): the reverse of merge_heads, for `h` heads and any dtype. `x` stays as it is."""
    raise NotImplementedError("give each head its part of each token")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _numbered(*shape: int) -> torch.Tensor:
    return torch.arange(float(torch.Size(shape).numel())).view(shape)


def _is(out: object, shape: tuple[int, ...], numbers: list[float]) -> bool:
    """Has `out` that shape, and those numbers in reading order?"""
    return isinstance(out, torch.Tensor) and out.shape == shape and out.flatten().tolist() == numbers


@pytest.mark.myth(
    says="x.view reshapes a tensor, so it also turns an image (H, W, C) into (C, H, W).",
    today="view and reshape keep the numbers in reading order; only permute and transpose reorder dimensions.",
)
def test_view_gives_the_right_shape_and_scrambled_pixels():
    img, kept = _numbered(2, 3, 4), _numbered(2, 3, 4)
    with explain("to_chw raised on an image (2, 3, 4)"), unchanged("to_chw must leave img itself (H, W, C)", img=img):
        out = to_chw(img)
    scrambled = _is(out, (4, 2, 3), kept.flatten().tolist())
    assert not scrambled, "right shape, scrambled pixels: you put other brackets round the same row of numbers"
    mirrored = _is(out, (4, 3, 2), kept.permute(2, 1, 0).flatten().tolist())
    assert not mirrored, "(4, 3, 2) is (C, W, H): rows and columns changed places too, the image lies on its side"
    want = torch.stack([torch.tensor([[0.0, 4, 8], [12, 16, 20]]) + c for c in range(4)])
    check_tensor(out, want, "pixel (1, 2) of img is (20, 21, 22, 23), and that is what out[:, 1, 2] should be")


def test_the_shape_of_a_square_image_proves_nothing():
    img, kept = _numbered(3, 3, 3), _numbered(3, 3, 3)
    with explain("to_chw raised on an image (3, 3, 3)"):
        out = to_chw(img)
    mirrored = _is(out, (3, 3, 3), [float(r * 9 + c * 3 + k) for k in range(3) for c in range(3) for r in range(3)])
    assert not mirrored, "rows and columns changed places too: you reversed all dimensions, and the shape cannot tell"
    unmoved = _is(out, (3, 3, 3), kept.flatten().tolist())
    assert not unmoved, "nothing moved: an image of 3 x 3 pixels and 3 colours has the right shape from the start"
    want = torch.stack([torch.tensor([[0.0, 3, 6], [9, 12, 15], [18, 21, 24]]) + c for c in range(3)])
    check_tensor(out, want, "pixel (1, 2) of img is (15, 16, 17), and that is what out[:, 1, 2] should be")


@pytest.mark.parametrize("image", ["whole", "cropped"])
def test_permute_is_free(image):
    img = _numbered(4, 5, 3).byte() if image == "whole" else _numbered(6, 7, 3)[1:5, 2:]
    want = torch.stack([img[:, :, c] for c in range(3)])
    with explain(f"to_chw raised on a {image} image (4, 5, 3) with the strides {img.stride()}"):
        out = to_chw(img)
    check_tensor(out, want, f"a {image} image (4, 5, 3) becomes (3, 4, 5)")
    assert shares_memory(out, img), "you copied the image: moving dimensions needs other strides, not other memory"


def test_heads_merge_only_after_they_have_moved():
    x = _numbered(2, 3, 4, 5)
    kept = x.clone()
    apart = "no view can merge the heads while they lie apart in memory: where view refuses, copy"
    with explain("merge_heads raised on (2, 3, 4, 5)", where={"view size is not compatible": apart}):
        with unchanged("merge_heads must not change x", x=x):
            out = merge_heads(x)
    relabelled = _is(out, (2, 4, 15), kept.flatten().tolist())
    assert not relabelled, "you merged neighbours in memory: a row holds several tokens of one head, not one token"
    mixed = _is(out, (2, 4, 15), kept.permute(0, 2, 3, 1).flatten().tolist())
    assert not mixed, "the heads are shuffled into each other like cards: all D numbers of a head belong together"
    want = torch.cat([kept[:, 0], kept[:, 1], kept[:, 2]], dim=-1)
    check_tensor(out, want, "(2, 3, 4, 5) becomes (2, 4, 15); token 0 begins 0, 1, 2, 3, 4, 20, 21")


def test_a_token_is_split_before_the_heads_move():
    x = _numbered(2, 4, 15)
    kept = x.clone()
    with explain("split_heads(x, 3) raised on (2, 4, 15)"), unchanged("split_heads must not change x", x=x):
        out = split_heads(x, 3)
    relabelled = _is(out, (2, 3, 4, 5), kept.flatten().tolist())
    assert not relabelled, "right shape, wrong heads: you cut memory into heads, so one head got whole tokens"
    mixed = _is(out, (2, 3, 4, 5), kept.view(2, 4, 5, 3).permute(0, 3, 1, 2).flatten().tolist())
    assert not mixed, "you dealt the numbers out like cards: head 0 gets the first D numbers of each token"
    unmoved = _is(out, (2, 4, 3, 5), kept.flatten().tolist())
    assert not unmoved, "(2, 4, 3, 5) is (B, T, H, D): the heads are split, but they did not move before the tokens"
    want = torch.stack([kept[:, :, :5], kept[:, :, 5:10], kept[:, :, 10:]], dim=1)
    check_tensor(out, want, "(2, 4, 15) becomes (2, 3, 4, 5); head 1 of token 0 is 5, 6, 7, 8, 9")


@pytest.mark.parametrize(
    ("batch", "tokens", "heads"),
    [(2, 3, 2), (2, 3, 3), (2, 3, 6), (1, 1, 1)],
    ids=["2 heads", "as many heads as tokens", "6 heads of one number", "1 token, 1 head"],
)
def test_merge_undoes_split(batch, tokens, heads):
    """As many heads as tokens: for 3 heads no shape can tell (B, H, T, D) from (B, T, H, D)."""
    x = (_numbered(batch, tokens, 6).double() - 3) / 10  # -0.3, -0.2, ... in float64
    x[0, 0, 4] = torch.nan
    want = torch.stack(x.chunk(heads, dim=-1), dim=1)
    with explain(f"split_heads(x, {heads}) raised on {tuple(x.shape)}"):
        split = split_heads(x.clone(), heads)
    check_tensor(split, want, f"split_heads(x, {heads}) of {tuple(x.shape)}: the numbers move, and stay what they are")
    for y in (want, want.mT.contiguous().mT):  # the same numbers, with two kinds of strides
        with explain(f"merge_heads raised on {tuple(y.shape)} with the strides {y.stride()}"):
            merged = merge_heads(y.clone())
        check_tensor(merged, x, f"merge_heads of {tuple(y.shape)}: the numbers move, and stay what they are")
    numpy = {"ScalarType": "NumPy knows no bfloat16, and any dtype may come"}
    with explain(f"split_heads or merge_heads raised on {heads} heads in bfloat16", where=numpy):
        split, merged = split_heads(x.bfloat16(), heads), merge_heads(want.bfloat16())
    check_tensor(split, want.bfloat16(), f"split_heads(x, {heads}) in bfloat16: any dtype may come, and stays")
    check_tensor(merged, x.bfloat16(), f"merge_heads of {heads} heads in bfloat16: any dtype may come, and stays")
