"""docs/MAP.md and docs/EXAM.md: where each package of torch is today, where each topic of the exam is taught.

The tables are written here and the pages made from them, so that a kata that is renamed or moved is never lost: a name
that no kata has is a complaint of the gate. What MAP says of torch is tried on the torch at hand by tests/test_maps.py.
The versions were read from the released wheels (1.0 to 2.15): the first in which the file, the function or the warning
is there, or is not there any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from dojo.kata.files import Kata

Today = Literal["stable", "moved", "deprecated", "gone", "new"]


@dataclass(frozen=True)
class Place:
    """A package of torch, or beside it: what became of it, and which katas show it."""

    name: str
    today: Today
    since: str  # the torch since which it is so; "" for what was always so
    note: str
    shown_by: tuple[str, ...]  # slugs of katas; none for a package that is not part of torch


@dataclass(frozen=True)
class Topic:
    """A topic of the PyTorch Certified Associate exam, and the katas that teach it."""

    area: str
    name: str
    katas: tuple[str, ...]


def _place(name: str, today: Today, since: str, note: str, *shown_by: str) -> Place:
    return Place(name, today, since, note, shown_by)


MAP = [
    _place(
        *("torch.random", "stable", "", "seeds, `fork_rng`, generators of your own"),
        *("own_your_randomness", "loader_rng"),
    ),
    _place("torch.sparse", "stable", "", "COO tensors; the CSR layout calls itself beta", "sparse_is_a_sum"),
    _place(
        *("torch.Storage", "deprecated", "2.0", "`x.storage()` warns; `x.untyped_storage()` counts bytes"),
        *("behind_the_view", "names_that_went"),
    ),
    _place(
        *("torch.ao.quantization", "deprecated", "2.8"),
        "its warning says that 2.10 removes it, which 2.15 has not done; the successor is the package torchao",
        "int8_affine",
    ),
    _place(
        *("Tensor attributes", "stable", "", "dtype, device, layout, memory format"),
        *("which_device", "dtype_limits", "permute_not_reshape", "channels_last"),
    ),
    _place("Tensor views", "stable", "", "which operations share memory", "view_or_copy", "slices_write_through"),
    _place("Type info", "stable", "", "`torch.finfo`, `torch.iinfo`", "dtype_limits"),
    _place(
        *("Named tensors", "gone", "2.13", "they never left the prototype; name dimensions in einsum or in your code"),
        *("names_that_went", "contract_by_name"),
    ),
    _place(
        *("torch.cuda", "stable", "", "`torch.accelerator` (2.6) asks the same of any kind of GPU"),
        *("which_device", "move_a_batch", "no_hidden_sync", "gpu_stopwatch"),
    ),
    _place(
        *("torch.cuda.amp", "moved", "2.4", "to `torch.amp`, with the device as an argument; the old names warn"),
        *("autocast_bf16", "grad_scaler"),
    ),
    _place(
        *("torch.distributed", "stable", "", "process groups, collectives, DistributedDataParallel"),
        *("all_reduce_accuracy", "ddp_averages", "rank_sampler"),
    ),
    _place("torch.distributions", "stable", "", "batch and event shapes", "distributions_have_shapes"),
    _place(
        *("torch.distributed.rpc", "stable", "", "it imports, and is not developed any more"),
        "torchrun_env",
    ),
    _place("torch.hub", "stable", "", "a hubconf.py, in a folder or on GitHub", "hub_local"),
    _place("torch.utils.model_zoo", "moved", "1.1", "to `torch.hub.load_state_dict_from_url`", "hub_local"),
    _place(
        *("torch.jit", "deprecated", "2.10", "`torch.compile` to run faster, `torch.export` to ship"),
        *("graph_breaks", "export_any_batch", "names_that_went"),
    ),
    _place(
        *("torch.onnx", "stable", "", "since 2.9 the export goes through `torch.export`; the TorchScript one warns"),
        "onnx_any_batch",
    ),
    _place(
        *("torch.utils.bottleneck", "gone", "2.10", "`torch.utils.benchmark` and `torch.profiler`"), "measure_first"
    ),
    _place(
        *("torch.utils.checkpoint", "stable", "", "pass `use_reentrant=False`: without the argument it warns"),
        "checkpointing",
    ),
    _place("torch.utils.cpp_extension", "stable", "", "C++ and CUDA beside your Python", "cpp_extension"),
    _place(
        *("torch.utils.data", "stable", "", "datasets, samplers, loaders, workers"),
        *("dataset_map_style", "collate_ragged", "loader_rng", "workers_rng", "iterable_shards"),
    ),
    _place("torch.utils.dlpack", "moved", "1.10", "to `torch.from_dlpack`; the old name works", "dlpack_exchange"),
    _place(
        *("torch.utils.tensorboard", "stable", "", "needs the package tensorboard"),
        "tensorboard_scalars",
    ),
    _place(
        *(
            "torchvision",
            "stable",
            "",
            "use `torchvision.transforms.v2` (torchvision 0.15), which knows boxes and masks",
        ),
        *("image_to_float", "augment_each_sample", "mnist_98"),
    ),
    _place("torchaudio", "stable", "", "a package of its own; reading files went to TorchCodec in 2.9"),
    _place("torchtext", "gone", "0.18", "a package of its own: 0.18 (2024) was its last, the project is archived"),
    _place("TorchServe", "gone", "0.12", "a package of its own: archived in 2025"),
    _place(
        *("TorchElastic", "moved", "1.9", "to `torch.distributed.elastic`; its command is `torchrun`"), "torchrun_env"
    ),
    _place("torch.inference_mode", "new", "1.9", "a stronger `no_grad`", "inference_mode", "stop_gradient"),
    _place("torch.func", "new", "2.0", "`grad`, `vmap`, `functional_call`", "func_transforms"),
    _place("torch.compile", "new", "2.0", "one program for a whole function", "graph_breaks", "recompiles"),
    _place("torch.export", "new", "2.1", "a graph that leaves Python", "export_any_batch", "onnx_any_batch"),
    _place("torch.accelerator", "new", "2.6", "CUDA, MPS, XPU by one name", "which_device", "move_a_batch"),
]

EXAM = [
    Topic("Tensors and autograd", "making tensors; shapes and dtypes", ("shape_words", "tensor_not_Tensor")),
    Topic("Tensors and autograd", "indexing, slicing", ("slices_write_through", "one_per_row", "mask_do_not_multiply")),
    Topic("Tensors and autograd", "reshaping, views, memory", ("view_or_copy", "permute_not_reshape", "cat_or_stack")),
    Topic(
        "Tensors and autograd",
        "arithmetic, broadcasting, reductions",
        ("promotion_ladder", "the_silent_outer_product", "keepdim_and_correction"),
    ),
    Topic("Tensors and autograd", "NumPy and back", ("numpy_bridge", "leaving_torch")),
    Topic("Tensors and autograd", "CPU and GPU", ("which_device", "move_a_batch", "one_device_per_op")),
    Topic(
        "Tensors and autograd",
        "gradients: the graph, backward, accumulation, no_grad, detach",
        ("first_gradient", "leaf_weights", "walk_the_graph", "accumulate_or_separate", "stop_gradient"),
    ),
    Topic("Data", "a Dataset of your own", ("dataset_map_style", "iterable_shards")),
    Topic("Data", "DataLoader: batches, shuffling, workers, collate", ("batches_and_leftovers", "collate_ragged")),
    Topic("Data", "transforms and augmentation", ("image_to_float", "augment_each_sample")),
    Topic("Data", "splits, class imbalance", ("split_then_transform", "balanced_sampler")),
    Topic("Building and training", "nn.Module, layers, parameters", ("registration", "lenet_shapes", "layers_by_hand")),
    Topic("Building and training", "convolutional and recurrent nets", ("lenet_shapes", "rnn_states")),
    Topic("Building and training", "attention", ("attention_masks", "split_heads", "causal_attention")),
    Topic("Building and training", "initialisation, dropout, batch normalisation", ("init", "dropout", "batchnorm")),
    Topic(
        "Building and training",
        "loss functions",
        ("mse_shapes", "cross_entropy_by_hand", "bce_logits", "weights_and_smoothing"),
    ),
    Topic("Building and training", "optimizers", ("training_step", "sgd_by_hand", "adaptive_by_hand", "param_groups")),
    Topic(
        "Building and training",
        "the training loop, from a line to MNIST",
        ("line_2x_plus_2", "iris_logistic", "bend_the_line", "read_the_script", "mnist_98"),
    ),
    Topic("Building and training", "overfitting: curves, early stopping", ("learning_curves", "early_stopping")),
    Topic(
        "Building and training", "evaluation: confusion matrix, F1", ("confusion_and_scores", "batches_and_leftovers")
    ),
    Topic("Building and training", "saving, loading, going on", ("state_dict_roundtrip", "resume_exactly")),
    Topic("Building and training", "transfer learning", ("load_what_fits", "freezing", "swap_the_head", "lora")),
    Topic("Going further", "mixed precision", ("autocast_bf16", "grad_scaler")),
    Topic("Going further", "learning-rate schedules", ("schedules_by_formula", "scheduler_loop")),
    Topic("Going further", "clipping, gradient accumulation", ("clip_gradients", "grad_accumulation")),
    Topic("Going further", "inference", ("inference_mode", "predict_one", "like_mnist", "export_any_batch")),
    Topic("Going further", "language models: positions, cache, sampling", ("rope", "kv_cache", "sampling", "tiny_gpt")),
    Topic("Going further", "several GPUs", ("all_reduce_accuracy", "ddp_averages", "torchrun_env")),
]

_MAP_INTRO = """\
# The map of torch's packages

