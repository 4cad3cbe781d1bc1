"""How many numbers come out of a convolution

"mat1 and mat2 shapes cannot be multiplied (1x400 and 576x120)": the first Linear after the convolutions has to know how
many numbers an image has become. A kernel of size k slides over i pixels in steps of s (stride), over a border of p
zeros on both sides (padding), its k points d pixels apart (dilation). So it spans d·(k-1)+1 pixels, and it fits

    floor((i + 2p - d·(k-1) - 1) / s) + 1

times. What does not fill a whole step is left out: pooling rounds down too. `nn.Conv2d(1, 6, 3)` has the stride 1,
`nn.MaxPool2d(2)` and `F.max_pool2d(x, 2)` have the stride 2, and halve: 7, 8, 9 become 3, 4, 4.

Between convolutions and Linear layers each image is made one row: `x.flatten(1)` keeps dimension 0, the batch. A bare
`x.flatten()` mixes the images. And `x.view(-1, 576)` keeps nothing: it cuts all numbers into rows of 576, so that 144
images of 28×28 become 100 rows, without an error, and the error comes later, or never. Say the batch, `flatten(1)`.

`print(net)` lists the layers in the order in which `__init__` assigned them. It does not know what forward does.

What is asked here: the formula, and the LeNet of the classic tutorial for images and kernels of any size.

About 20 minutes. Before it: view_or_copy, registration.
Path: first_day

https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
"""

