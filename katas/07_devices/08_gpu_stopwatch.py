"""GPU stopwatch: a launch is not the work

`t0 = time.perf_counter(); y = x @ w; print(time.perf_counter() - t0)` says that a GPU multiplies matrices of any size
in ten microseconds. It measured the *launch*: on a GPU the call puts the work in a queue and returns. The work is done
when `torch.cuda.synchronize()` returns, which waits until the queue is empty. Three things belong in a stopwatch:

- wait before the clock starts, or you pay for work that somebody else has queued before,
- wait before the clock stops, or you time the launches,
- run a few times first without the clock: the first calls load kernels, ask for memory and try out algorithms.

What is asked: `bench` with the `sync` and `clock` that it is given, so that the tests can hand it a toy GPU with a toy
clock. On a real one it is `bench(fn, torch.cuda.synchronize, time.perf_counter, 3, 10)`.

A GPU can also note the time itself: `start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))`, then
`start.record()`, the work, `end.record()`, and after a synchronize `start.elapsed_time(end)`, in milliseconds. Queues
are called streams; a second one waits for what the first has been given with `second.wait_stream(first)`.

About 15 minutes.

https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution
"""

import time
from collections.abc import Callable

import pytest
import torch

from dojo import under_test
from dojo.kit import explain


def bench(
    fn: Callable[[], object], sync: Callable[[], object], clock: Callable[[], float], warmup: int, iters: int
) -> float:
    """The mean seconds that one of `iters` runs of `fn()` takes, after `warmup` (0 or more) runs that do not count.

    `sync()` returns when all work that was launched is done; `clock()` returns the time in seconds.
    """
    raise NotImplementedError("time the work, not the launches")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _FakeGPU:
    """A queue and a clock: a launch takes 1 ms and queues seconds of work, which pass when somebody waits for it."""

    def __init__(self, costs=(1.0,), slow=(), queued=0.0):
        self.costs, self.slow, self.queued = costs, slow, queued
        self.now, self.launches, self.readings = 50.0, 0, 0

    def launch(self):
        n = self.launches
        self.launches += 1
        self.now += 0.001
        self.queued += self.slow[n] if n < len(self.slow) else self.costs[n % len(self.costs)]

    def sync(self):
        self.now += self.queued
        self.queued = 0.0

    def clock(self):
        self.readings += 1
        return self.now


def _bench(gpu, warmup, iters):
    with explain("bench failed: all it needs are the functions that it is given"):
        got = bench(gpu.launch, gpu.sync, gpu.clock, warmup, iters)
    assert isinstance(got, int | float), f"bench returns a number of seconds, not {type(got).__name__}"
    assert gpu.readings >= 2, (
        f"bench read the clock it was given {gpu.readings} times; it takes one reading for each end"
    )
    return got


def test_a_launch_returns_before_the_work_is_done():
    got = _bench(_FakeGPU(costs=(0.25, 2.0, 0.5, 1.25)), 0, 4)
    assert got != pytest.approx(0.001), "you timed the launch, 1 ms, not the work: it was still in the queue"
    assert got != pytest.approx(4.004), "that is the total of 4 runs, not the mean of one"
    assert got == pytest.approx(1.001), (
        f"runs of 0.25, 2, 0.5 and 1.25 s with 1 ms each to launch: mean 1.001, not {got}"
    )


@pytest.mark.parametrize(("warmup", "iters"), [(3, 10), (0, 1)], ids=["3 runs to warm up", "no run to warm up"])
def test_warm_up_runs_come_on_top(warmup, iters):
    gpu = _FakeGPU()
    _bench(gpu, warmup, iters)
    want = warmup + iters
    assert gpu.launches == want, f"{warmup} runs to warm up and {iters} that count are {want}, you made {gpu.launches}"


def test_the_first_runs_are_slow_and_do_not_count():
    got = _bench(_FakeGPU(slow=(70.0, 30.0)), 3, 10)
    assert got != pytest.approx(0.001), "you timed the launch, 1 ms, not the work: it was still in the queue"
    assert got != pytest.approx(10.01), "that is the total of 10 runs, not the mean of one"
    said = "the warm-up runs are in your result: either the clock ran then, or their work was still in the queue"
    assert not 1.5 < got < 120, f"{said} (expected 1.001, got {got:.3f})"
    assert got == pytest.approx(1.001), f"every run after the warm-up takes 1.001 s; you said {got}"


@pytest.mark.parametrize("warmup", [0, 2], ids=["no run to warm up", "2 runs to warm up"])
def test_work_that_was_queued_before_is_not_yours(warmup):
    got = _bench(_FakeGPU(queued=1000.0), warmup, 5)
    assert not 190 < got < 210, f"1000 s of work that was queued before is in your result ({got:.3f} instead of 1.001)"
    assert got == pytest.approx(1.001), f"every run takes 1.001 s, whatever was queued before; you said {got}"


@pytest.mark.gpu
def test_a_real_gpu_returns_early_too():
    x = torch.rand(8192, 8192, device="cuda")
    work = bench(lambda: x @ x, torch.cuda.synchronize, time.perf_counter, 3, 5)
    launch = bench(lambda: x @ x, lambda: None, time.perf_counter, 0, 5)
    torch.cuda.synchronize()
    assert launch < work / 5, f"the launch alone is much shorter than the work: {launch:.6f} s and {work:.6f} s"
