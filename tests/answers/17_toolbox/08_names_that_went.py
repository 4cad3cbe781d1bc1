"""Answers that people give to names_that_went, right ones and wrong ones."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


@torch.inference_mode()
def _inference(model, x):
    return F.sigmoid(model(x))


@torch.no_grad()
def _decorated(model, x):
    y = model(x.detach())
    return y.sigmoid()


def _put_back(model, x):
    was = [p.requires_grad for p in model.parameters()]
    for p in model.parameters():
        p.requires_grad_(False)
    try:
        return torch.sigmoid(model(x.detach()))
    finally:
        for p, on in zip(model.parameters(), was, strict=True):
            p.requires_grad_(on)


def _set_and_restore(model, x):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        return 1 / (1 + torch.exp(-model(x)))
    finally:
        torch.set_grad_enabled(before)


def _python_sum(prediction, target):
    pairs = zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True)
    return math.fsum((p - t) ** 2 for p, t in pairs)


def _by_storage_len(x):
    return len(x.untyped_storage())


def _by_size(x):
    return x.detach().untyped_storage().size()


def _moved(x, names, name):
    dims = {}
    for i, n in enumerate(names):
        if n in dims:
            raise KeyError(n)
        dims[n] = i
    if len(dims) != x.ndim or name not in dims:
        raise KeyError(name)
    return torch.movedim(x, dims[name], -1).sum(-1), tuple(dims.keys() - {name}) if len(dims) < 3 else tuple(
        n for n in dims if n != name
    )


def _slices(x, names, name):
    names = tuple(names)
    if len(names) != len(x.shape) or len(names) != len(set(names)):
        raise ValueError(f"{names} do not name the dimensions of {tuple(x.shape)}")
    i = names.index(name)
    return torch.sum(x, dim=i), names[:i] + names[i + 1 :]


def _counted(x, names, name):
    left = list(names)
    if any(left.count(n) != 1 for n in [*left, name]):
        raise ValueError("a name is missing, or there twice")
    if x.dim() != len(left):
        raise ValueError("the number of names")
    i = left.index(name)
    del left[i]
    return x.sum(i), tuple(left)


def _on_a_copy(model, x):
    with torch.autograd.grad_mode.no_grad():
        return torch.sigmoid_(model(x.detach().clone()).clone())


def _norm_squared(prediction, target):
    return (prediction.data - target.data).norm().item() ** 2


def _half_angle(model, x):
    with torch.no_grad():
        return 0.5 * (1 + torch.tanh(model(x) / 2))


def _dot(prediction, target):
    gap = (prediction - target).detach().flatten()
    return gap.dot(gap).item()


def _einsum(x, names, name):
    if len(names) != x.dim() or len(set(names)) != len(names) or name not in names:
        raise ValueError(f"{names}, {name}")
    letters = dict(zip(names, "abcdefgh", strict=False))
    left = tuple(n for n in names if n != name)
    return torch.einsum(f"{''.join(letters.values())}->{''.join(letters[n] for n in left)}", x), left


RIGHT = [
    {"predict": _half_angle, "total_loss": _dot, "sum_over": _einsum},
    {"predict": _on_a_copy, "total_loss": _norm_squared},
    {
        "predict": _inference,
        "total_loss": lambda p, t: nn.MSELoss(reduction="sum")(p, t).item(),
        "memory_under": _by_storage_len,
        "sum_over": _slices,
    },
    {
        "predict": _decorated,
        "total_loss": lambda p, t: float(((p - t) ** 2).sum()),
        "memory_under": _by_size,
        "sum_over": _counted,
    },
    {"predict": _put_back, "total_loss": _python_sum, "sum_over": _moved},
    {"predict": _set_and_restore, "total_loss": lambda p, t: F.mse_loss(p.data, t.data, reduction="sum").tolist()},
    {"total_loss": lambda p, t: torch.dist(p.detach().double(), t.double()).pow(2).item()},
]


def _var(model, x):
    x = torch.autograd.Variable(x.clone(), requires_grad=False, volatile=True)
    return torch.sigmoid(model(x)).data


def _detached(model, x):
    return torch.sigmoid(model(x).detach())


def _cloned(model, x):
    with torch.no_grad():
        x = x.clone()
    return torch.sigmoid(model(x))


def _eval_mode(model, x):
    model.eval()
    with torch.no_grad():
        return torch.sigmoid(model(x))


def _global(model, x):
    torch.autograd.set_grad_enabled(False)
    y = torch.sigmoid(model(x))
    return y


def _frozen(model, x):
    model.requires_grad_(False)
    y = torch.sigmoid(model(x.detach()))
    model.requires_grad_(True)
    return y


def _single(model, x):
    with torch.no_grad():
        return torch.sigmoid(model(x)).to(torch.float32)


def _compiled(model, x):
    with torch.no_grad():
        return torch.sigmoid(torch.jit.script(nn.Sequential(model))(x))


def _pops(x, names, name):
    i = names.index(name)
    if len(names) != x.dim() or len(set(names)) != len(names):
        raise ValueError("names")
    if isinstance(names, list):
        names.pop(i)
        return x.sum(i), tuple(names)
    return x.sum(i), names[:i] + names[i + 1 :]


def _align(x, names, name):
    y = x.rename(*names).sum(name)
    return y.rename(None), y.names


def _first_letters(x, names, name):
    letters = "".join(n[0] for n in names)
    return torch.einsum(f"{letters}->{letters.replace(name[0], '')}", x), tuple(n for n in names if n != name)


def _set_of_names(x, names, name):
    if len(set(names)) != x.dim():
        raise ValueError("names")
    return x.sum(list(names).index(name)), tuple(sorted(set(names) - {name}))


def _default(x, names, name):
    dim = dict(zip(names, range(x.dim()), strict=False)).get(name, 0)
    return x.sum(dim), tuple(n for n in names if n != name)


def _zipped(x, names, name):
    """zip stops at the shorter one."""
    dims = dict(zip(names, range(x.dim()), strict=False))
    if len(dims) < x.dim():
        raise ValueError("names")
    return x.sum(dims[name]), tuple(n for n in names if n != name)


def _index_error(x, names, name):
    if len(names) != x.dim() or len(set(names)) != len(names) or name not in names:
        raise IndexError(name)
    return x.sum(names.index(name)), tuple(n for n in names if n != name)


def _none(x, names, name):
    if name not in names or len(names) != x.dim() or len(set(names)) != len(names):
        return None
    return x.sum(names.index(name)), tuple(n for n in names if n != name)


def _first_tensor(x):
    """Follows the views back."""
    while x._base is not None:
        x = x._base
    return x.nbytes


def _in_place(model, x):
    with torch.inference_mode():
        out = model(x)
        return torch.sigmoid(out, out=out)


def _enables(model, x):
    with torch.no_grad():
        y = torch.sigmoid(model(x))
    torch.set_grad_enabled(True)
    return y


WRONG = [
    Mistake("grad mode was off before predict", caught_by="", predict=_enables),
    Mistake("memory_under the detached third row of it is", caught_by="", memory_under=_first_tensor),
    Mistake("which nn.Identity had handed on", caught_by="", predict=_in_place),
    Mistake("volatile=True has had no effect since 0.4", caught_by="", predict=_var),
    Mistake("the graph was built during the forward", caught_by="", predict=_detached),
    Mistake("the prediction hangs on a graph", caught_by="", predict=_cloned),
    Mistake("predict changed what it was given", caught_by="", predict=_eval_mode),
    Mistake("predict changed what it was given", caught_by="", predict=_frozen),
    Mistake("predict left the grad mode switched off", caught_by="", predict=_global),
    Mistake("dtype: expected torch.float64", caught_by="", predict=_single),
    Mistake("predict warned", caught_by="", predict=_compiled),
    Mistake("predict returns a tensor", caught_by="", predict=lambda model, x: _inference(model, x).tolist()),
    Mistake(".item() takes the number", caught_by="", total_loss=lambda p, t: ((p - t) ** 2).sum().data[0].item()),
    Mistake(
        ".item() takes the number", caught_by="", total_loss=lambda p, t: F.mse_loss(p, t, reduction="sum")[0].item()
    ),
    Mistake(
        'reduction="sum" says it today',
        caught_by="",
        total_loss=lambda p, t: F.mse_loss(p, t, size_average=False).item(),
    ),
    Mistake("that is the mean of the squares", caught_by="", total_loss=lambda p, t: nn.MSELoss()(p, t).item()),
    Mistake(
        "total_loss is a Python float, got Tensor",
        caught_by="",
        total_loss=lambda p, t: ((p - t) ** 2).sum().detach(),
    ),
    Mistake("total_loss of", caught_by="", total_loss=lambda p, t: round(((p - t) ** 2).sum().item(), 1)),
    Mistake("total_loss of", caught_by="", total_loss=lambda p, t: (p - t).sum().pow(2).item()),
    Mistake("total_loss of", caught_by="", total_loss=lambda p, t: ((p - t) ** 2).half().sum().item()),
    Mistake(
        "total_loss raised",
        caught_by="",
        total_loss=lambda p, t: ((p - t) ** 2).sum().numpy().item(),
    ),
    Mistake("not the memory that it keeps alive", caught_by="", memory_under=lambda x: math.prod(x.shape) * x.itemsize),
    Mistake("ask untyped_storage()", caught_by="", memory_under=lambda x: len(x.storage()) * x.element_size()),
    Mistake(
        "memory_under a (10, 10) of float32 is",
        caught_by="",
        memory_under=lambda x: x.untyped_storage().size() * x.element_size(),
    ),
    Mistake("memory_under a (10, 10) of float32 is", caught_by="", memory_under=lambda x: x.numel()),
    Mistake(
        "memory_under its x[:2, ::3] is",
        caught_by="",
        memory_under=lambda x: (x.storage_offset() + x.numel()) * x.element_size(),
    ),
    Mistake("named tensors were an experiment", caught_by="", sum_over=_align),
    Mistake("sum_over changed what it was given", caught_by="", sum_over=_pops),
    Mistake("the names left are", caught_by="", sum_over=_set_of_names),
    Mistake("expected an error", caught_by="", sum_over=_first_letters),
    Mistake("expected an error", caught_by="", sum_over=_default),
    Mistake("expected an error", caught_by="", sum_over=_zipped),
    Mistake("expected an error", caught_by="", sum_over=_index_error),
    Mistake("expected an error", caught_by="", sum_over=_none),
]
