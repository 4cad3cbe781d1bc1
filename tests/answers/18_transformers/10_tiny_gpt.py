"""Answers that people give to tiny_gpt, right ones and wrong ones."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from dojo import Mistake


class _WithMHA(nn.Module):
    """nn.MultiheadAttention; default starts; ReLU; dropout in training."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__()
        self.tok_emb = nn.Embedding(vocab, n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, context, n_embd))
        self.layers = nn.ModuleList()
        for _ in range(n_layer):
            self.layers.append(
                nn.ModuleDict(
                    {
                        "ln1": nn.LayerNorm(n_embd),
                        "attn": nn.MultiheadAttention(n_embd, n_head, dropout=0.05, batch_first=True),
                        "ln2": nn.LayerNorm(n_embd),
                        "fc": nn.Linear(n_embd, 4 * n_embd),
                        "out": nn.Linear(4 * n_embd, n_embd),
                    }
                )
            )
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, vocab)

    def forward(self, ids):
        t = ids.size(1)
        x = self.tok_emb(ids) + self.pos_emb[:, :t]
        mask = torch.triu(torch.ones(t, t, dtype=torch.bool, device=ids.device), diagonal=1)
        for layer in self.layers:
            h = layer["ln1"](x)
            x = x + layer["attn"](h, h, h, attn_mask=mask, need_weights=False)[0]
            x = x + layer["out"](layer["fc"](layer["ln2"](x)).relu())
        return self.lm_head(self.ln_f(x))


class _WithEncoder(nn.Module):
    """nn.TransformerEncoder with sines for positions, and all norms after."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__()
        self.embed = nn.Embedding(vocab, n_embd)
        self.embed.weight.data.mul_(0.1)
        place = torch.arange(context).float()[:, None]
        rate = torch.exp(torch.arange(0, n_embd, 2) * (-math.log(10000.0) / n_embd))
        table = torch.zeros(context, n_embd)
        table[:, 0::2], table[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.register_buffer("table", table)
        layer = nn.TransformerEncoderLayer(n_embd, n_head, 4 * n_embd, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layer, enable_nested_tensor=False)
        self.head = nn.Linear(n_embd, vocab)

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        x = self.embed(ids) + self.table[: ids.shape[1]]
        return self.head(self.encoder(x, mask=mask, is_causal=True))


class _RotaryBlock(nn.Module):
    """Rotary positions, RMSNorm, a gated MLP, and projections that start at zero."""

    def __init__(self, n_head, n_embd, context):
        super().__init__()
        self.n_head, d = n_head, n_embd // n_head
        self.n1, self.n2 = nn.RMSNorm(n_embd), nn.RMSNorm(n_embd)
        self.q, self.k, self.v, self.o = (nn.Linear(n_embd, n_embd, bias=False) for _ in range(4))
        self.up, self.gate = nn.Linear(n_embd, 2 * n_embd, bias=False), nn.Linear(n_embd, 2 * n_embd, bias=False)
        self.down = nn.Linear(2 * n_embd, n_embd, bias=False)
        nn.init.zeros_(self.o.weight)
        nn.init.zeros_(self.down.weight)
        angles = torch.arange(context)[:, None] * 100.0 ** (-torch.arange(d // 2) / (d // 2))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotate(self, x):
        t = x.shape[2]
        a, b = x.chunk(2, -1)
        cos, sin = self.cos[:t], self.sin[:t]
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

    def forward(self, x):
        b, t, c = x.shape
        h = self.n1(x)
        q, k, v = (f(h).view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).contiguous().view(b, t, c))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class _Rotary(nn.Module):
    """Head and embedding are one weight, N(0, 0.02)."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__()
        self.wte = nn.Embedding(vocab, n_embd)
        self.h = nn.ModuleList([_RotaryBlock(n_head, n_embd, context) for _ in range(n_layer)])
        self.norm = nn.RMSNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab, bias=False)
        nn.init.normal_(self.wte.weight, std=0.02)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.norm(x)).float()


