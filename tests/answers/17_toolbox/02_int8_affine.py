"""Answers that people give to int8_affine, right ones and wrong ones."""

import numpy as np
import torch

from dojo import Mistake


def _by_numpy(x):
    a = x.numpy()
    low, high = min(0.0, float(a.min())), max(0.0, float(a.max()))
    scale = (high - low) / 255.0
    if scale == 0:
        return torch.zeros(x.shape, dtype=torch.int8), 1.0, 0
    zero_point = int(np.rint(-128 - low / scale))
    q = np.clip(np.rint(a / scale) + zero_point, -128, 127).astype(np.int8)
    return torch.from_numpy(np.ascontiguousarray(q).reshape(x.shape)), scale, zero_point


def _with_tensors(x):
    zero = x.new_zeros(())
    low, high = torch.aminmax(x)
    low, high = torch.minimum(low, zero), torch.maximum(high, zero)
    scale = ((high - low) / 255).clamp(min=1e-8)
    zero_point = (-128 - low / scale).round().clamp(-128, 127)
    q = torch.clamp(torch.round(x / scale + zero_point), -128, 127).to(torch.int8)
    return q, scale.item(), int(zero_point.item())


def _from_the_top(x):
    """The zero point found at the upper end."""
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = (high - low) / 255 if high > low else 1.0
    zero_point = round(127 - high / scale)
    q = torch.floor(x / scale + zero_point + 0.5)
    return q.clamp(-128, 127).to(torch.int8), scale, zero_point


def _list_of_levels(x):
    flat = [float(v) for v in x.reshape(-1)]
    low, high = min([0.0, *flat]), max([0.0, *flat])
    scale = (high - low) / 255
    if scale == 0.0:
        scale = 1.0
    zero_point = max(-128, min(127, round(-128 - low / scale)))
    q = [max(-128, min(127, round(v / scale) + zero_point)) for v in flat]
    return torch.tensor(q, dtype=torch.int8).reshape(x.shape), scale, zero_point


def _fake(x, scale, zero_point):
    """What torch's own training with quantization calls, brought back to levels."""
    real = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, -128, 127)
    return (torch.round(real / scale) + zero_point).to(torch.int8)


def _whole_numbers(x, scale, zero_point):
    q = x.double().div(scale).round().long() + zero_point
    return torch.clip(q, torch.iinfo(torch.int8).min, torch.iinfo(torch.int8).max).to(dtype=torch.int8)


def _two_minima(x, scale, zero_point):
    q = torch.round(x * (1.0 / scale)) + zero_point
    return torch.minimum(torch.maximum(q, torch.tensor(-128.0)), torch.tensor(127.0)).char()


def _from_int(q, scale, zero_point):
    return ((q.to(torch.int32) - zero_point) * scale).to(torch.float32)


def _scaled_in_double(q, scale, zero_point):
    return ((q.double() - zero_point) * scale).float()


def _table(q, scale, zero_point):
    levels = (torch.arange(-128, 128) - zero_point).float() * scale
    return levels[q.long() + 128]


def _one_by_one(x, scale, zero_point):
    flat = [min(max(int(round(v / scale)) + zero_point, -128), 127) for v in x.flatten().tolist()]
    return torch.tensor(flat).view(x.size()).type(torch.int8)


def _levels_looked_up(x, scale, zero_point):
    """The nearest of all 256 real numbers."""
    real = (torch.arange(-128, 128).double() - zero_point) * scale
    distance = (x.double().unsqueeze(-1) - real).abs()
    return (distance.argmin(-1) - 128).to(torch.int8)


def _old_types(q, scale, zero_point):
    return (q.type(torch.FloatTensor) - float(zero_point)).mul_(scale)


RIGHT = [
    {"quantize_with": _one_by_one, "dequantize": _old_types},
    {"quantize_with": _levels_looked_up},
    {"quantize": _by_numpy, "quantize_with": _whole_numbers, "dequantize": _from_int},
    {"quantize": _with_tensors, "quantize_with": _two_minima, "dequantize": _scaled_in_double},
    {"quantize": _from_the_top, "quantize_with": _fake, "dequantize": _table},
    {"quantize": _list_of_levels},
    {"dequantize": lambda q, scale, zero_point: torch.sub(q.to(torch.float32), zero_point).mul(scale)},
]


