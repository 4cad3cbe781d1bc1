"""Count before you time: reference.

Hint: Which calls may the clock see, and who gives the threads back when fn raises?
Hint: `torch.utils.benchmark.Timer` knows all about warm-up and threads; `torch.profiler.profile`, `key_averages()`.
Hint: The statement calls fn, globals says what fn is, timer is the clock. For the counts: one dict from the rows, and
    only those whose key starts as operations do.

Why: Timer runs its statement at least twice before it counts, on one thread, in a block that gives the others back
whatever happens. It hides the cost of a compile for the same reason: that is all in the first call. Counts are the
better half of a measurement: they are the same on a busy machine, and they say what to change. (`item` and `matmul`
are composite: a TorchDispatchMode sees only the operations that they end in, a profile sees both.)
"""

from collections.abc import Callable
from typing import Any

import torch

from dojo import Mistake


def seconds_per_call(fn: Callable[[], Any], runs: int, clock: Callable[[], float]) -> float:
    from torch.utils import benchmark

    return benchmark.Timer(stmt="fn()", globals={"fn": fn}, timer=clock).timeit(runs).mean


def op_counts(fn: Callable[[], Any]) -> dict[str, int]:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as p:
        fn()
    return {row.key: row.count for row in p.key_averages() if row.key.startswith("aten::")}


# ── known mistakes ──


