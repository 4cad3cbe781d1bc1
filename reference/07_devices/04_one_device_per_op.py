"""One device per operation: reference.

Hint: Strike out every tensor that stands for a plain number (which two things must it be?), then look at who is left.
Hint: `Tensor.dim()` is 0 for a plain number; a set of `Tensor.device` knows how many devices are left; `Tensor.to`
returns the tensor on another device, and the one you have stays where it was.
Hint: Build the set of devices of all but the 0-dim CPU tensors. Two in it: raise. One: that is it. None: the CPU.

Why: Two tensors on two devices have no common memory, and a hidden copy would cost more than the operation. A 0-dim
CPU tensor is read without waiting and travels as a number in the kernel's arguments; a 0-dim GPU tensor cannot be
read without waiting for the GPU. Plain indexing `table[ids]` takes CPU ids too, F.embedding does not. Move the small
tensor to the big one, once, before the loop.
"""

import torch
import torch.nn.functional as F

from dojo import Mistake


def common_device(*tensors: torch.Tensor) -> torch.device:
    cpu = torch.device("cpu")
    devices = {t.device for t in tensors if t.dim() > 0 or t.device != cpu}
    if len(devices) > 1:
        raise RuntimeError(f"tensors on different devices: {', '.join(sorted(map(str, devices)))}")
    return devices.pop() if devices else cpu


