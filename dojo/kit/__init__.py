"""What kata tests call: checks whose failure names the mistake, devices without a GPU, training looked at, MNIST."""

from dojo.kit.checks import check_tensor, explain, raises, shares_memory
from dojo.kit.devices import OneDevicePerOp, forge_gpu_checkpoint, gpu_is_here, pretend_machine
from dojo.torch_internals import version_counter

__all__ = [
    "OneDevicePerOp",
    "check_tensor",
    "explain",
    "forge_gpu_checkpoint",
    "gpu_is_here",
    "pretend_machine",
    "raises",
    "shares_memory",
    "version_counter",
]