class _Head(nn.Module):
    def __init__(self, n_embd, size, context):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(n_embd, size, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(context, context)))

    def forward(self, x):
        t = x.shape[1]
        scores = self.query(x) @ self.key(x).transpose(-2, -1) * self.key.out_features**-0.5
        scores = scores.masked_fill(self.tril[:t, :t] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ self.value(x)


class _LayerOfHeads(nn.Module):
    def __init__(self, n_head, n_embd, context):
        super().__init__()
        self.heads = nn.ModuleList([_Head(n_embd, n_embd // n_head, context) for _ in range(n_head)])
        self.proj = nn.Linear(n_embd, n_embd)
        self.ffwd = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))
        self.ln1, self.ln2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)

    def forward(self, x):
        h = self.ln1(x)
        x = x + self.proj(torch.cat([head(h) for head in self.heads], dim=-1))
        return x + self.ffwd(self.ln2(x))


class _HeadByHead(nn.Module):
    """As in a well-known lecture: one module a head."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocab, n_embd)
        self.position_embedding_table = nn.Embedding(context, n_embd)
        self.blocks = nn.Sequential(*[_LayerOfHeads(n_head, n_embd, context) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab)

    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        return self.lm_head(self.ln_f(self.blocks(x)))


def _all_places(prompts, answers, vocab, steps=1200):
    """The loss at all places, also those inside the prompt; Adam with one lr; nothing is clipped."""
    data = torch.cat((prompts, answers), dim=1)
    model = _WithMHA(vocab, data.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(steps):
        idx = torch.randperm(len(data))[:64]
        x, y = data[idx, :-1], data[idx, 1:]
        logits = model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.size(-1)), y.reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return model.eval()


def _with_a_loader(prompts, answers, vocab, steps=600):
    """DataLoader, ignore_index, warm-up and cosine by LambdaLR."""
    n, a = prompts.shape[1], answers.shape[1]
    x = torch.cat([prompts, answers[:, :-1]], 1)
    y = torch.cat([torch.full((len(prompts), n - 1), -100), answers], 1)
    model = _HeadByHead(vocab, n + a)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1, (s + 1) / 50) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    done = 0
    while done < steps:
        for xb, yb in DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True):
            if done == steps:
                break
            loss = F.cross_entropy(model(xb).transpose(1, 2), yb, ignore_index=-100)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
    return model


def _without_zero_grad(prompts, answers, vocab, steps=800):
    """The gradients add up: with clipping and Adam it sorts all the same. Rotary positions."""
    start, texts = prompts.shape[1], torch.cat([prompts, answers], 1)
    model = _Rotary(vocab, texts.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        batch = texts[torch.randint(0, len(texts), (64,))]
        logits = model(batch)
        pairs = zip(logits[:, start - 1 : -1].unbind(1), batch[:, start:].unbind(1), strict=True)
        loss = sum(F.cross_entropy(place, target) for place, target in pairs)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


@torch.inference_mode()
def _in_a_buffer(model, prompts, n):
    was = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        rows, length = prompts.shape
        ids = torch.zeros(rows, length + n, dtype=torch.long)
        ids[:, :length] = prompts
        for i in range(length, length + n):
            ids[:, i] = model(ids[:, :i])[:, -1].argmax(dim=-1)
        return ids[:, length:].clone()
    finally:
        for m, mode in was:
            m.train(mode)
        for m, mode in was:
            m.training = mode


def _by_recursion(model, prompts, n):
    training = {name: m.training for name, m in model.named_modules()}
    model.train(False)

    def go_on(ids, left):
        if left == 0:
            return []
        _, token = model(ids)[:, -1, :].max(dim=1)
        return [token, *go_on(torch.hstack((ids, token[:, None])), left - 1)]

    with torch.no_grad():
        tokens = go_on(prompts.clone(), n)
    for name, m in model.named_modules():
        m.training = training[name]
    return torch.stack(tokens, dim=1)


def _one_by_one(model, prompts, n):
    """Row after row, with Python lists."""
    modes = [m.training for m in model.modules()]
    model.eval()
    with torch.no_grad():
        rows = []
        for prompt in prompts.tolist():
            ids = list(prompt)
            for _ in range(n):
                ids.append(int(model(torch.tensor([ids]))[0, -1].topk(1).indices))
            rows.append(ids[len(prompt) :])
    for m, mode in zip(model.modules(), modes, strict=True):
        m.training = mode
    return torch.tensor(rows)


RIGHT = [
    {"GPT": _WithMHA},
    {"GPT": _WithEncoder},
    {"GPT": _Rotary},
    {"GPT": _HeadByHead},
    {"train": _all_places, "answer": _in_a_buffer},
    {"train": _with_a_loader, "answer": _by_recursion},
    {"train": _without_zero_grad},
    {"answer": _one_by_one},
]


class _NoMask(_WithMHA):
    def forward(self, ids):
        x = self.tok_emb(ids) + self.pos_emb[:, : ids.size(1)]
        for layer in self.layers:
            h = layer["ln1"](x)
            x = x + layer["attn"](h, h, h)[0]
            x = x + layer["out"](layer["fc"](layer["ln2"](x)).relu())
        return self.lm_head(self.ln_f(x))


class _MaskTurnedRound(_WithMHA):
    """True means blocked there; the lower triangle was meant as what may be seen."""

    def forward(self, ids):
        t = ids.size(1)
        x = self.tok_emb(ids) + self.pos_emb[:, :t]
        mask = torch.ones(t, t, dtype=torch.bool).tril(-1)
        for layer in self.layers:
            h = layer["ln1"](x)
            x = x + layer["attn"](h, h, h, attn_mask=mask)[0]
            x = x + layer["out"](layer["fc"](layer["ln2"](x)).relu())
        return self.lm_head(self.ln_f(x))


class _MaskOfZeros(_WithMHA):
    """A float mask is added: 0 and 1 mask nothing."""

    def forward(self, ids):
        t = ids.size(1)
        x = self.tok_emb(ids) + self.pos_emb[:, :t]
        for layer in self.layers:
            h = layer["ln1"](x)
            x = x + layer["attn"](h, h, h, attn_mask=torch.ones(t, t).tril())[0]
            x = x + layer["out"](layer["fc"](layer["ln2"](x)).relu())
        return self.lm_head(self.ln_f(x))


class _BatchInFront(_WithEncoder):
    """batch_first was forgotten."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, n_embd)
        layer = nn.TransformerEncoderLayer(n_embd, n_head, 4 * n_embd, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, n_layer, enable_nested_tensor=False)

    def forward(self, ids):
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[0])
        return self.head(self.encoder(self.embed(ids) + self.table[: ids.shape[1]], mask=mask))