def _float_zero_point(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255 if high > low else 1.0
    zero_point = torch.round(torch.tensor(-128 - low / scale)).item()
    return (x / scale + zero_point).round().clamp(-128, 127).to(torch.int8), scale, zero_point


def _range_as_it_is(x):
    low, high = x.min().item(), x.max().item()
    scale = (high - low) / 255 if high > low else 1.0
    zero_point = round(-128 - low / scale)
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _unsigned(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255 if high > low else 1.0
    zero_point = round(-low / scale)
    return ((x / scale).round() + zero_point).clamp(0, 255).byte(), scale, zero_point


def _tensors(x):
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-8)
    zero_point = int((-128 - low / scale).round())
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _levels_not_steps(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 2**8 or 1.0
    zero_point = round(-128 - low / scale)
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _max_abs(x):
    scale = max(abs(x.min().item()), abs(x.max().item())) * 2 / 255 or 1.0
    return (x / scale).round().clamp(-128, 127).to(torch.int8), scale, 0


def _divides(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255
    zero_point = int(np.rint(np.float64(-128) - low / scale))
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _zero_scale(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255
    zero_point = round(-128 - low / scale) if scale else 0
    return ((x / scale).round() + zero_point).clamp(-128, 127).nan_to_num().to(torch.int8), scale, zero_point


def _cast_only(x, scale, zero_point):
    return (x / scale).round().to(torch.int64).add(zero_point).to(torch.int8)


def _wrong_order(x, scale, zero_point):
    return torch.round((x + zero_point) / scale).clamp(-128, 127).to(torch.int8)


def _subtracts(x, scale, zero_point):
    return (torch.round(x / scale) - zero_point).clamp(-128, 127).to(torch.int8)


def _ceil(x, scale, zero_point):
    return torch.ceil(x / scale + zero_point).clamp(-128, 127).to(torch.int8)


def _a_tensor_of_int8(q, scale, zero_point):
    return (q - torch.tensor(zero_point, dtype=torch.int8)).to(torch.float32) * scale


def _scales_first(q, scale, zero_point):
    return scale * q.float() - scale * zero_point


def _half(q, scale, zero_point):
    return ((q.float() - zero_point) * scale).half()


def _forgot(x):
    quantize_with = (x / (x.abs().max() / 127)).round().to(torch.int8)
    return quantize_with, (x.abs().max() / 127).item()


def _one_row(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255 or 1.0
    zero_point = round(-128 - low / scale)
    return ((x.reshape(1, -1) / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _floor_of_the_zero_point(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255 or 1.0
    zero_point = int(-128 - low // scale)
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _truncated(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (high - low) / 255 or 1.0
    zero_point = round(-128 - low / scale)
    return (x / scale + zero_point).int().clamp(-128, 127).to(torch.int8), scale, zero_point


def _overwrites(x):
    x -= x.min().item()
    return _unsigned(x)


def _rounded_scale(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = round((high - low) / 255, 2) or 1.0
    zero_point = round(-128 - low / scale)
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _floor_under_the_scale(x):
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = max((high - low) / 255, 1e-4)
    zero_point = round(-128 - low / scale)
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


def _shifted(x, scale, zero_point):
    return ((x / scale).round() + zero_point - 0.5).clamp(-128, 127).to(torch.int8)


def _lost_shape(q, scale, zero_point):
    return torch.tensor([scale * (level - zero_point) for level in q.reshape(-1).tolist()])


def _per_column(x):
    if x.dim() < 2:
        x = x.reshape(-1, 1)
    scale = (x.amax(0).clamp(min=0) - x.amin(0).clamp(max=0)) / 255
    zero_point = int(-128 - round((x.amin(0).clamp(max=0) / scale)[0].item()))
    return ((x / scale).round() + zero_point).clamp(-128, 127).to(torch.int8), scale, zero_point


WRONG = [
    Mistake("in shape (5, 2)", caught_by="", dequantize=_lost_shape),
    Mistake("scale is to be a Python float", caught_by="", quantize=_per_column),
    Mistake("of type float, expected an int", caught_by="", quantize=_float_zero_point),
    Mistake("and 0 is not among them", caught_by="", quantize=_range_as_it_is),
    Mistake("q is to be int8, got torch.uint8", caught_by="", quantize=_unsigned),
    Mistake("scale is to be a Python float", caught_by="", quantize=_tensors),
    Mistake("expected at most half a step", caught_by="", quantize=_levels_not_steps),
    Mistake("many of them stand for values that don't occur", caught_by="", quantize=_max_abs),
    Mistake("quantize divided by 0", caught_by="", quantize=_divides),
    Mistake("expected a number above 0", caught_by="", quantize=_zero_scale),
    Mistake("quantize returns three things", caught_by="", quantize=_forgot),
    Mistake("q has the shape", caught_by="", quantize=_one_row),
    Mistake("expected at most half a step", caught_by="", quantize=_floor_of_the_zero_point),
    Mistake("expected at most half a step", caught_by="", quantize=_truncated),
    Mistake("256 levels over this range need one above 0", caught_by="", quantize=_rounded_scale),
    Mistake("256 levels over this range need one above 0", caught_by="", quantize=_floor_under_the_scale),
    Mistake("quantize changed its argument", caught_by="", quantize=_overwrites),
    Mistake("int8 wraps", caught_by="", quantize_with=_cast_only),
    Mistake("int8 wraps", caught_by="", quantize_with=lambda x, s, z: (x / s + z).round().int().char()),
    Mistake("The levels of", caught_by="", quantize_with=_wrong_order),
    Mistake("The levels of", caught_by="", quantize_with=_subtracts),
    Mistake("The levels of", caught_by="", quantize_with=_ceil),
    Mistake("The levels of", caught_by="", quantize_with=_shifted),
    Mistake("was computed in int8, which wraps", caught_by="", dequantize=_a_tensor_of_int8),
    Mistake("does not come back as 0.0", caught_by="", dequantize=_scales_first),
    Mistake("dtype: expected torch.float32", caught_by="", dequantize=_half),
    Mistake("the real numbers of", caught_by="", dequantize=lambda q, s, z: q.float() - z * s),
]
