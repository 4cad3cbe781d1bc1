"""Behind the view: strides, an offset, and why two rows weigh 4 MB.

A tensor is four things: a *storage* (one flat block of numbers), a shape, and the two that say where in the block an
element lies: a *storage offset*, the place of the first element, and a *stride* for each dimension, the number of
places from one element to the next. Slicing and transposing change only these; the block stays. Whoever knows the
strides can do tricks with them: all overlapping windows of a signal can be seen without copying a single number.
`x.unfold(dimension, size, step)` does it, or `x.as_strided(shape, strides, offset)`, which takes any strides and checks
little.

The other side: a small view keeps its whole block alive. `torch.save(big[:2])` writes *all* of `big`, since views that
share memory shall still share it after loading; a checkpoint of two rows weighed 4 MB, and people have reported it for
years. `big[:2].contiguous()` does not help (rows are contiguous already, so it returns the same tensor), nor does
`copy.deepcopy` (it copies the whole block). You need a copy of the values that you see, and of nothing else.

Positions and strides are counted in elements, not in bytes: `x.stride()`, `x.storage_offset()`, `x.untyped_storage()`.

About 30 minutes. Before it: view_or_copy.
Path: numpy

https://docs.pytorch.org/docs/stable/generated/torch.Tensor.stride.html
"""

import numbers

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, shares_memory, unchanged


def offset(x: torch.Tensor, *index: int) -> int:
    """The place of the element `x[index]` in the storage of `x`, in elements; one index >= 0 for each dimension."""
    raise NotImplementedError("compute where in its storage an element lies")


def windows(x: torch.Tensor, k: int) -> torch.Tensor:
    """All windows of `k` neighbours of a 1-D `x` of n >= k elements: (n-k+1, k), a view that shares memory with `x`."""
    raise NotImplementedError("show every window of x without a copy")


def compact(x: torch.Tensor) -> torch.Tensor:
    """A copy of `x` (same shape, dtype and exact values) whose storage holds the elements of `x` and nothing else."""
    raise NotImplementedError("copy x, but not the block behind it")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _primes(*shape: int) -> torch.Tensor:
    """Numbers from which nobody can read off a place."""
    return torch.tensor(
        [2.0, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89]
    ).view(shape)


def _check_place(x: torch.Tensor, index: tuple[int, ...], want: int) -> None:
    with explain(f"offset raised on x {tuple(x.shape)} with strides {x.stride()} and the index {list(index)}"):
        with unchanged("offset must not change x", x=x):
            place = offset(x, *index)
    assert isinstance(place, numbers.Integral), f"expected an int, got {place!r}"
    where = (
        f"x {tuple(x.shape)} of {x.dtype} with strides {x.stride()} and offset {x.storage_offset()}: "
        f"x{list(index)} lies at {want}"
    )
    row_major = 0
    for i, size in zip(index, x.shape, strict=True):
        row_major = row_major * size + i
    in_bytes = place == want * x.element_size() != want
    assert not in_bytes, f"{where}, got {place}: that is in bytes, places are counted in elements"
    no_start = place == want - x.storage_offset() != want
    assert not no_start, f"{where}, got {place}: the view does not begin at the start of its storage"
    shape_only = place in (row_major, row_major + x.storage_offset()) and place != want
    assert not shape_only, f"{where}, got {place}: you counted along the rows, as if the shape told the place"
    assert place == want, f"{where}, got {place}"


def test_strides_and_not_the_shape_say_where_an_element_lies():
    x = _primes(4, 6)
    _check_place(x, (2, 1), 13)
    _check_place(x.t(), (2, 1), 8)
    _check_place(_primes(2, 3, 4).permute(2, 0, 1), (3, 1, 2), 23)


def test_a_slice_begins_somewhere_in_the_storage_of_the_whole():
    x = _primes(4, 6).double()
    _check_place(x[1:, 2:], (2, 1), 21)
    _check_place(x[1::2, 1::3].t(), (1, 1), 22)
    _check_place(torch.ones(4, 6)[2], (3,), 15)
    _check_place(_primes(24)[3:9].expand(2, 6), (1, 2), 5)  # a dimension that was expanded has stride 0