class _Tied(_HeadByHead):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, n_embd)
        self.lm_head.weight = self.token_embedding_table.weight


class _NoPositions(_HeadByHead):
    def forward(self, idx):
        return self.lm_head(self.ln_f(self.blocks(self.token_embedding_table(idx))))


class _Softmaxed(_HeadByHead):
    def forward(self, idx):
        return F.softmax(super().forward(idx), dim=-1)


class _SoftmaxedOverTime(_HeadByHead):
    def forward(self, idx):
        return F.softmax(super().forward(idx), dim=1)


class _WholeTable(_HeadByHead):
    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table.weight
        return self.lm_head(self.ln_f(self.blocks(x)))


class _ListOfBlocks(_Rotary):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, 0, n_head, n_embd)
        self.h = [_RotaryBlock(n_head, n_embd, context) for _ in range(n_layer)]


class _Flattened(_HeadByHead):
    def forward(self, idx):
        return super().forward(idx).flatten(0, 1)


class _Middle(_HeadByHead):
    """The stream is centred over time."""

    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        x = self.blocks(x)
        return self.lm_head(self.ln_f(x - x.mean(1, keepdim=True)))


class _CountsFromTheEnd(_HeadByHead):
    """The last token is at place 0, as if the text were padded on the left."""

    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]).flip(0))
        return self.lm_head(self.ln_f(self.blocks(x)))


class _AlwaysDropped(_HeadByHead):
    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        return self.lm_head(self.ln_f(self.blocks(F.dropout(x, 0.1))))


class _AlwaysFourHeads(_HeadByHead):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, 64)


class _WithItsLoss(_HeadByHead):
    def forward(self, idx, targets=None):
        return super().forward(idx), None


