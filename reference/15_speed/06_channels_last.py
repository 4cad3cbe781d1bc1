"""channels_last: reference.

Hint: Which of shape, index and stride does the layout change? Only that one may differ in the end.
Hint: `.to` takes memory_format=, on a tensor and on a model; `.is_contiguous` does too; reshape copies if it must.
Hint: prepare and to_nhwc are one and the same call; the format is `torch.channels_last`.

Why: A convolution sums over all channels of a few pixels. In channels_last these numbers are neighbours, so they come
with one read, and in the form that matrix units want. `Module.to` leaves alone what has not four dimensions, keeps the
Parameters, so that an optimizer made before still holds them, and goes through all modules. flatten reads by index: so
the weights of the Linear behind it mean the same in both layouts.
"""

import copy

import torch
from torch import nn

from dojo import Mistake


def to_nhwc(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def prepare(model: nn.Module) -> nn.Module:
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def flatten_batch(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1)


def is_nhwc(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


_LAST = torch.channels_last


def _strides(x):
    _, c, h, w = x.shape
    return h * w * c, 1, w * c, c


def _permuted(x):
    return x.permute(0, 2, 3, 1)


def _permuted_and_copied(x):
    return x.permute(0, 2, 3, 1).contiguous()


def _as_it_is(x):
    return x


def _plain_contiguous(x):
    return x.to(memory_format=_LAST).contiguous()


def _other_strides_on_the_same_numbers(x):
    return x.contiguous().as_strided(x.shape, _strides(x))


def _viewed(x):
    n, c, h, w = x.shape
    return x.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _float(x):
    return x.float().to(memory_format=_LAST)


def _detached(x):
    return x.detach().to(memory_format=_LAST)


def _in_place(x):
    if not x.requires_grad:
        x.data = x.data.contiguous(memory_format=_LAST)
        return x
    return x.contiguous(memory_format=_LAST)


def _only_contiguous_ones(x):
    return x.contiguous(memory_format=_LAST) if x.is_contiguous() else x


def _rows_and_columns_swapped(x):
    return x.transpose(2, 3).contiguous(memory_format=_LAST).transpose(2, 3)


def _single_one(x):
    return x[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _copy_thrown_away(x):
    x.to(memory_format=_LAST)
    return x


def _prepare_nothing(model):
    return model


def _prepare_in_vain(model):
    for p in model.parameters():
        if p.dim() == 4:
            p.data.contiguous(memory_format=_LAST)
    return model


def _prepare_all(model):
    for p in model.parameters():
        p.data = p.data.to(memory_format=_LAST)
    return model


def _prepare_positionally(model):
    return model.to(_LAST)


def _prepare_none(model):
    model.to(memory_format=_LAST)


def _prepare_top_level(model):
    for module in model.children():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=_LAST)
    return model


def _prepare_conv2d(model):
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=_LAST)
    return model


def _prepare_first(model):
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=_LAST)
            return model
    return model


def _prepare_permuted(model):
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.permute(0, 2, 3, 1)
    return model


def _prepare_as_strided(model):
    for p in model.parameters():
        if p.dim() == 4:
            p.data = p.data.as_strided(p.shape, _strides(p))
    return model


def _prepare_new_parameters(model):
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.dim() == 4:
            module.weight = nn.Parameter(weight.detach().contiguous(memory_format=_LAST))
    return model


def _prepare_eval(model):
    return model.to(memory_format=_LAST).eval()


def _prepare_half(model):
    return model.bfloat16().to(memory_format=_LAST)


def _prepare_the_input(model):
    model.register_forward_pre_hook(lambda m, args: tuple(a.to(memory_format=_LAST) for a in args))
    return model


def _prepare_wrapped(model):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = copy.deepcopy(model).to(memory_format=_LAST)

        def forward(self, x):
            return self.model(x.to(memory_format=_LAST))

    return Wrapped()


def _flat_view(x):
    return x.view(x.shape[0], -1)


def _flat_by_pixel(x):
    return x.permute(0, 2, 3, 1).reshape(len(x), -1)


def _flat_by_memory(x):
    if x.is_contiguous(memory_format=_LAST):
        return x.permute(0, 2, 3, 1).view(len(x), -1)
    return x.reshape(len(x), -1)


def _flat_as_strided(x):
    rest = x[0].numel()
    return x.as_strided((len(x), rest), (rest, 1))


def _flat_all(x):
    return x.flatten()


def _flat_images(x):
    return x.flatten(2)


def _flat_squeezed(x):
    return x.reshape(len(x), -1).squeeze()


def _flat_by_columns(x):
    return x.transpose(2, 3).flatten(1)


def _flat_detached(x):
    return torch.from_numpy(x.detach().numpy().reshape(len(x), -1))


def _flat_float(x):
    return x.float().flatten(1)


def _flat_in_place(x):
    if not x.requires_grad:
        x.data = x.data.contiguous()
    return x.flatten(1)


def _is_not_contiguous(x):
    return not x.is_contiguous()


def _is_contiguous(x):
    return x.is_contiguous()


def _if_channels_are_apart(x):
    return x if x.stride(1) == 1 else x.contiguous(memory_format=_LAST)


def _is_by_shape(x):
    return x.shape[-1] in (1, 3, 4)


def _is_by_shape_first(x):
    return x.shape[1] < x.shape[2]


def _last_stride(x):
    return x.stride(-1) != 1


def _is_int(x):
    return int(x.stride() == _strides(x))


def _is_tensor(x):
    return torch.tensor(x.is_contiguous(memory_format=_LAST))


def _is_permuted_view(x):
    return x.permute(0, 3, 1, 2).is_contiguous()


