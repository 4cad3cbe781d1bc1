"""Replicas that train as one

To train on several GPUs, each rank (a process: see all_reduce_accuracy) has a copy of the model, a *replica*, and its
own share of the data. Replicas stay equal if they start from equal weights and make equal steps. So two things go over
the network: before the first step the weights of rank 0, and in each step the gradients. Every rank then steps with
their *mean*. Where the shares are of one size, that is the gradient of the mean loss over all the data: together the
ranks do what one process would do that sees everything. With the sum of the gradients, each step is too long.

`torch.nn.parallel.DistributedDataParallel`, DDP for short, does both. `ddp = DDP(model)` gives every rank the weights
of rank 0. After a forward through `ddp(x)`, loss.backward() waits for the other ranks and leaves the mean in `.grad`.
Only that forward prepares it: `ddp.module(x)` goes past it, nothing is averaged, and there is no error. Nor does it
help to average the losses: a gradient comes from a graph, and the graphs of the other ranks are not here. DDP does not
share out the data either. That is done before (rank_sampler).

Inside, `ddp.module` is your model, with its own names; those of `ddp.state_dict()` all begin with "module.".
By hand, `dist.broadcast(t, src=0)` overwrites t on every rank with that of rank 0, and `dist.all_reduce(t)` adds up.
On more machines the same code runs unchanged; torchrun starts it there (torchrun_env).

What is asked here: to train a model on all ranks of the group that is there.

About 25 minutes. Before it: all_reduce_accuracy, training_step.

https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
"""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.utils import parameters_to_vector

from dojo import under_test
from dojo.kit import explain, group_of_one, run_ranks, unchanged


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, lr: float, steps: int) -> nn.Module:
    """Train on all ranks of the group together: `steps` steps (1 or more) of plain SGD on the mean squared error.

    Every rank calls this. x (n, ...) and y, of any floating dtype, are the share of this rank: rows that no other rank
    has, and on each rank n is the same. Each step runs the model on all rows of the share, and on no others. All begin
    with the weights that rank 0 has; gradients that `model` brings along don't count. So weights and gradients are
    those of one process that steps on the rows of all ranks together.

    Returns the plain model, of the class of `model` (that one or another), with equal weights on all ranks; each
    `.grad` is the mean over the ranks of the last step's gradients, and no weight is frozen. x, y stay as they are.
    """
    raise NotImplementedError("start equal, then in each step average the gradients")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "backward through the graph a second time": "a graph was used for two backwards: run the model in each step",
    "leaf Variable that requires grad": "a collective writes into weights; do that under torch.no_grad()",
    "does not require grad": "the loss hangs on no graph: no gradient can come from it",
    "has no attribute 'module'": "only the wrapper, DDP, has a `module`",
    "'NoneType'": "something is None here: a collective returns None, and .grad is None before backward",
}


def _net(seed, dtype):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)).to(dtype)


def _data(n, dtype):
    """Rows whose first number says which row it is: row i begins with i / 16."""
    torch.manual_seed(n)
    x, y = torch.randn(n, 3, dtype=dtype), torch.randn(n, 5, dtype=dtype)
    x[:, 0] = torch.arange(n) / 16
    return x, y