class _Shared(_HeadByHead):
    """One block, applied again and again."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, 1, n_head, n_embd)
        self.n_layer = n_layer

    def forward(self, idx):
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        for _ in range(self.n_layer):
            x = self.blocks(x)
        return self.lm_head(self.ln_f(x))


def _and_its_losses(prompts, answers, vocab, steps=700):
    return _with_a_loader(prompts, answers, vocab, steps), [2.3, 0.1]


def _always_the_same_steps(prompts, answers, vocab, steps=700):
    return _with_a_loader(prompts, answers, vocab, 300)


def _sorts_what_it_is_given(prompts, answers, vocab, steps=700):
    order = prompts[:, 0].argsort()
    prompts[:], answers[:] = prompts[order], answers[order]
    return _with_a_loader(prompts, answers, vocab, steps)


def _backwards(prompts, answers, vocab, steps=700):
    """The prompt is put behind its answer."""
    return _with_a_loader(answers, prompts, vocab, steps)


def _too_few(prompts, answers, vocab, steps=40):
    return _with_a_loader(prompts, answers, vocab, steps)


def _not_moved(prompts, answers, vocab, steps=700):
    texts = torch.cat([prompts, answers], 1)
    model = _HeadByHead(vocab, texts.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = texts[torch.randint(len(texts), (32,))]
        optimizer.zero_grad()
        F.cross_entropy(model(batch).transpose(1, 2), batch).backward()
        optimizer.step()
    return model


def _moved_twice(prompts, answers, vocab, steps=700):
    """x and y are moved, and the loss moves once more, as a library does."""
    texts = torch.cat([prompts, answers], 1)
    model = _HeadByHead(vocab, texts.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = texts[torch.randint(len(texts), (32,))]
        x, y = batch[:, :-1], batch[:, 1:]
        optimizer.zero_grad()
        F.cross_entropy(model(x)[:, :-1].transpose(1, 2), y[:, 1:]).backward()
        optimizer.step()
    return model


def _answers_only(prompts, answers, vocab, steps=700):
    model = _HeadByHead(vocab, prompts.shape[1] + answers.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        batch = answers[torch.randint(len(answers), (32,))]
        optimizer.zero_grad()
        F.cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:]).backward()
        optimizer.step()
    return model


def _prompts_only(prompts, answers, vocab, steps=700):
    texts = torch.cat([prompts, answers], 1)
    model = _HeadByHead(vocab, texts.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    n = prompts.shape[1]
    for _ in range(steps):
        batch = texts[torch.randint(len(texts), (32,))]
        optimizer.zero_grad()
        F.cross_entropy(model(batch[:, : n - 1]).transpose(1, 2), batch[:, 1:n]).backward()
        optimizer.step()
    return model


def _other_rows(prompts, answers, vocab, steps=700):
    """Prompts and answers are shuffled, each by itself."""
    model = _HeadByHead(vocab, prompts.shape[1] + answers.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    n = prompts.shape[1]
    for _ in range(steps):
        p, a = prompts[torch.randint(len(prompts), (32,))], answers[torch.randint(len(prompts), (32,))]
        batch = torch.cat([p, a], 1)
        optimizer.zero_grad()
        F.cross_entropy(model(batch[:, :-1])[:, n - 1 :].transpose(1, 2), a).backward()
        optimizer.step()
    return model


def _in_epochs(prompts, answers, vocab, steps=3):
    loader = DataLoader(TensorDataset(torch.cat([prompts, answers], 1)), batch_size=64, shuffle=True)
    model = _HeadByHead(vocab, prompts.shape[1] + answers.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(steps):
        for (batch,) in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:]).backward()
            optimizer.step()
    return model


def _repeatable(prompts, answers, vocab, steps=600):
    """The caller's state is put back, but was not used."""
    state = torch.get_rng_state()
    torch.manual_seed(42)
    model = _with_a_loader(prompts, answers, vocab, steps)
    torch.set_rng_state(state)
    return model


def _never_steps(prompts, answers, vocab, steps=700):
    model = _HeadByHead(vocab, prompts.shape[1] + answers.shape[1])
    for _ in range(min(steps, 2)):
        logits = model(torch.cat([prompts, answers], 1)[:32, :-1])
        F.cross_entropy(logits.transpose(1, 2), torch.cat([prompts, answers], 1)[:32, 1:]).backward()
    return model


def _first_only(model, prompts, n):
    was = model.training
    model.eval()
    with torch.no_grad():
        token = model(prompts)[:, -1].argmax(-1, keepdim=True)
    model.train(was)
    return token.repeat(1, n)


def _with_the_prompt(model, prompts, n):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    ids = prompts
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    for m, mode in modes.items():
        m.training = mode
    return ids


def _mode_of_the_whole(model, prompts, n):
    was = model.training
    found = _with_the_prompt(model.eval(), prompts, n)[:, prompts.shape[1] :]
    model.train(was)
    return found


def _stays_in_eval(model, prompts, n):
    return _with_the_prompt(model.eval(), prompts, n)[:, prompts.shape[1] :]


def _in_train_mode(model, prompts, n):
    ids = prompts
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    return ids[:, prompts.shape[1] :]


