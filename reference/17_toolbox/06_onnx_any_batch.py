"""One file, any batch: reference.

Hint: What of the example, of the model's mode, and of the folder does the file depend on, and should not?
Hint: `torch.onnx.export` with `dynamic_shapes` and `external_data`; `copy.deepcopy`, `eval`;
    `onnxruntime.InferenceSession`, `get_inputs`, `run`.
Hint: Export a deep copy of the model in eval mode: then there is nothing to put back. Before the batch becomes a NumPy
    array, take it off its graph and make it float32.

Why: an exporter follows one run of the model and writes down what it saw, so what may differ later must be said
beforehand. A copy is the simplest way to leave a model alone: `model.eval()` and `model.train()` reach all submodules,
and only a list of modes would bring a frozen layer back. onnxruntime knows the names, types and shapes of the inputs:
ask the session, and don't trust that yours was the exporter's choice.
"""

import copy
import functools
from pathlib import Path

import torch
from torch import nn

from dojo import Mistake


def export_onnx(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(
        copy.deepcopy(model).eval(),
        (example,),
        path,
        dynamic_shapes=({0: "batch"},),
        external_data=False,
        verbose=False,
    )


def run_onnx(path: Path, x: torch.Tensor) -> torch.Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (output,) = session.run(None, {name: x.detach().float().numpy()})
    return torch.from_numpy(output)


# ── known mistakes ──


def _new(model, example, path, **options):
    """Right for a model in eval mode. About a second each time."""
    settings = {"dynamic_shapes": ({0: "batch"},), "external_data": False, "verbose": False, **options}
    torch.onnx.export(model, (example,), path, **settings)


def _old(model, example, path, **options):
    """The exporter of before, which is deprecated and fast. It takes the model in the mode in which it is."""
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    settings = {"input_names": ["input"], "output_names": ["output"], "dynamic_axes": axes, **options}
    settings.setdefault("training", torch.onnx.TrainingMode.PRESERVE)
    torch.onnx.export(model, (example,), path, dynamo=False, **settings)


def _eval_old(model, example, path, **options):
    _old(copy.deepcopy(model).eval(), example, path, **options)


def _frozen_batch(model, example, path):
    _new(copy.deepcopy(model).eval(), example, path, dynamic_shapes=None)


def _named_entry(model, example, path):
    """As if the argument of every model's forward were called x."""
    _new(copy.deepcopy(model).eval(), example, path, dynamic_shapes={"x": {0: "batch"}})


def _in_train_mode(model, example, path):
    _new(model, example, path)


def _two_files(model, example, path):
    _new(copy.deepcopy(model).eval(), example, path, external_data=True)


def _left_in_eval(model, example, path):
    model.eval()
    _old(model, example, path)


def _all_to_train(model, example, path):
    model.eval()
    _old(model, example, path)
    model.train()


def _mode_of_the_root(model, example, path):
    was = model.training
    model.eval()
    _old(model, example, path)
    model.train(was)


def _by_the_exporter(model, example, path):
    """The old exporter switches to eval mode, and back to the mode of the root."""
    _old(model, example, path, training=torch.onnx.TrainingMode.EVAL)


def _root_only(model, example, path):
    model.training = False
    _old(model, example, path)
    model.training = True


def _dropout_only(model, example, path):
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout) or type(module).__name__ == "_Noise":
            module.eval()
    _old(model, example, path)


def _frozen_model(model, example, path):
    model.requires_grad_(False)
    _eval_old(model, example, path)


def _no_grads(model, example, path):
    model.zero_grad()
    _eval_old(model, example, path)


def _in_double_and_back(model, example, path):
    _eval_old(model, example, path)
    for p in model.parameters():
        p.data.clamp_(-0.25, 0.25)


def _resets_the_norms(model, example, path):
    _eval_old(model, example, path)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()


class _WithHidden(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x), self.model[0](x)


class _Probabilities(_WithHidden):
    def forward(self, x):
        return self.model(x).softmax(1)


def _run(take=lambda x: x.detach().float().numpy(), name=None, names=None, give=torch.from_numpy):
    """run_onnx, with one thing changed."""

    def run(path, x):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs = session.run(names, {name or session.get_inputs()[0].name: take(x)})
        return give(outputs[0])

    return run


_sessions = []


def _first_file(path, x):
    import onnxruntime

    if not _sessions:
        _sessions.append(onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))
    (output,) = _sessions[0].run(None, {_sessions[0].get_inputs()[0].name: x.detach().float().numpy()})
    return torch.from_numpy(output)


@functools.cache
def _session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _sessions_by_path(path, x):
    session = _session_of(path)
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.detach().float().numpy()})[0])


def _eval_if_training(model, example, path):
    twin = copy.deepcopy(model)
    if twin.training:
        twin.eval()
    _old(twin, example, path)


def _children_put_back(model, example, path):
    """The mode of the model itself is forgotten."""
    modes = [(child, child.training) for child in model.children()]
    _old(model.eval(), example, path)
    for child, mode in modes:
        child.training = mode


def _as_the_root_says(model, example, path):
    """Right if the model is in train mode: in eval mode, what trains is not put back."""
    modes = [(module, module.training) for module in model.modules()]
    was = model.training
    _old(model.eval(), example, path)
    if was:
        for module, mode in modes:
            module.training = mode


def _unless_it_is_there(model, example, path):
    if not path.exists():
        _eval_old(model, example, path)


def _memory_order(x):
    x = x.detach().float()
    return x.as_strided(x.shape, (x.shape[1], 1)).numpy()


