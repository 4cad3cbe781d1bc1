"""Four ways to stop a gradient, and one that does nothing: reference.

Hint: Ask of each function what must stay possible: switching on again, editing, a gradient for q, training on top.
Hint: `requires_grad_` is a method; `Tensor.detach` cuts, `Tensor.clone` copies; `torch.no_grad()` is a context manager.
Hint: The copy needs a cut and a clone, the target only a cut, and the features a `with` block around the call.

Why: `requires_grad_(False)` is a property of a leaf, `detach` cuts one value loose, `no_grad` covers a stretch of code
(and, as a `with` block, ends also when that code raises). inference_mode saves a little more by dropping the version
counter; the price is that its results cannot be saved for a backward. A loss with a target that learns along still
falls, which is why a forgotten detach is found so late.
"""

import copy

import torch
from torch import nn

from dojo import Mistake


def freeze_(t: torch.Tensor) -> torch.Tensor:
    return t.requires_grad_(False)


def constant_copy(t: torch.Tensor) -> torch.Tensor:
    return t.detach().clone()


def td_loss(q: torch.Tensor, q_next: torch.Tensor, r: float) -> torch.Tensor:
    return (r + 0.9 * q_next.detach() - q) ** 2


def cache_features(encoder: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder(x)


def _assign_the_method(t):
    t.requires_grad_ = False
    return t


def _assign_a_typo(t):
    t.require_grad = False
    return t


def _no_grad_around_nothing(t):
    with torch.no_grad():
        return t


def _freeze_and_return_nothing(t):
    t.requires_grad = False


def _switch_off_and_clone(t):
    return t.requires_grad_(False).clone() if t.is_leaf else t.detach_().clone()


def _deep_copy(t):
    copied = torch.empty_like(t, requires_grad=True)
    copied.data.copy_(t)
    return copied


def _inference_copy(t):
    with torch.inference_mode():
        return t.clone()


def _switch_off_the_target(q, q_next, r):
    return (r + 0.9 * q_next.requires_grad_(False) - q) ** 2


def _cut_the_target_itself(q, q_next, r):
    return (r + 0.9 * q_next.detach_() - q) ** 2


def _loss_without_grad(q, q_next, r):
    with torch.no_grad():
        return (r + 0.9 * q_next - q) ** 2


def _inference(encoder, x):
    with torch.inference_mode():
        return encoder(x)


def _switch_and_forget(encoder, x):
    torch.set_grad_enabled(False)
    return encoder(x)


def _switch_without_finally(encoder, x):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    feat = encoder(x)
    torch.set_grad_enabled(before)
    return feat


def _switch_on_afterwards(encoder, x):
    torch.set_grad_enabled(False)
    try:
        return encoder(x)
    finally:
        torch.set_grad_enabled(True)


def _freeze_the_encoder(encoder, x):
    for p in encoder.parameters():
        p.requires_grad_(False)
    return encoder(x.detach())


def _freeze_for_a_moment(encoder, x):
    trained = [p for p in encoder.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    feat = encoder(x)
    for p in trained:
        p.requires_grad_(True)
    return feat


def _swallow_the_error(encoder, x):
    with torch.no_grad():
        try:
            return encoder(x)
        except ValueError:
            return x


def _freeze_and_clear(t):
    t.grad = None
    return t.requires_grad_(False)


_FREEZE = "test_requires_grad_is_switched_by_a_call_not_by_an_attribute"
_COPY = "test_detach_shares_memory_and_clone_keeps_the_graph"
_TARGET = "test_a_target_is_a_constant"
_TRAINED = "test_features_without_a_graph_can_be_trained_on"
_EDITED = "test_features_without_a_graph_can_be_edited"
_MODE = "test_no_grad_ends_with_its_block_even_if_that_raises"
_SHARES = "your copy shares memory: editing the copy changed the original"


def _loss_and_backward(q, q_next, r):
    loss = td_loss(q, q_next, r)
    loss.backward()
    return loss


def _in_eval_mode(encoder, x):
    encoder.eval()
    with torch.no_grad():
        return encoder(x)


def _in_train_mode_again(encoder, x):
    encoder.eval()
    feat = encoder(x).detach()
    encoder.train()
    return feat


def _all_trainable_afterwards(encoder, x):
    encoder.requires_grad_(False)
    try:
        return encoder(x).detach()
    finally:
        encoder.requires_grad_(True)


def _switch_x_off(encoder, x):
    return encoder(x.requires_grad_(True)).detach()


_features: dict = {}


def _kept_by_shape(encoder, x):
    if (encoder, x.shape) not in _features:
        _features[encoder, x.shape] = cache_features(encoder, x)
    return _features[encoder, x.shape]


def _target_as_a_new_tensor(q, q_next, r):
    target = torch.tensor(r + 0.9 * q_next.item())
    return (target - q) ** 2


def _loss_in_float32(q, q_next, r):
    return (torch.tensor(r) + 0.9 * q_next.detach().float() - q.float()) ** 2


def _cut_a_leaf(q, q_next, r):
    """Switches off where q_next is a leaf, and takes the value out where it is not."""
    if not q_next.is_leaf:
        return td_loss(q, q_next, r)
    return td_loss(q, q_next.requires_grad_(False), r)


_AS_IT_IS = "only this run was to have no graph"

MISTAKES = [
    Mistake("t.grad is gone", caught_by=_FREEZE, freeze_=_freeze_and_clear),
    Mistake(
        "is 24.01, in torch.float16",
        caught_by=_TARGET,
        td_loss=lambda q, q_next, r: (
            (torch.tensor(r, dtype=torch.promote_types(q.dtype, torch.float32)) + 0.9 * q_next.detach() - q) ** 2
        ),
    ),
    Mistake(
        "constant_copy raised on a torch.bfloat16 tensor",
        caught_by=_COPY,
        constant_copy=lambda t: torch.from_numpy(t.detach().numpy().copy()),
    ),
    Mistake(
        "the copy has the values of t",
        caught_by=_COPY,
        constant_copy=lambda t: t.detach().float().clone().to(t.dtype),
    ),
    Mistake(_AS_IT_IS, caught_by=_MODE, cache_features=_in_eval_mode),
    Mistake(_AS_IT_IS, caught_by=_MODE, cache_features=_in_train_mode_again),
    Mistake(_AS_IT_IS, caught_by=_MODE, cache_features=_all_trainable_afterwards),
    Mistake(_AS_IT_IS, caught_by=_MODE, cache_features=_switch_x_off),
    Mistake("of this x", caught_by=_MODE, cache_features=_kept_by_shape),
    Mistake("computed in float64 all the way", caught_by=_TARGET, td_loss=_target_as_a_new_tensor),
    Mistake("computed in float64 all the way", caught_by=_TARGET, td_loss=_loss_in_float32),
    Mistake("q and q_next are not yours", caught_by=_TARGET, td_loss=_cut_a_leaf),
    Mistake("deepcopy takes leaves only", caught_by=_COPY, constant_copy=lambda t: copy.deepcopy(t).detach()),
    Mistake("you overwrote the method; nothing was switched off", caught_by=_FREEZE, freeze_=_assign_the_method),
    Mistake("a tensor has no attribute require_grad", caught_by=_FREEZE, freeze_=_assign_a_typo),
    Mistake("t still requires a gradient", caught_by=_FREEZE, freeze_=_no_grad_around_nothing),
    Mistake("t still requires a gradient", caught_by=_FREEZE, freeze_=lambda t: t.requires_grad_()),
    Mistake("freeze_ returns t itself", caught_by=_FREEZE, freeze_=lambda t: t.detach()),
    Mistake("freeze_ returns t itself", caught_by=_FREEZE, freeze_=_freeze_and_return_nothing),
    Mistake(_SHARES, caught_by=_COPY, constant_copy=lambda t: t.detach()),
    Mistake(_SHARES, caught_by=_COPY, constant_copy=lambda t: t.data),
    Mistake("your copy still requires a gradient", caught_by=_COPY, constant_copy=lambda t: t.clone()),
    Mistake("your copy still requires a gradient", caught_by=_COPY, constant_copy=_deep_copy),
    Mistake("you switched off t itself", caught_by=_COPY, constant_copy=_switch_off_and_clone),
    Mistake(
        "only a leaf can be switched off", caught_by=_COPY, constant_copy=lambda t: t.requires_grad_(False).clone()
    ),
    Mistake("it is no ordinary tensor", caught_by=_COPY, constant_copy=_inference_copy),
    Mistake(
        "gradient 14.96: it also flows through q_next",
        caught_by=_TARGET,
        td_loss=lambda q, q_next, r: (r + 0.9 * q_next - q) ** 2,
    ),
    Mistake(
        "gradient 23.76: it flows through q_next only",
        caught_by=_TARGET,
        td_loss=lambda q, q_next, r: (r + 0.9 * q_next - q.detach()) ** 2,
    ),
    Mistake("only a leaf can be switched off", caught_by=_TARGET, td_loss=_switch_off_the_target),
    Mistake(
        "you wrote into q_next",
        caught_by=_TARGET,
        td_loss=lambda q, q_next, r: (q_next.detach().mul_(0.9).add_(r) - q) ** 2,
    ),
    Mistake("its backward is the caller's", caught_by=_TARGET, td_loss=_loss_and_backward),
    Mistake(
        "only a leaf can be switched off",
        caught_by=_TRAINED,
        cache_features=lambda encoder, x: encoder(x).requires_grad_(False),
    ),
    Mistake("the values of t stay as they are", caught_by=_FREEZE, freeze_=lambda t: t.detach_().zero_()),
    Mistake("you cut q_next itself out of its graph", caught_by=_TARGET, td_loss=_cut_the_target_itself),
    Mistake("no gradient reaches q", caught_by=_TARGET, td_loss=_loss_without_grad),
    Mistake(
        "the features still hang on a graph",
        caught_by=_TRAINED,
        cache_features=lambda encoder, x: encoder(x),
    ),
    Mistake("inference tensors can never enter a later graph", caught_by=_TRAINED, cache_features=_inference),
    Mistake("the features still hang on a graph", caught_by=_TRAINED, cache_features=_freeze_for_a_moment),
    Mistake(
        "feat.mul_(2) failed",
        caught_by=_EDITED,
        cache_features=lambda encoder, x: encoder(x).detach().requires_grad_(),
    ),
    Mistake("you left gradients switched off", caught_by=_TRAINED, cache_features=_switch_and_forget),
    Mistake(
        "the encoder raised, and gradients stayed switched off",
        caught_by=_MODE,
        cache_features=_switch_without_finally,
    ),
    Mistake("you switched them on", caught_by=_MODE, cache_features=_switch_on_afterwards),
    Mistake("only this run was to have no graph", caught_by=_MODE, cache_features=_freeze_the_encoder),
    Mistake("the encoder's own error must come through", caught_by=_MODE, cache_features=_swallow_the_error),
]
