"""GPU stopwatch: reference.

Hint: Two moments matter: when the clock starts, and when it stops. What may be in the queue at either of them?
Hint: Call `sync()` right before each of the two readings of `clock()`, with the warm-up before both.
Hint: Warm up, wait, read, run `iters` times, wait, read: the difference is for all runs, and one is asked for.

Why: Asynchronous work moves its cost to whoever waits next, so an unsynchronised stopwatch blames the wrong line, often
a harmless `.item()`. Waiting once around all runs lets the GPU queue them back to back, as a training loop does;
waiting after each run adds the idle gaps. `torch.utils.benchmark.Timer` waits, warms up and uses one thread for you.
"""

import time
from collections.abc import Callable

import torch

from dojo import Mistake


def bench(
    fn: Callable[[], object], sync: Callable[[], object], clock: Callable[[], float], warmup: int, iters: int
) -> float:
    for _ in range(warmup):
        fn()
    sync()
    start = clock()
    for _ in range(iters):
        fn()
    sync()
    return (clock() - start) / iters


def _timed(fn, sync, clock, iters, *, before=True, after=True):
    if before:
        sync()
    start = clock()
    for _ in range(iters):
        fn()
    if after:
        sync()
    return clock() - start


def _warm(fn, warmup):
    for _ in range(warmup):
        fn()


def _no_sync(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return _timed(fn, sync, clock, iters, before=False, after=False) / iters


def _sync_only_at_the_start(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return _timed(fn, sync, clock, iters, after=False) / iters


def _clock_before_sync(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    sync()
    start = clock()
    _warm(fn, iters)
    stop = clock()
    sync()
    return (stop - start) / iters


def _sync_only_at_the_end(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return _timed(fn, sync, clock, iters, before=False) / iters


def _start_before_sync(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    start = clock()
    sync()
    _warm(fn, iters)
    sync()
    return (clock() - start) / iters


def _total(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return _timed(fn, sync, clock, iters)


def _median(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return sorted(_timed(fn, sync, clock, 1) for _ in range(iters))[iters // 2]


def _best(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return min(_timed(fn, sync, clock, 1) for _ in range(iters))


def _warm_up_twice_always(fn, sync, clock, warmup, iters):
    _warm(fn, 2)
    return _timed(fn, sync, clock, iters) / iters


def _iters_in_all(fn, sync, clock, warmup, iters):
    _warm(fn, warmup)
    return _timed(fn, sync, clock, max(1, iters - warmup)) / max(1, iters - warmup)


def _warm_up_on_the_clock(fn, sync, clock, warmup, iters):
    sync()
    start = clock()
    _warm(fn, warmup)
    return _timed(fn, sync, clock, iters) / iters * 0 + (clock() - start) / (warmup + iters)


def _sync_in_the_warm_up_only(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
        sync()
    return _timed(fn, sync, clock, iters, before=False) / iters


def _own_clock(fn, sync, clock, warmup, iters):
    return bench(fn, sync, time.perf_counter, warmup, iters)


def _milliseconds(fn, sync, clock, warmup, iters):
    return 1000 * bench(fn, sync, clock, warmup, iters)


def _real_gpu(fn, sync, clock, warmup, iters):
    return bench(fn, lambda: torch.cuda.synchronize("cuda:99"), clock, warmup, iters)


def _one_warm_up_at_least(fn, sync, clock, warmup, iters):
    return bench(fn, sync, clock, max(1, warmup), iters)


_LAUNCH = "you timed the launch, 1 ms, not the work"
_t1 = "test_a_launch_returns_before_the_work_is_done"
_t2 = "test_warm_up_runs_come_on_top"
_t3 = "test_the_first_runs_are_slow_and_do_not_count"
_t4 = "test_work_that_was_queued_before_is_not_yours"

MISTAKES = [
    Mistake(_LAUNCH, caught_by=_t1, bench=_no_sync),
    Mistake(_LAUNCH, caught_by=_t1, bench=_sync_only_at_the_start),
    Mistake(_LAUNCH, caught_by=_t1, bench=_clock_before_sync),
    Mistake("that is the total of 4 runs", caught_by=_t1, bench=_total),
    Mistake("mean 1.001, not", caught_by=_t1, bench=_median),
    Mistake("mean 1.001, not", caught_by=_t1, bench=_best),
    Mistake("bench read the clock it was given 0 times", caught_by=_t1, bench=_own_clock),
    Mistake("and 10 that count are 13", caught_by=_t2, bench=_warm_up_twice_always),
    Mistake("mean 1.001, not", caught_by=_t1, bench=_milliseconds),
    Mistake("all it needs are the functions that it is given", caught_by=_t1, bench=_real_gpu),
    Mistake("and 1 that count are 1", caught_by=_t2, bench=_one_warm_up_at_least),
    Mistake("and 10 that count are 13", caught_by=_t2, bench=_iters_in_all),
    Mistake("the warm-up runs are in your result", caught_by=_t3, bench=_warm_up_on_the_clock),
    Mistake("the warm-up runs are in your result", caught_by=_t3, bench=_sync_only_at_the_end),
    Mistake("work that was queued before is in your result", caught_by=_t4, bench=_sync_only_at_the_end),
    Mistake("work that was queued before is in your result", caught_by=_t4, bench=_start_before_sync),
    Mistake("work that was queued before is in your result", caught_by=_t4, bench=_sync_in_the_warm_up_only),
]

KEEP = {"test_a_real_gpu_returns_early_too": "only a GPU shows that the toy is true"}
