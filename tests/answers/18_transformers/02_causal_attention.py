"""Answers that people give to causal_attention, right ones and wrong ones."""

import copy
import math

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import causal_lower_right

from dojo import Mistake


def _by_hand(q, k, v):
    L, S, D = q.size(-2), k.size(-2), q.size(-1)
    later = torch.triu(torch.ones(L, S, dtype=torch.bool), diagonal=S - L + 1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    return scores.masked_fill(later, float("-inf")).softmax(dim=-1) @ v


def _positions(q, k, v):
    L, S = q.size(2), k.size(2)
    at = torch.arange(S - L, S)
    keep = torch.arange(S) <= at[:, None]
    scores = torch.einsum("bhld,bhsd->bhls", q * q.shape[-1] ** -0.5, k).float()
    if q.dtype == torch.float64:
        scores = torch.einsum("bhld,bhsd->bhls", q * q.shape[-1] ** -0.5, k)
    weights = torch.where(keep, scores, -torch.inf).softmax(-1).to(q.dtype)
    return torch.einsum("bhls,bhse->bhle", weights, v)


def _library_bias(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=causal_lower_right(q.shape[2], k.shape[2]))


def _float_mask(q, k, v):
    L, S = q.shape[2], k.shape[2]
    mask = torch.zeros(L, S, dtype=q.dtype).masked_fill_(torch.ones(L, S).triu(S - L + 1).bool(), -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _lowest_of_its_dtype(q, k, v):
    later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).triu(k.shape[2] - q.shape[2] + 1)
    scores = torch.matmul(q, k.transpose(2, 3)) * (1.0 / math.sqrt(k.size(-1)))
    return F.softmax(scores.masked_fill(later, torch.finfo(scores.dtype).min), dim=-1).matmul(v)


def _finfo(q, k, v):
    L, S = q.shape[2], k.shape[2]
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    scores = q.to(wide) @ k.to(wide).mT / q.shape[-1] ** 0.5
    scores.masked_fill_(~torch.ones(L, S, dtype=torch.bool).tril(S - L), torch.finfo(wide).min)
    return (scores.softmax(-1) @ v.to(wide)).to(q.dtype)


def _query_by_query(q, k, v):
    L, S = q.shape[2], k.shape[2]
    rows = []
    for i in range(L):
        n = S - L + i + 1
        rows.append(F.scaled_dot_product_attention(q[:, :, i : i + 1], k[:, :, :n], v[:, :, :n]))
    return torch.cat(rows, dim=2)


def _padded_square(q, k, v):
    """S queries, of which the first are made up: then is_causal=True is right."""
    missing = k.shape[2] - q.shape[2]
    return F.scaled_dot_product_attention(F.pad(q, (0, 0, missing, 0)), k, v, is_causal=True)[:, :, missing:]


@torch.no_grad()
def _noise(model, x):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    before = model(x).clone()
    found = False
    for t in range(x.shape[1] - 1):
        y = torch.cat([x[:, : t + 1], torch.randn_like(x[:, t + 1 :])], dim=1)
        if (model(y)[:, : t + 1] - before[:, : t + 1]).abs().max().item() > 1e-5:
            found = True
    for m, mode in modes.items():
        m.train(mode) if not list(m.children()) else setattr(m, "training", mode)
    return found


def _on_a_copy(model, x):
    model, x = copy.deepcopy(model).eval(), x.detach()
    with torch.no_grad():
        full = model(x)
        for t in range(1, x.shape[1]):
            alone = model(x[:, :t])
            if not torch.allclose(alone, full[:, :t], atol=1e-5, rtol=1e-5):
                return True
    return False


def _gradient(model, x):
    modes = [m.training for m in model.modules()]
    model.eval()
    x = x.detach().clone().requires_grad_(True)
    out = model(x)
    leak = 0.0
    for t in range(x.shape[1] - 1):
        for c in range(out.shape[-1]):
            (grad,) = torch.autograd.grad(out[:, t, c].sum(), x, retain_graph=True)
            leak = max(leak, grad[:, t + 1 :].abs().max().item())
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return leak > 1e-4


def _jacobian(model, x):
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        jacobian = torch.autograd.functional.jacobian(lambda given: model(given).sum(0), x.detach())  # (T, K, B, T, C)
    finally:
        for m, mode in modes:
            m.train(mode)
    size = jacobian.abs().amax(dim=(1, 2, 4))  # (T, T)
    return bool((size.triu(1) > 1e-4).any())


def _zeros(model, x):
    state = {name: m.training for name, m in model.named_modules()}
    model.eval()
    with torch.no_grad():
        outs = [model(torch.cat((x[:, :t], torch.zeros_like(x[:, t:])), 1)) for t in range(1, x.shape[1])]
        leak = max((o[:, :t] - model(x)[:, :t]).abs().max().item() for t, o in enumerate(outs, 1))
    for name, m in model.named_modules():
        m.training = state[name]
    return leak > 1e-5


def _token_by_token(model, x):
    was = [(m, m.training) for m in model.modules()]
    for m, _ in was:
        m.training = False
    with torch.inference_mode():
        a = model(x)
        answer = any(
            ((model(x + 10 * torch.eye(x.shape[1])[s][:, None]) - a)[:, :s].abs() > 1e-5).any().item()
            for s in range(1, x.shape[1])
        )
    for m, mode in was:
        m.training = mode
    return answer


RIGHT = [
    dict(causal_attention=_by_hand, sees_future=_noise),
    dict(causal_attention=_positions, sees_future=_on_a_copy),
    dict(causal_attention=_library_bias, sees_future=_gradient),
    dict(causal_attention=_finfo, sees_future=_token_by_token),
    dict(causal_attention=_query_by_query, sees_future=_jacobian),
    dict(causal_attention=_padded_square, sees_future=_zeros),
    dict(causal_attention=_float_mask),
    dict(causal_attention=_lowest_of_its_dtype),
]


def _mask(q, k):
    return torch.ones(q.size(2), k.size(2)).tril(k.size(2) - q.size(2)) == 0


def _square(q, k, v):
    T = q.size(2)
    mask = torch.triu(torch.full((T, T), -torch.inf), 1)
    scores = q @ k.mT / math.sqrt(q.size(-1))
    scores[..., :T] = scores[..., :T] + mask
    return scores.to(q.dtype).softmax(-1) @ v


def _corner_for_many(q, k, v):
    if q.size(2) == 1:
        return F.scaled_dot_product_attention(q, k, v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(q.size(2), k.size(2)).tril().bool())


def _multiplied(q, k, v):
    w = F.softmax(q @ k.mT / math.sqrt(q.size(-1)), -1)
    return w.masked_fill(_mask(q, k), 0) @ v


def _minus_ten_thousand(q, k, v):
    w = q @ k.mT / math.sqrt(q.size(-1))
    return torch.where(_mask(q, k), torch.tensor(-10000.0, dtype=q.dtype), w).softmax(-1) @ v


def _minus_a_billion(q, k, v):
    w = q.float() @ k.float().mT / math.sqrt(q.size(-1)) if q.element_size() == 2 else q @ k.mT / math.sqrt(q.size(-1))
    return w.masked_fill(_mask(q, k), -1e9).softmax(-1).to(q.dtype) @ v


def _times_billion(q, k, v):
    return (q @ k.mT / math.sqrt(q.size(-1)) - 1e9 * _mask(q, k)).softmax(-1).to(q.dtype) @ v


def _unscaled(q, k, v):
    return (q @ k.mT).masked_fill(_mask(q, k), -torch.inf).softmax(-1) @ v


def _scaled_by_d(q, k, v):
    return (q @ k.mT / q.size(-1)).masked_fill(_mask(q, k), -torch.inf).softmax(-1) @ v


def _strict(q, k, v):
    at = torch.arange(k.size(2) - q.size(2), k.size(2))[:, None]
    return (q @ k.mT / q.size(-1) ** 0.5).masked_fill(torch.arange(k.size(2)) >= at, -torch.inf).softmax(-1) @ v


def _generous(q, k, v):
    at = torch.arange(k.size(2) - q.size(2), k.size(2))[:, None] + 1
    return (q @ k.mT / q.size(-1) ** 0.5).masked_fill(torch.arange(k.size(2)) > at, -torch.inf).softmax(-1) @ v


def _upside_down(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(q, k))


def _numbers(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=(~_mask(q, k)).to(q.dtype))


def _everything(q, k, v):
    return torch.softmax(torch.matmul(q, k.transpose(2, 3)) / q.shape[3] ** 0.5, 3) @ v


def _not_back(q, k, v):
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    return _unscaled(q.to(wide) / q.size(-1) ** 0.5, k.to(wide), v.to(wide))


def _half_through_double(q, k, v):
    return _unscaled(q.double() / q.size(-1) ** 0.5, k.double(), v.double())


def _single(q, k, v):
    return _unscaled(q.float() / q.size(-1) ** 0.5, k.float(), v.float()).to(q.dtype)


def _data(q, k, v):
    return _unscaled(q.data / q.size(-1) ** 0.5, k.data, v.data)


def _divides_q(q, k, v):
    q.div_(math.sqrt(q.size(-1)))
    return _unscaled(q, k, v)


def _bare(q, k, v):
    w = torch.exp(q @ k.mT / q.size(-1) ** 0.5).masked_fill(_mask(q, k), 0)
    return w / w.sum(-1, True) @ v


def _last_token(model, x):
    modes = [m.training for m in model.modules()]
    model.eval()
    y = x.detach().clone()
    y[:, -1] += 1.0
    with torch.no_grad():
        leak = not torch.allclose(model(x)[:, :-1], model(y)[:, :-1], atol=1e-5)
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return leak


def _second_half(model, x):
    modes = [m.training for m in model.modules()]
    model.eval()
    half = x.shape[1] // 2
    with torch.no_grad():
        y = torch.cat([x[:, :half], torch.randn_like(x[:, half:])], 1)
        leak = (model(x)[:, :half] - model(y)[:, :half]).abs().max() > 1e-5
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return bool(leak)


def _one_mode(model, x):
    was = model.training
    found = _noise(model.eval(), x)
    model.train(was)
    return found


def _in_train(model, x):
    with torch.no_grad():
        full = model(x)
        return any(not torch.allclose(model(x[:, :t]), full[:, :t], atol=1e-5) for t in range(1, x.shape[1]))


def _stays_in_eval(model, x):
    model.eval()
    return _noise(model, x)


def _exactly(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        full = model(x)
        return any(not torch.equal(model(x[:, :t]), full[:, :t]) for t in range(1, x.shape[1]))


def _last_row(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        y = torch.randn_like(x)
        y[:, 0] = x[:, 0]
        return not torch.allclose(model(x)[:, -1], model(y)[:, -1], atol=1e-5)


def _as_tensor(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        full, leak = model(x), torch.tensor(0.0)
        for t in range(1, x.shape[1]):
            leak = max(leak, (model(x[:, :t]) - full[:, :t]).abs().max())
        return leak > 1e-5


def _mean_square(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        full = model(x)
        return any(F.mse_loss(model(x[:, :t]), full[:, :t]).item() ** 0.5 > 1e-3 for t in range(1, x.shape[1]))


def _frozen_and_thawed(model, x):
    for p in model.parameters():
        p.requires_grad = False
    found = _zeros(model, x)
    for p in model.parameters():
        p.requires_grad = True
    return found


def _writes_into_x(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        full = model(x).clone()
        for t in reversed(range(1, x.shape[1])):
            x[:, t] += 1
            if (model(x)[:, :t] - full[:, :t]).abs().max() > 1e-5:
                return True
    return False


def _leaves_gradients(model, x):
    modes = [m.training for m in model.modules()]
    model.eval()
    x, leak = x.detach().clone().requires_grad_(), False
    for t in range(x.shape[1] - 1):
        x.grad = None
        (model(x)[:, t] * 2).sum().backward()
        leak = leak or x.grad[:, t + 1 :].abs().max().item() > 1e-5
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return leak


def _neighbour_only(model, x):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        full = model(x)
        for t in range(x.shape[1] - 1):
            y = x.clone()
            y[:, t + 1] += 5
            if (model(y)[:, t] - full[:, t]).abs().max() > 1e-5:
                return True
    return False


_NEIGHBOUR = "a leak from t to t+1 stays unseen"
_ACCUSED = "a causal model was accused"
_STAYS = "sees_future must leave model and x as they were"

WRONG = [
    Mistake(says, caught_by="", causal_attention=wrong)
    for says, wrong in (
        ("one query, top-left mask: it saw key 0 only", _square),
        ("3 queries on 7 keys, top-left mask", _corner_for_many),
        ("masked after the softmax", _multiplied),
        ("finite masks lose", _minus_ten_thousand),
        ("finite masks lose", _minus_a_billion),
        ("finite masks lose", _times_billion),
        ("the scores are not divided by √D", _unscaled),
        ("the scores are divided by D, not by √D", _scaled_by_d),
        ("each query misses one key", _strict),
        ("each query sees one key too many", _generous),
        ("averages the keys up to its own position", _upside_down),
        ("a mask of 0 and 1 is added, not masking", _numbers),
        ("there is no mask", _everything),
        ("went in, and torch.float32 came out", _not_back),
        ("went in, and torch.float32 came out", _half_through_double),
        ("averages the keys up to its own position", _single),
        ("hangs on no graph", _data),
        ("no argument of causal_attention changes", _divides_q),
        ("nan, expected finite weights", _bare),
    )
]
WRONG += [
    Mistake(says, caught_by="", sees_future=wrong)
    for says, wrong in (
        (_NEIGHBOUR, _last_token),
        (_NEIGHBOUR, _second_half),
        (_STAYS, _one_mode),
        ("dropout was called in train mode", _in_train),
        (_STAYS, _stays_in_eval),
        (_ACCUSED, _exactly),
        (_ACCUSED, _last_row),
        (_NEIGHBOUR, _mean_square),
        ("requires_grad, before False, after True", _frozen_and_thawed),
        ("returns True or False, got Tensor", _as_tensor),
        ("x is not as it was: its values", _writes_into_x),
        ("scale is not as it was: its grad", _leaves_gradients),
        ("row 0 reads 0.001 of the last token", _neighbour_only),
    )
]
