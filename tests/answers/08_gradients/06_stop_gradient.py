"""Answers that people give to stop_gradient, right ones and wrong ones."""

import copy

import torch

from dojo import Mistake


def _freeze_by_flag(t):
    t.requires_grad = False
    return t


def _copy_under_no_grad(t):
    with torch.no_grad():
        return t.clone()


def _copy_into_new_memory(t):
    y = torch.empty_like(t, requires_grad=False)
    y.copy_(t.detach())
    return y


def _target_first(q, q_next, r):
    with torch.no_grad():
        target = r + 0.9 * q_next
    return (target - q).pow(2)


@torch.no_grad()
def _decorated(encoder, x):
    return encoder(x)


def _switch_with_finally(encoder, x):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        return encoder(x)
    finally:
        torch.set_grad_enabled(before)


def _inference_and_clone(encoder, x):
    with torch.inference_mode():
        feat = encoder(x)
    return feat.clone()


def _set_the_method(t):
    setattr(t, "requires_grad_", False)  # noqa: B010
    return t


def _set_another_typo(t):
    t.require_grads = False
    return t


def _freeze_a_new_tensor(t):
    return t.data.requires_grad_(False)


def _copy_through_copy(t):
    return copy.copy(t.detach())


def _copy_through_numpy(t):
    return torch.from_numpy(t.detach().numpy())


def _deep_copy(t):
    return copy.deepcopy(t).requires_grad_(False)


def _target_in_a_variable(q, q_next, r):
    target = r + q_next * 0.9
    return torch.nn.functional.mse_loss(q, target)


def _all_detached(q, q_next, r):
    return ((r + 0.9 * q_next - q) ** 2).detach()


@torch.inference_mode()
def _decorated_inference(encoder, x):
    return encoder(x)


def _no_finally(encoder, x):
    guard = torch.no_grad()
    guard.__enter__()
    feat = encoder(x)
    guard.__exit__(None, None, None)
    return feat


def _eval_only(encoder, x):
    return encoder.eval()(x)


def _freeze_with_module(encoder, x):
    return encoder.requires_grad_(False)(x.detach())


def _inference_detached(encoder, x):
    with torch.inference_mode():
        feat = encoder(x)
    return feat.detach()


def _a_mode_as_block(encoder, x):
    with torch.set_grad_enabled(False):
        feat = encoder(x)
    return feat


def _target_by_copy(q, q_next, r):
    target = torch.empty_like(q_next, requires_grad=False).copy_(q_next.detach()).mul_(0.9).add_(r)
    return (q - target).square()


def _features_of_detached_weights(encoder, x):
    weights = {name: p.detach() for name, p in encoder.named_parameters()}
    return torch.func.functional_call(encoder, weights, (x.detach(),))


def _copy_with_numpy_array(t):
    return torch.asarray(t.detach(), copy=True)


RIGHT = [
    {"td_loss": _target_by_copy, "cache_features": _features_of_detached_weights},
    {"constant_copy": _copy_with_numpy_array, "td_loss": lambda q, n, r: torch.pow(q - (n.detach() * 0.9 + r), 2)},
    {"constant_copy": lambda t: t.new_empty(t.shape).copy_(t.data)},
    {"constant_copy": lambda t: torch.zeros_like(t).add_(t.detach()), "cache_features": _a_mode_as_block},
    {
        "freeze_": _freeze_by_flag,
        "constant_copy": _copy_under_no_grad,
        "td_loss": _target_first,
        "cache_features": lambda encoder, x: encoder(x).detach(),
    },
    {
        "freeze_": lambda t: t.detach_(),
        "constant_copy": lambda t: t.clone().detach(),
        "td_loss": lambda q, q_next, r: (q - (r + 0.9 * q_next).detach()) ** 2,
        "cache_features": _decorated,
    },
    {
        "constant_copy": lambda t: torch.tensor(t.tolist(), dtype=t.dtype),
        "td_loss": lambda q, q_next, r: torch.nn.functional.mse_loss(q, r + 0.9 * q_next.detach()),
        "cache_features": _switch_with_finally,
    },
    {
        "constant_copy": _copy_into_new_memory,
        "td_loss": lambda q, q_next, r: torch.square(r + 0.9 * q_next.item() - q),
        "cache_features": _inference_and_clone,
    },
    {
        "constant_copy": lambda t: t.detach().to("cpu", copy=True),
        "td_loss": lambda q, q_next, r: (r + 0.9 * q_next.data - q) ** 2,
        "cache_features": lambda encoder, x: encoder(x).data.clone(),
    },
]


