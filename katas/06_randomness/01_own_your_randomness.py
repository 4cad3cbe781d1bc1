"""Own your randomness: generators, states and seeds

torch draws its random numbers from a generator: a state that each draw moves on. Where you name none, that is one
global generator. Everybody uses it: init, dropout, `randn` (normal floats), `randperm(n)` (0 to n-1, shuffled). So one
more draw anywhere changes all that comes after it, and a helper that calls `torch.manual_seed` changes the randomness
of its caller, who never asked.

A `torch.Generator` of your own, handed on as `generator=`, leaves the global one alone. Seed it with its method
`manual_seed`: a new Generator always starts from the same default seed, so an unseeded one is not random at all.

A state can also be kept and put back, with `torch.get_rng_state` and `torch.set_rng_state`: then the same draws come
again. And there are other libraries: `torch.manual_seed` seeds torch, not Python's `random` (`random.seed`), not numpy
(`np.random.seed`).

What is asked: `noise` and `split` depend on nothing but their arguments and leave all global generators as they found
them. `replay` needs no seed: its two results are equal, but the next `replay` gives other numbers.

About 30 minutes.
Path: first_day, numpy, transformer

https://docs.pytorch.org/docs/stable/notes/randomness.html
"""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import explain, shares_memory


def noise(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Random floats (normal ones are customary) of that shape; the same seed gives the same, another one others."""
    raise NotImplementedError("draw from a generator of your own")


def replay(fn: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Call `fn` twice with the same randomness, and return both results. `fn` draws from torch's global generator."""
    raise NotImplementedError("let both runs of fn see the same random numbers")


def seed_all(seed: int) -> None:
    """Seed the global generators of torch, of numpy (the one behind `np.random.rand`) and of Python's `random`.

    `seed` is from 0 to 2**32 - 1, which numpy takes.
    """
    raise NotImplementedError("seed three libraries")


def split(n: int, frac: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices 0 to n-1, shuffled by `seed`, in two parts: the first holds `frac * n` of them, the second the rest.

    Where `frac * n` is no whole number, round it as you like: up or down. Each part is a 1-D int64 tensor, and new at
    each call.
    """
    raise NotImplementedError("shuffle the indices and cut them in two")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def _draws():
    """The next numbers of the three global generators."""
    return {"torch": torch.rand(3).tolist(), "numpy": np.random.rand(3).tolist(), "random": random.random()}


def _seed_globals():
    torch.manual_seed(11)
    np.random.seed(11)
    random.seed(11)
    _draws()  # whoever puts back only the seed does not put back the state


def _noise(shape, seed):
    with explain(f"noise({shape}, {seed}) must draw a tensor of that shape"):
        got = noise(shape, seed)
    assert isinstance(got, torch.Tensor), f"noise returns a tensor, yours is {type(got).__name__}"
    assert got.shape == shape, f"noise({shape}, seed) has that shape, yours has {tuple(got.shape)}"
    assert got.is_floating_point(), f"noise returns floats, yours is {got.dtype}"
    return got


def _pair(got, name):
    assert isinstance(got, tuple | list), f"{name} returns two things, yours returned {type(got).__name__}"
    assert len(got) == 2, f"{name} returns two things, yours returned {len(got)}"
    return got


def _replay(fn):
    with explain("replay(fn) must call fn() twice and return both results"):
        got = replay(fn)
    results = _pair(got, "replay")
    for result in results:
        assert isinstance(result, torch.Tensor), f"replay returns what fn returned, yours has {type(result).__name__}"
    return results


def _split(n, frac, seed):
    """Both parts as lists of ints."""
    with explain(f"split({n}, {frac}, {seed}) must cut the shuffled indices in two"):
        got = split(n, frac, seed)
    parts = _pair(got, "split")
    for part in parts:
        assert isinstance(part, torch.Tensor), f"each part of the split is a tensor, yours is a {type(part).__name__}"
        assert part.dtype != torch.bool, "each part of the split is a row of indices, yours is a mask"
        assert part.dtype == torch.int64, f"each part of the split is int64, as indices are, yours is {part.dtype}"
        assert part.ndim == 1, f"each part of the split is 1-D, yours has the shape {tuple(part.shape)}"
    first, second = (part.tolist() for part in parts)
    parts[0].zero_()  # who gives out the same tensors again shows it at the next call
    return first, second


def test_the_same_seed_gives_the_same_noise():
    first = _noise((3, 2), 1)
    torch.rand(5)  # what others draw in between must not matter
    again, other = _noise((3, 2), 1), _noise((3, 2), 2)
    assert torch.equal(first, again), "seed 1 gave other numbers the second time: your draw is not bound to the seed"
    assert not shares_memory(first, again), (
        "both calls returned the same memory: who writes into the first result changes the second"
    )
    assert torch.equal(_noise((3, 2), 0), _noise((3, 2), 0)), "0 is a seed too: noise(shape, 0) must repeat itself"
    unseeded = torch.Generator().initial_seed()
    assert not torch.equal(first, other), (
        "seeds 1 and 2 gave the same noise: the seed never reached your generator "
        f"(a new torch.Generator() is not random: it always starts from {unseeded})"
    )
    assert first.unique().numel() == 6, "noise draws each value on its own, yours repeats one"


@pytest.mark.parametrize("name", ["noise", "split"])
def test_a_generator_of_your_own_leaves_the_global_ones_alone(name):
    _noise((1,), 3) if name == "noise" else _split(4, 0.5, 3)  # what it imports, it imports here: imports may draw too
    _seed_globals()
    want = _draws()
    _seed_globals()
    if name == "noise":
        _noise((2, 3, 4), 5)
    else:
        _split(20, 0.75, 5)
    for library, draw in _draws().items():
        assert draw == want[library], (
            f"{name} seeded or used the global generator of {library}: whoever draws next gets other numbers"
        )


def test_the_same_state_gives_the_same_draws():
    torch.rand(7)  # the generator is no longer where its seed put it
    calls = []

    def fn():
        calls.append(torch.rand(2, 3))
        return calls[-1].clone()

    first, second = _replay(fn)
    assert len(calls) == 2, f"replay calls fn twice, yours called it {len(calls)} times"
    assert torch.equal(calls[0], calls[1]), (
        "the second run drew other numbers: it did not start from the state that the first run started from"
    )
    assert torch.equal(first, calls[0]), "the first result is what the first run of fn returned"
    assert torch.equal(second, calls[0]), "the second result is what the second run of fn returned"


def test_a_replay_is_not_a_fixed_seed():
    torch.rand(7)
    before = torch.get_rng_state()
    first, _ = _replay(lambda: torch.randn(4))
    rewound = torch.equal(torch.get_rng_state(), before)
    second, _ = _replay(lambda: torch.randn(4))
    same = torch.equal(first, second)
    assert not (same and rewound), (
        "you rewound the global generator after the last run too: it must move on, or the next replay gives the same"
    )
    assert not same, (
        "two replays gave the same numbers: yours starts from a fixed seed, not from the state of the moment"
    )


def test_torch_numpy_and_random_are_seeded_one_by_one(monkeypatch):
    seeders = {"torch.manual_seed": (torch, "manual_seed"), "np.random.seed": (np.random, "seed")}
    seeders["random.seed"] = (random, "seed")
    for module, name in seeders.values():
        monkeypatch.setattr(module, name, getattr(module, name))  # whatever seed_all does, it is put back afterwards
    with explain("seed_all(seed) must seed three libraries"):
        seed_all(0)
        first = _draws()
    for label, (module, name) in seeders.items():
        assert callable(getattr(module, name)), f"seed_all assigned a number to {label}: the function is to be called"
    with explain("seed_all(seed) must seed three libraries"):
        seed_all(0)
        again = _draws()
        seed_all(4)
        other = _draws()
    for library, draw in first.items():
        assert draw == again[library], (
            f"after seed_all(0), again, {library} draws other numbers: its global generator was not seeded with the 0"
        )
        assert draw != other[library], f"seed_all(0) and seed_all(4) gave {library} the same numbers: seed is not used"


def test_a_split_is_bound_to_its_seed():
    first = _split(20, 0.75, 1)
    torch.rand(5), np.random.rand(5), random.random()
    again, other = _split(20, 0.75, 1), _split(20, 0.75, 2)
    assert set(again[0]) != {0}, "both calls returned the same memory: writing into one result changes the next"
    assert first == again, "the same seed gave another split: you shuffled with a generator that others move on"
    assert first != other, "seeds 1 and 2 gave the same split: the seed never reached your shuffle"
    assert set(first[0]) != set(other[0]), (
        "the seed changes the order in each part, but not which indices are in it: shuffle before you cut"
    )


@pytest.mark.parametrize(
    ("n", "frac"),
    [(20, 0.75), (20, 0.25), (100, 0.29), (7, 0.5), (5, 1.0)],
    ids=["three quarters", "a quarter", "29 of 100, not exact", "half of 7", "all"],
)
def test_a_split_holds_every_index_once(n, frac):
    first, second = _split(n, frac, 1)
    both = set(first) & set(second)
    assert not both, (
        f"{sorted(both)} are in both parts: cut one shuffle in two (two shuffles overlap, so do draws with replacement)"
    )
    assert sorted(first + second) == list(range(n)), f"each of 0 to {n - 1} comes once, yours: {sorted(first + second)}"
    low, high = math.floor(n * frac), math.ceil(n * frac)
    k = str(low) if low == high else f"{low} or {high}"
    assert low <= len(first) <= high, (
        f"split({n}, {frac}, seed) puts {k} indices into the first part, yours puts {len(first)}"
    )
