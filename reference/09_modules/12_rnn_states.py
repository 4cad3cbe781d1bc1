"""The last state of an RNN, and where to cut the tape: reference.

Hint: Which of the tensors that the module returns was computed by a reader that has seen the whole sequence?
Hint: `h_n[-1]` is the last layer's state; with two directions its forward part is `h_n[-2]`. For chunks: `Tensor.split`
or slices along dim 1, `rnn(x, h)`, `Tensor.detach`.
Hint: Join two states side by side, along the last dim. In train_chunks let h begin as None, hand it to rnn together
with the chunk, and take the new one without its graph.

Why: `h_n` is (layers * directions, B, H) whatever batch_first says, so a `view(B, -1)` cuts it in the wrong places, and
nothing complains as the sizes fit. Detaching the state between chunks is truncated backpropagation through time: values
flow over the border, gradients do not. Without it each step would also need all chunks before it, and their weights as
they were, which the optimizer has overwritten.
"""

import torch
import torch.nn.functional as F
from torch import nn

from dojo import Mistake


def sentence_vector(lstm: nn.LSTM, x: torch.Tensor) -> torch.Tensor:
    _, (h_n, _) = lstm(x)  # h_n (layers * directions, B, H)
    return torch.cat((h_n[-2], h_n[-1]), dim=-1) if lstm.bidirectional else h_n[-1]


def rnn_outputs(rnn: nn.RNN, x: torch.Tensor) -> torch.Tensor:
    h = x.new_zeros(x.shape[0], rnn.hidden_size)
    outputs = []
    for step in x.unbind(1):  # (B, F), T times
        h = torch.tanh(F.linear(step, rnn.weight_ih_l0, rnn.bias_ih_l0) + F.linear(h, rnn.weight_hh_l0, rnn.bias_hh_l0))
        outputs.append(h)
    return torch.stack(outputs, dim=1)  # (B, T, H)


def train_chunks(
    rnn: nn.RNN | nn.GRU, head: nn.Module, opt: torch.optim.Optimizer, xs: torch.Tensor, ys: torch.Tensor, k: int
) -> list[float]:
    losses, h = [], None
    for x, y in zip(xs.split(k, dim=1), ys.split(k, dim=1), strict=True):
        out, h = rnn(x, h)
        h = h.detach()
        loss = F.mse_loss(head(out), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _view(lstm, x):
    h_n = lstm(x)[1][0]
    return h_n[-2:].reshape(len(x), -1) if lstm.bidirectional else h_n[-1]


def _view_all(lstm, x):
    return lstm(x)[1][0].view(len(x), -1)


def _first_layer(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[0], h_n[1]), dim=1) if lstm.bidirectional else h_n[-1]


def _first_layer_of_one_direction(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[-2], h_n[-1]), dim=1) if lstm.bidirectional else h_n[0]


def _always_two(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[-2], h_n[-1]), dim=1)


def _only_the_last(lstm, x):
    return lstm(x)[1][0][-1]


def _swapped(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[-1], h_n[-2]), dim=1) if lstm.bidirectional else h_n[-1]


def _one_below_the_other(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[-2], h_n[-1])) if lstm.bidirectional else h_n[-1]


def _cell_state(lstm, x):
    c_n = lstm(x)[1][1]
    return torch.cat((c_n[-2], c_n[-1]), dim=1) if lstm.bidirectional else c_n[-1]


def _added(lstm, x):
    h_n = lstm(x)[1][0]
    return h_n[-2] + h_n[-1] if lstm.bidirectional else h_n[-1]


def _time_first(lstm, x):
    return sentence_vector(lstm, x.transpose(0, 1))


def _no_pair(lstm, x):
    h_n = lstm(x)[1]
    return h_n[-1]


def _in_eval(lstm, x):
    return sentence_vector(lstm.eval(), x)


def _detached(lstm, x):
    with torch.no_grad():
        return sentence_vector(lstm, x)


