"""Checkpointing: forget the activations, compute them again.

In training, memory goes to activations: each operation keeps what its backward will need, until backward has run. A
checkpointed block keeps its *input* only. Its forward runs without keeping anything; when backward arrives, it runs
again from the input, keeps what it needs for a moment, and goes on. Memory falls by the depth of the block, the block's
forward is paid twice, and the gradients are the same. `torch.utils.checkpoint.checkpoint(function, *args)` does all
this.

"The same" has conditions. The second run must draw the same random numbers, or dropout masks in backward other places
than in forward: the state of the generator is saved and restored (`preserve_rng_state`, on by default). State that
forward changes is changed twice: BatchNorm updates its running statistics in both runs. And there are two
implementations. The old one (`use_reentrant=True`) is an autograd node around the block, and a node whose inputs need
no gradient gets none: the first block of a network, whose input is data, loses all gradients of its weights, with only
a warning "None of the inputs have requires_grad=True". The new one (`False`) has no such hole. The default will change
from one to the other, so leaving the choice open is a UserWarning.

What is asked: one call that runs a block in this way. We count what is kept with `saved_tensors_hooks`.

About 15 minutes. Before it: leaf_weights.

https://docs.pytorch.org/docs/stable/checkpoint.html
"""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def checkpointed(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """`block(x)` with the same value and the same gradients, but keeping only the block's input until backward.

    The block's forward runs once now, and once more in backward. `x` may or may not require grad, and is left as it is,
    and so are the modes of the block's modules; the weights get their gradients in both cases, added to what is in
    `.grad`, as always. The random generator moves on as with `block(x)`, and backward does not move it. No warnings.
    """
    raise NotImplementedError("run the block, and let backward run it again")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_checkpointing_changes_no_gradient():
    block, x = _mlp(), torch.randn(3, 4, requires_grad=True)
    c = torch.randn(3, 4)
    plain = block(x)
    want = torch.autograd.grad((plain * c).sum(), [x, *block.parameters()])
    block[0].weight.grad = torch.full((4, 4), 100.0)
    want[1].add_(100.0)
    y = _run(block, x)
    check_tensor(y, plain.detach(), "the value should be block(x)", rtol=1e-5, atol=1e-6, requires_grad=True)
    _backward(y, c)
    for name, got, grad in zip(["x", *_names(block)], _grads(x, block), want, strict=True):
        assert got is not None, f"{name} got no gradient: the graph was cut on the way"
        lost = name == "0.weight" and torch.allclose(got, grad - 100, rtol=1e-3, atol=1e-4)
        assert not lost, "0.weight.grad held 100 before, and backward replaced it: it should add to what is there"
        check_tensor(got, grad, f"the gradient of {name} should be that of block(x)", rtol=1e-4, atol=1e-6)


def test_the_block_runs_again_in_backward():
    block, x = _Counting(_mlp()), torch.randn(3, 4, requires_grad=True)
    y = _run(block, x)
    assert block.calls == 1, f"the block should run once in forward, it ran {block.calls} times"
    _backward(y, torch.ones(3, 4))
    assert block.calls != 1, "nothing was recomputed: the block ran once only, so its activations were kept"
    assert block.calls == 2, f"the block should run once more in backward, it ran {block.calls} times in all"


def test_the_first_block_gets_gradients_although_data_needs_none():
    block, x = _mlp(), torch.randn(3, 4)
    runs: list[bool] = []
    block.register_forward_pre_hook(lambda *_: runs.append(True))
    with warnings.catch_warnings(), unchanged("checkpointed must leave x as it is", x=x):
        warnings.simplefilter("ignore")
        y = _run(block, x)
    assert isinstance(y, torch.Tensor), f"checkpointed returns a tensor, got {type(y).__name__}"
    assert y.requires_grad, "x needs no gradient, so the first-layer checkpoint lost all gradients of its weights"
    _backward(y, torch.ones(3, 4))
    lost = [name for name, p in block.named_parameters() if p.grad is None]
    assert not lost, f"{lost} got no gradient: x needs none, and the weights' were lost with it"
    assert len(runs) == 2, f"the block is to run twice, also where x needs no gradient; it ran {len(runs)} times"


def test_the_choice_of_implementation_is_made_not_left_open():
    block, x = _mlp(), torch.randn(3, 4, requires_grad=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        y = _run(block, x)
        _backward(y, torch.ones(3, 4))
    texts = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    assert not any("use_reentrant" in text for text in texts), f"you left the implementation open\n{texts[0]}"
    assert not texts, f"there should be no warnings, got: {texts[0]}"


def test_dropout_drops_the_same_places_in_both_runs():
    """On ones, dropout's output is its mask, scaled; so is its gradient, if both runs draw the same mask."""
    block = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5).eval())
    x = torch.ones(8, 16, requires_grad=True)
    y = _run(block, x)
    assert isinstance(y, torch.Tensor), f"checkpointed returns a tensor, got {type(y).__name__}"
    assert (y == 0).any(), "dropout dropped nothing: the block should run in the mode it is in"
    mask = y.detach().clone()
    torch.rand(3)  # other layers draw random numbers in between
    generator = torch.get_rng_state()
    _backward(y, torch.ones(8, 16))
    moved = not torch.equal(torch.get_rng_state(), generator)
    assert x.grad is not None, "x got no gradient: the graph was cut on the way"
    check_tensor(x.grad, mask, "recomputed with another dropout mask: backward must see the mask of forward")
    assert not moved, "backward moved the random generator: whoever draws in the second run should set it back"
    masks = mask, _run(block, x), _run(block, x)
    same = any(torch.equal(a, b) for a, b in zip(masks[1:], masks, strict=False))
    assert not same, "the same mask at every call: forward should move the random generator on, as block(x) does"
    modes = [module.training for module in block]
    assert modes == [True, False], f"training of the two layers was [True, False], now it is {modes}: leave modes alone"
    y = _run(block.eval(), x)
    assert isinstance(y, torch.Tensor), f"checkpointed returns a tensor, got {type(y).__name__}"
    check_tensor(y.detach(), torch.ones(8, 16), "in eval mode, dropout should drop nothing")
    assert not block.training, "the block is in training mode now: leave it in the mode it is in"
    state, forward = torch.get_rng_state(), _run(block.train(), x)
    torch.set_rng_state(state)
    assert torch.equal(forward, block(x)), "from one state of the generator, block(x) and yours drop different places"


