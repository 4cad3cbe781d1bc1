"""From pixels to floats: reference.

Hint: Follow one pixel: which axes does an array of the image have, and where does each of them go?
Hint: `np.array` takes a PIL image as well as an array; `permute`, `unsqueeze`, and `mean` and `std` with several dims.
Hint: Give a grey array a last axis of length 1, then all images go the same way: move the last axis to the front, make
it float, and only then divide.

Why: Whatever the dtype of the array, a pixel means value / 255; a function that decides by dtype or by the maximum of
the image gets one of them wrong. Statistics of a channel are taken over images and pixels together: the mean of
standard deviations leaves out how images differ from each other, so what is normalized by it spreads too far. Compute
them on the training set only, and use the same numbers in validation.
"""

import numpy as np
import torch
from PIL import Image

from dojo import Mistake


def to_float_image(image: Image.Image | np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image))
    if pixels.ndim == 2:
        pixels = pixels.unsqueeze(-1)
    return pixels.permute(2, 0, 1).float() / 255


def channel_stats(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return batch.mean(dim=(0, 2, 3)), batch.std(dim=(0, 2, 3))


def _pixels(image):
    pixels = torch.from_numpy(np.array(image))
    return pixels if pixels.ndim == 3 else pixels.unsqueeze(-1)


def _not_scaled(image):
    return to_float_image(image) * 255


def _first_the_division(image):
    """Integers, rounded down."""
    return (_pixels(image) // 255).permute(2, 0, 1).float()


def _by_256(image):
    return to_float_image(image) * 255 / 256


def _float64(image):
    return to_float_image(image).double()


def _from_minus_one(image):
    return (to_float_image(image) - 0.5) / 0.5


def _bytes(image):
    return _pixels(image).permute(2, 0, 1)


def _channels_last(image):
    return _pixels(image).float() / 255


def _reshaped(image):
    pixels = _pixels(image)
    return pixels.reshape(pixels.shape[2], *pixels.shape[:2]).float() / 255


def _wide_before_high(image):
    """permute(2, 1, 0)"""
    return _pixels(image).permute(2, 1, 0).float() / 255


def _mirrored_shape(image):
    """A PIL image's size is (W, H)."""
    x = to_float_image(image)
    return x.reshape(x.shape[0], x.shape[2], x.shape[1]) if isinstance(image, Image.Image) else x


def _blue_first(image):
    return to_float_image(image).flip(0)


def _no_channel_for_grey(image):
    return (
        to_float_image(image).squeeze(0)
        if isinstance(image, Image.Image) and image.mode == "L"
        else (to_float_image(image))
    )


def _squeezed(image):
    return to_float_image(image).squeeze()


def _grey_as_rgb(image):
    return to_float_image(image.convert("RGB") if isinstance(image, Image.Image) else image)


def _all_grey(image):
    return to_float_image(Image.fromarray(np.array(image).astype("uint8")).convert("L"))


def _batch_of_one(image):
    return to_float_image(image).unsqueeze(0)


def _by_the_maximum(image):
    x = to_float_image(image)
    return x / x.max().clamp(min=1e-9)


def _from_lowest_to_highest(image):
    x = to_float_image(image)
    return (x - x.min()) / (x.max() - x.min() + 1e-9)


def _stretched(image):
    """As ImageOps.autocontrast does it, for PIL images."""
    return _from_lowest_to_highest(image) if isinstance(image, Image.Image) else to_float_image(image)


def _guessed(image):
    """An image that begins with 1 or 3 is taken for one with the channels first."""
    pixels = _pixels(image)
    return pixels.float() / 255 if pixels.shape[0] in (1, 3) and pixels.shape[2] == 3 else to_float_image(image)


def _only_above_one(image):
    x = to_float_image(image) * 255
    return x / 255 if x.max() > 1 else x


def _only_uint8(image):
    x = to_float_image(image)
    return x * 255 if isinstance(image, np.ndarray) and image.dtype != np.uint8 else x


def _by_the_largest_of_its_dtype(image):
    pixels = _pixels(image)
    return pixels.permute(2, 0, 1).float() / torch.iinfo(pixels.dtype).max


def _int64_as_it_is(image):
    """As ToTensor does it."""
    pixels = _pixels(image).permute(2, 0, 1)
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels


def _a_parameter(image):
    return to_float_image(image).requires_grad_()


def _in_place(image):
    x = to_float_image(image)
    if isinstance(image, np.ndarray):
        image //= 255
    return x


def _an_array(image):
    return to_float_image(image).numpy()


def _no_arrays(image):
    return to_float_image(image.convert(image.mode))


def _of_all(batch):
    return batch.mean(), batch.std()


def _of_all_for_each(batch):
    return batch.mean().expand(batch.shape[1]), batch.std().expand(batch.shape[1])


def _of_each_image(batch):
    return batch.mean(dim=(2, 3)), batch.std(dim=(2, 3))


def _kept(batch):
    return batch.mean(dim=(0, 2, 3), keepdim=True), batch.std(dim=(0, 2, 3), keepdim=True)


def _mean_of_the_stds(batch):
    return batch.mean(dim=(0, 2, 3)), batch.std(dim=(2, 3)).mean(0)


def _from_image_to_image(batch):
    return batch.mean(dim=(0, 2, 3)), batch.std(dim=0).mean(dim=(1, 2)) if len(batch) > 1 else batch.std(dim=(0, 2, 3))


def _of_the_image_means(batch):
    return batch.mean(dim=(0, 2, 3)), batch.mean(dim=(2, 3)).std(0)


def _of_the_first_image(batch):
    return batch[0].mean(dim=(1, 2)), batch[0].std(dim=(1, 2))


def _variance(batch):
    return batch.mean(dim=(0, 2, 3)), batch.var(dim=(0, 2, 3))


def _std_first(batch):
    return torch.std_mean(batch, dim=(0, 2, 3))


def _reshaped_rows(batch):
    """Channels and images are mixed: reshape moves no axis."""
    rows = batch.reshape(batch.shape[1], -1)
    return rows.mean(1), rows.std(1)


def _other_axes(batch):
    rows = batch.transpose(0, 1).flatten(1)
    return rows.mean(1), batch.std(dim=(1, 2, 3)).mean().expand(batch.shape[1])


def _centered(batch):
    mean = batch.mean(dim=(0, 2, 3))
    batch -= mean.view(-1, 1, 1)
    return mean, (batch**2).mean(dim=(0, 2, 3)).sqrt()


def _three_channels(batch):
    channels = [batch[:, c] for c in range(3)]
    return torch.stack([x.mean() for x in channels]), torch.stack([x.std() for x in channels])


def _squeezed_stats(batch):
    return batch.mean(dim=(0, 2, 3)).squeeze(), batch.std(dim=(0, 2, 3)).squeeze()


def _learned(batch):
    return tuple(x.clone().requires_grad_() for x in channel_stats(batch))


def _pairs(batch):
    return [(batch[:, c].mean(), batch[:, c].std()) for c in range(batch.shape[1])]


_GREY = "test_a_grey_image_has_one_channel"
_FIRST = "test_the_channels_come_first"
_DARK = "test_a_dark_picture_stays_dark"
_INT64 = "test_an_int64_array_is_the_same_picture"
_EACH = "test_each_channel_has_its_own_mean_and_std"
_SPREAD = "test_the_spread_between_the_images_counts"

_DIVIDED = "each value should be that of the image, divided by 255"
_SCRAMBLED = "the wrong pixels: no axis was moved"

MISTAKES = [
    Mistake("was not scaled: the maximum is 255.0", caught_by=_FIRST, to_float_image=_not_scaled),
    Mistake(_DIVIDED, caught_by=_FIRST, to_float_image=_first_the_division),
    Mistake(_DIVIDED, caught_by=_FIRST, to_float_image=_by_256),
    Mistake(_DIVIDED, caught_by=_FIRST, to_float_image=_from_minus_one),
    Mistake("the result should be float32, not torch.float64", caught_by=_FIRST, to_float_image=_float64),
    Mistake("the result should be float32, not torch.uint8", caught_by=_FIRST, to_float_image=_bytes),
    Mistake(
        "C, H, W is (3, 5, 7), the result has the shape (5, 7, 3)", caught_by=_FIRST, to_float_image=_channels_last
    ),
    Mistake(_SCRAMBLED, caught_by=_FIRST, to_float_image=_reshaped),
    Mistake("C, H, W is (3, 5, 7)", caught_by=_FIRST, to_float_image=_wide_before_high),
    Mistake("C, H, W is (3, 5, 7)", caught_by=_FIRST, to_float_image=_mirrored_shape),
    Mistake("C, H, W is (3, 5, 7)", caught_by=_FIRST, to_float_image=_batch_of_one),
    Mistake("C, H, W is (3, 5, 7)", caught_by=_FIRST, to_float_image=_all_grey),
    Mistake(_DIVIDED, caught_by=_FIRST, to_float_image=_blue_first),
    Mistake(
        "a tensor, for an RGB PIL image, 5 high and 7 wide it returned", caught_by=_FIRST, to_float_image=_an_array
    ),
    Mistake("to_float_image raised on a uint8 array", caught_by=_FIRST, to_float_image=_no_arrays),
    Mistake("C, H, W is (1, 16, 16)", caught_by=_GREY, to_float_image=_no_channel_for_grey),
    Mistake("C, H, W is (1, 16, 16)", caught_by=_GREY, to_float_image=_squeezed),
    Mistake("C, H, W is (1, 16, 16)", caught_by=_GREY, to_float_image=_grey_as_rgb),
    Mistake(_DIVIDED, caught_by=_DARK, to_float_image=_by_the_maximum),
    Mistake(_DIVIDED, caught_by=_DARK, to_float_image=_from_lowest_to_highest),
    Mistake(_DIVIDED, caught_by=_DARK, to_float_image=_stretched),
    Mistake(_SCRAMBLED, caught_by=_FIRST, to_float_image=_guessed),
    Mistake("was not scaled: the maximum is 1.0, for 1", caught_by=_DARK, to_float_image=_only_above_one),
    Mistake("int64 array with values from 0 to 255 was not scaled", caught_by=_INT64, to_float_image=_only_uint8),
    Mistake("the result should be float32, not torch.int64", caught_by=_INT64, to_float_image=_int64_as_it_is),
    Mistake("it was divided by far more than 255", caught_by=_INT64, to_float_image=_by_the_largest_of_its_dtype),
    Mistake("a picture is data", caught_by=_FIRST, to_float_image=_a_parameter),
    Mistake("was changed, it is the caller's", caught_by=_INT64, to_float_image=_in_place),
    Mistake("a number for each channel", caught_by=_EACH, channel_stats=_of_all),
    Mistake("a number for each channel", caught_by=_EACH, channel_stats=_of_each_image),
    Mistake("a number for each channel", caught_by=_EACH, channel_stats=_kept),
    Mistake("a number for each channel", caught_by=_EACH, channel_stats=_three_channels),
    Mistake("a number for each channel", caught_by=_EACH, channel_stats=_squeezed_stats),
    Mistake("mean requires a gradient", caught_by=_EACH, channel_stats=_learned),
    Mistake("the mean of each channel", caught_by=_EACH, channel_stats=_of_all_for_each),
    Mistake("the mean of each channel", caught_by=_EACH, channel_stats=_reshaped_rows),
    Mistake("the standard deviation of each channel", caught_by=_EACH, channel_stats=_other_axes),
    Mistake("std came first, and mean second", caught_by=_EACH, channel_stats=_std_first),
    Mistake("that is the variance", caught_by=_EACH, channel_stats=_variance),
    Mistake("the batch is the caller's", caught_by=_EACH, channel_stats=_centered),
    Mistake("channel_stats returns mean and std, here it returned 3", caught_by=_EACH, channel_stats=_pairs),
    Mistake("that is the spread inside the images", caught_by=_SPREAD, channel_stats=_mean_of_the_stds),
    Mistake("the standard deviation of each channel", caught_by=_SPREAD, channel_stats=_from_image_to_image),
    Mistake("the standard deviation of each channel", caught_by=_SPREAD, channel_stats=_of_the_image_means),
    Mistake("the mean of each channel", caught_by=_SPREAD, channel_stats=_of_the_first_image),
]