def _loop(rnn, x, b_ih=True, b_hh=True, recurrent=True, f=torch.tanh, time=1, transposed=False):
    w, u = rnn.weight_ih_l0, rnn.weight_hh_l0
    u = u.T if transposed else u
    h, outputs = torch.zeros(x.shape[1 - time], rnn.hidden_size), []
    for step in x.unbind(time):
        z = step @ w.T + (h @ u.T if recurrent else 0)
        h = f(z + (rnn.bias_ih_l0 if b_ih else 0) + (rnn.bias_hh_l0 if b_hh else 0))
        outputs.append(h)
    return torch.stack(outputs, time)


def _writes_the_state(rnn, x):
    """One state, changed in place: all outputs are the last one."""
    with torch.no_grad():
        h, outputs = torch.zeros(len(x), rnn.hidden_size), []
        for t in range(x.shape[1]):
            h.copy_(torch.tanh(x[:, t] @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + h @ rnn.weight_hh_l0.T + rnn.bias_hh_l0))
            outputs.append(h)
        return torch.stack(outputs, 1)


def _with_the_start(rnn, x):
    """The state before each step instead of the one after it."""
    out = rnn_outputs(rnn, x)
    return torch.cat((torch.zeros_like(out[:, :1]), out[:, :-1]), 1)


def _train(rnn, head, opt, xs, ys, k, cut=torch.Tensor.detach, retain=False, zero=True, step=True, loss_fn=F.mse_loss):
    losses, h = [], None
    for s in range(0, xs.shape[1], k):
        out, h = rnn(xs[:, s : s + k], h)
        h = cut(h)
        loss = loss_fn(head(out), ys[:, s : s + k])
        if zero:
            opt.zero_grad()
        loss.backward(retain_graph=retain)
        if step:
            opt.step()
        losses.append(loss.item())
    return losses


