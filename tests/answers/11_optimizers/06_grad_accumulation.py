"""Answers that people give to grad_accumulation, right ones and wrong ones."""

import torch
from torch.nn.functional import cross_entropy

from dojo import Mistake


def _divide_at_the_end(model, loss_fn, micro_batches):
    for p in model.parameters():
        p.grad = None
    total, n = 0.0, 0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) * x.shape[0]
        loss.backward()
        total += float(loss.detach())
        n += x.shape[0]
    for p in model.parameters():
        if p.grad is not None:
            p.grad /= n
    return total / n


def _collected(model, loss_fn, micro_batches):
    params = [p for p in model.parameters() if p.requires_grad]
    n = sum(y.size(0) for _, y in micro_batches)
    sums, total = [torch.zeros_like(p) for p in params], 0.0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y)
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        for s, g in zip(sums, grads, strict=True):
            if g is not None:
                s.add_(g, alpha=len(x) / n)
        total += loss.item() * len(x) / n
    for p, s in zip(params, sums, strict=True):
        p.grad = s
    return total


def _zeros_in_place(model, loss_fn, micro_batches):
    model.zero_grad(set_to_none=False)
    sizes = torch.tensor([float(len(x)) for x, _ in micro_batches], dtype=torch.float64)
    losses = []
    for weight, (x, y) in zip((sizes / sizes.sum()).tolist(), micro_batches, strict=True):
        loss = weight * loss_fn(model(x), y)
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum().item()


def _skip_padding(model, micro_batches):
    model.zero_grad(set_to_none=True)
    counts = [(y != -100).sum().item() for _, y in micro_batches]
    total = 0.0
    for (x, y), n in zip(micro_batches, counts, strict=True):
        if n == 0:
            continue
        logits = model(x)
        loss = cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1)) * (n / sum(counts))
        loss.backward()
        total += loss.item()
    return total


def _by_mask(model, micro_batches):
    model.zero_grad()
    tokens = torch.cat([y.flatten() for _, y in micro_batches]).ne(-100).sum()
    total = 0.0
    for x, y in micro_batches:
        losses = cross_entropy(model(x).transpose(1, 2), y, reduction="none")
        loss = losses[y != -100].sum() / tokens
        loss.backward()
        total = total + loss.item()
    return total


def _token_divide_at_the_end(model, micro_batches):
    model.zero_grad()
    total = n = 0
    for x, y in micro_batches:
        loss = cross_entropy(model(x).permute(0, 2, 1), y, reduction="sum")
        loss.backward()
        total, n = total + loss.item(), n + (y >= 0).sum().item()
    for p in model.parameters():
        if p.grad is not None:
            p.grad.div_(n)
    return total / n


def _mean_times_clamped_count(model, micro_batches):
    model.zero_grad()
    tokens = sum((y != -100).sum() for _, y in micro_batches).item()
    total = 0.0
    for x, y in micro_batches:
        loss = torch.nan_to_num(cross_entropy(model(x).flatten(0, 1), y.flatten())) * (y != -100).sum() / tokens
        loss.backward()
        total += loss.item()
    return total


def _a_running_mean(model, loss_fn, micro_batches):
    model.zero_grad()
    seen, mean = 0, 0.0
    for x, y in micro_batches:
        loss, now = loss_fn(model(x), y), seen + len(x)
        for p in model.parameters():
            if p.grad is not None:
                p.grad *= seen / now
        (loss * len(x) / now).backward()
        mean = mean * seen / now + loss.item() * len(x) / now
        seen = now
    return mean


def _row_by_row(model, micro_batches):
    for p in model.parameters():
        p.grad = None
    tokens = sum(int((y != -100).sum()) for _, y in micro_batches)
    total = 0.0
    for xs, ys in micro_batches:
        for x, y in zip(xs, ys):
            logs = torch.log_softmax(model(x.unsqueeze(0))[0], -1)
            loss = -(logs[range(len(y)), y.clamp(min=0)] * (y != -100)).sum() / tokens
            loss.backward()
            total += loss.item()
    return total


RIGHT = [
    {"accumulate": _a_running_mean, "accumulate_tokens": _row_by_row},
    {"accumulate": _divide_at_the_end, "accumulate_tokens": _skip_padding},
    {"accumulate": _collected, "accumulate_tokens": _by_mask},
    {"accumulate": _zeros_in_place, "accumulate_tokens": _token_divide_at_the_end},
    {"accumulate_tokens": _mean_times_clamped_count},
]


def _plain(model, loss_fn, micro_batches):
    model.zero_grad()
    losses = []
    for x, y in micro_batches:
        loss = loss_fn(model(x), y)
        loss.backward()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def _divided_by_count(model, loss_fn, micro_batches):
    model.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) / len(micro_batches)
        loss.backward()
        total += loss.item()
    return total


def _cleared_each_time(model, loss_fn, micro_batches):
    opt = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = torch.zeros(())
    for x, y in micro_batches:
        opt.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
    return loss.item()


def _never_cleared(model, loss_fn, micro_batches):
    n = sum(len(x) for x, _ in micro_batches)
    total = 0.0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) * len(x) / n
        loss.backward()
        total += loss.item()
    return total


