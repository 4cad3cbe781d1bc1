"""One permutation, cut into equal parts: reference.

Hint: What must be equal on all ranks so that their parts fit together, and what must differ between two epochs?
Hint: `DistributedSampler` with num_replicas and rank, then set_epoch; for the evaluation a range with a step.
Hint: The sampler, over range(n), is told the epoch and turned into a list; the evaluation starts at rank, in steps of
world.

Why: A permutation that hangs only on seed and epoch is the same on every rank, so parts fit together without a word
over the network. Cutting with a step instead of in blocks keeps the parts equal wherever the filling up begins. The
evaluation leaves out the filling up: its ranks meet only once, at the end, in one collective over their counts.
"""

import random

import numpy as np
import torch
from torch.utils.data import DistributedSampler

from dojo import Mistake


def rank_indices(n: int, rank: int, world: int, epoch: int, seed: int = 0) -> list[int]:
    sampler = DistributedSampler(range(n), num_replicas=world, rank=rank, seed=seed)  # type: ignore[arg-type, var-annotated]
    sampler.set_epoch(epoch)
    return list(sampler)


def eval_indices(n: int, rank: int, world: int) -> list[int]:
    return list(range(rank, n, world))


def _cut(permutation, rank, world):
    """The part of `rank`, filled up."""
    indices = list(permutation)
    indices = (indices * world)[: len(indices) + -len(indices) % world]
    return indices[rank::world]


def _drawn(seed):
    """rank_indices, with the permutation from a torch generator whose seed is seed(rank, epoch, seed)."""

    def wrong(n, rank, world, epoch, seed_=0):
        g = torch.Generator().manual_seed(seed(rank, epoch, seed_))
        return _cut(torch.randperm(n, generator=g).tolist(), rank, world)

    return lambda n, rank, world, epoch, seed=0: wrong(n, rank, world, epoch, seed)


def _from(permutation):
    """rank_indices, with the permutation that permutation(n, epoch, seed) gives."""
    return lambda n, rank, world, epoch, seed=0: _cut(permutation(n, epoch, seed), rank, world)


