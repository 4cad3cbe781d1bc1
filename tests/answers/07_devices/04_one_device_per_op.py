"""Answers that people give to one_device_per_op, right ones and wrong ones."""

import functools

import torch
from torch import nn

from dojo import Mistake


def _loop(*tensors):
    device = None
    for t in tensors:
        if t.ndim == 0 and t.device.type == "cpu":
            continue
        if device is None:
            device = t.device
        elif device != t.device:
            raise RuntimeError(f"Expected all tensors to be on the same device, found {device} and {t.device}")
    return device or torch.device("cpu")


def _filter_and_all(*tensors):
    rest = [t for t in tensors if not (t.shape == () and str(t.device) == "cpu")] or list(tensors)
    first = rest[0].device
    if not all(t.device == first for t in rest):
        raise RuntimeError("no")
    return first


def _ask_torch(*tensors):
    return functools.reduce(torch.add, [t.reshape(-1)[:1] if t.dim() else t for t in tensors]).device


def _accelerator_first(*tensors):
    other = {t.device for t in tensors if t.device.type != "cpu"}
    if len(other) > 1:
        raise RuntimeError("several accelerators")
    if other and any(t.is_cpu and t.dim() for t in tensors if t.device.type == "cpu"):
        raise RuntimeError("a CPU vector beside an accelerator's tensor")
    return other.pop() if other else torch.device("cpu")


def _empty_then_copy(x, w):
    return torch.matmul(x, torch.empty_like(w, device=x.device).copy_(w))


def _module_lookup(table, ids):
    return nn.Embedding.from_pretrained(table, freeze=False)(ids.to(table.device))


def _rows(table, ids):
    return table.index_select(0, ids.reshape(-1).to(table.device)).view(*ids.shape, table.shape[1])


def _one_hot(table, ids):
    return nn.functional.one_hot(ids, len(table)).to(table) @ table


def _move_then_read(table, ids):
    ids = ids.to(table.device)
    rows = [table[i] for i in ids.reshape(-1)]
    return torch.stack(rows).reshape(*ids.shape, table.shape[1])


def _ask_and_move(x, w):
    try:
        return x @ w
    except RuntimeError:
        return x @ w.to(x.device)


RIGHT = [
    dict(
        common_device=_loop,
        matmul_on=lambda x, w: torch.mm(x, w.to(x.device)),
        lookup=lambda table, ids: table[ids.to(table.device)],
    ),
    dict(common_device=_filter_and_all, matmul_on=_empty_then_copy, lookup=lambda t, ids: t[ids.to(t.device)]),
    dict(common_device=_ask_torch, matmul_on=lambda x, w: x @ w.type_as(x), lookup=_module_lookup),
    dict(matmul_on=lambda x, w: torch.einsum("nk,km->nm", x, torch.as_tensor(w, device=x.device)), lookup=_rows),
    dict(matmul_on=lambda x, w: x.matmul(w.to(x)), lookup=_one_hot),
    dict(matmul_on=_ask_and_move, lookup=_move_then_read),
    dict(
        common_device=_accelerator_first,
        matmul_on=lambda x, w: torch.stack([x @ column.to(x.device) for column in w.T], dim=1),
        lookup=lambda table, ids: torch.stack([table[i] for i in ids.flatten()]).view(*ids.shape, -1),
    ),
]


def _first_only(*tensors):
    return tensors[0].device


def _no_exception(*tensors):
    for a in tensors:
        for b in tensors:
            if a.device != b.device:
                raise RuntimeError("two devices")
    return tensors[0].device


def _any_scalar(*tensors):
    rest = [t for t in tensors if t.ndim > 0] or tensors
    return _no_exception(*rest)


def _one_element(*tensors):
    rest = [t for t in tensors if not (t.numel() == 1 and t.is_cpu)] or tensors
    return _no_exception(*rest)


def _wrong_exception(*tensors):
    devices = {t.device for t in tensors if t.dim() or t.device.type != "cpu"} or {torch.device("cpu")}
    assert len(devices) == 1
    return devices.pop()


def _first_of_a_kind(*tensors):
    left = [t.device for t in tensors if t.dim() or t.device.type != "cpu"] or [torch.device("cpu")]
    if any(d.type != left[0].type for d in left):
        raise RuntimeError("two kinds of devices")
    return left[0]


def _dropped(x, w):
    w.to(x.device, non_blocking=True)
    return torch.matmul(x, w)


def _copy_ids(table, ids):
    ids.to(table.device)
    return torch.embedding(table, ids)


def _any_accelerator(*tensors):
    return next((t.device for t in tensors if t.device.type != "cpu"), torch.device("cpu"))


def _back_home(x, w):
    return torch.mm(x, w.to(x.device)).to(w.device)


WRONG = [
    Mistake(
        "no gradient reaches w where w has to move",
        caught_by="",
        matmul_on=lambda x, w: x @ (w if w.device == x.device else w.data.to(x.device)),
    ),
    Mistake(
        "its first tensor on the CPU and the second elsewhere: the two tensors met",
        caught_by="",
        lookup=lambda t, i: t[i] if t.is_meta else t.index_select(0, i.reshape(-1)).view(*i.shape, -1),
    ),
    Mistake("two of these tensors are on different devices", caught_by="", common_device=_any_accelerator),
    Mistake("something left the device of the first tensor", caught_by="", matmul_on=_back_home),
    Mistake("lookup raised where both tensors are on the CPU", caught_by="", lookup=lambda t, i: t[i.to("cuda:7")]),
    Mistake("two of these tensors are on different devices", caught_by="", common_device=_first_only),
    Mistake("a 0-dim CPU tensor is a plain number", caught_by="", common_device=_no_exception),
    Mistake("goes along only if it is on the CPU", caught_by="", common_device=_any_scalar),
    Mistake("a tensor with one element has a dimension", caught_by="", common_device=_one_element),
    Mistake("two of these tensors are on different devices", caught_by="", common_device=_wrong_exception),
    Mistake("the two tensors met on two devices", caught_by="", matmul_on=_dropped),
    Mistake("the two tensors met on two devices", caught_by="", matmul_on=torch.mm),
    Mistake(
        "something left the device of the first tensor",
        caught_by="",
        matmul_on=lambda x, w: (x.cpu() @ w.cpu()).to(x.device),
    ),
    Mistake(
        "no gradient reaches w", caught_by="", matmul_on=lambda x, w: x @ torch.tensor(w.tolist(), device=x.device)
    ),
    Mistake("the two tensors met on two devices", caught_by="", lookup=_copy_ids),
    Mistake(
        "something left the device of the first tensor",
        caught_by="",
        lookup=lambda t, i: nn.functional.embedding(i.cpu(), t.cpu()),
    ),
    Mistake("keep the index", caught_by="", common_device=_first_of_a_kind),
    Mistake("ids of shape (4,)", caught_by="", lookup=lambda t, i: torch.cat([t[r] for r in i]).view(*i.shape, -1)),
]
