"""The table of the README, measured: `python -m reference.mnist.table`. Three to six minutes.

Both recipes with seeds 0 to 19. In turn with them, so that a machine that is busy is busy for both: an epoch of the
official example's network, loss and optimizer (pytorch/examples, mnist/main.py), fed as it feeds them: 64 images a
batch, through a DataLoader, each image converted and normalised by itself. The ratio is that epoch's time over the
recipe's.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn, optim
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from dojo.kit.mnist import data_root
from reference.mnist import data
from reference.mnist.evaluate import evaluate
from reference.mnist.settings import RECIPES
from reference.mnist.train import train


class OfficialNet(nn.Module):
    """The official example's layers: conv32 - conv64 - pool - 128 - 10, with dropout; 1,199,882 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.conv1(x).relu()).relu()  # (N, 64, 24, 24)
        x = self.dropout1(functional.max_pool2d(x, 2)).flatten(1)  # (N, 9216)
        x = self.dropout2(self.fc1(x).relu())
        return functional.log_softmax(self.fc2(x), dim=1)


class OfficialEpoch:
    """An epoch of the official example, in slices."""

    def __init__(self, root: Path) -> None:
        each = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
        # On the CPU it does not shuffle: it asks for that together with CUDA only.
        self.loader = DataLoader(datasets.MNIST(root, train=True, transform=each), batch_size=64)
        self.net = OfficialNet().train()
        self.optimizer = optim.Adadelta(self.net.parameters(), lr=1.0)
        self.batches = iter(self.loader)
        self.seconds, self.done = 0.0, 0

    def go_on(self, batches: int) -> None:
        """Train on the next batches, as many as the epoch still has, and count the time."""
        started = time.perf_counter()
        for images, labels in itertools.islice(self.batches, batches):
            self.optimizer.zero_grad()
            functional.nll_loss(self.net(images), labels).backward()
            self.optimizer.step()
            self.done += 1
        self.seconds += time.perf_counter() - started

    @property
    def per_epoch(self) -> float:
        return self.seconds / self.done * len(self.loader)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reference.mnist.table", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--data-root", type=Path, default=None)
    options = parser.parse_args()
    root = options.data_root or data_root()
    train_split, test_split = data.load(root, train=True), data.load(root, train=False)

    torch.manual_seed(0)
    official = OfficialEpoch(root)
    slices = -(-len(official.loader) // (options.seeds * len(RECIPES)))
    train(train_split, replace(RECIPES["quick"], images=640))  # imports and memory that the first run would pay for
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in RECIPES}
    for seed in range(options.seeds):
        for name, recipe in RECIPES.items():
            run = train(train_split, replace(recipe, seed=seed))
            rows[name].append((evaluate(run.model, test_split).accuracy, run.seconds))
            official.go_on(slices)
            print(f"  {name}, seed {seed}: {rows[name][-1][0]:.2%} in {run.seconds:.2f} s", flush=True)

    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} thread(s), {platform.machine()}\n")
    print("| recipe | seeds | accuracy: mean | minimum | images seen | training time (median) | official epoch |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, measured in rows.items():
        accuracies, median = [a for a, _ in measured], statistics.median(t for _, t in measured)
        seen = RECIPES[name].steps * RECIPES[name].batch_size
        cells = [name, f"0-{options.seeds - 1}", f"{statistics.mean(accuracies):.2%}", f"{min(accuracies):.2%}"]
        cells += [f"{seen:,}", f"{median:.2f} s", f"{official.per_epoch / median:.0f} times as long"]
        print(f"| {' | '.join(cells)} |")
    print(f"\nThe official example's epoch: {official.per_epoch:.1f} s for its {len(official.loader)} batches.")


if __name__ == "__main__":
    main()
