"""The last state of an RNN, and where to cut the tape

A recurrent network reads a sequence step by step and carries a hidden state h along. `nn.RNN`, `nn.GRU` and `nn.LSTM`
take the sequence as (T, B, F), time first; given (B, T, F) they raise nothing, and take the batch for the time. All
modules of this kata are made with `batch_first=True`, so x is (B, T, F): B sequences of T steps with F numbers each.

`out, h_n = rnn(x)` gives all outputs of the last layer, (B, T, H), and the last state of *each* layer, (layers, B, H):
batch_first does not touch h_n. An LSTM returns `out, (h_n, c_n)`. With `bidirectional=True` a second reader runs from
the end to the beginning. Then out is (B, T, 2H), and h_n holds forward, backward, forward, backward, layer by layer. In
`out[:, -1]`, where many people look, the backward reader has seen one single step: the last. To see everything, it must
come to step 0.

A long sequence is trained in chunks: the state is carried from chunk to chunk, the graph is not. Carry the graph too,
and the second `backward()` fails, since the first freed what it needs. `retain_graph=True`, the cure that the message
proposes, only moves the error: the step has changed the weights that the old graph has kept. The state must lose its
graph first: `h.detach()`. And if each chunk starts from zeros, nothing longer than a chunk can be learnt.

What is asked here: a vector for a sequence; the formula of nn.RNN, h[t] = tanh(W_ih·x[t] + b_ih + W_hh·h[t-1] + b_hh),
whose weights are `rnn.weight_ih_l0`, `bias_ih_l0`, `weight_hh_l0`, `bias_hh_l0`; training in chunks.

About 35 minutes. Before it: stop_gradient, in_place_and_versions, layers_by_hand.

https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
"""

from typing import Any

import pytest
import torch
from torch import nn

from dojo import under_test
from dojo.kit import check_tensor, explain, unchanged


def sentence_vector(lstm: nn.LSTM, x: torch.Tensor) -> torch.Tensor:
    """The last states h of the LSTM's last layer for `x` (B, T, F), float32.

    (B, H), or (B, 2H) if it reads in both directions. In the second case the forward reader's state (after step T-1)
    comes first, then the backward reader's (after step 0). `lstm` has any number of layers and batch_first=True.
    Gradients flow, to `x` and to the weights; `lstm` and `x` stay as they are.
    """
    raise NotImplementedError("return the last state of the last layer, of each direction")


def rnn_outputs(rnn: nn.RNN, x: torch.Tensor) -> torch.Tensor:
    """All outputs of `rnn` for `x` (B, T, F), float32: (B, T, H), from an initial state of 0.

    `rnn` has one layer, one direction, tanh, biases and batch_first=True; it and `x` stay as they are, and gradients
    flow to both.
    """
    raise NotImplementedError("compute the states step by step")


def train_chunks(
    rnn: nn.RNN | nn.GRU, head: nn.Module, opt: torch.optim.Optimizer, xs: torch.Tensor, ys: torch.Tensor, k: int
) -> list[float]:
    """One pass over `xs` (B, T, F), float32, in chunks of `k` steps; T is a multiple of k. Returns the losses.

    The prediction is `head(out)` at each step, the loss the mean squared error (nn.MSELoss) to the chunk's part of `ys`
    (B, T, O). For each chunk one step of `opt`, with the gradients of this chunk alone (there are none when you are
    called); the loss is the one before it, a float.
    The first chunk begins with the state 0, each later one with the last state of the chunk before, through which no
    gradient flows. `rnn` has one layer, one direction and batch_first=True; `xs` and `ys` stay as they are.
    """
    raise NotImplementedError("train chunk by chunk, carrying the state")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


_SIGNS = {
    "second time": "the state of the first chunk still hangs on its graph, which its backward has freed",
    "modified by an inplace operation": "the state still hangs on the graph of the chunk before, which retain_graph "
    "kept, but the step has changed its weights since",
    "tuple": "an RNN or GRU returns a pair, out and h_n",
}
_SIGNS_OF_LSTM = {"not a Tensor|tuple": "an LSTM returns out and the pair (h_n, c_n)"}


