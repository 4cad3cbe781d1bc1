"""Answers that people give to in_place_and_versions, right ones and wrong ones."""

import torch

from dojo import Mistake


def _shifted(x):
    e = torch.exp(x - x.amax(dim=1, keepdim=True).detach())
    return e / e.sum(1, keepdim=True)


def _edit_a_clone(x):
    e = x.clone().exp_()
    return e.div(e.sum(-1)[:, None])


def _row_by_row(x):
    return torch.stack([row.exp() / row.exp().sum() for row in x])


def _in_log_space(x):
    return (x - torch.logsumexp(x, dim=1, keepdim=True)).exp_()


def _exp_of_log_softmax(x):
    return x.log_softmax(1).exp()


def _one_by_one(w, lo, hi):
    with torch.no_grad():
        flat = w.view(-1)
        for i, value in enumerate(flat.tolist()):
            flat[i] = min(max(value, lo), hi)


@torch.no_grad()
def _masked_writes(w, lo, hi):
    w[w < lo] = lo
    w[w > hi] = hi


def _detached_alias(w, lo, hi):
    w.detach().clamp_(min=lo, max=hi)
    return w


def _out_argument(w, lo, hi):
    with torch.no_grad():
        return torch.clamp(w, lo, hi, out=w)


def _grad_switched_off_and_on(w, lo, hi):
    w.requires_grad_(False).clamp_(lo, hi).requires_grad_(True)


def _minimum_of_maximum(w, lo, hi):
    with torch.no_grad():
        w.copy_(torch.minimum(torch.maximum(w, torch.full_like(w, lo)), torch.full_like(w, hi)))


def _under_inference_mode(w, lo, hi):
    with torch.inference_mode():
        w.clamp_(lo, hi)


def _edit_a_copy_of_exp(x):
    e = x.exp()
    e = e.clone()
    e /= e.sum(1, keepdim=True)
    return e


def _through_logs(x):
    return (x - x.exp().sum(dim=1, keepdim=True).log()).exp()


def _sums_by_matmul(x):
    e = torch.exp(x)
    return e * (e @ torch.ones(x.shape[1], 1, dtype=x.dtype)).reciprocal()


def _where(w, lo, hi):
    with torch.no_grad():
        w.masked_fill_(w < lo, lo).masked_fill_(w > hi, hi)


@torch.no_grad()
def _index_put(w, lo, hi):
    w[...] = w.clip(lo, hi)


RIGHT = [
    {"softmax_rows": _through_logs, "clamp_": _where},
    {"softmax_rows": _sums_by_matmul, "clamp_": _index_put},
    {"softmax_rows": torch.nn.Softmax(dim=-1)},
    {"softmax_rows": _edit_a_copy_of_exp, "clamp_": _under_inference_mode},
    {"softmax_rows": lambda x: (x.exp().T / x.exp().sum(dim=1)).T, "clamp_": _minimum_of_maximum},
    {"softmax_rows": _exp_of_log_softmax, "clamp_": _one_by_one},
    {"softmax_rows": _shifted, "clamp_": _masked_writes},
    {"softmax_rows": _edit_a_clone, "clamp_": _detached_alias},
    {"softmax_rows": _row_by_row, "clamp_": _out_argument},
    {"softmax_rows": _in_log_space, "clamp_": _grad_switched_off_and_on},
]


def _div_(x):
    e = torch.exp(x)
    return e.div_(e.sum(dim=1, keepdim=True))


def _write_through_rows(x):
    e = x.exp()
    for row in e:
        row.mul_(1 / row.sum())
    return e


def _sums_as_numbers(x):
    e = x.exp()
    return e / torch.tensor([[s] for s in e.detach().sum(1).tolist()], dtype=x.dtype)


def _through_numpy(x):
    e = x.detach().numpy()
    e = torch.from_numpy(e).exp()
    return e / e.sum(1, keepdim=True)


def _sums_under_no_grad(x):
    e = x.exp()
    with torch.no_grad():
        s = e.sum(1, keepdim=True)
    return e / s


def _tensor_of_numbers(x):
    rows = [[v / sum(row) for v in row] for row in x.exp().tolist()]
    return torch.tensor(rows, dtype=x.dtype, requires_grad=True)


def _sub_data(x):
    x.data.sub_(x.data.amax(1, keepdim=True))
    return torch.softmax(x, 1)


def _whole(x):
    return torch.softmax(x.flatten(), 0).view(x.shape)


def _numpy_memory(w, lo, hi):
    array = w.detach().numpy()
    array.clip(lo, hi, out=array)


def _data_by_slice(w, lo, hi):
    w.data[...] = w.detach().clamp(lo, hi)


def _rebind(w, lo, hi):
    w = torch.nn.Parameter(w.clamp(lo, hi))
    return w


def _recorded_copy(w, lo, hi):
    w.copy_(w.clamp(lo, hi))


def _times_the_inverse(x):
    e = x.exp()
    s = e.sum(1, keepdim=True)
    return e.mul_(1 / s)


def _bounds_swapped(w, lo, hi):
    with torch.no_grad():
        w.clamp_(hi, lo)


def _in_a_float32_loop(x):
    return torch.tensor([[0.0] * x.shape[1]] * x.shape[0]).copy_(torch.softmax(x, 1)).to(x.dtype)


def _limits_as_tensors(w, lo, hi):
    with torch.no_grad():
        w.clamp_(torch.tensor(lo), torch.tensor(hi))


WRONG = [
    Mistake("over the sum of exp(x) in the same row", caught_by="", softmax_rows=_in_a_float32_loop),
    Mistake(
        "over the sum of exp(x) in the same row",
        caught_by="",
        softmax_rows=lambda x: x.exp() / x.exp().sum(1, keepdim=True).clamp_min(1e-9),
    ),
    Mistake("lo and hi as exact as that is", caught_by="", clamp_=_limits_as_tensors),
    Mistake("exp saved its result for backward and you overwrote it", caught_by="", softmax_rows=_times_the_inverse),
    Mistake("every value of the layer's own weight", caught_by="", clamp_=_bounds_swapped),
    Mistake("exp saved its result for backward and you overwrote it", caught_by="", softmax_rows=_div_),
    Mistake("exp saved its result for backward and you overwrote it", caught_by="", softmax_rows=_write_through_rows),
    Mistake("wrong gradient, and no error", caught_by="", softmax_rows=_sums_as_numbers),
    Mistake("wrong gradient, and no error", caught_by="", softmax_rows=_sums_under_no_grad),
    Mistake("the result does not require grad", caught_by="", softmax_rows=_through_numpy),
    Mistake("does not depend on x", caught_by="", softmax_rows=_tensor_of_numbers),
    Mistake("an in-place operation wrote into the caller's tensor", caught_by="", softmax_rows=_sub_data),
    Mistake("over the sum of exp(x) in the same row", caught_by="", softmax_rows=_whole),
    Mistake("autograd did not notice your edit", caught_by="", clamp_=_numpy_memory),
    Mistake("autograd did not notice your edit", caught_by="", clamp_=_data_by_slice),
    Mistake("every value of the layer's own weight", caught_by="", clamp_=_rebind),
    Mistake("can be edited only where autograd does not record", caught_by="", clamp_=_recorded_copy),
]