def test_only_the_input_is_kept():
    block, x = _mlp(), torch.randn(3, 4, requires_grad=True)
    plain, kept = _tensors_kept(lambda block, x: block(x), block, x), _tensors_kept(_run, block, x)
    weights = {p.data_ptr() for p in block.parameters()}  # these are there in any case
    now = sum(t.data_ptr() not in weights for t in kept)
    assert now <= len(plain) / 4, (
        f"block(x) keeps {len(plain)} tensors for backward, yours {now}: activations are still there"
    )


class _Counting(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        out: torch.Tensor = self.block(x)
        return out


def _mlp() -> nn.Sequential:
    return nn.Sequential(*[layer for _ in range(8) for layer in (nn.Linear(4, 4), nn.Tanh())])


def _tensors_kept(
    run: Callable[[nn.Module, torch.Tensor], torch.Tensor], block: nn.Module, x: torch.Tensor
) -> list[torch.Tensor]:
    kept = []

    def keep(t: torch.Tensor) -> torch.Tensor:
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run(block, x)
    return kept


def _run(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    called = "who shall run the block twice must be given the block itself, not what it returned, and x after it"
    with explain("checkpointed raised", {"'Tensor' object is not callable": called}):
        return checkpointed(block, x)


def _backward(y: torch.Tensor, c: torch.Tensor) -> None:
    assert isinstance(y, torch.Tensor), f"checkpointed returns a tensor, got {type(y).__name__}"
    assert y.requires_grad, "the result does not require grad: the graph was cut on the way"
    with explain("backward through the result raised"):
        (y * c).sum().backward()


def _names(block: nn.Module) -> list[str]:
    return [name for name, _ in block.named_parameters()]


def _grads(x: torch.Tensor, block: nn.Module) -> list[torch.Tensor | None]:
    return [x.grad, *(p.grad for p in block.parameters())]
