"""Answers that people give to dlpack_exchange, right ones and wrong ones."""

import copy

import numpy as np
import torch

from dojo import Mistake


def _by_kind(x):
    if not isinstance(x, np.ndarray):
        return torch.utils.dlpack.from_dlpack(x)
    if x.flags.writeable and all(step >= 0 for step in x.strides):
        return torch.from_numpy(x)
    return torch.tensor(np.array(x, copy=True, order="C"))


def _by_capsule(x):
    if isinstance(x, np.ndarray) and (not x.flags["WRITEABLE"] or min(x.strides, default=0) < 0):
        return torch.from_numpy(np.ascontiguousarray(x).copy())
    return torch.from_dlpack(x.__dlpack__())


def _asks_for_a_copy(x):
    if isinstance(x, np.ndarray):
        if not x.flags.writeable or (np.array(x.strides) < 0).any():
            return torch.from_dlpack(np.copy(x))
        return torch.as_tensor(x)
    return torch.from_dlpack(x, copy=False)


def _through_numpy(x):
    """NumPy takes part in DLPack too, and keeps the flag."""
    a = x if isinstance(x, np.ndarray) else np.from_dlpack(x)
    harmless = a.flags.writeable and not any(step < 0 for step in a.strides)
    return torch.from_numpy(a if harmless else a.copy())


def _copy_for_arrays(x):
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x.copy())
    return torch.from_dlpack(x).clone()


def _new_and_copied(x):
    t = _by_kind(x)
    return torch.empty_like(t).copy_(t)


def _as_list(x):
    t = _through_numpy(x)
    return torch.tensor(t.tolist(), dtype=t.dtype)


def _no_grad(t):
    with torch.no_grad():
        return t.numpy()


def _filled(x):
    if isinstance(x, np.ndarray) and (not x.flags.writeable or any(step < 0 for step in x.strides)):
        fresh = np.empty(x.shape, dtype=x.dtype)
        fresh[...] = x
        x = fresh
    return torch.utils.dlpack.from_dlpack(x)


def _stacked(x):
    t = _filled(x)
    return torch.stack([t])[0]


def _by_buffer(t):
    return np.asarray(memoryview(t.detach().numpy()))


RIGHT = [
    {"from_other": _filled, "to_numpy": _by_buffer, "snapshot": _stacked},
    {"to_numpy": _no_grad, "snapshot": lambda x: copy.deepcopy(_by_kind(x))},
    {"from_other": _by_kind, "to_numpy": lambda t: t.numpy(force=True), "snapshot": _copy_for_arrays},
    {"from_other": _by_capsule, "to_numpy": lambda t: np.from_dlpack(t.detach()), "snapshot": _new_and_copied},
    {"from_other": _asks_for_a_copy, "to_numpy": lambda t: np.asarray(t.detach()), "snapshot": _as_list},
    {"from_other": _through_numpy, "to_numpy": lambda t: t.data.numpy()},
    {"snapshot": lambda x: torch.from_dlpack(np.array(x) if isinstance(x, np.ndarray) else x, copy=True)},
    {"snapshot": lambda x: torch.tensor(_by_kind(x))},  # torch advises against it, and it is a copy
]


def _safe_copy(x):
    return torch.tensor(x.copy() if isinstance(x, np.ndarray) else torch.from_dlpack(x))


def _stepwise(x):
    if isinstance(x, np.ndarray) and not x.data.contiguous:
        x = x.copy()
    return torch.from_dlpack(x)


def _array_protocol(x):
    if hasattr(x, "__array_interface__") and x.flags.writeable:
        return torch.from_dlpack(x)
    return torch.from_numpy(np.array(x))


def _broadcast_only(x):
    if isinstance(x, np.ndarray) and (0 in x.strides or any(step < 0 for step in x.strides)):
        x = np.array(x)
    return torch.from_dlpack(x)


def _writeable(x):
    if isinstance(x, np.ndarray):
        x = np.ascontiguousarray(x) if any(step < 0 for step in x.strides) else x
        if not x.flags.writeable:
            x = np.lib.stride_tricks.as_strided(x, writeable=False)
    return torch.from_dlpack(x)


