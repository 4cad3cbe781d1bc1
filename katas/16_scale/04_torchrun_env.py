"""Who am I, says the environment

Nobody starts four processes by hand. The command `torchrun --nproc-per-node=4 train.py`, which comes with torch, starts
train.py four times, mostly one process for each GPU, and tells each process who it is. It does so in environment
variables, which `os.environ` holds as text. RANK numbers the processes of all machines, LOCAL_RANK those of one
machine, both from 0; WORLD_SIZE is how many there are in all. Each machine numbers its GPUs from 0 too, so the index of
a process's GPU is its local rank. A script that takes the rank instead runs well on one machine and fails on the second
of two. To run on two machines (torchrun says *nodes*), type the same line on both; HOST is the name of one of them:

    torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 train.py

MASTER_ADDR and MASTER_PORT say where the ranks meet. `dist.init_process_group("gloo")` (`import torch.distributed as
dist`) reads all of it by itself and joins the group; then `dist.get_rank()` and `dist.get_world_size()` work. With
plain `python train.py`, as when you look for a bug, there are no such variables, and it raises. Yet the script should
run then, too: alone.

If four ranks write one file, it may be spoilt, so only one of them writes. The others must not read before it is done:
`dist.barrier()` is a collective at which each rank waits until all have come. At the end
`dist.destroy_process_group()` leaves the group; where there is none, it raises. `dist.is_initialized()` says if there
is one.

What is asked here: the four functions that such a script needs. The tests make its processes on this machine.

About 25 minutes. Before it: all_reduce_accuracy, state_dict_roundtrip.

https://docs.pytorch.org/docs/stable/elastic/run.html
"""

import contextlib
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from dojo import under_test
from dojo.kit import explain, raises, run_as_torchrun


def start() -> tuple[int, int, int]:
    """Who this process is: its rank, its local rank and the world size, as ints.

    If torchrun has started this process, also where it is the only one, it joins the group of all of them: with the
    backend gloo, and where torchrun says. Else it is alone: (0, 0, 1), and there is no group.
    """
    raise NotImplementedError("look into the environment, and join the group if there is one to join")


def device_for(local_rank: int, n_gpus: int) -> torch.device:
    """The device of the process with this local rank, on a machine with n_gpus GPUs: one of its own.

    GPUs are torch.device("cuda", 0), torch.device("cuda", 1), ... Without any it is the CPU, for each process. Where
    there are some, and none is left for this local rank, it raises ValueError or RuntimeError. n_gpus counts, whatever
    this machine has.
    """
    raise NotImplementedError("return the GPU of this process, or the CPU")


def save_once(state: dict[str, Any], path: str | Path) -> None:
    """Save `state` with `torch.save`, once for the whole group: the state of rank 0, and only rank 0 writes.

    Every rank calls it, and on none does it return before the file is complete. A file that is there already is
    replaced. Where there is no group, a process that is rank 0 or alone writes.
    """
    raise NotImplementedError("write on one rank, and let all of them wait for it")


def finish() -> None:
    """Leave the group, if there is one."""
    raise NotImplementedError("leave the group, if there is one")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_TOLD = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_USE_AGENT_STORE"),
)
_SIGNS = {
    "RANK expected|WORLD_SIZE expected|MASTER_ADDR expected|KeyError": (
        "python script.py must run too: without torchrun there are no variables to read"
    ),
    "Default process group has not been init": "there is no group here: ask dist.is_initialized() before a collective",
    "Process group cannot be None": "there is no group to leave here: ask dist.is_initialized() first",
    "NCCL|nccl": "nccl needs a GPU for each process: join with gloo",
    "twice": "the group is there already: join it once",
}
_OWN_PLACE = (
    "start() joins at a place of its own, and the ranks meet where torchrun says, at MASTER_ADDR and MASTER_PORT"
)


def _started():
    """start(), as three ints in a tuple."""
    __tracebackhide__ = True
    with explain("start() raised", _SIGNS):
        place = start()
    assert isinstance(place, tuple | list), f"start() gave {place!r}, expected (rank, local rank, world size)"
    assert all(isinstance(number, int) for number in place), (
        f"start() gave {place!r}, expected three ints: the environment holds text, and int() makes a number of it"
    )
    return tuple(place)


