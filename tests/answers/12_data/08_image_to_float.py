"""Answers that people give to image_to_float, right ones and wrong ones."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import transforms
from torchvision.transforms import v2

from dojo import Mistake


def _by_v2(image):
    if isinstance(image, np.ndarray):
        image = image.astype(np.uint8)
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(image)


def _by_to_tensor(image):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image.astype("uint8"))
    return transforms.ToTensor()(image)


def _by_deprecated_v2(image):
    return v2.ToTensor()(np.asarray(image).astype(np.uint8))


def _read_only(image):
    """np.asarray of a PIL image is read-only: torch warns."""
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[:, :, None]
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def _by_numpy(image):
    array = np.atleast_3d(np.array(image, dtype=np.float32)) / 255.0
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _by_hand(image):
    if isinstance(image, Image.Image):
        channels = len(image.getbands())
        data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, channels)
    else:
        data = torch.tensor(image.tolist())
    return torch.stack([data[..., c] for c in range(data.shape[-1])]) * torch.tensor(1 / 255)


def _as_in_2017(image):
    """torch.ByteTensor and views, size (W, H), then two transposes."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.uint8(image))
    bytes_ = torch.ByteTensor(list(image.tobytes()))
    img = bytes_.view(image.size[1], image.size[0], len(image.mode))
    return img.transpose(0, 1).transpose(0, 2).contiguous().float().div(255)


def _pixel_by_pixel(image):
    rows = np.array(image).tolist()
    grey = not isinstance(rows[0][0], list)
    channels = 1 if grey else len(rows[0][0])
    out = torch.zeros(channels, len(rows), len(rows[0]))
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            for c in range(channels):
                out[c, y, x] = (value if grey else value[c]) / 255.0
    return out


def _split_and_stacked(image):
    """PIL splits the channels itself; an array is divided as it is."""
    if isinstance(image, Image.Image):
        bands = [torch.from_numpy(np.array(band)) for band in image.split()]
    else:
        bands = list(torch.as_tensor(image.copy()).unbind(-1))
    return (torch.stack(bands) / 255).to(torch.float)


def _stats_welford(batch):
    """Image by image, as with a loader."""
    total, squares, count = 0, 0, 0
    for image in batch:
        total = total + image.sum(dim=[1, 2])
        squares = squares + (image**2).sum(dim=[1, 2])
        count += image[0].numel()
    mean = total / count
    return mean, torch.sqrt(squares / count - mean**2)


def _stats_in_float64(batch):
    b = batch.double()
    mean = b.mean((0, 2, 3))
    return mean, ((b - mean[None, :, None, None]) ** 2).mean((0, 2, 3)).sqrt()


def _stats_by_squares(batch):
    mean = batch.mean(dim=[0, 2, 3])
    return mean, ((batch**2).mean(dim=[0, 2, 3]) - mean**2) ** 0.5


def _stats_reversed(batch):
    std, mean = torch.std_mean(batch, dim=(0, 2, 3), correction=0)
    return [mean, std]


def _stats_by_loop(batch):
    channels = [batch[:, c].flatten() for c in range(batch.size(1))]
    return torch.stack([x.mean() for x in channels]), torch.stack([x.std() for x in channels])


def _stats_by_numpy(batch):
    array = batch.numpy()
    return torch.from_numpy(array.mean(axis=(0, 2, 3))), torch.from_numpy(array.std(axis=(0, 2, 3)))


def _stats_by_flattening(batch):
    rows = batch.permute(1, 0, 2, 3).reshape(batch.shape[1], -1)
    return rows.mean(dim=1), rows.std(dim=1, unbiased=False)


def _stats_by_lists(batch):
    mean, std = _stats_by_loop(batch)
    return torch.tensor(mean.tolist()), torch.tensor(std.tolist())


def _stats_of_the_images(batch):
    """From the statistics of each image: the variances and the spread of the means."""
    mean, var = batch.mean((2, 3)), batch.var((2, 3), correction=0)
    return mean.mean(0), (var.mean(0) + mean.var(0, correction=0)).sqrt()