def _from_numpy_all(x):
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x if all(step >= 0 for step in x.strides) else x.copy())
    return torch.from_dlpack(x)


def _last_stride(x):
    if isinstance(x, np.ndarray) and (x.strides[-1] < 0 or not x.flags.writeable):
        x = x.copy()
    return torch.from_dlpack(x)


def _by_memory(x):
    x = np.from_dlpack(x)
    return torch.frombuffer(bytearray(x.tobytes()), dtype=torch.from_numpy(x[:0].copy()).dtype).reshape(x.shape)


def _switched_off(t):
    t.requires_grad = False
    return t.numpy()


def _listed(t):
    return np.array(t.tolist(), dtype=str(t.dtype).removeprefix("torch."))


def _reshaped(x):
    return torch.from_dlpack(np.ascontiguousarray(x) if isinstance(x, np.ndarray) else x).reshape(-1).reshape


def _shallow(x):
    return torch.as_tensor(x if not isinstance(x, np.ndarray) else np.ascontiguousarray(x))


def _flag_by_try(x):
    """Asks whether the flag may be set, and leaves it set."""
    if isinstance(x, np.ndarray):
        try:
            x.setflags(write=True)
        except ValueError:
            x = x.copy()
        if any(step < 0 for step in x.strides):
            x = x.copy()
    return torch.from_dlpack(x)


def _of_this_class(x):
    if x.__class__ is np.ndarray and not (x.flags.writeable and min(x.strides) >= 0):
        x = np.array(x)
    return torch.from_dlpack(x)


def _added(x):
    t = _by_kind(x)
    return t + torch.zeros(t.shape, dtype=torch.uint8)


WRONG = [
    Mistake("has become writeable", caught_by="", from_other=_flag_by_try),
    Mistake("made a read-only array writeable", caught_by="", snapshot=lambda x: _flag_by_try(x).clone()),
    Mistake("you wrote into an array that is marked read-only", caught_by="", from_other=_of_this_class),
    Mistake("snapshot of an array of bool", caught_by="", snapshot=_added),
    Mistake("was copied", caught_by="", from_other=_safe_copy),
    Mistake("a transposed array of float64 was copied", caught_by="", from_other=_stepwise),
    Mistake("was copied", caught_by="", from_other=_by_memory),
    Mistake("was copied", caught_by="", from_other=torch.tensor),
    Mistake("from_other raised on a foreign object", caught_by="", from_other=_array_protocol),
    Mistake("from_other raised on a foreign object", caught_by="", from_other=torch.from_numpy),
    Mistake("you wrote into an array that is marked read-only", caught_by="", from_other=_broadcast_only),
    Mistake("you wrote into an array that is marked read-only", caught_by="", from_other=_writeable),
    Mistake("you wrote into an array that is marked read-only", caught_by="", from_other=torch.as_tensor),
    Mistake("warned", caught_by="", from_other=_from_numpy_all),
    Mistake("negative strides", caught_by="", from_other=_last_stride),
    Mistake("negative strides", caught_by="", from_other=torch.utils.dlpack.from_dlpack),
    Mistake("hand over a detached view", caught_by="", to_numpy=lambda t: torch.Tensor.numpy(t, force=False)),
    Mistake("to_numpy changed", caught_by="", to_numpy=_switched_off),
    Mistake("its array does not follow", caught_by="", to_numpy=_listed),
    Mistake("its array does not follow", caught_by="", to_numpy=lambda t: t.detach().numpy().copy()),
    Mistake("its array does not follow", caught_by="", to_numpy=lambda t: np.ascontiguousarray(t.detach())),
    Mistake("snapshot of", caught_by="", snapshot=_reshaped),
    Mistake("it is no copy", caught_by="", snapshot=_shallow),
    Mistake("snapshot raised on a foreign object", caught_by="", snapshot=lambda x: torch.from_numpy(x.copy())),
]
