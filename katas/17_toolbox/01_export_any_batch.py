"""Export a model, and don't freeze the example

A `state_dict` needs the Python class of the model to be of any use. `torch.export.export(model, (example,))` runs the
model once, writes down every operation, and gives an `ExportedProgram`: the whole computation, with the weights, and
without your code. The program cannot be called, `program.module()` can. `torch.export.save(program, "m.pt2")` and
`torch.export.load("m.pt2")` take it to a machine that has no copy of your project. (`torch.jit.trace` and
`torch.jit.script`, which tutorials use for that, are deprecated.)

Three things are frozen in the moment of export, and people find out when it runs elsewhere:

- the sizes. The example had 3 rows, so the program wants 3 rows, and others fail a guard. Say what may change, for each
  argument: `dynamic_shapes=({0: torch.export.Dim("batch")},)`, dimension 0 of the first. (The example itself needs 2
  rows or more: a 1 is taken for a constant, and then the export raises.)
- the mode. Exported in training mode, dropout stays on for ever, and `eval()` on the program raises.
- the branch. `if x.sum() > 0:` asks for a value, and at export there are none. `torch.where(condition, a, b)` computes
  both and takes one; `torch.cond(condition, f, g, (x,))` keeps two functions, and runs one of them.

What is asked here: a program that serves any batch in eval mode, a file of it, and a module with two branches.

About 25 minutes. Before it: predict_one, state_dict_roundtrip, graph_breaks.

https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/export.html
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def export_any_batch(model: nn.Module, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Export `model` with torch.export, and return what can be called: a batch of any size -> the model's output.

    `example` is a batch (N, ...), N > 1; the program takes 1 row as well as 100 (a limit far above that does no harm).
    It computes what the model computes in eval mode, whatever mode the model and its layers are in now, and needs the
    Python code of the model no more. `model.training`, the weights and the buffers are afterwards as before; layers in
    the model's mode are in it again. Whether the program sees later changes of the weights is left open.
    """
    raise NotImplementedError("export the model in eval mode, with a batch size that may change")


def save(model: nn.Module, example: torch.Tensor, path: str) -> None:
    """Export `model` for batches of any size, and write the program to `path`, which ends in ".pt2".

    The model's mode is for the caller to choose, before this call; it stays as it is. (What a model in train mode
    becomes in the file is not asked.)
    """
    raise NotImplementedError("export the model, and save the program")


