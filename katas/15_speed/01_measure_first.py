"""Count before you time

"My loop is slow" is a feeling; before you change a line, get a number. A clock gives one, and there are three ways to
get a wrong one. The first call is not like the others: it fetches memory, picks an algorithm, imports, compiles. So
call once before the clock starts. One run is luck, and the fastest of many too: divide the whole time by the number of
runs. And torch shares its work among threads, as many as it has: fix the number, or nobody can repeat your measurement.
`torch.set_num_threads(n)` holds for the whole program until somebody sets it back; `torch.get_num_threads()` reads it.
`benchmark.Timer(stmt="...", globals={...}, timer=clock)` of torch.utils does all of this, on one thread. Its statement
is text, and knows only the names in `globals`; `.timeit(runs)` gives a measurement with a `.mean`.

A clock says that it is slow, never why. A profile counts: `with profile(activities=[ProfilerActivity.CPU]) as p:` from
torch.profiler notes each operation that runs in the block, and after it `p.key_averages()` gives rows with `.key`, the
name, and `.count`. Ten `aten::item` in one step are ten times that Python waits for a value, on any machine, however
busy it is. Operations are made of others: a matmul appears as `aten::matmul` and also as the `aten::mm` inside it. A
profile has rows of other kinds too: the nodes of backward, optimizer steps, blocks that you name with record_function.

What is asked here: the mean time of a call by a clock that the tests hand you, and the operations of one call, counted.

About 20 minutes. Before it: training_step.
Path: first_day

https://docs.pytorch.org/docs/stable/profiler.html
"""

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dojo import under_test
from dojo.kit import explain, raises


def seconds_per_call(fn: Callable[[], Any], runs: int, clock: Callable[[], float]) -> float:
    """The mean seconds of `runs` calls of `fn()`, 1 or more, by `clock()`, which tells the time in seconds.

    At least one call of fn comes before them that does not count (for 20 runs 20 such calls at most). Those that count
    run on one thread of torch. Afterwards torch has as many threads as before, also when fn raises: its error comes
    through.
    """
    raise NotImplementedError("warm up, then take the mean of the runs on one thread")


def op_counts(fn: Callable[[], Any]) -> dict[str, int]:
    """How often each operation `aten::...` runs during one call of `fn()`: its full name, and the count.

    Those that are made of others count, and so do those inside them. `aten::add_`, in place, is another name than
    `aten::add`. Other rows of a profile are left out. fn is called once in all: no call to warm up.
    """
    raise NotImplementedError("profile one call of fn and return the counts")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Work:
    """A function that takes `first` seconds when it is called for the first time, then `costs` in turn; and a clock."""

    def __init__(self, costs: tuple[float, ...], first: float | None = None, raises_at: int = 0) -> None:
        self.costs, self.first, self.raises_at = costs, first, raises_at
        self.now, self.calls, self.readings = 1000.0, 0, 0
        self.threads: list[int] = []

    def fn(self) -> None:
        self.calls += 1
        self.threads.append(torch.get_num_threads())
        if self.calls == self.raises_at:
            raise ValueError("out of work")
        n = self.calls - 1
        self.now += self.costs[n % len(self.costs)] if n or self.first is None else self.first

    def clock(self) -> float:
        self.readings += 1
        return self.now

    def measure(self, runs: int) -> float:
        __tracebackhide__ = True
        signs = {
            "NameError.*name 'fn' is not defined": "the statement of a Timer knows only the names that it is given: "
            "hand fn over in globals=",
            "only a `str` stmt": "the statement of a Timer is text, such as a call that is written down",
        }
        with explain("seconds_per_call raised", signs):
            got = seconds_per_call(self.fn, runs, self.clock)
        assert self.readings, "clock() was never called: the time is that of the clock which you are given"
        assert isinstance(got, float), f"seconds_per_call returns a float, not {type(got).__name__}"
        return got


def test_the_first_call_is_not_like_the_others():
    for runs in (20, 5, 1):
        work = _Work((2.0,), first=50.0)
        got = work.measure(runs)
        many = "1 run" if runs == 1 else f"{runs} runs"
        told = f"the first call takes 50 s, each later one 2 s, and of {many}"
        cold = got == pytest.approx((50 + 2 * (runs - 1)) / runs) and work.calls == runs
        assert not cold, f"{told} you got a mean of {got:g}: the first call is slow, call once before the clock starts"
        within = got == pytest.approx((50 + 2 * (work.calls - 1)) / runs)
        assert not within, f"{told} you got a mean of {got:g}: the calls before the runs are in it"
        total = runs > 1 and got == pytest.approx(2 * runs)
        assert not total, f"{told} you got {got:g}: the total, not the mean"
        right = got == pytest.approx(2)
        assert right, f"{told} the mean is 2, you got {got:g}"


def test_a_mean_counts_every_run():
    for costs, mean in (((3.0, 1.0), 2.0), ((1.0, 1.0, 1.0, 5.0), 2.0), ((2e-7, 4e-7), 3e-7)):
        work = _Work(costs)
        got = work.measure(20)
        told = f"calls take {', '.join(f'{cost:g}' for cost in costs)} s in turn, and you got {got:g}"
        fastest = got == pytest.approx(min(costs))
        assert not fastest, f"{told}: that is the time of the fastest; the mean is {mean}"
        right = got == pytest.approx(mean)
        assert right, f"{told}: the mean of 20 runs is {mean}"
        extra = work.calls - 20
        assert extra >= 1, f"fn was called {work.calls} times for runs=20, and one call more at least does not count"
        assert extra <= 20, f"fn was called {work.calls} times for runs=20: at most 20 calls may come before them"
    for runs in (5, 1):
        work = _Work(tuple(float(n) for n in range(1, 1000)))
        got = work.measure(runs)
        mean = work.calls - (runs - 1) / 2
        told = f"call n takes n s, runs={runs}, and fn was called {work.calls} times: the runs are the last {runs}"
        assert got == pytest.approx(mean), f"{told}, with a mean of {mean:g}; you got {got:g}"


