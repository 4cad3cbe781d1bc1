"""Every worker reads the whole stream: reference.

Hint: Who calls `__iter__`, and in which process? What does that process know of the others?
Hint: `get_worker_info()` in `__iter__`, with `.id` and `.num_workers`; `itertools.islice` takes a start and a step.
Hint: Where it is None, this is worker 0 of 1; then start with item number id, and go on in steps of num_workers.

Why: with steps, no length is needed, shares differ by one item at most, and a stream without end works, too; but each
worker still reads (and throws away) the lines of the others. Where reading is what costs time, give each worker files
or blocks of its own. The loader makes batches inside of each worker, so there is one short batch per worker, and
drop_last drops one per worker. With several ranks the same has to be done once more: rank * num_workers + id.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from dojo import Mistake


class Lines(IterableDataset):
    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return islice(self.source, start, None, step)


def _share():
    info = get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def _items(read):
    """A dataset whose __iter__ is read(source, id, num_workers)."""

    class Wrong(IterableDataset):
        def __init__(self, source):
            self.source = source

        def __iter__(self):
            return read(self.source, *_share())

    return Wrong


def _chunk(source, worker, count):
    size = len(source) // count
    return iter(source[worker * size : (worker + 1) * size])


def _rounded_chunk(source, worker, count):
    size = -(-len(source) // count)
    return iter(source[worker * size : (worker + 1) * size + 1])


def _until_empty(source, worker, count):
    iterator = islice(source, worker, None, count)
    while item := next(iterator, None):
        yield item


def _by_value(source, worker, count):
    return (item for item in source if item % count == worker)


def _at_random(source, worker, count):
    return (item for item in source if count == 1 or random.random() < 1 / count)


def _popped(source, worker, count):
    source = source if isinstance(source, list) else list(source)
    mine = source[worker::count]
    while mine:
        yield mine.pop()
        source.pop()


class _NoCheck(Lines):
    def __iter__(self):
        info = get_worker_info()
        return islice(self.source, info.id, None, info.num_workers)


class _InInit(IterableDataset):
    def __init__(self, source):
        start, step = _share()
        self.mine = list(source)[start::step]

    def __iter__(self):
        return iter(self.mine)


class _AskedInInit(IterableDataset):
    def __init__(self, source):
        self.source, self.share = source, _share()

    def __iter__(self):
        return islice(self.source, self.share[0], None, self.share[1])


class _KeptIterator(Lines):
    def __init__(self, source):
        self.source = iter(source)


class _KeptGenerator(Lines):
    def __init__(self, source):
        self.source = (item for item in source)


class _Cursor(IterableDataset):
    """Its place in the source is kept for ever."""

    def __init__(self, source):
        self.source, self.at = source, 0

    def __iter__(self):
        return self

    def __next__(self):
        worker, count = _share()
        self.at = max(self.at, worker)
        if self.at >= len(self.source):
            raise StopIteration
        item = self.source[self.at]
        self.at += count
        return item


class _TwoWorkers(Lines):
    def __iter__(self):
        info = get_worker_info()
        return iter(self.source) if info is None else islice(self.source, info.id, None, 2)


def _shuffled_share(source, worker, count):
    """Each worker takes its share of an order of its own."""
    return iter(random.sample(list(source), len(source))[worker::count])


class _FirstShare(Lines):
    """Remembers who it was when it was asked first: perhaps the parent."""

    share = None

    def __iter__(self):
        self.share = self.share or _share()
        return islice(self.source, self.share[0], None, self.share[1])


class _ShareOfTheShare(Lines):
    def __iter__(self):
        worker, count = _share()
        self.source = self.source[worker::count]
        return iter(self.source)


class _OnceOnly(Lines):
    """In a worker, a generator is kept: good for one epoch, while workers live for one."""

    def __iter__(self):
        if get_worker_info() is None:
            return iter(self.source)
        if not hasattr(self, "items"):
            self.items = super().__iter__()
        return self.items


class _NoBase:
    def __init__(self, source):
        self.source = source

    def __iter__(self):
        worker, count = _share()
        return islice(self.source, worker, None, count)


class _Numbered(Lines):
    def __iter__(self):
        worker, count = _share()
        return ((i, item) for i, item in enumerate(self.source) if i % count == worker)


class _AList(Lines):
    def __iter__(self):
        return list(super().__iter__())


class _Others(Lines):
    """A worker leaves out its share, and gives the rest."""

    def __iter__(self):
        worker, count = _share()
        return (item for i, item in enumerate(self.source) if count == 1 or i % count != worker)


_ALONE = "test_without_workers_one_process_reads_everything"
_SHARE = "test_workers_share_the_stream_if_the_dataset_says_how"
_EPOCH = "test_each_epoch_reads_the_source_anew"
_ALIVE = "test_workers_that_stay_alive_share_the_next_epoch_too"
_AS_IS = "test_lines_are_passed_on_as_they_are"

MISTAKES = [
    Mistake("get_worker_info() is None where no worker is", caught_by=_ALONE, Lines=_NoCheck),
    Mistake(
        "did not come",
        caught_by=_ALONE,
        Lines=_items(lambda source, worker, count: islice(source, worker, None, max(count, 2))),
    ),
    Mistake("each of them read the whole stream", caught_by=_SHARE, Lines=_items(lambda source, *_: iter(source))),
    Mistake("each of them read the whole stream", caught_by=_SHARE, Lines=_InInit),
    Mistake("each of them read the whole stream", caught_by=_SHARE, Lines=_AskedInInit),
    Mistake(
        "each of them read the whole stream",
        caught_by=_SHARE,
        Lines=_items(lambda source, worker, count: iter(random.sample(list(source), len(source)))),
    ),
    Mistake(
        "did not come", caught_by=_SHARE, Lines=_items(lambda source, worker, count: islice(source, worker, None, 4))
    ),
    Mistake(
        "came too often",
        caught_by=_SHARE,
        Lines=_items(lambda source, worker, count: islice(source, worker, None, min(count, 2))),
    ),
    Mistake("did not come", caught_by=_SHARE, Lines=_items(_chunk)),
    Mistake("came too often", caught_by=_SHARE, Lines=_items(_rounded_chunk)),
    Mistake(
        "did not come, and others twice",
        caught_by=_SHARE,
        Lines=_items(lambda source, worker, count: islice(source, 0, None, count)),
    ),
    Mistake("did not come", caught_by=_SHARE, Lines=_items(_at_random)),
    Mistake(
        "did not come",
        caught_by=_SHARE,
        Lines=_items(lambda source, worker, count: islice(source, worker + 1 if count > 1 else 0, None, count)),
    ),
    Mistake("came too often", caught_by=_SHARE, Lines=_Others),
    Mistake("is no IterableDataset", caught_by=_SHARE, Lines=_NoBase),
    Mistake("__iter__ has to return an iterator", caught_by=_SHARE, Lines=_AList),
    Mistake("the second epoch gave nothing", caught_by=_EPOCH, Lines=_KeptIterator),
    Mistake("the second epoch gave nothing", caught_by=_EPOCH, Lines=_KeptGenerator),
    Mistake("the second epoch gave nothing", caught_by=_EPOCH, Lines=_Cursor),
    Mistake("the source belongs to the caller", caught_by=_EPOCH, Lines=_items(_popped)),
    Mistake("with 1 worker: 1, 3, 5, 7, ... did not come", caught_by=_SHARE, Lines=_TwoWorkers),
    Mistake("did not come, and others twice", caught_by=_SHARE, Lines=_items(_shuffled_share)),
    Mistake("each of them read the whole stream", caught_by=_EPOCH, Lines=_FirstShare),
    Mistake("that stay alive, in the second epoch", caught_by=_ALIVE, Lines=_ShareOfTheShare),
    Mistake("that stay alive, in the second epoch", caught_by=_ALIVE, Lines=_OnceOnly),
    Mistake(
        "did not come",
        caught_by=_AS_IS,
        Lines=_items(lambda source, worker, count: islice(dict.fromkeys(source), worker, None, count)),
    ),
    Mistake("did not come", caught_by=_AS_IS, Lines=_items(_until_empty)),
    Mistake("a pass with 0 workers raised", caught_by=_AS_IS, Lines=_items(_by_value)),
    Mistake(
        "is not in the source",
        caught_by=_AS_IS,
        Lines=_items(lambda source, worker, count: (str(item).strip() for item in islice(source, worker, None, count))),
    ),
    Mistake("is not in the source", caught_by=_AS_IS, Lines=_Numbered),
    Mistake("did not come", caught_by=_AS_IS, Lines=_items(lambda source, w, c: filter(None, list(source)[w::c]))),
]

KEEP = {_ALONE: "the plain case, and the only place where the missing worker is the point; the others need it as well"}
