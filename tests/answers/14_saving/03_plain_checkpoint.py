"""Answers that people give to plain_checkpoint, right ones and wrong ones."""

import argparse
import copy
import dataclasses
import functools
import json
import numbers
import os
import pathlib
import pickle
import types
from collections.abc import Mapping

import numpy as np
import torch

from dojo import Mistake


def _asdict(obj):
    """asdict first, then everything inside."""
    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, (type(None), bool, int, float, str, bytes, torch.Tensor)):
        return obj
    if isinstance(obj, np.ndarray):
        return torch.tensor(obj)
    if isinstance(obj, pathlib.PurePath):
        return os.fspath(obj)
    if dataclasses.is_dataclass(obj):
        obj = dataclasses.asdict(obj)
    elif isinstance(obj, argparse.Namespace):
        obj = vars(obj)
    if isinstance(obj, Mapping):
        return {k: _asdict(v) for k, v in obj.items()}
    if isinstance(obj, (list, tuple)):
        return type(obj)(_asdict(v) for v in obj)
    raise TypeError(f"{obj!r}")


@functools.singledispatch
def _dispatch(obj):
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {f.name: _dispatch(getattr(obj, f.name)) for f in dataclasses.fields(obj)}
    raise TypeError(type(obj))


for _kind in (type(None), bool, int, float, str, bytes, torch.Tensor):
    _dispatch.register(_kind, lambda obj: obj)
_dispatch.register(np.generic, lambda obj: obj.item())
_dispatch.register(np.float64, lambda obj: obj.item())
_dispatch.register(np.ndarray, lambda obj: torch.from_numpy(obj.copy()))
_dispatch.register(pathlib.Path, str)
_dispatch.register(argparse.Namespace, lambda obj: _dispatch(vars(obj)))
_dispatch.register(dict, lambda obj: {k: _dispatch(v) for k, v in obj.items()})
_dispatch.register(list, lambda obj: [_dispatch(v) for v in obj])
_dispatch.register(tuple, lambda obj: tuple(map(_dispatch, obj)))


def _match(obj):
    match obj:
        case np.floating():
            return float(obj)
        case np.integer():
            return int(obj)
        case None | bool() | int() | float() | str() | bytes() | torch.Tensor():
            return obj
        case np.ndarray():
            return torch.as_tensor(obj)
        case pathlib.Path():
            return str(obj)
        case argparse.Namespace():
            return {k: _match(v) for k, v in obj._get_kwargs()}
        case dict():
            return dict(zip(obj.keys(), map(_match, obj.values()), strict=True))
        case list():
            return list(map(_match, obj))
        case tuple():
            return (*map(_match, obj),)
    if hasattr(obj, "__dataclass_fields__"):
        return {name: _match(getattr(obj, name)) for name in dataclasses.asdict(obj)}
    raise TypeError("not plain")


def _by_type(obj):
    """Exact classes, no isinstance."""
    kind = type(obj)
    if kind in (bool, int, float, str, bytes, type(None)) or isinstance(obj, torch.Tensor):
        return obj
    if isinstance(obj, np.generic | np.ndarray):
        return obj.tolist() if isinstance(obj, np.generic) else torch.from_numpy(np.array(obj))
    if issubclass(kind, os.PathLike):
        return os.fspath(obj)
    if kind in (list, tuple):
        return kind([_by_type(v) for v in obj])
    if kind is argparse.Namespace or dataclasses.is_dataclass(kind):
        obj = vars(obj)
    if not isinstance(obj, dict):
        raise TypeError(kind.__name__)
    plain = {}
    for key in obj:
        plain[key] = _by_type(obj[key])
    return plain


def _copied(obj):
    """In place, on a copy: the caller's own is left alone."""

    def edit(x):
        if isinstance(x, list):
            for i, item in enumerate(x):
                x[i] = edit(item)
            return x
        if isinstance(x, tuple):
            return tuple(edit(item) for item in x)
        if isinstance(x, dict):
            x = dict(x)
            for key in x:
                x[key] = edit(x[key])
            return x
        if isinstance(x, argparse.Namespace) or dataclasses.is_dataclass(x):
            return edit(dict(vars(x)))
        return _asdict(x)

    memo = {id(t): t for t in _tensors(obj)}
    return edit(copy.deepcopy(obj, memo))