def test_a_measurement_on_one_thread_gives_the_other_threads_back():
    before = torch.get_num_threads()
    try:
        for threads, raises_at in ((2, 0), (3, 0), (2, 1), (3, 7)):
            torch.set_num_threads(threads)
            work = _Work((1.0,), raises_at=raises_at)
            if raises_at:
                with raises(ValueError, "fn raised a ValueError, which should come through", match="out of work"):
                    seconds_per_call(work.fn, 20, work.clock)
            else:
                work.measure(20)
                seen = sorted(set(work.threads[-20:]))
                assert seen == [1], f"torch had {threads} threads; the 20 runs saw {seen}, and are to be on one thread"
            after = torch.get_num_threads()
            how = "in a finally (or in a `with`), where an error of fn cannot pass by" if raises_at else "afterwards"
            told = f"torch had {threads} threads, and now has {after}"
            assert after == threads, f"{told}{', and fn raised' * bool(raises_at)}: set them back {how}"
    finally:
        torch.set_num_threads(before)


def _count(fn: Callable[[], Any]) -> dict[str, int]:
    """Whatever the learner's profiler warns of is not what is asked here."""
    __tracebackhide__ = True
    with explain("op_counts raised"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = op_counts(fn)
    assert isinstance(got, dict), f"op_counts returns a dict of counts, not {type(got).__name__}"
    others = sorted(str(key) for key in got if not str(key).startswith("aten::"))
    assert not others, f"the names of operations begin with aten::, and you have {', '.join(others)}"
    wrong = {name: count for name, count in got.items() if not isinstance(count, int)}
    assert not wrong, f"each count is an int: {wrong}"
    return got


@pytest.mark.myth(
    says="python -m torch.utils.bottleneck script.py finds what is slow.",
    today="The module was removed. torch.profiler counts and times the operations, torch.utils.benchmark takes times.",
)
def test_an_operation_is_counted_and_so_are_those_inside_it():
    x = torch.tensor([1.5, 2.5])
    got = _count(lambda: [x[0].item() for _ in range(10)])
    outer, inner = got.get("aten::item", 0), got.get("aten::_local_scalar_dense", 0)
    told = f"ten reads with item() are 10 aten::item, each with an aten::_local_scalar_dense inside; you have {outer} "
    told += f"and {inner}"
    composite = "; item and matmul are made of others, and a TorchDispatchMode sees only what they are made of"
    assert outer or inner != 10, f"{told}: operations that are made of others are missing{composite}"
    assert inner or outer != 10, f"{told}: those inside another one are missing"
    assert outer == inner == 10, told
    assert importlib.util.find_spec("torch.utils.bottleneck") is None, "torch.utils.bottleneck is here again"


def test_a_name_is_one_count_whatever_the_shapes():
    pairs = [(torch.ones(n, 4), torch.ones(4, 3)) for n in (2, 3, 5, 2)]
    got = _count(lambda: [a @ b for a, b in pairs])
    counts = [got.get(name, 0) for name in ("aten::matmul", "aten::mm")]
    told = f"four products, with 2, 3, 5 and 2 rows, are 4 aten::matmul and 4 aten::mm; you have {counts}"
    by_shape = counts in ([1, 1], [2, 2])
    assert not by_shape, f"{told}. Grouped by shape, a name has several rows: add them up, or don't group"
    assert counts == [4, 4], told
    got = _count(lambda: pairs[0][0] @ pairs[0][1])
    assert got.get("aten::mm") == 1, f"then one product alone: 1 aten::mm, and you counted {got.get('aten::mm')}"
    got = _count(lambda: (pairs[0][0] + 1).add_(2).add_(3))
    counts = [got.get(name, 0) for name in ("aten::add", "aten::add_")]
    assert counts == [1, 2], f"a sum and two in place are 1 aten::add and 2 aten::add_; you have {counts}"


def test_a_profile_holds_one_call_and_nothing_else():
    w, x = torch.ones(3, requires_grad=True), torch.tensor([1.0, -2.0, 3.0])
    opt, calls = torch.optim.SGD([w], lr=0.5), []

    def step() -> None:
        calls.append(1)
        with torch.profiler.record_function("my step"):
            (w * x).relu().sum().backward()
            opt.step()

    torch.exp(x).sort()
    got = _count(step)
    assert len(calls) == 1, f"fn was called {len(calls)} times; each call does its work again, so call it once"
    before = [name for name in ("aten::exp", "aten::sort") if name in got]
    assert not before, f"{', '.join(before)} ran before the call, and you count it"
    want = {"aten::relu": 1, "aten::threshold_backward": 1}
    counts = {name: got.get(name, 0) for name in want}
    assert counts == want, f"one call is forward, backward and a step: expected {want}, got {counts}"
    nothing = _count(lambda: None)
    assert not nothing, f"a function that calls no operation has no counts, and you have {nothing}"
