"""Answers that people give to augment_each_sample, right ones and wrong ones."""

import random

import numpy as np
import torch

from dojo import Mistake


def _transform(p=0.5):
    """torchvision is imported only where it is used: it takes a second or two."""
    from torchvision.transforms import v2

    return v2.RandomHorizontalFlip(p)


def _transform_each(x):
    flip = _transform()
    return torch.stack([flip(image) for image in x])


def _masked_copy(x):
    out = x.clone()
    mask = torch.rand(x.size(0)) > 0.5
    out[mask] = torch.flip(out[mask], dims=[3])
    return out


def _loop(x):
    out = []
    for image in x.unbind(0):
        if torch.randint(0, 2, (1,)).item():
            image = image.flip(2)
        out.append(image)
    return torch.stack(out, dim=0)


def _blend(x):
    m = torch.bernoulli(torch.full((x.shape[0], 1, 1, 1), 0.5)).to(x.dtype)
    return m * x.flip(dims=(3,)) + (1 - m) * x


def _gather(x):
    n, c, h, w = x.shape
    forward = torch.arange(w)
    index = torch.where((torch.rand(n) < 0.5)[:, None], w - 1 - forward, forward)
    return x.gather(3, index[:, None, None, :].expand(n, c, h, w))


def _empty_like(x):
    out = torch.empty_like(x)
    flips = torch.randint(2, (len(x),)).bool()
    for i, f in enumerate(flips):
        out[i] = x[i][..., torch.arange(x.shape[-1] - 1, -1, -1)] if f else x[i]
    return out


