"""Answers that people give to blueprint_on_meta, right ones and wrong ones."""

import torch
from torch import nn

from dojo import Mistake


def _set_and_restore(build):
    before = torch.get_default_device()
    torch.set_default_device("meta")
    try:
        model = build()
    finally:
        torch.set_default_device(before)
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _count_in_a_loop(build):
    total = 0
    with torch.device("meta"):
        model = build()
    for _, p in model.named_parameters():
        total += p.numel() * torch.finfo(p.dtype).bits // 8
    return total


def _input_on_its_own(build, input_shape):
    with torch.device("meta"):
        model = build()
    with torch.no_grad():
        return model.eval()(torch.zeros(*input_shape, device="meta")).shape


def _to_empty_and_reset(build, device):
    with torch.device("meta"):
        model = build()
    model.to_empty(device=device)
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return model


def _apply_reset(build, device):
    def reset(module):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    with torch.device("meta"):
        model = build()
    return model.to_empty(device=torch.device(device)).apply(reset)


def _assign(build, device):
    with torch.device("meta"):
        model = build()
    with torch.device(device):
        model.load_state_dict(build().state_dict(), assign=True)
    return model.requires_grad_()


def _set_and_put_back(build):
    before = torch.get_default_device()
    torch.set_default_device("meta")
    try:
        return sum(p.untyped_storage().nbytes() for p in set(build().parameters()))
    finally:
        torch.set_default_device(before)


def _empty_then_load(build, device):
    with torch.device("meta"):
        model = build()
    model.to_empty(device=device)
    with torch.device(device):
        model.load_state_dict(build().state_dict())
    return model


def _refuse_meta(build, device):
    if torch.device(device).type == "meta":
        raise ValueError("a real device, please")
    return _there(build, device)


def _there(build, device):
    with torch.device(device):
        return build()


RIGHT = [
    dict(
        param_bytes=_set_and_put_back,
        output_shape=lambda build, shape: list(_skeleton(build)(torch.rand(shape, device="meta")).size()),
        materialise=_empty_then_load,
    ),
    dict(param_bytes=_set_and_restore, output_shape=_input_on_its_own, materialise=_to_empty_and_reset),
    dict(param_bytes=_count_in_a_loop, materialise=_there),
    dict(materialise=_apply_reset),
    dict(materialise=_assign),
    dict(materialise=_refuse_meta),
]


def _leak(build, input_shape):
    torch.set_default_device(torch.device("meta"))
    return tuple(build()(torch.ones(input_shape)).shape)


def _leak_on_error(build):
    before = torch.get_default_device()
    torch.set_default_device("meta")
    size = sum(p.nbytes for p in build().parameters())
    torch.set_default_device(before)
    return size


def _build_then_measure(build):
    model = build()
    with torch.device("meta"):
        return sum(p.nbytes for p in model.parameters())


def _real_then_meta(build, input_shape):
    model = build()
    with torch.device("meta"):
        return tuple(model.to("meta")(torch.empty(input_shape)).shape)


def _zeros(build, device):
    with torch.device("meta"):
        model = build()
    model.to_empty(device=device)
    for p in model.parameters():
        nn.init.zeros_(p)
    return model


def _normal(build, device):
    with torch.device("meta"):
        model = build()
    model.to_empty(device=device)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    return model


def _cuda_name(build, device):
    with torch.device("meta"):
        model = build()
    return model.cpu()


def _vector(build):
    return nn.utils.parameters_to_vector(_skeleton(build).parameters()).nbytes


def _run_for_real(build, input_shape):
    model = _skeleton(build).to_empty(device="cpu")
    return tuple(model(torch.empty(input_shape)).shape)


def _plain_parameters(build, device):
    model = _skeleton(build)
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.empty(p.shape, device=device).uniform_(-0.1, 0.1)))
    return model


def _always_on_the_cpu(build, device):
    return _skeleton(build).to_empty(device="cpu").apply(lambda m: getattr(m, "reset_parameters", lambda: None)())


def _trainable(build):
    return sum(p.nbytes for p in filter(lambda p: p.requires_grad, _skeleton(build).parameters()))


def _input_from_numpy(build, input_shape):
    import numpy as np

    return tuple(_skeleton(build)(torch.from_numpy(np.zeros(input_shape, np.float32)).to("meta")).shape)


def _default_cpu_afterwards(build):
    torch.set_default_device("meta")
    try:
        return sum(p.nbytes for p in build().parameters())
    finally:
        torch.set_default_device("cpu")


WRONG = [
    Mistake("meta was the default device before your call", caught_by="", param_bytes=_default_cpu_afterwards),
    Mistake("and moved it then", caught_by="", materialise=lambda build, device: build().train().to(device)),
    Mistake("it did not use `device`", caught_by="", materialise=_always_on_the_cpu),
    Mistake("a parameter that is not trained takes memory too", caught_by="", param_bytes=_trainable),
    Mistake("an input moved to meta is real before it", caught_by="", output_shape=_input_from_numpy),
    Mistake("a weight that two layers share is there once", caught_by="", param_bytes=_vector),
    Mistake("output_shape allocated the real thing", caught_by="", output_shape=_run_for_real),
    Mistake("parameters and buffers belong on the cpu", caught_by="", materialise=_plain_parameters),
    Mistake("ended well and left meta as the default device", caught_by="", output_shape=_leak),
    Mistake("ended with an error and left meta as the default device", caught_by="", param_bytes=_leak_on_error),
    Mistake("param_bytes allocated the real thing", caught_by="", param_bytes=_build_then_measure),
    Mistake("output_shape allocated the real thing", caught_by="", output_shape=_real_then_meta),
    Mistake("the layer did not initialise its weights", caught_by="", materialise=_zeros),
    Mistake("the layer did not initialise its weights", caught_by="", materialise=_normal),
    Mistake("a meta tensor has no values that could be copied", caught_by="", materialise=_cuda_name),
    Mistake(
        "buffers are no parameters",
        caught_by="",
        param_bytes=lambda build: sum(x.nbytes for m in [_skeleton(build)] for x in [*m.parameters(), *m.buffers()]),
    ),
    Mistake(
        "of 4 bytes",
        caught_by="",
        param_bytes=lambda build: sum(p.element_size() for p in _skeleton(build).parameters()),
    ),
    Mistake(
        "flat, make (1, 7200)",
        caught_by="",
        output_shape=lambda build, shape: tuple(_skeleton(build)(torch.empty(shape, device="meta")).squeeze().shape),
    ),
    Mistake(
        "parameters and buffers belong on the cpu",
        caught_by="",
        materialise=lambda build, device: _skeleton(build).eval(),
    ),
]


def _skeleton(build):
    with torch.device("meta"):
        return build()