def _vector(lstm: nn.LSTM, x: torch.Tensor) -> Any:
    __tracebackhide__ = True
    which = "two directions" if lstm.bidirectional else "one direction"
    said = f"sentence_vector raised, for layers={lstm.num_layers}, {which} and x of shape {tuple(x.shape)}"
    with unchanged("lstm and x stay as they are", lstm=lstm, x=x), explain(said, _SIGNS_OF_LSTM):
        got = sentence_vector(lstm, x)
    assert isinstance(got, torch.Tensor), f"sentence_vector returns a tensor, got {type(got).__name__}"
    return got


def _check_gradients(got: torch.Tensor, true: torch.Tensor, x: torch.Tensor, lstm: nn.LSTM, told: str) -> None:
    __tracebackhide__ = True
    assert got.requires_grad, "the vector hangs on no graph: nothing below it can be trained"
    inputs, up = dict(x=x, **dict(lstm.named_parameters())), torch.randn_like(true)
    expected = torch.autograd.grad(true, inputs.values(), up)
    gradients = torch.autograd.grad(got, inputs.values(), up, allow_unused=True)
    for name, gradient, want in zip(inputs, gradients, expected, strict=True):
        assert gradient is not None, f"no gradient flows from the vector to {name}; {told}"
        check_tensor(gradient, want, f"the gradient of {name}; {told}", rtol=1e-3, atol=1e-5)


def test_the_last_state_of_one_direction_is_the_last_output():
    torch.manual_seed(0)
    for layers, b, t in ((1, 4, 7), (2, 3, 3), (3, 1, 5), (1, 2, 1)):
        lstm, x = nn.LSTM(3, 5, layers, batch_first=True).train(layers != 2), torch.randn(b, t, 3, requires_grad=True)
        true = lstm(x)[0][:, t - 1]
        want = true.detach()
        got = _vector(lstm, x)
        told = f"layers={layers}, one direction, x of shape {tuple(x.shape)}"
        with torch.no_grad():
            cell = lstm(x)[1][1][-1]
        is_cell = got.shape == cell.shape and torch.allclose(got.double(), cell.double())
        assert not is_cell, "this is the cell state c of the LSTM, which stays inside; its output is h"
        check_tensor(got.detach(), want, f"the last output of the last layer; {told}", rtol=1e-5, atol=1e-6)
        _check_gradients(got, true, x, lstm, told)


@pytest.mark.myth(
    says="out[:, -1] is the last state of an LSTM.",
    today="In a bidirectional one its backward half has read a single step; h_n[-1] holds the state that read all.",
)
def test_the_backward_reader_ends_at_step_0():
    torch.manual_seed(0)
    for layers, b, t in ((1, 4, 7), (2, 4, 4), (2, 3, 6), (3, 2, 5)):
        lstm = nn.LSTM(3, 5, layers, batch_first=True, bidirectional=True)
        x = torch.randn(b, t, 3, requires_grad=True)
        true, (h_n, _) = lstm(x)
        out, h_n = true.detach(), h_n.detach()
        forward, backward = out[:, -1, :5], out[:, 0, 5:]
        got = _vector(lstm, x)
        for other, cause in (
            (out[:, -1], "the backward half never saw step 0: at step -1 its reader has only begun"),
            (out[:, 0], "the forward half never saw more than step 0: its reader ends at step T-1"),
            (h_n[-2:].reshape(b, -1), "rows mix samples: h_n is (layers * 2, B, H), so its batch is not the first"),
            (torch.cat((backward, forward), 1), "the two halves are swapped: first forward, then backward"),
        ):
            same = got.shape == other.shape and torch.allclose(got.double(), other.double())
            assert not same, f"{cause}; x has the shape {tuple(x.shape)}"
        told = f"layers={layers}, two directions, x of shape {tuple(x.shape)}"
        want = torch.cat((forward, backward), 1)
        check_tensor(got.detach(), want, f"the last layer's two readers at their ends; {told}", rtol=1e-5, atol=1e-6)
        _check_gradients(got, torch.cat((true[:, -1, :5], true[:, 0, 5:]), 1), x, lstm, told)
    one = torch.randn(1, 1, 3)
    want = lstm(one)[0][:, 0].detach()
    check_tensor(_vector(lstm, one).detach(), want, "one sequence of one step", rtol=1e-5, atol=1e-6)


