"""Answers that people give to measure_first, right ones and wrong ones."""

import contextlib
from collections import Counter

import torch

from dojo import Mistake


@contextlib.contextmanager
def _threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _loop(fn, runs, clock):
    with _threads(1):
        for _ in range(3):
            fn()
        start = clock()
        for _ in range(runs):
            fn()
        return (clock() - start) / runs


def _each_run(fn, runs, clock):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fn()
        total = 0.0
        for _ in range(runs):
            start = clock()
            fn()
            total += clock() - start
    finally:
        torch.set_num_threads(before)
    return total / runs


def _python_timeit(fn, runs, clock):
    import timeit

    with _threads(1):
        timer = timeit.Timer(fn, timer=clock)
        timer.timeit(1)
        return timer.timeit(runs) / runs


def _python_repeat(fn, runs, clock):
    import statistics
    import timeit

    with _threads(1):
        times = timeit.repeat(fn, repeat=runs + 1, number=1, timer=clock)
    return statistics.fmean(times[1:])


def _as_many_before(fn, runs, clock):
    with _threads(1):
        for _ in range(min(runs, 20)):
            fn()
        times = [clock()]
        for _ in range(runs):
            fn()
            times.append(clock())
    return sum(b - a for a, b in zip(times, times[1:], strict=False)) / runs


def _timer(fn, runs, clock):
    from torch.utils.benchmark import Timer

    m = Timer("f()", globals={"f": fn}, timer=clock, num_threads=1).timeit(runs)
    return m.raw_times[0] / m.number_per_run


def _profiled(fn):
    from torch.profiler import profile

    with profile() as prof:
        fn()
    counts = {}
    for row in prof.key_averages():
        if row.key[:6] == "aten::":
            counts[row.key] = counts.get(row.key, 0) + row.count
    return counts


def _shapes_added_up(fn):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        fn()
    counts = Counter()
    for row in prof.key_averages(group_by_input_shape=True):
        if row.key.startswith("aten::"):
            counts[row.key] += row.count
    return counts


def _events(fn):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as prof:
        fn()
    return dict(Counter(event.name for event in prof.events() if event.name.startswith("aten::")))


def _autograd_profiler(fn):
    with torch.autograd.profiler.profile(use_cpu=True) as prof:
        fn()
    return {avg.key: avg.count for avg in prof.key_averages() if "aten::" in avg.key}


def _start_and_stop(fn):
    from torch.profiler import profile

    prof = profile(activities=[torch.profiler.ProfilerActivity.CPU])
    prof.start()
    try:
        fn()
    finally:
        prof.stop()
    return {e.key: int(e.count) for e in prof.key_averages() if e.key.startswith("aten::")}


def _called_before_the_threads(fn, runs, clock):
    fn()
    with _threads(1):
        start = clock()
        for _ in range(runs):
            fn()
        return (clock() - start) / runs


RIGHT = [
    {"seconds_per_call": _called_before_the_threads},
    {"seconds_per_call": _loop, "op_counts": _profiled},
    {"seconds_per_call": _each_run, "op_counts": _shapes_added_up},
    {"seconds_per_call": _python_timeit, "op_counts": _events},
    {"seconds_per_call": _python_repeat},
    {"seconds_per_call": _as_many_before, "op_counts": _autograd_profiler},
    {"seconds_per_call": _timer, "op_counts": _start_and_stop},
]


def _cold(fn, runs, clock):
    with _threads(1):
        start = clock()
        for _ in range(runs):
            fn()
        return (clock() - start) / runs


def _best(fn, runs, clock):
    with _threads(1):
        fn()
        best = float("inf")
        for _ in range(runs):
            start = clock()
            fn()
            best = min(best, clock() - start)
        return best


def _total(fn, runs, clock):
    return _loop(fn, runs, clock) * runs


def _average_of_first_and_last(fn, runs, clock):
    with _threads(1):
        fn()
        times = []
        for _ in range(runs):
            start = clock()
            fn()
            times.append(clock() - start)
        return (max(times) + min(times)) / 2


def _tensor(fn, runs, clock):
    return torch.tensor(_loop(fn, runs, clock))


def _perf_counter(fn, runs, clock):
    import time

    return _loop(fn, runs, time.perf_counter)


def _no_finally(fn, runs, clock):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fn()
    start = clock()
    for _ in range(runs):
        fn()
    result = (clock() - start) / runs
    torch.set_num_threads(before)
    return result


def _warm_up_not_guarded(fn, runs, clock):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    fn()
    try:
        start = clock()
        for _ in range(runs):
            fn()
        return (clock() - start) / runs
    finally:
        torch.set_num_threads(before)


def _stays_one(fn, runs, clock):
    torch.set_num_threads(1)
    fn()
    start = clock()
    for _ in range(runs):
        fn()
    return (clock() - start) / runs


