"""Answers that people give to rnn_states, right ones and wrong ones."""

import torch
from torch import nn

from dojo import Mistake


def _from_the_outputs(lstm, x):
    out = lstm(x)[0]
    if not lstm.bidirectional:
        return out[:, -1]
    h = out.size(-1) // 2
    return torch.cat([out[:, -1, :h], out[:, 0, h:]], dim=1)


def _by_view(lstm, x):
    h = lstm(x)[1][0]
    d = 2 if lstm.bidirectional else 1
    return h.view(lstm.num_layers, d, x.size(0), lstm.hidden_size)[-1].transpose(0, 1).reshape(x.size(0), -1)


def _hstack(lstm, x):
    _, state = lstm(x)
    return torch.hstack(list(state[0][-(1 + lstm.bidirectional) :]))


def _the_module(rnn, x):
    return rnn(x)[0]


def _cell(rnn, x):
    h, out = torch.zeros(len(x), rnn.hidden_size), []
    for t in range(x.shape[1]):
        h = torch.rnn_tanh_cell(x[:, t], h, rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
        out.append(h.unsqueeze(1))
    return torch.cat(out, 1)


def _written(rnn, x):
    b, t, _ = x.shape
    out = torch.empty(b, t, rnn.hidden_size)
    h = torch.zeros(b, rnn.hidden_size)
    into = x @ rnn.weight_ih_l0.t() + rnn.bias_ih_l0 + rnn.bias_hh_l0
    for i in range(t):
        h = (into[:, i] + h @ rnn.weight_hh_l0.t()).tanh()
        out[:, i] = h
    return out


def _indices(rnn, head, opt, xs, ys, k):
    criterion, losses = nn.MSELoss(), []
    h = torch.zeros(1, xs.size(0), rnn.hidden_size)
    for start in range(0, xs.size(1), k):
        opt.zero_grad()
        out, h = rnn(xs[:, start : start + k], h.detach())
        loss = criterion(head(out), ys[:, start : start + k])
        loss.backward()
        opt.step()
        losses.append(float(loss.detach()))
    return losses


def _no_grad_state(rnn, head, opt, xs, ys, k):
    """The state of the next chunk, in place out of its graph."""
    losses, h = [], None
    for i in range(xs.shape[1] // k):
        part = slice(i * k, (i + 1) * k)
        rnn.zero_grad()
        head.zero_grad()
        out, h = rnn(xs[:, part]) if h is None else rnn(xs[:, part], h)
        loss = (head(out) - ys[:, part]).square().mean()
        loss.backward()
        opt.step()
        h.detach_()
        losses.append(loss.item())
    return losses


def _data(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        opt.zero_grad(set_to_none=False)
        out, h = rnn(x, h)
        h = h.data
        loss = torch.mean((y - head(out)) ** 2)
        loss.backward(retain_graph=True)
        opt.step()
        losses += [loss.item()]
    return losses


def _explicit_zeros(lstm, x):
    """As tutorials of 2017: the initial state is made by hand."""
    directions = 2 if lstm.bidirectional else 1
    h0 = torch.zeros(lstm.num_layers * directions, x.size(0), lstm.hidden_size)
    out, (hn, cn) = lstm(x, (h0, torch.zeros_like(h0)))
    if directions == 1:
        return hn[lstm.num_layers - 1]
    return torch.cat((hn[2 * lstm.num_layers - 2, :, :], hn[2 * lstm.num_layers - 1, :, :]), 1)


def _sample_by_sample(rnn, x):
    rows = []
    for sequence in x:
        h = torch.zeros(rnn.hidden_size)
        states = []
        for step in sequence:
            h = torch.tanh(rnn.weight_ih_l0 @ step + rnn.bias_ih_l0 + rnn.weight_hh_l0 @ h + rnn.bias_hh_l0)
            states.append(h)
        rows.append(torch.stack(states))
    return torch.stack(rows)


def _with_train_and_flat(rnn, head, opt, xs, ys, k):
    rnn.train()
    head.train()
    mse, losses = nn.MSELoss(), []
    state = torch.zeros(1, len(xs), rnn.hidden_size)
    for i in range(0, xs.shape[1], k):
        state = state.detach().clone()
        x, y = xs[:, i : i + k].contiguous(), ys[:, i : i + k].contiguous()
        out, state = rnn(x, state)
        predicted = head(out.reshape(-1, rnn.hidden_size))
        loss = mse(predicted, y.view(-1, y.shape[-1]))
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(float(loss.detach().numpy()))
    return losses


RIGHT = [
    dict(sentence_vector=_explicit_zeros, rnn_outputs=_sample_by_sample, train_chunks=_with_train_and_flat),
    dict(sentence_vector=_from_the_outputs, rnn_outputs=_the_module, train_chunks=_indices),
    dict(sentence_vector=_by_view, rnn_outputs=_cell, train_chunks=_no_grad_state),
    dict(sentence_vector=_hstack, rnn_outputs=_written, train_chunks=_data),
]


def _last_output_of_both(lstm, x):
    out, _ = lstm(x)
    return out[:, x.shape[1] - 1, :].contiguous()


def _first_and_last(lstm, x):
    h = lstm(x)[1][0]
    return torch.cat([h[0], h[-1]], 1) if lstm.bidirectional else h[-1]


def _mean_of_directions(lstm, x):
    h = lstm(x)[1][0]
    return (h[-1] + h[-2]) / 2 if lstm.bidirectional else h[-1]


def _reshaped(lstm, x):
    h = lstm(x)[1][0]
    return h.view(lstm.num_layers, -1, x.size(0), lstm.hidden_size)[-1].reshape(x.size(0), -1)


def _backward_first(lstm, x):
    out = lstm(x)[0]
    h = lstm.hidden_size
    return torch.cat([out[:, 0, h:], out[:, -1, :h]], 1) if lstm.bidirectional else out[:, -1]


def _flattened(lstm, x):
    return lstm(x)[1][0].permute(1, 0, 2).flatten(1)


def _mean_over_time(lstm, x):
    return lstm(x)[0].mean(dim=1)


def _stacked_directions(lstm, x):
    h = lstm(x)[1][0]
    return torch.stack([h[-2], h[-1]], 1) if lstm.bidirectional else h[-1]


def _cells(lstm, x):
    c = lstm(x)[1][1]
    return c[-2:].transpose(0, 1).flatten(1) if lstm.bidirectional else c[-1]


def _in_data(lstm, x):
    return _by_view(lstm, x).data


def _one_bias(rnn, x):
    out, h = [], torch.zeros(x.shape[0], rnn.hidden_size)
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ rnn.weight_ih_l0.T + h @ rnn.weight_hh_l0.T + rnn.bias_ih_l0)
        out.append(h)
    return torch.stack(out, 1)


def _stacked_along_0(rnn, x):
    return torch.stack(list(_written(rnn, x).unbind(1)))


def _a_copy_of_the_weights(rnn, x):
    cell = nn.RNNCell(rnn.input_size, rnn.hidden_size)
    cell.load_state_dict({name.removesuffix("_l0"): p for name, p in rnn.named_parameters()})
    h, out = None, []
    for t in range(x.shape[1]):
        h = cell(x[:, t], h)
        out.append(h.unsqueeze(1))
    return torch.cat(out, 1)


def _numbers_in_a_list(rnn, x):
    return torch.tensor(_written(rnn, x).tolist())


def _all_steps_at_once(rnn, x):
    h = torch.zeros(x.shape[0], 1, rnn.hidden_size)
    return torch.tanh(x @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + h @ rnn.weight_hh_l0.T + rnn.bias_hh_l0)


def _backwards(rnn, x):
    return _written(rnn, x.flip(1)).flip(1)


def _without_tanh(rnn, x):
    return torch.atanh(_written(rnn, x).clamp(-0.999, 0.999))


def _carries(rnn, head, opt, xs, ys, k, retain=False, reset=False, tensors=False, zero=True, steps=1):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, None if reset else h)
        if reset:
            h = h.detach()
        loss = nn.MSELoss()(head(out), y)
        if zero:
            opt.zero_grad()
        loss.backward(retain_graph=retain)
        for _ in range(steps):
            opt.step()
        losses.append(loss.detach() if tensors else loss.item())
    return losses


def _detached_outputs(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        opt.zero_grad()
        out, h = rnn(x, h)
        out, h = out.detach(), h.detach()
        loss = nn.MSELoss()(head(out), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _all_at_once(rnn, head, opt, xs, ys, k):
    """One graph over all chunks, one step."""
    out, _ = rnn(xs)
    losses = [nn.functional.mse_loss(p, y) for p, y in zip(head(out).split(k, 1), ys.split(k, 1))]
    opt.zero_grad()
    sum(losses).backward()
    opt.step()
    return [loss.item() for loss in losses]


def _accumulates(rnn, head, opt, xs, ys, k):
    opt.zero_grad()
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = nn.MSELoss()(head(out), y)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _no_step(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = nn.MSELoss()(head(out), y)
        opt.zero_grad()
        loss.backward()
        losses.append(loss.item())
    return losses


def _sliding(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for s in range(xs.shape[1] - k + 1):
        out, h = rnn(xs[:, s : s + k], h)
        h = h.detach()
        loss = nn.MSELoss()(head(out), ys[:, s : s + k])
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _summed(rnn, head, opt, xs, ys, k):
    losses, h = [], None
    for x, y in zip(xs.split(k, 1), ys.split(k, 1)):
        out, h = rnn(x, h)
        h = h.detach()
        loss = ((head(out) - y) ** 2).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def _detached_input(lstm, x):
    x = x.detach()
    return _by_view(lstm, x)


WRONG = [
    Mistake("no gradient reaches weight_ih_l0", caught_by="", rnn_outputs=_a_copy_of_the_weights),
    Mistake("the outputs hang on no graph", caught_by="", rnn_outputs=_numbers_in_a_list),
    Mistake("no gradient flows from the vector to x", caught_by="", sentence_vector=_detached_input),
    Mistake("the backward half never saw step 0", caught_by="", sentence_vector=_last_output_of_both),
    Mistake("the last layer's two readers at their ends", caught_by="", sentence_vector=_first_and_last),
    Mistake("the last layer's two readers at their ends", caught_by="", sentence_vector=_mean_of_directions),
    Mistake("the last layer's two readers at their ends", caught_by="", sentence_vector=_stacked_directions),
    Mistake("rows mix samples", caught_by="", sentence_vector=_reshaped),
    Mistake("the two halves are swapped", caught_by="", sentence_vector=_backward_first),
    Mistake("the last output of the last layer", caught_by="", sentence_vector=_flattened),
    Mistake("the last output of the last layer", caught_by="", sentence_vector=_mean_over_time),
    Mistake("this is the cell state c", caught_by="", sentence_vector=_cells),
    Mistake("the vector hangs on no graph", caught_by="", sentence_vector=_in_data),
    Mistake("the outputs for x of shape", caught_by="", rnn_outputs=_one_bias),
    Mistake("the outputs for x of shape", caught_by="", rnn_outputs=_stacked_along_0),
    Mistake("no state is carried", caught_by="", rnn_outputs=_all_steps_at_once),
    Mistake("the outputs for x of shape", caught_by="", rnn_outputs=_backwards),
    Mistake("the outputs for x of shape", caught_by="", rnn_outputs=_without_tanh),
    Mistake("still hangs on its graph, which its backward has freed", caught_by="", train_chunks=_carries),
    Mistake("the step has changed its weights since", caught_by="", train_chunks=lambda *a: _carries(*a, retain=True)),
    Mistake("each chunk begins with the state 0", caught_by="", train_chunks=lambda *a: _carries(*a, reset=True)),
    Mistake("the rnn was not trained", caught_by="", train_chunks=_detached_outputs),
    Mistake("the losses of 4 steps in chunks of 2", caught_by="", train_chunks=_all_at_once),
    Mistake("the weights after one step for each chunk of 2", caught_by="", train_chunks=_accumulates),
    Mistake("the head was not trained", caught_by="", train_chunks=_no_step),
    Mistake("these are sums of squares", caught_by="", train_chunks=_summed),
]
