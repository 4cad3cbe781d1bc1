"""Zero copies across libraries

NumPy, JAX, CuPy, PyArrow and PyTorch keep their numbers in the same way: a block of memory, a dtype, a shape, strides.
DLPack is the agreement by which they hand such a block over without a copy, on a GPU too. An object takes part if it
has two methods, `__dlpack__` and `__dlpack_device__`; nobody has to know its class. `torch.from_dlpack(x)` takes any
such object and gives a tensor on the same memory, with the same strides: a write on one side is seen on the other.

What you may have to pay for it: DLPack carries memory, and not the promises about it. NumPy can mark an array as
read-only (`a.flags.writeable` is False; files opened for reading are so, and what `np.broadcast_to` gives, where one
row stands for many). PyTorch knows no read-only tensors. `torch.from_numpy` at least warns, once; `from_dlpack` says
nothing, and your `t += 1` goes into the array that somebody wanted to protect. And NumPy walks backwards with negative
strides (`a[::-1]`), which no tensor has: newer versions raise, older ones (2.11 to 2.13) end the whole program.

The other way: `np.from_dlpack(t)` and `t.numpy()` give an array on the tensor's memory. Both refuse a tensor that
requires grad, as NumPy would write behind autograd's back. `detach()` gives a second tensor on the same memory that
does not require grad. `torch.from_dlpack(x, copy=True)` asks for a copy; `clone()` makes one.

What is asked here: take what others have, share or copy as it fits; give an array; and make a copy in any case.

About 25 minutes. Before it: view_or_copy, numpy_bridge.
Path: first_day

https://docs.pytorch.org/docs/stable/dlpack.html
"""

import faulthandler
import multiprocessing
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


def from_other(x: Any) -> torch.Tensor:
    """A tensor on the memory of `x`, with its dtype, shape and strides, and without a warning.

    `x` is any object with `__dlpack__` and `__dlpack_device__`; it may have no other method, and requires no gradient.
    Only a NumPy array that is read-only, or has negative strides, is copied: the tensor has memory of its own then, in
    which no two values share a place, and `x` stays as it is.
    """
    raise NotImplementedError("share the memory of x, or copy it where sharing does harm")


def to_numpy(t: torch.Tensor) -> np.ndarray:
    """An array on the memory of `t`, a tensor on the CPU with or without a graph, of a dtype that NumPy has.

    `t` stays as it is: its requires_grad, its graph, its gradient.
    """
    raise NotImplementedError("return an array that shares the memory of t")


def snapshot(x: Any) -> torch.Tensor:
    """A tensor with the values, dtype and shape of `x`, always in memory of its own, a place for each value.

    `x` is what from_other takes, and stays as it is.
    """
    raise NotImplementedError("return an independent copy of x")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_NEGATIVE = "an array with negative strides reached torch, which has none: copy it before"


class _Foreign:
    """What another library may hand over: nothing but DLPack's two methods, around a tensor."""

    def __init__(self, hidden: torch.Tensor) -> None:
        self._hidden = hidden

    def __dlpack__(self, *, copy: bool | None = None, **options: Any) -> Any:
        return (self._hidden.clone() if copy else self._hidden).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._hidden.__dlpack_device__()


def _grid(dtype: str) -> np.ndarray:
    return np.arange(24, dtype=dtype).reshape(4, 6) - 3


_WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda a: a,
    "transposed": lambda a: a.T,
    "stepped": lambda a: a[1:, ::2],
    "one column": lambda a: a[:, 2],
}


def _from_other(x: Any, what: str) -> torch.Tensor:
    """What from_other returns for `what`; no warning may come."""
    __tracebackhide__ = True
    signs = {"Storage size calculation overflowed|stride.*negative|negative stride": _NEGATIVE}
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch says much only once in a process
    try:
        with warnings.catch_warnings(record=True) as caught, explain(f"from_other raised on {what}", signs):
            warnings.simplefilter("always")
            got = from_other(x)
    finally:
        torch.set_warn_always(always)
    said = [str(warning.message).partition("\n")[0][:150] for warning in caught]
    assert not said, f"from_other of {what} warned: {said[0]}"
    assert isinstance(got, torch.Tensor), f"from_other returns a tensor; for {what} got {type(got).__name__}"
    return got


