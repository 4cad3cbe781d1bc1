"""Permute, not reshape: reference.

Hint: Follow one number. Which indices did it have, and which must it have? If the order of its indices changes, a
dimension has to move; if one index becomes two, or two neighbours one, brackets change. Never ask both of one call.
Hint: `Tensor.permute` or `transpose` moves dimensions. `unflatten` splits one, `flatten(start_dim)` merges neighbours.
Hint: merge_heads: transpose dimensions 1 and 2, so that H stands beside D, then flatten from dimension 2 on.
split_heads does the reverse steps in the reverse order.

Why: `view` and `reshape` keep the reading order of the numbers; `permute` keeps the meaning of each index. So a reshape
is safe only between neighbours, and a permute is always safe. Moving is free, since only strides change; merging
what has been moved costs a copy, because the merged numbers must lie in one row. That copy is why `transpose(...)`
followed by `view` raises: torch will not make it unasked.
"""

import torch

from dojo import Mistake


def to_chw(img: torch.Tensor) -> torch.Tensor:
    return img.permute(2, 0, 1)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2).flatten(2)


def split_heads(x: torch.Tensor, h: int) -> torch.Tensor:
    return x.unflatten(-1, (h, -1)).transpose(1, 2)


def picture(solution):
    from dojo.kit import pictures

    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(36), indexing="ij")
    img = torch.stack([90 + 4 * rows, 160 + 3 * rows, 250 - 2 * rows], dim=-1).byte()  # a sky
    img[17:] = torch.tensor([60, 150, 60], dtype=torch.uint8)
    img[(rows - 5) ** 2 + (columns - 28) ** 2 < 14] = torch.tensor([255, 200, 0], dtype=torch.uint8)
    img[11:20, 5:17] = torch.tensor([235, 225, 205], dtype=torch.uint8)
    img[14:20, 9:12] = torch.tensor([110, 60, 30], dtype=torch.uint8)
    img[(rows < 11) & ((columns - 10.5).abs() < 1.4 * (rows - 5) + 1)] = torch.tensor([190, 40, 40], dtype=torch.uint8)

    moved, relabelled = solution.to_chw(img.clone()), img.reshape(3, 24, 36)

    def stay(chw):
        """How many pixels have the three numbers that img has there."""
        return sum(torch.equal(chw[:, r, c], img[r, c]) for r in range(24) for c in range(36))

    figure = pictures.figure(6, 3.4)
    places = figure.subplots(2, 4, sharex=True, sharey=True, width_ratios=[1.6, 1, 1, 1])
    for name, chw, row in zip(["to_chw(img)", "img.reshape(3, 24, 36)"], [moved, relabelled], places):
        row[0].imshow(torch.stack(list(chw), dim=-1).numpy())
        row[0].set_ylabel("row (pixels)", fontsize=9)
        row[0].set_title(name, fontsize=10)
        for colour, plane, place in zip(["red", "green", "blue"], chw, row[1:]):
            place.imshow(plane.numpy(), cmap="gray", vmin=0, vmax=255)
            place.set_title(f"its {colour} plane", fontsize=9)
    for place in places[1]:
        place.set_xlabel("column (pixels)", fontsize=9)
    return pictures.Picture(
        figure,
        f"Both have the shape {tuple(moved.shape)}. to_chw leaves {stay(moved)} of {24 * 36} pixels with their three "
        f"colours, reshape {stay(relabelled)}: each of its planes holds a third of the rows, with red, green and blue "
        "side by side.",
        {"to_chw": moved, "reshape": relabelled, "stay": [stay(moved), stay(relabelled)]},
    )


def _view_chw(img):
    height, width, colours = img.shape
    return img.reshape(colours, height, width)


def _only_if_needed(img):
    return img if img.shape[0] == 3 else img.permute(2, 0, 1)


def _merge_into_zeros(x):
    """Of the default dtype, whatever the dtype of x."""
    out = torch.zeros(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])
    for head, part in enumerate(x.unbind(1)):
        out[:, :, head * x.shape[3] : (head + 1) * x.shape[3]] = part
    return out


_SHAPE = "test_view_gives_the_right_shape_and_scrambled_pixels"
_SQUARE = "test_the_shape_of_a_square_image_proves_nothing"
_FREE = "test_permute_is_free"
_MERGE = "test_heads_merge_only_after_they_have_moved"
_SPLIT = "test_a_token_is_split_before_the_heads_move"
_TRIP = "test_merge_undoes_split"

