"""What kata tests call: checks whose failure names the mistake, devices without a GPU, forged files,
workers and ranks, counts instead of times, training looked at, MNIST.

torch is imported only when one of these names is: the session needs `dojo.kit.mnist` without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dojo.kit.arguments import unchanged  # noqa: F401
    from dojo.kit.checkpoints import HostilePickle, TrainConfig, forge_gpu_checkpoint  # noqa: F401
    from dojo.kit.checks import check_tensor, explain, raises, shares_memory  # noqa: F401
    from dojo.kit.counting import CountingBackend, CountReads  # noqa: F401
    from dojo.kit.devices import OneDevicePerOp, gpu_is_here, pretend_machine  # noqa: F401
    from dojo.kit.loading import workers  # noqa: F401
    from dojo.kit.note import tell  # noqa: F401
    from dojo.kit.packages import needs, needs_compiler  # noqa: F401
    from dojo.kit.ranks import group_of_one, run_as_torchrun, run_ranks  # noqa: F401
    from dojo.kit.second_device import a_second_device  # noqa: F401
    from dojo.torch_internals import version_counter  # noqa: F401

_HOMES = {
    **dict.fromkeys(("check_tensor", "explain", "raises", "shares_memory"), "dojo.kit.checks"),
    **dict.fromkeys(("HostilePickle", "TrainConfig", "forge_gpu_checkpoint"), "dojo.kit.checkpoints"),
    **dict.fromkeys(("OneDevicePerOp", "gpu_is_here", "pretend_machine"), "dojo.kit.devices"),
    "a_second_device": "dojo.kit.second_device",
    **dict.fromkeys(("CountReads", "CountingBackend"), "dojo.kit.counting"),
    **dict.fromkeys(("needs", "needs_compiler"), "dojo.kit.packages"),
    **dict.fromkeys(("group_of_one", "run_as_torchrun", "run_ranks"), "dojo.kit.ranks"),
    "tell": "dojo.kit.note",
    "unchanged": "dojo.kit.arguments",
    "workers": "dojo.kit.loading",
    "version_counter": "dojo.torch_internals",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dojo.kit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