def _timed(fn, runs, clock, warm=1, threads=1, total=None, careful=True):
    """Right, unless an argument says otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        for _ in range(warm):
            fn()
        start = clock()
        for _ in range(runs):
            fn()
        return (clock() - start) / (total or runs)
    except ValueError:
        before = before if careful else torch.get_num_threads()
        raise
    finally:
        torch.set_num_threads(before)


def _clock_before_the_warm_up(fn, runs, clock):
    start = clock()
    _timed(fn, runs, clock)
    return (clock() - start) / runs


def _minimum(fn, runs, clock):
    return min(_timed(fn, 1, clock, warm=int(i == 0)) for i in range(runs))


def _median(fn, runs, clock):
    import statistics

    return statistics.median(_timed(fn, 1, clock, warm=int(i == 0)) for i in range(runs))


def _last(fn, runs, clock):
    return [_timed(fn, 1, clock, warm=int(i == 0)) for i in range(runs)][-1]


def _first_one_thrown_away(fn, runs, clock):
    times = [_timed(fn, 1, clock, warm=0) for _ in range(runs)]
    return sum(times[1:]) / len(times[1:])


def _own_clock(fn, runs, clock):
    import time

    return _timed(fn, runs, time.perf_counter)


def _no_threads_back(fn, runs, clock):
    result = _timed(fn, runs, clock)
    torch.set_num_threads(1)
    return result


def _to_the_default(fn, runs, clock):
    torch.set_num_threads(1)
    try:
        return _timed(fn, runs, clock)
    finally:
        torch.set_num_threads(2)


def _timer(**options):
    def seconds_per_call(fn, runs, clock):
        from torch.utils import benchmark

        return benchmark.Timer("fn()", globals={"fn": fn}, timer=clock, **options).timeit(runs).mean

    return seconds_per_call


def _measurement(fn, runs, clock):
    from torch.utils import benchmark

    return benchmark.Timer("fn()", globals={"fn": fn}, timer=clock).timeit(runs)


def _raw(fn, runs, clock):
    return _measurement(fn, runs, clock).raw_times[0]


def _autorange(fn, runs, clock):
    from torch.utils import benchmark

    return benchmark.Timer("fn()", globals={"fn": fn}, timer=clock).blocked_autorange(min_run_time=200.0).mean


def _no_globals(fn, runs, clock):
    from torch.utils import benchmark

    return benchmark.Timer("fn()", timer=clock).timeit(runs).mean


def _not_text(fn, runs, clock):
    from torch.utils import benchmark

    return benchmark.Timer(fn, timer=clock).timeit(runs).mean


def _timeit(fn, runs, clock):
    import timeit

    return timeit.timeit(fn, timer=clock, number=runs) / runs


def _swallows(fn, runs, clock):
    try:
        return _timed(fn, runs, clock)
    except ValueError:
        return float("nan")


def _rows(fn, **options):
    from torch.profiler import ProfilerActivity, profile

    grouped = options.pop("grouped", False)
    with profile(activities=[ProfilerActivity.CPU], **options) as p:
        fn()
    return p.key_averages(group_by_input_shape=grouped)


def _aten(rows):
    return [row for row in rows if row.key.startswith("aten::")]


def _dispatch_mode(fn):
    from torch.utils._python_dispatch import TorchDispatchMode

    counts = {}

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = "aten::" + func.overloadpacket.__name__
            counts[name] = counts.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    with Mode():
        fn()
    return counts


def _function_mode(fn):
    from torch.overrides import TorchFunctionMode

    counts = {}

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            name = "aten::" + func.__name__
            counts[name] = counts.get(name, 0) + 1
            return func(*args, **(kwargs or {}))

    with Mode():
        fn()
    return counts


def _top_level(fn):
    from torch.profiler import ProfilerActivity, profile

    counts = {}
    with profile(activities=[ProfilerActivity.CPU]) as p:
        fn()
    for event in p.events():
        if event.name.startswith("aten::") and event.cpu_parent is None:
            counts[event.name] = counts.get(event.name, 0) + 1
    return counts


def _each_once(fn):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as p:
        fn()
    return {event.name: 1 for event in p.events() if event.name.startswith("aten::")}


def _warm_up_outside(fn):
    fn()
    return op_counts(fn)


def _warm_up_inside(fn):
    return op_counts(lambda: (fn(), fn()))


def _with_what_comes_before(fn):
    x = torch.ones(3)
    return op_counts(lambda: (torch.exp(x).sort(), fn()))


_seen: dict[str, int] = {}


def _adds_up(fn):
    for name, count in op_counts(fn).items():
        _seen[name] = _seen.get(name, 0) + count
    return dict(_seen)


def _in_place_too(fn):
    counts = {}
    for name, count in op_counts(fn).items():
        name = name.rstrip("_")
        counts[name] = counts.get(name, 0) + count
    return counts


def _times(fn):
    return {row.key: row.self_cpu_time_total for row in _aten(_rows(fn))}


_COLD = "the first call is slow, call once before the clock starts"
_INSIDE = "those inside another one are missing"
_FIRST = "test_the_first_call_is_not_like_the_others"
_MEAN = "test_a_mean_counts_every_run"
_THREADS = "test_a_measurement_on_one_thread_gives_the_other_threads_back"
_OPS = "test_an_operation_is_counted_and_so_are_those_inside_it"
_SHAPES = "test_a_name_is_one_count_whatever_the_shapes"
_ONE = "test_a_profile_holds_one_call_and_nothing_else"

MISTAKES = [
    Mistake(_COLD, caught_by=_FIRST, seconds_per_call=lambda fn, runs, clock: _timed(fn, runs, clock, warm=0)),
    Mistake(_COLD, caught_by=_FIRST, seconds_per_call=lambda fn, runs, clock: _timed(fn, runs, clock, runs // 10)),
    Mistake(_COLD, caught_by=_FIRST, seconds_per_call=_timeit),
    Mistake("the calls before the runs are in it", caught_by=_FIRST, seconds_per_call=_clock_before_the_warm_up),
    Mistake("the total, not the mean", caught_by=_FIRST, seconds_per_call=_raw),
    Mistake("the mean is 2, you got", caught_by=_FIRST, seconds_per_call=lambda f, r, c: _timed(f, r, c, total=r + 1)),
    Mistake("seconds_per_call raised", caught_by=_FIRST, seconds_per_call=_first_one_thrown_away),
    Mistake("seconds_per_call returns a float", caught_by=_FIRST, seconds_per_call=_measurement),
    Mistake("clock() was never called", caught_by=_FIRST, seconds_per_call=_own_clock),
    Mistake("hand fn over in globals=", caught_by=_FIRST, seconds_per_call=_no_globals),
    Mistake("the statement of a Timer is text", caught_by=_FIRST, seconds_per_call=_not_text),
    Mistake("that is the time of the fastest", caught_by=_MEAN, seconds_per_call=_minimum),
    Mistake("the mean of 20 runs is", caught_by=_MEAN, seconds_per_call=_last),
    Mistake("the mean of 20 runs is", caught_by=_MEAN, seconds_per_call=lambda f, r, c: round(_timed(f, r, c), 6)),
    Mistake("the runs are the last 5", caught_by=_MEAN, seconds_per_call=lambda f, r, c: _timed(f, max(r, 10), c)),
    Mistake("that is the time of the fastest", caught_by=_MEAN, seconds_per_call=_median),
    Mistake(
        "at most 20 calls may come before them", caught_by=_MEAN, seconds_per_call=lambda f, r, c: _timed(f, r, c, 100)
    ),
    Mistake("at most 20 calls may come before them", caught_by=_MEAN, seconds_per_call=_autorange),
    Mistake(
        "are to be on one thread", caught_by=_THREADS, seconds_per_call=lambda f, r, c: _timed(f, r, c, threads=None)
    ),
    Mistake("are to be on one thread", caught_by=_THREADS, seconds_per_call=_timer(num_threads=2)),
    Mistake("set them back afterwards", caught_by=_THREADS, seconds_per_call=_no_threads_back),
    Mistake("set them back afterwards", caught_by=_THREADS, seconds_per_call=_to_the_default),
    Mistake("in a finally", caught_by=_THREADS, seconds_per_call=lambda f, r, c: _timed(f, r, c, careful=False)),
    Mistake("which should come through", caught_by=_THREADS, seconds_per_call=_swallows),
    Mistake("operations that are made of others are missing", caught_by=_OPS, op_counts=_dispatch_mode),
    Mistake(_INSIDE, caught_by=_OPS, op_counts=_function_mode),
    Mistake(_INSIDE, caught_by=_OPS, op_counts=_top_level),
    Mistake("ten reads with item() are 10 aten::item", caught_by=_OPS, op_counts=_each_once),
    Mistake(
        _INSIDE,
        caught_by=_OPS,
        op_counts=lambda fn: {name: n for name, n in op_counts(fn).items() if not name.startswith("aten::_")},
    ),
    Mistake("each count is an int", caught_by=_OPS, op_counts=_times),
    Mistake(
        "Grouped by shape, a name has several rows",
        caught_by=_SHAPES,
        op_counts=lambda fn: {row.key: row.count for row in _aten(_rows(fn, record_shapes=True, grouped=True))},
    ),
    Mistake("then one product alone", caught_by=_SHAPES, op_counts=_adds_up),
    Mistake("a sum and two in place are", caught_by=_SHAPES, op_counts=_in_place_too),
    Mistake(
        "the names of operations begin with aten::",
        caught_by=_ONE,
        op_counts=lambda fn: {row.key: row.count for row in _rows(fn)},
    ),
    Mistake(
        "the names of operations begin with aten::",
        caught_by=_SHAPES,
        op_counts=lambda fn: {name.removeprefix("aten::"): n for name, n in op_counts(fn).items()},
    ),
    Mistake("op_counts returns a dict of counts", caught_by=_SHAPES, op_counts=lambda fn: _aten(_rows(fn))),
    Mistake("fn was called 2 times", caught_by=_ONE, op_counts=_warm_up_outside),
    Mistake("fn was called 2 times", caught_by=_ONE, op_counts=_warm_up_inside),
    Mistake("op_counts raised", caught_by=_ONE, op_counts=lambda fn: torch.no_grad()(op_counts)(fn)),
    Mistake("ran before the call, and you count it", caught_by=_ONE, op_counts=_with_what_comes_before),
]