@pytest.mark.parametrize("k", [1, 3, 6], ids=["windows of one", "windows of 3", "one window of all 6"])
def test_windows_overlap_in_the_same_memory(k):
    x = _primes(24)[:6].clone()
    want = torch.tensor([[x[i + j].item() for j in range(k)] for i in range(7 - k)])
    with explain(f"windows(x, {k}) raised on 6 numbers"), unchanged("windows must leave x itself as it is", x=x):
        out = windows(x, k)
    rows = out.tolist() if isinstance(out, torch.Tensor) else None
    side_by_side = k > 1 and rows == want[::k].tolist() != want.tolist()
    assert not side_by_side, f"your windows stand side by side: from one to the next is one step, not {k}"
    missing = rows == want[:-1].tolist()
    assert not missing, f"a window is missing: 6 - {k} + 1 windows, the last one ends with the last number"
    check_tensor(out, want, f"6 numbers have {7 - k} windows of {k}")
    assert shares_memory(out, x), "you copied the windows: all of them can be seen in the memory of x"


def test_windows_of_a_slice_step_as_the_slice_steps():
    base = _primes(24)
    x = base[1:11:2]
    with explain("windows(x, 2) raised on x = base[1:11:2], every second number of something"):
        out = windows(x, 2)
    neighbours = isinstance(out, torch.Tensor) and out.tolist() == [[3, 5], [5, 7], [7, 11], [11, 13]]
    assert not neighbours, "you walked through the memory by 1, but the next element of x is 2 places on"
    check_tensor(out, torch.tensor([[3.0, 7], [7, 13], [13, 19], [19, 29]]), "windows of base[1:11:2]")
    assert shares_memory(out, base), "you copied: the windows of a slice can be seen in its memory too"


def _behind(x: torch.Tensor) -> tuple[object, ...]:
    block = x.untyped_storage()
    return block.data_ptr(), block.nbytes(), x.shape, x.stride(), x.storage_offset()


def _check_compact(x: torch.Tensor, name: str) -> None:
    want, size = torch.tensor(x.tolist(), dtype=x.dtype), x.numel() * x.element_size()
    before = _behind(x)
    with explain(f"compact raised on {name}"), unchanged(f"compact must not change {name}", x=x):
        out = compact(x)
    stays = _behind(x) == before
    assert stays, f"compact changed {name} itself: it and the block behind it stay, the copy is another tensor"
    check_tensor(out, want, f"compact({name}) has the values of {name}")
    kept = f"{name} shows {size} bytes"
    held = out.untyped_storage().nbytes()
    assert not shares_memory(out, x), (
        f"{kept}, and you returned the memory of x, {held} bytes: was there a copy at all?"
    )
    whole = held == x.untyped_storage().nbytes() != size
    assert not whole, f"{kept}, but you copied the whole block behind it: {held} bytes"
    assert held == size, f"{kept}, but your copy holds {held} bytes"


def test_two_rows_keep_the_whole_block_alive():
    big = torch.arange(1000.0, dtype=torch.float64) / 10
    _check_compact(big[:2], "big[:2] (float64)")


def test_a_column_is_spread_over_the_whole_block():
    big = torch.arange(2000.0).view(200, 10)
    _check_compact(big[:, 3], "big[:, 3] (float32)")
    _check_compact(big.t()[2:4], "two columns of big (float32)")
    _check_compact(big[7:9, 3:5], "a corner of big (float32)")


def test_a_copy_is_a_copy_even_if_nothing_can_be_saved():
    _check_compact(torch.tensor([[0, 1, 2], [3, 4, 2**53 + 1]]), "a whole tensor (int64)")
    _check_compact(torch.tensor([[True, False], [False, False]]), "a whole tensor (bool)")
