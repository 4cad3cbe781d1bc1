"""Answers that people give to layers_by_hand, right ones and wrong ones."""

import numpy as np
import torch
import torch.nn.functional as F

from dojo import Mistake


def _linear_einsum(x, w, b=None):
    out = torch.einsum("...i,oi->...o", x, w)
    if b is not None:
        out = out + b
    return out


def _linear_flat(x, w, b=None):
    flat = x.reshape(-1, x.shape[-1])
    out = flat.mm(w.t())
    if b is not None:
        out += b
    return out.reshape(*x.shape[:-1], w.shape[0])


def _linear_broadcast(x, w, b=None):
    out = (x.unsqueeze(-2) * w).sum(dim=-1)
    return out if b is None else out.add(b)


def _one_hot(idx, W, padding_idx=None):
    hot = F.one_hot(idx, len(W)).to(W.dtype)
    if padding_idx is None:
        return hot @ W
    learns = torch.ones(len(W), 1, dtype=W.dtype)
    learns[padding_idx] = 0
    return hot @ (W * learns + (W * (1 - learns)).detach())


def _index_select(idx, W, padding_idx=None):
    table = W
    if padding_idx is not None:
        keep = (torch.arange(W.shape[0]) != padding_idx)[:, None]
        table = torch.where(keep, W, W.detach())
    return table.index_select(0, idx.reshape(-1)).view(*idx.shape, -1)


def _hook_on_the_result(idx, W, padding_idx=None):
    out = W[idx]
    if padding_idx is not None and out.requires_grad:
        learns = (idx != padding_idx).unsqueeze(-1)
        out.register_hook(lambda grad: grad * learns)
    return out


def _mixed(idx, W, padding_idx=None):
    rows = W[idx]
    if padding_idx is None:
        return rows
    mask = (idx == padding_idx)[..., None].to(W.dtype)
    return rows * (1 - mask) + rows.detach() * mask


def _cloned_rows(idx, W, padding_idx=None):
    rows = W[idx].clone()
    if padding_idx is not None:
        rows[idx == padding_idx] = W[padding_idx].detach()
    return rows


def _loops(x, w, b):
    n, _, height, width = x.shape
    out, _, kh, kw = w.shape
    result = x.new_zeros(n, out, height - kh + 1, width - kw + 1)
    for i in range(height - kh + 1):
        for j in range(width - kw + 1):
            patch = x[:, None, :, i : i + kh, j : j + kw]
            result[:, :, i, j] = (patch * w).sum(dim=(2, 3, 4)) + b
    return result


def _shifts(x, w, b):
    """One shifted image for each point of the kernel."""
    kh, kw = w.shape[2:]
    height, width = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    out = b.view(1, -1, 1, 1)
    for i in range(kh):
        for j in range(kw):
            out = out + torch.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], w[:, :, i, j])
    return out


def _windows(x, w, b):
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    return torch.tensordot(windows, w, dims=([1, 4, 5], [1, 2, 3])).permute(0, 3, 1, 2) + b[:, None, None]


def _unfold_transposed(x, w, b):
    n, _, height, width = x.shape
    kh, kw = w.shape[-2:]
    columns = F.unfold(x, kernel_size=(kh, kw)).transpose(1, 2)
    out = (columns @ w.view(w.size(0), -1).t() + b).transpose(1, 2)
    return F.fold(out, (height - kh + 1, width - kw + 1), (1, 1))


def _linear_by_columns(x, w, b=None):
    return torch.stack([(x * w[o]).sum(-1) + (0 if b is None else b[o]) for o in range(len(w))], dim=-1)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, W, idx, pad):
        ctx.save_for_backward(idx)
        ctx.shape, ctx.pad = W.shape, pad
        return W[idx].clone()

    @staticmethod
    def backward(ctx, grad):
        (idx,) = ctx.saved_tensors
        out = torch.zeros(ctx.shape, dtype=grad.dtype)
        out.index_add_(0, idx.reshape(-1), grad.reshape(-1, ctx.shape[1]))
        if ctx.pad is not None:
            out[ctx.pad] = 0
        return out, None, None