def test_an_rnn_is_one_formula_in_a_loop():
    torch.manual_seed(0)
    for f, h, b, t in ((3, 5, 2, 7), (4, 4, 4, 4), (2, 6, 1, 1)):
        rnn, x = nn.RNN(f, h, batch_first=True), torch.randn(b, t, f) * (500 if t == 1 else 1)
        with torch.no_grad():
            rnn.bias_ih_l0.add_(0.5)
            want = rnn(x)[0]
            mixed = rnn(x.transpose(0, 1))[0].transpose(0, 1)
            alone = torch.tanh(x @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + rnn.bias_hh_l0)
        with unchanged("rnn and x stay as they are", rnn=rnn, x=x), explain("rnn_outputs raised"):
            got = rnn_outputs(rnn, x)
        assert isinstance(got, torch.Tensor), f"rnn_outputs returns a tensor, got {type(got).__name__}"
        if t > 1 and got.shape == want.shape:
            of_columns, of_zeros = (torch.allclose(got.double(), y.double(), atol=1e-5) for y in (mixed, alone))
            assert not of_columns, "you took the batch for the time: x is (B, T, F)"
            assert not of_zeros, "no state is carried: each step is computed from 0"
        check_tensor(got.detach(), want, f"the outputs for x of shape {(b, t, f)}", rtol=1e-4, atol=1e-5)
    x, c = torch.randn(3, 4, 2, requires_grad=True), torch.randn(3, 4, 5)
    rnn = nn.RNN(2, 5, batch_first=True)
    inputs = [*rnn.parameters(), x]
    grads = torch.autograd.grad((rnn(x)[0] * c).sum(), inputs)
    got = rnn_outputs(rnn, x)
    assert got.requires_grad, "the outputs hang on no graph: neither rnn nor what is below it can be trained"
    for name, want, grad in zip(
        [*(name for name, _ in rnn.named_parameters()), "x"],
        grads,
        torch.autograd.grad((got * c).sum(), inputs, allow_unused=True),
        strict=True,
    ):
        assert grad is not None, f"no gradient reaches {name}: somewhere on the way it is cut off"
        check_tensor(grad, want, f"the gradient of {name}", rtol=1e-3, atol=1e-5)


