"""Answers that people give to iterable_shards, right ones and wrong ones."""

import itertools
import math
import random

import torch
import torch.utils.data
from torch.utils.data import IterableDataset, get_worker_info

from dojo import Mistake


class _Modulo(IterableDataset):
    def __init__(self, source):
        super().__init__()
        self.source = source

    def __iter__(self):
        info = get_worker_info()
        for i, item in enumerate(self.source):
            if info is None or i % info.num_workers == info.id:
                yield item


class _Blocks(_Modulo):
    """As in the documentation of IterableDataset."""

    def __iter__(self):
        worker_info = torch.utils.data.get_worker_info()
        start, end = 0, len(self.source)
        if worker_info is not None:
            per_worker = int(math.ceil(len(self.source) / float(worker_info.num_workers)))
            start = worker_info.id * per_worker
            end = min(start + per_worker, len(self.source))
        return iter(self.source[i] for i in range(start, end))


class _Slice(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        if info is None:
            return iter(self.source)
        return iter(self.source[info.id :: info.num_workers])


class _LastTakesTheRest(_Modulo):
    def __iter__(self):
        items = list(self.source)
        info = get_worker_info()
        if info is None:
            yield from items
            return
        size = len(items) // info.num_workers
        end = None if info.id == info.num_workers - 1 else (info.id + 1) * size
        yield from items[info.id * size : end]


class _OneReadsAll(_Modulo):
    """The others have nothing to do: slow, and each item comes once."""

    def __iter__(self):
        info = get_worker_info()
        if info is None or info.id == 0:
            yield from self.source


class _OwnIterator(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        self.step = 1 if info is None else info.num_workers
        self.skip = 0 if info is None else info.id
        self.it = iter(self.source)
        return self

    def __next__(self):
        item = next(itertools.islice(self.it, self.skip, None))
        self.skip = self.step - 1
        return item


class _Sized(_Modulo):
    """A length is allowed."""

    def __len__(self):
        return len(self.source)


class _Copied(IterableDataset):
    def __init__(self, source):
        self.items = tuple(source)

    def __iter__(self):
        info = get_worker_info()
        worker, count = (info.id, info.num_workers) if info else (0, 1)
        return (item for i, item in enumerate(self.items, start=1) if i % count == worker)


class _SameShuffle(_Modulo):
    """All workers shuffle alike, then each takes its share."""

    def __iter__(self):
        items = list(self.source)
        random.Random(0).shuffle(items)
        info = get_worker_info()
        return iter(items if info is None else items[info.id :: info.num_workers])


class _Compress(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        if info is not None:
            turns = itertools.cycle([worker == info.id for worker in range(info.num_workers)])
            return itertools.compress(self.source, turns)
        return self.source.__iter__()


RIGHT = [
    {"Lines": _Modulo},
    {"Lines": _Blocks},
    {"Lines": _Slice},
    {"Lines": _LastTakesTheRest},
    {"Lines": _OneReadsAll},
    {"Lines": _SameShuffle},
    {"Lines": _Compress},
    {"Lines": _Sized},
    {"Lines": _Copied},
    {"Lines": _OwnIterator},
]


class _Everything(_Modulo):
    def __iter__(self):
        yield from self.source


class _EarlyInfo(IterableDataset):
    def __init__(self, source):
        self.source = source
        self.info = get_worker_info()

    def __iter__(self):
        if self.info is None:
            return iter(self.source)
        return itertools.islice(self.source, self.info.id, None, self.info.num_workers)


class _AlwaysInfo(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        per = math.ceil(len(self.source) / info.num_workers)
        return iter(self.source[info.id * per : (info.id + 1) * per])


class _Floor(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        if info is None:
            return iter(self.source)
        per = len(self.source) // info.num_workers
        return itertools.islice(self.source, info.id * per, (info.id + 1) * per)


class _Rounded(_Modulo):
    """The shares overlap where the division rounds up."""

    def __iter__(self):
        info = get_worker_info()
        n, count, worker = len(self.source), getattr(info, "num_workers", 1), getattr(info, "id", 0)
        start = worker * n // count
        return iter(self.source[start : start + math.ceil(n / count)])


class _Iterator(IterableDataset):
    def __init__(self, source):
        self.it = iter(source)

    def __iter__(self):
        info = get_worker_info()
        return self.it if info is None else itertools.islice(self.it, info.id, None, info.num_workers)


class _Next(IterableDataset):
    def __init__(self, source):
        self.source, self.i = list(source), -1

    def __iter__(self):
        return self

    def __next__(self):
        info = get_worker_info()
        self.i += 1
        while info is not None and self.i % info.num_workers != info.id:
            self.i += 1
        if self.i >= len(self.source):
            raise StopIteration
        return self.source[self.i]


class _Unique(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        items = sorted(set(self.source))
        return iter(items if info is None else items[info.id :: info.num_workers])


class _Truthy(_Modulo):
    def __iter__(self):
        return (item for item in super().__iter__() if item or item == 0)


class _NotIterable(torch.utils.data.Dataset):
    def __init__(self, source):
        self.source = source

    def __iter__(self):
        return iter(self.source)


class _List(_Modulo):
    def __iter__(self):
        return list(self.source)


class _ByValue(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        for item in self.source:
            if info is None or item % info.num_workers == info.id:
                yield item


class _Tensors(_Modulo):
    def __iter__(self):
        return (f"{item}" for item in super().__iter__())


class _IdAsStep(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        return itertools.islice(self.source, 0, None, 1 if info is None else info.id + 1)


class _Ready(_Modulo):
    """The share is cut once, by whoever reads first."""

    items = None

    def __iter__(self):
        if self.items is None:
            info = get_worker_info()
            self.items = list(self.source) if info is None else list(self.source)[info.id :: info.num_workers]
        return iter(self.items)


class _Consumed(_Modulo):
    def __iter__(self):
        items = self.source if get_worker_info() else list(self.source)
        if get_worker_info():
            self.source = []
        info = get_worker_info()
        return iter(items if info is None else items[info.id :: info.num_workers])


class _EachItsOrder(_Modulo):
    def __iter__(self):
        info = get_worker_info()
        order = torch.randperm(len(self.source)).tolist()
        return (self.source[i] for i in (order if info is None else order[info.id :: info.num_workers]))


WRONG = [
    Mistake("each of them read the whole stream", caught_by="", Lines=_Everything),
    Mistake("each of them read the whole stream", caught_by="", Lines=_EarlyInfo),
    Mistake("each of them read the whole stream", caught_by="", Lines=_Ready),
    Mistake("that stay alive, in the second epoch", caught_by="", Lines=_Consumed),
    Mistake("did not come, and others twice", caught_by="", Lines=_EachItsOrder),
    Mistake("get_worker_info() is None where no worker is", caught_by="", Lines=_AlwaysInfo),
    Mistake("did not come", caught_by="", Lines=_Floor),
    Mistake("came too often", caught_by="", Lines=_Rounded),
    Mistake("the second epoch gave nothing", caught_by="", Lines=_Iterator),
    Mistake("the second epoch gave nothing", caught_by="", Lines=_Next),
    Mistake("did not come", caught_by="", Lines=_Unique),
    Mistake("did not come", caught_by="", Lines=_Truthy),
    Mistake("is no IterableDataset", caught_by="", Lines=_NotIterable),
    Mistake("__iter__ has to return an iterator", caught_by="", Lines=_List),
    Mistake("a pass with 0 workers raised", caught_by="", Lines=_ByValue),
    Mistake("is not in the source", caught_by="", Lines=_Tensors),
    Mistake("came too often", caught_by="", Lines=_IdAsStep),
]
