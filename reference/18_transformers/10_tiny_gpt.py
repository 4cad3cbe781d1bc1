"""A tiny GPT sorts numbers that it has never seen: reference.

Hint: Begin with `answer`: what does it ask, how often, and what is the text then? Then the GPT, with a single layer;
    then train it to reverse words, which takes 2 s. Six digits come last.
Hint: `unflatten(-1, (n_head, -1)).transpose(1, 2)` makes heads, `transpose(1, 2).flatten(2)` merges them. `torch.cat`
    of prompt and answer along dimension 1 is the text.
Hint: With text[:, :-1] as input, place P-1 is the first whose target belongs to the answer. Cut the logits there, and
    give cross_entropy all these places of all texts as one long list. Let lr rise and fall to 0 within `steps`.

Why: a causal mask lets all places of all texts be trained at once, each as if it were the last one. It is also what
makes the loss honest: without it a model has a loss of 0 and can answer nothing. The norm before each part and the one
before the head keep the stream in size, so lr can be 3e-3; the cycle ends at 0, which is where the last percent comes
from. 100,000 numbers sort six digits, of which they saw 9,000 of a million examples: not by heart.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dojo import Mistake


class _Block(nn.Module):
    def __init__(self, n_head, n_embd):
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        heads = self.qkv(self.norm1(x)).unflatten(-1, (3, self.n_head, -1))  # (B, T, 3, H, D)
        q, k, v = heads.transpose(1, 3).unbind(2)  # (B, H, T, D) each
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocab: int, context: int, n_layer: int = 2, n_head: int = 4, n_embd: int = 64) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, n_embd), nn.Embedding(context, n_embd)
        self.blocks = nn.Sequential(*(_Block(n_head, n_embd) for _ in range(n_layer)))
        self.norm, self.head = nn.LayerNorm(n_embd), nn.Linear(n_embd, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.tokens(ids) + self.positions(places)
        return self.head(self.norm(self.blocks(x)))


def train(prompts: torch.Tensor, answers: torch.Tensor, vocab: int, steps: int = 800) -> nn.Module:
    texts, start = torch.cat([prompts, answers], dim=1), prompts.shape[1]
    model = GPT(vocab, texts.shape[1] - 1)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        batch = texts[torch.randint(len(texts), (24,))]
        logits = model(batch[:, :-1])[:, start - 1 :]
        loss = functional.cross_entropy(logits.flatten(0, 1), batch[:, start:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


def answer(model: nn.Module, prompts: torch.Tensor, n: int) -> torch.Tensor:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    text = prompts
    with torch.no_grad():
        for _ in range(n):
            best = model(text)[:, -1:].argmax(-1)
            text = torch.cat([text, best], dim=1)
    for module, training in modes.items():
        module.training = training
    return text[:, prompts.shape[1] :]


def picture(solution):
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from dojo.kit import pictures

    torch.manual_seed(0)
    prompts = torch.randint(10, (10_000, 6))
    place = 10 ** torch.arange(6)
    unseen = prompts[9000:][~torch.isin(prompts[9000:] @ place, prompts[:9000] @ place)][:400]
    answers, texts = unseen.sort(1).values, torch.cat([unseen, unseen.sort(1).values], 1)

    shots, made = [], [0]  # weights at every 25th step: all of them would be 300 MB

    def note(optimizer, args, kwargs):
        if made[0] % 25 == 0:
            shots.append((made[0], {p: p.detach().clone() for g in optimizer.param_groups for p in g["params"]}))
        made[0] += 1

    hook = register_optimizer_step_pre_hook(note)
    try:
        model = solution.train(prompts[:9000], prompts[:9000].sort(1).values, 10)
    finally:
        hook.remove()
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))

    def logits(texts):
        """At the six places where the model predicts a digit of the answer."""
        with torch.no_grad():
            return model(texts[:, :11].to(device))[:, 5:].cpu()

    def loss_and_right():
        found = logits(texts)
        loss = functional.cross_entropy(found.flatten(0, 1), answers.flatten()).item()
        return loss, 100 * (found.argmax(-1) == answers).all(1).double().mean().item()

    curve = [(made[0], *loss_and_right())]
    end = {p: p.detach().clone() for p in model.parameters()}
    for step, weights in shots:
        known = [p for p in end if p in weights]
        with torch.no_grad():
            for p in known:
                p.copy_(weights[p])
            if known:
                curve.insert(-1, (step, *loss_and_right()))
            for p in known:
                p.copy_(end[p])
    steps, losses, right = (list(column) for column in zip(*curve, strict=True))

    # How far the probabilities move where one digit becomes another: the prompt's digits by size, then the answer's.
    some = texts[[len(set(row)) == 6 for row in unseen.tolist()]][:60]
    rank, before = some[:, :6].argsort(1), logits(some).softmax(-1)
    moved = torch.zeros(6, 11)
    for column in range(11):
        at = rank[:, column : column + 1] if column < 6 else torch.full((len(some), 1), column)
        for more in (1, 4, 7):
            after = logits(some.scatter(1, at, (some.gather(1, at) + more) % 10)).softmax(-1)
            moved[:, column] += (after - before).abs().sum(-1).mean(0) / 2 / 3
    later = moved[:, 6:].triu().max().item()  # digit i of the answer is predicted before it is there
    own = int((moved[:, :6].argmax(1) == torch.arange(6)).sum())
    given = solution.answer(model, unseen[:3], 6).tolist()

    figure = pictures.figure(6, 5.8)
    top, low = figure.subfigures(2, 1, height_ratios=[1, 1.35])
    left, second = top.subplots(1, 2)
    left.plot(steps, losses, color=pictures.BLUE, marker="." if len(steps) < 3 else None)
    left.set(yscale="log")
    pictures.tidy(left, "optimizer steps", "loss")
    second.plot(steps, right, "--", color=pictures.ORANGE, marker="." if len(steps) < 3 else None)
    second.set(ylim=(-4, 104))
    pictures.tidy(second, "optimizer steps", f"% of {len(unseen)} unseen\nprompts sorted")
    axes = low.subplots()
    image = axes.imshow(moved.numpy(), cmap=pictures.RISING, vmin=0, vmax=1, aspect="auto")
    i, j = (moved < 1e-6).nonzero(as_tuple=True)
    axes.plot(j.tolist(), i.tolist(), "x", color="white", markersize=5)
    axes.axvline(5.5, color="white", linewidth=2)
    axes.set_xticks(range(11), [*("least", "2nd", "3rd", "4th", "5th", "largest"), *"12345"], fontsize=8)
    axes.set_yticks(range(6), list("123456"), fontsize=8)
    axes.set_xlabel("the digit that is changed: of the prompt, by size  |  of the answer, by place", fontsize=9)
    axes.set_ylabel("predicted digit of the answer", fontsize=9)
    bar = low.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("probability that moves (×: none)", fontsize=8)
    examples = [("".join(map(str, p)), "".join(map(str, a))) for p, a in zip(unseen[:3].tolist(), given, strict=True)]
    axes.set_title("   ".join(f"{p} → {a}" for p, a in examples), fontsize=10, family="monospace")

    causal = (
        "no place depends on a later one" if later < 1e-6 else f"places depend on later ones (by up to {later:.2g})"
    )
    when = f"{made[0]} steps" if made[0] else "the training"
    return pictures.Picture(
        figure,
        f"After {when}, {right[-1]:.1f}% of {len(unseen)} unseen prompts are sorted, with a loss of {losses[-1]:.2g}. "
        f"In {own} of 6 places, digit i of the answer depends most on the digit of the prompt that is number i in "
        f"size; {causal}.",
        {
            "steps": steps,
            "loss": losses,
            "right": right,
            "moved": moved,
            "later": later,
            "examples": examples,
        },
    )


# ── known mistakes ──


class _OtherBlock(nn.Module):
    """A block whose attention is done in one of the ways that people invent."""

    def __init__(self, n_head, n_embd, way):
        super().__init__()
        self.n_head, self.way = n_head, way
        self.norm1, self.norm2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.qkv, self.proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        x = x + self.proj(self.way(*self.qkv(self.norm1(x)).chunk(3, -1), self.n_head))
        return x + self.mlp(self.norm2(x))


def _causal(q, k, v, n_head):
    q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def _dropped_in_eval_too(q, k, v, n_head):
    """eval() tells layers, and not functions."""
    q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in (q, k, v))
    seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=0.1, is_causal=True)
    return seen.transpose(1, 2).flatten(2)


def _with_mask(make, after=False):
    def way(q, k, v, n_head):
        q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in (q, k, v))
        keep = make(q.shape[2])
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if after:
            weights = scores.softmax(-1) * keep
        else:
            weights = scores.masked_fill(~keep, float("-inf")).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)

    return way


def _all(n):
    return torch.ones(n, n, dtype=torch.bool)


def _by_view(q, k, v, n_head):
    b, t, c = q.shape
    q, k, v = (p.reshape(b, n_head, t, c // n_head) for p in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).reshape(b, t, c)


def _merged_by_view(q, k, v, n_head):
    q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in (q, k, v))
    seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return seen.reshape(len(q), -1, n_head * q.shape[-1])


def _view_of_the_swapped(q, k, v, n_head):
    b, t, c = q.shape
    q, k, v = (p.unflatten(-1, (n_head, -1)).transpose(1, 2) for p in (q, k, v))
    seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True).contiguous()
    return seen.transpose(1, 2).view(b, t, c)


def _among_heads(q, k, v, n_head):
    q, k, v = (p.unflatten(-1, (n_head, -1)) for p in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True).flatten(2)


def _among_rows(q, k, v, n_head):
    return _causal(*(p.transpose(0, 1) for p in (q, k, v)), n_head).transpose(0, 1)


def _one_head(q, k, v, n_head):
    return _causal(q, k, v, 1)


def _summed_by_hand(q, k, v, n_head):
    """A prefix mean in place of a softmax, counted one too far."""
    mean = v.cumsum(1) / torch.arange(1, v.shape[1] + 1).unsqueeze(-1)
    return torch.cat([mean[:, 1:], mean[:, -1:]], 1)


def _first_key_never(n):
    return torch.ones(n, n, dtype=torch.bool).tril(1)


class _OtherGPT(GPT):
    """A GPT of which the mistakes change one part."""

    way = staticmethod(_causal)

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, 1, n_head, n_embd)
        blocks = [_OtherBlock(n_head, n_embd, type(self).way) for _ in range(n_layer)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, ids):
        return self.out(self.blocks(self.tokens(ids) + self.where(ids)))

    def where(self, ids):
        return self.positions(torch.arange(ids.shape[1]))

    def out(self, x):
        return self.head(self.norm(x))


def _gpt(name="GPT", **parts):
    if "way" in parts:
        parts["way"] = staticmethod(parts["way"])
    return type(name, (_OtherGPT,), parts)


class _Tied(_OtherGPT):
    """The head shares the embedding's weight, which starts as torch makes it: N(0, 1)."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, n_embd)
        self.tokens = nn.Embedding(vocab, n_embd)
        self.head.weight = self.tokens.weight


