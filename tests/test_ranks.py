"""Ranks of one process group, in a test."""

from __future__ import annotations

import os
import time

import pytest
import torch
from torch import distributed as dist

from dojo.kit import group_of_one, run_as_torchrun, run_ranks


def test_ranks_meet_in_a_collective_and_their_results_come_back_by_rank() -> None:
    def sums(rank: int, world: int) -> tuple[int, float, int]:
        x = torch.tensor(float(rank + 1))
        dist.all_reduce(x)
        return rank, x.item(), world

    assert run_ranks(sums, 2) == [(0, 3.0, 2), (1, 3.0, 2)]
    assert run_ranks(sums, 3) == [(0, 6.0, 3), (1, 6.0, 3), (2, 6.0, 3)]


def test_a_rank_that_returns_at_once_does_not_break_the_handshake_of_the_others() -> None:
    for _ in range(10):
        assert run_ranks(lambda rank, world: rank, 3) == [0, 1, 2]


def test_tensors_come_back() -> None:
    ours, theirs = run_ranks(lambda rank, world: torch.full((2,), rank), 2)
    assert (ours.tolist(), theirs.tolist()) == ([0, 0], [1, 1])


def test_a_ranks_own_error_comes_before_what_the_others_saw_of_it() -> None:
    def one_divides(rank: int, world: int) -> None:
        if rank == 1:
            raise ZeroDivisionError("nothing to divide by")
        dist.barrier()

    with pytest.raises(AssertionError, match="rank 1 of 2: ZeroDivisionError: nothing to divide by"):
        run_ranks(one_divides, 2, seconds=1)


def test_a_stub_is_still_to_do() -> None:
    def stub(rank: int, world: int) -> None:
        raise NotImplementedError("sum over the ranks")

    with pytest.raises(NotImplementedError, match=r"^sum over the ranks$"):
        run_ranks(stub, 2)


@pytest.mark.parametrize("how", ["returns", "dies"])
def test_a_rank_that_leaves_without_taking_part(how: str) -> None:
    def leave(rank: int, world: int) -> None:
        if rank == 0:
            dist.all_reduce(torch.ones(1))
        elif how == "dies":
            os._exit(1)

    with pytest.raises(AssertionError, match="every rank must call every collective, in the same order"):
        run_ranks(leave, 2, seconds=0.5)


def test_a_rank_that_never_ends_is_killed() -> None:
    def hang(rank: int, world: int) -> int:
        if rank == 1:
            time.sleep(60)
        return os.getpid()

    with pytest.raises(AssertionError, match="rank 1 of 2 did not come back"):
        run_ranks(hang, 2, seconds=0.5)


def test_no_process_group_and_no_child_is_left() -> None:
    run_ranks(lambda rank, world: None, 2)
    assert not dist.is_initialized()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_environment_is_torchruns_and_env_joins_the_group() -> None:
    def join() -> tuple[str, ...]:
        dist.init_process_group("gloo")
        dist.barrier()
        assert dist.is_torchelastic_launched()
        names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE")
        return (*(os.environ[name] for name in names), str(dist.get_rank()))

    assert run_as_torchrun(join) == [("0", "0", "0", "2", "2", "0"), ("1", "1", "0", "2", "2", "1")]
    assert run_as_torchrun(join, (1, 2)) == [
        *(("0", "0", "0", "1", "3", "0"), ("1", "0", "1", "2", "3", "1"), ("2", "1", "1", "2", "3", "2")),
    ]
    assert "RANK" not in os.environ


def test_a_process_that_never_joins_is_told_of() -> None:
    def join() -> None:
        if os.environ["RANK"] == "0":
            dist.init_process_group("gloo")

    with pytest.raises(AssertionError, match="every rank must call every collective"):
        run_as_torchrun(join, seconds=0.5)


def test_a_group_of_one_is_left_behind_by_nobody() -> None:
    with group_of_one():
        x = torch.tensor(3.0)
        assert dist.all_reduce(x) is None
        assert x.item() == 3
    assert not dist.is_initialized()
    with group_of_one():
        dist.destroy_process_group()
