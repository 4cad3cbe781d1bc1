"""Answers that people give to onnx_any_batch, right ones and wrong ones."""

import copy

import numpy as np
import torch

from dojo import Mistake


def _modes_put_back(model, example, path):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.onnx.export(model, (example,), dynamic_shapes=[{0: batch}], dynamo=True)
        program.save(str(path))
    finally:
        for module, training in modes:
            module.training = training


def _exported_first(model, example, path):
    twin = copy.deepcopy(model)
    twin.train(False)
    program = torch.export.export(twin, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.onnx.export(program, f=str(path), external_data=False)


def _old(model, example, path, **options):
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    names = dict(input_names=["input"], output_names=["output"], dynamic_axes=axes)
    torch.onnx.export(model, example, str(path), dynamo=False, **{**names, **options})


def _old_exporter(model, example, path):
    with torch.no_grad():
        _old(copy.deepcopy(model).eval(), example, path)


def _by_dict(path, x):
    import onnxruntime as ort

    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    outputs = [end.name for end in session.get_outputs()]
    array = np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float32)
    return torch.tensor(session.run(outputs, {first.name: array})[0])


def _forced(path, x):
    import onnxruntime as ort

    options = ort.SessionOptions()
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = dict(zip((i.name for i in session.get_inputs()), [x.numpy(force=True).astype("float32")]))
    return torch.as_tensor(session.run(None, feed)[0])


def _bound(path, x):
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=ort.get_available_providers())
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, x.detach().to(torch.float32).contiguous().numpy())
    binding.bind_output(session.get_outputs()[0].name)
    session.run_with_iobinding(binding)
    return torch.from_numpy(binding.copy_outputs_to_cpu()[0])


def _merged(model, example, path):
    """Two files first, then one: onnx.save takes the weights in."""
    import onnx

    was = {name: module.training for name, module in model.named_modules()}
    model.eval()
    torch.onnx.export(model, (example,), str(path), dynamic_shapes=[{0: torch.export.Dim.AUTO}], verbose=False)
    onnx.save(onnx.load(str(path)), str(path))
    for name, module in model.named_modules():
        module.training = was[name]


def _one_by_one(path, x):
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: row[None]})[0][0] for row in x.detach().float().numpy()]
    return torch.stack([torch.from_numpy(row) for row in rows])


RIGHT = [
    {"export_onnx": _merged, "run_onnx": _one_by_one},
    {"export_onnx": _modes_put_back, "run_onnx": _by_dict},
    {"export_onnx": _exported_first, "run_onnx": _forced},
    {"export_onnx": _old_exporter, "run_onnx": _bound},
]


def _as_tutorials_say(model, example, path):
    model.eval()
    _old(model, example, path)


def _no_axes(model, example, path):
    _old(copy.deepcopy(model).eval(), example, path, dynamic_axes=None)


def _one_row(model, example, path):
    _old(copy.deepcopy(model).eval(), example[:1], path, dynamic_axes=None)


def _no_eval(model, example, path):
    _old(model, example, path, training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False)
    model[4].eval()


def _children_only(model, example, path):
    modes = {module: module.training for module in model.modules()}
    for module in list(model.modules())[1:3]:
        module.eval()
    _old(model, example, path, training=torch.onnx.TrainingMode.PRESERVE)
    for module, mode in modes.items():
        module.training = mode


def _train_again(model, example, path):
    _old(model.eval(), example, path)
    model.train(True)


def _puts_the_root_back(model, example, path):
    was = model.training
    _old(model.eval(), example, path)
    for module in model.modules():
        module.training = was


def _gives_up_gradients(model, example, path):
    _old(copy.deepcopy(model).eval(), example, path)
    for p in model.parameters():
        p.requires_grad = False
        p.grad = None


def _moves_the_norms(model, example, path):
    """A dry run in train mode, to see that it works."""
    model(example)
    _old(copy.deepcopy(model).eval(), example, path)


def _only_if_it_trains(model, example, path):
    twin = copy.deepcopy(model)
    _old(twin.eval() if twin.training else twin, example, path, training=torch.onnx.TrainingMode.PRESERVE)


