"""Right answers in other styles, and known mistakes written in another way."""

import copy
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dojo import Mistake


def _numpy(drawing):
    """By Pillow and NumPy, as many a web page does it."""
    from PIL import Image

    x = drawing.numpy()
    rows, columns = np.any(x, axis=1), np.any(x, axis=0)
    top, bottom = np.where(rows)[0][[0, -1]]
    left, right = np.where(columns)[0][[0, -1]]
    ink = Image.fromarray(x[top : bottom + 1, left : right + 1])
    scale = 20 / max(ink.size)
    width, height = (max(1, int(n * scale + 0.5)) for n in ink.size)
    small = np.asarray(ink.resize((width, height), Image.Resampling.BOX), dtype=np.float64)
    centre_y = (small.sum(1) * np.arange(height)).sum() / small.sum()
    centre_x = (small.sum(0) * np.arange(width)).sum() / small.sum()
    y = int(np.clip(np.floor(14 - centre_y + 0.5), 0, 28 - height))
    x = int(np.clip(np.floor(14 - centre_x + 0.5), 0, 28 - width))
    image = np.zeros((28, 28), dtype=np.uint8)
    image[y : y + height, x : x + width] = np.rint(small)
    return torch.from_numpy(image)


def _adaptive(drawing):
    """adaptive_avg_pool2d, which takes images without a batch; pad puts the ink in its place."""
    box = _boxed(drawing)
    h, w = box.shape
    size = (20, max(1, round(20 * w / h))) if h >= w else (max(1, round(20 * h / w)), 20)
    small = functional.adaptive_avg_pool2d(box[None].double(), size)[0]
    places = [torch.arange(n, dtype=torch.float64) for n in size]
    where = []
    for dim, n in enumerate(size):
        centre = float(small.sum(1 - dim) @ places[dim] / small.sum())
        where.append(int(min(28 - n, max(0, round(14 - centre)))))
    (top, left), (height, width) = where, size
    return functional.pad(small, (left, 28 - width - left, top, 28 - height - top)).round().byte()


def _by_the_large_ink(drawing):
    """The centre of mass of the large ink, brought to the new size as the middles of pixels are."""
    box = _boxed(drawing).double()
    size = [max(1, round(20 * n / max(box.shape))) for n in box.shape]
    small = functional.interpolate(box[None, None], size=size, mode="area")[0, 0]
    where = []
    for dim, (old, new) in enumerate(zip(box.shape, size, strict=True)):
        centre = (box.sum(1 - dim) @ (torch.arange(old) + 0.5).double() / box.sum()).item() * new / old - 0.5
        where.append(min(max(round(14 - centre), 0), 28 - new))
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[where[0] : where[0] + size[0], where[1] : where[1] + size[1]] = small.round().byte()
    return image


def _boxed(drawing):
    inked_rows = [i for i, row in enumerate(drawing.tolist()) if any(row)]
    inked_columns = [j for j in range(drawing.shape[1]) if drawing[:, j].any()]
    return drawing[inked_rows[0] : inked_rows[-1] + 1, inked_columns[0] : inked_columns[-1] + 1]


def _v2(drawing):
    """torchvision's resize with antialias (a triangle rather than a box), cut off at 255."""
    from torchvision.transforms import v2

    y, x = drawing.nonzero().T
    ink = drawing[y.min() : y.max() + 1, x.min() : x.max() + 1][None].float()
    longer = max(ink.shape)
    size = [max(1, round(side * 20 / longer)) for side in ink.shape[1:]]
    small = v2.functional.resize(ink, size, antialias=True)[0].clamp(0, 255)
    mass = small.sum()
    shifts = []
    for dim in (0, 1):
        steps = torch.arange(size[dim])
        middle = (small.sum(1 - dim) * steps).sum() / mass
        shifts.append(int((14 - middle).round().clamp(0, 28 - size[dim])))
    out = torch.zeros(28, 28)
    out[shifts[0] : shifts[0] + size[0], shifts[1] : shifts[1] + size[1]] = small
    return out.round().to(torch.uint8)


def _read_with_v2(net, drawing):
    """With torchvision's Normalize, and inference_mode."""
    from torchvision.transforms import v2

    if int(drawing.max()) == 0:
        return None
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.1307], [0.3081])])
    before = [module.training for module in net.modules()]
    net.eval()
    with torch.inference_mode():
        scores = net(steps(_v2(drawing)[None])[None])
    for module, was in zip(net.modules(), before, strict=True):
        module.training = was
    return int(scores[0].argmax())


def _read_by_hand(net, drawing):
    if drawing.count_nonzero() == 0:
        return None
    x = (_adaptive(drawing).reshape(1, 1, 28, 28).to(torch.float32) / 255.0).sub(0.1307).div(0.3081)
    eval_mode = {name: m.training for name, m in net.named_modules()}
    for m in net.modules():
        m.training = False
    with torch.no_grad():
        scores = net(x).squeeze(0).tolist()
    for name, m in net.named_modules():
        m.training = eval_mode[name]
    return scores.index(max(scores))


def _read_a_copy(net, drawing):
    if not drawing.any():
        return None
    with torch.no_grad():
        return int(copy.deepcopy(net).eval()(_prepared(_adaptive(drawing))[None, None]).argmax())


RIGHT = [
    {"like_mnist": _adaptive, "read_drawing": _read_a_copy},
    {"like_mnist": _numpy},
    {"like_mnist": _adaptive, "read_drawing": _read_by_hand},
    {"like_mnist": _v2, "read_drawing": _read_with_v2},
    {"like_mnist": _by_the_large_ink},
]


def _by_pillow(mode):
    def like_mnist(drawing):
        from PIL import Image

        box = _boxed(drawing)
        h, w = box.shape
        size = (max(1, round(20 * w / max(h, w))), max(1, round(20 * h / max(h, w))))
        small = torch.from_numpy(np.array(Image.fromarray(box.numpy()).resize(size, mode)))
        return _placed(small.double())

    return like_mnist


def _placed(small):
    where = []
    for dim in (0, 1):
        n = small.shape[dim]
        centre = (small.sum(1 - dim) * torch.arange(n)).sum() / small.sum()
        where.append(min(max(round(14 - centre.item()), 0), 28 - n))
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[where[0] : where[0] + small.shape[0], where[1] : where[1] + small.shape[1]] = small.round().to(torch.uint8)
    return image


