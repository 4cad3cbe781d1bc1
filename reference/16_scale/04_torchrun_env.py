"""Who am I, says the environment: reference.

Hint: Which variable is there only if torchrun has started the process? And what is to be done where there is no group?
Hint: Text of `os.environ` becomes a number by `int()`. After joining, the group knows its rank and its size; the local
rank it does not know.
Hint: save_once: rank 0 writes, then all of them, rank 0 too, come to one `dist.barrier()`; alone, write and return.

Why: The rank names a process among all, the local rank its place on one machine, so each has its own use: the rank
decides who writes, the local rank picks the GPU. A wrapped index (`local_rank % n_gpus`) would start, and two processes
would fight for one GPU without a word. The barrier stands after the write: before it, it promises nothing. A script
that asks whether it was launched, rather than assume it, runs in a debugger, in a notebook and on eight machines.
"""

import functools
import os
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dojo import Mistake


def start() -> tuple[int, int, int]:
    if "RANK" not in os.environ:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return dist.get_rank(), int(os.environ["LOCAL_RANK"]), dist.get_world_size()


def device_for(local_rank: int, n_gpus: int) -> torch.device:
    if n_gpus == 0:
        return torch.device("cpu")
    if local_rank >= n_gpus:
        raise ValueError(f"local rank {local_rank} has no GPU: this machine has {n_gpus}")
    return torch.device("cuda", local_rank)


def save_once(state: dict[str, Any], path: str | Path) -> None:
    grouped = dist.is_initialized()
    if not grouped or dist.get_rank() == 0:
        torch.save(state, path)
    if grouped:
        dist.barrier()


def finish() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _launched(then):
    """(0, 0, 1) alone, and `then` under torchrun."""
    return lambda: then() if "RANK" in os.environ else (0, 0, 1)


def _always_joins():
    dist.init_process_group("gloo")
    return dist.get_rank(), int(os.environ["LOCAL_RANK"]), dist.get_world_size()


def _env_unguarded():
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    dist.init_process_group("gloo")
    return rank, local, dist.get_world_size()


def _global_as_local():
    dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_rank(), dist.get_world_size()


def _local_as_global():
    dist.init_process_group("gloo")
    local = int(os.environ["LOCAL_RANK"])
    return local, local, dist.get_world_size()


def _wrapped():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    return rank, rank % int(os.environ["LOCAL_WORLD_SIZE"]), dist.get_world_size()


def _machine_as_local():
    dist.init_process_group("gloo")
    return dist.get_rank(), int(os.environ["GROUP_RANK"]), dist.get_world_size()


def _world_of_one_machine():
    dist.init_process_group("gloo")
    return dist.get_rank(), int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])


def _text():
    dist.init_process_group("gloo")
    return os.environ["RANK"], os.environ["LOCAL_RANK"], os.environ["WORLD_SIZE"]


def _world_in_the_middle():
    rank, local, world = start()
    return rank, world, local


def _does_not_join():
    return int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])


def _joins_only_several():
    rank, local, world = (int(os.environ.get(n, d)) for n, d in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1)))
    if world > 1:
        dist.init_process_group("gloo")
    return rank, local, world


def _a_group_of_one():
    if "RANK" in os.environ:
        return start()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return 0, 0, 1


def _a_port_of_its_own():
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "localhost", "12355"
    return start()


def _an_address_of_its_own():
    rank, local, world = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29500", rank=rank, world_size=world)
    return rank, local, world


def _empty_world():
    return start() if "RANK" in os.environ else (0, 0, 0)


def _barrier_first(state, path):
    if dist.is_initialized():
        dist.barrier()
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(state, path)


def _no_barrier(state, path):
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(state, path)


def _sleeps(state, path):
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(state, path)
    else:
        time.sleep(2)


def _lonely_barrier(state, path):
    if not dist.is_initialized():
        torch.save(state, path)
    elif dist.get_rank() == 0:
        torch.save(state, path)
        dist.barrier()