def _under_torchrun(machines, then):
    """(place, then(place)) of each process, by rank: of `machines`, which have so many processes each.

    The parent does what torchrun does: it sets the variables, and waits at MASTER_ADDR and MASTER_PORT.
    """
    __tracebackhide__ = True
    join = dist.init_process_group

    def process():
        told = {name: os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT")}

        def join_there(*args, **kwargs):
            there = str((*args, None, None)[1] or kwargs.get("init_method") or "env://")
            moved = [name for name, value in told.items() if os.environ.get(name) != value]
            assert not moved, f"{_OWN_PLACE}: now {moved} says another one"
            as_told = "env:" in there or told["MASTER_PORT"] in there
            assert as_told, f"{_OWN_PLACE}: this one is {there}"
            limit = {} if len(args) > 2 else {"timeout": datetime.timedelta(seconds=4)}
            return join(*args, **{**limit, **kwargs})

        with mock.patch.object(dist, "init_process_group", join_there):
            place = _started()
        assert dist.is_initialized(), f"start() gave {place} under torchrun, and joined no group"
        dist.barrier()  # who leaves a group while others still join it breaks their handshake
        return place, then(place)

    return run_as_torchrun(process, machines)


def test_the_environment_says_who_a_process_is_and_the_group_agrees():
    ranks = _under_torchrun((2,), lambda place: (dist.get_rank(), dist.get_world_size()))
    for rank, (place, of_the_group) in enumerate(ranks):
        want = (rank, rank, 2)
        assert of_the_group == (rank, 2), f"process {rank} has joined as {of_the_group}, expected ({rank}, 2)"
        assert place == want, f"process {rank} of 2 got {place}, expected {want}: rank, local rank, world size"


@pytest.mark.myth(
    says="Each process takes the GPU of its rank: torch.cuda.set_device(rank).",
    today="Ranks count over all machines; on each of them the GPUs begin at 0: take LOCAL_RANK.",
)
def test_ranks_count_over_all_machines_and_local_ranks_on_one():
    for machines in ((1, 1), (1, 2)):
        locals_ = [local for processes in machines for local in range(processes)]
        ranks = _under_torchrun(machines, lambda place: dist.get_rank())
        for rank, (place, of_the_group) in enumerate(ranks):
            who = f"machines with {machines[0]} and {machines[1]} processes: rank {rank} got {place}"
            want = (rank, locals_[rank], len(ranks))
            assert of_the_group == rank, f"{who}, but it is rank {of_the_group} of the group"
            assert place[1:2] != (machines[-1],), f"{who}: on the second machine there is no GPU {machines[-1]}"
            assert place == want, f"{who}, expected {want}: rank, local rank, world size"


def test_the_same_script_runs_alone_and_under_torchrun(tmp_path, monkeypatch):
    for name in _TOLD:
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "alone.pt"
    place = _started()
    assert place == (0, 0, 1), f"without torchrun, start() gave {place}, expected (0, 0, 1)"
    assert not dist.is_initialized(), "without torchrun there is no group to join, and start() has made one"
    with explain("without a group, save_once raised", _SIGNS):
        save_once({"epoch": 7}, str(path))
    assert path.exists(), "without a group, save_once has written no file"
    assert torch.load(path) == {"epoch": 7}, f"without a group, the file holds {torch.load(path)}, expected epoch 7"
    _finish("without a group")
    # And now torchrun starts it, as a single process.
    [(place, size)] = _under_torchrun((1,), lambda place: dist.get_world_size())
    assert (place, size) == ((0, 0, 1), 1), f"the only process of torchrun got {place}, in a group of {size}"


def _finish(when):
    __tracebackhide__ = True
    with explain(f"{when}, finish() raised", _SIGNS):
        try:
            finish()
        except AssertionError as error:  # torch's own where there is no group; explain() leaves assertions alone
            raise RuntimeError(str(error)) from error


def test_a_group_is_left_once_and_then_the_process_is_alone(tmp_path):
    def leave(place):
        rank = dist.get_rank()
        _finish("in a group of two")
        assert not dist.is_initialized(), f"after finish() the group is still there on rank {rank}"
        _finish("for the second time, without a group")
        with explain("after finish(), without a group, save_once raised", _SIGNS):
            save_once({"rank": rank}, tmp_path / f"of-{rank}.pt")

    _under_torchrun((2,), leave)
    assert (tmp_path / "of-0.pt").exists(), "after finish(), without a group, save_once has written no file"


def _device(local_rank, n_gpus):
    __tracebackhide__ = True
    with explain(f"device_for({local_rank}, {n_gpus}) raised"):
        return device_for(local_rank, n_gpus)


def test_each_process_has_a_gpu_of_its_own():
    for local_rank, n_gpus, name in (
        *((1, 4, "cuda:1"), (0, 1, "cuda:0"), (0, 4, "cuda:0"), (3, 4, "cuda:3"), (7, 8, "cuda:7")),
        *((0, 0, "cpu"), (1, 0, "cpu"), (3, 0, "cpu")),
    ):
        device = _device(local_rank, n_gpus)
        assert device == torch.device(name), (
            f"device_for({local_rank}, {n_gpus}) gave {device!r}, expected {torch.device(name)!r}"
        )
    for local_rank, n_gpus in ((2, 2), (1, 1), (5, 2), (3, 1)):
        device = None
        with contextlib.suppress(Exception):
            device = device_for(local_rank, n_gpus)
        taken = str(device) in [f"cuda:{i}" for i in range(n_gpus)]
        assert not taken, f"device_for({local_rank}, {n_gpus}) gave {device}: two processes would share one GPU"
        with raises((ValueError, RuntimeError), f"{n_gpus} GPUs, and local rank {local_rank}: there is none for it"):
            device_for(local_rank, n_gpus)


def test_the_others_wait_until_rank_0_has_written(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"rank": -1, "epoch": 0, "weight": torch.zeros(2)}, path)  # the file of an earlier run
    torch.load(path)  # the first load in a process imports a lot: here, once

    def save_and_look(place):
        rank, save, sleep, saves = dist.get_rank(), torch.save, time.sleep, []

        def slow_save(*args, **kwargs):
            assert rank == 0, f"torch.save was called on rank {rank}, expected: on rank 0 only"
            saves.append(1)
            sleep(0.5 if len(saves) == 1 and epoch == 1 else 0)
            return save(*args, **kwargs)

        for epoch in (1, 2):
            saves.clear()
            with (
                mock.patch.object(torch, "save", slow_save),
                mock.patch.object(time, "sleep", return_value=None),  # to sleep is not to wait for somebody
                explain(f"save_once raised on rank {rank} of 3", _SIGNS),
            ):
                save_once({"rank": rank, "epoch": epoch, "weight": torch.full((2,), 1.0 + rank)}, path)
            times = len(saves)
            assert rank or times == 1, f"torch.save was called {times} times on rank 0 in epoch {epoch}, expected once"
            with explain(f"on rank {rank} torch.load raised after save_once"):
                file = torch.load(path)
            assert (file["rank"], file["epoch"]) == (0, epoch), (
                f"rank {rank} looked before the file was there: it found {file}, expected what rank 0 wrote"
            )
            assert file["weight"].tolist() == [1, 1], f"rank {rank} found {file}, expected the weight of rank 0"
            dist.barrier()  # all have looked

    # Two machines. On each there is a process with the local rank 0.
    _under_torchrun((1, 2), save_and_look)


