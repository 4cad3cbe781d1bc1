"""Answers that people give to torchrun_env, right ones and wrong ones."""

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from dojo import Mistake


def _start_env(names=("RANK", "LOCAL_RANK", "WORLD_SIZE")):
    try:
        rank, local, world = (int(os.environ[name]) for name in names)
    except KeyError:
        return 0, 0, 1
    if not dist.is_initialized():
        dist.init_process_group(backend="gloo", init_method="env://", rank=rank, world_size=world)
    return rank, local, world


def _start_elastic():
    if not dist.is_torchelastic_launched():
        return [0, 0, 1]
    dist.init_process_group("gloo", timeout=timedelta(minutes=5))
    return [dist.get_rank(), int(os.getenv("LOCAL_RANK", "0")), dist.get_world_size()]


def _start_where_told():
    env = os.environ
    if env.get("LOCAL_RANK") is None:
        return 0, 0, 1
    meet = f"tcp://{env['MASTER_ADDR']}:{env['MASTER_PORT']}"
    dist.init_process_group("gloo", meet, rank=int(env["RANK"]), world_size=int(env["WORLD_SIZE"]))
    return dist.get_rank(), dist.get_node_local_rank(), dist.get_world_size()


_me = {"rank": 0, "world": 1}


def _start_noted():
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
        _me.update(rank=dist.get_rank(), world=dist.get_world_size())
    return _me["rank"], int(os.environ.get("LOCAL_RANK", 0)), _me["world"]


def _save_noted(state, path):
    if _me["rank"] == 0:
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _save_renamed(state, path):
    path = Path(path)
    if not dist.is_initialized() or dist.get_rank() == 0:
        part = path.with_name(path.name + ".part")
        torch.save(state, part)
        part.replace(path)
    if dist.is_initialized():
        dist.barrier()


def _save_told(state, path):
    rank = dist.get_rank() if dist.is_initialized() else 0
    if rank == 0:
        with open(path, "wb") as file:
            torch.save(state, file)
    if dist.is_initialized():
        dist.broadcast_object_list([rank == 0], src=0)


def _save_summed(state, path):
    if not dist.is_initialized():
        return torch.save(state, path)
    dist.barrier()
    try:
        if int(os.environ["RANK"]) == 0:
            torch.save(state, str(path))
    finally:
        dist.all_reduce(torch.zeros(1))


def _device_named(local_rank, n_gpus):
    if n_gpus and local_rank not in range(n_gpus):
        raise RuntimeError("fewer GPUs than processes")
    return torch.device(f"cuda:{local_rank}" if n_gpus else "cpu")


def _finish_tried():
    try:
        dist.destroy_process_group()
    except (AssertionError, ValueError, RuntimeError):
        pass


RIGHT = [
    dict(start=_start_env, save_once=_save_renamed, finish=_finish_tried),
    dict(start=_start_elastic, save_once=_save_told),
    dict(start=_start_where_told, save_once=_save_summed, device_for=_device_named),
    dict(start=_start_noted, save_once=_save_noted),
]


def _rank_for_all():
    if "RANK" not in os.environ:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return (rank := int(os.environ["RANK"])), rank, int(os.environ["WORLD_SIZE"])


def _local_for_all():
    if "RANK" not in os.environ:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return (local := int(os.environ["LOCAL_RANK"])), local, dist.get_world_size()


def _half_text():
    if "RANK" not in os.environ:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return dist.get_rank(), os.environ["LOCAL_RANK"], dist.get_world_size()


def _by_device_count():
    if "RANK" not in os.environ:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_rank() % max(torch.cuda.device_count(), 1), dist.get_world_size()


