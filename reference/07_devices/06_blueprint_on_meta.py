"""Blueprint on meta: reference.

Hint: The model must be built while `meta` is the default device, and the default must end with your function.
Hint: `torch.device` is a context manager; `Tensor.nbytes` works on meta; a real model is built under another device.
Hint: Two of the three are one `with` block: build inside it, and make the input inside it too.

Why: A device context is popped when its block ends, also by an error; `set_default_device` stays for the whole thread.
Building straight on the target device is the shortest way to a real model: each layer initialises itself there. The
long way (meta, `to_empty`, then `reset_parameters` of every layer, or `load_state_dict(..., assign=True)`) pays when
the weights come from a file and must never exist twice. Plain `load_state_dict` into meta copies nothing: it warns.
"""

from collections.abc import Callable

import torch
from torch import nn

from dojo import Mistake


def param_bytes(build: Callable[[], nn.Module]) -> int:
    with torch.device("meta"):
        return sum(p.nbytes for p in build().parameters())


def output_shape(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    with torch.device("meta"):
        return tuple(build()(torch.empty(input_shape)).shape)


def materialise(build: Callable[[], nn.Module], device: torch.device | str) -> nn.Module:
    with torch.device(device):
        return build()


def _meta(build):
    with torch.device("meta"):
        return build()


def _bytes(model):
    return sum(p.nbytes for p in model.parameters())


def _reset(module):
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()


def _set_and_forget(build):
    torch.set_default_device("meta")
    return _bytes(build())


def _set_and_reset_if_all_goes_well(build, input_shape):
    torch.set_default_device("meta")
    shape = build()(torch.empty(input_shape)).shape
    torch.set_default_device("cpu")
    return tuple(shape)


def _reset_linear_layers(build, device):
    model = _meta(build).to_empty(device=device)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return model


def _initialise_parameters_by_shape(build, device):
    model = _meta(build).to_empty(device=device)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.kaiming_uniform_(p, a=5**0.5)
        else:
            nn.init.uniform_(p, -0.13, 0.13)
    return model


def _load_into_meta(build, device):
    import warnings

    model = _meta(build)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_state_dict(build().to(device).state_dict())
    return model


def _set_and_move(build, device):
    torch.set_default_device("meta")
    return build().to_empty(device=device).apply(_reset)


def _set_to_the_target(build, device):
    torch.set_default_device(device)
    return build()


def _reset_the_outer_layers(build, device):
    model = _meta(build).to_empty(device=device)
    for module in model.children():
        _reset(module)
    return model


def _values_without_layers(build, device):
    return {name: p.to(device) for name, p in build().named_parameters()}


_t1 = "test_a_parameter_takes_its_numel_times_the_size_of_its_dtype"
_t2 = "test_shapes_are_known_without_values"
_t3 = "test_a_blueprint_allocates_nothing"
_t4 = "test_a_default_device_lasts_until_it_is_reset"
_t5 = "test_memory_is_not_yet_a_model"
_t6 = "test_every_layer_must_be_initialised_not_only_linear_ones"


def _back_to_the_cpu(build, device):
    torch.set_default_device(device)
    try:
        return build()
    finally:
        torch.set_default_device("cpu")


MISTAKES = [
    Mistake(
        "meta was the default device before your call",
        caught_by="test_a_default_device_lasts_until_it_is_reset",
        materialise=_back_to_the_cpu,
    ),
    Mistake("and moved it then", caught_by=_t5, materialise=lambda build, device: build().to(device)),
    Mistake("of 4 bytes", caught_by=_t1, param_bytes=lambda build: sum(p.numel() for p in _meta(build).parameters())),
    Mistake(
        "float16 values take 2 bytes each",
        caught_by=_t1,
        param_bytes=lambda build: 4 * sum(p.numel() for p in _meta(build).parameters()),
    ),
    Mistake(
        "buffers are no parameters",
        caught_by=_t1,
        param_bytes=lambda build: sum(x.nbytes for x in _meta(build).state_dict().values()),
    ),
    Mistake(
        "a parameter that is not trained takes memory too",
        caught_by=_t1,
        param_bytes=lambda build: sum(p.nbytes for p in _meta(build).parameters() if p.requires_grad),
    ),
    Mistake(
        "a weight that two layers share is there once",
        caught_by=_t1,
        param_bytes=lambda build: sum(p.nbytes for m in _meta(build).modules() for p in m.parameters(recurse=False)),
    ),
    Mistake("returns an int", caught_by=_t1, param_bytes=lambda build: float(_bytes(_meta(build)))),
    Mistake("param_bytes allocated the real thing", caught_by=_t3, param_bytes=lambda build: _bytes(build())),
    Mistake(
        "param_bytes allocated the real thing", caught_by=_t3, param_bytes=lambda build: _bytes(build().to("meta"))
    ),
    Mistake(
        "output_shape allocated the real thing",
        caught_by=_t3,
        output_shape=lambda build, shape: tuple(build()(torch.zeros(shape)).shape),
    ),
    Mistake(
        "output_shape allocated the real thing",
        caught_by=_t3,
        output_shape=lambda build, shape: tuple(build().to("meta")(torch.zeros(shape, device="meta")).shape),
    ),
    Mistake(
        "its input was allocated on",
        caught_by=_t3,
        output_shape=lambda build, shape: tuple(_meta(lambda: build().requires_grad_(False))(torch.zeros(shape)).shape),
    ),
    Mistake(
        "an input moved to meta is real before it",
        caught_by=_t3,
        output_shape=lambda build, shape: tuple(_meta(build)(torch.empty(shape).to("meta")).shape),
    ),
    Mistake(
        "takes a float32 input of exactly input_shape",
        caught_by=_t2,
        output_shape=lambda build, shape: tuple(_meta(lambda: build()(torch.empty(1, *shape))).shape),
    ),
    Mistake(
        "flat, make (1, 7200)",
        caught_by=_t2,
        output_shape=lambda build, shape: tuple(_meta(lambda: build()(torch.empty(2, *shape[1:]))).shape),
    ),
    Mistake("ended well and left meta as the default device", caught_by=_t4, param_bytes=_set_and_forget),
    Mistake(
        "ended with an error and left meta as the default device",
        caught_by=_t4,
        output_shape=_set_and_reset_if_all_goes_well,
    ),
    Mistake(
        "a meta tensor has no values that could be copied",
        caught_by=_t5,
        materialise=lambda build, device: _meta(build).to(device),
    ),
    Mistake(
        "the layer did not initialise its weights",
        caught_by=_t5,
        materialise=lambda build, device: _meta(build).to_empty(device=device),
    ),
    Mistake(
        "the layer did not initialise its weights",
        caught_by=_t5,
        materialise=lambda build, device: _meta(build).apply(_reset).to_empty(device=device),
    ),
    Mistake("parameters and buffers belong on the cpu", caught_by=_t5, materialise=lambda build, device: _meta(build)),
    Mistake("parameters and buffers belong on the cpu", caught_by=_t5, materialise=_load_into_meta),
    Mistake("materialise left meta as the default", caught_by=_t5, materialise=_set_and_move),
    Mistake(
        "materialise failed on the device cpu", caught_by=_t5, materialise=lambda build, device: build(device=device)
    ),
    Mistake("param_bytes never built the model", caught_by=_t3, param_bytes=lambda build: 36),
    Mistake(
        "output_shape never ran the model",
        caught_by=_t3,
        output_shape=lambda build, shape: (shape[0], *next(_meta(build).parameters()).shape[:1]),
    ),
    Mistake("materialise returns the model", caught_by=_t5, materialise=_values_without_layers),
    Mistake(
        "the weights of the model must require a gradient",
        caught_by=_t5,
        materialise=lambda build, device: build().to(device).requires_grad_(False),
    ),
    Mistake(
        "ready for training is in training mode",
        caught_by=_t5,
        materialise=lambda build, device: build().to(device).eval(),
    ),
    Mistake("the layer did not initialise yours", caught_by=_t6, materialise=_reset_linear_layers),
    Mistake("the layer did not initialise yours", caught_by=_t6, materialise=_reset_the_outer_layers),
    Mistake("the layer did not initialise yours", caught_by=_t6, materialise=_initialise_parameters_by_shape),
    Mistake("it did not use `device`", caught_by=_t5, materialise=lambda build, device: build()),
    Mistake("materialise left meta as the default", caught_by=_t5, materialise=_set_to_the_target),
]

KEEP = {"test_a_blueprint_becomes_real_on_the_gpu": "only a GPU shows that the device asked for is the one used"}
