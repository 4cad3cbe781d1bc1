"""Replicas that train as one: reference.

Hint: Write the loop for one process first. Then ask: what must the other ranks hear of, and when?
Hint: `DistributedDataParallel(model)`, and its own forward; x and y are this rank's share already.
Hint: Wrap, give the optimizer the parameters; in each step zero_grad, mse_loss of the wrapper's output, backward, step;
last comes `.module`.

Why: A mean of means over equal shares is the mean over all, for losses and for gradients, so averaged gradients make
each replica take the step of the whole batch. Equal steps from equal weights keep them equal without ever sending
weights again. zero_grad comes before the backward, so that the last gradients stay; and what is kept is the module in
the wrapper, since the wrapper's names and its hooks are of no use to whoever loads or serves the model.
"""

import contextlib
import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from dojo import Mistake


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, lr: float, steps: int) -> nn.Module:
    replica = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(replica.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(replica(x), y).backward()
        optimizer.step()
    return replica.module


def _send_start(model):
    for p in model.parameters():
        dist.broadcast(p.data, src=0)


def _nothing(model):
    pass


def _mean(model):
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size()


def _sum(model):
    for p in model.parameters():
        dist.all_reduce(p.grad)


def _mean_twice(model):
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= dist.get_world_size() ** 2


def _mean_of_matrices(model):
    for p in model.parameters():
        if p.dim() > 1:
            dist.all_reduce(p.grad)
            p.grad /= dist.get_world_size()


def _half(model):
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= 2


def _mean_of_weights(model):
    for p in model.parameters():
        dist.all_reduce(p.data)
        p.data /= dist.get_world_size()


def _every(x):
    return x[dist.get_rank() :: dist.get_world_size()]


def _by_hand(
    start=_send_start,
    average=_mean,
    after_step=_nothing,
    at_the_end=_nothing,
    share=lambda x: x,
    loss_fn=F.mse_loss,
    clear=lambda optimizer, step: optimizer.zero_grad(),
    optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr),
    count=lambda steps: steps,
):
    """Training without DDP; each part can be replaced by a wrong one."""

    def wrong(model, x, y, lr, steps):
        start(model)
        x, y = share(x), share(y)
        opt = optimizer(model.parameters(), lr)
        for step in range(count(steps)):
            clear(opt, step)
            loss_fn(model(x), y).backward()
            average(model)
            opt.step()
            after_step(model)
        at_the_end(model)
        return model

    return wrong


def _with_ddp(
    wrap=DistributedDataParallel,
    run=lambda ddp, x: ddp(x),
    backward=lambda loss: loss.backward(),
    before_step=_nothing,
    give=lambda ddp: ddp.module,
    rate=lambda lr: lr,
):
    def wrong(model, x, y, lr, steps):
        ddp = wrap(model)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=rate(lr))
        for _ in range(steps):
            optimizer.zero_grad()
            backward(F.mse_loss(run(ddp, x), y))
            before_step(model)
            optimizer.step()
        return give(ddp)

    return wrong


def _mean_loss(loss):
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    loss.data = mean / dist.get_world_size()
    loss.backward()


def _without_sync(ddp, x):
    with ddp.no_sync():
        return ddp(x)


def _synced_in_the_last_step(model, x, y, lr, steps):
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=lr)
    for step in range(steps):
        optimizer.zero_grad()
        with ddp.no_sync() if step < steps - 1 else contextlib.nullcontext():
            F.mse_loss(ddp(x), y).backward()
        optimizer.step()
    return ddp.module


def _one_backward_more(model, x, y, lr, steps):
    model = train(model, x, y, lr, steps)
    model.zero_grad()
    F.mse_loss(model(x), y).backward()
    _mean(model)
    return model


