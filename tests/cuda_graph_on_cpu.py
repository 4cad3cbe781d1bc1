"""A CUDA graph without a GPU: recording does nothing; a replay does the same operations on the same memory.

It shows what a graph would get wrong: a number that was recorded as it was then, a tensor that is another one the next
time, a value that is asked for. It does not show what only a real GPU has: streams, its memory pool, its own kernels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


class Graph(TorchDispatchMode):
    """Stands for torch.cuda.CUDAGraph; entered, it records."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: list[tuple[Any, Any, Any, Any]] = []
        self.made: set[int] = set()  # addresses of memory that was made while recording
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self.replays = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        for x in _tensors((args, kwargs)):
            storage = x.untyped_storage()
            if storage.data_ptr() not in self.made | self.before.keys():
                self.before[storage.data_ptr()] = storage, storage.clone()
        out = func(*args, **kwargs)
        self.made |= {x.untyped_storage().data_ptr() for x in _tensors(out)} - self.before.keys()
        self.tape.append((func, args, kwargs, out))
        return out

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for storage, content in self.before.values():
            storage.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self.tape:
            given = {x.untyped_storage().data_ptr() for x in _tensors((args, kwargs))}
            for old, new in zip(_tensors(out), _tensors(func(*args, **kwargs)), strict=True):
                if old.untyped_storage().data_ptr() not in given:  # else it was written in place, or is a view
                    old.copy_(new)


@contextlib.contextmanager
def cuda_graphs_on_cpu() -> Iterator[list[Graph]]:
    """torch.cuda's graphs and streams work on the CPU; gives the list of the graphs that were made."""
    graphs: list[Graph] = []

    def new_graph() -> Graph:
        graphs.append(Graph())
        return graphs[-1]

    stand_ins = {
        "CUDAGraph": new_graph,
        "graph": lambda graph: graph,
        "Stream": mock.MagicMock(),
        "current_stream": mock.MagicMock(),
        "stream": lambda stream: contextlib.nullcontext(),
    }
    with contextlib.ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        yield graphs
