"""One permutation, cut into equal parts

Where several ranks train together (ddp_averages), each one needs the indices of its own samples: shuffled, and in each
epoch other ones. The ranks need not send anything for it. All of them draw the *same* permutation (all indices, each
once, in a random order), from a generator with the same seed, and each takes every world-th index of it, starting at
its own rank: order[rank::world]. If they draw different ones, by seed + rank or by the global random numbers, the parts
overlap: some samples are seen twice, others never.

Ten samples cannot be cut into three equal parts. In training each rank must make as many steps as the others, which
wait for it. So some indices are put at the end of the permutation once more: 4 for each rank, and two of the ten occur
twice.

`torch.utils.data.DistributedSampler(dataset, num_replicas=world, rank=rank, seed=seed)` does this. Iterate over it to
get the indices; of the dataset it asks only len(), so range(n) will do. But its seed is seed + epoch, and the epoch
stays 0 until you say `sampler.set_epoch(epoch)`. If you forget it, every epoch has the same order, without any error.
By hand: `torch.randperm(n, generator=g)`, where `g = torch.Generator()` got its seed from `g.manual_seed(...)`.

In an evaluation nothing may be filled up: a sample that occurs twice counts twice. There parts may be unequal, as
all_reduce_accuracy adds up whatever each rank has counted.

What is asked here: the indices of one rank, for training and for evaluation. There is no group in this kata.

About 20 minutes. Before it: own_your_randomness, all_reduce_accuracy.

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.distributed.DistributedSampler
"""

import random
from itertools import combinations, pairwise
from unittest import mock

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import explain, unchanged


def rank_indices(n: int, rank: int, world: int, epoch: int, seed: int = 0) -> list[int]:
    """The indices, out of 0 to n - 1, that `rank` of `world` ranks trains on in this epoch: a list of ints.

    All n are shuffled anew for each epoch (0, 1, 2, ...), and then cut into one part per rank. Each part has n / world
    indices, rounded up, and together they hold every index. Where world divides n, each occurs once; otherwise some
    occur again. n may be below `world`, not below its half. Another seed gives another order; the same arguments
    always give the same one, in each process.
    The global random numbers (of torch, NumPy and Python) have no influence, and are left as they are.
    """
    raise NotImplementedError("shuffle all indices as every rank does, and take this rank's part")


def eval_indices(n: int, rank: int, world: int) -> list[int]:
    """The indices, out of 0 to n - 1, that `rank` of `world` ranks evaluates: a list of ints, in any order.

    The work is shared out; over all ranks, each index occurs once, also where world does not divide n. n is `world` or
    more.
    """
    raise NotImplementedError("share out the indices, each of them once")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "[Pp]rocess group": "there is no group here: the arguments say which rank of how many this is",
    "object is not iterable|has no len": "something is taken for a dataset or a list that is none; `range(n)` is one",
}


def _list_of_ints(part, says):
    __tracebackhide__ = True
    assert isinstance(part, list), f"{says} is a {type(part).__name__}, expected a list"
    odd = next((i for i in part if isinstance(i, bool) or not isinstance(i, int | np.integer)), None)
    assert odd is None, f"{says} is a list in which a {type(odd).__name__} stands, expected ints"
    return [int(i) for i in part]


def _hash_of_another_process(value, hash_here=hash):
    """What hash(value) may be in another process: Python hashes text anew in each one, and numbers alike."""
    values = value if isinstance(value, tuple) else (value,)
    return hash_here((value, "elsewhere") if any(isinstance(v, str | bytes) for v in values) else value)


def _parts(n, world, epoch, **seed):
    """What each rank trains on, by rank."""
    __tracebackhide__ = True
    parts = []
    for rank in range(world):
        call = f"rank_indices({', '.join(map(str, (n, rank, world, epoch, *(f'seed={s}' for s in seed.values()))))})"
        with explain(f"{call} raised", _SIGNS):
            part = rank_indices(n, rank, world, epoch, **seed)
        parts.append(_list_of_ints(part, call))
    return parts


@pytest.mark.parametrize(
    ("n", "world"), [(10, 2), (12, 3), (1000, 4)], ids=["ten over two", "twelve over three", "many"]
)
def test_every_rank_cuts_the_same_permutation(n, world):
    parts = _parts(n, world, 1)
    for rank, part in enumerate(parts):
        assert len(part) == n // world, f"{n} over {world}: rank {rank} has {len(part)} indices, expected {n // world}"
        assert len(set(part)) == len(part), f"{n} over {world}: rank {rank} has one index more than once: {part[:10]}"
    missing = sorted(set(range(n)) - set().union(*parts))
    for i, j in combinations(range(world), 2):
        both = len(set(parts[i]) & set(parts[j]))
        assert not both, (
            f"{n} over {world}: ranks {i} and {j} share {both} indices, and {len(missing)} are with nobody: the ranks "
            "cut different permutations. All have to draw the same one"
        )
    assert not missing, f"{n} over {world}: nobody has {missing[:5]}, and others are no index of {n} samples"
    if n == 1000:
        for rank, part in enumerate(parts):
            steps = [b - a for a, b in pairwise(part)]
            falls = sum(step < 0 for step in steps)
            shuffled = len(set(steps)) > 10 and 50 < falls < 200  # of 249, half of them where the order is random
            assert shuffled, f"{n} over {world}: rank {rank} has {part[:5]}...: that is not shuffled"