def _in_a_child(check: Callable[[], None], what: str) -> None:
    """Run `check` in a forked process, which may die of it; where a system cannot fork, here."""
    __tracebackhide__ = True
    if "fork" not in multiprocessing.get_all_start_methods():
        return check()
    context: Any = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_report, args=(check, theirs), daemon=True)
    child.start()
    theirs.close()
    try:
        stub, text = ours.recv() if ours.poll(20) else (False, f"{what} did not come back within 20 seconds")
    except EOFError:
        child.join()
        stub, text = False, f"{what} ended the whole program (exit code {child.exitcode}): {_NEGATIVE}"
    finally:
        child.kill()
        child.join()
        ours.close()
    if stub:
        raise NotImplementedError(text)
    assert not text, text


def _report(check: Callable[[], None], pipe: Any) -> None:
    faulthandler.disable()  # whose page of frames would be on the screen, should the process die
    try:
        check()
        said = (False, "")
    except BaseException as error:
        own = isinstance(error, AssertionError)
        said = (isinstance(error, NotImplementedError), str(error) if own else f"{type(error).__name__}: {error}")
    pipe.send(said)
    os._exit(0)


@pytest.mark.parametrize("dtype", ["float64", "int32"])
@pytest.mark.parametrize("window", list(_WINDOWS), ids=list(_WINDOWS))
def test_the_strides_travel_with_the_memory(window, dtype):
    a = _WINDOWS[window](_grid(dtype))
    want = torch.tensor(a)
    what = f"a {window} array of {dtype}" if window != "one column" else f"one column of an array of {dtype}"
    got = _from_other(a, what)
    copied = not shares_memory(got, a)
    assert not copied, f"{what} was copied: nothing stands against sharing its memory"
    check_tensor(got, want, f"from_other of {what}", strides=tuple(step // a.itemsize for step in a.strides))
    a[1] = 77
    want[1] = 77
    check_tensor(got, want, f"a write into {what} is not seen in the tensor")
    got[0] = -8
    assert (a[0] == -8).all(), f"a write into the tensor is not seen in {what}: {a.tolist()}"


@pytest.mark.myth(
    says="Libraries exchange capsules: from_dlpack(to_dlpack(x)).",
    today="from_dlpack takes the object itself and asks it; a capsule can be used only once.",
)
def test_two_methods_are_all_that_a_library_must_have():
    for what, hidden in (
        ("a foreign object", torch.arange(6, dtype=torch.float64).view(2, 3)),
        ("a foreign object with transposed float32 values", torch.arange(12.0).view(3, 4).t()),
        ("a foreign object of bool", torch.tensor([True, False, True])),
        ("a foreign object of int16", torch.arange(8, dtype=torch.int16)[::3]),
    ):
        want = hidden.clone()
        got = _from_other(_Foreign(hidden), what)
        copied = not shares_memory(got, hidden)
        assert not copied, f"{what} was copied: DLPack shares"
        check_tensor(got, want, f"from_other of {what}", strides=hidden.stride())
        hidden[1] = 50  # True, in a bool
        check_tensor(got, hidden, f"a write into {what} is not seen in the tensor")
    capsule = hidden.__dlpack__()
    torch.from_dlpack(capsule)
    with raises(RuntimeError, "a capsule was used twice", match="capsule"):
        torch.from_dlpack(capsule)


@pytest.mark.myth(
    says="NumPy's read-only flag protects an array from every write.",
    today="torch.from_dlpack overlooks the flag in silence: writes into the tensor go through.",
)
def test_a_read_only_array_is_not_written_through():
    locked, base = _grid("float64"), _grid("int32")
    locked.flags.writeable = False
    window = base[:, 1:].T
    window.flags.writeable = False
    mapped = _grid("float64").view(np.memmap)  # of a real one, read-only, a write would end the whole program
    mapped.flags.writeable = False
    row = np.array([1.0, 2.0, 3.0])
    for what, a in (
        ("a read-only array", locked),
        ("a read-only window on an array", window),
        ("a read-only memmap, a subclass of ndarray", mapped),
        ("an array from broadcast_to", np.broadcast_to(row, (4, 3))),
        ("an array from broadcast_to with columns repeated", np.broadcast_to(row[:, None], (3, 2))),
    ):
        want = torch.tensor(a.copy())
        got = _from_other(a, what)
        check_tensor(got, want, f"from_other of {what}")
        still = not a.flags.writeable
        assert still, f"{what} has become writeable: its flag belongs to those who set it"
        got[0, 0] += 100
        written = not np.array_equal(a, want.numpy())
        assert not written, f"from_other of {what}: you wrote into an array that is marked read-only, {a[:2].tolist()}"
        want[0, 0] += 100
        check_tensor(got, want, f"{what}: one value of the tensor was written, and others changed with it")


_BACKWARDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows in reverse": lambda a: a[::-1],
    "columns in reverse": lambda a: a[:, ::-1],
    "every second row, backwards": lambda a: a[::-2, 1:],
    "all in reverse, transposed": lambda a: a[::-1, ::-1].T,
    "one row, backwards": lambda a: a[1, ::-1],
}


@pytest.mark.parametrize("name", ["from_other", "snapshot"], ids=["taken over", "a snapshot"])
@pytest.mark.timeout(60)
def test_no_tensor_walks_backwards(name):
    function = {"from_other": from_other, "snapshot": snapshot}[name]

    def check() -> None:
        for window, walk in _BACKWARDS.items():
            for dtype in ("float64", "int32"):
                a = walk(_grid(dtype))
                want = torch.tensor(a.copy())
                what = f"{name} of an array of {dtype} ({window})"
                signs = {"Storage size calculation overflowed|stride.*negative|negative stride": _NEGATIVE}
                with explain(f"{what} raised", signs):
                    got = function(a)
                check_tensor(got, want, what)
                got.add_(1)
                written = not np.array_equal(a, want.numpy())
                assert not written, f"{what}: a write into the tensor changed the array"

    _in_a_child(check, f"{name} of a reversed array")


def test_an_array_follows_its_tensor():
    torch.manual_seed(0)
    weight = torch.randn(3, 4, requires_grad=True)
    weight.sum().backward()
    numbers = torch.arange(10)
    hidden = torch.randn(2, 3, dtype=torch.float64, requires_grad=True) * 2
    for what, t, seen in (
        ("a tensor", torch.randn(5), slice(None)),
        ("a parameter", torch.nn.Parameter(torch.randn(2, 2)), 0),
        ("a weight with its gradient", weight, 1),
        ("a result with a graph", hidden, 0),
        ("a transposed tensor", weight.detach().double().t(), 1),
        ("a transposed weight", weight.t(), 2),
        ("every third of ten int64", numbers[1::3], slice(1, 3)),
    ):
        node, grad_wanted = t.grad_fn, t.requires_grad
        signs = {"requires? grad": f"{what} requires grad, and NumPy refuses it: hand over a detached view"}
        with unchanged(f"to_numpy changed {what}", t=t), explain(f"to_numpy raised on {what}", signs):
            a = to_numpy(t)
        assert isinstance(a, np.ndarray), f"to_numpy returns an array; for {what} got {type(a).__name__}"
        kept = t.requires_grad == grad_wanted and t.grad_fn is node
        assert kept, f"{what} is not what it was: requires_grad {t.requires_grad}, grad_fn {t.grad_fn}"
        check_tensor(torch.tensor(a), t.detach().clone(), f"to_numpy of {what}")
        with torch.no_grad():
            t.detach()[seen] = 7
        follows = np.array_equal(a, t.detach().numpy())
        assert follows, f"{what} was written, and its array does not follow: it is a copy"


def test_a_snapshot_sees_no_later_write():
    locked = _grid("float64")
    locked.flags.writeable = False
    arrays = [
        (f"an array ({window}) of {dtype}", walk(_grid(dtype)))
        for dtype in ("float64", "int32", "float32")
        for window, walk in _WINDOWS.items()
    ]
    switches = np.array([[False, True], [True, False]])
    hidden = torch.arange(6, dtype=torch.float64).view(2, 3)
    repeated = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (4, 3))
    for what, x, values in (
        *((what, a, torch.from_numpy(a)) for what, a in arrays),
        ("an array of bool", switches, torch.from_numpy(switches)),
        ("a foreign object", _Foreign(hidden), hidden),
        ("a foreign object, transposed", _Foreign(hidden.t()), hidden.t()),
        ("a read-only array", locked, torch.from_dlpack(locked)),
        ("an array from broadcast_to", repeated, torch.from_dlpack(repeated)),
    ):
        want = values.clone()
        with explain(f"snapshot raised on {what}"):
            got = snapshot(x)
        check_tensor(got, want, f"snapshot of {what}")
        got[0] = 50
        through = not torch.equal(values, want)
        assert not through, f"{what} changed with its snapshot: it is no copy"
        check_tensor(got[1:], want[1:], f"the first of a snapshot of {what} was written, and others changed with it")
        got = snapshot(x)
        values[1] = 60
        check_tensor(got, want, f"the snapshot changed when {what} was written")
    assert not locked.flags.writeable, "snapshot made a read-only array writeable: its flag belongs to those who set it"