def _once_a_machine(state, path):
    if os.environ.get("LOCAL_RANK", "0") == "0":
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _each_rank(state, path):
    torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _last_rank(state, path):
    if not dist.is_initialized() or dist.get_rank() == dist.get_world_size() - 1:
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _until_it_exists(state, path):
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(state, path)
    while not os.path.exists(path):
        time.sleep(0.01)


def _needs_a_group(state, path):
    if dist.get_rank() == 0:
        torch.save(state, path)
    dist.barrier()


def _only_in_a_group(state, path):
    if dist.is_initialized():
        save_once(state, path)


def _only_a_new_file(state, path):
    if not os.path.exists(path):
        save_once(state, path)
    elif dist.is_initialized():
        dist.barrier()


def _as_launched(state, path):
    if int(os.environ.get("RANK", 0)) == 0:
        torch.save(state, path)
    if "RANK" in os.environ:
        dist.barrier()


def _weights_only(state, path):
    save_once({"weight": state.get("weight"), "rank": 0, "epoch": 1}, path)


def _share(local_rank, n_gpus):
    return torch.device("cuda", local_rank % n_gpus) if n_gpus else torch.device("cpu")


def _last_gpu(local_rank, n_gpus):
    return torch.device("cuda", min(local_rank, n_gpus - 1)) if n_gpus else torch.device("cpu")


def _one_too_many(local_rank, n_gpus):
    if local_rank > n_gpus > 0:
        raise ValueError("too few GPUs")
    return torch.device("cuda", local_rank) if n_gpus else torch.device("cpu")


def _raises_without_gpus(local_rank, n_gpus):
    if local_rank >= n_gpus:
        raise ValueError("too few GPUs")
    return torch.device("cuda", local_rank)


def _cpu_for_the_rest(local_rank, n_gpus):
    return torch.device("cuda", local_rank) if local_rank < n_gpus else torch.device("cpu")


def _this_machine(local_rank, n_gpus):
    if local_rank >= max(n_gpus, 1):
        raise ValueError("too few GPUs")
    return torch.device("cuda", local_rank) if n_gpus <= torch.cuda.device_count() else torch.device("cpu")


def _asserts(local_rank, n_gpus):
    assert not n_gpus or local_rank < n_gpus, "too few GPUs"
    return device_for(local_rank, n_gpus)


def _without_index(local_rank, n_gpus):
    device_for(local_rank, n_gpus)
    return torch.device("cuda") if n_gpus else torch.device("cpu")


def _finish_on_rank_0():
    if dist.is_initialized() and dist.get_rank() == 0:
        dist.destroy_process_group()


def _barrier_is_enough():
    if dist.is_initialized():
        dist.barrier()


def _finish_if_launched():
    if "RANK" in os.environ:
        dist.destroy_process_group()


_WHO = "test_the_environment_says_who_a_process_is_and_the_group_agrees"
_MACHINES = "test_ranks_count_over_all_machines_and_local_ranks_on_one"
_ALONE = "test_the_same_script_runs_alone_and_under_torchrun"
_LEFT = "test_a_group_is_left_once_and_then_the_process_is_alone"
_GPU = "test_each_process_has_a_gpu_of_its_own"
_WAIT = "test_the_others_wait_until_rank_0_has_written"

_RUN_ALONE = "python script.py must run too"
_LOOKED = "looked before the file was there"
_OWN_PLACE = "start() joins at a place of its own"
_NO_GROUP = "ask dist.is_initialized() before a collective"

