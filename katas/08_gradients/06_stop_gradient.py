"""Four ways to stop a gradient, and one that does nothing

`t.requires_grad_(False)` switches a leaf off, in place: it is a frozen weight until you switch it on again. Written as
an assignment, `t.requires_grad_ = False`, it stops nothing: it hangs False over the *method* of that tensor, and the
next `t.requires_grad_(True)` fails with "'bool' object is not callable". A typo in an attribute's name is as silent.

`t.detach()` is the same numbers without the graph, and in the *same memory*: write into it and t changes; `clone()`
gives new memory, but keeps the graph. `torch.no_grad()` records nothing in its block; what comes out is an ordinary
tensor that later graphs may use. `torch.inference_mode()` is faster and final: its tensors can never enter a graph that
needs them for backward.

Which one is right depends on what must stay possible. In temporal-difference learning the target r + 0.9·q_next is a
number to be reached: if the gradient flows into it, the network learns to lower its goal. Features of an encoder that
are computed once must still be good for training something on top of them.

What is asked here: switch a leaf off; a copy that nobody can feel; a loss with a constant target; features to keep.

About 20 minutes. Before it: view_or_copy, leaf_weights.
Path: first_day, transformer

https://docs.pytorch.org/docs/stable/notes/autograd.html#locally-disabling-gradient-computation
"""

from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, raises, shares_memory, unchanged


def freeze_(t: torch.Tensor) -> torch.Tensor:
    """Switch the gradient of the leaf `t` off, in place, so that it can be switched on again later. Returns `t`.

    Its values and its `.grad` stay as they are.
    """
    raise NotImplementedError("switch the gradient of t off and return t")


def constant_copy(t: torch.Tensor) -> torch.Tensor:
    """The values of `t` (a leaf or not, of any dtype) in memory of its own, without a graph.

    `t` stays as it is.
    """
    raise NotImplementedError("copy t, without its graph")


def td_loss(q: torch.Tensor, q_next: torch.Tensor, r: float) -> torch.Tensor:
    """(r + 0.9·q_next - q)², in the dtype of `q` and `q_next`, which are 0-d; `r` is a Python number.

    The dtype is any float one. The gradient flows only through `q`; `q_next` itself stays as it is.
    """
    raise NotImplementedError("the squared distance of q from a constant target")