What the classic tour of PyTorch's packages shows, what each place is today, and the kata that shows it. "Since" is the
torch (or the package's own version) from which it is so. The last rows are what the old tours cannot have.

This page is made from `dojo/authoring/maps.py` by `python -m dojo.authoring pages`; what it says of torch is tried by
`pytest tests/test_maps.py` on the torch that is installed.

| package | today | since | what to know | shown by |
|---|---|---|---|---|
"""

_EXAM_INTRO = """\
# For the PyTorch Certified Associate exam

The topics of the exam, in our own order, and the katas that teach them. A kata asks for more than the exam does: you
write the code, and the usual mistakes are told apart. What is not here: how to book it, and its questions.

This page is made from `dojo/authoring/maps.py` by `python -m dojo.authoring pages`.
"""


def map_page(katas: list[Kata]) -> str:
    """The text of docs/MAP.md."""
    rows = (
        f"| {place.name} | {place.today} | {place.since} | {place.note} | {_links(katas, place.shown_by)} |\n"
        for place in MAP
    )
    return _MAP_INTRO + "".join(rows)


def exam_page(katas: list[Kata]) -> str:
    """The text of docs/EXAM.md."""
    parts = [_EXAM_INTRO]
    for area, topics in groupby(EXAM, key=lambda topic: topic.area):
        parts.append(f"\n## {area}\n\n| topic | katas |\n|---|---|\n")
        parts += [f"| {topic.name} | {_links(katas, topic.katas)} |\n" for topic in topics]
    return "".join(parts)


def unknown_names(katas: list[Kata]) -> list[str]:
    """Names in the tables that no kata has."""
    slugs = {kata.slug for kata in katas}
    named = [name for place in MAP for name in place.shown_by] + [name for topic in EXAM for name in topic.katas]
    return sorted(set(named) - slugs)


def _links(katas: list[Kata], names: Iterable[str]) -> str:
    paths = {kata.slug: f"../katas/{kata.key}.py" for kata in katas}
    return ", ".join(f"[{name}]({paths[name]})" if name in paths else name for name in names)
