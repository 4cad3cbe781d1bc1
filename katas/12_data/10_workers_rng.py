"""Random numbers in worker processes

`DataLoader(dataset, num_workers=2)` starts two *processes*. Each gets a copy of the dataset and computes samples with
it. What a worker writes into its copy, `self.seen.append(i)`, the parent never sees. Every epoch starts new workers,
from a new copy of the dataset as the parent has it (unless you ask for `persistent_workers=True`).

A random generator that the dataset holds, `self.rng = np.random.default_rng(0)`, is copied with it. So both workers
draw the same numbers, and each epoch draws them again: the noise in your data repeats, and the net may learn it by
heart. Nothing warns. This was found in many published projects.

The *global* generators don't have this fault. Before a worker begins, PyTorch seeds `torch`, `random` and (since 1.9)
`np.random` in it, from the worker's number and a base seed, which the loader draws anew for each epoch from its
`generator=`. So draw from those, or seed your own generator in the same way. In a worker, `get_worker_info()` of
`torch.utils.data` has `.id`, `.seed` (base seed + id) and `.dataset` (the worker's copy); outside of workers it is
None. `worker_init_fn=f` makes each worker call f(worker_id) once before its first sample; with `num_workers=0` nobody
calls it. A seed made of worker_id alone repeats in every epoch. NumPy's global seed has 32 bits: `seed % 2**32`.

What is asked here: a dataset of noise, and the function that prepares a worker for it (which may have nothing to do).

About 25 minutes. Before it: own_your_randomness, loader_rng.

https://docs.pytorch.org/docs/stable/data.html#randomness-in-multi-process-data-loading
"""

import os
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dojo import under_test
from dojo.kit import explain, workers


class Noisy(Dataset):
    """`n` samples of noise, for use with worker processes and without.

    In one pass of a DataLoader, with workers or without, no two samples are the same number. With workers, the next
    epoch brings other numbers, and the seed of the loader's `generator=` decides on all of them: the same seed brings
    the same numbers, another seed others.
    """

    def __init__(self, n: int) -> None:
        raise NotImplementedError("keep what you need")

    def __len__(self) -> int:
        raise NotImplementedError("return n")

    def __getitem__(self, i: int) -> float:
        """A random number in [0, 1), whatever `i` is: a float, or a tensor without dimensions, as `torch.rand(())`."""
        raise NotImplementedError("draw a number")


def init_worker(worker_id: int) -> None:
    """Prepare this worker for `Noisy`: a DataLoader gets it as `worker_init_fn`. It may do nothing.

    Called in each worker before its first sample, with the number of the worker: 0, 1, ...
    """
    raise NotImplementedError("seed what has to be seeded, or do nothing")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "timed out after": "a worker gave nothing for 20 seconds: an endless loop in the dataset?",
    r"Seed must be between 0 and 2\*\*32": "np.random.seed takes 32 bits, and a worker's seed has more: seed % 2**32",
    r"'NoneType' object has no attribute '(id|seed|dataset|num_workers)'": "get_worker_info() is None outside of "
    "workers",
}
_ALONE = {
    **_SIGNS,
    "object has no attribute": "something is missing in the dataset where no worker is: with num_workers=0 nobody "
    "calls init_worker",
}


def _noisy(n: int) -> Any:
    __tracebackhide__ = True
    with explain(f"Noisy({n}) raised", _ALONE):
        dataset = Noisy(n)
        length = len(dataset)
    assert length == n, f"len(Noisy({n})) is {length}"
    return dataset


