"""Reading the MNIST example with open eyes

The first training script that most people copy is PyTorch's own, `examples/mnist/main.py`. Some of its lines look like
habit and are needed, others look needed and are a slip. So read it slowly, once.

*Loaders.* `shuffle=True` and `pin_memory=True` stand in one dict, which is added only where there is CUDA, and then to
both loaders. So on a CPU the training digits come in the same order in every epoch, and on a GPU the test digits are
shuffled too. (`pin_memory` does not "use the GPU": it keeps batches in memory from which copies to a GPU are faster.)

*test().* The net ends in `log_softmax`, so the loss is `nll_loss`, whose default is the mean of the batch. The script
adds up the *sums*, `reduction="sum"`, and divides once by `len(loader.dataset)`. And `argmax(1, keepdim=True)` is
(B, 1), the labels are (B,): compared as they are, they broadcast to (B, B); hence its `view_as`. `model.eval()` is for
dropout and batch norm; it does not switch off the graph, `torch.no_grad()` does.

*train().* test() leaves the model in eval mode, so `model.train()` belongs to the start of *every* epoch. Once after
each epoch, `scheduler.step()` makes the lr of the next one; `optimizer.param_groups[0]["lr"]` is the one in use. At the
end the `state_dict()` is written with torch.save: tensors and their names, and not the object of your class.

What is asked here: the script's parts, without its slips.

About 30 minutes. Before it: batches_and_leftovers, dropout, training_step.
Path: first_day

https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader
"""

import copy
import functools
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged
from dojo.kit.mnist import at_hand, load


