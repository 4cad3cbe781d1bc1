"""Answers that people give to integers_lose_silently, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _diff_in_numpy(a, b):
    return torch.from_numpy(np.abs(a.numpy().astype(np.int16) - b.numpy()).astype(np.uint8))


def _brighten_pixel_by_pixel(img, factor):
    pixels = [min(255, round(p * factor)) for p in img.flatten().tolist()]
    return torch.tensor(pixels, dtype=torch.uint8).view(img.shape)


def _put_if_integer(x, i, v):
    if isinstance(v, float) and not v.is_integer():
        raise ValueError("would lose the fraction")
    x[i].fill_(v)
    return x


def _put_by_index_fill(x, i, v):
    if v % 1:
        raise ValueError("would lose the fraction")
    return x.index_fill_(0, torch.tensor([i]), int(v))


def _put_if_it_comes_back(x, i, v):
    cast = torch.tensor(v, dtype=torch.float64 if isinstance(v, float) else x.dtype).to(x.dtype)
    if cast.item() != v:
        raise ValueError("would lose the fraction")
    x[i] = cast
    return x


def _put_if_it_comes_back_from_float32(x, i, v):
    cast = torch.tensor(v).to(x.dtype)
    if cast.item() != v:
        raise ValueError("would lose the fraction")
    x[i] = cast
    return x


def _put_by_fill(x, i, v):
    if v % 1:
        raise ValueError("would lose the fraction")
    x[i].copy_(torch.tensor(v))
    return x


def _put_only_ints(x, i, v):
    if not isinstance(v, int):
        raise ValueError("not an int")
    x.data[i] = v
    return x


def _put_and_restore(x, i, v):
    before = x[i].item()
    x[i] = v
    if x[i].item() != v:
        x[i] = before
        raise ValueError("would lose the fraction")
    return x


def _put_or_return_an_error(x, i, v):
    if v % 1:
        return ValueError("would lose the fraction")
    x[i] = int(v)
    return x


def _put_by_copy(x, i, v):
    x[i].copy_(torch.tensor(v))
    return x


def _put_int(x, i, v):
    x[i] = int(v)
    return x


def _put_into_a_list(x, i, v):
    if v != int(v):
        raise ValueError("fraction")
    return torch.tensor([*x[:i].tolist(), int(v), *x[i + 1 :].tolist()], dtype=x.dtype)


def _put_and_repair_nothing(x, i, v):
    before = x.clone()
    x[i] = v
    if before[i] + (v - before[i]) != x[i]:
        raise ValueError("fraction")
    return x


def _put_by_divmod(x, i, v):
    whole, rest = divmod(v, 1)
    if rest:
        raise ValueError("fraction")
    x[i] = whole
    return x


def _put_through_a_view(x, i, v):
    if v != round(v):
        raise ValueError("fraction")
    x[i : i + 1] = int(v)
    return x


def _put_whole_to_nine_digits(x, i, v):
    if round(v, 8) != int(v):
        raise ValueError("fraction")
    x[i] = int(v)
    return x


def _put_through_an_array(x, i, v):
    if not np.float64(v).is_integer():
        raise ValueError("fraction")
    x[i] = torch.from_numpy(np.array([v], dtype=np.float64))[0]
    return x


def _brighten_by_a_table(img, factor):
    table = torch.tensor([min(255, int(p * factor)) for p in range(256)], dtype=torch.uint8)
    return table[img.long()]


def _in_place_with_copy(a, b):
    a.copy_((a.int() - b.int()).abs())
    return a


RIGHT = [
    dict(
        abs_diff=lambda a, b: (a.int() - b.int()).pow(2).sqrt().to(torch.uint8),
        brighten=lambda img, f: torch.minimum(img.double() * f, torch.tensor(255.0)).byte(),
        put_=_put_by_divmod,
    ),
    dict(
        abs_diff=lambda a, b: torch.where(a < b, b - a, a - b),
        brighten=_brighten_by_a_table,
        put_=_put_through_a_view,
    ),
    dict(abs_diff=lambda a, b: torch.cdist(a.view(-1, 1, 1).float(), b.view(-1, 1, 1).float()).view(a.shape).byte()),
    dict(
        abs_diff=lambda a, b: torch.maximum(a, b) - torch.minimum(a, b),
        brighten=lambda img, f: (img * float(f)).clamp(0, 255).to(torch.uint8),
        put_=_put_if_integer,
    ),
    dict(
        abs_diff=lambda a, b: torch.where(a > b, a - b, b - a),
        brighten=_brighten_pixel_by_pixel,
        put_=_put_by_index_fill,
    ),
    dict(
        abs_diff=_diff_in_numpy,
        brighten=lambda img, f: torch.from_numpy(np.clip(img.numpy() * float(f), 0, 255).astype(np.uint8)),
        put_=_put_if_it_comes_back,
    ),
    dict(
        abs_diff=lambda a, b: (a.float() - b.float()).abs().byte(),
        brighten=lambda img, f: ((img / 255 * f).clamp(max=1) * 255).round().byte(),
        put_=_put_and_restore,
    ),
    dict(
        abs_diff=lambda a, b: (a.to(torch.int16) - b).abs().to(torch.uint8),
        brighten=lambda img, f: torch.where(img.int() * f > 255, 255, (img.int() * f).to(torch.uint8)).to(torch.uint8),
    ),
]

WRONG = [
    Mistake("10 - 20 went round to 246", caught_by="", abs_diff=lambda a, b: torch.abs(torch.sub(a, b))),
    Mistake("10 - 20 went round to 246", caught_by="", abs_diff=lambda a, b: a - b),
    Mistake("expected torch.uint8", caught_by="", abs_diff=lambda a, b: (a.float() - b.float()).abs()),
    Mistake("you cut off what was below zero", caught_by="", abs_diff=lambda a, b: a - torch.minimum(a, b)),
    Mistake("must not write into its images", caught_by="", abs_diff=_in_place_with_copy),
    Mistake(
        "bring it into range before you convert", caught_by="", brighten=lambda img, f: (img.float() * f).int().byte()
    ),
    Mistake(
        "bring it into range before you convert",
        caught_by="",
        brighten=lambda img, f: (img * f).long().to(torch.uint8).clamp(max=255),
    ),
    Mistake("uint8 image that stops at 255", caught_by="", brighten=lambda img, f: img * f),
    Mistake("did the factor 1.5 become 1", caught_by="", brighten=lambda img, f: img * torch.tensor(f).to(img.dtype)),
    Mistake(
        "saturates at 255",
        caught_by="",
        brighten=lambda img, f: (img.float() * f).clamp(img, 255 + 0 * img).byte(),
    ),
    Mistake("lost its fraction on the way", caught_by="", put_=_put_by_copy),
    Mistake("7.0 was refused", caught_by="", put_=_put_only_ints),
    Mistake("2.0000000000000004 lost its fraction", caught_by="", put_=_put_whole_to_nine_digits),
    Mistake("a Python float, or float64", caught_by="", put_=_put_through_an_array),
    Mistake(
        "went round in uint8",
        caught_by="",
        brighten=lambda img, f: torch.where(img * f > 255, 255, (img * f).to(torch.uint8)).to(torch.uint8),
    ),
    Mistake("saturates at 255", caught_by="", brighten=lambda img, f: (img.short() * f).clamp_(0, 255).byte()),
    Mistake("the float 16777217.0 arrives exactly", caught_by="", put_=_put_if_it_comes_back_from_float32),
    Mistake("the float 16777217.0 arrives exactly", caught_by="", put_=_put_by_fill),
    Mistake("neither written nor refused", caught_by="", put_=_put_or_return_an_error),
    Mistake("lost its fraction on the way", caught_by="", put_=_put_int),
    Mistake("put_ returns x itself", caught_by="", put_=_put_into_a_list),
    Mistake("it had written already", caught_by="", put_=_put_and_repair_nothing),
    Mistake(
        "bring it into range before you convert", caught_by="", brighten=lambda img, f: (img * f).clamp(0, 256).byte()
    ),
    Mistake(
        "did the factor 1.5 become 1", caught_by="", brighten=lambda img, f: (img.int() * int(f)).clamp(max=255).byte()
    ),
]