def matmul_on(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x @ w.to(x.device)


def lookup(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return F.embedding(ids.to(table.device), table)


def _one_device(devices):
    if len(devices) > 1:
        raise RuntimeError("two devices")
    return devices.pop() if devices else torch.device("cpu")


def _drop_the_moved(x, w):
    w.to(x.device)
    return x @ w


def _move_the_callers(x, w):
    if w.device != x.device:
        w.data = torch.empty_like(w, device=x.device)
    return x @ w


def _no_one_left(*tensors):
    devices = {t.device for t in tensors if t.dim() > 0 or t.device.type != "cpu"}
    if len(devices) != 1:
        raise RuntimeError("not one device")
    return devices.pop()


def _any_number_goes_along(*tensors):
    """Of another device, where there is one."""
    vectors = {t.device for t in tensors if t.dim() > 0}
    return _one_device(vectors or {t.device for t in tensors if t.device.type != "cpu"})


def _compare_neighbours_with_the_first(*tensors):
    for t in tensors[1:]:
        if t.device != tensors[0].device and t.dim() > 0:
            raise RuntimeError("two devices")
    return tensors[0].device


def _compare_the_types(*tensors):
    left = [t for t in tensors if t.dim() > 0 or t.device.type != "cpu"]
    _one_device({t.device.type for t in left})
    return left[0].device if left else torch.device("cpu")


def _numbers_of_any_gpu(*tensors):
    vectors = {t.device for t in tensors if t.dim() > 0}
    if torch.device("cpu") in vectors:
        return common_device(*tensors)
    return _one_device(vectors or {t.device for t in tensors if t.device.type != "cpu"})


def _nothing_to_compare(*tensors):
    if len(tensors) < 2:
        raise RuntimeError("give two tensors or more")
    return common_device(*tensors)


def _detach_what_moves(x, w):
    if w.device != x.device:
        w = w.detach().to(x.device).requires_grad_()
    return x @ w


def _two_dimensions_of_ids(table, ids):
    return torch.stack([torch.stack([table[i] for i in row]) for row in ids])


_MIXED = "the two tensors met on two devices"
_LEFT = "something left the device of the first tensor"
_NUMBER = "a 0-dim CPU tensor is a plain number"

MISTAKES = [
    Mistake(
        "no gradient reaches w where w has to move",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=_detach_what_moves,
    ),
    Mistake(
        "its first tensor on the CPU and the second elsewhere: the two tensors met",
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: table[ids],
    ),
    Mistake(
        _NUMBER,
        caught_by="test_a_0_dim_cpu_tensor_goes_along_with_any_device",
        common_device=lambda *ts: _one_device({t.device for t in ts}),
    ),
    Mistake(
        "not even as the first one",
        caught_by="test_a_0_dim_cpu_tensor_goes_along_with_any_device",
        common_device=_compare_neighbours_with_the_first,
    ),
    Mistake(
        "where all are 0-dim CPU tensors",
        caught_by="test_a_0_dim_cpu_tensor_goes_along_with_any_device",
        common_device=_no_one_left,
    ),
    Mistake(
        "a 0-dim CPU tensor is a plain number",
        caught_by="test_a_0_dim_cpu_tensor_goes_along_with_any_device",
        common_device=lambda *ts: _one_device({t.device for t in ts if t.dim() > 0}),
    ),
    Mistake(
        "a tensor with one element has a dimension",
        caught_by="test_a_vector_of_one_element_is_no_number",
        common_device=lambda *ts: _one_device({t.device for t in ts if t.numel() > 1 or t.device.type != "cpu"}),
    ),
    Mistake(
        "goes along only if it is on the CPU",
        caught_by="test_a_0_dim_tensor_of_another_device_does_not_go_along",
        common_device=_any_number_goes_along,
    ),
    Mistake(
        "two of these tensors are on different devices",
        caught_by="test_tensors_on_two_devices_have_none",
        common_device=lambda *ts: next(
            (t.device for t in ts if t.dim() or t.device.type != "cpu"), torch.device("cpu")
        ),
    ),
    Mistake(
        "keep the index",
        caught_by="test_tensors_on_two_devices_have_none",
        common_device=lambda *ts: torch.device(
            _one_device({t.device.type for t in ts if t.dim() or t.device.type != "cpu"} or {"cpu"})
        ),
    ),
    Mistake(
        "keep the index",
        caught_by="test_tensors_on_two_devices_have_none",
        common_device=_compare_the_types,
    ),
    Mistake(
        "common_device returns a torch.device",
        caught_by="test_tensors_on_one_device_have_it_in_common",
        common_device=lambda *ts: str(common_device(*ts)),
    ),
    Mistake(
        "they are all on one device",
        caught_by="test_tensors_on_one_device_have_it_in_common",
        common_device=lambda *ts: sum(ts[1:], ts[0]).device,
    ),
    Mistake(
        "they are all on one device",
        caught_by="test_tensors_on_one_device_have_it_in_common",
        common_device=_nothing_to_compare,
    ),
    Mistake(_MIXED, caught_by="test_a_product_is_computed_where_x_is", matmul_on=lambda x, w: x @ w),
    Mistake(_MIXED, caught_by="test_a_product_is_computed_where_x_is", matmul_on=_drop_the_moved),
    Mistake(_LEFT, caught_by="test_a_product_is_computed_where_x_is", matmul_on=lambda x, w: x.to(w.device) @ w),
    Mistake(
        _LEFT,
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=lambda x, w: (x @ w.to(x.device)).to(w.device),
    ),
    Mistake(
        "matmul_on raised where both tensors are on the CPU",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=F.linear,
    ),
    Mistake(
        "lookup raised where both tensors are on the CPU",
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: F.embedding(table, ids),
    ),
    Mistake(
        "matmul_on raised where its two tensors are on different devices",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=_move_the_callers,
    ),
    Mistake(
        "no gradient reaches x",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=lambda x, w: x.detach() @ w.to(x.device),
    ),
    Mistake(
        "matmul_on must leave x and w as they are",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=lambda x, w: x @ w.requires_grad_(False) + 0 * x.sum(),
    ),
    Mistake(
        "goes along only if it is on the CPU",
        caught_by="test_a_0_dim_tensor_of_another_device_does_not_go_along",
        common_device=_numbers_of_any_gpu,
    ),
    Mistake(
        "lookup must leave its tensors as they are",
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: lookup(table.requires_grad_(), ids).detach(),
    ),
    Mistake(
        "no gradient reaches w",
        caught_by="test_a_product_is_computed_where_x_is",
        matmul_on=lambda x, w: x @ w.detach().to(x.device),
    ),
    Mistake(
        _MIXED,
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: F.embedding(ids, table),
    ),
    Mistake(
        _LEFT,
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: table.to(ids.device)[ids],
    ),
    Mistake(
        "ids of shape (4,)",
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=_two_dimensions_of_ids,
    ),
    Mistake(
        "the row of the table for every id",
        caught_by="test_an_embedding_is_looked_up_where_the_table_is",
        lookup=lambda table, ids: table[: len(ids)],
    ),
]
