"""From pixels to floats

A picture from a file has bytes as values, 0 to 255, and keeps the channels (red, green, blue) of a pixel together, so
it is (H, W, C). A network wants floats from 0 to 1 and the channels first, (C, H, W). Between them, three things go
wrong in silence. Shape: `reshape` to (C, H, W) gives the right shape and a scrambled picture, where `permute` moves
axes. Grey: a PIL image of mode "L" becomes an array (H, W), without any channel axis. Scale: a model trained on 0 to 1
sees 255.

torchvision does it too, and its parts differ. `transforms.ToTensor()` divides by 255 if it gets a PIL image or uint8;
an array of int64 keeps its values, 0 to 255, and its dtype. Its successor is two steps, `v2.ToImage()` and
`v2.ToDtype(torch.float32, scale=True)`: without scale=True the values stay 255.0, and with an int64 array they are
divided by the largest int64, which makes the picture black. `v2.ToDtype` alone does nothing at all with a PIL image.
To divide by the maximum of the picture is wrong too: a dark picture becomes as bright as a light one.

By hand: `np.array(image)` makes an array of a PIL image, `torch.from_numpy` a tensor of that. `image.mode` is "L" for
grey and "RGB" for colour. `mean` and `std` reduce several axes at once if dim is a tuple of them, as in `dim=(0, 1)`.

What is asked here: that conversion, and the mean and standard deviation of each channel over a batch of images, by
which `Normalize` shifts and scales them later.

About 20 minutes. Before it: shape_words, numpy_bridge, dataset_map_style.
Path: first_day

https://docs.pytorch.org/vision/stable/transforms.html
"""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def to_float_image(image: Image.Image | np.ndarray) -> torch.Tensor:
    """The image as float32 (C, H, W): each value divided by 255, so that 0 stays 0 and 255 becomes 1.

    `image` is a grey PIL image (mode "L", C = 1), a coloured one (mode "RGB", C = 3), or an array (H, W, 3) of uint8 or
    int64 with values from 0 to 255. It stays as it is.
    """
    raise NotImplementedError("channels first, float32, from 0 to 1")