def _tensors(obj):
    if isinstance(obj, torch.Tensor):
        yield obj
    elif isinstance(obj, dict):
        for value in obj.values():
            yield from _tensors(value)
    elif isinstance(obj, list | tuple):
        for value in obj:
            yield from _tensors(value)
    elif hasattr(obj, "__dict__"):
        yield from _tensors(vars(obj))


RIGHT = [{"to_plain": f} for f in (_asdict, _dispatch, _match, _by_type, _copied)]


def _before(kinds, then):
    """A right answer with one rule before all others, at every depth."""

    def wrong(obj):
        if isinstance(obj, kinds):
            return then(obj, wrong)
        if isinstance(obj, argparse.Namespace) or dataclasses.is_dataclass(obj):
            obj = dict(vars(obj))
        if isinstance(obj, dict):
            return {k: wrong(v) for k, v in obj.items()}
        if isinstance(obj, list | tuple):
            return type(obj)(wrong(v) for v in obj)
        return _asdict(obj)

    return wrong


def _duck(obj):
    """Asks what the object can do."""
    if hasattr(obj, "tolist") and not isinstance(obj, torch.Tensor):
        return obj.tolist()
    return _asdict(obj)


def _number(obj):
    if isinstance(obj, numbers.Number):
        return obj
    return _asdict(obj)


def _one_level(obj):
    if isinstance(obj, dict):
        return {k: v if isinstance(v, dict) else _asdict(v) for k, v in obj.items()}
    return _asdict(obj)


def _only_top(obj):
    if isinstance(obj, list | tuple):
        return obj
    return _asdict(obj)


def _json(obj):
    def default(x):
        if isinstance(x, torch.Tensor | np.ndarray):
            return x.tolist()
        return _asdict(x)

    return json.loads(json.dumps(obj, default=default))


def _pickles(obj):
    """Can it be pickled? Then it may stay."""
    try:
        return _asdict(obj)
    except TypeError:
        pickle.dumps(obj)
        return obj


def _warns(obj):
    try:
        return _asdict(obj)
    except TypeError:
        return f"<{type(obj).__name__}>"


def _skips(obj):
    if isinstance(obj, dict):
        plain = {}
        for key, value in obj.items():
            try:
                plain[key] = _skips(value)
            except TypeError:
                continue
        return plain
    return _asdict(obj)


def _truthy(obj):
    return _asdict(obj) if isinstance(obj, torch.Tensor | np.ndarray) or obj else None


def _asserts(obj):
    try:
        return _asdict(obj)
    except TypeError as error:
        raise ValueError("not plain") from error


_OF_THE_SAME = "becomes a tensor of the same, also with one item or none"
_LET = "has no plain form, so to_plain has to raise a TypeError"
_KIND = "tuples, lists and dicts inside of each other keep their kind"
_WENT = "np.float64 is a float for isinstance, so it went through as it was"

