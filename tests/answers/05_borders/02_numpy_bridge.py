"""Answers that people give to numpy_bridge, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _no_bfloat16(t):
    return t.to(torch.float32) if t.dtype == torch.bfloat16 else t


def _add_through_numpy(t, a):
    t.numpy()[...] += a
    return t


def _add_by_copy(t, a):
    t.copy_(t + torch.as_tensor(a))
    return t


def _add_with_plus_equals(t, a):
    t += torch.tensor(a, dtype=t.dtype)
    return t


def _add_into_a_slice(t, a):
    t[:] = t + torch.from_numpy(a)
    return t


def _add_with_out(t, a):
    np.add(t.numpy(), a, out=t.numpy(), casting="same_kind")
    return t


def _plus_of_numpy(t, a):
    t = torch.from_numpy(t.numpy() + a).float()
    return t


def _set_data(t, a):
    t.set_((t + torch.from_numpy(a)).float())
    return t


def _overwrite(t, a):
    t.numpy()[:] = a
    return t


def _add_row_by_row(t, a):
    for i in range(len(t)):
        t[i] += torch.from_numpy(a[i])
    return t


def _own_filled_from_numpy(a):
    t = torch.empty(a.shape, dtype=torch.from_numpy(a.copy()).dtype)
    t.numpy()[...] = a
    return t


def _own_from_bytes(a):
    return torch.frombuffer(bytearray(a.tobytes()), dtype=torch.from_numpy(a.copy()).dtype).view(a.shape)


def _export_number_by_number(t):
    out = np.empty(tuple(t.shape))
    for i in np.ndindex(*t.shape):
        out[i] = t[i].item()
    return out


def _add_number_by_number(t, a):
    for i in np.ndindex(*t.shape):
        t[i] += a[i]
    return t


RIGHT = [
    dict(
        wrap=lambda a: torch.utils.dlpack.from_dlpack(a),
        own=lambda a: torch.from_numpy(np.ascontiguousarray(a).copy()),
        export=lambda t: np.asarray(t.detach().to("cpu", torch.float64)),
        add_array_=lambda t, a: torch.add(t, torch.from_numpy(a), out=t),
    ),
    dict(own=lambda a: torch.tensor(np.array(a, order="C", copy=True)), add_array_=_add_row_by_row),
    {
        "wrap": torch.as_tensor,
        "own": lambda a: torch.tensor(a.copy()),
        "export": lambda t: (t.float() if t.dtype == torch.bfloat16 else t).detach().cpu().numpy(),
        "add_array_": _add_through_numpy,
    },
    {
        "wrap": torch.from_dlpack,
        "own": lambda a: torch.from_numpy(np.array(a)),
        "export": lambda t: np.array(t.tolist()).reshape(t.shape),
        "add_array_": _add_by_copy,
    },
    {
        "wrap": torch.asarray,
        "own": lambda a: torch.from_numpy(np.copy(a)).clone(),
        "export": lambda t: t.data.double().cpu().numpy(),
        "add_array_": _add_with_plus_equals,
    },
    {
        "wrap": lambda a: torch.from_numpy(a).view(a.shape),
        "own": lambda a: torch.tensor(a.tolist(), dtype=torch.from_numpy(np.empty(0, a.dtype)).dtype),
        "export": lambda t: (
            t.to(torch.promote_types(t.dtype, torch.float32)).numpy(force=True).copy()
            if t.is_floating_point()
            else t.numpy(force=True)
        ),
        "add_array_": _add_into_a_slice,
    },
    {"own": lambda a: torch.from_numpy(a + np.zeros(1, a.dtype)), "add_array_": _add_with_out},
    {"own": _own_filled_from_numpy, "export": _export_number_by_number, "add_array_": _add_number_by_number},
    {"own": _own_from_bytes, "add_array_": lambda t, a: t.addcmul_(torch.ones_like(t), torch.from_numpy(a).to(t))},
]

WRONG = [
    Mistake(
        "export of torch.int64",
        caught_by="",
        export=lambda t: t.data.cpu().double().numpy() if t.is_floating_point() else np.array(t.cpu(), dtype=np.int32),
    ),
    Mistake("export of torch.int64", caught_by="", export=lambda t: t.to(torch.float32).numpy(force=True).copy()),
    Mistake("and 1 + 1 / 3 is", caught_by="", add_array_=lambda t, a: t.add_(torch.Tensor(a.astype("f4")))),
    Mistake(
        "you copied: a write to the array must show",
        caught_by="",
        wrap=lambda a: torch.frombuffer(a.tobytes(), dtype=torch.float32),
    ),
    Mistake(
        "the sum went to a new tensor, not to t",
        caught_by="",
        add_array_=lambda t, a: torch.add(t, torch.from_numpy(a)),
    ),
    Mistake("values of a float64 array as a float64 tensor", caught_by="", own=lambda a: torch.tensor(a.tolist())),
    Mistake("values of a float64 array as a float64 tensor", caught_by="", own=lambda a: torch.Tensor(a.copy())),
    Mistake("expected a numpy.ndarray", caught_by="", export=lambda t: t.detach().half().cpu().numpy()),
    Mistake("expected a numpy.ndarray", caught_by="", export=lambda t: np.array(list(t.detach()), dtype=object)),
    Mistake("in its own dtype", caught_by="", add_array_=_overwrite),
    Mistake("you copied: a write to the array must show", caught_by="", wrap=lambda a: torch.from_numpy(a).clone()),
    Mistake("you copied: a write to the array must show", caught_by="", wrap=lambda a: torch.from_numpy(a.copy())),
    Mistake("another dtype needs other memory, a copy", caught_by="", wrap=lambda a: torch.from_numpy(a).float()),
    Mistake("you copied the columns together", caught_by="", wrap=lambda a: torch.from_numpy(a).contiguous()),
    Mistake(
        "your tensor lives in the array's memory", caught_by="", own=lambda a: torch.from_numpy(np.ascontiguousarray(a))
    ),
    Mistake(
        "your tensor lives in the array's memory",
        caught_by="",
        own=lambda a: torch.from_numpy(a.astype(a.dtype, copy=False)),
    ),
    Mistake("torch refuses negative strides", caught_by="", own=lambda a: torch.from_numpy(a).clone()),
    Mistake("torch refuses negative strides", caught_by="", own=lambda a: torch.from_dlpack(a).clone()),
    Mistake("torch refuses negative strides", caught_by="", own=lambda a: torch.as_tensor(a).detach().clone()),
    Mistake(
        "one row flipped: torch refuses", caught_by="", own=lambda a: torch.tensor(np.require(a, requirements="C"))
    ),
    Mistake("leave both behind", caught_by="", export=lambda t: np.asarray(t.float())),
    Mistake("expected a numpy.ndarray", caught_by="", export=lambda t: t.detach().float()),
    Mistake("expected a numpy.ndarray", caught_by="", export=lambda t: None),
    Mistake("give it a dtype that it has", caught_by="", export=lambda t: np.array(t.detach())),
    Mistake("give it a dtype that it has", caught_by="", export=lambda t: t.detach().cpu().numpy()),
    Mistake("the sum went to a new tensor, not to t", caught_by="", add_array_=_plus_of_numpy),
    Mistake("the sum went to a new tensor, not to t", caught_by="", add_array_=lambda t, a: t + a),
    Mistake("you gave t new memory", caught_by="", add_array_=_set_data),
    Mistake("add_array_ returns t itself", caught_by="", add_array_=lambda t, a: t.add_(torch.from_numpy(a)).clone()),
    Mistake("you added to a copy of t", caught_by="", add_array_=lambda t, a: t.float().add_(torch.from_numpy(a))),
]
