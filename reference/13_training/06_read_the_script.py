"""Reading the MNIST example with open eyes: reference.

Hint: Ask of each argument what decides it: is it the machine, or is it what the data is for?
Hint: `model.train()`, `model.eval()`, `torch.no_grad()`, `F.nll_loss(..., reduction="sum")`, `len(loader.dataset)`.
Hint: In fit, train() stands in the outer loop, zero_grad to step in the inner one; note lr before the scheduler moves.

Why: a script is copied with its slips, and none of these raises. Shuffling depends on what the data is for, pinning on
the machine, so they don't belong into one dict. Sums are divided once, by what was counted. A mode belongs to the model
and stays until somebody sets it, so whoever needs one sets it: train() at each epoch, eval() at each score. The file
needs the tensors and their names only: it can be read with other code, and nothing in it can run.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from dojo import Mistake


def loader_kwargs(use_cuda: bool, batch_size: int, test_batch_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    train: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "pin_memory": use_cuda}
    return train, {"batch_size": test_batch_size, "shuffle": False, "pin_memory": use_cuda}


@torch.no_grad()
def score(model: nn.Module, loader: DataLoader[Any]) -> tuple[float, int]:
    model.eval()
    loss, right = 0.0, 0
    for x, y in loader:
        out = model(x)  # (B, C)
        loss += F.nll_loss(out, y, reduction="sum").item()
        right += int((out.argmax(1) == y).sum())
    return loss / len(loader.dataset), right  # type: ignore[arg-type]


def fit(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    epochs: int,
    after_epoch: Callable[[int], None],
) -> list[float]:
    lrs = []
    for epoch in range(1, epochs + 1):
        model.train()
        lrs.append(optimizer.param_groups[0]["lr"])
        for x, y in loader:
            optimizer.zero_grad()
            F.nll_loss(model(x), y).backward()
            optimizer.step()
        after_epoch(epoch)
        scheduler.step()
    return lrs


def save_model(model: nn.Module, path: str | Path) -> None:
    torch.save(model.state_dict(), path)


def _the_script(use_cuda, batch_size, test_batch_size):
    train, test = {"batch_size": batch_size}, {"batch_size": test_batch_size}
    if use_cuda:
        cuda = {"num_workers": 1, "persistent_workers": True, "pin_memory": True, "shuffle": True}
        train.update(cuda)
        test.update(cuda)
    return train, test


def _changed(train_changes=(), test_changes=()):
    def wrong(use_cuda, batch_size, test_batch_size):
        train, test = loader_kwargs(use_cuda, batch_size, test_batch_size)
        return train | dict(train_changes), test | dict(test_changes)

    return wrong


def _one_dict(use_cuda, batch_size, test_batch_size):
    kwargs = {"batch_size": batch_size, "shuffle": True, "pin_memory": use_cuda}
    return kwargs, kwargs


_kept: dict = {}


def _cached(use_cuda, batch_size, test_batch_size):
    key = use_cuda, batch_size, test_batch_size
    return _kept.setdefault(key, loader_kwargs(*key))


def _workers_persist(use_cuda, batch_size, test_batch_size):
    train, test = loader_kwargs(use_cuda, batch_size, test_batch_size)
    return train | {"persistent_workers": True}, test


def _cuda_shuffles(use_cuda, batch_size, test_batch_size):
    train, test = loader_kwargs(use_cuda, batch_size, test_batch_size)
    return train, test | {"shuffle": use_cuda}


def _scored(per_batch=None, right=None, last=None, before=None, around=torch.no_grad):
    """Score with other lines: a batch's loss, its right answers, the end, the beginning, the context."""
    per_batch = per_batch or (lambda out, y: F.nll_loss(out, y, reduction="sum").item())
    right = right or (lambda out, y: int((out.argmax(1) == y).sum()))
    last = last or (lambda loss, n, loader: (loss / len(loader.dataset), n))

    def wrong(model, loader):
        (before or model.eval.__func__)(model)
        with around():
            loss, n = 0.0, 0
            for x, y in loader:
                out = model(x)
                loss, n = loss + per_batch(out, y), n + right(out, y)
            return last(loss, n, loader)

    return wrong


