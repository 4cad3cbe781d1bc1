"""Rebind or mutate: reference.

Hint: For each line, ask: does it give a name to a new tensor, or write into memory that others hold?
Hint: A trailing underscore means in place, as in `Tensor.sub_`. `Tensor.detach` and `Tensor.clone` do one thing each.
Hint: A snapshot is a clone of the detached tensor. Each buffer needs a `torch.zeros` of its own.

Why: `-=` on a tensor is a method call that writes; `=` never touches a tensor. The order matters little in
`x.detach().clone()`, but both halves do: without clone the values follow x, without detach each snapshot keeps the
graph of its step alive, and memory grows with every iteration. Assigning `x.data` rebinds as well, one level deeper:
the tensor object gets other memory, and the views of the old one stay behind.
"""

import copy

import torch

from dojo import Mistake


def centered(x: torch.Tensor) -> torch.Tensor:
    return x - x.mean()


def center_(x: torch.Tensor) -> torch.Tensor:
    return x.sub_(x.mean())


def record(history: list[torch.Tensor], x: torch.Tensor) -> None:
    history.append(x.detach().clone())


def make_buffers(n: int, k: int) -> list[torch.Tensor]:
    return [torch.zeros(k) for _ in range(n)]


def _minus_equals(x):
    x -= x.mean()
    return x


def _center_and_return_nothing(x):
    x -= x.mean()


def _center_one_by_one(x):
    for i in range(len(x)):
        x[i] -= x.mean()
    return x


def _center_other_memory(x):
    x.data = x - x.mean()
    return x


def _record_in_one_tensor(history, x):
    history[:] = [x.detach().clone()] * (len(history) + 1)


def _record_in_a_new_list(history, x):
    history = [*history, x.detach().clone()]


def _record_in_front(history, x):
    history.insert(0, x.detach().clone())


def _record_only_the_last(history, x):
    history[:] = [x.detach().clone()]


def _record_and_detach_x(history, x):
    history.append(x.detach_().clone())


_handed_out: dict[tuple[int, int], list[torch.Tensor]] = {}


def _buffers_of_the_last_call(n, k):
    if (n, k) in _handed_out:
        return _handed_out.pop((n, k))  # once only, so that every run of the tests sees the same
    _handed_out[n, k] = make_buffers(n, k)
    return _handed_out[n, k]


_PURE = "test_a_minus_sign_makes_a_new_tensor_minus_equals_does_not"
_IN_PLACE = "test_an_in_place_function_changes_the_tensor_it_was_given"
_ROW = "test_an_in_place_change_through_a_row_reaches_the_matrix"
_HISTORY = "test_a_list_of_one_tensor_shows_its_last_value_everywhere"
_GRAPH = "test_clone_keeps_the_graph"
_BUFFERS = "test_a_multiplied_list_holds_one_tensor"


def _add_back(x):
    mean = x.mean()
    x -= mean
    y = x.clone()
    x += mean
    return y


