"""Worker processes of a DataLoader in a test."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from dojo.kit import workers


class Pids(Dataset[int]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, i: int) -> int:
        return os.getpid()


class Hangs(Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> int:
        time.sleep(2)
        return i


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")  # more than there may be cores
@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_worker_is_a_process_of_its_own(count: int) -> None:
    pids = set(DataLoader(Pids(), batch_size=None, **workers(count)))
    assert len(pids) == max(count, 1)
    assert (os.getpid() in pids) == (count == 0)


def test_a_worker_that_hangs_raises() -> None:
    settings: dict[str, Any] = workers(2)
    assert 0 < settings["timeout"] <= 20
    with pytest.raises(RuntimeError, match="timed out"):
        next(iter(DataLoader(Hangs(), **{**settings, "timeout": 0.2})))


def test_a_worker_computes_with_one_thread_after_its_parent_has_used_more() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(300, 300) @ torch.randn(300, 300)
        ones = torch.ones(4, 300, 300)
        total = sum(x.item() for x in DataLoader(Products(ones), batch_size=None, **workers(2)))
    finally:
        torch.set_num_threads(before)
    assert total == 4 * 300**3


class Products(Dataset[torch.Tensor]):
    def __init__(self, parts: torch.Tensor) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, i: int) -> torch.Tensor:
        return (self.parts[i] @ self.parts[i]).sum()
