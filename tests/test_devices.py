"""The contract of dojo/devices.py. A torch that changes what `meta` checks, or how torch.load asks, is noticed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.kit import OneDevicePerOp, a_second_device

META = torch.device("meta")


def on_cpu(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


def on_meta(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device=META)


def ids(*values: int, device: str = "cpu") -> torch.Tensor:
    return torch.tensor(values, device=device)


def add_(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x += y
    return x


def mul_(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x *= y
    return x


def write(x: torch.Tensor, where: Any, value: Any) -> torch.Tensor:
    x[where] = value
    return x


NUMBER = torch.tensor(2.0)
REFUSED: dict[str, Callable[[], Any]] = {
    "cpu @ meta": lambda: on_cpu(2, 3) @ on_meta(3, 4),
    "meta @ cpu": lambda: on_meta(2, 3) @ on_cpu(3, 4),
    "3-d @ 2-d": lambda: on_cpu(5, 2, 3) @ on_meta(3, 4),
    "mv": lambda: torch.mv(on_cpu(2, 3), on_meta(3)),
    "mv, the other way": lambda: torch.mv(on_meta(2, 3), on_cpu(3)),
    "dot": lambda: torch.dot(on_cpu(3), on_meta(3)),
    "outer": lambda: torch.outer(on_meta(3), on_cpu(2)),
    "bmm": lambda: torch.bmm(on_cpu(5, 2, 3), on_meta(5, 3, 4)),
    "bmm, the other way": lambda: torch.bmm(on_meta(5, 2, 3), on_cpu(5, 3, 4)),
    "addmm with a cpu bias": lambda: torch.addmm(on_cpu(4), on_meta(2, 3), on_meta(3, 4)),
    "addmm with a meta weight": lambda: torch.addmm(on_cpu(4), on_cpu(2, 3), on_meta(3, 4)),
    "einsum of two matrices": lambda: torch.einsum("ij,jk->ik", on_cpu(2, 3), on_meta(3, 4)),
    "einsum of two vectors": lambda: torch.einsum("i,i->", on_meta(3), on_cpu(3)),
    "linear": lambda: F.linear(on_cpu(2, 3), on_meta(4, 3), on_meta(4)),
    "linear without bias": lambda: F.linear(on_cpu(2, 3), on_meta(4, 3)),
    "linear with a cpu bias": lambda: F.linear(on_meta(2, 3), on_meta(4, 3), on_cpu(4)),
    "linear module": lambda: nn.Linear(3, 4, device=META)(on_cpu(2, 3)),
    "linear module without bias": lambda: nn.Linear(3, 4, bias=False, device=META)(on_cpu(2, 3)),
    "conv1d": lambda: F.conv1d(on_cpu(1, 2, 5), on_meta(3, 2, 2)),
    "conv1d of a meta input": lambda: F.conv1d(on_meta(1, 2, 5), on_cpu(3, 2, 2)),
    "conv2d": lambda: F.conv2d(on_cpu(1, 2, 5, 5), on_meta(3, 2, 2, 2)),
    "conv2d with a cpu bias": lambda: F.conv2d(on_meta(1, 2, 5, 5), on_meta(3, 2, 2, 2), on_cpu(3)),
    "embedding": lambda: F.embedding(ids(0, 2), on_meta(5, 3)),
    "embedding in a cpu table": lambda: F.embedding(ids(0, 2, device="meta"), on_cpu(5, 3)),
    "embedding of one number": lambda: F.embedding(torch.tensor(1), on_meta(5, 3)),
    "embedding module": lambda: nn.Embedding(5, 3, device=META)(ids(0, 2)),
    "gather": lambda: on_cpu(2, 3).gather(1, ids(0, 2, device="meta")[None]),
    "gather from meta": lambda: on_meta(2, 3).gather(1, ids(0, 2)[None]),
    "scatter": lambda: on_cpu(2, 3).scatter(1, ids(0, 2, device="meta")[None], 5.0),
    "scatter into meta": lambda: on_meta(2, 3).scatter(1, ids(0, 2)[None], 5.0),
    "scatter_": lambda: on_cpu(2, 3).scatter_(1, ids(0, 2, device="meta")[None], 5.0),
    "scatter_add_": lambda: on_meta(2, 3).scatter_add_(1, ids(0, 2, device="meta")[None], on_cpu(1, 2)),
    "index_select": lambda: on_cpu(5, 3).index_select(0, ids(0, 2, device="meta")),
    "index_select from meta": lambda: on_meta(5, 3).index_select(0, ids(0, 2)),
    "index_select of one number": lambda: on_meta(5, 3).index_select(0, torch.tensor(1)),
    "index_add_": lambda: on_meta(5, 3).index_add_(0, ids(0, 2), on_meta(2, 3)),
    "take": lambda: on_meta(5, 3).take(ids(0, 2)),
    "isin": lambda: torch.isin(on_cpu(3), on_meta(2)),
    "cpu[meta ids]": lambda: on_cpu(5, 3)[ids(0, 2, device="meta")],
    "cpu[meta ids] = number": lambda: write(on_cpu(5, 3), ids(0, 2, device="meta"), 5.0),
    "cpu[ids] = meta": lambda: write(on_cpu(5, 3), ids(0, 2), on_meta(2, 3)),
    "meta[ids] = cpu": lambda: write(on_meta(5, 3), ids(0, 2), on_cpu(2, 3)),
    "add": lambda: on_cpu(2, 3) + on_meta(2, 3),
    "one-element vector": lambda: on_meta(3) * on_cpu(1),
    "cpu vector, meta scalar": lambda: on_cpu(3) * on_meta(),
    "cpu += meta": lambda: add_(on_cpu(2, 3), on_meta(2, 3)),
    "meta += cpu": lambda: add_(on_meta(2, 3), on_cpu(2, 3)),
    "cpu *= meta": lambda: mul_(on_cpu(2, 3), on_meta(2, 3)),
    "cpu scalar += meta scalar": lambda: add_(on_cpu(), on_meta()),
    "out=": lambda: torch.add(on_meta(3), on_meta(3), out=on_cpu(3)),
    "foreach": lambda: torch._foreach_add_([on_cpu(3)], [on_meta(3)]),
    "cat": lambda: torch.cat([on_cpu(2, 3), on_meta(2, 3)]),
    "stack": lambda: torch.stack([on_meta(3), on_cpu(3)]),
    "stack of scalars": lambda: torch.stack([on_meta(), on_cpu()]),
    "where": lambda: torch.where(on_meta(3) > 0, on_meta(3), on_cpu(3)),
    "where with a cpu condition": lambda: torch.where(on_cpu(3) > 0, on_meta(3), on_meta(3)),
    "masked_fill": lambda: on_meta(2, 3).masked_fill(on_cpu(2, 3) > 0, 5.0),
    "cross_entropy": lambda: F.cross_entropy(on_meta(2, 3), ids(0, 2)),
    "cross_entropy of cpu logits": lambda: F.cross_entropy(on_cpu(2, 3), ids(0, 2, device="meta")),
    "cross_entropy with cpu weights": lambda: F.cross_entropy(on_meta(2, 3), ids(0, 2, device="meta"), on_cpu(3)),
    "mse_loss": lambda: F.mse_loss(on_cpu(3), on_meta(3)),
    "layer_norm": lambda: F.layer_norm(on_cpu(2, 3), (3,), on_meta(3), on_meta(3)),
    "layer_norm of a meta input": lambda: F.layer_norm(on_meta(2, 3), (3,), on_cpu(3), on_cpu(3)),
    "batch_norm": lambda: F.batch_norm(on_meta(2, 3), on_cpu(3), on_cpu(3)),
    "attention with a cpu mask": lambda: F.scaled_dot_product_attention(
        on_meta(1, 4, 3), on_meta(1, 4, 3), on_meta(1, 4, 3), attn_mask=on_cpu(4, 4)
    ),
}

ALLOWED: dict[str, Callable[[], Any]] = {
    "meta * number": lambda: on_meta(2, 3) * NUMBER,
    "number * meta": lambda: NUMBER * on_meta(2, 3),
    "number / meta scalar": lambda: NUMBER / on_meta(),
    "meta > number": lambda: on_meta(2, 3) > NUMBER,
    "meta ** number": lambda: on_meta(2, 3) ** NUMBER,
    "meta += number": lambda: add_(on_meta(2, 3), NUMBER),
    "maximum with a number": lambda: torch.maximum(on_meta(2, 3), NUMBER),
    "clamp by a number": lambda: on_meta(2, 3).clamp(min=NUMBER),
    "where with a number": lambda: torch.where(on_meta(3) > 0, on_meta(3), NUMBER),
    "lerp by a number": lambda: on_meta(3).lerp(on_meta(3), NUMBER),
    "meta[cpu ids]": lambda: on_meta(5, 3)[ids(0, 2)],
    "meta[:, cpu ids]": lambda: on_meta(5, 3)[:, ids(0, 2)],
    "meta[cpu ids, cpu ids]": lambda: on_meta(5, 3)[ids(0, 2), ids(0, 1)],
    "meta[meta ids]": lambda: on_meta(5, 3)[ids(0, 2, device="meta")],
    "meta[cpu scalar]": lambda: on_meta(5, 3)[torch.tensor(1)],
    "meta[cpu ids] = number": lambda: write(on_meta(5, 3), ids(0, 2), 5.0),
    "meta[cpu ids] = 0-dim": lambda: write(on_meta(5, 3), ids(0, 2), NUMBER),
    "meta[cpu ids] = meta": lambda: write(on_meta(5, 3), ids(0, 2), on_meta(2, 3)),
    "meta[cpu mask] = number": lambda: write(on_meta(5, 3), torch.ones(5, 3) > 0, 5.0),
    "meta[slice] = cpu (a copy)": lambda: write(on_meta(5, 3), slice(0, 2), on_cpu(2, 3)),
    "to": lambda: on_cpu(2, 3).to("meta"),
    "to the device of another tensor": lambda: on_cpu(2, 3).to(on_meta(1)),
    "copy_": lambda: on_meta(2, 3).copy_(on_cpu(2, 3)),
    "zeros_like": lambda: torch.zeros_like(on_cpu(2, 3), device=META),
    "tensor": lambda: torch.tensor([1.0, 2.0], device=META),
    "as_tensor": lambda: torch.as_tensor(on_cpu(3), device=META),
    "nll of one sample": lambda: F.cross_entropy(on_meta(3), torch.tensor(1, device=META)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_mixed_devices_raise_cudas_sentence(name: str) -> None:
    sentence = r"Expected all tensors to be on the same device, but found at least two devices, meta and cpu!"
    with OneDevicePerOp(), pytest.raises(RuntimeError, match=sentence):
        REFUSED[name]()


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_passes_and_stays_on_the_device(name: str) -> None:
    with OneDevicePerOp():
        assert ALLOWED[name]().device == META


def test_attention_of_mixed_devices_is_refused_in_its_own_words() -> None:
    """scaled_dot_product_attention checks by itself before it dispatches, on a real GPU too."""
    with OneDevicePerOp(), pytest.raises(RuntimeError, match="same device"):
        F.scaled_dot_product_attention(on_cpu(1, 4, 3), on_meta(1, 4, 3), on_meta(1, 4, 3))


def test_meta_has_no_values_to_bring_back() -> None:
    with OneDevicePerOp(), pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        on_meta(2, 3).to("cpu")


def test_a_refused_write_changes_nothing() -> None:
    x = on_cpu(2, 3)
    with OneDevicePerOp(), pytest.raises(RuntimeError, match="same device"):
        add_(x, on_meta(2, 3))
    assert torch.equal(x, on_cpu(2, 3))


def test_a_module_moves_and_runs_backward() -> None:
    with OneDevicePerOp():
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 4)).to("meta")
        F.cross_entropy(model(on_meta(6, 1, 5, 5)), ids(0, 1, 2, 3, 0, 1, device="meta")).backward()
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert {x.device for x in tensors if x is not None} == {META}
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("optimizer", ["SGD", "SGD with momentum", "Adam", "AdamW", "RMSprop"])
def test_an_optimizer_steps(optimizer: str, foreach: bool | None) -> None:
    """Adam keeps its step counters, 0-dim tensors, on the CPU."""
    with OneDevicePerOp():
        model = nn.Linear(3, 4, device=META)
        name, *momentum = optimizer.split(" with ")
        options = {"momentum": 0.9, "nesterov": True} if momentum else {}
        opt = getattr(torch.optim, name)(model.parameters(), lr=0.1, weight_decay=0.1, foreach=foreach, **options)
        for _ in range(2):
            opt.zero_grad()
            model(on_meta(2, 3)).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
    assert model.weight.device == META


def test_work_on_the_cpu_goes_on_as_always() -> None:
    def train() -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
        opt = torch.optim.AdamW(model.parameters(), lr=0.1)
        for _ in range(3):
            opt.zero_grad()
            F.cross_entropy(model(torch.tensor([[0, 2], [4, 1]])), ids(0, 2)).backward()
            opt.step()
        x = torch.arange(6.0).view(2, 3)
        x[x > 3] = 0.0
        return [*model.parameters(), x, x[x > 1], x.unique(), torch.stack([x.sum(), x.max()])]

    want = train()
    with OneDevicePerOp():
        got = train()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


# ── a second device that has values ──


def test_values_go_to_the_second_device_and_come_back() -> None:
    x = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    with a_second_device() as far:
        there = x.to(far)
        assert there.device == far
        assert (there * 2).device == far
        assert there.argmax(dim=1).cpu().tolist() == [1, 0, 1]
        assert there.argmax(dim=1).tolist() == [1, 0, 1]
        assert there.to(x.device).equal(x)
        assert torch.zeros(2, device=far).device == far
        assert torch.zeros_like(there).device == far
        assert [int(row.argmax()) for row in there] == [1, 0, 1]
        assert there[1, 0].item() == x[1, 0].item()


@pytest.mark.parametrize("how", ["bincount", "index_put_", "one_hot", "in a loop"])
def test_counting_on_the_second_device(how: str) -> None:
    with a_second_device() as far:
        rows, columns = torch.tensor([1, 0, 1]).to(far), torch.tensor([1, 0, 0]).to(far)
        table = torch.zeros(2, 2, dtype=torch.int64, device=far)
        if how == "bincount":
            table = torch.bincount(rows * 2 + columns, minlength=4).reshape(2, 2)
        elif how == "index_put_":
            table.index_put_((rows, columns), torch.ones((), dtype=torch.int64, device=far), accumulate=True)
        elif how == "one_hot":
            table = F.one_hot(rows, 2).T @ F.one_hot(columns, 2)
        else:
            for row, column in zip(rows, columns, strict=True):
                table[row, column] += 1
        assert table.device == far
        assert table.cpu().tolist() == [[1, 0], [1, 1]]


def test_the_second_device_refuses_what_cuda_refuses() -> None:
    near = torch.tensor([1, 0, 1])
    with a_second_device() as far:
        there = near.to(far)
        for mix in (lambda: near + there, lambda: near == there, lambda: torch.cat([near, there])):
            with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
                mix()
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            near[there]
        with pytest.raises(RuntimeError):
            there.numpy()
        assert (there + torch.tensor(1)).tolist() == [2, 1, 2]  # a number
        there.add_(1)
        assert there.tolist() == [2, 1, 2]
    assert near.tolist() == [1, 0, 1]
    assert "lazy" in repr(there)