def cache_features(encoder: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`encoder(x)` without a graph: it can be edited in place and trained on later.

    The encoder stays as it is: its modes (train or eval), and what in it can be trained; `x` too. Its errors come
    through, and afterwards gradients are on or off as they were before.
    """
    raise NotImplementedError("the features, without a graph")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


# The native error of a wrong way to stop a gradient, and what it leaves out.
_SIGNS = {
    "only change requires_grad flags": "only a leaf can be switched off: a result of an operation has to be taken "
    "out of the graph",
    "deepcopy": "deepcopy takes leaves only, and constant_copy must take both, leaves and results",
    "[Ii]nference": "an inference tensor can never enter a later graph, nor be edited outside of inference_mode: it is "
    "no ordinary tensor",
}


class _Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("this encoder is broken")


def _encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh())


def _features(encoder: nn.Module, x: torch.Tensor) -> Any:
    """cache_features(encoder, x), where that is a tensor without a graph."""
    __tracebackhide__ = True
    with explain("cache_features raised", _SIGNS):
        feat = cache_features(encoder, x)
    assert isinstance(feat, torch.Tensor), f"expected the features as a tensor, got {type(feat).__name__}"
    assert feat.grad_fn is None, (
        f"the features still hang on a graph, to the encoder's weights or to x: grad_fn is {feat.grad_fn}"
    )
    return feat


@pytest.mark.myth(
    says="x.requires_grad_ = False switches the gradient of x off.",
    today="It puts an attribute over the method and switches nothing off: call x.requires_grad_(False).",
)
def test_requires_grad_is_switched_by_a_call_not_by_an_attribute():
    t = torch.ones(3, requires_grad=True)
    t.grad = torch.zeros(3)
    out = freeze_(t)
    assert callable(t.requires_grad_), (
        "you overwrote the method; nothing was switched off: requires_grad_ is to be called"
    )
    new = ", ".join(vars(t))
    assert not new, f"a tensor has no attribute {new}: your assignment made one, and nothing was switched off"
    assert out is t, "freeze_ returns t itself: the underscore promises that t is changed in place"
    assert not t.requires_grad, "t still requires a gradient"
    check_tensor(t.detach(), torch.ones(3), "freeze_ switches the gradient off, the values of t stay as they are")
    assert t.grad is not None, "t.grad is gone: freeze_ stops gradients to come, what is in .grad stays as it is"
    with explain("after freeze_(t), t.requires_grad_(True) must switch it on again"):
        t.requires_grad_(True)
        (t * torch.tensor([1.0, 2, 3])).sum().backward()
    check_tensor(t.grad, torch.tensor([1.0, 2, 3]), "switched on again, t gets its gradient")


@pytest.mark.myth(
    says="x.detach() makes a copy of x.",
    today="It makes a window on the same memory, outside the graph: an edit of it changes x.",
)
@pytest.mark.parametrize("kind", ["leaf", "result of an operation"])
def test_detach_shares_memory_and_clone_keeps_the_graph(kind):
    leaf = torch.tensor([[0.1, 2, 3], [4, 5, 6]], dtype=torch.float64, requires_grad=True)
    t = leaf if kind == "leaf" else leaf.t() * 2
    values = t.detach().clone()
    with explain(f"constant_copy(t) raised, where t is a {kind}", _SIGNS):
        y = constant_copy(t)
    assert isinstance(y, torch.Tensor), f"expected the copy as a tensor, got {type(y).__name__}"
    assert t.requires_grad, "you switched off t itself: only the copy is to be a constant"
    assert not y.requires_grad, f"your copy still requires a gradient (grad_fn {y.grad_fn}): it is no constant"
    check_tensor(y, values, "the copy has the values of t")
    assert not shares_memory(y, t), "your copy shares memory: editing the copy changed the original"
    with explain("editing your copy in place and using it in a graph raised", _SIGNS):
        y += 1
        (y * leaf.detach().sum().requires_grad_()).sum().backward()
    check_tensor(t.detach(), values, "t changed when you wrote to the copy")
    for dtype in (torch.bfloat16, torch.int64, torch.bool):
        values = t.detach().to(dtype)
        with explain(f"constant_copy raised on a {dtype} tensor", _SIGNS):
            y = constant_copy(values)
        check_tensor(y, values, f"the copy of a {dtype} tensor has its values")


def test_a_target_is_a_constant():
    q = torch.tensor(2.0, requires_grad=True)
    q_next = 3 * q
    with explain("td_loss raised", _SIGNS):
        loss = td_loss(q, q_next, 1.0)
    check_tensor(loss, torch.tensor(19.36), "(1 + 0.9*6 - 2)**2 is 19.36", rtol=1e-5)
    check_tensor(q_next.detach(), torch.tensor(6.0), "you wrote into q_next: detach() is a window on the same memory")
    assert q.grad is None, "td_loss only computes the loss: its backward is the caller's"
    assert q_next.requires_grad, "you cut q_next itself out of its graph: whoever gave it to you may still need it"
    assert loss.requires_grad, "no gradient reaches q: you stopped more than the target"
    with explain("loss.backward() raised: the gradient must flow through q"):
        loss.backward()
    grad = None if q.grad is None else round(q.grad.item(), 4)
    assert grad != 14.96, "gradient 14.96: it also flows through q_next"
    assert grad != 23.76, "gradient 23.76: it flows through q_next only, you stopped it at q"
    assert grad == -8.8, f"the gradient of q is -2*(target - q) = -8.8, it came out as {grad}"

    q, q_next = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.1, 0.3))
    with (
        explain("td_loss raised on leaves of float64", _SIGNS),
        unchanged("q and q_next are not yours", q=q, q_next=q_next),
    ):
        loss = td_loss(q, q_next, -3)
    want = torch.tensor((-3 + 0.9 * 0.3 - 0.1) ** 2, dtype=torch.float64)
    check_tensor(loss, want, "(-3 + 0.9*0.3 - 0.1)**2, computed in float64 all the way", rtol=1e-12, requires_grad=True)
    for dtype in (torch.float16, torch.bfloat16):
        q, q_next = (torch.tensor(value, dtype=dtype, requires_grad=True) for value in (2.0, 6.0))
        with explain(f"td_loss raised on leaves of {dtype}", _SIGNS):
            loss = td_loss(q, q_next, 1.5)
        want = torch.tensor(24.01, dtype=dtype)
        check_tensor(loss, want, f"(1.5 + 0.9*6 - 2)**2 is 24.01, in {dtype}", rtol=8 * torch.finfo(dtype).eps)


def test_features_without_a_graph_can_be_trained_on():
    encoder, head = _encoder(), nn.Linear(4, 2)
    x = torch.linspace(-1, 1, 15).view(5, 3).requires_grad_()
    want = encoder(x).detach().clone()
    with torch.enable_grad():
        feat = _features(encoder, x)
        check_tensor(feat.detach(), want, "the features are encoder(x)", rtol=1e-5, atol=1e-6)
        assert torch.is_grad_enabled(), "you left gradients switched off: nothing can be trained after you"
        assert not feat.is_inference(), "inference tensors can never enter a later graph: stop the gradient otherwise"
        with explain("training a head on the features failed", _SIGNS):
            (head(feat) * torch.tensor([1.0, -3.0])).sum().backward()
    check_tensor(head.bias.grad, torch.tensor([5.0, -15.0]), "the head on top of the features gets its gradient")
    reached = [name for name, p in encoder.named_parameters() if p.grad is not None]
    assert not reached, f"training the head sent a gradient into the encoder: {', '.join(reached)}"


def test_features_without_a_graph_can_be_edited():
    feat = _features(_encoder(), torch.ones(2, 3))
    want = 2 * feat.detach().clone()
    with explain("feat.mul_(2) failed: the features must be ordinary tensors that need no gradient", _SIGNS):
        feat.mul_(2)
    check_tensor(feat, want, "feat.mul_(2) doubles the features")
    with explain("feat.requires_grad_() failed: the features must be ordinary tensors"):
        feat.requires_grad_()
        (feat**2).sum().backward()
    check_tensor(feat.grad, 2 * want, "the features can be leaves of a new graph")


def test_no_grad_ends_with_its_block_even_if_that_raises():
    encoder = nn.Sequential(_encoder(), nn.Dropout(0.0).eval(), nn.Linear(4, 1).requires_grad_(False))
    with torch.enable_grad():
        for x in (torch.ones(2, 3), torch.zeros(2, 3)):
            with unchanged(
                "only this run was to have no graph, the encoder and x stay as they are", encoder=encoder, x=x
            ):
                feat = _features(encoder, x)
            check_tensor(
                feat.detach(), encoder(x).detach(), "the features are encoder(x), of this x", rtol=1e-5, atol=1e-6
            )
        assert torch.is_grad_enabled(), "you left gradients switched off: nothing can be trained after you"
        with raises(ValueError, "the encoder's own error must come through", match="this encoder is broken"):
            cache_features(_Broken(), torch.ones(2, 3))
        assert torch.is_grad_enabled(), "the encoder raised, and gradients stayed switched off"
    with torch.no_grad():
        cache_features(encoder, torch.ones(2, 3))
        assert not torch.is_grad_enabled(), "gradients were off when you came, and you switched them on"