def channel_stats(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the standard deviation of each channel, over all pixels of all images: (mean, std), each (C,).

    `batch` is float32 (N, C, H, W) with values from about 0 to 1, and stays as it is. How the images differ from each
    other counts too. Whether the standard deviation is the biased or the unbiased one is yours to choose: with so many
    pixels they are alike.
    """
    raise NotImplementedError("keep the channels, reduce all other axes")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "negative": "an array that is read backwards cannot become a tensor, and the order of the channels is to stay",
    "Input tensor should be a float": "Normalize wants floats: it comes after the conversion, and not here",
}


def _to_float_image(image, what) -> torch.Tensor:
    """to_float_image(image), as a plain tensor."""
    __tracebackhide__ = True
    before = image.tobytes()
    with explain(f"to_float_image raised on {what}", _SIGNS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of read-only arrays, or deprecated transforms
        got = to_float_image(image)
    assert isinstance(got, torch.Tensor), (
        f"to_float_image returns a tensor, for {what} it returned {type(got).__name__}"
    )
    assert image.tobytes() == before, f"{what} was changed, it is the caller's"
    assert not got.requires_grad, f"the result for {what} requires a gradient: a picture is data"
    return got.as_subclass(torch.Tensor)


def _check(image, array, what) -> None:
    """The conversion of `image` must be `array` (H, W, C) divided by 255, channels first."""
    __tracebackhide__ = True
    got = _to_float_image(image, what)
    want = torch.from_numpy(array.astype("float64") / 255).permute(2, 0, 1)
    h, w, c = array.shape
    shape = tuple(got.shape)
    assert shape == (c, h, w), f"{what}: C, H, W is {(c, h, w)}, the result has the shape {shape}"
    assert got.dtype == torch.float32, f"{what}: the result should be float32, not {got.dtype}"
    high = got.max().item()
    bytes_left = array.max() > 0 and torch.equal(got.double(), (want * 255).round())
    assert not bytes_left, f"{what} was not scaled: the maximum is {high}, for {array.max()} in the image"
    vanished = 0 < high < 1e-9 < want.max()
    assert not vanished, f"{what}: the maximum is {high:.2g}: it was divided by far more than 255"
    reshaped = torch.from_numpy(np.ascontiguousarray(array).reshape(c, h, w) / 255)
    scrambled = not torch.equal(reshaped, want) and torch.allclose(got.double(), reshaped, atol=1e-5)
    assert not scrambled, (
        f"{what} has the right shape and the wrong pixels: no axis was moved (reshape moves none, permute does)"
    )
    check_tensor(got, want.float(), f"{what}: each value should be that of the image, divided by 255", atol=1e-6)


def _pixels(h, w, c, low=0, high=255, seed=0):
    """An array of bytes, in which `low` and `high` both occur."""
    array = np.random.default_rng(seed).integers(low, high + 1, (h, w, c), dtype=np.uint8)
    array[0, 0, 0], array[-1, -1, -1] = low, high
    return array


def test_a_grey_image_has_one_channel():
    for h, w in ((16, 16), (5, 7), (1, 4), (4, 1)):
        array = _pixels(h, w, 1)
        image = Image.fromarray(array[..., 0])
        assert image.mode == "L", "one byte for each pixel is what PIL calls mode L"
        _check(image, array, f"a grey PIL image, {h} high and {w} wide")


def test_the_channels_come_first():
    for h, w in ((5, 7), (6, 6), (3, 3), (1, 4), (2, 3)):
        array = _pixels(h, w, 3)
        _check(Image.fromarray(array), array, f"an RGB PIL image, {h} high and {w} wide")
        _check(array, array, f"a uint8 array of the shape {array.shape}")
    part = _pixels(9, 8, 3)[::2, 1:6]
    _check(part, part, "a uint8 array that is a view on every second row of another")


@pytest.mark.parametrize(
    ("low", "high"), [(0, 20), (200, 255), (100, 140), (0, 1), (0, 0)], ids=["dark", "light", "grey", "night", "black"]
)
def test_a_dark_picture_stays_dark(low, high):
    array = _pixels(4, 6, 3, low, high, seed=1)
    _check(Image.fromarray(array), array, f"a PIL image with values from {low} to {high}")
    _check(array, array, f"a uint8 array with values from {low} to {high}")


@pytest.mark.myth(
    says="ToTensor() turns an image into floats from 0 to 1.",
    today="A PIL image or uint8, yes. An int64 array keeps its 255, and stays int64.",
)
@pytest.mark.myth(
    says="v2.ToTensor() is the new ToTensor().",
    today="It warns that it is deprecated: v2.ToImage(), then v2.ToDtype(torch.float32, scale=True).",
)
def test_an_int64_array_is_the_same_picture():
    for low, high in ((0, 255), (0, 248), (0, 1)):
        array = _pixels(5, 7, 3, low, high, seed=2).astype("int64")
        _check(array, array, f"an int64 array with values from {low} to {high}")
    from torchvision import transforms
    from torchvision.transforms import v2

    passed_on = transforms.ToTensor()(array * 255)
    assert passed_on.max().item() == 255, "ToTensor() scaled an int64 array: that is new"
    black = v2.ToDtype(torch.float32, scale=True)(v2.ToImage()(array * 255))
    assert black.max().item() < 1e-9, "ToDtype(scale=True) took an int64 array for bytes: that is new"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        v2.ToTensor()
    assert any("deprecated" in str(w.message) for w in caught), "v2.ToTensor() does not warn any more"


def _stats(batch, what) -> Any:
    """Mean and std of each channel, as float32."""
    __tracebackhide__ = True
    with explain(f"channel_stats raised on {what}"), unchanged("the batch is the caller's", batch=batch):
        got = channel_stats(batch)
    assert isinstance(got, tuple | list), f"channel_stats returns mean and std, here it returned {type(got).__name__}"
    assert len(got) == 2, f"channel_stats returns mean and std, here it returned {len(got)} things"
    channels = batch.shape[1]
    for value, name in zip(got, ("mean", "std"), strict=True):
        assert isinstance(value, torch.Tensor), f"{name} should be a tensor, here it is {type(value).__name__}"
        shape = tuple(value.shape)
        assert shape == (channels,), (
            f"{what}: {name} has the shape {shape}, expected ({channels},), a number for each channel"
        )
        assert not value.requires_grad, f"{name} requires a gradient, and the batch does not"
    return [value.float() for value in got]


def _check_stats(batch, mean, std, what) -> None:
    __tracebackhide__ = True
    got_mean, got_std = _stats(batch, what)
    swapped = torch.allclose(got_mean, std, rtol=1e-2) and torch.allclose(got_std, mean, rtol=1e-2)
    assert not swapped, f"{what}: std came first, and mean second"
    check_tensor(got_mean, mean, f"{what}: the mean of each channel", rtol=1e-2)
    variance = torch.allclose(got_std, std**2, rtol=1e-2)
    assert not variance, f"{what}: that is the variance, std is its square root"
    inside = batch.std(dim=(2, 3)).mean(0)
    averaged = not torch.allclose(inside, std, rtol=2e-2) and torch.allclose(got_std, inside, rtol=1e-2)
    assert not averaged, (
        f"{what}: std is {got_std.tolist()}, that is the spread inside the images, and how they differ from each other "
        f"is left out; over all pixels it is {std.tolist()}"
    )
    check_tensor(got_std, std, f"{what}: the standard deviation of each channel", rtol=1e-2)


def test_each_channel_has_its_own_mean_and_std():
    for n, c, h, w in ((6, 3, 40, 30), (3, 3, 64, 64), (1, 4, 50, 60), (5, 1, 40, 50)):
        noise = torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(n))
        shift, scale = (torch.tensor(values[:c]).view(c, 1, 1) for values in ([0.1, 0.6, 0.4, 0.0], [0.2, 0.1, 0.5, 1]))
        batch = shift + scale * noise
        flat = batch.permute(1, 0, 2, 3).reshape(c, -1).double()
        mean, std = flat.mean(1).float(), flat.std(1).float()
        _check_stats(batch, mean, std, f"a batch of the shape {(n, c, h, w)}")


def test_the_spread_between_the_images_counts():
    """In each channel, half of the images are lighter by s, and in each image half of the pixels are lighter by t."""
    n, h, w = 8, 6, 10
    image = torch.tensor([1.0, -1.0]).repeat(n // 2).view(n, 1, 1, 1)
    order = torch.randperm(h * w, generator=torch.Generator().manual_seed(0))
    pixel = torch.tensor([1.0, -1.0]).repeat(h * w // 2)[order].view(1, 1, h, w)
    s, t, middle = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ([0.03, 0.12, 0.08], [0.04, 0.05, 0.15], [0.2, 0.5, 0.7])
    )
    batch = middle + s * image + t * pixel
    mean, std = torch.tensor([0.2, 0.5, 0.7]), torch.tensor([0.05, 0.13, 0.17])  # 3 4 5, 5 12 13, 8 15 17
    _check_stats(batch, mean, std, "dark and light images")
