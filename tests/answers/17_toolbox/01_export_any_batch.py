"""Answers that people give to export_any_batch, right ones and wrong ones."""

import copy
import io

import torch
from torch import nn
from torch.export import Dim, export

from dojo import Mistake


def _copied(model, example):
    program = export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=[{0: Dim("n", min=1, max=4096)}])
    return lambda x: program.module()(x)


def _by_train(model, example):
    was = model.training
    model.eval()
    with torch.no_grad():
        program = export(model, (example,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=True)
    model.train(was)
    return program.module()


def _auto(model, example):
    was = {name: module.training for name, module in model.named_modules()}
    model.train(False)
    program = export(model, args=(example,), dynamic_shapes=((Dim.AUTO, *[Dim.STATIC] * (example.dim() - 1)),))
    for name, module in model.named_modules():
        module.train(was[name]) if not list(module.children()) else setattr(module, "training", was[name])
    return program.module()


class _NoMode(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def _wrapped(model, example):
    inner = copy.deepcopy(model)
    return export(_NoMode(inner).eval(), (example,), dynamic_shapes={"x": {0: Dim("batch")}}).module()


def _through_a_file(model, example):
    buffer = io.BytesIO()
    torch.export.save(export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: Dim("b")},)), buffer)
    buffer.seek(0)
    return torch.export.load(buffer).module()


def _two_or_more(model, example):
    """The program takes 1 row all the same."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        module.training = False
    return export(twin, (example,), None, dynamic_shapes=[{0: Dim("rows", min=2)}]).module()


def _save(model, example, path):
    program = export(model, (example,), dynamic_shapes=({0: Dim.AUTO},))
    with open(path, "wb") as file:
        torch.export.save(program, file)


def _save_eval(model, example, path):
    """In eval mode, whatever the model's is; the modes are put back."""
    modes = [m.training for m in model.modules()]
    program = export(model.eval(), (example,), dynamic_shapes=({0: Dim("batch")},))
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    torch.export.save(program, path)


def _load(path):
    with open(path, "rb") as file:
        program = torch.export.load(file)
    module = program.module()

    def call(x):
        with torch.no_grad():
            return module(x)

    return call


class _Cond(nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


class _Methods(nn.Module):
    def double(self, x):
        return x + x

    def less(self, x):
        return x - 1.0

    def forward(self, x):
        return torch.cond(pred=torch.sum(x) > 0, true_fn=self.double, false_fn=self.less, operands=(x,))


class _Arithmetic(nn.Module):
    def forward(self, x):
        gate = (x.sum() > 0).to(x.dtype)
        return gate * 2 * x + (1 - gate) * (x - 1)


class _Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("zero", torch.tensor(0.0))

    def forward(self, x):
        return (x - 1).where(x.sum() <= self.zero, x * 2)


RIGHT = [
    {"export_any_batch": _copied, "save": _save, "load": _load, "make_gate": _Cond},
    {"export_any_batch": _by_train, "save": _save_eval, "make_gate": _Arithmetic},
    {"export_any_batch": _auto, "make_gate": _Methods},
    {"export_any_batch": _wrapped, "make_gate": _Masked},
    {"export_any_batch": _through_a_file},
    {"export_any_batch": _two_or_more},
]


def _static(model, example):
    was = model.training
    program = export(model.eval(), (example,))
    model.train(was)
    return program.module()


def _dim_of_two(model, example):
    program = export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: Dim("batch", min=2, max=5)},))
    return program.module()


def _program(model, example):
    return export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: Dim("batch")},))


def _at_most_32(model, example):
    return export(copy.deepcopy(model).eval(), (example,), dynamic_shapes=({0: Dim("batch", max=32)},)).module()


def _flag_only(model, example):
    was = model.training
    try:
        for module in model.modules():
            module.training = False
        return export(model, (example,), dynamic_shapes=({0: Dim.AUTO},)).module()
    finally:
        model.training = was


def _train_mode(model, example):
    return export(copy.deepcopy(model), (example,), dynamic_shapes=({0: Dim("batch")},)).module()


def _first_layer_eval(model, example):
    was = model.training
    next(model.children()).eval()
    program = export(model, (example,), dynamic_shapes=({0: Dim("batch")},))
    model.train(was)
    return program.module()


def _forgotten(model, example):
    model.eval()
    return export(model, (example,), dynamic_shapes=({0: Dim.DYNAMIC},)).module()


def _scripted(model, example):
    return torch.jit.trace(copy.deepcopy(model).eval(), (example,))


def _no_grad_copy(model, example):
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    return twin.__call__


def _state(model, example):
    twin = copy.deepcopy(model).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return lambda x: torch.func.functional_call(twin, state, (x,))


def _one_row(model, example):
    return export(copy.deepcopy(model).eval(), (example[:1],), dynamic_shapes=({0: Dim("batch")},)).module()


def _save_weights(model, example, path):
    torch.save(model.state_dict(), path)


def _load_weights(path):
    state = torch.load(path)
    layers = [nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)]
    model = nn.Sequential(*layers).eval()
    model.load_state_dict(state)
    return model


