"""Validation must not change training

You run the same training twice, with the same seed. The second time you also look at the validation loss after each
epoch, and the training comes out differently: other batches, other dropout. Validation has no random part. What did it?

`iter(loader)` did, and so does each `for batch in loader`. At each start of a pass, a DataLoader draws a number, the
base seed of its workers: without `shuffle`, and without any worker too. It draws from its `generator=`; where you gave
none, from torch's global random numbers. These feed dropout and everything else, so one more pass moves all of them.

`shuffle=True` draws the order of the epoch from the same place. So a loader needs a `torch.Generator` that is seeded by
you, and each loader needs one of its own: if two share one, a pass over the first again moves the second. And it must
not be seeded anew before each epoch, or all epochs have the same order.

`drop_last=True` leaves out a last batch that is too short. That is for training, where such a batch makes a noisy step;
which samples are left out changes with the order. In validation, every sample counts.

What is asked here: the two loaders of a training, which don't disturb each other, nor anybody else.

About 20 minutes. Before it: own_your_randomness, batches_and_leftovers, split_then_transform.

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
"""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dojo import under_test
from dojo.kit import explain


def make_loaders(train: Dataset, val: Dataset, batch_size: int, seed: int) -> tuple[DataLoader, DataLoader]:
    """The loaders of both datasets, as (train loader, val loader), with batches of `batch_size`.

    The train loader gives each epoch in a new random order of all samples, so that each time the batches are put
    together in another way; a last batch that is too short is left out. `seed` alone decides the sequence of these
    orders: loaders made anew with the same seed give it again, another seed gives others, and no pass over the val
    loader (a whole one, or one that is broken off) changes it.

    The val loader gives all samples in their order. Neither to make the loaders nor to iterate over them moves the
    global random numbers (of torch, numpy and `random`).
    """
    raise NotImplementedError("make two loaders, each with its own randomness")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "mutually exclusive": "a sampler decides the order, so shuffle= (or batch_size, drop_last) cannot go with it",
    "generator=int|Expected a .* generator": "generator= wants a torch.Generator, not a number",
}


def _numbers(start, end):
    """A dataset that holds these numbers."""
    return TensorDataset(torch.arange(start, end))


def _loaders(n_train=12, n_val=10, batch_size=4, seed=3) -> Any:
    __tracebackhide__ = True
    with explain(f"make_loaders(train, val, {batch_size}, {seed}) raised", _SIGNS):
        loaders = make_loaders(_numbers(0, n_train), _numbers(100, 100 + n_val), batch_size, seed)
    assert isinstance(loaders, tuple | list), f"make_loaders returns two loaders, here {type(loaders).__name__}"
    assert len(loaders) == 2, f"make_loaders returns two loaders, here {len(loaders)} things"
    return loaders


def _batches(loader) -> list[list[int]]:
    """One pass over a loader: the numbers in each batch."""
    __tracebackhide__ = True
    with explain("a pass over the loader raised", _SIGNS):
        return [batch[0].tolist() for batch in loader]


def _epoch(loader) -> list[int]:
    __tracebackhide__ = True
    return [number for batch in _batches(loader) for number in batch]


def _draws():
    return {"torch": torch.rand(3).tolist(), "numpy": np.random.rand(3).tolist(), "random": random.random()}


def _seed_the_world(seed):
    """And draw some: who sets the seed again later has not set the state again."""
    torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
    _draws()


def test_each_epoch_has_an_order_of_its_own():
    for n, batch_size in ((12, 4), (9, 3), (40, 40)):
        train, _ = _loaders(n, 10, batch_size)
        in_batches = [_batches(train) for _ in range(3)]
        epochs = [[number for batch in batches for number in batch] for batches in in_batches]
        for order in epochs:
            once = sorted(order) == list(range(n))
            assert once, f"an epoch over 0 to {n - 1} gave {order}: each comes once"
            turned = sum(b == (a + 1) % n for a, b in itertools.pairwise(order)) == n - 1
            assert not turned or order[0] == 0, f"an epoch came as {order}, the order of the file from {order[0]} on"
        assert list(range(n)) not in epochs, f"an epoch came in the order of the file: {epochs}"
        alike = epochs[0] == epochs[1] == epochs[2]
        assert not alike, f"three epochs came in the same order, {epochs[0]}: shuffle anew for each one"
        groups = {frozenset(map(frozenset, batches)) for batches in in_batches}
        together = n > batch_size and len(groups) == 1
        assert not together, f"in three epochs the same samples shared a batch, {in_batches[0]}: mix all samples anew"
        different = len({tuple(order) for order in epochs})
        assert different == 3, f"three epochs came in {different} different orders: shuffle anew for each one"


