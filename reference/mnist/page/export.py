"""The page as text: with a script that asks the server, or with one that computes, and the weights beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from reference.mnist.data import MEAN, STD, Split
from reference.mnist.model import DigitNet

_HERE = Path(__file__).parent
_EXAMPLES = 20


def served_page(whose: str, examples: Split) -> str:
    """The page whose answers come from its server."""
    return _page(_text("ask.js"), whose, examples)


def static_page(net: DigitNet, whose: str, examples: Split) -> str:
    """The page with the net in it: one file, which needs no server and no network."""
    return _page(static_script(net), whose, examples)


def static_script(net: DigitNet) -> str:
    """net.js and the numbers that it needs."""
    weights = {name: _packed(values) for name, values in _weights(net).items()}
    return f"const MEAN = {MEAN!r}, STD = {STD!r};\nconst WEIGHTS = {json.dumps(weights)};\n{_text('net.js')}"


def _weights(net: DigitNet) -> dict[str, torch.Tensor]:
    """What the net computes with in eval mode: a batch norm is a scale and a shift then."""
    found = {"conv1": net.conv1.weight, "conv2": net.conv2.weight, "linear": net.linear.weight, "bias": net.linear.bias}
    for number, norm in (("1", net.norm1), ("2", net.norm2)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        found |= {f"scale{number}": scale, f"shift{number}": norm.bias - norm.running_mean * scale}
    return found


def _packed(values: torch.Tensor) -> str:
    numbers = values.detach().cpu().float().contiguous().numpy().astype("<f4")
    return base64.b64encode(numbers.tobytes()).decode()


def _page(script: str, whose: str, examples: Split) -> str:
    facts = {"whose": whose, "examples": [_bytes(image) for image in _two_of_each(examples)]}
    # "</" would end the script in which it stands.
    page = _text("page.html").replace("/*FACTS*/null", json.dumps(facts).replace("</", "<\\/"))
    return page.replace("/*READER*/", script)


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _bytes(image: torch.Tensor) -> str:
    return base64.b64encode(bytes(image.flatten().tolist())).decode()


def _two_of_each(data: Split) -> Sequence[torch.Tensor]:
    """Images of 0 to 9, and of 0 to 9 once more."""
    places = [(data.labels == digit).nonzero()[:, 0] for digit in range(10)]
    return [data.images[places[i % 10][i // 10]].cpu() for i in range(_EXAMPLES)]
