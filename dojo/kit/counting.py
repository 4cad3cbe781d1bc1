"""Counting instead of timing: how often a value is read, how many programs torch.compile makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that hand a value to Python. Under inference_mode the composite ones come as they are, elsewhere as what
# they are made of. (Measured with torch 2.11 and 2.15.)
_READS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "allclose"}
# Operations whose result has a shape that depends on values; so has an index by a mask, and `where` of a mask alone.
_SELECTIONS = {"nonzero", "nonzero_numpy", "argwhere", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}
# Ways to a tensor's values that dispatch no operation of their own.
_SILENT_READS = {"tolist", "numpy", "__array__", "__dlpack__", "__repr__", "cpu"}
# Functions that read the tensors in a list one by one.
_READ_LISTS = {"tensor", "as_tensor", "asarray", "new_tensor"}


class CountReads:
    """How often, inside a `with` block, Python asks for values of a tensor: on a GPU each time it waits for it.

    `.item()`, `float(t)`, `if t:`, `f"{t}"`, `tolist`, `numpy`, `cpu`, `print` each count once, and so does each tensor
    in a list that becomes a tensor, and each operation whose shape depends on values. `count` is the sum; of it,
    `shapes` were for a shape, and `copies` were calls of `cpu()` or `to("cpu")`.

    inputs: tensors that may be moved by `to("cpu")` without a read: the model may be there.
    """

    def __init__(self, inputs: Iterable[torch.Tensor] = ()) -> None:
        self.count = self.shapes = self.copies = 0
        self.inputs = list(inputs)

    def __enter__(self) -> CountReads:
        self._modes = (_Functions(self), _Operations(self))
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)


class _Operations(TorchDispatchMode):
    def __init__(self, reads: CountReads) -> None:
        super().__init__()
        self.reads = reads

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No torch.compile here: see OneDevicePerOp."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        for_a_shape = name in _SELECTIONS or (name == "where" and len(args) == 1) or _by_a_mask(name, args)
        self.reads.shapes += for_a_shape
        self.reads.count += for_a_shape or name in _READS
        return func(*args, **(kwargs or {}))


def _by_a_mask(name: str, args: tuple[Any, ...]) -> bool:
    return name == "index" and any(x is not None and x.dtype == torch.bool for x in args[1])


class _Functions(TorchFunctionMode):
    def __init__(self, reads: CountReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        moved = name == "to" and self._leaves(args, kwargs)
        self.reads.copies += moved or name == "cpu"
        self.reads.count += moved or name in _SILENT_READS
        if name in _READ_LISTS:
            lists = [x for x in (*args, *kwargs.values()) if isinstance(x, list | tuple)]
            self.reads.count += sum(isinstance(x, torch.Tensor) for values in lists for x in values)
        return func(*args, **kwargs)

    def _leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Does `to` bring a tensor home? Only the word "cpu" says so: a torch.device may be that of the model."""
        home = "cpu" in [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
        return home and all(args[0] is not one for one in self.reads.inputs)


class CountingBackend:
    """A backend for torch.compile that compiles nothing: it runs each graph as it was traced, and counts in `graphs`.

    No C++ compiler is needed. Begin each count with `torch.compiler.reset()`; compare with 1, never with a number of
    graph breaks, which changes from one torch to the next.
    """

    graphs: int = 0

    def __call__(self, graph: torch.fx.GraphModule, example_inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward
