"""A checkpoint of plain things only: reference.

Hint: One question after the other: which class is it? The narrow classes come before the wide ones.
Hint: `np.generic` with `.item()` before `float`; `torch.from_numpy`; `os.fspath`; `dataclasses.fields`; `vars`.
Hint: NumPy scalars, then what is plain as it is, then arrays, paths, objects with fields, dicts, lists and tuples (each
calls the function again for what is inside), and at the end a TypeError with the name of the class.

Why: a pickle may name any class, and building it runs that class's code. torch.load therefore builds from a short list
by default, and a list can only be kept if what you save is on it. np.float64 inherits from float, so a test for float
lets it through, and the file that was written for a night does not open. An error at save time costs a line; an error
at load time costs the training. Paths and classes also change with the machine and the source code; text does not.
"""

import argparse
import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dojo import Mistake


def to_plain(obj: Any) -> Any:
    if isinstance(obj, np.generic):
        return obj.item()
    if obj is None or isinstance(obj, bool | int | float | str | bytes | torch.Tensor):
        return obj
    if isinstance(obj, np.ndarray):
        return torch.from_numpy(obj)
    if isinstance(obj, Path):
        return str(obj)
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: to_plain(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, argparse.Namespace):
        return to_plain(vars(obj))
    if isinstance(obj, dict):
        return {key: to_plain(value) for key, value in obj.items()}
    if isinstance(obj, list):
        return [to_plain(item) for item in obj]
    if isinstance(obj, tuple):
        return tuple(to_plain(item) for item in obj)
    raise TypeError(f"a {type(obj).__name__} has no plain form in a checkpoint")


_PLAIN = bool | int | float | str | bytes | torch.Tensor


def _like(**rules):
    """to_plain with some rules of its own: for each name of a rule a function (obj, recur) -> result."""

    def wrong(obj):
        def rule(name, otherwise):
            return rules[name](obj, wrong) if name in rules else otherwise()

        if "first" in rules and (got := rules["first"](obj, wrong)) is not NotImplemented:
            return got
        if isinstance(obj, np.generic):
            return rule("scalar", obj.item)
        if obj is None or isinstance(obj, _PLAIN):
            return obj
        if isinstance(obj, np.ndarray):
            return rule("array", lambda: torch.from_numpy(obj))
        if isinstance(obj, Path):
            return rule("path", lambda: str(obj))
        if dataclasses.is_dataclass(obj):
            return rule("dataclass", lambda: {k: wrong(v) for k, v in vars(obj).items()})
        if isinstance(obj, argparse.Namespace):
            return rule("namespace", lambda: {k: wrong(v) for k, v in vars(obj).items()})
        if isinstance(obj, dict):
            return rule("dict", lambda: {k: wrong(v) for k, v in obj.items()})
        if isinstance(obj, list):
            return rule("list", lambda: [wrong(item) for item in obj])
        if isinstance(obj, tuple):
            return rule("tuple", lambda: tuple(wrong(item) for item in obj))
        return rule("rest", lambda: _refuse(obj))

    return wrong


def _refuse(obj):
    raise TypeError(type(obj).__name__)


def _loops(x):
    return hasattr(x, "__iter__") and not isinstance(x, type)


def _when(kind, then):
    return lambda obj, recur: then(obj, recur) if isinstance(obj, kind) else NotImplemented


def _edit_dict(obj, recur):
    for key in obj:
        obj[key] = recur(obj[key])
    return dict(obj)


def _edit_list(obj, recur):
    obj[:] = [recur(item) for item in obj]
    return list(obj)


def _edit_namespace(obj, recur):
    for key, value in vars(obj).items():
        setattr(obj, key, recur(value))
    return dict(vars(obj))


def _through_json(obj, recur):
    """Keys become text, tuples become lists."""
    kept = []

    def keep(x):
        kept.append(recur(x))
        return {"kept": len(kept) - 1}

    return json.loads(json.dumps(obj, default=keep), object_hook=lambda d: kept[d["kept"]] if "kept" in d else d)


def _same_class(obj, recur):
    same = copy.copy(obj)
    same.update({key: recur(value) for key, value in obj.items()})
    return same


_SCALAR = "test_a_numpy_scalar_becomes_the_python_number"
_ARRAY = "test_a_numpy_array_becomes_a_tensor_with_its_dtype"
_STAYS = "test_what_is_plain_stays_as_it_is_and_a_path_becomes_text"
_FIELDS = "test_objects_with_fields_become_dicts"
_DEEP = "test_containers_are_made_plain_to_the_bottom"
_FILE = "test_a_plain_checkpoint_survives_saving_and_loading"
_REST = "test_what_has_no_plain_form_is_refused_at_the_call"

_WENT = "np.float64 is a float for isinstance, so it went through as it was"
_OF_THE_SAME = "becomes a tensor of the same, also with one item or none"
_FIELD_DICT = "a dataclass becomes a dict of its fields, plain inside too"
_NAMESPACE = "a Namespace becomes a dict, plain inside too"
_LET = "has no plain form, so to_plain has to raise a TypeError"
_KIND = "tuples, lists and dicts inside of each other keep their kind"

