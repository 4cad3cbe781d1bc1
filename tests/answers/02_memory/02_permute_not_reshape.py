"""Answers that people give to permute_not_reshape, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _merge_with_loops(x):
    b, h, t, d = x.shape
    out = torch.empty(b, t, h * d, dtype=x.dtype)
    for head in range(h):
        out[:, :, head * d : (head + 1) * d] = x[:, head]
    return out


def _split_with_loops(x, h):
    b, t, e = x.shape
    out = torch.empty(b, h, t, e // h, dtype=x.dtype)
    for head in range(h):
        out[:, head] = x[..., head * (e // h) : (head + 1) * (e // h)]
    return out


def _scramble(img):
    h, w, c = img.shape
    return torch.reshape(img, (c, h, w))


def _split_into_zeros(x, h):
    out = torch.zeros(x.shape[0], h, x.shape[1], x.shape[2] // h)
    for head, part in enumerate(x.chunk(h, dim=-1)):
        out[:, head] = part
    return out


RIGHT = [
    dict(
        to_chw=lambda img: img.movedim(-1, 0),
        merge_heads=lambda x: x.permute(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1),
        split_heads=lambda x, h: x.view(*x.shape[:2], h, -1).permute(0, 2, 1, 3),
    ),
    dict(
        to_chw=lambda img: img.transpose(0, 2).transpose(1, 2),
        merge_heads=lambda x: x.transpose(1, 2).contiguous().view(x.size(0), x.size(2), x.size(1) * x.size(3)),
        split_heads=lambda x, h: torch.stack(x.chunk(h, dim=-1), dim=1),
    ),
    dict(
        to_chw=lambda img: torch.einsum("hwc->chw", img),
        merge_heads=lambda x: torch.cat(x.unbind(1), dim=-1),
        split_heads=lambda x, h: x.reshape(x.shape[0], x.shape[1], h, x.shape[2] // h).transpose(1, 2).contiguous(),
    ),
    dict(
        to_chw=lambda img: torch.from_numpy(img.numpy().transpose(2, 0, 1)),
        merge_heads=_merge_with_loops,
        split_heads=_split_with_loops,
    ),
    dict(
        to_chw=lambda img: img.as_strided(
            (img.shape[2], *img.shape[:2]), (img.stride(2), img.stride(0), img.stride(1))
        ),
        merge_heads=lambda x: torch.concat([x.select(1, i) for i in range(x.size(1))], dim=2),
        split_heads=lambda x, h: x.unfold(2, x.size(2) // h, x.size(2) // h).transpose(1, 2),
    ),
    dict(
        to_chw=lambda img: torch.swapdims(img.movedim(0, 1), 0, 2),
        merge_heads=lambda x: torch.stack([torch.stack([t.reshape(-1) for t in b.unbind(1)]) for b in x]),
        split_heads=lambda x, h: torch.stack(torch.tensor_split(x, h, dim=2), dim=1),
    ),
    dict(to_chw=lambda img: img.swapaxes(0, 2).mT, merge_heads=lambda x: torch.einsum("bhtd->bthd", x).flatten(-2)),
]

WRONG = [
    Mistake(
        "NumPy knows no bfloat16",
        caught_by="",
        merge_heads=lambda x: torch.from_numpy(x.numpy().transpose(0, 2, 1, 3).reshape(x.size(0), x.size(2), -1)),
    ),
    Mistake(
        "NumPy knows no bfloat16",
        caught_by="",
        split_heads=lambda x, h: torch.stack([torch.tensor(part) for part in np.split(x.numpy(), h, axis=2)], dim=1),
    ),
    Mistake("right shape, scrambled pixels", caught_by="", to_chw=_scramble),
    Mistake("rows and columns changed places too", caught_by="", to_chw=lambda img: torch.einsum("hwc->cwh", img)),
    Mistake("you reversed all dimensions", caught_by="", to_chw=lambda img: img.swapaxes(0, 2)),
    Mistake("pixel (1, 2) of img is (20, 21, 22, 23)", caught_by="", to_chw=lambda img: img.transpose(1, 2)),
    Mistake("you copied the image", caught_by="", to_chw=lambda img: torch.stack(img.unbind(-1))),
    Mistake(
        "a row holds several tokens of one head",
        caught_by="",
        merge_heads=lambda x: x.flatten(1).unflatten(1, (x.size(2), -1)),
    ),
    Mistake(
        "the heads are shuffled into each other",
        caught_by="",
        merge_heads=lambda x: torch.stack(x.unbind(1), -1).flatten(2),
    ),
    Mistake(
        "so one head got whole tokens",
        caught_by="",
        split_heads=lambda x, h: x.flatten(1).view(len(x), h, x.size(1), -1),
    ),
    Mistake("is (B, T, H, D)", caught_by="", split_heads=lambda x, h: torch.stack(x.chunk(h, dim=-1), dim=2)),
    Mistake("you copied the image", caught_by="", to_chw=lambda img: img.clone().movedim(2, 0)),
    Mistake(
        "no view can merge the heads",
        caught_by="",
        merge_heads=lambda x: x.permute(0, 2, 1, 3).view(*x[:, 0].shape[:2], -1),
    ),
    Mistake("to_chw must leave img itself (H, W, C)", caught_by="", to_chw=lambda img: img.set_(img.permute(2, 0, 1))),
    Mistake("expected torch.uint8", caught_by="", to_chw=lambda img: torch.einsum("hwc->chw", img.float())),
    Mistake("expected torch.float64, got torch.float32", caught_by="", split_heads=_split_into_zeros),
]
