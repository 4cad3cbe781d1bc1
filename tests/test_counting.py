"""Counting reads and compiled programs, in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dojo.kit import CountingBackend, CountReads

READS: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": torch.Tensor.item,
    "float": float,
    "bool": bool,
    "a format": lambda x: f"{x:.2f}",
    "an f-string": lambda x: f"{x}",
    "str": str,
    "tolist": torch.Tensor.tolist,
    "numpy": lambda x: x.numpy(),
    "asarray": np.asarray,
    "cpu": lambda x: x.cpu(),
    "allclose": lambda x: torch.allclose(x, torch.ones(())),
    "equal": lambda x: torch.equal(x, torch.ones(())),
}


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_each_way_to_read_a_value_counts_once(how: str, mode: Callable[[], Any]) -> None:
    with mode(), CountReads() as reads:
        READS[how](torch.ones(()))
    assert reads.count == 1
    with CountReads() as reads, mode():
        READS[how](torch.ones(()))
    assert reads.count == 1


SHAPES: dict[str, Callable[[torch.Tensor], Any]] = {
    "a mask": lambda x: x[x > 1],
    "nonzero": torch.nonzero,
    "where": lambda x: torch.where(x > 1),
    "masked_select": lambda x: torch.masked_select(x, x > 1),
    "unique": torch.unique,
}


@pytest.mark.parametrize("how", SHAPES)
def test_a_shape_that_depends_on_values_is_a_read(how: str) -> None:
    with CountReads() as reads:
        SHAPES[how](torch.arange(3.0))
    assert (reads.count, reads.shapes) == (1, 1)


def test_each_tensor_in_a_list_is_a_read_and_cpu_is_a_copy() -> None:
    x = torch.arange(3.0)
    with CountReads() as reads:
        torch.tensor([x[0], 2.0, x[1]])
    assert (reads.count, reads.copies) == (2, 0)
    for home in (x.cpu, lambda: x.to("cpu"), lambda: x.to(device="cpu")):
        with CountReads() as reads:
            home()
        assert (reads.count, reads.copies) == (1, 1)
    with CountReads(inputs=[x]) as reads:
        x.to("cpu"), x.to(torch.device("cpu")), x.to(torch.float64)
    assert (reads.count, reads.copies) == (0, 0)


def test_arithmetic_reads_nothing_and_counting_ends_with_the_block() -> None:
    x = torch.ones(3)
    with CountReads() as reads:
        ((x * 2).sum() + x.max()).to(torch.float64)
        torch.nn.functional.cross_entropy(torch.ones(2, 3), torch.tensor([0, 2]))
    x[0].item()
    assert reads.count == 0


def test_graphs_are_counted_without_a_compiler() -> None:
    torch.compiler.reset()
    backend = CountingBackend()
    double = torch.compile(lambda x: x * 2, backend=backend)
    assert double(torch.ones(2)).tolist() == [2, 2]
    assert double(torch.ones(2)).tolist() == [2, 2]
    assert backend.graphs == 1
    double(torch.ones(2, dtype=torch.float64))
    assert backend.graphs == 2