@pytest.mark.parametrize(("n", "world"), [(10, 3), (7, 4), (2, 3), (10, 1)], ids=["ten", "seven", "two", "one rank"])
def test_parts_are_filled_up_to_equal_length(n, world):
    parts, want = _parts(n, world, 2, seed=5), -(-n // world)
    for rank, part in enumerate(parts):
        short = f"{n} over {world}: rank {rank} has {len(part)} indices, expected {want}"
        assert len(part) >= want, f"{short}. It makes fewer steps than others, or samples are left out"
        assert len(part) <= want, short
    missing = sorted(set(range(n)) - set().union(*parts))
    assert not missing, f"{n} over {world}, {want} each: nobody has {missing}, and every index should occur"
    assert set().union(*parts) == set(range(n)), f"{n} over {world}: {parts} holds what is no index of {n} samples"


@pytest.mark.myth(
    says="DistributedSampler(shuffle=True) shuffles anew in each epoch, as a DataLoader does.",
    today="It repeats one order for ever: the epoch is a part of its seed only after sampler.set_epoch(epoch).",
)
def test_each_epoch_has_a_permutation_of_its_own():
    for seed in ({}, {"seed": 7}):
        first = {epoch: _parts(100, 2, epoch, **seed)[0] for epoch in (0, 1, 2, 10)}
        for a, b in combinations(first, 2):
            again = f"rank 0 has the same indices in epoch {a} and epoch {b}"
            assert first[a] != first[b], f"{again}, with seed={seed.get('seed', 0)}: {first[a][:5]}..."
            assert set(first[a]) != set(first[b]), (
                f"in epochs {a} and {b} rank 0 has the same samples, in another order: shuffle all of them, then cut"
            )
    for epoch in (0, 3):
        seeds = {seed: _parts(100, 2, epoch, seed=seed)[0] for seed in (0, 7, 12)}
        for a, b in combinations(seeds, 2):
            assert seeds[a] != seeds[b], f"in epoch {epoch}, seed={a} and seed={b} give the same indices"
        assert _parts(100, 2, epoch)[0] == seeds[0], f"in epoch {epoch}, without a seed it is not what seed=0 gives"


def test_the_global_random_numbers_have_no_part_in_it():
    found = []
    for state in (1, 2):
        torch.manual_seed(state), np.random.seed(state), random.seed(state)
        with unchanged("rank_indices drew or seeded the global random numbers: take a generator of its own", rng=True):
            found.append([*_parts(50, 2, 4, seed=9), *_parts(50, 2, 5, seed=9)])
        ours, theirs = (random.random(), np.random.random()), random.Random(state).random()
        assert ours == (theirs, np.random.RandomState(state).random()), (
            "rank_indices drew or seeded the global random numbers of Python or NumPy: take a generator of its own"
        )
    assert found[0] == found[1], (
        "the same arguments gave other indices once the global random numbers stood elsewhere: ranks are processes, "
        "and theirs do not stand at the same place"
    )
    with mock.patch("builtins.hash", _hash_of_another_process):
        elsewhere = [*_parts(50, 2, 4, seed=9), *_parts(50, 2, 5, seed=9)]
    assert found[0] == elsewhere, (
        "in another process the same arguments give other indices: there hash() of text is another number"
    )


@pytest.mark.myth(
    says="The test loader gets a DistributedSampler too, with shuffle=False.",
    today="It fills up by repeating samples, and these count twice in the result; cut without filling up.",
)
@pytest.mark.parametrize(
    ("n", "world"), [(10, 3), (10, 2), (7, 4), (5, 1)], ids=["ten over three", "ten over two", "seven", "one rank"]
)
def test_an_evaluation_counts_each_sample_once(n, world):
    parts = []
    for rank in range(world):
        with explain(f"eval_indices({n}, {rank}, {world}) raised", _SIGNS):
            part = eval_indices(n, rank, world)
        parts.append(_list_of_ints(part, f"eval_indices({n}, {rank}, {world})"))
    together = sorted(i for part in parts for i in part)
    twice = sorted({i for i in together if together.count(i) > 1})
    assert not twice, f"evaluating {n} over {world}, {parts}: some samples count more than once, {twice}"
    missing = sorted(set(range(n)) - set(together))
    assert not missing, f"evaluating {n} over {world}, {parts}: nobody has {missing}"
    assert together == list(range(n)), f"evaluating {n} over {world}, {parts}: not every index is one of {n} samples"
    assert world == 1 or max(map(len, parts)) < n, f"evaluating {n} over {world}, {parts}: one rank does all the work"