def _is_channel_stride(x):
    return x.stride(1) == 1


def _is_nothing(x):
    x.is_contiguous(memory_format=_LAST)


_SAME = "test_channels_last_keeps_shape_and_values"
_STRIDES = "test_channels_last_puts_the_channels_of_a_pixel_side_by_side"
_CONV = "test_a_convolution_with_a_channels_last_weight_passes_the_layout_on"
_FLAT = "test_flatten_reads_by_index_whatever_the_layout"
_ASK = "test_is_contiguous_asks_for_one_layout_at_a_time"

_INDEX = "x[n, c, h, w] is the same number as before"
_OLD = "as in the order (N, C, H, W)"
_NOT_LAST = "it is not in channels_last"

MISTAKES = [
    Mistake("that is another shape, not a layout", caught_by=_SAME, to_nhwc=_permuted),
    Mistake("that is another shape, not a layout", caught_by=_SAME, to_nhwc=_permuted_and_copied),
    Mistake(_INDEX, caught_by=_SAME, to_nhwc=_other_strides_on_the_same_numbers),
    Mistake(_INDEX, caught_by=_SAME, to_nhwc=_viewed),
    Mistake(_INDEX, caught_by=_SAME, to_nhwc=_float),
    Mistake(_INDEX, caught_by=_SAME, to_nhwc=_single_one),
    Mistake("to_nhwc hangs on no graph", caught_by=_SAME, to_nhwc=_detached),
    Mistake("to_nhwc changed the images that it was given", caught_by=_SAME, to_nhwc=_in_place),
    Mistake(_OLD, caught_by=_STRIDES, to_nhwc=_as_it_is),
    Mistake(_OLD, caught_by=_STRIDES, to_nhwc=_plain_contiguous),
    Mistake(_OLD, caught_by=_STRIDES, to_nhwc=_copy_thrown_away),
    Mistake("in channels_last have strides (60, 1, 15, 3)", caught_by=_STRIDES, to_nhwc=_only_contiguous_ones),
    Mistake("in channels_last have strides (60, 1, 15, 3)", caught_by=_STRIDES, to_nhwc=_rows_and_columns_swapped),
    Mistake(
        "its channels side by side, in channels_last have strides", caught_by=_STRIDES, to_nhwc=_if_channels_are_apart
    ),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_nothing),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_in_vain),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_top_level),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_conv2d),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_first),
    Mistake(_NOT_LAST, caught_by=_CONV, prepare=_prepare_the_input),
    Mistake("channels_last is for four dimensions only", caught_by=_CONV, prepare=_prepare_all),
    Mistake("the memory format has to be named", caught_by=_CONV, prepare=_prepare_positionally),
    Mistake("prepare returned None", caught_by=_CONV, prepare=_prepare_none),
    Mistake("has other strides at most", caught_by=_CONV, prepare=_prepare_permuted),
    Mistake("has other strides at most", caught_by=_CONV, prepare=_prepare_as_strided),
    Mistake("has other strides at most", caught_by=_CONV, prepare=_prepare_half),
    Mistake("up.weight.requires_grad was False", caught_by=_CONV, prepare=_prepare_new_parameters),
    Mistake("the mode of the model changed", caught_by=_CONV, prepare=_prepare_eval),
    Mistake("prepare made them", caught_by=_CONV, prepare=_prepare_wrapped),
    Mistake("view raised on a batch in channels_last", caught_by=_FLAT, flatten_batch=_flat_view),
    Mistake("all channels of one together", caught_by=_FLAT, flatten_batch=_flat_by_pixel),
    Mistake("all channels of one together", caught_by=_FLAT, flatten_batch=_flat_by_memory),
    Mistake("all channels of one together", caught_by=_FLAT, flatten_batch=_flat_as_strided),
    Mistake("one row for each, the first channel first", caught_by=_FLAT, flatten_batch=_flat_all),
    Mistake("one row for each, the first channel first", caught_by=_FLAT, flatten_batch=_flat_images),
    Mistake("one row for each, the first channel first", caught_by=_FLAT, flatten_batch=_flat_squeezed),
    Mistake("one row for each, the first channel first", caught_by=_FLAT, flatten_batch=_flat_by_columns),
    Mistake("one row for each, the first channel first", caught_by=_FLAT, flatten_batch=_flat_float),
    Mistake("flatten_batch hangs on no graph", caught_by=_FLAT, flatten_batch=_flat_detached),
    Mistake("flatten_batch changed the images", caught_by=_FLAT, flatten_batch=_flat_in_place),
    Mistake("stored by columns, with strides", caught_by=_ASK, is_nhwc=_is_not_contiguous),
    Mistake("stored by columns, with strides", caught_by=_ASK, is_nhwc=_last_stride),
    Mistake("contiguous, with strides", caught_by=_ASK, is_nhwc=_is_contiguous),
    Mistake("in channels_last, with strides", caught_by=_ASK, is_nhwc=_is_by_shape),
    Mistake("contiguous, with strides", caught_by=_ASK, is_nhwc=_is_by_shape_first),
    Mistake("in channels_last, with strides", caught_by=_ASK, is_nhwc=_is_permuted_view),
    Mistake("Python's own True and False are asked", caught_by=_ASK, is_nhwc=_is_int),
    Mistake("Python's own True and False are asked", caught_by=_ASK, is_nhwc=_is_tensor),
    Mistake("its channels side by side, with strides", caught_by=_ASK, is_nhwc=_is_channel_stride),
    Mistake("is_nhwc returned None", caught_by=_ASK, is_nhwc=_is_nothing),
]
