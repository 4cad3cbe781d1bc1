"""A random transform draws once per call

A picture of a cat, mirrored, is still a cat. So training images are flipped at random, and the net sees more of them
than there are. torchvision has a transform for that: `v2.RandomHorizontalFlip()` decides with one random number,
and then mirrors what it was given, or not. Given one image of shape (C, H, W), that is what you want. Given a batch of
shape (N, C, H, W), it is still *one* decision: all images of the batch are mirrored, or none of them. No error, no
warning, the shape is right; the batches only vary less than you think. So it is with the other `Random...` transforms.

Inside a Dataset's `__getitem__`, a transform meets the images one at a time, and all is right. It goes wrong where
somebody moves it behind the loader, to make it faster. There you need a decision for each image: N random numbers, as
in `torch.rand(N) < 0.5`, and a choice between two batches, the given one and the mirrored one. `x.flip(-1)` mirrors the
last dimension, W; `torch.where(condition, a, b)` chooses, and a condition of shape (N, 1, 1, 1) chooses per image. A
loop with `torch.stack` does it, too. Draw from torch's own generator: Python's `random` knows nothing of
`torch.manual_seed`, and then nobody can repeat your run.

What is asked here: flip the images of a batch, each by its own draw.

About 15 minutes. Before it: own_your_randomness, mask_do_not_multiply, image_to_float.

https://docs.pytorch.org/vision/stable/transforms.html
"""

import random

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import explain, unchanged


def random_flip_batch(x: torch.Tensor) -> torch.Tensor:
    """A batch of images `x`, of shape (N, C, H, W): each mirrored left-right with probability 1/2, else as it is.

    The pixels are finite, float32 or float64. N draws for N images, from torch's global generator, so
    `torch.manual_seed` before the call repeats the result. A mirrored image is mirrored in all its channels and rows,
    and stays at its place in the batch. Same shape and dtype. `x` itself stays as it is; the result may share its
    memory or not, as you like.
    """
    raise NotImplementedError("decide for each image, then mirror those")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _images(n: int, c: int, h: int, w: int) -> torch.Tensor:
    """No two pixels are the same, so every way to move them shows; the first ones are negative."""
    return torch.arange(-5.0, n * c * h * w - 5).view(n, c, h, w)