MISTAKES = [
    Mistake("on the second machine there is no GPU 1", caught_by=_MACHINES, start=_launched(_global_as_local)),
    Mistake("expected (1, 0, 2): rank, local rank, world size", caught_by=_MACHINES, start=_launched(_local_as_global)),
    Mistake("expected (1, 0, 3): rank, local rank, world size", caught_by=_MACHINES, start=_launched(_wrapped)),
    Mistake("expected (1, 1, 2): rank, local rank, world size", caught_by=_WHO, start=_launched(_machine_as_local)),
    Mistake(
        "expected (0, 0, 2): rank, local rank, world size", caught_by=_MACHINES, start=_launched(_world_of_one_machine)
    ),
    Mistake("the environment holds text", caught_by=_WHO, start=_launched(_text)),
    Mistake("expected (0, 0, 2): rank, local rank, world size", caught_by=_WHO, start=_launched(_world_in_the_middle)),
    Mistake("under torchrun, and joined no group", caught_by=_WHO, start=_launched(_does_not_join)),
    Mistake("under torchrun, and joined no group", caught_by=_ALONE, start=_joins_only_several),
    Mistake("under torchrun, and joined no group", caught_by=_ALONE, start=functools.cache(start)),
    Mistake(_RUN_ALONE, caught_by=_ALONE, start=_always_joins),
    Mistake(_RUN_ALONE, caught_by=_ALONE, start=_env_unguarded),
    Mistake("and start() has made one", caught_by=_ALONE, start=_a_group_of_one),
    Mistake("without torchrun, start() gave (0, 0, 0)", caught_by=_ALONE, start=_empty_world),
    Mistake(_OWN_PLACE, caught_by=_WHO, start=_launched(_a_port_of_its_own)),
    Mistake(_OWN_PLACE, caught_by=_WHO, start=_launched(_an_address_of_its_own)),
    Mistake("expected (rank, local rank, world size)", caught_by=_WHO, start=_launched(lambda: start()[0])),
    Mistake("two processes would share one GPU", caught_by=_GPU, device_for=_share),
    Mistake("two processes would share one GPU", caught_by=_GPU, device_for=_last_gpu),
    Mistake("there is none for it", caught_by=_GPU, device_for=_one_too_many),
    Mistake("there is none for it", caught_by=_GPU, device_for=_cpu_for_the_rest),
    Mistake("device_for(0, 0) raised", caught_by=_GPU, device_for=_raises_without_gpus),
    Mistake("device_for(1, 4) gave device(type='cpu')", caught_by=_GPU, device_for=_this_machine),
    Mistake("got AssertionError: too few GPUs", caught_by=_GPU, device_for=_asserts),
    Mistake("expected device(type='cuda', index=1)", caught_by=_GPU, device_for=_without_index),
    Mistake(
        "expected device(type='cuda', index=1)",
        caught_by=_GPU,
        device_for=lambda local_rank, n_gpus: str(device_for(local_rank, n_gpus)),
    ),
    Mistake(_LOOKED, caught_by=_WAIT, save_once=_barrier_first),
    Mistake(_LOOKED, caught_by=_WAIT, save_once=_no_barrier),
    Mistake(_LOOKED, caught_by=_WAIT, save_once=_sleeps),
    Mistake(_LOOKED, caught_by=_WAIT, save_once=_lonely_barrier),
    Mistake(_LOOKED, caught_by=_WAIT, save_once=_until_it_exists),
    Mistake("torch.save was called on rank 1", caught_by=_WAIT, save_once=_once_a_machine),
    Mistake("torch.save was called on rank 1", caught_by=_WAIT, save_once=_each_rank),
    Mistake("torch.save was called on rank 2", caught_by=_WAIT, save_once=_last_rank),
    Mistake("0 times on rank 0", caught_by=_WAIT, save_once=_only_a_new_file),
    Mistake("expected what rank 0 wrote", caught_by=_WAIT, save_once=_weights_only),
    Mistake(_NO_GROUP, caught_by=_ALONE, save_once=_needs_a_group),
    Mistake("without a group, save_once has written no file", caught_by=_ALONE, save_once=_only_in_a_group),
    Mistake(_NO_GROUP, caught_by=_LEFT, save_once=_as_launched),
    Mistake("the group is still there on rank 1", caught_by=_LEFT, finish=_finish_on_rank_0),
    Mistake("the group is still there on rank", caught_by=_LEFT, finish=_barrier_is_enough),
    Mistake("there is no group to leave here", caught_by=_LEFT, finish=_finish_if_launched),
    Mistake("there is no group to leave here", caught_by=_ALONE, finish=dist.destroy_process_group),
]

KEEP = {
    _WHO: "it is the plain case, one machine; what breaks it mostly breaks two machines as well",
    "test_torchrun_speaks_through_the_environment": (
        "only the real torchrun shows that it sets what the other tests set in its place"
    ),
}
