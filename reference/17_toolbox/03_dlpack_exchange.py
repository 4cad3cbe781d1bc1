"""Zero copies across libraries: reference.

Hint: Which objects can do harm when they are shared? Both kinds are NumPy arrays, and NumPy copies them well.
Hint: `isinstance(x, np.ndarray)`, `x.flags.writeable`, `x.strides`, `x.copy()`; `torch.from_dlpack`; `Tensor.detach`.
Hint: Copy the array first if it is not writeable or any of its strides is below 0. Then everything takes the same way.

Why: DLPack describes memory, not who may write to it. Its newer version has a bit for read-only, but PyTorch has no
tensor that could keep it. So ask NumPy, before the array becomes a tensor. An array from broadcast_to is worse than
read-only: its rows are one row, so a write would appear in all of them. `contiguous()` is no copy: it returns the same
tensor where nothing is to be done. And detach() is the honest way to NumPy: the tensor keeps its graph, and the array
is a second name for its values; writing there is as `.data` was, no error will tell autograd of it.
"""

import copy
from typing import Any

import numpy as np
import torch

from dojo import Mistake


def from_other(x: Any) -> torch.Tensor:
    if isinstance(x, np.ndarray) and (not x.flags.writeable or any(step < 0 for step in x.strides)):
        x = x.copy()
    return torch.from_dlpack(x)


def to_numpy(t: torch.Tensor) -> np.ndarray:
    return t.detach().numpy()


def snapshot(x: Any) -> torch.Tensor:
    return from_other(x).clone()


def _harmful(x):
    return isinstance(x, np.ndarray) and (not x.flags.writeable or any(step < 0 for step in x.strides))


def _backwards(x):
    return isinstance(x, np.ndarray) and any(step < 0 for step in x.strides)


def _copied_if(condition, then=torch.from_dlpack):
    def wrong(x):
        return then(x.copy() if condition(x) else x)

    return wrong


def _exactly_an_array(x):
    harmful = type(x) is np.ndarray and _harmful(x)
    return torch.from_dlpack(x.copy() if harmful else x)


def _contiguous_first(x):
    return torch.from_dlpack(np.ascontiguousarray(x) if isinstance(x, np.ndarray) and x.flags.writeable else x)


def _from_numpy(x):
    return torch.from_numpy(x.copy() if _harmful(x) else x)


def _unlocks(x):
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy() if x.base is not None else x
        x.flags.writeable = True
    return _copied_if(_backwards)(x)


def _warned_clone(x):
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        return torch.from_numpy(x).clone()
    return _copied_if(_backwards)(x)


def _shared_rows(x):
    """Copies the memory, not the array: the rows of a broadcast array are still one."""
    if isinstance(x, np.ndarray) and not x.flags.writeable and 0 in x.strides:
        index = tuple(0 if step == 0 else slice(None) for step in x.strides)
        row = x[index].copy()
        shape = tuple(1 if step == 0 else size for step, size in zip(x.strides, x.shape, strict=True))
        return torch.from_numpy(row).view(shape).expand(x.shape)
    return from_other(x)


def _absolute(x):
    if _backwards(x):
        flipped = [axis for axis, step in enumerate(x.strides) if step < 0]
        return torch.from_dlpack(np.flip(x, flipped))
    return from_other(x)


def _first_stride(x):
    bad = isinstance(x, np.ndarray) and (not x.flags.writeable or x.strides[0] < 0)
    return torch.from_dlpack(x.copy() if bad else x)


def _catches(x):
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy()
    if _backwards(x):
        raise ValueError("negative strides are not supported")
    return torch.from_dlpack(x)


def _floats(x):
    return from_other(x).float()


def _by_asarray(x):
    return from_other(np.asarray(x))


def _drops_grad(t):
    return t.requires_grad_(False).numpy() if t.is_leaf else t.detach().numpy()


def _zeroes_grad(t):
    t.grad = None
    return t.detach().numpy()


def _detaches_in_place(t):
    return t.detach_().numpy() if t.grad_fn is not None and not t._is_view() else t.detach().numpy()


def _deep(x):
    """deepcopy keeps the strides, those of 0 too."""
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        return copy.deepcopy(torch.from_dlpack(x))
    return from_other(x)


def _unlocks_and_clones(x):
    if isinstance(x, np.ndarray) and not x.flags.writeable:
        x = x.copy() if x.base is not None else x
        x.flags.writeable = True
    return from_other(x).clone()


_STRIDES = "test_the_strides_travel_with_the_memory"
_TWO = "test_two_methods_are_all_that_a_library_must_have"
_LOCKED = "test_a_read_only_array_is_not_written_through"
_REVERSED = "test_no_tensor_walks_backwards"
_FOLLOWS = "test_an_array_follows_its_tensor"
_SNAPSHOT = "test_a_snapshot_sees_no_later_write"