def _same(a: torch.Tensor, b: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """Whether a and b agree; with `dim`, for each place along it."""
    close = torch.isclose(a, b, rtol=1e-12 if a.dtype == torch.float64 else 1e-6, atol=0)
    return close.all() if dim is None else close.movedim(dim, 0).flatten(1).all(1)


def _flips(x: torch.Tensor) -> torch.Tensor:
    """Which images random_flip_batch has mirrored: bool (N,). Each must be itself or its mirror."""
    __tracebackhide__ = True
    given = x.detach().clone()
    with explain(f"random_flip_batch raised on a batch of shape {tuple(x.shape)}"):
        got = random_flip_batch(x)
    assert isinstance(got, torch.Tensor), f"random_flip_batch returns a tensor, got {type(got).__name__}"
    assert got.shape == given.shape, f"a batch of shape {tuple(given.shape)} came back as {tuple(got.shape)}"
    assert got.dtype == given.dtype, f"a batch of {given.dtype} came back as {got.dtype}"
    got, mirror = got.detach(), given.flip(-1)
    flipped = _same(got, mirror, 0)
    for i in (~(_same(got, given, 0) | flipped)).nonzero().flatten().tolist():
        raise AssertionError(f"image {i} is neither itself nor its left-right mirror{_cause(got[i], given, i)}")
    return flipped


def _cause(got: torch.Tensor, given: torch.Tensor, i: int) -> str:
    """What happened to image i, of shape (C, H, W), where that can be shown."""
    image = given[i]
    for dims, said in (
        ((1,), "it stands on its head: H was flipped, and W is the last dimension"),
        ((1, 2), "it is turned by half a circle: W alone is to be flipped"),
        ((0,), "its channels are in reversed order: W is the last dimension"),
    ):
        if _same(got, image.flip(dims)):
            return f": {said}"
    for j, other in enumerate(given):
        if _same(got, other) or _same(got, other.flip(-1)):
            return f": it is image {j} of the batch, at another place"
    for dim, said in ((0, "channels"), (1, "rows")):
        if (_same(got, image, dim) | _same(got, image.flip(-1), dim)).all():
            return f": some of its {said} are mirrored and some are not; an image is mirrored as a whole"
    return ""


@pytest.mark.myth(
    says="Call the random transform on the batch: it augments every image in it.",
    today="It draws once per call, so all images of the batch are flipped or none. For each image, ask anew.",
)
def test_each_image_of_a_batch_has_a_draw_of_its_own():
    torch.manual_seed(0)
    counts = [int(_flips(_images(64, 1, 2, 4)).sum()) for _ in range(10)]
    told = f"10 batches of 64 images, and {counts} of them were flipped"
    assert set(counts) != {0}, f"{told}: no image ever is, expected about half"
    assert set(counts) != {64}, f"{told}: every image is, expected about half"
    assert not set(counts) & {0, 64}, f"{told}: the whole batch hangs on one draw"
    alone = [int(_flips(_images(1, 2, 2, 3))) for _ in range(50)]
    assert 0 < sum(alone) < 50, f"of 50 batches with a single image, {sum(alone)} were flipped: expected about half"
    pairs = {tuple(_flips(_images(2, 1, 2, 3)).int().tolist()) for _ in range(100)}
    for pair in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert pair in pairs, (
            f"a batch of two images, 100 times: (image 0 flipped, image 1 flipped) was {sorted(pairs)}, and never "
            f"{pair}: one image's draw says nothing about the other's"
        )


def test_half_of_the_images_are_flipped_in_the_long_run():
    torch.manual_seed(1)
    flipped = _flips(_images(2000, 1, 2, 3))
    n = int(flipped.sum())
    assert 880 <= n <= 1120, f"{n} of 2000 images were flipped: at even odds it is about 1000"
    changes = int((flipped[1:] != flipped[:-1]).sum())
    assert 880 <= changes <= 1120, (
        f"{changes} of 1999 neighbours differ in whether they were flipped, expected about 1000: the draws are linked"
    )


@pytest.mark.parametrize(
    "shape",
    [(40, 3, 4, 6), (40, 2, 5, 7), (40, 4, 3, 2), (40, 40, 3, 5), (6, 6, 6, 6)],
    ids=["RGB", "odd height and width", "two columns", "as many channels as images", "all sizes the same"],
)
def test_a_flip_mirrors_the_columns_of_every_channel_and_row(shape):
    torch.manual_seed(2)
    x = _images(*shape)
    for batch in (x, x.double() * 0.1, x.to(memory_format=torch.channels_last), _images(*shape[:2], *shape[:1:-1]).mT):
        flips = [_flips(batch) for _ in range(5)]
        assert torch.stack(flips).any(), f"5 batches of shape {shape}, and no image was flipped"


def test_the_batch_that_was_given_stays_as_it_is():
    torch.manual_seed(3)
    x = _images(64, 2, 3, 4)
    for batch in (x, x.to(memory_format=torch.channels_last)):
        with unchanged("the batch belongs to the caller: mirror a copy, not the images in it", x=batch):
            _flips(batch)


@pytest.mark.myth(
    says="torchvision's random transforms use Python's random: seed that as well.",
    today="Since torchvision 0.8 they draw from torch's generator, and torch.manual_seed is all that you need.",
)
def test_manual_seed_repeats_the_flips():
    x, runs = _images(64, 1, 2, 4), []
    for seed, other in ((4, 1), (4, 2), (5, 1)):
        random.seed(other)
        np.random.seed(other)
        torch.manual_seed(seed)
        runs.append([_flips(x) for _ in range(2)])
    for first, second in runs:
        assert not torch.equal(first, second), "two calls in a row flipped the very same of 64 images"
    for again in (0, 1):
        assert torch.equal(runs[0][again], runs[1][again]), (
            "torch.manual_seed(4) twice, and other images were flipped: the draws come from a generator that torch's "
            "seed does not reach"
        )
    assert not torch.equal(runs[0][0], runs[2][0]), "the seeds 4 and 5 flipped the very same of 64 images"
