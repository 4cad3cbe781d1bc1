"""Move a batch: reference.

Hint: The batch is a tree. Say what to do with a leaf that is a tensor, with any other leaf, and with each container;
only the containers need the function again.
Hint: `isinstance` against Tensor, dict, list and tuple, in an order that you choose; a namedtuple is a tuple that has
`_fields`, and a class that you can call.
Hint: Build each container anew from the moved items: a namedtuple's class with the items spread by a star, a list's or
tuple's class with one iterable of them, a dict's with one of pairs.

Why: `.to` is a function of the tensor, not an order to it, so its result must be kept at every level, and new
containers are the way to keep it without touching the caller's. Since `.to` hands back the very object where nothing
has to change, a second move costs nothing; nor is its result a copy that you may edit (`copy=True` makes one). torch's
own loader does the same walk for `pin_memory`.
"""

import functools
from typing import Any

import torch

from dojo import Mistake


def move(batch: Any, device: str | torch.device) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return type(batch)((key, move(item, device)) for key, item in batch.items())
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move(item, device) for item in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move(item, device) for item in batch)
    return batch


def _walk(batch, leaf, *, dicts=None, named=None, sequence=None):
    """`move` with parts that can be replaced by wrong ones."""

    def again(item):
        return _walk(item, leaf, dicts=dicts, named=named, sequence=sequence)

    if isinstance(batch, dict):
        return (dicts or (lambda b: type(b)((k, again(v)) for k, v in b.items())))(batch)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return (named or (lambda b: type(b)(*map(again, b))))(batch)
    if isinstance(batch, list | tuple):
        return sequence(batch, again) if sequence else type(batch)(map(again, batch))
    return leaf(batch)


def _to(device):
    return lambda x: x.to(device) if isinstance(x, torch.Tensor) else x


def _cut_what_moves(batch, device):
    def leaf(x):
        there = not isinstance(x, torch.Tensor) or x.device == torch.device(device)
        return x if there else x.detach().to(device)

    return _walk(batch, leaf)


def _drop(batch, device):
    def leaf(x):
        if isinstance(x, torch.Tensor):
            x.to(device)
        return x

    return _walk(batch, leaf)


def _one_level(batch, device):
    to = _to(device)
    if isinstance(batch, dict):
        return {key: to(item) for key, item in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(to, batch))
    return type(batch)(map(to, batch)) if isinstance(batch, list | tuple) else to(batch)


def _everything_has_to(batch, device):
    return _walk(batch, lambda x: x.to(device))


def _strings_are_sequences(batch, device):
    if isinstance(batch, str):
        return [char for char in batch]
    return (
        type(batch)((k, _strings_are_sequences(v, device)) for k, v in batch.items())
        if isinstance(batch, dict)
        else move(batch, device)
    )


def _drops_other_leaves(batch, device):
    return _walk(batch, lambda x: x.to(device) if isinstance(x, torch.Tensor) else None)


