"""Export a model, and don't freeze the example: reference.

Hint: Three things are frozen at export: the sizes, the mode, the branch. Which of them does each function care about?
Hint: `torch.export.export(..., dynamic_shapes=...)`, `torch.export.Dim`, `ExportedProgram.module`, `nn.Module.eval`;
    `torch.where` or `torch.cond` for the gate.
Hint: export_any_batch: note each module's training, call eval(), export, and put the modes back in a `finally`.

Why: export runs the model with tensors whose batch size is a symbol, so nothing in it depends on the example's 3 rows;
without dynamic_shapes each size is a constant, guarded by a check. Dropout and batch norm read the mode while they are
traced, and it is gone afterwards. The program in memory shares the weights of the model, the file has its own. A file
for other runtimes is what onnx_any_batch is about; AOTInductor compiles such a program to a library.
"""

import copy
import functools
from collections.abc import Callable

import torch
from torch import nn

from dojo import Mistake


def _export(model: nn.Module, example: torch.Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    return torch.export.export(model, (example,), dynamic_shapes=({0: batch},))


def export_any_batch(model: nn.Module, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        program = _export(model, example)
    finally:
        for module, training in modes:
            module.training = training
    return program.module()


def save(model: nn.Module, example: torch.Tensor, path: str) -> None:
    torch.export.save(_export(model, example), path)


def load(path: str) -> Callable[[torch.Tensor], torch.Tensor]:
    return torch.export.load(path).module()


class _Gate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.sum() > 0, 2 * x, x - 1)


def make_gate() -> nn.Module:
    return _Gate()


def _with(shapes, example=lambda x: x, mode=lambda model: model.eval(), made=lambda program: program.module()):
    """export_any_batch with one of its parts replaced; the mode is put back."""

    def wrong(model, x):
        training = model.training
        mode(model)
        program = torch.export.export(model, (example(x),), dynamic_shapes=shapes)
        model.train(training)
        return made(program)

    return wrong


_BATCH_DIM = ({0: torch.export.Dim("batch")},)


def _left_in_eval(model, example):
    return _export(model.eval(), example).module()


def _the_outer_flag_back(model, example):
    training = model.training
    program = _export(model.eval(), example)
    model.training = training
    return program.module()


def _up_to(most):
    return _with(({0: torch.export.Dim("batch", max=most)},))


def _always_train(model, example):
    program = _export(model.eval(), example)
    model.train()
    return program.module()


def _in_its_mode(model, example):
    return _export(model, example).module()


def _only_if_training(model, example):
    training = model.training
    if training:
        model.eval()
    program = _export(model, example)
    model.train(training)
    return program.module()


def _only_the_outer_flag(model, example):
    training, model.training = model.training, False
    program = _export(model, example)
    model.training = training
    return program.module()


def _traced(model, example):
    training = model.training
    traced = torch.jit.trace(model.eval(), example)
    model.train(training)
    return traced


def _a_copy(model, example):
    return copy.deepcopy(model).eval()


def _calls_the_model(model, example):
    def call(x):
        training = model.training
        try:
            return model.eval()(x)
        finally:
            model.train(training)

    return call


def _compiled(model, example):
    return torch.compile(copy.deepcopy(model).eval(), backend="eager", dynamic=True)


def _graph_of_layers(model, example):
    return torch.fx.symbolic_trace(copy.deepcopy(model).eval())


def _padded(model, example):
    program = torch.export.export(copy.deepcopy(model).eval(), (example,)).module()

    def call(x):
        rows = torch.cat([x, example])[: len(example)]
        return program(rows)[: len(x)]

    return call


def _moves_the_statistics(model, example):
    model(example)
    return export_any_batch(model, example)


def _detached_weights(model, example):
    for p in model.parameters():
        p.requires_grad_(False)
    return export_any_batch(model, example)


def _save_static(model, example, path):
    torch.export.save(torch.export.export(model, (example,)), path)


def _save_up_to_64(model, example, path):
    shapes = ({0: torch.export.Dim("batch", max=64)},)
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), path)


