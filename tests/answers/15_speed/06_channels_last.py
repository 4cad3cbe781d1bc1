"""Answers that people give to channels_last, right ones and wrong ones."""

import copy

import torch
from torch import nn

from dojo import Mistake

_LAST = torch.channels_last


def _there_and_back(x):
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _empty_and_copy(x):
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=_LAST)
    return out.copy_(x)


def _by_clone(x):
    return x.clone(memory_format=torch.channels_last)


def _by_to(x):
    return x.to(memory_format=torch.channels_last)


def _prepare_by_hand(model):
    for p in model.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=_LAST)
    return model


def _prepare_a_copy(model):
    return copy.deepcopy(model).to(memory_format=_LAST)


def _prepare_by_apply(model):
    def change(module):
        for name, p in module.named_parameters(recurse=False):
            if len(p.shape) == 4:
                new = nn.Parameter(p.detach().to(memory_format=_LAST), requires_grad=p.requires_grad)
                setattr(module, name, new)

    model.apply(change)
    return model


def _contiguous_view(x):
    return x.contiguous().view(x.size(0), -1)


def _stacked(x):
    return torch.stack([torch.cat([channel.reshape(-1) for channel in image]) for image in x])


def _by_strides(x):
    n, c, h, w = x.shape
    return x.stride() == (h * w * c, 1, w * c, c)


def _by_permute(x):
    return x.permute(0, 2, 3, 1).is_contiguous()


RIGHT = [
    {"to_nhwc": _there_and_back, "flatten_batch": _contiguous_view, "is_nhwc": _by_permute},
    {"to_nhwc": _empty_and_copy, "prepare": _prepare_by_hand, "is_nhwc": _by_strides},
    {"to_nhwc": _by_clone, "prepare": _prepare_a_copy, "flatten_batch": _stacked},
    {"to_nhwc": _by_to, "prepare": _prepare_by_apply, "flatten_batch": lambda x: x.reshape(len(x), -1)},
    {"flatten_batch": nn.Flatten(), "is_nhwc": lambda x: bool(x.stride(1) == 1 and x.stride(3) == x.shape[1])},
    {"flatten_batch": lambda x: torch.einsum("nchw->nchw", x).reshape(x.shape[0], x.shape[1:].numel())},
]


def _moved(x):
    return torch.movedim(x, 1, -1)


def _numpy(x):
    return torch.from_numpy(x.detach().float().numpy().transpose(0, 2, 3, 1).copy()).permute(0, 3, 1, 2)


def _channels_last_then_reshaped(x):
    return x.to(memory_format=_LAST).reshape(-1).reshape(x.shape)


def _scrambled(x):
    n, c, h, w = x.shape
    return x.contiguous().view(n, h, w, c).movedim(-1, 1)


def _prepare_convs_in_sequentials(model):
    for child in model.children():
        if isinstance(child, nn.Sequential):
            for layer in child:
                if isinstance(layer, nn.Conv2d):
                    layer.to(memory_format=_LAST)
    return model


def _prepare_list(model):
    return [p.contiguous(memory_format=_LAST) if p.dim() == 4 else p for p in model.parameters()]


def _prepare_forgotten_copy(model):
    copy.deepcopy(model).to(memory_format=_LAST)
    return model


def _prepare_frozen(model):
    for name, module in model.named_modules():
        del name
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight = nn.Parameter(module.weight.data.to(memory_format=_LAST), requires_grad=True)
    return model


def _prepare_switched(model):
    model.eval()
    model.to(memory_format=_LAST)
    model.train()
    return model


def _prepare_transposed(model):
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.transpose(1, 3).contiguous()
    return model


def _flat_by_storage(x):
    if not x.is_contiguous():
        return x.permute(0, 2, 3, 1).flatten(1)
    return x.flatten(1)


def _try_view(x):
    try:
        return x.view(len(x), -1)
    except RuntimeError:
        return x.permute(0, 2, 3, 1).reshape(len(x), -1)


WRONG = [
    Mistake("that is another shape, not a layout", caught_by="", to_nhwc=_moved),
    Mistake("that is another shape, not a layout", caught_by="", to_nhwc=lambda x: x.transpose(1, 2).transpose(2, 3)),
    Mistake("x[n, c, h, w] is the same number as before", caught_by="", to_nhwc=_numpy),
    Mistake("x[n, c, h, w] is the same number as before", caught_by="", to_nhwc=_scrambled),
    Mistake("as in the order (N, C, H, W)", caught_by="", to_nhwc=_channels_last_then_reshaped),
    Mistake("as in the order (N, C, H, W)", caught_by="", to_nhwc=lambda x: x.contiguous()),
    Mistake("as in the order (N, C, H, W)", caught_by="", to_nhwc=lambda x: x.clone()),
    Mistake("to_nhwc hangs on no graph", caught_by="", to_nhwc=lambda x: x.data.contiguous(memory_format=_LAST)),
    Mistake("it is not in channels_last", caught_by="", prepare=_prepare_convs_in_sequentials),
    Mistake("it is not in channels_last", caught_by="", prepare=_prepare_forgotten_copy),
    Mistake(
        "it is not in channels_last",
        caught_by="",
        prepare=lambda model: model.to(memory_format=torch.contiguous_format),
    ),
    Mistake("prepare returned None", caught_by="", prepare=_prepare_list),
    Mistake("up.weight.requires_grad was False", caught_by="", prepare=_prepare_frozen),
    Mistake("the mode of the model changed", caught_by="", prepare=_prepare_switched),
    Mistake("has other strides at most", caught_by="", prepare=_prepare_transposed),
    Mistake("view raised on a batch in channels_last", caught_by="", flatten_batch=lambda x: x.view(x.size(0), -1)),
    Mistake("all channels of one together", caught_by="", flatten_batch=_flat_by_storage),
    Mistake("all channels of one together", caught_by="", flatten_batch=_try_view),
    Mistake("one row for each, the first channel first", caught_by="", flatten_batch=lambda x: x.reshape(-1)),
    Mistake("one row for each, the first channel first", caught_by="", flatten_batch=lambda x: x.reshape(-1, len(x)).T),
    Mistake(
        "one row for each, the first channel first",
        caught_by="",
        flatten_batch=lambda x: x.permute(0, 1, 3, 2).reshape(len(x), -1),
    ),
    Mistake("stored by columns, with strides", caught_by="", is_nhwc=lambda x: x.is_contiguous() is False),
    Mistake("stored by columns, with strides", caught_by="", is_nhwc=lambda x: x.stride(3) > 1),
    Mistake("its channels side by side, with strides", caught_by="", is_nhwc=lambda x: min(x.stride()) == x.stride(1)),
    Mistake("contiguous, with strides", caught_by="", is_nhwc=lambda x: x.dim() == 4),
    Mistake("in channels_last, with strides", caught_by="", is_nhwc=lambda x: x.shape[-1] == 3),
    Mistake("Python's own True and False are asked", caught_by="", is_nhwc=lambda x: torch.tensor(x.stride(1)) == 1),
]
