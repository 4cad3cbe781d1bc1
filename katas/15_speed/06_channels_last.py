"""A layout, not a shape

A batch of images has the shape (N, C, H, W): images, channels, rows, columns. In memory it lies in the same order: the
whole red image, then the whole green one. Many convolutions, on a GPU above all, run faster if the channels of each
pixel lie side by side, as in a photo file. PyTorch calls that the memory format `torch.channels_last`.

It changes no shape and no index: x[n, c, h, w] is the same number as before. Only the strides change, the steps in
memory from one index to the next. For (2, 3, 4, 5) they are (60, 20, 5, 1), and in channels_last (60, 1, 15, 3): the
next channel is 1 number away. `x.to(memory_format=torch.channels_last)` copies x into that order, and
`model.to(memory_format=torch.channels_last)` does so with each weight of four dimensions (with a Conv3d it raises).
`permute(0, 2, 3, 1)` does something else: it gives another shape, and the next layer takes the rows for channels.

A convolution whose input or weight is in channels_last gives its output in channels_last; so it is passed on from layer
to layer. Two things don't like it. `x.view(N, -1)` raises, because no strides can describe the result: reshape and
flatten copy where they must, and always read in the order of the indices. And a plain x.contiguous() brings the old
order back, without a word. `x.is_contiguous()` asks for the old order too: name the other with memory_format=.

What is asked here: images and models in channels_last, the way back to rows, and a question about strides. All sizes
C, H and W are above 1 (with C = 1 both orders are the same).

About 20 minutes. Before it: view_or_copy, lenet_shapes.
Path: first_day

https://docs.pytorch.org/docs/stable/tensor_attributes.html#torch-memory-format
"""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def to_nhwc(x: torch.Tensor) -> torch.Tensor:
    """`x` (N, C, H, W), of any dtype and however it lies, in channels_last: the same shape, dtype and numbers.

    `x` itself keeps its strides; gradients flow back to it. Where it is in channels_last already, the result may be x.
    """
    raise NotImplementedError("the same numbers, with the channels of a pixel side by side")


def prepare(model: nn.Module) -> nn.Module:
    """The model with the weight of each of its 2-d convolutions, at any depth, in channels_last; all else as it was.

    The same names, values, dtypes and modes, and what was frozen still is. (Other tensors of four dimensions may be in
    either order.) Whether it is `model` itself or a copy is yours to choose.
    """
    raise NotImplementedError("bring the weights of the convolutions into channels_last")


def flatten_batch(x: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), of any dtype and in any memory format -> (N, C*H*W): one row for each image.

    In the order of the indices: the first channel, row by row, then the second. `x` stays as it is, gradients flow back
    to it.
    """
    raise NotImplementedError("one row for each image, channel by channel")


def is_nhwc(x: torch.Tensor) -> bool:
    """Is `x` (N, C, H, W), a batch of whole images and no crop of larger ones, in channels_last?

    True or False, Python's own. Memory that goes column by column is not in channels_last, even where the channels of
    each pixel lie side by side.
    """
    raise NotImplementedError("ask for the memory format")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_LAST = torch.channels_last
_SIGNS = {
    "view size is not compatible": "view raised on a batch in channels_last: no strides describe these rows, so a copy "
    "is needed",
    "rank 4": "channels_last is for four dimensions only: a bias or the weight of a Linear has fewer",
    "leaf Variable": "a tensor that requires a gradient was edited in place",
    "received an invalid combination|memory_format|Memory format": "the memory format has to be named: memory_format=",
}


def _images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Images whose numbers are all different, and not exact in a narrower dtype."""
    numbers = torch.arange(torch.Size(shape).numel()).view(shape)
    return (numbers.double() / 7).to(dtype) if dtype.is_floating_point else (numbers + 2**24 + 1).to(dtype)