def _all_threads(fn, runs, clock):
    fn()
    start = clock()
    for _ in range(runs):
        fn()
    return (clock() - start) / runs


def _one_after_the_other(fn, runs, clock):
    fn()
    start = clock()
    for _ in range(runs - 1):
        fn()
    return (clock() - start) / (runs - 1)


def _always_twenty(fn, runs, clock):
    from torch.utils.benchmark import Timer

    return Timer("fn()", globals={"fn": fn}, timer=clock).timeit(20).mean


def _fixed_loops(fn, runs, clock):
    return _loop(fn, 1000, clock)


def _overwritten(fn):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        fn()
    counts = {}
    for row in prof.key_averages(group_by_input_shape=True):
        if row.key.startswith("aten::"):
            counts[row.key] = row.count
    return counts


def _everything(fn):
    from torch.profiler import profile

    with profile() as prof:
        fn()
    return {row.key: row.count for row in prof.key_averages()}


def _any_namespace(fn):
    return {name: n for name, n in _everything(fn).items() if "::" in name}


def _leaves(fn):
    from torch.profiler import profile

    with profile() as prof:
        fn()
    return dict(Counter(e.name for e in prof.events() if e.name.startswith("aten::") and not e.cpu_children))


def _dispatched(fn):
    from torch.utils._python_dispatch import TorchDispatchMode

    counts = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            counts[str(func.name()).split(".")[0]] += 1
            return func(*args, **(kwargs or {}))

    with Counting():
        fn()
    return dict(counts)


def _twice(fn):
    fn()
    return _profiled(fn)


def _scheduled(fn):
    from torch.profiler import profile, schedule

    with profile(schedule=schedule(wait=0, warmup=1, active=1)) as prof:
        for _ in range(2):
            fn()
            prof.step()
    return {row.key: row.count for row in prof.key_averages() if row.key.startswith("aten::")}


def _never_called(fn):
    from torch.profiler import profile

    with profile() as prof:
        fn  # noqa: B018
    return {row.key: row.count for row in prof.key_averages() if row.key.startswith("aten::")}


def _half(fn):
    return {name: n for name, n in _profiled(fn).items() if n > 1}


def _one_name_in_place_or_not(fn):
    counts = Counter()
    for name, n in _profiled(fn).items():
        counts[name.removesuffix("_")] += n
    return dict(counts)


def _text(fn):
    return {name: str(n) for name, n in _profiled(fn).items()}


_COLD = "the first call is slow, call once before the clock starts"
_INSIDE = "those inside another one are missing"
_COMPOSITE = "operations that are made of others are missing"
_ATEN = "the names of operations begin with aten::"

WRONG = [
    Mistake(_COLD, caught_by="", seconds_per_call=_cold),
    Mistake("that is the time of the fastest", caught_by="", seconds_per_call=_best),
    Mistake("the total, not the mean", caught_by="", seconds_per_call=_total),
    Mistake("the mean of 20 runs is", caught_by="", seconds_per_call=_average_of_first_and_last),
    Mistake("seconds_per_call returns a float", caught_by="", seconds_per_call=_tensor),
    Mistake("clock() was never called", caught_by="", seconds_per_call=_perf_counter),
    Mistake("in a finally", caught_by="", seconds_per_call=_no_finally),
    Mistake("in a finally", caught_by="", seconds_per_call=_warm_up_not_guarded),
    Mistake("a sum and two in place are", caught_by="", op_counts=_one_name_in_place_or_not),
    Mistake("set them back afterwards", caught_by="", seconds_per_call=_stays_one),
    Mistake("are to be on one thread", caught_by="", seconds_per_call=_all_threads),
    Mistake("seconds_per_call raised", caught_by="", seconds_per_call=_one_after_the_other),
    Mistake("at most 20 calls may come before them", caught_by="", seconds_per_call=_fixed_loops),
    Mistake("the runs are the last 5", caught_by="", seconds_per_call=_always_twenty),
    Mistake("Grouped by shape, a name has several rows", caught_by="", op_counts=_overwritten),
    Mistake(_ATEN, caught_by="", op_counts=_everything),
    Mistake(_ATEN, caught_by="", op_counts=_any_namespace),
    Mistake(_COMPOSITE, caught_by="", op_counts=_leaves),
    Mistake(_COMPOSITE, caught_by="", op_counts=_dispatched),
    Mistake("fn was called 2 times", caught_by="", op_counts=_twice),
    Mistake("fn was called 2 times", caught_by="", op_counts=_scheduled),
    Mistake("ten reads with item() are 10 aten::item", caught_by="", op_counts=_never_called),
    Mistake("ten reads with item() are 10 aten::item", caught_by="", op_counts=_half),
    Mistake("each count is an int", caught_by="", op_counts=_text),
]
