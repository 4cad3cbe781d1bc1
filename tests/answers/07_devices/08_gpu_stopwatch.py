"""Answers that people give to gpu_stopwatch, right ones and wrong ones."""

import statistics
import time

from dojo import Mistake


def _sync_after_each_run(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
        sync()
    times = []
    for _ in range(iters):
        sync()
        start = clock()
        fn()
        sync()
        times.append(clock() - start)
    return statistics.fmean(times)


def _one_loop(fn, sync, clock, warmup, iters):
    start = None
    for i in range(warmup + iters):
        if i == warmup:
            sync()
            start = clock()
        fn()
    sync()
    end = clock()
    return (end - start) / iters


def _comprehensions(fn, sync, clock, warmup, iters):
    _ = [fn() for _ in range(warmup)]

    def now():
        sync()
        return clock()

    begin = now()
    _ = [fn() for _ in range(iters)]
    return (now() - begin) / float(iters)


def _time_all_and_keep_the_last(fn, sync, clock, warmup, iters):
    times = []
    for _ in range(warmup + iters):
        sync()
        begin = clock()
        fn()
        sync()
        times.append(clock() - begin)
    return sum(times[warmup:]) / len(times[warmup:])


def _two_phases(fn, sync, clock, warmup, iters):
    def run(n):
        for _ in range(n):
            fn()
        sync()
        return clock()

    return -(run(warmup) - run(iters)) / iters


RIGHT = [
    dict(bench=_sync_after_each_run),
    dict(bench=_one_loop),
    dict(bench=_comprehensions),
    dict(bench=_time_all_and_keep_the_last),
    dict(bench=_two_phases),
]


def _times_of_launches(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
    sync()
    times = []
    for _ in range(iters):
        start = clock()
        fn()
        times.append(clock() - start)
    sync()
    return sum(times) / iters


def _forget_the_warm_up(fn, sync, clock, warmup, iters):
    sync()
    start = clock()
    for _ in range(iters):
        fn()
    sync()
    return (clock() - start) / iters


def _divide_by_all(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
    start = clock()
    for _ in range(iters):
        fn()
    sync()
    return (clock() - start) / (warmup + iters)


def _sync_before_the_warm_up(fn, sync, clock, warmup, iters):
    sync()
    for _ in range(warmup):
        fn()
    start = clock()
    for _ in range(iters):
        fn()
    sync()
    return (clock() - start) / iters


def _sync_if_warm(fn, sync, clock, warmup, iters):
    if warmup:
        for _ in range(warmup):
            fn()
        sync()
    start = clock()
    for _ in range(iters):
        fn()
        sync()
    return (clock() - start) / iters


def _middle(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
    times = []
    for _ in range(iters):
        sync()
        start = clock()
        fn()
        sync()
        times.append(clock() - start)
    return statistics.median(times)


def _wall(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
    sync()
    start = time.time()
    for _ in range(iters):
        fn()
    sync()
    return (time.time() - start) / iters


def _one_run(fn, sync, clock, warmup, iters):
    for _ in range(warmup):
        fn()
    sync()
    start = clock()
    fn()
    sync()
    return clock() - start


def _sum_of_times(fn, sync, clock, warmup, iters):
    return iters * _sync_after_each_run(fn, sync, clock, warmup, iters)


WRONG = [
    Mistake("that is the total of 4 runs", caught_by="", bench=_sum_of_times),
    Mistake("mean 1.001, not", caught_by="", bench=_one_run),
    Mistake(
        "mean 1.001, not",
        caught_by="",
        bench=lambda fn, sync, clock, warmup, iters: 1 / _one_loop(fn, sync, clock, warmup, iters),
    ),
    Mistake("you timed the launch, 1 ms, not the work", caught_by="", bench=_times_of_launches),
    Mistake("and 10 that count are 13", caught_by="", bench=_forget_the_warm_up),
    Mistake("work that was queued before is in your result", caught_by="", bench=_divide_by_all),
    Mistake("the warm-up runs are in your result", caught_by="", bench=_sync_before_the_warm_up),
    Mistake("work that was queued before is in your result", caught_by="", bench=_sync_if_warm),
    Mistake("mean 1.001, not", caught_by="", bench=_middle),
    Mistake("bench read the clock it was given 0 times", caught_by="", bench=_wall),
]
