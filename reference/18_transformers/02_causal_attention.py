"""The mask sits in the corner, and a test that finds a leak: reference.

Hint: Draw the mask for L = 2, S = 5. Which keys does the last query see, which the first, and what shifts the diagonal?
Hint: `Tensor.tril` takes a `diagonal`; `attn_mask=` wants True to look. For the judge: `torch.no_grad`, clone, and a
loop over all cuts.
Hint: Note each module's mode first. At the cut t, everything from t on gets other numbers, and the outputs before t are
compared with those of the x that was given.

Why: is_causal=True was made for training, where L equals S, and every corner is the same corner. With -inf the weight
is an exact 0, and so is its gradient. A cut finds what crosses it; a peek from t to t+1 crosses only the cut t+1, and
so all cuts have to be tried. `torch.nn.attention.bias.causal_lower_right` is the mask of this kata ready-made.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def causal_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    L, S = q.shape[2], k.shape[2]
    keep = torch.ones(L, S, dtype=torch.bool, device=q.device).tril(diagonal=S - L)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep)


def sees_future(model: nn.Module, x: torch.Tensor) -> bool:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            out = model(x)
            for t in range(1, x.shape[1]):
                changed = x.clone()
                changed[:, t:] += 1 + torch.rand_like(x[:, t:])
                if not torch.allclose(model(changed)[:, :t], out[:, :t], rtol=0, atol=1e-5):
                    return True
        return False
    finally:
        for module, mode in modes:
            module.training = mode


def _scores(q, k):
    return q @ k.mT / math.sqrt(q.shape[-1])


def _keep(q, k, shift=0):
    L, S = q.shape[2], k.shape[2]
    return torch.ones(L, S, dtype=torch.bool).tril(S - L + shift)


def _is_causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _is_causal_if_many(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)


def _both(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k), is_causal=True)


def _square_triangle(q, k, v):
    keep = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril()
    return _scores(q, k).masked_fill(~keep, -torch.inf).softmax(-1) @ v


def _last_keys_only(q, k, v):
    L = q.shape[2]
    return _is_causal(q, k[:, :, -L:], v[:, :, -L:])


def _no_mask(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def _zeros_and_ones(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k).to(q.dtype))


def _after_the_softmax(q, k, v):
    return (_scores(q, k).softmax(-1) * _keep(q, k)) @ v


def _fill(number):
    def wrong(q, k, v):
        return _scores(q, k).masked_fill(~_keep(q, k), number).softmax(-1) @ v

    return wrong


def _add(number):
    def wrong(q, k, v):
        return (_scores(q, k) + (~_keep(q, k)).to(q.dtype) * number).softmax(-1) @ v

    return wrong


def _zero_times_inf(q, k, v):
    return (_scores(q, k) + (~_keep(q, k)).to(q.dtype) * -torch.inf).softmax(-1) @ v


def _scaled(power):
    def wrong(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k), scale=q.shape[-1] ** power)

    return wrong


def _shifted(by):
    def wrong(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k, by))

    return wrong


def _inverted(q, k, v):
    return _scores(q, k).masked_fill(_keep(q, k), -torch.inf).softmax(-1) @ v


def _zeros_above_the_diagonal(q, k, v):
    """Whatever is 0 after tril counts as blocked, a visible score too."""
    scores = _scores(q, k).tril(k.shape[2] - q.shape[2])
    return scores.masked_fill(scores == 0, -torch.inf).softmax(-1) @ v


def _softmax_over_queries(q, k, v):
    return _scores(q, k).masked_fill(~_keep(q, k), -torch.inf).softmax(-2) @ v


def _float32_comes_out(q, k, v):
    if q.dtype == torch.float64:
        return causal_attention(q, k, v)
    return causal_attention(q.float(), k.float(), v.float())


def _always_float32(q, k, v):
    return causal_attention(q.float(), k.float(), v.float()).to(q.dtype)


def _in_place(q, k, v):
    q *= q.shape[-1] ** -0.5
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k), scale=1.0)


def _bare_exp(q, k, v):
    weights = _scores(q, k).exp() * _keep(q, k)
    return weights / weights.sum(-1, keepdim=True) @ v


def _exp_where(q, k, v):
    """Shifted by the largest visible score: right, but the gradient of a later score meets inf * 0."""
    scores, keep = _scores(q, k), _keep(q, k)
    scores = scores - scores.masked_fill(~keep, -torch.inf).amax(-1, keepdim=True).detach()
    weights = torch.where(keep, scores.exp(), 0)
    return weights / weights.sum(-1, keepdim=True) @ v


def _dropped(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_keep(q, k), dropout_p=0.1)


def _constant_weights(q, k, v):
    with torch.no_grad():
        weights = _scores(q, k).masked_fill(~_keep(q, k), -torch.inf).softmax(-1)
    return weights @ v


def _no_graph(q, k, v):
    return causal_attention(q.detach(), k.detach(), v.detach())


def _judge(
    cuts=lambda T: range(1, T),
    change=lambda part: part + 1 + torch.rand_like(part),
    until=lambda t, T: slice(t, T),
    rows=lambda t: slice(0, t),
    moved=lambda a, b: a.numel() > 0 and (a - b).abs().max() > 1e-5,
    answer=bool,
    eval_=lambda model: model.eval(),
    restore=lambda modes: [setattr(module, "training", mode) for module, mode in modes],
):
    """The reference, with one of its parts exchanged."""

    def wrong(model, x):
        modes = [(module, module.training) for module in model.modules()]
        eval_(model)
        found = False
        with torch.no_grad():
            out, T = model(x), x.shape[1]
            for t in cuts(T):
                changed = x.clone()
                changed[:, until(t, T)] = change(changed[:, until(t, T)])
                found = found or moved(model(changed)[:, rows(t)], out[:, rows(t)])
        restore(modes)
        return answer(found)

    return wrong


_neighbour_only = _judge(until=lambda t, T: slice(t, t + 1), rows=lambda t: slice(t - 1, t))


def _all_as_the_first(modes):
    modes[0][0].train(modes[0][1])


def _children_first(modes):
    for module, mode in reversed(modes):
        module.train(mode)


def _one_level(modes):
    modes[0][0].train(modes[0][1])
    for module, mode in modes:
        if module in set(modes[0][0].children()):
            module.train(mode)


def _eval_if_training(model):
    if model.training:
        model.eval()


def _in_place_x(model, x):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad():
        out = model(x).clone()
        x[:, -1] += 1
        leaks = (model(x)[:, :-1] - out[:, :-1]).abs().max() > 1e-5
    for module, mode in modes:
        module.training = mode
    return bool(leaks)


def _by_gradient(grad_of, clear=lambda model, x: None):
    def wrong(model, x):
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        leaks = False
        for t in range(x.shape[1] - 1):
            given, grad = grad_of(model, x, t)
            leaks = leaks or bool(grad[:, t + 1 :].abs().max() > 1e-5)
        clear(model, x)
        for module, mode in modes:
            module.training = mode
        return leaks

    return wrong


def _backward(model, x, t):
    given = x.detach().clone().requires_grad_()
    (model(given)[:, t] * torch.linspace(1, 2, model(given).shape[-1])).sum().backward()
    return given, given.grad


def _on_x_itself(model, x, t):
    x.requires_grad_()
    out = model(x)[:, t]
    return x, torch.autograd.grad((out * torch.linspace(1, 2, out.shape[-1])).sum(), x)[0]


def _gradient_of_the_first_row(model, x):
    """Only of the first row."""
    given = x.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(model(given)[:, 0].sum(), given)
    return bool(grad[:, 1:].any())


def _thaws(model, x):
    """The parameters are frozen for the judgement, and afterwards all of them are trained."""
    model.requires_grad_(False)
    found = sees_future(model, x)
    model.requires_grad_(True)
    return found


def _switches_gradients_off(model, x):
    torch.set_grad_enabled(False)
    modes = [(module, module.training) for module in model.modules()]
    found = _judge()(model, x)
    for module, mode in modes:
        module.training = mode
    return found


_FIRST = "test_the_first_token_sees_only_itself"
_LAST = "test_the_queries_are_the_last_of_the_positions"
_LARGE = "test_the_future_weighs_nothing_whatever_the_scores_and_the_dtype"
_GRADIENT = "test_no_gradient_reaches_a_later_key"
_LEAK = "test_one_token_that_reads_its_neighbour_is_a_leak"
_CAUSAL = "test_a_causal_model_is_not_accused"
_EVAL = "test_the_judge_looks_in_eval_mode_and_gives_the_model_back"

_NEIGHBOUR = "a leak from t to t+1 stays unseen"
_ACCUSED = "a causal model was accused"
_STAYS = "sees_future must leave model and x as they were"

MISTAKES = [
    Mistake("one query, top-left mask: it saw key 0 only", caught_by=_LAST, causal_attention=_is_causal),
    Mistake("3 queries on 7 keys, top-left mask", caught_by=_LAST, causal_attention=_is_causal_if_many),
    Mistake("one query, top-left mask: it saw key 0 only", caught_by=_LAST, causal_attention=_square_triangle),
    Mistake("1 queries on 6 keys: query i sees the keys 0 to 5", caught_by=_LAST, causal_attention=_last_keys_only),
    Mistake("a mask or is_causal=True, not both", caught_by=_FIRST, causal_attention=_both),
    Mistake("there is no mask", caught_by=_FIRST, causal_attention=_no_mask),
    Mistake("a mask of 0 and 1 is added, not masking", caught_by=_FIRST, causal_attention=_zeros_and_ones),
    Mistake("masked after the softmax", caught_by=_FIRST, causal_attention=_after_the_softmax),
    Mistake("the scores are not divided by √D", caught_by=_FIRST, causal_attention=_scaled(0)),
    Mistake("the scores are divided by D, not by √D", caught_by=_FIRST, causal_attention=_scaled(-1)),
    Mistake("each query sees one key too many", caught_by=_FIRST, causal_attention=_shifted(1)),
    Mistake("each query misses one key", caught_by=_FIRST, causal_attention=_shifted(-1)),
    Mistake("averages the keys up to its own position", caught_by=_FIRST, causal_attention=_inverted),
    Mistake("averages the keys up to its own position", caught_by=_FIRST, causal_attention=_softmax_over_queries),
    Mistake("averages the keys up to its own position", caught_by=_FIRST, causal_attention=_zero_times_inf),
    Mistake("every score is 0", caught_by=_FIRST, causal_attention=_zeros_above_the_diagonal),
    Mistake("averages the keys up to its own position", caught_by=_FIRST, causal_attention=_dropped),
    Mistake("averages the keys up to its own position", caught_by=_FIRST, causal_attention=_always_float32),
    Mistake("no argument of causal_attention changes", caught_by=_FIRST, causal_attention=_in_place),
    Mistake("finite masks lose", caught_by=_LARGE, causal_attention=_fill(-1e4)),
    Mistake("finite masks lose", caught_by=_LARGE, causal_attention=_add(-1e4)),
    Mistake("finite masks lose", caught_by=_LARGE, causal_attention=_add(-1e9)),
    Mistake("nan, expected finite weights", caught_by=_LARGE, causal_attention=_bare_exp),
    Mistake("does not fit into float16", caught_by=_LARGE, causal_attention=_fill(-1e9)),
    Mistake("went in, and torch.float32 came out", caught_by=_LARGE, causal_attention=_float32_comes_out),
    Mistake("sends to q is missing", caught_by=_GRADIENT, causal_attention=_constant_weights),
    Mistake("hangs on no graph", caught_by=_GRADIENT, causal_attention=_no_graph),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(cuts=lambda T: [T - 1])),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(cuts=lambda T: [T // 2])),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(cuts=lambda T: [1])),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(cuts=lambda T: range(2, T))),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(cuts=lambda T: range(1, T - 1))),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(rows=lambda t: slice(0, t - 1))),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(rows=lambda t: slice(0, 1))),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(change=lambda part: part + 1e-3)),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(moved=lambda a, b: (a - b).abs().max() > 1e-2)),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(moved=lambda a, b: not torch.allclose(a, b, rtol=0.1))),
    Mistake("row 0 reads 0.001 of the last token", caught_by=_LEAK, sees_future=_neighbour_only),
    Mistake("one number of row 3", caught_by=_LEAK, sees_future=_judge(moved=lambda a, b: (a - b)[..., 0].any())),
    Mistake(
        "of 65 tokens, row 60", caught_by=_LEAK, sees_future=_judge(moved=lambda a, b: (a - b).abs().mean() > 1e-5)
    ),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_judge(change=lambda part: part.roll(1, 1))),
    Mistake(
        "one text, and one number a token", caught_by=_LEAK, sees_future=_judge(change=lambda part: part.roll(1, 0))
    ),
    Mistake("one text, and one number a token", caught_by=_LEAK, sees_future=_judge(change=lambda part: part.flip(2))),
    Mistake("the direction of the next", caught_by=_LEAK, sees_future=_judge(change=lambda part: 2 * part)),
    Mistake("the length of the next", caught_by=_LEAK, sees_future=_judge(change=lambda part: -part)),
    Mistake(_NEIGHBOUR, caught_by=_LEAK, sees_future=_gradient_of_the_first_row),
    Mistake("x is not as it was: its values", caught_by=_LEAK, sees_future=_in_place_x),
    Mistake("x is not as it was: requires_grad", caught_by=_LEAK, sees_future=_by_gradient(_on_x_itself)),
    Mistake("scale is not as it was: its grad", caught_by=_LEAK, sees_future=_by_gradient(_backward)),
    Mistake(
        "scale is not as it was: its grad",
        caught_by=_LEAK,
        sees_future=_by_gradient(_backward, clear=lambda model, x: model.zero_grad()),
    ),
    Mistake("returns True or False, got Tensor", caught_by=_CAUSAL, sees_future=_judge(answer=torch.as_tensor)),
    Mistake("gradients were on at the call", caught_by=_CAUSAL, sees_future=_switches_gradients_off),
    Mistake(_ACCUSED, caught_by=_CAUSAL, sees_future=_judge(rows=lambda t: slice(None))),
    Mistake(_ACCUSED, caught_by=_CAUSAL, sees_future=_judge(rows=lambda t: slice(-1, None))),
    Mistake(_ACCUSED, caught_by=_CAUSAL, sees_future=_judge(rows=lambda t: slice(0, t + 1))),
    Mistake(_ACCUSED, caught_by=_CAUSAL, sees_future=_judge(moved=lambda a, b: not torch.equal(a, b))),
    Mistake("dropout was called in train mode", caught_by=_EVAL, sees_future=_judge(eval_=lambda model: None)),
    Mistake("dropout was called in train mode", caught_by=_EVAL, sees_future=_judge(eval_=_eval_if_training)),
    Mistake("requires_grad, before False, after True", caught_by=_EVAL, sees_future=_thaws),
    Mistake(_STAYS, caught_by=_EVAL, sees_future=_judge(restore=_all_as_the_first)),
    Mistake(_STAYS, caught_by=_EVAL, sees_future=_judge(restore=lambda modes: None)),
    Mistake(_STAYS, caught_by=_EVAL, sees_future=_judge(restore=_children_first)),
    Mistake(_STAYS, caught_by=_EVAL, sees_future=_judge(restore=_one_level)),
    Mistake(_STAYS, caught_by=_EVAL, sees_future=_judge(restore=lambda modes: modes[0][0].train())),
]
