"""Answers that people give to behind_the_view, right ones and wrong ones."""

import copy
import io
import itertools

import numpy as np
import torch

from dojo import Mistake


def _offset_by_addresses(x, *index):
    return (x[index].data_ptr() - x.untyped_storage().data_ptr()) // x.element_size()


def _offset_with_a_loop(x, *index):
    place = x.storage_offset()
    for dim, i in enumerate(index):
        place += i * x.stride(dim)
    return place


def _windows_as_strided(x, k):
    step = x.stride(0)
    return x.as_strided((x.shape[0] - k + 1, k), (step, step))


def _windows_of_numpy(x, k):
    return torch.from_numpy(np.lib.stride_tricks.sliding_window_view(x.numpy(), k, writeable=True))


def _save_and_load(x):
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file)


def _places_by_search(x, *index):
    return list(itertools.product(*map(range, x.shape))).index(index)


def _shrink_the_block(x):
    x.untyped_storage().resize_(x.nbytes)
    return x


def _loop_of_elements(x):
    out = torch.zeros(x.shape, dtype=x.dtype)
    for index in itertools.product(*map(range, x.shape)):
        out[index] = x[index]
    return out


RIGHT = [
    dict(
        offset=_offset_by_addresses,
        windows=_windows_as_strided,
        compact=lambda x: torch.empty(x.shape, dtype=x.dtype).copy_(x),
    ),
    dict(
        offset=lambda x, *index: x[index].storage_offset(),
        windows=_windows_of_numpy,
        compact=lambda x: x.contiguous().clone(),
    ),
    dict(offset=_offset_with_a_loop, compact=lambda x: torch.tensor(x.tolist(), dtype=x.dtype)),
    dict(compact=lambda x: torch.from_numpy(x.numpy().copy())),
    dict(
        offset=lambda x, *i: np.int64(x.storage_offset()) + np.dot(i, x.stride()),
        windows=lambda x, k: torch.empty(0).set_(
            x.untyped_storage(), x.storage_offset(), (len(x) - k + 1, k), x.stride() * 2
        ),
        compact=_loop_of_elements,
    ),
    dict(compact=lambda x: x.clone() if x.is_contiguous() else x.contiguous()),
    dict(compact=lambda x: x.to(x.dtype, copy=True)),
    dict(
        offset=lambda x, *i: x.as_strided(
            (), (), x.storage_offset() + sum(map(int.__mul__, i, x.stride()))
        ).storage_offset(),
        windows=lambda x, k: torch.stack([x, x]).new_empty(0).set_(x).unfold(-1, k, 1),
        compact=lambda x: torch.empty_like(x, memory_format=torch.contiguous_format).copy_(x),
    ),
    dict(windows=lambda x, k: x.as_strided((x.numel() - k + 1, k), (x.stride(0),) * 2, x.storage_offset())),
    dict(
        windows=lambda x, k: x[None].unfold(1, k, 1)[0], compact=lambda x: x.t().clone().t() if x.dim() == 2 else x + 0
    ),
    dict(
        offset=lambda x, *i: int(np.dot(i, x.stride())) + x.storage_offset(), compact=lambda x: copy.deepcopy(x.clone())
    ),
]

WRONG = [
    Mistake("a whole tensor (bool)", caught_by="", compact=lambda x: x + 0),
    Mistake("you counted along the rows", caught_by="", offset=_places_by_search),
    Mistake(
        "you counted along the rows",
        caught_by="",
        offset=lambda x, *i: int(np.ravel_multi_index(i, x.shape)) if i else 0,
    ),
    Mistake(
        "does not begin at the start of its storage",
        caught_by="",
        offset=lambda x, *i: int(np.dot(i, x.stride())) if i else 0,
    ),
    Mistake("that is in bytes", caught_by="", offset=lambda x, *i: x[i].data_ptr() - x.untyped_storage().data_ptr()),
    Mistake("your windows stand side by side", caught_by="", windows=lambda x, k: x[: len(x) // k * k].view(-1, k)),
    Mistake(
        "you copied the windows",
        caught_by="",
        windows=lambda x, k: x[torch.arange(len(x) - k + 1)[:, None] + torch.arange(k)],
    ),
    Mistake("a window is missing", caught_by="", windows=lambda x, k: x.as_strided((len(x) - k, k), x.stride() * 2)),
    Mistake("you returned the memory of x", caught_by="", compact=lambda x: x.detach()),
    Mistake("you copied the whole block behind it", caught_by="", compact=_save_and_load),
    Mistake("you returned the memory of x", caught_by="", compact=lambda x: torch.as_tensor(x).contiguous()),
    Mistake("you copied the whole block behind it", caught_by="", compact=lambda x: copy.copy(copy.deepcopy(x))),
    Mistake("windows must leave x itself as it is", caught_by="", windows=lambda x, k: x.set_(x.unfold(0, k, 1))),
    Mistake("6 numbers have 4 windows of 3", caught_by="", windows=lambda x, k: x.unfold(0, k, 1).T),
    Mistake("compact changed big[:2]", caught_by="", compact=_shrink_the_block),
    Mistake("has the values of big[:2]", caught_by="", compact=lambda x: torch.from_numpy(np.float32(x)).to(x.dtype)),
    Mistake("x[2, 1] lies at 21", caught_by="", offset=lambda x, *i: x.storage_offset() + x[1:].storage_offset()),
]