def _frozen(model):
    model.eval().requires_grad_(False)


def _grad_off_for_good(model, loader):
    torch.set_grad_enabled(False)
    return score(model, loader)


def _thaws(model, loader):
    model.requires_grad_(False)
    result = score(model, loader)
    model.requires_grad_(True)
    return result


def _of_the_tensors(model, loader):
    """Knows what the dataset is made of."""
    x, y = loader.dataset.tensors
    return score(model, [(x, y)])


def _cleared(model, loader):
    model.zero_grad()
    return score(model, loader)


def _by_exp(out, y):
    return -out.exp()[torch.arange(len(y)), y].log().sum().item()


def _fitted(
    at_start=None,
    at_epoch=lambda model: model.train(),
    clear="before",
    loss=F.nll_loss,
    each_batch=False,
    each_epoch=True,
    lr="before",
    first=1,
    call="epoch",
    group=0,
):
    def wrong(model, loader, optimizer, scheduler, epochs, after_epoch):
        lrs = []
        if at_start:
            at_start(model)
        for epoch in range(first, epochs + first):
            at_epoch(model)
            if lr == "before":
                lrs.append(optimizer.param_groups[group]["lr"])
            for x, y in loader:
                if clear == "before":
                    optimizer.zero_grad()
                loss(model(x), y).backward()
                if clear == "between":
                    optimizer.zero_grad()
                optimizer.step()
                if clear == "after":
                    optimizer.zero_grad()
                if lr == "batch":
                    lrs.append(optimizer.param_groups[group]["lr"])
                if each_batch:
                    scheduler.step()
                if call == "batch":
                    after_epoch(epoch)
            if call == "epoch":
                after_epoch(epoch)
            if each_epoch:
                scheduler.step()
            if lr == "after":
                lrs.append(optimizer.param_groups[group]["lr"])
        if call == "end":
            after_epoch(epochs)
        return lrs

    return wrong