def _eval_and_no_grad(encoder, x):
    with torch.no_grad():
        encoder.train(False)
        return encoder(x)


def _frozen_for_a_moment(encoder, x):
    for p in encoder.parameters():
        p.requires_grad = False
    feat = encoder(x).detach().clone()
    for p in encoder.parameters():
        p.requires_grad = True
    return feat


def _freeze_in_an_optimizer(t):
    torch.optim.SGD([t], lr=0.1).zero_grad()
    t.requires_grad = False
    return t


WRONG = [
    Mistake("t.grad is gone", caught_by="", freeze_=_freeze_in_an_optimizer),
    Mistake(
        "is 24.01, in torch.float16",
        caught_by="",
        td_loss=lambda q, n, r: (q - (r + 0.9 * (n.detach() if n.dtype == torch.float64 else n.detach().float()))) ** 2,
    ),
    Mistake(
        "constant_copy raised on a torch.bfloat16 tensor",
        caught_by="",
        constant_copy=lambda t: torch.tensor(t.detach().cpu().numpy()),
    ),
    Mistake("only this run was to have no graph", caught_by="", cache_features=_eval_and_no_grad),
    Mistake("only this run was to have no graph", caught_by="", cache_features=_frozen_for_a_moment),
    Mistake(
        "computed in float64 all the way",
        caught_by="",
        td_loss=lambda q, q_next, r: torch.nn.functional.mse_loss(q, torch.tensor(0.9 * float(q_next) + r).to(q.dtype)),
    ),
    Mistake(
        "your copy shares memory: editing the copy changed the original",
        caught_by="",
        constant_copy=lambda t: t.detach().to(t.dtype).contiguous(),
    ),
    Mistake("your copy still requires a gradient", caught_by="", constant_copy=lambda t: torch.empty_like(t).copy_(t)),
    Mistake("inference tensors can never enter a later graph", caught_by="", cache_features=_inference_detached),
    Mistake(
        "the features still hang on a graph",
        caught_by="",
        cache_features=lambda encoder, x: encoder(x.detach()),
    ),
    Mistake("you overwrote the method; nothing was switched off", caught_by="", freeze_=_set_the_method),
    Mistake("a tensor has no attribute require_grad", caught_by="", freeze_=_set_another_typo),
    Mistake("freeze_ returns t itself", caught_by="", freeze_=_freeze_a_new_tensor),
    Mistake(
        "your copy shares memory: editing the copy changed the original", caught_by="", constant_copy=_copy_through_copy
    ),
    Mistake(
        "your copy shares memory: editing the copy changed the original",
        caught_by="",
        constant_copy=_copy_through_numpy,
    ),
    Mistake("your copy still requires a gradient", caught_by="", constant_copy=lambda t: t * 1),
    Mistake("deepcopy takes leaves only", caught_by="", constant_copy=_deep_copy),
    Mistake("gradient 14.96: it also flows through q_next", caught_by="", td_loss=_target_in_a_variable),
    Mistake(
        "gradient 14.96: it also flows through q_next",
        caught_by="",
        td_loss=lambda q, q_next, r: (r + 0.9 * q_next.clone() - q) ** 2,
    ),
    Mistake("no gradient reaches q", caught_by="", td_loss=_all_detached),
    Mistake("inference tensors can never enter a later graph", caught_by="", cache_features=_decorated_inference),
    Mistake("the encoder raised, and gradients stayed switched off", caught_by="", cache_features=_no_finally),
    Mistake("the features still hang on a graph", caught_by="", cache_features=_eval_only),
    Mistake("only this run was to have no graph", caught_by="", cache_features=_freeze_with_module),
]