MISTAKES = [
    Mistake("you changed the caller's x", caught_by=_PURE, centered=_add_back),
    Mistake(
        "x went on, and the snapshots with it",
        caught_by=_GRAPH,
        record=lambda history, x: history.append(x.detach() if x.requires_grad else x.clone()),
    ),
    Mistake(
        "raised for torch.bfloat16",
        caught_by=_HISTORY,
        record=lambda history, x: history.append(torch.from_numpy(x.detach().numpy().copy())),
    ),
    Mistake(
        "a snapshot of torch.int64 has",
        caught_by=_HISTORY,
        record=lambda history, x: history.append(x.detach().double().clone().to(x.dtype)),
    ),
    Mistake("float64 in, float64 out", caught_by=_PURE, centered=lambda x: (x.float() - x.float().mean()).to(x.dtype)),
    Mistake("with a mean of 0 too", caught_by=_PURE, centered=lambda x: x - x.mean() if x.mean() else x),
    Mistake(
        "a float64 tensor is centred as exactly",
        caught_by=_ROW,
        center_=lambda x: x.copy_(x.float() - x.float().mean()),
    ),
    Mistake(
        "a snapshot of torch.int64",
        caught_by=_HISTORY,
        record=lambda history, x: history.append(torch.tensor(x.tolist(), dtype=torch.float32)),
    ),
    Mistake(
        "a snapshot of torch.float64",
        caught_by=_HISTORY,
        record=lambda history, x: history.append(torch.tensor(x.tolist())),
    ),
    Mistake("you changed the caller's x", caught_by=_PURE, centered=_minus_equals),
    Mistake("you changed the caller's x", caught_by=_PURE, centered=lambda x: _minus_equals(x[:])),
    Mistake("you changed the caller's x", caught_by=_PURE, centered=lambda x: _minus_equals(x.detach())),
    Mistake("you changed the caller's x", caught_by=_PURE, centered=lambda x: _minus_equals(copy.copy(x))),
    Mistake("you changed the caller's x", caught_by=_PURE, centered=lambda x: x.sub_(x.mean())),
    Mistake("x did not change", caught_by=_IN_PLACE, center_=lambda x: x - x.mean()),
    Mistake("x did not change", caught_by=_IN_PLACE, center_=lambda x: _minus_equals(x.clone())),
    Mistake("the mean that x had before", caught_by=_IN_PLACE, center_=_center_one_by_one),
    Mistake("center_ returns x itself", caught_by=_IN_PLACE, center_=_center_and_return_nothing),
    Mistake("center_ returns x itself", caught_by=_IN_PLACE, center_=lambda x: x.sub_(x.mean()).clone()),
    Mistake("you gave the row new memory of its own", caught_by=_ROW, center_=_center_other_memory),
    Mistake("the last value three times", caught_by=_HISTORY, record=lambda history, x: history.append(x)),
    Mistake("the last value three times", caught_by=_HISTORY, record=lambda history, x: history.append(x.detach())),
    Mistake("the last value three times", caught_by=_HISTORY, record=lambda history, x: history.append(x[:])),
    Mistake("the last value three times", caught_by=_HISTORY, record=lambda history, x: history.append(copy.copy(x))),
    Mistake("your snapshots share one memory", caught_by=_HISTORY, record=_record_in_one_tensor),
    Mistake("the caller's list is still empty", caught_by=_HISTORY, record=_record_in_a_new_list),
    Mistake("in this order", caught_by=_HISTORY, record=_record_in_front),
    Mistake("three calls, three snapshots", caught_by=_HISTORY, record=_record_only_the_last),
    Mistake("a snapshot is a tensor", caught_by=_HISTORY, record=lambda history, x: history.append(x.tolist())),
    Mistake("your snapshot holds the graph", caught_by=_GRAPH, record=lambda history, x: history.append(x.clone())),
    Mistake(
        "your snapshot requires grad itself",
        caught_by=_GRAPH,
        record=lambda history, x: history.append(x.detach().clone().requires_grad_(x.requires_grad)),
    ),
    Mistake(
        "deepcopy refuses a tensor with a graph",
        caught_by=_GRAPH,
        record=lambda history, x: history.append(copy.deepcopy(x)),
    ),
    Mistake("record only looks at x, and changed it", caught_by=_GRAPH, record=_record_and_detach_x),
    Mistake("shows in the others", caught_by=_BUFFERS, make_buffers=lambda n, k: [torch.zeros(k)] * n),
    Mistake("shows in the others", caught_by=_BUFFERS, make_buffers=lambda n, k: list(torch.zeros(k).expand(n, k))),
    Mistake(
        "shows in its other places",
        caught_by=_BUFFERS,
        make_buffers=lambda n, k: [torch.zeros(1).expand(k) for _ in range(n)],
    ),
    Mistake(
        "you wrote into a copy of the column",
        caught_by=_ROW,
        center_=lambda x: (x.contiguous().sub_(x.mean()), x)[1],
    ),
    Mistake("not one tensor", caught_by=_BUFFERS, make_buffers=lambda n, k: torch.zeros(n, k)),
    Mistake(
        "handed out the first call's buffers again",
        caught_by=_BUFFERS,
        make_buffers=_buffers_of_the_last_call,
    ),
    Mistake("centered(x) is x minus the mean", caught_by=_PURE, centered=lambda x: x - x.mean().round()),
    Mistake(
        "each buffer is a float32 tensor",
        caught_by=_BUFFERS,
        make_buffers=lambda n, k: [torch.zeros(k, requires_grad=True) for _ in range(n)],
    ),
]