WRONG = [
    Mistake(_OF_THE_SAME, caught_by="", to_plain=_duck),
    Mistake(_WENT, caught_by="", to_plain=_number),
    Mistake(_WENT, caught_by="", to_plain=_before((float, int), lambda x, _: x)),
    Mistake("becomes a dict", caught_by="", to_plain=_one_level),
    Mistake(_KIND, caught_by="", to_plain=_only_top),
    Mistake("is plain already", caught_by="", to_plain=_json),
    Mistake(_LET, caught_by="", to_plain=_pickles),
    Mistake(_LET, caught_by="", to_plain=_warns),
    Mistake("is plain already", caught_by="", to_plain=_before(bytes, lambda x, _: bytearray(x))),
    Mistake(
        "is plain already", caught_by="", to_plain=_before(float, lambda x, _: round(float(x), 4) if x < 1 else None)
    ),
    Mistake("np.bool_ came back as", caught_by="", to_plain=_before(np.bool_, lambda x, _: x)),
    Mistake(_LET, caught_by="", to_plain=_skips),
    Mistake("is plain already", caught_by="", to_plain=_truthy),
    Mistake("expected TypeError, got ValueError", caught_by="", to_plain=_asserts),
    Mistake("for an np.int64, got a float", caught_by="", to_plain=_before(np.generic, lambda x, _: float(x))),
    Mistake(_OF_THE_SAME, caught_by="", to_plain=_before(np.ndarray, lambda x, _: torch.FloatTensor(x.astype("f4")))),
    Mistake(_OF_THE_SAME, caught_by="", to_plain=_before(np.ndarray, lambda x, _: torch.from_numpy(np.atleast_1d(x)))),
    Mistake(_OF_THE_SAME, caught_by="", to_plain=_before(np.ndarray, lambda x, _: torch.from_numpy(x).squeeze())),
    Mistake("stays the same object", caught_by="", to_plain=_before(torch.Tensor, lambda x, _: x.clone())),
    Mistake("stays the same object", caught_by="", to_plain=_before(torch.Tensor, lambda x, _: x.numpy(force=True))),
    Mistake("stays the same object", caught_by="", to_plain=_before(torch.Tensor, lambda x, _: x.contiguous())),
    Mistake("is plain already", caught_by="", to_plain=_before(str, lambda x, _: x.encode())),
    Mistake("is plain already", caught_by="", to_plain=_before(bool, lambda x, _: float(x))),
    Mistake("a Path becomes its text", caught_by="", to_plain=_before(pathlib.Path, lambda x, _: x.as_uri())),
    Mistake("a Path becomes its text", caught_by="", to_plain=_before(pathlib.Path, lambda x, _: str(x.absolute()))),
    Mistake(_KIND, caught_by="", to_plain=_before((list, tuple), lambda x, f: [f(v) for v in x])),
    Mistake("becomes a dict", caught_by="", to_plain=_before(dict, lambda x, f: {f"{k}": f(v) for k, v in x.items()})),
    Mistake("becomes a dict", caught_by="", to_plain=_before(dict, lambda x, f: [(k, f(v)) for k, v in x.items()])),
    Mistake(_LET, caught_by="", to_plain=_before(object, lambda x, f: _asdict(x) if type(x) is not object else None)),
    Mistake(
        "the Namespace was edited",
        caught_by="",
        to_plain=_before(dict, lambda x, f: x.update({k: f(v) for k, v in x.items()}) or dict(x)),
    ),
]


def _skip_none_fields(obj, f):
    return {k.name: f(getattr(obj, k.name)) for k in dataclasses.fields(obj) if getattr(obj, k.name) is not None}


def _repr_namespace(obj, f):
    return f(json.loads(json.dumps(vars(obj), default=str)))


def _first_key(obj, f):
    return {f(k): v for k, v in obj.items()}


def _iterable(obj, f):
    return [f(v) for v in obj]


def _class_too(obj):
    if isinstance(obj, type) and dataclasses.is_dataclass(obj):
        return {field.name: _asdict(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    return _asdict(obj)


WRONG += [
    Mistake(_LET, caught_by="", to_plain=_before((set, frozenset), _iterable)),
    Mistake(_LET, caught_by="", to_plain=_before((set, frozenset), lambda x, f: x)),
    Mistake(_LET, caught_by="", to_plain=_before((range, types.GeneratorType), _iterable)),
    Mistake(_LET, caught_by="", to_plain=_class_too),
    Mistake(_LET, caught_by="", to_plain=_before(torch.nn.Module, lambda x, f: f(x.state_dict()))),
    Mistake("becomes a dict", caught_by="", to_plain=_before(dict, _first_key)),
    Mistake(
        "a Namespace becomes a dict, plain inside too",
        caught_by="",
        to_plain=_before(argparse.Namespace, _repr_namespace),
    ),
    Mistake(
        "becomes a dict", caught_by="", to_plain=_before(argparse.Namespace, lambda x, f: f(list(vars(x).values())))
    ),
    Mistake(
        _OF_THE_SAME,
        caught_by="",
        to_plain=_before(np.ndarray, lambda x, f: torch.tensor(x, dtype=torch.get_default_dtype())),
    ),
    Mistake(
        _OF_THE_SAME,
        caught_by="",
        to_plain=_before(np.ndarray, lambda x, f: torch.from_numpy(x) if x.size > 1 else f(x[()])),
    ),
    Mistake(_KIND, caught_by="", to_plain=_before(tuple, lambda x, f: (f(v) for v in x))),
    Mistake(_LET, caught_by="", to_plain=_before(type(len), lambda x, f: x.__name__)),
    Mistake(
        _KIND,
        caught_by="",
        to_plain=_before(
            list, lambda x, f: torch.tensor(x) if x and all(type(v) is int for v in x) else [f(v) for v in x]
        ),
    ),
]
