"""Answers that people give to move_a_batch, right ones and wrong ones."""

import copy
from collections.abc import Mapping

import torch
from torch.utils._pytree import tree_map

from dojo import Mistake


def _with_pytree(batch, device):
    return tree_map(lambda leaf: leaf.to(device) if torch.is_tensor(leaf) else leaf, batch)


def _with_make(batch, device):
    if torch.is_tensor(batch):
        return batch if batch.device == torch.device(device) else batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return type(batch)((key, _with_make(item, device)) for key, item in batch.items())
    if hasattr(batch, "_make"):
        return batch._make(_with_make(item, device) for item in batch)
    if isinstance(batch, list):
        return [_with_make(item, device) for item in batch]
    if isinstance(batch, tuple):
        return tuple(_with_make(item, device) for item in batch)
    return batch


def _with_match(batch, device):
    match batch:
        case torch.Tensor():
            return batch.to(device=device)
        case dict():
            new = type(batch)()
            for key in batch:
                new[key] = _with_match(batch[key], device)
            return new
        case tuple() if hasattr(batch, "_asdict"):
            return batch._replace(**_with_match(batch._asdict(), device))
        case list() | tuple():
            items = []
            for item in batch:
                items.append(_with_match(item, device))
            return items if isinstance(batch, list) else tuple(items)
        case _:
            return batch


def _by_keywords(batch, device):
    if hasattr(batch, "is_contiguous"):
        return batch.to(device)
    if isinstance(batch, dict):
        return type(batch)(zip(batch, [_by_keywords(item, device) for item in batch.values()], strict=True))
    if isinstance(batch, tuple) and type(batch) is not tuple:
        return type(batch)(**{name: _by_keywords(getattr(batch, name), device) for name in batch._fields})
    return batch.__class__([_by_keywords(i, device) for i in batch]) if isinstance(batch, list | tuple) else batch


RIGHT = [{"move": _with_pytree}, {"move": _with_make}, {"move": _with_match}, {"move": _by_keywords}]


def _tuple_or_list(batch, device, again):
    items = [again(item, device) for item in batch]
    return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)


def _move_all_but_dicts(batch, device):
    if torch.is_tensor(batch):
        return batch.to(device)
    return _tuple_or_list(batch, device, _move_all_but_dicts) if isinstance(batch, list | tuple) else batch


def _in_deepcopy(batch, device):
    return _with_match(copy.deepcopy(batch), device)


def _in_data(batch, device):
    if torch.is_tensor(batch):
        batch.detach().to(device)
        return batch
    if isinstance(batch, dict):
        return {key: _in_data(item, device) for key, item in batch.items()}
    return _tuple_or_list(batch, device, _in_data) if isinstance(batch, list | tuple) else batch


def _as_tensor(batch, device):
    if isinstance(batch, dict):
        return {key: _as_tensor(item, device) for key, item in batch.items()}
    if isinstance(batch, list | tuple):
        return _tuple_or_list(batch, device, _as_tensor)
    return torch.as_tensor(batch, device=device)


def _update(batch, device):
    if isinstance(batch, dict):
        batch.update({key: _update(item, device) for key, item in batch.items()})
        return batch
    return _tuple_or_list(batch, device, _update) if isinstance(batch, list | tuple) else _with_match(batch, device)


def _by_index(batch, device):
    if isinstance(batch, list):
        for i, item in enumerate(batch):
            batch[i] = _by_index(item, device)
        return batch
    if isinstance(batch, dict):
        return {key: _by_index(item, device) for key, item in batch.items()}
    return _tuple_or_list(batch, device, _by_index) if isinstance(batch, tuple) else _with_match(batch, device)


def _sequences_become_lists(batch, device):
    if isinstance(batch, dict):
        return {key: _sequences_become_lists(item, device) for key, item in batch.items()}
    if isinstance(batch, list | tuple):
        return [_sequences_become_lists(item, device) for item in batch]
    return _with_match(batch, device)


def _sequences_become_tuples(batch, device):
    if isinstance(batch, dict):
        return {key: _sequences_become_tuples(item, device) for key, item in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_sequences_become_tuples(item, device) for item in batch)
    return (
        [_sequences_become_tuples(i, device) for i in batch] if isinstance(batch, list) else _with_match(batch, device)
    )


def _floats_only(batch, device):
    return tree_map(lambda leaf: leaf.to(device, torch.float32) if torch.is_tensor(leaf) else leaf, batch)


def _iterates_over_strings(batch, device):
    if torch.is_tensor(batch):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _iterates_over_strings(item, device) for key, item in batch.items()}
    if hasattr(batch, "__iter__") and not hasattr(batch, "_fields"):
        return type(batch)([_iterates_over_strings(item, device) for item in batch])
    return _with_match(batch, device)


def _forgets_the_last_return(batch, device):
    if torch.is_tensor(batch):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _forgets_the_last_return(item, device) for key, item in batch.items()}
    if isinstance(batch, list | tuple):
        return _tuple_or_list(batch, device, _forgets_the_last_return)


def _named_become_dicts(batch, device):
    if hasattr(batch, "_asdict"):
        return {key: _named_become_dicts(item, device) for key, item in batch._asdict().items()}
    if isinstance(batch, dict):
        return {key: _named_become_dicts(item, device) for key, item in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)([_named_become_dicts(item, device) for item in batch])
    return _with_match(batch, device)


def _data_where_it_moves(batch, device):
    there = torch.empty(0, device=device).device
    return tree_map(lambda x: x.data.to(there) if torch.is_tensor(x) and x.device != there else x, batch)


def _whatever_moves(batch, device):
    return tree_map(lambda leaf: leaf.to(device) if callable(getattr(leaf, "to", None)) else leaf, batch)


WRONG = [
    Mistake("it was cut from its graph", caught_by="", move=_data_where_it_moves),
    Mistake("what is no tensor stays as it is", caught_by="", move=_forgets_the_last_return),
    Mistake("the namedtuple became a tuple: it must stay", caught_by="", move=_named_become_dicts),
    Mistake(
        "`.to` returns the moved tensor, x stays; did you drop it?", caught_by="", move=lambda batch, device: batch
    ),
    Mistake("further down (a dict in a dict) stayed on cpu", caught_by="", move=_move_all_but_dicts),
    Mistake("and another tensor came back", caught_by="", move=_in_deepcopy),
    Mistake("`.to` returns the moved tensor, x stays; did you drop it?", caught_by="", move=_in_data),
    Mistake("raised for this batch", caught_by="", move=_as_tensor),
    Mistake("raised for this batch", caught_by="", move=_iterates_over_strings),
    Mistake("you moved the model in the batch", caught_by="", move=_whatever_moves),
    Mistake("you changed the caller's dict: build a new one", caught_by="", move=_update),
    Mistake("you changed the caller's list: build a new one", caught_by="", move=_by_index),
    Mistake("a tuple stays a tuple, yours became a list", caught_by="", move=_sequences_become_lists),
    Mistake("the namedtuple became a tuple: it must stay", caught_by="", move=_sequences_become_tuples),
    Mistake("has another form than before", caught_by="", move=_floats_only),
]
