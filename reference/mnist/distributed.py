"""More than one process: `torchrun --nproc-per-node N -m reference.mnist`. Without torchrun there is one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed


@dataclass(frozen=True)
class Team:
    """This process among those of the run."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Only the first process measures, prints and writes."""
        return self.rank == 0

    def share_of(self, batch: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch. All parts have one size: then the mean of their gradients is the batch's."""
        return batch[self.rank :: self.size]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Has one of the processes raised its flag? All must ask, at the same step."""
        if self.size == 1:
            return flag
        raised = torch.tensor([float(flag)], device=device)
        torch.distributed.all_reduce(raised)
        return raised.item() > 0


def team_size() -> int:
    """How many processes torchrun has started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def leads() -> bool:
    """Is this the first process? Known before it has joined the others."""
    return int(os.environ.get("RANK", 0)) == 0


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Join the other processes: over gloo on the CPU, over nccl on CUDA."""
    if team_size() == 1:
        yield Team()
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
