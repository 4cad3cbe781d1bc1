"""A pretrained body, a new head

A net that has learned to read five kinds of digits has learned strokes and corners too, and five other digits are made
of the same. So keep its body, which finds them, and train only a new last layer, the head: that takes seconds and few
images. Four things go wrong on the way, and none of them raises.

The net wants its images prepared as in *its* training: (x - mean) / std with the numbers of those images. They are not
the 0.485 and 0.229 of every tutorial (those are ImageNet's), nor the numbers of your new images. They belong in the
checkpoint, beside the weights.

The head is replaced by assigning a layer, `model.head = nn.Linear(...)`, made on the dtype and device of the old one,
whose `in_features` says how many numbers the body gives. An optimizer made before that still trains the old layer.

`requires_grad_(False)` stops the gradients, no more. Batch norm moves its running statistics with each batch in train
mode, frozen or not, and dropout goes on dropping. A frozen body belongs in eval mode while the head is trained.

Then the whole net may be thawed, with a small learning rate for what is good already and a larger one for the head: two
groups, `torch.optim.SGD([{"params": ..., "lr": ...}, {"params": ..., "lr": ...}])`. Each parameter is in one of them.

What is asked here: these four steps. A net here is `model.head(model.body(x))`; the head is an nn.Linear.

About 40 minutes. Before it: batchnorm, freezing, param_groups, load_what_fits, untrusted_checkpoint.

https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html
"""

import copy
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import HostilePickle, check_tensor, explain, raises, unchanged


def load_pretrained(
    path: Path, make_net: Callable[[int], nn.Module]
) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
    """The net of a checkpoint, in eval mode, and the preprocessing of its images.

    The file holds {"model": a state_dict, "mean": float, "std": float, "classes": a list}. `make_net(n)` makes a net
    with n outputs and random weights: make one with as many as the file has classes, and give it the file's weights.

    The preprocessing is a function: x of any dtype and shape -> (x - mean) / std, computed in float32, with the numbers
    of this file. `x` stays as it is.

    Weights that are not, name by name, those of the net: RuntimeError, KeyError or ValueError. Code in the file does
    not run: the file is refused.
    """
    raise NotImplementedError("make the net, load its weights, and return it with its preprocessing")


def swap_head(model: nn.Module, n_classes: int) -> None:
    """Replace `model.head` by a new nn.Linear with `n_classes` outputs, and freeze the body.

    The new head takes what the old one took, on its device and in its dtype; its weight and bias are new, and require a
    gradient. The parameters of the body stay the same objects, with their values; none of them requires a gradient any
    more. The modes of model and body stay, and the old layer keeps its values.
    """
    raise NotImplementedError("a new last layer, and a frozen body")


def train_head(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], lr: float) -> None:
    """One pass of plain `torch.optim.SGD` over `batches` that trains the head only: one step for each pair (x, y).

    `model` comes from swap_head, in any mode. x are prepared images, y their classes, int64 (B,); the loss is the mean
    cross-entropy. `batches` is walked once. Gradients from before have no influence.

    The body works as in eval mode: dropout is off, and its weights and running statistics stay, bit for bit. Afterwards
    each module is in the mode in which it came, and the same parameters are frozen.
    """
    raise NotImplementedError("train the head on what the body sees in eval mode")


def thaw(model: nn.Module, body_lr: float, head_lr: float) -> torch.optim.Optimizer:
    """Make all parameters trainable again, and return an optimizer of torch.optim for them, of any kind.

    Those of the body have the learning rate `body_lr`, those of the head `head_lr`; each is in one group, once. Values
    and modes stay.
    """
    raise NotImplementedError("two groups with a learning rate each")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "size mismatch": "the net that was made has another number of outputs than the file has classes",
    "appear in more than one parameter group|duplicate parameters": "a parameter is in two groups: the head is a part "
    "of the model too, so model.parameters() has it already",
    "same dtype|expected scalar type": "the new head has another dtype than the old one",
    "Expected all tensors to be on the same device|not on the expected device": "the new head is on another device",
    "shapes cannot be multiplied": "the new head takes another number of features than the old one",
    "does not require grad": "nothing that requires a gradient was in the loss: is the new head frozen too?",
    "has no len|not subscriptable": "batches may be a generator: it has no length and no index, and is walked once",
    "gradient, use tensor.detach|leaf Variable": "the weights were edited while gradients were recorded",
}