@pytest.mark.myth(
    says='The error "backward through the graph a second time" is cured by retain_graph=True.',
    today="The next error is there after the step, which has changed the weights of the kept graph: detach the state.",
)
def test_a_chunk_takes_over_the_state_but_not_the_graph():
    torch.manual_seed(0)
    xs, ys = torch.randn(3, 12, 2), torch.randn(3, 12, 4)
    for kind in (nn.RNN, nn.GRU):
        rnn, head = kind(2, 5, batch_first=True), nn.Linear(5, 4)
        with torch.no_grad():
            weights = [p.clone() for p in (*rnn.parameters(), *head.parameters())]
            off = (head(rnn(xs)[0]) - ys) ** 2
            fresh = [((head(rnn(x)[0]) - y) ** 2).mean().item() for x, y in _chunks(4, xs, ys)]
        for k in (12, 4, 3, 1):
            want = off.unflatten(1, (-1, k)).mean((0, 2, 3))
            opt = torch.optim.SGD([*rnn.parameters(), *head.parameters()], lr=0.0)
            told = f"{kind.__name__}, 12 steps in chunks of {k}, lr=0"
            with (
                unchanged("xs and ys stay as they are", xs=xs, ys=ys),
                explain(f"train_chunks raised: {told}", _SIGNS if k < 12 else {}),
            ):
                losses = train_chunks(rnn, head, opt, xs, ys, k)
            assert isinstance(losses, list | tuple), f"a list of losses, got {type(losses).__name__}"
            assert len(losses) == 12 // k, f"number of losses: {len(losses)}, of chunks: {12 // k}; {told}"
            types = {type(loss).__name__ for loss in losses if not isinstance(loss, float)}
            assert not types, f"the losses are of type {', '.join(types)}, not float: a tensor may keep its graph alive"
            for p, before in zip((*rnn.parameters(), *head.parameters()), weights, strict=True):
                said = "a weight moved with lr=0: the steps are those of the optimizer that is given"
                check_tensor(p.detach(), before, said)
            got = torch.tensor(losses)
            started_anew = k == 4 and torch.allclose(got, torch.tensor(fresh))
            assert not started_anew, "each chunk begins with the state 0: what was read before is forgotten"
            sums = torch.allclose(got, want * (3 * k * 4), rtol=1e-3)
            assert not sums, "these are sums of squares: the loss is their mean"
            said = f"with lr=0, the losses are those of one run over all steps, cut in pieces: {told}"
            check_tensor(got, want, said, rtol=1e-4, atol=1e-6)


def _chunks(k: int, xs: torch.Tensor, ys: torch.Tensor) -> list[Any]:
    return list(zip(xs.split(k, 1), ys.split(k, 1), strict=True))


def test_each_chunk_moves_the_weights_by_its_own_gradient():
    """Computed by hand, with six numbers as weights: W_ih, W_hh, b_ih, b_hh, and weight and bias of the head."""
    xs, ys = torch.tensor([[[1.0], [-0.5], [2.0], [0.25]]]), torch.tensor([[[0.5], [-1.0], [1.0], [2.0]]])
    for k, weights, losses in (
        (4, [0.486673, 0.801386, -0.012967, -0.312967, 1.507654, 0.248231], [0.651233]),
        (2, [1.119712, 0.712190, 0.317494, 0.017494, 1.319004, 0.505778], [0.826087, 4.250853]),
        (1, [1.148426, 0.721439, 0.534948, 0.234948, 1.513078, 0.564704], [0.136843, 0.905998, 0.615599, 3.462135]),
    ):
        rnn, head = nn.RNN(1, 1, batch_first=True), nn.Linear(1, 1)
        parameters = [*rnn.parameters(), *head.parameters()]
        with torch.no_grad():
            for p, value in zip(parameters, (0.5, 0.8, 0.1, -0.2, 1.5, 0.3), strict=True):
                p.fill_(value)
        opt, steps = torch.optim.SGD(parameters, lr=0.1), []
        opt.register_step_post_hook(lambda *_, steps=steps: steps.append(1))
        with explain(f"train_chunks raised, 4 steps in chunks of {k}, lr=0.1", _SIGNS if k < 4 else {}):
            got = train_chunks(rnn, head, opt, xs, ys, k)
        assert isinstance(got, list | tuple), f"a list of losses, got {type(got).__name__}"
        moved = torch.tensor([p.item() for p in parameters])
        assert moved[4] != 1.5, f"the head was not trained: its weight is 1.5 as before, in chunks of {k}"
        assert moved[0] != 0.5, f"the rnn was not trained: W_ih is 0.5 as before, in chunks of {k}"
        said = f"the losses of 4 steps in chunks of {k}, each before its step"
        check_tensor(torch.tensor([float(v) for v in got]), torch.tensor(losses), said, rtol=1e-4)
        said = f"the weights after one step for each chunk of {k}, with the gradient of that chunk alone"
        check_tensor(moved, torch.tensor(weights), said, rtol=1e-3, atol=1e-5)
        assert len(steps) == 4 // k, (
            f"opt.step() ran {len(steps)} times for {4 // k} chunks of {k}, expected once for each"
        )
