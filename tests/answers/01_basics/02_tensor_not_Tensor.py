"""Answers that people give to tensor_not_Tensor, right ones and wrong ones."""

import copy

import numpy as np
import torch

from dojo import Mistake


def _predict_like_a_weight(model, array):
    with torch.no_grad():
        return model(torch.from_numpy(array).to(next(model.parameters())))


def _predict_in_eval_mode(model, array):
    training = model.training
    model.eval()
    dtype = next(iter(model.state_dict().values())).dtype
    with torch.inference_mode():
        out = model(torch.tensor(array).type(dtype))
    model.train(training)
    return out


def _predict_and_forget_the_mode(model, array):
    model.eval()
    with torch.no_grad():
        return model(torch.as_tensor(array).to(next(model.parameters()).dtype))


def _predict_without_gradients(model, array):
    model.requires_grad_(False)
    return model(torch.as_tensor(array).to(next(model.parameters()).dtype))


def _predict_like_the_last(model, array):
    *_, last = model.parameters()
    return model(torch.from_numpy(array).type_as(last))


def _labels_one_by_one(ids):
    out = torch.empty(len(ids), dtype=torch.long)
    for place, i in enumerate(ids):
        out[place] = int(i)
    return out


def _predict_from_a_copy_in_float64(model, array):
    dtype = next(model.parameters()).dtype
    return copy.deepcopy(model).double()(torch.from_numpy(array).double()).to(dtype)


def _predict_in_the_widest(model, array):
    x = torch.from_numpy(array).double()
    return model.double()(x)


def _predict_by_trial(model, array):
    try:
        return model(torch.from_numpy(array))
    except RuntimeError:
        return model(torch.from_numpy(array).float())


def _labels_by_float_array(ids):
    return torch.from_numpy(np.asarray(ids, dtype=np.float32)).to(torch.int64)


RIGHT = [
    dict(
        scalar=lambda v: torch.tensor(v).float(),
        features=lambda rows: torch.tensor(rows).float(),
        labels=lambda ids: torch.tensor(ids).long(),
        predict=_predict_like_a_weight,
    ),
    dict(
        scalar=lambda v: torch.Tensor([v])[0].to(torch.float32),
        features=lambda rows: torch.Tensor(rows).to(torch.float32),
        labels=lambda ids: torch.LongTensor(ids),
        predict=_predict_in_eval_mode,
    ),
    dict(
        scalar=lambda v: torch.full((), v, dtype=torch.float32),
        features=lambda rows: torch.from_numpy(np.asarray(rows, dtype=np.float32)),
        labels=lambda ids: torch.from_numpy(np.asarray(ids, dtype=np.int64)),
        predict=_predict_from_a_copy_in_float64,
    ),
    dict(
        scalar=lambda v: torch.FloatTensor([v]).squeeze(),
        features=lambda rows: torch.stack([torch.FloatTensor([float(v) for v in row]) for row in rows]),
        labels=lambda ids: torch.tensor([int(i) for i in ids]),
    ),
    dict(features=lambda rows: torch.FloatTensor(rows), labels=lambda ids: torch.as_tensor(ids).to(torch.long)),
    dict(labels=_labels_one_by_one, predict=_predict_like_the_last),
    dict(
        scalar=lambda v: torch.tensor([v]).float().squeeze(0),
        features=lambda rows: torch.tensor(np.array(rows)).to(torch.float32),
        labels=lambda ids: torch.from_numpy(np.array(ids).astype("int64")),
        predict=lambda m, a: m(torch.tensor(a).to({p.dtype for p in m.parameters()}.pop())),
    ),
    dict(
        scalar=lambda v: torch.zeros((), dtype=torch.float32) + v,
        predict=lambda m, a: m(next(m.parameters()).new_tensor(a)),
    ),
]

WRONG = [
    Mistake("also while the default dtype is float64", caught_by="", scalar=lambda v: torch.zeros(()) + v),
    Mistake("also while the default dtype is float64", caught_by="", scalar=lambda v: torch.Tensor([v])[0]),
    Mistake(
        "also while the default dtype is float64",
        caught_by="",
        features=lambda rows: torch.stack([torch.tensor([float(v) for v in row]) for row in rows]),
    ),
    Mistake("3 was read as a size", caught_by="", scalar=lambda v: torch.FloatTensor(v)),
    Mistake("3 was read as a size", caught_by="", scalar=lambda v: torch.zeros(v)),
    Mistake("a scalar has none", caught_by="", scalar=lambda v: torch.Tensor([v])),
    Mistake("an int stays int64 unless you say otherwise", caught_by="", scalar=lambda v: torch.as_tensor(v)),
    Mistake("torch.tensor keeps the dtype that comes in", caught_by="", features=torch.as_tensor),
    Mistake(
        "torch.tensor keeps the dtype that comes in", caught_by="", features=lambda r: torch.from_numpy(np.array(r))
    ),
    Mistake("passed through float32", caught_by="", labels=lambda ids: torch.FloatTensor(ids).to(torch.int64)),
    Mistake("passed through float32", caught_by="", labels=_labels_by_float_array),
    Mistake(
        "exactly as they came in",
        caught_by="",
        labels=lambda ids: torch.tensor(ids).to(torch.int16).long(),
    ),
    Mistake("the same table", caught_by="", features=lambda r: torch.empty(len(r), len(r[0])).fill_(7)),
    Mistake("the number 3 as a tensor", caught_by="", scalar=lambda v: np.float32(v)),
    Mistake("as losses want", caught_by="", labels=lambda ids: torch.from_numpy(np.array(ids))),
    Mistake("as losses want", caught_by="", labels=lambda ids: torch.tensor(ids, dtype=torch.int32)),
    Mistake("give it a tensor of its dtype", caught_by="", predict=lambda m, a: m(torch.tensor(a))),
    Mistake("not every model is float32", caught_by="", predict=_predict_by_trial),
    Mistake("not every model is float32", caught_by="", predict=lambda m, a: m(torch.Tensor(a))),
    Mistake("leave the model and the array as they are", caught_by="", predict=_predict_in_the_widest),
    Mistake(
        "the float64 array passed through float32",
        caught_by="",
        predict=lambda m, a: m(torch.Tensor(a).to(next(m.parameters()))),
    ),
    Mistake("leave the model and the array as they are", caught_by="", predict=_predict_and_forget_the_mode),
    Mistake("leave the model and the array as they are", caught_by="", predict=_predict_without_gradients),
    Mistake("any model has parameters()", caught_by="", predict=lambda m, a: m(torch.tensor(a).to(m.dtype))),
    Mistake("as losses want", caught_by="", labels=lambda ids: torch.from_numpy(np.array(ids, dtype=np.uint16)).long()),
]
