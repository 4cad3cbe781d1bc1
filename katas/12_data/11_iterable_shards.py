"""Every worker reads the whole stream

A map-style dataset answers "give me sample 17", and the loader deals the indices out to its workers. A stream has no
indices: a log file, a socket, a corpus too large for memory. For these there is `IterableDataset`: a class that has
`__iter__` instead of `__getitem__`, mostly written with `yield`. The loader has nothing to deal out here. Each worker
is a process with its own copy of the dataset, calls `iter()` on it, and reads on to the end. So with two workers, every
line comes twice; with eight, eight times. Nothing warns, if the dataset has no `__len__`: the epoch is only longer, and
the score of a validation set looks as good as before. This is how many people met it: an epoch that grew with
`num_workers`.

The dataset itself has to leave out what others read. Inside of a worker, `torch.utils.data.get_worker_info()` has
`.id` (0, 1, ...) and `.num_workers`; in a process that is no worker it is None. The dataset is made in the parent, so
`__init__` is too early to ask: ask in `__iter__`, which runs in the worker. Which lines a worker takes is up to you:
every num_workers-th, beginning with line `id`, say (`itertools.islice(source, start, stop, step)` or `enumerate` and
`%`), or a block of its own. The number of lines may not be a multiple of the number of workers, and each new epoch
calls `__iter__` again and wants everything once more; so keep neither your place nor your share on `self`.

What is asked here: a stream that may be read with any number of workers.

About 20 minutes. Before it: dataset_map_style, workers_rng.

https://docs.pytorch.org/docs/stable/data.html#iterable-style-datasets
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from dojo import under_test
from dojo.kit import explain, unchanged, workers


class Lines(IterableDataset):
    """The items of `source`, each exactly once in an epoch, however many workers a DataLoader has; in any order.

    `source` is a list or a range, so it can be read again for each epoch; it stays as it is. Its items are numbers or
    text, and are passed on as they are, 0 and the empty line too; the same one may be in it several times.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        raise NotImplementedError("keep the source")

    def __iter__(self) -> Iterator[Any]:
        """What this process has to read: a worker its share, any other process all of it.

        Each call begins anew, whatever was read before and wherever. With `persistent_workers=True` the same worker is
        asked again in the next epoch.
        """
        raise NotImplementedError("give the items that are due here")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "timed out after": "a worker gave nothing for 20 seconds: an endless loop in the dataset?",
    "returned non-iterator": "__iter__ has to return an iterator: write it with yield, or wrap the result in iter()",
    r"'NoneType' object has no attribute '(id|num_workers)'": "get_worker_info() is None where no worker is: there, "
    "one process reads everything",
}


def _lines(source: Any) -> Any:
    __tracebackhide__ = True
    with explain(f"Lines({source}) raised"):
        dataset = Lines(source)
    assert isinstance(dataset, IterableDataset), (
        f"Lines makes a {type(dataset).__name__} that is no IterableDataset: of any other class, DataLoader asks for "
        "samples by their index"
    )
    return dataset


def _read(dataset: Any, count: int | None, batch_size: int | None = None) -> list[Any]:
    """The items of one epoch with `count` workers, out of their batches; without a DataLoader where count is None."""
    __tracebackhide__ = True
    how = "a plain loop over Lines" if count is None else f"a pass with {count} {'worker' if count == 1 else 'workers'}"
    with explain(f"{how} raised", _SIGNS):
        if count is None:
            return list(dataset)
        try:
            items = list(DataLoader(dataset, batch_size=batch_size, **workers(count)))
        except NotImplementedError:  # in a worker; a stub says here, too, that it is still to do
            list(dataset)
            raise
    if batch_size is None:
        return items
    return [item for batch in items for item in (batch.tolist() if isinstance(batch, torch.Tensor) else batch)]


def _check_each_once(got: list[Any], source: Any, count: int | None, when: str = "") -> None:
    __tracebackhide__ = True
    there = Counter(map(repr, got))
    want = Counter(map(repr, source))
    readers = {None: "a plain loop", 0: "no worker", 1: "1 worker"}.get(count, f"{count} workers")
    told = f"{len(got)} items came out of {len(source)} with {readers}{when}"
    if count and count > 1:
        assert there != Counter({item: n * count for item, n in want.items()}), (
            f"{told}: each of them read the whole stream. Its share is a worker's own business: get_worker_info() "
            "tells who it is, but only inside of it, in __iter__ (in __init__, in the parent, it is None)"
        )
    strange = Counter({item: n for item, n in there.items() if item not in want})
    assert not strange, f"{told}: {_some(strange)} is not in the source; items are passed on as they are"
    missing = want - there
    assert not missing, f"{told}: {_some(missing)} did not come{'' if not there - want else ', and others twice'}"
    assert there == want, f"{told}: {_some(there - want)} came too often"


def _some(items: Counter[str]) -> str:
    shown = list(items)
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def test_without_workers_one_process_reads_everything():
    for n in (10, 1):
        _check_each_once(_read(_lines(range(n)), None), range(n), None)
        _check_each_once(_read(_lines(range(n)), 0), range(n), 0)
    _check_each_once(_read(_lines(range(10)), 0, batch_size=4), range(10), 0)


@pytest.mark.timeout(60)
@pytest.mark.myth(
    says="num_workers=2: each worker loads half of the data.",
    today="Half of the indices, if the dataset has indices. An IterableDataset is read to its end by every worker.",
)
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("count", [2, 3, 1], ids=["two workers", "three workers", "one worker"])
def test_workers_share_the_stream_if_the_dataset_says_how(count):
    _check_each_once(_read(_lines(range(10)), count), range(10), count)
    _check_each_once(_read(_lines(list(range(10, 20))), count, batch_size=4), range(10, 20), count)


@pytest.mark.timeout(60)
def test_each_epoch_reads_the_source_anew():
    source = [3, 1, 4, 1, 5, 9, 2, 6]
    dataset = _lines(source)
    for count in (None, 0, 2):  # the same dataset: first in the parent, then in workers
        for epoch in ("first", "second"):
            with unchanged("the source belongs to the caller", source=source):
                got = _read(dataset, count)
            nothing = epoch == "second" and not got
            assert not nothing, "the second epoch gave nothing: each call of __iter__ has to begin anew"
            _check_each_once(got, [3, 1, 4, 1, 5, 9, 2, 6], count, f", in the {epoch} epoch")
    next(iter(dataset))
    _check_each_once(_read(dataset, None), source, None, ", after a loop that broke off")


@pytest.mark.timeout(60)
def test_workers_that_stay_alive_share_the_next_epoch_too():
    source = [3, 1, 4, 1, 5, 9, 2, 6]
    loader = DataLoader(_lines(source), batch_size=None, persistent_workers=True, **workers(2))
    with explain("a pass with workers that stay alive raised", _SIGNS):
        epochs = [list(loader) for _ in range(2)]
    for epoch, items in zip(("first", "second"), epochs, strict=True):
        _check_each_once(items, source, 2, f" that stay alive, in the {epoch} epoch")


@pytest.mark.timeout(60)
def test_lines_are_passed_on_as_they_are():
    for source in (["to be", "or", "not\n", "", "to be", " "], ["only one"]):
        for count in (0, 2):
            _check_each_once(_read(_lines(source), count), source, count)