MISTAKES = [
    Mistake(_WENT, caught_by=_SCALAR, to_plain=_like(first=_when(_PLAIN, lambda obj, _: obj))),
    Mistake(
        "the value is to be the same",
        caught_by=_SCALAR,
        to_plain=_like(scalar=lambda x, _: float(x) if isinstance(x, np.floating) else int(float(x))),
    ),
    Mistake(
        "the value is to be the same", caught_by=_SCALAR, to_plain=_like(scalar=lambda x, _: type(x.item())(str(x)))
    ),
    Mistake("for an np.int64, got a float", caught_by=_SCALAR, to_plain=_like(scalar=lambda x, _: float(x))),
    Mistake("for an np.float64, got a Tensor", caught_by=_SCALAR, to_plain=_like(scalar=lambda x, _: torch.tensor(x))),
    Mistake(
        "got an np.float32 back",
        caught_by=_SCALAR,
        to_plain=_like(scalar=lambda x, _: float(x) if isinstance(x, float) else x),
    ),
    Mistake(
        "to_plain raised on an np.float16",
        caught_by=_SCALAR,
        to_plain=_like(scalar=lambda x, _: _refuse(x) if isinstance(x, np.float16) else x.item()),
    ),
    Mistake(
        "np.bool_ came back as",
        caught_by=_SCALAR,
        to_plain=_like(scalar=lambda x, _: x.item() if isinstance(x, np.number) else x),
    ),
    Mistake(_OF_THE_SAME, caught_by=_ARRAY, to_plain=_like(array=lambda x, _: x.tolist())),
    Mistake(_OF_THE_SAME, caught_by=_ARRAY, to_plain=_like(array=lambda x, _: torch.tensor(x.tolist()))),
    Mistake(_OF_THE_SAME, caught_by=_ARRAY, to_plain=_like(array=lambda x, _: torch.Tensor(x))),
    Mistake(_OF_THE_SAME, caught_by=_ARRAY, to_plain=_like(array=lambda x, _: torch.from_numpy(x).float())),
    Mistake(_OF_THE_SAME, caught_by=_ARRAY, to_plain=_like(array=lambda x, _: x)),
    Mistake(
        _OF_THE_SAME,
        caught_by=_ARRAY,
        to_plain=_like(array=lambda x, _: x.item() if x.size == 1 else torch.from_numpy(x)),
    ),
    Mistake(
        _OF_THE_SAME,
        caught_by=_ARRAY,
        to_plain=_like(array=lambda x, _: x.item() if x.ndim == 0 else torch.from_numpy(x)),
    ),
    Mistake(
        "a transposed array",
        caught_by=_ARRAY,
        to_plain=_like(
            array=lambda x, _: (
                torch.frombuffer(bytearray(x.tobytes("A")), dtype=torch.from_numpy(x).dtype).view(x.shape)
                if x.size
                else torch.from_numpy(x)
            )
        ),
    ),
    Mistake(
        "stays the same object",
        caught_by=_STAYS,
        to_plain=_like(first=_when(torch.Tensor, lambda x, _: x.detach().cpu().clone())),
    ),
    Mistake(
        "stays the same object", caught_by=_STAYS, to_plain=_like(first=_when(torch.Tensor, lambda x, _: x.detach()))
    ),
    Mistake(
        "stays the same object",
        caught_by=_STAYS,
        to_plain=_like(first=_when(torch.Tensor, lambda x, _: x.item() if x.numel() == 1 else x)),
    ),
    Mistake(
        "stays the same object",
        caught_by=_STAYS,
        to_plain=_like(first=_when(torch.Tensor, lambda x, _: x.detach() if x.requires_grad else x)),
    ),
    Mistake(
        "stays the same object",
        caught_by=_STAYS,
        to_plain=_like(first=_when(torch.Tensor, lambda x, _: x.contiguous())),
    ),
    Mistake("True is plain already", caught_by=_STAYS, to_plain=_like(first=_when(int, lambda x, _: int(x)))),
    Mistake("is plain already", caught_by=_STAYS, to_plain=_like(first=_when(bytes, lambda x, _: x.decode("latin-1")))),
    Mistake("is plain already", caught_by=_STAYS, to_plain=_like(first=_when(bytes, lambda x, _: list(x)))),
    Mistake(
        "is plain already", caught_by=_STAYS, to_plain=_like(first=lambda x, _: "None" if x is None else NotImplemented)
    ),
    Mistake(
        "to_plain raised on None", caught_by=_STAYS, to_plain=_like(first=_when(type(None), lambda x, _: _refuse(x)))
    ),
    Mistake("is plain already", caught_by=_STAYS, to_plain=_like(first=_when(str, lambda x, _: str(Path(x))))),
    Mistake("a Path becomes its text", caught_by=_STAYS, to_plain=_like(path=lambda x, _: x)),
    Mistake("a Path becomes its text", caught_by=_STAYS, to_plain=_like(path=lambda x, _: x.name)),
    Mistake("a Path becomes its text", caught_by=_STAYS, to_plain=_like(path=lambda x, _: str(x.resolve()))),
    Mistake("a Path becomes its text", caught_by=_STAYS, to_plain=_like(path=lambda x, _: repr(x))),
    Mistake(_NAMESPACE, caught_by=_FIELDS, to_plain=_like(namespace=lambda x, _: dict(vars(x)))),
    Mistake("a Namespace without fields", caught_by=_FIELDS, to_plain=_like(namespace=lambda x, _: str(x))),
    Mistake("the Namespace was edited", caught_by=_FIELDS, to_plain=_like(namespace=_edit_namespace)),
    Mistake("the dataclass was edited", caught_by=_FIELDS, to_plain=_like(dataclass=_edit_namespace)),
    Mistake(_FIELD_DICT, caught_by=_FIELDS, to_plain=_like(dataclass=lambda x, _: dataclasses.asdict(x))),
    Mistake(
        _FIELD_DICT,
        caught_by=_FIELDS,
        to_plain=_like(
            dataclass=lambda x, recur: {k: recur(getattr(x, k)) for k in type(x).__dict__["__annotations__"]}
        ),
    ),
    Mistake(_FIELD_DICT, caught_by=_FIELDS, to_plain=_like(dataclass=lambda x, recur: recur(dataclasses.astuple(x)))),
    Mistake(
        _FIELD_DICT,
        caught_by=_FIELDS,
        to_plain=_like(
            dataclass=lambda x, recur: {
                k: recur(getattr(x, k)) for k in dir(x) if not k.startswith("_") and not callable(getattr(x, k))
            }
        ),
    ),
    Mistake("to_plain raised on a dataclass", caught_by=_FIELDS, to_plain=_like(dataclass=lambda x, _: _refuse(x))),
    Mistake(
        "to_plain raised on a defaultdict",
        caught_by=_DEEP,
        to_plain=_like(dict=lambda x, recur: type(x)((k, recur(v)) for k, v in x.items())),
    ),
    Mistake("becomes a dict", caught_by=_DEEP, to_plain=_like(dict=_same_class)),
    Mistake(
        "becomes a dict",
        caught_by=_DEEP,
        to_plain=_like(dict=lambda x, recur: {str(k): recur(v) for k, v in x.items()}),
    ),
    Mistake("it belongs to the caller. Make a new dict", caught_by=_DEEP, to_plain=_like(dict=_edit_dict)),
    Mistake("a defaultdict was edited", caught_by=_DEEP, to_plain=_like(list=_edit_list)),
    Mistake(_KIND, caught_by=_DEEP, to_plain=_like(tuple=lambda x, recur: [recur(item) for item in x])),
    Mistake(
        "expected the list", caught_by=_DEEP, to_plain=_like(list=lambda x, recur: tuple(recur(item) for item in x))
    ),
    Mistake("becomes a dict", caught_by=_DEEP, to_plain=_like(dict=lambda x, _: dict(x))),
    Mistake(_KIND, caught_by=_DEEP, to_plain=_like(tuple=lambda x, _: x)),
    Mistake("the keys are", caught_by=_DEEP, to_plain=_like(dict=_through_json)),
    Mistake(
        "to_plain raised on a defaultdict",
        caught_by=_DEEP,
        to_plain=_like(dict=lambda x, recur: {k: recur(v) for k, v in x.items()} if type(x) is dict else _refuse(x)),
    ),
    Mistake(
        "the checkpoint, saved and loaded",
        caught_by=_FILE,
        to_plain=_like(dict=lambda x, recur: {k: recur(v) for k, v in x.items() if v is not None}),
    ),
    Mistake(_LET, caught_by=_REST, to_plain=_like(rest=lambda x, _: str(x))),
    Mistake(_LET, caught_by=_REST, to_plain=_like(rest=lambda x, _: x)),
    Mistake(_LET, caught_by=_REST, to_plain=_like(rest=lambda x, _: None)),
    Mistake(_LET, caught_by=_REST, to_plain=_like(rest=lambda x, recur: recur(vars(x)))),
    Mistake(
        _LET,
        caught_by=_REST,
        to_plain=_like(
            rest=lambda x, recur: {k: recur(v) for k, v in vars(x).items()} if hasattr(x, "__dict__") else _refuse(x)
        ),
    ),
    Mistake(
        _LET,
        caught_by=_REST,
        to_plain=_like(rest=lambda x, recur: [recur(item) for item in x] if _loops(x) else _refuse(x)),
    ),
    Mistake("expected TypeError, got ValueError", caught_by=_REST, to_plain=_like(rest=lambda x, _: int(str(x)))),
]
