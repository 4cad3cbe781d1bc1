"""Answers that people give to rank_sampler, right ones and wrong ones."""

import math
import random

import numpy as np
import torch
from torch.utils.data import DistributedSampler, Subset, TensorDataset
from torch.utils.data.distributed import DistributedSampler as Sampler

from dojo import Mistake


def _by_hand(n, rank, world, epoch, seed=0):
    g = torch.Generator()
    g.manual_seed(seed + epoch)
    order = torch.randperm(n, generator=g).tolist()
    total = math.ceil(n / world) * world
    order += order[: total - n]
    return order[rank:total:world]


def _in_blocks(n, rank, world, epoch, seed=0):
    size = (n + world - 1) // world
    g = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n, generator=g)
    order = order.repeat(world)
    return order[rank * size : (rank + 1) * size].tolist()


def _own_filler(n, rank, world, epoch, seed=0):
    """A short part is filled up from itself, or from the whole where it is empty."""
    order = list(range(n))
    random.Random(f"{seed}-{epoch}").shuffle(order)
    part = order[rank::world]
    while len(part) < -(-n // world):
        part.append((part or order)[0])
    return part


def _numpy(n, rank, world, epoch, seed=0):
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return [int(i) for i in np.resize(order, -(-n // world) * world)[rank::world]]


def _forked(n, rank, world, epoch, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash((seed, epoch)) % 2**31)
        order = torch.randperm(n)
    return torch.cat([order] * world)[rank : math.ceil(n / world) * world : world].tolist()


def _dataset(n, rank, world, epoch, seed=0):
    sampler = Sampler(TensorDataset(torch.zeros(n)), num_replicas=world, rank=rank, shuffle=True, seed=seed)
    sampler.set_epoch(epoch)
    return [i for i in sampler]


def _full_blocks_first(n, rank, world):
    size = math.ceil(n / world)
    return [*range(n)][rank * size : (rank + 1) * size]


def _last_again(n, rank, world, epoch, seed=0):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 7919 * epoch)).tolist()
    while len(order) % world:
        order.append(order[-1])
    return order[rank::world]


RIGHT = [
    dict(rank_indices=_by_hand, eval_indices=lambda n, rank, world: list(range(n))[rank::world]),
    dict(
        rank_indices=_in_blocks, eval_indices=lambda n, rank, world: torch.arange(n).tensor_split(world)[rank].tolist()
    ),
    dict(rank_indices=_own_filler, eval_indices=lambda n, rank, world: [i for i in range(n) if i % world == rank]),
    dict(rank_indices=_numpy, eval_indices=lambda n, rank, world: np.array_split(np.arange(n), world)[rank].tolist()),
    dict(
        rank_indices=_forked,
        eval_indices=lambda n, rank, world: list(range(n * rank // world, n * (rank + 1) // world)),
    ),
    dict(rank_indices=_dataset, eval_indices=_full_blocks_first),
    dict(eval_indices=lambda n, rank, world: torch.arange(n).chunk(world)[rank].tolist()),
    dict(
        rank_indices=_last_again,
        eval_indices=lambda n, rank, world: list(
            range(rank * (n // world), n if rank == world - 1 else (rank + 1) * (n // world))
        ),
    ),
]


def _order(n, *numbers):
    return torch.randperm(n, generator=torch.Generator().manual_seed(sum(numbers))).tolist()


def _ranks_seed(n, rank, world, epoch, seed=0):
    return _order(n, 1000 * rank, epoch, seed)[: math.ceil(n / world)]


def _global(n, rank, world, epoch, seed=0):
    order = list(range(n))
    random.shuffle(order)
    order += order[: -n % world]
    return order[rank::world]


def _epoch_ignored(n, rank, world, epoch, seed=0):
    order = _order(n, seed)
    order += order[: -n % world]
    return order[rank::world]


def _epoch_of_the_seed(n, rank, world, epoch, seed=0):
    sampler = DistributedSampler(range(n), world, rank, seed=seed)
    sampler.epoch_number = epoch
    return list(sampler)


def _seed_ignored(n, rank, world, epoch, seed=0):
    sampler = DistributedSampler(range(n), world, rank)
    sampler.set_epoch(epoch)
    return list(sampler)


def _manual_seed(n, rank, world, epoch, seed=0):
    torch.manual_seed(seed + epoch)
    order = torch.randperm(n).tolist()
    order += order[: -n % world]
    return order[rank::world]


def _numpy_state(n, rank, world, epoch, seed=0):
    np.random.seed(seed * 100 + epoch)
    return [int(i) for i in np.resize(np.random.permutation(n), -(-n // world) * world)[rank::world]]


def _rotated(n, rank, world, epoch, seed=0):
    """Not shuffled, only begun elsewhere."""
    start = (epoch + 17 * seed) % n
    order = [*range(start, n), *range(start)]
    order += order[: -n % world]
    return order[rank::world]


def _split(n, rank, world, epoch, seed=0):
    return torch.tensor(_order(n, seed, epoch)).tensor_split(world)[rank].tolist()


def _floored(n, rank, world, epoch, seed=0):
    return _order(n, seed, epoch)[: n // world * world][rank::world]


def _as_tensors(n, rank, world, epoch, seed=0):
    return list(torch.tensor(_by_hand(n, rank, world, epoch, seed)))


def _subset(n, rank, world, epoch, seed=0):
    return Subset(range(n), _by_hand(n, rank, world, epoch, seed))


def _within(n, rank, world, epoch, seed=0):
    part = list(DistributedSampler(range(n), world, rank, shuffle=False))
    g = torch.Generator().manual_seed(seed + epoch)
    return [part[i] for i in torch.randperm(len(part), generator=g)]


def _draws(n, rank, world, epoch, seed=0):
    return random.Random(seed + 31 * epoch).choices(range(n), k=math.ceil(n / world) * world)[rank::world]


def _hashed(n, rank, world, epoch, seed=0):
    return _by_hand(n, rank, world, hash((str(seed), epoch)) % 2**31)


def _larger_of_both(n, rank, world, epoch, seed=0):
    return _by_hand(n, rank, world, 0, max(seed, epoch))


def _unique(n, rank, world, epoch, seed=0):
    return np.unique(_by_hand(n, rank, world, epoch, seed)).tolist()


def _padded_eval(n, rank, world):
    indices = list(range(n))
    indices += indices[: math.ceil(n / world) * world - n]
    return indices[rank::world]


def _all_work_for_0(n, rank, world):
    return [] if rank else [*range(n)]


_SAME = "rank 0 has the same indices in epoch 0 and epoch 1"

WRONG = [
    Mistake("the ranks cut different permutations", caught_by="", rank_indices=_ranks_seed),
    Mistake("the ranks cut different permutations", caught_by="", rank_indices=_global),
    Mistake(_SAME, caught_by="", rank_indices=_epoch_ignored),
    Mistake(_SAME, caught_by="", rank_indices=_epoch_of_the_seed),
    Mistake("give the same indices", caught_by="", rank_indices=_seed_ignored),
    Mistake("drew or seeded the global random numbers", caught_by="", rank_indices=_manual_seed),
    Mistake("drew or seeded the global random numbers", caught_by="", rank_indices=_numpy_state),
    Mistake("that is not shuffled", caught_by="", rank_indices=_rotated),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by="", rank_indices=_split),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by="", rank_indices=_floored),
    Mistake("there hash() of text is another number", caught_by="", rank_indices=_hashed),
    Mistake("in epoch 0 and epoch 1, with seed=7", caught_by="", rank_indices=_larger_of_both),
    Mistake("that is not shuffled", caught_by="", rank_indices=_unique),
    Mistake("in which a Tensor stands", caught_by="", rank_indices=_as_tensors),
    Mistake("is a Tensor, expected a list", caught_by="", rank_indices=_subset),
    Mistake("the same samples, in another order", caught_by="", rank_indices=_within),
    Mistake("has one index more than once", caught_by="", rank_indices=_draws),
    Mistake("some samples count more than once", caught_by="", eval_indices=_padded_eval),
    Mistake("some samples count more than once", caught_by="", eval_indices=lambda n, rank, world: [*range(n)]),
    Mistake("one rank does all the work", caught_by="", eval_indices=_all_work_for_0),
    Mistake("is a range, expected a list", caught_by="", eval_indices=lambda n, rank, world: range(n)[rank::world]),
    Mistake(
        "nobody has",
        caught_by="",
        eval_indices=lambda n, rank, world: [i * world + rank for i in range(n // world)],
    ),
]
