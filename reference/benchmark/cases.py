"""What is timed: nets, inputs and the variants of a forward pass and a training step.

Each variant is a callable without arguments that handles one batch. Its inputs rotate, so that no cache answers; its
result was compared with plain fp32 on the same input before anything is timed (`check`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from reference.mnist.data import prepare
from reference.mnist.model import DigitNet
from reference.mnist.settings import RECIPES

# Channels of the two convolutions. The rows of the benchmark are of the first two, strong_step.py takes the third.
SIZES = {"teaching": (16, 48), "wide": (128, 384), "strong": RECIPES["strong"].channels}
BATCHES = {"cpu": (1, 16, 64, 256, 1024), "cuda": (1, 4, 16, 64, 256, 1024, 4096)}
# What can differ from plain fp32, and by how much the results may: bf16 has 8 bits of mantissa, tf32 has 11.
VARIANTS = {
    "cpu": {"fp32": 0.0, "channels-last": 1e-4},
    "cuda": {
        "fp32": 0.0,
        "tf32": 2e-2,
        "bf16": 8e-2,
        "channels-last": 1e-3,
        "compile": 1e-3,
        "graph": 1e-4,
        "bf16+channels-last+compile": 8e-2,
    },
}
_ROTATION = 8  # different batches in turn


@dataclass(frozen=True)
class Case:
    """One row of the benchmark."""

    work: str  # "forward" or "step": forward, loss, backward, optimizer
    device: str
    size: str
    batch: int
    variant: str

    def __str__(self) -> str:
        return f"{self.work}-{self.device}-{self.size}-{self.batch}-{self.variant}"


def cases(device: str) -> list[Case]:
    """All rows of a device. The variants are tried on the training step, where they matter."""
    rows = []
    for size, batch in itertools.product(("teaching", "wide"), BATCHES[device]):
        if device == "cpu" and size == "wide" and batch > 256:
            continue  # a second a call: it says nothing new
        rows.append(Case("forward", device, size, batch, "fp32"))
        rows += [Case("step", device, size, batch, variant) for variant in VARIANTS[device]]
    return rows


class Work:
    """A case made ready: call it to handle one batch."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.parts = set(case.variant.split("+"))
        self.device = torch.device(case.device)
        self.layout = torch.channels_last if "channels-last" in self.parts else torch.contiguous_format
        batches = inputs(case.batch, self.device, self.layout)
        self.batches = itertools.cycle(batches)
        self.net = net_of(case.size).to(self.device).to(memory_format=self.layout)
        self.forward: Callable[[torch.Tensor], torch.Tensor] = self.net
        if "compile" in self.parts:
            # What was compiled for other rows is forgotten: a second batch size would be compiled for any size, and
            # after eight nets torch gives up and runs the net as it is, without a word.
            torch.compiler.reset()
            self.forward = torch.compile(self.net)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-3, momentum=0.9)
        self.call: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self._plain
        if "graph" in self.parts:
            with precision(case.variant):  # what is recorded keeps the precision that it was recorded in
                self.call = self._graphed(*batches[0])

    def __call__(self) -> torch.Tensor:
        return self.call(*next(self.batches))

    def _plain(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self.case.work == "forward":
            with torch.no_grad():
                return self.forward(x)
        return self._step(x, labels)

    def _step(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled="bf16" in self.parts):
            loss = functional.cross_entropy(self.forward(x), labels)
        self.optimizer.zero_grad(set_to_none="graph" not in self.parts)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _graphed(self, x: torch.Tensor, labels: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The step recorded once, with inputs like these, and replayed: one launch instead of a hundred."""
        x, labels = x.clone(), labels.clone()  # where the recorded step reads
        weights = {name: value.clone() for name, value in self.net.state_dict().items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # the warm-up that the recording of a graph asks for
            for _ in range(3):
                self._step(x, labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._step(x, labels)
        self._rewind(weights)

        def replay(new_x: torch.Tensor, new_labels: torch.Tensor) -> torch.Tensor:
            x.copy_(new_x)
            labels.copy_(new_labels)
            graph.replay()
            return loss

        return replay

    def _rewind(self, weights: dict[str, torch.Tensor]) -> None:
        """Back to the first step, in the same memory: the recorded graph knows addresses."""
        with torch.no_grad():
            for name, value in self.net.state_dict().items():
                value.copy_(weights[name])
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        value.zero_()


def net_of(size: str) -> DigitNet:
    """The same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DigitNet(SIZES[size])


def inputs(batch: int, device: torch.device, layout: torch.memory_format) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of bytes as MNIST's, prepared, with labels: float32 (batch, 1, 28, 28) and int64 (batch,)."""
    random = torch.Generator().manual_seed(0)
    made = []
    for _ in range(_ROTATION):
        images = torch.randint(0, 256, (batch, 28, 28), dtype=torch.uint8, generator=random)
        labels = torch.randint(0, 10, (batch,), generator=random)
        made.append((prepare(images).to(device, memory_format=layout), labels.to(device)))
    return made


def check(work: Work) -> None:
    """AssertionError unless the variant computes what plain fp32 computes, over two calls."""
    case = work.case
    plain = Work(Case(case.work, case.device, case.size, case.batch, "fp32"))
    with precision("fp32"):
        wanted = [plain().clone() for _ in range(2)]
    with precision(case.variant):
        got = [work().clone().float() for _ in range(2)]
    tolerance = VARIANTS[case.device][case.variant]
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@contextlib.contextmanager
def precision(variant: str) -> Iterator[None]:
    """tf32 on where the variant says so, off elsewhere: PyTorch's default for convolutions is on."""
    on = "tf32" in variant
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


# ── what the work costs at least ──


def arithmetic(variant: str) -> str:
    """In what the variant multiplies: "bf16", "tf32" or "fp32"."""
    return next((kind for kind in ("bf16", "tf32") if kind in variant), "fp32")


def flops(case: Case) -> int:
    """Floating-point operations of one call, as torch counts them, for one image; each image costs as much."""
    work = Work(Case(case.work, "cpu", case.size, 1, "fp32"))
    with FlopCounterMode(display=False) as counter:
        work()
    return case.batch * int(counter.get_total_flops())


def bytes_moved(case: Case) -> int:
    """Bytes that one call must read and write if each layer reads its input and weights once and writes its output.

    By hand: for each layer input + output + weights, in four bytes a value or in bf16's two; a backward pass does that
    about twice more, and the optimizer reads weight, gradient and momentum and writes two of them, in four bytes.
    """
    net = net_of(case.size).to("meta")  # shapes are all that is needed
    total = 0

    def count(layer: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += args[0].numel() + output.numel() + sum(w.numel() for w in layer.parameters())

    hooks = [layer.register_forward_hook(count) for layer in net.children()]
    with torch.no_grad():
        net(torch.zeros(case.batch, 1, 28, 28, device="meta"))
    for hook in hooks:
        hook.remove()
    weights = sum(w.numel() for w in net.parameters())
    width = 2 if arithmetic(case.variant) == "bf16" else 4
    return width * total if case.work == "forward" else 3 * width * total + 4 * 5 * weights
