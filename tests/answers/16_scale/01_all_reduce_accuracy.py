"""Answers that people give to all_reduce_accuracy, right ones and wrong ones."""

import torch
import torch.distributed as dist

from dojo import Mistake


def _two_collectives(correct, total):
    if not (dist.is_available() and dist.is_initialized()):
        return float(correct) / float(total)
    right = torch.as_tensor(correct, dtype=torch.float64).detach().clone()
    seen = torch.as_tensor(total, dtype=torch.float64).detach().clone()
    dist.all_reduce(right, op=dist.ReduceOp.SUM)
    dist.all_reduce(seen, op=dist.ReduceOp.SUM)
    return (right / seen).item()


def _objects(correct, total):
    shares = [(int(correct), int(total))]
    if dist.is_initialized():
        shares = [None] * dist.get_world_size()
        dist.all_gather_object(shares, (int(correct), int(total)))
    return sum(c for c, _ in shares) / sum(t for _, t in shares)


def _gathered(correct, total):
    mine = torch.stack([torch.as_tensor(correct), torch.as_tensor(total)])
    if not dist.is_initialized():
        return (mine[0] / mine[1]).item()
    everybody = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everybody, mine)
    right, seen = torch.stack(everybody).sum(0)
    return float(right / seen)


def _to_rank_0_and_back(correct, total):
    counts = torch.tensor([float(correct), float(total)])
    if dist.is_initialized():
        dist.reduce(counts, dst=0)
        dist.broadcast(counts, src=0)
    return (counts[0] / counts[1]).item()


def _awaited(correct, total):
    counts = torch.tensor([int(correct), int(total)], dtype=torch.float32)
    if dist.is_initialized():
        dist.all_reduce(counts, async_op=True).wait()
    return counts[0].item() / counts[1].item()


def _weighted_mean(correct, total):
    accuracy = float(correct) / float(total) if total else 0.0
    sums = torch.tensor([accuracy * float(total), float(total)], dtype=torch.float64)
    try:
        dist.all_reduce(sums)
    except ValueError:
        return accuracy
    return (sums[0] / sums[1]).item()


RIGHT = [
    dict(global_accuracy=answer)
    for answer in (_two_collectives, _objects, _gathered, _to_rank_0_and_back, _awaited, _weighted_mean)
]


def _alone(then):
    return lambda correct, total: then(correct, total) if dist.is_initialized() else float(correct) / float(total)


def _gathered_accuracies(correct, total):
    accuracies = [None] * dist.get_world_size()
    dist.all_gather_object(accuracies, float(correct) / float(total) if total else 0.0)
    return sum(accuracies) / len(accuracies)


def _mean_where_seen(correct, total):
    pair = torch.tensor([float(correct) / max(float(total), 1), float(total > 0)])
    dist.all_reduce(pair)
    return (pair[0] / pair[1]).item()


def _summed(correct, total):
    accuracy = torch.tensor(float(correct) / max(float(total), 1))
    dist.all_reduce(accuracy, op=dist.ReduceOp.SUM)
    return float(accuracy)


def _rank_0_asks(correct, total):
    counts = torch.tensor([float(correct), float(total)])
    if dist.get_rank() != 0:
        return float(correct) / max(float(total), 1)
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def _gathered_on_0(correct, total):
    shares = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object((int(correct), int(total)), shares, dst=0)
    if dist.get_rank() == 0:
        return sum(c for c, _ in shares) / sum(t for _, t in shares)


def _chained(correct, total):
    return dist.all_reduce(torch.tensor([float(correct), float(total)]))[0].item()


def _tensors_in_place(correct, total):
    if not isinstance(correct, torch.Tensor):
        correct = torch.tensor(correct)
    if not isinstance(total, torch.Tensor):
        total = torch.tensor(total)
    dist.all_reduce(correct)
    dist.all_reduce(total)
    return float(correct) / float(total)


def _added_in_place(correct, total):
    shares = [None] * dist.get_world_size()
    dist.all_gather_object(shares, (int(correct), int(total)))
    for rank, (c, t) in enumerate(shares):
        if rank != dist.get_rank():
            correct += c
            total += t
    return float(correct) / float(total)


def _zero_dim(correct, total):
    counts = torch.tensor([float(correct), float(total)])
    if dist.is_initialized():
        dist.all_reduce(counts)
    return counts[0] / counts[1]


def _no_question(correct, total):
    counts = torch.tensor([float(correct), float(total)])
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def _own_total(correct, total):
    right = torch.tensor(float(correct))
    dist.all_reduce(right)
    return right.item() / max(float(total), 1)


def _bfloat16(correct, total):
    counts = torch.tensor([float(correct), float(total)], dtype=torch.bfloat16)
    dist.all_reduce(counts)
    return float(counts[0] / counts[1])


def _made_as_int(correct, total):
    counts = torch.zeros(2, dtype=torch.int32)
    counts[0], counts[1] = int(correct), int(total)
    dist.all_reduce(counts)
    return int(counts[0]) / int(counts[1])


def _narrowed(correct, total):
    right, seen = (torch.as_tensor(n).clone().int() for n in (correct, total))
    dist.all_reduce(right)
    dist.all_reduce(seen)
    return right.item() / max(seen.item(), 1)


def _two_ranks(correct, total):
    shares = [torch.zeros(2, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(shares, torch.tensor([int(correct), int(total)]))
    right, seen = (shares[0] + shares[1]).tolist()
    return right / seen


def _left_by_the_empty(correct, total):
    if not total:
        return float("nan")
    return _no_question(correct, total)


def _closed(correct, total):
    accuracy = _no_question(correct, total)
    dist.barrier()
    dist.destroy_process_group()
    return accuracy


WRONG = [
    Mistake("is the mean of 2 accuracies", caught_by="", global_accuracy=_alone(_gathered_accuracies)),
    Mistake("is the mean of 2 accuracies", caught_by="", global_accuracy=_alone(_mean_where_seen)),
    Mistake("that is the sum of the accuracies", caught_by="", global_accuracy=_alone(_summed)),
    Mistake("every rank must call every collective, in the same order", caught_by="", global_accuracy=_rank_0_asks),
    Mistake(
        "every rank must call every collective, in the same order",
        caught_by="",
        global_accuracy=_alone(_left_by_the_empty),
    ),
    Mistake("expected a Python float on each rank", caught_by="", global_accuracy=_alone(_gathered_on_0)),
    Mistake("and returns None", caught_by="", global_accuracy=_alone(_chained)),
    Mistake("these tensors are the caller's", caught_by="", global_accuracy=_alone(_tensors_in_place)),
    Mistake("these tensors are the caller's", caught_by="", global_accuracy=_alone(_added_in_place)),
    Mistake("expected a Python float on each rank", caught_by="", global_accuracy=_zero_dim),
    Mistake("ask dist.is_initialized() before", caught_by="", global_accuracy=_no_question),
    Mistake("together 10 of 12", caught_by="", global_accuracy=_alone(_own_total)),
    Mistake("together 80003 of 170001", caught_by="", global_accuracy=_alone(_bfloat16)),
    Mistake("together 8589934592 of 15032385536", caught_by="", global_accuracy=_alone(_narrowed)),
    Mistake("too large for an int32", caught_by="", global_accuracy=_alone(_made_as_int)),
    Mistake("together 10 of 16", caught_by="", global_accuracy=_alone(_two_ranks)),
    Mistake("after the call the group is gone", caught_by="", global_accuracy=_alone(_closed)),
]