RIGHT = [
    {"to_float_image": _by_v2, "channel_stats": _stats_in_float64},
    {"to_float_image": _by_to_tensor, "channel_stats": _stats_by_squares},
    {"to_float_image": _by_deprecated_v2, "channel_stats": _stats_reversed},
    {"to_float_image": _read_only, "channel_stats": _stats_by_loop},
    {"to_float_image": _by_numpy, "channel_stats": _stats_by_numpy},
    {"to_float_image": _by_hand, "channel_stats": _stats_by_flattening},
    {"to_float_image": _as_in_2017, "channel_stats": _stats_welford},
    {"to_float_image": _pixel_by_pixel, "channel_stats": _stats_by_lists},
    {"to_float_image": _split_and_stacked},
    {"channel_stats": _stats_of_the_images},
]


def _bare_to_tensor(image):
    return transforms.ToTensor()(image)


def _to_tensor_and_float(image):
    return transforms.ToTensor()(image).float()


def _v2_without_scale(image):
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)])(image)


def _v2_by_dtype(image):
    return v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(image)


def _v2_on_a_tensor(image):
    """ToImage permutes no tensor."""
    return _by_v2(torch.from_numpy(np.atleast_3d(np.array(image)).astype("uint8")))


def _dtype_alone(image):
    return v2.ToDtype(torch.float32, scale=True)(image)


def _normalized(image):
    return v2.functional.normalize(_by_v2(image), [0.5], [0.5])


def _minmax(image):
    x = _by_v2(image)
    low, high = x.amin(), x.amax()
    return (x - low) / (high - low).clamp(min=1e-6)


def _if_needed(image):
    x = torch.from_numpy(np.atleast_3d(np.array(image))).permute(2, 0, 1).float()
    if x.max() > 1.0:
        x = x / 255.0
    return x


def _viewed(image):
    array = np.array(image)
    h, w = array.shape[:2]
    return torch.from_numpy(array).float().view(-1, h, w) / 255


def _float_default(image):
    array = np.atleast_3d(np.array(image)) / 255
    return torch.tensor(array).permute(2, 0, 1)


def _grey_lost(image):
    array = np.array(image).astype(np.float32) / 255
    return torch.from_numpy(array if array.ndim == 2 else array.transpose(2, 0, 1))


def _always_rgb(image):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image.astype("uint8"))
    return transforms.ToTensor()(image.convert("RGB"))


def _transposed(image):
    return torch.from_numpy(np.atleast_3d(np.array(image)).T.copy()).float() / 255


def _opencv(image):
    array = np.atleast_3d(np.array(image))[..., ::-1].copy()
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def _autocontrast(image):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image.astype("uint8"))
    return transforms.ToTensor()(ImageOps.autocontrast(image))


def _channels_where_they_seem_to_be(image):
    array = np.atleast_3d(np.array(image))
    x = torch.from_numpy(array).float() / 255
    return x if x.shape[0] in (1, 3) else x.permute(2, 0, 1)


def _with_a_batch(image):
    return _by_v2(image)[None]


def _rgb_only(batch):
    mean, std = torch.zeros(3), torch.zeros(3)
    for c in range(3):
        mean[c], std[c] = batch[:, c].mean(), batch[:, c].std()
    return mean, std


def _pixel_std(batch):
    return batch.mean(0).mean((1, 2)), batch.std(0, correction=0).mean((1, 2))


def _running(batch):
    """The old loop of the forums: means of images, means of their standard deviations."""
    mean, std = torch.zeros(batch.shape[1]), torch.zeros(batch.shape[1])
    for image in batch:
        for c in range(len(image)):
            mean[c] += image[c].mean()
            std[c] += image[c].std()
    return mean / len(batch), std / len(batch)


def _mean_variance(batch):
    flat = batch.view(batch.size(0), batch.size(1), -1)
    return flat.mean(2).mean(0), flat.var(2).mean(0).sqrt()


def _half(image):
    """Rounded to float16 on the way."""
    return _by_v2(image).half().float()


def _pil_only(image):
    return transforms.functional.pil_to_tensor(image).float() / 255


def _clamped(image):
    """The range is right, and all is white."""
    return _by_v2(image).mul(255).clamp(0, 1)


def _size_of_pil(image):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image.astype("uint8"))
    array = np.array(image).reshape(image.size[0], image.size[1], -1)
    return torch.from_numpy(array).permute(2, 0, 1).float() / 255


def _last_channel_first(image):
    """swapaxes moves two axes: H and W change places."""
    return torch.from_numpy(np.atleast_3d(np.array(image)).swapaxes(0, 2).copy()).float() / 255


def _whole_mean_in_std(batch):
    mean = batch.mean((0, 2, 3))
    return mean, ((batch - batch.mean()) ** 2).mean((0, 2, 3)).sqrt()