MISTAKES = [
    Mistake("a transposed array of float64 was copied", caught_by=_STRIDES, from_other=_contiguous_first),
    Mistake("was copied", caught_by=_STRIDES, from_other=snapshot),
    Mistake(
        "a transposed array of int32 was copied",
        caught_by=_STRIDES,
        from_other=_copied_if(lambda x: isinstance(x, np.ndarray) and not (x.flags.c_contiguous and x.flags.writeable)),
    ),
    Mistake(
        "a stepped array of float64 was copied",
        caught_by=_STRIDES,
        from_other=_copied_if(lambda x: isinstance(x, np.ndarray) and not (x.flags.forc and x.flags.writeable)),
    ),
    Mistake(
        "a stepped array of float64 was copied",
        caught_by=_STRIDES,
        from_other=_copied_if(lambda x: isinstance(x, np.ndarray) and (x.base is not None or not x.flags.writeable)),
    ),
    Mistake("was copied", caught_by=_STRIDES, from_other=lambda x: from_other(x).contiguous()),
    Mistake("was copied", caught_by=_STRIDES, from_other=_floats),
    Mistake("from_other raised on a foreign object", caught_by=_TWO, from_other=_from_numpy),
    Mistake("from_other raised on a foreign object", caught_by=_TWO, from_other=_by_asarray),
    Mistake(
        "from_other raised on a foreign object",
        caught_by=_TWO,
        from_other=lambda x: torch.from_dlpack(
            x.copy() if not x.flags.writeable or any(s < 0 for s in x.strides) else x
        ),
    ),
    Mistake(
        "a foreign object was copied",
        caught_by=_TWO,
        from_other=lambda x: from_other(x) if isinstance(x, np.ndarray) else torch.from_dlpack(x, copy=True),
    ),
    Mistake("you wrote into an array that is marked read-only", caught_by=_LOCKED, from_other=_copied_if(_backwards)),
    Mistake("you wrote into an array that is marked read-only", caught_by=_LOCKED, from_other=torch.from_dlpack),
    Mistake(
        "you wrote into an array that is marked read-only",
        caught_by=_LOCKED,
        from_other=_copied_if(lambda x: isinstance(x, np.ndarray) and any(step <= 0 for step in x.strides)),
    ),
    Mistake("you wrote into an array that is marked read-only", caught_by=_LOCKED, from_other=_exactly_an_array),
    Mistake("has become writeable", caught_by=_LOCKED, from_other=_unlocks),
    Mistake("warned", caught_by=_LOCKED, from_other=_warned_clone),
    Mistake(
        "warned",
        caught_by=_LOCKED,
        from_other=lambda x: torch.from_numpy(x) if isinstance(x, np.ndarray) else torch.from_dlpack(x),
    ),
    Mistake("and others changed with it", caught_by=_LOCKED, from_other=_shared_rows),
    Mistake("and others changed with it", caught_by=_LOCKED, from_other=_deep),
    Mistake(
        "negative strides",
        caught_by=_REVERSED,
        from_other=_copied_if(lambda x: isinstance(x, np.ndarray) and not x.flags.writeable),
    ),
    Mistake("negative strides", caught_by=_REVERSED, from_other=_first_stride),
    Mistake("negative strides", caught_by=_REVERSED, from_other=_catches),
    Mistake("from_other of an array", caught_by=_REVERSED, from_other=_absolute),
    Mistake("negative strides", caught_by=_REVERSED, snapshot=lambda x: torch.from_dlpack(x).clone()),
    Mistake(
        "negative strides",
        caught_by=_REVERSED,
        snapshot=lambda x: torch.tensor(x) if isinstance(x, np.ndarray) else torch.from_dlpack(x, copy=True),
    ),
    Mistake("hand over a detached view", caught_by=_FOLLOWS, to_numpy=lambda t: t.numpy()),
    Mistake("hand over a detached view", caught_by=_FOLLOWS, to_numpy=np.asarray),
    Mistake("hand over a detached view", caught_by=_FOLLOWS, to_numpy=np.from_dlpack),
    Mistake("its array does not follow", caught_by=_FOLLOWS, to_numpy=lambda t: t.detach().clone().numpy()),
    Mistake("its array does not follow", caught_by=_FOLLOWS, to_numpy=lambda t: np.array(t.detach())),
    Mistake("its array does not follow", caught_by=_FOLLOWS, to_numpy=lambda t: t.detach().contiguous().numpy()),
    Mistake("its array does not follow", caught_by=_FOLLOWS, to_numpy=lambda t: (t * 1).detach().numpy()),
    Mistake("to_numpy changed", caught_by=_FOLLOWS, to_numpy=_drops_grad),
    Mistake("to_numpy changed", caught_by=_FOLLOWS, to_numpy=_zeroes_grad),
    Mistake("to_numpy changed", caught_by=_FOLLOWS, to_numpy=_detaches_in_place),
    Mistake("got Tensor", caught_by=_FOLLOWS, to_numpy=lambda t: t.detach()),
    Mistake("it is no copy", caught_by=_SNAPSHOT, snapshot=from_other),
    Mistake("it is no copy", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x).contiguous()),
    Mistake("it is no copy", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x).detach()),
    Mistake("snapshot raised on a foreign object", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x.copy())),
    Mistake("snapshot of", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x).to(torch.float64, copy=True)),
    Mistake("made a read-only array writeable", caught_by=_SNAPSHOT, snapshot=_unlocks_and_clones),
    Mistake(
        "and others changed with it",
        caught_by=_SNAPSHOT,
        snapshot=lambda x: copy.deepcopy(torch.from_dlpack(x.copy() if _backwards(x) else x)),
    ),
    Mistake("snapshot of an array of bool", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x) * 1),
    Mistake("snapshot of an array of bool", caught_by=_SNAPSHOT, snapshot=lambda x: from_other(x) + 0),
    Mistake("it is no copy", caught_by=_SNAPSHOT, snapshot=lambda x: torch.as_tensor(from_other(x))),
]
