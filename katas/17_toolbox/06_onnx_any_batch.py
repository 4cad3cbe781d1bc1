"""One file, any batch

A model that shall run without Python, in a browser, on a phone, in a C++ server, is written down as ONNX: a graph of
standard operations with the weights, in a file that many runtimes read. `torch.onnx.export(model, (example,), path)`
runs torch.export over the model, with the example, and translates the graph. Three surprises wait in the file.

The batch size of the example is a constant of the graph, if you don't say that it may vary, and the first other batch
is refused: "Got: 5 Expected: 2". `dynamic_shapes` has an entry for each input, and the entry names the dimensions that
vary: `{0: "batch"}`. (Old tutorials say dynamic_axes, for the exporter that came before; it is deprecated.)

The mode is a constant, too. A model in train mode is exported with its dropout on, and with batch norms that look at
the batch. Only eval mode is of use; and as a training may go on, each submodule needs its own mode back: afterwards,
`model.train()` also sends those layers to train mode that were frozen on purpose.

And there may be two files: weights of 1 KB or more go to `model.onnx.data`, beside the graph. Whoever copies the
.onnx alone has a graph without weights. `external_data=False` keeps them inside.

To run a file, make a session, `onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])`. Its
`get_inputs()` lists the inputs, each with its `name`, and its `run(None, {name: array})` takes a NumPy array, float32
and without a graph where the file says float, and gives a list of arrays, one for each output.

What is asked here: write such a file, and run one. Import onnxruntime inside your function
(`pip install onnx onnxscript onnxruntime`).

About 25 minutes. Before it: export_any_batch, numpy_bridge, predict_one.

https://docs.pytorch.org/docs/stable/onnx.html
"""

import copy
import functools
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, needs, unchanged


