"""Answers that people give to shape_words, right ones and wrong ones."""

import math

import numpy as np
import torch

from dojo import Mistake


def _count_with_a_loop(x):
    n = 1
    for size in x.shape:
        n *= size
    return n


def _squeeze_then_look(x):
    out = x.squeeze(1)
    if out.dim() != 3:
        raise RuntimeError(f"expected (B, 1, H, W), got {tuple(x.shape)}")
    return out


def _unpack(x):
    (grey,) = x.unbind(1)
    return grey


def _index_after_a_check(x):
    _, c, _, _ = x.shape
    if c != 1:
        raise ValueError("not grey")
    return x[:, 0, :, :]


def _image_by_image(x):
    if x.shape[1] != 1:
        raise ValueError("not grey")
    return torch.cat(list(x)) if len(x) > 1 else x[0, 0]


def _one(x):
    if x.size(1) > 1:
        raise ValueError("more than one channel")
    return x


def _select(x):
    return _one(x).select(1, 0)


def _clone_then_squeeze_(x):
    return _one(x).clone().squeeze_(1)


def _none(x):
    if x.shape[1] != 1:
        return None
    return x.squeeze(1)


def _returns_the_error(x):
    return RuntimeError("not grey") if x.shape[1] > 1 else x.squeeze(1)


RIGHT = [
    dict(n_values=_count_with_a_loop, batch_size=len, drop_channel=_squeeze_then_look),
    dict(
        n_values=lambda x: math.prod(x.shape),
        batch_size=lambda x: x.size(0),
        drop_channel=lambda x: x.view(x.shape[0], x.shape[2], x.shape[3]),
    ),
    dict(n_values=lambda x: x.nelement(), batch_size=lambda x: x.size()[0], drop_channel=_unpack),
    dict(
        n_values=lambda x: int(np.prod(x.shape)),
        batch_size=lambda x: x.numpy().shape[0],
        drop_channel=_index_after_a_check,
    ),
    dict(n_values=lambda x: x.numpy().size, drop_channel=lambda x: x.reshape(x.shape[0], *x.shape[2:])),
    dict(n_values=lambda x: sum(1 for _ in x.flatten()), batch_size=lambda x: x.size(dim=0), drop_channel=_select),
    dict(n_values=lambda x: x.shape.numel(), batch_size=lambda x: [*x.shape][0], drop_channel=_clone_then_squeeze_),
    dict(n_values=lambda x: torch.numel(x), drop_channel=lambda x: torch.flatten(_one(x), 0, 1)),
    dict(n_values=lambda x: len(x.view(-1)), drop_channel=lambda x: torch.stack([_unpack(i[None])[0] for i in x])),
]

WRONG = [
    Mistake("len(x) is only its dimension 0", caught_by="", n_values=lambda x: x.shape[0]),
    Mistake("that is the sum", caught_by="", n_values=lambda x: int(np.sum(x.shape))),
    Mistake("that counts dimensions", caught_by="", n_values=lambda x: len(x.shape)),
    Mistake("you returned a shape", caught_by="", n_values=lambda x: x.shape),
    Mistake("in float64 too", caught_by="", n_values=lambda x: x.numel() * x.element_size() // 4),
    Mistake("was not called", caught_by="", n_values=lambda x: x.nelement),
    Mistake("is its dimension 0", caught_by="", batch_size=lambda x: len(x.squeeze())),
    Mistake("is its dimension 0", caught_by="", batch_size=lambda x: x.size(1)),
    Mistake("the batch dimension is gone too", caught_by="", drop_channel=lambda x: torch.squeeze(x)),
    Mistake("the batch dimension is gone too", caught_by="", drop_channel=_image_by_image),
    Mistake("squeeze(1) on a size-3 dim does nothing", caught_by="", drop_channel=lambda x: torch.squeeze(x, dim=1)),
    Mistake("you kept one colour", caught_by="", drop_channel=lambda x: x.select(1, 0)),
    Mistake("you kept one colour", caught_by="", drop_channel=lambda x: x.unbind(1)[0]),
    Mistake("channels became images", caught_by="", drop_channel=lambda x: x.flatten(0, 1)),
    Mistake("3 channels cannot be dropped", caught_by="", drop_channel=lambda x: x.amax(dim=1)),
    Mistake("of type int64", caught_by="", batch_size=lambda x: np.array(x.shape)[0]),
    Mistake("must leave x itself as it is", caught_by="", drop_channel=lambda x: _one(x).resize_(len(x), *x.shape[2:])),
    Mistake("the same values and dtype", caught_by="", drop_channel=lambda x: torch.tensor(_one(x)[:, 0].tolist())),
    Mistake("3 channels cannot be dropped", caught_by="", drop_channel=_none),
    Mistake("you returned an error", caught_by="", drop_channel=_returns_the_error),
    Mistake("3 channels cannot be dropped", caught_by="", drop_channel=lambda x: x.flatten(1, 2)),
]