def _right(n, epoch, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def _no_set_epoch(n, rank, world, epoch, seed=0):
    return list(DistributedSampler(range(n), num_replicas=world, rank=rank, seed=seed))


def _drop_last(n, rank, world, epoch, seed=0):
    sampler = DistributedSampler(range(n), num_replicas=world, rank=rank, seed=seed, drop_last=True)
    sampler.set_epoch(epoch)
    return list(sampler)


def _in_order(n, rank, world, epoch, seed=0):
    return list(DistributedSampler(range(n), num_replicas=world, rank=rank, seed=seed, shuffle=False))


def _begins_elsewhere(n, rank, world, epoch, seed=0):
    size = -(-n // world)
    order = np.resize(np.roll(np.arange(n), 37 * epoch + 17 * seed), size * world).tolist()
    return order[rank * size : (rank + 1) * size]


def _of_the_group(n, rank, world, epoch, seed=0):
    sampler = DistributedSampler(range(n), seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def _of_a_number(n, rank, world, epoch, seed=0):
    sampler = DistributedSampler(n, num_replicas=world, rank=rank, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def _shuffle_the_part(n, rank, world, epoch, seed=0):
    indices = _cut(range(n), rank, world)
    random.Random(f"{seed} {epoch}").shuffle(indices)
    return indices


def _with_replacement(n, rank, world, epoch, seed=0):
    g = torch.Generator().manual_seed(seed * 1000 + epoch)
    return torch.randint(n, (-(-n // world) * world,), generator=g).tolist()[rank::world]


def _seeded_numpy(n, epoch, seed):
    np.random.seed(seed + epoch)
    return np.random.permutation(n).tolist()


def _seeded_python(n, epoch, seed):
    random.seed(seed + epoch)
    indices = list(range(n))
    random.shuffle(indices)
    return indices


def _seeded_torch(n, epoch, seed):
    torch.manual_seed(seed + epoch)
    return torch.randperm(n).tolist()


def _offset_of_the_global(n, epoch, seed):
    return _right(n, epoch, seed + torch.initial_seed())


def _tensors(n, rank, world, epoch, seed=0):
    return _cut(torch.tensor(_right(n, epoch, seed)), rank, world)


def _a_tensor(n, rank, world, epoch, seed=0):
    return torch.tensor(rank_indices(n, rank, world, epoch, seed))


def _unequal(n, rank, world, epoch, seed=0):
    return _right(n, epoch, seed)[rank::world]


def _blocks(n, rank, world, epoch, seed=0):
    size = -(-n // world)
    return _right(n, epoch, seed)[rank * size : (rank + 1) * size]


def _small_blocks(n, rank, world, epoch, seed=0):
    size = n // world
    return _right(n, epoch, seed)[rank * size : (rank + 1) * size]


def _one_more(n, rank, world, epoch, seed=0):
    indices = _right(n, epoch, seed)
    indices += indices[: world - n % world]
    return indices[rank::world]


def _filled_with_n(n, rank, world, epoch, seed=0):
    indices = _right(n, epoch, seed)
    indices += [n] * (-n % world)
    return indices[rank::world]


def _from_one(n, rank, world, epoch, seed=0):
    return [i + 1 for i in rank_indices(n, rank, world, epoch, seed)]


def _all_of_them(n, rank, world, epoch, seed=0):
    return _right(n, epoch, seed)


def _another_default(n, rank, world, epoch, seed=42):
    return rank_indices(n, rank, world, epoch, seed)


def _sorted_part(n, rank, world, epoch, seed=0):
    return sorted(rank_indices(n, rank, world, epoch, seed))


def _seed_of_text(n, epoch, seed):
    indices = list(range(n))
    random.Random(hash(f"seed {seed}, epoch {epoch}")).shuffle(indices)
    return indices


def _padded(n, rank, world):
    return list(DistributedSampler(range(n), num_replicas=world, rank=rank, shuffle=False))


_CUT = "test_every_rank_cuts_the_same_permutation"
_FILLED = "test_parts_are_filled_up_to_equal_length"
_EPOCH = "test_each_epoch_has_a_permutation_of_its_own"
_GLOBAL = "test_the_global_random_numbers_have_no_part_in_it"
_ONCE = "test_an_evaluation_counts_each_sample_once"

_DREW = "drew or seeded the global random numbers"

MISTAKES = [
    Mistake("rank 0 has the same indices in epoch 0 and epoch 1", caught_by=_EPOCH, rank_indices=_no_set_epoch),
    Mistake("the ranks cut different permutations", caught_by=_CUT, rank_indices=_drawn(lambda r, e, s: s + e + r)),
    Mistake(
        "the ranks cut different permutations",
        caught_by=_CUT,
        rank_indices=_from(lambda n, e, s: torch.randperm(n).tolist()),
    ),
    Mistake(
        "the ranks cut different permutations",
        caught_by=_CUT,
        rank_indices=_from(lambda n, e, s: random.sample(range(n), n)),
    ),
    Mistake("has one index more than once", caught_by=_CUT, rank_indices=_with_replacement),
    Mistake("that is not shuffled", caught_by=_CUT, rank_indices=_in_order),
    Mistake("that is not shuffled", caught_by=_CUT, rank_indices=_begins_elsewhere),
    Mistake("that is not shuffled", caught_by=_CUT, rank_indices=_sorted_part),
    Mistake("expected 5", caught_by=_CUT, rank_indices=_all_of_them),
    Mistake("others are no index of", caught_by=_CUT, rank_indices=_from_one),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by=_FILLED, rank_indices=_drop_last),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by=_FILLED, rank_indices=_unequal),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by=_FILLED, rank_indices=_blocks),
    Mistake("It makes fewer steps than others, or samples are left out", caught_by=_FILLED, rank_indices=_small_blocks),
    Mistake("there hash() of text is another number", caught_by=_GLOBAL, rank_indices=_from(_seed_of_text)),
    Mistake("holds what is no index of", caught_by=_FILLED, rank_indices=_filled_with_n),
    Mistake("indices, expected 5", caught_by=_CUT, rank_indices=_one_more),
    Mistake("the same samples, in another order", caught_by=_EPOCH, rank_indices=_shuffle_the_part),
    Mistake(
        "rank 0 has the same indices in epoch 0 and epoch 1",
        caught_by=_EPOCH,
        rank_indices=_drawn(lambda r, e, s: s * e),
    ),
    Mistake("in epoch 0 and epoch 1, with seed=7", caught_by=_EPOCH, rank_indices=_drawn(lambda r, e, s: s or e)),
    Mistake("give the same indices", caught_by=_EPOCH, rank_indices=_drawn(lambda r, e, s: e)),
    Mistake("give the same indices", caught_by=_EPOCH, rank_indices=_drawn(lambda r, e, s: (s + 1) * e)),
    Mistake("it is not what seed=0 gives", caught_by=_EPOCH, rank_indices=_another_default),
    Mistake(_DREW, caught_by=_GLOBAL, rank_indices=_from(_seeded_torch)),
    Mistake(_DREW, caught_by=_GLOBAL, rank_indices=_from(_seeded_numpy)),
    Mistake(_DREW, caught_by=_GLOBAL, rank_indices=_from(_seeded_python)),
    Mistake("theirs do not stand at the same place", caught_by=_GLOBAL, rank_indices=_from(_offset_of_the_global)),
    Mistake("in which a Tensor stands", caught_by=_CUT, rank_indices=_tensors),
    Mistake("is a Tensor, expected a list", caught_by=_CUT, rank_indices=_a_tensor),
    Mistake(
        "is a DistributedSampler, expected a list",
        caught_by=_CUT,
        rank_indices=lambda n, r, w, e, seed=0: DistributedSampler(range(n), num_replicas=w, rank=r, seed=seed),
    ),
    Mistake("the arguments say which rank", caught_by=_CUT, rank_indices=_of_the_group),
    Mistake("taken for a dataset", caught_by=_CUT, rank_indices=_of_a_number),
    Mistake("some samples count more than once", caught_by=_ONCE, eval_indices=_padded),
    Mistake("some samples count more than once", caught_by=_ONCE, eval_indices=lambda n, rank, world: list(range(n))),
    Mistake(
        "some samples count more than once",
        caught_by=_ONCE,
        eval_indices=lambda n, rank, world: rank_indices(n, rank, world, 0),
    ),
    Mistake(
        "nobody has",
        caught_by=_ONCE,
        eval_indices=lambda n, rank, world: list(range(rank * (n // world), (rank + 1) * (n // world))),
    ),
    Mistake(
        "nobody has",
        caught_by=_ONCE,
        eval_indices=lambda n, rank, world: list(
            DistributedSampler(range(n), num_replicas=world, rank=rank, shuffle=False, drop_last=True)
        ),
    ),
    Mistake(
        "one rank does all the work",
        caught_by=_ONCE,
        eval_indices=lambda n, rank, world: list(range(n)) if rank == 0 else [],
    ),
    Mistake("is a range, expected a list", caught_by=_ONCE, eval_indices=lambda n, rank, world: range(rank, n, world)),
    Mistake(
        "in which a Tensor stands",
        caught_by=_ONCE,
        eval_indices=lambda n, rank, world: list(torch.arange(rank, n, world)),
    ),
]
