"""One accuracy from many processes: reference.

Hint: Which two numbers of all ranks do you need, so that one division gives the answer? No division before that.
Hint: `torch.tensor([...])` of two whole numbers makes a tensor of your own; `dist.all_reduce` adds it up in place.
Hint: is_initialized() decides first. Then one tensor of int(correct) and int(total), one collective, one division.

Why: An accuracy has forgotten how many samples it stands for, so its mean over the ranks counts a share of 2 as much
as one of 10. Counts have not. A fresh tensor on every rank makes the call safe: the collective overwrites what it is
given, and a rank with 0 of 0 adds two zeros instead of leaving. Both counts travel in one tensor, since each collective
costs a trip over the network.
"""

import torch
import torch.distributed as dist

from dojo import Mistake


def global_accuracy(correct: int | torch.Tensor, total: int | torch.Tensor) -> float:
    if not dist.is_initialized():
        return int(correct) / int(total)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    counts = torch.tensor([int(correct), int(total)], device=device)
    dist.all_reduce(counts)
    right, seen = counts.tolist()
    return right / seen


def _alone(then):
    """The local accuracy without a group, and `then` with one."""
    return lambda correct, total: then(correct, total) if dist.is_initialized() else int(correct) / int(total)


def _mean_of_accuracies(correct, total):
    accuracy = torch.tensor(int(correct) / int(total))
    dist.all_reduce(accuracy)
    return accuracy.item() / dist.get_world_size()


def _mean_with_a_guard(correct, total):
    accuracy = torch.tensor(int(correct) / max(int(total), 1))
    dist.all_reduce(accuracy)
    return accuracy.item() / dist.get_world_size()


def _sum_of_accuracies(correct, total):
    accuracy = torch.tensor(int(correct) / int(total))
    dist.all_reduce(accuracy)
    return accuracy.item()