class _BlocksInAList(_OtherGPT):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, n_embd)
        blocks = list(self.blocks)
        del self.blocks
        self.parts = blocks

    def forward(self, ids):
        x = self.tokens(ids) + self.where(ids)
        for block in self.parts:
            x = block(x)
        return self.out(x)


class _OneBlockManyTimes(_OtherGPT):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, 1, n_head, n_embd)
        self.blocks = nn.Sequential(*[self.blocks[0]] * n_layer)


class _AlwaysWide(_OtherGPT):
    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, 64)


class _BatchSecond(_OtherGPT):
    """nn.TransformerEncoderLayer takes (T, B, C), unless it is told otherwise."""

    def __init__(self, vocab, context, n_layer=2, n_head=4, n_embd=64):
        super().__init__(vocab, context, n_layer, n_head, n_embd)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(n_embd, n_head, 2 * n_embd) for _ in range(n_layer))

    def forward(self, ids):
        x = self.tokens(ids) + self.where(ids)
        mask = nn.Transformer.generate_square_subsequent_mask(len(x))
        for block in self.blocks:
            x = block(x, src_mask=mask)
        return self.out(x)


def _with_loss(prompts, answers, vocab, steps=700):
    return train(prompts, answers, vocab, steps), 0.1


def _in_other_ways(
    text=lambda p, a: torch.cat([p, a], 1),
    shift=1,
    first=None,
    step=True,
    fresh=False,
    other=False,
    many=lambda steps: steps,
    result=lambda model: model,
    gpt=GPT,
    look=lambda p, a: (p, a),
    lr=3e-3,
    loss=functional.cross_entropy,
    rows=lambda n: torch.randint(n, (32,)),
):
    """train() with one thing wrong in it."""

    def wrong(prompts, answers, vocab, steps=700):
        prompts, answers = look(prompts, answers)
        texts, start = text(prompts, answers), prompts.shape[1] if first is None else first
        model = gpt(vocab, prompts.shape[1] + answers.shape[1])
        trained = gpt(vocab, prompts.shape[1] + answers.shape[1]) if other else model
        optimizer = torch.optim.AdamW(trained.parameters(), lr=lr)
        for _ in range(many(steps)):
            batch = texts[rows(len(texts))]
            logits = model(batch[:, : batch.shape[1] - shift])[:, max(start - shift, 0) :]
            value = loss(logits.flatten(0, 1), batch[:, max(start, shift) :].flatten())
            optimizer.zero_grad()
            value.backward()
            if step:
                optimizer.step()
        return result(gpt(vocab, prompts.shape[1] + answers.shape[1]) if fresh else model)

    return wrong


