"""One accuracy from many processes

A big training runs as several processes of the same script, mostly one for each GPU. torch.distributed (`import
torch.distributed as dist`) numbers them 0, 1, 2, ...: such a number is a *rank*, and so one calls the process itself.
Together they form a *group*; its *world size* is how many they are. Each rank sees its own share of the data, so after
an evaluation each one has other counts.

To get one number, the ranks have to talk. `dist.all_reduce(t)` is a *collective*, a call that all ranks make together:
it adds up the tensors t of all ranks, and on each rank it writes the sum into t itself, over what was there. It returns
None. Every rank must call every collective, in the same order. If one rank does not, because the call stands behind
`if rank == 0` or `if total > 0`, the others wait for it, and minutes later they stop with an error.

And what should be added? Say 9 of 10 are right on one rank, 1 of 2 on the other. The mean of 0.9 and 0.5 is 0.70, but
10 of 12 are right, 0.83: shares are seldom of one size. Counts can be added, accuracies can't. Divide once, at the end.

A *backend* carries the data: gloo takes tensors on the CPU, nccl only those on a GPU. `dist.get_backend()` names it.
The same script should run alone too: `dist.is_initialized()` says whether there is a group.

What is asked here: the accuracy over all ranks. The tests make the ranks, as processes on this machine.

About 20 minutes. Before it: batches_and_leftovers, own_your_randomness.
Path: first_day

https://docs.pytorch.org/docs/stable/distributed.html#torch.distributed.all_reduce
"""

import time
from statistics import fmean

import pytest
import torch
import torch.distributed as dist

from dojo import under_test
from dojo.kit import explain, group_of_one, run_ranks, unchanged


def global_accuracy(correct: int | torch.Tensor, total: int | torch.Tensor) -> float:
    """The share of samples, over all ranks of the group, that were right: a Python float, the same on every rank.

    This rank got `correct` of its `total` samples right. Each is an int, or a tensor without dimensions that holds a
    whole number; such a tensor stays as it is. Counts may be larger than 2**31. One rank may have seen no sample, 0 of
    0; all ranks together have seen some. The group stays as it is, too. Where there is none, this process is alone:
    correct / total. With the backend nccl the counts have to be moved to the GPU.
    """
    raise NotImplementedError("add up the counts of all ranks, then divide")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "NoneType": "something is None here. dist.all_reduce writes into the tensor that it is given, and returns None",
    "Default process group has not been init": "there is no group here: ask dist.is_initialized() before a collective",
    "ZeroDivision": "a rank divided by its own total, which may be 0: divide once, by the total of all ranks",
    "Expected parameter|'int' object has no attribute": "counts may be Python ints, and a collective takes tensors",
    "twice": "the group is there already, and is not this function's to make",
    "without overflow|out of bounds|too large|out of range": "counts may be larger than 2**31, too large for an int32",
}


def _on_ranks(*calls):
    """Processes that form a group: rank i calls global_accuracy with each of calls[i] in turn, and gives the values.

    Rank 0 is there first; the others come a little later.
    """
    __tracebackhide__ = True

    def rank_main(rank, world):
        values = []
        for correct, total in calls[rank]:
            time.sleep(0.03 if rank else 0)
            with explain(f"global_accuracy({correct}, {total}) raised", _SIGNS):
                values.append(global_accuracy(correct, total))
            assert dist.is_initialized(), "after the call the group is gone, and others still need it"
        return values

    return run_ranks(rank_main, len(calls))


