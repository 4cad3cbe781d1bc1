"""Random numbers in worker processes: reference.

Hint: Which generators does PyTorch seed in every worker, anew for every epoch? Draw from one of those.
Hint: `torch.rand(())` and `Tensor.item`; or, for a generator that you hold, `get_worker_info()` in init_worker.
Hint: With the global generator nothing is left to prepare, and init_worker may be a bare `pass`.

Why: a worker seeds torch and `random` with base seed + id, and `np.random` with numbers derived from both; the base
seed is one draw from the loader's generator per epoch. So whatever draws from the global generators is different in
each worker and epoch, and repeatable. A generator that an object holds is plain data: a fork copies its state, and no
one knows of it. Libraries that keep one (some augmentation packages do) have to be seeded in `worker_init_fn`, from
`get_worker_info().seed`.
"""

import os
import random
import time

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from dojo import Mistake


class Noisy(Dataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> float:
        return torch.rand(()).item()


def init_worker(worker_id: int) -> None:
    pass


class _Base(Dataset):
    def __init__(self, n):
        self.n = n
        self.start()

    def start(self):
        self.rng = np.random.default_rng(0)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.rng.random()


class _HeldFromTheSystem(_Base):
    def start(self):
        self.rng = np.random.default_rng()


class _HeldTorch(_Base):
    def start(self):
        self.rng = torch.Generator().manual_seed(0)

    def __getitem__(self, i):
        return torch.rand((), generator=self.rng).item()


class _HeldPython(_Base):
    def start(self):
        self.rng = random.Random(7)


_shared = np.random.default_rng(0)


class _OfTheModule(_Base):
    def __getitem__(self, i):
        return _shared.random()


class _Drawn(_Base):
    """All numbers are drawn in the parent."""

    def start(self):
        self.rng = torch.rand(self.n).tolist()

    def __getitem__(self, i):
        return self.rng[i]


class _ByIndex(_Base):
    def __getitem__(self, i):
        return np.random.default_rng(i).random()


class _SystemEachTime(_Base):
    def __getitem__(self, i):
        return np.random.default_rng().random()


class _Clock(_Base):
    def __getitem__(self, i):
        return time.perf_counter_ns() / 17 % 1


class _SeedEachTime(_Base):
    def __getitem__(self, i):
        info = get_worker_info()
        return np.random.default_rng(0 if info is None else info.seed).random()


class _NoCheck(_Base):
    def __getitem__(self, i):
        if not isinstance(self.rng, random.Random):
            self.rng = random.Random(get_worker_info().seed)
        return self.rng.random()


class _OnlyInWorkers(_Base):
    def start(self):
        pass


class _Global(_Base):
    """Draws from torch's, NumPy's and Python's global generators: right, as long as nobody seeds them badly."""

    def __getitem__(self, i):
        return (torch.rand(()).item() + np.random.random() + random.random()) % 1


class _NumPyGlobal(_Base):
    def __getitem__(self, i):
        return np.random.random()


class _Normal(_Base):
    def __getitem__(self, i):
        return torch.randn(()).item()


class _Counts(_Base):
    """From 0 to 255."""

    def __getitem__(self, i):
        return torch.randint(256, ()).item()


class _Batch(_Base):
    def __getitem__(self, i):
        return torch.rand(self.n)


class _OneInAList(_Base):
    def __getitem__(self, i):
        return torch.rand(1)


class _SeedPlusIndex(_Base):
    """Sample 2 of worker 0 has the seed of sample 1 of worker 1."""

    def __getitem__(self, i):
        return torch.rand((), generator=torch.Generator().manual_seed(torch.initial_seed() + i)).item()


class _FirstOfTheCopy(_Base):
    """One draw from the generator that was copied, and only then from the one that the loader seeds."""

    def __getitem__(self, i):
        if i == 0 and self.rng is not None:
            number, self.rng = self.rng.random(), None
            return number
        return random.random()


class _OneTooMany(_Base):
    def __len__(self):
        return self.n + 1

    def __getitem__(self, i):
        return random.random()


def _into_the_dataset(seed):
    def init(worker_id):
        info = get_worker_info()
        info.dataset.rng = np.random.default_rng(seed(info))

    return init


def _seed_all(worker_id):
    random.seed(worker_id)
    np.random.seed(worker_id)
    torch.manual_seed(worker_id)


def _same_for_all(worker_id):
    torch.manual_seed(torch.initial_seed() - worker_id)


def _constant(worker_id):
    torch.manual_seed(42)


def _old_recipe(worker_id):
    """From before 1.9. Today the first word of NumPy's state is the same in every worker and epoch: 2**31."""
    np.random.seed((int(np.random.get_state()[1][0]) + worker_id) % 2**32)


def _sixty_four_bits(worker_id):
    np.random.seed(torch.initial_seed())


def _by_process(worker_id):
    get_worker_info().dataset.rng = np.random.default_rng(os.getpid() * 2 + worker_id)


_OWN = "test_workers_are_processes_and_each_draws_numbers_of_its_own"
_NEW = "test_every_epoch_and_every_seed_of_the_loader_bring_new_numbers"
_SEED = "test_the_seed_of_the_loader_decides_on_the_numbers_of_its_workers"
_ALONE = "test_without_workers_nobody_calls_worker_init_fn"

MISTAKES = [
    Mistake("they began with generators in the same state", caught_by=_OWN, Noisy=_Base),
    Mistake("they began with generators in the same state", caught_by=_OWN, Noisy=_HeldFromTheSystem),
    Mistake("they began with generators in the same state", caught_by=_OWN, Noisy=_HeldTorch),
    Mistake("they began with generators in the same state", caught_by=_OWN, Noisy=_HeldPython),
    Mistake("they began with generators in the same state", caught_by=_OWN, Noisy=_OfTheModule),
    Mistake("they began with generators in the same state", caught_by=_OWN, init_worker=_same_for_all),
    Mistake("they began with generators in the same state", caught_by=_OWN, init_worker=_constant),
    Mistake(
        "they began with generators in the same state",
        caught_by=_OWN,
        Noisy=_Base,
        init_worker=_into_the_dataset(lambda info: info.seed - info.id),
    ),
    Mistake("worker 0 repeats itself", caught_by=_OWN, Noisy=_SeedEachTime),
    Mistake("seed % 2**32", caught_by=_OWN, Noisy=_NumPyGlobal, init_worker=_sixty_four_bits),
    Mistake(
        "two epochs gave the same numbers",
        caught_by=_NEW,
        Noisy=_Base,
        init_worker=_into_the_dataset(lambda info: info.id),
    ),
    Mistake("two epochs gave the same numbers", caught_by=_NEW, Noisy=_Global, init_worker=_seed_all),
    Mistake("two epochs gave the same numbers", caught_by=_NEW, Noisy=_NumPyGlobal, init_worker=_old_recipe),
    Mistake("two epochs gave the same numbers", caught_by=_NEW, Noisy=_Drawn),
    Mistake("two epochs gave the same numbers", caught_by=_NEW, Noisy=_ByIndex),
    Mistake("something else than the loader's seed is in them", caught_by=_SEED, Noisy=_SystemEachTime),
    Mistake("something else than the loader's seed is in them", caught_by=_SEED, Noisy=_Clock),
    Mistake("something else than the loader's seed is in them", caught_by=_SEED, Noisy=_Base, init_worker=_by_process),
    Mistake("get_worker_info() is None outside of workers", caught_by=_ALONE, Noisy=_NoCheck),
    Mistake(
        "with num_workers=0 nobody calls init_worker",
        caught_by=_ALONE,
        Noisy=_OnlyInWorkers,
        init_worker=_into_the_dataset(lambda info: info.seed),
    ),
    Mistake("8 samples without workers", caught_by=_ALONE, Noisy=_SeedEachTime),
    Mistake("expected numbers from 0 on and below 1", caught_by=_ALONE, Noisy=_Normal),
    Mistake("expected numbers from 0 on and below 1", caught_by=_ALONE, Noisy=_Counts),
    Mistake("a sample is a number", caught_by=_ALONE, Noisy=_Batch),
    Mistake("a sample is a number", caught_by=_ALONE, Noisy=_OneInAList),
    Mistake("8 samples from 2 workers, and only", caught_by=_OWN, Noisy=_SeedPlusIndex),
    Mistake("of 8 numbers of the first epoch came again", caught_by=_NEW, Noisy=_FirstOfTheCopy),
    Mistake("len(Noisy(8)) is 9", caught_by=_ALONE, Noisy=_OneTooMany),
]