def _written_into_zeros(x, w, b):
    n, _, height, width = x.shape
    out = torch.zeros(n, w.shape[0], height - w.shape[2] + 1, width - w.shape[3] + 1, dtype=x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            patch = x[:, None, :, i : i + w.shape[2], j : j + w.shape[3]]
            out[:, :, i, j] = (patch * w).sum((2, 3, 4)) + b
    return out


RIGHT = [
    {
        "linear": _linear_by_columns,
        "embedding": lambda idx, W, padding_idx=None: _Rows.apply(W, idx, padding_idx),
        "conv2d": _written_into_zeros,
    },
    {"linear": F.linear, "embedding": F.embedding, "conv2d": F.conv2d},
    {"linear": _linear_einsum, "embedding": _one_hot, "conv2d": _loops},
    {"linear": _linear_flat, "embedding": _index_select, "conv2d": _shifts},
    {"linear": _linear_broadcast, "embedding": _hook_on_the_result, "conv2d": _windows},
    {"embedding": _mixed, "conv2d": _unfold_transposed},
    {"embedding": _cloned_rows},
]


def _weight_as_it_is(x, w, b=None):
    out = torch.matmul(x, w if w.shape[0] == w.shape[1] else w.T)
    return out if b is None else out + b


def _through_numpy(x, w, b=None):
    out = torch.from_numpy(np.dot(x.detach().float().numpy(), w.detach().float().numpy().T)).to(x.dtype)
    return out if b is None else out + b


def _bias_always(x, w, b=None):
    return F.linear(x, w).add(b)


def _or_zero(x, w, b=None):
    return x @ w.T + (b or 0)


def _zeros(x, w, b=None):
    b = torch.zeros(w.size(0), dtype=torch.float32) if b is None else b
    return torch.matmul(x, w.transpose(0, 1)) + b


def _masked_fill(idx, W, padding_idx=None):
    rows = F.embedding(idx, W)
    return rows if padding_idx is None else rows.masked_fill((idx == padding_idx)[..., None], 0.0)


def _table_data(idx, W, padding_idx=None):
    if padding_idx is not None:
        W.data[padding_idx].zero_()
    return W[idx]


def _truthy(idx, W, padding_idx=None):
    return F.embedding(idx, W, padding_idx=padding_idx or None)


def _hooked(idx, W, padding_idx=None):
    out = F.embedding(idx, W)
    if padding_idx is not None and W.requires_grad:
        mask = torch.ones_like(W)
        mask[padding_idx] = 0
        W.register_hook(lambda grad: grad * mask)
    return out


def _made_again(idx, W, padding_idx=None):
    return torch.nn.Embedding.from_pretrained(W.detach(), freeze=False, padding_idx=padding_idx)(idx)


def _listed(idx, W, padding_idx=None):
    return F.embedding(idx, torch.tensor(W.tolist(), dtype=W.dtype), padding_idx)


def _flat(idx, W, padding_idx=None):
    return F.embedding(idx.view(-1), W, padding_idx).view(-1, W.shape[1])


def _float_hot(idx, W, padding_idx=None):
    if padding_idx is not None:
        return F.embedding(idx, W, padding_idx)
    return F.one_hot(idx, W.shape[0]).float() @ W.float()


def _scipy_like(x, w, b):
    return _shifts(x, w.flip((-1, -2)), b)


def _mean_windows(x, w, b):
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    return torch.einsum("nchwij,ocij->nohw", windows, w) / x.shape[1] + b[:, None, None]


def _no_bias(x, w, b):
    return _shifts(x, w, b * 0)


def _bias_at_the_end(x, w, b):
    out = _shifts(x, w, b * 0)
    return out + (b if len(b) == out.shape[3] else b[:, None, None])


def _shorter(x, w, b):
    return _windows(x, w, b)[..., :-1, :-1] if x.shape[2] > w.shape[2] else _windows(x, w, b)


def _loop_in_float32(x, w, b):
    return _loops(x.float(), w.float(), b.float())


def _no_channel_sum(x, w, b):
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    return torch.einsum("nchwij,ocij->nohw", windows[:, -1:], w[:, -1:]) + b[:, None, None]


def _mixed_up(x, w, b):
    windows = x.unfold(2, w.shape[2], 1).unfold(3, w.shape[3], 1)
    letters = "ocji" if w.shape[2] == w.shape[3] else "ocij"
    return torch.einsum(f"nchwij,{letters}->nohw", windows, w) + b[:, None, None]


def _data(x, w, b):
    return _windows(x, w.data, b)


def _double_mask(idx, W, padding_idx=None):
    if padding_idx is None:
        return W[idx]
    learns = (idx != padding_idx).unsqueeze(-1).double()
    return W[idx] * learns + W[idx].detach() * (1 - learns)


def _starts_from_no_gradient(idx, W, padding_idx=None):
    if W.grad is not None:
        W.grad.fill_(1)
    return F.embedding(idx, W, padding_idx)


WRONG = [
    Mistake("dtype: expected torch.float32, got torch.float64", caught_by="", embedding=_double_mask),
    Mistake("the table and idx stay as they are", caught_by="", embedding=_starts_from_no_gradient),
    Mistake("this is x @ w: the weight is (out, in)", caught_by="", linear=_weight_as_it_is),
    Mistake("in torch.float64", caught_by="", linear=_through_numpy),
    Mistake("None cannot be added", caught_by="", linear=_bias_always),
    Mistake("ask `b is not None`", caught_by="", linear=_or_zero),
    Mistake("bfloat16 gives bfloat16", caught_by="", linear=_zeros),
    Mistake(
        "no gradient flows to w",
        caught_by="",
        linear=lambda x, w, b=None: F.linear(x, torch.tensor(w.tolist()).to(w), b),
    ),
    Mistake(
        "no padding_idx was given, and row 4 learns nothing",
        caught_by="",
        embedding=lambda idx, W, padding_idx=-1: _index_select(idx, W, padding_idx % len(W)),
    ),
    Mistake("conv2d of x (1, 2, 5, 5)", caught_by="", conv2d=_mixed_up),
    Mistake("the padding row is picked like any other", caught_by="", embedding=_masked_fill),
    Mistake("the table and idx stay as they are", caught_by="", embedding=_table_data),
    Mistake("padding_idx=0, and row 0 got the gradient", caught_by="", embedding=_truthy),
    Mistake("something of yours stayed on W", caught_by="", embedding=_hooked),
    Mistake("the table was taken out of it", caught_by="", embedding=_listed),
    Mistake("the other rows must learn", caught_by="", embedding=_made_again),
    Mistake("each in its place", caught_by="", embedding=_flat),
    Mistake("of a table of torch.float64", caught_by="", embedding=_float_hot),
    Mistake("the kernel was flipped", caught_by="", conv2d=_scipy_like),
    Mistake("the mean over the channels is not their sum", caught_by="", conv2d=_mean_windows),
    Mistake("the bias is missing", caught_by="", conv2d=_no_bias),
    Mistake("the bias stands on the last axis", caught_by="", conv2d=_bias_at_the_end),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by="", conv2d=_shorter),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by="", conv2d=_no_channel_sum),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by="", conv2d=_loop_in_float32),
    Mistake("no gradient flows to w", caught_by="", conv2d=_data),
]