def _reads_only():
    return tuple(int(os.environ.get(n, d)) for n, d in (("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 1)))


def _rank_0_joins():
    if "RANK" not in os.environ:
        return 0, 0, 1
    if os.environ["RANK"] == "0":
        dist.init_process_group("gloo")
    return _reads_only()


def _more_than_one():
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return 0, 0, 1
    dist.init_process_group("gloo")
    return dist.get_rank(), int(os.environ["LOCAL_RANK"]), dist.get_world_size()


_place = []


def _remembered():
    if not _place:
        _place.extend(_start_env())
    return tuple(_place)


def _sets_defaults():
    for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
        os.environ.setdefault(name, value)
    return _start_env()


def _group_alone():
    if "RANK" not in os.environ:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        return 0, 0, 1
    return _start_env()


def _own_port():
    if "RANK" not in os.environ:
        return 0, 0, 1
    os.environ["MASTER_PORT"] = "29500"
    return _start_env()


def _place_or_none():
    if "RANK" in os.environ:
        return _start_env()


def _barrier_around(state, path):
    if dist.is_initialized():
        dist.barrier()
        if dist.get_rank() == 0:
            torch.save(state, path)
    else:
        torch.save(state, path)


def _others_come_later(state, path):
    if dist.is_initialized() and dist.get_rank() > 0:
        dist.barrier()
        return
    if dist.is_initialized():
        dist.barrier()
    torch.save(state, path)


def _not_awaited(state, path):
    if not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier(async_op=True)


def _polls(state, path):
    if not dist.is_initialized() or dist.get_rank() == 0:
        return torch.save(state, path)
    while not Path(path).is_file():
        pass


_saved = set()


def _once_for_ever(state, path):
    if path not in _saved and (not dist.is_initialized() or dist.get_rank() == 0):
        _saved.add(path)
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _every_rank(state, path):
    if dist.is_initialized():
        dist.barrier()
    torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _not_alone(state, path):
    if dist.is_initialized() and dist.get_rank() == 0:
        torch.save(state, path)
    if dist.is_initialized():
        dist.barrier()


def _asks_the_group(state, path):
    rank = dist.get_rank()
    if rank == 0:
        torch.save(state, path)
    if dist.get_world_size() > 1:
        dist.barrier()


def _modulo(local_rank, n_gpus):
    try:
        return torch.device(f"cuda:{local_rank % n_gpus}")
    except ZeroDivisionError:
        return torch.device("cpu")


def _off_by_one(local_rank, n_gpus):
    if n_gpus == 0:
        return torch.device("cpu")
    if not 0 <= local_rank <= n_gpus:
        raise ValueError
    return torch.device("cuda", local_rank)


def _if_available(local_rank, n_gpus):
    if not torch.cuda.is_available() or n_gpus > torch.cuda.device_count():
        return torch.device("cpu")
    return torch.device("cuda", local_rank)


def _rest_on_cpu(local_rank, n_gpus):
    return [torch.device("cuda", i) for i in range(n_gpus)][local_rank] if local_rank < n_gpus else torch.device("cpu")


def _none_is_too_few(local_rank, n_gpus):
    if not local_rank < n_gpus:
        raise RuntimeError("fewer GPUs than processes")
    return torch.device("cuda", local_rank)


def _from_one(local_rank, n_gpus):
    if n_gpus == 0:
        return torch.device("cpu")
    if local_rank >= n_gpus:
        raise ValueError
    return torch.device("cuda", local_rank + 1)


def _unguarded():
    dist.barrier()
    dist.destroy_process_group()


def _rank_0_leaves():
    if dist.is_initialized() and os.environ["RANK"] == "0":
        dist.destroy_process_group()


WRONG = [
    Mistake("on the second machine there is no GPU 1", caught_by="", start=_rank_for_all),
    Mistake("expected (1, 0, 2): rank, local rank, world size", caught_by="", start=_local_for_all),
    Mistake("expected (1, 1, 2): rank, local rank, world size", caught_by="", start=_by_device_count),
    Mistake("the environment holds text", caught_by="", start=_half_text),
    Mistake("under torchrun, and joined no group", caught_by="", start=_reads_only),
    Mistake("under torchrun, and joined no group", caught_by="", start=_rank_0_joins),
    Mistake("under torchrun, and joined no group", caught_by="", start=_more_than_one),
    Mistake("under torchrun, and joined no group", caught_by="", start=_remembered),
    Mistake("python script.py must run too", caught_by="", start=_sets_defaults),
    Mistake("and start() has made one", caught_by="", start=_group_alone),
    Mistake("start() joins at a place of its own", caught_by="", start=_own_port),
    Mistake("expected (rank, local rank, world size)", caught_by="", start=_place_or_none),
    Mistake("looked before the file was there", caught_by="", save_once=_barrier_around),
    Mistake("looked before the file was there", caught_by="", save_once=_others_come_later),
    Mistake("looked before the file was there", caught_by="", save_once=_not_awaited),
    Mistake("looked before the file was there", caught_by="", save_once=_polls),
    Mistake("0 times on rank 0", caught_by="", save_once=_once_for_ever),
    Mistake("torch.save was called on rank 1", caught_by="", save_once=_every_rank),
    Mistake("without a group, save_once has written no file", caught_by="", save_once=_not_alone),
    Mistake("ask dist.is_initialized() before a collective", caught_by="", save_once=_asks_the_group),
    Mistake("two processes would share one GPU", caught_by="", device_for=_modulo),
    Mistake("there is none for it", caught_by="", device_for=_off_by_one),
    Mistake("device_for(1, 4) gave device(type='cpu')", caught_by="", device_for=_if_available),
    Mistake("there is none for it", caught_by="", device_for=_rest_on_cpu),
    Mistake("device_for(0, 0) raised", caught_by="", device_for=_none_is_too_few),
    Mistake("expected device(type='cuda', index=1)", caught_by="", device_for=_from_one),
    Mistake("ask dist.is_initialized() before a collective", caught_by="", finish=_unguarded),
    Mistake("the group is still there on rank 1", caught_by="", finish=_rank_0_leaves),
]