def _seeded_of_torch(x):
    """A generator of its own, whose seed is drawn from the global one."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    coins = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(coins.reshape(-1, 1, 1, 1), torch.fliplr(x.transpose(1, 3)).transpose(1, 3), x)


def _vmap(x):
    def one(image):
        return torch.where(torch.rand(()) < 0.5, image.flip(-1), image)

    return torch.vmap(one, randomness="different")(x)


def _rounded(x):
    return torch.where(torch.rand(len(x)).round().bool()[:, None, None, None], x[..., range(x.size(3))[::-1]], x)


def _distribution(x):
    coins = torch.distributions.Bernoulli(0.5).sample((x.shape[0],))
    result = []
    for i in range(x.shape[0]):
        if coins[i] == 1:
            result.append(torch.fliplr(x[i].permute(1, 2, 0)).permute(2, 0, 1).unsqueeze(0))
        else:
            result.append(x[i : i + 1])
    return torch.cat(result)


def _python_seeded_by_torch(x):
    rng = random.Random(int(torch.randint(2**62, ())))
    return torch.stack([image.flip(-1) if rng.random() < 0.5 else image for image in x])


RIGHT = [
    {"random_flip_batch": _transform_each},
    {"random_flip_batch": _masked_copy},
    {"random_flip_batch": _loop},
    {"random_flip_batch": _blend},
    {"random_flip_batch": _gather},
    {"random_flip_batch": _empty_like},
    {"random_flip_batch": _seeded_of_torch},
    {"random_flip_batch": _vmap},
    {"random_flip_batch": _rounded},
    {"random_flip_batch": _distribution},
    {"random_flip_batch": _python_seeded_by_torch},
]


def _numpy_mask(x):
    out = x.clone()
    mask = np.random.rand(len(x)) < 0.5
    out[mask] = out[mask].flip(-1)
    return out


def _python_choice(x):
    return torch.stack([random.choice((image, image.flip(-1))) for image in x])


def _detached_in_place(x):
    mask = torch.rand(len(x)) < 0.5
    x.data[mask] = x.data[mask].flip(-1)
    return x.data


def _copy_in_place(x):
    for i in torch.nonzero(torch.rand(len(x)) < 0.5):
        x[i] = x[i].flip(-1).clone()
    return x


def _images_and_channels(x):
    n, c, h, w = x.shape
    flat = x.reshape(n * c, h, w)
    return torch.stack([image.flip(-1) if torch.rand(()) < 0.5 else image for image in flat]).view(n, c, h, w)


def _rarely(x):
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.1, x.flip(-1), x)


def _v1_axis(x):
    """The axes of an image (H, W, C), as NumPy and PIL have them."""
    return torch.stack([image.flip(1) if torch.rand(()) < 0.5 else image for image in x])


def _both_axes(x):
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip((2, 3)), x)


def _float_buffer(x):
    out = torch.zeros(x.shape)
    for i, image in enumerate(x):
        out[i] = image.flip(-1) if torch.rand(()) < 0.5 else image
    return out


def _one_for_all(x):
    return x.flip(-1) if torch.rand(1).item() > 0.5 else x.clone()


def _seed_inside(x):
    generator = torch.Generator().manual_seed(42)
    return torch.where(torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5, x.flip(-1), x)


def _unordered(x):
    order = torch.randperm(len(x))
    half = len(x) // 2
    return torch.cat([x[order[:half]].flip(-1), x[order[half:]]])


def _exact_half(x):
    mask = torch.zeros(len(x), dtype=torch.bool)
    mask[torch.randperm(len(x))[: len(x) // 2]] = True
    return torch.where(mask[:, None, None, None], x.flip(-1), x)


def _per_row(x):
    return torch.where(torch.rand(len(x), 1, x.size(2), 1) < 0.5, x.flip(-1), x)


def _one_of_many(x):
    """The mask is reduced to one truth, as `if` asked for it."""
    return x.flip(-1) if (torch.rand(len(x)) < 0.5).sum() > len(x) / 2 else x


def _masked_out(x):
    return x.flip(-1) * (torch.rand(len(x), 1, 1, 1) < 0.5)


def _lost(x):
    """x.clone()[mask] is a copy, and flipped for nobody."""
    out = x.clone()
    for image in out[torch.rand(len(x)) < 0.5]:
        image.copy_(image.flip(-1))
    return out


def _forked(x):
    with torch.random.fork_rng(devices=[]):
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)


def _two_coins(x):
    flip = _transform()
    return torch.stack([flip(image) if torch.rand(()) < 0.5 else image for image in x])


WRONG = [
    Mistake("that torch's seed does not reach", caught_by="", random_flip_batch=_numpy_mask),
    Mistake("that torch's seed does not reach", caught_by="", random_flip_batch=_python_choice),
    Mistake("the batch belongs to the caller", caught_by="", random_flip_batch=_detached_in_place),
    Mistake("the batch belongs to the caller", caught_by="", random_flip_batch=_copy_in_place),
    Mistake("some of its channels are mirrored", caught_by="", random_flip_batch=_images_and_channels),
    Mistake("at even odds it is about 1000", caught_by="", random_flip_batch=_rarely),
    Mistake("it stands on its head", caught_by="", random_flip_batch=_v1_axis),
    Mistake("it is turned by half a circle", caught_by="", random_flip_batch=_both_axes),
    Mistake("came back as torch.float32", caught_by="", random_flip_batch=_float_buffer),
    Mistake("the whole batch hangs on one draw", caught_by="", random_flip_batch=_one_for_all),
    Mistake("the whole batch hangs on one draw", caught_by="", random_flip_batch=lambda x: _transform()(x)),
    Mistake("every image is, expected about half", caught_by="", random_flip_batch=lambda x: _transform(1.0)(x)),
    Mistake("the whole batch hangs on one draw", caught_by="", random_flip_batch=_one_of_many),
    Mistake("neither itself nor its left-right mirror", caught_by="", random_flip_batch=_masked_out),
    Mistake("no image ever is, expected about half", caught_by="", random_flip_batch=_lost),
    Mistake("flipped the very same of 64 images", caught_by="", random_flip_batch=_forked),
    Mistake("at even odds it is about 1000", caught_by="", random_flip_batch=_two_coins),
    Mistake("flipped the very same of 64 images", caught_by="", random_flip_batch=_seed_inside),
    Mistake("at another place", caught_by="", random_flip_batch=_unordered),
    Mistake("of 50 batches with a single image, 0 were flipped", caught_by="", random_flip_batch=_exact_half),
    Mistake("some of its rows are mirrored", caught_by="", random_flip_batch=_per_row),
]
