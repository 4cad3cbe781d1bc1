"""tensor, not Tensor: reference.

Hint: Four times the same question: which dtype should come out, and who knows it - you, or the model?
Hint: `torch.tensor` and `torch.as_tensor` take a `dtype=`. A model has none itself, but each of its parameters has one.
Hint: `next(model.parameters()).dtype` is the dtype of the model; make the tensor with it, then call the model.

Why: `torch.tensor(data, dtype=...)` reads numbers as numbers and goes straight to the dtype that you name.
`torch.Tensor(...)` reads a lone int as a size, and everything else through float32, whose whole numbers have gaps
above 2**24: `.long()` afterwards cannot bring back what is gone. The dtype of the data is a property of the model that
it meets, so ask the model; then the same code serves float32, float64 and bfloat16.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from dojo import Mistake


def scalar(v: float) -> torch.Tensor:
    return torch.tensor(v, dtype=torch.float32)


def features(rows: Sequence[Sequence[float]] | np.ndarray) -> torch.Tensor:
    return torch.as_tensor(rows, dtype=torch.float32)


def labels(ids: Sequence[int] | np.ndarray) -> torch.Tensor:
    return torch.as_tensor(ids, dtype=torch.int64)


def predict(model: nn.Module, array: np.ndarray) -> torch.Tensor:
    return model(torch.as_tensor(array, dtype=next(model.parameters()).dtype))


def _float_or_double(model, array):
    x = torch.from_numpy(array)
    return model(x if next(model.parameters()).dtype == torch.float64 else x.float())


def _only_floats_are_cast(model, array):
    x = torch.from_numpy(array)
    return model(x.to(next(model.parameters()).dtype) if x.is_floating_point() else x)


def _leaves_it_in_eval_mode(model, array):
    return predict(model.eval(), array)


def _freezes_it(model, array):
    for p in model.parameters():
        p.requires_grad = False
    return predict(model, array)


def _ids_from_zero(ids):
    ids = torch.as_tensor(ids, dtype=torch.int64)
    return ids.clamp(min=0)


def _through_float32(model, array):
    return model(torch.Tensor(array).to(next(model.parameters()).dtype))


_SCALAR = "test_a_number_is_not_a_size"
_FEATURES = "test_features_are_float32_whatever_comes_in"
_EXACT = "test_a_class_number_must_not_pass_through_a_float"
_INT64 = "test_labels_are_int64_whatever_comes_in"
_F32 = "test_numpy_counts_in_float64_and_a_layer_in_float32"
_FOLLOW = "test_data_follows_the_dtype_of_the_model"

MISTAKES = [
    Mistake("3 was read as a size", caught_by=_SCALAR, scalar=lambda v: torch.Tensor(v)),
    Mistake("a scalar has none", caught_by=_SCALAR, scalar=lambda v: torch.tensor([v], dtype=torch.float32)),
    Mistake("an int stays int64 unless you say otherwise", caught_by=_SCALAR, scalar=lambda v: torch.tensor(v)),
    Mistake(
        "also while the default dtype is float64",
        caught_by=_SCALAR,
        scalar=lambda v: torch.tensor(float(v)),
    ),
    Mistake("also while the default dtype is float64", caught_by=_FEATURES, features=lambda rows: torch.Tensor(rows)),
    Mistake("the number 3 as a tensor", caught_by=_SCALAR, scalar=lambda v: float(v)),
    Mistake(
        "scalar(-0.1) is the number -0.1",
        caught_by="test_a_fraction_stays_a_fraction",
        scalar=lambda v: torch.LongTensor([int(v)])[0].float(),
    ),
    Mistake(
        "torch.tensor keeps the dtype that comes in",
        caught_by=_FEATURES,
        features=lambda rows: torch.tensor(rows),
    ),
    Mistake(
        "the same table",
        caught_by=_FEATURES,
        features=lambda rows: torch.cat([torch.Tensor(row) for row in rows]),
    ),
    Mistake(
        "a list of lists is a table too",
        caught_by=_FEATURES,
        features=lambda rows: torch.from_numpy(rows).float(),
    ),
    Mistake("passed through float32", caught_by=_EXACT, labels=lambda ids: torch.Tensor(ids).long()),
    Mistake("passed through float64", caught_by=_EXACT, labels=lambda ids: torch.DoubleTensor(ids).long()),
    Mistake("exactly as they came in", caught_by=_EXACT, labels=lambda ids: torch.tensor(ids).int().long()),
    Mistake("as losses want", caught_by=_INT64, labels=lambda ids: torch.tensor(ids)),
    Mistake("a list of ints is asked for too", caught_by=_EXACT, labels=lambda ids: torch.from_numpy(ids).long()),
    Mistake(
        "has room in int64",
        caught_by=_EXACT,
        labels=lambda ids: torch.tensor(ids, dtype=torch.int32).long(),
    ),
    Mistake(
        "give it a tensor of its dtype",
        caught_by=_F32,
        predict=lambda model, array: model(torch.from_numpy(array)),
    ),
    Mistake(
        "leave the model and the array as they are",
        caught_by=_F32,
        predict=lambda model, array: model.double()(torch.from_numpy(array)),
    ),
    Mistake(
        "not every model is float32",
        caught_by=_FOLLOW,
        predict=lambda model, array: model(torch.from_numpy(array).float()),
    ),
    Mistake(
        "leave the model and the array as they are",
        caught_by=_FOLLOW,
        predict=lambda model, array: model.float()(torch.from_numpy(array).float()),
    ),
    Mistake("leave the model and the array as they are", caught_by=_F32, predict=_leaves_it_in_eval_mode),
    Mistake("leave the model and the array as they are", caught_by=_F32, predict=_freezes_it),
    Mistake("give it a tensor of its dtype", caught_by=_F32, predict=_only_floats_are_cast),
    Mistake(
        "any model has parameters()",
        caught_by=_FOLLOW,
        predict=lambda model, array: model(torch.as_tensor(array, dtype=model.weight.dtype)),
    ),
    Mistake("as losses want", caught_by=_INT64, labels=_ids_from_zero),
    Mistake("ask this one for its dtype", caught_by=_FOLLOW, predict=_float_or_double),
    Mistake("the float64 array passed through float32", caught_by=_FOLLOW, predict=_through_float32),
]