def load(path: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """What can be called, from a file that `save` (or torch.export.save) has written; it needs no model, only the file.

    Whatever happens to the model that was saved, this computes with the weights of that time. Where a file was written
    anew, it is read anew.
    """
    raise NotImplementedError("load the program, and return what can be called")


def make_gate() -> nn.Module:
    """A module: x (finite floats, any shape) -> 2 * x where the sum of all its values is above 0, else x - 1.

    It can be exported, with torch.export.export(gate, (x,)), and the program still has both branches: it decides anew
    for each x that it is called with.
    """
    raise NotImplementedError("write a module that chooses by a value, and return one")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


# What torch says, and what that means.
_SIGNS = {
    "call ExportedProgram directly": "an ExportedProgram cannot be called: its module() can",
    r"Guard failed|Expected input.*to be (equal|>=|<=)": "the program does not take this batch size: what "
    "dynamic_shapes does not free is frozen as in the example",
    r"Calling (eval|train)\(\) is not supported": "a program has no mode to set: it keeps that of its export",
    "Expected `mod` to be an instance": "only an nn.Module can be exported",
    "[Dd]ata-dependent": "an `if` (or item(), float(), bool()) asks for a value, and at export there are none",
    "Constraints violated": "the example that was exported says another size than dynamic_shapes allows",
}


class _GoneError(RuntimeError):
    """The Python code of a model was called, where it is not there any more."""


class _Pixels(nn.Module):
    """(N, 1, 4, 5) -> (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 3, 3), nn.Linear(18, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.conv(pixels)).flatten(1))


def _dense(dropout: float = 0.0) -> nn.Sequential:
    """(N, 4) -> (N, 2), with a batch norm that has seen something."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(dropout), nn.Linear(3, 2))
    model(10 + torch.randn(8, 4))
    return model


def _exported(model: nn.Module, example: torch.Tensor) -> Callable[..., Any]:
    __tracebackhide__ = True
    with explain("export_any_batch raised", _SIGNS), unchanged("the example is the caller's", example=example):
        program = export_any_batch(model, example)
    assert callable(program), f"export_any_batch returns what can be called, got {type(program).__name__}"
    return program


def _call(program: Callable[..., Any], x: torch.Tensor, what: str) -> Any:
    __tracebackhide__ = True
    with explain(f"{what}, called with a batch of {len(x)}, raised", _SIGNS):
        try:
            y = program(x)
        except AssertionError as error:  # torch's own, from a guard of the program
            raise RuntimeError(str(error)) from error
    assert isinstance(y, torch.Tensor), f"{what} gives a tensor, got {type(y).__name__}"
    return y.detach()


def _save(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    __tracebackhide__ = True
    with explain("save raised", _SIGNS), unchanged("save changed what it was given", model=model, example=example):
        save(model, example, str(path))
    assert path.is_file(), f"save wrote no file {path.name!r} where it was told to"


# torch 2.11 warns of its own way to read the file.
_quiet = pytest.mark.filterwarnings("ignore:The given buffer is not writable")


def _load(path: Path) -> Callable[..., Any]:
    __tracebackhide__ = True
    with explain("load raised", _SIGNS):
        program = load(str(path))
    assert callable(program), f"load returns what can be called, got {type(program).__name__}"
    return program


@pytest.mark.parametrize(
    ("make", "example"),
    [
        (lambda: _dense().eval(), torch.linspace(-1, 1, 8).view(2, 4)),
        (lambda: _Pixels().eval().double(), torch.linspace(-1, 1, 60).view(3, 1, 4, 5).double()),
    ],
    ids=["rows", "images in float64"],
)
def test_a_program_takes_any_batch_if_told_so(make, example):
    model = make()
    with unchanged("the model is the caller's", model=model):
        program = _exported(model, example)
    for batch in (2, 7, 1, 100):
        x = torch.randn(batch, *example.shape[1:], dtype=example.dtype)
        want = model(x).detach()
        got = _call(program, x, "the exported program")
        rtol, atol = (1e-4, 1e-5) if x.dtype == torch.float32 else (1e-9, 1e-10)
        check_tensor(got, want, f"the program and the model, with a batch of {batch}", rtol=rtol, atol=atol)


def test_the_mode_at_export_is_the_mode_for_ever():
    x = torch.randn(5, 4)
    for training, dropout_training in ((True, True), (False, True)):
        model = _dense(dropout=0.5).train(training)
        model[2].train(dropout_training)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        program = _exported(model, torch.randn(3, 4))
        assert model.training is training, (
            f"model.training was {training}, and export_any_batch left it {model.training}: put it back"
        )
        layers = [name for name, layer in model.named_modules() if training and not layer.training]
        assert not layers, f"all layers were in training mode, and {', '.join(layers)} came back in eval mode"
        for name, value in model.state_dict().items():
            check_tensor(value, before[name], f"export_any_batch changed {name} of the model")
        first, second = (_call(program, x, "the exported program") for _ in range(2))
        assert torch.equal(first, second), (
            "the same batch twice gave two results: dropout is on in the program, for ever. Export in eval mode"
        )
        want = model.eval()(x).detach()
        check_tensor(first, want, "the program, and the model in eval mode", rtol=1e-4, atol=1e-5)


@pytest.mark.myth(
    says="torch.jit.trace or torch.jit.script makes a model that runs without its Python code.",
    today="TorchScript is deprecated; torch.export.export gives such a program, and says which sizes may change.",
)
def test_a_program_runs_without_the_code_of_the_model():
    def gone(self: Any, input: torch.Tensor) -> torch.Tensor:
        raise _GoneError("forward of a layer was called")

    model, x = nn.Sequential(nn.Linear(4, 2), nn.ReLU()).eval(), torch.randn(3, 4)
    want = model(x).detach()
    program = _exported(model, torch.randn(2, 4))
    script = isinstance(program, torch.jit.ScriptModule | torch.jit.ScriptFunction)
    assert not script, "this is TorchScript (torch.jit), which is deprecated: export with torch.export"
    signs = {"_GoneError": "the program called a layer's forward in Python: it was not exported"}
    with (
        mock.patch.object(nn.ReLU, "forward", gone),
        explain("the program raised when the code of a layer was gone", signs),
    ):
        got = program(x)
    check_tensor(got.detach(), want, "the program, when the code of a layer is gone", rtol=1e-4, atol=1e-5)


@_quiet
def test_a_saved_program_does_not_follow_the_live_model(tmp_path):
    model, x = _dense().eval(), torch.randn(100, 4)
    want = model(x).detach()
    _save(model, torch.randn(2, 4), tmp_path / "model.pt2")
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            value.zero_()
    program = _load(tmp_path / "model.pt2")
    got = _call(program, x, "the loaded program")
    assert not torch.equal(got, model(x)), "the loaded program computes with the live weights, which are all 0 now"
    check_tensor(got, want, "the loaded program, and the model as it was saved", rtol=1e-4, atol=1e-5)
    check_tensor(_call(program, x[:1], "the loaded program"), want[:1], "a batch of 1", rtol=1e-4, atol=1e-5)
    other = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).train()
    with torch.no_grad():
        other[0].weight.zero_(), other[0].bias.zero_()
    _save(other, torch.randn(2, 4), tmp_path / "model.pt2")
    got = _call(_load(tmp_path / "model.pt2"), x, "the program, loaded from the same path again,")
    said = "another model was saved to the same path, one that gives zeros, and load gives the program of before"
    check_tensor(got, torch.zeros(100, 2), said)


@_quiet
def test_the_file_is_a_program(tmp_path):
    model, example, x = _dense().eval(), torch.randn(2, 4), torch.randn(5, 4)
    want = model(x).detach()
    shapes = ({0: torch.export.Dim("batch")},)
    theirs, yours = tmp_path / "theirs.pt2", tmp_path / "yours.pt2"
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), theirs)
    got = _call(_load(theirs), x, "load of a file from torch.export.save")
    check_tensor(got, want, "load of a file from torch.export.save", rtol=1e-4, atol=1e-5)
    _save(model, example, yours)
    with explain("the file that save wrote cannot be read by torch.export.load: it is no exported program"):
        program = torch.export.load(yours)
    got = _call(program.module(), x, "torch.export.load of the file that save wrote")
    check_tensor(got, want, "torch.export.load of the file that save wrote", rtol=1e-4, atol=1e-5)


