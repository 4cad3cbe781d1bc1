"""Linear, Embedding and Conv2d are indexing and matmul: reference.

Hint: Write down the shapes first: which dimension disappears, and in which argument is it the last?
Hint: `w.T`, `is not None`; `W[idx]`, `Tensor.detach`, `torch.where`; `F.unfold`, `w.flatten(1)`, `Tensor.view`.
Hint: For the padding row, put together rows that learn and the same rows detached, by a mask with one dimension more
than idx. For the convolution, the kernels as rows times the patches as columns, then the bias as a column.

Why: matmul works on the last dimensions and broadcasts over the others, so a Linear takes sentences and images as well.
Indexing backward is index_add: it scatters what comes from above into the rows, and adds. A mask multiplied onto the
result would make values zero; where(mask, rows.detach(), rows) keeps them and cuts the way back. A convolution is a
Linear on patches: the same weights at each place, and that is all that makes it one.
"""

import torch
import torch.nn.functional as F

from dojo import Mistake


def linear(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    out = x @ w.T
    return out if b is None else out + b


def embedding(idx: torch.Tensor, W: torch.Tensor, padding_idx: int | None = None) -> torch.Tensor:
    rows = W[idx]
    if padding_idx is None:
        return rows
    is_padding = (idx == padding_idx).unsqueeze(-1)
    return torch.where(is_padding, rows.detach(), rows)


def conv2d(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    n, _, height, width = x.shape
    out, _, kh, kw = w.shape
    patches = F.unfold(x, (kh, kw))  # (n, in * kh * kw, places)
    values = w.flatten(1) @ patches + b[:, None]  # (n, out, places)
    return values.view(n, out, height - kh + 1, width - kw + 1)


def _linear_in_place(x, w, b=None):
    out = F.linear(x, w)
    if b is not None:
        b += 0.0 * b
        with torch.no_grad():
            b.add_(1e-6)
    return out if b is None else out + b


def _zeros_for_a_bias(x, w, b=None):
    return x @ w.T + (torch.zeros(len(w)) if b is None else b)


def _embedding_mask(idx, W, padding_idx=None):
    rows = W[idx]
    return rows if padding_idx is None else rows * (idx != padding_idx)[..., None]


def _embedding_mask_in_float64(idx, W, padding_idx=None):
    if padding_idx is None:
        return W[idx]
    keep = torch.tensor([[float(i != padding_idx)] for i in range(len(W))], dtype=torch.float64)
    return (W * keep + W.detach() * (1 - keep))[idx]


def _embedding_clears_the_gradient(idx, W, padding_idx=None):
    W.grad = None
    return embedding(idx, W, padding_idx)


def _embedding_zeroes_the_table(idx, W, padding_idx=None):
    if padding_idx is not None:
        with torch.no_grad():
            W[padding_idx] = 0
    return W[idx]


def _embedding_truth(idx, W, padding_idx=None):
    return embedding(idx, W, padding_idx) if padding_idx else W[idx]


def _embedding_hook_on_the_table(idx, W, padding_idx=None):
    if padding_idx is not None and W.requires_grad:

        def hook(grad):
            grad = grad.clone()
            grad[padding_idx] = 0
            return grad

        W.register_hook(hook)
    return W[idx]


def _embedding_all_detached(idx, W, padding_idx=None):
    return W[idx] if padding_idx is None else W.detach()[idx]


def _embedding_detaches_by_place(idx, W, padding_idx=None):
    """Detaches where the place, and not the index, is padding_idx."""
    rows = W[idx]
    if padding_idx is None:
        return rows
    places = torch.arange(idx.shape[-1]) == padding_idx
    return torch.where(places[:, None], rows.detach(), rows)


def _embedding_other_rows(idx, W, padding_idx=None):
    rows = W[idx]
    return rows if padding_idx is None else torch.where((idx == padding_idx)[..., None], rows, rows.detach())


class _LastWins(torch.autograd.Function):
    @staticmethod
    def forward(ctx, idx, W):
        ctx.save_for_backward(idx)
        ctx.shape = W.shape
        return W[idx]

    @staticmethod
    def backward(ctx, grad_output):
        grad = grad_output.new_zeros(ctx.shape)
        grad[ctx.saved_tensors[0]] = grad_output
        return None, grad


def _embedding_last_wins(idx, W, padding_idx=None):
    rows = _LastWins.apply(idx, W)
    return rows if padding_idx is None else embedding(idx, W, padding_idx)


def _by_frequency(idx, W, padding_idx=None):
    return F.embedding(idx, W, padding_idx, scale_grad_by_freq=True)


def _patches(x, kh, kw):
    return x.unfold(2, kh, 1).unfold(3, kw, 1)  # (n, in, h', w', kh, kw)


def _conv_zeros_loop(x, w, b):
    n, _, height, width = x.shape
    out, _, kh, kw = w.shape
    result = torch.zeros(n, out, height - kh + 1, width - kw + 1)
    for i in range(result.shape[2]):
        for j in range(result.shape[3]):
            result[:, :, i, j] = torch.einsum("nchw,ochw->no", x[:, :, i : i + kh, j : j + kw], w) + b
    return result


def _conv_one_short(x, w, b):
    return conv2d(x, w, b)[:, :, : max(1, x.shape[2] - w.shape[2]), : max(1, x.shape[3] - w.shape[3])]


def _conv_square(x, w, b):
    k = w.shape[2]
    patches = _patches(x, k, k)
    return torch.einsum("nchwij,ocij->nohw", patches, w) + b.view(-1, 1, 1)


def _conv_transposed_kernel(x, w, b):
    """Rows and columns of the kernel are mixed up, which only a square kernel allows."""
    return F.conv2d(x, w.mT if w.shape[2] == w.shape[3] else w, b)


def _conv_last_axis(x, w, b):
    out = F.conv2d(x, w)
    return out + b if b.shape[0] == out.shape[-1] else out + b.view(-1, 1, 1)


def _conv_first_channel(x, w, b):
    return F.conv2d(x[:, :1], w[:, :1], b)


def _conv_wrong_view(x, w, b):
    n, _, height, width = x.shape
    out, _, kh, kw = w.shape
    patches = F.unfold(x, (kh, kw)).transpose(1, 2)
    return (patches @ w.flatten(1).T + b).reshape(n, out, height - kh + 1, width - kw + 1)


def _conv_edits_the_bias(x, w, b):
    with torch.no_grad():
        b *= 1.5
    return F.conv2d(x, w, b)


def _conv_detaches(x, w, b):
    return F.conv2d(x, torch.tensor(w.tolist(), dtype=w.dtype), b)


_LINEAR = "test_the_weight_of_a_linear_is_out_by_in"
_BIAS = "test_a_linear_may_have_no_bias"
_PICKS = "test_an_embedding_picks_rows"
_TWICE = "test_a_row_that_is_picked_twice_gets_the_sum_of_both_gradients"
_PADDING = "test_a_padding_row_is_a_row_that_does_not_learn"
_CONV = "test_a_convolution_sums_over_patches_and_channels"
_FLIP = "test_a_kernel_is_not_flipped"

KEEP = {_FLIP: "the smallest picture of the difference between convolution and cross-correlation"}

MISTAKES = [
    Mistake(
        "this is x @ w: the weight is (out, in)",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: x @ w if b is None else x @ w + b,
    ),
    Mistake("1*1 + 10*2 + 100", caught_by=_LINEAR, linear=lambda x, w, b=None: x @ w.T),
    Mistake(
        "linear raised on shapes (2,), (2, 2), (2,)",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: x @ w.T if b is None else torch.addmm(b, x, w.T),
    ),
    Mistake(
        "linear raised on shapes (5, 4, 3)",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: x @ w.T if b is None else w @ x + b if x.dim() == 1 else torch.addmm(b, x, w.T),
    ),
    Mistake(
        "in torch.bfloat16",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: (
            F.linear(x, w)
            if b is None
            else F.linear(x.double(), w.double(), b.double()).to(torch.promote_types(x.dtype, torch.float32))
        ),
    ),
    Mistake(
        "in torch.float64",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: (
            F.linear(x, w) if b is None else F.linear(x.float(), w.float(), b.float()).to(x.dtype)
        ),
    ),
    Mistake(
        "no gradient flows to b",
        caught_by=_LINEAR,
        linear=lambda x, w, b=None: F.linear(x, w, None if b is None else b.data),
    ),
    Mistake("no gradient flows to w", caught_by=_LINEAR, linear=lambda x, w, b=None: F.linear(x, w.detach(), b)),
    Mistake("linear must leave its arguments as they are", caught_by=_LINEAR, linear=_linear_in_place),
    Mistake("ask `b is not None`", caught_by=_LINEAR, linear=lambda x, w, b=None: x @ w.T + b if b else x @ w.T),
    Mistake("None cannot be added", caught_by=_BIAS, linear=lambda x, w, b=None: x @ w.T + b),
    Mistake("bfloat16 gives bfloat16", caught_by=_BIAS, linear=_zeros_for_a_bias),
    Mistake(
        "linear(x, w), without a bias",
        caught_by=_BIAS,
        linear=lambda x, w, b=None: F.linear(x, w, torch.ones_like(w[:, 0]) if b is None else b),
    ),
    Mistake(
        "each in its place",
        caught_by=_PICKS,
        embedding=lambda idx, W, padding_idx=None: (
            embedding(idx.flatten(), W, padding_idx) if padding_idx is None else embedding(idx, W, padding_idx)
        ),
    ),
    Mistake(
        "row 0 of a square table",
        caught_by=_PICKS,
        embedding=lambda idx, W, padding_idx=None: embedding(idx, W.T if W.shape[0] == W.shape[1] else W, padding_idx),
    ),
    Mistake(
        "each in its place",
        caught_by=_PICKS,
        embedding=lambda idx, W, padding_idx=None: embedding((idx - 1).clamp(min=0), W, padding_idx),
    ),
    Mistake(
        "of a table of torch.float64",
        caught_by=_PICKS,
        embedding=lambda idx, W, padding_idx=None: embedding(idx, W.float(), padding_idx),
    ),
    Mistake(
        "the table was taken out of it",
        caught_by=_TWICE,
        embedding=lambda idx, W, padding_idx=None: (
            W.detach()[idx] if padding_idx is None else embedding(idx, W, padding_idx)
        ),
    ),
    Mistake("row 3 gets 1 + 100 and 2 + 200", caught_by=_TWICE, embedding=_embedding_last_wins),
    Mistake("row 3 gets 1 + 100 and 2 + 200", caught_by=_TWICE, embedding=_by_frequency),
    Mistake(
        "no padding_idx was given, and row 0 learns nothing",
        caught_by=_TWICE,
        embedding=lambda idx, W, padding_idx=None: F.embedding(idx, W, padding_idx or 0),
    ),
    Mistake(
        "no padding_idx was given, and row 4 learns nothing",
        caught_by=_TWICE,
        embedding=lambda idx, W, padding_idx=-1: F.embedding(idx, W, padding_idx),
    ),
    Mistake("the padding row is picked like any other", caught_by=_PADDING, embedding=_embedding_mask),
    Mistake("the table and idx stay as they are", caught_by=_PADDING, embedding=_embedding_zeroes_the_table),
    Mistake("the table and idx stay as they are", caught_by=_PADDING, embedding=_embedding_clears_the_gradient),
    Mistake(
        "dtype: expected torch.float32, got torch.float64", caught_by=_PADDING, embedding=_embedding_mask_in_float64
    ),
    Mistake(
        "padding_idx=2, and row 2 got the gradient",
        caught_by=_PADDING,
        embedding=lambda idx, W, padding_idx=None: embedding(idx, W, padding_idx if idx.dim() > 1 else None),
    ),
    Mistake("padding_idx=0, and row 0 got the gradient", caught_by=_PADDING, embedding=_embedding_truth),
    Mistake(
        "padding_idx=2, and row 2 got the gradient",
        caught_by=_PADDING,
        embedding=lambda idx, W, padding_idx=None: W[idx],
    ),
    Mistake("something of yours stayed on W", caught_by=_PADDING, embedding=_embedding_hook_on_the_table),
    Mistake("the other rows must learn", caught_by=_PADDING, embedding=_embedding_all_detached),
    Mistake("row 2 got the gradient", caught_by=_PADDING, embedding=_embedding_detaches_by_place),
    Mistake("row 2 got the gradient", caught_by=_PADDING, embedding=_embedding_other_rows),
    Mistake(
        "[[4, 5], [7, 8]] is the lower right", caught_by=_FLIP, conv2d=lambda x, w, b: F.conv2d(x, w.flip(2, 3), b)
    ),
    Mistake("the kernel was flipped", caught_by=_CONV, conv2d=lambda x, w, b: F.conv2d(x, w.flip(2, 3), b)),
    Mistake(
        "the mean over the channels is not their sum",
        caught_by=_CONV,
        conv2d=lambda x, w, b: F.conv2d(x, w) / x.shape[1] + b.view(-1, 1, 1),
    ),
    Mistake(
        "the mean over the patch is not its sum",
        caught_by=_CONV,
        conv2d=lambda x, w, b: F.conv2d(x, w) / w[0].numel() + b.view(-1, 1, 1),
    ),
    Mistake("the bias is missing", caught_by=_CONV, conv2d=lambda x, w, b: F.conv2d(x, w)),
    Mistake("the bias stands on the last axis", caught_by=_CONV, conv2d=_conv_last_axis),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by=_CONV, conv2d=_conv_one_short),
    Mistake("conv2d raised on shapes (2, 3, 5, 7)", caught_by=_CONV, conv2d=_conv_square),
    Mistake("conv2d of x (1, 2, 5, 5)", caught_by=_CONV, conv2d=_conv_transposed_kernel),
    Mistake("dtype: expected torch.float64, got torch.float32", caught_by=_CONV, conv2d=_conv_zeros_loop),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by=_CONV, conv2d=_conv_first_channel),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by=_CONV, conv2d=_conv_wrong_view),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by=_CONV, conv2d=lambda x, w, b: F.conv2d(x, w, b, padding="same")),
    Mistake("conv2d of x (2, 3, 5, 7)", caught_by=_CONV, conv2d=lambda x, w, b: F.conv2d(x, w, b, stride=2)),
    Mistake("conv2d must leave its arguments as they are", caught_by=_CONV, conv2d=_conv_edits_the_bias),
    Mistake("no gradient flows to w", caught_by=_CONV, conv2d=_conv_detaches),
    Mistake("no gradient flows to x", caught_by=_CONV, conv2d=lambda x, w, b: F.conv2d(x.detach(), w, b)),
]
