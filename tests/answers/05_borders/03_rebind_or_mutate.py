"""Answers that people give to rebind_or_mutate, right ones and wrong ones."""

import copy

import torch

from dojo import Mistake


def _clone_then_subtract(x):
    y = x.clone()
    y -= y.mean()
    return y


def _deepcopy_then_subtract(x):
    return copy.deepcopy(x).sub_(x.mean())


def _center_with_minus_equals(x):
    x -= x.mean()
    return x


def _center_by_slice(x):
    x[:] = x - x.mean()
    return x


def _center_by_copy(x):
    mean = x.mean().item()
    for i in range(x.shape[0]):
        x[i] = x[i] - mean
    return x


def _record_with_plus_equals(history, x):
    history += [x.data.clone()]


def _record_without_grad(history, x):
    with torch.no_grad():
        history.append(x.clone())


def _record_by_numbers(history, x):
    history.append(torch.tensor(x.tolist(), dtype=x.dtype))


def _buffers_in_a_loop(n, k):
    buffers = []
    for _ in range(n):
        buffers.append(torch.zeros(k))
    return buffers


def _alias_then_subtract(x):
    y = x
    y -= y.mean()
    return y


def _sub_out(x):
    return torch.sub(x, x.mean(), out=x)


def _through_numpy(x):
    a = x.numpy()
    a -= a.mean()
    return torch.from_numpy(a)


def _set_memory(x):
    x.set_(x - x.mean())
    return x


def _one_buffer_many_names(n, k):
    buffer = torch.zeros(k)
    return [buffer[:] for _ in range(n)]


RIGHT = [
    dict(
        centered=lambda x: torch.sub(x, torch.mean(x)),
        center_=lambda x: x.add_(-x.mean()),
        record=lambda h, x: h.append(x.detach().to(x.dtype, copy=True)),
        make_buffers=lambda n, k: list(torch.zeros(k).repeat(n, 1)),
    ),
    dict(
        centered=lambda x: torch.from_numpy(x.numpy() - x.numpy().mean()),
        record=lambda h, x: h.append(torch.empty_like(x, requires_grad=False).copy_(x.detach())),
    ),
    dict(
        centered=_clone_then_subtract,
        center_=_center_with_minus_equals,
        record=_record_with_plus_equals,
        make_buffers=_buffers_in_a_loop,
    ),
    dict(
        centered=_deepcopy_then_subtract,
        center_=_center_by_slice,
        record=_record_without_grad,
        make_buffers=lambda n, k: list(torch.zeros(n, k)),
    ),
    dict(
        centered=lambda x: x.sub(x.mean()),
        center_=lambda x: x.copy_(x - x.mean()),
        record=lambda history, x: history.append(x.clone().detach()),
        make_buffers=lambda n, k: list(torch.zeros(n, k).unbind(0)),
    ),
    dict(
        centered=lambda x: x.add(-x.mean()),
        center_=_center_by_copy,
        record=_record_by_numbers,
        make_buffers=lambda n, k: [b.clone() for b in [torch.zeros(k)] * n],
    ),
    dict(center_=lambda x: torch.sub(x, x.mean(), out=x), record=lambda history, x: history.extend([x.detach() + 0])),
]

WRONG = [
    Mistake(
        "raised for torch.bfloat16",
        caught_by="",
        record=lambda history, x: history.append(torch.tensor(x.detach().cpu().numpy())),
    ),
    Mistake(
        "a snapshot of torch.int64 has",
        caught_by="",
        record=lambda h, x: (
            h.append(torch.tensor([*map(float, x.flatten())]).double().to(x.dtype).view(x.shape))
            if x.dtype == torch.int64
            else h.append(x.detach().clone())
        ),
    ),
    Mistake("you changed the caller's x", caught_by="", centered=lambda x: torch.asarray(x).sub_(x.mean())),
    Mistake("x did not change", caught_by="", center_=lambda x: x.add(-x.mean())),
    Mistake(
        "a snapshot is a tensor",
        caught_by="",
        record=lambda history, x: history.append((len(history), x.detach().clone())),
    ),
    Mistake(
        "the last value three times",
        caught_by="",
        record=lambda history, x: history.append(torch.from_numpy(x.detach().numpy())),
    ),
    Mistake("shows in the others", caught_by="", make_buffers=lambda n, k: [b.view(k) for b in [torch.zeros(k)] * n]),
    Mistake(
        "shows in the others", caught_by="", make_buffers=lambda n, k: list(torch.zeros(k).repeat(1, 1).expand(n, k))
    ),
    Mistake("shows in the others", caught_by="", make_buffers=lambda n, k: [torch.empty(n) for _ in range(k)]),
    Mistake("you changed the caller's x", caught_by="", centered=_alias_then_subtract),
    Mistake("you changed the caller's x", caught_by="", centered=_sub_out),
    Mistake("you changed the caller's x", caught_by="", centered=_through_numpy),
    Mistake("you changed the caller's x", caught_by="", centered=lambda x: x.view(-1).sub_(x.mean())),
    Mistake("you changed the caller's x", caught_by="", centered=lambda x: x.contiguous().sub_(x.mean())),
    Mistake("x did not change", caught_by="", center_=lambda x: x.sub(x.mean())),
    Mistake("x did not change", caught_by="", center_=lambda x: x.float().clone().sub_(x.mean())),
    Mistake("you gave the row new memory of its own", caught_by="", center_=_set_memory),
    Mistake("center_ returns x itself", caught_by="", center_=lambda x: x.sub_(x.mean())[:]),
    Mistake("center_ returns x itself", caught_by="", center_=lambda x: x.sub_(x.mean()).detach()),
    Mistake("the last value three times", caught_by="", record=lambda history, x: history.append(x.data)),
    Mistake("the last value three times", caught_by="", record=lambda history, x: history.append(x.view(x.shape))),
    Mistake(
        "the last value three times",
        caught_by="",
        record=lambda history, x: history.append(torch.as_tensor(x).detach()),
    ),
    Mistake(
        "a snapshot is a tensor", caught_by="", record=lambda history, x: history.append(x.detach().numpy().copy())
    ),
    Mistake("your snapshot holds the graph", caught_by="", record=lambda history, x: history.append(x + 0)),
    Mistake("shows in the others", caught_by="", make_buffers=_one_buffer_many_names),
    Mistake("shows in the others", caught_by="", make_buffers=lambda n, k: [torch.zeros(k)] * n),
    Mistake(
        "shows in its other places",
        caught_by="",
        make_buffers=lambda n, k: list(torch.zeros(n, 1).expand(n, k)),
    ),
    Mistake("the mean that x had before", caught_by="", center_=lambda x: x.sub_(int(x.mean()))),
]
