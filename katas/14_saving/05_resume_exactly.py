"""Stop, resume, same bits

A training dies in epoch 40. You load the weights, go on, and the loss jumps: Adam has lost its running means,
the learning rate is back at its first value, and the data come in the order of epoch 1 again. Nothing fails. The run
is just another one, and a bug that you saw in epoch 41 never comes back.

A training is more than its weights. What decides the next step is, here, in six places: the parameters and buffers of
the model; the state of the optimizer, with its learning rates; the place in the schedule; the generator that shuffles;
the global random numbers, from which dropout draws; and the number of the epoch. With all of them the resumed run is
not similar, it is the same, to the last bit (on the same machine; on a GPU, or with draws from NumPy and `random`,
their states belong to it too).

Model, optimizer and scheduler have `state_dict()` and `load_state_dict()`. A `torch.Generator` has `get_state()` and
`set_state(state)`, and torch's global one `torch.get_rng_state()` and `torch.set_rng_state(state)`; a state is a tensor
of bytes. A seed is no replacement: it leads back to the beginning.

What is asked here: write all of it to one file, and bring it back into new objects.

About 25 minutes. Before it: own_your_randomness, scheduler_loop, plain_checkpoint.

https://docs.pytorch.org/docs/stable/notes/randomness.html
"""

import copy
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    generator: torch.Generator,
    epoch: int,
) -> None:
    """Write all that decides how the training goes on to the file `path`, in a layout of your own.

    That is the state of each argument, `epoch`, and torch's global random numbers (on the CPU). A file that is there is
    replaced. The default `torch.load` can read the new one. Saving changes nothing: neither what it is given nor the
    global random numbers.
    """
    raise NotImplementedError("write all that a training consists of")


def load_checkpoint(
    path: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: lr_scheduler.LRScheduler,
    generator: torch.Generator,
) -> int:
    """Bring what `save_checkpoint` wrote into these objects and the global random numbers; return the epoch.

    The objects are made in the same way as those that were saved, maybe in another process, and may have been used
    since. The optimizer trains the model's parameters, and still does afterwards. From here on the training goes on as
    the saved one did, to the last bit.
    """
    raise NotImplementedError("bring it all back")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


class _Training:
    """A training with all that a checkpoint has to hold: dropout, batch norm, an optimizer, a schedule, a shuffle."""

    def __init__(self, seed: int, kind: str = "Adam and StepLR") -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 1))
        groups = [{"params": self.model[:2].parameters()}, {"params": self.model[4].parameters(), "lr": 0.05}]
        self.opt: torch.optim.Optimizer
        self.sched: Any
        if kind == "Adam and StepLR":
            self.opt = torch.optim.Adam(groups, lr=0.02, betas=(0.8, 0.95))
            self.sched = lr_scheduler.StepLR(self.opt, step_size=2, gamma=0.5)
        else:
            self.model.double()
            self.opt = torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True)
            self.sched = lr_scheduler.ReduceLROnPlateau(self.opt, factor=0.5, patience=1, threshold=0.5)
        self.gen = torch.Generator().manual_seed(seed + 1)
        self.losses: list[float] = []

        self.dtype = self.model[0].weight.dtype

    def parts(self) -> tuple[Any, Any, Any, Any]:
        return self.model, self.opt, self.sched, self.gen

    def epochs(self, n: int) -> "_Training":
        x = torch.linspace(-2, 3, 36, dtype=self.dtype).view(12, 3).sin()
        y = x.sum(1, keepdim=True)
        for _ in range(n):
            self.model.train()
            total = 0.0
            for batch in torch.randperm(12, generator=self.gen).split(5):
                self.opt.zero_grad()
                loss = nn.functional.mse_loss(self.model(x[batch]), y[batch])
                loss.backward()
                self.opt.step()
                total += loss.item()
            self.losses.append(total)
            self.sched.step(total) if isinstance(self.sched, lr_scheduler.ReduceLROnPlateau) else self.sched.step()
        return self


def _save(path: str | Path, training: _Training, epoch: int) -> None:
    __tracebackhide__ = True
    with explain("save_checkpoint raised in the middle of a training"):
        save_checkpoint(path, *training.parts(), epoch)
    there = Path(path).is_file()
    assert there, f"save_checkpoint wrote no file {Path(path).name}"


def _load(path: str | Path, training: _Training) -> Any:
    __tracebackhide__ = True
    signs = {
        "Unsupported global|Unsupported class": "load_checkpoint raised: torch.load refuses the file, something in it "
        "is not plain",
        "expected a torch.ByteTensor|must be a torch.ByteTensor": "a state of random numbers came back as something "
        "else than the tensor of bytes that it is",
    }
    with explain("load_checkpoint raised on objects made as the saved ones were", signs):
        return load_checkpoint(path, *training.parts())


_KINDS = ["Adam and StepLR", "SGD and ReduceLROnPlateau in float64"]


def test_the_epoch_comes_back(tmp_path):
    training = _Training(0).epochs(1)
    for epoch, path in ((3, tmp_path / "a.pt"), (0, str(tmp_path / "b.pt")), (41, tmp_path / "c.pt")):
        _save(path, training, epoch)
        got = _load(path, _Training(5))
        is_int = isinstance(got, int) and not isinstance(got, bool)
        assert is_int, f"load_checkpoint returns the epoch, an int; got {got!r}"
        assert got == epoch, f"saved with epoch {epoch}, load_checkpoint returned {got}: the number that was saved"