def loader_kwargs(use_cuda: bool, batch_size: int, test_batch_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keyword arguments of the two loaders: `DataLoader(train_data, **first)`, `DataLoader(test_data, **second)`.

    Training data comes in a random order on every machine, in batches of `batch_size`. Test data comes whole and in its
    own order, in batches of `test_batch_size`. `pin_memory` is on with CUDA (for the test data, as you like), and off
    (or not given) without. Workers are yours to choose. Each call makes two new dicts: who edits one changes no other.
    """
    raise NotImplementedError("decide shuffle and pin_memory one by one")


def score(model: nn.Module, loader: DataLoader[Any]) -> tuple[float, int]:
    """The average nll loss over all samples of the dataset, a float, and how many of them are right, an int.

    `loader` gives pairs x, y, with y int64 (B,); its last batch may be short. `model(x)` gives log-probabilities
    (B, C); the highest is the answer. Every module runs in eval mode, and no graph is made. In which mode you leave the
    model is free. All else of it stays: weights, which of them are frozen, buffers, gradients; and gradients can be
    recorded as before.
    """
    raise NotImplementedError("sum the losses and the right answers, divide once")


def fit(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    epochs: int,
    after_epoch: Callable[[int], None],
) -> list[float]:
    """Train for `epochs` passes over `loader`; return the lr that each epoch used (of the optimizer's first group).

    `loader` gives pairs x, y, in each pass in another order perhaps; the model gives log-probabilities. Each batch is
    one step of `optimizer` on its nll loss (the mean), with every module in train mode; gradients from before have no
    influence. `after_epoch` is called with 1, 2, ..., after the last step of that epoch, and may do anything to the
    modes of the model and its parts. `scheduler` makes a step once an epoch, after its batches, before or after
    `after_epoch`.
    """
    raise NotImplementedError("two loops: epochs, batches")


def save_model(model: nn.Module, path: str | Path) -> None:
    """Write the model's state_dict to `path`, so that `torch.load(path)`, as careful as it is by default, reads it.

    The model stays as it is.
    """
    raise NotImplementedError("write what the model has learned, not the object")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


# Arguments of a DataLoader that don't decide which samples come in which order.
_MACHINERY = {"num_workers", "persistent_workers", "prefetch_factor", "multiprocessing_context", "timeout"}
_MACHINERY |= {"pin_memory", "pin_memory_device", "worker_init_fn", "in_order"}

_SIGNS = {
    "has no attribute 'dataset'": "the batches may come from a list, which has no dataset: don't ask fit's loader for "
    "it",
    "object of type .* has no len": "the batches may come from anything that can be looped over, without a length",
    "does not require grad": "the loss hangs on no graph: gradients are off, or the loss was cut off",
    "has no attribute 'param_groups'": "the lr stands in the optimizer's param_groups",
}


def _kwargs(use_cuda: bool, batch_size: int, test_batch_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    __tracebackhide__ = True
    with explain("loader_kwargs raised"):
        got: Any = loader_kwargs(use_cuda, batch_size, test_batch_size)
    pair = isinstance(got, tuple | list) and len(got) == 2 and all(isinstance(kwargs, dict) for kwargs in got)
    assert pair, f"loader_kwargs returns two dicts, for the training and for the test loader; got {got!r}"
    return got[0], got[1]


def _loader(kwargs: dict[str, Any], data: TensorDataset, which: str) -> DataLoader[Any]:
    """The loader that these arguments make, but without workers and pinned memory."""
    __tracebackhide__ = True
    with explain(f"DataLoader does not take the arguments for {which}, {kwargs}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this machine may have fewer cores, or no GPU
        DataLoader(data, **kwargs)
        kept = {name: value for name, value in kwargs.items() if name not in _MACHINERY}
        return DataLoader(data, **kept, num_workers=0, pin_memory=False)


@pytest.mark.myth(
    says="The official MNIST script shuffles its training data.",
    today="Only with CUDA, where it shuffles the test data too: shuffle stands in the dict that is added for CUDA.",
)
@pytest.mark.myth(
    says="pin_memory=True makes the loader use the GPU.",
    today="It keeps batches in page-locked memory of the host, from which copies to a GPU are faster; no GPU is used.",
)
@pytest.mark.parametrize("use_cuda", [False, True], ids=["a machine without CUDA", "a machine with CUDA"])
def test_shuffling_is_about_training_and_pinning_about_cuda(use_cuda):
    machine = "with CUDA" if use_cuda else "without CUDA"
    numbers = torch.arange(60)
    for batch_size, test_batch_size in ((8, 25), (30, 7), (16, 16)):
        pair = _kwargs(use_cuda, batch_size, test_batch_size)
        train, test = (
            _loader(kwargs, TensorDataset(numbers), which)
            for kwargs, which in zip(pair, ("training", "the test"), strict=True)
        )
        sizes = [[len(x) for (x,) in loader] for loader in (train, test)]
        assert (sizes[0][0], sizes[1][0]) == (batch_size, test_batch_size), (
            f"the batches of training and test hold {sizes[0][0]} and {sizes[1][0]} samples; asked for were "
            f"{batch_size} and {test_batch_size}"
        )
        assert sum(sizes[1]) == 60, f"the test loader gives {sum(sizes[1])} of 60 samples: a score needs them all"
        first = torch.cat([x for (x,) in train])
        few = len(first.unique()) < 60 // batch_size * batch_size
        assert not few, f"an epoch of the training loader holds {len(first.unique())} of 60 samples: each comes once"
        still = torch.equal(first, numbers[: len(first)])
        assert not still, f"{machine}, training comes in the order of the dataset" + (
            "" if use_cuda else ": without a GPU nothing shuffles it, if shuffle sits in the dict for CUDA"
        )
        in_order = torch.equal(torch.cat([x for (x,) in test]), numbers)
        assert in_order, f"{machine}, the test data is shuffled: that helps nothing, and shuffle is for training only"
        pinned = [bool(kwargs.get("pin_memory", False)) for kwargs in pair]
        assert use_cuda or not any(pinned), (
            "pin_memory is on without CUDA: it is for copies to a GPU, and here it only makes PyTorch warn"
        )
        assert pinned[0] or not use_cuda, "pin_memory is off for training with CUDA, where it makes copies faster"
    for edited, left in (("training", "test"), ("test", "training")):
        train, test = _kwargs(use_cuda, 8, 25)
        (train if edited == "training" else test).update(batch_size=99, sampler=None)
        other = test["batch_size"] if edited == "training" else train["batch_size"]
        assert other != 99, f"an edit of the dict for {edited} changed that for {left}: both are one dict"
        again = any("sampler" in kwargs or kwargs["batch_size"] == 99 for kwargs in _kwargs(use_cuda, 8, 25))
        assert not again, f"an edit of the dict for {edited} is still there at the next call: make two new dicts"


class _Answers(nn.Module):
    """x are logits, and the model gives their log-probabilities; it has a weight, which changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.scale).log_softmax(1)


def _score(model: nn.Module, loader: DataLoader[Any]) -> tuple[float, int]:
    __tracebackhide__ = True
    with explain("score raised", {"requires grad": "score makes a graph: call the model without gradients"}):
        got: Any = score(model, loader)
    pair = isinstance(got, tuple | list) and len(got) == 2
    assert pair, f"score returns two numbers, the average loss and how many are right; got {got!r}"
    kinds = [type(value).__name__ for value in got]
    assert isinstance(got[0], float), f"the average loss is a Python float; score returned {kinds[0]}, {kinds[1]}"
    whole = isinstance(got[1], int) and not isinstance(got[1], bool)
    assert whole, f"the number of right answers is a Python int; score returned {kinds[0]}, {kinds[1]}"
    return got[0], got[1]


def test_the_average_is_over_samples_and_not_over_batches():
    """The label has probability 1/2 where the answer is right, else 1/4: a loss of log 2, else of 2 log 2."""
    labels = torch.tensor([0, 1, 2, 0, 2, 2, 1, 2, 0, 1])
    said = torch.tensor([0, 1, 2, 0, 2, 1, 0, 0, 0, 1])
    logits = torch.full((10, 3), 0.25).log()
    logits[torch.arange(10), said] = math.log(0.5)
    by_hand = (7 * math.log(2) + 3 * 2 * math.log(2)) / 10
    torch.manual_seed(0)
    others = torch.randn(7, 4), torch.tensor([3, 0, 1, 2, 2, 1, 0])
    sure = torch.tensor([[0.0, -200.0, -300.0], [0.0, -1.0, -2.0]]), torch.tensor([2, 0])
    for x, y, sizes, want, right in (
        (logits, labels, (4, 10, 1, 5), by_hand, 7),
        (*others, (3, 2), None, int((others[0].argmax(1) == others[1]).sum())),
        (*sure, (1, 2), None, 1),
        (logits[:1], labels[:1], (4,), math.log(2), 1),
        (logits[5:8], labels[5:8], (2,), 2 * math.log(2), 0),
    ):
        loss = nn.functional.nll_loss(x.double().log_softmax(1), y).item()
        want = loss if want is None else want
        assert loss == pytest.approx(want, abs=1e-6), "both ways to compute the loss agree"
        for batch_size in sizes:
            batches = list(zip(x.split(batch_size), y.split(batch_size), strict=True))
            means = [nn.functional.nll_loss(a.log_softmax(1), b).item() for a, b in batches]
            samples = list(zip(x, y, strict=True))
            got, n_right = _score(_Answers(), DataLoader(samples, batch_size=batch_size))  # type: ignore[arg-type]
            what = f"{len(y)} samples in batches of {batch_size}: an average loss of {got:.6f}, expected {want:.6f}"
            if abs(got - want) > 1e-6 * max(1.0, want):
                too_small = got == pytest.approx(sum(means) / len(y), abs=1e-6)
                assert not too_small, (
                    f"{what}: too small by the batch size; means of batches were divided by the number of samples"
                )
                of_means = len(batches) > 1 and got == pytest.approx(sum(means) / len(means), abs=1e-6)
                assert not of_means, f"{what}: a mean of batch means, where a short batch counts as much as a full one"
                total = got == pytest.approx(want * len(y), rel=1e-6)
                assert not total, f"{what}: that is the sum, it was not divided"
                raise AssertionError(what)
            pairs = sum(int((a.argmax(1, keepdim=True) == b).sum()) for a, b in batches)
            broadcast = n_right == pairs != right
            assert not broadcast, (
                f"{n_right} right of {len(y)}, expected {right}: (B, 1) compared with (B,) is (B, B), each answer with "
                "each label"
            )
            assert n_right == right, f"{n_right} right of {len(y)} in batches of {batch_size}, expected {right}"


class _Watched(nn.Module):
    """A classifier with dropout and batch norm, which notes of each forward: the modes inside, and whether a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.training_seen: list[set[bool]] = []
        self.graph_seen: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.body(x).log_softmax(1)
        self.training_seen.append({module.training for module in self.modules()})
        self.graph_seen.append(out.requires_grad)
        return out


@pytest.mark.myth(
    says="model.eval() switches gradients off.",
    today="It switches dropout and batch norm. Graphs are made in eval mode too; torch.no_grad() stops them.",
)
def test_eval_mode_and_no_graph_are_two_switches():
    torch.manual_seed(0)
    x, y = torch.randn(10, 3) * 2 + 1, torch.arange(10) % 3
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    for start in ("train mode", "eval mode", "eval mode, but a part of it in train mode"):
        model = _Watched().train(start == "train mode")
        model.body[2].train(start != "eval mode")
        model.body[0].requires_grad_(False)
        for p in model.parameters():
            p.grad = torch.full_like(p, 3.0)
        twin = copy.deepcopy(model).eval()
        out = twin(x).detach()
        want, right = nn.functional.nll_loss(out, y).item(), int((out.argmax(1) == y).sum())
        tensors = dict([*model.named_parameters(), *model.named_buffers()])
        before = {name: (t.detach().clone(), t.requires_grad) for name, t in tensors.items()}
        scores = [_score(model, loader) for _ in range(2)]
        seen = set().union(*model.training_seen)
        assert True not in seen, (
            f"the model came in {start}, and modules inside ran in train mode: dropout hides units, batch norm learns "
            "from test data. eval() sets them all"
        )
        assert not any(model.graph_seen), (
            "the model's outputs hang on a graph: eval() does not stop that, torch.no_grad() does"
        )
        for name, (value, requires_grad) in before.items():
            kind = "statistics of batch norm" if "running" in name or "num_batches" in name else "weights"
            check_tensor(tensors[name].detach(), value, f"score moved the {kind}, {name}: measuring is not training")
            frozen = requires_grad and not tensors[name].requires_grad
            assert not frozen, f"score froze {name}: nobody can train it any more"
            thawed = tensors[name].requires_grad and not requires_grad
            assert not thawed, f"{name} was frozen, and after score it is trained: requires_grad is the user's"
        kept = all(p.grad is not None and bool((p.grad == 3).all()) for p in model.parameters())
        assert kept, "score changed the gradients that were there"
        assert torch.is_grad_enabled(), "score switched gradients off for good: nobody can train after it"
        assert scores[0] == scores[1], f"the same model, scored twice: {scores[0]}, then {scores[1]}"
        assert scores[0] == (pytest.approx(want, abs=1e-5), right), (
            f"score says {scores[0]}, and the model in eval mode has {(round(want, 6), right)}"
        )


class _Run:
    """fit() under watch: the lr at each step, after how many steps after_epoch came, and with what."""

    def __init__(self, lr: float, step_size: int, gamma: float) -> None:
        torch.manual_seed(0)
        self.model = _Watched()
        first, second = list(self.model.body[0].parameters()), list(self.model.body[3].parameters())
        self.optimizer = torch.optim.SGD([{"params": first}, {"params": second, "lr": lr / 10}], lr=lr)
        self.scheduler = lr_scheduler.StepLR(self.optimizer, step_size, gamma)
        self.used: list[float] = []
        self.modes_at_step: list[set[bool]] = []
        self.called: list[tuple[Any, int]] = []
        self.optimizer.register_step_post_hook(self._note)

    def _note(self, *_: Any) -> None:
        self.used.append(self.optimizer.param_groups[0]["lr"])
        self.modes_at_step.append(set().union(*self.model.training_seen))
        self.model.training_seen.clear()

    def after_epoch(self, *given: Any, **named: Any) -> None:
        self.called.append((*given, *named.values(), len(self.used)))  # type: ignore[arg-type]
        self.model.train(len(self.called) % 2 == 0)
        self.model.body.eval()

    def fit(self, loader: Any, epochs: int) -> list[float]:
        __tracebackhide__ = True
        with explain("fit raised", _SIGNS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of")
            got: Any = fit(self.model, loader, self.optimizer, self.scheduler, epochs, self.after_epoch)
        assert isinstance(got, list | tuple), f"fit returns a list with the lr of each epoch, got {got!r}"
        floats = all(isinstance(lr, float) for lr in got)
        assert floats, f"fit returns the lr as Python floats, got {got!r}"
        return list(got)


def _batches(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 3, generator=generator), torch.arange(n) % 3) for n in sizes]


def test_every_epoch_begins_in_train_mode_and_ends_with_the_scheduler():
    loader = DataLoader([(x[0], y[0]) for x, y in _batches(*[1] * 12)], batch_size=4)
    for data, lr, step_size, gamma, n, want in (
        (_batches(4, 3, 2), 1.0, 1, 0.5, 3, [1.0, 0.5, 0.25]),
        (loader, 0.5, 2, 0.1, 3, [0.5, 0.5, 0.05, 0.05]),
        (tuple(_batches(5)), 0.2, 1, 0.1, 1, [0.2, 0.02]),
    ):
        run = _Run(lr, step_size, gamma)
        run.model.train(n == 1)
        run.model.body.eval()
        got, epochs = run.fit(data, len(want)), len(want)
        steps = [lr for lr in want for _ in range(n)]
        told = f"StepLR({step_size}, {gamma}), {epochs} epochs, with batches: {n}"
        assert len(run.used) == len(steps), f"{told}. The optimizer made {len(run.used)} steps, expected {len(steps)}"
        calls = [call[-1] for call in run.called]
        assert calls == [n * (epoch + 1) for epoch in range(epochs)], (
            f"{told}. after_epoch was called after {calls} steps: it comes once an epoch, after the last step of it"
        )
        late = [i for i, modes in enumerate(run.modes_at_step) if modes != {True}]
        assert not late or late[0] < n, (
            f"from epoch {late[0] // n + 1} on it trained in eval mode, in which after_epoch had left the model, "
            "or a part of it: call train() at the start of every epoch"
            if late
            else ""
        )
        assert not late, "the model came in eval mode and was trained in it, or a part of it was"
        shown = f"{told}. The steps used lr {[round(lr, 6) for lr in run.used]}"
        right = run.used == pytest.approx(steps)
        each_batch = n > 1 and run.used == pytest.approx([lr * gamma ** (i // step_size) for i in range(len(steps))])
        assert right or not each_batch, f"{shown}: the scheduler made a step after each batch, once an epoch is asked"
        unmoved = set(run.used) == {lr}
        assert right or not unmoved, f"{shown}, expected {want}, one for each epoch: the scheduler made no step"
        assert right, f"{shown}, expected {want}, one for each epoch"
        numbers = [call[:-1] for call in run.called]
        counted = numbers == [(epoch + 1,) for epoch in range(epochs)]
        assert counted, f"after_epoch was called with {numbers}: epochs are counted 1, 2, ..., and it gets the number"
        assert len(got) == epochs, f"{told}. fit returned {got}: one lr for each epoch"
        ahead = got[:-1] == pytest.approx(want[1:]) and got != pytest.approx(want)
        assert not ahead, (
            f"{told}. fit returned {got}, expected {want}: read lr before scheduler.step() writes the next"
        )
        second = got == pytest.approx([lr / 10 for lr in want])
        assert not second, f"{told}. fit returned {got}, the lr of the second group; expected {want}"
        assert got == pytest.approx(want), f"{told}. fit returned {got}, expected {want}"


def _by_hand(weights, batches, *, clear=True, stale=0.0, reduction="mean"):
    """SGD with lr 0.1 and momentum 0.9 on nll loss; also as it goes with a mistake."""
    w, b = (p.detach().clone().requires_grad_() for p in weights)
    speeds, left = [torch.zeros_like(p) for p in (w, b)], [torch.full_like(p, stale) for p in (w, b)]
    for x, y in batches:
        loss = -(x @ w.T + b).log_softmax(1)[torch.arange(len(y)), y]
        grads = torch.autograd.grad(loss.mean() if reduction == "mean" else loss.sum(), (w, b))
        left = [g + old for g, old in zip(grads, left, strict=True)]
        with torch.no_grad():
            for p, speed, g in zip((w, b), speeds, left, strict=True):
                speed.mul_(0.9).add_(g)
                p -= 0.1 * speed
        if clear:
            left = [torch.zeros_like(g) for g in left]
    return torch.cat([w.detach(), b.detach()[:, None]], 1)


class _Passes:
    """Each loop over it gives the batches of the next pass; it has no length."""

    def __init__(self, *passes: list[Any]) -> None:
        self.passes, self.begun = passes, 0

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return iter(self.passes[min(self.begun, len(self.passes)) - 1])


def test_each_batch_is_one_step_on_its_own_gradient():
    batches = [(x.double() / 3, y) for x, y in _batches(3, 2)]
    others = [(x.double() / 7, y) for x, y in _batches(4, 1)]
    torch.manual_seed(1)
    linear = nn.Linear(3, 3).double()
    model = nn.Sequential(linear, nn.LogSoftmax(1))
    for p in model.parameters():
        p.grad = torch.full_like(p, 5.0)
    start = [p.detach().clone() for p in linear.parameters()]
    steps = batches + others
    want = _by_hand(start, steps)
    mistakes = {
        "gradients are added up over the batches: clear them before each backward": {"clear": False},
        "the gradients that were there at the call are in the first step: clear before backward": {"stale": 5.0},
        "gradients are added up, those from before the call too: clear them before backward": {
            "clear": False,
            "stale": 5.0,
        },
        "the losses of a batch were added up: nll loss here is their mean": {"reduction": "sum"},
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with explain("fit raised", _SIGNS), unchanged("the batches are the caller's", batches=steps):
        loader = _Passes(batches, others)
        fit(model, loader, optimizer, lr_scheduler.StepLR(optimizer, 100), 2, lambda *_, **__: None)
    got = torch.cat([linear.weight.detach(), linear.bias.detach()[:, None]], 1)
    still = torch.equal(got, torch.cat([start[0], start[1][:, None]], 1))
    assert not still, "after two epochs the weights are where they were"
    again = torch.allclose(got, _by_hand(start, batches * 2), rtol=1e-9, atol=0)
    assert not again, "epoch 2 had the batches of epoch 1: loop over the loader anew, it may give others in each pass"
    for cause, kwargs in mistakes.items():
        proved = torch.allclose(got, _by_hand(start, steps, **kwargs), rtol=1e-9, atol=0)
        assert not proved, cause
    check_tensor(got, want, "weights and bias after two epochs of two batches, SGD in float64", rtol=1e-9, atol=1e-12)


def _written(model: nn.Module, path: str | Path) -> dict[str, Any]:
    """What save_model wrote to `path`, as torch.load reads it by default."""
    __tracebackhide__ = True
    with explain("save_model raised"), unchanged("save_model changed the model", model=model):
        save_model(model, path)
    there = os.path.exists(path)
    assert there, f"save_model wrote nothing to the path that was given, {os.path.basename(path)}"
    signs = {
        "Weights only load failed|legacy|magic|UnpicklingError": "torch.load refuses the file by default: it "
        "holds more than tensors and their names, or was not written by torch.save; a whole model is a Python object"
    }
    with explain("torch.load raised on the file", signs):
        state = torch.load(path, weights_only=True)
    assert isinstance(state, dict), f"the file holds a {type(state).__name__}, expected a dict: names and tensors"
    return state


def test_the_file_holds_names_and_tensors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "weights of a run.pt", os.path.join(tmp_path, "other.pth")):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
        model(torch.ones(5, 3))  # batch norm has seen something
        model[2].eval()
        want = {name: value.clone() for name, value in model.state_dict().items()}
        state = _written(model, path)
        missing, extra = sorted(want.keys() - state.keys()), sorted(map(str, state.keys() - want.keys()))
        assert not missing, f"the file has no {missing[0]}; expected are the names of the model's state_dict"
        assert not extra, f"the file has an entry {extra[0]}; expected are the names of the model's state_dict"
        for name, value in want.items():
            check_tensor(state[name].detach(), value, f"{name} in the file")


@functools.cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    """300 scanned digits, scaled as in the script."""
    images, labels = load(at_hand(), train=False)
    return ((images[:300].float() / 255 - 0.1307) / 0.3081).unsqueeze(1), labels[:300].clone()


def test_the_parts_read_real_digits(tmp_path, monkeypatch):
    torch.manual_seed(0)
    x, y = _digits()
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))
    kwargs = _kwargs(False, 32, 100)
    train, test = (
        _loader(kwargs[0], TensorDataset(x[:200], y[:200]), "training"),
        _loader(kwargs[1], TensorDataset(x[200:], y[200:]), "the test"),
    )
    before = _score(net, train)[0]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scores = []
    with explain("fit raised", _SIGNS):
        fit(
            net,
            train,
            optimizer,
            lr_scheduler.StepLR(optimizer, 1, 0.7),
            3,
            lambda *_: scores.append(_score(net, test)),
        )
    with torch.no_grad():
        out = net(x[200:])
    want, right = nn.functional.nll_loss(out, y[200:]).item(), int((out.argmax(1) == y[200:]).sum())
    assert scores, "after_epoch was never called"
    agree = scores[-1][0] == pytest.approx(want, rel=1e-4) and scores[-1][1] == right
    assert agree, f"after training score says {scores[-1]}, and 100 digits in one batch have {(want, right)}"
    after = _score(net, train)[0]
    assert after < 0.7 * before, f"200 digits, three epochs: the loss was {before:.3f} before and {after:.3f} after"
    again = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.LogSoftmax(1))
    monkeypatch.chdir(tmp_path)
    with explain("load_state_dict raised on what save_model wrote"):
        again.load_state_dict(_written(net, tmp_path / "digits.pt"))
    check_tensor(again(x[200:]).detach(), out, "the net with the saved weights reads the digits as before", rtol=1e-5)
