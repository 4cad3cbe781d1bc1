"""Shape words: counting values, and the squeeze that eats your batch.

Welcome! Every kata is a file like this one: a short lesson, a few functions for you to write, and tests that tell you
what PyTorch really does. Replace each `raise NotImplementedError(...)` by your own code, save, and run `pytest` again.

A tensor is a box of numbers, and its *shape* says how the numbers are laid out. `x.shape` of (4, 1, 28, 28) may mean
4 images, 1 colour channel, 28 rows, 28 columns; by custom the batch comes first. `x.size()` is the same shape again,
and `x.numel()` is the number of values. Take care: in NumPy `x.size` is that number, but in torch `x.size` is a
method. Without its brackets it is never equal to anything, and nobody tells you.

A dimension of size 1 holds no information, so people drop it with `squeeze`. It has two traps, and both are silent.
`x.squeeze()` drops *every* dimension of size 1: the day when a single image comes, the batch dimension goes too.
`x.squeeze(1)` drops only dimension 1, but where that dimension has 3 values it does nothing at all.

Stuck? `pytest --kata-hint` gives one hint at a time. Make the first function right, then the next one.

About 15 minutes.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/generated/torch.squeeze.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, unchanged


def n_values(x: torch.Tensor) -> int:
    """How many values `x` of any shape and dtype holds, as a Python int: (2, 3) holds 6, () holds 1, (0, 3) holds 0."""
    raise NotImplementedError("count the values of x")


def batch_size(x: torch.Tensor) -> int:
    """How many samples the batch `x` of shape (B, ...) holds, as a Python int: its dimension 0."""
    raise NotImplementedError("return the size of dimension 0")


def drop_channel(x: torch.Tensor) -> torch.Tensor:
    """Grey images (B, 1, H, W) -> (B, H, W), with the values and dtype of `x`, which stays as it is. B, H, W may be 1.

    ValueError or RuntimeError if `x` has more than one channel.
    """
    raise NotImplementedError("take the channel dimension away, or refuse")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _check_count(got: object, want: int, sentence: str) -> None:
    __tracebackhide__ = True
    if callable(got):
        name = getattr(got, "__name__", "it")
        why = "in torch x.size is not a number, it is a method" if name == "size" else f"{name} was not called"
        raise AssertionError(f"you returned a method: {why}")
    if isinstance(got, tuple):
        raise AssertionError(f"you returned a shape, {got!r}: one number was asked for")
    if isinstance(got, torch.Tensor):
        raise AssertionError(f"you returned a tensor, {got!r}: a Python int was asked for")
    if type(got) is not int:
        raise AssertionError(f"expected a Python int, got {got!r}, of type {type(got).__name__}")
    if got != want:
        raise AssertionError(f"{sentence}: expected {want}, got {got}")


def _are_ints(*got: object) -> bool:
    return all(isinstance(n, int) for n in got)


def _images(*shape: int) -> torch.Tensor:
    return torch.arange(1.0, 1 + torch.Size(shape).numel()).view(shape)


@pytest.mark.myth(
    says="The size of a tensor is NumPy's shape; you can use one for the other.",
    today="x.size() is the shape, x.size without brackets is a method, and NumPy's x.size is the number of values.",
)
def test_a_shape_is_not_a_count():
    with explain("n_values raised on a tensor of shape (2, 3) or (4, 2, 3)"):
        two, three = n_values(torch.zeros(2, 3)), n_values(torch.zeros(4, 2, 3))
        window, wide = n_values(torch.zeros(7, 2, 3)[:4]), n_values(torch.zeros(4, 2, 3, dtype=torch.float64))
        odd = n_values(torch.tensor([float("nan"), 0.0, 1.0]))
    likely = {(2, 4): "len(x) is only its dimension 0", (2, 3): "that counts dimensions", (5, 9): "that is the sum"}
    why = likely.get((two, three), "how many values are that?") if _are_ints(two, three) else ""
    _check_count(two, 6, f"x.shape is (2, 3), {why}")
    _check_count(three, 24, "every dimension counts, however many there are")
    _check_count(odd, 3, "NaN and 0 are values too, and three are three, whatever they are")
    _check_count(wide, 24, "24 values are 24 values in float64 too, where each has 8 bytes")
    _check_count(
        window, 24, "a slice of shape (4, 2, 3) shares a larger memory, which is not its own: count by its shape"
    )


@pytest.mark.parametrize(("shape", "want"), [((), 1), ((0, 3), 0)], ids=["no dimension", "no value"])
def test_a_tensor_may_have_no_dimension_or_no_value(shape, want):
    """torch.tensor(7.0) has no dimension and one value: len() refuses it. A batch of 0 samples is a tensor too."""
    where = {"0-d tensor|index out of range": f"shape {shape} is one to count too: it has no dimension 0"}
    with explain(f"n_values raised on a tensor of shape {shape}", where):
        n = n_values(torch.zeros(shape))
    _check_count(n, want, f"a tensor of shape {shape} holds {want} value{'s' * (want != 1)}")


@pytest.mark.parametrize(
    "shape",
    [(5, 2, 3), (1, 7), (6,), (0, 4)],
    ids=["a batch of 5", "one row of 7 values", "a batch of 6 numbers", "an empty batch"],
)
def test_dimension_0_is_the_batch(shape):
    with explain(f"batch_size raised on a tensor of shape {shape}"):
        n = batch_size(torch.zeros(shape))
    _check_count(n, shape[0], f"the batch size of {shape} is its dimension 0")


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8], ids=["float64", "uint8"])
def test_a_dimension_of_size_1_can_go_without_moving_a_value(dtype):
    x = (_images(4, 1, 2, 3).double() * 10 / 3).to(dtype)
    if dtype == torch.float64:
        x[0, 0, 0, :2] = torch.tensor([-0.1, torch.nan])
    want = x.clone()[:, 0]
    with (
        explain("drop_channel raised on a tensor of shape (4, 1, 2, 3)"),
        unchanged("drop_channel must leave x itself as it is", x=x),
    ):
        out = drop_channel(x)
    check_tensor(out, want, "4 grey images of 2 x 3 come out as (4, 2, 3), with the same values and dtype")


def test_a_batch_of_one_image_is_still_a_batch():
    x = _images(1, 1, 2, 3)
    want = x.clone()[:, 0]
    with explain("drop_channel raised on a batch of one image, of shape (1, 1, 2, 3)"):
        out = drop_channel(x)
    lost = isinstance(out, torch.Tensor) and out.shape == (2, 3)
    assert not lost, "the batch dimension is gone too: one image is still a batch, and squeeze() drops every 1 it finds"
    check_tensor(out, want, "1 grey image of 2 x 3 comes out as (1, 2, 3)")


def test_an_image_of_one_pixel_keeps_its_rows_and_columns():
    x = _images(2, 1, 1, 1)
    want = x.clone()[:, 0]
    with explain("drop_channel raised on images of one pixel, of shape (2, 1, 1, 1)"):
        out = drop_channel(x)
    lost = isinstance(out, torch.Tensor) and out.dim() < 3
    assert not lost, "rows or columns are gone too: only the channel dimension may go"
    check_tensor(out, want, "2 grey images of 1 x 1 come out as (2, 1, 1)")


@pytest.mark.parametrize(
    "shape", [(4, 3, 5, 6), (4, 2, 5, 6), (1, 3, 1, 6)], ids=["3 channels", "2 channels", "3 channels of one row"]
)
def test_squeeze_does_nothing_to_a_dimension_of_size_3(shape):
    x, channels = _images(*shape), shape[1]
    said = f"{channels} channels cannot be dropped: raise ValueError or RuntimeError, don't return something"
    with raises((ValueError, RuntimeError), _what_came(x) + said):
        drop_channel(x.clone())


def _what_came(x: torch.Tensor) -> str:
    """What drop_channel does to images in colour, as a first line for the message."""
    b, c = x.shape[:2]
    try:
        out = drop_channel(x.clone())
    except AssertionError:
        return "an assert is no check for callers: python -O leaves it out\n"
    except Exception:
        return ""  # of the right class or of a wrong one: `raises` looks
    if isinstance(out, Exception):
        return "you returned an error: one has to be raised\n"
    if not isinstance(out, torch.Tensor):
        return ""
    if out.shape == x.shape:
        return f"{c} channels are still there, squeeze(1) on a size-{c} dim does nothing: raise ValueError instead\n"
    if out.tolist() == x[:, 0].tolist():
        return "you kept one colour and lost the others, without a word: raise ValueError instead\n"
    if out.shape == (b * c, *x.shape[2:]):
        return f"B was {b}, you returned {tuple(out.shape)}: {c} channels became images: raise ValueError instead\n"
    return ""
