"""Answers that people give to workers_rng, right ones and wrong ones."""

import random
import time
import uuid

import numpy as np
import torch
import torch.utils.data
from torch.utils.data import Dataset, get_worker_info

from dojo import Mistake


class _Sized(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n


class _Python(_Sized):
    def __getitem__(self, i):
        return random.random()


class _NumPy(_Sized):
    def __getitem__(self, i):
        return np.random.rand()


class _Tensor(_Sized):
    def __getitem__(self, i):
        return torch.rand(1)[0]


class _Held(_Sized):
    def __init__(self, n):
        super().__init__(n)
        self.rng = np.random.default_rng(0)

    def __getitem__(self, i):
        return float(self.rng.random())


def _seed_the_copy(worker_id):
    info = torch.utils.data.get_worker_info()
    info.dataset.rng = np.random.default_rng(info.seed)


class _Lazy(_Sized):
    """The generator is made where it is first used: in the worker."""

    generator = None

    def __getitem__(self, i):
        if self.generator is None:
            info = get_worker_info()
            self.generator = torch.Generator()
            self.generator.manual_seed(torch.initial_seed() if info is None else info.seed)
        return torch.rand((), generator=self.generator).item()


_rng = np.random.default_rng()


class _OfTheModule(_Sized):
    def __getitem__(self, i):
        return _rng.random()


def _seed_the_module(worker_id):
    global _rng
    _rng = np.random.default_rng([torch.initial_seed() - worker_id, worker_id])


def _old_recipe(worker_id):
    np.random.seed(np.random.get_state()[1][0] + worker_id)


def _documented(worker_id):
    worker_seed = torch.initial_seed() % 2**32
    np.random.seed(worker_seed)
    random.seed(worker_seed)


class _ListOfZeros(torch.utils.data.Dataset):
    def __init__(self, n):
        super().__init__()
        self.data = [0.0] * n

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i] + torch.empty(()).uniform_().item()