def _after_epoch_first(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(1, epochs + 1):
        after_epoch(epoch)
        lrs += fit(model, loader, optimizer, scheduler, 1, lambda _: None)
    return lrs


def _one_step_an_epoch(model, loader, optimizer, scheduler, epochs, after_epoch):
    lrs = []
    for epoch in range(1, epochs + 1):
        model.train()
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        for x, y in loader:
            F.nll_loss(model(x), y).backward()
        optimizer.step()
        after_epoch(epoch)
        scheduler.step()
    return lrs


def _in_float32(model, loader, optimizer, scheduler, epochs, after_epoch):
    model.float()
    lrs = fit(model, [(x.float(), y) for x, y in loader], optimizer, scheduler, epochs, after_epoch)
    model.double()
    return lrs


def _listed_once(model, loader, optimizer, scheduler, epochs, after_epoch):
    return fit(model, list(loader), optimizer, scheduler, epochs, after_epoch)


def _asks_the_length(model, loader, optimizer, scheduler, epochs, after_epoch):
    print(f"{len(loader)} batches")
    return fit(model, loader, optimizer, scheduler, epochs, after_epoch)


def _if_in_eval_mode(model):
    if not model.training:
        model.train()


def _returns_nothing(model, loader, optimizer, scheduler, epochs, after_epoch):
    fit(model, loader, optimizer, scheduler, epochs, after_epoch)


def _as_lists(model, loader, optimizer, scheduler, epochs, after_epoch):
    return [[lr] for lr in fit(model, loader, optimizer, scheduler, epochs, after_epoch)]


def _counts_the_dataset(model, loader, optimizer, scheduler, epochs, after_epoch):
    len(loader.dataset)
    return fit(model, loader, optimizer, scheduler, epochs, after_epoch)


def _fixed_name(model, path):
    torch.save(model.state_dict(), "mnist_cnn.pt")


def _in_eval_mode(model, path):
    torch.save(model.eval().state_dict(), path)


_SHUFFLE = "test_shuffling_is_about_training_and_pinning_about_cuda"
_AVERAGE = "test_the_average_is_over_samples_and_not_over_batches"
_SWITCHES = "test_eval_mode_and_no_graph_are_two_switches"
_EPOCH = "test_every_epoch_begins_in_train_mode_and_ends_with_the_scheduler"
_STEP = "test_each_batch_is_one_step_on_its_own_gradient"
_FILE = "test_the_file_holds_names_and_tensors"
_DIGITS = "test_the_parts_read_real_digits"

KEEP = {_DIGITS: "the whole script on scanned digits: what one part gives is what the next one takes"}

MISTAKES = [
    Mistake("without a GPU nothing shuffles it", caught_by=_SHUFFLE, loader_kwargs=_the_script),
    Mistake("the test data is shuffled", caught_by=_SHUFFLE, loader_kwargs=_cuda_shuffles),
    Mistake("the test data is shuffled", caught_by=_SHUFFLE, loader_kwargs=_changed(test_changes={"shuffle": True})),
    Mistake("pin_memory is on without CUDA", caught_by=_SHUFFLE, loader_kwargs=_changed({"pin_memory": True})),
    Mistake("pin_memory is off for training", caught_by=_SHUFFLE, loader_kwargs=_changed({"pin_memory": False})),
    Mistake("of 60 samples: a score needs them", caught_by=_SHUFFLE, loader_kwargs=_changed((), {"drop_last": True})),
    Mistake("the batches of training and test hold", caught_by=_SHUFFLE, loader_kwargs=_one_dict),
    Mistake(
        "the batches of training and test hold",
        caught_by=_SHUFFLE,
        loader_kwargs=lambda cuda, a, b: loader_kwargs(cuda, 64, 1000),
    ),
    Mistake("is still there at the next call", caught_by=_SHUFFLE, loader_kwargs=_cached),
    Mistake("DataLoader does not take the arguments", caught_by=_SHUFFLE, loader_kwargs=_workers_persist),
    Mistake("returns two dicts", caught_by=_SHUFFLE, loader_kwargs=lambda cuda, a, b: loader_kwargs(cuda, a, b)[0]),
    Mistake("too small by the batch size", caught_by=_AVERAGE, score=_scored(lambda o, y: F.nll_loss(o, y).item())),
    Mistake(
        "a mean of batch means",
        caught_by=_AVERAGE,
        score=_scored(lambda o, y: F.nll_loss(o, y).item(), last=lambda loss, n, loader: (loss / len(loader), n)),
    ),
    Mistake("it was not divided", caught_by=_AVERAGE, score=_scored(last=lambda loss, n, loader: (loss, n))),
    Mistake("an average loss of", caught_by=_AVERAGE, score=_scored(last=lambda loss, n, ld: (loss / len(ld), n))),
    Mistake("an average loss of inf", caught_by=_AVERAGE, score=_scored(_by_exp)),
    Mistake(
        "(B, 1) compared with (B,) is (B, B)",
        caught_by=_AVERAGE,
        score=_scored(right=lambda o, y: o.argmax(1, keepdim=True).eq(y).sum().item()),
    ),
    Mistake("right of 10", caught_by=_AVERAGE, score=_scored(right=lambda o, y: int((o.argmin(1) == y).sum()))),
    Mistake(
        "the number of right answers is a Python int",
        caught_by=_AVERAGE,
        score=_scored(right=lambda o, y: (o.argmax(1) == y).sum()),
    ),
    Mistake(
        "the average loss is a Python float",
        caught_by=_AVERAGE,
        score=_scored(lambda out, y: F.nll_loss(out, y, reduction="sum")),
    ),
    Mistake("score raised", caught_by=_AVERAGE, score=_of_the_tensors),
    Mistake("score returns two numbers", caught_by=_AVERAGE, score=_scored(last=lambda loss, n, loader: loss)),
    Mistake("modules inside ran in train mode", caught_by=_SWITCHES, score=_scored(before=lambda model: None)),
    Mistake("outputs hang on a graph", caught_by=_SWITCHES, score=_scored(around=torch.enable_grad)),
    Mistake("score froze", caught_by=_SWITCHES, score=_scored(before=_frozen)),
    Mistake("requires_grad is the user's", caught_by=_SWITCHES, score=_thaws),
    Mistake("switched gradients off for good", caught_by=_SWITCHES, score=_grad_off_for_good),
    Mistake("score changed the gradients that were there", caught_by=_SWITCHES, score=_cleared),
    Mistake(
        "from epoch 2 on it trained in eval mode",
        caught_by=_EPOCH,
        fit=_fitted(at_start=lambda model: model.train(), at_epoch=lambda model: None),
    ),
    Mistake("the model came in eval mode", caught_by=_EPOCH, fit=_fitted(at_epoch=lambda model: None)),
    Mistake("from epoch 3 on it trained in eval mode", caught_by=_EPOCH, fit=_fitted(at_epoch=_if_in_eval_mode)),
    Mistake("made a step after each batch", caught_by=_EPOCH, fit=_fitted(each_batch=True, each_epoch=False)),
    Mistake("the scheduler made no step", caught_by=_EPOCH, fit=_fitted(each_epoch=False)),
    Mistake("one for each epoch", caught_by=_EPOCH, fit=_fitted(each_batch=True)),
    Mistake("The optimizer made", caught_by=_EPOCH, fit=_one_step_an_epoch),
    Mistake("read lr before scheduler.step()", caught_by=_EPOCH, fit=_fitted(lr="after")),
    Mistake("one lr for each epoch", caught_by=_EPOCH, fit=_fitted(lr="batch")),
    Mistake("the lr of the second group", caught_by=_EPOCH, fit=_fitted(group=1)),
    Mistake("epochs are counted 1, 2", caught_by=_EPOCH, fit=_fitted(first=0)),
    Mistake("it comes once an epoch", caught_by=_EPOCH, fit=_fitted(call="batch")),
    Mistake("it comes once an epoch", caught_by=_EPOCH, fit=_after_epoch_first),
    Mistake("fit returns a list with the lr", caught_by=_EPOCH, fit=_returns_nothing),
    Mistake("fit returns the lr as Python floats", caught_by=_EPOCH, fit=_as_lists),
    Mistake("which has no dataset", caught_by=_EPOCH, fit=_counts_the_dataset),
    Mistake("epoch 2 had the batches of epoch 1", caught_by=_STEP, fit=_listed_once),
    Mistake("without a length", caught_by=_STEP, fit=_asks_the_length),
    Mistake("gradients are added up, those from before", caught_by=_STEP, fit=_fitted(clear="never")),
    Mistake("at the call are in the first step", caught_by=_STEP, fit=_fitted(clear="after")),
    Mistake("the weights are where they were", caught_by=_STEP, fit=_fitted(clear="between")),
    Mistake("are added up over the batches", caught_by=_STEP, fit=_fitted(lambda m: m.zero_grad(), clear="never")),
    Mistake(
        "the losses of a batch were added up",
        caught_by=_STEP,
        fit=_fitted(loss=lambda out, y: F.nll_loss(out, y, reduction="sum")),
    ),
    Mistake("SGD in float64", caught_by=_STEP, fit=_in_float32),
    Mistake("torch.load refuses the file", caught_by=_FILE, save_model=lambda model, path: torch.save(model, path)),
    Mistake(
        "the file has no",
        caught_by=_FILE,
        save_model=lambda model, path: torch.save({"model": model.state_dict()}, path),
    ),
    Mistake("wrote nothing to the path", caught_by=_FILE, save_model=_fixed_name),
    Mistake("save_model changed the model", caught_by=_FILE, save_model=_in_eval_mode),
    Mistake(
        "expected a dict: names and tensors",
        caught_by=_FILE,
        save_model=lambda model, path: torch.save(list(model.state_dict().values()), path),
    ),
    Mistake(
        "in the file",
        caught_by=_FILE,
        save_model=lambda model, path: torch.save({k: v.half() for k, v in model.state_dict().items()}, path),
    ),
]
