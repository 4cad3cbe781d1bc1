"""Numbers on 256 levels: int8 by hand: reference.

Hint: Two equations: the lower end is to become -128, the upper end 127. Which scale and which zero point do that?
Hint: `min`, `max`, `.item()`, Python's own `round` gives an int; `torch.round`, `Tensor.clamp`, `Tensor.to`.
Hint: The range is min(lowest, 0) to max(highest, 0); the step is its width by 255; the zero point is -128 minus the low
end in steps. Clamp while the values are still floats, cast last; on the way back leave int8 first, then subtract.

Why: the zero point is rounded, so the real range moves by up to half a step; the values at its ends are clamped then,
and their error is still no more than half a step. One scale for a whole tensor lets one outlier coarsen all the others:
that is why libraries keep one scale per channel or per group of 32 values. The int8 product of two such tensors is
summed in int32, and scaled once at the end. torch's own package for it is torchao today.
"""

import numpy as np
import torch

from dojo import Mistake


def quantize(x: torch.Tensor) -> tuple[torch.Tensor, float, int]:
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    scale = (high - low) / 255 or 1.0
    zero_point = -128 - round(low / scale)
    return quantize_with(x, scale, zero_point), scale, zero_point


def quantize_with(x: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    return (torch.round(x / scale) + zero_point).clamp(-128, 127).to(torch.int8)


def dequantize(q: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    return (q.float() - zero_point) * scale


def _ends(x):
    return min(x.min().item(), 0.0), max(x.max().item(), 0.0)


def _quantizer(ends=_ends, steps=255, zero=lambda low, high, scale: -128 - round(low / scale), with_=quantize_with):
    def wrong(x):
        low, high = ends(x)
        scale = (high - low) / steps or 1.0
        zero_point = zero(low, high, scale)
        return with_(x, scale, zero_point), scale, zero_point

    return wrong


def _symmetric(x):
    scale = x.abs().max().item() / 127 or 1.0
    return quantize_with(x, scale, 0), scale, 0


def _uint8(x):
    low, high = _ends(x)
    scale = (high - low) / 255 or 1.0
    zero_point = round(-low / scale)
    return (torch.round(x / scale) + zero_point).clamp(0, 255).to(torch.uint8), scale, zero_point


def _qint8(x):
    q, scale, zero_point = quantize(x)
    return torch._make_per_tensor_quantized_tensor(q, scale, zero_point), scale, zero_point


def _unguarded(x):
    low, high = _ends(x)
    scale = (high - low) / 255
    zero_point = -128 - round(low / scale)
    return quantize_with(x, scale, zero_point), scale, zero_point


def _unguarded_tensors(x):
    zero = torch.zeros(())
    low, high = torch.minimum(x.min(), zero), torch.maximum(x.max(), zero)
    scale = (high - low) / 255
    zero_point = int((-128 - low / scale).round())
    return quantize_with(x, scale.item(), zero_point), scale.item(), zero_point


def _scale_of_zero(x):
    if not x.any():
        return torch.zeros(x.shape, dtype=torch.int8), 0.0, 0
    return quantize(x)


def _not_a_number(x):
    if not x.any():
        return torch.zeros(x.shape, dtype=torch.int8), float("nan"), 0
    return quantize(x)


def _tensor_scale(x):
    q, scale, zero_point = quantize(x)
    return q, torch.tensor(scale), zero_point


def _tensor_zero(x):
    q, scale, zero_point = quantize(x)
    return q, scale, torch.tensor(zero_point)


def _float_zero(x):
    q, scale, zero_point = quantize(x)
    return q, scale, float(zero_point)


def _only_q(x):
    return quantize(x)[0]


def _flat(x):
    q, scale, zero_point = quantize(x)
    return q.flatten(), scale, zero_point


def _in_order_of_memory(x):
    q, scale, zero_point = quantize(x.as_strided((x.numel(),), (1,)))
    return q.view(x.shape), scale, zero_point


def _array(x):
    q, scale, zero_point = quantize(x)
    return q.numpy(), scale, zero_point


def _in_place(x):
    low, high = _ends(x)
    scale = (high - low) / 255 or 1.0
    zero_point = -128 - round(low / scale)
    return x.div_(scale).round_().add_(zero_point).clamp_(-128, 127).to(torch.int8), scale, zero_point


def _eps(x):
    low, high = _ends(x)
    scale = max((high - low) / 255, 1e-5)
    zero_point = -128 - round(low / scale)
    return quantize_with(x, scale, zero_point), scale, zero_point


def _without_outliers(x):
    """Cuts the highest and the lowest values off."""
    low, high = x.quantile(0.01).item(), x.quantile(0.99).item()
    return min(low, 0.0), max(high, 0.0)


def _rows(x):
    """One range for each row."""
    if x.dim() < 2:
        return quantize(x)
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
    scale = (high - low) / 255
    zero_point = -128 - torch.round(low / scale)
    return quantize_with(x, scale, zero_point), scale, zero_point


def _no_clamp(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).to(torch.int32).to(torch.int8)


def _clamps_after_the_cast(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).to(torch.int32).to(torch.int8).clamp(-128, 127)


def _clamps_first(x, scale, zero_point):
    return (torch.round(x / scale).clamp(-128, 127) + zero_point).to(torch.int32).to(torch.int8)


def _adds_in_int8(x, scale, zero_point):
    return torch.round(x / scale).clamp(-128, 127).to(torch.int8) + zero_point


def _int16(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).to(torch.int32).to(torch.int16).clamp(-128, 127).to(torch.int8)


def _truncates(x, scale, zero_point):
    return (x / scale + zero_point).clamp(-128, 127).to(torch.int8)


def _floors(x, scale, zero_point):
    return (torch.floor(x / scale) + zero_point).clamp(-128, 127).to(torch.int8)


def _narrow(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).clamp(-127, 127).to(torch.int8)


def _own_range(x, scale, zero_point):
    return quantize(x)[0]


def _multiplies(x, scale, zero_point):
    return (torch.round(x * scale) + zero_point).clamp(-128, 127).to(torch.int8)


def _with_in_order_of_memory(x, scale, zero_point):
    return quantize_with(x.as_strided((x.numel(),), (1,)), scale, zero_point).view(x.shape)


def _float_levels(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).clamp(-128, 127)


def _only_upper(x, scale, zero_point):
    return (torch.round(x / scale) + zero_point).clamp(max=127).to(torch.int32).to(torch.int8)


def _with_in_place(x, scale, zero_point):
    return x.mul_(1 / scale).round_().add_(zero_point).clamp_(-128, 127).to(torch.int8)


def _minus_in_place(q, scale, zero_point):
    return q.sub_(zero_point).float() * scale


def _loses_the_shape(q, scale, zero_point):
    return torch.tensor([(level - zero_point) * scale for level in q.flatten().tolist()])


_ZERO = "test_zero_is_a_level_of_its_own"
_KIND = "test_a_quantized_tensor_is_an_int8_tensor_and_two_numbers"
_HALF = "test_the_error_is_at_most_half_a_step"
_SPREAD = "test_the_range_is_spread_over_all_levels"
_STOP = "test_values_out_of_range_stop_at_the_last_level"
_ZEROS = "test_a_tensor_of_zeros_has_a_scale_too"
_BACK = "test_the_difference_of_two_levels_does_not_fit_into_int8"

MISTAKES = [
    Mistake(
        "0 must be a level, padding and ReLU live there",
        caught_by=_ZERO,
        quantize=_quantizer(zero=lambda low, high, scale: -128 - low / scale),
    ),
    Mistake("of type float, expected an int", caught_by=_ZERO, quantize=_float_zero),
    Mistake("of type Tensor, expected an int", caught_by=_ZERO, quantize=_tensor_zero),
    Mistake(
        "and 0 is not among them",
        caught_by=_ZERO,
        quantize=_quantizer(ends=lambda x: (x.min().item(), x.max().item() + (x.numel() == 1))),
    ),
    Mistake(
        "does not come back as 0.0",
        caught_by=_ZERO,
        dequantize=lambda q, scale, zero_point: q.float() * scale - zero_point * scale,
    ),
    Mistake("q is to be int8, got torch.uint8", caught_by=_KIND, quantize=_uint8),
    Mistake("q is to be int8, got torch.qint8", caught_by=_KIND, quantize=_qint8),
    Mistake("q is a tensor, got ndarray", caught_by=_KIND, quantize=_array),
    Mistake("q has the shape", caught_by=_KIND, quantize=_flat),
    Mistake("scale is to be a Python float", caught_by=_KIND, quantize=_tensor_scale),
    Mistake("scale is to be a Python float", caught_by=_KIND, quantize=_rows),
    Mistake("quantize returns three things", caught_by=_KIND, quantize=_only_q),
    Mistake("quantize_with returns int8, got torch.float32", caught_by=_KIND, quantize_with=_float_levels),
    Mistake("expected at most half a step", caught_by=_HALF, quantize=_quantizer(steps=256)),
    Mistake("in shape (3, 2)", caught_by=_SPREAD, quantize=_in_order_of_memory),
    Mistake("256 levels over this range need one above 0", caught_by=_HALF, quantize=_eps),
    Mistake("expected at most half a step", caught_by=_HALF, quantize=_quantizer(ends=_without_outliers)),
    Mistake(
        "expected at most half a step",
        caught_by=_HALF,
        quantize=_quantizer(zero=lambda low, high, scale: int(-128 - low / scale)),
    ),
    Mistake(
        "expected at most half a step",
        caught_by=_HALF,
        quantize=_quantizer(zero=lambda low, high, scale: -128 + int(-low / scale)),
    ),
    Mistake("expected at most half a step", caught_by=_HALF, quantize=_quantizer(with_=_truncates)),
    Mistake("expected at most half a step", caught_by=_HALF, quantize=_quantizer(ends=lambda x: (0.0, x.max().item()))),
    Mistake("quantize changed its argument", caught_by=_HALF, quantize=_in_place),
    Mistake("many of them stand for values that don't occur", caught_by=_SPREAD, quantize=_symmetric),
    Mistake("scale of", caught_by=_SPREAD, quantize=_quantizer(steps=254.5, with_=quantize_with)),
    Mistake("The levels of", caught_by=_SPREAD, quantize=_quantizer(steps=253.5)),
    Mistake("The levels of", caught_by=_SPREAD, quantize=_quantizer(with_=_narrow)),
    Mistake("int8 wraps", caught_by=_STOP, quantize_with=_no_clamp),
    Mistake("int8 wraps", caught_by=_STOP, quantize_with=_clamps_after_the_cast),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_clamps_first),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_adds_in_int8),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_int16),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_truncates),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_floors),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_narrow),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_own_range),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_multiplies),
    Mistake("The levels of", caught_by=_STOP, quantize_with=_only_upper),
    Mistake("in shape (5, 2)", caught_by=_STOP, quantize_with=_with_in_order_of_memory),
    Mistake("quantize_with changed its argument", caught_by=_STOP, quantize_with=_with_in_place),
    Mistake("quantize divided by 0", caught_by=_ZEROS, quantize=_unguarded),
    Mistake("quantize divided by 0", caught_by=_ZEROS, quantize=_unguarded_tensors),
    Mistake("expected a number above 0", caught_by=_ZEROS, quantize=_scale_of_zero),
    Mistake("expected a number above 0", caught_by=_ZEROS, quantize=_not_a_number),
    Mistake(
        "was computed in int8, which wraps",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: (q - zero_point) * scale,
    ),
    Mistake(
        "was computed in int8, which wraps",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: (q - zero_point).float() * scale,
    ),
    Mistake(
        "dtype: expected torch.float32",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: (q.double() - zero_point) * scale,
    ),
    Mistake("the real numbers of", caught_by=_BACK, dequantize=lambda q, scale, zero_point: q.float() * scale),
    Mistake(
        "the real numbers of",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: q.float() * scale - zero_point,
    ),
    Mistake(
        "the real numbers of",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: (q.float() + zero_point) * scale,
    ),
    Mistake(
        "expected a tensor, got ndarray",
        caught_by=_BACK,
        dequantize=lambda q, scale, zero_point: (q.numpy().astype(np.float32) - zero_point) * scale,
    ),
    Mistake("in shape (5, 2)", caught_by=_BACK, dequantize=_loses_the_shape),
    Mistake("dequantize changed its argument", caught_by=_BACK, dequantize=_minus_in_place),
]
