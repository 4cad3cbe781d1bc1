"""The helpers of kata tests."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from dojo.kata.not_run_here import NotRunHere
from dojo.kit import check_tensor, explain, needs_compiler, raises, shares_memory, unchanged, version_counter
from dojo.kit.training import default_epochs, progress, stale_gradients_found


def complaint(*args, **kwargs) -> str:
    with pytest.raises(AssertionError) as caught:
        check_tensor(*args, **kwargs)
    return str(caught.value)


WANT = torch.tensor([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("got", "says"),
    [
        ([1.0], "expected a tensor, got list"),
        ([[1.0, 2.0, 3.0]], "expected a tensor, got list"),
        (np.ones((1, 3)), "expected a tensor, got ndarray"),
        (torch.ones(3, dtype=torch.int64), "shape: expected (1, 3), got (3,)"),
        (torch.ones(1, 3, dtype=torch.float64), "dtype: expected torch.float32, got torch.float64"),
        (torch.ones(1, 3).to_sparse(), "layout: expected torch.strided, got torch.sparse_coo"),
        (torch.ones(1, 3, device="meta"), "device: expected cpu, got meta"),
        (
            torch.tensor([[1.0, 2.5, 7.0]]),
            "2 of 3 values differ, worst at [0, 2]: expected 3.0, got 7.0\n"
            "  expected [[1.0, 2.0, 3.0]]\n  got      [[1.0, 2.5, 7.0]]",
        ),
        (torch.tensor([[1.0, 2.0, float("nan")]]), "worst at [0, 2]: expected 3.0, got nan"),
    ],
)
def test_the_most_telling_difference_comes_first(got, says):
    message = complaint(got, WANT, "the sentence")
    assert message.startswith("the sentence\n")
    assert says in message


def test_a_missing_return_is_said_first_whatever_was_asked():
    with pytest.raises(
        AssertionError, match=r"^got None where a tensor was expected: is a `return` missing\?\nthe sen"
    ):
        check_tensor(None, torch.ones(2), "the sentence")


@pytest.mark.parametrize(
    ("want", "got", "says"),
    [
        (1 / 3, 2 / 3, "expected 0.333333, got 0.666667"),
        (1.0, 1.0 + 1e-12, "expected 1.0, got 1.000000000001"),
        (2.0, 3.0, "expected 2.0, got 3.0"),
        (1e300, float("inf"), "expected 1e+300, got inf"),
    ],
)
def test_numbers_have_six_digits_unless_the_difference_needs_more(want, got, says):
    with pytest.raises(AssertionError, match=re.escape(says)):
        check_tensor(torch.tensor([got], dtype=torch.float64), torch.tensor([want], dtype=torch.float64))
    with pytest.raises(AssertionError, match=re.escape(says)):
        check_tensor(torch.full((99,), got, dtype=torch.float64), torch.full((99,), want, dtype=torch.float64))


def test_equal_tensors_pass():
    check_tensor(WANT.clone(), WANT)
    check_tensor(torch.tensor([float("nan"), 1.0]), torch.tensor([float("nan"), 1.0]))
    check_tensor(torch.tensor([1.0001]), torch.tensor([1.0]), atol=1e-3)
    check_tensor(torch.empty(0, 3), torch.empty(0, 3))
    check_tensor(torch.tensor([True]), torch.tensor([True]))
    check_tensor(torch.ones(2, device="meta"), torch.zeros(2, device="meta"))
    check_tensor(torch.tensor([1 + 2j]), torch.tensor([1 + 2j]))


def test_graph_and_strides_are_checked_where_asked():
    x = torch.ones(2, requires_grad=True)
    assert "requires_grad: expected False, got True, grad_fn=MulBackward0" in complaint(
        x * 1, torch.ones(2), requires_grad=False
    )
    check_tensor(x * 1, torch.ones(2))
    assert "strides: expected (3, 1), got (1, 2)" in complaint(torch.ones(3, 2).t(), torch.ones(2, 3), strides=(3, 1))


def test_integers_and_large_tensors_are_compared_too():
    assert "expected 2, got 3" in complaint(torch.tensor(3), torch.tensor(2))
    assert "[0.0" not in complaint(torch.zeros(10, 10), torch.ones(10, 10))
    assert "1 of 1 values" not in complaint(torch.tensor(float("inf")), torch.tensor(1.0))


def test_memory_is_shared_by_views_arrays_and_empty_windows():
    x = torch.arange(6.0)
    assert shares_memory(x, x[3:])
    assert shares_memory(x[:3], x[3:])
    assert shares_memory(x, x[6:])
    assert not shares_memory(x, x.clone())
    assert not shares_memory(torch.empty(0), torch.empty(0))
    a = np.arange(6.0)
    assert shares_memory(a, torch.from_numpy(a))
    assert shares_memory(torch.from_numpy(a), torch.from_numpy(a))
    assert shares_memory(a[::-1], torch.from_numpy(a))
    assert not shares_memory(a, torch.tensor(a))
    m = torch.empty(3, device="meta")
    assert shares_memory(m, m[1:])
    assert not shares_memory(m, torch.empty(3, device="meta"))
    assert not shares_memory(m, x)


def test_version_counter_counts_in_place_writes():
    x = torch.zeros(2)
    x[0] = 1
    assert version_counter(x) == 1


def _stub():
    raise NotImplementedError("write it")


def test_explain_names_the_mistake_and_keeps_the_cause():
    with (
        pytest.raises(
            AssertionError, match=r"(?s)you forgot the shape.*RuntimeError: .*cannot be multiplied"
        ) as caught,
        explain("you forgot the shape"),
    ):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("a second\ntime"), "first sign"),
        (RuntimeError("another"), "second sign"),
        (TypeError("another"), "neither"),
    ],
)
def test_explain_says_what_the_error_is_a_sign_of(error, says):
    signs = {"second.time": "first sign", "^RuntimeError": "second sign"}
    with pytest.raises(AssertionError) as caught, explain("neither", signs):
        raise error
    assert str(caught.value).startswith(f"{says}\n{type(error).__name__}: ")


def test_explain_and_raises_let_stubs_and_assertions_through():
    with pytest.raises(NotImplementedError), explain("no"):
        _stub()
    with pytest.raises(NotImplementedError), raises(RuntimeError, "no"):
        _stub()
    with pytest.raises(AssertionError, match=r"^yes"), explain("no"):
        raise AssertionError("yes")
    with pytest.raises(AssertionError, match=r"say\nexpected RuntimeError, got AssertionError: yes"):
        with raises(RuntimeError, "say"):
            raise AssertionError("yes")
    with pytest.raises(KeyboardInterrupt), explain("no"):
        raise KeyboardInterrupt


def test_raises_wants_the_class_and_the_fragment():
    with raises((ValueError, RuntimeError), "say", match="view"):
        torch.ones(2, 3).t().view(-1)
    with (
        pytest.raises(AssertionError, match="say\nexpected ValueError, but nothing was raised"),
        raises(ValueError, "say"),
    ):
        pass
    with pytest.raises(AssertionError, match="say\nexpected ValueError, got TypeError: x"), raises(ValueError, "say"):
        raise TypeError("x")
    with pytest.raises(AssertionError, match="its message has no 'view'"), raises(ValueError, "say", match="view"):
        raise ValueError("x")


def test_torchs_not_implemented_error_counts_where_it_is_expected():
    # bool - bool: RuntimeError up to torch 2.13, its subclass NotImplementedError since
    with raises(RuntimeError, "say", match="Subtraction"):
        torch.ones(2, dtype=torch.bool) - torch.ones(2, dtype=torch.bool)


def test_progress_counts_each_image_once_and_knows_the_loss_and_what_is_left(pytestconfig):
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    optimizer, images = torch.optim.SGD(net.parameters(), 0.1), torch.rand(70, 1, 28, 28)
    with progress(pytestconfig, "2 of 2, MNIST", 140) as now:
        for batch in images.split(32):
            loss = torch.nn.functional.cross_entropy(net(batch), torch.zeros(len(batch), dtype=torch.int64))
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            net(images)
        net.eval()(images)
        now.started -= 100  # as if it had taken so long
        line = now.line()
    assert (now.seen, now.steps) == (70, 3), "measuring is no training"
    assert line.startswith(f"  2 of 2, MNIST: 70 of 140 images, 1/s, loss {loss.item():.3g}, 100 s left")
    assert now.seconds > 100
    assert torch.Tensor.backward.__name__ == "backward", "what it looked through is still there"


def test_progress_of_a_net_that_is_called_in_an_unusual_way_counts_steps(pytestconfig):
    with progress(pytestconfig, "training", 10) as now:
        torch.optim.SGD([torch.zeros(1)], 0.1).step()
    assert re.fullmatch(r"  training: \d s, 1 optimizer steps", now.line())


def test_the_default_of_epochs():
    assert default_epochs(lambda images, labels, epochs=3: None) == 3
    assert default_epochs(lambda images, labels, epochs: None) == 1
    assert default_epochs(lambda images, labels, epochs=None: None) == 1
    assert default_epochs(lambda images, labels: None) == 1


def test_a_new_leaf_that_requires_a_gradient_is_no_plain_result():
    assert "requires_grad: expected False, got True" in complaint(torch.ones(2, requires_grad=True), torch.ones(2))
    weight = torch.ones(2, requires_grad=True)
    check_tensor(weight * 1, torch.ones(2))  # the graph of an input may well be there
    check_tensor(weight, torch.ones(2, requires_grad=True))
    check_tensor(weight, torch.ones(2), requires_grad=True)


def test_what_reaches_beyond_its_storage_is_not_read():
    x = torch.arange(100_000.0)
    x.untyped_storage().resize_(8)
    assert "reaches beyond the end of its storage" in complaint(x, torch.arange(100_000.0))


def _set(what: object, name: str, value: object) -> None:
    setattr(what, name, value)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x, a, model, g: x.add_(1), "x is not as it was: its values, at [0, 0], before 0.0, after 1.0"),
        (lambda x, a, model, g: x.requires_grad_(), "x is not as it was: requires_grad, before False, after True"),
        (lambda x, a, model, g: x.t_(), "x is not as it was: its shape, before (2, 3), after (3, 2)"),
        (
            lambda x, a, model, g: x.untyped_storage().resize_(8),
            "x is not as it was: its memory, before 'there', after 'freed'",
        ),
        (lambda x, a, model, g: a["rows"][1].fill(7), "a['rows'][1] is not as it was: its values"),
        (
            lambda x, a, model, g: a.update(rows=torch.zeros(2)),
            "a['rows'] is not as it was: its type, before 'list', after 'Tensor'",
        ),
        (lambda x, a, model, g: a.pop("rows"), "a is not as it was: its keys, before ['rows'], after []"),
        (lambda x, a, model, g: model[1].eval(), "model.1 is not as it was: its mode (training), before True"),
        (
            lambda x, a, model, g: model[0].weight.requires_grad_(False),
            "model.0.weight is not as it was: requires_grad, before True, after False",
        ),
        (lambda x, a, model, g: model(x).sum().backward(), "model.0.weight is not as it was: its grad, None before"),
        (
            lambda x, a, model, g: _set(model[0], "bias", None),
            "model.0.bias is not as it was: its shape, not there after",
        ),
        (
            lambda x, a, model, g: model[0].register_forward_hook(lambda *_: None),
            "model.0 is not as it was: the number of its hooks, before 0, after 1",
        ),
        (lambda x, a, model, g: torch.rand(1, generator=g), "g is not as it was: its state"),
        (lambda x, a, model, g: torch.rand(1), "torch's global random numbers is not as it was: their state"),
    ],
)
def test_what_a_function_was_given_is_compared(spoil, says):
    x, a, g = torch.arange(6.0).view(2, 3), {"rows": [1, np.zeros(2)]}, torch.Generator()
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout())
    with (
        torch.random.fork_rng(),
        pytest.raises(AssertionError) as caught,
        unchanged("the sentence", rng=True, x=x, a=a, model=model, g=g),
    ):
        spoil(x, a, model, g)
    assert str(caught.value).startswith(f"the sentence\n{says}")


def test_what_is_as_it_was_is_not_complained_of():
    x, nan = torch.rand(2, 3, requires_grad=True), torch.tensor([float("nan"), 1.0], dtype=torch.bfloat16)
    model = torch.nn.Linear(3, 2)
    for other in (torch.eye(2).to_sparse(), torch.empty(2, device="meta"), torch.tensor(True), None, "text"):
        with unchanged("the sentence", x=x, nan=nan, model=model, other=other):
            torch.rand(1)
            torch.autograd.grad(model(x).sum(), [x])
    with pytest.raises(KeyError), unchanged("the sentence", x=[nan]):  # the error that is on its way is the one told
        nan.add_(1)
        raise KeyError


def _steps(lr: float, *, zero: bool, **options: bool) -> torch.Tensor:
    torch.manual_seed(0)
    net, x = torch.nn.Linear(2, 1), torch.randn(20, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for _ in range(60):
        if zero:
            optimizer.zero_grad(**options)
        net(x).square().mean().backward()
        optimizer.step()
    return net.weight.detach()


@pytest.mark.parametrize("lr", [0.1, 1e3])
def test_gradients_that_were_not_zeroed_are_found(lr):
    with (
        pytest.raises(AssertionError, match="gradients of the last step were still"),
        stale_gradients_found(),
    ):
        _steps(lr, zero=False)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("lr", [0.1, 2.0, 3.0, 1e3])
def test_a_training_that_blows_up_has_no_stale_gradients(lr, set_to_none):
    with stale_gradients_found():
        weight = _steps(lr, zero=True, set_to_none=set_to_none)
    assert lr < 1 or not weight.abs().max().item() < 1e9


def test_without_a_compiler_or_ninja_a_kata_is_not_run_here_and_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(NotRunHere, match=r"needs a C\+\+ compiler") as caught:
        needs_compiler()
    assert caught.value.missing == "package"
    (tmp_path / "c++").touch(mode=0o755)
    with pytest.raises(NotRunHere, match=r"needs ninja \(pip install ninja\)"):
        needs_compiler()
    (tmp_path / "ninja").touch(mode=0o755)
    needs_compiler()