def _pickle(model, example, path):
    torch.save(model, path)


def _unpickle(path):
    return torch.load(path, weights_only=False)


def _save_trace(model, example, path):
    torch.jit.save(torch.jit.trace(model, example), path)


def _load_trace(path):
    return torch.jit.load(path)


_live: dict = {}


def _save_and_remember(model, example, path):
    save(model, example, path)
    _live[path] = model


def _load_live(path):
    return _live[path] if path in _live else load(path)


@functools.cache
def _load_once(path):
    return load(path)


def _save_in_eval(model, example, path):
    save(model.eval(), example, path)


def _save_elsewhere(model, example, path):
    save(model, example, path.replace(".pt2", "_exported.pt2"))


def _gate(f):
    class Gate(nn.Module):
        def forward(self, x):
            return f(x)

    return Gate


def _if(x):
    if x.sum() > 0:
        return 2 * x
    return x - 1


def _item(x):
    return 2 * x if x.sum().item() > 0 else x - 1


def _if_but_not_at_export(x):
    if torch.compiler.is_compiling():
        return 2 * x
    return _if(x)


def _swapped(x):
    return torch.cond(x.sum() > 0, lambda x: x - 1, lambda x: 2 * x, (x,))


def _in_place(x):
    positive = x.sum() > 0
    x -= 1
    return torch.where(positive, 2 * (x + 1), x)


_ANY = "test_a_program_takes_any_batch_if_told_so"
_MODE = "test_the_mode_at_export_is_the_mode_for_ever"
_CODE = "test_a_program_runs_without_the_code_of_the_model"
_FOLLOW = "test_a_saved_program_does_not_follow_the_live_model"
_FILE = "test_the_file_is_a_program"
_GATE = "test_both_branches_are_in_the_program"

_FROZEN = "is frozen as in the example"
_ON = "dropout is on in the program, for ever"
_NOT_EXPORTED = "called a layer's forward in Python: it was not exported"
_NONE = "asks for a value, and at export there are none"

