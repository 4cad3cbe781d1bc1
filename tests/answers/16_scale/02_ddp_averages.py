"""Answers that people give to ddp_averages, right ones and wrong ones."""

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from dojo import Mistake


def _by_hand(model, x, y, lr, steps):
    world = dist.get_world_size()
    for p in model.parameters():
        dist.broadcast(p.detach(), 0)
    opt = torch.optim.SGD(model.parameters(), lr)
    for _ in range(steps):
        model.zero_grad(set_to_none=False)
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        for p in model.parameters():
            dist.all_reduce(p.grad, op=dist.ReduceOp.SUM)
            p.grad.div_(world)
        opt.step()
    return model


def _one_vector(model, x, y, lr, steps):
    params = list(model.parameters())
    with torch.no_grad():
        start = torch.cat([p.flatten() for p in params])
        dist.broadcast(start, src=0)
        nn.utils.vector_to_parameters(start.clone(), params)
    for _ in range(steps):
        grads = torch.autograd.grad(nn.functional.mse_loss(model(x), y), params)
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        with torch.no_grad():
            for p, g in zip(params, flat.split([p.numel() for p in params])):
                p.grad = g.view_as(p).clone()
                p -= lr * p.grad
    return model


def _loader(model, x, y, lr, steps):
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x), shuffle=True)
    ddp = DDP(model)
    opt = torch.optim.SGD(ddp.parameters(), lr=lr)
    loss_fn = nn.MSELoss()
    for _ in range(steps):
        for xb, yb in loader:
            opt.zero_grad()
            loss_fn(ddp(xb), yb).backward()
            opt.step()
    return ddp.module


def _a_copy_from_rank_0(model, x, y, lr, steps):
    box = [model.state_dict() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    model = copy.deepcopy(model)
    model.load_state_dict(box[0])
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for p in model.parameters():
        p.register_hook(lambda grad: _mean(grad))
    for _ in range(steps):
        opt.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        opt.step()
    return model


def _mean(grad):
    grad = grad.clone()
    dist.all_reduce(grad)
    return grad / dist.get_world_size()


def _sum_over_all_elements(model, x, y, lr, steps):
    elements = y.numel() * dist.get_world_size()
    for t in model.state_dict().values():
        dist.broadcast(t, src=0)
    for _ in range(steps):
        for p in model.parameters():
            p.grad = None
        ((model(x) - y).square().sum() / elements).backward()
        for p in model.parameters():
            dist.all_reduce(p.grad)
            p.data.add_(p.grad, alpha=-lr)
    return model


def _bucket_views(model, x, y, lr, steps):
    replica = DDP(model, gradient_as_bucket_view=True, broadcast_buffers=False)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        opt.zero_grad()
        torch.mean((replica(x) - y) ** 2).backward()
        opt.step()
    return model


RIGHT = [
    dict(train=answer)
    for answer in (_by_hand, _one_vector, _loader, _a_copy_from_rank_0, _sum_over_all_elements, _bucket_views)
]


def _manual(average, start=True, share=None, update=None, end=None):
    def wrong(model, x, y, lr, steps):
        if start:
            for t in model.state_dict().values():
                dist.broadcast(t, src=0)
        if share:
            x, y = share(x), share(y)
        for _ in range(steps):
            model.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            for p in model.parameters():
                if average:
                    average(p.grad)
                with torch.no_grad():
                    p.sub_(p.grad * lr)
                if update:
                    update(p)
        return end(model) if end else model

    return wrong


def _add(grad):
    dist.all_reduce(grad)


def _avg(grad):
    dist.all_reduce(grad)
    grad /= dist.get_world_size()


def _a_new_tensor(grad):
    grad = grad.clone()
    dist.all_reduce(grad)
    grad = grad / dist.get_world_size()


def _average_twice(grad):
    _avg(grad)
    grad /= dist.get_world_size()


def _average_weights(p):
    dist.all_reduce(p.data)
    p.data.div_(dist.get_world_size())


def _past_the_wrapper(model, x, y, lr, steps):
    ddp = DDP(model)
    opt = torch.optim.SGD(ddp.parameters(), lr=lr)
    for _ in range(steps):
        opt.zero_grad()
        nn.MSELoss()(model(x), y).backward()
        opt.step()
    return model


def _loss_averaged(model, x, y, lr, steps):
    for t in model.state_dict().values():
        dist.broadcast(t, src=0)
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        opt.zero_grad()
        loss = nn.MSELoss()(model(x), y)
        with torch.no_grad():
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        loss.backward()
        opt.step()
    return model


def _gathered(x):
    shares = [None] * dist.get_world_size()
    dist.all_gather_object(shares, x)
    return torch.cat(shares)


def _a_block(x):
    return x.chunk(dist.get_world_size())[dist.get_rank()]


def _sampled(model, x, y, lr, steps):
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=len(x), sampler=sampler)
    ddp = DDP(model)
    opt = torch.optim.SGD(ddp.parameters(), lr=lr)
    for epoch in range(steps):
        sampler.set_epoch(epoch)
        for xb, yb in loader:
            opt.zero_grad()
            nn.MSELoss()(ddp(xb), yb).backward()
            opt.step()
    return ddp.module