def _state(training: _Training) -> dict[str, Any]:
    """A copy of each part, by the name that a message gives it."""
    optimizer = training.opt.state_dict()
    return {
        "the parameters of the model": {name: p.detach().clone() for name, p in training.model.named_parameters()},
        "the buffers of the model": {name: b.clone() for name, b in training.model.named_buffers()},
        "the state of the optimizer": copy.deepcopy(optimizer["state"]),
        "the learning rate": [group["lr"] for group in optimizer["param_groups"]],
        "the scheduler": copy.deepcopy(training.sched.state_dict()),
        "the shuffle generator": training.gen.get_state(),
        "the global random numbers": torch.get_rng_state(),
    }


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and (a.shape, a.dtype) == (b.shape, b.dtype) and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@functools.cache
def _around_a_resume(kind: str) -> dict[str, dict[str, Any]]:
    """The states of a training when it is saved and later, and those of another one before it is loaded, and now."""
    __tracebackhide__ = True
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(0, kind).epochs(3)
        saved = _state(training)
        _save(Path(folder) / "run.pt", training, 3)
        later = _state(training.epochs(1))
        resumed = _Training(77, kind).epochs(1)
        torch.manual_seed(123)
        before = _state(resumed)
        _load(Path(folder) / "run.pt", resumed)
        return {"saved": saved, "later": later, "before": before, "now": _state(resumed)}


@pytest.mark.myth(
    says="Call torch.manual_seed(seed) again after loading, and the run goes on as before.",
    today="The seed leads back to the first random number. get_rng_state() and set_rng_state() keep the place.",
)
@pytest.mark.parametrize(
    "part",
    [
        "the parameters of the model",
        "the buffers of the model",
        "the state of the optimizer",
        "the learning rate",
        "the scheduler",
        "the shuffle generator",
        "the global random numbers",
    ],
)
def test_each_part_of_a_training_has_a_state_of_its_own(part):
    for kind in _KINDS:
        state = {when: states[part] for when, states in _around_a_resume(kind).items()}
        same = _equal(state["now"], state["saved"])
        untouched = not same and _equal(state["now"], state["before"])
        assert not untouched, f"{part}: not restored, load_checkpoint left it as it was ({kind})"
        newer = not same and _equal(state["now"], state["later"])
        assert not newer, f"{part}: as it was an epoch after saving, and not as in the file ({kind})"
        assert same, f"{part}: not as it was when the checkpoint was saved ({kind})"


@pytest.mark.myth(
    says="A checkpoint is a dict with the epoch, the model, the optimizer and the loss.",
    today="It also takes the scheduler, the shuffle's generator and the global random numbers, or another run goes on.",
)
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("used", [False, True], ids=["into new objects", "into used objects"])
def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path, kind, used):
    training = _Training(0, kind).epochs(3)
    _save(tmp_path / "run.pt", training, 3)
    training.epochs(4)  # it goes on, and "dies" later: the file must not change with it
    want = [*training.losses[3:]], copy.deepcopy(training.model.state_dict())
    resumed = _Training(77, kind).epochs(2 if used else 0)
    torch.manual_seed(123)
    _load(tmp_path / "run.pt", resumed)
    resumed.losses.clear()
    resumed.epochs(4)
    for i, (first, again) in enumerate(zip(want[0], resumed.losses, strict=True)):
        assert again == first, f"in epoch {4 + i} the first run had the loss {first}, and the resumed one {again}"
    for name, value in resumed.model.state_dict().items():
        check_tensor(value, want[1][name], f"{name} after four more epochs: the resumed run ends where the first did")


def test_a_checkpoint_needs_no_trust(tmp_path):
    for kind in _KINDS:
        path = tmp_path / "run.pt"
        _save(path, _Training(0, kind).epochs(2), 2)
        refused = "the default torch.load refuses the file"
        signs = {"Unsupported global|Unsupported class": f"{refused}: save states, and no objects, arrays or classes"}
        with explain(refused, signs):
            torch.load(path, weights_only=True)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_saving_changes_nothing(tmp_path, mode):
    training = _Training(0).epochs(2)
    training.model.train(mode == "train")
    training.model[1].eval()
    training.model[4].bias.requires_grad_(False)
    before = _state(training)
    with unchanged("save_checkpoint changed what it was to save", rng=True, model=training.model, gen=training.gen):
        _save(tmp_path / "run.pt", training, 2)
    for part, now in _state(training).items():
        same = _equal(now, before[part])
        assert same, f"save_checkpoint changed what it was to save: {part}"


def test_the_last_save_is_what_the_file_holds(tmp_path):
    """The same path again and again; and the file alone, in another folder, is enough, whatever was saved since."""
    path = str(tmp_path / "last.pt")
    training = _Training(0).epochs(1)
    _save(path, training, 1)
    training.epochs(2)
    _save(path, training, 3)
    want = _state(training)
    training.epochs(1)
    _save(tmp_path / "other.pt", _Training(4).epochs(1), 3)
    (tmp_path / "away").mkdir()
    moved = shutil.move(path, tmp_path / "away" / "moved.pt")
    for time in ("first", "second"):
        resumed = _Training(9).epochs(1)
        got = _load(moved, resumed)
        assert got == 3, f"saved with epoch 1, then with epoch 3 to the same path: the file holds epoch {got}"
        for part, now in _state(resumed).items():
            same = _equal(now, want[part])
            assert same, f"{part}: not as at the last save, when the file is loaded for the {time} time"
        resumed.epochs(1)
    start, used = _Training(2), _Training(9).epochs(1)  # before its first step, an optimizer has no moments
    want = _state(start)
    _save(path, start, 0)
    _load(path, used)
    for part, now in _state(used).items():
        same = _equal(now, want[part])
        assert same, f"{part}: saved before the first step, loaded into used objects, and not as it was saved"