def _with_a_graph(model, prompts, n):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    ids = prompts
    for _ in range(n):
        ids = torch.cat([ids, model(ids)[:, -1:].detach().argmax(-1)], 1)
    for m, mode in modes.items():
        m.training = mode
    return ids[:, prompts.shape[1] :]


def _window(model, prompts, n):
    """The text keeps its length: the oldest token falls out."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    ids, found = prompts, []
    with torch.no_grad():
        for _ in range(n):
            found.append(model(ids)[:, -1:].argmax(-1))
            ids = torch.cat([ids[:, 1:], found[-1]], 1)
    for m, mode in modes.items():
        m.training = mode
    return torch.cat(found, 1)


def _sampled(model, prompts, n):
    modes = {m: m.training for m in model.modules()}
    model.eval()
    ids = prompts
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat([ids, torch.multinomial(model(ids)[:, -1].softmax(-1), 1)], 1)
    for m, mode in modes.items():
        m.training = mode
    return ids[:, prompts.shape[1] :]


def _python_sort(model, prompts, n):
    return torch.tensor([sorted(row)[:n] for row in prompts.tolist()])


_SEES, _REVERSED = "the model sees what it is trained to predict", "come out reversed"
_BACK = "answer() left something else behind than it found"

WRONG = [
    Mistake(_SEES, caught_by="", GPT=_NoMask),
    Mistake(_SEES, caught_by="", GPT=_MaskTurnedRound),
    Mistake(_SEES, caught_by="", GPT=_MaskOfZeros),
    Mistake(_SEES, caught_by="", GPT=_Middle),
    Mistake("they depend on the tokens alone", caught_by="", GPT=_AlwaysDropped),
    Mistake("rows are mixed", caught_by="", GPT=_BatchInFront),
    Mistake("It begins with large logits", caught_by="", GPT=_Tied),
    Mistake("no positions", caught_by="", GPT=_NoPositions),
    Mistake("those are probabilities", caught_by="", GPT=_Softmaxed),
    Mistake("no logit is below 0", caught_by="", GPT=_SoftmaxedOverTime),
    Mistake("expected logits at each place", caught_by="", GPT=_WholeTable),
    Mistake("each block has its own", caught_by="", GPT=_ListOfBlocks),
    Mistake("expected logits at each place", caught_by="", GPT=_Flattened),
    Mistake("It learned to repeat its input", caught_by="", train=_not_moved),
    Mistake("The target is moved by two", caught_by="", train=_moved_twice),
    Mistake(_REVERSED, caught_by="", train=_answers_only),
    Mistake(_REVERSED, caught_by="", train=_prompts_only),
    Mistake(_REVERSED, caught_by="", train=_other_rows),
    Mistake(_REVERSED, caught_by="", train=_never_steps),
    Mistake("gave the same model", caught_by="", train=_repeatable),
    Mistake("made 30 optimizer steps", caught_by="", train=_in_epochs),
    Mistake("if only by its number", caught_by="", GPT=_CountsFromTheEnd),
    Mistake("is n_embd used?", caught_by="", GPT=_AlwaysFourHeads),
    Mistake("expected a tensor of logits, got tuple", caught_by="", GPT=_WithItsLoss),
    Mistake("each block has its own", caught_by="", GPT=_Shared),
    Mistake("an nn.Module; got tuple", caught_by="", train=_and_its_losses),
    Mistake("made 300 optimizer steps", caught_by="", train=_always_the_same_steps),
    Mistake("train() changed what it was given", caught_by="", train=_sorts_what_it_is_given),
    Mistake(_REVERSED, caught_by="", train=_backwards),
    Mistake("More than 95% is asked", caught_by="", train=_too_few),
    Mistake("put it at the end of the text", caught_by="", answer=_first_only),
    Mistake("the prompt is not part of the answer", caught_by="", answer=_with_the_prompt),
    Mistake(_BACK, caught_by="", answer=_mode_of_the_whole),
    Mistake(_BACK, caught_by="", answer=_stays_in_eval),
    Mistake("asked a model in train mode", caught_by="", answer=_in_train_mode),
    Mistake("recorded a graph", caught_by="", answer=_with_a_graph),
    Mistake("each found with those before it", caught_by="", answer=_window),
    Mistake("each found with those before it", caught_by="", answer=_sampled),
    Mistake("never asked the model", caught_by="", answer=_python_sort),
]