def _default_files(model, example, path):
    torch.onnx.export(copy.deepcopy(model).eval(), (example,), str(path), dynamic_shapes=({0: "batch"},), verbose=False)


def _renamed(model, example, path):
    _old(copy.deepcopy(model).eval(), example, str(path) + ".onnx")


def _feed(path, take, name=None, names=None):
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(names, {name or session.get_inputs()[0].name: take})


def _fixed_name(path, x):
    return torch.from_numpy(_feed(path, x.detach().float().numpy(), name="onnx::Gemm_0")[0])


def _fixed_output(path, x):
    return torch.from_numpy(_feed(path, x.detach().float().numpy(), names=["y"])[0])


def _keeps_dtype(path, x):
    return torch.from_numpy(_feed(path, x.detach().numpy())[0])


def _keeps_graph(path, x):
    return torch.from_numpy(_feed(path, x.to(torch.float32).numpy())[0])


def _array(path, x):
    return _feed(path, x.detach().float().numpy())[0]


def _all_outputs(path, x):
    return [torch.from_numpy(y) for y in _feed(path, x.detach().float().numpy())]


def _like_x(path, x):
    return torch.from_numpy(_feed(path, x.detach().float().numpy())[0]).type_as(x)


def _requires(path, x):
    return torch.from_numpy(_feed(path, x.detach().float().numpy())[0]).requires_grad_(x.requires_grad)


def _detaches_in_place(path, x):
    return torch.from_numpy(_feed(path, x.detach_().float().numpy())[0])


_open = {}


def _opened_once(path, x):
    import onnxruntime as ort

    if str(path) not in _open:
        _open[str(path)] = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    session = _open[str(path)]
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.detach().float().numpy()})[0])


def _row_by_row(path, x):
    return torch.cat([torch.from_numpy(_feed(path, row.detach().float().numpy())[0]) for row in x])


WRONG = [
    Mistake("and export_onnx left it in eval mode", caught_by="", export_onnx=_as_tutorials_say),
    Mistake("the batch size of the example was frozen", caught_by="", export_onnx=_no_axes),
    Mistake("the batch size of the example was frozen", caught_by="", export_onnx=_one_row),
    Mistake("it was exported in train mode, with dropout on", caught_by="", export_onnx=_no_eval),
    Mistake("it was exported in train mode, with dropout on", caught_by="", export_onnx=_children_only),
    Mistake("train() reaches every submodule", caught_by="", export_onnx=_train_again),
    Mistake("train() reaches every submodule", caught_by="", export_onnx=_puts_the_root_back),
    Mistake("export_onnx changed what it was given", caught_by="", export_onnx=_gives_up_gradients),
    Mistake("export_onnx changed what it was given", caught_by="", export_onnx=_moves_the_norms),
    Mistake("the weights stayed behind", caught_by="", export_onnx=_default_files),
    Mistake("wrote no file at its path", caught_by="", export_onnx=_renamed),
    Mistake("the input of this file has another name", caught_by="", run_onnx=_fixed_name),
    Mistake("the output of this file has another name", caught_by="", run_onnx=_fixed_output),
    Mistake("the file takes float32 only", caught_by="", run_onnx=_keeps_dtype),
    Mistake("a tensor with a graph went to NumPy", caught_by="", run_onnx=_keeps_graph),
    Mistake("run_onnx ran the former one", caught_by="", run_onnx=_opened_once),
    Mistake("a dropout was in train mode inside a model in eval mode", caught_by="", export_onnx=_only_if_it_trains),
    Mistake("run_onnx returns a tensor, got ndarray", caught_by="", run_onnx=_array),
    Mistake("run_onnx returns a tensor, got list", caught_by="", run_onnx=_all_outputs),
    Mistake("the batch as float32, times the weight", caught_by="", run_onnx=_like_x),
    Mistake("the batch as float32, times the weight", caught_by="", run_onnx=_requires),
    Mistake("run_onnx changed its batch", caught_by="", run_onnx=_detaches_in_place),
    Mistake("a batch of 1 through a file", caught_by="", run_onnx=_row_by_row),
]