MISTAKES = [
    Mistake(_FROZEN, caught_by=_ANY, export_any_batch=_with(None)),
    Mistake(_FROZEN, caught_by=_ANY, export_any_batch=_with(({},))),
    Mistake(_FROZEN, caught_by=_ANY, export_any_batch=_with(({0: torch.export.Dim.STATIC},))),
    Mistake("with a batch of 7", caught_by=_ANY, export_any_batch=_padded),
    Mistake(
        "says another size than dynamic_shapes allows",
        caught_by=_ANY,
        export_any_batch=_with(_BATCH_DIM, example=lambda x: x[:1]),
    ),
    Mistake(
        "says another size than dynamic_shapes allows",
        caught_by=_ANY,
        export_any_batch=_with(({1: torch.export.Dim("batch")},)),
    ),
    Mistake(
        "an ExportedProgram cannot be called",
        caught_by=_ANY,
        export_any_batch=_with(_BATCH_DIM, made=lambda program: program),
    ),
    Mistake(
        "returns what can be called, got NoneType",
        caught_by=_ANY,
        export_any_batch=_with(_BATCH_DIM, made=lambda program: None),
    ),
    Mistake(
        "a program has no mode to set",
        caught_by=_ANY,
        export_any_batch=_with(_BATCH_DIM, made=lambda program: program.module().eval()),
    ),
    Mistake(
        "only an nn.Module can be exported",
        caught_by=_ANY,
        export_any_batch=lambda model, x: _export(lambda y: model(y), x).module(),
    ),
    Mistake(_ON, caught_by=_MODE, export_any_batch=_in_its_mode),
    Mistake(_ON, caught_by=_MODE, export_any_batch=_only_if_training),
    Mistake(_ON, caught_by=_MODE, export_any_batch=_only_the_outer_flag),
    Mistake("training was True, and export_any_batch left it False", caught_by=_MODE, export_any_batch=_left_in_eval),
    Mistake("training was False, and export_any_batch left it True", caught_by=_MODE, export_any_batch=_always_train),
    Mistake(
        "0, 1, 2, 3 came back in eval mode",
        caught_by=_MODE,
        export_any_batch=_the_outer_flag_back,
    ),
    Mistake("the program does not take this batch size", caught_by=_ANY, export_any_batch=_up_to(64)),
    Mistake("two values in float64", caught_by=_GATE, make_gate=_gate(lambda x: make_gate()(x.float()))),
    Mistake("export_any_batch changed 1.", caught_by=_MODE, export_any_batch=_moves_the_statistics),
    Mistake("the model is the caller's", caught_by=_ANY, export_any_batch=_detached_weights),
    Mistake("this is TorchScript (torch.jit)", caught_by=_CODE, export_any_batch=_traced),
    Mistake(_NOT_EXPORTED, caught_by=_CODE, export_any_batch=_a_copy),
    Mistake(_NOT_EXPORTED, caught_by=_CODE, export_any_batch=_calls_the_model),
    Mistake(_NOT_EXPORTED, caught_by=_CODE, export_any_batch=_compiled),
    Mistake(_NOT_EXPORTED, caught_by=_CODE, export_any_batch=_graph_of_layers),
    Mistake(_FROZEN, caught_by=_FOLLOW, save=_save_static),
    Mistake("the program does not take this batch size", caught_by=_FOLLOW, save=_save_up_to_64),
    Mistake("computes with the live weights", caught_by=_FOLLOW, save=_save_and_remember, load=_load_live),
    Mistake("load gives the program of before", caught_by=_FOLLOW, load=_load_once),
    Mistake("save changed what it was given", caught_by=_FOLLOW, save=_save_in_eval),
    Mistake("save wrote no file 'model.pt2'", caught_by=_FOLLOW, save=_save_elsewhere),
    Mistake("an ExportedProgram cannot be called", caught_by=_FOLLOW, load=torch.export.load),
    Mistake("a program has no mode to set", caught_by=_FOLLOW, load=lambda path: load(path).eval()),
    Mistake("load raised", caught_by=_FILE, save=_pickle, load=_unpickle),
    Mistake("load raised", caught_by=_FILE, save=_save_trace, load=_load_trace),
    Mistake("it is no exported program", caught_by=_FILE, save=_pickle),
    Mistake(_NONE, caught_by=_GATE, make_gate=_gate(_if)),
    Mistake(_NONE, caught_by=_GATE, make_gate=_gate(_item)),
    Mistake("exported with a sum of 1.25; the sum is below 0", caught_by=_GATE, make_gate=_gate(_if_but_not_at_export)),
    Mistake("the sum is above 0: 2 * x, all of it", caught_by=_GATE, make_gate=_gate(_swapped)),
    Mistake(
        "the sum is above 0: 2 * x, all of it",
        caught_by=_GATE,
        make_gate=_gate(lambda x: torch.where(x > 0, 2 * x, x - 1)),
    ),
    Mistake(
        "the sum is above 0: 2 * x, all of it",
        caught_by=_GATE,
        make_gate=_gate(lambda x: torch.where(x.sum(-1, keepdim=True) > 0, 2 * x, x - 1)),
    ),
    Mistake(
        "the sum of all is below 0",
        caught_by=_GATE,
        make_gate=_gate(lambda x: torch.where(x.sum(0).sum(0) > 0, 2 * x, x - 1)),
    ),
    Mistake(
        "the sum is 0, not above it",
        caught_by=_GATE,
        make_gate=_gate(lambda x: torch.where(x.sum() >= 0, 2 * x, x - 1)),
    ),
    Mistake("the gate changed its input", caught_by=_GATE, make_gate=_gate(_in_place)),
    Mistake("make_gate returns an nn.Module, got function", caught_by=_GATE, make_gate=lambda: _if),
]
