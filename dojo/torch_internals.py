"""Every use of torch's private names, each with a way to live without it.

Public API comes first wherever there is one; what is here has none in torch 2.11 to 2.15.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import sys
from types import SimpleNamespace
from typing import Any

import torch


def version_counter(x: torch.Tensor) -> int:
    """How many in-place writes autograd has seen on this tensor's memory. `_version` is documented, if underscored."""
    return int(x._version)


def storage_key(x: torch.Tensor) -> int:
    """The same number for two tensors exactly when they are windows on one storage.

    `_cdata` tells storages apart that have no address (meta, empty); without it the address must do.
    """
    storage = x.untyped_storage()
    return int(getattr(storage, "_cdata", None) or storage.data_ptr())


# ── reading tensors without touching them (the X-ray) ──


def no_torch_function() -> contextlib.AbstractContextManager[Any]:
    """Inside it a tensor subclass's `__torch_function__`, which may raise, is not called."""
    return getattr(torch._C, "DisableTorchFunctionSubclass", contextlib.nullcontext)()


def address_without_touching(x: torch.Tensor) -> int:
    """Where the first element lies. `data_ptr()` would turn a lazy copy-on-write clone into a real copy."""
    return int(getattr(torch._C, "_data_address", torch.Tensor.data_ptr)(x))


def is_freed(x: torch.Tensor) -> bool:
    """Was the storage resized to less than the tensor needs? Reading such a tensor is a segmentation fault."""
    needed = sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True)) + 1 + x.storage_offset()
    return x.numel() > 0 and x.untyped_storage().nbytes() < needed * x.element_size()


def is_wrapped(x: torch.Tensor) -> bool:
    """Is this a stand-in of torch.func (vmap, grad), whose values are not to be read?"""
    return bool(getattr(torch._C._functorch, "is_functorch_wrapped_tensor", lambda x: False)(x))


# ── global state that the guard reads and puts back ──


def set_inference_mode(on: bool) -> None:
    """Undo an inference mode that was entered and never left: there is no setter, entering the other mode is one."""
    torch.inference_mode(on).__enter__()


def mode_depth() -> int:
    """How many torch function modes are entered. A default device is one of them, and counted out."""
    depth = getattr(torch._C, "_len_torch_function_stack", lambda: 0)()
    return int(depth) - (default_device() is not None)


def pop_modes_to(depth: int) -> None:
    """Leave the torch function modes that were entered and never left."""
    pop = getattr(torch._C, "_pop_torch_function_stack", None)
    while pop is not None and mode_depth() > depth:
        pop()


def default_device() -> torch.device | None:
    """The device of torch.set_default_device, None while it was never set. torch.get_default_device also sees
    `with torch.device(...)` blocks, which are a matter of mode_depth()."""
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return None if context is None else context.device


def autocast_depth() -> int:
    """How many autocasts are entered and not left; there is no getter, but each count says what it has become."""
    torch.autocast_increment_nesting()
    return int(torch.autocast_decrement_nesting())


def leave_autocasts_to(depth: int) -> None:
    """Undo autocasts entered and never left (or left twice).

    torch forgets the casts of weights where the outermost autocast ends. Where the count is wrong it never does: a
    training in bfloat16 goes on with the weights of its first step, whatever its optimizer does.
    """
    for _ in range(autocast_depth(), depth):
        torch.autocast_increment_nesting()
    for _ in range(depth, autocast_depth()):
        torch.autocast_decrement_nesting()
    torch.clear_autocast_cache()


def print_options() -> dict[str, Any]:
    """The settings of torch.set_printoptions."""
    return dict(vars(getattr(torch._tensor_str, "PRINT_OPTS", SimpleNamespace())))


def set_print_options(options: dict[str, Any]) -> None:
    torch.set_printoptions(**options)


def set_cudnn_benchmark(on: bool) -> None:
    torch.backends.cudnn.benchmark = on


def safe_globals() -> list[Any]:
    """What torch.serialization.add_safe_globals has added; torch's own, added at lazy imports, aside."""
    added = torch.serialization.get_safe_globals()
    return sorted((x for x in added if not _is_torchs(x)), key=repr)


def set_safe_globals(values: list[Any]) -> None:
    own = [x for x in torch.serialization.get_safe_globals() if _is_torchs(x)]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(own + values)


def _is_torchs(added: Any) -> bool:
    target = added[0] if isinstance(added, tuple) else added
    return str(getattr(target, "__module__", "")).split(".")[0] == "torch"


def distributions_check() -> bool:
    """Does torch.distributions check arguments? Any torch.compile turns that off for the whole process."""
    return bool(torch.distributions.Distribution._validate_args)


def set_distributions_check(on: bool) -> None:
    torch.distributions.Distribution.set_default_validate_args(on)


def destroy_process_group() -> bool:
    """End a process group that was left behind; True when there was one."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    distributed.destroy_process_group()
    return True


def end_loader_workers() -> None:
    """End the workers of a pass over a DataLoader that broke off.

    The traceback of a failed test keeps the pass alive; each process that is forked later would inherit it, and wait
    for its workers, five seconds each.
    """
    kind = getattr(sys.modules.get("torch.utils.data.dataloader"), "_MultiProcessingDataLoaderIter", None)
    if kind is None or not multiprocessing.active_children():
        return
    for broken_off in [x for x in gc.get_objects() if type(x) is kind]:
        with contextlib.suppress(Exception):
            broken_off._shutdown_workers()


def reset_dynamo() -> None:
    """Forget compiled code, if a torch.compile has run."""
    convert_frame = sys.modules.get("torch._dynamo.convert_frame")
    compiled = getattr(convert_frame, "input_codes", None)
    if compiled is not None and len(getattr(compiled, "seen", ())) > 0:
        with contextlib.suppress(Exception):
            torch._dynamo.reset()
