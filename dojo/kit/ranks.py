"""Ranks of one torch.distributed group, as processes on this machine, in a test that must not hang."""

from __future__ import annotations

import contextlib
import datetime
import gc
import multiprocessing
import os
import pickle
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

_HOLD = 3.0  # seconds that a rank waits for the others' reports: one that leaves early breaks their handshake
_LEFT = re.compile(r"Connection closed by peer|Read error|Timed out waiting|Connection reset|Broken pipe")
_EVERY_RANK = "every rank must call every collective, in the same order"


def run_ranks(fn: Callable[[int, int], Any], world: int, seconds: float = 4.0) -> list[Any]:
    """What `fn(rank, world)` returns in each of `world` processes that form one gloo group: a list by rank.

    seconds: how long a rank may wait for another one. What comes back is pickled. Where a rank fails, its own error
    comes as an AssertionError that names the rank (a stub's as it is); then a rank that left without taking part, or
    that did not come back in time. Forked where the system can (0.2 s for two); no port is opened, so tests may run
    side by side.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = (Path(folder) / "store").as_uri()
        return _run([partial(_in_a_group, fn, rank, world, store, seconds) for rank in range(world)], seconds)


def run_as_torchrun(fn: Callable[[], Any], machines: Sequence[int] = (2,), seconds: float = 4.0) -> list[Any]:
    """What `fn()` returns in each process that torchrun would start, as a list by rank; `fn` joins the group itself.

    machines: how many processes each machine has. Each process finds torchrun's environment variables, and behind
    MASTER_PORT a store that is there already, as torchrun's agent has it; the port is a free one. Results and errors as
    in run_ranks. `fn` must put a barrier between joining the group and leaving it: who leaves at once breaks the
    others' handshake.
    """
    with _agent() as port:
        return _run([partial(_in_an_environment, fn, told) for told in _environments(machines, port)], seconds)


def _environments(machines: Sequence[int], port: int) -> list[dict[str, str]]:
    """What torchrun tells each process, by rank."""
    environments = []
    places = [(machine, local) for machine, processes in enumerate(machines) for local in range(processes)]
    for rank, (machine, local) in enumerate(places):
        environment: dict[str, str | int] = {"RANK": rank, "LOCAL_RANK": local, "GROUP_RANK": machine}
        environment |= {"WORLD_SIZE": len(places), "LOCAL_WORLD_SIZE": machines[machine]}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment |= {"TORCHELASTIC_RUN_ID": "kata", "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0}
        # env:// then connects to the store, rather than open one of its own.
        environment |= {"TORCHELASTIC_USE_AGENT_STORE": True, "OMP_NUM_THREADS": 1}
        environments.append({name: str(value) for name, value in environment.items()})
    return environments


@contextlib.contextmanager
def _agent() -> Iterator[int]:
    """The port of a store, in a process of its own: its thread would not survive the forking of the ranks."""
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_keep_a_store, args=(ours, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        try:
            port = ours.recv()
        except EOFError:
            raise RuntimeError("the process of the ranks' store ended before it had a port") from None
        yield port
    finally:
        ours.close()
        process.kill()
        process.join()


def _keep_a_store(parents: Connection, ours: Connection) -> None:
    parents.close()
    # The store asks for the name of each client. Without a network it would wait 5 s for an answer.
    os.environ["RES_OPTIONS"] = "timeout:1 attempts:1"
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    ours.send(store.port)
    with contextlib.suppress(EOFError):
        ours.recv()  # until the parent closes its end, or dies
    os._exit(0)


def _context() -> Any:
    forks = "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if forks else "spawn")


@contextlib.contextmanager
def group_of_one(backend: str = "gloo") -> Iterator[None]:
    """A process group of this process alone: what a collective does to its tensors, without a second process.

    With "nccl" the tensors must be on the GPU; one GPU is enough.
    """
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _in_a_group(fn: Callable[[int, int], Any], rank: int, world: int, store: str, seconds: float) -> Any:
    timeout = datetime.timedelta(seconds=seconds)
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=timeout)
    distributed.barrier()  # who leaves right after joining breaks the others' handshake
    return fn(rank, world)


def _in_an_environment(fn: Callable[[], Any], environment: dict[str, str]) -> Any:
    os.environ.update(environment)
    return fn()


def _run(jobs: Sequence[Callable[[], Any]], seconds: float) -> list[Any]:
    """What each job returns, each run as one rank in a process of its own."""
    # An optimizer's or DDP's first use imports 900 modules: here, once, rather than in each rank.
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    context = _context()
    forks = context.get_start_method() == "fork"
    all_reported = context.Event()
    ranks = []
    for job in jobs:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_be_a_rank, args=(job, theirs, all_reported), daemon=True)
        process.start()
        theirs.close()
        ranks.append((process, ours))
    try:
        reports = _reports([ours for _, ours in ranks], seconds + _HOLD + (0 if forks else 30))
    finally:
        all_reported.set()
        for process, ours in ranks:
            process.join(0.5)
            process.kill()
            process.join()
            ours.close()
    return _results(reports)


def _be_a_rank(job: Callable[[], Any], theirs: Connection, hold: Any) -> None:
    # What the parent left behind, such as a store with a thread, must not be collected here: that crashes.
    gc.freeze()
    torch.set_num_threads(1)
    try:
        report = pickle.dumps((True, job()))
    except BaseException as error:
        stub = isinstance(error, NotImplementedError)
        says_it_all = stub or (isinstance(error, AssertionError) and str(error))
        report = pickle.dumps((False, (str(error) if says_it_all else f"{type(error).__name__}: {error}", stub)))
    theirs.send_bytes(report)
    hold.wait(_HOLD)
    os._exit(0)


def _reports(pipes: list[Connection], seconds: float) -> list[tuple[bool, Any] | None]:
    """What each rank has to say; None for one that said nothing in time, or died."""
    reports: list[tuple[bool, Any] | None] = [None] * len(pipes)
    until, open_pipes = time.monotonic() + seconds, dict(enumerate(pipes))
    while open_pipes and (left := until - time.monotonic()) > 0:
        ready = wait(list(open_pipes.values()), left)
        for rank, pipe in [(rank, pipe) for rank, pipe in open_pipes.items() if pipe in ready]:
            del open_pipes[rank]
            try:
                reports[rank] = pickle.loads(pipe.recv_bytes())
            except EOFError:  # it died
                continue
    return reports


def _results(reports: list[tuple[bool, Any] | None]) -> list[Any]:
    """The values, or the error that says most: a stub's, a rank's own, that of a rank left alone, a silent rank."""
    errors = {rank: report[1] for rank, report in enumerate(reports) if report is not None and not report[0]}
    if stubs := [text for text, stub in errors.values() if stub]:
        raise NotImplementedError(stubs[0])
    own = {rank: text for rank, (text, _) in errors.items() if not _LEFT.search(text)}
    if own:
        rank = min(own)
        raise AssertionError(f"rank {rank} of {len(reports)}: {own[rank]}")
    if errors:
        rank = min(errors)
        line = errors[rank][0].splitlines()[0]
        raise AssertionError(f"one rank left without taking part: {_EVERY_RANK}\n(rank {rank} saw: {line})")
    if None in reports:
        silent = reports.index(None)
        raise AssertionError(f"rank {silent} of {len(reports)} did not come back: {_EVERY_RANK}, and then return")
    return [report[1] for report in reports if report is not None]