def _loader(count: int, seed: int, dataset: Any, collate: Any = None) -> DataLoader[Any]:
    """batch_size=None: one sample at a time, and no batches. Sample i comes from worker i % count, in order."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        dataset,
        batch_size=None,
        worker_init_fn=init_worker,
        generator=generator,
        collate_fn=collate,
        **workers(count),
    )


def _epoch(loader: DataLoader[Any], what: str) -> list[Any]:
    """All that the loader gives in one pass."""
    __tracebackhide__ = True
    with explain(f"{what} raised", _SIGNS if loader.num_workers else _ALONE):
        try:
            got = list(loader)
        except NotImplementedError:  # in a worker; a stub says here, too, that it is still to do
            loader.dataset[0]
            init_worker(0)
            raise
    return got


def _numbers(samples: list[Any], n: int) -> list[float]:
    __tracebackhide__ = True
    assert len(samples) == n, f"the loader gave {len(samples)} samples of Noisy({n})"
    assert np.ndim(samples[0]) == 0, f"a sample is a number without dimensions, here it was {samples[0]!r}"
    with explain(f"a sample is a number, here it was {samples[0]!r}"):
        numbers = [float(sample) for sample in samples]
    outside = [number for number in numbers if not 0 <= number < 1]
    assert not outside, f"a sample was {outside[:1]}: expected numbers from 0 on and below 1"
    return numbers


def _draws(count: int, seed: int, epochs: int = 1) -> list[list[float]]:
    """The samples of Noisy(8) in each epoch."""
    __tracebackhide__ = True
    loader = _loader(count, seed, _noisy(8))
    return [_numbers(_epoch(loader, f"a pass with {count} workers"), 8) for _ in range(epochs)]


@pytest.mark.timeout(60)
@pytest.mark.myth(
    says="num_workers is the number of CPU threads that load data.",
    today="They are processes, each with a copy of the dataset: what one of them changes, the parent never sees.",
)
def test_workers_are_processes_and_each_draws_numbers_of_its_own():
    seen = []

    def note(sample: Any) -> tuple[int, Any]:
        seen.append(sample)  # in the worker: its own copy of the list
        return os.getpid(), sample

    pairs = _epoch(_loader(2, 3, _noisy(8), note), "a pass with 2 workers")
    assert seen == [], "the parent's list stays empty, for a worker appends to a copy of it"
    processes = [process for process, _ in pairs]
    assert len({*processes, os.getpid()}) == 3, "two workers are two processes, and neither is the parent"
    numbers = _numbers([sample for _, sample in pairs], 8)
    first, second = numbers[0::2], numbers[1::2]
    for worker, drawn in enumerate((first, second)):
        assert len(set(drawn)) == 4, f"worker {worker} repeats itself, 4 samples were {drawn}"
    assert first != second, f"both workers drew {first}: they began with generators in the same state"
    assert len(set(numbers)) == 8, f"8 samples from 2 workers, and only {len(set(numbers))} different ones: {numbers}"


class _TwoGenerators(Dataset):
    """Each sample: a number from the global np.random, and one from a generator that the dataset holds."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> tuple[float, float]:
        return np.random.random(), self.rng.random()


@pytest.mark.timeout(60)
@pytest.mark.myth(
    says="NumPy's random numbers repeat in every worker, so call np.random.seed in worker_init_fn.",
    today="Since 1.9 PyTorch does that, anew for each epoch; the old recipe with np.random.get_state()[1][0] now makes "
    "all epochs the same. A generator that you hold is yours to seed.",
)
def test_every_epoch_and_every_seed_of_the_loader_bring_new_numbers():
    (first, second), (other,) = _draws(2, 3, epochs=2), _draws(2, 4)
    again = sorted(set(first) & set(second))
    assert first != second, (
        f"two epochs gave the same numbers, {first}. Expected other ones: for each epoch, PyTorch seeds the global "
        "generators of every worker anew, and get_worker_info().seed is another"
    )
    assert not again, f"{len(again)} of 8 numbers of the first epoch came again in the second, such as {again[0]}"
    assert first != other, f"loaders with the seeds 3 and 4 gave the same numbers, {first}"
    again = sorted(set(first) & set(other))
    assert not again, f"loaders with the seeds 3 and 4 have {len(again)} of 8 numbers in common, such as {again[0]}"
    two = DataLoader(_TwoGenerators(), batch_size=None, **workers(2))
    fresh, held = (len({float(sample[part]) for sample in samples}) for samples in [[*two, *two]] for part in (0, 1))
    assert (fresh, held) == (8, 2), (
        f"2 epochs of 2 samples a worker: {fresh} different numbers of the global np.random, expected 8, and {held} of "
        "a generator that the dataset holds, expected 2, for each worker begins with a copy of it, in each epoch"
    )


@pytest.mark.timeout(60)
def test_the_seed_of_the_loader_decides_on_the_numbers_of_its_workers():
    runs = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        np.random.seed(elsewhere)
        random.seed(elsewhere)
        runs.append(_draws(2, 5)[0])
    once, again = runs
    assert once == again, (
        f"two loaders with seed 5, and the numbers were {once[:2]} ... and {again[:2]} ..., expected the same: "
        "something else than the loader's seed is in them"
    )


def test_without_workers_nobody_calls_worker_init_fn():
    torch.manual_seed(6)
    numbers = _draws(0, 6)[0]
    assert len(set(numbers)) == 8, f"8 samples without workers, and only {len(set(numbers))} different ones: {numbers}"
    dataset = _noisy(300)
    with explain("Noisy(300)[i] raised", _ALONE):
        samples = [dataset[i] for i in range(300)]
    _numbers(samples, 300)