def _grads(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def _alone(seed, x, y, lr, steps):
    """Weights and last gradients of one process that steps on all the rows of x."""
    model = _net(seed, x.dtype)
    weights = list(model.parameters())
    grads = []
    for _ in range(steps):
        grads = torch.autograd.grad((model(x) - y).square().mean(), weights)
        with torch.no_grad():
            torch._foreach_sub_(weights, grads, alpha=lr)
    return parameters_to_vector(weights).detach(), torch.cat([g.flatten() for g in grads])


def _train(model, x, y, lr, steps):
    """What train returns, if it is a model of the class of `model` with a gradient in each parameter."""
    __tracebackhide__ = True
    with explain("train raised", _SIGNS), unchanged("the data are the caller's", x=x, y=y):
        out = train(model, x, y, lr, steps)
    assert out is not None, "train returned None, expected the model that it trained"
    wrapped = isinstance(out, nn.parallel.DistributedDataParallel | nn.DataParallel)
    assert not wrapped, f"train returned the wrapper, a {type(out).__name__}: the plain model is the `module` in it"
    assert type(out) is type(model), f"train returned a {type(out).__name__}, expected a {type(model).__name__}"
    empty = [name for name, p in out.named_parameters() if p.grad is None]
    assert not empty, f"{empty[0]}.grad is None at the end: the gradients of the last step are to stay there"
    frozen = [name for name, p in out.named_parameters() if not p.requires_grad]
    assert not frozen, f"{frozen[0]} came back frozen, so nobody can train this model any further"
    assert dist.is_initialized(), "after train the group is gone, and others still need it"
    return out


def _on_ranks(n, lr, steps, seeds, dtype=torch.float32, stale=None):
    """Rank i trains a model of seeds[i] on its share of n rows.

    From each rank: weights before and after, gradients, the rows it was given, and those that its model saw. stale:
    what is in each `.grad` before.
    """
    __tracebackhide__ = True
    x, y = _data(n, dtype)

    def rank_main(rank, world):
        model, share, seen = _net(seeds[rank], dtype), slice(rank, None, world), []
        for p in model.parameters():
            p.grad = None if stale is None else torch.full_like(p, stale)
        start = parameters_to_vector(model.parameters()).detach().clone()
        model.register_forward_pre_hook(lambda _, args: seen.extend(round(v * 16) for v in args[0][:, 0].tolist()))
        out = _train(model, x[share], y[share], lr, steps)
        end = parameters_to_vector(out.parameters()).detach().clone()
        return {"start": start, "weights": end, "grads": _grads(out), "given": list(range(n))[share], "seen": seen}

    return [SimpleNamespace(**found) for found in run_ranks(rank_main, len(seeds))]


def _few(rows):
    """The first rows, and how many there are."""
    rows = sorted(set(rows))
    return str(rows) if len(rows) <= 6 else f"{str(rows[:6])[:-1]}, ...] ({len(rows)} in all)"


def _same(got, want, tolerance=1e-5):
    return got.shape == want.shape and torch.allclose(got, want, rtol=tolerance, atol=tolerance)


def _check_weights(ranks, seed, n, lr, steps):
    """Has each rank the weights of one process that starts from this seed and sees all the rows?"""
    __tracebackhide__ = True
    x, y = _data(n, torch.float32)
    want, world = _alone(seed, x, y, lr, steps)[0], len(ranks)
    added, cut = (_alone(seed, x, y, rate, steps)[0] for rate in (lr * world, lr / world))
    for rank, its in enumerate(ranks):
        if _same(its.weights, want):
            continue
        gap = (its.weights - want).abs().max().item()
        says = f"after {steps} steps on {world} ranks, weights of rank {rank} are {gap:.2g} off those of one process"
        assert not _same(its.weights, its.start, 1e-7), f"{says}: they never moved"
        assert not _same(its.weights, added), f"{says}: its steps were {world} times as long. Average, do not add"
        assert not _same(its.weights, cut), f"{says}: its steps were 1/{world} as long, divided once more than needed"
        assert not set(its.seen) < set(its.given), (
            f"{says}: it was given rows {_few(its.given)} and ran the model on {_few(its.seen)}. What it is given is "
            "its share already, so don't cut it again"
        )
        assert not _same(its.weights, _alone(seed, x[its.given], y[its.given], lr, steps)[0]), (
            f"{says}: it trained on its own share alone, and the replicas drifted apart. DDP averages the gradients of "
            "what goes through its own forward, ddp(x)"
        )
        raise AssertionError(says)


@pytest.mark.myth(
    says="DistributedDataParallel adds up the gradients of all ranks.",
    today="It takes their mean: with mean losses over shares of one size, that is the gradient of the whole batch.",
)
def test_two_ranks_follow_one_process_that_sees_everything():
    ranks = _on_ranks(n=8, lr=0.3, steps=4, seeds=[5, 5], stale=3.0)
    _check_weights(ranks, 5, n=8, lr=0.3, steps=4)


def test_all_replicas_begin_with_the_weights_of_rank_0():
    ranks = _on_ranks(n=8, lr=0.3, steps=3, seeds=[5, 6])
    moves = [its.weights - its.start for its in ranks]
    assert not _same(*moves) or _same(moves[0], torch.zeros(())), (
        "both ranks began with weights of their own and then moved alike: gradients were averaged, and the replicas "
        "stay as far apart as they were. Send the weights of rank 0 to all before the first step"
    )
    from_1 = _alone(6, *_data(8, torch.float32), 0.3, 3)[0]
    assert not _same(ranks[0].weights, from_1), "the ranks began with the weights of rank 1, expected those of rank 0"
    _check_weights(ranks, 5, n=8, lr=0.3, steps=3)


def test_each_gradient_is_the_mean_over_the_ranks():
    ranks = _on_ranks(n=9, lr=0.5, steps=2, seeds=[7, 7, 7], dtype=torch.float64)
    weights, want = _alone(7, *_data(9, torch.float64), 0.5, 2)
    for rank, its in enumerate(ranks):
        says = f"after 2 steps on three ranks, .grad of rank {rank} is not the gradient of all the rows"
        assert its.grads.dtype == torch.float64, f"a float64 model came back with gradients in {its.grads.dtype}"
        assert not _same(its.grads, 3 * want, 1e-9), f"{says}: it is the sum over the ranks, expected the mean"
        right = _same(its.weights, weights, 1e-9)
        assert not right or _same(its.grads, want, 1e-9), f"{says}, and .grad was left as another one; the weights fit"
        assert _same(its.grads, want, 1e-9), f"{says}: {its.grads[:3].tolist()}..., expected {want[:3].tolist()}..."
        assert right, f"on three ranks, .grad of rank {rank} is right at the end and the weights are not"


def test_each_row_is_worked_on_by_one_rank():
    for n in (6, 2, 1200):
        ranks = _on_ranks(n, lr=0.1, steps=1, seeds=[8, 8])
        for rank, its in enumerate(ranks):
            says = f"of {n} rows, rank {rank} was given {_few(its.given)} and ran the model on {_few(its.seen)}"
            assert set(its.seen) <= set(its.given), f"{says}: the others work on theirs, and only gradients travel"
            assert set(its.seen) == set(its.given), f"{says}, expected all of its share"
        _check_weights(ranks, 8, n, lr=0.1, steps=1)


def test_the_wrapper_is_not_what_is_kept():
    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(1, 1, bias=False)

        def forward(self, x):
            return 2 * self.line(x)

    def rank_main(rank, world):
        model, x, y = Doubled(), torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [0.0]])
        nn.init.ones_(model.line.weight)
        out = _train(model, x, y, 0.1, 1)
        names = list(out.state_dict())
        assert names == ["line.weight"], f"the names in the state_dict are {names}, expected those that the model had"
        return out.line.weight.grad.item(), out.line.weight.item()

    # With w = 1 the loss is ((2w - 1)² + (6w - 0)²) / 2, and its slope (4 (2w - 1) + 12 (6w)) / 2 = 38.
    (found,) = run_ranks(rank_main, 1)
    assert found == pytest.approx((38.0, -2.8), rel=1e-5), (
        f"in a group of one rank, gradient and weight are {found}, expected 38 and 1 - 0.1 * 38"
    )


@pytest.mark.gpu
def test_the_same_code_trains_over_nccl():
    x, y = (t.to("cuda") for t in _data(8, torch.float32))
    with group_of_one("nccl"):
        out = _train(_net(9, torch.float32).to("cuda"), x, y, 0.3, 3)
    want, grads = _alone(9, *_data(8, torch.float32), 0.3, 3)
    weights = parameters_to_vector(out.parameters()).detach().cpu()
    assert _same(weights, want, 1e-3), "the weights of a model on the GPU are not those of one process on a CPU"
    assert _same(_grads(out).cpu(), grads, 1e-3), ".grad of a model on the GPU is not that of one process on a CPU"