def _var_mean(batch):
    var, mean = torch.var_mean(batch, dim=(0, 2, 3))
    return mean, var


def _standard_error(batch):
    mean, std = batch.mean((0, 2, 3)), batch.std((0, 2, 3))
    return mean, std / (batch.numel() / batch.shape[1]) ** 0.5


def _around_the_image(batch):
    """Each image around its own mean: how images differ is lost."""
    own = batch - batch.mean((2, 3), keepdim=True)
    return batch.mean((0, 2, 3)), (own**2).mean((0, 2, 3)).sqrt()


def _absolute(batch):
    mean = batch.mean((0, 2, 3), keepdim=True)
    return mean.flatten(), (batch - mean).abs().mean((0, 2, 3))


def _dim_one(batch):
    return batch.mean(1), batch.std(1)


def _viewed_stats(batch):
    flat = batch.view(batch.size(1), -1)
    return flat.mean(-1), flat.std(-1)


_DIVIDED = "each value should be that of the image, divided by 255"

WRONG = [
    Mistake("the result should be float32, not torch.int64", caught_by="", to_float_image=_bare_to_tensor),
    Mistake("int64 array with values from 0 to 255 was not scaled", caught_by="", to_float_image=_to_tensor_and_float),
    Mistake("was not scaled: the maximum is 255.0", caught_by="", to_float_image=_v2_without_scale),
    Mistake("it was divided by far more than 255", caught_by="", to_float_image=_v2_by_dtype),
    Mistake("C, H, W is (1, 16, 16)", caught_by="", to_float_image=_v2_on_a_tensor),
    Mistake("a tensor, for an RGB PIL image, 5 high and 7 wide it returned", caught_by="", to_float_image=_dtype_alone),
    Mistake(_DIVIDED, caught_by="", to_float_image=_normalized),
    Mistake(_DIVIDED, caught_by="", to_float_image=_minmax),
    Mistake("was not scaled: the maximum is 1.0, for 1", caught_by="", to_float_image=_if_needed),
    Mistake("the wrong pixels: no axis was moved", caught_by="", to_float_image=_viewed),
    Mistake("the result should be float32, not torch.float64", caught_by="", to_float_image=_float_default),
    Mistake("C, H, W is (1, 16, 16)", caught_by="", to_float_image=_grey_lost),
    Mistake("C, H, W is (1, 16, 16)", caught_by="", to_float_image=_always_rgb),
    Mistake("C, H, W is (3, 5, 7)", caught_by="", to_float_image=_transposed),
    Mistake(_DIVIDED, caught_by="", to_float_image=_opencv),
    Mistake(_DIVIDED, caught_by="", to_float_image=_autocontrast),
    Mistake("the wrong pixels: no axis was moved", caught_by="", to_float_image=_channels_where_they_seem_to_be),
    Mistake("C, H, W is (3, 5, 7)", caught_by="", to_float_image=_with_a_batch),
    Mistake("a number for each channel", caught_by="", channel_stats=_rgb_only),
    Mistake("the standard deviation of each channel", caught_by="", channel_stats=_pixel_std),
    Mistake("that is the spread inside the images", caught_by="", channel_stats=_running),
    Mistake("that is the spread inside the images", caught_by="", channel_stats=_mean_variance),
    Mistake(_DIVIDED, caught_by="", to_float_image=_half),
    Mistake("to_float_image raised on a uint8 array", caught_by="", to_float_image=_pil_only),
    Mistake(_DIVIDED, caught_by="", to_float_image=_clamped),
    Mistake("C, H, W is (3, 5, 7)", caught_by="", to_float_image=_size_of_pil),
    Mistake("C, H, W is (3, 5, 7)", caught_by="", to_float_image=_last_channel_first),
    Mistake("the standard deviation of each channel", caught_by="", channel_stats=_whole_mean_in_std),
    Mistake("that is the variance", caught_by="", channel_stats=_var_mean),
    Mistake("the standard deviation of each channel", caught_by="", channel_stats=_standard_error),
    Mistake("that is the spread inside the images", caught_by="", channel_stats=_around_the_image),
    Mistake("the standard deviation of each channel", caught_by="", channel_stats=_absolute),
    Mistake("a number for each channel", caught_by="", channel_stats=_dim_one),
    Mistake("the mean of each channel", caught_by="", channel_stats=_viewed_stats),
]