import math
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def conv_out(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    """How many positions a kernel of size `k` has on `i` pixels: stride `s`, padding `p` on both sides, dilation `d`.

    The kernel fits at least once. The result is an int, the size that nn.Conv2d and nn.MaxPool2d give.
    """
    raise NotImplementedError("the size of what comes out")


class LeNet(nn.Module):
    """Ten numbers (no softmax) for each image of `size` × `size` pixels with one channel; kernels of `k` × `k`.

    conv1 (nn.Conv2d, 1 channel -> 6, no padding), ReLU, max-pooling by 2; conv2 (6 -> 16), ReLU, max-pooling by 2; each
    image as one row; fc1 (nn.Linear, -> 120), ReLU; fc2 (-> 84), ReLU; fc3 (-> 10). These five have a weight and a
    bias, and nothing else is a parameter. The LeNet of 1998, with tanh for ReLU and averages for the maximum, is as
    good.
    """

    def __init__(self, size: int, k: int) -> None:
        """`LeNet(32, 3)` is the tutorial's: there fc1 takes 16·6·6 = 576 numbers."""
        raise NotImplementedError("make the layers conv1, conv2, fc1, fc2, fc3")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 1, size, size) -> (n, 10), for each n from 1 on; `x` and the modes of the model stay as they are.

        Images that become another number of features than fc1 takes raise an error (of any class).
        """
        raise NotImplementedError("send the images through the layers")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    r"before Module\.__init__\(\) call": "call super().__init__() first: before it, nothing can be registered",
    r"shapes cannot be multiplied \(1x|, vec \(": "fc1 got one row for the whole batch: the batch dimension is lost",
    "shapes cannot be multiplied|size mismatch|is invalid for": "fc1 takes another number of features than it gets",
    "to have 1 channels|to have 3 channels": "the images have one channel",
}

# Guesses at conv_out that people make, by what they leave out.
_SLIPS = {
    "the dilation is not counted": lambda i, k, s, p, d: (i + 2 * p - k) // s + 1,
    "the padding is counted once, it is on both sides": lambda i, k, s, p, d: (i + p - d * (k - 1) - 1) // s + 1,
    "it is rounded up": lambda i, k, s, p, d: math.ceil((i + 2 * p - d * (k - 1) - 1) / s) + 1,
    "the first position, + 1, is missing": lambda i, k, s, p, d: (i + 2 * p - d * (k - 1) - 1) // s,
    "the stride is not counted": lambda i, k, s, p, d: i + 2 * p - d * (k - 1),
}


class _OtherOrder(nn.Module):
    """The layers of a LeNet, assigned from the last to the first."""

    def __init__(self, net: Any):
        super().__init__()
        self.fc3, self.fc2, self.fc1, self.conv2, self.conv1 = net.fc3, net.fc2, net.fc1, net.conv2, net.conv1

    def forward(self, x, act=torch.relu, pool=F.max_pool2d, act_first=True):
        for conv in (self.conv1, self.conv2):
            x = F.conv2d(x, conv.weight, conv.bias)  # (n, channels, height, width)
            x = pool(act(x), 2) if act_first else act(pool(x, 2))
        x = x.reshape(len(x), -1)  # (n, features)
        x = act(F.linear(x, self.fc1.weight, self.fc1.bias))
        x = act(F.linear(x, self.fc2.weight, self.fc2.bias))
        return F.linear(x, self.fc3.weight, self.fc3.bias)


def _net(size, k) -> Any:
    """LeNet(size, k), with five layers of these names."""
    __tracebackhide__ = True
    with explain(f"LeNet({size}, {k}) raised", _SIGNS):
        net = LeNet(size, k)
    assert isinstance(net, nn.Module), f"LeNet makes an nn.Module, here it made a {type(net).__name__}"
    assert "_modules" in vars(net), "call super().__init__() first: without it nothing can be registered"
    lazy = [name for name, p in net.named_parameters() if nn.parameter.is_lazy(p)]
    assert not lazy, f"{', '.join(lazy)} has no size before the first images come: LeNet knows their size already"
    for name in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        layer = getattr(net, name, None)
        assert isinstance(layer, nn.Module), f"LeNet has no layer {name}"
        assert isinstance(getattr(layer, "weight", None), torch.Tensor), f"the layer {name} has no weight"
    return net


def _run(net, x, what) -> Any:
    __tracebackhide__ = True
    with explain(f"{what} raised on images of {x.shape[-1]} pixels", _SIGNS):
        with unchanged("x is the caller's, and forward does not change the model", x=x, net=net):
            out = net(x)
    assert isinstance(out, torch.Tensor), f"forward returns a tensor, got {type(out).__name__}"
    assert tuple(out.shape) == (len(x), 10), f"{len(x)} images become {(len(x), 10)}, got {tuple(out.shape)}"
    return out


def _rows(net, images):
    """How many rows come out, None where an error does."""
    try:
        return len(net(images))
    except Exception:  # of any class, says the docstring
        return None


def test_a_kernel_fits_a_whole_number_of_times():
    grid = [(i, k, s, p, d) for i, k, s, p, d in product((7, 8, 9, 28), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2, 3))]
    grid = [(i, k, s, p, d) for i, k, s, p, d in grid if d * (k - 1) + 1 <= i + 2 * p]
    wanted = [
        F.conv2d(
            torch.zeros(1, 1, i, 1, device="meta"),
            torch.zeros(1, 1, k, 1, device="meta"),
            stride=(s, 1),
            padding=(p, 0),
            dilation=(d, 1),
        ).shape[2]
        for i, k, s, p, d in grid
    ]
    with explain("conv_out raised"):
        got = [conv_out(i, k, s=s, p=p, d=d) for i, k, s, p, d in grid]
    kinds = {type(n).__name__ for n in got}
    assert kinds == {"int"}, f"sizes are of type int, nn.Linear takes no other: got {', '.join(sorted(kinds))}"
    slips = [said for said, slip in _SLIPS.items() if got == [slip(*case) for case in grid] != wanted]
    for case, n, want in zip(grid, got, wanted, strict=True):
        arguments = ", ".join(f"{name}={value}" for name, value in zip("ikspd", case, strict=True))
        because = ": " + ", ".join(slips) if slips else ""
        assert n == want, f"conv_out({arguments}): nn.Conv2d gives {want}, got {n}{because}"
    with explain("conv_out(i, k, s, p, d), in this order, raised"):
        in_order = [conv_out(*case) for case in grid]
    assert in_order == got, "conv_out(i, k, s, p, d) takes them in this order"
    with explain("conv_out raised"):
        plain, pools = conv_out(28, 5), [conv_out(i, 2, s=2) for i in (7, 8, 9)]
    assert plain == 24, f"conv_out(28, 5), with stride 1, no padding, dilation 1: expected 24, got {plain}"
    assert pools == [3, 4, 4], f"pooling by 2 makes 3, 4, 4 of 7, 8, 9 pixels: it rounds down; got {pools}"


@pytest.mark.parametrize(
    ("size", "k", "features"),
    [(32, 3, 576), (32, 5, 400), (28, 5, 256), (29, 3, 400), (30, 4, 400), (40, 3, 1024)],
    ids=["32 pixels, k 3", "32 pixels, k 5", "28 pixels, k 5", "29 pixels, k 3", "30 pixels, k 4", "40 pixels, k 3"],
)
def test_the_first_linear_must_know_the_number_of_features(size, k, features):
    net = _net(size, k)
    named = [name for name, _ in net.named_parameters()]
    assert len(named) == 10, f"five layers have 10 parameters, a weight and a bias each, got {len(named)}: {named}"
    takes = tuple(net.fc1.weight.shape)
    assert takes == (120, features), (
        f"fc1 of LeNet({size}, {k}) takes {features} numbers, gives 120: its weight is {(120, features)}, got {takes}"
    )
    rest = {"conv1": (6, 1, k, k), "conv2": (16, 6, k, k), "fc2": (84, 120), "fc3": (10, 84)}
    for name, shape in rest.items():
        is_ = tuple(getattr(net, name).weight.shape)
        assert is_ == shape, f"the weight of {name} is {shape}, got {is_}"
    other = _net(size + 8, k)
    for n in (2, 1):
        _run(net, torch.ones(n, 1, size, size), f"LeNet({size}, {k}), beside a LeNet({size + 8}, {k})")
        _run(other, torch.ones(n, 1, size + 8, size + 8), f"LeNet({size + 8}, {k})")


@pytest.mark.myth(
    says="x.view(-1, 576) makes one row of each image.",
    today="It cuts all numbers into rows of 576, across images: 144 images can become 100 rows. flatten(1) keeps them.",
)
def test_view_with_minus_one_makes_other_rows_of_other_images():
    images = torch.linspace(-1, 1, 144 * 28 * 28).view(144, 1, 28, 28)
    _run(_net(28, 3), images, "LeNet(28, 3)")
    for size in (32, 40):
        net = _net(size, 3)
        with explain(f"LeNet({size}, 3) raised on images of {size} pixels", _SIGNS):
            net(torch.ones(2, 1, size, size))
        rows = _rows(net, images)
        assert rows != 100, f"LeNet({size}, 3) made 100 rows of 144 images of 28 pixels: that is view(-1, 576)"
        assert rows is None, (
            f"144 images of 28 pixels are 400 numbers each, and fc1 takes {net.fc1.weight.shape[1]}: that must be an "
            f"error, and {rows} rows came out"
        )


@pytest.mark.myth(
    says="print(net) shows how the data flows through the network.",
    today="It shows the layers in the order in which __init__ assigned them; what forward does is not in it.",
)
def test_print_shows_the_order_of_assignment_and_not_of_forward():
    net = _net(32, 3).double()
    turned = _OtherOrder(net)
    shown = [line.split(":")[0].strip(" (").rstrip(")") for line in str(turned).splitlines()[1:-1]]
    assert shown == ["fc3", "fc2", "fc1", "conv2", "conv1"], "print lists what __init__ assigned first, first"
    with torch.no_grad():
        for p in net.parameters():  # larger than at the start, so that no ReLU is without effect
            p.copy_(torch.sin(7.3 * torch.arange(1.0, 1 + p.numel(), dtype=torch.float64)).view_as(p) * 0.3)
    x = 20 * torch.sin(12.9 * torch.arange(3.0 * 32 * 32, dtype=torch.float64)).view(3, 1, 32, 32)
    want = turned(x)
    got = _run(net, x, "LeNet(32, 3)")
    assert not torch.equal(got, want.clamp(min=0)), "no negative output: there is a ReLU after fc3"
    for name, last in {"softmax": torch.softmax, "log_softmax": torch.log_softmax}.items():
        assert not torch.allclose(got, last(want, 1)), f"forward ends with a {name}, and the raw numbers are asked"
    steps = "conv1, ReLU, pool, conv2, ReLU, pool, one row an image, fc1, ReLU, fc2, ReLU, fc3"
    for choice in product((torch.relu, torch.tanh, torch.sigmoid), (F.max_pool2d, F.avg_pool2d), (True, False)):
        other = turned(x, *choice)
        want = other if got.shape == other.shape and torch.allclose(got, other, rtol=1e-8, atol=1e-10) else want
    check_tensor(got, want, f"other numbers came out than those of {steps}", rtol=1e-8, atol=1e-10)
    with explain("backward raised"):
        (got * torch.arange(1.0, 11)).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert not without, f"no gradient came to {', '.join(without)}"


def test_an_image_does_not_see_the_others_of_its_batch():
    net = _net(28, 5)
    images = torch.sin(12.9 * torch.arange(5.0 * 28 * 28)).view(5, 1, 28, 28) + torch.arange(5.0).view(5, 1, 1, 1)
    together = _run(net, images, "LeNet(28, 5)").detach()
    for i in range(5):
        alone = _run(net, images[i : i + 1], "LeNet(28, 5)").detach()
        said = f"each image counts for itself: image {i} alone gives what it gives among five"
        check_tensor(alone[0], together[i], said, rtol=1e-4, atol=1e-5)
