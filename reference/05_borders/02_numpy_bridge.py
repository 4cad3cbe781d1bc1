"""The NumPy bridge: reference.

Hint: For each function ask: must the two sides see each other's writes? Then ask who has to copy, NumPy or torch.
Hint: `torch.from_numpy` shares, `ndarray.copy` writes any strides out in order, `Tensor.detach` leaves the graph.
Hint: For `export`: no graph, a dtype that NumPy has, the CPU, then `.numpy()`. For `add_array_`: wrap first, then add.

Why: `from_numpy` is the honest half: it shares, always. Copy on NumPy's side (`a.copy()`) and flips are gone as well;
`np.ascontiguousarray` is no such cure: it shares what is contiguous already, and NumPy counts one row with a negative
stride as contiguous. `numpy(force=True)` does detach and cpu, yet not bfloat16. `t += array` fails to be in-place
because Tensor has no in-place addition for arrays: Python falls back to t + array, and NumPy decides the dtype.
"""

import numpy as np
import torch

from dojo import Mistake


def wrap(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(a)


def own(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(a.copy())


def export(t: torch.Tensor) -> np.ndarray:
    t = t.detach().cpu()
    return (t.float() if t.dtype == torch.bfloat16 else t).numpy()


def add_array_(t: torch.Tensor, a: np.ndarray) -> torch.Tensor:
    return t.add_(torch.from_numpy(a).to(t.device))


def _dtype_of(a):
    return torch.from_numpy(np.empty(0, a.dtype)).dtype


def _export_and_stop_training(t):
    t.requires_grad_(False) if t.is_leaf else t.detach_()
    return t.float().numpy()


def _export_bits(t):
    t = t.detach()
    return t.view(torch.int16).numpy() if t.dtype == torch.bfloat16 else t.numpy()


def _export_by_half(t):
    t = t.detach().cpu()
    return (t.half() if t.dtype == torch.bfloat16 else t).numpy()


def _export_by_data(t):
    t.data = t.data.float()
    return t.detach().cpu().numpy()


def _plus_equals(t, a):
    t += a
    return t


def _plus(t, a):
    t = t + torch.from_numpy(a).to(t.dtype)
    return t


def _swap_memory(t, a):
    t.data = t.data + torch.from_numpy(a).to(t.dtype)
    return t


def _swap_memory_and_dtype(t, a):
    t.data = t.data + torch.from_numpy(a)
    return t


def _add_and_return_nothing(t, a):
    t.add_(torch.from_numpy(a))


_ONE_MEMORY = "test_a_tensor_and_an_array_can_be_two_names_for_one_memory"
_CONVERSION = "test_a_conversion_that_changes_nothing_does_not_copy"
_FLIPPED = "test_torch_knows_no_negative_strides"
_GRAPH = "test_a_tensor_leaves_without_its_graph_and_its_device"
_BFLOAT = "test_numpy_has_no_bfloat16"
_IN_PLACE = "test_plus_equals_an_array_is_not_in_place"


def _export_floats_as_float32(t):
    return (t.float() if t.is_floating_point() else t).detach().cpu().numpy()


MISTAKES = [
    Mistake(
        "export of torch.int64",
        caught_by="test_a_tensor_leaves_without_its_graph_and_its_device",
        export=lambda t: t.detach().cpu().double().numpy() if t.is_floating_point() else t.cpu().int().numpy(),
    ),
    Mistake("export of torch.float64", caught_by=_GRAPH, export=_export_floats_as_float32),
    Mistake("export of torch.int64", caught_by=_GRAPH, export=lambda t: t.float().numpy(force=True)),
    Mistake("expected shape (0, 3), got (0,)", caught_by=_GRAPH, export=lambda t: np.array(t.tolist())),
    Mistake(
        "and 1 + 1 / 3 is", caught_by=_IN_PLACE, add_array_=lambda t, a: t.add_(torch.from_numpy(a.astype(np.float32)))
    ),
    Mistake("in its own dtype", caught_by=_IN_PLACE, add_array_=_swap_memory_and_dtype),
    Mistake("you copied: a write to the array must show", caught_by=_ONE_MEMORY, wrap=lambda a: torch.tensor(a)),
    Mistake(
        "another dtype needs other memory, a copy",
        caught_by=_ONE_MEMORY,
        wrap=lambda a: torch.as_tensor(a, dtype=torch.float32),
    ),
    Mistake("another dtype needs other memory, a copy", caught_by=_ONE_MEMORY, wrap=lambda a: torch.Tensor(a)),
    Mistake(
        "you copied the columns together",
        caught_by="test_sharing_memory_works_with_gaps_between_the_values",
        wrap=lambda a: torch.from_numpy(np.ascontiguousarray(a)),
    ),
    Mistake(
        "you copied the columns together",
        caught_by="test_sharing_memory_works_with_gaps_between_the_values",
        wrap=lambda a: torch.from_numpy(a.reshape(-1)).view(a.shape),
    ),
    Mistake(
        "your tensor lives in the array's memory",
        caught_by=_CONVERSION,
        own=lambda a: torch.from_numpy(a.copy() if min(a.strides) < 0 else a).to(_dtype_of(a)),
    ),
    Mistake(
        "values of a float64 array as a float64 tensor",
        caught_by=_CONVERSION,
        own=lambda a: torch.from_numpy(a.copy()).float(),
    ),
    Mistake("torch refuses negative strides", caught_by=_FLIPPED, own=lambda a: torch.tensor(a)),
    Mistake("one row flipped: torch refuses", caught_by=_FLIPPED, own=lambda a: torch.tensor(np.ascontiguousarray(a))),
    Mistake(
        "in its order",
        caught_by=_FLIPPED,
        own=lambda a: torch.from_numpy(a[:, ::-1].copy()).flip(0) if min(a.strides) < 0 else torch.from_numpy(a.copy()),
    ),
    Mistake("leave both behind", caught_by=_GRAPH, export=lambda t: t.float().numpy()),
    Mistake("w is not as it was: requires_grad", caught_by=_GRAPH, export=_export_and_stop_training),
    Mistake("expected a numpy.ndarray", caught_by=_GRAPH, export=lambda t: t.detach().cpu().tolist()),
    Mistake("give it a dtype that it has", caught_by=_BFLOAT, export=lambda t: t.detach().numpy()),
    Mistake("give it a dtype that it has", caught_by=_BFLOAT, export=lambda t: t.numpy(force=True)),
    Mistake("the numbers, not the bits", caught_by=_BFLOAT, export=_export_bits),
    Mistake("float16 ends at 65504", caught_by=_BFLOAT, export=_export_by_half),
    Mistake("you changed the tensor: after export it is", caught_by=_BFLOAT, export=_export_by_data),
    Mistake("the sum went to a new tensor, not to t", caught_by=_IN_PLACE, add_array_=_plus_equals),
    Mistake("the sum went to a new tensor, not to t", caught_by=_IN_PLACE, add_array_=_plus),
    Mistake("bring a over", caught_by=_IN_PLACE, add_array_=lambda t, a: t.add_(a)),
    Mistake("you gave t new memory", caught_by=_IN_PLACE, add_array_=_swap_memory),
    Mistake("add_array_ returns t itself", caught_by=_IN_PLACE, add_array_=_add_and_return_nothing),
    Mistake(
        "you added to a copy of t",
        caught_by=_IN_PLACE,
        add_array_=lambda t, a: t.contiguous().add_(torch.from_numpy(a)),
    ),
]