def _every_nth(drawing):
    box = _boxed(drawing)
    step = max(1, -(-max(box.shape) // 20))
    return _placed(box[::step, ::step].double())


def _whole_paper(drawing):
    return functional.adaptive_avg_pool2d(drawing[None].double(), (28, 28))[0].round().byte()


def _in_the_middle(drawing):
    box = _boxed(drawing)
    h, w = box.shape
    size = [max(1, round(20 * n / max(h, w))) for n in (h, w)]
    small = functional.adaptive_avg_pool2d(box[None].double(), size)[0]
    top, left = (28 - size[0]) // 2, (28 - size[1]) // 2
    return functional.pad(small, (left, 28 - size[1] - left, top, 28 - size[0] - top)).round().byte()


def _by_a_scaled_centre(drawing):
    y, x = drawing.nonzero().double().T
    weights = drawing[drawing > 0].double() / drawing.sum()
    scale = 20 / max(_boxed(drawing).shape)
    small = _boxed(_adaptive(drawing)).double()
    begins = [round(14 - float(((at - at.min()) * weights).sum()) * scale) for at in (y, x)]
    top, left = (min(max(begin, 0), 28 - n) for begin, n in zip(begins, small.shape, strict=True))
    height, width = small.shape
    return functional.pad(small, (left, 28 - width - left, top, 28 - height - top)).byte()


def _as_a_photo(drawing):
    return _adaptive(255 - drawing) if (255 - drawing).any() else _adaptive(drawing)


def _square(drawing):
    small = functional.adaptive_avg_pool2d(_boxed(drawing)[None].double(), (20, 20))[0]
    return _placed(small)


def _halves(scale):
    def read_drawing(net, drawing):
        if not drawing.any():
            return None
        modes = [m.training for m in net.modules()]
        net.eval()
        with torch.no_grad():
            got = int(net(scale(_adaptive(drawing))[None, None]).argmax())
        for m, was in zip(net.modules(), modes, strict=True):
            m.training = was
        return got

    return read_drawing


def _never_empty(net: nn.Module, drawing):
    with torch.no_grad():
        net.eval()
        x = _adaptive(drawing) if drawing.any() else drawing.new_zeros(28, 28)
        return int(net((x[None, None].float() / 255 - 0.1307) / 0.3081).argmax())


def _small(drawing, size):
    return functional.adaptive_avg_pool2d(drawing[None].double(), size)[0]


def _scaled_to(drawing, longer):
    box = _boxed(drawing)
    return _placed(_small(box, [max(1, round(longer * n / max(box.shape))) for n in box.shape]))


def _shifted(drawing, rounding, middle=14):
    """The way to go, not rounded to the nearest."""
    small = _adaptive(drawing)
    small = _boxed(small).double()
    where = []
    for dim in (0, 1):
        n = small.shape[dim]
        centre = (small.sum(1 - dim) * torch.arange(n)).sum() / small.sum()
        where.append(min(max(rounding(middle - centre.item()), 0), 28 - n))
    top, left = where
    return functional.pad(small, (left, 28 - small.shape[1] - left, top, 28 - small.shape[0] - top)).byte()


def _picked(drawing):
    """One pixel out of the middle of what each new one covers."""
    box = _boxed(drawing)
    size = [max(1, round(20 * n / max(box.shape))) for n in box.shape]
    rows, columns = (((torch.arange(n) + 0.5) * old / n).long() for n, old in zip(size, box.shape, strict=True))
    return box[rows][:, columns].double()


def _prepared(image):
    return (image.float() / 255 - 0.1307) / 0.3081


def _ask(net, drawing, train=False):
    if not drawing.any():
        return None
    if train:
        net.train()
    with torch.no_grad():
        return net(_prepared(_adaptive(drawing))[None, None]).argmax().item()


WRONG = [
    Mistake("one or two old pixels were taken", caught_by="", like_mnist=_by_pillow(0)),
    Mistake("the longer side is to be 20", caught_by="", like_mnist=_every_nth),
    Mistake("look at the ink only", caught_by="", like_mnist=_whole_paper),
    Mistake("its box lies in the middle", caught_by="", like_mnist=_in_the_middle),
    Mistake("the corners of the image are inked", caught_by="", like_mnist=_as_a_photo),
    Mistake("both sides were stretched to 20", caught_by="", like_mnist=_square),
    Mistake("mean and spread were forgotten", caught_by="", read_drawing=_halves(lambda image: image.float().div(255))),
    Mistake("those are raw bytes", caught_by="", read_drawing=_halves(lambda image: image.to(torch.float32))),
    Mistake(
        "the net takes float32",
        caught_by="",
        read_drawing=_halves(lambda image: (torch.from_numpy(image.numpy() / 255) - 0.1307) / 0.3081),
    ),
    Mistake("expected None", caught_by="", read_drawing=_never_empty),
    Mistake("the corners of the image are inked", caught_by="", like_mnist=lambda x: ~_adaptive(x)),
    Mistake("look at the ink only", caught_by="", like_mnist=lambda x: _adaptive(x[:, : x.shape[0]])),
    Mistake("look at the ink only", caught_by="", like_mnist=lambda x: _placed(_small(x, (20, 20)))),
    Mistake("an image of MNIST is (28, 28)", caught_by="", like_mnist=lambda x: _adaptive(x)[None, None]),
    Mistake("an image of MNIST holds bytes", caught_by="", like_mnist=lambda x: _adaptive(x).float()),
    Mistake("an image of MNIST holds bytes", caught_by="", like_mnist=lambda x: _adaptive(x).int()),
    Mistake("the longer side is to be 20", caught_by="", like_mnist=lambda x: _scaled_to(x, 22)),
    Mistake("the longer side is to be 20", caught_by="", like_mnist=lambda x: _scaled_to(x, 16)),
    Mistake("round the way to go", caught_by="", like_mnist=lambda x: _shifted(x, math.ceil)),
    Mistake("round the way to go", caught_by="", like_mnist=lambda x: _shifted(x, math.trunc, 13)),
    Mistake("one or two old pixels were taken", caught_by="", like_mnist=lambda x: _placed(_picked(x))),
    Mistake("the mean of what they cover", caught_by="", like_mnist=lambda x: _adaptive(x).gt(9).byte() * 255),
    Mistake(
        "divide by 255 first", caught_by="", read_drawing=_halves(lambda image: image.float().sub(0.1307).div(0.3081))
    ),
    Mistake("that is the negative", caught_by="", read_drawing=_halves(lambda image: _prepared(255 - image))),
    Mistake(
        "the net was shown other numbers",
        caught_by="",
        read_drawing=_halves(lambda image: (image.float() - image.float().mean()) / image.float().std()),
    ),
    Mistake("asked in train mode", caught_by="", read_drawing=lambda net, x: _ask(net, x, train=True)),
    Mistake("read_drawing changed what it was given", caught_by="", read_drawing=lambda net, x: _ask(net.eval(), x)),
    Mistake(
        "grey ink is ink as well",
        caught_by="",
        like_mnist=lambda x: _adaptive(x * (x > 50)) if x.max() > 50 else _adaptive(x),
    ),
    Mistake("lie in another order", caught_by="", like_mnist=lambda x: _adaptive(x.rot90(2))),
    Mistake(
        "the longer side is to be 20",
        caught_by="",
        like_mnist=lambda x: _adaptive(x) if max(x.shape) > 28 else _whole_paper(x),
    ),
    Mistake("take the centre of the ink after it was brought", caught_by="", like_mnist=_by_a_scaled_centre),
    Mistake(
        "all above 0 is ink",
        caught_by="",
        read_drawing=lambda net, x: _read_a_copy(net, x) if x.count_nonzero() > 1 else None,
    ),
]