def _averaged(model):
    for p in model.parameters():
        _avg(p.grad)
    return model


def _plain(model, x, y, lr, steps, give=lambda ddp: ddp, scale=1.0, clear_last=False):
    ddp = DDP(model)
    opt = torch.optim.SGD(ddp.parameters(), lr=lr * scale)
    for _ in range(steps):
        if not clear_last:
            opt.zero_grad()
        nn.MSELoss()(ddp(x), y).backward()
        opt.step()
        if clear_last:
            opt.zero_grad()
    return give(ddp)


def _detached(model, x, y, lr, steps):
    return _plain(model, x, y, lr, steps, lambda ddp: copy.deepcopy(ddp.module).requires_grad_(False))


def _fresh(model, x, y, lr, steps):
    trained = _plain(model, x, y, lr, steps, lambda ddp: ddp.module)
    out = copy.deepcopy(trained)
    out.load_state_dict(trained.state_dict())
    for p in out.parameters():
        p.grad = None
    return out


def _from_last(model, x, y, lr, steps):
    for t in model.state_dict().values():
        dist.broadcast(t, src=dist.get_world_size() - 1)
    return _by_hand(model, x, y, lr, steps)


WRONG = [
    Mistake("came back frozen", caught_by="", train=_detached),
    Mistake("after train the group is gone", caught_by="", train=lambda *a: _manual(_avg, end=_closed)(*a)),
    Mistake("Average, do not add", caught_by="", train=_manual(_add)),
    Mistake(
        "Average, do not add", caught_by="", train=lambda *a: _plain(*a, lambda d: d.module, dist.get_world_size())
    ),
    Mistake("divided once more than needed", caught_by="", train=_manual(_average_twice)),
    Mistake("the replicas drifted apart", caught_by="", train=_past_the_wrapper),
    Mistake("the replicas drifted apart", caught_by="", train=_loss_averaged),
    Mistake("the replicas drifted apart", caught_by="", train=_manual(None)),
    Mistake("the replicas drifted apart", caught_by="", train=_manual(_a_new_tensor)),
    Mistake("Send the weights of rank 0 to all before the first step", caught_by="", train=_manual(_avg, start=False)),
    Mistake("began with the weights of rank 1", caught_by="", train=_from_last),
    Mistake("and .grad was left as another one", caught_by="", train=_manual(None, update=_average_weights)),
    Mistake("only gradients travel", caught_by="", train=_manual(_avg, share=_gathered)),
    Mistake("only gradients travel", caught_by="", train=_manual(None, share=_gathered)),
    Mistake("don't cut it again", caught_by="", train=_manual(_avg, share=_a_block)),
    Mistake("don't cut it again", caught_by="", train=_sampled),
    Mistake("the replicas drifted apart", caught_by="", train=_manual(None, end=_averaged)),
    Mistake("train returned the wrapper", caught_by="", train=_plain),
    Mistake("train returned None", caught_by="", train=lambda *a: _plain(*a, lambda ddp: None)),
    Mistake(".grad is None at the end", caught_by="", train=lambda *a: _plain(*a, lambda d: d.module, clear_last=True)),
    Mistake(".grad is None at the end", caught_by="", train=_fresh),
    Mistake(".grad is None at the end", caught_by="", train=lambda *a: _manual(_avg, end=_without)(*a)),
    Mistake("train returned the wrapper", caught_by="", train=lambda *a: nn.DataParallel(_by_hand(*a))),
]


def _without(model):
    model.zero_grad()
    return model


def _closed(model):
    dist.barrier()
    dist.destroy_process_group()
    return model