def _tuples_in_the_plain_way(batch, device):
    if isinstance(batch, dict):
        return {key: _tuples_in_the_plain_way(item, device) for key, item in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(_tuples_in_the_plain_way(item, device) for item in batch)
    return _to(device)(batch)


def _all_spread(batch, device):
    return _walk(batch, _to(device), sequence=lambda b, again: type(b)(*map(again, b)))


def _named_become_tuples(batch, device):
    return _walk(batch, _to(device), named=lambda b: tuple(move(item, device) for item in b))


def _tuples_become_lists(batch, device):
    return _walk(batch, _to(device), sequence=lambda b, again: [again(item) for item in b])


def _plain_dicts(batch, device):
    return _walk(batch, _to(device), dicts=lambda b: {key: _plain_dicts(item, device) for key, item in b.items()})


def _only_exact_dicts(batch, device):
    again = functools.partial(_only_exact_dicts, device=device)
    if type(batch) is dict:
        return {key: again(item) for key, item in batch.items()}
    return _walk(batch, _to(device), dicts=lambda b: b, sequence=lambda b, _: type(b)(map(again, b)))


def _all_become_tensors(batch, device):
    return _walk(batch, lambda x: torch.as_tensor(x).to(device))


def _in_float32(batch, device):
    return _walk(batch, lambda x: x.to(device, torch.float32) if isinstance(x, torch.Tensor) else x)


def _scales_on_the_way(batch, device):
    def leaf(x):
        if isinstance(x, torch.Tensor) and device == "meta" and x.is_floating_point():
            x.div_(255)
        return _to(device)(x)

    return _walk(batch, leaf)


def _whatever_has_to(batch, device):
    return _walk(batch, lambda x: x.to(device) if hasattr(x, "to") else x)


def _no_lists(batch, device):
    return _walk(batch, _to(device), sequence=lambda b, again: b)


def _writes_into_dicts(batch, device):
    def update(b):
        for key in b:
            b[key] = _writes_into_dicts(b[key], device)
        return b

    return _walk(batch, _to(device), dicts=update)


def _writes_into_lists(batch, device):
    def update(b, again):
        if isinstance(b, tuple):
            return tuple(map(again, b))
        b[:] = map(again, b)
        return b

    return _walk(batch, _to(device), sequence=update)


def _copies(batch, device):
    return _walk(batch, lambda x: x.to(device, copy=True) if isinstance(x, torch.Tensor) else x)


def _copies_inside(batch, device):
    return batch if isinstance(batch, torch.Tensor) and batch.device == torch.device(device) else _copies(batch, device)


def _numbers_become_tensors(batch, device):
    return _walk(batch, lambda x: torch.as_tensor(x, device=device) if isinstance(x, int | float) else _to(device)(x))


def _contiguous(batch, device):
    return _walk(batch, lambda x: x.contiguous().to(device) if isinstance(x, torch.Tensor) else x)


def _none_is_left_out(batch, device):
    def keep(b, again):
        return type(b)(again(item) for item in b if item is not None)

    return _walk(batch, _to(device), sequence=keep)


def _one_is_unpacked(batch, device):
    def unpack(b, again):
        return again(b[0]) if isinstance(b, tuple) and len(b) == 1 else type(b)(map(again, b))

    return _walk(batch, _to(device), sequence=unpack)


def _numbers_leave_torch(batch, device):
    return _walk(batch, lambda x: x.item() if isinstance(x, torch.Tensor) and x.dim() == 0 else _to(device)(x))


_DROPPED = "`.to` returns the moved tensor, x stays; did you drop it?"
_ORDERED = "an OrderedDict stays an OrderedDict"
_PLAIN = "what is no tensor stays as it is"

MISTAKES = [
    Mistake("it was cut from its graph", caught_by="test_to_returns_the_moved_tensor", move=_cut_what_moves),
    Mistake(_DROPPED, caught_by="test_to_returns_the_moved_tensor", move=_drop),
    Mistake(
        "further down (a dict in a dict) stayed on cpu",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_one_level,
    ),
    Mistake(
        "further down (a list in a dict) stayed on cpu",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_no_lists,
    ),
    Mistake(
        "what is no tensor has no `.to`",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_everything_has_to,
    ),
    Mistake(
        "you moved the model in the batch",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_whatever_has_to,
    ),
    Mistake(
        "raised for this batch", caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_all_become_tensors
    ),
    Mistake(
        "has another form than before", caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_in_float32
    ),
    Mistake(
        "must not change the tensors of the batch",
        caught_by="test_the_batch_belongs_to_the_caller",
        move=_scales_on_the_way,
    ),
    Mistake(_ORDERED, caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_plain_dicts),
    Mistake(
        "an OrderedDict in a list) stayed on cpu",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_only_exact_dicts,
    ),
    Mistake(_PLAIN, caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_strings_are_sequences),
    Mistake(_PLAIN, caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_drops_other_leaves),
    Mistake(_PLAIN, caught_by="test_tensors_may_lie_deep_and_other_leaves_stay", move=_numbers_become_tensors),
    Mistake(
        "you changed the caller's dict: build a new one",
        caught_by="test_the_batch_belongs_to_the_caller",
        move=_writes_into_dicts,
    ),
    Mistake(
        "you changed the caller's list: build a new one",
        caught_by="test_the_batch_belongs_to_the_caller",
        move=_writes_into_lists,
    ),
    Mistake(
        "and another tensor came back", caught_by="test_a_tensor_that_is_there_already_is_not_copied", move=_copies
    ),
    Mistake(
        "x.t() was on the CPU already",
        caught_by="test_a_tensor_that_is_there_already_is_not_copied",
        move=_contiguous,
    ),
    Mistake(
        "a 0-dim tensor has another form",
        caught_by="test_tensors_may_lie_deep_and_other_leaves_stay",
        move=_numbers_leave_torch,
    ),
    Mistake(
        "the list had 4 items, yours has 3",
        caught_by="test_a_list_stays_a_list_and_a_tuple_a_tuple",
        move=_none_is_left_out,
    ),
    Mistake(
        "a tuple of one stays a tuple",
        caught_by="test_a_list_stays_a_list_and_a_tuple_a_tuple",
        move=_one_is_unpacked,
    ),
    Mistake(
        "and other tensors came back",
        caught_by="test_a_tensor_that_is_there_already_is_not_copied",
        move=_copies_inside,
    ),
    Mistake(
        "a tuple stays a tuple, yours became a list",
        caught_by="test_a_list_stays_a_list_and_a_tuple_a_tuple",
        move=_tuples_become_lists,
    ),
    Mistake(
        "a tuple broke your move: a list or a tuple is built from one iterable",
        caught_by="test_a_list_stays_a_list_and_a_tuple_a_tuple",
        move=_all_spread,
    ),
    Mistake(
        "a namedtuple broke your move",
        caught_by="test_a_namedtuple_takes_its_fields_one_by_one",
        move=_tuples_in_the_plain_way,
    ),
    Mistake(
        "the namedtuple became a tuple: it must stay",
        caught_by="test_a_namedtuple_takes_its_fields_one_by_one",
        move=_named_become_tuples,
    ),
]