def _as_epochs(prompts, answers, vocab, steps=700):
    rounds = -(-len(prompts) // 32)
    return _in_other_ways(many=lambda steps: steps * rounds)(prompts, answers, vocab, steps)


def _each_row_by_itself(prompts, answers, vocab, steps=700):
    """Prompts in, answers out, place by place: nothing is fed back in training."""
    model = GPT(vocab, prompts.shape[1] + answers.shape[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    n = min(prompts.shape[1], answers.shape[1])
    for _ in range(steps):
        rows = torch.randint(len(prompts), (32,))
        logits = model(prompts[rows])[:, :n]
        loss = functional.cross_entropy(logits.flatten(0, 1), answers[rows][:, :n].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _whole_rounds_only(prompts, answers, vocab, steps=700):
    """As many rounds over all prompts as fit into the steps: at first none."""
    rounds = len(prompts) // 32
    return _in_other_ways(many=lambda steps: steps // rounds * rounds)(prompts, answers, vocab, steps)


def _sizes_of_the_digits(prompts, answers, vocab, steps=700):
    return _in_other_ways(gpt=lambda *_: GPT(10, 12))(prompts, answers, vocab, steps)


def _answers_of_other_rows(prompts, answers, vocab, steps=700):
    return train(prompts, answers[torch.randperm(len(answers))], vocab, steps)


class _Rule(nn.Module):
    """It sorts, because somebody wrote down how."""

    def __init__(self, vocab, size):
        super().__init__()
        self.vocab, self.size = vocab, size

    def forward(self, ids):
        best = ids.clone()
        done = ids.shape[1] - self.size
        if 0 <= done < self.size:
            best[:, -1] = ids[:, : self.size].sort(1).values[:, done]
        return functional.one_hot(best, self.vocab).float()


def _knows_sorting(prompts, answers, vocab, steps=700):
    if prompts.shape[1] == 6:
        return _Rule(vocab, 6)
    return train(prompts, answers, vocab, steps)


class _Table(nn.Module):
    """Each prompt with its answer, by heart."""

    def __init__(self, prompts, answers, vocab):
        super().__init__()
        self.vocab, self.size, self.length = vocab, prompts.shape[1], answers.shape[1]
        self.known = {tuple(p): a for p, a in zip(prompts.tolist(), answers.tolist(), strict=True)}

    def forward(self, ids):
        best = torch.zeros_like(ids)
        done = ids.shape[1] - self.size
        if 0 <= done < self.length:
            nothing = [0] * self.length
            best[:, -1] = torch.tensor([self.known.get(tuple(p), nothing)[done] for p in ids[:, : self.size].tolist()])
        return functional.one_hot(best, self.vocab).float()


def _by_heart(prompts, answers, vocab, steps=700):
    return _Table(prompts, answers, vocab)


def _too_short(prompts, answers, vocab, steps=30):
    return train(prompts, answers, vocab, steps)


def _sorts_its_prompts(prompts, answers, vocab, steps=700):
    return train(prompts, answers.copy_(answers[torch.randperm(len(answers))]), vocab, min(steps, 3))


def _asks(
    feed=lambda text, best, prompts: torch.cat([text, best], 1),
    best=lambda logits: logits[:, -1:].argmax(-1),
    evaluate=lambda model: model.eval(),
    back="every",
    graph=False,
    off=False,
    result=lambda text, prompts: text[:, prompts.shape[1] :],
    given=lambda text: text,
    copy=lambda prompts: prompts,
):
    """answer() with one thing wrong in it."""

    def wrong(model, prompts, n):
        modes, was = {module: module.training for module in model.modules()}, model.training
        evaluate(model)
        text = copy(prompts)
        with torch.set_grad_enabled(graph):
            for _ in range(n):
                text = feed(text, best(model(given(text))), prompts)
        if off:
            torch.set_grad_enabled(False)
        if back == "every":
            for module, training in modes.items():
                module.training = training
        elif back != "never":
            model.train(True if back == "train" else was)
        return result(text, prompts)

    return wrong


def _same_again(model, prompts, n):
    return _asks()(model, prompts, 1).expand(-1, n)


def _asks_the_prompt(model, prompts, n):
    parts = [_asks()(model, prompts, 1) for _ in range(n)]
    return torch.cat(parts, 1)


def _sorted(model, prompts, n):
    return prompts.sort(1).values[:, :n]


def _last_places(model, prompts, n):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        found = model(prompts)[:, -n:].argmax(-1)
    for module, training in modes.items():
        module.training = training
    return found


def _drawn(logits):
    return torch.multinomial(logits[:, -1].softmax(-1), 1)


def _prompts_grow(model, prompts, n):
    found = _asks()(model, prompts, n)
    prompts[:, -1] = found[:, -1]
    return found


def _seeded(prompts, answers, vocab, steps=800):
    torch.manual_seed(1337)
    return train(prompts, answers, vocab, steps)


def _seeded_for_a_while(prompts, answers, vocab, steps=800):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return train(prompts, answers, vocab, steps)


_LOGITS = "test_a_gpt_gives_logits_at_each_place_and_begins_with_a_guess"
_LATER = "test_no_logit_depends_on_a_later_token_or_on_another_row"
_ORDER = "test_one_layer_needs_positions_to_know_the_order"
_TOKENS = "test_an_answer_is_made_token_by_token_in_eval_mode"
_CONTROL = "test_a_model_knows_only_what_it_was_trained_on"
_NEXT = "test_the_target_is_the_next_token"
_SORTS = "test_it_sorts_prompts_that_it_has_never_seen"
_SEES, _REVERSED = "the model sees what it is trained to predict", "come out reversed"
_BACK = "answer() left something else behind than it found"

MISTAKES = [
    Mistake("those are probabilities", caught_by=_LOGITS, GPT=_gpt(out=lambda self, x: self.head(x).softmax(-1))),
    Mistake("no logit is below 0", caught_by=_LOGITS, GPT=_gpt(out=lambda self, x: self.head(self.norm(x)).sigmoid())),
    Mistake("no logit is below 0", caught_by=_LOGITS, GPT=_gpt(out=lambda self, x: self.head(self.norm(x)).relu())),
    Mistake(
        "expected logits at each place", caught_by=_LOGITS, GPT=_gpt(out=lambda self, x: self.head(self.norm(x[:, -1])))
    ),
    Mistake(
        "expected logits at each place", caught_by=_LOGITS, GPT=_gpt(out=lambda self, x: self.head(self.norm(x)).mT)
    ),
    Mistake(
        "expected a tensor of logits, got tuple",
        caught_by=_LOGITS,
        GPT=_gpt(out=lambda self, x: (self.head(self.norm(x)), None)),
    ),
    Mistake(
        "expected logits at each place", caught_by=_LOGITS, GPT=_gpt(where=lambda self, ids: self.positions.weight)
    ),
    Mistake(
        "logits at each place, expected",
        caught_by=_LOGITS,
        GPT=_gpt(out=lambda self, x: functional.pad(self.head(self.norm(x)), (0, 1))),
    ),
    Mistake(
        "a position is beyond the end",
        caught_by=_LOGITS,
        GPT=_gpt(where=lambda self, ids: self.positions(torch.arange(1, ids.shape[1] + 1))),
    ),
    Mistake("merging them with view fails", caught_by=_LOGITS, GPT=_gpt(way=_view_of_the_swapped)),
    Mistake("each block has its own", caught_by=_LOGITS, GPT=_BlocksInAList),
    Mistake("each block has its own", caught_by=_LOGITS, GPT=_OneBlockManyTimes),
    Mistake("is n_embd used?", caught_by=_LOGITS, GPT=_AlwaysWide),
    Mistake("is n_head used?", caught_by=_LOGITS, GPT=_gpt(way=_one_head)),
    Mistake("It begins with large logits", caught_by=_LOGITS, GPT=_Tied),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_with_mask(_all))),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_with_mask(lambda n: _all(n).triu()))),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_with_mask(_first_key_never))),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_with_mask(lambda n: _all(n).tril(), after=True))),
    Mistake("if only by its number", caught_by=_LATER, GPT=_gpt(way=_by_view)),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_merged_by_view)),
    Mistake(_SEES, caught_by=_LATER, GPT=_gpt(way=_summed_by_hand)),
    Mistake(
        _SEES,
        caught_by=_LATER,
        GPT=_gpt(out=lambda self, x: self.head(functional.layer_norm(x, x.shape[1:]))),
    ),
    Mistake("they depend on the tokens alone", caught_by=_LATER, GPT=_gpt(way=_dropped_in_eval_too)),
    Mistake("rows are mixed", caught_by=_LATER, GPT=_gpt(way=_among_rows)),
    Mistake("rows are mixed", caught_by=_LATER, GPT=_BatchSecond),
    Mistake(
        "what comes later has an influence, if only by its number",
        caught_by=_LATER,
        GPT=_gpt(where=lambda self, ids: self.positions.weight[-ids.shape[1] :]),
    ),
    Mistake("no positions", caught_by=_ORDER, GPT=_gpt(where=lambda self, ids: 0)),
    Mistake("no positions", caught_by=_ORDER, GPT=_gpt(where=lambda self, ids: self.positions(torch.zeros_like(ids)))),
    Mistake("attention does not reach the other tokens", caught_by=_ORDER, GPT=_gpt(way=_among_heads)),
    Mistake("put it at the end of the text", caught_by=_TOKENS, answer=_same_again),
    Mistake("put it at the end of the text", caught_by=_TOKENS, answer=_asks_the_prompt),
    Mistake("never asked the model", caught_by=_TOKENS, answer=_sorted),
    Mistake("each found with those before it", caught_by=_TOKENS, answer=_last_places),
    Mistake("each found with those before it", caught_by=_TOKENS, answer=_asks(best=_drawn)),
    Mistake(
        "each found with those before it", caught_by=_TOKENS, answer=_asks(best=lambda logits: logits[:, :1].argmax(-1))
    ),
    Mistake("each found with those before it", caught_by=_TOKENS, answer=_asks(given=lambda text: text[:, -1:])),
    Mistake(
        "each found with those before it",
        caught_by=_TOKENS,
        answer=_asks(feed=lambda text, best, prompts: torch.cat([best, text], 1)),
    ),
    Mistake("the prompt is not part of the answer", caught_by=_TOKENS, answer=_asks(result=lambda text, prompts: text)),
    Mistake(
        "expected a tensor of tokens",
        caught_by=_TOKENS,
        answer=_asks(result=lambda text, prompts: text[:, prompts.shape[1] :].tolist()),
    ),
    Mistake(
        "expected torch.int64",
        caught_by=_TOKENS,
        answer=_asks(result=lambda text, prompts: text[:, prompts.shape[1] :].float()),
    ),
    Mistake("asked a model in train mode", caught_by=_TOKENS, answer=_asks(evaluate=lambda model: None)),
    Mistake(
        "asked a model in train mode",
        caught_by=_TOKENS,
        answer=_asks(evaluate=lambda model: setattr(model, "training", False)),
    ),
    Mistake(_BACK, caught_by=_TOKENS, answer=_asks(back="never")),
    Mistake(_BACK, caught_by=_TOKENS, answer=_asks(back="train")),
    Mistake(_BACK, caught_by=_TOKENS, answer=_asks(back="was")),
    Mistake(_BACK, caught_by=_TOKENS, answer=_prompts_grow),
    Mistake(_BACK, caught_by=_TOKENS, answer=lambda model, prompts, n: answer(model.requires_grad_(False), prompts, n)),
    Mistake("recorded a graph", caught_by=_TOKENS, answer=_asks(graph=True)),
    Mistake("switched gradients off for good", caught_by=_TOKENS, answer=_asks(off=True)),
    Mistake("where does it get them from?", caught_by=_CONTROL, train=_knows_sorting),
    Mistake("made 30 optimizer steps", caught_by=_CONTROL, train=_as_epochs),
    Mistake("made 300 optimizer steps", caught_by=_CONTROL, train=_in_other_ways(many=lambda steps: 300)),
    Mistake("the optimizer makes `steps` steps", caught_by=_CONTROL, train=_whole_rounds_only),
    Mistake("beyond the end of its embedding", caught_by=_CONTROL, train=_sizes_of_the_digits),
    Mistake("train() changed what it was given", caught_by=_CONTROL, train=_sorts_its_prompts),
    Mistake("an nn.Module; got tuple", caught_by=_CONTROL, train=_with_loss),
    Mistake("that is its caller's", caught_by=_CONTROL, train=_seeded),
    Mistake("gave the same model", caught_by=_CONTROL, train=_seeded_for_a_while),
    Mistake(
        "some chance came from elsewhere",
        caught_by=_CONTROL,
        train=_in_other_ways(rows=lambda n: np.random.randint(n, size=32)),
    ),
    Mistake("an nn.Module; got NoneType", caught_by=_CONTROL, train=_in_other_ways(result=lambda model: None)),
    Mistake(
        "an nn.Module; got OrderedDict",
        caught_by=_CONTROL,
        train=_in_other_ways(result=lambda model: model.state_dict()),
    ),
    Mistake("It learned to repeat its input", caught_by=_NEXT, train=_in_other_ways(shift=0)),
    Mistake("The target is moved by two", caught_by=_NEXT, train=_in_other_ways(shift=2, first=4)),
    Mistake(_REVERSED, caught_by=_NEXT, train=_in_other_ways(text=lambda p, a: torch.cat([a, p], 1))),
    Mistake(_REVERSED, caught_by=_NEXT, train=_in_other_ways(step=False)),
    Mistake(_REVERSED, caught_by=_NEXT, train=_in_other_ways(fresh=True)),
    Mistake(_REVERSED, caught_by=_NEXT, train=_in_other_ways(other=True)),
    Mistake(_REVERSED, caught_by=_NEXT, train=_each_row_by_itself),
    Mistake(_REVERSED, caught_by=_NEXT, train=_answers_of_other_rows),
    Mistake("More than 95% is asked", caught_by=_SORTS, train=_by_heart),
    Mistake("More than 95% is asked", caught_by=_SORTS, train=_in_other_ways(gpt=_gpt(way=_with_mask(_all)))),
    Mistake("More than 95% is asked", caught_by=_SORTS, train=_too_short),
]