MISTAKES = [
    Mistake("right shape, scrambled pixels", caught_by=_SHAPE, to_chw=_view_chw),
    Mistake(
        "right shape, scrambled pixels",
        caught_by=_SHAPE,
        to_chw=lambda img: img.contiguous().view(img.shape[2], *img.shape[:2]),
    ),
    Mistake("rows and columns changed places too", caught_by=_SHAPE, to_chw=lambda img: img.transpose(0, 2)),
    Mistake("you reversed all dimensions", caught_by=_SQUARE, to_chw=lambda img: img.permute(2, 1, 0)),
    Mistake("pixel (1, 2) of img is (20, 21, 22, 23)", caught_by=_SHAPE, to_chw=lambda img: img.permute(1, 2, 0)),
    Mistake("nothing moved", caught_by=_SQUARE, to_chw=_only_if_needed),
    Mistake("you copied the image", caught_by=_FREE, to_chw=lambda img: img.permute(2, 0, 1).contiguous()),
    Mistake(
        "no view can merge the heads",
        caught_by=_MERGE,
        merge_heads=lambda x: x.transpose(1, 2).view(x.shape[0], x.shape[2], -1),
    ),
    Mistake(
        "a row holds several tokens of one head",
        caught_by=_MERGE,
        merge_heads=lambda x: x.reshape(x.shape[0], x.shape[2], -1),
    ),
    Mistake(
        "the heads are shuffled into each other",
        caught_by=_MERGE,
        merge_heads=lambda x: x.permute(0, 2, 3, 1).flatten(2),
    ),
    Mistake(
        "so one head got whole tokens",
        caught_by=_SPLIT,
        split_heads=lambda x, h: x.reshape(x.shape[0], h, x.shape[1], -1),
    ),
    Mistake(
        "head 0 gets the first D numbers of each token",
        caught_by=_SPLIT,
        split_heads=lambda x, h: x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2),
    ),
    Mistake("is (B, T, H, D)", caught_by=_SPLIT, split_heads=lambda x, h: x.unflatten(-1, (h, -1))),
    Mistake("of (2, 3, 6)", caught_by=_TRIP, split_heads=lambda x, h: split_heads(x, 3)),
    Mistake(
        "of (2, 3, 6)",
        caught_by=_TRIP,
        split_heads=lambda x, h: (lambda y: y if y.shape[1] == h else y.transpose(1, 2))(x.unflatten(-1, (h, -1))),
    ),
    Mistake("you copied the image", caught_by=_FREE, to_chw=lambda img: img.contiguous().permute(2, 0, 1)),
    Mistake(
        "a cropped image (4, 5, 3) becomes (3, 4, 5)",
        caught_by=_FREE,
        to_chw=lambda img: img.as_strided(
            (img.shape[2], *img.shape[:2]), (1, img.shape[1] * img.shape[2], img.shape[2])
        ),
    ),
    Mistake(
        "to_chw must leave img itself (H, W, C)",
        caught_by=_SHAPE,
        to_chw=lambda img: img.transpose_(0, 2).transpose_(1, 2),
    ),
    Mistake("expected torch.uint8", caught_by=_FREE, to_chw=lambda img: img.permute(2, 0, 1).float()),
    Mistake("expected torch.float64, got torch.float32", caught_by=_TRIP, merge_heads=_merge_into_zeros),
    Mistake(
        "and stay what they are",
        caught_by=_TRIP,
        merge_heads=lambda x: x.float().transpose(1, 2).flatten(2).to(x.dtype),
    ),
    Mistake(
        "and stay what they are",
        caught_by=_TRIP,
        split_heads=lambda x, h: x.nan_to_num().unflatten(-1, (h, -1)).transpose(1, 2),
    ),
    Mistake(
        "merge_heads of (1, 1, 1, 6)", caught_by=_TRIP, merge_heads=lambda x: x.transpose(1, 2).flatten(2).squeeze(0)
    ),
    Mistake(
        "and stay what they are",
        caught_by=_TRIP,
        merge_heads=lambda x: torch.einsum("bhtd,hk->btkd", x, torch.eye(x.size(1)).to(x)).flatten(2),
    ),
    Mistake(
        "NumPy knows no bfloat16",
        caught_by=_TRIP,
        merge_heads=lambda x: torch.from_numpy(x.numpy().swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)),
    ),
    Mistake(
        "any dtype may come, and stays",
        caught_by=_TRIP,
        split_heads=lambda x, h: split_heads(x.float() if x.dtype == torch.bfloat16 else x, h),
    ),
    Mistake("merge_heads must not change x", caught_by=_MERGE, merge_heads=lambda x: x.transpose_(1, 2).flatten(2)),
    Mistake(
        "split_heads must not change x",
        caught_by=_SPLIT,
        split_heads=lambda x, h: x.resize_(*x.shape[:2], h, x.shape[2] // h).transpose(1, 2),
    ),
]
