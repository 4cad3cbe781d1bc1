"""Answers that people give to checkpointing, right ones and wrong ones."""

import copy

import torch
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from dojo import Mistake


def _ask_the_old_one_with_an_alias(block, x):
    alias = x.clone() if x.requires_grad else x.detach().requires_grad_()
    return checkpoint(block, alias, use_reentrant=True)


def _lambda(block, x):
    return checkpoint(lambda t: block(t), x, use_reentrant=False, preserve_rng_state=True)


class _OwnNode(torch.autograd.Function):
    """The weights are inputs of the node, so it exists even if x needs no gradient."""

    @staticmethod
    def forward(ctx, block, x, *params):
        ctx.block, ctx.rng = block, torch.get_rng_state()
        ctx.save_for_backward(x)
        return block(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_(ctx.needs_input_grad[1])
        params = [p for p in ctx.block.parameters() if p.requires_grad]
        with torch.random.fork_rng(), torch.enable_grad():
            torch.set_rng_state(ctx.rng)
            y = ctx.block(x)
        inputs = [x, *params] if x.requires_grad else params
        grads = list(torch.autograd.grad(y, inputs, grad_output))
        return None, grads.pop(0) if x.requires_grad else None, *grads


def _own_node(block, x):
    return _OwnNode.apply(block, x, *[p for p in block.parameters() if p.requires_grad])


class _SavingWeightsToo(_OwnNode):
    """The weights are saved like x: no activations, nothing that was not there already."""

    @staticmethod
    def forward(ctx, block, x, *params):
        y = _OwnNode.forward(ctx, block, x, *params)
        ctx.save_for_backward(x, *params)
        return y

    @staticmethod
    def backward(ctx, grad_output):
        x, *params = ctx.saved_tensors
        x = x.detach().requires_grad_(ctx.needs_input_grad[1])
        with torch.random.fork_rng(), torch.enable_grad():
            torch.set_rng_state(ctx.rng)
            y = ctx.block(x)
        inputs = [x, *params] if x.requires_grad else params
        grads = list(torch.autograd.grad(y, inputs, grad_output))
        return None, grads.pop(0) if x.requires_grad else None, *grads


def _hooks_of_our_own(block, x):
    """What is saved becomes a number; the first one that is asked for runs the block again."""
    state, kept = torch.get_rng_state(), []
    count = iter(range(10**9))

    def unpack(i):
        if not kept:
            with torch.random.fork_rng(), torch.enable_grad():
                torch.set_rng_state(state)
                with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.detach()), lambda t: t):
                    block(x)
        return kept[i]

    with torch.autograd.graph.saved_tensors_hooks(lambda t: next(count), unpack):
        return block(x)


def _dummy_that_requires_grad(block, x):
    return checkpoint(lambda x, dummy: block(x), x, torch.ones((), requires_grad=True), use_reentrant=True)


RIGHT = [
    {"checkpointed": lambda block, x: _SavingWeightsToo.apply(block, x, *block.parameters())},
    {"checkpointed": _hooks_of_our_own},
    {"checkpointed": _dummy_that_requires_grad},
    {"checkpointed": lambda block, x: checkpoint(lambda: block(x), use_reentrant=False)},
    {"checkpointed": _ask_the_old_one_with_an_alias},
    {"checkpointed": _lambda},
    {"checkpointed": _own_node},
    {"checkpointed": lambda block, x: checkpoint_wrapper(block, CheckpointImpl.NO_REENTRANT)(x)},
    {"checkpointed": lambda block, x: checkpoint(block, x, use_reentrant=False, early_stop=False)},
]


def _each_layer(block, x):
    return checkpoint_sequential(list(block.children()), 1, x, use_reentrant=False)


def _plain_where_x_needs_no_grad(block, x):
    return checkpoint(block, x, use_reentrant=True) if x.requires_grad else block(x).detach()


def _only_in_a_hook(block, x):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        return block(x)


def _old_positional(block, x):
    return checkpoint(block, x, preserve_rng_state=True)


def _other_seed(block, x):
    def run(x):
        torch.seed()
        return block(x)

    return checkpoint(run, x, use_reentrant=False)


def _a_copy(block, x):
    return checkpoint(copy.deepcopy(block), x, use_reentrant=False)


def _eval_for_a_while(block, x):
    was = block.training
    out = checkpoint(block.eval(), x, use_reentrant=False)
    block.train(was)
    return out


def _seed_before(block, x):
    torch.manual_seed(0)
    return checkpoint(block, x, use_reentrant=False)


def _train_inside(block, x):
    def run(x):
        block.train()
        return block(x)

    return checkpoint(run, x, use_reentrant=False)


def _cleared_before(block, x):
    block.zero_grad()
    return checkpoint(block, x, use_reentrant=False)


WRONG = [
    Mistake("backward replaced it", caught_by="", checkpointed=_cleared_before),
    Mistake("the same mask at every call", caught_by="", checkpointed=_seed_before),
    Mistake("leave modes alone", caught_by="", checkpointed=_train_inside),
    Mistake("the block should run once in forward", caught_by="", checkpointed=_a_copy),
    Mistake("dropout dropped nothing", caught_by="", checkpointed=_eval_for_a_while),
    Mistake("nothing was recomputed", caught_by="", checkpointed=_each_layer),
    Mistake("activations are still there", caught_by="", checkpointed=_only_in_a_hook),
    Mistake("the first-layer checkpoint lost all gradients", caught_by="", checkpointed=_plain_where_x_needs_no_grad),
    Mistake("you left the implementation open", caught_by="", checkpointed=_old_positional),
    Mistake("recomputed with another dropout mask", caught_by="", checkpointed=_other_seed),
    Mistake(
        "x got no gradient: the graph was cut",
        caught_by="",
        checkpointed=lambda block, x: checkpoint(block, x.detach(), use_reentrant=False),
    ),
    Mistake("requires_grad: expected True, got False", caught_by="", checkpointed=lambda block, x: block(x).data),
]
