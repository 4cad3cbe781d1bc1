"""Checkpointing: reference.

Hint: Nothing of the block is kept in forward; so in backward somebody must call the block again, in the same state.
Hint: `torch.utils.checkpoint.checkpoint(function, *args)` does it. Its keyword arguments are the lesson.
Hint: Pass `use_reentrant` by keyword, and pass the value that gives weights their gradients when x needs none.

Why: The new implementation hooks into what autograd saves: forward builds the graph as usual, but each saved tensor
becomes an empty place that backward fills by running the block once more. So the weights are in the graph whatever
their input is. The old one runs forward under no_grad inside one autograd node, which exists only if an input requires
grad. Both restore the generator's state for the second run; neither restores your own state, such as BatchNorm's
running statistics, which move twice.
"""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dojo import Mistake


def checkpointed(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    out: torch.Tensor = checkpoint(block, x, use_reentrant=False)
    return out


def _under_no_grad(block, x):
    with torch.no_grad():
        return block(x)


def _detached_input(block, x):
    return checkpoint(block, x.detach().requires_grad_(), use_reentrant=True)


def _make_x_require_grad(block, x):
    return checkpoint(block, x.requires_grad_(), use_reentrant=True)


def _in_eval_mode(block, x):
    block.eval()
    return checkpoint(block, x, use_reentrant=False)


def _in_training_mode(block, x):
    return checkpoint(block.train(), x, use_reentrant=False)


def _draws_one_first(block, x):
    torch.rand(())
    return checkpoint(block, x, use_reentrant=False)


def _train_for_a_while(block, x):
    def run(x):
        modes = [module.training for module in block.modules()]
        try:
            return block.train()(x)
        finally:
            for module, mode in zip(block.modules(), modes, strict=True):
                module.training = mode

    return checkpoint(run, x, use_reentrant=False)


def _seed_both_runs(block, x):
    def seeded(x):
        torch.manual_seed(0)
        return block(x)

    return checkpoint(seeded, x, use_reentrant=False)


def _rewind_the_generator(block, x):
    state, runs = torch.get_rng_state(), []

    def run(x):
        if runs:
            torch.set_rng_state(state)
        runs.append(1)
        return block(x)

    return checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)


def _on_the_cpu(block, x):
    with torch.autograd.graph.save_on_cpu():
        return block(x)


def _layer_by_layer(block, x):
    for layer in block if isinstance(block, nn.Sequential) else [block]:
        x = checkpoint(layer, x, use_reentrant=False)
    return x


def _first_half_only(block, x):
    if not isinstance(block, nn.Sequential) or len(block) < 2:
        return checkpoint(block, x, use_reentrant=False)
    return block[8:](checkpoint(block[:8], x, use_reentrant=False))


def _once_to_warm_up(block, x):
    block(x)
    return checkpoint(block, x, use_reentrant=False)


def _draws_set_back(block, x):
    with torch.random.fork_rng():
        return checkpoint(block, x, use_reentrant=False)


def _left_open(block, x):
    return checkpoint(block, x.clone() if x.requires_grad else x.detach().requires_grad_())


_SAME = "test_checkpointing_changes_no_gradient"
_AGAIN = "test_the_block_runs_again_in_backward"
_FIRST = "test_the_first_block_gets_gradients_although_data_needs_none"
_CHOICE = "test_the_choice_of_implementation_is_made_not_left_open"
_DROPOUT = "test_dropout_drops_the_same_places_in_both_runs"
_KEPT = "test_only_the_input_is_kept"


class _Replaces(torch.autograd.Function):
    @staticmethod
    def forward(ctx, block, x, *params):
        ctx.block, ctx.x, ctx.state = block, x, torch.get_rng_state()
        return block(x)

    @staticmethod
    def backward(ctx, grad_output):
        x, params = ctx.x.detach().requires_grad_(), list(ctx.block.parameters())
        with torch.random.fork_rng(), torch.enable_grad():
            torch.set_rng_state(ctx.state)
            y = ctx.block(x)
        to_x, *grads = torch.autograd.grad(y, [x, *params], grad_output)
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad
        return None, to_x, *[None] * len(params)


MISTAKES = [
    Mistake(
        "the block is to run twice, also where x needs no gradient",
        caught_by="test_the_first_block_gets_gradients_although_data_needs_none",
        checkpointed=lambda block, x: checkpointed(block, x) if x.requires_grad else block(x),
    ),
    Mistake(
        "backward replaced it",
        caught_by="test_checkpointing_changes_no_gradient",
        checkpointed=lambda block, x: _Replaces.apply(block, x, *block.parameters()),
    ),
    Mistake("nothing was recomputed", caught_by=_AGAIN, checkpointed=lambda block, x: block(x)),
    Mistake("activations are still there", caught_by=_KEPT, checkpointed=lambda block, x: block(x)),
    Mistake("nothing was recomputed", caught_by=_AGAIN, checkpointed=_on_the_cpu),
    Mistake("activations are still there", caught_by=_KEPT, checkpointed=_layer_by_layer),
    Mistake("activations are still there", caught_by=_KEPT, checkpointed=_first_half_only),
    Mistake("the block should run once in forward", caught_by=_AGAIN, checkpointed=_once_to_warm_up),
    Mistake("you left the implementation open", caught_by=_CHOICE, checkpointed=_left_open),
    Mistake(
        "the first-layer checkpoint lost all gradients",
        caught_by=_FIRST,
        checkpointed=lambda block, x: checkpoint(block, x, use_reentrant=True),
    ),
    Mistake("x is not as it was: requires_grad", caught_by=_FIRST, checkpointed=_make_x_require_grad),
    Mistake("you left the implementation open", caught_by=_CHOICE, checkpointed=lambda block, x: checkpoint(block, x)),
    Mistake(
        "recomputed with another dropout mask",
        caught_by=_DROPOUT,
        checkpointed=lambda block, x: checkpoint(block, x, use_reentrant=False, preserve_rng_state=False),
    ),
    Mistake("drop different places", caught_by=_DROPOUT, checkpointed=_draws_one_first),
    Mistake("leave modes alone", caught_by=_DROPOUT, checkpointed=_in_training_mode),
    Mistake("in eval mode, dropout should drop nothing", caught_by=_DROPOUT, checkpointed=_train_for_a_while),
    Mistake("the same mask at every call", caught_by=_DROPOUT, checkpointed=_seed_both_runs),
    Mistake("the same mask at every call", caught_by=_DROPOUT, checkpointed=_draws_set_back),
    Mistake("backward moved the random generator", caught_by=_DROPOUT, checkpointed=_rewind_the_generator),
    Mistake("dropout dropped nothing", caught_by=_DROPOUT, checkpointed=_in_eval_mode),
    Mistake("requires_grad: expected True, got False", caught_by=_SAME, checkpointed=_under_no_grad),
    Mistake("x got no gradient: the graph was cut", caught_by=_SAME, checkpointed=_detached_input),
]

KEEP = {
    "test_only_the_input_is_kept": "it counts what is kept for backward; the first block's test counts runs alone",
    "test_the_block_runs_again_in_backward": "it names the plain call where x requires a gradient, the usual case",
}