def _last_loss(model, loss_fn, micro_batches):
    model.zero_grad()
    n = sum(len(x) for x, _ in micro_batches)
    loss = None
    for x, y in micro_batches:
        loss = loss_fn(model(x), y)
        (loss * (len(x) / n)).backward()
    return loss.item()


def _added_tensors(model, loss_fn, micro_batches):
    model.zero_grad()
    n, total = sum(len(x) for x, _ in micro_batches), 0.0
    for x, y in micro_batches:
        total = total + loss_fn(model(x), y) * len(x)
    (total / n).backward()
    return (total / n).item()


def _concatenated(model, loss_fn, micro_batches):
    model.zero_grad()
    x = torch.vstack([x for x, _ in micro_batches])
    y = torch.cat([y for _, y in micro_batches], dim=0)
    loss = loss_fn(model(x), y)
    loss.backward()
    return float(loss.item())


def _detached_tensor(model, loss_fn, micro_batches):
    return torch.as_tensor(_divide_at_the_end(model, loss_fn, micro_batches))


def _size_of_the_first(model, loss_fn, micro_batches):
    size = len(micro_batches[0][0])
    n = sum(len(x) for x, _ in micro_batches)
    model.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = loss_fn(model(x), y) * size / n
        loss.backward()
        total += loss.item()
    return total


def _trained(model, loss_fn, micro_batches):
    opt = torch.optim.SGD(model.parameters(), lr=1e-3)
    opt.zero_grad()
    loss = _divide_at_the_end(model, loss_fn, micro_batches)
    opt.step()
    return loss


def _evaluated(model, loss_fn, micro_batches):
    model.eval()
    return _divide_at_the_end(model, loss_fn, micro_batches)


def _tokens(weigh, reduction="mean"):
    def wrong(model, micro_batches):
        model.zero_grad()
        losses = []
        for x, y in micro_batches:
            scores = model(x)
            loss = cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1), reduction=reduction)
            loss = weigh(loss, y, micro_batches)
            loss.backward()
            losses.append(loss.item())
        return sum(losses)

    return wrong


def _n(micro_batches):
    return sum((y != -100).sum() for _, y in micro_batches)


def _token_graphs(model, micro_batches):
    model.zero_grad()
    losses = [cross_entropy(model(x).mT, y, reduction="sum") for x, y in micro_batches]
    loss = torch.stack(losses).sum() / _n(micro_batches)
    loss.backward()
    return loss.item()


def _unflattened(model, micro_batches):
    model.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = cross_entropy(model(x), y, ignore_index=-100, reduction="sum") / _n(micro_batches)
        loss.backward()
        total += loss.item()
    return total


def _stop_at_padding(model, micro_batches):
    model.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        if (y == -100).all():
            return total
        loss = cross_entropy(model(x).mT, y, reduction="sum") / _n(micro_batches)
        loss.backward()
        total += loss.item()
    return total


WRONG = [
    Mistake("the sum of the 2 gradients", caught_by="", accumulate=_plain),
    Mistake("the mean of the 3 gradients", caught_by="", accumulate=_divided_by_count),
    Mistake("the gradient of the last micro-batch alone", caught_by="", accumulate=_cleared_each_time),
    Mistake("what was in .grad before it counts", caught_by="", accumulate=_never_cleared),
    Mistake("the loss of the last micro-batch alone", caught_by="", accumulate=_last_loss),
    Mistake("call backward for each micro-batch", caught_by="", accumulate=_added_tensors),
    Mistake("the model was given 10 rows at once", caught_by="", accumulate=_concatenated),
    Mistake("expected the loss as a float, got Tensor", caught_by="", accumulate=_detached_tensor),
    Mistake(".grad is the gradient of the mean", caught_by="", accumulate=_size_of_the_first),
    Mistake("the step is somebody else's", caught_by="", accumulate=_trained),
    Mistake("left in eval mode", caught_by="", accumulate=_evaluated),
    Mistake("the mean of the 2 gradients", caught_by="", accumulate_tokens=_tokens(lambda v, y, b: v / len(b))),
    Mistake("the sum of the 2 gradients", caught_by="", accumulate_tokens=_tokens(lambda v, y, b: v)),
    Mistake(
        "weighed by its rows, or places",
        caught_by="",
        accumulate_tokens=_tokens(lambda v, y, b: v * len(y) / sum(len(z) for _, z in b)),
    ),
    Mistake(
        ".grad is the gradient of the mean over real tokens",
        caught_by="",
        accumulate_tokens=_tokens(lambda v, y, b: v / sum(z.numel() for _, z in b), "sum"),
    ),
    Mistake("nan * 0 is nan", caught_by="", accumulate_tokens=_tokens(lambda v, y, b: v * ((y != -100).sum() / _n(b)))),
    Mistake("call backward for each micro-batch", caught_by="", accumulate_tokens=_token_graphs),
    Mistake(
        ".grad is the gradient of the mean over real tokens",
        caught_by="",
        accumulate_tokens=_tokens(lambda v, y, b: v / sum((z > 0).sum() for _, z in b), "sum"),
    ),
    Mistake("classes in dim 1", caught_by="", accumulate_tokens=_unflattened),
    Mistake("a micro-batch of padding alone comes", caught_by="", accumulate_tokens=_stop_at_padding),
]