def _check(values, shares):
    """Is this the accuracy over all ranks, if rank i got shares[i] = (correct, total)?"""
    __tracebackhide__ = True
    right, seen = (sum(column) for column in zip(*shares, strict=True))
    told = f"{', '.join(f'{c} of {t}' for c, t in shares)} were right on the ranks, together {right} of {seen}"
    means = [c / t for c, t in shares if t]
    for rank, value in enumerate(values):
        kind = type(value).__name__
        assert isinstance(value, float), f"rank {rank} got {value!r}: expected a Python float on each rank, not {kind}"
        if value == pytest.approx(right / seen, abs=1e-6):
            continue
        says = f"{told}. Rank {rank} got {value:.6g}, expected {right / seen:.6g}"
        own = shares[rank][1] and value == pytest.approx(means[rank] if len(means) == len(shares) else -1, abs=1e-6)
        assert value != pytest.approx(fmean(means), abs=1e-6), (
            f"{says}: {value:.2f} is the mean of {len(means)} accuracies, and the shares are not of one size"
        )
        assert not own, f"{says}: that is what it got right of its own share"
        assert value != pytest.approx(sum(means), abs=1e-6), f"{says}: that is the sum of the accuracies"
        raise AssertionError(says)


@pytest.mark.myth(
    says="Average the accuracies of the ranks: all_reduce the accuracy, then divide by the world size.",
    today="The shares differ in size, so that mean is another number: add up right ones and samples, divide once.",
)
def test_counts_add_up_and_accuracies_do_not():
    ranks = _on_ranks([(9, 10), (4, 4)], [(1, 2), (0, 1)])
    _check([values[0] for values in ranks], [(9, 10), (1, 2)])
    _check([values[1] for values in ranks], [(4, 4), (0, 1)])


def test_counts_of_any_size_add_up_over_any_number_of_ranks():
    large = 2**31  # tokens, for example; an int32 ends below it
    small = [(9, 10), (1, 2), (0, 4)]
    counts = [(29_999, 30_000), (3, 70_000), (50_001, 70_001)]
    tokens = [(3 * large, 4 * large), (large, 2 * large), (0, large)]
    ranks = _on_ranks(*zip(small, counts, tokens, strict=True))
    for i, shares in enumerate((small, counts, tokens)):
        _check([values[i] for values in ranks], shares)


def test_a_rank_that_saw_nothing_takes_part_all_the_same():
    ranks = _on_ranks([(3, 4)], [(0, 0)])
    _check([values[0] for values in ranks], [(3, 4), (0, 0)])


def test_a_collective_writes_into_the_tensor_that_it_is_given():
    def rank_main(rank, world):
        counts = torch.tensor([[9, 10], [1, 2]])[rank]
        floats, total = torch.tensor([[5.0, 8.0], [0.0, 1.0]])[rank], torch.tensor(3 + rank)
        doubles = floats.double()
        values = []
        for correct, seen in (counts, floats, doubles, (total, total), (counts[0], 10 - 8 * rank)):
            with (
                unchanged("these tensors are the caller's: let the collective write into one of your own", c=correct),
                unchanged("these tensors are the caller's: let the collective write into one of your own", t=seen),
                explain(f"global_accuracy({correct}, {seen}) raised", _SIGNS),
            ):
                values.append(global_accuracy(correct, seen))
        return values

    ranks = run_ranks(rank_main, 2)
    small, others = [(9, 10), (1, 2)], [(5, 8), (0, 1)]
    for i, shares in enumerate([small, others, others, [(3, 3), (4, 4)], small]):
        _check([values[i] for values in ranks], shares)


def test_a_process_without_a_group_is_alone():
    for correct, total in ((3, 4), (torch.tensor(1), torch.tensor(8))):
        with explain(f"without a group, global_accuracy({correct}, {total}) raised", _SIGNS):
            value = global_accuracy(correct, total)
        _check([value], [(int(correct), int(total))])
    assert not dist.is_initialized(), "there was no group, and the call has made one: that is for the script to do"


@pytest.mark.gpu
def test_nccl_adds_up_tensors_on_the_gpu():
    signs = {"[Nn]o backend type associated|CUDA": "nccl moves tensors on a GPU only: the counts have to go there"}
    with group_of_one("nccl"):
        for correct, total in ((3, 4), (torch.tensor(3, device="cuda"), torch.tensor(4, device="cuda"))):
            with explain(f"with nccl, global_accuracy({correct}, {total}) raised", signs):
                value = global_accuracy(correct, total)
            _check([value], [(3, 4)])