_SCRIPT = """
import json, os, sys

with open(sys.argv[0] + os.environ["RANK"], "w") as file:
    json.dump({"arguments": sys.argv[1:], **os.environ}, file)
"""


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.myth(
    says="The launcher hands each script --local-rank=N: parse it with argparse (torch.distributed.launch).",
    today="torchrun passes no argument of its own; LOCAL_RANK is an environment variable.",
)
def test_torchrun_speaks_through_the_environment(tmp_path):
    devices = [_device(local_rank, 2) for local_rank in range(2)]
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in (*_TOLD, "OMP_NUM_THREADS")}
    environment["RES_OPTIONS"] = "timeout:1 attempts:1"  # without a network, names are asked for in vain: not for long
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=140)
    assert run.returncode == 0, f"torchrun failed:\n{run.stderr[-2000:]}"
    for rank in range(2):
        told = json.loads(Path(f"{script}{rank}").read_text(encoding="utf-8"))
        missing = [name for name in (*_TOLD, "OMP_NUM_THREADS") if name not in told]
        assert not missing, f"torchrun has not set {missing}"
        numbers = {name: told[name] for name in _TOLD[:5]}
        assert list(numbers.values()) == [str(rank), str(rank), "0", "2", "2"], (
            f"torchrun has told rank {rank} {numbers}"
        )
        assert told["TORCHELASTIC_USE_AGENT_STORE"] == "True", "torchrun does not wait at MASTER_PORT any more"
        assert told["arguments"] == [], f"torchrun has passed {told['arguments']} to the script, expected nothing"
        device = devices[int(told["LOCAL_RANK"])]
        assert device == torch.device("cuda", rank), f"with 2 GPUs, process {rank} takes {device}, expected cuda:{rank}"