def export_onnx(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write `model` to `path` (it ends in .onnx), as one file that needs no other; a file that was there is replaced.

    `example` is a float32 batch (N, ...) that the model takes, its only argument; N is 2 or more. The file has one
    input and one output, gives the numbers of the model in eval mode, and takes batches of any size.

    Afterwards the model is as it was: the mode of each submodule, its parameters and its buffers.
    """
    raise NotImplementedError("export the model, as eval mode computes, for any batch size")


def run_onnx(path: Path, x: torch.Tensor) -> torch.Tensor:
    """The output, for the batch x, of an ONNX file with one float32 input and one float32 output, whatever their names.

    It is read at each call: another file may stand at the same path by then.

    `x` is a float32, float64 or float16 tensor on the CPU, with any strides, that may require a gradient, and stays
    as it is. Computed by onnxruntime on the CPU. Returns a float32 tensor without a graph.
    """
    raise NotImplementedError("run the file with onnxruntime")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_PACKAGES = "onnx", "onnxscript", "onnxruntime"

_EXPORT_SIGNS = {
    "dynamic_shapes": "dynamic_shapes does not fit: a tuple, with one entry for each argument of forward, always does",
}

_RUN_SIGNS = {
    "requires grad": "a tensor with a graph went to NumPy: detach it first",
    "[Uu]nexpected input data type": "the file takes float32 only: convert the batch before it becomes an array",
    "Required inputs .* missing|Invalid input name": "the input of this file has another name: the session knows it",
    "[Ii]nvalid [Oo]utput [Nn]ame": "the output of this file has another name: None in place of names gives all",
}


def _call(function: Callable[..., Any], *args: Any) -> Any:
    """Where a package is missing, an unwritten stub is to do, and a written one is not run here."""
    __tracebackhide__ = True
    if any(importlib.util.find_spec(name) is None for name in _PACKAGES):
        try:
            function(*args)
        except NotImplementedError:
            raise
        except Exception:  # it can do nothing without the packages
            needs(*_PACKAGES)
        needs(*_PACKAGES)
    return function(*args)


class _Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


def _model() -> nn.Sequential:
    """In the middle of a training: all in train mode but one batch norm, which is frozen, and with gradients."""
    torch.manual_seed(0)
    norm, frozen = nn.BatchNorm1d(64), nn.BatchNorm1d(64)
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), norm, _Noise(), frozen, nn.ReLU(), nn.Linear(64, 3))
    for _ in range(3):
        (model(torch.randn(8, 4) * 2 + 1) * torch.tensor([1.0, -2.0, 3.0])).sum().backward()
    frozen.eval().requires_grad_(False)
    return model


@dataclass
class _Exported:
    path: Path
    model: nn.Sequential
    modes: dict[str, bool]  # before the export
    watch: unchanged  # entered before the export
    wanted: dict[int, tuple[torch.Tensor, torch.Tensor]]  # a batch of each size, and what eval mode gives


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@functools.cache
def _exported(folder: Path) -> _Exported:
    """One export for all the tests that look at it."""
    __tracebackhide__ = True
    model, example = _model(), torch.randn(2, 4)
    judge = copy.deepcopy(model).eval()
    with torch.no_grad():
        wanted = {n: (x, judge(x)) for n in (2, 1, 5) for x in [torch.randn(n, 4) * 3 + 1]}
    modes = {name: module.training for name, module in model.named_modules()}
    watch = unchanged("export_onnx changed what it was given", model=model, example=example)
    path = folder / "model.onnx"
    watch.__enter__()  # it is asked in the test that is about it
    with warnings.catch_warnings(), explain("export_onnx raised", _EXPORT_SIGNS):
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch 2.11's export, about itself
        _call(export_onnx, model, example, path)
    assert path.is_file(), f"export_onnx wrote no file at its path; the folder holds {_names(path.parent)}"
    return _Exported(path, model, modes, watch, wanted)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _load(path: Path) -> Any:
    """The file as it was written: without optimisations, which take out a dropout that is on."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: Any, x: torch.Tensor) -> torch.Tensor:
    __tracebackhide__ = True
    frozen = {
        r"Got: \d+ Expected: \d+": "the batch size of the example was frozen: say in dynamic_shapes that it varies"
    }
    with explain(f"the exported file refused a batch of {len(x)}; the example had 2", frozen):
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.myth(
    says="dynamic_axes={'input': {0: 'batch'}} makes the batch size of an ONNX file free.",
    today="That belongs to the old exporter, which is deprecated; the present one takes dynamic_shapes.",
)
def test_an_exported_file_computes_as_eval_does_for_any_batch(folder):
    exported = _exported(folder)
    with explain("onnxruntime cannot load the file that export_onnx wrote"):
        session = _load(exported.path)
    inputs, outputs = ([end.name for end in ends] for ends in (session.get_inputs(), session.get_outputs()))
    assert len(inputs) == 1, f"the file has the inputs {inputs}; expected one, the batch, with the weights inside"
    assert len(outputs) == 1, f"the file has the outputs {outputs}; expected one, as the model has"
    for x, want in exported.wanted.values():
        got = _run(session, x)
        same = got.shape != want.shape or torch.equal(got, _run(session, x))
        assert same, "the file gives other numbers each time: it was exported in train mode, with dropout on"
        trained = copy.deepcopy(exported.model).eval()
        trained[2].train()
        by_batch = len(x) > 1 and got.shape == want.shape and torch.allclose(got, trained(x), rtol=1e-3, atol=1e-4)
        assert not by_batch, "the file normalizes by the mean of each batch: its batch norm was exported in train mode"
        check_tensor(got, want, f"the file and the model in eval mode, for a batch of {len(x)}", rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_export_leaves_the_model_as_it_was(folder):
    exported = _exported(folder)
    for name, module in exported.model.named_modules():
        was = exported.modes[name]
        kind = f"{type(module).__name__} {name or '(the model itself)'}"
        assert module.training or not was, f"{kind} was in train mode, and export_onnx left it in eval mode"
        assert was or not module.training, (
            f"{kind} was frozen in eval mode, and trains after export_onnx: train() reaches every submodule"
        )
    exported.watch.__exit__(None, None, None)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_mode_of_a_model_says_nothing_about_its_layers(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).eval()
    model[1].train()  # the model as a whole is in eval mode
    example, x = torch.randn(2, 4), torch.randn(5, 4)
    want = model[0](x).detach()
    path = tmp_path / "model.onnx"
    path.write_bytes(b"of yesterday")
    with warnings.catch_warnings(), explain("export_onnx raised", _EXPORT_SIGNS):
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        _call(export_onnx, model, example, path)
    assert path.read_bytes() != b"of yesterday", "a file of an earlier export was at the path, and is still there"
    modes = [model.training, model[0].training, model[1].training]
    assert modes == [False, False, True], (
        f"train mode of the model, a Linear and a Dropout was [False, False, True]; after export_onnx it is {modes}"
    )
    with explain("onnxruntime cannot load the file that export_onnx wrote"):
        session = _load(path)
    got = _run(session, x)
    dropped = got.shape == want.shape and torch.logical_or(got == 0, torch.isclose(got, 2 * want, rtol=1e-4)).all()
    assert not dropped, "a dropout was in train mode inside a model in eval mode: it is on in the file"
    check_tensor(got, want, "the file and the model with all its layers in eval mode", rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.myth(
    says="The model is in model.onnx.",
    today="Weights of 1 KB and more are in model.onnx.data, beside it, unless external_data=False.",
)
def test_a_file_that_travels_has_its_weights_inside(folder, tmp_path):
    exported = _exported(folder)
    copied = tmp_path / "elsewhere.onnx"
    copied.write_bytes(exported.path.read_bytes())
    beside = [name for name in _names(exported.path.parent) if name != exported.path.name]
    left_behind = f"the .onnx alone does not load elsewhere: the weights stayed behind in {' and '.join(beside)}"
    x, want = exported.wanted[2]
    with explain("the file was copied elsewhere and does not load", {".": left_behind} if beside else {}):
        session = _load(copied)
    check_tensor(_run(session, x), want, "the file, copied elsewhere, and the model in eval mode", rtol=1e-4, atol=1e-5)


def _write_file(path: Path, weight: torch.Tensor, names: tuple[str, str]) -> None:
    """An ONNX file that multiplies a batch (n, 3) with a weight (3, k)."""
    from onnx import TensorProto, checker, helper, save

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in zip(names, weight.shape, strict=True)
    ]
    values = helper.make_tensor("w", TensorProto.FLOAT, list(weight.shape), weight.flatten().tolist())
    node = helper.make_node("MatMul", [names[0], "w"], [names[1]])
    graph = helper.make_graph([node], "multiplied", ends[:1], ends[1:], [values])
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(file)
    save(file, str(path))


def _result(path: Path, x: torch.Tensor) -> Any:
    __tracebackhide__ = True
    with explain("run_onnx raised", _RUN_SIGNS), unchanged("run_onnx changed its batch", x=x):
        got = _call(run_onnx, path, x)
    assert isinstance(got, torch.Tensor), f"run_onnx returns a tensor, got {type(got).__name__}"
    return got


def test_a_session_knows_the_names_of_its_inputs(tmp_path):
    files = {}
    for i, names in enumerate((("some_input", "some_output"), ("x", "y"), ("input", "z.1"))):
        weight = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, -6.0]]) * (i + 1)
        files[names] = tmp_path / f"file_{i}.onnx", weight
        if importlib.util.find_spec("onnx") is not None:
            _write_file(*files[names], names)
    for names, (path, weight) in files.items():
        for n in (1, 2, 5):
            x = torch.arange(3.0 * n).view(n, 3) - 4
            what = f"a batch of {n} through a file with the input {names[0]!r} and the output {names[1]!r}"
            check_tensor(_result(path, x), x @ weight, what)
    x = torch.tensor([[1.0, 0.0, 2.0]])
    if importlib.util.find_spec("onnx") is not None:
        _write_file(path, -weight, names)
    got = _result(path, x)
    kept = got.shape == (1, 2) and torch.equal(got, x @ weight)
    assert not kept, "another file was written to the same path, and run_onnx ran the former one: a session was kept"
    check_tensor(got, x @ -weight, "a batch of 1 through another file at the same path")


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.T.contiguous().T,
        lambda x: torch.stack([x, x + 1], 2)[:, :, 0],
        lambda x: x.requires_grad_(),
        lambda x: (x.double().requires_grad_() * 2).T.contiguous().T / 2,
    ],
    ids=["float64", "float16", "transposed", "strided", "requires grad", "all at once"],
)
def test_a_runtime_takes_plain_arrays_of_float32(change, tmp_path):
    path, weight = tmp_path / "file.onnx", torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, -6.0]])
    if importlib.util.find_spec("onnx") is not None:
        _write_file(path, weight, ("some_input", "some_output"))
    x = change(torch.tensor([[0.1, -1.0, 2.0], [3.0, 1 / 3, -8.0]]))
    want = x.detach().float() @ weight
    said = "the batch as float32, times the weight"
    check_tensor(_result(path, x), want, said, rtol=1e-6, atol=1e-6, requires_grad=False)