class _Net(nn.Module):
    """Images (N, 1, 8, 8) to scores. The body has batch norm and dropout in it."""

    def __init__(self, n_classes: int, width: int = 12) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(width)
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3), norm, nn.Sequential(nn.ReLU(), nn.Dropout(0.2)), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(9 * width, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


@functools.cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1797 scans of handwritten digits, (N, 1, 8, 8) with values from 0 to 16, in a random order."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(pixels).float().view(-1, 1, 8, 8)[order], torch.from_numpy(labels).long()[order]


@functools.cache
def _checkpoint() -> dict[str, Any]:
    """A net that was trained on the digits 0 to 4, as a checkpoint."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x, y = _digits()
        x, y = x[y < 5], y[y < 5]
        mean, std, net = x.mean().item(), x.std().item(), _Net(5)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(4):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(net((x[rows] - mean) / std), y[rows]).backward()
                optimizer.step()
    return {"model": net.state_dict(), "mean": mean, "std": std, "classes": [0, 1, 2, 3, 4]}


def _other_checkpoint() -> dict[str, Any]:
    torch.manual_seed(1)
    return {"model": _Net(3).state_dict(), "mean": -2.5, "std": 0.3, "classes": ["cat", "dog", "owl"]}


def _frozen(classes: int = 4, width: int = 3) -> Any:
    """A net in float64 as swap_head leaves it, with running statistics that are not those of a new one."""
    model = _Net(classes, width).double()
    model(torch.randn(8, 1, 8, 8, dtype=torch.float64))
    model.body.requires_grad_(False)
    return model


def _batches(model: Any, sizes: tuple[int, ...] = (5, 3, 1)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    n = model.head.out_features
    return [(torch.randn(b, 1, 8, 8, dtype=torch.float64) * 2, torch.arange(b) * 3 % n) for b in sizes]


def _modes(model: nn.Module) -> dict[str, bool]:
    return {name or "the model": module.training for name, module in model.named_modules()}


def _load(path: Path) -> Any:
    __tracebackhide__ = True
    with explain("load_pretrained raised", _SIGNS):
        out = load_pretrained(path, _Net)
    pair = isinstance(out, tuple) and len(out) == 2
    assert pair, f"load_pretrained returns the net and the preprocessing, got {type(out).__name__}"
    assert isinstance(out[0], nn.Module), f"the first that load_pretrained returns is a {type(out[0]).__name__}, no net"
    assert callable(out[1]), f"the preprocessing is a function of x, got {type(out[1]).__name__}"
    return out


@pytest.mark.myth(
    says="Images for a pretrained net are normalized with 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.",
    today="These are ImageNet's. A net wants the numbers of its own training, so they are kept in its checkpoint.",
)
def test_a_pretrained_net_comes_with_the_preprocessing_of_its_training(tmp_path):
    loaded = []
    for name, checkpoint in (("digits", _checkpoint()), ("animals", _other_checkpoint())):
        torch.save(checkpoint, tmp_path / name)
        loaded.append((name, checkpoint, *_load(tmp_path / name)))
    for name, checkpoint, net, prepare in loaded:
        mean, std, n = checkpoint["mean"], checkpoint["std"], len(checkpoint["classes"])
        for dtype, shape in (
            (torch.float32, (6, 1, 8, 8)),
            (torch.uint8, (384,)),
            (torch.float64, (2, 3, 8, 8)),
            (torch.bfloat16, (6, 64)),
        ):
            x = (_digits()[0][:6] * 15.9).to(dtype).view(shape)
            with explain("the preprocessing raised", _SIGNS), unchanged("the preprocessing changed its x", x=x):
                got = prepare(x)
            its_own = (x.float() - x.float().mean()) / x.float().std()
            same = isinstance(got, torch.Tensor) and got.shape == x.shape and torch.allclose(got.float(), its_own)
            assert not same, f"{name}: these are the mean and spread of the new images, not those of the file"
            said = f"{name}, {dtype}, shape {shape}: (x - mean) / std with the file's numbers, {mean:.4g} and {std:.4g}"
            check_tensor(got, (x.float() - mean) / std, said, rtol=1e-5, atol=1e-5)
        twin = _Net(n)
        twin.load_state_dict(checkpoint["model"])
        on = [part for part, training in _modes(net).items() if training]
        assert not on, f"{name}: in train mode are {', '.join(on)}; the net is to come in eval mode"
        x = (_digits()[0][:6] - mean) / std
        with torch.no_grad():
            want = twin.eval()(x)
            check_tensor(
                net(x), want, f"{name}: the net computes other scores than the one that was saved", rtol=1e-5, atol=1e-5
            )


def test_weights_that_do_not_fit_and_code_are_refused(tmp_path):
    good, marker = _other_checkpoint(), tmp_path / "the code ran"
    weights = good["model"]
    for what, names in (
        ("whose names all begin with module.", {f"module.{name}": w for name, w in weights.items()}),
        ("that lacks a running mean", {name: w for name, w in weights.items() if name != "body.1.running_mean"}),
        ("with a layer that the net has not", {**weights, "body.9.weight": torch.ones(2)}),
    ):
        torch.save({**good, "model": names}, tmp_path / "bad.pt")
        with raises((RuntimeError, KeyError, ValueError), f"load_pretrained took a file {what}, without a word"):
            load_pretrained(tmp_path / "bad.pt", _Net)
    torch.save({**good, "extra": HostilePickle(marker)}, tmp_path / "hostile.pt")
    refused = "load_pretrained took a file that has code in it"
    try:
        with raises(Exception, refused):
            load_pretrained(tmp_path / "hostile.pt", _Net)
    finally:
        assert not marker.exists(), "code that stood in the file ran: torch.load refuses that, unless told otherwise"


def _swap(model: Any, n_classes: int) -> Any:
    """The new head."""
    __tracebackhide__ = True
    with explain("swap_head raised", _SIGNS):
        swap_head(model, n_classes)
    head = model.head
    assert isinstance(head, nn.Linear), f"model.head is to be an nn.Linear, got {type(head).__name__}"
    return head


def test_a_new_head_is_trained_and_the_body_is_frozen():
    for n, width, frozen_before in ((7, 12, False), (2, 12, True), (5, 4, False)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            model = _Net(5, width).to(dtype)
            model.body.add_module("forehead", nn.Linear(2, 2, dtype=dtype))  # its name has 'head' in it
            model.body[1].eval()
            model.requires_grad_(not frozen_before)
            old, body, modes = model.head, dict(model.body.named_parameters()), _modes(model)
            values = copy.deepcopy(model.body.state_dict())
            old_values, case = copy.deepcopy(old.state_dict()), f"from 5 to {n} classes, in {dtype}"
            head = _swap(model, n)
            assert head is not old, f"{case}: model.head is still the old layer"
            for name, value in old.state_dict().items():
                check_tensor(value, old_values[name], f"{case}: the {name} of the old layer was changed")
            shapes = tuple(head.weight.shape), (head.in_features, head.out_features)
            right = shapes == ((n, 9 * width), (9 * width, n))
            assert right, f"{case}: the head maps {9 * width} numbers to {n}, its weight is {shapes[0]}"
            for name, p in head.named_parameters():
                assert p.dtype == dtype, f"{case}: the {name} of the new head is {p.dtype}"
                assert p.requires_grad, f"{case}: the {name} of the new head is frozen, and it is to be trained"
            rows = {tuple(row) for row in old_values["weight"].tolist()}
            kept = sum(tuple(row) in rows for row in head.weight.tolist())
            assert not kept, f"{case}: {kept} rows of the new head are rows of the old one, which knew other classes"
            k = min(n, 5)
            old_bias = dtype != torch.bfloat16 and torch.equal(head.bias[:k].detach(), old_values["bias"][:k])
            assert not old_bias, f"{case}: the bias of the new head is that of the old one, which knew other classes"
            now = dict(model.body.named_parameters())
            same = list(now) == list(body) and all(now[name] is p for name, p in body.items())
            assert same, f"{case}: the parameters of the body are other objects now"
            trained = [name for name, p in now.items() if p.requires_grad]
            assert not trained, f"{case}: the body is to be frozen, still trained are {', '.join(trained)}"
            for name, value in model.body.state_dict().items():
                check_tensor(value, values[name], f"{case}: {name} of the body changed")
            assert _modes(model) == modes, f"{case}: the modes are {_modes(model)}, and were {modes}"
    model = _Net(5).to("meta")
    place = _swap(model, 3).weight.device.type
    assert place == "meta", f"the model is on the device meta, and its new head on {place}"


def _train(model: Any, batches: Any, lr: float) -> None:
    __tracebackhide__ = True
    with explain("train_head raised", _SIGNS):
        train_head(model, batches, lr)
    assert torch.is_grad_enabled(), "train_head left gradients switched off"


@pytest.mark.myth(
    says="A layer with requires_grad=False is frozen.",
    today="Its weights are. In train mode batch norm still moves its running statistics, and dropout still drops.",
)
@pytest.mark.parametrize("start", ["train mode", "eval mode", "train mode but for batch norm and dropout"])
def test_a_frozen_body_keeps_its_statistics_only_in_eval_mode(start):
    torch.manual_seed(2)
    model = _frozen()
    model.train(start != "eval mode")
    if start == "train mode but for batch norm and dropout":
        model.body[1].eval()
        model.body[2][1].eval()
    body, modes = copy.deepcopy(model.body.state_dict()), _modes(model)
    frozen = {name: p.requires_grad for name, p in model.named_parameters()}
    for _ in range(2):
        head = model.head.weight.detach().clone()
        _train(model, _batches(model), 0.1)
        for name, value in model.body.state_dict().items():
            buffer = "running" in name or "tracked" in name
            why = "requires_grad=False does not stop batch norm, eval mode does" if buffer else "it is to be frozen"
            check_tensor(value, body[name], f"it came in {start}, and {name} of the body moved: {why}")
        assert not torch.equal(model.head.weight.detach(), head), "the head did not move"
        wrong = [name for name, mode in _modes(model).items() if mode != modes[name]]
        assert not wrong, f"it came in {start}, and afterwards these are in another mode: {', '.join(wrong)}"
        now = {name: p.requires_grad for name, p in model.named_parameters()}
        assert now == frozen, f"what is frozen changed: requires_grad is {now}, and was {frozen}"


def _by_hand(model: Any, batches: Any, lr: float, keep: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the head after the steps of SGD; keep: gradients are never cleared."""
    weight, bias = (p.detach().clone() for p in (model.head.weight, model.head.bias))
    sums, body = [torch.zeros_like(weight), torch.zeros_like(bias)], copy.deepcopy(model.body).eval()
    for x, y in batches:
        features = body(x).detach()
        slope = (features @ weight.t() + bias).softmax(1)
        slope[torch.arange(len(y)), y] -= 1
        for value, total, new in zip((weight, bias), sums, (slope.t() @ features, slope.sum(0)), strict=True):
            total.mul_(keep).add_(new / len(y))
            value.sub_(lr * total)
    return weight, bias


def test_each_batch_is_one_step_of_the_head():
    for seed, lr, kind in ((3, 0.1, "list"), (4, 0.5, "generator")):
        torch.manual_seed(seed)
        model = _frozen()
        batches, before = _batches(model), copy.deepcopy(model.head.state_dict())
        want, kept = (_by_hand(model, batches, lr, keep=keep) for keep in (False, True))
        alone = _by_hand(model, batches[:1], lr)
        for p in model.parameters():
            p.grad = torch.full_like(p, 10.0)
        with unchanged("train_head changed a batch", batches=batches):
            _train(model, batches if kind == "list" else (pair for pair in batches), lr)
        got = model.head.weight.detach(), model.head.bias.detach()
        assert not torch.equal(got[0], before["weight"]), "the head did not move"
        one = torch.allclose(got[0], alone[0], rtol=1e-9)
        assert not one, "the head is where the first of three batches leads: each batch is a step"
        stale = torch.allclose(got[0], want[0] - 10 * lr, rtol=1e-6) or torch.allclose(got[0], kept[0], rtol=1e-9)
        stale = stale or torch.allclose(got[0], kept[0] - 30 * lr, rtol=1e-6)
        assert not stale, "gradients from before a batch were added to those of the batch: clear them first"
        said = f"steps of SGD with lr={lr} on batches of 5, 3 and 1 in a {kind}; the body in eval mode, without dropout"
        check_tensor(got[0], want[0], f"the weight of the head after {said}", rtol=1e-9, atol=1e-12)
        check_tensor(got[1], want[1], f"the bias of the head after {said}", rtol=1e-9, atol=1e-12)


def _thaw(model: Any, body_lr: float, head_lr: float) -> Any:
    __tracebackhide__ = True
    with explain("thaw raised", _SIGNS):
        out = thaw(model, body_lr, head_lr)
    assert isinstance(out, torch.optim.Optimizer), f"thaw returns an optimizer, got {type(out).__name__}"
    return out


def test_a_thawed_net_has_two_learning_rates():
    for seed, body_lr, head_lr in ((5, 0.001, 0.05), (6, 0.02, 0.01)):
        torch.manual_seed(seed)
        model = _frozen()
        model.body.add_module("forehead", nn.Linear(2, 2).double().requires_grad_(False))
        model.body[1].eval()
        params, modes, before = dict(model.named_parameters()), _modes(model), copy.deepcopy(model.state_dict())
        optimizer = _thaw(model, body_lr, head_lr)
        now = dict(model.named_parameters())
        assert all(now[name] is p for name, p in params.items()), "the model has new parameters after thaw"
        for name, value in model.state_dict().items():
            check_tensor(value, before[name], f"thaw changed {name}")
        assert _modes(model) == modes, f"thaw changed the modes: they are {_modes(model)}, and were {modes}"
        off = [name for name, p in params.items() if not p.requires_grad]
        assert not off, f"still frozen after thaw: {', '.join(off)}"
        names = {id(p): name for name, p in params.items()}
        held = [(names.get(id(p)), float(g["lr"])) for g in optimizer.param_groups for p in g["params"]]
        strange = sum(name is None for name, _ in held)
        assert not strange, f"the optimizer holds {strange} tensors that are no parameters of this model"
        missing = [name for name in params if name not in dict(held)]
        assert not missing, f"these are in no group, and would never move: {', '.join(missing)}"
        assert len(held) == len(params), (
            f"{len(params)} parameters, and {len(held)} in the groups: each is in one, once"
        )
        for name, lr in held:
            due = head_lr if str(name).startswith("head.") else body_lr
            assert lr == due, f"body_lr={body_lr}, head_lr={head_lr}, and {name} has lr={lr}: expected {due}"
        for p in params.values():
            p.grad = torch.ones_like(p)
        optimizer.step()
        still = [name for name, p in params.items() if torch.equal(p.detach(), before[name])]
        assert not still, f"after a step with gradients of 1 these are where they were: {', '.join(still)}"


def test_a_pretrained_body_reads_digits_that_it_never_saw(tmp_path):
    torch.save(_checkpoint(), tmp_path / "digits.pt")
    model, prepare = _load(tmp_path / "digits.pt")
    images, labels = _digits()
    with explain("the preprocessing raised", _SIGNS):
        x = prepare(images[labels >= 5])
    y = labels[labels >= 5] - 5
    torch.manual_seed(7)
    _swap(model, 5)
    for _ in range(4):
        _train(model, zip(x[:600].split(32), y[:600].split(32), strict=True), 0.05)
    with torch.no_grad():
        right = (model.eval()(x[600:]).argmax(1) == y[600:]).float().mean().item()
    said = f"a head trained on 600 images of the digits 5 to 9 reads {right:.0%} of 296 others; 90 % is usual"
    assert right > 0.8, said