def _layouts(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same images in memory in four orders."""
    turned = x.transpose(2, 3)
    return {
        "contiguous": x,
        "in channels_last": x.contiguous(memory_format=_LAST),
        "stored by columns": turned.contiguous().transpose(2, 3),
        "stored by columns, its channels side by side": turned.contiguous(memory_format=_LAST).transpose(2, 3),
    }


def _to_nhwc(x: torch.Tensor, case: str) -> Any:
    __tracebackhide__ = True
    said = f"to_nhwc changed the images that it was given ({case})"
    with explain(f"to_nhwc raised on images {case}", _SIGNS), unchanged(said, x=x):
        out = to_nhwc(x)
    assert isinstance(out, torch.Tensor), f"to_nhwc returns a tensor, got {type(out).__name__}"
    return out


def _check_gradient(x: torch.Tensor, out: torch.Tensor, what: str) -> None:
    __tracebackhide__ = True
    assert out.requires_grad, f"{what} hangs on no graph: no gradient can flow back to the images"
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    (grad,) = torch.autograd.grad((out * weights).sum(), x)
    check_tensor(grad, weights.reshape(x.shape), f"the gradient of the images through {what}")


@pytest.mark.myth(
    says="For channels_last, permute the images to (N, H, W, C), as TensorFlow has them.",
    today="The shape stays (N, C, H, W), and so do all indices; only the strides are others.",
)
def test_channels_last_keeps_shape_and_values():
    for shape in ((2, 3, 4, 5), (1, 4, 3, 2), (3, 3, 3, 3)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.uint8):
            images = _images(*shape, dtype=dtype)
            for case, x in _layouts(images).items():
                out = _to_nhwc(x, case)
                n, c, h, w = shape
                turned = (n, h, w, c) != shape and out.shape == (n, h, w, c)
                assert not turned, f"images {shape} came back as {(n, h, w, c)}: that is another shape, not a layout"
                check_tensor(out, images, f"images {shape}, {case}: x[n, c, h, w] is the same number as before")
    x = _images(2, 3, 4, 5).requires_grad_()
    _check_gradient(x, _to_nhwc(x, "that require a gradient"), "to_nhwc")


def test_channels_last_puts_the_channels_of_a_pixel_side_by_side():
    for shape, want in (((2, 3, 4, 5), (60, 1, 15, 3)), ((4, 2, 3, 7), (42, 1, 14, 2)), ((2, 2, 2, 2), (8, 1, 4, 2))):
        for case, x in _layouts(_images(*shape)).items():
            strides = _to_nhwc(x, case).stride()
            old = strides == x.contiguous().stride()
            assert not old, f"images {shape}, {case}: strides {strides}, as in the order (N, C, H, W); expected {want}"
            assert strides == want, f"images {shape}, {case}, in channels_last have strides {want}, got {strides}"
    x = _images(1, 3, 4, 5)
    single = _to_nhwc(x, "contiguous, a single one")
    assert single.is_contiguous(memory_format=_LAST), f"a single image: strides {single.stride()} are not channels_last"


class _Net(nn.Module):
    """Convolutions at several depths, beside layers that have no weight of four dimensions."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 6, (2, 3)))
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), inner)
        self.up = nn.ConvTranspose2d(6, 2, 3)
        self.head = nn.Linear(2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.up(self.features(x)).mean((2, 3)))


def _prepare(model: nn.Module) -> Any:
    __tracebackhide__ = True
    with explain("prepare raised", _SIGNS):
        out = prepare(model)
    assert out is not None, "prepare returned None: it returns the model"
    assert isinstance(out, nn.Module), f"prepare returns the model, got {type(out).__name__}"
    return out