class _Plain:
    """No subclass of Dataset: the loader asks for __len__ and __getitem__ only."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.rand([]).item()


class _OfSeedAndIndex(_Sized):
    def __getitem__(self, i):
        return np.random.default_rng([torch.initial_seed(), i]).random()


def _seed_by_a_draw(worker_id):
    seed = torch.randint(2**31, (1,)).item()
    torch.utils.data.get_worker_info().dataset.rng = np.random.default_rng(seed)


class _HeldState(_Sized):
    """A RandomState, as scikit-learn and old code have it."""

    def __init__(self, n, state=None):
        super().__init__(n)
        self.state = state or np.random.RandomState()

    def __getitem__(self, i):
        return torch.tensor(self.state.uniform())


def _seed_the_state(worker_id):
    info = torch.utils.data.get_worker_info()
    info.dataset.state.seed((info.seed + 1) % 2**32)


RIGHT = [
    {"Noisy": _Python, "init_worker": None},
    {"Noisy": _NumPy, "init_worker": None},
    {"Noisy": _NumPy, "init_worker": _documented},
    {"Noisy": _Tensor},
    {"Noisy": _Held, "init_worker": _seed_the_copy},
    {"Noisy": _Lazy},
    {"Noisy": _OfTheModule, "init_worker": _seed_the_module},
    {"Noisy": _ListOfZeros, "init_worker": lambda worker_id: None},
    {"Noisy": _Plain},
    {"Noisy": _OfSeedAndIndex},
    {"Noisy": _Held, "init_worker": _seed_by_a_draw},
    {"Noisy": _HeldState, "init_worker": _seed_the_state},
]


class _HeldTorch(_Sized):
    def __init__(self, n):
        super().__init__(n)
        self.g = torch.Generator()
        self.g.manual_seed(123)

    def __getitem__(self, i):
        return float(torch.rand(1, generator=self.g))


class _RandomState(_Held):
    def __init__(self, n):
        super().__init__(n)
        self.rng = np.random.RandomState(0)


def _only_the_id(worker_id):
    get_worker_info().dataset.rng = np.random.default_rng(1000 + worker_id)


def _python_by_id(worker_id):
    random.seed(worker_id)


def _base_seed(worker_id):
    """The same for all workers."""
    random.seed(get_worker_info().seed - worker_id)


def _entropy(worker_id):
    get_worker_info().dataset.rng = np.random.default_rng()


def _clock(worker_id):
    random.seed(time.time_ns() + worker_id)


def _numpy_wide(worker_id):
    np.random.seed(get_worker_info().seed)


class _Unique(_Sized):
    def __getitem__(self, i):
        return uuid.uuid4().int % 2**52 / 2**52


class _InfoAlways(_Sized):
    rng = None

    def __getitem__(self, i):
        if self.rng is None:
            self.rng = np.random.default_rng(get_worker_info().seed)
        return self.rng.random()


class _NoGenerator(_Sized):
    def __getitem__(self, i):
        return self.rng.random()


class _ByIndex(_Sized):
    def __getitem__(self, i):
        torch.manual_seed(i)
        return torch.rand(()).item()


class _Table(_Sized):
    def __init__(self, n):
        super().__init__(n)
        self.noise = np.random.rand(n)

    def __getitem__(self, i):
        return self.noise[i]


class _NewEachTime(_Sized):
    """A generator for each sample, all of one seed."""

    def __getitem__(self, i):
        info = get_worker_info()
        g = torch.Generator().manual_seed(info.seed if info else 0)
        return torch.rand((), generator=g).item()


class _Signed(_Sized):
    def __getitem__(self, i):
        return random.uniform(-1, 1)


class _ArrayOfOne(_Sized):
    def __getitem__(self, i):
        return np.random.rand(1)


class _CountsEpochs(_Sized):
    """A worker counts in its copy: in each epoch from 0 again."""

    epoch = 0

    def __getitem__(self, i):
        self.epoch += 1
        return np.random.default_rng([self.epoch, i]).random()


def _by_length(worker_id):
    info = get_worker_info()
    info.dataset.rng = np.random.default_rng(len(info.dataset) * info.num_workers + worker_id)


class _SeededOnce(_Sized):
    """The seed is asked for in __init__: that is the parent's."""

    def __init__(self, n):
        super().__init__(n)
        self.rng = random.Random(torch.initial_seed())

    def __getitem__(self, i):
        return self.rng.random()


WRONG = [
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_NumPy, init_worker=_old_recipe),
    Mistake("they began with generators in the same state", caught_by="", Noisy=_HeldTorch),
    Mistake("they began with generators in the same state", caught_by="", Noisy=_RandomState, init_worker=None),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_Held, init_worker=_only_the_id),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_Python, init_worker=_python_by_id),
    Mistake("they began with generators in the same state", caught_by="", Noisy=_Python, init_worker=_base_seed),
    Mistake("something else than the loader's seed is in them", caught_by="", Noisy=_Held, init_worker=_entropy),
    Mistake("something else than the loader's seed is in them", caught_by="", Noisy=_Python, init_worker=_clock),
    Mistake("something else than the loader's seed is in them", caught_by="", Noisy=_Unique),
    Mistake("seed % 2**32", caught_by="", Noisy=_NumPy, init_worker=_numpy_wide),
    Mistake("get_worker_info() is None outside of workers", caught_by="", Noisy=_InfoAlways),
    Mistake(
        "with num_workers=0 nobody calls init_worker", caught_by="", Noisy=_NoGenerator, init_worker=_seed_the_copy
    ),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_ByIndex),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_Table),
    Mistake("worker 0 repeats itself", caught_by="", Noisy=_NewEachTime),
    Mistake("a sample is a number", caught_by="", Noisy=_ArrayOfOne),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_CountsEpochs),
    Mistake("two epochs gave the same numbers", caught_by="", Noisy=_Held, init_worker=_by_length),
    Mistake("they began with generators in the same state", caught_by="", Noisy=_SeededOnce),
    Mistake("expected numbers from 0 on and below 1", caught_by="", Noisy=_Signed),
]