def test_the_seed_alone_decides_the_orders():
    _seed_the_world(1)
    first, second = _loaders(seed=3)[0], _loaders(seed=3)[0]  # two at a time
    orders = [_epoch(first) for _ in range(3)]
    _seed_the_world(2)
    again = [_epoch(second) for _ in range(3)]
    assert orders == again, (
        f"two loaders with the same seed gave {orders[0]} and {again[0]} in the first epoch: the order has to come "
        "from a generator of the loader's own, seeded with seed"
    )
    third = _loaders(seed=3)[0]
    assert orders == [_epoch(third) for _ in range(3)], "a loader that was made later with the same seed gave others"
    for seed in (0, 4):
        other = _loaders(seed=seed)[0]
        others = [_epoch(other) for _ in range(3)]
        assert orders != others, f"the seeds 3 and {seed} gave the same orders: seed has to reach the generator"
    zeros = [_epoch(_loaders(seed=0)[0]) for _ in range(2)]
    assert zeros[0] == zeros[1], "0 is a seed too: two loaders with seed 0 gave different orders"


@pytest.mark.parametrize("whole", [True, False], ids=["a whole pass", "one batch of it"])
def test_a_validation_pass_changes_no_training_order(whole):
    train, _ = _loaders()
    want = [_epoch(train) for _ in range(4)]
    train, val = _loaders()
    got = [_epoch(train)]
    for _ in range(3):
        with explain("a pass over the val loader raised", _SIGNS):
            for _ in val:
                if not whole:
                    break
        got.append(_epoch(train))
    one = getattr(train, "generator", None)
    shared = one is not None and one is getattr(val, "generator", None)
    why = ": both loaders draw from the same generator" if shared else ""
    assert got == want, (
        f"running validation changed the training order: epoch 2 was {want[1]}, and after a validation {got[1]}{why}"
    )


@pytest.mark.myth(
    says="A loader without shuffle and without workers draws no random numbers.",
    today="Each iter() draws a base seed, from generator= or from the global random numbers.",
)
def test_no_loader_moves_the_global_random_numbers():
    for loader in _loaders():  # what is imported for it, is imported here
        _epoch(loader)
    _seed_the_world(11)
    want = _draws()
    _seed_the_world(11)
    train, val = _loaders()
    for library, drawn in _draws().items():
        said = f"make_loaders moved or seeded the global random numbers of {library}"
        assert drawn == want[library], said
    for loader, name in ((train, "train"), (val, "val")):
        base = ", which has no shuffle: it draws a base seed at each iter()" if name == "val" else ""
        for _ in range(2):
            _seed_the_world(11)
            _epoch(loader)
            for library, drawn in _draws().items():
                said = f"a pass over the {name} loader moved the global random numbers of {library}{base}"
                assert drawn == want[library], said
        steps = len(_batches(loader))
        _seed_the_world(11)
        alone = [_draws() for _ in range(steps + 1)]
        _seed_the_world(11)
        with explain("a pass over the loader raised", _SIGNS):
            inside = [_draws() for _ in loader]
        again = [*inside, _draws()] == alone
        assert again, f"numbers drawn between the batches of the {name} loader, and after it, are not those without it"


def test_only_training_is_shuffled_and_cut():
    for n_val, batch_size in ((10, 4), (3, 4), (8, 4), (7, 3)):
        _, val = _loaders(20, n_val, batch_size)
        numbers = list(range(100, 100 + n_val))
        want = [numbers[i : i + batch_size] for i in range(0, n_val, batch_size)]
        for _ in range(2):
            got = _batches(val)
            flat = [number for batch in got for number in batch]
            whole = flat == numbers[: len(flat)] and len(flat) < n_val
            assert not whole, f"validation saw {len(flat)} of {n_val} samples: its short last batch was dropped"
            assert sorted(flat) == numbers, f"validation over 100 to {99 + n_val} saw {flat}"
            assert flat == numbers, f"validation came shuffled: {flat}"
            assert got == want, f"batches of {batch_size} were asked for, and validation came in {got}"
    train, _ = _loaders(10, 10, 4)
    seen = set()
    for _ in range(30):
        got = _batches(train)
        sizes = [len(batch) for batch in got]
        assert sizes != [4, 4, 2], "10 samples in batches of 4: training got the short last batch of 2, leave it out"
        assert sizes == [4, 4], f"10 samples in batches of 4: training got batches of {sizes}, expected two of 4"
        numbers = {number for batch in got for number in batch}
        assert len(numbers) == 8, f"an epoch of 8 samples holds each at most once, here {got}"
        seen |= numbers
    never = sorted(set(range(10)) - seen)
    assert not never, f"in 30 epochs training never saw {never}: what is left out has to change with the order"