def _zero_after(model, x, y, lr, steps):
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=lr)
    optimizer.zero_grad()
    for _ in range(steps):
        F.mse_loss(ddp(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return ddp.module


def _optimizer_of_another(model, x, y, lr, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model = DistributedDataParallel(copy.deepcopy(model))
    for _ in range(steps):
        optimizer.zero_grad()
        model.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    return model.module


def _start_of_the_last(model):
    for p in model.parameters():
        dist.broadcast(p.data, src=dist.get_world_size() - 1)


def _group_closed(model, x, y, lr, steps):
    model = train(model, x, y, lr, steps)
    dist.barrier()
    dist.destroy_process_group()
    return model


def _of_all_ranks(x):
    shares = [torch.empty_like(x.contiguous()) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, x.contiguous())
    return torch.cat(shares)


def _all_rows(model, x, y, lr, steps):
    return train(model, _of_all_ranks(x), _of_all_ranks(y), lr, steps)


def _only_rank_0(model, x, y, lr, steps):
    x, y = _of_all_ranks(x), _of_all_ranks(y)
    if dist.get_rank() == 0:
        model = _by_hand(start=_nothing, average=_nothing)(model, x, y, lr, steps)
    _send_start(model)
    if dist.get_rank() != 0:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
    for p in model.parameters():
        dist.broadcast(p.grad, src=0)
    return model


def _in_batches(size):
    def wrong(model, x, y, lr, steps):
        ddp = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=lr)
        for _ in range(steps):
            for rows, targets in zip(x.split(size), y.split(size), strict=True):
                optimizer.zero_grad()
                F.mse_loss(ddp(rows), targets).backward()
                optimizer.step()
        return ddp.module

    return wrong


def _normalised(model, x, y, lr, steps):
    x -= x.mean(0)
    return train(model, x, y, lr, steps)


def _float(model, x, y, lr, steps):
    return train(model.float(), x.float(), y.float(), lr, steps)


_FOLLOW = "test_two_ranks_follow_one_process_that_sees_everything"
_BEGIN = "test_all_replicas_begin_with_the_weights_of_rank_0"
_GRAD = "test_each_gradient_is_the_mean_over_the_ranks"
_ROWS = "test_each_row_is_worked_on_by_one_rank"
_PLAIN = "test_the_wrapper_is_not_what_is_kept"

MISTAKES = [
    Mistake("Average, do not add", caught_by=_FOLLOW, train=_by_hand(average=_sum)),
    Mistake("divided once more than needed", caught_by=_FOLLOW, train=_by_hand(average=_mean_twice)),
    Mistake("divided once more than needed", caught_by=_FOLLOW, train=_with_ddp(rate=lambda lr: lr / 2)),
    Mistake(
        "divided once more than needed",
        caught_by=_FOLLOW,
        train=_with_ddp(before_step=lambda model: [p.grad.div_(dist.get_world_size()) for p in model.parameters()]),
    ),
    Mistake("Average, do not add", caught_by=_FOLLOW, train=_with_ddp(rate=lambda lr: lr * dist.get_world_size())),
    Mistake("the replicas drifted apart", caught_by=_FOLLOW, train=_with_ddp(run=lambda ddp, x: ddp.module(x))),
    Mistake("the replicas drifted apart", caught_by=_FOLLOW, train=_with_ddp(wrap=nn.DataParallel)),
    Mistake("the replicas drifted apart", caught_by=_FOLLOW, train=_with_ddp(run=_without_sync)),
    Mistake("the replicas drifted apart", caught_by=_FOLLOW, train=_by_hand(average=_nothing)),
    Mistake("the replicas drifted apart", caught_by=_FOLLOW, train=_by_hand(average=_nothing, after_step=_mean)),
    Mistake(
        "the replicas drifted apart",
        caught_by=_FOLLOW,
        train=_with_ddp(run=lambda ddp, x: ddp.module(x), backward=_mean_loss),
    ),
    Mistake(
        "off those of one process", caught_by=_FOLLOW, train=_by_hand(average=_nothing, at_the_end=_mean_of_weights)
    ),
    Mistake("off those of one process", caught_by=_FOLLOW, train=_by_hand(average=_mean_of_matrices)),
    Mistake(
        "off those of one process",
        caught_by=_FOLLOW,
        train=_by_hand(loss_fn=lambda out, y: F.mse_loss(out, y, reduction="sum")),
    ),
    Mistake("don't cut it again", caught_by=_FOLLOW, train=_by_hand(share=_every)),
    Mistake("don't cut it again", caught_by=_FOLLOW, train=lambda m, x, *a: train(m, _every(x), _every(a[0]), *a[1:])),
    Mistake("don't cut it again", caught_by=_FOLLOW, train=_by_hand(share=lambda x: x[: len(x) // 2])),
    Mistake(
        "off those of one process",
        caught_by=_FOLLOW,
        train=_by_hand(loss_fn=lambda out, y: (out - y).square().sum(1).mean()),
    ),
    Mistake("off those of one process", caught_by=_FOLLOW, train=_synced_in_the_last_step),
    Mistake(
        "off those of one process",
        caught_by=_FOLLOW,
        train=_by_hand(optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9)),
    ),
    Mistake("off those of one process", caught_by=_FOLLOW, train=_by_hand(clear=lambda optimizer, step: None)),
    Mistake(
        "off those of one process",
        caught_by=_FOLLOW,
        train=_by_hand(clear=lambda optimizer, step: optimizer.zero_grad() if step else None),
    ),
    Mistake("off those of one process", caught_by=_FOLLOW, train=_by_hand(count=lambda steps: steps + 1)),
    Mistake("they never moved", caught_by=_FOLLOW, train=_optimizer_of_another),
    Mistake(
        "Send the weights of rank 0 to all before the first step", caught_by=_BEGIN, train=_by_hand(start=_nothing)
    ),
    Mistake("began with the weights of rank 1", caught_by=_BEGIN, train=_by_hand(start=_start_of_the_last)),
    Mistake("off those of one process", caught_by=_BEGIN, train=_by_hand(start=_mean_of_weights)),
    Mistake(
        "and .grad was left as another one",
        caught_by=_GRAD,
        train=_by_hand(average=_nothing, after_step=_mean_of_weights),
    ),
    Mistake(".grad of rank 0 is not the gradient of all the rows", caught_by=_GRAD, train=_by_hand(average=_half)),
    Mistake(
        "it is the sum over the ranks",
        caught_by=_GRAD,
        train=_by_hand(
            average=_sum,
            optimizer=lambda parameters, lr: torch.optim.SGD(parameters, lr=lr / dist.get_world_size()),
        ),
    ),
    Mistake("a float64 model came back with gradients in", caught_by=_GRAD, train=_float),
    Mistake("only gradients travel", caught_by=_ROWS, train=_all_rows),
    Mistake("off those of one process", caught_by=_ROWS, train=_in_batches(32)),
    Mistake("off those of one process", caught_by=_ROWS, train=_in_batches(512)),
    Mistake("expected all of its share", caught_by=_ROWS, train=lambda m, x, y, *a: train(m, x[:64], y[:64], *a)),
    Mistake("only gradients travel", caught_by=_ROWS, train=_only_rank_0),
    Mistake("and .grad was left as another one", caught_by=_GRAD, train=_one_backward_more),
    Mistake("train returned the wrapper", caught_by=_PLAIN, train=_with_ddp(give=lambda ddp: ddp)),
    Mistake(
        "train returned a Sequential, expected a Doubled",
        caught_by=_PLAIN,
        train=_with_ddp(give=lambda ddp: nn.Sequential(*ddp.module.children())),
    ),
    Mistake("train returned None", caught_by=_PLAIN, train=lambda *a: (train(*a), None)[1]),
    Mistake(".grad is None at the end", caught_by=_PLAIN, train=_zero_after),
    Mistake("came back frozen", caught_by=_PLAIN, train=_with_ddp(give=lambda ddp: ddp.module.requires_grad_(False))),
    Mistake("after train the group is gone", caught_by=_FOLLOW, train=_group_closed),
    Mistake("the data are the caller's", caught_by=_FOLLOW, train=_normalised),
]

KEEP = {"test_the_same_code_trains_over_nccl": "only a GPU shows that nothing here is tied to the CPU"}
