"""Every use of torch's private names, each with a way to live without it."""

from __future__ import annotations

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