def _only_rank_0(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    if dist.get_rank() == 0:
        dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def _only_who_saw_something(correct, total):
    if int(total) == 0:
        return 0.0
    return global_accuracy(correct, total)


def _result_of_all_reduce(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    counts = dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def _reduce_to_0(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    dist.reduce(counts, dst=0)
    return (counts[0] / counts[1]).item() if dist.get_rank() == 0 else int(correct) / max(int(total), 1)


def _none_elsewhere(correct, total):
    accuracy = global_accuracy(correct, total)
    return accuracy if dist.get_rank() == 0 else None


def _in_place(correct, total):
    correct, total = torch.as_tensor(correct), torch.as_tensor(total)
    if correct is total:
        total = total.clone()
    dist.all_reduce(correct)
    dist.all_reduce(total)
    return (correct / total).item()


def _total_in_place(correct, total):
    correct, total = torch.as_tensor(correct).clone(), torch.as_tensor(total)
    dist.all_reduce(correct)
    dist.all_reduce(total)
    return (correct / total).item()


def _float64_in_place(correct, total):
    """as_tensor copies whatever is not float64 already."""
    right, seen = (torch.as_tensor(n, dtype=torch.float64) for n in (correct, total))
    if right is seen:
        seen = seen.clone()
    dist.all_reduce(right)
    dist.all_reduce(seen)
    return (right / seen).item()


def _a_tensor(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    dist.all_reduce(counts)
    return counts[0] / counts[1]


def _total_times_world(correct, total):
    counts = torch.tensor(int(correct))
    dist.all_reduce(counts)
    return counts.item() / max(int(total) * dist.get_world_size(), 1)


def _only_the_right_ones(correct, total):
    counts = torch.tensor(int(correct))
    dist.all_reduce(counts)
    return counts.item() / max(int(total), 1)


def _largest(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    return (counts[0] / counts[1]).item()


def _at_least_one_each(correct, total):
    return global_accuracy(correct, max(int(total), 1))


def _not_awaited(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    dist.all_reduce(counts, async_op=True)
    right, seen = counts.tolist()
    return right / max(seen, 1)


def _half(correct, total):
    counts = torch.tensor([int(correct), int(total)], dtype=torch.float16)
    dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()


def _int32(correct, total):
    counts = torch.stack([torch.as_tensor(correct), torch.as_tensor(total)]).to(torch.int32)
    dist.all_reduce(counts)
    right, seen = counts.tolist()
    return right / max(seen, 1)


def _made_as_int32(correct, total):
    counts = torch.tensor([int(correct), int(total)], dtype=torch.int32)
    dist.all_reduce(counts)
    return counts[0].item() / counts[1].item()


def _from_the_neighbour(correct, total):
    mine, theirs = torch.tensor([int(correct), int(total)]), torch.zeros(2, dtype=torch.int64)
    other = 1 - dist.get_rank() % 2
    if dist.get_rank() < 2:
        requests = [dist.isend(mine, other), dist.irecv(theirs, other)]
        for request in requests:
            request.wait()
    right, seen = (mine + theirs).tolist()
    return right / seen


def _broadcast(correct, total):
    counts = torch.tensor([int(correct), int(total)])
    dist.broadcast(counts, src=0)
    return int(counts[0]) / max(int(counts[1]), 1)


_so_far = [0, 0]


def _running(correct, total):
    _so_far[0] += int(correct)
    _so_far[1] += int(total)
    return global_accuracy(*_so_far)


def _group_closed(correct, total):
    accuracy = global_accuracy(correct, total)
    dist.barrier()
    dist.destroy_process_group()
    return accuracy


def _makes_a_group(correct, total):
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return global_accuracy(correct, total)


def _ints_as_they_are(correct, total):
    correct, total = (n.clone() if isinstance(n, torch.Tensor) else n for n in (correct, total))
    dist.all_reduce(correct)
    dist.all_reduce(total)
    return (correct / total).item()


_ADD = "test_counts_add_up_and_accuracies_do_not"
_SIZE = "test_counts_of_any_size_add_up_over_any_number_of_ranks"
_NOTHING = "test_a_rank_that_saw_nothing_takes_part_all_the_same"
_TENSORS = "test_a_collective_writes_into_the_tensor_that_it_is_given"
_ALONE = "test_a_process_without_a_group_is_alone"

_LEFT = "every rank must call every collective, in the same order"
_OWN_TENSOR = "these tensors are the caller's"

MISTAKES = [
    Mistake("is the mean of 2 accuracies", caught_by=_ADD, global_accuracy=_alone(_mean_of_accuracies)),
    Mistake("is the mean of 2 accuracies", caught_by=_ADD, global_accuracy=_alone(_mean_with_a_guard)),
    Mistake("divide once, by the total of all ranks", caught_by=_NOTHING, global_accuracy=_alone(_mean_of_accuracies)),
    Mistake("that is the sum of the accuracies", caught_by=_ADD, global_accuracy=_alone(_sum_of_accuracies)),
    Mistake(_LEFT, caught_by=_ADD, global_accuracy=_alone(_only_rank_0)),
    Mistake(_LEFT, caught_by=_NOTHING, global_accuracy=_alone(_only_who_saw_something)),
    Mistake("and returns None", caught_by=_ADD, global_accuracy=_alone(_result_of_all_reduce)),
    Mistake("that is what it got right of its own share", caught_by=_ADD, global_accuracy=_alone(_reduce_to_0)),
    Mistake(
        "that is what it got right of its own share",
        caught_by=_ADD,
        global_accuracy=lambda correct, total: int(correct) / max(int(total), 1),
    ),
    Mistake("that is what it got right of its own share", caught_by=_ADD, global_accuracy=_alone(_not_awaited)),
    Mistake("expected a Python float on each rank", caught_by=_ADD, global_accuracy=_alone(_none_elsewhere)),
    Mistake("expected a Python float on each rank", caught_by=_ADD, global_accuracy=_alone(_a_tensor)),
    Mistake(_OWN_TENSOR, caught_by=_TENSORS, global_accuracy=_alone(_in_place)),
    Mistake(_OWN_TENSOR, caught_by=_TENSORS, global_accuracy=_alone(_total_in_place)),
    Mistake(_OWN_TENSOR, caught_by=_TENSORS, global_accuracy=_alone(_float64_in_place)),
    Mistake("together 10 of 12", caught_by=_ADD, global_accuracy=_alone(_total_times_world)),
    Mistake("together 10 of 12", caught_by=_ADD, global_accuracy=_alone(_only_the_right_ones)),
    Mistake("together 10 of 12", caught_by=_ADD, global_accuracy=_alone(_largest)),
    Mistake("together 10 of 12", caught_by=_ADD, global_accuracy=_alone(_broadcast)),
    Mistake("together 4 of 5", caught_by=_ADD, global_accuracy=_alone(_running)),
    Mistake("together 3 of 4", caught_by=_NOTHING, global_accuracy=_alone(_at_least_one_each)),
    Mistake("together 80003 of 170001", caught_by=_SIZE, global_accuracy=_alone(_half)),
    Mistake("together 8589934592 of 15032385536", caught_by=_SIZE, global_accuracy=_alone(_int32)),
    Mistake("too large for an int32", caught_by=_SIZE, global_accuracy=_alone(_made_as_int32)),
    Mistake("together 10 of 16", caught_by=_SIZE, global_accuracy=_alone(_from_the_neighbour)),
    Mistake(
        "together 10 of 12",
        caught_by=_ADD,
        global_accuracy=lambda correct, total: 100 * global_accuracy(correct, total),
    ),
    Mistake("after the call the group is gone", caught_by=_ADD, global_accuracy=_alone(_group_closed)),
    Mistake("ask dist.is_initialized() before", caught_by=_ALONE, global_accuracy=_a_tensor),
    Mistake(
        "ask dist.is_initialized() before",
        caught_by=_ALONE,
        global_accuracy=lambda correct, total: (
            global_accuracy(correct, total) if dist.get_world_size() > 1 else correct / total
        ),
    ),
    Mistake("the call has made one", caught_by=_ALONE, global_accuracy=_makes_a_group),
    Mistake(
        "expected a Python float on each rank",
        caught_by=_ALONE,
        global_accuracy=lambda correct, total: (
            global_accuracy(correct, total) if dist.is_initialized() else correct / total
        ),
    ),
    Mistake("a collective takes tensors", caught_by=_ADD, global_accuracy=_alone(_ints_as_they_are)),
]

KEEP = {
    _ADD: "it is the fact itself, with two ranks; whatever breaks it breaks three ranks as well",
    "test_nccl_adds_up_tensors_on_the_gpu": "only a GPU shows that nccl takes no tensor on the CPU",
}