def test_a_convolution_with_a_channels_last_weight_passes_the_layout_on():
    torch.manual_seed(0)
    model, x = _Net().double(), torch.randn(2, 3, 7, 8, dtype=torch.float64)
    model.up.weight.requires_grad_(False)
    model.features[1].eval()
    before, want = copy.deepcopy(model), copy.deepcopy(model)(x).detach()
    for made in (1, 2):
        model = _prepare(model)
        params = dict(model.named_parameters())
        names = [name for name, _ in before.named_parameters()]
        assert list(params) == names, f"the parameters were {names}, prepare made them {list(params)}"
        for name, old in before.named_parameters():
            p = params[name]
            check_tensor(p.detach(), old.detach(), f"{name} has other strides at most, not another shape or value")
            assert p.requires_grad == old.requires_grad, (
                f"{name}.requires_grad was {old.requires_grad}, now {p.requires_grad}"
            )
            there = p.dim() != 4 or p.is_contiguous(memory_format=_LAST)
            assert there, f"{name} {tuple(p.shape)} has strides {p.stride()}: it is not in channels_last"
        for (name, old), new in zip(before.named_modules(), model.modules(), strict=True):
            assert old.training == new.training, f"the mode of {name or 'the model'} changed: training={new.training}"
        with explain("the prepared model raised on images"):
            y = copy.deepcopy(model)(x)
            features = copy.deepcopy(model).features(x.contiguous(memory_format=_LAST))
        last = features.is_contiguous(memory_format=_LAST)
        assert last, f"the output of the two convolutions has strides {features.stride()}: not channels_last"
        check_tensor(
            y.detach(), want, f"the prepared model (call {made}) computes what it did before", rtol=1e-9, atol=1e-12
        )


@pytest.mark.myth(
    says="If view raises, call contiguous() first, or permute until it fits.",
    today="reshape and flatten copy only where they must, and read by index; permute changes the order of the numbers.",
)
def test_flatten_reads_by_index_whatever_the_layout():
    for shape in ((2, 3, 4, 5), (1, 2, 3, 2), (3, 3, 3, 3)):
        n, c, h, w = shape
        for dtype in (torch.float32, torch.float64, torch.int64):
            images = _images(*shape, dtype=dtype)
            want = _images(n, c * h * w, dtype=dtype)
            wide = torch.stack([images, images], dim=4)[..., 0]  # there are gaps between its numbers
            for case, x in {**_layouts(images), "cut out of a larger tensor": wide}.items():
                with explain(f"flatten_batch raised on images {case}", _SIGNS):
                    with unchanged("flatten_batch changed the images", x=x):
                        out = flatten_batch(x)
                pixels = images.permute(0, 2, 3, 1).reshape(n, -1)
                by_pixel = isinstance(out, torch.Tensor) and torch.equal(out, pixels)
                assert not by_pixel, f"images {shape}, {case}: in the order of the pixels, all channels of one together"
                check_tensor(out, want, f"images {shape}, {case}: one row for each, the first channel first")
    x = _images(2, 3, 4, 5).contiguous(memory_format=_LAST).requires_grad_()
    with explain("flatten_batch raised on images that require a gradient", _SIGNS):
        out = flatten_batch(x)
    _check_gradient(x, out, "flatten_batch")


def test_is_contiguous_asks_for_one_layout_at_a_time():
    shapes = ((2, 3, 4, 5), (1, 5, 2, 3), (2, 2, 2, 2), (5, 64, 3, 3))
    for shape in shapes:
        for dtype in (torch.float32, torch.uint8):
            for case, x in _layouts(_images(*shape, dtype=dtype)).items():
                want = case == "in channels_last"
                with explain(f"is_nhwc raised on images {case}", _SIGNS), unchanged("is_nhwc changed the images", x=x):
                    out = is_nhwc(x)
                assert out is not None, "is_nhwc returned None: it says True or False"
                said = f"images {shape}, {case}, with strides {x.stride()}: expected {want}, got {out!r}"
                assert out == want, said
                assert out is want, f"{said}; Python's own True and False are asked"
    part = _images(4, 3, 2, 5).contiguous(memory_format=_LAST)[1:3]
    assert is_nhwc(part) is True, "two images out of a batch in channels_last are in channels_last too"