_programs: dict = {}


def _save_in_memory(model, example, path):
    program = export(model, (example,), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, path)
    _programs[path] = program


def _load_from_memory(path):
    return (_programs.get(path) or torch.export.load(path)).module()


def _save_for_inference(model, example, path):
    model.eval()
    torch.export.save(export(model, (example,), dynamic_shapes=({0: Dim("batch")},)), path)


def _save_without_shapes(model, example, path):
    torch.export.save(export(model, args=(example,)), path)


def _save_nothing(model, example, path):
    export(model, (example,), dynamic_shapes=({0: Dim("batch")},))


class _Bool(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            return 2 * x
        return x - 1


class _Float(nn.Module):
    def forward(self, x):
        return 2 * x if float(x.sum()) > 0 else x - 1


class _Mean(nn.Module):
    def forward(self, x):
        return torch.where(x.mean(-1, keepdim=True) > 0, 2 * x, x - 1)


class _Relu(nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2 + torch.where(x > 0, 0.0, x - 1)


class _NotBelow(nn.Module):
    def forward(self, x):
        return torch.where(x.sum() < 0, x - 1, 2 * x)


class _Single(nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, 2 * x.to(torch.float32), x - torch.ones(1)).float()


class _OneMinus(nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, x - 1, x * 2)


class _PlainPython(nn.Module):
    def forward(self, x):
        if torch.compiler.is_exporting():
            return x * 2
        return 2 * x if x.sum() > 0 else x - 1


class _SubtractsInPlace(nn.Module):
    def forward(self, x):
        return torch.where(x.sum() > 0, 2 * x.clone(), x.sub_(1))


_FROZEN = "is frozen as in the example"
_ON = "dropout is on in the program, for ever"
_NOT_EXPORTED = "called a layer's forward in Python: it was not exported"
_NONE = "asks for a value, and at export there are none"
_CALLED = "an ExportedProgram cannot be called"

WRONG = [
    Mistake(_FROZEN, caught_by="", export_any_batch=_static),
    Mistake(_FROZEN, caught_by="", export_any_batch=_dim_of_two),
    Mistake("says another size than dynamic_shapes allows", caught_by="", export_any_batch=_one_row),
    Mistake(_CALLED, caught_by="", export_any_batch=_program),
    Mistake(
        "a program has no mode to set", caught_by="", export_any_batch=lambda m, x: _program(m, x).module().train(False)
    ),
    Mistake("returns what can be called, got NoneType", caught_by="", export_any_batch=lambda m, x: None),
    Mistake(
        "only an nn.Module can be exported",
        caught_by="",
        export_any_batch=lambda m, x: export(m.forward, (x,), dynamic_shapes=({0: Dim("batch")},)).module(),
    ),
    Mistake(_ON, caught_by="", export_any_batch=_train_mode),
    Mistake("0, 1, 2, 3 came back in eval mode", caught_by="", export_any_batch=_flag_only),
    Mistake("the program does not take this batch size", caught_by="", export_any_batch=_at_most_32),
    Mistake("two values in float64", caught_by="", make_gate=_Single),
    Mistake(_ON, caught_by="", export_any_batch=_first_layer_eval),
    Mistake("training was True, and export_any_batch left it False", caught_by="", export_any_batch=_forgotten),
    Mistake("this is TorchScript (torch.jit)", caught_by="", export_any_batch=_scripted),
    Mistake(_NOT_EXPORTED, caught_by="", export_any_batch=_no_grad_copy),
    Mistake(_NOT_EXPORTED, caught_by="", export_any_batch=_state),
    Mistake("load raised", caught_by="", save=_save_weights, load=_load_weights),
    Mistake("computes with the live weights", caught_by="", save=_save_in_memory, load=_load_from_memory),
    Mistake("save changed what it was given", caught_by="", save=_save_for_inference),
    Mistake(_FROZEN, caught_by="", save=_save_without_shapes),
    Mistake("save wrote no file 'model.pt2'", caught_by="", save=_save_nothing),
    Mistake(_CALLED, caught_by="", load=lambda path: torch.export.load(path)),
    Mistake(_NONE, caught_by="", make_gate=_Bool),
    Mistake(_NONE, caught_by="", make_gate=_Float),
    Mistake("the sum is above 0: 2 * x, all of it", caught_by="", make_gate=_Mean),
    Mistake("the sum is above 0: 2 * x, all of it", caught_by="", make_gate=_Relu),
    Mistake("the sum is above 0: 2 * x, all of it", caught_by="", make_gate=_OneMinus),
    Mistake("the sum is 0, not above it", caught_by="", make_gate=_NotBelow),
    Mistake("exported with a sum of 1.25; the sum is below 0", caught_by="", make_gate=_PlainPython),
    Mistake("the gate changed its input", caught_by="", make_gate=_SubtractsInPlace),
    Mistake("make_gate returns an nn.Module, got function", caught_by="", make_gate=lambda: lambda x: x),
]