def _number_of_chunks(rnn, head, opt, xs, ys, k):
    return train_chunks(rnn, head, opt, xs, ys, xs.shape[1] // k)


def _along_the_batch(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for s in range(0, len(xs), k):
        out, h = rnn(xs[s : s + k], h)
        h = h.detach()
        loss = F.mse_loss(head(out), ys[s : s + k])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _tensors(rnn, head, opt, xs, ys, k):
    return [torch.tensor(v) for v in train_chunks(rnn, head, opt, xs, ys, k)]


def _mean_of_all(rnn, head, opt, xs, ys, k):
    losses = train_chunks(rnn, head, opt, xs, ys, k)
    return sum(losses) / len(losses)


def _one_step_at_the_end(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    opt.zero_grad()
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = F.mse_loss(head(out), y)
        loss.backward()
        losses.append(loss.item())
    opt.step()
    return losses


def _frozen_rnn(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        with torch.no_grad():
            out, h = rnn(x, h)
        loss = F.mse_loss(head(out), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _cut_at_each_step(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        outs = []
        for step in x.split(1, 1):
            out, h = rnn(step, h)
            h = h.detach()
            outs.append(out)
        loss = F.mse_loss(head(torch.cat(outs, 1)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _loss_after_the_step(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        before = h
        out, h = rnn(x, before)
        h = h.detach()
        opt.zero_grad()
        F.mse_loss(head(out), y).backward()
        opt.step()
        losses.append(F.mse_loss(head(rnn(x, before)[0]), y).item())
    return losses


def _own_optimizer(rnn, head, opt, xs, ys, k):
    mine = torch.optim.SGD([*rnn.parameters(), *head.parameters()], lr=0.01)
    return train_chunks(rnn, head, mine, xs, ys, k)


def _step_before_backward(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = F.mse_loss(head(out), y)
        opt.step()
        opt.zero_grad()
        try:
            loss.backward()
        except RuntimeError:
            pass
        losses.append(loss.item())
    return losses


def _only_the_last_output(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = F.mse_loss(head(out[:, -1]), y[:, -1])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _normalised(rnn, head, opt, xs, ys, k):
    ys -= ys.mean()
    return train_chunks(rnn, head, opt, xs, ys, k)


def _of_data(lstm, x):
    return sentence_vector(lstm, x.data)


def _backward_half_cut(lstm, x):
    h_n = lstm(x)[1][0]
    return torch.cat((h_n[-2], h_n[-1].detach()), dim=1) if lstm.bidirectional else h_n[-1]


def _left_training(lstm, x):
    return sentence_vector(lstm.train(), x)


def _tanh_by_hand(z):
    return (z.exp() - (-z).exp()) / (z.exp() + (-z).exp())


def _own_step(rnn, head, opt, xs, ys, k):
    """Does itself what a plain SGD would do."""
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        opt.zero_grad()
        loss = F.mse_loss(head(out), y)
        loss.backward()
        with torch.no_grad():
            for group in opt.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad
        losses.append(loss.item())
    return losses


def _clips(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        opt.zero_grad()
        loss = F.mse_loss(head(out), y)
        loss.backward()
        nn.utils.clip_grad_norm_([*rnn.parameters(), *head.parameters()], 5.0)
        opt.step()
        losses.append(loss.item())
    return losses


def _no_pair_in_chunks(rnn, head, opt, xs, ys, k):
    losses = []
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        loss = F.mse_loss(head(rnn(x)), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def _without_a_graph(rnn, x):
    return rnn_outputs(rnn, x)


def _weights_by_data(rnn, x):
    h, outputs = torch.zeros(len(x), rnn.hidden_size), []
    w, u = rnn.weight_ih_l0.data, rnn.weight_hh_l0.data
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ w.T + rnn.bias_ih_l0.data + h @ u.T + rnn.bias_hh_l0.data)
        outputs.append(h)
    return torch.stack(outputs, 1)


def _cut_in_the_loop(rnn, x):
    h, outputs = torch.zeros(len(x), rnn.hidden_size), []
    for step in x.unbind(1):
        state = F.linear(h.detach(), rnn.weight_hh_l0, rnn.bias_hh_l0)
        h = torch.tanh(F.linear(step, rnn.weight_ih_l0, rnn.bias_ih_l0) + state)
        outputs.append(h)
    return torch.stack(outputs, 1)


_ONE = "test_the_last_state_of_one_direction_is_the_last_output"
_BOTH = "test_the_backward_reader_ends_at_step_0"
_LOOP = "test_an_rnn_is_one_formula_in_a_loop"
_STATE = "test_a_chunk_takes_over_the_state_but_not_the_graph"
_MOVES = "test_each_chunk_moves_the_weights_by_its_own_gradient"

MISTAKES = [
    Mistake("the outputs hang on no graph", caught_by=_LOOP, rnn_outputs=_without_a_graph),
    Mistake("no gradient reaches weight_ih_l0", caught_by=_LOOP, rnn_outputs=_weights_by_data),
    Mistake("the gradient of weight_ih_l0", caught_by=_LOOP, rnn_outputs=_cut_in_the_loop),
    Mistake("the last output of the last layer", caught_by=_ONE, sentence_vector=_first_layer_of_one_direction),
    Mistake("the last output of the last layer", caught_by=_ONE, sentence_vector=_time_first),
    Mistake("sentence_vector raised, for layers=1, one direction", caught_by=_ONE, sentence_vector=_always_two),
    Mistake("this is the cell state c", caught_by=_ONE, sentence_vector=_cell_state),
    Mistake("sentence_vector returns a tensor", caught_by=_ONE, sentence_vector=lambda lstm, x: lstm(x)[1]),
    Mistake("lstm and x stay as they are", caught_by=_ONE, sentence_vector=_in_eval),
    Mistake("the vector hangs on no graph", caught_by=_ONE, sentence_vector=_detached),
    Mistake("the backward half never saw step 0", caught_by=_BOTH, sentence_vector=lambda lstm, x: lstm(x)[0][:, -1]),
    Mistake("rows mix samples", caught_by=_BOTH, sentence_vector=_view),
    Mistake("rows mix samples", caught_by=_BOTH, sentence_vector=_view_all),
    Mistake("the two halves are swapped", caught_by=_BOTH, sentence_vector=_swapped),
    Mistake("the last layer's two readers at their ends", caught_by=_BOTH, sentence_vector=_first_layer),
    Mistake("the last layer's two readers at their ends", caught_by=_BOTH, sentence_vector=_only_the_last),
    Mistake("the last layer's two readers at their ends", caught_by=_BOTH, sentence_vector=_one_below_the_other),
    Mistake("the last layer's two readers at their ends", caught_by=_BOTH, sentence_vector=_added),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, b_hh=False)),
    Mistake("no state is carried", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, recurrent=False)),
    Mistake("you took the batch for the time", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, time=0)),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, f=torch.sigmoid)),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, transposed=True)),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=_writes_the_state),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=_with_the_start),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=lambda r, x: rnn_outputs(r, x)[:, -1]),
    Mistake(
        "still hangs on its graph, which its backward has freed",
        caught_by=_STATE,
        train_chunks=lambda *a: _train(*a, cut=torch.clone),
    ),
    Mistake(
        "the step has changed its weights since",
        caught_by=_STATE,
        train_chunks=lambda *a: _train(*a, cut=torch.clone, retain=True),
    ),
    Mistake(
        "each chunk begins with the state 0",
        caught_by=_STATE,
        train_chunks=lambda *a: _train(*a, cut=torch.zeros_like),
    ),
    Mistake(
        "these are sums of squares",
        caught_by=_STATE,
        train_chunks=lambda *a: _train(*a, loss_fn=lambda p, y: F.mse_loss(p, y, reduction="sum")),
    ),
    Mistake("number of losses: 12, of chunks: 1", caught_by=_STATE, train_chunks=_number_of_chunks),
    Mistake("number of losses: 1, of chunks: 3", caught_by=_STATE, train_chunks=_along_the_batch),
    Mistake("are of type Tensor, not float", caught_by=_STATE, train_chunks=_tensors),
    Mistake("a list of losses, got float", caught_by=_STATE, train_chunks=_mean_of_all),
    Mistake("the losses are those of one run over all steps", caught_by=_STATE, train_chunks=_only_the_last_output),
    Mistake("xs and ys stay as they are", caught_by=_STATE, train_chunks=_normalised),
    Mistake(
        "the weights after one step for each chunk of 2",
        caught_by=_MOVES,
        train_chunks=lambda *a: _train(*a, zero=False),
    ),
    Mistake("the losses of 4 steps in chunks of 2", caught_by=_MOVES, train_chunks=_one_step_at_the_end),
    Mistake("the head was not trained", caught_by=_MOVES, train_chunks=lambda *a: _train(*a, step=False)),
    Mistake("the head was not trained", caught_by=_MOVES, train_chunks=_step_before_backward),
    Mistake("the rnn was not trained", caught_by=_MOVES, train_chunks=_frozen_rnn),
    Mistake("the weights after one step for each chunk of 4", caught_by=_MOVES, train_chunks=_cut_at_each_step),
    Mistake("the losses of 4 steps in chunks of 4", caught_by=_MOVES, train_chunks=_loss_after_the_step),
    Mistake("no gradient flows from the vector to x", caught_by=_ONE, sentence_vector=_of_data),
    Mistake("the gradient of x; layers=1", caught_by=_BOTH, sentence_vector=_backward_half_cut),
    Mistake("lstm and x stay as they are", caught_by=_ONE, sentence_vector=_left_training),
    Mistake("the outputs for x of shape", caught_by=_LOOP, rnn_outputs=lambda r, x: _loop(r, x, f=_tanh_by_hand)),
    Mistake("opt.step() ran 0 times", caught_by=_MOVES, train_chunks=_own_step),
    Mistake("the losses of 4 steps in chunks of 2", caught_by=_MOVES, train_chunks=_clips),
    Mistake("train_chunks raised: RNN, 12 steps", caught_by=_STATE, train_chunks=_no_pair_in_chunks),
    Mistake("a weight moved with lr=0", caught_by=_STATE, train_chunks=_own_optimizer),
]