_ANY = "test_an_exported_file_computes_as_eval_does_for_any_batch"
_LEFT = "test_an_export_leaves_the_model_as_it_was"
_INSIDE = "test_the_mode_of_a_model_says_nothing_about_its_layers"
_ALONE = "test_a_file_that_travels_has_its_weights_inside"
_NAMES = "test_a_session_knows_the_names_of_its_inputs"
_PLAIN = "test_a_runtime_takes_plain_arrays_of_float32"

_FROZEN = "the batch size of the example was frozen"
_CHANGED = "export_onnx changed what it was given"

MISTAKES = [
    Mistake(_FROZEN, caught_by=_ANY, export_onnx=_frozen_batch),
    Mistake(_FROZEN, caught_by=_ANY, export_onnx=lambda m, x, path: _eval_old(m, x, path, dynamic_axes=None)),
    Mistake("dynamic_shapes does not fit", caught_by=_ANY, export_onnx=_named_entry),
    Mistake("it was exported in train mode, with dropout on", caught_by=_ANY, export_onnx=_in_train_mode),
    Mistake("it was exported in train mode, with dropout on", caught_by=_ANY, export_onnx=_root_only),
    Mistake("its batch norm was exported in train mode", caught_by=_ANY, export_onnx=_dropout_only),
    Mistake(
        "with the weights inside",
        caught_by=_ANY,
        export_onnx=lambda m, x, path: _eval_old(m, x, path, export_params=False),
    ),
    Mistake(
        "the file has the outputs",
        caught_by=_ANY,
        export_onnx=lambda m, x, path: _eval_old(_WithHidden(m), x, path, output_names=["output", "hidden"]),
    ),
    Mistake(
        "the file and the model in eval mode",
        caught_by=_ANY,
        export_onnx=lambda m, x, path: _eval_old(_Probabilities(m), x, path),
    ),
    Mistake(
        "wrote no file at its path",
        caught_by=_ANY,
        export_onnx=lambda m, x, path: _eval_old(m, x, path.with_name("net.onnx")),
    ),
    Mistake(
        "onnxruntime cannot load the file",
        caught_by=_ANY,
        export_onnx=lambda m, x, path: torch.save(m.state_dict(), path),
    ),
    Mistake("and export_onnx left it in eval mode", caught_by=_LEFT, export_onnx=_left_in_eval),
    Mistake("train() reaches every submodule", caught_by=_LEFT, export_onnx=_all_to_train),
    Mistake("train() reaches every submodule", caught_by=_LEFT, export_onnx=_mode_of_the_root),
    Mistake("train() reaches every submodule", caught_by=_LEFT, export_onnx=_by_the_exporter),
    Mistake(_CHANGED, caught_by=_LEFT, export_onnx=_frozen_model),
    Mistake(_CHANGED, caught_by=_LEFT, export_onnx=_no_grads),
    Mistake(_CHANGED, caught_by=_LEFT, export_onnx=_in_double_and_back),
    Mistake(_CHANGED, caught_by=_LEFT, export_onnx=_resets_the_norms),
    Mistake("and export_onnx left it in eval mode", caught_by=_LEFT, export_onnx=_children_put_back),
    Mistake(
        "a dropout was in train mode inside a model in eval mode", caught_by=_INSIDE, export_onnx=_eval_if_training
    ),
    Mistake("after export_onnx it is [False, False, False]", caught_by=_INSIDE, export_onnx=_as_the_root_says),
    Mistake("a file of an earlier export", caught_by=_INSIDE, export_onnx=_unless_it_is_there),
    Mistake("the weights stayed behind", caught_by=_ALONE, export_onnx=_two_files),
    Mistake("the input of this file has another name", caught_by=_NAMES, run_onnx=_run(name="input")),
    Mistake("the input of this file has another name", caught_by=_NAMES, run_onnx=_run(name="x")),
    Mistake("the output of this file has another name", caught_by=_NAMES, run_onnx=_run(names=["output"])),
    Mistake(
        "a batch of 1 through a file", caught_by=_NAMES, run_onnx=_run(give=lambda y: torch.from_numpy(y).squeeze())
    ),
    Mistake("through a file with the input 'x'", caught_by=_NAMES, run_onnx=_first_file),
    Mistake("run_onnx ran the former one", caught_by=_NAMES, run_onnx=_sessions_by_path),
    Mistake("run_onnx returns a tensor, got ndarray", caught_by=_NAMES, run_onnx=_run(give=lambda y: y)),
    Mistake("run_onnx returns a tensor, got list", caught_by=_NAMES, run_onnx=_run(give=lambda y: [torch.tensor(y)])),
    Mistake("dtype: expected torch.float32", caught_by=_NAMES, run_onnx=_run(give=lambda y: torch.tensor(y).double())),
    Mistake("a tensor with a graph went to NumPy", caught_by=_PLAIN, run_onnx=_run(take=lambda x: x.float().numpy())),
    Mistake("the file takes float32 only", caught_by=_PLAIN, run_onnx=_run(take=lambda x: x.detach().numpy())),
    Mistake("the file takes float32 only", caught_by=_PLAIN, run_onnx=_run(take=lambda x: x.detach().double().numpy())),
    Mistake(
        "run_onnx changed its batch",
        caught_by=_PLAIN,
        run_onnx=_run(take=lambda x: x.requires_grad_(False).float().numpy()),
    ),
    Mistake("the batch as float32, times the weight", caught_by=_PLAIN, run_onnx=_run(take=_memory_order)),
    Mistake(
        "the batch as float32, times the weight",
        caught_by=_PLAIN,
        run_onnx=lambda path, x: run_onnx(path, x).to(x.dtype),
    ),
]