def test_both_branches_are_in_the_program():
    with explain("make_gate raised"):
        gate = make_gate()
    assert isinstance(gate, nn.Module), f"make_gate returns an nn.Module, got {type(gate).__name__}"
    above = torch.tensor([[5.0, -1.0, 0.25], [-2.0, -1.0, 0.0]])  # the sum is 1.25, that of the second row -3
    zero = torch.tensor([[1.0, 2.0, -3.0], [4.0, -4.5, 0.5]])
    doubles = torch.tensor([0.1, 1 / 3], dtype=torch.float64)
    cube = torch.tensor([[[0.1, -0.7]], [[1 / 3, 0.0]]], dtype=torch.float64)
    cases = [
        (above, 2 * above, "the sum is above 0: 2 * x, all of it"),
        (-above, -above - 1, "the sum is below 0: x - 1, all of it"),
        (zero, zero - 1, "the sum is 0, not above it: x - 1"),
    ]
    others = [
        (doubles, 2 * doubles, "two values in float64, the sum is above 0: 2 * x"),
        (cube, cube - 1, "shape (2, 1, 2) in float64, the sum of all is below 0: x - 1"),
    ]
    for x, want, said in [*cases, *others]:
        with explain("the gate raised"), unchanged("the gate changed its input", x=x):
            got = gate(x)
        check_tensor(got, want, f"the gate in Python; {said}", rtol=1e-9)
    for example in (above, -above):
        with explain("torch.export.export(gate, (x,)) raised", _SIGNS):
            program = torch.export.export(gate, (example,)).module()
        for x, want, said in cases:
            with explain("the exported gate raised"):
                got = program(x)
            check_tensor(got, want, f"exported with a sum of {example.sum():g}; {said}", rtol=1e-6)
